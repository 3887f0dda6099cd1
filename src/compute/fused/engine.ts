import { BackendError, InvalidArgumentError } from '../../foundation/errors.js';
import { createEngineMemory, EngineHeap } from './engine-heap.js';
import { canShareMemory, compileVariant, type EngineVariant } from './engine-variants.js';
import { type RunChunk, runInOneThread, ThreadPool } from './thread-pool.js';

/** How an {@link Engine} is to run. */
export interface EngineSettings {
  /** Which binary. */
  readonly variant: EngineVariant;
  /** How many threads, the calling one among them, >= 1; without shared memory there is one. */
  readonly threads: number;
}

/**
 * The fused engine: one linear memory, one instance a thread, one allocator. A process has one, which
 * {@link loadEngine} makes.
 */
export class Engine {
  readonly #memory: WebAssembly.Memory;
  readonly #heap: EngineHeap;
  readonly #isShared: boolean;
  #variant: EngineVariant;
  #module: WebAssembly.Module;
  #run: RunChunk;
  #threads = 1;
  #pool: ThreadPool | undefined;

  /** @param module - the variant's, compiled for memory that is shared, or not. */
  constructor(variant: EngineVariant, module: WebAssembly.Module, isShared: boolean) {
    this.#memory = createEngineMemory(isShared);
    this.#heap = new EngineHeap(this.#memory);
    this.#isShared = isShared;
    this.#variant = variant;
    this.#module = module;
    this.#run = this.#instantiate(module);
  }

  /** Which binary runs. */
  get variant(): EngineVariant {
    return this.#variant;
  }

  /** How many threads share a region, the calling one among them. */
  get threads(): number {
    return this.#threads;
  }

  /** Workers alive now: at most `threads` - 1, and none before there was work for them. */
  get workers(): number {
    return this.#pool?.workers ?? 0;
  }

  /** Whether memory is shared; where it is not, there is one thread, and growth detaches views. */
  get isShared(): boolean {
    return this.#isShared;
  }

  /** Bytes allocated and not freed. */
  get bytesInUse(): number {
    return this.#heap.bytesInUse;
  }

  /** Bytes of memory that the engine has reserved; it never shrinks. */
  get bytesReserved(): number {
    return this.#memory.buffer.byteLength;
  }

  /**
   * Allocates; the contents are undefined, and views made before may be detached by it.
   *
   * @param bytes - how many.
   * @returns a pointer, a multiple of 64, below 2^32.
   * @throws {BackendError} when there is no more memory; what is allocated stays.
   */
  allocate(bytes: number): number {
    return this.#heap.allocate(bytes);
  }

  /**
   * Frees what {@link Engine.allocate} gave.
   *
   * @throws {InvalidArgumentError} when it is no such pointer, or was freed before.
   */
  free(pointer: number): void {
    this.#heap.free(pointer);
  }

  /** A view of floats; good until the next {@link Engine.allocate}. */
  f32(pointer: number, length: number): Float32Array<ArrayBuffer> {
    return new Float32Array(this.#memory.buffer, pointer, length);
  }

  /** A view of doubles; good until the next {@link Engine.allocate}. */
  f64(pointer: number, length: number): Float64Array<ArrayBuffer> {
    return new Float64Array(this.#memory.buffer, pointer, length);
  }

  /** A view of 32-bit integers; good until the next {@link Engine.allocate}. */
  i32(pointer: number, length: number): Int32Array<ArrayBuffer> {
    return new Int32Array(this.#memory.buffer, pointer, length);
  }

  /** A view of bytes; good until the next {@link Engine.allocate}. */
  u8(pointer: number, length: number): Uint8Array<ArrayBuffer> {
    return new Uint8Array(this.#memory.buffer, pointer, length);
  }

  /** Whether a view made before is still good: growth of the memory detaches it where memory is not shared. */
  isCurrent(view: ArrayBufferView): boolean {
    return view.buffer === this.#memory.buffer;
  }

  /**
   * A parallel for: chunks 0 to `chunks` - 1 of an operation, each once, on whichever thread comes first. Returns when
   * all are done.
   *
   * @param op - number of the operation.
   * @param args - pointer to its arguments.
   * @param chunks - how many; it must depend on sizes alone, so that the number of threads changes no bit.
   * @throws {BackendError} when the operation traps.
   */
  run(op: number, args: number, chunks: number): void {
    if (this.#pool !== undefined && chunks > 1) {
      this.#pool.run(op, args, chunks);
      return;
    }
    runInOneThread(this.#run, op, args, chunks);
  }

  /**
   * Runs with another number of threads from now on. What is in memory stays.
   *
   * @param threads - the calling one among them, >= 1.
   */
  setThreads(threads: number): void {
    const wanted = this.#isShared ? threads : 1;
    if (wanted === this.#threads) return;
    this.#threads = wanted;
    this.#startPool();
  }

  /** Runs with another binary from now on, over the same memory. */
  async setVariant(variant: EngineVariant): Promise<void> {
    if (variant === this.#variant) return;
    const module = await compileVariant(variant, this.#isShared);
    this.#run = this.#instantiate(module);
    this.#module = module;
    this.#variant = variant;
    this.#startPool();
  }

  /** Ends all workers; the engine goes on with one thread. */
  dispose(): void {
    this.setThreads(1);
  }

  #startPool(): void {
    this.#pool?.dispose();
    this.#pool = undefined;
    if (this.#threads === 1) return;
    const [module, memory, run, threads] = [this.#module, this.#memory, this.#run, this.#threads];
    this.#pool = new ThreadPool({ module, memory, run, threads });
  }

  #instantiate(module: WebAssembly.Module): RunChunk {
    const { run } = new WebAssembly.Instance(module, { env: { memory: this.#memory } }).exports;
    if (typeof run !== 'function') throw new BackendError('The engine exports no `run`', { backend: 'wasm' });
    return run as RunChunk;
  }
}

let engine: Engine | undefined;
let isInUse = false;

/** The engine that fused kernels run on; undefined when none was loaded, or the last choice was to run without. */
export function currentEngine(): Engine | undefined {
  return isInUse ? engine : undefined;
}

/**
 * Makes the process's engine, or changes how it runs: what was in its memory stays. Use it from one caller at a time.
 *
 * @throws {BackendError} when it does not start.
 */
export async function loadEngine({ variant, threads }: EngineSettings): Promise<Engine> {
  if (engine === undefined) {
    const isShared = canShareMemory();
    engine = new Engine(variant, await compileVariant(variant, isShared), isShared);
  } else await engine.setVariant(variant);
  engine.setThreads(threads);
  isInUse = true;
  return engine;
}

/** Runs without the engine from now on: its threads end, and what is in its memory stays as long as someone holds it. */
export function leaveEngine(): void {
  engine?.setThreads(1);
  isInUse = false;
}

/**
 * Ends the engine's threads and forgets its memory.
 *
 * @throws {InvalidArgumentError} when some of its memory is in use: dispose the kernels first.
 */
export function disposeEngine(): void {
  if (engine !== undefined && engine.bytesInUse > 0) {
    throw new InvalidArgumentError(
      `Expected nothing to use the engine any more, found ${engine.bytesInUse} bytes in use: dispose the agents and kernels first`,
      { argument: 'engine', got: engine.bytesInUse },
    );
  }
  leaveEngine();
  engine = undefined;
}

/** Bytes that are allocated in the engine's memory, in use or not; 0 without an engine. */
export function engineBytesInUse(): number {
  return engine?.bytesInUse ?? 0;
}
