import { type SparseVector, TextIndex, words } from '../catalog/text-index.js';
import { argumentError } from '../foundation/arguments.js';

/**
 * Rates candidates by texts alone, as a user of {@link SimulatedOracle} may bring it.
 *
 * @param history - texts of x₁:ₜ, oldest first; may be empty.
 * @param candidates - texts of the K candidates.
 * @param context - the query's context line, where it has one.
 * @returns K finite scores; higher is liked more. Must depend on its arguments only.
 */
export type TextScore = (
  history: readonly string[],
  candidates: readonly string[],
  context: string | undefined,
) => readonly number[] | Float64Array;

/** The last items that the text oracle looks at. */
const WINDOW = 10;

/** Weight of an item one step older than another. */
const DECAY = 0.8;

/** Most texts outside the catalogue whose vectors are kept. */
const MAX_KEPT = 10_000;

/**
 * The text oracle of learning.md 3: `0.5 max cos + 0.5 Σ 0.8^age cos / Σ 0.8^age` over the last 10 items, where cos is the cosine of
 * exact TF-IDF vectors fitted on `texts`. Scores lie in 0..1; all are 0 for an empty history, since text alone says nothing then.
 *
 * @param texts - the texts that TF-IDF is fitted on, normally `catalog.texts()`.
 * @throws {InvalidArgumentError} when they, or those asked about later, are no array of strings.
 */
export function textOracleScore(texts: readonly string[]): TextScore {
  checkTexts('texts', texts);
  const index = new TextIndex(texts);
  const vectors = new Map<string, SparseVector>();
  for (let i = texts.length - 1; i >= 0; i--) vectors.set(texts[i] as string, index.vector(i));
  const fitted = vectors.size;
  const numbers = new Map(index.vocabulary.map((term, number) => [term, number]));

  const vectorOf = (text: string): SparseVector => {
    const known = vectors.get(text);
    if (known !== undefined) return known;
    const vector = vectorise(text, numbers, index.idf);
    if (vectors.size - fitted < MAX_KEPT) vectors.set(text, vector);
    return vector;
  };

  return (history, candidates) => {
    checkTexts('history', history);
    checkTexts('candidates', candidates);
    const window = history.slice(-WINDOW).map(vectorOf);
    return Float64Array.from(candidates, (candidate) => {
      const vector = vectorOf(candidate);
      let best = 0;
      let sum = 0;
      let total = 0;
      for (let i = window.length - 1, weight = 1; i >= 0; i--, weight *= DECAY) {
        const similarity = cosine(window[i] as SparseVector, vector);
        best = Math.max(best, similarity);
        sum += weight * similarity;
        total += weight;
      }
      return total === 0 ? 0 : 0.5 * best + 0.5 * (sum / total);
    });
  };
}

function checkTexts(argument: string, texts: readonly string[]): void {
  const wanted = 'an array of strings';
  if (!Array.isArray(texts)) throw argumentError('textOracleScore', argument, wanted, texts);
  for (const [i, text] of (texts as readonly unknown[]).entries()) {
    if (typeof text !== 'string') throw argumentError('textOracleScore', `${argument}[${i}]`, 'a string', text);
  }
}

/** TF-IDF of a text outside the fitted ones; words that those do not hold are left out, as the usual libraries do. */
function vectorise(text: string, numbers: ReadonlyMap<string, number>, idf: Float64Array): SparseVector {
  const counts = new Map<number, number>();
  for (const word of words(text)) {
    const number = numbers.get(word);
    if (number !== undefined) counts.set(number, (counts.get(number) ?? 0) + 1);
  }
  const terms = Int32Array.from(counts.keys()).sort();
  const weights = Float64Array.from(terms, (term) => (counts.get(term) as number) * (idf[term] as number));
  const norm = Math.hypot(...weights) || 1;
  return { terms, weights: weights.map((weight) => weight / norm) };
}

function cosine(x: SparseVector, y: SparseVector): number {
  let sum = 0;
  for (let a = 0, b = 0; a < x.terms.length && b < y.terms.length; ) {
    const difference = (x.terms[a] as number) - (y.terms[b] as number);
    if (difference === 0) sum += (x.weights[a++] as number) * (y.weights[b++] as number);
    else if (difference < 0) a++;
    else b++;
  }
  return Math.min(1, sum);
}
