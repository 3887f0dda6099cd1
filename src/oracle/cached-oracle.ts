import { z } from 'zod';
import type { Catalog, ItemIndex } from '../catalog/catalog.js';
import { InvalidDataError } from '../foundation/errors.js';
import { canonicalJson, type JsonValue } from '../foundation/json.js';
import { JsonlLog } from '../foundation/jsonl.js';
import { checkOptions } from '../foundation/options.js';
import { sha256Hex } from '../foundation/sha256.js';
import type { Storage } from '../foundation/storage.js';
import { cachedMeta, MAX_RAW_LENGTH, metaRecord, metaSchema, parseRecord } from './answer-log.js';
import { AskOnce, type RecordingCounts } from './ask-once.js';
import { checkPreferOptions, checkQueries } from './check-query.js';
import { catalogSchema, oracleSchema, storageSchema } from './option-schemas.js';
import type { Meta, Preference, PreferenceOracle, PreferenceQuery, PreferOptions } from './preference-oracle.js';

/** A store of the user's own, Redis say: text under keys of 64 hexadecimal digits. */
export interface KeyValueStore {
  /** The text under a key; undefined or null when there is none. */
  get(key: string): Promise<string | null | undefined> | string | null | undefined;
  /** Keeps a text under a key. */
  set(key: string, value: string): unknown;
}

/** Options of {@link CachedOracle.open}. */
export interface CachedOracleOptions {
  /** Who is asked what the cache does not hold; closed with it. */
  readonly oracle: PreferenceOracle;
  /** Whose items the queries name; borrowed. */
  readonly catalog: Catalog;
  /** Keeps the cache as append-only JSONL; borrowed. One writer at a time. Not beside `store`. @default in memory only */
  readonly storage?: Storage;
  /** The cache's key in the storage; oracles and catalogues may share one. @default 'cache.jsonl' */
  readonly key?: string;
  /** Keeps the cache in a store of your own; borrowed. Not beside `storage`. */
  readonly store?: KeyValueStore;
  /** Most answers in memory, the latest used ones; one has about half a kilobyte. Of a JSONL cache this is all that is looked up. @default 100_000 */
  readonly maxEntries?: number;
  /** Keeps answers that name no label too. @default false: they are asked again */
  readonly cacheInvalid?: boolean;
}

const schema = z
  .strictObject({
    oracle: oracleSchema,
    catalog: catalogSchema,
    storage: storageSchema.optional(),
    key: z.string().min(1).default('cache.jsonl'),
    store: z
      .custom<KeyValueStore>(
        (value) =>
          typeof (value as Partial<KeyValueStore> | null)?.get === 'function' &&
          typeof (value as Partial<KeyValueStore> | null)?.set === 'function',
        'expected an object with `get` and `set`',
      )
      .optional(),
    maxEntries: z.int().min(1).max(10_000_000).default(100_000),
    cacheInvalid: z.boolean().default(false),
  })
  .refine(({ storage, store }) => storage === undefined || store === undefined, {
    path: ['store'],
    message: '`storage` and `store` exclude each other: the cache is kept in one place',
  });

const FORMAT = 'ialp-cache@1';
const headerSchema = z.object({ format: z.literal(FORMAT) });
const entrySchema = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('choice'), place: z.int().min(0), meta: metaSchema.optional() }),
  z.object({ kind: z.literal('none'), meta: metaSchema.optional() }),
  z.object({ kind: z.literal('invalid'), raw: z.string(), meta: metaSchema.optional() }),
]);
type Entry = z.output<typeof entrySchema>;
const lineSchema = z.intersection(z.object({ key: z.string().regex(/^[0-9a-f]{64}$/) }), entrySchema);

/**
 * Answers equal questions once, over runs and catalogues. A question is what the model reads: its key is the SHA-256 of the oracle's
 * id (model, adapter, template, read-out, seed) and the *texts* of history, candidates and context. A changed title is therefore
 * another question, and an item that got another id or index is not. Answers are kept by place, so the cache holds no item and no
 * text. Failures are never kept, invalid answers only if asked to.
 *
 * For a run that must be resumed to the letter use `RecordingOracle`, which goes by item ids and keeps everything.
 */
