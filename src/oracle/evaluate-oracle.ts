import { z } from 'zod';
import type { ItemIndex } from '../catalog/catalog.js';
import { Sequences } from '../catalog/sequences.js';
import { InvalidArgumentError } from '../foundation/errors.js';
import { checkOptions } from '../foundation/options.js';
import { Rng } from '../foundation/rng.js';
import { checkPreference } from './check-query.js';
import { type Preference, type PreferenceOracle, type PreferenceQuery, preferInBatches } from './preference-oracle.js';

/** One held-out question whose answer is known. */
export interface EvaluationList {
  /** x₁:ₜ, oldest first. */
  readonly history: readonly ItemIndex[];
  /** K distinct items, the true one among them. */
  readonly candidates: readonly ItemIndex[];
  /** What the user really took next. */
  readonly truth: ItemIndex;
}

/** Options of {@link evaluateOracle}. */
export interface EvaluateOracleOptions {
  /** Who is examined; borrowed. To see label bias, switch the oracle's own shuffling off. */
  readonly oracle: PreferenceOracle;
  /** Held-out sequences: the last item is the truth, against uniform negatives that the sequence does not hold. Or give `lists`. */
  readonly sequences?: Sequences;
  /** Ready-made lists, instead of `sequences`. */
  readonly lists?: readonly EvaluationList[];
  /** K of the lists made from `sequences`, from 2. @default 10 */
  readonly candidateCount?: number;
  /** Latest items of a sequence shown as history. @default 10 */
  readonly historyLength?: number;
  /** Most lists, drawn from `seed` where there are more. @default 200 */
  readonly limit?: number;
  /** Seed of lists and orders. @default 0 */
  readonly seed?: number;
  /** Gives up: rejects with `signal.reason`. */
  readonly signal?: AbortSignal;
}

/** How well an oracle knows what users took, and how much of that is position. Shares are 0..1. */
export interface OracleEvaluation {
  /** The oracle's id. */
  readonly oracle: string;
  /** Lists asked about; each is asked twice, in two orders. */
  readonly lists: number;
  /** Mean of 1 / K: hit@1 of a random choice. */
  readonly chance: number;
  /** Share of answered lists (all but failed) whose choice was the truth, in the first order; a None is a miss. NaN when none was answered. */
  readonly hitAt1: number;
  /** Lower end of the 95 % Wilson interval of `hitAt1`. */
  readonly hitAt1Low: number;
  /** Upper end of the 95 % Wilson interval of `hitAt1`. */
  readonly hitAt1High: number;
  /** The same over the lists answered by a choice: how often an item that was named was the truth. NaN when none was. */
  readonly hitWhenChosen: number;
  /** Share of answered lists answered by None. */
  readonly noneRate: number;
  /** Share of answered lists answered by nothing usable. */
  readonly invalidRate: number;
  /** Share of all lists that nobody answered. */
  readonly failedRate: number;
  /** `[max K]` hit@1 over the lists that have the truth at that place, counted over both orders; NaN where there is none. */
  readonly recallByPosition: readonly number[];
  /** Standard deviation of `recallByPosition` over places (RStd); 0 for an oracle that does not look at places, up to noise. */
  readonly recallSpread: number;
  /** Share of lists with a choice or None in both orders whose answers differ. NaN when there is no such list. */
  readonly flipRate: number;
  /** Mean probability mass on the labels, where the oracle tells it. */
  readonly labelMass: number | undefined;
}

const items = z.array(z.int().min(0));
const evaluateSchema = z
  .strictObject({
    oracle: z.custom<PreferenceOracle>(
      (value) =>
        typeof value === 'object' && value !== null && typeof (value as PreferenceOracle).prefer === 'function',
      'a PreferenceOracle',
    ),
    sequences: z.custom<Sequences>((value) => value instanceof Sequences, 'expected Sequences').optional(),
    lists: z.array(z.strictObject({ history: items, candidates: items.min(2), truth: z.int().min(0) })).optional(),
    candidateCount: z.int().min(2).default(10),
    historyLength: z.int().min(1).default(10),
    limit: z.int().min(1).default(200),
    seed: z.int().default(0),
    signal: z.instanceof(AbortSignal).optional(),
  })
  .refine((options) => (options.sequences === undefined) !== (options.lists === undefined), {
    message: 'exactly one of `sequences` and `lists` is needed',
  });

/**
 * Examines an oracle on held-out lists before anything is trained on it. Each list is asked in two orders: one with the truth at a
 * uniformly drawn place, and that one shifted cyclically by a drawn number of places.
 *
 * hit@1 does not rank oracles by what a policy learns from them (learning.md 3): read it beside a text-only oracle on the same lists.
 *
 * @throws {InvalidArgumentError} for a wrong option, a list without its truth, or sequences that give no list.
 * @throws `signal.reason` on abort.
 */
