import { describe, expect, it, vi } from 'vitest';
import { InvalidArgumentError, OracleError } from '../../../src/foundation/errors.js';
import type { Preference, PreferenceOracle, PreferenceQuery } from '../../../src/oracle/preference-oracle.js';
import { RetryingOracle } from '../../../src/oracle/retrying-oracle.js';
import { ScriptedOracle } from '../../../src/oracle/scripted-oracle.js';
import { sleepMs } from './fixtures.js';

const many = (n: number): PreferenceQuery[] =>
  Array.from({ length: n }, (_, i) => ({ history: [i], candidates: [0, 1, 2] }));
const failed = (status?: number, retryAfterMs?: number): Preference => ({
  kind: 'failed',
  error: new OracleError('no', { status, retryAfterMs }),
});

/** Query n fails `fails[n]` times with a status, then is answered. */
function flaky(fails: readonly number[], status?: number, retryAfterMs?: number) {
  const tries = fails.map(() => 0);
  const oracle = new ScriptedOracle(({ history }) => {
    const n = history[0] as number;
    tries[n] = (tries[n] as number) + 1;
    return (tries[n] as number) <= (fails[n] as number) ? failed(status, retryAfterMs) : n % 3;
  });
  return { oracle, tries };
}

describe('RetryingOracle', () => {
  it('asks again what failed and nothing else, and answers in query order', async () => {
    const { oracle, tries } = flaky([0, 2, 0, 1, 9], 503);
    const retrying = new RetryingOracle({ oracle, retries: 2, retryDelayMs: 0 });
    const told: [number, string][] = [];
    const results = await retrying.prefer(many(5), { onResult: (i, { kind }) => told.push([i, kind]) });
    expect(results.map(({ kind }) => kind)).toEqual(['choice', 'choice', 'choice', 'choice', 'failed']);
    expect(results).toMatchObject([
      { choice: 0 },
      { choice: 1 },
      { choice: 2 },
      { choice: 0 },
      { error: { status: 503 } },
    ]);
    expect(tries).toEqual([1, 3, 1, 2, 3]);
    expect(told.map(([i]) => i)).toEqual([0, 2, 3, 1, 4]);
    expect(retrying.retries).toBe(3 + 2);
  });

  it.each([undefined, 408, 409, 429, 500, 503])('tries again after status %s', async (status) => {
    const { oracle, tries } = flaky([1], status);
    expect((await new RetryingOracle({ oracle, retryDelayMs: 0 }).prefer(many(1)))[0]?.kind).toBe('choice');
    expect(tries).toEqual([2]);
  });

  it.each([400, 401, 403, 404])('never after status %s', async (status) => {
    const { oracle, tries } = flaky([1], status);
    expect((await new RetryingOracle({ oracle, retryDelayMs: 0 }).prefer(many(1)))[0]?.kind).toBe('failed');
    expect(tries).toEqual([1]);
  });

  it('waits as long as the server asked', async () => {
    const { oracle } = flaky([1, 1], 429, 70);
    const started = performance.now();
    await new RetryingOracle({ oracle, retryDelayMs: 0 }).prefer(many(2));
    const waited = performance.now() - started;
    expect(waited).toBeGreaterThanOrEqual(65);
    expect(waited).toBeLessThan(140);
  });

  it('leaves invalid answers and Nones alone', async () => {
    const oracle = new ScriptedOracle(['invalid', 'none']);
    expect((await new RetryingOracle({ oracle, retryDelayMs: 0 }).prefer(many(2))).map(({ kind }) => kind)).toEqual([
      'invalid',
      'none',
    ]);
    expect(oracle.queries).toHaveLength(2);
  });

  it('rejects with what the oracle behind rejects, without another try, whatever that is', async () => {
    for (const reason of [new OracleError('closed'), 'a string', undefined, new TypeError('fetch failed')]) {
      let calls = 0;
      const oracle: PreferenceOracle = {
        id: 'closed',
        prefer: async () => {
          calls++;
          throw reason;
        },
      };
      await expect(new RetryingOracle({ oracle, retryDelayMs: 0 }).prefer(many(1))).rejects.toBe(reason);
      expect(calls).toBe(1);
    }
  });

  it('gives up its waits on abort, with the reason', async () => {
    for (const retryAfterMs of [undefined, 60_000]) {
      const { oracle } = flaky([5], 429, retryAfterMs);
      const controller = new AbortController();
      const running = new RetryingOracle({ oracle, retryDelayMs: 60_000 }).prefer(many(1), {
        signal: controller.signal,
      });
      await sleepMs(2);
      controller.abort('stop');
      await expect(running).rejects.toBe('stop');
    }
  });

  it('prints no warning of listeners with 200 failing queries', async () => {
    const warned = vi.spyOn(process, 'emitWarning');
    const { oracle } = flaky(new Array<number>(200).fill(2));
    await new RetryingOracle({ oracle, retryDelayMs: 0 }).prefer(many(200), { signal: new AbortController().signal });
    expect(warned).not.toHaveBeenCalled();
    warned.mockRestore();
  });

  it('refuses negative retries', () => {
    expect(() => new RetryingOracle({ oracle: new ScriptedOracle([]), retries: -1 })).toThrow(InvalidArgumentError);
  });
});