export class CachedOracle implements PreferenceOracle {
  /** The id of the oracle behind: a cache changes no answer. */
  readonly id: string;
  /** Items of the catalogue. */
  readonly itemCount: number;
  /** That of the oracle behind. */
  readonly maxBatch?: number;
  /** What the oracle behind expects, and nothing for questions that the cache holds. Absent where it cannot tell. */
  readonly estimate?: NonNullable<PreferenceOracle['estimate']>;
  readonly #options: z.output<typeof schema>;
  readonly #log: JsonlLog | undefined;
  /** In the order of use, the latest last. */
  readonly #entries: Map<string, Entry>;
  readonly #asking: AskOnce;

  private constructor(options: z.output<typeof schema>, log: JsonlLog | undefined, entries: Map<string, Entry>) {
    const { oracle, catalog } = options;
    this.id = oracle.id;
    this.itemCount = catalog.size;
    if (oracle.maxBatch !== undefined) this.maxBatch = oracle.maxBatch;
    this.#options = options;
    this.#log = log;
    this.#entries = entries;
    this.#asking = new AskOnce(
      oracle,
      {
        lookUp: (key, query) => this.#lookUp(key, query),
        keep: (key, query, preference) => this.#keep(key, query, preference),
      },
      'CachedOracle',
    );
    if (oracle.estimate !== undefined) {
      this.estimate = async (queries) => {
        this.#check(queries, 'estimate');
        return this.#asking.estimate(queries, await this.#keysOf(queries));
      };
    }
  }

  /**
   * Opens the cache, or begins it.
   *
   * @throws {InvalidArgumentError} for a wrong option.
   * @throws {InvalidDataError} when a JSONL cache is damaged elsewhere than in its last line, or is none.
   */
  static async open(options: CachedOracleOptions): Promise<CachedOracle> {
    const checked = checkOptions(schema, options, 'CachedOracle.open');
    const { storage, key, maxEntries } = checked;
    const log = storage && new JsonlLog(storage, key);
    return new CachedOracle(checked, log, log === undefined ? new Map() : await read(log, maxEntries));
  }

  /** Where the answers came from so far; a copy. */
  get counts(): RecordingCounts {
    return this.#asking.counts;
  }

  /** Answers in memory. */
  get size(): number {
    return this.#entries.size;
  }

  /** What the answers in memory cost, as far as they tell: for budgets that span runs. */
  paid(): Iterable<{
    /** Of one answer; its cost, as far as it tells. */
    readonly meta?: Pick<Meta, 'usage'>;
  }> {
    return this.#entries.values() as Iterable<{ readonly meta?: Pick<Meta, 'usage'> }>;
  }

  /**
   * Answers from the cache, and asks the rest in one call of the oracle behind; of equal questions one.
   *
   * @throws {InvalidArgumentError} when a query is malformed.
   * @throws {InvalidDataError} when `store` holds something else than an answer.
   * @throws {DisposedError} after {@link CachedOracle.close}.
   * @throws {CheckpointError} when an answer cannot be written down.
   * @throws `signal.reason` on abort. Answers that had come by then are kept.
   */
  async prefer(queries: readonly PreferenceQuery[], options: PreferOptions = {}): Promise<readonly Preference[]> {
    this.#asking.throwIfClosed();
    const asked = checkPreferOptions(options, 'CachedOracle.prefer');
    asked.signal?.throwIfAborted();
    this.#check(queries, 'prefer', this.maxBatch);
    const keys = await this.#keysOf(queries);
    asked.signal?.throwIfAborted();
    return this.#asking.prefer(queries, keys, asked);
  }

  /**
   * Closes the oracle behind, and resolves when all that it still answered is kept. An oracle that then neither answers nor rejects is
   * waited for no longer than 5 s. Safe to call twice.
   */
  async close(): Promise<void> {
    await this.#asking.close();
  }

  #check(queries: readonly PreferenceQuery[], method: string, maxBatch?: number): void {
    const bounds = { itemCount: this.itemCount, maxCandidates: this.itemCount };
    checkQueries(queries, maxBatch === undefined ? bounds : { ...bounds, maxBatch }, `CachedOracle.${method}`);
  }

  #keysOf(queries: readonly PreferenceQuery[]): Promise<string[]> {
    const { catalog } = this.#options;
    const text = (item: ItemIndex): readonly string[] => [
      catalog.text(item),
      ...catalog.extraAttributes.map((name) => catalog.attribute(item, name)),
    ];
    const words = [catalog.scenario, catalog.itemNoun, catalog.behavior, catalog.attributes];
    return Promise.all(
      queries.map(({ history, candidates, context }) =>
        sha256Hex(canonicalJson([this.id, words, history.map(text), candidates.map(text), context ?? null])),
      ),
    );
  }

  #lookUp(key: string, query: PreferenceQuery): Preference | undefined | Promise<Preference | undefined> {
    const entry = this.#entries.get(key);
    if (entry !== undefined) {
      this.#remember(key, entry);
      return toPreference(entry, query, key);
    }
    const { store } = this.#options;
    if (store === undefined) return undefined;
    return Promise.resolve(store.get(key)).then((text) => {
      if (text === undefined || text === null) return undefined;
      const found = parseRecord(entrySchema, parseJson(text, key), `cache entry ${key}`, 1, 'a cached answer');
      this.#remember(key, found);
      return toPreference(found, query, key);
    });
  }

  async #keep(key: string, query: PreferenceQuery, preference: Exclude<Preference, { kind: 'failed' }>): Promise<void> {
    if (preference.kind === 'invalid' && !this.#options.cacheInvalid) return;
    const meta = metaRecord(preference.meta);
    const facts = meta === undefined ? {} : { meta };
    let entry: Entry;
    if (preference.kind === 'choice')
      entry = { kind: 'choice', place: query.candidates.indexOf(preference.choice), ...facts };
    else if (preference.kind === 'none') entry = { kind: 'none', ...facts };
    else entry = { kind: 'invalid', raw: preference.raw.slice(0, MAX_RAW_LENGTH), ...facts };
    await this.#log?.append({ key, ...entry });
    await this.#options.store?.set(key, JSON.stringify(entry));
    this.#remember(key, entry);
  }

  #remember(key: string, entry: Entry): void {
    remember(this.#entries, key, entry, this.#options.maxEntries);
  }
}

