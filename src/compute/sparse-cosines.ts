import { InvalidArgumentError } from '../foundation/errors.js';

/** Sparse rows of unit norm (or empty), one an item: exact TF-IDF, whose products are the cosines of texts. */
export interface TermRows {
  /** Where each item's entries start, `[A + 1]`, ascending from 0. */
  readonly offsets: Int32Array;
  /** Term numbers of all items end to end, ascending within an item. */
  readonly terms: Int32Array;
  /** Weights of those terms. */
  readonly weights: Float32Array;
  /** Number of terms; their numbers are below it. */
  readonly termCount: number;
}

/**
 * Cosines of items by sparse rows: of one item to all by the lists of the items that hold its terms, of two items by a merge of
 * their rows. Both cost what the texts share, not a product with every item's features.
 */
export class SparseCosines {
  static readonly #made = new WeakMap<TermRows, SparseCosines>();

  /**
   * Those of some rows, made once: an index by term is as large as the rows, and every agent of a catalogue reads the same ones.
   *
   * @param rows - borrowed; must not change.
   * @throws {InvalidArgumentError} when the arrays do not fit together.
   */
  static of(rows: TermRows): SparseCosines {
    const made = SparseCosines.#made.get(rows) ?? new SparseCosines(rows);
    SparseCosines.#made.set(rows, made);
    return made;
  }

  readonly #rows: TermRows;
  /** By term: where its items start, the items, and the term's weight in each. */
  readonly #starts: Int32Array;
  readonly #items: Int32Array;
  readonly #weights: Float32Array;

  /**
   * @param rows - borrowed; must not change.
   * @throws {InvalidArgumentError} when the arrays do not fit together.
   */
  constructor(rows: TermRows) {
    checkTermRows(rows);
    const { offsets, terms, weights, termCount } = rows;
    this.#rows = rows;
    this.#starts = new Int32Array(termCount + 1);
    this.#items = new Int32Array(terms.length);
    this.#weights = new Float32Array(terms.length);
    for (const term of terms) this.#starts[term + 1] = (this.#starts[term + 1] as number) + 1;
    for (let term = 0; term < termCount; term++) {
      this.#starts[term + 1] = (this.#starts[term + 1] as number) + (this.#starts[term] as number);
    }
    const next = this.#starts.slice(0, termCount);
    for (let item = 0; item + 1 < offsets.length; item++) {
      for (let at = offsets[item] as number; at < (offsets[item + 1] as number); at++) {
        const term = terms[at] as number;
        const place = next[term] as number;
        next[term] = place + 1;
        this.#items[place] = item;
        this.#weights[place] = weights[at] as number;
      }
    }
  }

  /** Writes the cosines of an item to all items over the first A numbers of `into`. */
  fill(item: number, into: Float32Array): void {
    const { offsets, terms, weights } = this.#rows;
    into.fill(0, 0, offsets.length - 1);
    for (let at = offsets[item] as number; at < (offsets[item + 1] as number); at++) {
      const term = terms[at] as number;
      const weight = weights[at] as number;
      const end = this.#starts[term + 1] as number;
      for (let place = this.#starts[term] as number; place < end; place++) {
        const other = this.#items[place] as number;
        into[other] = (into[other] as number) + weight * (this.#weights[place] as number);
      }
    }
  }

  /** Cosine of two items. */
  between(one: number, other: number): number {
    const { offsets, terms, weights } = this.#rows;
    let a = offsets[one] as number;
    let b = offsets[other] as number;
    const endA = offsets[one + 1] as number;
    const endB = offsets[other + 1] as number;
    let sum = 0;
    while (a < endA && b < endB) {
      const difference = (terms[a] as number) - (terms[b] as number);
      if (difference === 0) sum += (weights[a++] as number) * (weights[b++] as number);
      else if (difference < 0) a++;
      else b++;
    }
    return sum;
  }
}

function checkTermRows({ offsets, terms, weights, termCount }: TermRows): void {
  let isRight = offsets[0] === 0 && offsets[offsets.length - 1] === terms.length && weights.length === terms.length;
  for (let item = 0; isRight && item + 1 < offsets.length; item++) {
    const end = offsets[item + 1] as number;
    isRight = end >= (offsets[item] as number);
    for (let at = offsets[item] as number; isRight && at < end; at++) {
      const term = terms[at] as number;
      const before = at > (offsets[item] as number) ? (terms[at - 1] as number) : -1;
      isRight = term > before && term < termCount && Number.isFinite(weights[at]);
    }
  }
  if (isRight) return;
  throw new InvalidArgumentError(
    'SparseCosines: expected `rows` to have ascending terms below `termCount` for each item, with a finite weight each, and offsets that cover them',
    { argument: 'rows' },
  );
}
