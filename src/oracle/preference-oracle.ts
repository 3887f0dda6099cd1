import type { ItemIndex } from '../catalog/catalog.js';
import { argumentError, checkNumber, checkObject } from '../foundation/arguments.js';
import { OracleError } from '../foundation/errors.js';
import { describeValue } from '../foundation/options.js';

/**
 * One question: a user's history and the candidates shown, aᵏ of the paper (Eq. 2). Items are indices; the oracle holds
 * the `Catalog` and writes the text.
 */
export interface PreferenceQuery {
  /** x₁:ₜ, oldest first. Empty is a normal input: the first user has no history. */
  readonly history: readonly ItemIndex[];
  /** The K items to choose among, all distinct. The label read-out takes 2 to 25 of them. */
  readonly candidates: readonly ItemIndex[];
  /** One line about the user or the moment, e.g. `"female; 20-30; prefers parkas"`. Never a user id. @default absent */
  readonly context?: string;
}

/** What one answer cost. Every member is absent where the back-end does not say. */
export interface Usage {
  /** Calls of the model, retries and reminders included. @default 1 */
  readonly calls?: number;
  /** Those of `calls` that a server refused, or that never reached it: they cost nothing. @default 0 */
  readonly refused?: number;
  /** Tokens of the prompt. */
  readonly inputTokens?: number;
  /** Tokens of the answer, thinking included. */
  readonly outputTokens?: number;
  /** The part of `inputTokens` that came from a prefix cache. */
  readonly cachedInputTokens?: number;
  /** Price in US dollars. */
  readonly costUsd?: number;
  /** Wall time in milliseconds, retries included. */
  readonly ms?: number;
}

/** Facts beside an answer. A ten-line oracle gives none of them. */
export interface Meta {
  /** K + 1 comparable scores, log-probabilities where the back-end has them: one per candidate in query order, then None. */
  readonly scores?: readonly number[];
  /**
   * As long as `scores`: true where a score is only a bound, because the server did not list the label. An upper bound; where a bound was
   * divided out (`contextual`, `pride`), maybe a lower one. Absent where all scores are exact.
   */
  readonly bounded?: readonly boolean[];
  /** Probability mass on the K + 1 labels before normalising, 0..1; low means that the model wanted to say something else. */
  readonly labelMass?: number;
  /** What the answer cost. */
  readonly usage?: Usage;
  /** True when the answer came from a record and nothing was asked. */
  readonly cached?: boolean;
  /** SHA-256 (hex) of the prompt that was answered. */
  readonly promptHash?: string;
}

/**
 * One answer. The reward of Eq. 3 is 1 for `choice` and 0 for `none`; on `none` the *caller* draws the action from the
 * candidates with its own seeded `Rng`. `invalid` is a third outcome, never a silent None; `failed` means that nobody answered.
 */
export type Preference =
  | {
      /** An item was named. */
      readonly kind: 'choice';
      /** The item named: one of the query's candidates. */
      readonly choice: ItemIndex;
      /** Facts beside the answer. */
      readonly meta?: Meta;
    }
  | {
      /** "None": the user would take none of the candidates. */
      readonly kind: 'none';
      /** Facts beside the answer. */
      readonly meta?: Meta;
    }
  | {
      /** An answer came that names no label, or more than one. */
      readonly kind: 'invalid';
      /** The start of the text that came, untrusted. */
      readonly raw: string;
      /** Facts beside the answer. */
      readonly meta?: Meta;
    }
  | {
      /** No answer came, all retries included. */
      readonly kind: 'failed';
      /** Why, without the prompt. */
      readonly error: OracleError;
    };

/** Options of {@link PreferenceOracle.prefer}. */
export interface PreferOptions {
  /** Gives up: `prefer` rejects with `signal.reason`. */
  readonly signal?: AbortSignal;
  /**
   * Called once for each query as soon as its result is known, in any order; `i` is the position in `queries`. An oracle may
   * leave it uncalled, so callers read the returned array too. What it throws rejects `prefer`.
   */
  readonly onResult?: (i: number, preference: Preference) => void;
}

