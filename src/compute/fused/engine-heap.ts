import { BackendError, InvalidArgumentError } from '../../foundation/errors.js';

const PAGE = 65_536;
/** A cache line, and more than any vector. */
const ALIGNMENT = 64;
/** Nothing lies below, so that 0 is no pointer. */
const FIRST_POINTER = 1024;
/** One page less than 4 GiB, so that the end of an array is a pointer too. */
const MOST_PAGES = 65_535;
/** Maxima tried in turn: some platforms reserve the whole range at once, and have less. */
const MAXIMA = [65_536, 32_768, 16_384, 8_192];
const FIRST_PAGES = 16;

/**
 * Memory for the engine, which grows to 4 GiB where the platform has it.
 *
 * @param isShared - whether threads share it.
 * @throws {BackendError} when there is none to be had.
 */
export function createEngineMemory(isShared: boolean): WebAssembly.Memory {
  let cause: unknown;
  for (const maximum of MAXIMA) {
    try {
      return new WebAssembly.Memory({ initial: FIRST_PAGES, maximum, shared: isShared });
    } catch (error) {
      cause = error;
    }
  }
  throw new BackendError('No memory for the engine', { backend: 'wasm', cause });
}

/**
 * Allocates in a WebAssembly memory: first fit by address, neighbours joined when freed. It keeps its books outside of
 * that memory, so that any instance may run over it. Memory grows and is never given back.
 */
export class EngineHeap {
  readonly #memory: WebAssembly.Memory;
  /** Bytes of each allocation, by pointer. */
  readonly #used = new Map<number, number>();
  /** Starts of the free ranges, ascending; no two touch. */
  readonly #starts: number[];
  /** Their ends. */
  readonly #ends: number[];
  #bytesInUse = 0;

  constructor(memory: WebAssembly.Memory) {
    this.#memory = memory;
    this.#starts = [FIRST_POINTER];
    this.#ends = [memory.buffer.byteLength];
  }

  /** Bytes allocated and not freed. */
  get bytesInUse(): number {
    return this.#bytesInUse;
  }

  /**
   * @param bytes - how many; contents are undefined.
   * @returns a multiple of 64.
   * @throws {BackendError} when memory cannot grow by so much; what is allocated stays.
   */
  allocate(bytes: number): number {
    const size = Math.max(1, Math.ceil(bytes / ALIGNMENT)) * ALIGNMENT;
    let place = this.#ends.findIndex((end, index) => end - (this.#starts[index] as number) >= size);
    if (place < 0) {
      this.#grow(size);
      place = this.#ends.length - 1;
    }
    const pointer = this.#starts[place] as number;
    if (pointer + size === this.#ends[place]) {
      this.#starts.splice(place, 1);
      this.#ends.splice(place, 1);
    } else this.#starts[place] = pointer + size;
    this.#used.set(pointer, size);
    this.#bytesInUse += size;
    return pointer;
  }

  /** @throws {InvalidArgumentError} when the pointer was not allocated, or was freed before. */
  free(pointer: number): void {
    const size = this.#used.get(pointer);
    if (size === undefined) {
      throw new InvalidArgumentError(`Expected a pointer that the engine allocated, got ${pointer}`, {
        argument: 'pointer',
        got: pointer,
      });
    }
    this.#used.delete(pointer);
    this.#bytesInUse -= size;
    this.#release(pointer, pointer + size);
  }

  #release(start: number, end: number): void {
    const starts = this.#starts;
    const ends = this.#ends;
    let low = 0;
    for (let high = starts.length; low < high; ) {
      const middle = (low + high) >>> 1;
      if ((starts[middle] as number) < start) low = middle + 1;
      else high = middle;
    }
    const joinsPrevious = ends[low - 1] === start;
    const joinsNext = starts[low] === end;
    if (joinsPrevious && joinsNext) {
      starts.splice(low, 1);
      ends.splice(low - 1, 1);
    } else if (joinsPrevious) ends[low - 1] = end;
    else if (joinsNext) starts[low] = start;
    else {
      starts.splice(low, 0, start);
      ends.splice(low, 0, end);
    }
  }

  /** Makes the last free range hold `size` bytes. */
  #grow(size: number): void {
    const end = this.#memory.buffer.byteLength;
    const last = this.#ends.at(-1) === end ? (this.#starts.at(-1) as number) : end;
    const needed = Math.ceil((last + size - end) / PAGE);
    const pages = end / PAGE;
    // A little ahead, so that many small allocations are not as many growths; untouched pages cost nothing.
    const ahead = Math.min(Math.max(needed, pages >> 3, FIRST_PAGES), MOST_PAGES - pages);
    const isGrown =
      (ahead > needed && this.#tryToGrow(ahead)) || (pages + needed <= MOST_PAGES && this.#tryToGrow(needed));
    if (!isGrown) {
      throw new BackendError(
        `The engine's memory cannot grow by the ${size} bytes that are wanted: ${this.#bytesInUse} of ${end} are in use, and WebAssembly ends at 4 GiB. Smaller batches, or \`kernels: 'reference'\` in useBackend, need less of it`,
        { backend: 'wasm' },
      );
    }
    this.#release(end, this.#memory.buffer.byteLength);
  }

  #tryToGrow(pages: number): boolean {
    try {
      this.#memory.grow(pages);
      return true;
    } catch {
      return false;
    }
  }
}
