import { z } from 'zod';
import type { Catalog, ItemIndex } from '../catalog/catalog.js';
import { InvalidArgumentError, OracleError } from '../foundation/errors.js';
import { checkOptions, describeValue } from '../foundation/options.js';
import { Rng } from '../foundation/rng.js';
import { sha256Hex } from '../foundation/sha256.js';
import { MAX_RAW_LENGTH } from './answer-log.js';
import { checkPreferOptions, checkQueries, queryKey } from './check-query.js';
import type { Complete, Completion, LabelScores, LanguageModel, ModelCallOptions } from './language-model.js';
import { concurrencyOf, MalformedAnswer, type ModelCallSettings, ModelCalls, modelCallShape } from './model-calls.js';
import { catalogSchema, languageModelSchema } from './option-schemas.js';
import { parseAnswer } from './parser.js';
import type { Meta, Preference, PreferenceOracle, PreferenceQuery, PreferOptions, Usage } from './preference-oracle.js';
import {
  renderContentFree,
  renderTable1,
  type Table1Prompt,
  type Table1Style,
  TEMPLATE_VERSION,
  table1StyleShape,
} from './prompt.js';
import { type QueryBatch, QueryQueue } from './query-queue.js';
import { decide, logSumExp } from './score-decision.js';
import { addUsage, tokensOf, withPaid } from './usage.js';

/** Log-probabilities may pass 0 by rounding, not by more. */
const LARGEST_LOG_PROB = 0.01;

/** Options of {@link LlmOracle}: a `catalog`, and exactly one of `complete` and `languageModel`. */
export interface LlmOracleOptions extends Table1Style, ModelCallSettings {
  /** Whose items are asked about; borrowed. */
  readonly catalog: Catalog;
  /** Asks a model for text. May throw; an error with a numeric `status` (or `statusCode`) decides whether it is tried again. */
  readonly complete?: Complete;
  /** Names back-end, model and revision of `complete` in the oracle's `id`: change it whenever answers may change. @default 'custom' */
  readonly model?: string;
  /**
   * A back-end. One with `labelScores` is read by the probabilities of the labels, any other by its text. Borrowed: the oracle
   * does not close it.
   */
  readonly languageModel?: LanguageModel;
  /** How Table 1 ends: `completion` in the answer's prefix, `chat` by asking for the label. @default the `template` of `languageModel`, else 'completion' */
  readonly mode?: 'completion' | 'chat';
  /**
   * Shows the candidates in an order drawn from `seed` and the query (never from the order of calls), for models favour labels and
   * places. @default true
   */
  readonly shuffle?: boolean;
  /** Seed of the orders. @default 0 */
  readonly seed?: number;
  /**
   * None when log p(None) - logsumexp p(candidates) is above it; `fitNoneThreshold` finds one. Needs `labelScores`.
   * @default the likeliest of the K + 1 labels is the answer
   */
  readonly noneThreshold?: number;
  /** Least probability mass on the labels, 0..1: below it the answer is invalid, for the model wanted to say something else. Needs `labelScores`. @default 0 */
  readonly minLabelMass?: number;
}

/** How often an {@link LlmOracle} did what, since its construction. */
export interface LlmOracleCounts {
  /** Calls of the model, retries included. */
  readonly calls: number;
  /** Calls repeated after a failure. */
  readonly retries: number;
  /** Calls repeated, once a query, because the answer named no label. */
  readonly reminders: number;
  /** Queries answered by an item. */
  readonly choices: number;
  /** Queries answered by None. */
  readonly nones: number;
  /** Queries answered by something that is no label: a text, twice; or probabilities that decide nothing. */
  readonly invalids: number;
  /** Queries that nobody answered. */
  readonly failures: number;
}

