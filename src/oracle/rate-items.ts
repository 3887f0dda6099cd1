import { z } from 'zod';
import type { Catalog, ItemIndex } from '../catalog/catalog.js';
import { InvalidArgumentError, OracleError } from '../foundation/errors.js';
import { canonicalJson } from '../foundation/json.js';
import { checkOptions } from '../foundation/options.js';
import type { Storage } from '../foundation/storage.js';
import { type BudgetCaps, budgetCapsSchema, type TokenPrices, tokenPricesSchema, withDollars } from './budget.js';
import { itemText, sanitiseText } from './item-text.js';
import type { LanguageModel } from './language-model.js';
import { concurrencyOf, MalformedAnswer, type ModelCallSettings, ModelCalls, modelCallShape } from './model-calls.js';
import { catalogSchema, checkAttributes, itemTextShape, languageModelSchema, storageSchema } from './option-schemas.js';
import { parseAnswer } from './parser.js';
import type { Preference, PreferenceOracle, PreferenceQuery, PreferOptions, Usage } from './preference-oracle.js';
import { type QueryBatch, QueryQueue } from './query-queue.js';
import { openKeptBudget, openRecord } from './recorded-spending.js';
import { RecordingOracle } from './recording-oracle.js';
import { logSumExp } from './score-decision.js';
import { addUsage, tokensOf, withPaid } from './usage.js';

/** How an item is rated. */
export type RatingMethod = 'levels' | 'contrast';

/** Options of {@link rateItems}. */
export interface RateItemsOptions extends ModelCallSettings {
  /** Whose items are rated; borrowed. */
  readonly catalog: Catalog;
  /** Who rates; borrowed. `levels` needs `labelScores` or `complete`, `contrast` needs `continuationScores`. */
  readonly languageModel: LanguageModel;
  /**
   * `levels`: which of five levels of popularity, very low to very high, an item has; the rating is the expected level, 1 to 5.
   * `contrast`: how much likelier its text is among the most popular items than among those that hardly anybody takes, in nats.
   * @default 'contrast' where the model can, for small models fail at `levels` as they do at labels; else 'levels'
   */
  readonly method?: RatingMethod;
  /** Who the users are, in a few words, e.g. "hobby machinists". @default the users of the catalogue's scenario */
  readonly users?: string;
  /** `chat` asks for the label in the last line, for endpoints that cannot prefill an answer; of `levels`. @default the `template` of `languageModel`, else 'completion' */
  readonly mode?: 'completion' | 'chat';
  /** Which attributes make an item's text, in order: a few short ones cost less. @default the catalogue's */
  readonly attributes?: readonly string[];
  /** Most characters (Unicode code points) of one attribute of one item. @default 200 */
  readonly maxAttributeLength?: number;
  /** How often each item was taken, `[A]`, where there are logs: the ratings' rank correlation with them is told. @default there are none */
  readonly counts?: ArrayLike<number>;
  /** Where the ratings are kept; borrowed. Run again with the same storage and options and nothing is asked twice. */
  readonly storage: Storage;
  /** Key of the ratings in the storage. @default 'ratings.jsonl' */
  readonly key?: string;
  /** Hard caps. Calls, tokens and dollars are those of the record, what earlier runs spent included; `wallMs` is of this call. @default none */
  readonly budget?: BudgetCaps;
  /** US dollars for a million tokens; needed for a cap in dollars. @default nothing is known */
  readonly prices?: TokenPrices;
  /** Told after every item. */
  readonly onProgress?: (progress: { readonly done: number; readonly total: number }) => void;
  /** Stops: what was rated by then is on record. */
  readonly signal?: AbortSignal;
}

/** What {@link rateItems} found. */
export interface ItemRatings {
  /** `[A]`, by item index; higher is more popular. What could not be read has the mean of the others. */
  readonly ratings: Float32Array;
  /** How they were found. */
  readonly method: RatingMethod;
  /** Items whose answer could not be read. */
  readonly unreadable: number;
  /** Items that were asked about in this call; the others were on record. */
  readonly asked: number;
  /** Spearman's rank correlation with `counts`, -1 to 1; undefined without them, or where one of the two does not vary. */
  readonly rankCorrelation: number | undefined;
  /** What this call cost. */
  readonly usage: Usage;
}

