import { z } from 'zod';
import type { Catalog } from '../catalog/catalog.js';
import { checkOptions } from '../foundation/options.js';
import type { Storage } from '../foundation/storage.js';
import { AnswerLog } from './answer-log.js';
import { AskOnce, type RecordingCounts } from './ask-once.js';
import { checkPreferOptions, checkQueries } from './check-query.js';
import { catalogSchema, oracleSchema, storageSchema } from './option-schemas.js';
import type { Preference, PreferenceOracle, PreferenceQuery, PreferOptions } from './preference-oracle.js';

/** Options of {@link RecordingOracle.open}. */
export interface RecordingOracleOptions {
  /** Who is asked what the record does not answer; closed with the recording. */
  readonly oracle: PreferenceOracle;
  /** Whose items the queries name; borrowed. */
  readonly catalog: Catalog;
  /** Where the record is kept; borrowed. One writer at a time. */
  readonly storage: Storage;
  /** The record's key in the storage. @default 'answers.jsonl' */
  readonly key?: string;
  /**
   * Asks questions again whose recorded answer could not be read. Without it they stay unread, so that a resumed run equals an unbroken
   * one. A caller whose next question hangs on the answer then asks others than before, unless it goes on as `distil` does: by the first
   * answer.
   * @default false
   */
  readonly retryInvalid?: boolean;
  /**
   * Writes down each question's history and candidates by item id, so that `readAnswers` can make training data of the record. A
   * history is personal data: keep such a record as carefully as the log that it came from. @default false
   */
  readonly keepQueries?: boolean;
  /** Writes down the context line too; needs `keepQueries`. @default false */
  readonly keepContext?: boolean;
}

const schema = z
  .strictObject({
    oracle: oracleSchema,
    catalog: catalogSchema,
    storage: storageSchema,
    key: z.string().min(1).default('answers.jsonl'),
    retryInvalid: z.boolean().default(false),
    keepQueries: z.boolean().default(false),
    keepContext: z.boolean().default(false),
  })
  .refine(({ keepQueries, keepContext }) => keepQueries || !keepContext, {
    path: ['keepContext'],
    message: '`keepContext` keeps a part of the question: it needs `keepQueries: true`',
  });

/**
 * Keeps every answer of another oracle, and never asks a question twice: what the record holds is replayed, what is in flight is
 * waited for, the rest is asked and recorded *before* it is handed out. A run that is killed anywhere and started again therefore
 * pays only for what was in flight.
 *
 * The record is append-only JSONL: a header line (format, oracle id, template version, catalogue), then one line per answer, keyed
 * by the SHA-256 of oracle id, item ids and context. It holds no history, no prompt and no user, unless `keepQueries` says so;
 * chosen items stand by id. Failures are not kept, so they are asked again; invalid answers are, or a resumed run would differ from an unbroken one.
 */
export class RecordingOracle implements PreferenceOracle {
  /** The id of the oracle behind: recording changes no answer. */
  readonly id: string;
  /** Items of the catalogue. */
  readonly itemCount: number;
  /** That of the oracle behind. */
  readonly maxBatch?: number;
  /** What the oracle behind expects, and nothing for questions on record. Absent where it cannot tell. */
  readonly estimate?: NonNullable<PreferenceOracle['estimate']>;
  readonly #catalog: Catalog;
  readonly #log: AnswerLog;
  readonly #asking: AskOnce;

  private constructor(oracle: PreferenceOracle, catalog: Catalog, log: AnswerLog) {
    this.id = oracle.id;
    this.itemCount = catalog.size;
    if (oracle.maxBatch !== undefined) this.maxBatch = oracle.maxBatch;
    this.#catalog = catalog;
    this.#log = log;
    const keeper = {
      lookUp: (key: string, query: PreferenceQuery) => log.answer(key, query),
      keep: log.keep.bind(log),
    };
    this.#asking = new AskOnce(oracle, keeper, 'RecordingOracle');
    if (oracle.estimate !== undefined) {
      this.estimate = async (queries) => {
        this.#check(queries, 'estimate');
        const keys = await Promise.all(queries.map((query) => log.keyOf(query)));
        return this.#asking.estimate(queries, keys);
      };
    }
  }

  /**
   * Opens the record, or begins it.
   *
   * @throws {InvalidArgumentError} for a wrong option.
   * @throws {InvalidDataError} when the record is damaged elsewhere than in its last line, or holds answers of another oracle,
   * another prompt template or about another catalogue.
   */
  static async open(options: RecordingOracleOptions): Promise<RecordingOracle> {
    const { oracle, catalog, storage, key, retryInvalid, keepQueries, keepContext } = checkOptions(
      schema,
      options,
      'RecordingOracle.open',
    );
    const keep = keepContext ? 'items+context' : keepQueries ? 'items' : 'nothing';
    return new RecordingOracle(
      oracle,
      catalog,
      await AnswerLog.open({ storage, key, catalog, oracleId: oracle.id, create: true, retryInvalid, keep }),
    );
  }

  /** Where the answers came from so far; a copy. */
  get counts(): RecordingCounts {
    return this.#asking.counts;
  }

  /** Answers in the record. */
  get size(): number {
    return this.#log.size;
  }

  /**
   * Answers from the record, and asks the rest in one call of the oracle behind.
   *
   * @throws {InvalidArgumentError} when a query is malformed.
   * @throws {DisposedError} after {@link RecordingOracle.close}.
   * @throws {CheckpointError} when an answer cannot be written down.
   * @throws `signal.reason` on abort, once the answers that had come by then are in the record: another run may go on from it.
   */
  async prefer(queries: readonly PreferenceQuery[], options: PreferOptions = {}): Promise<readonly Preference[]> {
    this.#asking.throwIfClosed();
    const asked = checkPreferOptions(options, 'RecordingOracle.prefer');
    asked.signal?.throwIfAborted();
    this.#check(queries, 'prefer', this.maxBatch);
    const keys = await Promise.all(queries.map((query) => this.#log.keyOf(query)));
    asked.signal?.throwIfAborted();
    try {
      return await this.#asking.prefer(queries, keys, asked);
    } catch (error) {
      await this.#asking.written();
      throw error;
    }
  }

  /**
   * Closes the oracle behind, and resolves when all that it still answered is in the record; from then on another may write to it. An
   * oracle that then neither answers nor rejects is waited for no longer than 5 s. Safe to call twice.
   */
  async close(): Promise<void> {
    await this.#asking.close();
  }

  #check(queries: readonly PreferenceQuery[], method: string, maxBatch?: number): void {
    const bounds = { itemCount: this.#catalog.size, maxCandidates: this.#catalog.size };
    checkQueries(queries, maxBatch === undefined ? bounds : { ...bounds, maxBatch }, `RecordingOracle.${method}`);
  }
}