const llmOracleSchema = z
  .strictObject({
    ...table1StyleShape,
    ...modelCallShape,
    catalog: catalogSchema,
    complete: z
      .custom<Complete>(
        (value) => typeof value === 'function',
        'expected a function (prompt, { signal }) => Promise<string>',
      )
      .optional(),
    languageModel: languageModelSchema.optional(),
    mode: table1StyleShape.mode.unwrap().optional(),
    model: z.string().min(1).max(200).optional(),
    shuffle: z.boolean().default(true),
    seed: z.int().default(0),
    noneThreshold: z.number().optional(),
    minLabelMass: z.number().min(0).max(1).default(0),
  })
  .superRefine(({ complete, languageModel, model, noneThreshold, minLabelMass }, context) => {
    const refuse = (path: string, message: string): void => context.addIssue({ code: 'custom', path: [path], message });
    if ((complete === undefined) === (languageModel === undefined)) {
      const got = complete === undefined ? 'neither' : 'both';
      refuse('complete', `expected exactly one of \`complete\` and \`languageModel\`, got ${got}`);
    }
    if (languageModel === undefined) {
      if (noneThreshold !== undefined || minLabelMass > 0)
        refuse('languageModel', '`noneThreshold` and `minLabelMass` need a `languageModel` with `labelScores`');
      return;
    }
    if (model !== undefined)
      refuse('model', '`model` names what `complete` asks; a `languageModel` has an `id` of its own');
    if (languageModel.labelScores === undefined && languageModel.complete === undefined)
      refuse('languageModel', `\`languageModel\` ${languageModel.id} offers neither \`labelScores\` nor \`complete\``);
    if (languageModel.labelScores === undefined && (noneThreshold !== undefined || minLabelMass > 0))
      refuse('languageModel', '`noneThreshold` and `minLabelMass` need a `languageModel` with `labelScores`');
  })
  .transform((options) => ({ ...options, mode: options.mode ?? options.languageModel?.template ?? 'completion' }));

/**
 * A language model as oracle (Eqs. 2-3): writes Table 1, asks the model, reads the label. Any model that completes text will do;
 * one that tells the labels' probabilities is read by these, in one forward pass and with nothing to parse.
 *
 * A text without a label is asked for once more with a stricter last line, then it is `invalid`; so are probabilities that decide
 * nothing. Where a chat answer begins with another word than a label, its text decides, and the scores are told beside it. A query that fails after all retries is `failed` in its own slot; the others go on. Errors carry no prompt and no header
 * of the request.
 */
export class LlmOracle implements PreferenceOracle {
  /** Model, template version, every option that changes an answer: a prompt's bytes, shuffling and its seed, how the label is read. */
  readonly id: string;
  /** Items of the catalogue. */
  readonly itemCount: number;
  readonly #options: z.output<typeof llmOracleSchema>;
  readonly #queue: QueryQueue;
  readonly #model: ModelCalls;
  readonly #counts = { reminders: 0, choices: 0, nones: 0, invalids: 0, failures: 0 };

  /**
   * @param options - only `catalog` and one of `complete` and `languageModel` are needed; none is closed or disposed by the oracle.
   * @throws {InvalidArgumentError} for a wrong option.
   */
  constructor(options: LlmOracleOptions) {
    this.#options = checkOptions(llmOracleSchema, options, 'LlmOracle');
    const { mode, quotes, maxAttributeLength, maxHistory, shuffle, seed } = this.#options;
    const { languageModel, model = 'custom', concurrency, noneThreshold, minLabelMass } = this.#options;
    const readout = [
      ...(languageModel?.labelScores === undefined ? [] : [mode === 'chat' ? 'logprobs-or-text' : 'logprobs']),
      ...(noneThreshold === undefined ? [] : [`none>${noneThreshold}`]),
      ...(minLabelMass === 0 ? [] : [`mass>=${minLabelMass}`]),
    ];
    this.id = [
      `llm:${languageModel?.id ?? model}`,
      TEMPLATE_VERSION,
      'label',
      mode,
      quotes,
      `attribute<=${maxAttributeLength}`,
      `history<=${maxHistory}`,
      shuffle ? `shuffle=${seed}` : 'as-given',
      ...readout,
    ].join('|');
    this.itemCount = this.#options.catalog.size;
    this.#queue = new QueryQueue('LlmOracle', { concurrency: concurrencyOf(concurrency, languageModel?.concurrency) });
    this.#model = new ModelCalls(this.#options);
  }

