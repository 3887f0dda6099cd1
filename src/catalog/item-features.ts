import { z } from 'zod';
import { argumentError } from '../foundation/arguments.js';
import { CheckpointError, InvalidArgumentError } from '../foundation/errors.js';
import type { NamedArray, NamedArrays } from '../foundation/named-arrays.js';
import { checkOptions, describeValue } from '../foundation/options.js';
import { Rng } from '../foundation/rng.js';
import { Catalog } from './catalog.js';
import { TextIndex } from './text-index.js';
import { itemTokens, TextProjection } from './text-projection.js';
import { truncatedSvd } from './truncated-svd.js';

const tfidfOptions = z.strictObject({
  dimensions: z.int().min(1).max(4096).default(128),
  seed: z.union([z.int(), z.string().min(1)]).default(0),
  attributes: z.array(z.string().min(1)).min(1).optional(),
});
const matrixOptions = z.strictObject({ width: z.int().min(1), name: z.string().min(1).max(100).default('matrix') });
const embedOptions = z.strictObject({
  batchSize: z.int().min(1).max(10_000).default(64),
  name: z.string().min(1).max(100).default('embed'),
  signal: z.instanceof(AbortSignal).optional(),
});

/** Options of {@link ItemFeatures.tfidf}. */
export interface TfidfOptions {
  /**
   * Width of a row at most, 1 to 4096. A vocabulary that is no larger is kept whole and exact.
   * @default 128
   */
  readonly dimensions?: number;
  /**
   * Seeds the start of the SVD; it moves the result only within its accuracy.
   * @default 0
   */
  readonly seed?: number | string;
  /**
   * Attributes to read, extra ones allowed.
   * @default catalog.attributes, those that prompts show
   */
  readonly attributes?: readonly string[];
}

/** Options of {@link ItemFeatures.embed}. */
export interface EmbedOptions {
  /**
   * Texts a call, 1 to 10,000.
   * @default 64
   */
  readonly batchSize?: number;
  /**
   * Name of the features, stored with what is trained on them: the embedding model's, best.
   * @default 'embed'
   */
  readonly name?: string;
  /** Stops between calls; the promise rejects with `signal.reason`. */
  readonly signal?: AbortSignal;
}

/** Features as {@link ItemFeatures.restore} takes them: what a file held. */
export interface SavedFeatures {
  /** {@link ItemFeatures.name}. */
  readonly name: string;
  /** {@link ItemFeatures.vocabulary}. */
  readonly vocabulary?: readonly string[] | undefined;
  /** {@link ItemFeatures.attributes}. */
  readonly attributes?: readonly string[] | undefined;
  /** What {@link ItemFeatures.toNamedArrays} gave. */
  readonly arrays: NamedArrays;
}

/** The exact TF-IDF of items as sparse rows of unit norm (empty for an item without words): what a truncated SVD blurs. */
export interface ItemTerms {
  /** Where each item's entries start, `[A + 1]`, ascending from 0. */
  readonly offsets: Int32Array;
  /** Term numbers of all items end to end, ascending within an item. */
  readonly terms: Int32Array;
  /** Their weights. */
  readonly weights: Float32Array;
  /** Number of terms, V. */
  readonly termCount: number;
}

/** One feature row for each item of a catalogue, of unit norm (or zero, for an item that nothing is known of), so that dot products are cosines. */
export class ItemFeatures {
  /** How the rows were made: `'tfidf'`, or the name given. */
  readonly name: string;
  /** Length of a row, F. */
  readonly width: number;
  /** Number of items, A. */
  readonly itemCount: number;
  /** `[A, F]` row-major, rows of unit l2 norm or zero. Not to be written to. */
  readonly matrix: Float32Array;
  /**
   * The rows before the SVD, for a `tfidf` that was reduced; undefined where `matrix` is exact or nothing else is known. History features
   * compare texts by these: among thousands of items the SVD's error is as large as what tells the nearest ones apart.
   */
  readonly terms: ItemTerms | undefined;
  readonly #projection: TextProjection | undefined;

  private constructor(
    name: string,
    width: number,
    matrix: Float32Array,
    projection?: TextProjection,
    terms?: ItemTerms | undefined,
  ) {
    this.name = name;
    this.width = width;
    this.itemCount = matrix.length / width;
    this.matrix = matrix;
    this.terms = terms;
    this.#projection = projection;
  }

