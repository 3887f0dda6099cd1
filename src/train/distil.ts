import { z } from 'zod';
import type { ItemIndex } from '../catalog/catalog.js';
import { InvalidDataError, OracleError } from '../foundation/errors.js';
import { canonicalJson, type JsonValue } from '../foundation/json.js';
import { checkOptions, describeValue } from '../foundation/options.js';
import { Rng } from '../foundation/rng.js';
import { sha256Hex } from '../foundation/sha256.js';
import type { Storage } from '../foundation/storage.js';
import type { AnswerLog } from '../oracle/answer-log.js';
import {
  type BudgetCaps,
  budgetCapsSchema,
  dollarsOf,
  known,
  type Spending,
  type TokenPrices,
  tokenPricesSchema,
} from '../oracle/budget.js';
import { BudgetedOracle } from '../oracle/budgeted-oracle.js';
import { InvalidRateGuard } from '../oracle/invalid-rate-guard.js';
import { oracleSchema, storageSchema } from '../oracle/option-schemas.js';
import type {
  Preference,
  PreferenceOracle,
  PreferenceQuery,
  PreferOptions,
  Usage,
} from '../oracle/preference-oracle.js';
import { openRecord, recordedSpending } from '../oracle/recorded-spending.js';
import { RecordingOracle } from '../oracle/recording-oracle.js';
import { QuestionPlan, type QuestionPlanOptions, type QuestionStream, questionPlanShape } from './question-plan.js';

/** What answers cost, together. */
export interface DistilCost {
  /** Questions. */
  readonly questions: number;
  /** Calls of the model, retries and reminders included. */
  readonly calls: number;
  /** Tokens of prompts, as far as they were told. */
  readonly inputTokens: number;
  /** Tokens of answers, as far as they were told. */
  readonly outputTokens: number;
  /** US dollars, as far as they were told or `prices` tell. */
  readonly costUsd: number;
}

/** Where a distillation stands. */
export interface DistilProgress {
  /** Questions of the plan. */
  readonly total: number;
  /** Of those, answered, readable or not, in this run or before. */
  readonly done: number;
  /** Answered in this run. */
  readonly asked: number;
  /** Answers of this run that could not be read. */
  readonly invalid: number;
  /** Questions of this run that nobody answered. */
  readonly failed: number;
  /** Answers of this run a second. */
  readonly perSecond: number;
  /** Seconds to the end at this pace; undefined before the first answer. */
  readonly etaSeconds: number | undefined;
  /** What the answers on record cost, those of earlier runs included. */
  readonly spent: DistilCost;
  /** What the rest will cost, if it is like what was answered; undefined before anything was. */
  readonly toCome: DistilCost | undefined;
}

/** Options of {@link distil}. */
export interface DistilOptions extends QuestionPlanOptions {
  /** Who is asked; borrowed. */
  readonly oracle: PreferenceOracle;
  /** Where the answers go; borrowed. Run again with the same storage and options and the job goes on. */
  readonly storage: Storage;
  /** Key of the answers in the storage. @default 'answers.jsonl' */
  readonly key?: string;
  /** Episodes followed at the same time, hence questions waiting at the oracle. @default 32 */
  readonly concurrency?: number;
  /** Share of unusable answers among the last 200 of this run that ends it. @default 0.05 */
  readonly maxInvalidRate?: number;
  /** Asks questions again whose answer on record could not be read. @default false */
  readonly retryInvalid?: boolean;
  /**
   * Hard caps. Calls, tokens and dollars are those of the whole set, what earlier runs spent included; `wallMs` is of this run. A cap
   * may be passed by what is in flight, no more. @default none
   */
  readonly budget?: BudgetCaps | undefined;
  /** US dollars for a million tokens, where the back-end does not tell what it costs. @default nothing is known */
  readonly prices?: TokenPrices | undefined;
  /** Told about once a second, and at the end. */
  readonly onProgress?: (progress: DistilProgress) => void;
  /** Told of what is odd but no error. */
  readonly onWarning?: (message: string) => void;
  /** Stops the job: what was answered by then is on record. */
  readonly signal?: AbortSignal;
}