  /** How often what was done so far; a copy. */
  get counts(): LlmOracleCounts {
    return { calls: this.#model.calls, retries: this.#model.retries, ...this.#counts };
  }

  /**
   * Asks a batch, at most `concurrency` at a time.
   *
   * @throws {InvalidArgumentError} when a query is malformed, before anything is asked.
   * @throws {DisposedError} after {@link LlmOracle.close}.
   * @throws `signal.reason` on abort, at once, even if the model ignores its signal.
   */
  async prefer(queries: readonly PreferenceQuery[], options: PreferOptions = {}): Promise<readonly Preference[]> {
    this.#queue.throwIfClosed();
    checkQueries(queries, { itemCount: this.#options.catalog.size }, 'LlmOracle.prefer');
    const asked = checkPreferOptions(options, 'LlmOracle.prefer');
    return this.#queue.run(queries.length, asked, (i, batch) => this.#answer(queries[i] as PreferenceQuery, batch));
  }

  /**
   * Tokens of each prompt as the model counts them (else a quarter of its characters), and one token of answer. Reminders and
   * whatever a talkative model writes beyond the label come on top.
   *
   * @throws {InvalidArgumentError} when a query is malformed.
   */
  async estimate(queries: readonly PreferenceQuery[]): Promise<readonly Usage[]> {
    checkQueries(queries, { itemCount: this.#options.catalog.size }, 'LlmOracle.estimate');
    const usages: Usage[] = [];
    for (const query of queries) {
      const { text } = this.#render(query, this.#shown(query), false);
      usages.push({ calls: 1, inputTokens: await tokensOf(this.#options.languageModel, text), outputTokens: 1 });
    }
    return usages;
  }

  /**
   * What the model answers where there is nothing to know: the labels' log-probabilities with "N/A" in the place of the history and
   * of every candidate (contextual calibration, 2102.09690). One call.
   *
   * @param candidateCount - K, 2 to 25.
   * @returns `[K + 1]` natural log-probabilities by place, None's last, and which of them are only bounds.
   * @throws {InvalidArgumentError} for another K.
   * @throws {OracleError} when the model does not tell probabilities, or does not answer.
   */
  async contentFreeScores(candidateCount: number, options: ModelCallOptions = {}): Promise<LabelScores> {
    if (!Number.isInteger(candidateCount) || candidateCount < 2 || candidateCount > 25) {
      throw new InvalidArgumentError(
        `LlmOracle.contentFreeScores: expected \`candidateCount\` to be an integer from 2 to 25, got ${candidateCount}`,
        { argument: 'candidateCount', wanted: 'an integer from 2 to 25', got: candidateCount },
      );
    }
    if (this.#options.languageModel?.labelScores === undefined) {
      throw new OracleError(
        'LlmOracle.contentFreeScores: the model tells no probabilities; it takes a `languageModel` with `labelScores`',
      );
    }
    const { signal } = checkPreferOptions(options, 'LlmOracle.contentFreeScores');
    const prompt = renderContentFree(candidateCount, this.#options);
    let scores: LabelScores = { logProbs: [] };
    await this.#queue.run(1, signal === undefined ? {} : { signal }, async (_, batch) => {
      const { logProbs, bounded } = (await this.#labelScores(prompt, batch)).answer;
      scores = { logProbs, ...(bounded === undefined ? {} : { bounded }) };
      return { kind: 'none' };
    });
    return scores;
  }

  /** Ends what is in flight, whose `prefer` calls reject with `DisposedError`; later ones do too. Safe to call twice. */
  async close(): Promise<void> {
    await this.#queue.close();
  }

  /** Rejects only when the batch was stopped. */
  async #answer(query: PreferenceQuery, batch: QueryBatch): Promise<Preference> {
    let preference: Preference;
    try {
      preference = await (this.#options.languageModel?.labelScores === undefined
        ? this.#answerByText(query, batch)
        : this.#answerByScores(query, batch));
    } catch (error) {
      batch.throwIfStopped();
      if (!(error instanceof OracleError)) throw error;
      preference = { kind: 'failed', error };
    }
    const counted = { choice: 'choices', none: 'nones', invalid: 'invalids', failed: 'failures' } as const;
    this.#counts[counted[preference.kind]]++;
    return preference;
  }

  async #answerByScores(query: PreferenceQuery, batch: QueryBatch): Promise<Preference> {
    const started = performance.now();
    const { noneThreshold, minLabelMass, languageModel } = this.#options;
    const shown = this.#shown(query);
    const prompt = this.#render(query, shown, false);
    const { answer, usage } = await this.#labelScores(prompt, batch);
    const { logProbs, bounded } = answer;
    const labelMass = Math.min(1, Math.exp(logSumExp(logProbs.filter((_, i) => bounded?.[i] !== true))));
    const places = [...query.candidates.map((item) => shown.indexOf(item)), shown.length];
    const meta = {
      scores: places.map((place) => logProbs[place] as number),
      ...(bounded?.includes(true) ? { bounded: places.map((place) => bounded[place] === true) } : {}),
      labelMass,
      promptHash: await sha256Hex(prompt.text),
      usage: { ...usage, ms: performance.now() - started },
    };
    if (labelMass < minLabelMass) {
      const raw = `label mass ${labelMass.toPrecision(3)}, less than minLabelMass ${minLabelMass}`;
      return { kind: 'invalid', raw, meta };
    }
    if (answer.beginsOtherwise === true && languageModel?.complete !== undefined)
      return this.#answerByText(query, batch, meta);
    const decision = decide(logProbs, noneThreshold, bounded);
    if (decision === 'none') return { kind: 'none', meta };
    if (decision === 'undecided')
      return { kind: 'invalid', raw: 'the likeliest label is not among those listed', meta };
    return { kind: 'choice', choice: shown[decision] as ItemIndex, meta };
  }

  #labelScores(
    prompt: Table1Prompt,
    batch: QueryBatch,
  ): Promise<{ readonly answer: LabelScores; readonly usage: Usage }> {
    const { languageModel } = this.#options;
    return this.#model.call(
      batch,
      [prompt.text],
      (signal) => languageModel?.labelScores?.(prompt.text, prompt.labels, { signal }),
      (value) => checkLabelScores(value, prompt.labels.length),
    );
  }

  /**
   * At most two answers are read.
   *
   * @param told - what the labels' probabilities told before, kept beside what the text decides.
   */
  async #answerByText(query: PreferenceQuery, batch: QueryBatch, told: Meta = {}): Promise<Preference> {
    const started = performance.now() - (told.usage?.ms ?? 0);
    const complete = (this.#options.complete ??
      this.#options.languageModel?.complete?.bind(this.#options.languageModel)) as Complete;
    const shown = this.#shown(query);
    let usage = told.usage;
    for (let reminder = false; ; reminder = true) {
      const prompt = this.#render(query, shown, reminder);
      if (reminder) this.#counts.reminders++;
      const asked = this.#model.call(
        batch,
        [prompt.text],
        (signal) => complete(prompt.text, { signal, labels: prompt.labels, constrained: reminder }),
        checkCompletion,
      );
      const paid = usage;
      const { answer: completion, usage: own } = await asked.catch((error: unknown) => {
        throw error instanceof OracleError && paid !== undefined ? withPaid(error, paid) : error;
      });
      usage = addUsage(usage, own);
      const parsed = parseAnswer(completion.text, prompt.labels);
      const facts = { promptHash: await sha256Hex(prompt.text), usage: { ...usage, ms: performance.now() - started } };
      const meta = { ...told, ...facts };
      if (parsed.kind === 'none') return { kind: 'none', meta };
      if (parsed.kind === 'label') return { kind: 'choice', choice: shown[parsed.index] as ItemIndex, meta };
      if (reminder) return { kind: 'invalid', raw: completion.text.slice(0, MAX_RAW_LENGTH), meta };
    }
  }

  /** The candidates in the order shown: a function of seed and question, so that resumed and reordered runs write the same prompt. */
  #shown(query: PreferenceQuery): readonly ItemIndex[] {
    const { shuffle, seed, catalog } = this.#options;
    if (!shuffle) return query.candidates;
    return new Rng(seed)
      .fork('shown')
      .fork(queryKey(catalog, query))
      .shuffle([...query.candidates]);
  }

  #render(query: PreferenceQuery, shown: readonly ItemIndex[], reminder: boolean): Table1Prompt {
    const { catalog, mode, quotes, maxAttributeLength, maxHistory } = this.#options;
    const { history, context } = query;
    return renderTable1({
      catalog,
      history,
      candidates: shown,
      reminder,
      mode,
      quotes,
      maxAttributeLength,
      maxHistory,
      ...(context === undefined ? {} : { context }),
    });
  }
}

/** @throws {MalformedAnswer} when `complete` gives something that is no text. */
function checkCompletion(value: unknown): Completion {
  if (typeof value === 'string') return { text: value };
  if (typeof value === 'object' && value !== null && typeof (value as Partial<Completion>).text === 'string') {
    const { text, usage } = value as Completion;
    return typeof usage === 'object' && usage !== null ? { text, usage } : { text };
  }
  const got = value === null ? 'null' : typeof value;
  throw new MalformedAnswer(`LlmOracle: expected \`complete\` to resolve to a string or { text, usage }, got ${got}`);
}

/** @throws {MalformedAnswer} when `labelScores` gives something else than one log-probability a label. */
function checkLabelScores(value: unknown, count: number): LabelScores {
  const { logProbs, bounded, beginsOtherwise, usage } = (value ?? {}) as Partial<LabelScores>;
  const isLogProb = (score: unknown): boolean => typeof score === 'number' && score <= LARGEST_LOG_PROB;
  if (!Array.isArray(logProbs) || logProbs.length !== count || !logProbs.every(isLogProb)) {
    throw new MalformedAnswer(
      `LlmOracle: expected \`labelScores\` to resolve to { logProbs } with ${count} natural log-probabilities (at most 0), one a label, got ${describeValue(logProbs)}`,
    );
  }
  return {
    logProbs,
    ...(Array.isArray(bounded) ? { bounded } : {}),
    ...(beginsOtherwise === true ? { beginsOtherwise } : {}),
    ...(typeof usage === 'object' && usage !== null ? { usage } : {}),
  };
}
