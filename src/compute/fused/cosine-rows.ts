import type { Engine } from './engine.js';
import { TILE } from './head-layout.js';

/** Cosine rows of one set of items take at most so much memory; beyond it the least recently made go first. */
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

/** Rows of cosines of single items to all items, which the same items of histories ask for again and again. */
export interface CosineSource {
  /** How many rows can be kept at once. */
  readonly capacity: number;
  /**
   * Pointer to the cosines of an item to all items, `[A]` and zeros up to whole tiles. Good until rows of more than `capacity` other items were asked for.
   *
   * @param toMake - gets an entry when the row is new and the engine has to make it of dense features: the caller has that done before it is read.
   */
  cosines(item: number, toMake: NewCosines[]): number;
}

/** Room for rows of cosines in engine memory, by item. */
export class CosineRows {
  /** How many rows are kept at once. */
  readonly capacity: number;
  readonly #engine: Engine;
  readonly #itemCount: number;
  readonly #rowLength: number;
  readonly #rows = new Map<number, number>();

  /**
   * @param engine - where they are.
   * @param itemCount - number of items A.
   */
  constructor(engine: Engine, itemCount: number) {
    this.#engine = engine;
    this.#itemCount = itemCount;
    this.#rowLength = Math.ceil(itemCount / TILE) * TILE;
    this.capacity = Math.max(FEWEST_ROWS, Math.floor(COSINE_BYTES / (4 * itemCount)));
  }

  /**
   * Pointer to an item's row.
   *
   * @param make - called with it when the row is new, or has another item's numbers.
   */
  row(item: number, make: (pointer: number) => void): number {
    const known = this.#rows.get(item);
    if (known !== undefined) {
      // Asked for again: it goes to the end of the queue. Where all items fit there is no need for one.
      if (this.capacity < this.#itemCount) {
        this.#rows.delete(item);
        this.#rows.set(item, known);
      }
      return known;
    }
    let pointer: number | undefined;
    if (this.#rows.size >= this.capacity) {
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
    make(pointer);
    return pointer;
  }

  /** Frees all. */
  dispose(): void {
    for (const pointer of this.#rows.values()) this.#engine.free(pointer);
    this.#rows.clear();
  }
}
