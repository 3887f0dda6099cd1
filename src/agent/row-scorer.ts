/** How the simple policies turn one row of scores into an action, a distribution or a list. */
import type { HistoryBatch } from '../compute/history-batch.js';
import { checkHistoryBatch } from '../compute/history-batch.js';
import { excludedItems } from '../compute/mask.js';
import { argumentError, checkNumber, checkObject } from '../foundation/arguments.js';
import { InvalidArgumentError } from '../foundation/errors.js';
import type { ActOptions, Decision, PolicyOptions, Ranking } from './policy.js';

/**
 * From scores to probabilities, over the items that the mask leaves:
 * - `softmax`: proportional to exp(score / temperature);
 * - `proportional`: to score^(1 / temperature), scores >= 0; all equal where every score is 0;
 * - `best`: everything on the best item, which is what a policy that does not sample does.
 */
export type ScoreLink = 'softmax' | 'proportional' | 'best';

/** A rule that scores every item for a history; see {@link actByScore}. */
export interface RowScorer {
  /** A, the items scored. */
  readonly itemCount: number;
  /** How scores become probabilities. */
  readonly link: ScoreLink;
  /** The rule's own temperature, > 0; multiplies that of the call. */
  readonly temperature: number;
  /** Writes the scores of one row of a batch, `[A]`. */
  scoreRow(batch: HistoryBatch, row: number, scores: Float64Array): void;
}

/**
 * One action a row. Among equal scores the lowest item index is the best; a sampled call draws by inverse CDF.
 *
 * @throws {InvalidArgumentError} when a row has no allowed item, or `uniforms` is too short for a sampled call.
 */
export function actByScore(scorer: RowScorer, batch: HistoryBatch, options: ActOptions): Decision {
  const { mode, uniforms } = checkActOptions(options);
  checkBatch(scorer, batch);
  const actions = new Int32Array(batch.size);
  const logProb = new Float32Array(batch.size);
  if (mode === 'sampled') checkUniforms(uniforms, batch.size);
  forEachRow(scorer, batch, options, (row, scores) => {
    if (mode === 'argmax' || scorer.link === 'best') {
      actions[row] = bestOf(scores);
      return;
    }
    const total = toWeights(scorer, options, scores);
    const aim = (uniforms[row] as number) * total;
    let sum = 0;
    let action = -1;
    for (let item = 0; item < scores.length; item++) {
      const weight = scores[item] as number;
      if (weight === 0) continue;
      action = item; // The last possible item, should rounding leave the sum below the aim.
      sum += weight;
      if (sum > aim) break;
    }
    actions[row] = action;
    logProb[row] = Math.log((scores[action] as number) / total);
  });
  return { actions, logProb };
}

/**
 * The distribution that {@link actByScore} draws from, `[B, A]`.
 *
 * @throws {InvalidArgumentError} when a row has no allowed item.
 */
export function probabilitiesByScore(
  scorer: RowScorer,
  batch: HistoryBatch,
  options: PolicyOptions = {},
): Float32Array {
  const A = scorer.itemCount;
  checkBatch(scorer, batch);
  const probabilities = new Float32Array(batch.size * A);
  forEachRow(scorer, batch, options, (row, scores) => {
    const total = toWeights(scorer, options, scores);
    for (let item = 0; item < A; item++) probabilities[row * A + item] = (scores[item] as number) / total;
  });
  return probabilities;
}

/**
 * The k best items of each row with their log-probabilities, best first, equal scores by lower index.
 *
 * @throws {InvalidArgumentError} when a row has fewer than k allowed items.
 */
