import { argumentError } from '../foundation/arguments.js';
import { InvalidArgumentError } from '../foundation/errors.js';

/** A row of a {@link TextIndex}: the terms of one text, in ascending order, and their weights; the weights have unit norm. */
export interface SparseVector {
  /** Term numbers, ascending. */
  readonly terms: Int32Array;
  /** TF-IDF weights of those terms, l2 norm 1 (or no entries, for a text without words). */
  readonly weights: Float64Array;
}

/**
 * Words of a text: NFKC, lower case, runs of letters, marks and digits. Scripts that put no space between words (Han, Hiragana, Katakana,
 * Thai, Lao, Khmer, Myanmar) give pairs of neighbouring characters instead, so that two titles in them can share terms at all.
 */
export function words(text: string): string[] {
  const found: string[] = [];
  for (const [run] of text.normalize('NFKC').toLowerCase().matchAll(WORD)) {
    if (!UNSPACED.test(run)) {
      found.push(run);
      continue;
    }
    for (const [piece] of run.matchAll(PIECE)) {
      const characters = [...piece];
      if (!UNSPACED.test(piece) || characters.length < 3) found.push(piece);
      else for (let i = 1; i < characters.length; i++) found.push(`${characters[i - 1]}${characters[i]}`);
    }
  }
  return found;
}

const WORD = /[\p{L}\p{N}][\p{L}\p{M}\p{N}]*/gu;
const SCRIPTS = '\\p{sc=Han}\\p{sc=Hiragana}\\p{sc=Katakana}\\p{sc=Thai}\\p{sc=Lao}\\p{sc=Khmer}\\p{sc=Myanmar}ー';
const UNSPACED = new RegExp(`[${SCRIPTS}]`, 'u');
const PIECE = new RegExp(`[${SCRIPTS}]+|[^${SCRIPTS}]+`, 'gu');

/**
 * Exact sparse TF-IDF over a fixed list of texts: weight of term t in text d = tf(t, d) x idf(t), rows of unit l2 norm, with
 * idf(t) = ln((1 + N) / (1 + df(t))) + 1. The cosine of two texts is a merge of two short rows. Built once, read-only.
 */
export class TextIndex {
  /** Number of texts, N. */
  readonly size: number;
  /** The distinct terms in order of first appearance; a term's number is its place. */
  readonly vocabulary: readonly string[];
  /** Inverse document frequency of each term, `[vocabulary.length]`, at least 1. */
  readonly idf: Float64Array;
  /** `[size + 1]`, where each text's entries start in `terms` and `weights`. */
  readonly offsets: Int32Array;
  /** Term numbers of all texts end to end, ascending within a text. */
  readonly terms: Int32Array;
  /** Weights of `terms`. */
  readonly weights: Float64Array;

  /**
   * @param texts - one text each; a text without words gets an empty row, whose cosine with anything is 0.
   * @throws {InvalidArgumentError} when an entry is not a string.
   */
  constructor(texts: readonly string[]);
  /** @param tokens - the terms of each text, already cut, repeats included. */
  constructor(tokens: { readonly tokens: readonly (readonly string[])[] });
  constructor(from: readonly string[] | { readonly tokens: readonly (readonly string[])[] }) {
    if (typeof from !== 'object' || from === null || !('tokens' in from || Array.isArray(from))) {
      throw argumentError('TextIndex', 'texts', 'an array of strings', from);
    }
    const lists = 'tokens' in from ? from.tokens : from.map(checkedWords);
    const numbers = new Map<string, number>();
    const rows: Map<number, number>[] = [];
    for (const list of lists) {
      const row = new Map<number, number>();
      for (const token of list) {
        let number = numbers.get(token);
        if (number === undefined) {
          number = numbers.size;
          numbers.set(token, number);
        }
        row.set(number, (row.get(number) ?? 0) + 1);
      }
      rows.push(row);
    }
    this.size = rows.length;
    this.vocabulary = Object.freeze([...numbers.keys()]);
    this.offsets = new Int32Array(rows.length + 1);
    const documents = new Int32Array(numbers.size);
    for (const [i, row] of rows.entries()) {
      this.offsets[i + 1] = (this.offsets[i] as number) + row.size;
      for (const term of row.keys()) documents[term] = (documents[term] as number) + 1;
    }
    this.idf = Float64Array.from(documents, (df) => Math.log((1 + rows.length) / (1 + df)) + 1);
    this.terms = new Int32Array(this.offsets[rows.length] as number);
    this.weights = new Float64Array(this.terms.length);
    for (const [i, row] of rows.entries()) {
      const start = this.offsets[i] as number;
      const terms = Int32Array.from(row.keys()).sort();
      this.terms.set(terms, start);
      let square = 0;
      for (let n = 0; n < terms.length; n++) {
        const term = terms[n] as number;
        const weight = (row.get(term) as number) * (this.idf[term] as number);
        this.weights[start + n] = weight;
        square += weight * weight;
      }
      const norm = Math.sqrt(square);
      for (let n = 0; n < terms.length; n++) this.weights[start + n] = (this.weights[start + n] as number) / norm;
    }
  }

  /**
   * The sparse row of text i: views, not copies.
   * @throws {InvalidArgumentError} when i is out of range.
   */
  vector(i: number): SparseVector {
    this.#check(i);
    const start = this.offsets[i];
    const end = this.offsets[i + 1];
    return { terms: this.terms.subarray(start, end), weights: this.weights.subarray(start, end) };
  }

  /**
   * Cosine of texts i and j, 0..1 (weights are never negative); 0 where one of them has no words.
   * @throws {InvalidArgumentError} when i or j is out of range.
   */
  cosine(i: number, j: number): number {
    this.#check(i);
    this.#check(j);
    const { offsets, terms, weights } = this;
    let a = offsets[i] as number;
    let b = offsets[j] as number;
    const endA = offsets[i + 1] as number;
    const endB = offsets[j + 1] as number;
    let sum = 0;
    while (a < endA && b < endB) {
      const difference = (terms[a] as number) - (terms[b] as number);
      if (difference === 0) sum += (weights[a++] as number) * (weights[b++] as number);
      else if (difference < 0) a++;
      else b++;
    }
    return Math.min(sum, 1);
  }

  #check(i: number): void {
    if (Number.isInteger(i) && i >= 0 && i < this.size) return;
    throw new InvalidArgumentError(`TextIndex: expected a text from 0 to ${this.size - 1}, got ${i}`, {
      argument: 'i',
      wanted: `0 to ${this.size - 1}`,
      got: i,
    });
  }
}

function checkedWords(text: string, i: number): string[] {
  if (typeof text === 'string') return words(text);
  throw new InvalidArgumentError(
    `TextIndex: expected \`texts[${i}]\` to be a string, got a value of type ${typeof text}`,
    {
      argument: `texts[${i}]`,
      wanted: 'a string',
      got: text,
    },
  );
}
