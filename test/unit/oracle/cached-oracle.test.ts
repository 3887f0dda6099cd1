import { describe, expect, it } from 'vitest';
import { DisposedError, InvalidArgumentError, InvalidDataError, OracleError } from '../../../src/foundation/errors.js';
import { MemoryStorage } from '../../../src/foundation/storage.js';
import { CachedOracle, type CachedOracleOptions } from '../../../src/oracle/cached-oracle.js';
import type { Preference, PreferenceQuery } from '../../../src/oracle/preference-oracle.js';
import { ScriptedOracle } from '../../../src/oracle/scripted-oracle.js';
import { catalogOf, sleepMs } from './fixtures.js';

const items = (change: (n: number) => string = (n) => `Song ${n}`) =>
  Array.from({ length: 12 }, (_, n) => ({ id: `i${n}`, title: change(n) }));
const catalog = catalogOf(items(), ['title']);
const KEY = 'cache.jsonl';
const QUERY: PreferenceQuery = { history: [1, 2], candidates: [3, 4, 5], context: 'a secret' };
const SCORES = [-1, Number.NEGATIVE_INFINITY, -2, -3];
const scripted = (id = 'scripted'): ScriptedOracle =>
  new ScriptedOracle(
    (query) => ({
      kind: 'choice',
      choice: query.candidates[2] as number,
      meta: { scores: SCORES, usage: { calls: 1, inputTokens: 9 } },
    }),
    { id },
  );
const open = (options: Partial<CachedOracleOptions> = {}): Promise<CachedOracle> =>
  CachedOracle.open({ oracle: scripted(), catalog, ...options });
const text = async (storage: MemoryStorage): Promise<string> => new TextDecoder().decode(await storage.get(KEY));
const choice = (answer: Preference | undefined): number => (answer as { choice: number }).choice;

