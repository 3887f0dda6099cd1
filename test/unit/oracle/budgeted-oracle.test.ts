import fc from 'fast-check';
import { describe, expect, it, vi } from 'vitest';
import { BudgetExceededError, InvalidArgumentError, OracleError } from '../../../src/foundation/errors.js';
import { MemoryStorage } from '../../../src/foundation/storage.js';
import type { Spending } from '../../../src/oracle/budget.js';
import { BudgetedOracle, type BudgetedOracleOptions } from '../../../src/oracle/budgeted-oracle.js';
import { LlmOracle } from '../../../src/oracle/llm-oracle.js';
import type { Preference, PreferenceOracle, PreferenceQuery, Usage } from '../../../src/oracle/preference-oracle.js';
import { openKeptBudget } from '../../../src/oracle/recorded-spending.js';
import { RecordingOracle } from '../../../src/oracle/recording-oracle.js';
import { ScriptedOracle } from '../../../src/oracle/scripted-oracle.js';
import { music, shop, sleepMs } from './fixtures.js';

const many = (n: number): PreferenceQuery[] =>
  Array.from({ length: n }, (_, i) => ({ history: [i % 30, Math.floor(i / 30)], candidates: [0, 1, 2] }));

const costing = (usage: Usage, estimate?: Usage): PreferenceOracle => {
  const scripted = new ScriptedOracle((query) => ({
    kind: 'choice',
    choice: query.candidates[0] as number,
    meta: { usage },
  }));
  return {
    id: 'costing',
    prefer: (queries, options) => scripted.prefer(queries, options),
    ...(estimate === undefined ? {} : { estimate: async (queries) => queries.map(() => estimate) }),
  };
};
const PRICES = { inputPerMillion: 2, outputPerMillion: 10, cachedInputPerMillion: 0.5 };

/** Outcome of a call: how many were told, and what it rejected with. */
async function run(oracle: PreferenceOracle, queries: readonly PreferenceQuery[]) {
  const told = new Map<number, Preference>();
  try {
    await oracle.prefer(queries, { onResult: (i, preference) => told.set(i, preference) });
    return { told: told.size, error: undefined };
  } catch (error) {
    return { told: told.size, error: error as BudgetExceededError };
  }
}

