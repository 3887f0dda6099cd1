import { z } from 'zod';
import type { Catalog, ItemIndex } from '../catalog/catalog.js';
import { InvalidDataError, type OracleError } from '../foundation/errors.js';
import { canonicalJson, type JsonValue } from '../foundation/json.js';
import { JsonlLog } from '../foundation/jsonl.js';
import { sha256Hex } from '../foundation/sha256.js';
import type { Storage } from '../foundation/storage.js';
import { checkPreference, queryKey } from './check-query.js';
import type { Meta, Preference, PreferenceQuery, Usage } from './preference-oracle.js';
import { TEMPLATE_VERSION } from './prompt.js';

const FORMAT = 'ialp-answers@1';
/** Most characters of an invalid answer that are kept. */
export const MAX_RAW_LENGTH = 500;

const headerSchema = z.object({
  format: z.literal(FORMAT),
  oracle: z.string(),
  template: z.string(),
  catalog: z.string(),
});
const usageSchema = z.object({
  calls: z.number().optional(),
  inputTokens: z.number().optional(),
  outputTokens: z.number().optional(),
  cachedInputTokens: z.number().optional(),
  costUsd: z.number().optional(),
  ms: z.number().optional(),
});
/** A `Meta` as records hold it. */
export const metaSchema = z.object({
  // JSON has no -Infinity, the log-probability of what cannot be: null stands for it.
  scores: z.array(z.number().nullable()).optional(),
  bounded: z.array(z.boolean()).optional(),
  labelMass: z.number().optional(),
  promptHash: z.string().optional(),
  usage: usageSchema.optional(),
});
const factsShape = {
  key: z.string().regex(/^[0-9a-f]{64}$/),
  meta: metaSchema.optional(),
  // Only where the recorder was told to keep them.
  history: z.array(z.string()).optional(),
  candidates: z.array(z.string()).optional(),
  context: z.string().optional(),
};
const recordSchema = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('choice'), choice: z.string(), ...factsShape }),
  z.object({ kind: z.literal('none'), ...factsShape }),
  z.object({ kind: z.literal('invalid'), raw: z.string(), ...factsShape }),
]);
/** One recorded answer, as its line says it. */
export type AnswerRecord = z.output<typeof recordSchema>;

/** What opens an {@link AnswerLog}. */
interface AnswerLogOptions {
  /** Where it is kept; borrowed. */
  readonly storage: Storage;
  /** Its key in the storage. */
  readonly key: string;
  /** Whose items the answers name; borrowed. */
  readonly catalog: Catalog;
  /** The oracle whose answers it must hold; undefined: whichever it holds. */
  readonly oracleId: string | undefined;
  /** Whether a log that does not exist is begun, which needs `oracleId`; otherwise it is refused. */
  readonly create: boolean;
  /** Whether recorded answers that could not be read count as unanswered. @default false */
  readonly retryInvalid?: boolean;
  /** What of the questions is kept beside their hash: history and candidates by id, or the context line too. @default 'nothing' */
  readonly keep?: 'nothing' | 'items' | 'items+context';
}

/**
 * The record of one oracle's answers, append-only JSONL: a header line (format, oracle id, template version, catalogue), then one
 * line per answered question. Questions are kept as SHA-256 of oracle id, item ids and context: a record holds no history, no
 * prompt and no user, unless it was opened to keep them. Chosen items are kept by id. Failures are not kept, so that they are asked again; invalid answers are, or a
 * resumed run would differ from an unbroken one. A last line torn by a crash is dropped when the log is opened.
 */
export class AnswerLog {
  /** The oracle that gave the answers. */
  readonly oracleId: string;
  readonly #log: JsonlLog;
  readonly #catalog: Catalog;
  readonly #answers: Map<string, AnswerRecord>;
  /** Lines that answer nothing any more: unreadable ones that were asked again, and those of a merged log that came second. */
  readonly #outdone: AnswerRecord[];
  readonly #unread: ReadonlySet<string>;
  readonly #keep: 'nothing' | 'items' | 'items+context';

  private constructor(
    oracleId: string,
    log: JsonlLog,
    { catalog, keep = 'nothing' }: AnswerLogOptions,
    answers: Map<string, AnswerRecord>,
    outdone: AnswerRecord[],
    unread: ReadonlySet<string>,
  ) {
    this.oracleId = oracleId;
    this.#log = log;
    this.#catalog = catalog;
    this.#answers = answers;
    this.#outdone = outdone;
    this.#unread = unread;
    this.#keep = keep;
  }

