import pRetry, { AbortError } from 'p-retry';
import { z } from 'zod';
import { OracleError } from '../foundation/errors.js';
import { failureOf, isRetryable, mayBeBilled, retryAfterMs } from './back-end-failure.js';
import type { Usage } from './preference-oracle.js';
import type { QueryBatch } from './query-queue.js';
import { addUsage, timesUsage } from './usage.js';

/** Longest wait that a server's Retry-After may ask for, in milliseconds. */
const MAX_RETRY_AFTER_MS = 120_000;

/** Longest wait before a further try without Retry-After, in milliseconds. */
export const MAX_RETRY_DELAY_MS = 60_000;

/** How a language model is called. */
export interface ModelCallSettings {
  /** Most calls of the model at the same time, over all `prefer` calls; a `languageModel` that takes fewer gets fewer. @default what the `languageModel` takes, else 4 */
  readonly concurrency?: number;
  /** Further tries after a failure that may pass: no status, 408, 409, 429, 5xx, a time-out. Never after 400, 401, 403. @default 3 */
  readonly retries?: number;
  /** Wait before the first further try, in ms; doubles each time, with jitter. A server's Retry-After is waited for first. @default 500 */
  readonly retryDelayMs?: number;
  /** Time for one call of the model, in ms. @default 60_000 */
  readonly timeoutMs?: number;
}

/** Schema of {@link ModelCallSettings}. */
export const modelCallShape = {
  concurrency: z.int().min(1).max(10_000).optional(),
  retries: z.int().min(0).max(100).default(3),
  retryDelayMs: z.number().min(0).max(600_000).default(500),
  timeoutMs: z.number().min(1).max(3_600_000).default(60_000),
};

/** The number of calls at a time: as asked for, but no more than the back-end takes. */
export function concurrencyOf(asked: number | undefined, taken: number | undefined): number {
  if (taken === undefined || !(taken >= 1)) return asked ?? 4;
  return Math.min(asked ?? taken, Math.floor(taken));
}

/**
 * An answer of a model that is none: a mistake in its program, which no further try mends.
 *
 * @param message - what was expected and what came, without the prompt.
 */
export class MalformedAnswer extends Error {}

/** Calls a language model with a time-out and further tries, and counts them. */
export class ModelCalls {
  readonly #settings: { readonly retries: number; readonly retryDelayMs: number; readonly timeoutMs: number };
  #calls = 0;
  #retries = 0;

  /** @param settings - checked. */
  constructor(settings: { readonly retries: number; readonly retryDelayMs: number; readonly timeoutMs: number }) {
    this.#settings = settings;
  }

  /** Calls so far, retries included. */
  get calls(): number {
    return this.#calls;
  }

  /** Calls repeated after a failure. */
  get retries(): number {
    return this.#retries;
  }

  /**
   * @param batch - ends the call when it is stopped.
   * @param secrets - what was asked: cut out of messages.
   * @param ask - one call; may ignore its signal, and may throw anything.
   * @param read - checks what came; throws {@link MalformedAnswer} when it is no answer.
   * @returns what was read, and what it cost with the tries before it: one that ended without a refusal, such as a time-out, is taken
   * to have cost what the answer did.
   * @throws {OracleError} when nobody answered, or anything when the batch was stopped.
   */
  async call<A extends { readonly usage?: Usage | undefined }>(
    batch: QueryBatch,
    secrets: readonly string[],
    ask: (signal: AbortSignal) => unknown,
    read: (value: unknown) => A,
  ): Promise<{ readonly answer: A; readonly usage: Usage }> {
    const { retries, retryDelayMs } = this.#settings;
    const made: { attempts: number; lost: number; paid: Usage | undefined } = { attempts: 0, lost: 0, paid: undefined };
    const waiting = batch.controller();
    try {
      return await pRetry(
        async (attempt) => {
          made.attempts = attempt;
          this.#calls++;
          if (attempt > 1) this.#retries++;
          try {
            const answer = read(await this.#once(batch, ask));
            const refused = attempt - 1 - made.lost;
            const calls = { calls: attempt, ...(refused === 0 ? {} : { refused }) };
            const own = { ...timesUsage(answer.usage ?? {}, 1 + made.lost), ...calls };
            return { answer, usage: addUsage(made.paid, own) ?? own };
          } catch (error) {
            // A try that may be billed as a whole is not counted in parts.
            if (mayBeBilled(error)) made.lost++;
            else if (error instanceof OracleError) made.paid = addUsage(made.paid, error.paid);
            if (error instanceof MalformedAnswer) throw new AbortError(new OracleError(error.message, made));
            const failure = failureOf(error, secrets, made);
            if (!isRetryable(error)) throw new AbortError(failure);
            const wait = retryAfterMs(error);
            if (wait !== undefined && attempt <= retries)
              await sleep(Math.min(wait, MAX_RETRY_AFTER_MS), waiting.signal);
            throw failure;
          }
        },
        { retries, minTimeout: retryDelayMs, maxTimeout: MAX_RETRY_DELAY_MS, randomize: true, signal: waiting.signal },
      );
    } catch (error) {
      batch.throwIfStopped();
      throw error instanceof OracleError ? error : failureOf(error, secrets, made);
    } finally {
      batch.release(waiting);
    }
  }

  /** One call, raced against its time-out and the abort: a model that ignores its signal cannot hold us. */
  async #once(batch: QueryBatch, ask: (signal: AbortSignal) => unknown): Promise<unknown> {
    const { timeoutMs } = this.#settings;
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
      const answering = Promise.resolve().then(() => ask(signal));
      return await Promise.race([answering, ended]);
    } finally {
      clearTimeout(timer);
      batch.release(controller);
    }
  }
}

/** The longest wait that the failures of a batch were asked to keep, in ms, as far as it is heeded; 0 when none. */
export function retryAfterOf(failures: readonly OracleError[]): number {
  return Math.min(MAX_RETRY_AFTER_MS, Math.max(0, ...failures.map(({ retryAfterMs: wait }) => wait ?? 0)));
}

/** Resolves after a time; rejects with `signal.reason` on abort. */
export function sleep(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', onAbort);
      resolve();
    }, ms);
    if (signal?.aborted === true) onAbort();
    else signal?.addEventListener('abort', onAbort, { once: true });
  });
}