/** Part of the oracle's id: changes with the bytes of a prompt. */
const RATING_TEMPLATE = 'rating@1';
const LEVELS = ['very low', 'low', 'medium', 'high', 'very high'] as const;
const LEVEL_LABELS = ['a', 'b', 'c', 'd', 'e'] as const;
/** The default, which stands in no id. */
const MAX_ATTRIBUTE_LENGTH = 200;
const MAX_WORD_LENGTH = 200;
const MAX_USERS_LENGTH = 200;

const schema = z
  .strictObject({
    ...modelCallShape,
    catalog: catalogSchema,
    languageModel: languageModelSchema,
    method: z.enum(['levels', 'contrast']).optional(),
    users: z.string().min(1).optional(),
    mode: z.enum(['completion', 'chat']).optional(),
    ...itemTextShape,
    counts: z
      .custom<ArrayLike<number>>(
        (value) =>
          (Array.isArray(value) || (ArrayBuffer.isView(value) && 'length' in value)) &&
          Array.from(value as ArrayLike<unknown>).every(Number.isFinite),
        'expected an array of finite numbers, one per item',
      )
      .optional(),
    storage: storageSchema,
    key: z.string().min(1).default('ratings.jsonl'),
    budget: budgetCapsSchema.optional(),
    prices: tokenPricesSchema.optional(),
    onProgress: z
      .custom<(progress: { readonly done: number; readonly total: number }) => void>(
        (value) => typeof value === 'function',
        'expected a function',
      )
      .optional(),
    signal: z.instanceof(AbortSignal).optional(),
  })
  .superRefine(checkAttributes)
  .transform((options) => ({ ...options, mode: options.mode ?? options.languageModel.template ?? 'completion' }));

/**
 * One rating per item: how popular is it with such users? A model that was never told of any log still knows that gloves sell better
 * than gear pullers; as `itemPrior` of pre-training it is worth more than thousands of preferences (learning.md 3).
 *
 * @throws {InvalidArgumentError} for a wrong option, or a method that the model cannot answer.
 * @throws {InvalidDataError} when the record is damaged, or of another model, method or catalogue.
 * @throws {OracleError} when a call fails after its further tries; run again to go on.
 * @throws {BudgetExceededError} when the budget is reached; run again with a higher one to go on.
 * @throws `signal.reason` on abort.
 */
export async function rateItems(options: RateItemsOptions): Promise<ItemRatings> {
  const checked = checkOptions(schema, options, 'rateItems');
  const { catalog, languageModel, counts, storage, key, budget, prices, onProgress, signal, ...rest } = checked;
  if (counts !== undefined && counts.length !== catalog.size) {
    throw new InvalidArgumentError(
      `rateItems: expected \`counts\` to have one number for each of ${catalog.size} items, got ${counts.length}`,
      { argument: 'counts' },
    );
  }
  const method = rest.method ?? (languageModel.continuationScores === undefined ? 'levels' : 'contrast');
  const oracle = new RatingOracle({ ...rest, catalog, languageModel, method });
  const budgeted =
    budget === undefined
      ? undefined
      : await openKeptBudget({
          ...{ storage, key, oracle, caps: budget },
          record: await openRecord(storage, key, catalog, oracle.id),
          ...(prices === undefined ? {} : { prices }),
        });
  const recording = await RecordingOracle.open({ oracle: budgeted?.oracle ?? oracle, catalog, storage, key });
  const ratings = new Float32Array(catalog.size).fill(Number.NaN);
  let usage: Usage | undefined;
  let done = 0;
  const chunks: ItemIndex[][] = [];
  for (let item = 0; item < catalog.size; item += CHUNK) {
    chunks.push(Array.from({ length: Math.min(CHUNK, catalog.size - item) }, (_, i) => item + i));
  }
  let stopped: { readonly error: unknown } | undefined;
  const work = async (): Promise<void> => {
    try {
      for (let chunk = chunks.pop(); chunk !== undefined && stopped === undefined; chunk = chunks.pop()) {
        const queries = chunk.map((item) => questionAbout(item, catalog.size));
        const answers = await recording.prefer(queries, signal === undefined ? {} : { signal });
        for (const [i, answer] of answers.entries()) {
          if (answer.kind === 'failed') throw answer.error;
          if (answer.meta?.cached !== true) usage = addUsage(usage, answer.meta?.usage);
          const rating = answer.kind === 'none' ? answer.meta?.scores?.[0] : undefined;
          if (rating !== undefined) ratings[chunk[i] as number] = rating;
        }
        done += chunk.length;
        onProgress?.({ done, total: catalog.size });
      }
    } catch (error) {
      // Others end the chunk they have in flight: it is paid, so it is to be on record.
      stopped ??= { error };
    }
  };
  const lanes = Math.min(chunks.length, concurrencyOf(rest.concurrency, languageModel.concurrency));
  await Promise.all(Array.from({ length: lanes }, work));
  await budgeted?.end();
  if (stopped !== undefined) throw (stopped as { readonly error: unknown }).error;
  const read = ratings.filter((rating) => !Number.isNaN(rating));
  const mean = read.length === 0 ? 0 : read.reduce((sum, rating) => sum + rating, 0) / read.length;
  const correlated = counts === undefined ? undefined : rankCorrelation(ratings, counts);
  return {
    ratings: ratings.map((rating) => (Number.isNaN(rating) ? mean : rating)),
    method,
    unreadable: catalog.size - read.length,
    asked: recording.counts.asked,
    rankCorrelation: correlated,
    usage: withDollars(usage ?? {}, prices),
  };
}