  /**
   * Opens a log, or begins it.
   *
   * @throws {InvalidDataError} naming line and field: no log, a line that is no record, answers of another oracle, of another
   * template or about another catalogue.
   */
  static async open(options: AnswerLogOptions): Promise<AnswerLog> {
    const { storage, key: source, catalog, oracleId, create, retryInvalid = false } = options;
    const catalogHash = await sha256Hex(
      canonicalJson([await catalog.fingerprint(), catalog.scenario, catalog.itemNoun, catalog.behavior]),
    );
    const log = new JsonlLog(storage, source);
    const { records } = await log.open();
    const [first, ...rest] = records;
    if (first === undefined) {
      if (!create || oracleId === undefined) {
        throw new InvalidDataError('expected recorded answers, got nothing: is it the right storage and key?', {
          source,
        });
      }
      await log.append({ format: FORMAT, oracle: oracleId, template: TEMPLATE_VERSION, catalog: catalogHash });
      return new AnswerLog(oracleId, log, options, new Map(), [], new Set());
    }
    const header = parseRecord(headerSchema, first, source, 1);
    const other = 'record into another key, or replay it with what it was recorded with';
    if (oracleId !== undefined && header.oracle !== oracleId) {
      throw mismatch(source, 'oracle', oracleId, header.oracle, other);
    }
    if (header.template !== TEMPLATE_VERSION)
      throw mismatch(source, 'template', TEMPLATE_VERSION, header.template, other);
    if (header.catalog !== catalogHash) throw mismatch(source, 'catalog', catalogHash, header.catalog, other);
    const answers = new Map<string, AnswerRecord>();
    const outdone: AnswerRecord[] = [];
    const unread = new Set<string>();
    for (const [i, value] of rest.entries()) {
      const record = parseRecord(recordSchema, value, source, i + 2);
      if (record.kind === 'choice' && !catalog.has(record.choice)) {
        const message = `expected \`choice\` to be an item of the catalogue, got ${JSON.stringify(record.choice)}`;
        throw new InvalidDataError(message, { source, line: i + 2, field: 'choice' });
      }
      // Merged logs may answer twice: the first answer is the one that was used, unless it could not be read and was asked again.
      const before = answers.get(record.key);
      if (before === undefined && record.kind === 'invalid') unread.add(record.key);
      const isBetter = before === undefined || before.kind === 'invalid';
      if (isBetter) answers.set(record.key, record);
      if (before !== undefined) outdone.push(isBetter ? before : record);
    }
    if (retryInvalid) {
      for (const [key, record] of answers) {
        if (record.kind === 'invalid' && answers.delete(key)) outdone.push(record);
      }
    }
    return new AnswerLog(header.oracle, log, options, answers, outdone, unread);
  }

  /** Answers held. */
  get size(): number {
    return this.#answers.size;
  }

  /** What is held, in the order of the record. */
  records(): IterableIterator<AnswerRecord> {
    return this.#answers.values();
  }

