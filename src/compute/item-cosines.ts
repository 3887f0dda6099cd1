import type { DenseText, SparseText } from './history-features.js';
import { SparseCosines } from './sparse-cosines.js';

/** Memory for rows that are kept; most catalogues of some thousands of items fit. */
const KEPT_BYTES = 64 * 2 ** 20;

/**
 * Cosines of one item to all, from rows of unit norm: computed once and kept, since the same items come back in every batch; the
 * least recently used go first.
 */
export class ItemCosines {
  readonly #fill: (item: number, into: Float32Array) => void;
  readonly #itemCount: number;
  readonly #kept = new Map<number, Float32Array>();
  readonly #capacity: number;

  /**
   * @param text - dense features, or exact sparse rows; borrowed, must not change.
   * @param itemCount - A.
   * @param least - rows that are kept whatever their size: those of one history.
   * @throws {InvalidArgumentError} when the arrays of sparse rows do not fit together.
   */
  constructor(text: DenseText | SparseText, itemCount: number, least = 1) {
    this.#fill = 'rows' in text ? sparse(text) : dense(text, itemCount);
    this.#itemCount = itemCount;
    this.#capacity = Math.max(least, Math.floor(KEPT_BYTES / (4 * itemCount)));
  }

  /** Cosines of an item to all items, `[A]`; borrowed, must not be written to. */
  of(item: number): Float32Array {
    const known = this.#kept.get(item);
    if (known !== undefined) {
      this.#kept.delete(item);
      this.#kept.set(item, known);
      return known;
    }
    const cosines = new Float32Array(this.#itemCount);
    this.#fill(item, cosines);
    if (this.#kept.size >= this.#capacity) {
      for (const oldest of this.#kept.keys()) {
        this.#kept.delete(oldest);
        break;
      }
    }
    this.#kept.set(item, cosines);
    return cosines;
  }
}

function sparse({ rows }: SparseText): (item: number, into: Float32Array) => void {
  const cosines = SparseCosines.of(rows);
  return (item, into) => cosines.fill(item, into);
}

function dense({ matrix, width }: DenseText, itemCount: number): (item: number, into: Float32Array) => void {
  return (item, into) => {
    const own = matrix.subarray(item * width, (item + 1) * width);
    for (let other = 0; other < itemCount; other++) {
      const from = other * width;
      let sum = 0;
      for (let i = 0; i < width; i++) sum += (own[i] as number) * (matrix[from + i] as number);
      into[other] = sum;
    }
  };
}
