import { z } from 'zod';
import type { Catalog, ItemId } from '../catalog/catalog.js';
import { InvalidDataError } from '../foundation/errors.js';
import { checkOptions } from '../foundation/options.js';
import type { Storage } from '../foundation/storage.js';
import { AnswerLog, cachedMeta } from './answer-log.js';
import { catalogSchema, storageSchema } from './option-schemas.js';

/** An answer with its question, by item ids: what a policy learns from. */
export interface RecordedAnswer {
  /** Items before, oldest first. */
  readonly history: readonly ItemId[];
  /** The k items shown, all different, 2 or more; k may differ from answer to answer. */
  readonly candidates: readonly ItemId[];
  /** The item chosen, or null for None. */
  readonly choice: ItemId | null;
  /** The user context, `contextWidth` numbers. @default zeros */
  readonly context?: readonly number[] | undefined;
  /** k + 1 scores of the oracle, one a candidate, then None's; `-Infinity` is one. @default unknown */
  readonly scores?: readonly number[] | undefined;
  /** What the oracle was told of the user beside the history. @default nothing */
  readonly text?: string | undefined;
}

/** Options of {@link readAnswers}. */
export interface ReadAnswersOptions {
  /** Where the record is; borrowed, only read (a torn last line is cut off). */
  readonly storage: Storage;
  /** The record's key in the storage. @default 'answers.jsonl' */
  readonly key?: string;
  /** The catalogue that the record is about; borrowed. */
  readonly catalog: Catalog;
}

/** A record as training data. */
export interface RecordedAnswers {
  /** The oracle that answered. */
  readonly oracleId: string;
  /** Choices and Nones, in the order of the record. */
  readonly answers: readonly RecordedAnswer[];
  /** Answers left out because they named no label. */
  readonly invalid: number;
}

const schema = z.strictObject({
  storage: storageSchema,
  key: z.string().min(1).default('answers.jsonl'),
  catalog: catalogSchema,
});

/**
 * What a {@link RecordingOracle} with `keepQueries` wrote down, for `pretrain({ answers })`.
 *
 * @throws {InvalidArgumentError} for a wrong option.
 * @throws {InvalidDataError} when there is no record, it is damaged or about another catalogue, or an answer stands in it without its
 * question.
 */
export async function readAnswers(options: ReadAnswersOptions): Promise<RecordedAnswers> {
  const { storage, key, catalog } = checkOptions(schema, options, 'readAnswers');
  const log = await AnswerLog.open({ storage, key, catalog, oracleId: undefined, create: false });
  const answers: RecordedAnswer[] = [];
  let invalid = 0;
  for (const record of log.records()) {
    const { history, candidates, context } = record;
    if (record.kind === 'invalid') {
      invalid++;
      continue;
    }
    if (history === undefined || candidates === undefined) {
      throw new InvalidDataError(
        `expected every answer with its question, got answer ${record.key.slice(0, 12)}… by hash alone; record with \`keepQueries: true\` (answers on record are kept, so into another key), or replay this record with \`ReplayOracle\``,
        { source: key, field: 'history' },
      );
    }
    const unknown = [...history, ...candidates].find((id) => !catalog.has(id));
    if (unknown !== undefined) {
      throw new InvalidDataError(`expected items of the catalogue, got ${JSON.stringify(unknown.slice(0, 100))}`, {
        source: key,
        field: 'history',
      });
    }
    if (record.kind === 'choice' && !candidates.includes(record.choice)) {
      throw new InvalidDataError(
        `expected \`choice\` among the candidates, got ${JSON.stringify(record.choice.slice(0, 100))}`,
        { source: key, field: 'choice' },
      );
    }
    const { scores } = cachedMeta(record.meta);
    answers.push({
      history,
      candidates,
      choice: record.kind === 'choice' ? record.choice : null,
      ...(scores?.length === candidates.length + 1 ? { scores } : {}),
      ...(context === undefined ? {} : { text: context }),
    });
  }
  return { oracleId: log.oracleId, answers, invalid };
}
