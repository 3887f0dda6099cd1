import { describe, expect, it } from 'vitest';
import { InvalidArgumentError } from '../../../src/foundation/errors.js';
import { MemoryStorage } from '../../../src/foundation/storage.js';
import { BudgetedOracle } from '../../../src/oracle/budgeted-oracle.js';
import { CachedOracle } from '../../../src/oracle/cached-oracle.js';
import { DebiasedOracle, type DebiasMethod } from '../../../src/oracle/debiased-oracle.js';
import { LikelihoodOracle } from '../../../src/oracle/likelihood-oracle.js';
import { LimitedOracle } from '../../../src/oracle/limited-oracle.js';
import { LlmOracle } from '../../../src/oracle/llm-oracle.js';
import { type PreferenceOracle, preferInBatches } from '../../../src/oracle/preference-oracle.js';
import { RecordingOracle } from '../../../src/oracle/recording-oracle.js';
import { ReplayOracle } from '../../../src/oracle/replay-oracle.js';
import { RetryingOracle } from '../../../src/oracle/retrying-oracle.js';
import { ScriptedOracle } from '../../../src/oracle/scripted-oracle.js';
import { SimulatedOracle } from '../../../src/oracle/simulated-oracle.js';
import { oracleContract } from '../../../src/testing/oracle-contract.js';
import { scriptedModel } from '../../../src/testing/scripted-model.js';
import { music, sleepMs } from './fixtures.js';

const catalog = music();
const llm = (mode: 'completion' | 'chat' = 'completion'): LlmOracle =>
  new LlmOracle({ catalog, mode, complete: async (prompt) => (prompt.length % 2 === 0 ? ' a' : 'None') });

/** Favours early letters, and songs with high numbers. */
const labelModel = scriptedModel({
  labels: (prompt, labels) =>
    labels.map((label, i) => Number(new RegExp(`\\b${label}\\. Song (\\d+);`).exec(prompt)?.[1] ?? 9) / 9 - i / 3),
});
const scored = (shuffle: boolean): LlmOracle => new LlmOracle({ catalog, languageModel: labelModel, shuffle });
const likelihood = (): LikelihoodOracle =>
  new LikelihoodOracle({
    catalog,
    languageModel: scriptedModel({
      continuation: (prefix, text) => -text.length - ((prefix.length * text.length) % 7),
    }),
  });
const calibration = [2, 3, 4].map((K) => ({ history: [1], candidates: Array.from({ length: K }, (_, i) => i) }));
const debiased = (method: DebiasMethod) => (): Promise<PreferenceOracle> =>
  DebiasedOracle.create({ oracle: scored(false), catalog, method, ...(method === 'pride' ? { calibration } : {}) });
const twoAtATime = (): PreferenceOracle =>
  new ScriptedOracle((query) => query.history.length % 2, { itemCount: 30, maxBatch: 2 });
/** Says no more than it must. */
const terse = (): PreferenceOracle => {
  const inner = twoAtATime();
  return {
    id: 'terse',
    maxBatch: 2,
    itemCount: 30,
    prefer: (queries, { signal } = {}) => inner.prefer(queries, signal === undefined ? {} : { signal }),
  };
};
/** Each decorator around each of a few oracles of different habits. */
const DECORATORS: Readonly<Record<string, (oracle: PreferenceOracle) => PreferenceOracle | Promise<PreferenceOracle>>> =
  {
    CachedOracle: (oracle) => CachedOracle.open({ oracle, catalog }),
    'CachedOracle, JSONL': (oracle) => CachedOracle.open({ oracle, catalog, storage: new MemoryStorage() }),
    'CachedOracle, a store of ones own': (oracle) =>
      CachedOracle.open({ oracle, catalog, store: new Map(), maxEntries: 1 }),
    LimitedOracle: (oracle) => new LimitedOracle({ oracle, concurrency: 2 }),
    RetryingOracle: (oracle) => new RetryingOracle({ oracle, retryDelayMs: 0 }),
    BudgetedOracle: (oracle) => new BudgetedOracle({ oracle, caps: { calls: 1_000 } }),
    'BudgetedOracle, one at a time': (oracle) => new BudgetedOracle({ oracle, caps: { calls: 1_000 }, concurrency: 1 }),
    'DebiasedOracle, cyclic by majority': (oracle) => DebiasedOracle.create({ oracle, catalog, method: 'cyclic' }),
    'all of them': async (oracle) =>
      RecordingOracle.open({
        oracle: await CachedOracle.open({
          oracle: new BudgetedOracle({
            oracle: new RetryingOracle({ oracle: new LimitedOracle({ oracle, concurrency: 3 }), retryDelayMs: 0 }),
            caps: { calls: 1_000 },
          }),
          catalog,
        }),
        catalog,
        storage: new MemoryStorage(),
        keepQueries: true,
      }),
  };