async function read(log: JsonlLog, maxEntries: number): Promise<Map<string, Entry>> {
  const { records } = await log.open();
  const [header, ...lines] = records;
  if (header === undefined) await log.append({ format: FORMAT });
  else parseRecord(headerSchema, header, log.key, 1, 'the header of a cache');
  const entries = new Map<string, Entry>();
  for (const [i, line] of lines.entries()) {
    const { key, ...entry } = parseRecord(lineSchema, line, log.key, i + 2, 'a cached answer');
    remember(entries, key, entry, maxEntries);
  }
  return entries;
}

/** Puts an entry last, and forgets the one used longest ago when there are too many. */
function remember(entries: Map<string, Entry>, key: string, entry: Entry, maxEntries: number): void {
  entries.delete(key);
  entries.set(key, entry);
  const [oldest] = entries.size > maxEntries ? entries.keys() : [];
  if (oldest !== undefined) entries.delete(oldest);
}

/** @throws {InvalidDataError} when the entry names a place that the question does not have. */
function toPreference(entry: Entry, query: PreferenceQuery, key: string): Preference {
  const meta = cachedMeta(entry.meta);
  if (entry.kind === 'none') return { kind: 'none', meta };
  if (entry.kind === 'invalid') return { kind: 'invalid', raw: entry.raw, meta };
  const choice = query.candidates[entry.place];
  if (choice !== undefined) return { kind: 'choice', choice, meta };
  throw new InvalidDataError(`expected a place below ${query.candidates.length}, got ${entry.place}`, {
    source: `cache entry ${key}`,
    field: 'place',
  });
}

function parseJson(text: string, key: string): JsonValue {
  try {
    return JSON.parse(text) as JsonValue;
  } catch (cause) {
    throw new InvalidDataError('expected a cached answer as JSON', { source: `cache entry ${key}`, cause });
  }
}
