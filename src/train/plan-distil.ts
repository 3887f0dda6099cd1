import { z } from 'zod';
import type { ItemIndex } from '../catalog/catalog.js';
import { OracleError } from '../foundation/errors.js';
import { canonicalJson } from '../foundation/json.js';
import { checkOptions, describeValue } from '../foundation/options.js';
import { Rng } from '../foundation/rng.js';
import type { Storage } from '../foundation/storage.js';
import type { AnswerLog } from '../oracle/answer-log.js';
import { type TokenPrices, tokenPricesSchema } from '../oracle/budget.js';
import { oracleSchema, storageSchema } from '../oracle/option-schemas.js';
import type { PreferenceOracle, PreferenceQuery, Usage } from '../oracle/preference-oracle.js';
import { openRecord } from '../oracle/recorded-spending.js';
import { type DistilCost, Ledger } from './distil-cost.js';
import { QuestionPlan, type QuestionPlanOptions, type QuestionStream, questionPlanShape } from './question-plan.js';

/** Where the answers of a plan are. */
export const recordShape = {
  storage: storageSchema,
  key: z.string().min(1).default('answers.jsonl'),
};

/** Options of {@link planDistil}. */
export interface PlanDistilOptions extends QuestionPlanOptions {
  /** Who would be asked; only its `estimate` is called. Borrowed. */
  readonly oracle: PreferenceOracle;
  /** Where answers are already; what they answer is not counted again. @default nowhere */
  readonly storage?: Storage;
  /** Key of the answers in the storage. @default 'answers.jsonl' */
  readonly key?: string;
  /** Questions that are rendered and counted, drawn from those to ask; the rest is extrapolated. @default 200 */
  readonly sample?: number;
  /**
   * Whether all questions are counted where a sample says too little: of an oracle whose first answers pay for later ones
   * (`LikelihoodOracle`, each item once). False: what is to come is left open then.
   * @default true
   */
  readonly countAll?: boolean;
  /** Whether questions are to be asked again whose answer on record could not be read, as by that option of `distil`. @default false */
  readonly retryInvalid?: boolean;
  /** US dollars for a million tokens, where the back-end does not tell what it costs. @default nothing is known */
  readonly prices?: TokenPrices | undefined;
}

/** What a distillation would be. */
export interface DistilPlan {
  /** Questions of the plan. */
  readonly total: number;
  /** Of those, on record, and not to be asked again. */
  readonly recorded: number;
  /** Questions that were rendered and counted. */
  readonly sampled: number;
  /** What the rest would cost; undefined where the oracle cannot tell, or a sample cannot. */
  readonly toCome: DistilCost | undefined;
}

const planSchema = z.strictObject({
  ...questionPlanShape,
  storage: storageSchema.optional(),
  key: recordShape.key,
  oracle: oracleSchema,
  sample: z.int().min(1).max(1_000_000).default(200),
  countAll: z.boolean().default(true),
  retryInvalid: z.boolean().default(false),
  prices: tokenPricesSchema.optional(),
});

/**
 * A dry run of `distil`: writes the prompts of a sample of the questions, or of all where that says too little, counts their calls
 * and tokens by the oracle's `estimate`, and asks nobody. Within an episode later questions hang on answers that nobody has given yet:
 * random choices stand for them.
 *
 * @throws as `distil` does, before it asks.
 */
export async function planDistil(options: PlanDistilOptions): Promise<DistilPlan> {
  const checked = checkOptions(planSchema, options, 'planDistil');
  const { oracle, storage, key, sample, countAll, prices, retryInvalid, ...planOptions } = checked;
  const plan = new QuestionPlan(planOptions, 'planDistil');
  const log = storage && (await openRecord(storage, key, plan.catalog, oracle.id));
  /** A stream where its answers on record end, and those of its questions that are to be asked again. */
  const replayed = async (s: number): Promise<{ stream: QuestionStream; again: readonly PreferenceQuery[] }> => {
    const stream = plan.stream(s);
    const unread = log === undefined ? [] : await replay(stream, log);
    return { stream, again: retryInvalid ? unread : [] };
  };
  // `ends[s]`: questions still to ask in streams 0 to s; in each those to ask again come first.
  const ends = new Float64Array(plan.streams);
  let toAsk = 0;
  for (let s = 0; s < plan.streams; s++) {
    const { stream, again } = await replayed(s);
    toAsk += again.length + plan.stepsOf(s) - stream.step;
    ends[s] = toAsk;
  }
  const recorded = plan.count - toAsk;
  const rng = new Rng(checked.seed).fork('plan-distil');
  const draw = async (count: number): Promise<PreferenceQuery[]> => {
    const queries: PreferenceQuery[] = [];
    let s = 0;
    let now: Awaited<ReturnType<typeof replayed>> | undefined;
    for (const place of rng.sample(toAsk, count).sort()) {
      while ((ends[s] as number) <= place) {
        s++;
        now = undefined;
      }
      now ??= await replayed(s);
      const { stream, again } = now;
      const repeated = again[place - (ends[s - 1] ?? 0)];
      if (repeated !== undefined) {
        queries.push(repeated);
        continue;
      }
      const step = plan.stepsOf(s) - ((ends[s] as number) - place);
      while (stream.step < step) {
        const { candidates } = stream.next as PreferenceQuery;
        const choice = candidates[rng.integer(candidates.length)] as ItemIndex;
        stream.answer({ kind: 'choice', choice });
      }
      queries.push(stream.next as PreferenceQuery);
    }
    return queries;
  };
  const costOf = async (queries: readonly PreferenceQuery[]): Promise<Ledger | undefined> => {
    const estimates = queries.length === 0 ? [] : await estimatesOf(oracle, queries);
    return estimates && Ledger.of(estimates, prices);
  };
  let queries = await draw(Math.min(sample, toAsk));
  let cost = await costOf(queries);
  if (cost !== undefined && queries.length < toAsk && (await paysForLater(oracle, queries, prices))) {
    queries = countAll ? await draw(toAsk) : [];
    cost = countAll ? await costOf(queries) : undefined;
  }
  const sampled = cost === undefined ? 0 : queries.length;
  return { total: plan.count, recorded, sampled, toCome: cost && (cost.forecast(toAsk) ?? cost.total) };
}

