import fc from 'fast-check';
import { describe, expect, it, vi } from 'vitest';
import {
  CheckpointError,
  DisposedError,
  InvalidArgumentError,
  InvalidDataError,
  OracleError,
} from '../../../src/foundation/errors.js';
import { MemoryStorage, type Storage } from '../../../src/foundation/storage.js';
import { LlmOracle } from '../../../src/oracle/llm-oracle.js';
import type { Preference, PreferenceOracle, PreferenceQuery } from '../../../src/oracle/preference-oracle.js';
import { RecordingOracle } from '../../../src/oracle/recording-oracle.js';
import { ReplayOracle } from '../../../src/oracle/replay-oracle.js';
import { type ScriptedAnswer, ScriptedOracle } from '../../../src/oracle/scripted-oracle.js';
import { catalogOf, music, shop, sleepMs } from './fixtures.js';

const catalog = music();
const KEY = 'answers.jsonl';
const SCORES = [-0.1, Number.NEGATIVE_INFINITY, -3, -4, -5];

/** Depends on the query alone, and gives every kind of answer. */
function answerOf(query: PreferenceQuery): ScriptedAnswer {
  const n = query.history.reduce((sum, item) => sum + item, 0) % 6;
  if (n === 4) return 'none';
  if (n === 5) return { kind: 'invalid', raw: 'a rock song' };
  if (n === 3)
    return {
      kind: 'choice',
      choice: query.candidates[3] as number,
      meta: { scores: SCORES, labelMass: 0.9, usage: { ms: 5 } },
    };
  return n;
}

const scripted = (): ScriptedOracle => new ScriptedOracle(answerOf, { itemCount: 30 });
const queries = Array.from({ length: 24 }, (_, i): PreferenceQuery => ({ history: [i], candidates: [0, 1, 2, 3] }));
const open = (storage: Storage, oracle: PreferenceOracle = scripted()): Promise<RecordingOracle> =>
  RecordingOracle.open({ oracle, catalog, storage });
const plain = (preference: Preference): unknown => {
  if (preference.kind === 'choice') return preference.choice;
  return preference.kind === 'invalid' ? preference.raw : preference.kind;
};
const text = async (storage: Storage): Promise<string> => new TextDecoder().decode(await storage.get(KEY));

