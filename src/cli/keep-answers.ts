import type { Catalog } from '../catalog/catalog.js';
import type { Storage } from '../foundation/storage.js';
import { fileStorage } from '../node/file-storage.js';
import type { BudgetCaps, TokenPrices } from '../oracle/budget.js';
import { BudgetedOracle } from '../oracle/budgeted-oracle.js';
import { openRecord, recordedSpending } from '../oracle/recorded-spending.js';
import { RecordingOracle } from '../oracle/recording-oracle.js';
import { ANSWERS_KEY, type OpenedOracle } from './oracle-spec.js';

/** Where an oracle's answers are kept, and what they may cost. */
export interface KeepAnswersOptions {
  /** Whose items are asked about; borrowed. */
  readonly catalog: Catalog;
  /** Folder of the record. */
  readonly out: string;
  /** Name of the record in it. @default 'answers.jsonl', which `--answers` reads */
  readonly key?: string;
  /** Whether the record says what was asked, so that a policy can learn from it. @default false */
  readonly keepQueries?: boolean;
  /** Caps; what the record holds is counted. @default none */
  readonly budget: BudgetCaps | undefined;
  /** US dollars for a million tokens. @default nothing is known */
  readonly prices: TokenPrices | undefined;
  /** Told when the budget is nearly used up. */
  readonly onWarning: (message: string) => void;
}

/** A folder for answers: histories may be in them, so that nobody else may read its files. */
export function answersStorage(folder: string): Storage {
  return fileStorage(folder, { fsync: 'os', mode: 0o600 });
}

/**
 * Puts caps and a record around an opened oracle: what was paid for outlives the state of a run, and the next run asks only the rest.
 *
 * @returns the recorded oracle; closing it closes the opened one, which is closed too when the record cannot be opened.
 * @throws {InvalidDataError} when the record is damaged, of another oracle or about another catalogue.
 */
export async function keepAnswers(
  opened: OpenedOracle,
  { catalog, out, key = ANSWERS_KEY, keepQueries = false, budget, prices, onWarning }: KeepAnswersOptions,
): Promise<OpenedOracle> {
  const storage = answersStorage(out);
  try {
    const { oracle } = opened;
    const capped =
      budget === undefined
        ? oracle
        : new BudgetedOracle({
            ...{ oracle, caps: budget, onWarning },
            spent: recordedSpending(await openRecord(storage, key, catalog, oracle.id), prices),
            ...(prices === undefined ? {} : { prices }),
          });
    const recorded = await RecordingOracle.open({ oracle: capped, catalog, storage, key, keepQueries });
    const close = async (): Promise<void> => {
      // Waits for what came in while it was stopped, so that it is on record.
      await recorded.close().finally(() => opened.close());
    };
    return { ...opened, oracle: recorded, close };
  } catch (error) {
    await opened.close();
    throw error;
  }
}
