import type { CheckpointError } from '../foundation/errors.js';
import type { NamedArray, NamedArrays } from '../foundation/named-arrays.js';
import type { Catalog } from './catalog.js';
import { words } from './text-index.js';

/** The parts of a {@link TextProjection}. */
interface TextProjectionParts {
  readonly attributes: readonly string[];
  readonly vocabulary: readonly string[];
  readonly idf: Float64Array;
  readonly width: number;
  readonly components?: Float32Array | undefined;
}

/** How a text becomes a row of a TF-IDF space that exists already: terms, their idf, and the axes it was reduced to. */
export class TextProjection {
  /** Attributes read. */
  readonly attributes: readonly string[];
  /** Terms by number. */
  readonly vocabulary: readonly string[];
  readonly #idf: Float64Array;
  readonly #width: number;
  readonly #components: Float32Array | undefined;
  readonly #numbers: ReadonlyMap<string, number>;

  /** @param parts - `idf` `[V]`, `width` of a row; `components` `[V, width]` where the space was reduced, else `width` is V. */
  constructor(parts: TextProjectionParts) {
    this.attributes = [...parts.attributes];
    this.vocabulary = parts.vocabulary;
    this.#idf = parts.idf;
    this.#width = parts.width;
    this.#components = parts.components;
    this.#numbers = new Map(parts.vocabulary.map((term, number) => [term, number]));
  }

  /** Checks saved parts. @throws what `fail` makes of the reason. */
  static restore(
    saved: Omit<TextProjectionParts, 'idf' | 'components'> & { readonly arrays: NamedArrays },
    fail: (message: string) => CheckpointError,
  ): TextProjection {
    const { attributes, vocabulary, width, arrays } = saved;
    for (const [name, list] of Object.entries({ vocabulary, attributes })) {
      if (!Array.isArray(list) || !list.every((entry) => typeof entry === 'string')) {
        throw fail(`expected \`${name}\` to be a list of texts`);
      }
    }
    const V = vocabulary.length;
    if (new Set(vocabulary).size !== V) throw fail('expected the terms of `vocabulary` to differ');
    const { idf, components } = arrays;
    if (!(idf?.data instanceof Float64Array) || idf.data.length !== V || !idf.data.every(Number.isFinite)) {
      throw fail(`expected \`idf\` to be a finite Float64Array [${V}], one for each term`);
    }
    if (components === undefined) {
      if (width !== V)
        throw fail(`expected rows of width ${V}, the vocabulary's, without \`components\`, got ${width}`);
      return new TextProjection({ attributes, vocabulary, idf: idf.data, width });
    }
    const { data, shape } = components ?? {};
    if (
      !(data instanceof Float32Array) ||
      shape?.[0] !== V ||
      shape[1] !== width ||
      data.length !== V * width ||
      !data.every(Number.isFinite)
    ) {
      throw fail(`expected \`components\` to be a finite Float32Array [${V}, ${width}]`);
    }
    return new TextProjection({ attributes, vocabulary, idf: idf.data, width, components: data });
  }

  /** `idf` `[V]` and, where the space was reduced, `components` `[V, width]`. */
  toNamedArrays(): NamedArrays {
    const V = this.vocabulary.length;
    const idf: NamedArray = { shape: [V], data: this.#idf };
    return this.#components ? { idf, components: { shape: [V, this.#width], data: this.#components } } : { idf };
  }

  /** The sparse rows of some items, of unit norm: terms ascending; words that the vocabulary lacks count nothing. */
  sparseRows(catalog: Catalog, items: readonly number[]): { terms: Int32Array; weights: Float32Array }[] {
    return itemTokens(catalog, this.attributes, items).map((tokens) => {
      const counts = new Map<number, number>();
      for (const token of tokens) {
        const term = this.#numbers.get(token);
        if (term !== undefined) counts.set(term, (counts.get(term) ?? 0) + 1);
      }
      const terms = Int32Array.from(counts.keys()).sort();
      const weights = Array.from(terms, (term) => (counts.get(term) as number) * (this.#idf[term] as number));
      const norm = Math.hypot(...weights);
      return { terms, weights: Float32Array.from(weights, (weight) => weight / norm) };
    });
  }

  /**
   * Writes the rows of some items; not normalised.
   *
   * @param rows - `[catalog.size, width]`, zeros at those items.
   */
  project(catalog: Catalog, items: readonly number[], rows: Float64Array): void {
    const width = this.#width;
    for (const [n, tokens] of itemTokens(catalog, this.attributes, items).entries()) {
      const to = (items[n] as number) * width;
      for (const token of tokens) {
        const term = this.#numbers.get(token);
        if (term === undefined) continue;
        const weight = this.#idf[term] as number;
        if (!this.#components) {
          rows[to + term] = (rows[to + term] as number) + weight;
          continue;
        }
        for (let k = 0; k < width; k++) {
          rows[to + k] = (rows[to + k] as number) + weight * (this.#components[term * width + k] as number);
        }
      }
    }
  }
}

/**
 * The terms of items: the words of every attribute and, for each attribute, the whole value as one more term (`brand=3m`).
 *
 * @param items - item indices; without them all items, and then only values that at least two of them share are terms: for a text
 * that is looked up, the vocabulary decides.
 */
export function itemTokens(catalog: Catalog, attributes: readonly string[], items?: readonly number[]): string[][] {
  const read = items ?? Array.from({ length: catalog.size }, (_, i) => i);
  const tokens = read.map((): string[] => []);
  for (const name of attributes) {
    const perItem = read.map((i) => words(catalog.attribute(i, name)));
    const wholes = perItem.map((list) => `${name}=${list.join(' ')}`);
    const shared = new Map<string, number>();
    for (const whole of wholes) shared.set(whole, (shared.get(whole) ?? 0) + 1);
    for (const [i, list] of perItem.entries()) {
      const row = tokens[i] as string[];
      for (const word of list) row.push(word);
      const whole = wholes[i] as string;
      if (list.length > 0 && (items || (shared.get(whole) as number) > 1)) row.push(whole);
    }
  }
  return tokens;
}
