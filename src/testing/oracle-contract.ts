import type { Catalog, ItemIndex } from '../catalog/catalog.js';
import type { Preference, PreferenceOracle, PreferenceQuery } from '../oracle/preference-oracle.js';

/** One check of a contract: `run` rejects, with a message that says what is wrong, when the contract is broken. */
export interface ContractCheck {
  /** What must be true, as the name of a test. */
  readonly name: string;
  /** Runs the check. */
  run(): Promise<void>;
}

/** Options of {@link oracleContract}. */
export interface OracleContractOptions {
  /** The catalogue that the oracle under test answers for; at least 4 items. */
  readonly catalog: Catalog;
  /** Whether equal questions must get equal answers: not so for a language model that samples. @default true */
  readonly deterministic?: boolean;
  /**
   * How much bad input it must refuse with `INVALID_ARGUMENT`: all of it (`catalog`), all but indices outside the catalogue (`form`),
   * or none (`nothing`: ten lines of your own, called with good input only). @default 'catalog'
   */
  readonly refuses?: 'catalog' | 'form' | 'nothing';
}

/**
 * What every `PreferenceOracle` must do, as plain checks for any test runner:
 * `for (const { name, run } of oracleContract(() => new MyOracle(catalog), { catalog })) test(name, run);`
 *
 * @param makeOracle - makes a fresh oracle for each check; it is closed afterwards.
 * @param options - the catalogue, and what cannot be asked of every oracle.
 */
