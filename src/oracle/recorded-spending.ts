import { z } from 'zod';
import type { Catalog } from '../catalog/catalog.js';
import { InvalidDataError } from '../foundation/errors.js';
import type { Storage } from '../foundation/storage.js';
import { AnswerLog } from './answer-log.js';
import { dollarsOf, larger, type Spending, type TokenPrices } from './budget.js';
import { BudgetedOracle, type BudgetedOracleOptions } from './budgeted-oracle.js';
import type { CachedOracle } from './cached-oracle.js';
import type { Usage } from './preference-oracle.js';

const NEWLINE = 10;
const NOTHING: Spending = { calls: 0, inputTokens: 0, outputTokens: 0, usd: 0, wallMs: 0 };

/**
 * The record of an oracle's answers where there is one, to be read. A record whose header was being written when its process was
 * killed is none: it is begun again.
 *
 * @throws {InvalidDataError} when it is damaged, of another oracle or about another catalogue.
 */
export async function openRecord(
  storage: Storage,
  key: string,
  catalog: Catalog,
  oracleId: string,
): Promise<AnswerLog | undefined> {
  if ((await storage.get(key))?.includes(NEWLINE) !== true) return undefined;
  return AnswerLog.open({ storage, key, catalog, oracleId, create: false });
}

/** What the answers of a record or of a cache cost, as far as they tell; of time it knows nothing. */
export function recordedSpending(
  record: Pick<AnswerLog | CachedOracle, 'paid'> | undefined,
  prices: TokenPrices | undefined,
): Spending {
  const sum = { ...NOTHING };
  for (const { meta } of record?.paid() ?? []) {
    const { calls = 1, inputTokens = 0, outputTokens = 0, costUsd } = meta?.usage ?? {};
    sum.calls += calls;
    sum.inputTokens += inputTokens;
    sum.outputTokens += outputTokens;
    sum.usd += costUsd ?? dollarsOf((meta?.usage ?? {}) as Usage, prices);
  }
  return sum;
}

const amount = z.number().min(0);
const spentSchema = z.looseObject({
  oracle: z.string(),
  ...{ calls: amount, inputTokens: amount, outputTokens: amount, usd: amount },
});

/** Time between two writes of what was spent, in ms. */
const WRITE_MS = 1000;

/** Options of {@link openKeptBudget}: those of a `BudgetedOracle` and its record. */
export interface KeptBudgetOptions extends Omit<BudgetedOracleOptions, 'spent' | 'onSettled'> {
  /** Where the record is; borrowed. */
  readonly storage: Storage;
  /** Key of the record. */
  readonly key: string;
  /** The record itself; undefined where it is yet to begin, and the budget with it. */
  readonly record: Pick<AnswerLog | CachedOracle, 'paid'> | undefined;
}

/** A budget that outlives its runs. */
export interface KeptBudget {
  /** Asks as far as the budget goes. */
  readonly oracle: BudgetedOracle;
  /** Writes down what was spent, for the last time: call it when the work has ended, however it did. Safe to call twice. */
  end(): Promise<void>;
}

/**
 * A budget for the questions of a record: what its answers cost counts, and what was spent on questions that came to nothing, which
 * is kept beside it and written about once a second, so that a killed run loses no more. Time is counted anew by each run; another
 * oracle, and a record that is begun anew, begin with nothing.
 *
 * @throws {InvalidDataError} when what is kept beside the record cannot be read.
 */
export async function openKeptBudget({ storage, key, record, ...options }: KeptBudgetOptions): Promise<KeptBudget> {
  const file = `${key.replace(/\.jsonl$/, '')}.spent.json`;
  const saved = record === undefined ? NOTHING : await savedSpending(storage, file, options.oracle.id);
  let timer: ReturnType<typeof setTimeout> | undefined;
  let writing: Promise<void> = Promise.resolve();
  let isOver = false;
  const write = (): Promise<void> => {
    clearTimeout(timer);
    timer = undefined;
    const { wallMs: _, ...spent } = oracle.state;
    const bytes = new TextEncoder().encode(`${JSON.stringify({ oracle: oracle.id, ...spent })}\n`);
    // One after the other, and each whether or not the one before succeeded.
    writing = writing.catch(() => {}).then(() => storage.put(file, bytes));
    return writing;
  };
  const oracle = new BudgetedOracle({
    ...options,
    // The record may tell more, where another run added to it without a budget.
    spent: { ...larger(recordedSpending(record, options.prices), saved), wallMs: 0 },
    onSettled: () => {
      // What is settled after the end was in flight then, at its estimate; and the next run may have begun to write.
      if (isOver || timer !== undefined) return;
      // A failure is told by `end`; an answer that cannot be recorded is told at once.
      timer = setTimeout(() => void write().catch(() => {}), WRITE_MS);
      timer.unref?.();
    },
  });
  const end = (): Promise<void> => {
    if (isOver) return writing;
    isOver = true;
    return write();
  };
  return { oracle, end };
}

async function savedSpending(storage: Storage, file: string, oracleId: string): Promise<Spending> {
  const bytes = await storage.get(file);
  if (bytes === undefined) return NOTHING;
  try {
    const { oracle, ...spent } = spentSchema.parse(JSON.parse(new TextDecoder().decode(bytes)));
    return oracle === oracleId ? { ...NOTHING, ...spent, wallMs: 0 } : NOTHING;
  } catch (cause) {
    throw new InvalidDataError('expected what a budget has spent; delete the file, and only what is on record counts', {
      source: file,
      cause,
    });
  }
}
