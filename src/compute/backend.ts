import * as tf from '@tensorflow/tfjs';
import { z } from 'zod';
import { BackendError, InvalidArgumentError } from '../foundation/errors.js';
import { checkOptions, closest, describeValue } from '../foundation/options.js';
import { leaveEngine, loadEngine } from './fused/engine.js';
import { bestVariant, type EngineVariant } from './fused/engine-variants.js';
import { defaultThreads } from './fused/thread-pool.js';
import { applyMatMulPatch, removeMatMulPatch } from './matmul-patch.js';

/** Names of the compute backends that {@link useBackend} knows. */
export type BackendName = 'wasm' | 'node-gpu' | 'node' | 'webgpu' | 'webgl' | 'cpu';

/** Which backend runs and why. */
export interface BackendReport {
  /** Name of the tfjs backend, e.g. `wasm` or `tensorflow`. */
  readonly backend: string;
  /** What was asked for; `program` when it runs without having been asked for here. */
  readonly requested: string;
  /** Why it is this one, in a sentence. */
  readonly reason: string;
  /** Whether the faster BatchMatMul is in place (wasm only). */
  readonly patched: boolean;
  /** What computes the models that it can: the fused engine, or plain tfjs operations on this backend. */
  readonly kernels: 'fused' | 'reference';
  /** Why it is these, in a sentence. */
  readonly kernelsReason: string;
  /** Which build of the engine: with fused multiply-adds (`relaxed-simd`) or without; undefined for `reference`. */
  readonly variant: EngineVariant | undefined;
  /** Threads that the engine may use, the calling one among them; 1 for `reference`. */
  readonly threads: number;
}

/** Options of {@link useBackend}. */
export interface BackendOptions {
  /** Replace tfjs-wasm's slow transposed BatchMatMul; false gives stock tfjs (the bench compares both). @default true */
  readonly patch?: boolean;
  /**
   * Where a browser finds the `.wasm` files of `@tensorflow/tfjs-backend-wasm` (in its `dist/`): the URL of their folder,
   * or a URL for each of the three file names. Node finds them by itself. It counts from the first start of wasm on; a
   * page that failed to find them has to be loaded again. @default beside the page, or the script if that is no module
   */
  readonly wasmPaths?: string | Readonly<Record<string, string>>;
  /**
   * `'auto'` loads the fused engine where the backend is wasm and WebAssembly has SIMD; `'reference'` keeps to tfjs's
   * operations. Models that were made before stay with what they have. @default 'auto'
   */
  readonly kernels?: 'auto' | 'reference';
  /**
   * Threads of the engine, the calling one among them, from 1 to 64. Workers start when there is work for them, and keep no
   * process alive; their number changes no bit of a result. Browsers share memory, and so have threads, on pages that are
   * cross-origin isolated only. It can be changed at any time. @default what the machine has, at most 4
   */
  readonly threads?: number;
  /**
   * `'auto'` takes fused multiply-adds (relaxed SIMD) where the platform has them: faster, and other last digits than
   * `'plain'`, which gives the same on all. It can be changed at any time. @default 'auto'
   */
  readonly simd?: 'auto' | 'plain';
}

/** The files of `@tensorflow/tfjs-backend-wasm`: which one is fetched depends on the browser. */
const WASM_FILES = ['tfjs-backend-wasm.wasm', 'tfjs-backend-wasm-simd.wasm', 'tfjs-backend-wasm-threaded-simd.wasm'];

const optionsSchema = z.strictObject({
  patch: z.boolean().default(true),
  wasmPaths: z
    .custom<string | Record<string, string>>(
      (value) =>
        typeof value === 'string'
          ? value !== ''
          : typeof value === 'object' &&
            value !== null &&
            WASM_FILES.every((file) => typeof (value as Record<string, unknown>)[file] === 'string'),
      `expected the URL of a folder, or a URL for each of ${WASM_FILES.join(', ')}`,
    )
    .optional(),
  kernels: z.enum(['auto', 'reference']).default('auto'),
  threads: z.int().min(1).max(64).optional(),
  simd: z.enum(['auto', 'plain']).default('auto'),
});

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

/** What tfjs-wasm was told; it cannot be told again after a start that failed. */
let toldWasmPaths: BackendOptions['wasmPaths'];

/** Calls run one after the other: a backend that starts while tfjs waits for another counts as failed. */
let turn: Promise<unknown> = Promise.resolve();

function inTurn<T>(work: () => Promise<T>): Promise<T> {
  const result = turn.then(work);
  turn = result.catch(() => undefined);
  return result;
}

