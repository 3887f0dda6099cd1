import type { Sequences } from '../catalog/sequences.js';
import type { HistoryBatch } from '../compute/history-batch.js';
import { InvalidArgumentError } from '../foundation/errors.js';
import { Rng } from '../foundation/rng.js';
import type { LogitModel } from './reward-model.js';

/** Options of {@link DotProductModel}. */
export interface DotProductOptions {
  /** Item vectors, `[A, width]`. */
  readonly vectors: Float32Array;
  /** Their width. */
  readonly width: number;
  /** Added to every score of an item, `[A]`: its popularity, say. @default 0 */
  readonly bias?: Float32Array;
  /** How many of the latest items make the state. @default 10 */
  readonly window?: number;
  /** Weight of an item against the one after it, above 0 to 1. @default 0.8 */
  readonly decay?: number;
  /** Short name, printed in cards. @default 'dot-product' */
  readonly name?: string;
}

/**
 * The plainest sequential model: the state is the decayed mean of the latest items' vectors, an item's logit its dot product with
 * that, plus a bias. An empty history scores by the bias alone.
 */
export class DotProductModel implements LogitModel {
  /** Short name, printed in cards. */
  readonly name: string;
  /** Number of items, A. */
  readonly itemCount: number;
  /** Width of the vectors. */
  readonly width: number;
  readonly #vectors: Float32Array;
  readonly #bias: Float32Array;
  readonly #window: number;
  readonly #decay: number;
  readonly #state: Float64Array;

  /** Borrows the arrays. @throws {InvalidArgumentError} when they do not fit together. */
  constructor(options: DotProductOptions) {
    const { vectors, width, window = 10, decay = 0.8, name = 'dot-product' } = options;
    const itemCount = vectors.length / width;
    const bias = options.bias ?? new Float32Array(itemCount);
    if (!Number.isInteger(itemCount) || itemCount < 1 || bias.length !== itemCount) {
      throw new InvalidArgumentError(
        `DotProductModel: expected \`vectors\` [A, ${width}] and \`bias\` [A], got ${vectors.length} and ${bias.length} values`,
        {
          argument: 'vectors',
          got: vectors.length,
        },
      );
    }
    if (!(decay > 0 && decay <= 1) || !Number.isInteger(window) || window < 1) {
      throw new InvalidArgumentError(
        `DotProductModel: expected \`decay\` in (0, 1] and \`window\` >= 1, got ${decay} and ${window}`,
        { argument: 'decay', got: decay },
      );
    }
    this.name = name;
    this.itemCount = itemCount;
    this.width = width;
    this.#vectors = vectors;
    this.#bias = bias;
    this.#window = window;
    this.#decay = decay;
    this.#state = new Float64Array(width);
  }

  /** One logit a row. */
  score(histories: HistoryBatch, actions: Int32Array, out: Float32Array): Float32Array {
    for (let row = 0; row < actions.length; row++) {
      const item = actions[row] as number;
      if (item < 0) continue;
      this.#enter(histories, row);
      out[row] = this.#logit(item);
    }
    return out;
  }

  /** Every item's logit in every row, `[B, A]`. */
  scoreAll(histories: HistoryBatch, out: Float32Array): Float32Array {
    const { itemCount, width } = this;
    const vectors = this.#vectors;
    const bias = this.#bias;
    const state = this.#state;
    for (let row = 0; row < histories.size; row++) {
      this.#enter(histories, row);
      // As #logit, with everything in locals: planners spend their time here.
      for (let item = 0, from = 0; item < itemCount; item++) {
        let sum = bias[item] as number;
        for (let d = 0; d < width; d++, from++) sum += (state[d] as number) * (vectors[from] as number);
        out[row * itemCount + item] = sum;
      }
    }
    return out;
  }

