import { z } from 'zod';
import { InvalidArgumentError } from '../foundation/errors.js';
import { checkOptions } from '../foundation/options.js';
import { Rng } from '../foundation/rng.js';
import type { Catalog } from './catalog.js';
import { TextIndex, words } from './text-index.js';
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

  private constructor(name: string, width: number, matrix: Float32Array) {
    this.name = name;
    this.width = width;
    this.itemCount = matrix.length / width;
    this.matrix = matrix;
  }

  /**
   * TF-IDF of the items' text, reduced to `dimensions` by a truncated SVD where the vocabulary is larger, rows renormalised.
   *
   * Terms are the words of every attribute read (a word counts the same wherever it stands, so that a title can match a category) and, for
   * each attribute value that at least two items share, the whole value as one more term (`brand=3m`), so that equal brand or category
   * weighs more than equal words. idf and norm are those of {@link TextIndex}. Reading and reducing 4,344 items takes one to two seconds.
   *
   * @throws {InvalidArgumentError} when an attribute is unknown or no item has a word in the attributes read.
   */
  static tfidf(catalog: Catalog, options: TfidfOptions = {}): ItemFeatures {
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
    if (V > dimensions) {
      const width = Math.min(dimensions, index.size);
      return new ItemFeatures(
        'tfidf',
        width,
        normalised(truncatedSvd(index, width, new Rng(seed).fork('tfidf')), width),
      );
    }
    const matrix = new Float32Array(index.size * V);
    for (let i = 0; i < index.size; i++) {
      const { terms, weights } = index.vector(i);
      for (let n = 0; n < terms.length; n++) matrix[i * V + (terms[n] as number)] = weights[n] as number;
    }
    return new ItemFeatures('tfidf', V, matrix);
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
   * Row of item i, `[F]`: a view, not a copy.
   * @throws {InvalidArgumentError} when i is out of range.
   */
  row(i: number): Float32Array {
    if (!Number.isInteger(i) || i < 0 || i >= this.itemCount) {
      throw refusal('i', `an item index from 0 to ${this.itemCount - 1}`, i, `got ${i}`);
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

function itemTokens(catalog: Catalog, attributes: readonly string[]): string[][] {
  const tokens = Array.from({ length: catalog.size }, (): string[] => []);
  for (const name of attributes) {
    const perItem = tokens.map((_, i) => words(catalog.attribute(i, name)));
    const wholes = perItem.map((list) => `${name}=${list.join(' ')}`);
    const shared = new Map<string, number>();
    for (const whole of wholes) shared.set(whole, (shared.get(whole) ?? 0) + 1);
    for (const [i, list] of perItem.entries()) {
      const row = tokens[i] as string[];
      for (const word of list) row.push(word);
      const whole = wholes[i] as string;
      if (list.length > 0 && (shared.get(whole) as number) > 1) row.push(whole);
    }
  }
  return tokens;
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
