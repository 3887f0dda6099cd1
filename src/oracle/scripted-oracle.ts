import { z } from 'zod';
import { OracleError } from '../foundation/errors.js';
import { checkOptions } from '../foundation/options.js';
import { checkPreference, checkPreferOptions, checkQueries } from './check-query.js';
import { orAbort } from './or-abort.js';
import type { Preference, PreferenceOracle, PreferenceQuery, PreferOptions } from './preference-oracle.js';

/** One scripted answer: a whole `Preference`, or in short the place of the candidate chosen (0..K-1), or `'none'`, `'invalid'`, `'failed'`. */
export type ScriptedAnswer = Preference | number | 'none' | 'invalid' | 'failed';

/** Answers in the order of the questions, or a function of the question. */
export type Script =
  | readonly ScriptedAnswer[]
  /** `n` counts the questions since the oracle was made, from 0. */
  | ((query: PreferenceQuery, n: number, signal: AbortSignal | undefined) => ScriptedAnswer | Promise<ScriptedAnswer>);

/** Options of {@link ScriptedOracle}. */
export interface ScriptedOracleOptions {
  /** The oracle's `id`. @default 'scripted' */
  readonly id?: string;
  /** A: refuses item indices from here on. @default no bound */
  readonly itemCount?: number;
  /** Most queries in one `prefer` call. @default no limit */
  readonly maxBatch?: number;
}

const scriptedSchema = z.strictObject({
  id: z.string().min(1).default('scripted'),
  itemCount: z.int().min(2).default(Number.MAX_SAFE_INTEGER),
  maxBatch: z.int().min(1).optional(),
});
const scriptSchema = z.custom<Script>(
  (value) => typeof value === 'function' || Array.isArray(value),
  'expected an array of answers, or a function of the query',
);

/**
 * A test double: answers what it was told to, and remembers what it was asked. Questions of one batch are answered one after the
 * other. A list that has run out answers `failed`.
 */
export class ScriptedOracle implements PreferenceOracle {
  /** As given. */
  readonly id: string;
  readonly maxBatch?: number;
  /** As given, else larger than any index. */
  readonly itemCount: number;
  /** Every query so far, in the order asked. */
  readonly queries: PreferenceQuery[] = [];
  readonly #script: Script;

  /**
   * @param script - the answers.
   * @param options - name and bounds.
   * @throws {InvalidArgumentError} for a wrong script or option.
   */
  constructor(script: Script, options: ScriptedOracleOptions = {}) {
    const { id, itemCount, maxBatch } = checkOptions(scriptedSchema, options, 'ScriptedOracle');
    this.#script = checkOptions(scriptSchema, script, 'ScriptedOracle');
    this.itemCount = itemCount;
    this.id = id;
    if (maxBatch !== undefined) this.maxBatch = maxBatch;
  }

  /**
   * Answers by the script. An answer that names no candidate, or a script that throws, is `failed` in its slot.
   *
   * @throws {InvalidArgumentError} when a query is malformed.
   * @throws `signal.reason` on abort, between two answers or while one is awaited.
   */
  async prefer(queries: readonly PreferenceQuery[], options: PreferOptions = {}): Promise<readonly Preference[]> {
    const { signal, onResult } = checkPreferOptions(options, 'ScriptedOracle.prefer');
    signal?.throwIfAborted();
    const bounds = { itemCount: this.itemCount, maxCandidates: Number.MAX_SAFE_INTEGER };
    checkQueries(
      queries,
      this.maxBatch === undefined ? bounds : { ...bounds, maxBatch: this.maxBatch },
      'ScriptedOracle.prefer',
    );
    const results: Preference[] = [];
    for (const [i, query] of queries.entries()) {
      const preference = await this.#answer(query, signal);
      signal?.throwIfAborted();
      results.push(preference);
      onResult?.(i, preference);
    }
    return results;
  }

  async #answer(query: PreferenceQuery, signal: AbortSignal | undefined): Promise<Preference> {
    const n = this.queries.push(query) - 1;
    try {
      const answering = typeof this.#script === 'function' ? this.#script(query, n, signal) : this.#script[n];
      const answer = await orAbort(answering, signal);
      if (answer === undefined) return failed(`the script has no answer number ${n}`);
      if (answer === 'none') return { kind: 'none' };
      if (answer === 'invalid') return { kind: 'invalid', raw: 'scripted: no label' };
      if (answer === 'failed') return failed('scripted failure');
      if (typeof answer !== 'number') return checkPreference(query, answer, this.id);
      const choice = query.candidates[answer];
      return choice === undefined
        ? failed(`the script chose candidate ${answer} of ${query.candidates.length}`)
        : { kind: 'choice', choice };
    } catch (error) {
      signal?.throwIfAborted();
      return error instanceof OracleError
        ? { kind: 'failed', error }
        : { kind: 'failed', error: new OracleError('ScriptedOracle: the script threw', { cause: error }) };
    }
  }
}

function failed(message: string): Preference {
  return { kind: 'failed', error: new OracleError(`ScriptedOracle: ${message}`) };
}