const BEHIND: Readonly<Record<string, () => PreferenceOracle>> = {
  'a LikelihoodOracle': likelihood,
  'a ScriptedOracle, two at a time': twoAtATime,
  'an oracle that tells nothing early': terse,
};

const ORACLES: Readonly<Record<string, () => PreferenceOracle | Promise<PreferenceOracle>>> = {
  'LlmOracle, completion': () => llm(),
  'LlmOracle, chat': () => llm('chat'),
  'LlmOracle, slow': () =>
    new LlmOracle({
      catalog,
      complete: async () => {
        await sleepMs(1);
        return 'b';
      },
    }),
  'LlmOracle whose model is down': () =>
    new LlmOracle({
      catalog,
      retries: 0,
      complete: async () => {
        throw new Error('down');
      },
    }),
  'LlmOracle whose model talks nonsense': () => new LlmOracle({ catalog, complete: async () => 'a rock song' }),
  'LlmOracle by probabilities': () => scored(true),
  LikelihoodOracle: likelihood,
  'LikelihoodOracle with storage': () =>
    new LikelihoodOracle({
      catalog,
      languageModel: scriptedModel({ continuation: (_, text) => -text.length }),
      storage: new MemoryStorage(),
    }),
  'DebiasedOracle, shuffle': debiased('shuffle'),
  'DebiasedOracle, cyclic': debiased('cyclic'),
  'DebiasedOracle, contextual': debiased('contextual'),
  'DebiasedOracle, pride': debiased('pride'),
  'RecordingOracle of a LikelihoodOracle, questions kept': () =>
    RecordingOracle.open({
      oracle: likelihood(),
      catalog,
      storage: new MemoryStorage(),
      keepQueries: true,
      keepContext: true,
    }),
  ScriptedOracle: () => new ScriptedOracle((query) => query.history.length % 2, { itemCount: 30 }),
  'ScriptedOracle, two at a time': () => new ScriptedOracle(() => 'none', { itemCount: 30, maxBatch: 2 }),
  'ScriptedOracle, run out': () => new ScriptedOracle([], { itemCount: 30 }),
  SimulatedOracle: () => new SimulatedOracle({ catalog }),
  'SimulatedOracle, random': () => new SimulatedOracle({ catalog, control: 'random' }),
  'SimulatedOracle, shuffled text': () => new SimulatedOracle({ catalog, shuffledText: 1 }),
  'RecordingOracle of a SimulatedOracle': () =>
    RecordingOracle.open({ oracle: new SimulatedOracle({ catalog }), catalog, storage: new MemoryStorage() }),
  'RecordingOracle of an LlmOracle': () =>
    RecordingOracle.open({ oracle: llm(), catalog, storage: new MemoryStorage() }),
  'RecordingOracle of a ScriptedOracle, two at a time': () =>
    RecordingOracle.open({
      oracle: new ScriptedOracle(() => 0, { itemCount: 30, maxBatch: 2 }),
      catalog,
      storage: new MemoryStorage(),
    }),
  ReplayOracle: async () => {
    const storage = new MemoryStorage();
    const recording = await RecordingOracle.open({ oracle: new SimulatedOracle({ catalog }), catalog, storage });
    await recording.prefer([{ history: [0, 1], candidates: [2, 3] }]);
    return ReplayOracle.open({ catalog, storage });
  },
};

for (const [name, makeOracle] of Object.entries(ORACLES)) {
  describe(name, () => {
    for (const { name: check, run } of oracleContract(makeOracle, { catalog })) it(check, run);
  });
}