export function topKByScore(scorer: RowScorer, batch: HistoryBatch, k: number, options: PolicyOptions = {}): Ranking {
  checkBatch(scorer, batch);
  checkNumber('topK', 'k', k, { low: 1, high: scorer.itemCount, integer: true });
  const items = new Int32Array(batch.size * k);
  const logProb = new Float32Array(batch.size * k);
  forEachRow(scorer, batch, options, (row, scores) => {
    const allowed: number[] = [];
    for (let item = 0; item < scores.length; item++) if (scores[item] !== -Infinity) allowed.push(item);
    if (!(Number.isInteger(k) && k >= 1 && k <= allowed.length)) {
      const wanted = `a whole number from 1 to ${allowed.length}, the items allowed in row ${row}`;
      throw new InvalidArgumentError(`topK: expected \`k\` to be ${wanted}, got ${k}`, {
        argument: 'k',
        wanted,
        got: k,
      });
    }
    allowed.sort((a, b) => (scores[b] as number) - (scores[a] as number) || a - b);
    const best = allowed.slice(0, k);
    const total = toWeights(scorer, options, scores);
    best.forEach((item, rank) => {
      items[row * k + rank] = item;
      logProb[row * k + rank] = Math.log((scores[item] as number) / total);
    });
  });
  return { items, logProb };
}

/**
 * Asserts that a sampled call has a number for each row.
 *
 * @throws {InvalidArgumentError} when there are fewer.
 */
export function checkUniforms(uniforms: Float64Array, rows: number): void {
  if (!(uniforms instanceof Float64Array)) throw argumentError('act', 'uniforms', 'a Float64Array', uniforms);
  const wrong = uniforms.findIndex((value) => !(value >= 0 && value < 1));
  if (wrong >= 0) throw argumentError('act', `uniforms[${wrong}]`, 'in [0, 1)', uniforms[wrong]);
  if (uniforms.length >= rows) return;
  const wanted = `one number for each of the ${rows} rows`;
  throw new InvalidArgumentError(`act: expected \`uniforms\` to hold ${wanted}, got ${uniforms.length}`, {
    argument: 'uniforms',
    wanted,
    got: uniforms.length,
  });
}

/**
 * Asserts that the options of `act` are there and the mode is one of the two.
 *
 * @throws {InvalidArgumentError} otherwise.
 */
export function checkActOptions(options: ActOptions): ActOptions {
  checkObject('act', 'options', options);
  if (options.mode === 'sampled' || options.mode === 'argmax') return options;
  throw argumentError('act', 'mode', "'sampled' or 'argmax'", options.mode);
}

function checkBatch({ itemCount }: RowScorer, batch: HistoryBatch): void {
  checkObject('policy', 'batch', batch, [], 'a HistoryBatch');
  checkHistoryBatch(batch, { itemCount, contextWidth: batch.contextWidth });
}

/** Scores each row, masked items at -Infinity, and hands it on; the array is reused. */
function forEachRow(
  scorer: RowScorer,
  batch: HistoryBatch,
  options: PolicyOptions,
  visit: (row: number, scores: Float64Array) => void,
): void {
  checkObject('policy', 'options', options);
  const { mask, temperature = 1 } = options;
  checkNumber('policy', 'temperature', temperature, { low: Number.MIN_VALUE });
  const A = scorer.itemCount;
  const excluded = excludedItems(mask, batch, A);
  const scores = new Float64Array(A);
  for (let row = 0; row < batch.size; row++) {
    scorer.scoreRow(batch, row, scores);
    if (excluded !== undefined) {
      for (let item = 0; item < A; item++) if (excluded[row * A + item] !== 0) scores[item] = -Infinity;
    }
    visit(row, scores);
  }
}

function bestOf(scores: Float64Array): number {
  let best = 0;
  for (let item = 1; item < scores.length; item++) {
    if ((scores[item] as number) > (scores[best] as number)) best = item;
  }
  return best;
}

/** Replaces scores by weights (masked items 0) that are proportional to the probabilities; returns their sum, > 0. */
function toWeights(scorer: RowScorer, options: PolicyOptions, scores: Float64Array): number {
  const best = bestOf(scores);
  const highest = scores[best] as number;
  const power = 1 / (scorer.temperature * (options.temperature ?? 1));
  let total = 0;
  for (let item = 0; item < scores.length; item++) {
    const score = scores[item] as number;
    let weight = 0;
    if (scorer.link === 'best') weight = item === best ? 1 : 0;
    else if (score !== -Infinity) {
      if (scorer.link === 'softmax') weight = Math.exp((score - highest) * power);
      else weight = highest === 0 ? 1 : (score / highest) ** power;
    }
    scores[item] = weight;
    total += weight;
  }
  return total;
}
