import PQueue from 'p-queue';
import pRetry, { AbortError } from 'p-retry';
import { z } from 'zod';
import type { Catalog, ItemIndex } from '../catalog/catalog.js';
import { DisposedError, OracleError } from '../foundation/errors.js';
import { checkOptions } from '../foundation/options.js';
import { Rng } from '../foundation/rng.js';
import { sha256Hex } from '../foundation/sha256.js';
import { failureOf, isRetryable, retryAfterMs } from './back-end-failure.js';
import { checkPreferOptions, checkQueries, queryKey } from './check-query.js';
import type { Complete, Completion } from './language-model.js';
import { catalogSchema } from './option-schemas.js';
import { parseAnswer } from './parser.js';
import type { Preference, PreferenceOracle, PreferenceQuery, PreferOptions, Usage } from './preference-oracle.js';
import { renderTable1, type Table1Prompt, type Table1Style, TEMPLATE_VERSION, table1StyleShape } from './prompt.js';

/** Most characters of an invalid answer that are kept. */
const MAX_RAW_LENGTH = 500;

/** Longest wait that a server's Retry-After may ask for, in milliseconds. */
const MAX_RETRY_AFTER_MS = 120_000;

/** Options of {@link LlmOracle}. */
export interface LlmOracleOptions extends Table1Style {
  /** Whose items are asked about; borrowed. */
  readonly catalog: Catalog;
  /** Asks the model. May throw; an error with a numeric `status` (or `statusCode`) decides whether it is tried again. */
  readonly complete: Complete;
  /** Names back-end, model and revision in the oracle's `id`: change it whenever `complete` may answer differently. @default 'custom' */
  readonly model?: string;
  /** Most calls of `complete` at the same time, over all `prefer` calls. @default 4 */
  readonly concurrency?: number;
  /** Further tries after a failure that may pass: no status, 408, 409, 429, 5xx, a time-out. Never after 400, 401, 403. @default 3 */
  readonly retries?: number;
  /** Wait before the first further try, in ms; doubles each time, with jitter. A server's Retry-After is waited for first. @default 500 */
  readonly retryDelayMs?: number;
  /** Time for one call of `complete`, in ms. @default 60_000 */
  readonly timeoutMs?: number;
  /**
   * Shows the candidates in an order drawn from `seed` and the query (never from the order of calls), for models favour labels and
   * places. @default true
   */
  readonly shuffle?: boolean;
  /** Seed of the orders. @default 0 */
  readonly seed?: number;
}

/** How often an {@link LlmOracle} did what, since its construction. */
export interface LlmOracleCounts {
  /** Calls of `complete`, retries included. */
  readonly calls: number;
  /** Calls repeated after a failure. */
  readonly retries: number;
  /** Calls repeated, once a query, because the answer named no label. */
  readonly reminders: number;
  /** Queries answered by an item. */
  readonly choices: number;
  /** Queries answered by None. */
  readonly nones: number;
  /** Queries answered twice by something that is no label. */
  readonly invalids: number;
  /** Queries that nobody answered. */
  readonly failures: number;
}

const llmOracleSchema = z.strictObject({
  ...table1StyleShape,
  catalog: catalogSchema,
  complete: z.custom<Complete>(
    (value) => typeof value === 'function',
    'expected a function (prompt, { signal }) => Promise<string>',
  ),
  model: z.string().min(1).max(200).default('custom'),
  concurrency: z.int().min(1).max(10_000).default(4),
  retries: z.int().min(0).max(100).default(3),
  retryDelayMs: z.number().min(0).max(600_000).default(500),
  timeoutMs: z.number().min(1).max(3_600_000).default(60_000),
  shuffle: z.boolean().default(true),
  seed: z.int().default(0),
});

/**
 * A language model as oracle (Eqs. 2-3): writes Table 1, asks `complete`, reads the label. Any model that completes text will do.
 *
 * An answer without a label is asked for once more with a stricter last line, then it is `invalid`. A query that fails after all
 * retries is `failed` in its own slot; the others go on. Errors carry no prompt and no header of the request.
 */
export class LlmOracle implements PreferenceOracle {
  /** Model, template version, every option that changes a prompt's bytes, shuffling and its seed. */
  readonly id: string;
  readonly #options: z.output<typeof llmOracleSchema>;
  readonly #queue: PQueue;
  readonly #counts = { calls: 0, retries: 0, reminders: 0, choices: 0, nones: 0, invalids: 0, failures: 0 };
  readonly #batches = new Set<Batch>();
  #closed = false;