/**
 * Chooses and starts the compute backend; call it once before anything is trained or served. Nothing else in the
 * library changes tfjs's global state, and nothing does at import.
 *
 * `'auto'` in Node tries an installed native binding (`@tensorflow/tfjs-node-gpu`, then `@tensorflow/tfjs-node`), then
 * wasm; in a browser it tries wasm (see `wasmPaths`), then webgl. It never falls back to cpu, which is a hundred times
 * slower: ask for `'cpu'` by name. Where none starts, the one that ran before goes on.
 *
 * With wasm it also loads the library's own engine, on which models that it can compute run many times faster than on
 * tfjs's operations: see `kernels`, `threads` and `simd`. Call it again to change those.
 *
 * @param name - which backend. @default 'auto'
 * @param options - see {@link BackendOptions}.
 * @returns what runs and why.
 * @throws {BackendError} when the backend is not installed (with the command that installs it), does not start, or
 * computes with 16-bit floats only (webgl on some phones).
 * @throws {InvalidArgumentError} when there is no backend of that name, or for options out of range.
 */
export async function useBackend(
  name: 'auto' | BackendName = 'auto',
  options: BackendOptions = {},
): Promise<BackendReport> {
  const checked = checkOptions(optionsSchema, options, 'useBackend');
  if (name !== 'auto') checkName(name);
  return inTurn(() => choose(name, checked));
}

type CheckedOptions = z.output<typeof optionsSchema>;

/** The part of a report that is about tfjs, and the part that is about the engine. */
type EngineReport = Pick<BackendReport, 'kernels' | 'kernelsReason' | 'variant' | 'threads'>;
type TfjsReport = Omit<BackendReport, keyof EngineReport>;

async function choose(name: 'auto' | BackendName, options: CheckedOptions): Promise<BackendReport> {
  const started = name === 'auto' ? await startAuto(options) : await start(name, name, 'asked for by name', options);
  report = { ...started, ...(await startEngine(started.backend, options)) };
  return report;
}

async function startEngine(backend: string, options: CheckedOptions): Promise<EngineReport> {
  const best = bestVariant();
  if (options.kernels === 'reference') return withoutEngine('asked for by name');
  if (backend !== 'wasm') return withoutEngine('the fused engine belongs to the wasm backend');
  if (best === undefined) return withoutEngine('WebAssembly has no SIMD here');
  const settings = {
    variant: options.simd === 'plain' ? 'simd' : best,
    threads: options.threads ?? defaultThreads(),
  } as const;
  try {
    const { variant, threads } = await loadEngine(settings);
    const lack = threads < settings.threads ? ', in one thread because memory cannot be shared here' : '';
    return { kernels: 'fused', kernelsReason: `wasm has SIMD${lack}`, variant, threads };
  } catch (error) {
    if (!(error instanceof BackendError)) throw error;
    return withoutEngine(error.message);
  }
}

function withoutEngine(kernelsReason: string): EngineReport {
  leaveEngine();
  return { ...REFERENCE, kernelsReason };
}

const REFERENCE = { kernels: 'reference', variant: undefined, threads: 1 } as const;

function checkName(name: string): void {
  if (typeof name !== 'string' || !Object.hasOwn(BACKENDS, name)) {
    const names = ['auto', ...Object.keys(BACKENDS)];
    const guess = typeof name === 'string' ? closest(name as string, names) : undefined;
    throw new InvalidArgumentError(
      `useBackend: expected one of ${names.join(', ')}, got ${describeValue(name)}${guess === undefined ? '' : ` (did you mean '${guess}'?)`}`,
      { argument: 'name', wanted: names.join(', '), got: name },
    );
  }
}

/** The backend in use, or undefined when none was chosen yet. */
export function currentBackend(): BackendReport | undefined {
  return report ?? chosenByProgram();
}

/**
 * The backend in use; chooses `'auto'` when none was chosen yet.
 *
 * @throws {BackendError} as {@link useBackend} does.
 */
