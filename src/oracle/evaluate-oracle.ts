import { z } from 'zod';
import type { Catalog } from '../catalog/catalog.js';
import { Sequences } from '../catalog/sequences.js';
import { InvalidArgumentError } from '../foundation/errors.js';
import { checkOptions } from '../foundation/options.js';
import { Rng } from '../foundation/rng.js';
import { type TokenPrices, tokenPricesSchema, withDollars } from './budget.js';
import { checkPreference } from './check-query.js';
import { type EvaluationList, type Negatives, nextItemLists } from './next-item-lists.js';
import type { Readout } from './none-threshold.js';
import { catalogSchema, countsSchema, oracleSchema } from './option-schemas.js';
import {
  type Answered,
  type AnswerSpending,
  type Asked,
  type OracleEvaluation,
  summarise,
} from './oracle-evaluation.js';
import { type Preference, type PreferenceOracle, type PreferenceQuery, preferInBatches } from './preference-oracle.js';
import { mean } from './shares.js';

/** Options of {@link evaluateOracle}. */
export interface EvaluateOracleOptions {
  /** Who is examined; borrowed. To see label bias, switch the oracle's own shuffling off. */
  readonly oracle: PreferenceOracle;
  /** Held-out sequences: the last item is the truth, against negatives that the sequence does not hold. Or give `lists`. */
  readonly sequences?: Sequences;
  /** Ready-made lists, instead of `sequences`. */
  readonly lists?: readonly EvaluationList[];
  /** K of the lists made from `sequences`, from 2. @default 10 */
  readonly candidateCount?: number;
  /** Latest items of a sequence shown as history. @default 10 */
  readonly historyLength?: number;
  /** How negatives are drawn, or how those of `lists` were; `'popularity'` needs `counts`. @default 'uniform' */
  readonly negatives?: Negatives;
  /** How often each item was taken by users one may learn from, `[A]`: adds the row `popularity`. @default no such row */
  readonly counts?: ArrayLike<number>;
  /** Whose texts are compared: adds the rows `text` and `textPlusModel`. @default no such rows */
  readonly catalog?: Catalog;
  /** How the oracle reads its model: named in the rows, and in how None is judged. @default 'label' */
  readonly readout?: Readout;
  /** Most lists, drawn from `seed` where there are more. @default 200 */
  readonly limit?: number;
  /** Lists asked a second time in another order, for flips. Needless where the read-out does not look at places. @default all */
  readonly secondOrders?: number;
  /** Lists asked once more without their truth, whose right answer is None. @default 0 */
  readonly noneLists?: number;
  /** US dollars for a million tokens, where the back-end does not tell what it costs. @default nothing is known */
  readonly prices?: TokenPrices;
  /** Seed of lists and orders. @default 0 */
  readonly seed?: number;
  /** Gives up: rejects with `signal.reason`. */
  readonly signal?: AbortSignal;
  /** Told after each answer. */
  readonly onProgress?: (progress: EvaluationProgress) => void;
}

/** Where an evaluation stands. */
export interface EvaluationProgress {
  /** Questions answered. */
  readonly done: number;
  /** Questions in all. */
  readonly total: number;
}

const items = z.array(z.int().min(0));
const evaluateSchema = z
  .strictObject({
    oracle: oracleSchema,
    sequences: z.custom<Sequences>((value) => value instanceof Sequences, 'expected Sequences').optional(),
    lists: z
      .array(
        z.strictObject({
          history: items,
          candidates: items.min(2),
          truth: z.int().min(0),
          replacement: z.int().min(0).optional(),
          user: z.string().optional(),
        }),
      )
      .optional(),
    candidateCount: z.int().min(2).default(10),
    historyLength: z.int().min(1).default(10),
    negatives: z.enum(['uniform', 'popularity']).default('uniform'),
    counts: countsSchema.optional(),
    catalog: catalogSchema.optional(),
    readout: z.enum(['label', 'likelihood']).default('label'),
    limit: z.int().min(1).default(200),
    secondOrders: z.int().min(0).default(Number.MAX_SAFE_INTEGER),
    noneLists: z.int().min(0).default(0),
    prices: tokenPricesSchema.optional(),
    seed: z.int().default(0),
    signal: z.instanceof(AbortSignal).optional(),
    onProgress: z
      .custom<(progress: EvaluationProgress) => void>((value) => typeof value === 'function', 'expected a function')
      .optional(),
  })
  .refine((options) => (options.sequences === undefined) !== (options.lists === undefined), {
    message: 'exactly one of `sequences` and `lists` is needed',
  });

/**
 * Examines an oracle on held-out lists before anything is trained on it: once with the truth at a uniformly drawn place, for flips
 * once more shifted cyclically by a drawn number of places, and where wanted without the truth.
 *
 * The same lists are given to those who need no model: chance, popularity, text similarity. `textPlusModel` weighs the oracle's
 * scores (or its bare choice) and the text's, standardised within each list, by a conditional logit; each half of the lists is
 * judged by weights fitted on the other half, so no list is judged by itself.
 *
 * hit@1 does not rank oracles by what a policy learns from them (learning.md 3).
 *
 * @throws {InvalidArgumentError} for a wrong option, a list without its truth, or sequences that give no list.
 * @throws `signal.reason` on abort.
 */
