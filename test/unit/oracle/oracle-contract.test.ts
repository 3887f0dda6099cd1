import { describe, expect, it } from 'vitest';
import { InvalidArgumentError } from '../../../src/foundation/errors.js';
import { MemoryStorage } from '../../../src/foundation/storage.js';
import { LlmOracle } from '../../../src/oracle/llm-oracle.js';
import { type PreferenceOracle, preferInBatches } from '../../../src/oracle/preference-oracle.js';
import { RecordingOracle } from '../../../src/oracle/recording-oracle.js';
import { ReplayOracle } from '../../../src/oracle/replay-oracle.js';
import { ScriptedOracle } from '../../../src/oracle/scripted-oracle.js';
import { SimulatedOracle } from '../../../src/oracle/simulated-oracle.js';
import { oracleContract } from '../../../src/testing/oracle-contract.js';
import { music, sleepMs } from './fixtures.js';

const catalog = music();
const llm = (mode: 'completion' | 'chat' = 'completion'): LlmOracle =>
  new LlmOracle({ catalog, mode, complete: async (prompt) => (prompt.length % 2 === 0 ? ' a' : 'None') });

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
