import { z } from 'zod';
import { Sequences } from '../catalog/sequences.js';
import { checkHistoryBatch, type HistoryBatch } from '../compute/history-batch.js';
import { argumentError, checkObject } from '../foundation/arguments.js';
import { InvalidArgumentError } from '../foundation/errors.js';
import { checkOptions } from '../foundation/options.js';
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

const modelOptions = z.strictObject({
  vectors: z.instanceof(Float32Array),
  width: z.int().min(1),
  bias: z.instanceof(Float32Array).optional(),
  window: z.int().min(1).default(10),
  decay: z.number().positive().max(1).default(0.8),
  name: z.string().min(1).default('dot-product'),
});

const vectorOptions = z.strictObject({
  width: z.int().min(1).default(32),
  distance: z.int().min(1).max(10_000).default(5),
  rounds: z.int().min(1).max(1000).default(6),
  seed: z.int().default(0),
});

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
    const {
      vectors,
      width,
      bias: givenBias,
      window,
      decay,
      name,
    } = checkOptions(modelOptions, options, 'DotProductModel');
    const itemCount = vectors.length / width;
    const bias = givenBias ?? new Float32Array(Math.floor(itemCount));
    if (!Number.isInteger(itemCount) || itemCount < 1 || bias.length !== itemCount) {
      throw new InvalidArgumentError(
        `DotProductModel: expected \`vectors\` [A, ${width}] and \`bias\` [A], got ${vectors.length} and ${bias.length} values`,
        {
          argument: 'vectors',
          got: vectors.length,
        },
      );
    }
    for (const [argument, array] of [
      ['vectors', vectors],
      ['bias', bias],
    ] as const) {
      const wrong = array.findIndex((value) => !Number.isFinite(value));
      if (wrong >= 0) throw argumentError('DotProductModel', `${argument}[${wrong}]`, 'a finite number', array[wrong]);
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
    checkScoring(histories, actions, out, this.itemCount);
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
    checkScoring(histories, undefined, out, this.itemCount);
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
    // Everything in locals: half of a world's time is spent here.
    const { width } = this;
    const vectors = this.#vectors;
    const decay = this.#decay;
    const { items } = histories;
    const state = this.#state.fill(0);
    const start = row * histories.length;
    const end = start + (histories.lengths[row] as number);
    const first = Math.max(start, end - this.#window);
    let weight = 1;
    let total = 0;
    for (let i = end - 1; i >= first; i--) {
      const from = (items[i] as number) * width;
      for (let d = 0; d < width; d++) state[d] = (state[d] as number) + weight * (vectors[from + d] as number);
      total += weight;
      weight *= decay;
    }
    if (total > 0) for (let d = 0; d < width; d++) state[d] = (state[d] as number) / total;
  }

  #logit(item: number): number {
    const { width } = this;
    const vectors = this.#vectors;
    const state = this.#state;
    const from = item * width;
    let sum = this.#bias[item] as number;
    for (let d = 0; d < width; d++) sum += (state[d] as number) * (vectors[from + d] as number);
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
 * @throws {InvalidArgumentError} for an option out of range, or when `width` exceeds the number of items.
 */
export function coOccurrenceVectors(sequences: Sequences, options: CoOccurrenceOptions = {}): Float32Array {
  const { width, distance, rounds, seed } = checkOptions(vectorOptions, options, 'coOccurrenceVectors');
  if (!(sequences instanceof Sequences))
    throw argumentError('coOccurrenceVectors', 'sequences', 'Sequences', sequences);
  const A = sequences.catalogSize;
  if (width > A) {
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

/** Once a call, not once an item: planners call this often. */
function checkScoring(histories: HistoryBatch, actions: Int32Array | undefined, out: Float32Array, A: number): void {
  const where = 'DotProductModel';
  checkObject(where, 'histories', histories, [], 'a HistoryBatch');
  checkHistoryBatch(histories, { itemCount: A, contextWidth: histories.contextWidth });
  const B = histories.size;
  const wanted = actions === undefined ? B * A : B;
  if (!(out instanceof Float32Array) || out.length < wanted)
    throw argumentError(where, 'out', `a Float32Array of ${wanted}`, out);
  if (actions === undefined) return;
  if (!(actions instanceof Int32Array) || actions.length > B)
    throw argumentError(where, 'actions', `an Int32Array of ${B}`, actions);
  const wrong = actions.findIndex((item) => item >= A);
  if (wrong >= 0) throw argumentError(where, `actions[${wrong}]`, `an item below ${A}`, actions[wrong]);
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