  /** All that was ever answered and hence paid for, what {@link AnswerLog.records} leaves out too. */
  paid(): readonly AnswerRecord[] {
    return [...this.#answers.values(), ...this.#outdone];
  }

  /** Keys of the questions whose first answer could not be read when the log was opened, whatever they were answered since. */
  get unread(): ReadonlySet<string> {
    return this.#unread;
  }

  /** See {@link questionKey}. */
  async keyOf(query: PreferenceQuery): Promise<string> {
    return questionKey(this.oracleId, this.#catalog, query);
  }

  /**
   * The recorded answer, marked `cached`, or undefined.
   *
   * @throws {InvalidDataError} when the record names an item that this question did not show.
   */
  answer(questionKey: string, query: PreferenceQuery): Preference | undefined {
    const record = this.#answers.get(questionKey);
    if (record === undefined) return undefined;
    const preference = toPreference(record, this.#catalog);
    if (checkPreference(query, preference, this.oracleId).kind === 'failed') {
      throw new InvalidDataError(`the answer to ${questionKey} names an item that was not among the candidates`, {
        source: this.#log.key,
        field: 'choice',
      });
    }
    return preference;
  }

  /** Keeps an answer; when the promise resolves the storage has it. */
  async keep(
    questionKey: string,
    query: PreferenceQuery,
    preference: Exclude<Preference, { kind: 'failed' }>,
  ): Promise<void> {
    const meta = metaRecord(preference.meta);
    const facts = { key: questionKey, ...this.#kept(query), ...(meta === undefined ? {} : { meta }) };
    let record: AnswerRecord;
    if (preference.kind === 'choice')
      record = { kind: 'choice', choice: this.#catalog.id(preference.choice), ...facts };
    else if (preference.kind === 'none') record = { kind: 'none', ...facts };
    else record = { kind: 'invalid', raw: preference.raw.slice(0, MAX_RAW_LENGTH), ...facts };
    await this.#log.append(record);
    const before = this.#answers.get(questionKey);
    if (before !== undefined) this.#outdone.push(before);
    this.#answers.set(questionKey, record);
  }

  #kept({
    history,
    candidates,
    context,
  }: PreferenceQuery): Partial<Pick<AnswerRecord, 'history' | 'candidates' | 'context'>> {
    if (this.#keep === 'nothing') return {};
    return {
      history: history.map((item) => this.#catalog.id(item)),
      candidates: candidates.map((item) => this.#catalog.id(item)),
      ...(this.#keep === 'items+context' && context !== undefined ? { context } : {}),
    };
  }
}

/** SHA-256 (hex) of what a question is: oracle id, ids of history and candidates, context. */
export async function questionKey(oracleId: string, catalog: Catalog, query: PreferenceQuery): Promise<string> {
  return sha256Hex(`${canonicalJson(oracleId)}\n${queryKey(catalog, query)}`);
}

/** An answer that can be kept: anything but a failure. */
export function isAnswer(
  preference: Preference,
): preference is Exclude<Preference, { kind: 'failed'; error: OracleError }> {
  return preference.kind !== 'failed';
}

/** A recorded `Meta` as one that was not paid for: without `usage`, marked `cached`. */
export function cachedMeta(record: z.output<typeof metaSchema> | undefined): Meta {
  const { scores, bounded, labelMass, promptHash } = record ?? {};
  return {
    cached: true,
    ...(scores === undefined ? {} : { scores: scores.map((score) => score ?? Number.NEGATIVE_INFINITY) }),
    ...(bounded === undefined ? {} : { bounded }),
    ...(labelMass === undefined ? {} : { labelMass }),
    ...(promptHash === undefined ? {} : { promptHash }),
  };
}

function toPreference(record: AnswerRecord, catalog: Catalog): Preference {
  const meta = cachedMeta(record.meta);
  if (record.kind === 'choice') return { kind: 'choice', choice: catalog.indexOf(record.choice) as ItemIndex, meta };
  return record.kind === 'none' ? { kind: 'none', meta } : { kind: 'invalid', raw: record.raw, meta };
}

/** What of a `Meta` is kept. Numbers that JSON cannot hold are left out, whatever a back-end gave. */
export function metaRecord(meta: Meta | undefined): z.output<typeof metaSchema> | undefined {
  if (typeof meta !== 'object' || meta === null) return undefined;
  const { scores, bounded, labelMass, promptHash } = meta;
  const isScore = (score: unknown) => Number.isFinite(score) || score === Number.NEGATIVE_INFINITY;
  const usable = Array.isArray(scores) && scores.every(isScore);
  const usage: Record<string, number> = {};
  for (const name of Object.keys(usageSchema.shape) as (keyof Usage)[]) {
    const value = meta.usage?.[name];
    if (typeof value === 'number' && Number.isFinite(value)) usage[name] = value;
  }
  return {
    ...(usable && scores !== undefined
      ? { scores: scores.map((score) => (Number.isFinite(score) ? score : null)) }
      : {}),
    ...(usable && Array.isArray(bounded) && bounded.includes(true)
      ? { bounded: scores.map((_, i) => bounded[i] === true) }
      : {}),
    ...(labelMass !== undefined && Number.isFinite(labelMass) ? { labelMass } : {}),
    ...(typeof promptHash === 'string' ? { promptHash } : {}),
    ...(Object.keys(usage).length === 0 ? {} : { usage }),
  };
}

/**
 * Checks one line of a log of records.
 *
 * @param what - what the line should be, in words. @default a header on line 1, a recorded answer elsewhere
 * @throws {InvalidDataError} naming line and field.
 */
export function parseRecord<S extends z.ZodType>(
  schema: S,
  value: JsonValue,
  source: string,
  line: number,
  what: string = line === 1 ? 'a header of recorded answers' : 'a recorded answer',
): z.output<S> {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  const field = issue?.path.join('.') ?? '';
  throw new InvalidDataError(
    `expected ${what}${field === '' ? '' : `, \`${field}\``}: ${issue?.message ?? 'not of this form'}`,
    {
      source,
      line,
      ...(field === '' ? {} : { field }),
      cause: result.error,
    },
  );
}

function mismatch(source: string, field: string, wanted: string, got: string, advice: string): InvalidDataError {
  const message = `expected answers with \`${field}\` ${JSON.stringify(wanted)}, got ${JSON.stringify(got)}; ${advice}`;
  return new InvalidDataError(message, { source, line: 1, field });
}