describe('BudgetedOracle', () => {
  it('asks what fits, tells those answers, then rejects with the cap and the numbers', async () => {
    const oracle = new BudgetedOracle({
      oracle: costing({ inputTokens: 100, outputTokens: 1 }, { inputTokens: 100, outputTokens: 1 }),
      caps: { inputTokens: 1_050 },
    });
    const { told, error } = await run(oracle, many(20));
    expect(told).toBe(10);
    expect(error).toBeInstanceOf(BudgetExceededError);
    expect(error).toBeInstanceOf(OracleError);
    expect(error).toMatchObject({ cap: 'inputTokens', limit: 1_050, used: 1_000, asked: 100, code: 'ORACLE' });
    expect(error?.message).toContain('raise `caps.inputTokens`');
    expect(oracle.spent).toMatchObject({ calls: 10, inputTokens: 1_000, outputTokens: 10 });
    // Nothing more, ever.
    expect(await run(oracle, many(1))).toMatchObject({ told: 0, error: { cap: 'inputTokens' } });
  });

  it.each<[string, BudgetedOracleOptions['caps'], number]>([
    ['calls', { calls: 7 }, 7],
    ['output tokens', { outputTokens: 23 }, 11],
    ['dollars', { usd: 0.00121 }, 5],
    ['dollars, to the last cent', { usd: 10 * 0.00022 }, 10],
    ['nothing at all', { calls: 0 }, 0],
    ['the tightest of several', { calls: 7, outputTokens: 100, inputTokens: 499 }, 4],
  ])('caps %s', async (_, caps, fits) => {
    // 100 tokens in at 2 / million, 2 out at 10 / million: 0.00022 dollars.
    const usage = { inputTokens: 100, outputTokens: 2 };
    const oracle = new BudgetedOracle({ oracle: costing(usage, usage), caps, prices: PRICES });
    expect((await run(oracle, many(20))).told).toBe(fits);
    expect(oracle.spent.usd).toBeCloseTo(fits * 0.00022, 12);
  });

  it('prices cached input apart, and takes the bill of a back-end that sends one', async () => {
    const of = async (usage: Usage): Promise<number> => {
      const oracle = new BudgetedOracle({ oracle: costing(usage), caps: { calls: 9 }, prices: PRICES });
      await oracle.prefer(many(1));
      return oracle.spent.usd;
    };
    expect(await of({ inputTokens: 100, outputTokens: 0, cachedInputTokens: 60 })).toBeCloseTo(
      (40 * 2 + 60 * 0.5) / 1e6,
      15,
    );
    expect(await of({ inputTokens: 100, outputTokens: 0, costUsd: 0.25 })).toBe(0.25);
  });

  it('settles by what was really used: cheap answers make room for more', async () => {
    const oracle = new BudgetedOracle({
      oracle: costing({ inputTokens: 10, outputTokens: 1 }, { inputTokens: 100, outputTokens: 1 }),
      caps: { inputTokens: 1_000 },
    });
    // The last question needs room for its whole estimate.
    expect((await run(oracle, many(200))).told).toBe(91);
  });

  it('where the oracle cannot tell, reserves 4,000 tokens; where the bill is not known, the estimate is spent', async () => {
    const silent = new ScriptedOracle(() => 1);
    const oracle = new BudgetedOracle({ oracle: silent, caps: { inputTokens: 20_000 } });
    expect((await run(oracle, many(9))).told).toBe(5);
    expect(oracle.spent).toMatchObject({ calls: 5, inputTokens: 20_000, outputTokens: 5 * 256 });
    const frugal = new BudgetedOracle({
      oracle: silent,
      caps: { inputTokens: 20_000 },
      perQuestion: { inputTokens: 500, outputTokens: 1 },
    });
    expect((await run(frugal, many(99))).told).toBe(40);
  });

  it('learns how long answers are: what writes 50 tokens where one was expected does not pass the cap by much', async () => {
    const told = async (concurrency: number): Promise<number> => {
      const oracle = new BudgetedOracle({
        oracle: costing({ inputTokens: 1, outputTokens: 50 }, { inputTokens: 1, outputTokens: 1 }),
        caps: { outputTokens: 500 },
        concurrency,
      });
      await run(oracle, many(100));
      return oracle.spent.outputTokens;
    };
    expect(await told(1)).toBe(500);
    expect(await told(4)).toBeLessThanOrEqual(500 + 4 * 50);
  });

  it('never passes a cap by more than the calls in flight (property)', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 8 }),
        fc.integer({ min: 0, max: 3_000 }),
        fc.array(fc.tuple(fc.integer({ min: 0, max: 200 }), fc.integer({ min: 0, max: 3 })), {
          minLength: 1,
          maxLength: 60,
        }),
        fc.integer({ min: 1, max: 3 }),
        async (concurrency, cap, costs, callers) => {
          let out = 0;
          let mostOut = 0;
          const inner: PreferenceOracle = {
            id: 'uneven',
            estimate: async (queries) => queries.map(() => ({ inputTokens: 60, outputTokens: 1 })),
            prefer: (queries, options) =>
              Promise.all(
                queries.map(async (query, i) => {
                  mostOut = Math.max(mostOut, ++out);
                  const [inputTokens, turns] = costs[(query.history[0] as number) % costs.length] as [number, number];
                  for (let turn = 0; turn < turns; turn++) await Promise.resolve();
                  out--;
                  const answer: Preference = { kind: 'none', meta: { usage: { inputTokens, outputTokens: 1 } } };
                  options?.onResult?.(i, answer);
                  return answer;
                }),
              ),
          };
          const oracle = new BudgetedOracle({ oracle: inner, caps: { inputTokens: cap }, concurrency });
          const runs = await Promise.all(Array.from({ length: callers }, () => run(oracle, many(40))));
          const most = Math.max(...costs.map(([tokens]) => tokens));
          expect(mostOut).toBeLessThanOrEqual(concurrency);
          expect(oracle.spent.inputTokens).toBeLessThanOrEqual(cap + concurrency * Math.max(0, most - 60));
          expect(oracle.state).toMatchObject({ inputTokens: oracle.spent.inputTokens });
          for (const { told, error } of runs) {
            if (error === undefined) expect(told).toBe(40);
            else expect(error).toBeInstanceOf(BudgetExceededError);
          }
        },
      ),
      { seed: 5, numRuns: 120 },
    );
  });

  it('goes on from a record with a larger budget, and pays for no question twice', async () => {
    const catalog = music();
    const storage = new MemoryStorage();
    const inner = new ScriptedOracle((query) => (query.history[0] as number) % 3);
    const usage = { inputTokens: 10, outputTokens: 1 };
    const priced: PreferenceOracle = {
      id: inner.id,
      prefer: (queries, options) => inner.prefer(queries, options),
      estimate: async (queries) => queries.map(() => usage),
    };
    const first = new BudgetedOracle({ oracle: priced, caps: { calls: 13 } });
    const recording = await RecordingOracle.open({ oracle: first, catalog, storage });
    await expect(recording.prefer(many(30))).rejects.toBeInstanceOf(BudgetExceededError);
    expect(recording.size).toBe(13);
    const saved = JSON.parse(JSON.stringify(first.state));
    expect(saved).toMatchObject({ calls: 13, inputTokens: 130 });
    const second = new BudgetedOracle({ oracle: priced, caps: { calls: 30 }, spent: saved });
    const resumed = await RecordingOracle.open({ oracle: second, catalog, storage });
    expect((await resumed.estimate?.(many(30)))?.filter(({ calls }) => calls === 0)).toHaveLength(13);
    expect(await resumed.prefer(many(30))).toHaveLength(30);
    expect(second.spent.calls).toBe(30);
    expect(inner.queries).toHaveLength(30);
    // Without the earlier spending it would have had room for more.
    const forgetful = new BudgetedOracle({ oracle: priced, caps: { calls: 30 }, spent: second.state });
    expect((await run(forgetful, many(1))).error).toMatchObject({ cap: 'calls', used: 30 });
  });

  it('keeps what was spent beside the record while it runs: a killed run forgets no failure older than a second', async () => {
    vi.useFakeTimers();
    try {
      const storage = new MemoryStorage();
      const failing = async (): Promise<Preference> => {
        await sleepMs(10);
        return { kind: 'failed', error: new OracleError('timed out', { attempts: 2, lost: 2 }) };
      };
      const usage = { calls: 3, inputTokens: 30, outputTokens: 3 };
      const record = { paid: () => [{ meta: { usage } }] };
      const open = (id = 'asked') =>
        openKeptBudget({
          ...{ storage, key: 'a.jsonl', record, caps: { calls: 9 }, oracle: new ScriptedOracle(failing, { id }) },
          perQuestion: { inputTokens: 10, outputTokens: 1 },
        });
      const ask = async (oracle: PreferenceOracle, n: number): Promise<void> => {
        const asking = oracle.prefer(many(n));
        await vi.advanceTimersByTimeAsync(10 * n);
        await asking;
      };
      const killed = await open();
      await ask(killed.oracle, 2);
      expect(await storage.get('a.spent.json')).toBeUndefined();
      await vi.advanceTimersByTimeAsync(1_000);
      const next = await open();
      expect(next.oracle.spent).toMatchObject({ calls: 7, inputTokens: 70 });
      const late = next.oracle.prefer(many(1));
      await vi.advanceTimersByTimeAsync(1);
      await next.end();
      const written = await storage.get('a.spent.json');
      await vi.advanceTimersByTimeAsync(5_000);
      await late;
      // What was in flight at the end is in the books at its estimate, and writes nothing: the next run may have begun.
      expect(await storage.get('a.spent.json')).toEqual(written);
      const last = await open();
      expect(last.oracle.spent).toMatchObject({ calls: 8, inputTokens: 80 });
      await ask(last.oracle, 1);
      await expect(last.oracle.prefer(many(1))).rejects.toBeInstanceOf(BudgetExceededError);
      expect((await open('another')).oracle.spent).toMatchObject({ calls: 3, inputTokens: 30 });
      const anew = await openKeptBudget({
        ...{ storage, key: 'a.jsonl', record: undefined, caps: { calls: 9 } },
        oracle: new ScriptedOracle(failing, { id: 'asked' }),
      });
      expect(anew.oracle.spent.calls).toBe(0);
      await storage.put('a.spent.json', new TextEncoder().encode('{"calls": 1'));
      await expect(open()).rejects.toThrow(/a\.spent\.json.*delete the file/);
    } finally {
      vi.useRealTimers();
    }
  });

  it('takes answers from a record as free, and failures as far as they may have been billed', async () => {
    const answers: Preference[] = [
      { kind: 'none', meta: { cached: true } },
      { kind: 'failed', error: new OracleError('refused', { status: 429, attempts: 4 }) },
      { kind: 'failed', error: new OracleError('timed out', { attempts: 2 }) },
      { kind: 'none', meta: { usage: { calls: 2, inputTokens: 7, outputTokens: 1 } } },
    ];
    const oracle = new BudgetedOracle({
      oracle: new ScriptedOracle(answers),
      caps: { calls: 100 },
      perQuestion: { inputTokens: 1_000, outputTokens: 1 },
    });
    await oracle.prefer(many(4));
    expect(oracle.spent).toMatchObject({ calls: 4 + 2 + 2, inputTokens: 1_007, outputTokens: 2 });
  });

  it('counts a failure as paid where an answer came that is of no use, or several calls are behind one answer', async () => {
    const spentOn = async (error: OracleError, calls: number): Promise<Spending> => {
      const failing = new ScriptedOracle([{ kind: 'failed', error }]);
      const estimate = async (queries: readonly PreferenceQuery[]): Promise<Usage[]> =>
        queries.map(() => ({ calls, inputTokens: 100 * calls, outputTokens: calls }));
      const oracle = new BudgetedOracle({
        oracle: { id: 'failing', prefer: (queries, options) => failing.prefer(queries, options), estimate },
        caps: { calls: 100 },
      });
      await oracle.prefer(many(1));
      return oracle.spent;
    };
    const refused = new OracleError('refused', { status: 429, attempts: 4 });
    // One of ten shifts was refused: nine were answered.
    expect(await spentOn(refused, 10)).toMatchObject({ calls: 10, inputTokens: 1_000, outputTokens: 10 });
    const tooLong = new OracleError('more than maxResponseBytes', { status: 200, attempts: 1 });
    expect(await spentOn(tooLong, 1)).toMatchObject({ calls: 1, inputTokens: 100, outputTokens: 1 });
    expect(await spentOn(refused, 1)).toMatchObject({ calls: 4, inputTokens: 0, outputTokens: 0 });
  });

  it('counts the unreadable answer before a reminder that failed', async () => {
    const catalog = shop();
    const spentBy = async (failure?: object): Promise<Spending> => {
      const fails = failure !== undefined;
      let asked = 0;
      const llm = new LlmOracle({
        catalog,
        retries: 0,
        complete: async () => {
          if (++asked === 2 && fails) throw Object.assign(new Error('down'), failure);
          return { text: asked === 1 ? 'that is hard to say' : 'a', usage: { inputTokens: 40, outputTokens: 9 } };
        },
      });
      const estimate = async (): Promise<Usage[]> => [{ calls: 1, inputTokens: 41, outputTokens: 1 }];
      const priced: PreferenceOracle = {
        id: llm.id,
        prefer: (queries, options) => llm.prefer(queries, options),
        estimate,
      };
      const oracle = new BudgetedOracle({ oracle: priced, caps: { calls: 100 } });
      const [answer] = await oracle.prefer([{ history: [1], candidates: [2, 3, 4] }]);
      expect(answer?.kind).toBe(fails ? 'failed' : 'choice');
      return oracle.spent;
    };
    expect(await spentBy()).toMatchObject({ calls: 2, inputTokens: 80, outputTokens: 18 });
    // The server refused the second; the first was answered, and is paid.
    expect(await spentBy({ status: 503 })).toMatchObject({ calls: 2, inputTokens: 40, outputTokens: 9 });
    // Nobody knows whether the second was answered: both count.
    expect(await spentBy({})).toMatchObject({ calls: 2, inputTokens: 40 + 41, outputTokens: 10 });
  });

  it('counts tries that may have been billed before the answer: time-outs, not refusals and not what never left', async () => {
    const catalog = shop();
    const billed = async (failure: object): Promise<{ readonly spent: Spending; readonly calls: number }> => {
      let calls = 0;
      const seen = new Set<string>();
      const oracle = new BudgetedOracle({
        oracle: new LlmOracle({
          ...{ catalog, retryDelayMs: 0 },
          complete: async (prompt) => {
            calls++;
            if (!seen.has(prompt)) {
              seen.add(prompt);
              throw Object.assign(new Error('no answer'), failure);
            }
            return { text: 'a', usage: { inputTokens: 1_000, outputTokens: 1 } };
          },
        }),
        caps: { inputTokens: 10_000 },
        perQuestion: { inputTokens: 1_000, outputTokens: 1 },
        concurrency: 1,
      });
      await run(oracle, many(40));
      return { spent: oracle.spent, calls };
    };
    const timedOut = await billed({});
    expect(timedOut.spent.inputTokens).toBe(1_000 * timedOut.calls);
    // One question more than its estimate.
    expect(timedOut.spent.inputTokens).toBeLessThanOrEqual(11_000);
    for (const free of [{ status: 503 }, { code: 'ECONNREFUSED' }, { cause: { code: 'ENOTFOUND' } }])
      expect(await billed(free)).toMatchObject({ spent: { inputTokens: 10_000, calls: 20 }, calls: 20 });
  });

  it('counts every try of a question that nobody answered, at its estimate', async () => {
    const spentBy = async (failure: object): Promise<Spending> => {
      const oracle = new BudgetedOracle({
        oracle: new LlmOracle({
          ...{ catalog: shop(), retries: 2, retryDelayMs: 0 },
          complete: async () => Promise.reject(Object.assign(new Error('no answer'), failure)),
        }),
        caps: { calls: 100 },
      });
      const query = { history: [1], candidates: [2, 3, 4] };
      const [each] = (await oracle.estimate?.([query])) ?? [];
      const [answer] = await oracle.prefer([query]);
      expect(answer?.kind).toBe('failed');
      return { ...oracle.spent, inputTokens: oracle.spent.inputTokens / (each?.inputTokens as number) };
    };
    expect(await spentBy({})).toMatchObject({ calls: 3, inputTokens: 3 });
    expect(await spentBy({ code: 'ECONNREFUSED' })).toMatchObject({ calls: 3, inputTokens: 0 });
    expect(await spentBy({ status: 503 })).toMatchObject({ calls: 3, inputTokens: 0 });
  });

  it('estimates a question as before, however often others had to be asked again', async () => {
    let asked = 0;
    const oracle = new BudgetedOracle({
      // Every second call is no answer: each question has one reminder, and no tokens are told.
      oracle: new LlmOracle({ catalog: shop(), complete: async () => (++asked % 2 === 1 ? 'hard to say' : 'a') }),
      caps: { usd: 1 },
      prices: PRICES,
      concurrency: 1,
    });
    const outputTokens: number[] = [];
    for (let i = 0; i < 30; i++) {
      const before = oracle.spent.outputTokens;
      await oracle.prefer([{ history: [i], candidates: [40, 41, 42] }]);
      outputTokens.push(oracle.spent.outputTokens - before);
    }
    expect(new Set(outputTokens)).toEqual(new Set([2]));
  });

  it('counts a refused try as a call only, though no tokens are told', async () => {
    const spentBy = async (failure?: object): Promise<Spending> => {
      let asked = 0;
      const oracle = new BudgetedOracle({
        oracle: new LlmOracle({
          ...{ catalog: shop(), retryDelayMs: 0 },
          complete: async () =>
            failure !== undefined && ++asked === 1 ? Promise.reject(Object.assign(new Error('no'), failure)) : 'a',
        }),
        caps: { inputTokens: 100_000 },
      });
      await oracle.prefer([{ history: [1], candidates: [2, 3, 4] }]);
      return oracle.spent;
    };
    const { inputTokens } = await spentBy();
    expect(await spentBy({ status: 429 })).toMatchObject({ calls: 2, inputTokens });
    expect(await spentBy({ code: 'ECONNREFUSED' })).toMatchObject({ calls: 2, inputTokens });
    expect(await spentBy({})).toMatchObject({ calls: 2, inputTokens: 2 * inputTokens });
  });

  it('tells what it booked where the back-end does not say, so that a record of it is a record of the spending', async () => {
    const oracle = new BudgetedOracle({
      oracle: costing({ calls: 2 }, { calls: 1, inputTokens: 70, outputTokens: 3 }),
      caps: { inputTokens: 1_000 },
    });
    const [answer] = await oracle.prefer(many(1));
    // Two calls, each like the one that was expected.
    const usage = { calls: 2, inputTokens: 140, outputTokens: 6 };
    expect(oracle.spent).toMatchObject(usage);
    expect(answer?.kind === 'failed' ? undefined : answer?.meta?.usage).toEqual(usage);
    const told = new BudgetedOracle({ oracle: costing({ inputTokens: 5, outputTokens: 1 }), caps: { calls: 9 } });
    expect(await told.prefer(many(1))).toMatchObject([{ meta: { usage: { inputTokens: 5, outputTokens: 1 } } }]);
  });

  it('prints no warning of too many listeners, however many groups are out', async () => {
    const caller = new AbortController();
    let listening = 0;
    const listens = vi.spyOn(caller.signal, 'addEventListener').mockImplementation(() => void listening++);
    const inner: PreferenceOracle = {
      id: 'listening',
      prefer: async (queries, { signal } = {}) => {
        signal?.addEventListener('abort', () => {});
        return queries.map(() => ({ kind: 'none' }));
      },
    };
    const oracle = new BudgetedOracle({ oracle: inner, caps: { calls: 100 }, concurrency: 1 });
    await oracle.prefer(many(50), { signal: caller.signal });
    // What waits takes its listener off again; the oracle behind need not.
    const own = listens.mock.calls.filter(([, , options]) => options === undefined);
    expect(own).toHaveLength(0);
    expect(listening).toBeGreaterThan(0);
  });

  it('keeps its books though a back-end or an estimate tells nonsense', async () => {
    for (const lie of [Number.NaN, Number.POSITIVE_INFINITY, -5, '7' as unknown as number]) {
      const usage = { calls: lie, inputTokens: lie, outputTokens: lie, costUsd: lie, cachedInputTokens: lie };
      const oracle = new BudgetedOracle({
        oracle: costing(usage, usage),
        caps: { inputTokens: 100, usd: 1 },
        prices: PRICES,
        perQuestion: { inputTokens: 10, outputTokens: 1 },
      });
      expect((await run(oracle, many(50))).told).toBe(10);
      expect(oracle.spent).toMatchObject({ calls: 10, inputTokens: 100, outputTokens: 10 });
    }
  });

  it('warns once a cap, at 80 %', async () => {
    const warnings: string[] = [];
    const oracle = new BudgetedOracle({
      oracle: costing({ inputTokens: 10, outputTokens: 1 }),
      caps: { calls: 10, inputTokens: 1_000_000 },
      onWarning: (message) => warnings.push(message),
    });
    await oracle.prefer(many(7));
    expect(warnings).toEqual([]);
    await oracle.prefer(many(3));
    expect(warnings).toEqual(['80 % of the budget of 10 calls are spent']);
  });

  it('stops by wall time before the next question', async () => {
    const slow = new ScriptedOracle(async () => {
      await sleepMs(15);
      return 0;
    });
    const oracle = new BudgetedOracle({ oracle: slow, caps: { wallMs: 40 }, concurrency: 1 });
    const { told, error } = await run(oracle, many(20));
    expect(error).toMatchObject({ cap: 'wallMs', limit: 40 });
    expect(told).toBeGreaterThan(0);
    expect(told).toBeLessThan(6);
    const later = new BudgetedOracle({ oracle: slow, caps: { wallMs: 40 }, spent: oracle.spent });
    expect((await run(later, many(1))).told).toBe(0);
  });

  it('counts what was out as spent when it is aborted or refused, and delivers what others answered', async () => {
    const controller = new AbortController();
    const hanging = new BudgetedOracle({
      oracle: new ScriptedOracle((_, n) => (n === 2 ? new Promise(() => {}) : 0)),
      caps: { calls: 100 },
      perQuestion: { inputTokens: 10, outputTokens: 1 },
    });
    const running = hanging.prefer(many(6), { signal: controller.signal });
    await sleepMs(1);
    expect(hanging.state.calls).toBe(6);
    controller.abort('stop');
    await expect(running).rejects.toBe('stop');
    await sleepMs(1);
    expect(hanging.spent).toMatchObject({ calls: 6, inputTokens: 60 });

    let calls = 0;
    const broken: PreferenceOracle = {
      id: 'broken',
      prefer: async (queries, options) => {
        if (calls++ > 0) throw new Error('closed');
        for (const i of queries.keys()) options?.onResult?.(i, { kind: 'none' });
        return queries.map(() => ({ kind: 'none' }) as const);
      },
    };
    const outcome = await run(new BudgetedOracle({ oracle: broken, caps: { calls: 100 }, concurrency: 4 }), many(30));
    expect(outcome).toMatchObject({ told: 4, error: { message: 'closed' } });
    // It was told of the failure before it asked again.
    expect(calls).toBe(2);
  });

  it('rejects with what onResult throws', async () => {
    const oops = new Error('mine');
    const oracle = new BudgetedOracle({ oracle: costing({}), caps: { calls: 100 } });
    const running = oracle.prefer(many(3), {
      onResult: () => {
        throw oops;
      },
    });
    await expect(running).rejects.toBe(oops);
  });

  it.each<[string, object]>([
    ['no caps', { caps: {} }],
    ['a negative cap', { caps: { calls: -1 } }],
    ['a cap in dollars without prices', { caps: { usd: 1 } }],
    ['an unknown cap', { caps: { tokens: 5 } }],
    ['a concurrency of 0', { caps: { calls: 1 }, concurrency: 0 }],
    ['a spending that is none', { caps: { calls: 1 }, spent: { calls: 3 } }],
  ])('refuses %s', (_, options) => {
    expect(() => new BudgetedOracle({ oracle: new ScriptedOracle([]), ...options } as never)).toThrow(
      InvalidArgumentError,
    );
  });
});