/** What a distillation amounted to. */
export interface DistilResult {
  /** Questions of the plan. */
  readonly total: number;
  /** Of those, answered: the set is complete when it is `total`. */
  readonly answered: number;
  /** Questions that reached the oracle in this run. */
  readonly asked: number;
  /** Questions of the plan answered by an item. */
  readonly choices: number;
  /** Questions of the plan answered by None. */
  readonly nones: number;
  /** Questions of the plan whose answer could not be read. */
  readonly invalid: number;
  /** Questions that nobody answered; run again to ask them again. */
  readonly failed: number;
  /** Message of the first of those failures. */
  readonly failure: string | undefined;
  /** What the answers on record cost, those of earlier runs included. */
  readonly spent: DistilCost;
  /** Seconds of this run. */
  readonly wallSeconds: number;
}

const functionSchema = <T>() =>
  z.custom<T>((value) => typeof value === 'function', { error: 'expected a function' }).optional();

const recordShape = {
  storage: storageSchema,
  key: z.string().min(1).default('answers.jsonl'),
};

const schema = z.strictObject({
  ...questionPlanShape,
  ...recordShape,
  oracle: oracleSchema,
  concurrency: z.int().min(1).max(10_000).default(32),
  maxInvalidRate: z.number().min(0).max(1).default(0.05),
  retryInvalid: z.boolean().default(false),
  budget: budgetCapsSchema.optional(),
  prices: tokenPricesSchema.optional(),
  onProgress: functionSchema<(progress: DistilProgress) => void>(),
  onWarning: functionSchema<(message: string) => void>(),
  signal: z.instanceof(AbortSignal).optional(),
});

/** Fresh answers that are judged together: one failure among them is bad luck, all of them are an oracle that is down. */
const JUDGED_TOGETHER = 16;
const PROGRESS_MS = 1000;

/**
 * Builds or extends a set of an oracle's answers, for `pretrain({ answers })`. Which questions are asked is a function of the options
 * and, within an episode, of the answers before; every answer is on record before the next question of its episode. A run that is
 * killed anywhere and started again therefore asks nothing twice but what was in flight, and ends with the same questions answered.
 *
 * It stops in order, with everything answered so far on record, when a budget is reached, on abort, and when too many answers cannot
 * be used. A question that fails after the oracle's own retries ends its episode for this run; the others go on.
 *
 * @returns counts, and what the set cost.
 * @throws {InvalidArgumentError} for a wrong option, or a catalogue too small for the candidates.
 * @throws {BudgetExceededError} when a budget is reached; run again with a higher one to go on.
 * @throws {OracleError} when too many answers cannot be used, or all of them fail.
 * @throws {InvalidDataError} when the record is damaged, of another oracle or about another catalogue.
 * @throws {CheckpointError} when an answer cannot be written down.
 * @throws `signal.reason` on abort.
 */
