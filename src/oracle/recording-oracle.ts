import { z } from 'zod';
import type { Catalog } from '../catalog/catalog.js';
import { DisposedError } from '../foundation/errors.js';
import { checkOptions } from '../foundation/options.js';
import type { Storage } from '../foundation/storage.js';
import { AnswerLog, isAnswer } from './answer-log.js';
import { checkPreference, checkPreferOptions, checkQueries } from './check-query.js';
import { catalogSchema, oracleSchema, storageSchema } from './option-schemas.js';
import { orAbort } from './or-abort.js';
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
  /** Asks questions again whose recorded answer could not be read. Without it they stay unread, so that a resumed run equals an unbroken one. @default false */
  readonly retryInvalid?: boolean;
}

/** Where the answers of a {@link RecordingOracle} came from, since it was opened. */
export interface RecordingCounts {
  /** Questions sent to the oracle behind. */
  readonly asked: number;
  /** Questions answered from the record. */
  readonly replayed: number;
  /** Questions that were in flight already, whose answer was waited for. */
  readonly shared: number;
}

const schema = z.strictObject({
  oracle: oracleSchema,
  catalog: catalogSchema,
  storage: storageSchema,
  key: z.string().min(1).default('answers.jsonl'),
  retryInvalid: z.boolean().default(false),
});

/** Resolves to the answer, or to undefined when the one who asked gave up. */
type Flight = Promise<Preference | undefined>;

/**
 * Keeps every answer of another oracle, and never asks a question twice: what the record holds is replayed, what is in flight is
 * waited for, the rest is asked and recorded *before* it is handed out. A run that is killed anywhere and started again therefore
 * pays only for what was in flight.
 *
 * The record is append-only JSONL: a header line (format, oracle id, template version, catalogue), then one line per answer, keyed
 * by the SHA-256 of oracle id, item ids and context. It holds no history, no prompt and no user; chosen items stand by id. Failures
 * are not kept, so they are asked again; invalid answers are, or a resumed run would differ from an unbroken one.
 */
export class RecordingOracle implements PreferenceOracle {
  /** The id of the oracle behind: recording changes no answer. */
  readonly id: string;
  readonly maxBatch?: number;
  readonly #oracle: PreferenceOracle;
  readonly #catalog: Catalog;
  readonly #log: AnswerLog;
  readonly #inFlight = new Map<string, Flight>();
  readonly #counts = { asked: 0, replayed: 0, shared: 0 };
  #closed = false;

  private constructor(oracle: PreferenceOracle, catalog: Catalog, log: AnswerLog) {
    this.id = oracle.id;
    if (oracle.maxBatch !== undefined) this.maxBatch = oracle.maxBatch;
    this.#oracle = oracle;
    this.#catalog = catalog;
    this.#log = log;
  }

  /**
   * Opens the record, or begins it.
   *
   * @throws {InvalidArgumentError} for a wrong option.
   * @throws {InvalidDataError} when the record is damaged elsewhere than in its last line, or holds answers of another oracle,
   * another prompt template or about another catalogue.
   */
  static async open(options: RecordingOracleOptions): Promise<RecordingOracle> {
    const { oracle, catalog, storage, key, retryInvalid } = checkOptions(schema, options, 'RecordingOracle.open');
    return new RecordingOracle(
      oracle,
      catalog,
      await AnswerLog.open({ storage, key, catalog, oracleId: oracle.id, create: true, retryInvalid }),
    );
  }

