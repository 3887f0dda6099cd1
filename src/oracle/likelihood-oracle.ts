import { z } from 'zod';
import type { Catalog, ItemIndex } from '../catalog/catalog.js';
import { OracleError } from '../foundation/errors.js';
import { canonicalJson } from '../foundation/json.js';
import { checkOptions, describeValue } from '../foundation/options.js';
import { Rng } from '../foundation/rng.js';
import { sha256Hex } from '../foundation/sha256.js';
import type { Storage } from '../foundation/storage.js';
import { checkPreferOptions, checkQueries } from './check-query.js';
import { ItemLikelihoods, type WeighedTexts } from './item-likelihoods.js';
import { itemText, sanitiseText } from './item-text.js';
import type { ContinuationScores, LanguageModel } from './language-model.js';
import { LikelihoodLog, type TextLikelihood } from './likelihood-log.js';
import {
  type LikelihoodTemplate,
  likelihoodPrefix,
  likelihoodTemplate,
  likelihoodTemplateSchema,
} from './likelihood-template.js';
import { concurrencyOf, MalformedAnswer, type ModelCallSettings, ModelCalls, modelCallShape } from './model-calls.js';
import { catalogSchema, checkAttributes, itemTextShape, languageModelSchema, storageSchema } from './option-schemas.js';
import type { Preference, PreferenceOracle, PreferenceQuery, PreferOptions, Usage } from './preference-oracle.js';
import { MAX_CONTEXT_LENGTH } from './prompt.js';
import { type QueryBatch, QueryQueue } from './query-queue.js';
import { logSumExp } from './score-decision.js';
import { addUsage, tokensOf, withPaid } from './usage.js';

/** Options of {@link LikelihoodOracle}. */
export interface LikelihoodOracleOptions extends ModelCallSettings {
  /** Whose items are asked about; borrowed. */
  readonly catalog: Catalog;
  /** A back-end with `continuationScores`; borrowed. */
  readonly languageModel: LanguageModel;
  /** Time for one call of the model, in ms: one list of candidates. @default 300_000 */
  readonly timeoutMs?: number;
  /** None when the best score is below it, in nats; `fitNoneThreshold` finds one. @default -Infinity: never None */
  readonly noneBelow?: number;
  /**
   * Scores by token of the candidate, so that long texts have no larger scores than short ones; not so measured.
   * @default false
   */
  readonly perToken?: boolean;
  /**
   * How much of what a candidate is likely by itself is taken off its score, 0 to 1. At 1 only what the history adds counts; at 0 likely
   * texts win, which is worth something where plain words name what most people want, and items by themselves are never asked for.
   * Choose it on held-out lists.
   * @default 1
   */
  readonly ownWeight?: number;
  /**
   * What a candidate is likely by itself is taken after this many histories of five items drawn from the catalogue, and averaged, in
   * place of no history: so a score says what this user's history adds to anybody's. An item that stands in one of them is weighed
   * against the others, and users without a history against no history. Each costs its five items and the candidate's tokens, once an item.
   * @default 0: after no history
   */
  readonly baselineHistories?: number;
  /** The words around the items. @default made of the catalogue's `behavior` and `itemNoun`; "A customer bought these products…" for purchases */
  readonly template?: LikelihoodTemplate;
  /** Which attributes make an item's text, in order: a few short ones cost less, title and brand, say. @default the catalogue's */
  readonly attributes?: readonly string[];
  /** Most characters (Unicode code points) of one attribute of one item. @default 200 */
  readonly maxAttributeLength?: number;
  /** Most items of the history shown, the latest ones. @default 50 */
  readonly maxHistory?: number;
  /** Where the items' own likelihoods are kept, so that no later run asks for them; borrowed. One writer at a time. @default in memory only */
  readonly storage?: Storage;
  /** Their key in the storage; oracles may share one. @default 'likelihoods.jsonl' */
  readonly key?: string;
}

/** Items of a history that stands for anybody's. */
const BASELINE_LENGTH = 5;

