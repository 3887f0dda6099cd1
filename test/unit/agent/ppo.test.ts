import { beforeAll, describe, expect, it } from 'vitest';
import type { ActorCritic } from '../../../src/agent/actor-critic.js';
import { Ppo, type PpoSettings } from '../../../src/agent/ppo.js';
import type { ReplayBuffer } from '../../../src/agent/replay-buffer.js';
import { useBackend } from '../../../src/compute/backend.js';
import { InvalidArgumentError } from '../../../src/foundation/errors.js';
import { Rng } from '../../../src/foundation/rng.js';
import { entropyOf, plainGradient, read, relativeError, seenGradient } from './plain-gradient.js';
import { contextOf, tinyAgent, tinyBuffer } from './tiny-experience.js';

beforeAll(async () => {
  await useBackend('cpu');
});

const GAMMA = 0.8;
const LAMBDA = 0.7;
const one: PpoSettings = {
  rolloutSteps: 4,
  epochs: 1,
  minibatches: 1,
  gamma: GAMMA,
  lambda: LAMBDA,
  clipNorm: 1e9,
  clip: 0.9,
  entropyWeight: 0.05,
  rewardScale: 0.5,
  normaliseAdvantages: false,
};

/** GAE(lambda) of the rollout by plain loops, from the agent as it stands. */
function plainTargets(agent: ActorCritic, buffer: ReplayBuffer) {
  const { T, N, histories, rewards, terminated, truncated, bootstrap } = buffer.lastRollout(4);
  const { values } = read(agent, histories);
  const reached = bootstrap ? read(agent, bootstrap.histories).values : [];
  const advantages = new Array<number>(T * N).fill(0);
  for (let n = 0; n < N; n++) {
    let later = 0;
    for (let t = T - 1; t >= 0; t--) {
      const i = t * N + n;
      const own = bootstrap ? [...bootstrap.rows].indexOf(i) : -1;
      const next = terminated[i] ? 0 : ((own >= 0 ? reached[own] : values[i + N]) as number);
      const delta = 0.5 * (rewards[i] as number) + GAMMA * next - (values[i] as number);
      later = delta + (terminated[i] || truncated[i] ? 0 : GAMMA * LAMBDA * later);
      advantages[i] = later;
    }
  }
  return { advantages, returns: advantages.map((advantage, i) => advantage + (values[i] as number)) };
}

/** PPO's loss (Schulman et al. 2017, Eq. 9), over Eq. 14 where alpha is below 1. */
function plainLoss(agent: ActorCritic, buffer: ReplayBuffer, targets: ReturnType<typeof plainTargets>): number {
  const rollout = buffer.lastRollout(4);
  const { policy, values } = read(agent, rollout.histories);
  let loss = 0;
  for (const [i, row] of policy.entries()) {
    const alpha = rollout.alpha[i] as number;
    const mixture =
      (1 - alpha) * Math.exp(rollout.pretrainedLogProb[i] as number) +
      alpha * (row[rollout.actions[i] as number] as number);
    const ratio = mixture / Math.exp(rollout.logProb[i] as number);
    const advantage = targets.advantages[i] as number;
    loss -= Math.min(ratio * advantage, Math.max(0.1, Math.min(1.9, ratio)) * advantage);
    loss += 0.5 * ((values[i] as number) - (targets.returns[i] as number)) ** 2;
    loss -= 0.05 * entropyOf(row);
  }
  return loss / policy.length;
}

/** The relative error between the gradient of one update on `buffer` and the plain one on `other`. */
function disagreement(buffer: ReplayBuffer, other: ReplayBuffer = buffer, settings: PpoSettings = one): number {
  using agent = tinyAgent();
  const targets = plainTargets(agent, other);
  const wanted = plainGradient(agent, () => plainLoss(agent, other, targets));
  const ppo = new Ppo(settings);
  const { updates, skipped } = ppo.update(contextOf(agent, buffer, new Rng(1)));
  expect({ updates, skipped }).toEqual({ updates: 1, skipped: 0 });
  return relativeError(seenGradient(ppo, agent), wanted);
}

