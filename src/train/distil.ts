import { z } from 'zod';
import { InvalidDataError } from '../foundation/errors.js';
import { canonicalJson, type JsonValue } from '../foundation/json.js';
import { checkOptions } from '../foundation/options.js';
import { sha256Hex } from '../foundation/sha256.js';
import type { Storage } from '../foundation/storage.js';
import { questionKey } from '../oracle/answer-log.js';
import { type BudgetCaps, budgetCapsSchema, type TokenPrices, tokenPricesSchema } from '../oracle/budget.js';
import { InvalidRateGuard } from '../oracle/invalid-rate-guard.js';
import { oracleSchema } from '../oracle/option-schemas.js';
import type { Preference, PreferenceOracle, PreferOptions } from '../oracle/preference-oracle.js';
import { openKeptBudget, openRecord, recordedSpending } from '../oracle/recorded-spending.js';
import { RecordingOracle } from '../oracle/recording-oracle.js';
import { type DistilCost, Ledger } from './distil-cost.js';
import { recordShape } from './plan-distil.js';
import { QuestionPlan, type QuestionPlanOptions, type QuestionStream, questionPlanShape } from './question-plan.js';

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
  /**
   * Asks questions again whose answer on record could not be read. No other question changes: what followed in their episodes was asked
   * without that answer and stays as it is.
   * @default false
   */
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
 * and, within an episode, of the first answers before; every answer is on record before the next question of its episode. A run that is
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
  const unread = record?.unread ?? new Set<string>();
  const ledger = new Ledger(prices, record?.paid().length ?? 0, recordedSpending(record, prices));
  const job = await Job.open(storage, key);
  await job.begin(planOptions, onWarning);
  const budgeted =
    budget === undefined
      ? undefined
      : await openKeptBudget({
          ...{ storage, key, record, oracle, caps: budget, concurrency },
          ...(prices === undefined ? {} : { prices }),
          ...(onWarning === undefined ? {} : { onWarning }),
        });
  const recording = await RecordingOracle.open({
    oracle: budgeted?.oracle ?? oracle,
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
      if (unread.size > 0 && unread.has(await questionKey(oracle.id, plan.catalog, query))) stream.skip();
      else stream.answer(answer as Exclude<Preference, { kind: 'failed' }>);
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
  await budgeted?.end();
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

const jobSchema = z.looseObject({
  plan: z.record(z.string(), z.custom<JsonValue>()),
});

/** What stands beside the answers: which plan they were asked by. */
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
    if (bytes === undefined) return new Job(storage, key, { plan: {} });
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
    this.#saved = { ...this.#saved, plan };
    await this.#storage.put(this.#key, new TextEncoder().encode(`${JSON.stringify(this.#saved, null, 2)}\n`));
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