/** How often a {@link LikelihoodOracle} did what, since its construction. */
export interface LikelihoodOracleCounts {
  /** Calls of the model, retries included. */
  readonly calls: number;
  /** Calls repeated after a failure. */
  readonly retries: number;
  /** Likelihoods of items by themselves that the model was asked for: one an item and baseline. */
  readonly items: number;
  /** Queries answered by an item. */
  readonly choices: number;
  /** Queries answered by None. */
  readonly nones: number;
  /** Queries that nobody answered. */
  readonly failures: number;
}

const schema = z
  .strictObject({
    ...modelCallShape,
    // Fifty candidates are some 2,000 tokens, and a small machine reads 400 a second at best.
    timeoutMs: z.number().min(1).max(3_600_000).default(300_000),
    catalog: catalogSchema,
    languageModel: languageModelSchema.refine(
      (model) => typeof model.continuationScores === 'function',
      'expected a LanguageModel with `continuationScores`; read one without it by `LlmOracle`',
    ),
    noneBelow: z
      .custom<number>(
        (value) => typeof value === 'number' && value < Number.POSITIVE_INFINITY,
        'expected a number, or -Infinity for never None',
      )
      .default(Number.NEGATIVE_INFINITY),
    perToken: z.boolean().default(false),
    ownWeight: z.number().min(0).max(1).default(1),
    baselineHistories: z.int().min(0).max(100).default(0),
    template: likelihoodTemplateSchema.optional(),
    ...itemTextShape,
    maxHistory: z.int().min(1).max(10_000).default(50),
    storage: storageSchema.optional(),
    key: z.string().min(1).default('likelihoods.jsonl'),
  })
  .superRefine(checkAttributes)
  .refine(({ ownWeight, baselineHistories }) => ownWeight > 0 || baselineHistories === 0, {
    message: 'expected 0 where `ownWeight` is 0: nothing is weighed against them',
    path: ['baselineHistories'],
  });

/**
 * A language model as oracle that weighs texts instead of naming a letter (oracles.md 10; a departure from the paper): the score of
 * a candidate is log p(its text | the history) - w log p(its text | nothing, or anybody's history), summed over its tokens, w being
 * `ownWeight`. Models far too small to choose by letter know something this way. Base models will do; any number of candidates, from 2.
 *
 * The second term depends on the item alone: it is asked once an item and kept, in `storage` where one is given, by the SHA-256 of
 * model, wording and text. The history is one prefix for all candidates. Where neither a history nor a context is known there is
 * nothing to weigh for this user: nobody is asked, the answer is None, without scores.
 */
export class LikelihoodOracle implements PreferenceOracle {
  /** Model, wording, and every option that changes an answer. */
  readonly id: string;
  /** Items of the catalogue. */
  readonly itemCount: number;
  readonly #options: z.output<typeof schema>;
  readonly #template: LikelihoodTemplate;
  readonly #queue: QueryQueue;
  readonly #model: ModelCalls;
  readonly #log: LikelihoodLog | undefined;
  /** What items are likely by themselves: after no history, and after those that stand for anybody's. */
  readonly #alone: ItemLikelihoods;
  readonly #baseline: readonly ItemLikelihoods[];
  /** Tokens of an item's text, or of what stands before all of them, where they were estimated. */
  readonly #tokens = new Map<ItemIndex | ItemLikelihoods, number>();
  readonly #counts = { choices: 0, nones: 0, failures: 0 };