export async function distil(options: DistilOptions): Promise<DistilResult> {
  const began = performance.now();
  const checked = checkOptions(schema, options, 'distil');
  const { oracle, storage, key, concurrency, maxInvalidRate, retryInvalid, ...more } = checked;
  const { budget, prices, onProgress, onWarning, signal, ...planOptions } = more;
  signal?.throwIfAborted();
  const plan = new QuestionPlan(planOptions, 'distil');
  const record = await openRecord(storage, key, plan.catalog, oracle.id);
  const recorded = recordedSpending(record, prices);
  const ledger = new Ledger(prices, record?.paid().length ?? 0, recorded);
  const job = await Job.open(storage, key);
  await job.begin(planOptions, onWarning);
  const budgeted =
    budget === undefined
      ? undefined
      : new BudgetedOracle({
          oracle,
          caps: budget,
          spent: job.spentWith(recorded),
          concurrency,
          ...(prices === undefined ? {} : { prices }),
          ...(onWarning === undefined ? {} : { onWarning }),
        });
  const recording = await RecordingOracle.open({
    oracle: budgeted ?? oracle,
    catalog: checked.catalog,
    storage,
    key,
    retryInvalid,
    keepQueries: true,
  });

  const counts = { choice: 0, none: 0, invalid: 0, failed: 0, asked: 0, askedInvalid: 0 };
  let failure: string | undefined;
  let stopped: { readonly error: unknown } | undefined;
  const guard = new InvalidRateGuard({
    oracleId: oracle.id,
    maxInvalidRate,
    advice: 'once the oracle is mended, go on with `retryInvalid: true`, which asks those questions again',
  });
  const fresh: Preference[] = [];
  let reported = Number.NEGATIVE_INFINITY;
  const report = (isEnd = false): void => {
    const now = performance.now();
    if (onProgress === undefined || (!isEnd && now - reported < PROGRESS_MS)) return;
    reported = now;
    const { choice, none, invalid, failed, asked, askedInvalid } = counts;
    const done = choice + none + invalid;
    const perSecond = asked / ((now - began) / 1000);
    onProgress({
      total: plan.count,
      done,
      asked,
      invalid: askedInvalid,
      failed,
      perSecond,
      etaSeconds: asked === 0 ? undefined : (plan.count - done) / perSecond,
      spent: ledger.total,
      toCome: ledger.forecast(plan.count - done),
    });
  };

  const take = (answer: Preference): void => {
    counts[answer.kind]++;
    if (answer.kind === 'failed') failure ??= answer.error.message;
    else if (answer.meta?.cached !== true) {
      counts.asked++;
      if (answer.kind === 'invalid') counts.askedInvalid++;
      ledger.add(answer.meta?.usage);
    }
    // Only what was asked now is judged: an oracle that was mended since must get its chance.
    if (answer.kind === 'failed' || answer.meta?.cached !== true) fresh.push(answer);
    if (fresh.length >= JUDGED_TOGETHER) guard.add(fresh.splice(0));
    report();
  };
  /** Asks on in one stream, until it ends, fails or everything stops. */
  const follow = async (stream: QuestionStream, options: PreferOptions): Promise<void> => {
    for (let query = stream.next; query !== undefined && stopped === undefined; query = stream.next) {
      const [answer] = await recording.prefer([query], options);
      take(answer as Preference);
      if ((answer as Preference).kind === 'failed') return;
      stream.answer(answer as Exclude<Preference, { kind: 'failed' }>);
    }
  };
  let next = 0;
  const work = async (): Promise<void> => {
    // A signal of its own: Node warns of more than ten listeners on one.
    const options = signal === undefined ? {} : { signal: AbortSignal.any([signal]) };
    try {
      while (stopped === undefined && next < plan.streams) await follow(plan.stream(next++), options);
    } catch (error) {
      // Others end the question they have in flight: it is paid, so it is to be on record.
      stopped ??= { error };
    }
  };
  await Promise.all(Array.from({ length: Math.min(concurrency, plan.streams) }, work));
  report(true);
  if (budgeted !== undefined) await job.end(budgeted.state);
  if (stopped !== undefined) throw stopped.error;
  if (counts.failed > 0 && counts.asked === 0) guard.add(fresh.splice(0));
  return {
    total: plan.count,
    answered: counts.choice + counts.none + counts.invalid,
    asked: recording.counts.asked,
    choices: counts.choice,
    nones: counts.none,
    invalid: counts.invalid,
    failed: counts.failed,
    failure,
    spent: ledger.total,
    wallSeconds: (performance.now() - began) / 1000,
  };
}

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
  /** US dollars for a million tokens, where the back-end does not tell what it costs. @default nothing is known */
  readonly prices?: TokenPrices | undefined;
}

/** What a distillation would be. */
export interface DistilPlan {
  /** Questions of the plan. */
  readonly total: number;
  /** Of those, on record. */
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
  prices: tokenPricesSchema.optional(),
});

