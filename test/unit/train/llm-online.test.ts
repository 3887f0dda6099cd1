import { beforeAll, describe, expect, it } from 'vitest';
import { useBackend } from '../../../src/compute/backend.js';
import { InvalidArgumentError, OracleError } from '../../../src/foundation/errors.js';
import { evaluate } from '../../../src/metrics/evaluate.js';
import type { PreferenceQuery } from '../../../src/oracle/preference-oracle.js';
import { type ScriptedAnswer, ScriptedOracle } from '../../../src/oracle/scripted-oracle.js';
import { identityEnv } from '../../../src/testing/tiny-envs.js';
import { llmOnline } from '../../../src/train/llm-online.js';
import { altered, lastItemAgent } from '../../learning/tiny-learners.js';
import { adaptOptions, catalog, smallAgent, smallEnv, watched } from './small-runs.js';

beforeAll(async () => {
  await useBackend('wasm');
});

const first = () => new ScriptedOracle(() => 0);

/** Options of a short run, and what was shown and asked in it. */
function short(script: (query: PreferenceQuery) => ScriptedAnswer) {
  const shown: number[] = [];
  const oracle = new ScriptedOracle(script);
  const env = smallEnv();
  const step = env.step.bind(env);
  const watching = {
    ...watched(env, () => {}),
    step: (actions: Int32Array) => {
      shown.push(...actions);
      return step(actions);
    },
  };
  return {
    options: { ...adaptOptions(smallAgent()), env: watching, oracle, steps: 40, candidateCount: 5 },
    shown,
    oracle,
  };
}

describe('llmOnline', () => {
  it('shows what the oracle chose of k distinct candidates', async () => {
    const { options, shown, oracle } = short((query) => query.candidates.length - 1);
    const { policy, chosen, nones, unusable, oracleCalls, steps } = await llmOnline(options);
    policy.dispose();
    expect(shown).toEqual(oracle.queries.map(({ candidates }) => candidates.at(-1)));
    expect(oracle.queries.every(({ candidates }) => new Set(candidates).size === 5)).toBe(true);
    expect({ chosen, nones, unusable, oracleCalls, steps }).toEqual({
      ...{ chosen: 40, nones: 0, unusable: 0, oracleCalls: 40, steps: 40 },
    });
  });

  it('shows any of the k on None, by chance', async () => {
    const { options, shown, oracle } = short(() => 'none');
    const { policy, nones } = await llmOnline(options);
    policy.dispose();
    expect(nones).toBe(40);
    const places = shown.map((item, i) => oracle.queries[i]?.candidates.indexOf(item));
    expect(new Set(places)).toEqual(new Set([0, 1, 2, 3, 4]));
  });

  it('takes the reward from the environment, not from the oracle', async () => {
    // The oracle always finds the item that the world rewards; where the world pays the opposite, the policy leaves it.
    const reach = async (sign: number): Promise<number> => {
      const world = identityEnv({ items: 5, steps: 5, size: 8 });
      using agent = lastItemAgent(world.catalog, 1, 'state');
      const oracle = new ScriptedOracle(({ history, candidates }) => {
        const right = candidates.indexOf(history.at(-1) as number);
        return right >= 0 ? right : 'none';
      });
      const { policy, curve } = await llmOnline({
        ...{ agent, oracle, steps: 1200, candidateCount: 4, seed: 1 },
        env: altered(world, (step) => ({ ...step, rewards: step.rewards.map((reward) => sign * reward) })),
        algorithm: { name: 'replay', rewardScale: 1, learningRate: 0.01 },
      });
      using learned = policy;
      expect(curve.length).toBeGreaterThan(50);
      const [row] = await evaluate({
        ...{ policies: { learned }, env: identityEnv({ items: 5, steps: 5, size: 8 }), episodes: 100 },
        modes: ['sampled'],
      });
      return row?.return as number;
    };
    expect(await reach(1)).toBeGreaterThan(4);
    expect(await reach(-1)).toBeLessThan(0.5);
  });

  it('ends, with advice, when too many answers cannot be used', async () => {
    const { options } = short((query) => (query.history.length % 2 === 0 ? 'invalid' : 0));
    await expect(llmOnline({ ...options, steps: 400 })).rejects.toThrow(/could not be used.*retryInvalid/s);
    const { options: failing } = short(() => 'failed');
    await expect(llmOnline(failing)).rejects.toThrow(OracleError);
  });

  it('refuses more candidates than a user has left, and options that are not its own', async () => {
    using agent = smallAgent();
    const base = { agent, env: smallEnv(), oracle: first(), steps: 8 };
    await expect(llmOnline({ ...base, candidateCount: catalog.size + 1 })).rejects.toThrow(/candidateCount.*at most/s);
    // @ts-expect-error: a mixture has no LLM in the loop
    await expect(llmOnline({ ...base, scheme: 'mixture' })).rejects.toThrow(InvalidArgumentError);
    // @ts-expect-error
    await expect(llmOnline({ ...base, oracle: undefined })).rejects.toThrow(/PreferenceOracle/);
  });
});