export function oracleContract(
  makeOracle: () => PreferenceOracle | Promise<PreferenceOracle>,
  options: OracleContractOptions,
): readonly ContractCheck[] {
  const { catalog, deterministic = true, refuses: strictness = 'catalog' } = options;
  const A = catalog.size;
  const check = (
    name: string,
    body: (oracle: PreferenceOracle, queries: readonly PreferenceQuery[]) => Promise<void>,
  ): ContractCheck => ({
    name: `PreferenceOracle: ${name}`,
    run: async () => {
      const oracle = await makeOracle();
      try {
        // Fresh queries, so that an oracle that changes them spoils no other check.
        await body(oracle, sampleQueries(A));
      } finally {
        await oracle.close?.();
      }
    },
  });
  const refuses = (name: string, wrong: unknown): ContractCheck =>
    check(`refuses ${name} as INVALID_ARGUMENT, and asks nothing`, async (oracle, queries) => {
      let told = 0;
      const outcome = await settle(
        oracle.prefer([queries[0] as PreferenceQuery, wrong as PreferenceQuery].slice(-batchOf(oracle, 2)), {
          onResult: () => told++,
        }),
      );
      expectThat(!outcome.resolved, 'prefer resolved');
      expectThat(
        (outcome.reason as { code?: unknown })?.code === 'INVALID_ARGUMENT',
        `it rejected with ${String(outcome.reason)}`,
      );
      expectThat(told === 0, 'onResult was called');
    });

  const checks = [
    check('has a stable, non-empty id, and sensible bounds', async (oracle) => {
      const again = await makeOracle();
      expectThat(typeof oracle.id === 'string' && oracle.id !== '', 'id is empty');
      expectThat(oracle.id === again.id, `two oracles made alike have ids ${oracle.id} and ${again.id}`);
      const { maxBatch } = oracle;
      expectThat(
        maxBatch === undefined || (Number.isInteger(maxBatch) && maxBatch >= 1),
        `maxBatch is ${String(maxBatch)}`,
      );
      const { itemCount } = oracle;
      expectThat(
        itemCount === undefined || (Number.isInteger(itemCount) && itemCount >= A),
        `itemCount is ${String(itemCount)} for a catalogue of ${A} items`,
      );
      await again.close?.();
    }),
    check('answers an empty batch with an empty list', async (oracle) => {
      const results = await oracle.prefer([]);
      expectThat(Array.isArray(results) && results.length === 0, 'the result is not an empty array');
    }),
    check('gives one well-formed result per query, choosing among the candidates shown', async (oracle, queries) => {
      for (const part of inParts(queries, oracle)) checkResults(part, await oracle.prefer(part));
    }),
    check('answers a pair of candidates, with and without a history', async (oracle) => {
      for (const history of [[], [0, 1]]) {
        const pair = [{ history, candidates: [2, 3] }];
        checkResults(pair, await oracle.prefer(pair));
      }
    }),
    check('accepts a context line', async (oracle) => {
      const withContext = [{ history: [1], candidates: [2, 3, 0], context: 'one line about the user' }];
      checkResults(withContext, await oracle.prefer(withContext));
    }),
    check('changes neither queries nor their arrays', async (oracle, queries) => {
      for (const part of inParts(queries, oracle)) {
        const before = JSON.stringify(part);
        await oracle.prefer(part);
        expectThat(JSON.stringify(part) === before, 'a query was changed');
      }
    }),
    check('calls onResult at most once a query, with the result it returns', async (oracle, queries) => {
      for (const part of inParts(queries, oracle)) {
        const told = new Map<number, Preference>();
        const results = await oracle.prefer(part, {
          onResult: (i, preference) => {
            expectThat(Number.isInteger(i) && i >= 0 && i < part.length, `onResult was called for position ${i}`);
            expectThat(!told.has(i), `onResult was called twice for position ${i}`);
            told.set(i, preference);
          },
        });
        for (const [i, preference] of told) {
          expectThat(same(preference, results[i] as Preference), `position ${i} was told another result than returned`);
        }
      }
    }),
    check('rejects with the very reason of a signal that is aborted already', async (oracle, queries) => {
      const reason = { why: 'stopped before' };
      const outcome = await settle(
        oracle.prefer(queries.slice(0, batchOf(oracle, 2)), { signal: AbortSignal.abort(reason) }),
      );
      expectThat(!outcome.resolved && outcome.reason === reason, 'it did not reject with signal.reason');
    }),
    check(
      'when aborted on the way, rejects with the reason, or has finished; never anything else',
      async (oracle, queries) => {
        const reason = { why: 'stopped on the way' };
        const controller = new AbortController();
        const part = queries.slice(0, batchOf(oracle, queries.length));
        const running = settle(oracle.prefer(part, { signal: controller.signal }));
        controller.abort(reason);
        const outcome = await running;
        if (outcome.resolved) checkResults(part, outcome.value);
        else expectThat(outcome.reason === reason, `it rejected with ${String(outcome.reason)}`);
      },
    ),
    check('answers overlapping calls each in its own order', async (oracle, queries) => {
      const parts = inParts(queries, oracle);
      const all = await Promise.all(parts.map((part) => oracle.prefer(part)));
      for (const [i, part] of parts.entries()) checkResults(part, all[i]);
    }),
    check('estimates one cost per query where it can tell, and asks nobody for it', async (oracle, queries) => {
      if (oracle.estimate === undefined) return;
      for (const part of [[], ...inParts(queries, oracle)]) {
        const estimates = await oracle.estimate(part);
        expectThat(
          Array.isArray(estimates) && estimates.length === part.length,
          `${part.length} queries got ${estimates?.length} estimates`,
        );
        for (const usage of estimates) {
          for (const [name, value] of Object.entries(usage) as [string, unknown][])
            expectThat(typeof value === 'number' && value >= 0, `an estimate's ${name} is ${String(value)}`);
        }
      }
    }),
    check('can be closed twice', async (oracle) => {
      await oracle.close?.();
      await oracle.close?.();
    }),
  ];
  if (strictness !== 'nothing') {
    checks.push(
      refuses('a repeated candidate', { history: [0], candidates: [1, 2, 1] }),
      refuses('a single candidate', { history: [0], candidates: [1] }),
      refuses('an index that is no integer', { history: [0.5], candidates: [1, 2] }),
      refuses('a negative index', { history: [0], candidates: [-1, 2] }),
      check('refuses options that are none as INVALID_ARGUMENT', async (oracle, queries) => {
        for (const wrong of [null, { signal: 'stop' }, { onResult: 1 }]) {
          const outcome = await settle(oracle.prefer(queries.slice(0, 1), wrong as never));
          expectThat(!outcome.resolved, 'prefer resolved');
          expectThat(
            (outcome.reason as { code?: unknown })?.code === 'INVALID_ARGUMENT',
            `it rejected with ${String(outcome.reason)}`,
          );
        }
      }),
    );
  }
  if (strictness === 'catalog')
    checks.push(refuses('an index outside the catalogue', { history: [], candidates: [1, A] }));
  if (deterministic) {
    checks.push(
      check('gives equal answers to equal questions, whatever was asked before', async (oracle, queries) => {
        const other = await makeOracle();
        const forwards: Preference[] = [];
        for (const query of queries) forwards.push(...(await oracle.prefer([query])));
        const backwards: Preference[] = [];
        for (const query of [...queries].reverse()) backwards.unshift(...(await other.prefer([query])));
        await other.close?.();
        for (const [i, preference] of forwards.entries()) {
          expectThat(
            same(preference, backwards[i] as Preference),
            `query ${i} was answered differently in another order of calls`,
          );
        }
      }),
    );
  }
  return checks;
}