/**
 * Answers "which of these would this user take next?" (Eqs. 2-3). A language model, a record, a simulation, or ten lines of
 * your own: `oracleContract` in `ialp/testing` checks any of them.
 */
export interface PreferenceOracle {
  /**
   * Everything an answer depends on beside the query: back-end, model, revision, adapter, template version, read-out, seed.
   * Part of every cache key. Holds no secret.
   */
  readonly id: string;
  /** Most queries in one `prefer` call; see {@link preferInBatches}. @default no limit */
  readonly maxBatch?: number;
  /** A: item indices run from 0 to A - 1. Decorators that ask one query at a time refuse a malformed batch as a whole by it. @default it does not say */
  readonly itemCount?: number;
  /**
   * Asks a batch.
   *
   * @param queries - any number of them, none included; not changed.
   * @returns one result per query, in query order. A query nobody could answer is `failed` in its own slot.
   * @throws {InvalidArgumentError} when a query is malformed (a repeated candidate, an index outside the catalogue): nothing is asked.
   * @throws `signal.reason` on abort; an error also when nothing can be asked at all (the oracle is closed, its record is lost).
   */
  prefer(queries: readonly PreferenceQuery[], options?: PreferOptions): Promise<readonly Preference[]>;
  /**
   * What the queries would cost, one estimate each in query order, without asking anybody: for dry runs and for the budget's
   * reservations. Absent where the oracle cannot tell.
   */
  estimate?(queries: readonly PreferenceQuery[]): Promise<readonly Usage[]>;
  /** Releases what the oracle holds; safe to call twice. */
  close?(): Promise<void>;
}

/**
 * `oracle.prefer` for any number of queries: split into calls of `oracle.maxBatch`, one after the other.
 *
 * @param oracle - who is asked.
 * @param queries - any number.
 * @param options - as for `prefer`; `onResult` gets positions in the whole list.
 * @returns one result per query, in query order.
 * @throws {InvalidArgumentError} for a wrong argument, `maxBatch` of the oracle included.
 * @throws {OracleError} when the oracle gives another number of answers than it was asked for.
 */
export async function preferInBatches(
  oracle: PreferenceOracle,
  queries: readonly PreferenceQuery[],
  options: PreferOptions = {},
): Promise<readonly Preference[]> {
  checkObject('preferInBatches', 'oracle', oracle, ['prefer'], 'a PreferenceOracle');
  checkObject('preferInBatches', 'options', options);
  if (!Array.isArray(queries)) throw argumentError('preferInBatches', 'queries', 'an array of queries', queries);
  const { maxBatch } = oracle;
  if (maxBatch !== undefined) checkNumber('preferInBatches', 'oracle.maxBatch', maxBatch, { low: 1, integer: true });
  const size = maxBatch ?? Math.max(1, queries.length);
  const results: Preference[] = [];
  const { onResult, signal } = options;
  if (onResult !== undefined && typeof onResult !== 'function') {
    throw argumentError('preferInBatches', 'options.onResult', 'a function', onResult);
  }
  if (signal !== undefined && !(signal instanceof AbortSignal)) {
    throw argumentError('preferInBatches', 'options.signal', 'an AbortSignal', signal);
  }
  for (let start = 0; start < queries.length; start += size) {
    signal?.throwIfAborted();
    const batch = await oracle.prefer(queries.slice(start, start + size), {
      ...(signal === undefined ? {} : { signal }),
      ...(onResult === undefined ? {} : { onResult: (i, preference) => onResult(start + i, preference) }),
    });
    if (!Array.isArray(batch) || batch.length !== Math.min(size, queries.length - start)) {
      const got = Array.isArray(batch) ? `${batch.length}` : describeValue(batch);
      const wanted = Math.min(size, queries.length - start);
      throw new OracleError(`${describeValue(oracle.id)}: expected ${wanted} answers to ${wanted} queries, got ${got}`);
    }
    for (const answer of batch as readonly Preference[]) results.push(answer);
  }
  return results;
}