  /**
   * @param options - `catalog` and `languageModel` are needed; neither is closed by the oracle.
   * @throws {InvalidArgumentError} for a wrong option, such as a model without `continuationScores`.
   */
  constructor(options: LikelihoodOracleOptions) {
    this.#options = checkOptions(schema, options, 'LikelihoodOracle');
    const { catalog, languageModel, noneBelow, perToken, template, attributes, storage, key } = this.#options;
    const { maxAttributeLength, maxHistory, concurrency, baselineHistories, ownWeight } = this.#options;
    this.#template = template ?? likelihoodTemplate(catalog);
    const { version, ...words } = this.#template;
    this.itemCount = catalog.size;
    this.#queue = new QueryQueue('LikelihoodOracle', {
      concurrency: concurrencyOf(concurrency, languageModel.concurrency),
    });
    this.#model = new ModelCalls(this.#options);
    this.#log = storage && new LikelihoodLog(storage, key);
    this.#alone = this.#itemsAfter([]);
    const rng = new Rng(0).fork('baseline-histories');
    const length = Math.min(BASELINE_LENGTH, maxHistory, catalog.size);
    this.#baseline = Array.from({ length: baselineHistories }, (_, n) =>
      this.#itemsAfter(Array.from(rng.fork(n).sample(catalog.size, length))),
    );
    this.id = [
      `likelihood:${languageModel.id}`,
      `${version}${canonicalJson(words)}`,
      attributes === undefined ? 'all' : canonicalJson(attributes),
      `attribute<=${maxAttributeLength}`,
      `history<=${maxHistory}`,
      perToken ? 'mean' : 'sum',
      ...(ownWeight === 1 ? [] : [`own*${ownWeight}`]),
      ...(baselineHistories === 0 ? [] : [`baseline ${baselineHistories}#${digestOf(this.#baseline)}`]),
      ...(noneBelow === Number.NEGATIVE_INFINITY ? [] : [`none<${noneBelow}`]),
    ].join('|');
  }

  /** How often what was done so far; a copy. */
  get counts(): LikelihoodOracleCounts {
    const items = [this.#alone, ...this.#baseline].reduce((sum, { asked }) => sum + asked, 0);
    return { calls: this.#model.calls, retries: this.#model.retries, items, ...this.#counts };
  }

  /**
   * Asks a batch, at most `concurrency` at a time.
   *
   * @throws {InvalidArgumentError} when a query is malformed, before anything is asked.
   * @throws {InvalidDataError} when the kept likelihoods are damaged elsewhere than in their last line.
   * @throws {CheckpointError} when a likelihood cannot be kept.
   * @throws {DisposedError} after {@link LikelihoodOracle.close}.
   * @throws `signal.reason` on abort, at once, even if the model ignores its signal.
   */
  async prefer(queries: readonly PreferenceQuery[], options: PreferOptions = {}): Promise<readonly Preference[]> {
    this.#queue.throwIfClosed();
    this.#check(queries, 'prefer');
    const asked = checkPreferOptions(options, 'LikelihoodOracle.prefer');
    return this.#queue.run(queries.length, asked, (i, batch) => this.#answer(queries[i] as PreferenceQuery, batch));
  }

  /**
   * Tokens of the history and of every candidate, as the model counts and bills them (else a quarter of their characters, the history
   * once); and those of each item's own likelihood with the first query that needs it.
   *
   * @throws {InvalidArgumentError} when a query is malformed.
   */
  async estimate(queries: readonly PreferenceQuery[]): Promise<readonly Usage[]> {
    this.#check(queries, 'estimate');
    const { languageModel } = this.#options;
    const priced = new Map<ItemLikelihoods, Set<ItemIndex | string>>();
    const usages: Usage[] = [];
    for (const query of queries) {
      const prefix = this.#prefix(query);
      if (prefix === undefined) {
        usages.push({ calls: 0, inputTokens: 0, outputTokens: 0 });
        continue;
      }
      const shown: number[] = [];
      for (const item of query.candidates) shown.push(await this.#tokensOf(item));
      let usage = this.#callUsage(await tokensOf(languageModel, prefix), shown);
      for (const [own, items] of this.#ownOf(query)) {
        const paid = priced.get(own) ?? new Set();
        priced.set(own, paid);
        const unknown: number[] = [];
        for (const item of items) {
          // Kept likelihoods are found by their text, which items may share.
          const paidFor = this.#log === undefined ? item : this.#text(item);
          if (paid.has(paidFor) || (await own.isKnown(item))) continue;
          paid.add(paidFor);
          unknown.push(await this.#tokensOf(item));
        }
        if (unknown.length === 0) continue;
        usage = addUsage(usage, this.#callUsage(await this.#tokensOf(own), unknown)) as Usage;
      }
      usages.push(usage);
    }
    return usages;
  }

  /** Ends what is in flight, whose `prefer` calls reject with `DisposedError`; later ones do too. Safe to call twice. */
  async close(): Promise<void> {
    await this.#queue.close();
  }

  #check(queries: readonly PreferenceQuery[], method: string): void {
    const { size } = this.#options.catalog;
    checkQueries(queries, { itemCount: size, maxCandidates: size }, `LikelihoodOracle.${method}`);
  }

  async #answer(query: PreferenceQuery, batch: QueryBatch): Promise<Preference> {
    let preference: Preference;
    try {
      preference = await this.#weigh(query, batch);
    } catch (error) {
      batch.throwIfStopped();
      if (!(error instanceof OracleError)) throw error;
      preference = { kind: 'failed', error };
    }
    if (preference.kind === 'choice') this.#counts.choices++;
    else if (preference.kind === 'none') this.#counts.nones++;
    else this.#counts.failures++;
    return preference;
  }

  async #weigh(query: PreferenceQuery, batch: QueryBatch): Promise<Preference> {
    const started = performance.now();
    const { noneBelow, perToken, ownWeight } = this.#options;
    const prefix = this.#prefix(query);
    if (prefix === undefined) return { kind: 'none', meta: { usage: { calls: 0, inputTokens: 0, outputTokens: 0 } } };
    const { candidates } = query;
    const texts = candidates.map((item) => this.#text(item));
    const own = this.#ownOf(query);
    let usage: Usage | undefined;
    let given: WeighedTexts;
    try {
      // One after the other: `concurrency` is of calls, and this is one query.
      for (const [after, items] of own) usage = addUsage(usage, await after.learn(items, batch));
      given = await this.#likelihoods(prefix, texts, batch);
    } catch (error) {
      throw error instanceof OracleError && usage !== undefined ? withPaid(error, usage) : error;
    }
    usage = addUsage(usage, given.usage);
    const scores = candidates.map((item, i) => {
      const { logLikelihood, tokens } = given.texts[i] as TextLikelihood;
      const alone = this.#weighedAgainst(item, query).map((after) => after.of(item).logLikelihood);
      const gain =
        ownWeight === 0 ? logLikelihood : logLikelihood - ownWeight * (logSumExp(alone) - Math.log(alone.length));
      return perToken ? gain / Math.max(1, tokens) : gain;
    });
    const meta = {
      scores: [...scores, noneBelow],
      promptHash: await sha256Hex(canonicalJson([prefix, texts])),
      usage: { ...usage, ms: performance.now() - started },
    };
    const best = Math.max(...scores);
    if (best < noneBelow) return { kind: 'none', meta };
    return { kind: 'choice', choice: candidates[scores.indexOf(best)] as ItemIndex, meta };
  }

  /**
   * What a candidate of a query is weighed against, nothing where that has no weight. Somebody without a history is not compared with
   * people who have one; and after a history that holds the candidate itself its text would be a copy.
   */
  #weighedAgainst(item: ItemIndex, { history }: PreferenceQuery): readonly ItemLikelihoods[] {
    if (this.#options.ownWeight === 0) return [];
    const others = history.length === 0 ? [] : this.#baseline.filter((after) => !after.holds(item));
    return others.length === 0 ? [this.#alone] : others;
  }

  /** The items that each baseline must know for a query. */
  #ownOf(query: PreferenceQuery): ReadonlyMap<ItemLikelihoods, readonly ItemIndex[]> {
    const own = new Map<ItemLikelihoods, ItemIndex[]>();
    for (const item of query.candidates) {
      for (const after of this.#weighedAgainst(item, query)) own.set(after, [...(own.get(after) ?? []), item]);
    }
    return own;
  }

  #itemsAfter(history: readonly ItemIndex[]): ItemLikelihoods {
    const { id } = this.#options.languageModel;
    const prefix = likelihoodPrefix(this.#template, this.#historyTexts(history));
    return new ItemLikelihoods({
      history,
      prefix,
      log: this.#log,
      textOf: (item) => this.#text(item),
      keyOf: (text) => sha256Hex(canonicalJson([id, prefix, text])),
      ask: (before, texts, batch) => this.#likelihoods(before, texts, batch),
    });
  }

  async #likelihoods(prefix: string, texts: readonly string[], batch: QueryBatch): Promise<WeighedTexts> {
    const { languageModel } = this.#options;
    const { answer, usage } = await this.#model.call(
      batch,
      [prefix, ...texts],
      (signal) => languageModel.continuationScores?.(prefix, texts, { signal }),
      (value) => checkContinuationScores(value, texts.length),
    );
    return {
      texts: answer.logLikelihoods.map((logLikelihood, i) => ({ logLikelihood, tokens: answer.tokens[i] as number })),
      usage,
    };
  }

  /** What stands before a query's candidates; undefined when nothing is known of its user. */
  #prefix({ history, context }: PreferenceQuery): string | undefined {
    const isTold = context !== undefined && this.#template.about !== '';
    const user = isTold ? sanitiseText(context, MAX_CONTEXT_LENGTH) : '';
    const items = this.#historyTexts(history);
    return items.length === 0 && user === '' ? undefined : likelihoodPrefix(this.#template, items, user);
  }

  #historyTexts(history: readonly ItemIndex[]): string[] {
    return history.slice(-this.#options.maxHistory).map((item) => this.#text(item).slice(1));
  }

  /** Tokens of an item's text, or of what stands before it; a server counts by a request of its own: once each. */
  async #tokensOf(of: ItemIndex | ItemLikelihoods): Promise<number> {
    const text = typeof of === 'number' ? this.#text(of) : of.prefix;
    const tokens = this.#tokens.get(of) ?? (await tokensOf(this.#options.languageModel, text));
    this.#tokens.set(of, tokens);
    return tokens;
  }

  /** An item as it follows a dash: with a space before it. */
  #text(item: ItemIndex): string {
    const { catalog, maxAttributeLength, attributes } = this.#options;
    return ` ${itemText(catalog, item, maxAttributeLength, attributes)}`;
  }

  #callUsage(prefixTokens: number, continuationTokens: readonly number[]): Usage {
    const { languageModel } = this.#options;
    const usage = languageModel.continuationUsage?.(prefixTokens, continuationTokens) ?? {
      inputTokens: continuationTokens.reduce((sum, tokens) => sum + tokens, prefixTokens),
      outputTokens: 0,
    };
    return { calls: 1, ...usage };
  }
}

