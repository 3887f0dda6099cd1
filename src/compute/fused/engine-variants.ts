import { BackendError } from '../../foundation/errors.js';

/** The engine's binaries: with fused multiply-adds where the browser or Node has them, else without. */
export type EngineVariant = 'simd' | 'relaxed-simd';

// Each probe is a module of one function without parameters: its body asks for the feature.
const HEAD = [0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0];
const SPLAT = [65, 0, 253, 15];
const SIMD_PROBE = Uint8Array.of(...HEAD, 10, 8, 1, 6, 0, ...SPLAT, 11);
/** `f32x4.relaxed_madd` of three vectors. */
const RELAXED_PROBE = Uint8Array.of(...HEAD, 10, 19, 1, 17, 0, ...SPLAT, ...SPLAT, ...SPLAT, 253, 133, 2, 11);

/**
 * The best variant this platform runs; undefined where WebAssembly has no SIMD. Node 20 has fused multiply-adds behind a
 * flag of V8, which later versions set by themselves: it is set for the moment of this look, and of compiling.
 */
export function bestVariant(): EngineVariant | undefined {
  if (typeof WebAssembly !== 'object' || !WebAssembly.validate(SIMD_PROBE)) return undefined;
  if (WebAssembly.validate(RELAXED_PROBE)) return 'relaxed-simd';
  return withRelaxedFlag(() => WebAssembly.validate(RELAXED_PROBE)) === true ? 'relaxed-simd' : 'simd';
}

/** Does some work, which must be synchronous, with V8's flag set; does nothing where there is no such flag to set. */
function withRelaxedFlag<T>(work: () => T): T | undefined {
  if (typeof process === 'undefined' || process.versions?.v8 === undefined) return undefined;
  const v8 = process.getBuiltinModule?.('v8') as { setFlagsFromString?: (flag: string) => void } | undefined;
  if (v8?.setFlagsFromString === undefined) return undefined;
  try {
    v8.setFlagsFromString('--experimental-wasm-relaxed-simd');
    return work();
  } finally {
    v8.setFlagsFromString('--no-experimental-wasm-relaxed-simd');
  }
}

/** Whether threads can share memory: everywhere in Node, in browsers where the page is cross-origin isolated. */
export function canShareMemory(): boolean {
  const { crossOriginIsolated } = globalThis as { crossOriginIsolated?: boolean };
  return typeof SharedArrayBuffer === 'function' && crossOriginIsolated !== false;
}

/**
 * Compiles a variant; its bytes are loaded only now, so that who runs without the engine does not pay for them.
 *
 * @param variant - which.
 * @param isShared - whether the memory it will import is shared.
 * @throws {BackendError} when it does not compile.
 */
export async function compileVariant(variant: EngineVariant, isShared: boolean): Promise<WebAssembly.Module> {
  const { binary } = await (variant === 'simd' ? import('./generated/simd.js') : import('./generated/relaxed-simd.js'));
  const bytes = Uint8Array.from(atob(binary), (letter) => letter.charCodeAt(0));
  if (!isShared) importUnshared(bytes);
  try {
    const isBehindFlag = variant === 'relaxed-simd' && !WebAssembly.validate(RELAXED_PROBE);
    const module = isBehindFlag ? withRelaxedFlag(() => new WebAssembly.Module(bytes)) : undefined;
    return module ?? (await WebAssembly.compile(bytes));
  } catch (cause) {
    throw new BackendError(`The engine (${variant}) does not compile here`, { backend: 'wasm', cause });
  }
}

/** `env`, `memory`, a memory, shared with a maximum: how the binaries import it. */
const SHARED_IMPORT = [3, 101, 110, 118, 6, 109, 101, 109, 111, 114, 121, 2, 3];
/** With a maximum, not shared. */
const UNSHARED = 1;

/** Rewrites the one byte that says that the imported memory is shared. */
function importUnshared(bytes: Uint8Array): void {
  let at = bytes.indexOf(SHARED_IMPORT[0] as number);
  while (at >= 0 && !SHARED_IMPORT.every((byte, offset) => bytes[at + offset] === byte)) {
    at = bytes.indexOf(SHARED_IMPORT[0] as number, at + 1);
  }
  if (at < 0) throw new BackendError("The engine's binary imports no shared memory", { backend: 'wasm' });
  bytes[at + SHARED_IMPORT.length - 1] = UNSHARED;
}
