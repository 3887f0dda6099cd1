import type { Engine } from './engine.js';
import type { EngineBuffers } from './engine-buffers.js';
import { HeadField, type HeadOp, TILE } from './head-layout.js';

/** Rows that a chunk of rows covers. */
const CHUNK_ROWS = 8;
/** Most chunks that the items are cut into: enough for many threads, few enough for their partial sums. */
const MOST_CHUNKS = 16;

/** A head's structure in engine memory, by the names of `head-layout.ts`. */
export class HeadStruct {
  readonly #engine: Engine;
  readonly #pointer: number;
  #ints: Int32Array;
  #floats: Float32Array;

  constructor(engine: Engine, buffers: EngineBuffers, name: string) {
    this.#engine = engine;
    this.#pointer = buffers.reserve(name, HeadField.Count * 4);
    this.#ints = engine.i32(this.#pointer, HeadField.Count).fill(0);
    this.#floats = engine.f32(this.#pointer, HeadField.Count);
  }

  /** Sets a word to an integer or a pointer. */
  set(name: HeadField, value: number): void {
    this.#words()[name] = value;
  }

  /** Sets words to integers or pointers. */
  setAll(words: readonly (readonly [name: HeadField, value: number])[]): void {
    const all = this.#words();
    for (const [name, value] of words) all[name] = value;
  }

  /** Sets a word to a float. */
  setFloat(name: HeadField, value: number): void {
    this.#words();
    this.#floats[name] = value;
  }

  /** A word as a signed integer. */
  get(name: HeadField): number {
    return this.#words()[name] as number;
  }

  /** Runs an operation on it. */
  run(op: HeadOp, chunks: number): void {
    this.#engine.run(op, this.#pointer, chunks);
  }

  /**
   * Sets the sizes: rows R, items A, and how both are cut into chunks, which depends on them alone.
   *
   * @param rows - R.
   * @param stride - columns of every item's row of scores.
   * @param items - A.
   */
  setSizes(rows: number, stride: number, items: number): void {
    const chunkTiles = Math.ceil(Math.ceil(items / TILE) / MOST_CHUNKS);
    this.setAll([
      [HeadField.Rows, rows],
      [HeadField.Stride, stride],
      [HeadField.Items, items],
      [HeadField.ChunkItems, chunkTiles * TILE],
      [HeadField.Chunks, Math.ceil(items / (chunkTiles * TILE))],
      [HeadField.ChunkRows, CHUNK_ROWS],
    ]);
  }

  /** Chunks that so many rows are cut into. */
  rowChunks(rows: number): number {
    return Math.ceil(rows / CHUNK_ROWS);
  }

  /** The words; a view that growth of unshared memory has detached is made anew. */
  #words(): Int32Array {
    if (this.#ints.length === 0) {
      this.#ints = this.#engine.i32(this.#pointer, HeadField.Count);
      this.#floats = this.#engine.f32(this.#pointer, HeadField.Count);
    }
    return this.#ints;
  }
}
