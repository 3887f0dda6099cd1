import * as tf from '@tensorflow/tfjs';
import { BackendError, InvalidArgumentError } from '../foundation/errors.js';
import { closest } from '../foundation/options.js';
import { applyMatMulPatch, removeMatMulPatch } from './matmul-patch.js';

/** Names of the compute backends that {@link useBackend} knows. */
export type BackendName = 'wasm' | 'node-gpu' | 'node' | 'webgpu' | 'webgl' | 'cpu';

/** Which backend runs and why. */
export interface BackendReport {
  /** Name of the tfjs backend, e.g. `wasm` or `tensorflow`. */
  readonly backend: string;
  /** What was asked for; `program` when the program chose by itself with `tf.setBackend`. */
  readonly requested: string;
  /** Why it is this one, in a sentence. */
  readonly reason: string;
  /** Whether the faster BatchMatMul is in place (wasm only). */
  readonly patched: boolean;
}

/** Options of {@link useBackend}. */
export interface BackendOptions {
  /** Replace tfjs-wasm's slow transposed BatchMatMul; false gives stock tfjs (the bench compares both). @default true */
  readonly patch?: boolean;
  /**
   * Where a browser finds the `.wasm` files of `@tensorflow/tfjs-backend-wasm`: a folder (ending in `/`) or a map by file
   * name. Node finds them by itself. @default beside the script
   */
  readonly wasmPaths?: string | Readonly<Record<string, string>>;
}

/** How tfjs calls each backend and which package brings it (none: part of `@tensorflow/tfjs`). */
const BACKENDS: Readonly<Record<BackendName, { readonly tfjs: string; readonly package?: string }>> = {
  wasm: { tfjs: 'wasm', package: '@tensorflow/tfjs-backend-wasm' },
  'node-gpu': { tfjs: 'tensorflow', package: '@tensorflow/tfjs-node-gpu' },
  node: { tfjs: 'tensorflow', package: '@tensorflow/tfjs-node' },
  webgpu: { tfjs: 'webgpu', package: '@tensorflow/tfjs-backend-webgpu' },
  webgl: { tfjs: 'webgl' },
  cpu: { tfjs: 'cpu' },
};

let report: BackendReport | undefined;

/**
 * Chooses and starts the compute backend; call it once before anything is trained or served. Nothing else in the
 * library changes tfjs's global state, and nothing does at import.
 *
 * `'auto'` in Node tries an installed native binding (`@tensorflow/tfjs-node-gpu`, then `@tensorflow/tfjs-node`), then
 * wasm; in a browser it takes wasm. It never falls back to cpu, which is a hundred times slower: ask for `'cpu'` by name.
 *
 * @param name - which backend. @default 'auto'
 * @param options - see {@link BackendOptions}.
 * @returns what runs and why.
 * @throws {BackendError} when the backend is not installed (with the command that installs it) or does not start.
 * @throws {InvalidArgumentError} when there is no backend of that name.
 */
export async function useBackend(
  name: 'auto' | BackendName = 'auto',
  options: BackendOptions = {},
): Promise<BackendReport> {
  if (name === 'auto') {
    report = await startAuto(options);
    return report;
  }
  if (!Object.hasOwn(BACKENDS, name)) {
    const names = ['auto', ...Object.keys(BACKENDS)];
    const guess = typeof name === 'string' ? closest(name, names) : undefined;
    throw new InvalidArgumentError(
      `useBackend: expected one of ${names.join(', ')}, got ${String(name)}${guess === undefined ? '' : ` (did you mean '${guess}'?)`}`,
      { argument: 'name', wanted: names.join(', '), got: name },
    );
  }
  report = await start(name, name, 'asked for by name', options);
  return report;
}

/** The backend in use, or undefined when none was chosen yet. */
export function currentBackend(): BackendReport | undefined {
  return report ?? chosenByProgram();
}

/** The backend in use; chooses `'auto'` when none was chosen yet. */
export async function ensureBackend(): Promise<BackendReport> {
  return currentBackend() ?? useBackend('auto');
}

/**
 * The backend in use, for synchronous code.
 *
 * @throws {BackendError} when none was chosen yet.
 */
export function requireBackend(): BackendReport {
  const current = currentBackend();
  if (current !== undefined) return current;
  throw new BackendError("No compute backend was chosen: call `await useBackend('auto')` once before this", {
    backend: 'none',
  });
}

/** A program may call `tf.setBackend` itself. cpu does not count: tfjs falls back to it unasked at the first stray operation. */
function chosenByProgram(): BackendReport | undefined {
  const backend: string | undefined = tf.engine().backendName;
  if (backend === undefined || backend === '' || backend === 'cpu') return undefined;
  return { backend, requested: 'program', reason: 'the program set it with tf.setBackend', patched: false };
}