export async function ensureBackend(): Promise<BackendReport> {
  return (
    currentBackend() ??
    inTurn(async () => currentBackend() ?? choose('auto', checkOptions(optionsSchema, {}, 'useBackend')))
  );
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

/**
 * A program may call `tf.setBackend` itself; in browsers tfjs also starts webgl unasked at the first stray operation. cpu
 * does not count: tfjs falls back to it unasked everywhere. Nor does a name whose start failed or is under way.
 */
function chosenByProgram(): BackendReport | undefined {
  const { backendName: backend, registry } = tf.engine();
  if (backend === 'cpu' || registry[backend] === undefined || isHalfPrecision(backend)) return undefined;
  return {
    ...REFERENCE,
    backend,
    requested: 'program',
    reason: 'tfjs ran it already',
    patched: false,
    kernelsReason: 'useBackend() loads the fused engine, and was not called',
  };
}

async function startAuto(options: CheckedOptions): Promise<TfjsReport> {
  if (!isNode()) return startInBrowser(options);
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

async function startInBrowser(options: CheckedOptions): Promise<TfjsReport> {
  let refusal: BackendError;
  try {
    return await start('wasm', 'auto', 'the default in a browser', options);
  } catch (error) {
    if (!(error instanceof BackendError)) throw error;
    refusal = error;
  }
  try {
    return await start('webgl', 'auto', `the next best in a browser (${refusal.message})`, options);
  } catch (error) {
    if (!(error instanceof BackendError)) throw error;
    throw new BackendError(
      `No backend starts: ${refusal.message}. ${error.message}. cpu is only used when asked for by name`,
      { backend: 'auto', cause: refusal },
    );
  }
}

async function start(
  name: BackendName,
  requested: string,
  reason: string,
  options: CheckedOptions,
): Promise<TfjsReport> {
  const { tfjs } = BACKENDS[name];
  await load(name, options);
  const before = tf.engine().backendName;
  let isStarted = false;
  const restoreListeners = name === 'wasm' ? rememberListeners() : undefined;
  try {
    isStarted = await tf.setBackend(tfjs);
    if (isStarted) await tf.ready();
  } catch (cause) {
    throw new BackendError(`The ${name} backend does not start: ${messageOf(cause)}`, { backend: name, cause });
  } finally {
    restoreListeners?.();
    if (!isStarted) await goBackTo(before);
  }
  if (!isStarted) {
    const hint =
      name === 'wasm' && !isNode() ? ': the page did not find its .wasm files, pass `wasmPaths`' : ' on this machine';
    throw new BackendError(`The ${name} backend does not start${hint}`, { backend: name });
  }
  if (isHalfPrecision(name)) {
    await goBackTo(before);
    throw new BackendError(`The ${name} backend has only 16-bit floats on this machine: training would overflow`, {
      backend: name,
    });
  }
  let patched = false;
  if (name === 'wasm') {
    if (options.patch) patched = applyMatMulPatch();
    else removeMatMulPatch();
  }
  return { backend: tfjs, requested, reason, patched };
}

/** After a start that failed, tfjs would run the next operation on whatever starts, cpu included. */
async function goBackTo(backend: string): Promise<void> {
  if (tf.engine().registry[backend] !== undefined) await tf.setBackend(backend);
}

function isHalfPrecision(name: string): boolean {
  return name === 'webgl' && !tf.env().getBool('WEBGL_RENDER_FLOAT32_ENABLED');
}

async function loadWasm({ wasmPaths }: CheckedOptions): Promise<void> {
  const { setWasmPaths } = await import('@tensorflow/tfjs-backend-wasm');
  // In pages under cross-origin isolation tfjs would start eight workers of its own, and wait for ever where a
  // Content-Security-Policy forbids them. The engine has threads; what tfjs computes has the same bits everywhere.
  tf.env().set('WASM_HAS_MULTITHREAD_SUPPORT', false);
  if (wasmPaths === undefined || JSON.stringify(wasmPaths) === JSON.stringify(toldWasmPaths)) return;
  try {
    setWasmPaths(typeof wasmPaths === 'string' && !wasmPaths.endsWith('/') ? `${wasmPaths}/` : wasmPaths);
  } catch (cause) {
    const message = 'The wasm backend failed to start before, and looks nowhere else until the page is loaded again';
    throw new BackendError(message, { backend: 'wasm', cause });
  }
  toldWasmPaths = wasmPaths;
}

async function load(name: BackendName, options: CheckedOptions): Promise<void> {
  if (name === 'wasm') return loadWasm(options);
  const specifier = BACKENDS[name].package;
  // A page that imports webgpu's package itself has registered it.
  if (specifier === undefined || (!isNode() && tf.findBackendFactory(BACKENDS[name].tfjs) != null)) return;
  if (name === 'node' || name === 'node-gpu') {
    if (!isNode()) throw new BackendError(`The ${name} backend runs in Node only`, { backend: name });
    restoreIsNullOrUndefined();
  }
  try {
    // A variable, so that neither the compiler nor a bundler looks for the optional package.
    await import(/* @vite-ignore */ /* webpackIgnore: true */ specifier);
  } catch (cause) {
    // Loaders word it differently, but all quote the specifier; a package that lacks its addon quotes a path.
    const isMissing = [`'${specifier}'`, `"${specifier}"`].some((quoted) => messageOf(cause).includes(quoted));
    if (isMissing || !isNode()) {
      const install = `npm install ${specifier}`;
      const lack = isNode()
        ? `which is not installed: run \`${install}\``
        : `which this page lacks: run \`${install}\`, and import it in the page's own script, for a bundler to find`;
      throw new BackendError(`The ${name} backend needs ${specifier}, ${lack}`, { backend: name, install, cause });
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