/**
 * Whether questions cost less once others about the same items were asked. They are not the same questions, which an oracle with a
 * memory answers for nothing, but the same with one item more in the history.
 */
async function paysForLater(
  oracle: PreferenceOracle,
  queries: readonly PreferenceQuery[],
  prices: TokenPrices | undefined,
): Promise<boolean> {
  const later = queries.map((query) => ({ ...query, history: [...query.history, query.candidates[0] as ItemIndex] }));
  const alone = (await estimatesOf(oracle, later)) ?? [];
  const after = ((await estimatesOf(oracle, [...queries, ...later])) ?? []).slice(queries.length);
  const [one, other] = [Ledger.of(alone, prices).total, Ledger.of(after, prices).total];
  return canonicalJson({ ...one }) !== canonicalJson({ ...other });
}

/** @returns one cost a query; undefined where the oracle cannot tell. */
async function estimatesOf(
  oracle: PreferenceOracle,
  queries: readonly PreferenceQuery[],
): Promise<readonly Usage[] | undefined> {
  const estimates: unknown = await oracle.estimate?.(queries);
  if (estimates === undefined || (Array.isArray(estimates) && estimates.length === queries.length)) {
    return estimates as readonly Usage[] | undefined;
  }
  throw new OracleError(
    `${oracle.id}: expected \`estimate\` to give ${queries.length} costs, got ${describeValue(estimates)}`,
  );
}

/** Options of {@link openQuestions}. */
export interface OpenQuestionsOptions extends QuestionPlanOptions {
  /** Id of the oracle whose answers are on record. */
  readonly oracleId: string;
  /** Where answers are already. */
  readonly storage: Storage;
  /** Key of the answers in the storage. @default 'answers.jsonl' */
  readonly key?: string;
}

const openSchema = z.strictObject({ ...questionPlanShape, ...recordShape, oracleId: z.string().min(1) });

/**
 * The questions of a plan that can be asked now: of every episode the first one without an answer on record. For those who answer in
 * bulk, such as `exportBatch`; with `stepsPerEpisode: 1` they are all that is left.
 *
 * @throws as `distil` does, before it asks.
 */
export async function openQuestions(options: OpenQuestionsOptions): Promise<readonly PreferenceQuery[]> {
  const { oracleId, storage, key, ...planOptions } = checkOptions(openSchema, options, 'openQuestions');
  const plan = new QuestionPlan(planOptions, 'openQuestions');
  const log = await openRecord(storage, key, plan.catalog, oracleId);
  const queries: PreferenceQuery[] = [];
  for (let s = 0; s < plan.streams; s++) {
    const stream = plan.stream(s);
    if (log !== undefined) await replay(stream, log);
    if (stream.next !== undefined) queries.push(stream.next);
  }
  return queries;
}

/** Takes a stream through the answers on record. @returns those of its questions whose answer cannot be read. */
async function replay(stream: QuestionStream, log: AnswerLog): Promise<PreferenceQuery[]> {
  const invalid: PreferenceQuery[] = [];
  for (let query = stream.next; query !== undefined; query = stream.next) {
    const key = await log.keyOf(query);
    const answer = log.answer(key, query);
    if (answer === undefined || answer.kind === 'failed') break;
    if (answer.kind === 'invalid') invalid.push(query);
    if (log.unread.has(key)) stream.skip();
    else stream.answer(answer);
  }
  return invalid;
}