  #enter(histories: HistoryBatch, row: number): void {
    const state = this.#state.fill(0);
    const length = histories.lengths[row] as number;
    const first = Math.max(0, length - this.#window);
    let weight = 1;
    let total = 0;
    for (let i = length - 1; i >= first; i--) {
      const from = (histories.items[row * histories.length + i] as number) * this.width;
      for (let d = 0; d < this.width; d++)
        state[d] = (state[d] as number) + weight * (this.#vectors[from + d] as number);
      total += weight;
      weight *= this.#decay;
    }
    if (total > 0) for (let d = 0; d < this.width; d++) state[d] = (state[d] as number) / total;
  }

  #logit(item: number): number {
    const from = item * this.width;
    let sum = this.#bias[item] as number;
    for (let d = 0; d < this.width; d++) sum += (this.#state[d] as number) * (this.#vectors[from + d] as number);
    return sum;
  }
}

/** Options of {@link coOccurrenceVectors}. */
export interface CoOccurrenceOptions {
  /** Width of the vectors, at most A. @default 32 */
  readonly width?: number;
  /** Items at most this far apart in a sequence occur together. @default 5 */
  readonly distance?: number;
  /** Rounds of subspace iteration. @default 6 */
  readonly rounds?: number;
  /** Seed of the start. @default 0 */
  readonly seed?: number;
}

/**
 * Item vectors of unit length (zero for an item without neighbours), `[A, width]`: the leading directions of the positive
 * pointwise mutual information of items that occur near each other, found by subspace iteration.
 *
 * @throws {InvalidArgumentError} when `width` exceeds the number of items.
 */
export function coOccurrenceVectors(sequences: Sequences, options: CoOccurrenceOptions = {}): Float32Array {
  const { width = 32, distance = 5, rounds = 6, seed = 0 } = options;
  const A = sequences.catalogSize;
  if (!(Number.isInteger(width) && width >= 1 && width <= A)) {
    throw new InvalidArgumentError(
      `coOccurrenceVectors: expected \`width\` to be an integer from 1 to ${A}, got ${width}`,
      { argument: 'width', got: width },
    );
  }
  const matrix = mutualInformation(sequences, distance);
  const rng = new Rng(seed).fork('co-occurrence');
  let basis = Float64Array.from({ length: A * width }, () => rng.normal());
  for (let round = 0; round < rounds; round++) {
    basis = multiply(matrix, basis, width);
    orthonormalise(basis, A, width);
  }
  return unitRows(multiply(matrix, basis, width), width);
}

interface SparseRows {
  readonly offsets: Int32Array;
  readonly columns: Int32Array;
  readonly values: Float64Array;
}

function mutualInformation(sequences: Sequences, distance: number): SparseRows {
  const A = sequences.catalogSize;
  const rows = Array.from({ length: A }, () => new Map<number, number>());
  const sums = new Float64Array(A);
  let total = 0;
  const add = (i: number, j: number): void => {
    const row = rows[i] as Map<number, number>;
    row.set(j, (row.get(j) ?? 0) + 1);
    sums[i] = (sums[i] as number) + 1;
    total++;
  };
  for (let s = 0; s < sequences.count; s++) {
    const list = sequences.sequence(s);
    for (let t = 0; t < list.length; t++) {
      for (let u = t + 1; u < list.length && u - t <= distance; u++) {
        add(list[t] as number, list[u] as number);
        add(list[u] as number, list[t] as number);
      }
    }
  }
  const offsets = new Int32Array(A + 1);
  const columns: number[] = [];
  const values: number[] = [];
  rows.forEach((row, i) => {
    for (const [j, count] of row) {
      const information = Math.log((count * total) / ((sums[i] as number) * (sums[j] as number)));
      if (information > 0) {
        columns.push(j);
        values.push(information);
      }
    }
    offsets[i + 1] = columns.length;
  });
  return { offsets, columns: Int32Array.from(columns), values: Float64Array.from(values) };
}

function multiply(matrix: SparseRows, basis: Float64Array, width: number): Float64Array<ArrayBuffer> {
  const out = new Float64Array(basis.length);
  const rows = basis.length / width;
  for (let i = 0; i < rows; i++) {
    for (let k = matrix.offsets[i] as number; k < (matrix.offsets[i + 1] as number); k++) {
      const from = (matrix.columns[k] as number) * width;
      const value = matrix.values[k] as number;
      for (let d = 0; d < width; d++)
        out[i * width + d] = (out[i * width + d] as number) + value * (basis[from + d] as number);
    }
  }
  return out;
}

// Modified Gram-Schmidt on the columns of a row-major [rows, width] matrix.
function orthonormalise(basis: Float64Array, rows: number, width: number): void {
  for (let d = 0; d < width; d++) {
    for (let e = 0; e < d; e++) {
      let dot = 0;
      for (let i = 0; i < rows; i++) dot += (basis[i * width + d] as number) * (basis[i * width + e] as number);
      for (let i = 0; i < rows; i++)
        basis[i * width + d] = (basis[i * width + d] as number) - dot * (basis[i * width + e] as number);
    }
    let squares = 0;
    for (let i = 0; i < rows; i++) squares += (basis[i * width + d] as number) ** 2;
    const scale = squares > 1e-24 ? 1 / Math.sqrt(squares) : 0;
    for (let i = 0; i < rows; i++) basis[i * width + d] = (basis[i * width + d] as number) * scale;
  }
}

function unitRows(matrix: Float64Array, width: number): Float32Array {
  const out = new Float32Array(matrix.length);
  for (let from = 0; from < matrix.length; from += width) {
    let squares = 0;
    for (let d = 0; d < width; d++) squares += (matrix[from + d] as number) ** 2;
    const scale = squares > 1e-24 ? 1 / Math.sqrt(squares) : 0;
    for (let d = 0; d < width; d++) out[from + d] = (matrix[from + d] as number) * scale;
  }
  return out;
}
