import { z } from 'zod';
import type { Catalog, ItemIndex } from '../catalog/catalog.js';
import { OracleError } from '../foundation/errors.js';
import { canonicalJson } from '../foundation/json.js';
import { checkOptions, describeValue } from '../foundation/options.js';
import { sha256Hex } from '../foundation/sha256.js';
import type { Storage } from '../foundation/storage.js';
import { checkPreferOptions, checkQueries } from './check-query.js';
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
import { addUsage, tokensOf } from './usage.js';

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

/** How often a {@link LikelihoodOracle} did what, since its construction. */
export interface LikelihoodOracleCounts {
  /** Calls of the model, retries included. */
  readonly calls: number;
  /** Calls repeated after a failure. */
  readonly retries: number;
  /** Items whose own likelihood the model was asked for. */
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
    template: likelihoodTemplateSchema.optional(),
    ...itemTextShape,
    maxHistory: z.int().min(1).max(10_000).default(50),
    storage: storageSchema.optional(),
    key: z.string().min(1).default('likelihoods.jsonl'),
  })
  .superRefine(checkAttributes);

/**
 * A language model as oracle that weighs texts instead of naming a letter (oracles.md 10; a departure from the paper): the score of
 * a candidate is log p(its text | the history) - log p(its text | nothing), summed over its tokens. Models far too small to choose
 * by letter know something this way. Base models will do; any number of candidates, from 2.
 *
 * The second term depends on the item alone: it is asked once an item and kept, in `storage` where one is given, by the SHA-256 of
 * model, wording and text. The history is one prefix for all candidates. Where neither a history nor a context is known both terms
 * are the same: nobody is asked, the answer is None, without scores.
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
  readonly #own = new Map<ItemIndex, TextLikelihood>();
  readonly #inFlight = new Map<ItemIndex, Promise<unknown>>();
  /** Tokens of an item's text, where they were estimated. */
  readonly #tokens = new Map<ItemIndex, number>();
  readonly #counts = { items: 0, choices: 0, nones: 0, failures: 0 };

  /**
   * @param options - `catalog` and `languageModel` are needed; neither is closed by the oracle.
   * @throws {InvalidArgumentError} for a wrong option, such as a model without `continuationScores`.
   */
  constructor(options: LikelihoodOracleOptions) {
    this.#options = checkOptions(schema, options, 'LikelihoodOracle');
    const { catalog, languageModel, noneBelow, perToken, template, attributes, storage, key } = this.#options;
    const { maxAttributeLength, maxHistory, concurrency } = this.#options;
    this.#template = template ?? likelihoodTemplate(catalog);
    const { version, ...words } = this.#template;
    this.id = [
      `likelihood:${languageModel.id}`,
      `${version}${canonicalJson(words)}`,
      attributes === undefined ? 'all' : canonicalJson(attributes),
      `attribute<=${maxAttributeLength}`,
      `history<=${maxHistory}`,
      perToken ? 'mean' : 'sum',
      ...(noneBelow === Number.NEGATIVE_INFINITY ? [] : [`none<${noneBelow}`]),
    ].join('|');
    this.itemCount = catalog.size;
    this.#queue = new QueryQueue('LikelihoodOracle', {
      concurrency: concurrencyOf(concurrency, languageModel.concurrency),
    });
    this.#model = new ModelCalls(this.#options);
    this.#log = storage && new LikelihoodLog(storage, key);
  }

  /** How often what was done so far; a copy. */
  get counts(): LikelihoodOracleCounts {
    return { calls: this.#model.calls, retries: this.#model.retries, ...this.#counts };
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
    const alone = await tokensOf(languageModel, this.#prefix(undefined));
    const priced = new Set<ItemIndex>();
    const usages: Usage[] = [];
    for (const query of queries) {
      const prefix = this.#prefix(query);
      if (prefix === undefined) {
        usages.push({ calls: 0, inputTokens: 0, outputTokens: 0 });
        continue;
      }
      const shown: number[] = [];
      const unknown: number[] = [];
      for (const item of query.candidates) {
        // A server counts by a request of its own: once an item.
        const tokens = this.#tokens.get(item) ?? (await tokensOf(languageModel, this.#text(item)));
        this.#tokens.set(item, tokens);
        shown.push(tokens);
        if (priced.has(item) || this.#own.has(item)) continue;
        priced.add(item);
        if ((await this.#log?.find(await this.#keyOf(this.#text(item)))) === undefined) unknown.push(tokens);
      }
      const given = this.#callUsage(await tokensOf(languageModel, prefix), shown);
      usages.push(unknown.length === 0 ? given : (addUsage(given, this.#callUsage(alone, unknown)) as Usage));
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
    const { noneBelow, perToken } = this.#options;
    const prefix = this.#prefix(query);
    if (prefix === undefined) return { kind: 'none', meta: { usage: { calls: 0, inputTokens: 0, outputTokens: 0 } } };
    const { candidates } = query;
    const texts = candidates.map((item) => this.#text(item));
    let usage = await this.#learnOwn(candidates, batch);
    const given = await this.#likelihoods(prefix, texts, batch);
    usage = addUsage(usage, given.usage);
    const scores = candidates.map((item, i) => {
      const own = this.#own.get(item) as TextLikelihood;
      const { logLikelihood, tokens } = given.texts[i] as TextLikelihood;
      const gain = logLikelihood - own.logLikelihood;
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

  /** Sees to it that the items' own likelihoods are known: by memory, by the log, by another query that is asking, or by asking. */
  async #learnOwn(items: readonly ItemIndex[], batch: QueryBatch): Promise<Usage | undefined> {
    let usage: Usage | undefined;
    for (;;) {
      const missing = items.filter((item) => !this.#own.has(item));
      if (missing.length === 0) return usage;
      const mine = missing.filter((item) => !this.#inFlight.has(item));
      if (mine.length === 0) {
        // Whether they succeed or not is looked at in the next round, which then asks itself.
        const others = Promise.allSettled(missing.map((item) => this.#inFlight.get(item)));
        await Promise.race([others, batch.stopped]);
        continue;
      }
      const asking = this.#askOwn(mine, batch);
      for (const item of mine) this.#inFlight.set(item, asking);
      try {
        usage = addUsage(usage, await asking);
      } finally {
        for (const item of mine) this.#inFlight.delete(item);
      }
    }
  }

  async #askOwn(items: readonly ItemIndex[], batch: QueryBatch): Promise<Usage | undefined> {
    const open: { readonly item: ItemIndex; readonly text: string; readonly key: string }[] = [];
    for (const item of items) {
      const text = this.#text(item);
      const key = this.#log === undefined ? '' : await this.#keyOf(text);
      const known = await this.#log?.find(key);
      if (known === undefined) open.push({ item, text, key });
      else this.#own.set(item, known);
    }
    if (open.length === 0) return undefined;
    batch.throwIfStopped();
    const texts = open.map(({ text }) => text);
    const { texts: likelihoods, usage } = await this.#likelihoods(this.#prefix(undefined), texts, batch);
    this.#counts.items += open.length;
    await this.#log?.keep(open.map(({ key }, i) => ({ key, ...(likelihoods[i] as TextLikelihood) })));
    for (const [i, { item }] of open.entries()) this.#own.set(item, likelihoods[i] as TextLikelihood);
    return usage;
  }

  async #likelihoods(
    prefix: string,
    texts: readonly string[],
    batch: QueryBatch,
  ): Promise<{ readonly texts: readonly TextLikelihood[]; readonly usage: Usage }> {
    const { languageModel } = this.#options;
    const { answer, attempts } = await this.#model.call(
      batch,
      [prefix, ...texts],
      (signal) => languageModel.continuationScores?.(prefix, texts, { signal }),
      (value) => checkContinuationScores(value, texts.length),
    );
    return {
      texts: answer.logLikelihoods.map((logLikelihood, i) => ({ logLikelihood, tokens: answer.tokens[i] as number })),
      usage: { ...answer.usage, calls: attempts },
    };
  }

  /** What stands before a candidate: of a query, undefined when nothing is known of its user; of `undefined`, the empty prefix. */
  #prefix(query: undefined): string;
  #prefix(query: PreferenceQuery): string | undefined;
  #prefix(query: PreferenceQuery | undefined): string | undefined {
    if (query === undefined) return likelihoodPrefix(this.#template, []);
    const isTold = query.context !== undefined && this.#template.about !== '';
    const user = isTold ? sanitiseText(query.context, MAX_CONTEXT_LENGTH) : '';
    const items = query.history.slice(-this.#options.maxHistory).map((item) => this.#text(item).slice(1));
    return items.length === 0 && user === '' ? undefined : likelihoodPrefix(this.#template, items, user);
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

  #keyOf(text: string): Promise<string> {
    return sha256Hex(canonicalJson([this.#options.languageModel.id, this.#prefix(undefined), text]));
  }
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