  /** The terms of a `tfidf`, by number, whole attribute values (`brand=3m`) among them; undefined for other features. */
  get vocabulary(): readonly string[] | undefined {
    return this.#projection?.vocabulary;
  }

  /** The attributes that a `tfidf` read; undefined for other features. */
  get attributes(): readonly string[] | undefined {
    return this.#projection?.attributes;
  }

  /**
   * TF-IDF of the items' text, reduced to `dimensions` by a truncated SVD where the vocabulary is larger, rows renormalised.
   *
   * Terms are the words of every attribute read (a word counts the same wherever it stands, so that a title can match a category) and, for
   * each attribute value that at least two items share, the whole value as one more term (`brand=3m`), so that equal brand or category
   * weighs more than equal words. idf and norm are those of `TextIndex`. Reading and reducing 4,344 items takes one to two seconds.
   *
   * @throws {InvalidArgumentError} when an attribute is unknown or no item has a word in the attributes read.
   */
  static tfidf(catalog: Catalog, options: TfidfOptions = {}): ItemFeatures {
    checkCatalog('ItemFeatures.tfidf', catalog);
    const {
      dimensions,
      seed,
      attributes = catalog.attributes,
    } = checkOptions(tfidfOptions, options, 'ItemFeatures.tfidf');
    const index = new TextIndex({ tokens: itemTokens(catalog, attributes) });
    const V = index.vocabulary.length;
    if (V === 0) {
      throw new InvalidArgumentError(
        `ItemFeatures.tfidf: expected at least one item with a word in ${attributes.join(', ')}, got none`,
        { argument: 'catalog', wanted: 'items with text', got: attributes },
      );
    }
    const { vocabulary, idf } = index;
    if (V > dimensions) {
      const width = Math.min(dimensions, index.size);
      const reduced = truncatedSvd(index, width, new Rng(seed).fork('tfidf'));
      const components = rightFactor(index, reduced, width);
      const projection = new TextProjection({ attributes, vocabulary, idf, width, components });
      const { offsets, terms, weights } = index;
      const exact = { offsets, terms, weights: Float32Array.from(weights), termCount: V };
      return new ItemFeatures('tfidf', width, normalised(reduced, width), projection, exact);
    }
    const matrix = new Float32Array(index.size * V);
    for (let i = 0; i < index.size; i++) {
      const { terms, weights } = index.vector(i);
      for (let n = 0; n < terms.length; n++) matrix[i * V + (terms[n] as number)] = weights[n] as number;
    }
    return new ItemFeatures('tfidf', V, matrix, new TextProjection({ attributes, vocabulary, idf, width: V }));
  }

  /**
   * Rows the caller has: embeddings computed elsewhere, say. They are copied and normalised.
   *
   * @param matrix - `[A, width]` row-major, row i being item i of the catalogue; finite numbers.
   * @param options - `width` of a row; `name` as stored with what is trained on them, `'matrix'` by default.
   * @throws {InvalidArgumentError} when the length is no multiple of `width`, or naming the first number that is not finite.
   */
  static fromMatrix(
    matrix: Float32Array | Float64Array | readonly number[],
    options: { readonly width: number; readonly name?: string },
  ): ItemFeatures {
    const { width, name } = checkOptions(matrixOptions, options, 'ItemFeatures.fromMatrix');
    if (!(matrix instanceof Float32Array || matrix instanceof Float64Array || Array.isArray(matrix))) {
      throw refusal('matrix', 'an array of numbers', matrix, `got a value of type ${typeof matrix}`);
    }
    if (matrix.length === 0 || matrix.length % width !== 0) {
      throw refusal('matrix', `A x ${width} numbers, A at least 1`, matrix.length, `got ${matrix.length}`);
    }
    const bad = matrix.findIndex((value: unknown) => !Number.isFinite(value));
    if (bad >= 0) {
      const place = `matrix[${bad}] (row ${Math.floor(bad / width)}, column ${bad % width})`;
      throw refusal(place, 'a finite number', matrix[bad], `got ${String(matrix[bad])}`);
    }
    return new ItemFeatures(name, width, normalised(Float64Array.from(matrix), width));
  }

