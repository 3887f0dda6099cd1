import { z } from 'zod';
import type { ItemIndex } from '../catalog/catalog.js';
import { InvalidArgumentError, OracleError } from '../foundation/errors.js';
import { checkOptions } from '../foundation/options.js';
import { oracleSchema } from './option-schemas.js';
import { type Preference, type PreferenceOracle, type PreferenceQuery, preferInBatches } from './preference-oracle.js';
import { logSumExp } from './score-decision.js';

/** How an oracle reads a model: `label` by the probability of letters, `likelihood` by that of texts. */
export type Readout = 'label' | 'likelihood';

/** A threshold for None, and what it does on the lists that it was fitted on. */
export interface NoneThreshold {
  /** The option it is for: `LikelihoodOracle`'s `noneBelow`, or `LlmOracle`'s `noneThreshold`. */
  readonly option: 'noneBelow' | 'noneThreshold';
  /** The option's value. */
  readonly value: number;
  /** Share of None on lists that hold the truth. */
  readonly noneRate: number;
  /** Share of None on lists that do not. */
  readonly noneHit: number;
}

/** A held-out list: what stood before, what was shown, and what the user really took. */
export interface ThresholdList {
  /** Items before, oldest first. */
  readonly history: readonly ItemIndex[];
  /** Items shown. */
  readonly candidates: readonly ItemIndex[];
  /** What the user took next: among the candidates in some lists, and not in others. */
  readonly truth: ItemIndex;
}

/** Options of {@link fitNoneThreshold}. */
export interface FitNoneThresholdOptions {
  /** Who is asked; must tell scores. Its own threshold does not matter. */
  readonly oracle: PreferenceOracle;
  /** Which threshold is wanted. */
  readonly readout: Readout;
  /** Lists with their truth among the candidates, and lists without; about as many of each, a hundred or more. */
  readonly lists: readonly ThresholdList[];
  /** Gives up: rejects with `signal.reason`. */
  readonly signal?: AbortSignal;
}

const items = z.array(z.int().min(0));
const schema = z.strictObject({
  oracle: oracleSchema,
  readout: z.enum(['label', 'likelihood']),
  lists: z.array(z.object({ history: items, candidates: items, truth: z.int().min(0) })).min(2),
  signal: z.instanceof(AbortSignal).optional(),
});

/**
 * Finds where None begins: the threshold with the largest balanced accuracy, that is the mean of the share of lists with their truth
 * that are answered by a choice and the share of lists without that are answered by None. Lists that fail or tell no scores (an empty
 * history of the `likelihood` read-out) are left out.
 *
 * @returns the threshold for `LikelihoodOracle`'s `noneBelow` or `LlmOracle`'s and `DebiasedOracle`'s `noneThreshold`.
 * @throws {InvalidArgumentError} for a wrong option, or lists that all hold their truth, or none of them.
 * @throws {OracleError} when the oracle tells scores for no list of one of the two kinds.
 * @throws `signal.reason` on abort.
 */
export async function fitNoneThreshold(options: FitNoneThresholdOptions): Promise<NoneThreshold> {
  const { oracle, readout, lists, signal } = checkOptions(schema, options, 'fitNoneThreshold');
  const holds = lists.map(({ candidates, truth }) => candidates.includes(truth));
  if (holds.every(Boolean) || !holds.some(Boolean)) {
    throw new InvalidArgumentError(
      `fitNoneThreshold: expected lists with their truth among the candidates and lists without, got ${holds.some(Boolean) ? 'only the former' : 'only the latter'}`,
      { argument: 'lists' },
    );
  }
  const queries = lists.map(({ history, candidates }): PreferenceQuery => ({ history, candidates }));
  const answers = await preferInBatches(oracle, queries, signal === undefined ? {} : { signal });
  const margins = answers.map((answer, i) =>
    noneMargin(answer, (queries[i] as PreferenceQuery).candidates.length, readout),
  );
  const of = (kind: boolean): number[] =>
    margins.filter((margin, i): margin is number => margin !== undefined && holds[i] === kind);
  const cut = cutBetween(of(true), of(false));
  if (cut === undefined) {
    throw new OracleError(
      `fitNoneThreshold: ${oracle.id} told no scores for lists ${of(true).length === 0 ? 'with' : 'without'} their truth; it takes an oracle that reads probabilities`,
    );
  }
  return noneThresholdOf(cut, readout);
}

/**
 * How far an answer is from a None, in nats: the best candidate's score (`likelihood`), or logsumexp p(candidates) - log p(None)
 * (`label`). Undefined without scores.
 */
export function noneMargin(answer: Preference, candidateCount: number, readout: Readout): number | undefined {
  const scores = answer.kind === 'failed' ? undefined : answer.meta?.scores;
  if (scores === undefined || scores.length !== candidateCount + 1) return undefined;
  const candidates = scores.slice(0, candidateCount);
  if (readout === 'likelihood') return Math.max(...candidates);
  const margin = logSumExp(candidates) - (scores[candidateCount] as number);
  return Number.isNaN(margin) ? undefined : margin;
}

/** A cut between two kinds of lists. */
export interface Cut {
  /** None below this margin. */
  readonly below: number;
  /** Share of the lists with the truth that lie below. */
  readonly noneRate: number;
  /** Share of those without that do. */
  readonly noneHit: number;
}

/** A cut as the option of a read-out. */
export function noneThresholdOf({ below, noneRate, noneHit }: Cut, readout: Readout): NoneThreshold {
  return readout === 'likelihood'
    ? { option: 'noneBelow', value: below, noneRate, noneHit }
    : { option: 'noneThreshold', value: -below, noneRate, noneHit };
}

/**
 * The cut of largest balanced accuracy: half-way between two margins, or a nat outside all of them.
 *
 * @param withTruth - margins of lists that hold the truth.
 * @param without - those of lists that do not.
 * @returns undefined where either is empty.
 */
export function cutBetween(withTruth: readonly number[], without: readonly number[]): Cut | undefined {
  if (withTruth.length === 0 || without.length === 0) return undefined;
  const marked = [...withTruth.map((at) => ({ at, is: 1 })), ...without.map((at) => ({ at, is: 0 }))];
  marked.sort((a, b) => a.at - b.at);
  let below = { withTruth: 0, without: 0 };
  let best = { at: outside((marked[0] as { at: number }).at, -1), gain: 0, ...below };
  for (const [i, { at, is }] of marked.entries()) {
    below = { withTruth: below.withTruth + is, without: below.without + 1 - is };
    const next = marked[i + 1]?.at;
    if (next === at) continue;
    const gain = below.without / without.length - below.withTruth / withTruth.length;
    if (gain > best.gain) best = { at: next === undefined ? outside(at, 1) : between(at, next), gain, ...below };
  }
  return {
    below: best.at,
    noneRate: best.withTruth / withTruth.length,
    noneHit: best.without / without.length,
  };
}

/** Options are finite numbers, whatever the margins are. */
function outside(at: number, step: number): number {
  return Math.max(-Number.MAX_VALUE, Math.min(Number.MAX_VALUE, at + step));
}

function between(low: number, high: number): number {
  if (low === Number.NEGATIVE_INFINITY) return outside(high, -1);
  return high === Number.POSITIVE_INFINITY ? outside(low, 1) : (low + high) / 2;
}
