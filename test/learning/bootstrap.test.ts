/**
 * Every step pays 1 and every episode has one step. If the user left, the state was worth 1; if we stopped counting, it was worth
 * 1 + gamma + gamma^2 + ... = 1 / (1 - gamma). A learner that treats the two alike, or confuses them, is found out.
 */
import { beforeAll, describe, expect, it } from 'vitest';
import type { ActorCritic } from '../../src/agent/actor-critic.js';
import { useBackend } from '../../src/compute/backend.js';
import { historyBatch } from '../../src/compute/history-batch.js';
import { chainEnv } from '../../src/testing/tiny-envs.js';
import { type AdaptAlgorithm, adapt } from '../../src/train/adapt.js';
import { altered, lastItemAgent } from './tiny-learners.js';

const GAMMA = 0.8;
const VALUE = { terminated: 1, truncated: 1 / (1 - GAMMA) };

beforeAll(async () => {
  await useBackend('wasm');
});

/** The critic's mean over the three states, after training. */
async function valueAfter(options: {
  readonly ends: 'terminated' | 'truncated';
  readonly algorithm: AdaptAlgorithm;
  readonly critic: 'state' | 'action';
  readonly isSwapped?: boolean;
}): Promise<number> {
  const { ends, algorithm, critic, isSwapped = false } = options;
  const world = chainEnv({ steps: 1, ends, size: 8 });
  using agent = lastItemAgent(world.catalog, 1, critic);
  const env = isSwapped
    ? altered(world, (step) => ({ ...step, terminated: step.truncated, truncated: step.terminated }))
    : world;
  const { policy, learner } = await adapt({ agent, env, steps: 4000, algorithm, seed: 1 });
  using _policy = policy;
  return meanValue(learner);
}

function meanValue(learner: ActorCritic): number {
  const histories = historyBatch([[0], [1], [2]]);
  const items = Int32Array.of(0, 1, 2, 0, 1, 2, 0, 1, 2);
  const scores =
    learner.settings.critic === 'state'
      ? learner.forward(histories, { value: true }).value
      : learner.forward(histories, { scoresOf: { head: 'critic', items, width: 3 } }).scores;
  return scores.reduce((sum, value) => sum + value, 0) / scores.length;
}

const settings = { gamma: GAMMA, rewardScale: 1, learningRate: 0.01 };
describe.each([
  { name: 'ppo', critic: 'state', algorithm: { name: 'ppo', ...settings } },
  { name: 'replay', critic: 'state', algorithm: { name: 'replay', ...settings, bufferSize: 200 } },
  // A vector of values that starts near 0 has the farther to go: max over items, one entry at a time.
  { name: 'paper', critic: 'action', algorithm: { name: 'paper', ...settings, updatesPerStep: 0.25, bufferSize: 200 } },
] as const)('the value that $name learns', ({ algorithm, critic }) => {
  it.each(['terminated', 'truncated'] as const)('is that of an episode that was %s', async (ends) => {
    const value = await valueAfter({ ends, algorithm, critic });
    expect(value).toBeGreaterThan(0.9 * VALUE[ends]);
    expect(value).toBeLessThan(1.1 * VALUE[ends]);
  });

  it('is the wrong one when the flags are swapped', async () => {
    const value = await valueAfter({ ends: 'truncated', algorithm, critic, isSwapped: true });
    expect(Math.abs(value - VALUE.truncated)).toBeGreaterThan(0.5 * VALUE.truncated);
  });
});
