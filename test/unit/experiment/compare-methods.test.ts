import { beforeAll, describe, expect, it } from 'vitest';
import { useBackend } from '../../../src/compute/backend.js';
import { mean } from '../../../src/encoder/mean-encoder.js';
import { type ComparisonOptions, compareMethods } from '../../../src/experiment/compare-methods.js';
import { constantSchedule } from '../../../src/foundation/schedules.js';
import { MemoryStorage } from '../../../src/foundation/storage.js';
import type { PreferenceOracle } from '../../../src/oracle/preference-oracle.js';
import { SimulatedOracle } from '../../../src/oracle/simulated-oracle.js';
import { checkLeaks } from '../../../src/testing/leak-check.js';
import { syntheticWorld } from '../../../src/world/synthetic-world.js';

const world = syntheticWorld({ items: 60, categories: 6 });
const { catalog } = world;

function comparison(change: Partial<ComparisonOptions> = {}): ComparisonOptions {
  return {
    world,
    agent: (seed) => ({ catalog, encoder: mean({ width: 4 }), items: 'id', historyFeatures: false, seed }),
    oracle: (seed) => new SimulatedOracle({ catalog, seed }),
    shuffledOracle: (seed) => new SimulatedOracle({ catalog, seed, shuffledText: seed }),
    calls: 64,
    starts: 8,
    algorithm: 'ppo',
    alpha: constantSchedule(0.5),
    steps: 32,
    marks: [32],
    stepsPerEpoch: 32,
    lanes: 4,
    episodes: 4,
    seeds: [1],
    ...change,
  };
}

beforeAll(async () => {
  await useBackend('cpu');
});

describe('compareMethods', () => {
  it.each([
    ['list', undefined],
    ['list', { name: 'list', batchSize: 16 }],
    ['paper', 'paper'],
    ['paper', { name: 'paper', batchSize: 16 }],
  ] as const)(
    'calls the pre-trained rows those of %s where that is how they learned',
    async (name, pretrainAlgorithm) => {
      const agent = comparison().agent;
      const { rows } = await compareMethods(
        comparison({
          ...(pretrainAlgorithm ? { pretrainAlgorithm: pretrainAlgorithm as never } : {}),
          // 'paper' reads either critic; ppo needs the state's.
          agent: (seed) => ({ ...agent(seed), critic: 'state' }),
        }),
      );
      const of = (method: string) =>
        new Set(rows.filter((row) => row.method === method).map(({ algorithm }) => algorithm));
      for (const method of ['ialp', 'ialpShuffledOracle', 'wrongSign'])
        expect(of(method), method).toEqual(new Set([name]));
      expect(of('fineTune')).toEqual(new Set(['ppo']));
    },
  );

  it('leaves nothing behind when a pre-training fails, nor when a measurement cannot be kept', async () => {
    let asked = 0;
    const broken = (seed: number): PreferenceOracle => {
      const oracle = new SimulatedOracle({ catalog, seed });
      return {
        id: oracle.id,
        prefer: (queries, options) => {
          asked += queries.length;
          if (asked > 40) throw new Error('the oracle broke');
          return oracle.prefer(queries, options);
        },
      };
    };
    for (const which of ['oracle', 'shuffledOracle'] as const) {
      await checkLeaks(async () => {
        asked = 0;
        await expect(compareMethods(comparison({ [which]: broken }))).rejects.toThrow('the oracle broke');
      });
    }
    for (const method of ['ialp', 'ialpShuffledOracle', 'wrongSign', 'fineTune', 'mixture']) {
      await checkLeaks(
        async () => {
          const storage = new MemoryStorage();
          const append = storage.append.bind(storage);
          storage.append = (key, bytes) =>
            new TextDecoder().decode(bytes).includes(`"method":"${method}"`)
              ? Promise.reject(new Error(`no room for ${method}`))
              : append(key, bytes);
          await expect(compareMethods(comparison({ storage }))).rejects.toThrow(`no room for ${method}`);
        },
        { calls: 1 },
      );
    }
  });
});