describe('RecordingOracle', () => {
  it('asks once, and replays the same answers after a resume, scores included', async () => {
    const storage = new MemoryStorage();
    const first = await open(storage);
    const fresh = await first.prefer(queries);
    expect(first.counts).toEqual({ asked: 24, replayed: 0, shared: 0 });

    const inner = scripted();
    const second = await open(storage, inner);
    expect(second.size).toBe(24);
    const replayed = await second.prefer(queries);
    expect(replayed.map(plain)).toEqual(fresh.map(plain));
    expect(second.counts).toEqual({ asked: 0, replayed: 24, shared: 0 });
    expect(inner.queries).toEqual([]);
    expect(replayed[3]).toEqual({ kind: 'choice', choice: 3, meta: { scores: SCORES, labelMass: 0.9, cached: true } });
  });

  it('keeps which scores are bounds, and not a word of it where none is', async () => {
    const bounded = [false, true, true, false, true];
    const bounds = [bounded, bounded.map(() => false), undefined, [true], 'all'];
    const storage = new MemoryStorage();
    const oracle = await open(
      storage,
      new ScriptedOracle((query) => {
        const told = bounds[query.history[0] as number] as readonly boolean[] | undefined;
        return { kind: 'none', meta: { scores: SCORES, ...(told === undefined ? {} : { bounded: told }) } };
      }),
    );
    const asked = queries.slice(0, bounds.length);
    await oracle.prefer(asked);
    const metas = async (): Promise<unknown[]> =>
      (await (await open(storage)).prefer(asked)).map((answer) => (answer as { meta: object }).meta);
    const plainly = { scores: SCORES, cached: true };
    const first = [true, false, false, false, false];
    expect(await metas()).toEqual([{ ...plainly, bounded }, plainly, plainly, { ...plainly, bounded: first }, plainly]);
    expect((await text(storage)).match(/bounded/g)).toHaveLength(2);
  });

  it('tells a question by ids of history and candidates, their order, and context', async () => {
    const oracle = await open(new MemoryStorage());
    const base: PreferenceQuery = { history: [1, 2], candidates: [0, 1, 2, 3] };
    await oracle.prefer([base]);
    await oracle.prefer([{ ...base, history: [2, 1] }]);
    await oracle.prefer([{ ...base, candidates: [1, 0, 2, 3] }]);
    await oracle.prefer([{ ...base, context: 'x' }]);
    expect(oracle.counts).toMatchObject({ asked: 4, replayed: 0 });
    await oracle.prefer([{ candidates: [0, 1, 2, 3], history: [1, 2] }]);
    expect(oracle.counts).toMatchObject({ asked: 4, replayed: 1 });
  });

  it('keeps no history, no candidate that was not chosen, and no context', async () => {
    const storage = new MemoryStorage();
    await (await open(storage)).prefer([{ history: [25, 23], candidates: [20, 21, 22, 24], context: 'secret' }]);
    const log = await text(storage);
    expect(log).toContain('track-20');
    expect(log).not.toMatch(/track-2[1-5]|Song|secret/);
  });

  it('asks identical questions once: within a batch, and while another call is asking', async () => {
    const inner = new ScriptedOracle(async () => {
      await sleepMs(5);
      return 1;
    });
    const oracle = await open(new MemoryStorage(), inner);
    const one = queries[0] as PreferenceQuery;
    const results = await Promise.all([oracle.prefer([one, one, one]), oracle.prefer([one]), oracle.prefer([one])]);
    expect(inner.queries).toHaveLength(1);
    expect(results.flat().map(plain)).toEqual([1, 1, 1, 1, 1]);
    expect(oracle.counts).toEqual({ asked: 1, replayed: 0, shared: 4 });
  });

  it('asks again what its first asker gave up', async () => {
    const inner = new ScriptedOracle((_, n) => (n === 0 ? new Promise(() => {}) : 1));
    const oracle = await open(new MemoryStorage(), inner);
    const controller = new AbortController();
    const one = queries.slice(0, 1);
    const first = oracle.prefer(one, { signal: controller.signal });
    const second = oracle.prefer(one);
    while (inner.queries.length === 0) await sleepMs(1);
    controller.abort('stop');
    await expect(first).rejects.toBe('stop');
    expect((await second).map(plain)).toEqual([1]);
    expect(inner.queries).toHaveLength(2);
    expect(oracle.counts).toEqual({ asked: 2, replayed: 0, shared: 0 });
  });

  it('leaves nobody waiting for a batch that ended before it was asked', async () => {
    const oracle = await open(new MemoryStorage());
    const [known, other] = queries as [PreferenceQuery, PreferenceQuery];
    await oracle.prefer([known]);
    // The second is told at once, from the record, and its listener throws before the first is asked.
    const broken = oracle.prefer([other, known], {
      onResult: () => {
        throw new Error('mine');
      },
    });
    await expect(broken).rejects.toThrow('mine');
    expect((await oracle.prefer([other])).map(plain)).toEqual([1]);
  });

  it('records what was answered before an abort, and tells nobody afterwards', async () => {
    const storage = new MemoryStorage();
    const controller = new AbortController();
    const inner = new ScriptedOracle(async (query, n) => {
      if (n === 5) {
        controller.abort('stop');
        await sleepMs(5);
      }
      return answerOf(query);
    });
    const told: number[] = [];
    await expect(
      (await open(storage, inner)).prefer(queries, { signal: controller.signal, onResult: (i) => told.push(i) }),
    ).rejects.toBe('stop');
    const before = told.length;
    await sleepMs(20);
    expect(told).toHaveLength(before);
    const again = scripted();
    await (await open(storage, again)).prefer(queries);
    expect(again.queries).toHaveLength(24 - 5);
  });

  it('rejects an aborted call when the answers that had come are written: a run started at once asks only the others', async () => {
    const storage = new MemoryStorage();
    const slow = { ...facade(storage), append: delayed(storage.append.bind(storage)) };
    const controller = new AbortController();
    const inner = new ScriptedOracle((query, n) => {
      // The five answers before are being written.
      if (n === 5) controller.abort('stop');
      return answerOf(query);
    });
    const running = (await open(slow, inner)).prefer(queries, { signal: controller.signal });
    await expect(running).rejects.toBe('stop');
    const again = scripted();
    await (await open(storage, again)).prefer(queries);
    expect(again.queries).toHaveLength(24 - 5);
  });

  describe('close', () => {
    it('waits until what is in flight is on record, also of a call that was aborted', async () => {
      for (const isAborted of [false, true]) {
        const storage = new MemoryStorage();
        const slow = { ...facade(storage), append: delayed(storage.append.bind(storage)) };
        const asked = signalled();
        const answered = signalled();
        const deaf: PreferenceOracle = {
          id: 'scripted',
          prefer: async (some) => {
            asked.tell();
            await answered.told;
            return scripted().prefer(some);
          },
        };
        const oracle = await open(slow, deaf);
        const controller = new AbortController();
        const outcome = oracle.prefer(queries, { signal: controller.signal }).then(
          (answers) => answers.length,
          (reason: unknown) => reason,
        );
        await asked.told;
        if (isAborted) controller.abort('stop');
        const closing = oracle.close();
        answered.tell();
        await closing;
        expect((await open(storage)).size).toBe(24);
        expect(await outcome).toBe(isAborted ? 'stop' : 24);
        await expect(oracle.prefer(queries)).rejects.toBeInstanceOf(DisposedError);
      }
    });

    it('ends at once where the oracle behind rejects its calls when it is closed', async () => {
      const hanging = new LlmOracle({ catalog, complete: () => new Promise<never>(() => {}), model: 'm' });
      const oracle = await open(new MemoryStorage(), hanging);
      const running = oracle.prefer(queries.slice(0, 3));
      running.catch(() => {});
      await vi.waitUntil(() => oracle.counts.asked === 3, { interval: 1 });
      const began = performance.now();
      await Promise.all([oracle.close(), oracle.close()]);
      expect(performance.now() - began).toBeLessThan(4_000);
      await expect(running).rejects.toBeInstanceOf(DisposedError);
    });

    it('gives up on an oracle that hangs, and writes nothing afterwards', async () => {
      const storage = new MemoryStorage();
      let answer = (): void => {};
      const hanging: PreferenceOracle = {
        id: 'scripted',
        prefer: (asked, options) =>
          new Promise((resolve) => {
            options?.onResult?.(0, { kind: 'none' });
            answer = () => {
              options?.onResult?.(1, { kind: 'none' });
              resolve(asked.map(() => ({ kind: 'none' })));
            };
          }),
      };
      const oracle = await open(storage, hanging);
      const running = oracle.prefer(queries.slice(0, 3));
      running.catch(() => {});
      await vi.waitUntil(() => oracle.counts.asked === 3, { interval: 1 });
      vi.useFakeTimers();
      try {
        let isClosed = false;
        const closing = oracle.close().then(() => {
          isClosed = true;
        });
        await vi.advanceTimersByTimeAsync(4_900);
        expect(isClosed).toBe(false);
        await vi.advanceTimersByTimeAsync(200);
        await closing;
      } finally {
        vi.useRealTimers();
      }
      await expect(running).rejects.toBeInstanceOf(DisposedError);
      answer();
      await sleepMs(2);
      expect((await open(storage)).size).toBe(1);
    });
  });

  it('hands an answer out only when it is written', async () => {
    const storage = new MemoryStorage();
    const oracle = await open(storage);
    const sizes: number[] = [];
    await oracle.prefer(queries, {
      onResult: () => {
        sizes.push(oracle.size);
      },
    });
    for (const [n, size] of sizes.entries()) expect(size).toBeGreaterThan(n);
  });

  it('works on an oracle that never calls onResult', async () => {
    const storage = new MemoryStorage();
    const silent: PreferenceOracle = {
      id: 'scripted',
      prefer: async (asked) => asked.map((query) => ({ kind: 'choice', choice: query.candidates[0] as number })),
    };
    const told: number[] = [];
    await (await open(storage, silent)).prefer(queries, { onResult: (i) => told.push(i) });
    expect(told.sort((a, b) => a - b)).toEqual(queries.map((_, i) => i));
    expect((await open(storage, silent)).size).toBe(24);
  });

  it('records no failure and no lie, and asks them again; invalid answers are recorded', async () => {
    const storage = new MemoryStorage();
    const liar: PreferenceOracle = {
      id: 'scripted',
      prefer: async () =>
        [
          { kind: 'failed', error: new OracleError('down') },
          { kind: 'choice', choice: 29 },
          { kind: 'maybe' },
          { kind: 'invalid', raw: 'x'.repeat(9_000) },
        ] as Preference[],
    };
    const results = await (await open(storage, liar)).prefer(queries.slice(0, 5));
    expect(results.map((result) => result.kind)).toEqual(['failed', 'failed', 'failed', 'invalid', 'failed']);
    const inner = scripted();
    const again = await (await open(storage, inner)).prefer(queries.slice(0, 5));
    expect(inner.queries).toHaveLength(4);
    expect((again[3] as { raw: string }).raw).toHaveLength(500);
  });

  it('resumes from a record torn at every byte: nothing is lost but the torn line', async () => {
    const storage = new MemoryStorage();
    const wanted = await (await open(storage)).prefer(queries.slice(0, 6));
    const bytes = (await storage.get(KEY)) as Uint8Array;
    for (let length = 0; length <= bytes.length; length++) {
      const torn = new MemoryStorage();
      await torn.put(KEY, bytes.subarray(0, length));
      const whole = bytes.subarray(0, length).filter((byte) => byte === 10).length;
      const inner = scripted();
      const oracle = await open(torn, inner);
      expect(oracle.size).toBe(Math.max(0, whole - 1));
      const results = await oracle.prefer(queries.slice(0, 6));
      expect(results.map(plain)).toEqual(wanted.map(plain));
      expect(inner.queries).toHaveLength(6 - Math.max(0, whole - 1));
      // The repaired record is whole again.
      expect((await open(torn)).size).toBe(6);
    }
  });

  it('killed anywhere, asks again only what was in flight, and ends with the answers of an unbroken run', async () => {
    const unbroken = (await (await open(new MemoryStorage())).prefer(queries)).map(plain);
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 0, max: 26 }),
        fc.nat(200),
        fc.integer({ min: 1, max: 8 }),
        async (appends, bytes, batch) => {
          const disk = new MemoryStorage();
          const before = scripted();
          try {
            const oracle = await open(dying(disk, appends, bytes), before);
            for (let i = 0; i < queries.length; i += batch) await oracle.prefer(queries.slice(i, i + batch));
          } catch (error) {
            expect(error).toBeInstanceOf(CheckpointError);
          }
          const after = scripted();
          const oracle = await open(disk, after);
          const kept = oracle.size;
          expect((await oracle.prefer(queries)).map(plain)).toEqual(unbroken);
          expect(after.queries).toHaveLength(24 - kept);
          // Everything that had been asked is kept but for the batch in flight.
          expect(before.queries.length - kept).toBeLessThanOrEqual(batch);
        },
      ),
      { seed: 3, numRuns: 60 },
    );
  });

  it('rejects when an answer cannot be written, and does not hand it out', async () => {
    const told: number[] = [];
    // Two appends come through, the header and the first answer; the others waited together and are the third.
    const oracle = await open(dying(new MemoryStorage(), 2, 0));
    await expect(oracle.prefer(queries, { onResult: (i) => told.push(i) })).rejects.toBeInstanceOf(CheckpointError);
    expect(told).toEqual([0]);
  });

  describe('refuses', () => {
    const recorded = async (): Promise<MemoryStorage> => {
      const storage = new MemoryStorage();
      await (await open(storage)).prefer(queries.slice(0, 3));
      return storage;
    };
    const edited = async (line: number, edit: (text: string) => string): Promise<MemoryStorage> => {
      const storage = await recorded();
      const lines = (await text(storage)).split('\n');
      lines[line] = edit(lines[line] as string);
      await storage.put(KEY, new TextEncoder().encode(lines.join('\n')));
      return storage;
    };

    it('the answers of another oracle', async () => {
      const opening = open(await recorded(), new ScriptedOracle([], { id: 'another' }));
      await expect(opening).rejects.toMatchObject({ code: 'INVALID_DATA', source: KEY, line: 1, field: 'oracle' });
    });

    it('answers about another catalogue: other items, other texts, or another scenario', async () => {
      const items = Array.from({ length: 30 }, (_, n) => ({ id: `track-${n}`, title: 'x' }));
      for (const other of [shop(30), catalogOf(items, ['title'])]) {
        const opening = RecordingOracle.open({ oracle: scripted(), catalog: other, storage: await recorded() });
        await expect(opening).rejects.toMatchObject({ code: 'INVALID_DATA', line: 1, field: 'catalog' });
      }
    });

    it.each<[string, number, (line: string) => string, number, string | undefined]>([
      ['another template', 0, (line) => line.replace('table1@1', 'table1@0'), 1, 'template'],
      ['another format', 0, (line) => line.replace('ialp-answers@1', 'other'), 1, 'format'],
      ['a header that is none', 0, () => '{"x":1}', 1, 'format'],
      ['a line that is no JSON', 2, () => '{"kind":', 3, undefined],
      ['a record without a key', 2, (line) => line.replace('"key"', '"Key"'), 3, 'key'],
      ['a record of an unknown kind', 2, (line) => line.replace('"choice"', '"perhaps"'), 3, 'kind'],
      ['an item outside the catalogue', 2, (line) => line.replace('track-', 'lost-'), 3, 'choice'],
    ])('%s, naming the line', async (_, line, edit, place, field) => {
      const opening = open(await edited(line, edit));
      await expect(opening).rejects.toBeInstanceOf(InvalidDataError);
      await expect(opening).rejects.toMatchObject({ source: KEY, line: place, field });
    });

    it('an item that the question did not show', async () => {
      const oracle = await open(await edited(1, (line) => line.replace('track-0', 'track-20')));
      await expect(oracle.prefer(queries)).rejects.toBeInstanceOf(InvalidDataError);
    });

    it('wrong options and wrong queries', async () => {
      const storage = new MemoryStorage();
      for (const wrong of [{ oracle: {} }, { storage: {} }, { catalog: [] }, { key: '../x' }, { path: 'x' }]) {
        const opening = RecordingOracle.open({ oracle: scripted(), catalog, storage, ...wrong } as never);
        await expect(opening).rejects.toBeInstanceOf(InvalidArgumentError);
      }
      const oracle = await open(storage);
      await expect(oracle.prefer([{ history: [], candidates: [1, 1] }])).rejects.toBeInstanceOf(InvalidArgumentError);
    });
  });
});

