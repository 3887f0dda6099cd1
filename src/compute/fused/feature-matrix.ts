import type { Engine } from './engine.js';
import { TILE } from './head-layout.js';

/** Cosine rows of one matrix take at most so much memory; beyond it the least recently made go first. */
const COSINE_BYTES = 64 * 2 ** 20;
/** A call needs the cosine rows of one history at once. */
const FEWEST_ROWS = 64;

/** A row of cosines that has to be made: of which item, and where it goes. */
export interface NewCosines {
  /** The item. */
  readonly item: number;
  /** Pointer to `[A]` floats, and zeros up to whole tiles. */
  readonly pointer: number;
}

/**
 * Item features in engine memory `[A, width]`, the width rounded up to a multiple of 4 with zeros; and rows of cosines of
 * single items to all items, which the same items of histories ask for again and again. One for each array, however many
 * kernels use it.
 */
export class FeatureMatrix {
  /** Pointer to `[A, width]`. */
  readonly pointer: number;
  /** The rounded width. */
  readonly width: number;
  /** The width of the array it was made from. */
  readonly givenWidth: number;
  readonly #engine: Engine;
  readonly #itemCount: number;
  readonly #rowLength: number;
  readonly #rows = new Map<number, number>();
  readonly #capacity: number;
  #users = 0;

  private constructor(engine: Engine, matrix: Float32Array, itemCount: number) {
    const givenWidth = matrix.length / itemCount;
    this.#engine = engine;
    this.#itemCount = itemCount;
    this.#rowLength = Math.ceil(itemCount / TILE) * TILE;
    this.givenWidth = givenWidth;
    this.width = Math.ceil(givenWidth / 4) * 4;
    this.pointer = engine.allocate(Math.max(4, itemCount * this.width * 4));
    const padded = engine.f32(this.pointer, itemCount * this.width);
    if (this.width === givenWidth) padded.set(matrix);
    else {
      padded.fill(0);
      for (let item = 0; item < itemCount; item++) {
        padded.set(matrix.subarray(item * givenWidth, (item + 1) * givenWidth), item * this.width);
      }
    }
    this.#capacity = Math.max(FEWEST_ROWS, Math.floor(COSINE_BYTES / (4 * itemCount)));
  }

  /**
   * The engine's copy of a matrix; made when no one has it yet. Who gets it calls {@link FeatureMatrix.release}.
   *
   * @param engine - where it goes.
   * @param matrix - `[A, width]`; must not change as long as it is used.
   * @param itemCount - number of items A.
   */
  static acquire(engine: Engine, matrix: Float32Array, itemCount: number): FeatureMatrix {
    const ofEngine = matrices.get(engine) ?? new Map<Float32Array, FeatureMatrix>();
    matrices.set(engine, ofEngine);
    const made = ofEngine.get(matrix) ?? new FeatureMatrix(engine, matrix, itemCount);
    ofEngine.set(matrix, made);
    made.#users++;
    return made;
  }

  /** Gives it back; the last user's call frees it. */
  release(): void {
    this.#users--;
    if (this.#users > 0) return;
    this.#engine.free(this.pointer);
    for (const pointer of this.#rows.values()) this.#engine.free(pointer);
    this.#rows.clear();
    const ofEngine = matrices.get(this.#engine);
    for (const [array, matrix] of ofEngine ?? []) if (matrix === this) ofEngine?.delete(array);
  }

  /** How many rows of cosines can be kept at once. */
  get capacity(): number {
    return this.#capacity;
  }

  /**
   * Pointer to the cosines of an item to all items, `[A]` and zeros up to whole tiles. Good until rows of more than `capacity` other items were asked for.
   *
   * @param toMake - gets an entry when the row is new: the caller has it computed before it is read.
   */
  cosines(item: number, toMake: NewCosines[]): number {
    const known = this.#rows.get(item);
    if (known !== undefined) {
      // Asked for again: it goes to the end of the queue. Where all items fit there is no need for one.
      if (this.#capacity < this.#itemCount) {
        this.#rows.delete(item);
        this.#rows.set(item, known);
      }
      return known;
    }
    let pointer: number | undefined;
    if (this.#rows.size >= this.#capacity) {
      for (const [oldest, freed] of this.#rows) {
        this.#rows.delete(oldest);
        pointer = freed;
        break;
      }
    }
    if (pointer === undefined) {
      pointer = this.#engine.allocate(this.#rowLength * 4);
      this.#engine.f32(pointer, this.#rowLength).fill(0, this.#itemCount);
    }
    this.#rows.set(item, pointer);
    toMake.push({ item, pointer });
    return pointer;
  }
}

const matrices = new WeakMap<Engine, Map<Float32Array, FeatureMatrix>>();
