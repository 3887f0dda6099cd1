import type { Catalog, ItemIndex } from '../catalog/catalog.js';
import { argumentError } from '../foundation/arguments.js';
import { type InvalidArgumentError, OracleError } from '../foundation/errors.js';
import { canonicalJson } from '../foundation/json.js';
import { describeValue } from '../foundation/options.js';
import type { Preference, PreferenceOracle, PreferenceQuery, PreferOptions } from './preference-oracle.js';

/** Most candidates of the label read-out: a..y, and the next letter for None. */
const MAX_LABELLED_CANDIDATES = 25;

/** Bounds of {@link checkQueries}. */
interface QueryBounds {
  /** A: indices run from 0 to A - 1. */
  readonly itemCount: number;
  /** Most candidates a query may have. @default 25, the label read-out's bound */
  readonly maxCandidates?: number;
  /** Most queries in one call. @default no limit */
  readonly maxBatch?: number;
}

/**
 * Checks a batch at the door: 2 to `maxCandidates` distinct candidates, every index in range, a `context` that is a string.
 *
 * @param where - the caller's name, for the message.
 * @throws {InvalidArgumentError} naming the first query and field that is wrong.
 */
export function checkQueries(queries: readonly PreferenceQuery[], bounds: QueryBounds, where: string): void {
  const { itemCount, maxCandidates = MAX_LABELLED_CANDIDATES, maxBatch = Number.POSITIVE_INFINITY } = bounds;
  if (!Array.isArray(queries)) throw wrong(where, 'queries', 'an array of queries', queries);
  if (queries.length > maxBatch) throw wrong(where, 'queries', `at most ${maxBatch} queries`, queries.length);
  for (let q = 0; q < queries.length; q++) {
    const query: unknown = queries[q];
    const path = `queries[${q}]`;
    if (typeof query !== 'object' || query === null) throw wrong(where, path, 'a query object', query);
    const { history, candidates, context } = query as Partial<PreferenceQuery>;
    checkItems(history, itemCount, `${path}.history`, where);
    const items = checkItems(candidates, itemCount, `${path}.candidates`, where);
    if (items.length < 2 || items.length > maxCandidates) {
      const hint = maxCandidates === MAX_LABELLED_CANDIDATES ? ' (one letter each, and one for None)' : '';
      throw wrong(where, `${path}.candidates`, `2 to ${maxCandidates} items${hint}`, items.length);
    }
    if (new Set(items).size !== items.length) throw wrong(where, `${path}.candidates`, 'distinct items', items);
    if (context !== undefined && typeof context !== 'string') {
      throw wrong(where, `${path}.context`, 'a string or nothing', context);
    }
  }
}

function checkItems(value: unknown, itemCount: number, path: string, where: string): readonly ItemIndex[] {
  if (!Array.isArray(value)) throw wrong(where, path, 'an array of item indices', value);
  for (let i = 0; i < value.length; i++) {
    const item: unknown = value[i];
    if (typeof item !== 'number' || !Number.isInteger(item) || item < 0 || item >= itemCount) {
      throw wrong(where, `${path}[${i}]`, `an item index from 0 to ${itemCount - 1}`, item);
    }
  }
  return value as readonly ItemIndex[];
}

function wrong(where: string, argument: string, wanted: string, got: unknown): InvalidArgumentError {
  return argumentError(where, argument, wanted, got);
}

/**
 * Checks what a decorator can check of a batch: all but the bounds that only the oracle behind knows.
 *
 * @param oracle - who is behind.
 * @throws {InvalidArgumentError} naming the first query and field that is wrong.
 */
export function checkQueriesFor(oracle: PreferenceOracle, queries: readonly PreferenceQuery[], where: string): void {
  const { itemCount = Number.MAX_SAFE_INTEGER, maxBatch } = oracle;
  const bounds = { itemCount, maxCandidates: itemCount };
  checkQueries(queries, maxBatch === undefined ? bounds : { ...bounds, maxBatch }, where);
}

/**
 * Checks the options of a `prefer` call.
 *
 * @throws {InvalidArgumentError} naming what is wrong.
 */
export function checkPreferOptions(options: PreferOptions, where: string): PreferOptions {
  const given: unknown = options;
  if (typeof given !== 'object' || given === null) throw wrong(where, 'options', 'an object', given);
  const { signal, onResult } = given as Partial<Record<keyof PreferOptions, unknown>>;
  if (signal !== undefined && !(signal instanceof AbortSignal)) throw wrong(where, 'signal', 'an AbortSignal', signal);
  if (onResult !== undefined && typeof onResult !== 'function') throw wrong(where, 'onResult', 'a function', onResult);
  return options;
}

/**
 * What an oracle answered, made safe for a caller: an answer that is no `Preference`, or that names an item which was not
 * shown, becomes `failed` in its slot. Back-ends are other people's code; a lie must never become a reward.
 */
export function checkPreference(query: PreferenceQuery, preference: unknown, oracleId: string): Preference {
  if (typeof preference === 'object' && preference !== null) {
    const answer = preference as Preference;
    if (answer.kind === 'none') return answer;
    if (answer.kind === 'failed' && (answer.error as unknown) instanceof Error) return answer;
    if (answer.kind === 'choice' && query.candidates.includes(answer.choice)) return answer;
    if (answer.kind === 'invalid' && typeof answer.raw === 'string') return answer;
    if (answer.kind === 'choice') {
      return failed(`oracle ${oracleId} chose item ${describeValue(answer.choice)}, which is not among the candidates`);
    }
  }
  return failed(`oracle ${oracleId} gave no preference for a query`);
}

function failed(message: string): Preference {
  return { kind: 'failed', error: new OracleError(message) };
}

/**
 * The query as text that outlives indices: canonical JSON of item ids and context. Two queries with the same key are the same
 * question, whatever the catalogue's order.
 */
export function queryKey(catalog: Catalog, query: PreferenceQuery): string {
  return canonicalJson({
    candidates: query.candidates.map((item) => catalog.id(item)),
    context: query.context ?? null,
    history: query.history.map((item) => catalog.id(item)),
  });
}