export async function evaluateOracle(options: EvaluateOracleOptions): Promise<OracleEvaluation> {
  const checked = checkOptions(evaluateSchema, options, 'evaluateOracle');
  const { oracle, sequences, limit, seed, signal } = checked;
  const rng = new Rng(seed).fork('evaluate-oracle');
  const lists = drawn(
    checked.lists ?? listsOf(sequences as Sequences, checked, rng.fork('lists')),
    limit,
    rng.fork('limit'),
  );
  for (const [i, list] of lists.entries()) {
    if (!list.candidates.includes(list.truth)) {
      throw new InvalidArgumentError(
        `evaluateOracle: expected the truth ${list.truth} to be among the candidates of list ${i}`,
        {
          argument: `lists[${i}].truth`,
          got: list.truth,
        },
      );
    }
  }
  if (lists.length === 0) {
    const wanted = 'sequences of at least 2 items, with candidateCount - 1 items left outside them';
    throw new InvalidArgumentError(`evaluateOracle: expected ${wanted}; there was no list to ask`, {
      argument: 'sequences',
      wanted,
    });
  }

  const orders = rng.fork('orders');
  const first: PreferenceQuery[] = [];
  const second: PreferenceQuery[] = [];
  for (const { history, candidates, truth } of lists) {
    const others = orders.shuffle(candidates.filter((item) => item !== truth));
    others.splice(orders.integer(candidates.length), 0, truth);
    const shift = 1 + orders.integer(candidates.length - 1);
    first.push({ history, candidates: others });
    second.push({ history, candidates: [...others.slice(shift), ...others.slice(0, shift)] });
  }
  const asked = [...first, ...second];
  const given = await preferInBatches(oracle, asked, signal === undefined ? {} : { signal });
  const answers = given.map((answer, i) => checkPreference(asked[i] as PreferenceQuery, answer, oracle.id));
  return summary(oracle.id, lists, first, second, answers);
}

function summary(
  id: string,
  lists: readonly EvaluationList[],
  first: readonly PreferenceQuery[],
  second: readonly PreferenceQuery[],
  answers: readonly Preference[],
): OracleEvaluation {
  const N = lists.length;
  const widest = Math.max(...lists.map((list) => list.candidates.length));
  const asked = new Int32Array(widest);
  const recalled = new Int32Array(widest);
  const kinds = { choice: 0, none: 0, invalid: 0, failed: 0 };
  const masses: number[] = [];
  let hits = 0;
  let comparable = 0;
  let flips = 0;
  for (const [i, { truth }] of lists.entries()) {
    const pair = [answers[i] as Preference, answers[N + i] as Preference] as const;
    kinds[pair[0].kind]++;
    if (isHit(pair[0], truth)) hits++;
    for (const [n, query] of [first[i] as PreferenceQuery, second[i] as PreferenceQuery].entries()) {
      const answer = pair[n] as Preference;
      if (answer.kind === 'failed') continue;
      const place = query.candidates.indexOf(truth);
      asked[place] = (asked[place] as number) + 1;
      if (isHit(answer, truth)) recalled[place] = (recalled[place] as number) + 1;
      if (typeof answer.meta?.labelMass === 'number') masses.push(answer.meta.labelMass);
    }
    const [a, b] = pair.map(decision);
    if (a === undefined || b === undefined) continue;
    comparable++;
    if (a !== b) flips++;
  }
  const answered = N - kinds.failed;
  const recallByPosition = Array.from(recalled, (count, place) => count / (asked[place] as number));
  const [low, high] = wilson(hits, answered);
  return {
    oracle: id,
    lists: N,
    chance: mean(lists.map((list) => 1 / list.candidates.length)),
    hitAt1: hits / answered,
    hitAt1Low: low,
    hitAt1High: high,
    hitWhenChosen: hits / kinds.choice,
    noneRate: kinds.none / answered,
    invalidRate: kinds.invalid / answered,
    failedRate: kinds.failed / N,
    recallByPosition,
    recallSpread: deviation(recallByPosition.filter((recall) => !Number.isNaN(recall))),
    flipRate: flips / comparable,
    labelMass: masses.length === 0 ? undefined : mean(masses),
  };
}

/** Lists from the ends of sequences of at least two items. */
function listsOf(
  sequences: Sequences,
  { candidateCount, historyLength }: { candidateCount: number; historyLength: number },
  rng: Rng,
): EvaluationList[] {
  const A = sequences.catalogSize;
  const lists: EvaluationList[] = [];
  for (let s = 0; s < sequences.count; s++) {
    const sequence = Array.from(sequences.sequence(s));
    const truth = sequence.pop();
    if (truth === undefined || sequence.length === 0) continue;
    const taken = new Set([...sequence, truth]);
    if (A - taken.size < candidateCount - 1) continue;
    const draws = rng.fork(s);
    const candidates = [truth];
    while (candidates.length < candidateCount) {
      const item = draws.integer(A);
      if (taken.has(item)) continue;
      taken.add(item);
      candidates.push(item);
    }
    lists.push({ history: sequence.slice(-historyLength), candidates, truth });
  }
  return lists;
}

function drawn(lists: readonly EvaluationList[], limit: number, rng: Rng): readonly EvaluationList[] {
  if (lists.length <= limit) return lists;
  return Array.from(rng.sample(lists.length, limit).sort(), (i) => lists[i] as EvaluationList);
}

function isHit(answer: Preference, truth: ItemIndex): boolean {
  return answer.kind === 'choice' && answer.choice === truth;
}

/** The item, -1 for None, undefined where there is no decision. */
function decision(answer: Preference): number | undefined {
  if (answer.kind === 'choice') return answer.choice;
  return answer.kind === 'none' ? -1 : undefined;
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

function deviation(values: readonly number[]): number {
  const centre = mean(values);
  return Math.sqrt(mean(values.map((value) => (value - centre) ** 2)));
}

/** 95 % Wilson score interval of a share. */
function wilson(hits: number, n: number): readonly [number, number] {
  if (n === 0) return [Number.NaN, Number.NaN];
  const z = 1.959963984540054;
  const share = hits / n;
  const centre = (share + (z * z) / (2 * n)) / (1 + (z * z) / n);
  const half = (z / (1 + (z * z) / n)) * Math.sqrt((share * (1 - share)) / n + (z * z) / (4 * n * n));
  return [Math.max(0, centre - half), Math.min(1, centre + half)];
}
