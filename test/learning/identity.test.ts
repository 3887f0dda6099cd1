/** The easiest world for which a history is needed: does anything learn at all, and does the wrong sign not? */
import { beforeAll, describe, expect, it, test } from 'vitest';
import { useBackend } from '../../src/compute/backend.js';
import { historyBatch } from '../../src/compute/history-batch.js';
import { evaluate } from '../../src/metrics/evaluate.js';
import { IdentityUserEnv, identityEnv } from '../../src/testing/tiny-envs.js';
import { type AdaptAlgorithm, adapt } from '../../src/train/adapt.js';
import { altered, lastItemAgent } from './tiny-learners.js';

const BEST = 5;
const RANDOM = 1;
const SEEDS = [1, 2, 3];
const env = () => identityEnv({ items: 5, steps: 5, size: 8 });

beforeAll(async () => {
  await useBackend('wasm');
});

/** Return (sampled) and mean entropy, nats, after a run. */
async function learn(options: {
  readonly algorithm: AdaptAlgorithm;
  readonly steps: number;
  readonly seed: number;
  readonly sign?: number;
  readonly critic?: 'state' | 'action';
  readonly scheme?: 'fineTune' | 'mixture';
}) {
  const { algorithm, steps, seed, sign = 1, critic, scheme = 'fineTune' } = options;
  const world = env();
  using agent = lastItemAgent(world.catalog, seed, critic);
  const signed = altered(world, (step) => ({ ...step, rewards: step.rewards.map((reward) => sign * reward) }));
  const { policy, learner } = await adapt({ agent, env: signed, steps, algorithm, seed, scheme });
  using _policy = policy;
  const [row] = await evaluate({ policies: { policy }, env: env(), episodes: 100, modes: ['sampled'] });
  const { entropy } = learner.forward(historyBatch([[0], [1], [2], [3], [4]]), { entropy: true });
  return { return: row?.return as number, entropy: entropy.reduce((sum, value) => sum + value, 0) / 5 };
}

const learners: readonly [string, AdaptAlgorithm][] = [
  ['ppo', 'ppo'],
  ['replay', { name: 'replay', rewardScale: 1, learningRate: 0.01 }],
];

describe.each(learners)('%s', (_name, algorithm) => {
  test.each(SEEDS)('reaches 90 % of the best return on the identity world, seed %s', async (seed) => {
    expect((await learn({ algorithm, steps: 4000, seed })).return).toBeGreaterThanOrEqual(0.9 * BEST);
  });

  test.each(SEEDS)('with rewards negated stays below the random policy, seed %s', async (seed) => {
    expect((await learn({ algorithm, steps: 4000, seed, sign: -1 })).return).toBeLessThan(0.5 * RANDOM);
  });

  it('learns as the learner of a mixture too', async () => {
    expect((await learn({ algorithm, steps: 5000, seed: 1, scheme: 'mixture' })).return).toBeGreaterThanOrEqual(
      0.9 * BEST,
    );
  });
});

it('starts from nothing better than chance', async () => {
  using agent = lastItemAgent(env().catalog, 1);
  const [row] = await evaluate({ policies: { agent }, env: env(), episodes: 400, modes: ['sampled'] });
  expect(row?.return).toBeGreaterThan(0.7 * RANDOM);
  expect(row?.return).toBeLessThan(1.5 * RANDOM);
});

// The control for the claim that ppo is the default for a reason: it learns in every seed, with a third of these updates.
describe("the paper's losses as printed", () => {
  const all = (critic: 'state' | 'action') =>
    Promise.all(SEEDS.map((seed) => learn({ algorithm: 'paper', steps: 1200, seed, critic })));

  test('collapse in some seeds with a state value: certain of what is wrong', async () => {
    const collapsed = (await all('state')).filter((end) => end.return < 0.8 * BEST && end.entropy < 0.1);
    expect(collapsed.length).toBeGreaterThan(0);
  });

  test('learn it in no seed with a vector of values, whose advantage is its own error', async () => {
    for (const end of await all('action')) expect(end.return).toBeLessThan(0.8 * BEST);
  });
});

it('learns in an Env of the user, one at a time', async () => {
  const user = new IdentityUserEnv({ items: 5, steps: 5 });
  using agent = lastItemAgent(user.catalog, 1);
  const { policy } = await adapt({
    agent,
    env: user,
    steps: 1500,
    algorithm: { name: 'ppo', rolloutSteps: 32 },
    seed: 1,
  });
  using _policy = policy;
  const [row] = await evaluate({ policies: { policy }, env: env(), episodes: 100, modes: ['sampled'] });
  expect(row?.return).toBeGreaterThanOrEqual(0.9 * BEST);
});