/**
 * A dry run of {@link distil}: writes the prompts of a sample of the questions, or of all where that says too little, counts their calls
 * and tokens by the oracle's `estimate`, and asks nobody. Within an episode later questions hang on answers that nobody has given yet:
 * random choices stand for them.
 *
 * @throws as `distil` does, before it asks.
 */
export async function planDistil(options: PlanDistilOptions): Promise<DistilPlan> {
  const checked = checkOptions(planSchema, options, 'planDistil');
  const { oracle, storage, key, sample, countAll, prices, ...planOptions } = checked;
  const plan = new QuestionPlan(planOptions, 'planDistil');
  const log = storage && (await openRecord(storage, key, plan.catalog, oracle.id));
  // `ends[s]`: questions still to ask in streams 0 to s.
  const ends = new Float64Array(plan.streams);
  let toAsk = 0;
  for (let s = 0; s < plan.streams; s++) {
    const recorded = log === undefined ? 0 : await replay(plan.stream(s), log);
    toAsk += plan.stepsOf(s) - recorded;
    ends[s] = toAsk;
  }
  const recorded = plan.count - toAsk;
  const rng = new Rng(checked.seed).fork('plan-distil');
  const draw = async (count: number): Promise<PreferenceQuery[]> => {
    const queries: PreferenceQuery[] = [];
    let s = 0;
    let stream: QuestionStream | undefined;
    for (const place of rng.sample(toAsk, count).sort()) {
      while ((ends[s] as number) <= place) {
        s++;
        stream = undefined;
      }
      if (stream === undefined) {
        stream = plan.stream(s);
        if (log !== undefined) await replay(stream, log);
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

/** Takes a stream through the answers on record. @returns how many there were. */
async function replay(stream: QuestionStream, log: AnswerLog): Promise<number> {
  const began = stream.step;
  for (let query = stream.next; query !== undefined; query = stream.next) {
    const answer = log.answer(await log.keyOf(query), query);
    if (answer === undefined || answer.kind === 'failed') break;
    stream.answer(answer);
  }
  return stream.step - began;
}

const jobSchema = z.looseObject({
  plan: z.record(z.string(), z.custom<JsonValue>()),
  spent: z.looseObject({ calls: z.number(), inputTokens: z.number(), outputTokens: z.number(), usd: z.number() }),
});

/** What stands beside the answers: which plan they were asked by, and what was spent on questions that came to nothing. */
class Job {
  readonly #storage: Storage;
  readonly #key: string;
  #saved: z.output<typeof jobSchema>;

  private constructor(storage: Storage, key: string, saved: z.output<typeof jobSchema>) {
    this.#storage = storage;
    this.#key = key;
    this.#saved = saved;
  }

  static async open(storage: Storage, answersKey: string): Promise<Job> {
    const key = `${answersKey.replace(/\.jsonl$/, '')}.job.json`;
    const bytes = await storage.get(key);
    const nothing = { plan: {}, spent: { calls: 0, inputTokens: 0, outputTokens: 0, usd: 0 } };
    if (bytes === undefined) return new Job(storage, key, nothing);
    try {
      return new Job(storage, key, jobSchema.parse(JSON.parse(new TextDecoder().decode(bytes))));
    } catch (cause) {
      throw new InvalidDataError('expected the state of a distillation; delete the file: the answers are elsewhere', {
        source: key,
        cause,
      });
    }
  }

  /** Notes the plan. Another one than before is no error: its questions join those that are there. */
  async begin(options: QuestionPlanOptions, onWarning: ((message: string) => void) | undefined): Promise<void> {
    const plan = await identityOf(options);
    const before = this.#saved.plan;
    const changed = Object.keys(plan).filter(
      (name) => canonicalJson(plan[name]) !== canonicalJson(before[name] ?? null),
    );
    if (changed.length === 0) return;
    if (Object.keys(before).length > 0) {
      onWarning?.(
        `The set holds answers to other questions (${changed.join(', ')} differed); they stay, and the questions of this plan are added to them`,
      );
    }
    await this.#save({ ...this.#saved, plan });
  }

  /** What was spent so far: as the record says, or more, where calls came to nothing. Time is counted anew by each run. */
  spentWith(recorded: Spending): Spending {
    const { spent } = this.#saved;
    return {
      calls: Math.max(recorded.calls, spent.calls),
      inputTokens: Math.max(recorded.inputTokens, spent.inputTokens),
      outputTokens: Math.max(recorded.outputTokens, spent.outputTokens),
      usd: Math.max(recorded.usd, spent.usd),
      wallMs: 0,
    };
  }

  async end({ wallMs: _, ...spent }: Spending): Promise<void> {
    await this.#save({ ...this.#saved, spent });
  }

  async #save(saved: z.output<typeof jobSchema>): Promise<void> {
    this.#saved = saved;
    await this.#storage.put(this.#key, new TextEncoder().encode(`${JSON.stringify(saved, null, 2)}\n`));
  }
}

/** All that decides which questions are asked, but for how many. */
async function identityOf(options: QuestionPlanOptions): Promise<Record<string, JsonValue>> {
  const { catalog, count: _, histories, starts, policy, ...rest } = options;
  const learned = policy as { readonly sha256?: () => Promise<string> } | undefined;
  const bytes = ({ buffer, byteOffset, byteLength }: Int32Array) => new Uint8Array(buffer, byteOffset, byteLength);
  return {
    ...Object.fromEntries(
      Object.entries(rest).map(([name, value]) => [name, (value as JsonValue | undefined) ?? null]),
    ),
    catalog: await catalog.fingerprint(),
    histories: histories ? [await sha256Hex(bytes(histories.items)), await sha256Hex(bytes(histories.offsets))] : null,
    starts: starts ? await sha256Hex(canonicalJson(starts)) : null,
    policy: policy ? ((await learned?.sha256?.()) ?? policy.name) : null,
  };
}

/** Adds up what answers cost. */
class Ledger {
  readonly #prices: TokenPrices | undefined;
  #total: DistilCost;

  constructor(prices: TokenPrices | undefined, questions = 0, spent?: Spending) {
    this.#prices = prices;
    const { calls = 0, inputTokens = 0, outputTokens = 0, usd: costUsd = 0 } = spent ?? {};
    this.#total = { questions, calls, inputTokens, outputTokens, costUsd };
  }

  /** What these cost together. */
  static of(usages: readonly Usage[], prices: TokenPrices | undefined): Ledger {
    const ledger = new Ledger(prices);
    for (const usage of usages) ledger.add(usage);
    return ledger;
  }

  get total(): DistilCost {
    return this.#total;
  }

  /** An answer, with what is known of its cost. */
  add(usage: Usage | undefined): void {
    const calls = known(usage?.calls) ?? 1;
    const inputTokens = known(usage?.inputTokens) ?? 0;
    const outputTokens = known(usage?.outputTokens) ?? 0;
    const cachedInputTokens = known(usage?.cachedInputTokens) ?? 0;
    const total = this.#total;
    this.#total = {
      questions: total.questions + 1,
      calls: total.calls + calls,
      inputTokens: total.inputTokens + inputTokens,
      outputTokens: total.outputTokens + outputTokens,
      costUsd:
        total.costUsd +
        (known(usage?.costUsd) ?? dollarsOf({ inputTokens, outputTokens, cachedInputTokens }, this.#prices)),
    };
  }

  /** What more questions cost if they are like those so far; undefined where there are none to go by. */
  forecast(questions: number): DistilCost | undefined {
    const { questions: seen, calls, inputTokens, outputTokens, costUsd } = this.#total;
    if (seen === 0) return undefined;
    const share = questions / seen;
    return {
      questions,
      calls: Math.round(calls * share),
      inputTokens: Math.round(inputTokens * share),
      outputTokens: Math.round(outputTokens * share),
      costUsd: costUsd * share,
    };
  }
}