/** Items of one call of the model in `contrast`, which shares the prefix. */
const CHUNK = 8;

/** A question about one item, in the form that oracles take: a second item stands by, for a question has two candidates. */
function questionAbout(item: ItemIndex, itemCount: number): PreferenceQuery {
  return { history: [], candidates: [item, (item + 1) % itemCount] };
}

interface RatingOracleOptions {
  readonly concurrency?: number | undefined;
  readonly catalog: Catalog;
  readonly languageModel: LanguageModel;
  readonly method: RatingMethod;
  readonly users?: string | undefined;
  readonly mode: 'completion' | 'chat';
  readonly attributes?: readonly string[] | undefined;
  readonly maxAttributeLength: number;
  readonly retries: number;
  readonly retryDelayMs: number;
  readonly timeoutMs: number;
}

/**
 * Ratings as answers of an oracle, so that record, budget and further tries are those of preferences: the answer to a question about
 * an item is None with the rating as its only score, or invalid.
 */
class RatingOracle implements PreferenceOracle {
  readonly id: string;
  readonly #options: RatingOracleOptions;
  readonly #queue: QueryQueue;
  readonly #calls: ModelCalls;
  readonly #users: string;

  constructor(options: RatingOracleOptions) {
    const { catalog, languageModel, method, mode, users, concurrency, attributes, maxAttributeLength } = options;
    const { id, labelScores, complete, continuationScores } = languageModel;
    const can = method === 'levels' ? (labelScores ?? complete) : continuationScores;
    if (can === undefined) {
      const needed = method === 'levels' ? '`labelScores` or `complete`' : '`continuationScores`';
      throw new InvalidArgumentError(
        `rateItems: expected a model with ${needed} for method '${method}'; ${id} has none`,
        {
          argument: 'method',
        },
      );
    }
    this.#options = options;
    const scenario = sanitiseText(catalog.scenario, MAX_WORD_LENGTH);
    this.#users = users === undefined ? `users of a ${scenario} platform` : sanitiseText(users, MAX_USERS_LENGTH);
    const form = method === 'contrast' ? 'continuations' : `${mode}|${labelScores === undefined ? 'text' : 'logprobs'}`;
    const text = [
      ...(attributes === undefined ? [] : [canonicalJson(attributes)]),
      ...(maxAttributeLength === MAX_ATTRIBUTE_LENGTH ? [] : [`attribute<=${maxAttributeLength}`]),
    ];
    this.id = [`rating:${method}`, RATING_TEMPLATE, form, `users=${JSON.stringify(this.#users)}`, ...text, id].join(
      '|',
    );
    this.#queue = new QueryQueue('rateItems', { concurrency: concurrencyOf(concurrency, languageModel.concurrency) });
    this.#calls = new ModelCalls(options);
  }