/** Tells apart what baselines say: texts of a catalogue may change under the same options. Not SHA-256, which browsers give later only. */
function digestOf(baseline: readonly ItemLikelihoods[]): string {
  const rng = new Rng(canonicalJson(baseline.map(({ prefix }) => prefix)));
  return [0, 1]
    .map(() =>
      rng
        .integer(2 ** 32)
        .toString(16)
        .padStart(8, '0'),
    )
    .join('');
}

/** @throws {MalformedAnswer} when `continuationScores` gives something else than one log-likelihood a text. */
function checkContinuationScores(value: unknown, count: number): ContinuationScores {
  const { logLikelihoods, tokens, usage } = (value ?? {}) as Partial<ContinuationScores>;
  const isList = (list: unknown, isFine: (entry: number) => boolean): boolean =>
    Array.isArray(list) && list.length === count && list.every((entry) => Number.isFinite(entry) && isFine(entry));
  if (!isList(logLikelihoods, () => true) || !isList(tokens, (entry) => entry >= 1)) {
    throw new MalformedAnswer(
      `LikelihoodOracle: expected \`continuationScores\` to resolve to { logLikelihoods, tokens } with ${count} finite numbers each, got ${describeValue(logLikelihoods)} and ${describeValue(tokens)}`,
    );
  }
  return {
    logLikelihoods: logLikelihoods as readonly number[],
    tokens: tokens as readonly number[],
    ...(typeof usage === 'object' && usage !== null ? { usage } : {}),
  };
}
