import type { Catalog } from '../catalog/catalog.js';
import type { Storage } from '../foundation/storage.js';
import { AnswerLog } from './answer-log.js';
import { dollarsOf, type Spending, type TokenPrices } from './budget.js';
import type { CachedOracle } from './cached-oracle.js';
import type { Usage } from './preference-oracle.js';

const NEWLINE = 10;

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
  const sum = { calls: 0, inputTokens: 0, outputTokens: 0, usd: 0, wallMs: 0 };
  for (const { meta } of record?.paid() ?? []) {
    const { calls = 1, inputTokens = 0, outputTokens = 0, costUsd } = meta?.usage ?? {};
    sum.calls += calls;
    sum.inputTokens += inputTokens;
    sum.outputTokens += outputTokens;
    sum.usd += costUsd ?? dollarsOf((meta?.usage ?? {}) as Usage, prices);
  }
  return sum;
}
