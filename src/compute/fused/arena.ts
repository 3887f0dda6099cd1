import type { Engine } from './engine.js';

const ALIGNMENT = 64;
/** Room beyond what is needed, so that batches of varying lengths do not make it grow again and again. */
const SPARE = 1.125;

/** Bytes rounded up to what the engine's arrays begin at multiples of. */
export function aligned(bytes: number): number {
  return Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;
}

/**
 * The structure of an operation and everything it points to, in one allocation of the engine's memory that grows and
 * never shrinks. Who makes one disposes it.
 */
export class Arena {
  readonly #engine: Engine;
  readonly #words: Int32Array;
  readonly #floats: Float32Array;
  #pointer = 0;
  #capacity = 0;
  #used = 0;

  /**
   * @param engine - whose memory.
   * @param words - number of words of the structure.
   */
  constructor(engine: Engine, words: number) {
    this.#engine = engine;
    this.#words = new Int32Array(words);
    this.#floats = new Float32Array(this.#words.buffer);
  }

  /** Pointer to the structure. */
  get structure(): number {
    return this.#pointer;
  }

  /**
   * Lays all arrays out anew, whose contents are undefined afterwards. Words set before stay.
   *
   * @param layOut - takes room and sets words, always the same; called twice where there was too little room.
   * @throws {BackendError} when memory runs out; the arena is empty then.
   */
  build(layOut: () => void): void {
    const header = aligned(this.#words.length * 4);
    this.#used = header;
    layOut();
    if (this.#used > this.#capacity) {
      const capacity = aligned(Math.ceil(this.#used * SPARE));
      this.dispose();
      this.#pointer = this.#engine.allocate(capacity);
      this.#capacity = capacity;
      this.#used = header;
      layOut();
    }
    this.#engine.i32(this.#pointer, this.#words.length).set(this.#words);
  }

  /** Sets a word of the structure to an integer or a pointer; before or within {@link Arena.build}. */
  set(word: number, value: number): void {
    this.#words[word] = value;
  }

  /** Sets a word to a float; before or within {@link Arena.build}. */
  setFloat(word: number, value: number): void {
    this.#floats[word] = value;
  }

  /** Makes room for so many 4-byte values and lets a word point to it; within {@link Arena.build}. */
  take(word: number, count: number): void {
    this.#words[word] = this.#pointer + this.#used;
    this.#used += aligned(count * 4);
  }

  /** Lets a word say what another one says; before or within {@link Arena.build}. */
  repeat(word: number, other: number): void {
    this.#words[word] = this.#words[other] as number;
  }

  /** A word as an unsigned integer. */
  get(word: number): number {
    return (this.#words[word] as number) >>> 0;
  }

  /** Changes a word of the structure once it is built. */
  change(word: number, value: number): void {
    this.#words[word] = value;
    this.#engine.i32(this.#pointer, this.#words.length)[word] = value;
  }

  /** Fills the array that a word points to. */
  copy(word: number, values: Int32Array): void {
    this.#engine.i32(this.get(word), values.length).set(values);
  }

  /** Fills a part of the array that a word points to, from the float `offset` on. */
  copyFloats(word: number, values: Float32Array, offset: number): void {
    this.#engine.f32(this.get(word) + offset * 4, values.length).set(values);
  }

  /** Frees the memory. Idempotent. */
  dispose(): void {
    if (this.#capacity > 0) this.#engine.free(this.#pointer);
    this.#pointer = 0;
    this.#capacity = 0;
  }
}