describe('CachedOracle', () => {
  it('asks once, and then answers by itself, marked, without a cost, scores as they were', async () => {
    const inner = scripted();
    const oracle = await open({ oracle: inner });
    const [fresh] = await oracle.prefer([QUERY]);
    expect((fresh as { meta: object }).meta).toMatchObject({ usage: { inputTokens: 9 } });
    const [again, twice] = await oracle.prefer([QUERY, QUERY]);
    expect(again).toEqual({ kind: 'choice', choice: 5, meta: { scores: SCORES, cached: true } });
    expect(twice).toEqual(again);
    expect(inner.queries).toHaveLength(1);
    expect(oracle.counts).toEqual({ asked: 1, replayed: 2, shared: 0 });
  });

  it('goes by texts: a changed title of any item shown is another question, a changed id or index is not', async () => {
    const storage = new MemoryStorage();
    await (await open({ storage })).prefer([QUERY]);
    for (const changed of [1, 3]) {
      const inner = scripted();
      const retitled = catalogOf(
        items((n) => (n === changed ? 'Song X' : `Song ${n}`)),
        ['title'],
      );
      await (await open({ oracle: inner, storage, catalog: retitled })).prefer([QUERY]);
      expect(inner.queries).toHaveLength(1);
    }
    const inner = scripted();
    const moved = catalogOf(
      [{ id: 'new', title: 'New' }, ...items().map(({ id, title }) => ({ id: `${id}b`, title }))],
      ['title'],
    );
    const [answer] = await (await open({ oracle: inner, storage, catalog: moved })).prefer([
      { ...QUERY, history: [2, 3], candidates: [4, 5, 6] },
    ]);
    expect(inner.queries).toEqual([]);
    expect(choice(answer)).toBe(6);
  });

  it('tells questions apart by oracle, order, context and the words of the catalogue', async () => {
    const storage = new MemoryStorage();
    const asked = async (options: Partial<CachedOracleOptions>, query: PreferenceQuery): Promise<number> => {
      const inner = options.oracle ?? scripted();
      await (await open({ storage, ...options, oracle: inner })).prefer([query]);
      return (inner as ScriptedOracle).queries.length;
    };
    const { context: _, ...bare } = QUERY;
    expect(await asked({}, QUERY)).toBe(1);
    expect(await asked({}, bare)).toBe(1);
    expect(await asked({}, { ...QUERY, context: 'another' })).toBe(1);
    expect(await asked({}, { ...QUERY, history: [2, 1] })).toBe(1);
    expect(await asked({}, { ...QUERY, candidates: [4, 3, 5] })).toBe(1);
    expect(await asked({ oracle: scripted('other') }, QUERY)).toBe(1);
    expect(await asked({ catalog: catalogOf(items(), ['title'], 'song') }, QUERY)).toBe(1);
    expect(await asked({}, QUERY)).toBe(0);
  });

  it('shares what is in flight, also between items of equal text', async () => {
    const twins = catalogOf(
      items((n) => `Song ${n % 6}`),
      ['title'],
    );
    let calls = 0;
    const inner = new ScriptedOracle(async () => {
      calls++;
      // In flight until the other question waits for it, however busy the machine is; one that never waits runs out of time.
      while (oracle.counts.shared === 0) await sleepMs(1);
      return 2;
    });
    const oracle = await open({ oracle: inner, catalog: twins });
    const a = { history: [1], candidates: [3, 4, 5] };
    const b = { history: [7], candidates: [9, 10, 11] };
    const [first, second] = await Promise.all([oracle.prefer([a]), oracle.prefer([b])]);
    expect([choice(first[0]), choice(second[0])]).toEqual([5, 11]);
    expect(calls).toBe(1);
    expect(oracle.counts).toEqual({ asked: 1, replayed: 0, shared: 1 });
  });

  it('writes one line an answer under a header, and neither item, text nor context', async () => {
    const storage = new MemoryStorage();
    await (await open({ storage })).prefer([QUERY, { ...QUERY, history: [] }]);
    const lines = (await text(storage)).trim().split('\n');
    expect(lines.map((line) => JSON.parse(line) as object)).toMatchObject([
      { format: 'ialp-cache@1' },
      { kind: 'choice', place: 2, meta: { scores: [-1, null, -2, -3] } },
      { kind: 'choice', place: 2 },
    ]);
    expect(lines.join()).not.toMatch(/Song|secret|"i\d+"/);
  });

  it('asks again what failed, and, unless told otherwise, what could not be read', async () => {
    const script = (): ScriptedOracle =>
      new ScriptedOracle(['invalid', { kind: 'failed', error: new OracleError('down') }, 'none', 'none'], { id: 's' });
    const queries = [QUERY, { ...QUERY, history: [] }];
    for (const cacheInvalid of [false, true]) {
      const inner = script();
      const oracle = await open({ oracle: inner, cacheInvalid });
      expect((await oracle.prefer(queries)).map(({ kind }) => kind)).toEqual(['invalid', 'failed']);
      expect((await oracle.prefer(queries)).map(({ kind }) => kind)).toEqual(
        cacheInvalid ? ['invalid', 'none'] : ['none', 'none'],
      );
      expect(inner.queries).toHaveLength(cacheInvalid ? 3 : 4);
    }
  });

  it('survives a torn last line, and refuses a damaged one and what is no cache', async () => {
    const storage = new MemoryStorage();
    await (await open({ storage })).prefer([QUERY, { ...QUERY, history: [] }]);
    const whole = await text(storage);
    const put = (log: string): Promise<void> => storage.put(KEY, new TextEncoder().encode(log));
    await put(whole.slice(0, -7));
    const torn = await open({ storage });
    expect(torn.size).toBe(1);
    await torn.prefer([{ ...QUERY, history: [] }]);
    expect(await text(storage)).toBe(whole);
    await put(whole.replace('"place":2', '"place":"c"'));
    await expect(open({ storage })).rejects.toMatchObject({ name: InvalidDataError.name, line: 2, field: 'place' });
    await put(whole.replace('"kind":"choice"', '"kind":"choice'));
    await expect(open({ storage })).rejects.toMatchObject({ name: InvalidDataError.name, line: 2 });
    await put(whole.replace('ialp-cache@1', 'ialp-answers@1'));
    await expect(open({ storage })).rejects.toMatchObject({ name: InvalidDataError.name, line: 1 });
    await put(whole.replace('"place":2', '"place":7'));
    const [key] = /[0-9a-f]{64}/.exec(whole) as RegExpExecArray;
    await expect((await open({ storage })).prefer([QUERY])).rejects.toThrow(key);
  });

  it('keeps in memory no more than its cap, the latest used', async () => {
    const inner = scripted();
    const oracle = await open({ oracle: inner, maxEntries: 2 });
    const [a, b, c] = [1, 2, 3].map((item) => ({ ...QUERY, history: [item] }));
    for (const query of [a, b, a, c, a, b]) await oracle.prefer([query as PreferenceQuery]);
    // a b (a) c: b fell out; (a) b again.
    expect(inner.queries.map(({ history }) => history[0])).toEqual([1, 2, 3, 2]);
    expect(oracle.size).toBe(2);
  });

  it('keeps to a store of the user’s own, asynchronous or not', async () => {
    const held = new Map<string, string>();
    const slow = {
      get: async (key: string) => {
        await sleepMs(1);
        return held.get(key) ?? null;
      },
      set: async (key: string, value: string) => {
        await sleepMs(1);
        held.set(key, value);
      },
    };
    await (await open({ store: slow })).prefer([QUERY]);
    expect([...held.keys()]).toEqual([expect.stringMatching(/^[0-9a-f]{64}$/)]);
    const inner = scripted();
    const again = await open({ oracle: inner, store: held });
    const overlapping = await Promise.all([again.prefer([QUERY, QUERY]), again.prefer([QUERY])]);
    expect(overlapping.flat().map(choice)).toEqual([5, 5, 5]);
    expect(inner.queries).toEqual([]);
    const slowly = await open({ oracle: inner, store: slow });
    const both = await Promise.all([slowly.prefer([QUERY, QUERY]), slowly.prefer([QUERY])]);
    expect(both.flat().map(choice)).toEqual([5, 5, 5]);
    expect(slowly.counts).toEqual({ asked: 0, replayed: 1, shared: 2 });
    held.set([...held.keys()][0] as string, '{"kind":"choice"}');
    await expect((await open({ store: held })).prefer([QUERY])).rejects.toThrow(InvalidDataError);
    held.set([...held.keys()][0] as string, 'what');
    await expect((await open({ store: held })).prefer([QUERY])).rejects.toThrow(/as JSON/);
  });

  it('rejects when its store does, and leaves nobody waiting', async () => {
    let isDown = true;
    const store = {
      get: async () => {
        if (isDown) throw new Error('down');
        return undefined;
      },
      set: async () => {},
    };
    const oracle = await open({ store });
    await expect(Promise.all([oracle.prefer([QUERY]), oracle.prefer([QUERY])])).rejects.toThrow('down');
    isDown = false;
    expect(choice((await oracle.prefer([QUERY]))[0])).toBe(5);
  });

  it('estimates nothing for what it holds, and once for what is asked twice', async () => {
    const inner = Object.assign(scripted(), {
      estimate: async (queries: readonly PreferenceQuery[]) => queries.map(() => ({ calls: 1, inputTokens: 9 })),
    });
    const oracle = await open({ oracle: inner });
    await oracle.prefer([QUERY]);
    const other = { ...QUERY, history: [] };
    expect((await oracle.estimate?.([other, QUERY, other]))?.map(({ calls }) => calls)).toEqual([1, 0, 0]);
  });

  it('closes once, and is closed then', async () => {
    let closed = 0;
    const oracle = await open({ oracle: Object.assign(scripted(), { close: async () => void closed++ }) });
    await oracle.close();
    await oracle.close();
    expect(closed).toBe(1);
    await expect(oracle.prefer([QUERY])).rejects.toBeInstanceOf(DisposedError);
  });

  it.each<[string, object]>([
    ['two places', { storage: new MemoryStorage(), store: new Map() }],
    ['a store that is none', { store: { get: () => undefined } }],
    ['room for nothing', { maxEntries: 0 }],
    ['no catalogue', { catalog: undefined }],
  ])('refuses %s', async (_, options) => {
    await expect(open(options)).rejects.toThrow(InvalidArgumentError);
  });
});