async function startAuto(options: BackendOptions): Promise<BackendReport> {
  if (!isNode()) return start('wasm', 'auto', 'the default in a browser', options);
  const refusals: string[] = [];
  for (const name of ['node-gpu', 'node'] as const) {
    try {
      return await start(name, 'auto', `${BACKENDS[name].package} is installed`, options);
    } catch (error) {
      if (!(error instanceof BackendError)) throw error;
      refusals.push(error.install === undefined ? error.message : `${BACKENDS[name].package} is not installed`);
    }
  }
  return start('wasm', 'auto', `the default without a native binding (${refusals.join('; ')})`, options);
}

async function start(
  name: BackendName,
  requested: string,
  reason: string,
  options: BackendOptions,
): Promise<BackendReport> {
  const { tfjs } = BACKENDS[name];
  await load(name, options);
  let isStarted = false;
  const restoreListeners = name === 'wasm' ? rememberListeners() : undefined;
  try {
    isStarted = await tf.setBackend(tfjs);
    if (isStarted) await tf.ready();
  } catch (cause) {
    throw new BackendError(`The ${name} backend does not start: ${messageOf(cause)}`, { backend: name, cause });
  } finally {
    restoreListeners?.();
  }
  if (!isStarted) {
    const hint = name === 'wasm' && !isNode() ? '; pass `wasmPaths`, where the page finds the .wasm files' : '';
    throw new BackendError(`The ${name} backend does not start on this machine${hint}`, { backend: name });
  }
  let patched = false;
  if (name === 'wasm') {
    if (options.patch ?? true) patched = applyMatMulPatch();
    else removeMatMulPatch();
  }
  return { backend: tfjs, requested, reason, patched };
}

async function load(name: BackendName, options: BackendOptions): Promise<void> {
  const specifier = BACKENDS[name].package;
  if (specifier === undefined) return;
  if (name === 'wasm') {
    const wasm = await import('@tensorflow/tfjs-backend-wasm');
    if (options.wasmPaths !== undefined) wasm.setWasmPaths(options.wasmPaths as string | Record<string, string>);
    return;
  }
  if (name === 'node' || name === 'node-gpu') restoreIsNullOrUndefined();
  try {
    // A variable, so that neither the compiler nor a bundler looks for the optional package.
    await import(/* @vite-ignore */ /* webpackIgnore: true */ specifier);
  } catch (cause) {
    // Loaders word it differently, but all quote the specifier; a package that lacks its addon quotes a path.
    const isMissing = [`'${specifier}'`, `"${specifier}"`].some((quoted) => messageOf(cause).includes(quoted));
    if (isMissing || !isNode()) {
      const install = `npm install ${specifier}`;
      throw new BackendError(`The ${name} backend needs ${specifier}, which is not installed: run \`${install}\``, {
        backend: name,
        install,
        cause,
      });
    }
    throw new BackendError(`${specifier} is installed but does not load: ${messageOf(cause)}`, {
      backend: name,
      cause,
    });
  }
}

/**
 * tfjs-wasm's loader leaves listeners in Node that throw every uncaught error anew, from a line of 100 kB that Node then
 * prints. They are taken away again: the program's own errors are none of its business.
 */
function rememberListeners(): (() => void) | undefined {
  if (!isNode()) return undefined;
  const errors = process.listeners('uncaughtException');
  const rejections = process.listeners('unhandledRejection');
  return () => {
    for (const listener of process.listeners('uncaughtException')) {
      if (!errors.includes(listener)) process.removeListener('uncaughtException', listener);
    }
    for (const listener of process.listeners('unhandledRejection')) {
      if (!rejections.includes(listener)) process.removeListener('unhandledRejection', listener);
    }
  };
}

function isNode(): boolean {
  return typeof process !== 'undefined' && typeof process.versions?.node === 'string';
}

function messageOf(error: unknown): string {
  return error instanceof Error ? (error.message.split('\n')[0] as string) : String(error);
}

/** tfjs-node 4.22 calls `util.isNullOrUndefined`, which Node 23 removed (tensorflow/tfjs#8425; the fix was never released). */
function restoreIsNullOrUndefined(): void {
  const util = process.getBuiltinModule?.('util') as { isNullOrUndefined?: (value: unknown) => boolean } | undefined;
  if (util !== undefined && util.isNullOrUndefined === undefined) {
    util.isNullOrUndefined = (value) => value === null || value === undefined;
  }
}
