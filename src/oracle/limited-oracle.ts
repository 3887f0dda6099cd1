import { z } from 'zod';
import { checkOptions } from '../foundation/options.js';
import { checkPreference, checkPreferOptions, checkQueriesFor } from './check-query.js';
import { oracleSchema } from './option-schemas.js';
import type { Preference, PreferenceOracle, PreferenceQuery, PreferOptions } from './preference-oracle.js';
import { QueryQueue } from './query-queue.js';

/** Options of {@link LimitedOracle}: at least one limit. */
export interface LimitedOracleOptions {
  /** Who is asked, one query a call; closed with this one. */
  readonly oracle: PreferenceOracle;
  /** Most queries at the same time. @default no limit */
  readonly concurrency?: number;
  /** Length of an interval, in ms; needs `intervalCap`. @default no intervals */
  readonly intervalMs?: number;
  /** Most queries started in one interval; needs `intervalMs`. @default no limit */
  readonly intervalCap?: number;
}

const schema = z
  .strictObject({
    oracle: oracleSchema,
    concurrency: z.int().min(1).max(100_000).optional(),
    intervalMs: z.int().min(1).max(86_400_000).optional(),
    intervalCap: z.int().min(1).optional(),
  })
  .superRefine(({ concurrency, intervalMs, intervalCap }, context) => {
    const refuse = (path: string, message: string): void => context.addIssue({ code: 'custom', path: [path], message });
    if ((intervalMs === undefined) !== (intervalCap === undefined))
      refuse('intervalCap', '`intervalMs` and `intervalCap` go together: so many queries in so long a time');
    if (concurrency === undefined && intervalMs === undefined)
      refuse('concurrency', '`concurrency` or `intervalMs` and `intervalCap` are needed: nothing is limited');
  });

/**
 * Keeps to a server's limits: so many queries at a time, so many started in a minute. Queries wait in the order in which they came,
 * over all overlapping calls. The oracle behind is asked one query a call.
 */
export class LimitedOracle implements PreferenceOracle {
  /** The id of the oracle behind: waiting changes no answer. */
  readonly id: string;
  /** That of the oracle behind. */
  readonly maxBatch?: number;
  /** That of the oracle behind. */
  readonly itemCount?: number;
  /** That of the oracle behind. */
  readonly estimate?: NonNullable<PreferenceOracle['estimate']>;
  readonly #oracle: PreferenceOracle;
  readonly #queue: QueryQueue;

  /**
   * @param options - who is asked, and the limits.
   * @throws {InvalidArgumentError} for a wrong option, or no limit at all.
   */
  constructor(options: LimitedOracleOptions) {
    const {
      oracle,
      concurrency = Number.POSITIVE_INFINITY,
      ...interval
    } = checkOptions(schema, options, 'LimitedOracle');
    this.id = oracle.id;
    if (oracle.maxBatch !== undefined) this.maxBatch = oracle.maxBatch;
    if (oracle.itemCount !== undefined) this.itemCount = oracle.itemCount;
    if (oracle.estimate !== undefined) this.estimate = async (queries) => (await oracle.estimate?.(queries)) ?? [];
    this.#oracle = oracle;
    this.#queue = new QueryQueue('LimitedOracle', { concurrency, ...interval });
  }

  /**
   * Asks a batch as fast as the limits allow.
   *
   * @throws {InvalidArgumentError} when a query is malformed.
   * @throws {DisposedError} after {@link LimitedOracle.close}.
   * @throws `signal.reason` on abort, at once; queries that waited use up no interval.
   */
  async prefer(queries: readonly PreferenceQuery[], options: PreferOptions = {}): Promise<readonly Preference[]> {
    this.#queue.throwIfClosed();
    const asked = checkPreferOptions(options, 'LimitedOracle.prefer');
    checkQueriesFor(this, queries, 'LimitedOracle.prefer');
    return this.#queue.run(queries.length, asked, async (i, batch) => {
      const query = queries[i] as PreferenceQuery;
      const controller = batch.controller();
      try {
        const answers: unknown = await this.#oracle.prefer([query], { signal: controller.signal });
        return checkPreference(query, Array.isArray(answers) ? answers[0] : undefined, this.id);
      } finally {
        batch.release(controller);
      }
    });
  }

  /** Ends what waits and what is in flight, whose calls reject with `DisposedError`, and closes the oracle behind. Safe to call twice. */
  async close(): Promise<void> {
    await this.#queue.close();
    await this.#oracle.close?.();
  }
}