  async prefer(queries: readonly PreferenceQuery[], options: PreferOptions = {}): Promise<readonly Preference[]> {
    const items = queries.map(({ candidates }) => candidates[0] as ItemIndex);
    if (this.#options.method === 'levels') {
      return this.#queue.run(items.length, options, (i, batch) => this.#level(items[i] as ItemIndex, batch));
    }
    // One place in the queue for a chunk: its items are scored together.
    const signal = options.signal === undefined ? {} : { signal: options.signal };
    let answers: readonly Preference[] = [];
    await this.#queue.run(items.length === 0 ? 0 : 1, signal, async (_, batch) => {
      answers = await this.#contrasts(items, batch);
      return { kind: 'none' };
    });
    for (const [i, answer] of answers.entries()) options.onResult?.(i, answer);
    return answers;
  }

  async estimate(queries: readonly PreferenceQuery[]): Promise<readonly Usage[]> {
    const { languageModel, method } = this.#options;
    const count = (text: string): Promise<number> => tokensOf(languageModel, text);
    const [popular, obscure] = this.#prefixes();
    const shared = method === 'levels' ? 0 : (await count(popular)) + (await count(obscure));
    const usages: Usage[] = [];
    for (const { candidates } of queries) {
      const item = candidates[0] as ItemIndex;
      // A chunk's items share its two calls evenly.
      const inputTokens =
        method === 'levels'
          ? await count(this.#question(item))
          : 2 * (await count(this.#continuation(item))) + shared / Math.min(CHUNK, queries.length);
      const calls = method === 'levels' ? 1 : 2 / Math.min(CHUNK, queries.length);
      usages.push({ calls, inputTokens, outputTokens: method === 'levels' ? 1 : 0 });
    }
    return usages;
  }

  async #level(item: ItemIndex, batch: QueryBatch): Promise<Preference> {
    const { languageModel } = this.#options;
    const prompt = this.#question(item);
    try {
      if (languageModel.labelScores !== undefined) {
        const { answer, usage } = await this.#calls.call(
          batch,
          [prompt],
          (signal) => languageModel.labelScores?.(prompt, LEVEL_LABELS, { signal }),
          (value) => checkScores(value, 'logProbs', LEVEL_LABELS.length),
        );
        const { scores } = answer;
        const total = logSumExp(scores);
        const meta = { usage };
        if (!Number.isFinite(total)) return { kind: 'invalid', raw: 'no label is possible', meta };
        const rating = scores.reduce((sum, score, i) => sum + (i + 1) * Math.exp(score - total), 0);
        return { kind: 'none', meta: { ...meta, scores: [rating] } };
      }
      const { answer, usage } = await this.#calls.call(
        batch,
        [prompt],
        (signal) => languageModel.complete?.(prompt, { signal, labels: LEVEL_LABELS, constrained: false }),
        checkText,
      );
      const meta = { usage };
      // The parser takes the last label for None's: one that is not offered.
      const parsed = parseAnswer(answer.text, [...LEVEL_LABELS, 'f']);
      if (parsed.kind !== 'label') return { kind: 'invalid', raw: answer.text.slice(0, 500), meta };
      return { kind: 'none', meta: { ...meta, scores: [parsed.index + 1] } };
    } catch (error) {
      return failed(error, batch);
    }
  }

  async #contrasts(items: readonly ItemIndex[], batch: QueryBatch): Promise<readonly Preference[]> {
    const { languageModel } = this.#options;
    const continuations = items.map((item) => this.#continuation(item));
    const under = (prefix: string) =>
      this.#calls.call(
        batch,
        [prefix, ...continuations],
        (signal) => languageModel.continuationScores?.(prefix, continuations, { signal }),
        (value) => checkScores(value, 'logLikelihoods', items.length),
      );
    try {
      const [popularPrefix, obscurePrefix] = this.#prefixes();
      const popular = await under(popularPrefix);
      const obscure = await under(obscurePrefix).catch((error: unknown) => {
        throw error instanceof OracleError ? withPaid(error, popular.usage) : error;
      });
      const usage = addUsage(popular.usage, obscure.usage);
      // Evenly over the chunk, so that sums are right.
      const own = Object.fromEntries(Object.entries(usage ?? {}).map(([name, value]) => [name, value / items.length]));
      return items.map((_, i) => {
        const rating = (popular.answer.scores[i] as number) - (obscure.answer.scores[i] as number);
        const meta = { usage: own };
        if (!Number.isFinite(rating)) return { kind: 'invalid', raw: 'an impossible text', meta };
        return { kind: 'none', meta: { ...meta, scores: [rating] } };
      });
    } catch (error) {
      const failure = failed(error, batch);
      const { message, status } = (failure as { readonly error: OracleError }).error;
      // One failure, in the books once.
      const counted = { kind: 'failed', error: new OracleError(message, { attempts: 0, lost: 0, status }) } as const;
      return items.map((_, i) => (i === 0 ? failure : counted));
    }
  }

  /** Table 1's way of asking, for one item and five levels. */
  #question(item: ItemIndex): string {
    const { catalog, mode, attributes } = this.#options;
    const word = (own: string): string => sanitiseText(own, MAX_WORD_LENGTH);
    const noun = word(catalog.itemNoun);
    const names = (attributes ?? catalog.attributes).map(word).join('; ');
    return [
      'Below is an instruction that describes a task, paired with an input that provides further context. Write a response that appropriately completes the request.',
      `Instruction: The ${noun} is in the form of ${names}. Judge how popular it is with ${this.#users}, compared with the other things of its kind.`,
      `Input: ${this.#text(item)}. How popular is this ${noun}?`,
      LEVELS.map((level, i) => `${LEVEL_LABELS[i]}. ${level}`).join(' '),
      mode === 'chat'
        ? 'Response: Answer with the label only: one lowercase letter from a to e.'
        : 'Response: By analysing who would take it, the popularity is',
    ].join('\n');
  }

  #prefixes(): readonly [popular: string, obscure: string] {
    const noun = sanitiseText(this.#options.catalog.itemNoun, MAX_WORD_LENGTH);
    return [
      `The most popular ${noun} with ${this.#users}, which nearly everybody takes:\n-`,
      `The least popular ${noun} with ${this.#users}, which hardly anybody takes:\n-`,
    ];
  }

  #continuation(item: ItemIndex): string {
    return ` ${this.#text(item)}`;
  }

  #text(item: ItemIndex): string {
    const { catalog, maxAttributeLength, attributes } = this.#options;
    return itemText(catalog, item, maxAttributeLength, attributes);
  }
}

