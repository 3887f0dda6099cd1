import { z } from 'zod';
import type { Catalog } from '../catalog/catalog.js';
import { OracleError } from '../foundation/errors.js';
import { checkOptions } from '../foundation/options.js';
import type { Storage } from '../foundation/storage.js';
import { AnswerLog } from './answer-log.js';
import { checkPreferOptions, checkQueries } from './check-query.js';
import { catalogSchema, storageSchema } from './option-schemas.js';
import type { Preference, PreferenceOracle, PreferenceQuery, PreferOptions } from './preference-oracle.js';

/** Options of {@link ReplayOracle.open}. */
export interface ReplayOracleOptions {
  /** Whose items the queries name; must be the catalogue of the recording. Borrowed. */
  readonly catalog: Catalog;
  /** Where the record is; borrowed, only read (a torn last line is cut off). */
  readonly storage: Storage;
  /** The record's key in the storage. @default 'answers.jsonl' */
  readonly key?: string;
  /** The oracle whose answers are wanted. @default whichever the record holds */
  readonly oracleId?: string;
  /** A question without a recorded answer is `failed` in its slot, or makes `prefer` throw. @default 'failed' */
  readonly unknown?: 'failed' | 'throw';
}

const schema = z.strictObject({
  catalog: catalogSchema,
  storage: storageSchema,
  key: z.string().min(1).default('answers.jsonl'),
  oracleId: z.string().min(1).optional(),
  unknown: z.enum(['failed', 'throw']).default('failed'),
});

/** Recorded answers and nothing else: asks nobody, costs nothing. Reads what {@link RecordingOracle} wrote. */
export class ReplayOracle implements PreferenceOracle {
  /** The id of the oracle that was recorded. */
  readonly id: string;
  /** Items of the catalogue. */
  readonly itemCount: number;
  readonly #log: AnswerLog;
  readonly #catalog: Catalog;
  readonly #unknown: 'failed' | 'throw';

  private constructor(log: AnswerLog, catalog: Catalog, unknown: 'failed' | 'throw') {
    this.id = log.oracleId;
    this.itemCount = catalog.size;
    this.#log = log;
    this.#catalog = catalog;
    this.#unknown = unknown;
  }

  /**
   * Opens a record.
   *
   * @throws {InvalidArgumentError} for a wrong option.
   * @throws {InvalidDataError} when there is no record, or it is damaged, of another oracle or about another catalogue.
   */
  static async open(options: ReplayOracleOptions): Promise<ReplayOracle> {
    const { catalog, storage, key, oracleId, unknown } = checkOptions(schema, options, 'ReplayOracle.open');
    return new ReplayOracle(await AnswerLog.open({ storage, key, catalog, oracleId, create: false }), catalog, unknown);
  }

  /** Answers in the record. */
  get size(): number {
    return this.#log.size;
  }

  /**
   * Looks the answers up.
   *
   * @throws {InvalidArgumentError} when a query is malformed.
   * @throws {OracleError} for a question without a recorded answer, with `unknown: 'throw'`.
   * @throws `signal.reason` on abort.
   */
  async prefer(queries: readonly PreferenceQuery[], options: PreferOptions = {}): Promise<readonly Preference[]> {
    const { signal, onResult } = checkPreferOptions(options, 'ReplayOracle.prefer');
    signal?.throwIfAborted();
    checkQueries(queries, { itemCount: this.#catalog.size, maxCandidates: this.#catalog.size }, 'ReplayOracle.prefer');
    const results: Preference[] = [];
    for (const [i, query] of queries.entries()) {
      const preference = this.#log.answer(await this.#log.keyOf(query), query) ?? this.#missing(i);
      signal?.throwIfAborted();
      results.push(preference);
      onResult?.(i, preference);
    }
    return results;
  }

  #missing(i: number): Preference {
    const error = new OracleError(
      `ReplayOracle: no recorded answer to queries[${i}]; the record has ${this.size} answers of ${this.id}`,
    );
    if (this.#unknown === 'throw') throw error;
    return { kind: 'failed', error };
  }
}