  /** Where the answers came from so far; a copy. */
  get counts(): RecordingCounts {
    return { ...this.#counts };
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
   * @throws `signal.reason` on abort. Answers that had come by then are in the record.
   */
  async prefer(queries: readonly PreferenceQuery[], options: PreferOptions = {}): Promise<readonly Preference[]> {
    if (this.#closed) throw new DisposedError('RecordingOracle');
    const { signal, onResult } = checkPreferOptions(options, 'RecordingOracle.prefer');
    signal?.throwIfAborted();
    const bounds = { itemCount: this.#catalog.size, maxCandidates: this.#catalog.size };
    checkQueries(
      queries,
      this.maxBatch === undefined ? bounds : { ...bounds, maxBatch: this.maxBatch },
      'RecordingOracle.prefer',
    );
    const keys = await Promise.all(queries.map((query) => this.#log.keyOf(query)));
    signal?.throwIfAborted();

    const results = new Array<Preference | undefined>(queries.length);
    let open = [...queries.keys()];
    let ended = false;
    const settle = (i: number, preference: Preference): void => {
      // Answers that come after an abort are recorded, but the caller was told that it is over.
      if (ended) return;
      results[i] = preference;
      onResult?.(i, preference);
    };
    const round = async (): Promise<void> => {
      const own: number[] = [];
      const waits: Promise<void>[] = [];
      const flights = new Map<number, (preference: Preference | undefined) => void>();
      for (const i of open) {
        const key = keys[i] as string;
        const query = queries[i] as PreferenceQuery;
        const recorded = this.#log.answer(key, query);
        const flying = this.#inFlight.get(key);
        if (recorded !== undefined) {
          this.#counts.replayed++;
          settle(i, recorded);
        } else if (flying !== undefined) {
          this.#counts.shared++;
          waits.push(flying.then((preference) => (preference === undefined ? undefined : settle(i, preference))));
        } else {
          let land: (preference: Preference | undefined) => void = () => {};
          this.#inFlight.set(
            key,
            new Promise((resolve) => {
              land = resolve;
            }),
          );
          flights.set(i, land);
          own.push(i);
        }
      }
      if (own.length > 0) waits.push(this.#ask(own, queries, keys, flights, settle, signal));
      await orAbort(Promise.all(waits), signal);
      // Left over: questions whose asker gave up. They are asked in the next round.
      open = open.filter((i) => results[i] === undefined);
      this.#counts.shared -= open.length;
    };
    try {
      while (open.length > 0) await round();
    } finally {
      ended = true;
    }
    return results as Preference[];
  }

  /** Closes the oracle behind. Safe to call twice. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#oracle.close?.();
  }

  /** Asks `own`, the positions nobody else is asking, records each answer, and tells those who wait. */
  async #ask(
    own: readonly number[],
    queries: readonly PreferenceQuery[],
    keys: readonly string[],
    flights: ReadonlyMap<number, (preference: Preference | undefined) => void>,
    settle: (i: number, preference: Preference) => void,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const writes = new Map<number, Promise<void>>();
    const take = (position: number, given: unknown): void => {
      const i = own[position];
      if (i === undefined || writes.has(i)) return;
      const preference = checkPreference(queries[i] as PreferenceQuery, given, this.id);
      const write = async (): Promise<void> => {
        if (isAnswer(preference)) await this.#log.keep(keys[i] as string, preference);
        this.#inFlight.delete(keys[i] as string);
        flights.get(i)?.(preference);
        settle(i, preference);
      };
      const writing = write();
      // Awaited below; without this a failed write would be an unhandled rejection while the others are still asked.
      writing.catch(() => {});
      writes.set(i, writing);
    };
    try {
      this.#counts.asked += own.length;
      const asked = own.map((i) => queries[i] as PreferenceQuery);
      const answers = await this.#oracle.prefer(asked, { ...(signal === undefined ? {} : { signal }), onResult: take });
      for (let position = 0; position < own.length; position++) take(position, answers[position]);
    } finally {
      // Also after an abort: what was answered is recorded, and nobody waits for what was not.
      const written = await Promise.allSettled(writes.values());
      for (const i of own) {
        this.#inFlight.delete(keys[i] as string);
        flights.get(i)?.(undefined);
      }
      const lost = written.find((result) => result.status === 'rejected');
      // biome-ignore lint/correctness/noUnsafeFinally: an answer that cannot be recorded outweighs whatever else went wrong.
      if (lost !== undefined) throw lost.reason;
    }
  }
}