export async function evaluateOracle(options: EvaluateOracleOptions): Promise<OracleEvaluation> {
  const checked = checkOptions(evaluateSchema, options, 'evaluateOracle');
  const { oracle, sequences, limit, seed, signal, onProgress, counts, catalog } = checked;
  const rng = new Rng(seed).fork('evaluate-oracle');
  const lists = drawn(
    (checked.lists as readonly EvaluationList[] | undefined) ??
      nextItemLists({
        sequences: sequences as Sequences,
        candidateCount: checked.candidateCount,
        historyLength: checked.historyLength,
        negatives: checked.negatives,
        ...(counts === undefined ? {} : { counts }),
        limit,
        seed,
      }),
    limit,
    rng.fork('limit'),
  );
  checkLists(lists, catalog, counts);
  const asked = orders(lists, checked.secondOrders, checked.noneLists, rng.fork('orders'));

  const queries = [
    ...asked.map(({ first }) => first),
    ...asked.flatMap(({ second }) => second ?? []),
    ...asked.flatMap(({ without }) => without ?? []),
  ];
  let done = 0;
  const started = performance.now();
  const given = await preferInBatches(oracle, queries, {
    ...(signal === undefined ? {} : { signal }),
    ...(onProgress === undefined ? {} : { onResult: () => onProgress({ done: ++done, total: queries.length }) }),
  });
  const seconds = (performance.now() - started) / 1000;
  const answers = given.map((answer, i) => checkPreference(queries[i] as PreferenceQuery, answer, oracle.id));

  const byQuery = new Map(queries.map((query, i) => [query, answers[i] as Preference]));
  const of = (query: PreferenceQuery | undefined): Preference | undefined => query && byQuery.get(query);
  const answered = asked.map(
    (one): Answered => ({
      ...one,
      answer: of(one.first) as Preference,
      secondAnswer: of(one.second),
      withoutAnswer: of(one.without),
    }),
  );
  return summarise(answered, spending(answers, seconds, checked.prices), {
    oracle: oracle.id,
    readout: checked.readout,
    negatives: checked.negatives,
    counts,
    catalog,
    rng,
  });
}

function checkLists(
  lists: readonly EvaluationList[],
  catalog: Catalog | undefined,
  counts: ArrayLike<number> | undefined,
): void {
  const A = Math.min(catalog?.size ?? Number.POSITIVE_INFINITY, counts?.length ?? Number.POSITIVE_INFINITY);
  for (const [i, { history, candidates, truth, replacement }] of lists.entries()) {
    const refuse = (field: string, wanted: string, got: unknown): never => {
      throw new InvalidArgumentError(`evaluateOracle: expected ${wanted} in list ${i}`, {
        argument: `lists[${i}].${field}`,
        wanted,
        got,
      });
    };
    if (!candidates.includes(truth)) refuse('truth', `the truth ${truth} to be among the candidates`, truth);
    if (replacement !== undefined && candidates.includes(replacement)) {
      refuse('replacement', `the replacement ${replacement} to be none of the candidates`, replacement);
    }
    const outside = [...history, ...candidates, ...(replacement === undefined ? [] : [replacement])].find(
      (item) => item >= A,
    );
    if (outside !== undefined) refuse('candidates', `items from 0 to ${A - 1}, not ${outside},`, outside);
  }
  if (lists.length === 0) {
    const wanted = 'sequences of at least 2 items, with candidateCount - 1 items left outside them';
    throw new InvalidArgumentError(`evaluateOracle: expected ${wanted}; there was no list to ask`, {
      argument: 'sequences',
      wanted,
    });
  }
}

function orders(lists: readonly EvaluationList[], secondOrders: number, noneLists: number, rng: Rng): readonly Asked[] {
  let nones = 0;
  return lists.map((list, i) => {
    const { history, candidates, truth, replacement } = list;
    const others = rng.shuffle(candidates.filter((item) => item !== truth));
    const place = rng.integer(candidates.length);
    others.splice(place, 0, truth);
    const shift = 1 + rng.integer(candidates.length - 1);
    const isShortened = replacement === undefined && candidates.length > 2;
    const hasWithout = nones < noneLists && (replacement !== undefined || isShortened);
    if (hasWithout) nones++;
    const rest = replacement === undefined ? others.filter((item) => item !== truth) : others.with(place, replacement);
    return {
      list,
      first: { history, candidates: others },
      second:
        i < secondOrders ? { history, candidates: [...others.slice(shift), ...others.slice(0, shift)] } : undefined,
      without: hasWithout ? { history, candidates: rest } : undefined,
    };
  });
}

function spending(answers: readonly Preference[], seconds: number, prices: TokenPrices | undefined): AnswerSpending {
  const fresh = answers.flatMap((answer) =>
    answer.kind === 'failed' || answer.meta?.cached === true ? [] : [answer.meta?.usage ?? {}],
  );
  const tokens = fresh.flatMap(({ inputTokens, outputTokens }) =>
    inputTokens === undefined ? [] : [inputTokens + (outputTokens ?? 0)],
  );
  const costs = fresh.flatMap((usage) => withDollars(usage, prices).costUsd ?? []);
  return {
    tokens: tokens.length === 0 ? undefined : mean(tokens),
    seconds: fresh.length === 0 ? undefined : seconds / fresh.length,
    costUsd: costs.length === 0 ? undefined : costs.reduce((sum, cost) => sum + cost, 0),
  };
}

function drawn(lists: readonly EvaluationList[], limit: number, rng: Rng): readonly EvaluationList[] {
  if (lists.length <= limit) return lists;
  return Array.from(rng.sample(lists.length, limit).sort(), (i) => lists[i] as EvaluationList);
}
