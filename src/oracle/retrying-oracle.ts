import pRetry, { AbortError } from 'p-retry';
import { z } from 'zod';
import { OracleError } from '../foundation/errors.js';
import { checkOptions } from '../foundation/options.js';
import { isPassingStatus } from './back-end-failure.js';
import { checkPreference, checkPreferOptions, checkQueriesFor } from './check-query.js';
import { MAX_RETRY_DELAY_MS, retryAfterOf, sleep } from './model-calls.js';
import { oracleSchema } from './option-schemas.js';
import type { Preference, PreferenceOracle, PreferenceQuery, PreferOptions } from './preference-oracle.js';

/** Options of {@link RetryingOracle}. */
export interface RetryingOracleOptions {
  /** Who is asked; closed with this one. */
  readonly oracle: PreferenceOracle;
  /** Further tries after a failure that may pass. @default 3 */
  readonly retries?: number;
  /** Wait before the first further try, in ms; doubles each time, with jitter. The longest Retry-After of the failures is waited for first. @default 1_000 */
  readonly retryDelayMs?: number;
}

const schema = z.strictObject({
  oracle: oracleSchema,
  retries: z.int().min(0).max(100).default(3),
  retryDelayMs: z.number().min(0).max(600_000).default(1_000),
});

/**
 * Asks again what failed in its slot, and may pass: without a status, 408, 409, 429, 5xx; never 400, 401, 403. For oracles that do
 * not do so themselves, as `LlmOracle` and `LikelihoodOracle` do: around these it multiplies their tries.
 */
export class RetryingOracle implements PreferenceOracle {
  /** The id of the oracle behind: trying again changes no answer. */
  readonly id: string;
  /** That of the oracle behind. */
  readonly maxBatch?: number;
  /** That of the oracle behind. */
  readonly itemCount?: number;
  /** That of the oracle behind: of one try. */
  readonly estimate?: NonNullable<PreferenceOracle['estimate']>;
  readonly #options: z.output<typeof schema>;
  #retries = 0;

  /**
   * @param options - only `oracle` is needed.
   * @throws {InvalidArgumentError} for a wrong option.
   */
  constructor(options: RetryingOracleOptions) {
    this.#options = checkOptions(schema, options, 'RetryingOracle');
    const { oracle } = this.#options;
    this.id = oracle.id;
    if (oracle.maxBatch !== undefined) this.maxBatch = oracle.maxBatch;
    if (oracle.itemCount !== undefined) this.itemCount = oracle.itemCount;
    if (oracle.estimate !== undefined) this.estimate = async (queries) => (await oracle.estimate?.(queries)) ?? [];
  }

  /** Queries asked again so far. */
  get retries(): number {
    return this.#retries;
  }

  /**
   * Asks a batch, then what failed of it, and so on. Answers are told as they come, failures when they are final.
   *
   * @throws {InvalidArgumentError} when a query is malformed.
   * @throws what the oracle behind rejects with, without a further try.
   * @throws `signal.reason` on abort, also while it waits.
   */
  async prefer(queries: readonly PreferenceQuery[], options: PreferOptions = {}): Promise<readonly Preference[]> {
    const { signal, onResult } = checkPreferOptions(options, 'RetryingOracle.prefer');
    signal?.throwIfAborted();
    checkQueriesFor(this, queries, 'RetryingOracle.prefer');
    const { oracle, retries, retryDelayMs } = this.#options;
    const results = new Array<Preference | undefined>(queries.length);
    let open = [...queries.keys()];
    let rejection: { readonly reason: unknown } | undefined;
    const round = async (attempt: number): Promise<void> => {
      if (attempt > 1) this.#retries += open.length;
      const asked = open;
      const again = new Map<number, OracleError>();
      const taken = new Set<number>();
      const take = (position: number, given: unknown): void => {
        const i = asked[position];
        if (i === undefined || taken.has(i)) return;
        taken.add(i);
        const preference = checkPreference(queries[i] as PreferenceQuery, given, this.id);
        if (preference.kind === 'failed' && attempt <= retries && isPassingStatus(preference.error.status)) {
          again.set(i, preference.error);
          return;
        }
        results[i] = preference;
        onResult?.(i, preference);
      };
      try {
        const answers = await oracle.prefer(
          asked.map((i) => queries[i] as PreferenceQuery),
          { ...(signal === undefined ? {} : { signal }), onResult: take },
        );
        for (const position of asked.keys()) take(position, answers[position]);
        open = [...again.keys()];
        if (open.length === 0) return;
        const wait = retryAfterOf([...again.values()]);
        if (wait > 0) await sleep(wait, signal);
      } catch (reason) {
        rejection = { reason };
        throw new AbortError('the batch is over');
      }
      throw new OracleError(`${open.length} queries are to be asked again`);
    };
    try {
      await pRetry(round, {
        retries,
        minTimeout: retryDelayMs,
        maxTimeout: MAX_RETRY_DELAY_MS,
        randomize: true,
        ...(signal === undefined ? {} : { signal }),
      });
    } catch (error) {
      if (rejection !== undefined) throw rejection.reason;
      signal?.throwIfAborted();
      throw error;
    }
    return results as Preference[];
  }

  /** Closes the oracle behind. */
  async close(): Promise<void> {
    await this.#options.oracle.close?.();
  }
}