describe('ReplayOracle', () => {
  it("answers what was recorded, by the recorded oracle's id, and asks nobody", async () => {
    const storage = new MemoryStorage();
    const fresh = await (await open(storage)).prefer(queries);
    const replay = await ReplayOracle.open({ catalog, storage, oracleId: 'scripted' });
    expect(replay.id).toBe('scripted');
    expect(replay.size).toBe(24);
    expect((await replay.prefer(queries)).map(plain)).toEqual(fresh.map(plain));
  });

  it('fails an unknown question in its slot, or throws, as told', async () => {
    const storage = new MemoryStorage();
    await (await open(storage)).prefer(queries.slice(0, 1));
    const asked = queries.slice(0, 2);
    const results = await (await ReplayOracle.open({ catalog, storage })).prefer(asked);
    expect(results.map((result) => result.kind)).toEqual(['choice', 'failed']);
    const strict = await ReplayOracle.open({ catalog, storage, unknown: 'throw' });
    await expect(strict.prefer(asked)).rejects.toBeInstanceOf(OracleError);
  });

  it('refuses a record that is missing, empty or of another oracle', async () => {
    const storage = new MemoryStorage();
    await expect(ReplayOracle.open({ catalog, storage })).rejects.toBeInstanceOf(InvalidDataError);
    expect(await storage.list()).toEqual([]);
    await open(storage);
    const other = ReplayOracle.open({ catalog, storage, oracleId: 'other' });
    await expect(other).rejects.toMatchObject({ code: 'INVALID_DATA', field: 'oracle' });
  });
});

