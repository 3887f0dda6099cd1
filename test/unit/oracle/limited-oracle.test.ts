import { describe, expect, it, vi } from 'vitest';
import { DisposedError, InvalidArgumentError } from '../../../src/foundation/errors.js';
import { LimitedOracle } from '../../../src/oracle/limited-oracle.js';
import type { PreferenceOracle, PreferenceQuery } from '../../../src/oracle/preference-oracle.js';
import { ScriptedOracle } from '../../../src/oracle/scripted-oracle.js';
import { sleepMs } from './fixtures.js';

const many = (n: number): PreferenceQuery[] =>
  Array.from({ length: n }, (_, i) => ({ history: [i], candidates: [0, 1, 2] }));

/** Remembers how many were out at once, and when each began. */
function watched(ms: number) {
  const state = { out: 0, most: 0, starts: [] as number[] };
  const oracle: PreferenceOracle = {
    id: 'watched',
    prefer: async (queries) => {
      state.starts.push(performance.now());
      state.out += queries.length;
      state.most = Math.max(state.most, state.out);
      await sleepMs(ms);
      state.out -= queries.length;
      return queries.map(({ history }) => ({ kind: 'choice', choice: (history[0] as number) % 3 }) as const);
    },
  };
  return { state, oracle };
}

describe('LimitedOracle', () => {
  it('keeps to its concurrency over overlapping calls, uses it, and answers in query order', async () => {
    const { state, oracle } = watched(1);
    const limited = new LimitedOracle({ oracle, concurrency: 3 });
    const both = await Promise.all([limited.prefer(many(10)), limited.prefer(many(10))]);
    expect(state.most).toBe(3);
    for (const answers of both) expect(answers).toMatchObject(many(10).map((_, i) => ({ choice: i % 3 })));
    const free = watched(1);
    await free.oracle.prefer(many(10));
    expect(free.state.most).toBe(10);
  });

  it('starts so many in an interval', async () => {
    const { state, oracle } = watched(0);
    await new LimitedOracle({ oracle, intervalMs: 60, intervalCap: 4 }).prefer(many(10));
    const [first = 0] = state.starts;
    const early = state.starts.filter((at) => at - first < 55);
    expect(early).toHaveLength(4);
    expect((state.starts[9] as number) - first).toBeGreaterThan(100);
  });

  it('on abort rejects at once, tells the oracle behind, and frees the interval for others', async () => {
    const signals: AbortSignal[] = [];
    const inner = new ScriptedOracle((query, _, signal) => {
      signals.push(signal as AbortSignal);
      return query.history[0] === 99 ? 1 : new Promise(() => {});
    });
    const limited = new LimitedOracle({ oracle: inner, intervalMs: 50, intervalCap: 2 });
    const controller = new AbortController();
    const running = limited.prefer(many(40), { signal: controller.signal });
    await sleepMs(2);
    expect(signals).toHaveLength(2);
    controller.abort('stop');
    await expect(running).rejects.toBe('stop');
    expect(signals.map(({ reason }) => reason as unknown)).toEqual(['stop', 'stop']);
    const started = performance.now();
    await limited.prefer([{ history: [99], candidates: [1, 2] }]);
    // Forty queries at two an interval would take a second.
    expect(performance.now() - started).toBeLessThan(300);
    expect(inner.queries).toHaveLength(3);
  });

  it('prints no warning of listeners with 200 queued queries', async () => {
    const warned = vi.spyOn(process, 'emitWarning');
    const limited = new LimitedOracle({ oracle: watched(0).oracle, concurrency: 50 });
    await limited.prefer(many(200), { signal: new AbortController().signal });
    expect(warned).not.toHaveBeenCalled();
    warned.mockRestore();
  });

  it('rejects with what the oracle behind rejects, and asks no more', async () => {
    let calls = 0;
    const oracle: PreferenceOracle = {
      id: 'closed',
      prefer: async () => {
        calls++;
        throw new DisposedError('it');
      },
    };
    await expect(new LimitedOracle({ oracle, concurrency: 1 }).prefer(many(5))).rejects.toBeInstanceOf(DisposedError);
    await sleepMs(2);
    expect(calls).toBe(1);
  });

  it('closes though the oracle behind hears no signal', async () => {
    const deaf: PreferenceOracle = { id: 'deaf', prefer: () => new Promise(() => {}) };
    const limited = new LimitedOracle({ oracle: deaf, concurrency: 1 });
    const running = limited.prefer(many(2));
    running.catch(() => {});
    await sleepMs(1);
    await limited.close();
    await expect(running).rejects.toBeInstanceOf(DisposedError);
  });

  it('ends what waits when it is closed', async () => {
    const limited = new LimitedOracle({ oracle: new ScriptedOracle(() => new Promise(() => {})), concurrency: 1 });
    const running = limited.prefer(many(3));
    running.catch(() => {});
    await sleepMs(1);
    await limited.close();
    await expect(running).rejects.toBeInstanceOf(DisposedError);
    await expect(limited.prefer(many(1))).rejects.toBeInstanceOf(DisposedError);
  });

  it.each<[string, object]>([
    ['no limit', {}],
    ['an interval without its cap', { intervalMs: 1000 }],
    ['a cap without its interval', { concurrency: 1, intervalCap: 5 }],
    ['a concurrency of 0', { concurrency: 0 }],
  ])('refuses %s', (_, options) => {
    expect(() => new LimitedOracle({ oracle: watched(0).oracle, ...options })).toThrow(InvalidArgumentError);
  });
});