function failed(error: unknown, batch: QueryBatch): Preference {
  batch.throwIfStopped();
  if (!(error instanceof OracleError)) throw error;
  return { kind: 'failed', error };
}

/** @throws {MalformedAnswer} when it is not one number a text. */
function checkScores(
  value: unknown,
  field: 'logProbs' | 'logLikelihoods',
  count: number,
): { readonly scores: readonly number[]; readonly usage: Usage | undefined } {
  const { [field]: scores, usage } = (value ?? {}) as Record<string, unknown>;
  const isScore = (score: unknown): boolean => typeof score === 'number' && !Number.isNaN(score) && score < 1;
  if (!Array.isArray(scores) || scores.length !== count || !scores.every(isScore)) {
    throw new MalformedAnswer(
      `rateItems: expected { ${field} } with ${count} natural log-probabilities from the model`,
    );
  }
  return { scores, usage: usageOf(usage) };
}

function usageOf(usage: unknown): Usage | undefined {
  return typeof usage === 'object' && usage !== null ? (usage as Usage) : undefined;
}

/** @throws {MalformedAnswer} when `complete` gives something that is no text. */
function checkText(value: unknown): { readonly text: string; readonly usage: Usage | undefined } {
  if (typeof value === 'string') return { text: value, usage: undefined };
  const { text, usage } = (value ?? {}) as Record<string, unknown>;
  if (typeof text !== 'string')
    throw new MalformedAnswer('rateItems: expected `complete` to resolve to a string or { text, usage }');
  return { text, usage: usageOf(usage) };
}

/** Spearman's rank correlation over the places where `x` is a number; ties have their mean rank. Undefined where one side does not vary. */
function rankCorrelation(x: ArrayLike<number>, y: ArrayLike<number>): number | undefined {
  const places = Array.from({ length: x.length }, (_, i) => i).filter((i) => !Number.isNaN(x[i]));
  const a = ranks(places.map((i) => x[i] as number));
  const b = ranks(places.map((i) => y[i] as number));
  const middle = (places.length + 1) / 2;
  let [ab, aa, bb] = [0, 0, 0];
  for (let i = 0; i < places.length; i++) {
    const [da, db] = [(a[i] as number) - middle, (b[i] as number) - middle];
    ab += da * db;
    aa += da * da;
    bb += db * db;
  }
  return aa === 0 || bb === 0 ? undefined : ab / Math.sqrt(aa * bb);
}

function ranks(values: readonly number[]): Float64Array {
  const order = Array.from(values.keys()).sort((i, j) => (values[i] as number) - (values[j] as number));
  const out = new Float64Array(values.length);
  for (let from = 0; from < order.length; ) {
    let to = from;
    while (to < order.length && values[order[to] as number] === values[order[from] as number]) to++;
    for (let at = from; at < to; at++) out[order[at] as number] = (from + 1 + to) / 2;
    from = to;
  }
  return out;
}