/** The methods of a storage, to replace some of them. */
function facade(storage: Storage): Storage {
  return {
    get: (key) => storage.get(key),
    put: (key, data) => storage.put(key, data),
    append: (key, data) => storage.append(key, data),
    list: (prefix) => storage.list(prefix),
    delete: (key) => storage.delete(key),
  };
}

/** A promise, and what resolves it. */
function signalled(): { readonly told: Promise<void>; readonly tell: () => void } {
  let tell = (): void => {};
  const told = new Promise<void>((resolve) => {
    tell = resolve;
  });
  return { told, tell };
}

/** The same, 10 ms later. */
function delayed<A extends readonly unknown[], R>(call: (...given: A) => Promise<R>): (...given: A) => Promise<R> {
  return async (...given) => {
    await sleepMs(10);
    return call(...given);
  };
}

/** A disk that dies in its `appends`-th append, after writing `bytes` of it. */
function dying(disk: Storage, appends: number, bytes: number): Storage {
  let left = appends;
  return {
    get: (key) => disk.get(key),
    put: (key, data) => (left < 0 ? Promise.reject(new CheckpointError('dead')) : disk.put(key, data)),
    list: (prefix) => disk.list(prefix),
    delete: (key) => disk.delete(key),
    append: async (key, data) => {
      if (left-- > 0) return disk.append(key, data);
      if (left === -1) await disk.append(key, data.subarray(0, Math.min(bytes, data.length - 1)));
      throw new CheckpointError('dead');
    },
  };
}