for (const [decorator, around] of Object.entries(DECORATORS)) {
  for (const [inner, behind] of Object.entries(BEHIND)) {
    describe(`${decorator} around ${inner}`, () => {
      for (const { name: check, run } of oracleContract(() => around(behind()), { catalog })) it(check, run);

      it('passes on id, bounds, estimate and close', async () => {
        let closed = 0;
        const oracle = behind();
        const spy: PreferenceOracle = Object.assign(Object.create(oracle) as PreferenceOracle, {
          prefer: (...args: Parameters<PreferenceOracle['prefer']>) => oracle.prefer(...args),
          ...(oracle.estimate === undefined
            ? {}
            : {
                estimate: async (queries: Parameters<PreferenceOracle['prefer']>[0]) =>
                  (await oracle.estimate?.(queries)) ?? [],
              }),
          close: async () => {
            closed++;
          },
        });
        const outer = await around(spy);
        expect(outer.id.startsWith(oracle.id)).toBe(true);
        expect(outer.maxBatch).toBe(oracle.maxBatch);
        expect(outer.itemCount).toBe(30);
        expect(outer.estimate === undefined).toBe(oracle.estimate === undefined);
        const query = { history: [1], candidates: [2, 3] };
        // What an item costs by itself is paid now.
        await oracle.prefer([query]);
        const priced = await outer.estimate?.([query]);
        const calls = decorator.includes('cyclic') ? 2 : 1;
        expect(priced?.[0]?.inputTokens).toBe(
          priced && calls * ((await oracle.estimate?.([query]))?.[0]?.inputTokens ?? 0),
        );
        await outer.close?.();
        await outer.close?.();
        expect(closed).toBeGreaterThan(0);
      });
    });
  }
}

describe('ten lines of your own', () => {
  const mine: PreferenceOracle = {
    id: 'mine',
    prefer: async (queries, { signal } = {}) => {
      signal?.throwIfAborted();
      return queries.map(({ candidates }) => ({ kind: 'choice', choice: Math.min(...candidates) }));
    },
  };
  for (const { name, run } of oracleContract(() => mine, { catalog, refuses: 'nothing' })) it(name, run);

  it('without a catalogue refuse what is malformed in itself', async () => {
    const blind = (): PreferenceOracle => new ScriptedOracle(() => 0);
    for (const { run } of oracleContract(blind, { catalog, refuses: 'form' })) await run();
    const strict = oracleContract(blind, { catalog }).find(({ name }) => name.includes('outside the catalogue'));
    await expect(strict?.run()).rejects.toThrow('The contract of PreferenceOracle is broken');
  });
});

describe('oracleContract finds', () => {
  const honest = (): PreferenceOracle => new SimulatedOracle({ catalog });
  const failing = async (oracle: () => PreferenceOracle): Promise<string[]> => {
    const names: string[] = [];
    for (const { name, run } of oracleContract(oracle, { catalog })) {
      await run().catch((error: Error) => {
        expect(error.message).toMatch(/^The contract of PreferenceOracle is broken/);
        names.push(name);
      });
    }
    return names;
  };
  let calls = 0;
  let made = 0;

  it.each<[string, () => PreferenceOracle, RegExp]>([
    [
      'an item that was not shown',
      () => ({
        ...broken(honest),
        prefer: async (q, o) => (await honest().prefer(q, o)).map(() => ({ kind: 'choice', choice: 29 }) as const),
      }),
      /choosing among the candidates/,
    ],
    [
      'a result too few',
      () => ({ ...broken(honest), prefer: async (q, o) => (await honest().prefer(q, o)).slice(1) }),
      /one well-formed result/,
    ],
    [
      'results in another order',
      () => ({
        ...broken(honest),
        prefer: async (q, o) => [...(await new ScriptedOracle(() => 0, { itemCount: 30 }).prefer(q, o))].reverse(),
      }),
      /choosing among/,
    ],
    [
      'a changed query',
      () => ({
        ...broken(honest),
        prefer: async (q, o) => {
          const answers = await honest().prefer(q, o);
          for (const query of q) (query as { history: unknown }).history = [];
          return answers;
        },
      }),
      /./,
    ],
    [
      'bounds of scores that it does not tell',
      () => ({
        ...broken(honest),
        prefer: async (q, o) =>
          (await honest().prefer(q, o)).map((answer) => ({ ...answer, meta: { bounded: [true] } }) as never),
      }),
      /one well-formed result/,
    ],
    ['a signal ignored', () => ({ ...broken(honest), prefer: (q) => honest().prefer(q) }), /aborted already/],
    [
      'a reason of its own',
      () => ({
        ...broken(honest),
        prefer: async (q, o) => {
          if (o?.signal?.aborted === true) throw new Error('aborted');
          return honest().prefer(q);
        },
      }),
      /aborted already/,
    ],
    [
      'answers that depend on the order of calls',
      () => ({
        ...broken(honest),
        prefer: async (q, o) => {
          await honest().prefer(q, o);
          return q.map((query) => ({ kind: 'choice', choice: query.candidates[calls++ % 2] as number }) as const);
        },
      }),
      /whatever was asked before/,
    ],
    [
      'an estimate too few',
      () => ({ ...broken(honest), estimate: async (q) => q.slice(1).map(() => ({ inputTokens: 1 })) }),
      /estimates one cost per query/,
    ],
    [
      'an estimate that is no cost',
      () => ({ ...broken(honest), estimate: async (q) => q.map(() => ({ inputTokens: Number.NaN })) }),
      /estimates one cost per query/,
    ],
    ['fewer items than it is asked about', () => ({ ...broken(honest), itemCount: 29 }), /sensible bounds/],
    ['an id that is new each time', () => ({ ...broken(honest), id: `x${made++}` }), /stable/],
    [
      'an unchecked query',
      () => ({
        ...broken(honest),
        prefer: async (q, o) => {
          o?.signal?.throwIfAborted();
          return q.map((query) => ({ kind: 'choice', choice: query.candidates[0] as number }) as const);
        },
      }),
      /refuses a repeated candidate/,
    ],
  ])('%s', async (_, oracle, check) => {
    const names = await failing(oracle);
    expect(names.join('\n')).toMatch(check);
  });

  it('nothing in an honest oracle', async () => expect(await failing(honest)).toEqual([]));

  function broken(make: () => PreferenceOracle): PreferenceOracle {
    const oracle = make();
    return { id: oracle.id, prefer: (q, o) => oracle.prefer(q, o) };
  }
});

