import { BackendError } from '../../foundation/errors.js';
import { CONTROL, WORKER_SOURCE, type WorkerStart } from './engine-worker.js';

/** Runs one chunk of an operation: the engine's export. */
export type RunChunk = (op: number, args: number, chunk: number) => void;

/** How long a thread looks for what it waits for before it sleeps: waking it costs about as much. */
const SPIN_MS = 0.2;
/** Looks between two looks at the clock. */
const LOOKS = 1024;
/** How long the calling thread sleeps at a time. */
const YIELD_MS = 0.1;
/** Work in regions of several chunks before workers are worth their start. */
const START_AFTER_MS = 2;
/** A region shorter than this when it last ran is not worth a second thread, which would have to notice it first. */
const SHORT_MS = 0.025;
/** A region longer than this is worth waking a worker that sleeps. */
const LONG_MS = 0.15;
/** Regions whose time is kept; as many structures are in use at a time at most, more means that old ones were freed. */
const MOST_TIMES = 1024;
/** A chunk takes milliseconds: one that a worker took and that is not done after so long is lost. */
const LOST_AFTER_MS = 60_000;
/** A process that was stopped and goes on has not waited all that time. */
const LONGEST_LOOK_MS = 100;

/** How a pool is made. */
export interface ThreadPoolOptions {
  /** The engine, for the workers. */
  readonly module: WebAssembly.Module;
  /** Its shared memory. */
  readonly memory: WebAssembly.Memory;
  /** The calling thread's own instance. */
  readonly run: RunChunk;
  /** How many, the calling thread among them, >= 1. */
  readonly threads: number;
  /** Work in regions before workers start, in milliseconds. @default 2 */
  readonly startAfterMs?: number;
  /** How long a chunk that a worker took may last, in milliseconds. @default 60,000 */
  readonly lostAfterMs?: number;
  /** A region that took less the last time stays with the calling thread, in milliseconds; 0 shares all. @default 0.025 */
  readonly shortMs?: number;
}

/** What the pool needs of a worker of Node or of a browser. */
interface WorkerHandle {
  terminate(): void;
}

/**
 * A parallel for over threads that share the engine's memory. The calling thread does its part and never waits for a
 * worker to start: workers begin lazily, once there was work for them, and a pool without any is slower, no more.
 * They keep no process alive.
 */
export class ThreadPool {
  readonly #control: Int32Array;
  readonly #start: WorkerStart;
  readonly #run: RunChunk;
  readonly #wanted: number;
  readonly #startAfterMs: number;
  readonly #lostAfterMs: number;
  readonly #shortMs: number;
  readonly #longMs: number;
  readonly #workers = new Set<WorkerHandle>();
  /** Browsers forbid it to a page's main thread. */
  readonly #mayWait: boolean;
  /** How long each operation on each structure took the last time, in milliseconds. */
  readonly #times = new Map<number, number>();
  #isStarted = false;
  #isDisposed = false;
  #workMs = 0;
  /** Next ticket; between two regions the same as those taken and those done. */
  #next = 0;
  #epoch = 0;

  /** @param options - see {@link ThreadPoolOptions}. */
  constructor({ module, memory, run, threads, startAfterMs, lostAfterMs, shortMs }: ThreadPoolOptions) {
    this.#control = new Int32Array(new SharedArrayBuffer(CONTROL.words * Int32Array.BYTES_PER_ELEMENT));
    this.#start = { module, memory, control: this.#control, spinMs: SPIN_MS };
    this.#run = run;
    this.#wanted = threads - 1;
    this.#startAfterMs = startAfterMs ?? START_AFTER_MS;
    this.#lostAfterMs = lostAfterMs ?? LOST_AFTER_MS;
    this.#shortMs = shortMs ?? SHORT_MS;
    this.#longMs = Math.min(LONG_MS, 10 * this.#shortMs);
    this.#mayWait = mayWait(this.#control);
  }

  /** Workers that were started and have not ended. */
  get workers(): number {
    return this.#workers.size;
  }