  /**
   * @param options - only `catalog` and `complete` are needed; neither is closed or disposed by the oracle.
   * @throws {InvalidArgumentError} for a wrong option.
   */
  constructor(options: LlmOracleOptions) {
    this.#options = checkOptions(llmOracleSchema, options, 'LlmOracle');
    const { model, mode, quotes, maxAttributeLength, maxHistory, shuffle, seed, concurrency } = this.#options;
    const order = shuffle ? `shuffle=${seed}` : 'as-given';
    this.id = `llm:${model}|${TEMPLATE_VERSION}|label|${mode}|${quotes}|attribute<=${maxAttributeLength}|history<=${maxHistory}|${order}`;
    this.#queue = new PQueue({ concurrency });
  }

  /** How often what was done so far; a copy. */
  get counts(): LlmOracleCounts {
    return { ...this.#counts };
  }

  /**
   * Asks a batch, at most `concurrency` at a time.
   *
   * @throws {InvalidArgumentError} when a query is malformed, before anything is asked.
   * @throws {DisposedError} after {@link LlmOracle.close}.
   * @throws `signal.reason` on abort, at once, even if `complete` ignores its signal.
   */
  async prefer(queries: readonly PreferenceQuery[], options: PreferOptions = {}): Promise<readonly Preference[]> {
    if (this.#closed) throw new DisposedError('LlmOracle');
    checkQueries(queries, { itemCount: this.#options.catalog.size }, 'LlmOracle.prefer');
    const { signal, onResult } = checkPreferOptions(options, 'LlmOracle.prefer');
    signal?.throwIfAborted();
    if (queries.length === 0) return [];

    const batch = new Batch();
    this.#batches.add(batch);
    // One listener a batch: one a call would print MaxListenersExceededWarning.
    const onAbort = (): void => batch.stop(signal?.reason);
    signal?.addEventListener('abort', onAbort, { once: true });
    const asked = queries.map((query, i) =>
      this.#queue.add(async (): Promise<Preference> => {
        batch.throwIfStopped();
        const preference = await this.#answer(query, batch);
        batch.throwIfStopped();
        onResult?.(i, preference);
        return preference;
      }),
    );
    try {
      return await Promise.race([Promise.all(asked), batch.stopped]);
    } catch (error) {
      batch.stop(error);
      throw error;
    } finally {
      signal?.removeEventListener('abort', onAbort);
      this.#batches.delete(batch);
    }
  }

  /** Ends what is in flight, whose `prefer` calls reject with `DisposedError`; later ones do too. Safe to call twice. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const batch of this.#batches) batch.stop(new DisposedError('LlmOracle'));
    await this.#queue.onIdle();
  }

  /** One query: at most two answers are read. Rejects only when the batch was stopped. */
  async #answer(query: PreferenceQuery, batch: Batch): Promise<Preference> {
    const started = performance.now();
    const shown = this.#shown(query);
    let usage: Usage | undefined;
    for (let reminder = false; ; reminder = true) {
      const prompt = this.#render(query, shown, reminder);
      if (reminder) this.#counts.reminders++;
      let completion: Completion;
      try {
        completion = await this.#completeWithRetries(prompt, reminder, batch);
      } catch (error) {
        batch.throwIfStopped();
        this.#counts.failures++;
        return { kind: 'failed', error: error as OracleError };
      }
      usage = addUsage(usage, completion.usage);
      const parsed = parseAnswer(completion.text, prompt.labels);
      const meta = { promptHash: await sha256Hex(prompt.text), usage: { ...usage, ms: performance.now() - started } };
      if (parsed.kind === 'none') {
        this.#counts.nones++;
        return { kind: 'none', meta };
      }
      if (parsed.kind === 'label') {
        this.#counts.choices++;
        return { kind: 'choice', choice: shown[parsed.index] as ItemIndex, meta };
      }
      if (!reminder) continue;
      this.#counts.invalids++;
      return { kind: 'invalid', raw: completion.text.slice(0, MAX_RAW_LENGTH), meta };
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

  /** Rejects with an `OracleError`, or with anything when the batch was stopped. */
  async #completeWithRetries(prompt: Table1Prompt, constrained: boolean, batch: Batch): Promise<Completion> {
    const { retries, retryDelayMs } = this.#options;
    let attempts = 0;
    const waiting = batch.controller();
    try {
      return await pRetry(
        async (attempt) => {
          attempts = attempt;
          this.#counts.calls++;
          if (attempt > 1) this.#counts.retries++;
          try {
            return checkCompletion(await this.#completeOnce(prompt, constrained, batch), attempt);
          } catch (error) {
            if (error instanceof AbortError) throw error;
            const failure = failureOf(error, prompt.text, attempt);
            if (!isRetryable(error)) throw new AbortError(failure);
            const wait = retryAfterMs(error);
            if (wait !== undefined && attempt <= retries)
              await sleep(Math.min(wait, MAX_RETRY_AFTER_MS), waiting.signal);
            throw failure;
          }
        },
        { retries, minTimeout: retryDelayMs, maxTimeout: 60_000, randomize: true, signal: waiting.signal },
      );
    } catch (error) {
      batch.throwIfStopped();
      throw error instanceof OracleError ? error : failureOf(error, prompt.text, attempts);
    } finally {
      batch.release(waiting);
    }
  }

  /** One call, raced against its time-out and the abort: a `complete` that ignores its signal cannot hold us. */
  async #completeOnce(prompt: Table1Prompt, constrained: boolean, batch: Batch): Promise<unknown> {
    const { complete, timeoutMs } = this.#options;
    const controller = batch.controller();
    const { signal } = controller;
    let timer: ReturnType<typeof setTimeout> | undefined;
    try {
      const ended = new Promise<never>((_, reject) => {
        signal.addEventListener('abort', () => reject(signal.reason), { once: true });
        timer = setTimeout(() => {
          const error = new OracleError(`the language model gave no answer within timeoutMs = ${timeoutMs}`);
          reject(error);
          controller.abort(error);
        }, timeoutMs);
      });
      const answering = Promise.resolve().then(() =>
        complete(prompt.text, { signal, labels: prompt.labels, constrained }),
      );
      return await Promise.race([answering, ended]);
    } finally {
      clearTimeout(timer);
      batch.release(controller);
    }
  }
}

/** One `prefer` call: what has to end when it is stopped. */
class Batch {
  /** Rejects when the batch is stopped. */
  readonly stopped: Promise<never>;
  readonly #controllers = new Set<AbortController>();
  #reject: (reason: unknown) => void = () => {};
  #stop: { readonly reason: unknown } | undefined;

  constructor() {
    this.stopped = new Promise((_, reject) => {
      this.#reject = reject;
    });
    this.stopped.catch(() => {});
  }

  /** A signal for one wait; release it afterwards. */
  controller(): AbortController {
    const controller = new AbortController();
    if (this.#stop !== undefined) controller.abort(this.#stop.reason);
    else this.#controllers.add(controller);
    return controller;
  }

  release(controller: AbortController): void {
    this.#controllers.delete(controller);
  }

  stop(reason: unknown): void {
    if (this.#stop !== undefined) return;
    this.#stop = { reason };
    this.#reject(reason);
    for (const controller of this.#controllers) controller.abort(reason);
    this.#controllers.clear();
  }

  throwIfStopped(): void {
    if (this.#stop !== undefined) throw this.#stop.reason;
  }
}

/** @throws {AbortError} when `complete` gives something that is no text: a mistake in its program, so no retry. */
function checkCompletion(value: unknown, attempts: number): Completion {
  if (typeof value === 'string') return { text: value };
  if (typeof value === 'object' && value !== null && typeof (value as Partial<Completion>).text === 'string') {
    const { text, usage } = value as Completion;
    return typeof usage === 'object' && usage !== null ? { text, usage } : { text };
  }
  const got = value === null ? 'null' : typeof value;
  throw new AbortError(
    new OracleError(`LlmOracle: expected \`complete\` to resolve to a string or { text, usage }, got ${got}`, {
      attempts,
    }),
  );
}

function addUsage(sum: Usage | undefined, more: Usage | undefined): Usage | undefined {
  if (sum === undefined || more === undefined) return sum ?? more;
  const total: Record<string, number> = { ...sum };
  for (const [key, value] of Object.entries(more))
    if (typeof value === 'number') total[key] = (total[key] ?? 0) + value;
  return total;
}

function sleep(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener('abort', () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}