describe('preferInBatches', () => {
  it('splits by maxBatch, keeps the order, and tells positions in the whole list', async () => {
    const oracle = new ScriptedOracle((query) => query.history.length % 2, { maxBatch: 3 });
    const queries = Array.from({ length: 8 }, (_, i) => ({
      history: new Array<number>(i).fill(0),
      candidates: [1, 2],
    }));
    const told: number[] = [];
    const results = await preferInBatches(oracle, queries, { onResult: (i) => told.push(i) });
    expect(results.map((result) => (result as { choice: number }).choice)).toEqual([1, 2, 1, 2, 1, 2, 1, 2]);
    expect(told).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
    await expect(oracle.prefer(queries)).rejects.toBeInstanceOf(InvalidArgumentError);
    expect(await preferInBatches(oracle, [])).toEqual([]);
  });
});

describe('ScriptedOracle', () => {
  it('answers a list in order, remembers what it was asked, and fails when it runs out', async () => {
    const oracle = new ScriptedOracle([
      1,
      'none',
      'invalid',
      'failed',
      { kind: 'choice', choice: 7 },
      { kind: 'choice', choice: 9 },
      5,
    ]);
    const query = { history: [], candidates: [7, 8] };
    const results = await oracle.prefer(new Array(8).fill(query));
    expect(results.map((result) => (result.kind === 'choice' ? result.choice : result.kind))).toEqual([
      8,
      'none',
      'invalid',
      'failed',
      7,
      'failed',
      'failed',
      'failed',
    ]);
    expect(oracle.queries).toHaveLength(8);
  });

  it('turns what its script throws into a failure, and stops a waiting one on abort', async () => {
    const throwing = new ScriptedOracle(() => {
      throw new Error('mine');
    });
    expect((await throwing.prefer([{ history: [], candidates: [1, 2] }]))[0]).toMatchObject({
      kind: 'failed',
      error: { code: 'ORACLE' },
    });
    const controller = new AbortController();
    const waiting = new ScriptedOracle(() => new Promise(() => {})).prefer([{ history: [], candidates: [1, 2] }], {
      signal: controller.signal,
    });
    await sleepMs(1);
    controller.abort('stop');
    await expect(waiting).rejects.toBe('stop');
  });

  it.each([
    ['a script that is none', 'a', {}],
    ['an unknown option', [], { name: 'x' }],
  ])('refuses %s', (_, script, options) => {
    expect(() => new ScriptedOracle(script as never, options as never)).toThrow(InvalidArgumentError);
  });
});