  /**
   * Runs chunks 0 to `chunks` - 1, each once, on whichever thread comes first; returns when all are done.
   *
   * @throws {BackendError} when a chunk trapped (all others were done), or a worker was lost with one.
   */
  run(op: number, args: number, chunks: number): void {
    if (this.#isDisposed) {
      runInOneThread(this.#run, op, args, chunks);
      return;
    }
    const key = op * 2 ** 32 + args;
    const started = performance.now();
    const expected = this.#times.get(key) ?? Number.POSITIVE_INFINITY;
    if (expected < this.#shortMs) runInOneThread(this.#run, op, args, chunks);
    else this.#region(op, args, chunks, expected >= this.#longMs);
    const took = performance.now() - started;
    if (this.#times.size >= MOST_TIMES) this.#times.clear();
    this.#times.set(key, took);
    if (this.#isStarted) return;
    this.#workMs += took;
    if (this.#workMs > this.#startAfterMs) this.#startWorkers();
  }

  /** Ends the workers; the calling thread goes on alone. Idempotent. */
  dispose(): void {
    if (this.#isDisposed) return;
    this.#isDisposed = true;
    Atomics.store(this.#control, CONTROL.stop, 1);
    Atomics.add(this.#control, CONTROL.epoch, 2);
    Atomics.notify(this.#control, CONTROL.epoch);
    for (const worker of this.#workers) worker.terminate();
    this.#workers.clear();
  }

  /** @param isWorthWaking - whether workers that sleep are woken; those awake take part in any case. */
  #region(op: number, args: number, chunks: number, isWorthWaking: boolean): void {
    const control = this.#control;
    const base = this.#next;
    this.#describe(op, args, chunks);
    if (isWorthWaking && Atomics.load(control, CONTROL.sleepers) > 0) Atomics.notify(control, CONTROL.epoch);
    let trap: unknown;
    for (;;) {
      const ticket = Atomics.load(control, CONTROL.next);
      const chunk = (ticket - base) | 0;
      if (chunk >= chunks) break;
      if (Atomics.compareExchange(control, CONTROL.next, ticket, (ticket + 1) | 0) !== ticket) continue;
      try {
        this.#run(op, args, chunk);
      } catch (error) {
        trap ??= error;
        Atomics.compareExchange(control, CONTROL.fault, 0, chunk + 1);
      }
      Atomics.add(control, CONTROL.done, 1);
    }
    this.#next = (base + chunks) | 0;
    this.#await(op);
    const fault = Atomics.load(control, CONTROL.fault);
    if (fault === 0) return;
    Atomics.store(control, CONTROL.fault, 0);
    throw trapError(op, fault - 1, trap);
  }

  #describe(op: number, args: number, chunks: number): void {
    const control = this.#control;
    Atomics.store(control, CONTROL.epoch, this.#epoch + 1);
    Atomics.store(control, CONTROL.op, op);
    Atomics.store(control, CONTROL.args, args);
    Atomics.store(control, CONTROL.base, this.#next);
    Atomics.store(control, CONTROL.count, chunks);
    this.#epoch = (this.#epoch + 2) | 0;
    Atomics.store(control, CONTROL.epoch, this.#epoch);
  }

  /** Until the workers have done what they took. Their end cannot be seen from here: no event arrives in between. */
  #await(op: number): void {
    const control = this.#control;
    let looks = 0;
    let waitedMs = 0;
    let last = performance.now();
    for (;;) {
      const done = Atomics.load(control, CONTROL.done);
      if (done === this.#next) return;
      if (++looks % LOOKS !== 0) continue;
      const now = performance.now();
      waitedMs += Math.min(now - last, LONGEST_LOOK_MS);
      last = now;
      // So long because the worker has no processor: it gets ours for a moment.
      if (waitedMs > SPIN_MS && this.#mayWait) Atomics.wait(control, CONTROL.done, done, YIELD_MS);
      if (waitedMs <= this.#lostAfterMs) continue;
      this.dispose();
      throw new BackendError(
        `A thread of the engine ended while it worked on operation ${op}: what it was to compute is lost; go on from the last checkpoint`,
        { backend: 'wasm' },
      );
    }
  }

  #startWorkers(): void {
    this.#isStarted = true;
    for (let n = 0; n < this.#wanted; n++) {
      const gone = (reason?: unknown): void => {
        if (worker !== undefined) this.#workers.delete(worker);
        if (reason !== undefined) warnOnce(reason);
      };
      let worker: WorkerHandle | undefined;
      try {
        worker = startWorker(this.#start, gone);
      } catch (error) {
        warnOnce(error);
        return;
      }
      this.#workers.add(worker);
    }
  }
}

/** Whether this thread may sleep: tried on a word that has another value, which ends at once. */
function mayWait(control: Int32Array): boolean {
  try {
    return Atomics.wait(control, CONTROL.epoch, -1, 0) === 'not-equal';
  } catch {
    return false;
  }
}

/** More threads than this wait for memory more than they compute. */
const MOST_BY_DEFAULT = 4;

/** Threads to use where nobody says how many: what the machine has for this process, at most 4. */
export function defaultThreads(): number {
  const available =
    typeof process === 'undefined'
      ? undefined
      : (
          process.getBuiltinModule?.('os') as { availableParallelism?: () => number } | undefined
        )?.availableParallelism?.();
  const { navigator } = globalThis as { navigator?: { readonly hardwareConcurrency?: number } };
  return Math.min(MOST_BY_DEFAULT, available ?? navigator?.hardwareConcurrency ?? 1);
}

/**
 * Runs all chunks in order.
 *
 * @throws {BackendError} when one traps; those after it were not begun.
 */
export function runInOneThread(run: RunChunk, op: number, args: number, chunks: number): void {
  let chunk = 0;
  try {
    for (; chunk < chunks; chunk++) run(op, args, chunk);
  } catch (cause) {
    throw trapError(op, chunk, cause);
  }
}

function trapError(op: number, chunk: number, cause: unknown): BackendError {
  return new BackendError(`The engine failed in operation ${op}, chunk ${chunk}: this is a defect of the library`, {
    backend: 'wasm',
    cause,
  });
}

let hasWarned = false;

function warnOnce(reason: unknown): void {
  if (hasWarned) return;
  hasWarned = true;
  const message = reason instanceof Error ? reason.message : String(reason);
  console.warn(`ialp: no further threads for the engine, which goes on without: ${message}`);
}

/** `worker_threads`, as far as it is used. */
interface NodeThreads {
  readonly Worker: new (
    source: string,
    options: object,
  ) => {
    unref(): void;
    terminate(): Promise<number>;
    on(event: 'error' | 'exit', listener: (reason: unknown) => void): void;
  };
}

/** @param gone - called when the worker has ended, with the reason where it failed. */
function startWorker(start: WorkerStart, gone: (reason?: unknown) => void): WorkerHandle {
  const threads =
    typeof process === 'undefined'
      ? undefined
      : (process.getBuiltinModule?.('worker_threads') as unknown as NodeThreads | undefined);
  return threads === undefined ? startWebWorker(start, gone) : startNodeWorker(threads, start, gone);
}

function startNodeWorker({ Worker }: NodeThreads, start: WorkerStart, gone: (reason?: unknown) => void): WorkerHandle {
  // No loader or preload of the program's own: the script imports nothing.
  const worker = new Worker(WORKER_SOURCE, { eval: true, workerData: start, execArgv: [], env: {} });
  worker.unref();
  worker.on('error', (reason) => gone(reason));
  worker.on('exit', () => gone());
  return { terminate: () => void worker.terminate() };
}

function startWebWorker(start: WorkerStart, gone: (reason?: unknown) => void): WorkerHandle {
  const url = URL.createObjectURL(new Blob([WORKER_SOURCE], { type: 'text/javascript' }));
  try {
    const worker = new Worker(url);
    worker.onerror = (event) => {
      event.preventDefault();
      gone(event.message ?? 'a worker does not start (a Content-Security-Policy without `worker-src blob:`?)');
    };
    worker.postMessage(start);
    return worker;
  } finally {
    // The worker has its address already; a browser that fetches later keeps the Blob until then.
    URL.revokeObjectURL(url);
  }
}