describe('one update of ppo', () => {
  it('has the gradient of the loss written out by hand', () => {
    expect(disagreement(tinyBuffer())).toBeLessThan(5e-3);
  });

  it('has the gradient of the mixture, Eq. 15, where the columns say that one acted', () => {
    expect(disagreement(tinyBuffer({ alpha: 0.4 }))).toBeLessThan(5e-3);
    // The control: the learner's own gradient is another one.
    expect(disagreement(tinyBuffer({ alpha: 0.4 }), tinyBuffer())).toBeGreaterThan(0.1);
  });

  it('bootstraps where an episode was cut off and not where the user left: with the flags swapped it is another gradient', () => {
    expect(disagreement(tinyBuffer({ swapped: true }), tinyBuffer())).toBeGreaterThan(0.1);
    expect(disagreement(tinyBuffer({ swapped: true }))).toBeLessThan(5e-3);
  });

  it('is found out when a setting is another one', () => {
    for (const change of [
      { gamma: 0.6 },
      { lambda: 0.2 },
      { rewardScale: 1 },
      { entropyWeight: 0 },
      { valueWeight: 1 },
      { normaliseAdvantages: true },
    ]) {
      expect(disagreement(tinyBuffer(), tinyBuffer(), { ...one, ...change }), JSON.stringify(change)).toBeGreaterThan(
        0.02,
      );
    }
  });
});

describe('ppo', () => {
  it('makes actions of positive advantage likelier and others less likely; with rewards turned round the other way', () => {
    const moved = (sign: number): number => {
      using agent = tinyAgent();
      const buffer = tinyBuffer();
      const { histories, actions } = buffer.lastRollout(4);
      const { advantages } = plainTargets(agent, buffer);
      const before = agent.logProbOf(histories, actions);
      const turned = {
        lastRollout: (T: number) => ({
          ...buffer.lastRollout(T),
          rewards: buffer.lastRollout(T).rewards.map((reward) => sign * reward),
        }),
        rolloutLength: 4,
        lanes: buffer.lanes,
      };
      const ppo = new Ppo({ ...one, learningRate: 1e-3, valueWeight: 0, entropyWeight: 0 });
      for (let i = 0; i < 20; i++) ppo.update(contextOf(agent, turned as unknown as ReplayBuffer, new Rng(i)));
      const after = agent.logProbOf(histories, actions);
      return advantages.reduce(
        (sum, advantage, i) => sum + advantage * ((after[i] as number) - (before[i] as number)),
        0,
      );
    };
    expect(moved(1)).toBeGreaterThan(0.01);
    expect(moved(-1)).toBeLessThan(-0.01);
  });

  it('applies epochs x minibatches updates, each row once an epoch, and lets rates fall', () => {
    using agent = tinyAgent();
    const ppo = new Ppo({ rolloutSteps: 4, epochs: 3, minibatches: 2, learningRate: 0.01, finalLearningRate: 0.1 });
    const report = ppo.update(contextOf(agent, tinyBuffer(), new Rng(1), { progress: 0.5 }));
    expect(report.updates).toBe(6);
    expect(report.entropy).toBeGreaterThan(0);
    expect(report.entropy).toBeLessThanOrEqual(Math.log(5));
    expect(ppo.optimiser.learningRate).toBeCloseTo(0.0055, 10);
    ppo.update(contextOf(agent, tinyBuffer(), new Rng(1), { progress: 1 }));
    expect(ppo.optimiser.learningRate).toBeCloseTo(0.001, 10);
  });

  it('moves nothing but the critic where alpha was 0', () => {
    using agent = tinyAgent();
    const before = agent.store.clone();
    const ppo = new Ppo({ ...one, entropyWeight: 0 });
    ppo.update(contextOf(agent, tinyBuffer({ alpha: 0 }), new Rng(1)));
    for (const name of agent.store.names) {
      const moved = agent.store.get(name).data.some((x, i) => x !== before.get(name).data[i]);
      if (name.startsWith('actor/')) expect(moved, name).toBe(false);
      if (name === 'value/w2') expect(moved, name).toBe(true);
    }
  });

  it('refuses settings out of range', () => {
    for (const settings of [{ clip: 0 }, { gamma: 1.1 }, { epochs: 0 }, { learningRate: 0 }, { lamda: 0.9 }]) {
      expect(() => new Ppo(settings as PpoSettings), JSON.stringify(settings)).toThrow(InvalidArgumentError);
    }
  });
});