  /**
   * Rows from an embedding model: `embed` is called with the items' texts in batches, one call at a time, in order.
   *
   * @param catalog - whose {@link Catalog.text} is embedded.
   * @param embed - gives one row of numbers for each text, all of one length; its own failure passes through unchanged.
   * @param options - batch size, name, signal.
   * @throws {InvalidArgumentError} naming the item whose row is missing, of another length, or not finite.
   */
  static async embed(
    catalog: Catalog,
    embed: (texts: readonly string[]) => Promise<readonly (readonly number[] | Float32Array)[]>,
    options: EmbedOptions = {},
  ): Promise<ItemFeatures> {
    checkCatalog('ItemFeatures.embed', catalog);
    if (typeof embed !== 'function') throw argumentError('ItemFeatures.embed', 'embed', 'a function', embed);
    const { batchSize, name, signal } = checkOptions(embedOptions, options, 'ItemFeatures.embed');
    let width = 0;
    let matrix = new Float64Array(0);
    for (let start = 0; start < catalog.size; start += batchSize) {
      signal?.throwIfAborted();
      const end = Math.min(start + batchSize, catalog.size);
      const rows = await embed(Array.from({ length: end - start }, (_, i) => catalog.text(start + i)));
      signal?.throwIfAborted();
      if (!Array.isArray(rows) || rows.length !== end - start) {
        const got = Array.isArray(rows) ? `${rows.length} rows` : `a value of type ${typeof rows}`;
        throw refusal(
          'embed',
          `a function that gives one row a text, ${end - start} for items ${start} to ${end - 1}`,
          rows,
          `got ${got}`,
        );
      }
      for (const [i, row] of (rows as readonly (readonly number[] | Float32Array)[]).entries()) {
        const item = start + i;
        const place = `the embedding of item ${item} (id ${JSON.stringify(catalog.id(item))})`;
        if (!(Array.isArray(row) || row instanceof Float32Array) || row.length === 0) {
          throw refusal(place, 'a row of numbers', row, 'it is not');
        }
        if (item === 0) {
          width = row.length;
          matrix = new Float64Array(catalog.size * width);
        }
        if (row.length !== width)
          throw refusal(place, `${width} numbers long, as the first`, row.length, `got ${row.length}`);
        if (!row.every((value: unknown) => Number.isFinite(value)))
          throw refusal(place, 'finite numbers', row, 'it is not');
        matrix.set(row, item * width);
      }
    }
    return new ItemFeatures(name, width, normalised(matrix, width));
  }

