import type { Command } from 'commander';
import type { Catalog } from '../catalog/catalog.js';
import type { Storage } from '../foundation/storage.js';
import { fileStorage } from '../node/file-storage.js';
import type { BudgetCaps, TokenPrices } from '../oracle/budget.js';
import { openKeptBudget, openRecord } from '../oracle/recorded-spending.js';
import { RecordingOracle } from '../oracle/recording-oracle.js';
import {
  askingOptionsOf,
  type BudgetOptions,
  budgetOf,
  type DebiasOptions,
  type ModelOptions,
} from './oracle-options.js';
import { ANSWERS_KEY, type OpenedOracle, openOracle } from './oracle-spec.js';
import type { CommonOptions, Session } from './session.js';

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
    const budgeted =
      budget === undefined
        ? undefined
        : await openKeptBudget({
            ...{ storage, key, oracle, caps: budget, onWarning },
            record: await openRecord(storage, key, catalog, oracle.id),
            ...(prices === undefined ? {} : { prices }),
          });
    const asked = budgeted?.oracle ?? oracle;
    const recorded = await RecordingOracle.open({ oracle: asked, catalog, storage, key, keepQueries });
    const close = async (): Promise<void> => {
      // Waits for what came in while it was stopped, so that it is on record.
      await recorded
        .close()
        .finally(() => budgeted?.end())
        .finally(() => opened.close());
    };
    return { ...opened, oracle: recorded, close };
  } catch (error) {
    await opened.close();
    throw error;
  }
}

/** Options of a command that asks an oracle while a policy learns. */
export interface AskingOptions extends CommonOptions, ModelOptions, DebiasOptions, BudgetOptions {
  /** Candidates of its questions. */
  readonly candidates?: number;
}

/**
 * Opens the oracle that a policy learns from. What a model answers is kept under `--out`, for the next run and for `--answers`: it was
 * paid for, and outlives the run's state.
 *
 * @param command - told of caps that do not fit together; it ends with wrong usage.
 * @throws as `openOracle` and {@link keepAnswers}.
 */
export async function openKept(
  command: Command,
  spec: string,
  options: AskingOptions,
  catalog: Catalog,
  session: Session,
): Promise<OpenedOracle> {
  const { budget, prices } = budgetOf(command, options);
  const out = options.out as string;
  const opened = await openOracle(spec, {
    ...askingOptionsOf(options),
    ...{ catalog, seed: options.seed, candidateCount: options.candidates, signal: session.signal },
    ...{ storage: answersStorage(out), budget, prices },
    say: (line) => session.say(line),
  });
  if (opened.languageModel === undefined && budget === undefined) return opened;
  return keepAnswers(opened, { catalog, out, keepQueries: true, budget, prices, onWarning: session.warn });
}