/** A few queries of 2 to 4 candidates with histories of 0 to 5 items, all distinct. */
function sampleQueries(A: number): PreferenceQuery[] {
  if (A < 4) throw new Error(`oracleContract: expected a catalogue of at least 4 items, got ${A}`);
  return Array.from({ length: 12 }, (_, n) => {
    const item = (i: number): ItemIndex => (n * 5 + i) % A;
    return {
      history: Array.from({ length: n % 6 }, (_, i) => (n + 3 * i) % A),
      candidates: Array.from({ length: 2 + (n % 3) }, (_, i) => item(i)),
    };
  });
}

function batchOf(oracle: PreferenceOracle, wanted: number): number {
  return Math.min(wanted, oracle.maxBatch ?? wanted);
}

function inParts(queries: readonly PreferenceQuery[], oracle: PreferenceOracle): PreferenceQuery[][] {
  const size = batchOf(oracle, 5);
  const parts: PreferenceQuery[][] = [];
  for (let start = 0; start < queries.length; start += size) parts.push(queries.slice(start, start + size));
  return parts;
}

function checkResults(queries: readonly PreferenceQuery[], results: unknown): void {
  expectThat(Array.isArray(results), 'the result is not an array');
  const list = results as readonly Preference[];
  expectThat(list.length === queries.length, `${queries.length} queries gave ${list.length} results`);
  for (const [i, query] of queries.entries()) {
    const result = list[i] as Preference;
    const at = `result ${i}`;
    switch (result?.kind) {
      case 'choice':
        expectThat(query.candidates.includes(result.choice), `${at} chose ${result.choice}, which was not shown`);
        break;
      case 'invalid':
        expectThat(typeof result.raw === 'string', `${at} is invalid without its raw text`);
        break;
      case 'failed':
        expectThat(
          (result.error as { code?: unknown } | undefined)?.code === 'ORACLE',
          `${at} failed without an OracleError`,
        );
        continue;
      case 'none':
        break;
      default:
        expectThat(false, `${at} is of no known kind`);
    }
    const { scores, bounded } = result.meta ?? {};
    expectThat(
      scores === undefined || scores.length === query.candidates.length + 1,
      `${at} has ${scores?.length} scores for ${query.candidates.length} candidates and None`,
    );
    expectThat(
      bounded === undefined || bounded.length === scores?.length,
      `${at} says of ${bounded?.length} scores whether they are bounds, and has ${scores?.length}`,
    );
  }
}

/** Equal but for what may differ: usage, where it came from. */
function same(a: Preference, b: Preference): boolean {
  if (a.kind !== b.kind) return false;
  if (a.kind === 'choice' && b.kind === 'choice') return a.choice === b.choice;
  return true;
}

type Outcome =
  | { readonly resolved: true; readonly value: unknown }
  | { readonly resolved: false; readonly reason: unknown };

async function settle(promise: Promise<unknown>): Promise<Outcome & { readonly reason?: unknown }> {
  try {
    return { resolved: true, value: await promise };
  } catch (reason) {
    return { resolved: false, reason };
  }
}

function expectThat(condition: boolean, problem: string): void {
  if (!condition) throw new Error(`The contract of PreferenceOracle is broken: ${problem}`);
}