  /**
   * What a file must hold beside `name`, `vocabulary` and `attributes`: `matrix` `[A, F]`; for a `tfidf` also `idf` `[V]` and,
   * where it was reduced, `components` `[V, F]`, which project the text of an item that was not there into the same space, and the sparse
   * rows before that as `termOffsets` `[A + 1]`, `termNumbers` and `termWeights`.
   */
  toNamedArrays(): NamedArrays {
    const matrix: NamedArray = { shape: [this.itemCount, this.width], data: this.matrix };
    return { matrix, ...this.#projection?.toNamedArrays(), ...(this.terms ? termArrays(this.terms) : {}) };
  }

  /**
   * Features as they were saved.
   *
   * @param saved - see {@link SavedFeatures}; arrays are taken over, not copied.
   * @param source - file or key, for messages.
   * @throws {CheckpointError} when an array is missing, has another shape or kind, or is not finite, or rows are not of unit norm.
   */
  static restore(saved: SavedFeatures, source: string): ItemFeatures {
    const fail = (message: string) => new CheckpointError(`${source}: item features: ${message}`, { source });
    if (typeof saved?.arrays !== 'object' || saved.arrays === null) throw fail('expected saved features');
    const { name, vocabulary, attributes, arrays } = saved;
    const { shape, data } = arrays.matrix ?? { shape: [], data: undefined };
    const second: unknown = (shape as readonly unknown[] | undefined)?.[1];
    const width = typeof second === 'number' && Number.isSafeInteger(second) ? second : 0;
    if (
      !(data instanceof Float32Array) ||
      shape.length !== 2 ||
      shape[0] !== data.length / width ||
      width < 1 ||
      data.length < width
    ) {
      throw fail(`expected \`matrix\` to be a Float32Array [items, width], got ${describeValue(shape)}`);
    }
    for (let start = 0; start < data.length; start += width) {
      let square = 0;
      for (let f = 0; f < width; f++) square += (data[start + f] as number) ** 2;
      if (Math.abs(square - 1) < 1e-3 || square === 0) continue;
      throw fail(`expected row ${start / width} of \`matrix\` to have norm 1 or 0, got ${Math.sqrt(square)}`);
    }
    if ((vocabulary === undefined) !== (attributes === undefined)) {
      throw fail('expected `vocabulary` and `attributes` together, or neither');
    }
    const projection =
      vocabulary && attributes ? TextProjection.restore({ attributes, vocabulary, width, arrays }, fail) : undefined;
    const terms = projection
      ? restoredTerms(arrays, shape[0] as number, projection.vocabulary.length, fail)
      : undefined;
    return new ItemFeatures(name, width, data, projection, terms);
  }

  /**
   * The features of another catalogue in the same space: items that were there keep their rows, new items of a `tfidf` are
   * projected from their text (words that no item had before count nothing).
   *
   * @param catalog - the other catalogue; borrowed.
   * @param origin - `[catalog.size]`, where each of its items was here, -1 for a new one.
   * @returns undefined where there are new items and these features cannot be made from text here (a matrix, an embedding).
   * @throws {InvalidArgumentError} when `origin` does not fit, or the catalogue lacks an attribute that was read and has new items.
   */
  transform(catalog: Catalog, origin: Int32Array): ItemFeatures | undefined {
    checkCatalog('ItemFeatures.transform', catalog);
    if (!(origin instanceof Int32Array))
      throw argumentError('ItemFeatures.transform', 'origin', 'an Int32Array', origin);
    if (origin.length !== catalog.size || origin.some((old) => old < -1 || old >= this.itemCount)) {
      const wanted = `${catalog.size} item indices from -1 to ${this.itemCount - 1}`;
      throw refusal('origin', wanted, origin, `got ${origin.length} numbers`);
    }
    const { width, matrix } = this;
    const projection = this.#projection;
    if (!projection && origin.includes(-1)) return undefined;
    const rows = new Float64Array(origin.length * width);
    const added: number[] = [];
    for (const [item, old] of origin.entries()) {
      if (old < 0) added.push(item);
      else rows.set(matrix.subarray(old * width, (old + 1) * width), item * width);
    }
    if (projection && added.length > 0) projection.project(catalog, added, rows);
    const out = normalised(rows, width);
    // To the bit: a kept row is not normalised a second time.
    for (const [item, old] of origin.entries()) {
      if (old >= 0) out.set(matrix.subarray(old * width, (old + 1) * width), item * width);
    }
    const terms = this.terms && projection && transformedTerms(this.terms, projection, catalog, origin);
    return new ItemFeatures(this.name, width, out, projection, terms);
  }

  /**
   * Row of item i, `[F]`: a view, not a copy.
   * @throws {InvalidArgumentError} when i is out of range.
   */
  row(i: number): Float32Array {
    if (!Number.isInteger(i) || i < 0 || i >= this.itemCount) {
      throw refusal('i', `an item index from 0 to ${this.itemCount - 1}`, i, `got ${describeValue(i)}`);
    }
    return this.matrix.subarray(i * this.width, (i + 1) * this.width);
  }

  /**
   * Cosine of items i and j, -1..1; 0 where one of the rows is zero.
   * @throws {InvalidArgumentError} when i or j is out of range.
   */
  cosine(i: number, j: number): number {
    const a = this.row(i);
    const b = this.row(j);
    let sum = 0;
    for (let f = 0; f < a.length; f++) sum += (a[f] as number) * (b[f] as number);
    return Math.min(1, Math.max(-1, sum));
  }
}

function termArrays({ offsets, terms, weights }: ItemTerms): NamedArrays {
  return {
    termOffsets: { shape: [offsets.length], data: offsets },
    termNumbers: { shape: [terms.length], data: terms },
    termWeights: { shape: [weights.length], data: weights },
  };
}

/** Sparse rows as they were saved; undefined where the file is of a time before they were. */
function restoredTerms(
  arrays: NamedArrays,
  itemCount: number,
  termCount: number,
  fail: (message: string) => CheckpointError,
): ItemTerms | undefined {
  if (arrays.termOffsets === undefined) return undefined;
  const { termOffsets, termNumbers, termWeights } = arrays;
  const [offsets, terms, weights] = [termOffsets.data, termNumbers?.data, termWeights?.data];
  const isFlat = [termOffsets, termNumbers, termWeights].every(
    (array) => array?.shape?.length === 1 && array.shape[0] === array.data?.length,
  );
  const isRight =
    isFlat &&
    offsets instanceof Int32Array &&
    terms instanceof Int32Array &&
    weights instanceof Float32Array &&
    offsets.length === itemCount + 1 &&
    offsets[0] === 0 &&
    offsets[itemCount] === terms.length &&
    weights.length === terms.length &&
    offsets.every((start, item) => item === 0 || start >= (offsets[item - 1] as number)) &&
    terms.every((term) => term >= 0 && term < termCount) &&
    weights.every(Number.isFinite);
  if (!isRight) {
    throw fail(
      `expected \`termOffsets\` [${itemCount + 1}] to cover \`termNumbers\` below ${termCount} and finite \`termWeights\``,
    );
  }
  for (let item = 0; item < itemCount; item++) {
    for (let at = (offsets[item] as number) + 1; at < (offsets[item + 1] as number); at++) {
      if ((terms[at] as number) > (terms[at - 1] as number)) continue;
      throw fail(`expected the \`termNumbers\` of item ${item} in ascending order`);
    }
  }
  return { offsets, terms, weights, termCount };
}

/** The sparse rows of another catalogue: kept items keep theirs, new ones are made of their text. */
function transformedTerms(
  before: ItemTerms,
  projection: TextProjection,
  catalog: Catalog,
  origin: Int32Array,
): ItemTerms {
  const added = [...origin.keys()].filter((item) => origin[item] === -1);
  const made = new Map(projection.sparseRows(catalog, added).map((row, n) => [added[n] as number, row]));
  const rows = Array.from(origin, (old, item) => {
    const row = made.get(item);
    if (row) return row;
    const [start, end] = [before.offsets[old], before.offsets[old + 1]];
    return { terms: before.terms.subarray(start, end), weights: before.weights.subarray(start, end) };
  });
  const offsets = new Int32Array(rows.length + 1);
  for (const [item, { terms }] of rows.entries()) offsets[item + 1] = (offsets[item] as number) + terms.length;
  const total = offsets[rows.length] as number;
  const all = { terms: new Int32Array(total), weights: new Float32Array(total) };
  for (const [item, { terms, weights }] of rows.entries()) {
    all.terms.set(terms, offsets[item]);
    all.weights.set(weights, offsets[item]);
  }
  return { offsets, ...all, termCount: before.termCount };
}

/**
 * Right factor V of the SVD whose left one `reduced` = U S is given, `[V, width]`: V = X' (U S) S^-2, so that a new sparse row x
 * has the reduced row x V. A column of no strength is zero.
 */
function rightFactor(index: TextIndex, reduced: Float64Array, width: number): Float32Array {
  const { offsets, terms, weights } = index;
  const squares = new Float64Array(width);
  for (let i = 0; i < reduced.length; i++)
    squares[i % width] = (squares[i % width] as number) + (reduced[i] as number) ** 2;
  const sums = new Float64Array(index.vocabulary.length * width);
  for (let n = 0; n < index.size; n++) {
    for (let e = offsets[n] as number; e < (offsets[n + 1] as number); e++) {
      const to = (terms[e] as number) * width;
      for (let k = 0; k < width; k++) {
        sums[to + k] = (sums[to + k] as number) + (weights[e] as number) * (reduced[n * width + k] as number);
      }
    }
  }
  const strongest = squares.reduce((most, square) => Math.max(most, square), 0);
  return Float32Array.from(sums, (sum, i) => {
    const square = squares[i % width] as number;
    return square > 1e-12 * strongest ? sum / square : 0;
  });
}

function normalised(matrix: Float64Array, width: number): Float32Array {
  const out = new Float32Array(matrix.length);
  for (let start = 0; start < matrix.length; start += width) {
    let largest = 0;
    for (let f = 0; f < width; f++) largest = Math.max(largest, Math.abs(matrix[start + f] as number));
    if (largest === 0) continue;
    // Scaled first: the squares of very large or very small numbers leave the range of a double.
    let square = 0;
    for (let f = 0; f < width; f++) square += ((matrix[start + f] as number) / largest) ** 2;
    const norm = Math.sqrt(square);
    for (let f = 0; f < width; f++) out[start + f] = (matrix[start + f] as number) / largest / norm;
  }
  return out;
}

function refusal(argument: string, wanted: string, got: unknown, told: string): InvalidArgumentError {
  return new InvalidArgumentError(`ItemFeatures: expected \`${argument}\` to be ${wanted}, ${told}`, {
    argument,
    wanted,
    got,
  });
}

function checkCatalog(where: string, catalog: unknown): void {
  if (!(catalog instanceof Catalog)) throw argumentError(where, 'catalog', 'a Catalog', catalog);
}
