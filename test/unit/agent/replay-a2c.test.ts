import { beforeAll, describe, expect, it } from 'vitest';
import type { ActorCritic } from '../../../src/agent/actor-critic.js';
import type { Algorithm } from '../../../src/agent/algorithm.js';
import { paper, type ReplaySettings, replay } from '../../../src/agent/replay-a2c.js';
import { ReplayBuffer, type TransitionBatch } from '../../../src/agent/replay-buffer.js';
import { useBackend } from '../../../src/compute/backend.js';
import { historyBatch } from '../../../src/compute/history-batch.js';
import type { Kernels } from '../../../src/compute/kernels.js';
import type { Mask } from '../../../src/compute/mask.js';
import { InvalidArgumentError } from '../../../src/foundation/errors.js';
import { Rng } from '../../../src/foundation/rng.js';
import { entropyOf, plainGradient, read, relativeError, seenGradient } from './plain-gradient.js';
import { A, contextOf, tinyAgent, tinyBuffer } from './tiny-experience.js';

beforeAll(async () => {
  await useBackend('cpu');
});

const GAMMA = 0.8;
const settings: ReplaySettings = { batchSize: 12, updatesPerStep: 0.125, gamma: GAMMA, clipNorm: 1e9 };

interface Case {
  readonly make: (settings: ReplaySettings) => Algorithm;
  readonly critic: 'state' | 'action';
  readonly weighted: boolean;
  readonly valueWeight: number;
  readonly entropyWeight: number;
  readonly rewardScale: number;
}

const cases: Readonly<Record<string, Case>> = {
  'replay, state critic': {
    make: replay,
    critic: 'state',
    weighted: true,
    valueWeight: 0.5,
    entropyWeight: 0.04,
    rewardScale: 0.2,
  },
  'replay, action critic': {
    make: replay,
    critic: 'action',
    weighted: true,
    valueWeight: 0.5,
    entropyWeight: 0.04,
    rewardScale: 0.2,
  },
  'paper, state critic': {
    make: paper,
    critic: 'state',
    weighted: false,
    valueWeight: 1,
    entropyWeight: 0,
    rewardScale: 1,
  },
  'paper, action critic': {
    make: paper,
    critic: 'action',
    weighted: false,
    valueWeight: 1,
    entropyWeight: 0,
    rewardScale: 1,
  },
};

/** Q(s, .) of every item, `[B][A]`. */
function scoresOf(agent: ActorCritic, histories: TransitionBatch['histories']): number[][] {
  const items = Int32Array.from({ length: histories.size * A }, (_, i) => i % A);
  const { scores } = agent.forward(histories, { scoresOf: { head: 'critic', items, width: A } });
  return Array.from({ length: histories.size }, (_, b) => [...scores.subarray(b * A, (b + 1) * A)]);
}

/** V(s) or Q(s, a), and the best that the critic expects of the next state. */
function critique(agent: ActorCritic, batch: TransitionBatch, critic: Case['critic']) {
  if (critic === 'state')
    return { predictions: read(agent, batch.histories).values, next: read(agent, batch.nextHistories).values };
  return {
    predictions: scoresOf(agent, batch.histories).map((row, b) => row[batch.actions[b] as number] as number),
    next: scoresOf(agent, batch.nextHistories).map((row) => Math.max(...row)),
  };
}

/** Eqs. 8-10 and 12-15 by plain loops: targets, advantages and importance weights are data. */
function plainLoss(agent: ActorCritic, batch: TransitionBatch, of: Case): () => number {
  const { critic, weighted, valueWeight, entropyWeight, rewardScale } = of;
  const logMixtures = (): number[] =>
    read(agent, batch.histories).policy.map((row, b) => {
      const alpha = batch.alpha[b] as number;
      return Math.log(
        (1 - alpha) * Math.exp(batch.pretrainedLogProb[b] as number) +
          alpha * (row[batch.actions[b] as number] as number),
      );
    });
  const { predictions, next } = critique(agent, batch, critic);
  const targets = predictions.map(
    (_, b) => rewardScale * (batch.rewards[b] as number) + (batch.terminated[b] ? 0 : GAMMA * (next[b] as number)),
  );
  const advantages = targets.map((target, b) => target - (predictions[b] as number));
  const weights = logMixtures().map((logMixture, b) =>
    weighted ? Math.min(1, Math.exp(logMixture - (batch.logProb[b] as number))) : 1,
  );
  return () => {
    const now = critique(agent, batch, critic).predictions;
    const { policy } = read(agent, batch.histories);
    let loss = 0;
    for (const [b, logMixture] of logMixtures().entries()) {
      const weight = weights[b] as number;
      loss -= weight * logMixture * (advantages[b] as number);
      loss += valueWeight * weight * ((targets[b] as number) - (now[b] as number)) ** 2;
      loss -= entropyWeight * entropyOf(policy[b] as number[]);
    }
    return loss / batch.size;
  };
}

/** The relative error between the gradient of one update and the plain one of `of` on `other`. */
function disagreement(made: Case, buffer: ReplayBuffer, of: Case = made, other: ReplayBuffer = buffer): number {
  using agent = tinyAgent({ critic: made.critic });
  const rng = new Rng('sample');
  // The same draws from the other buffer: the same transitions, as that buffer has them.
  const batch = other.sample(12, Rng.fromState(rng.state()));
  const wanted = plainGradient(agent, plainLoss(agent, batch, of));
  const algorithm = made.make(settings);
  const { updates, skipped } = algorithm.update(contextOf(agent, buffer, rng));
  expect({ updates, skipped }).toEqual({ updates: 1, skipped: 0 });
  return relativeError(seenGradient(algorithm, agent), wanted);
}

describe.each(Object.entries(cases))('one update of %s', (_name, made) => {
  it('has the gradient of the losses written out by hand', () => {
    expect(disagreement(made, tinyBuffer())).toBeLessThan(5e-3);
  });

  it('has the gradient of the mixture, Eq. 15, where the columns say that one acted', () => {
    expect(disagreement(made, tinyBuffer({ alpha: 0.4 }))).toBeLessThan(5e-3);
    expect(disagreement(made, tinyBuffer({ alpha: 0.4 }), made, tinyBuffer())).toBeGreaterThan(0.03);
  });

  it('bootstraps where an episode was cut off and not where the user left: with the flags swapped it is another gradient', () => {
    expect(disagreement(made, tinyBuffer({ swapped: true }), made, tinyBuffer())).toBeGreaterThan(0.03);
  });

  it('is found out when its weights or its entropy bonus are left out, or put in', () => {
    const changes =
      made.make === replay ? [{ weighted: false }, { entropyWeight: 0 }] : [{ weighted: true }, { entropyWeight: 1 }];
    for (const change of changes)
      expect(disagreement(made, tinyBuffer(), { ...made, ...change }), JSON.stringify(change)).toBeGreaterThan(0.01);
    expect(disagreement(made, tinyBuffer(), { ...made, rewardScale: 2 })).toBeGreaterThan(0.05);
  });
});

describe('an action critic where nothing may be shown twice', () => {
  /** Two users: the first has four items behind it and is shown the last one; the second is not at an end. */
  function usedUp(first: { terminated: number; truncated: number }): ReplayBuffer {
    const buffer = new ReplayBuffer({ lanes: 2, stepsPerLane: 1 });
    buffer.add({
      histories: historyBatch([[0, 1, 2, 3], [1]]),
      actions: Int32Array.of(4, 2),
      rewards: Float32Array.of(1, 2),
      terminated: Uint8Array.of(first.terminated, 0),
      truncated: Uint8Array.of(first.truncated, 0),
      logProb: Float32Array.of(0, -1),
    });
    return buffer;
  }
  const mask = { noRepeat: true };

  it.each([
    ['the user left', { terminated: 1, truncated: 0 }],
    ['the episode was cut off', { terminated: 0, truncated: 1 }],
  ])(
    'takes a next state without an item as worth 0 where %s, and bootstraps the others under the mask',
    (_, ending) => {
      const rng = new Rng('sample');
      const batch = usedUp(ending).sample(12, Rng.fromState(rng.state()));
      const gradientOf = (update: Partial<ReplaySettings> = {}) => {
        using agent = tinyAgent({ critic: 'action' });
        const algorithm = replay({ ...settings, entropyWeight: 0, ...update });
        const report = algorithm.update(contextOf(agent, usedUp(ending), Rng.fromState(rng.state()), { mask }));
        expect(report).toMatchObject({ updates: 1, skipped: 0 });
        return seenGradient(algorithm, agent);
      };
      using agent = tinyAgent({ critic: 'action' });
      const best = scoresOf(agent, batch.nextHistories).map((row, b) => {
        const shown = batch.nextHistories.items.subarray(
          b * batch.nextHistories.length,
          (b + 1) * batch.nextHistories.length,
        );
        const length = batch.nextHistories.lengths[b] as number;
        return (
          Math.max(0, ...row.filter((_, item) => !shown.subarray(0, length).includes(item)).map((x) => x + 100)) - 100
        );
      });
      const next = best.map((value) => (value === -100 ? 0 : value));
      // Both kinds of row are in the minibatch.
      expect(new Set(next.map((value) => value === 0))).toEqual(new Set([true, false]));
      const wanted = (values: readonly number[]) => {
        const predictions = critique(agent, batch, 'action').predictions;
        const targets = predictions.map((_, b) => 0.2 * (batch.rewards[b] as number) + GAMMA * (values[b] as number));
        const logProbs = () =>
          read(agent, batch.histories, mask).policy.map((row, b) =>
            Math.log(row[batch.actions[b] as number] as number),
          );
        const weights = logProbs().map((logProb, b) => Math.min(1, Math.exp(logProb - (batch.logProb[b] as number))));
        const advantages = targets.map((target, b) => target - (predictions[b] as number));
        return plainGradient(agent, () => {
          const now = critique(agent, batch, 'action').predictions;
          const parts = logProbs().map(
            (logProb, b) =>
              (weights[b] as number) *
              (-logProb * (advantages[b] as number) + 0.5 * ((targets[b] as number) - (now[b] as number)) ** 2),
          );
          return parts.reduce((sum, part) => sum + part, 0) / batch.size;
        });
      };
      expect(relativeError(gradientOf(), wanted(next))).toBeLessThan(5e-3);
      // The control: with the values of the open rows left out it is another gradient.
      expect(relativeError(gradientOf(), wanted(next.map(() => 0)))).toBeGreaterThan(0.03);
    },
  );
});

describe("an action critic on kernels that give s and s' in one pass", () => {
  /** The reference behind the name of the engine, and what each of its forward passes was asked of the next states. */
  function oneUpdate(buffer: ReplayBuffer, kind: Kernels['kind'], mask: Mask) {
    using agent = tinyAgent({ critic: 'action' });
    const reference = agent.kernels;
    const asked: (string | undefined)[] = [];
    const kernels: Kernels = {
      ...{ kind, backend: reference.backend, store: reference.store, spec: reference.spec },
      forward: (batch, want, options) => {
        asked.push(want.next?.maxScore);
        return reference.forward(batch, want, options);
      },
      backward: (cotangents) => reference.backward(cotangents),
      sample: (batch, uniforms, options) => reference.sample(batch, uniforms, options),
      topK: (batch, k, options) => reference.topK(batch, k, options),
      probabilities: (batch, options) => reference.probabilities(batch, options),
      step: (optimiser) => reference.step(optimiser),
      dispose: () => reference.dispose(),
      [Symbol.dispose]: () => reference.dispose(),
    };
    Object.defineProperty(agent, 'kernels', { value: kernels });
    const algorithm = replay(settings);
    expect(algorithm.update(contextOf(agent, buffer, new Rng('sample'), { mask }))).toMatchObject({ updates: 1 });
    return { asked, gradient: seenGradient(algorithm, agent) };
  }

  it('learns in one call what it learns in two, ends of episodes among the rows', () => {
    const batch = tinyBuffer().sample(12, new Rng('sample'));
    expect(new Set(batch.terminated)).toEqual(new Set([0, 1]));
    const one = oneUpdate(tinyBuffer(), 'fused', {});
    const two = oneUpdate(tinyBuffer(), 'reference', {});
    expect(one.asked).toEqual(['critic']);
    expect(two.asked).toEqual([undefined, undefined]);
    expect(relativeError(one.gradient, two.gradient)).toBeLessThan(1e-6);
    // The control: other transitions, another gradient.
    expect(relativeError(oneUpdate(tinyBuffer({ swapped: true }), 'fused', {}).gradient, two.gradient)).toBeGreaterThan(
      0.03,
    );
  });

  it('asks apart where a row has nothing left to show, and learns the same', () => {
    const full = () => {
      const buffer = new ReplayBuffer({ lanes: 2, stepsPerLane: 1 });
      buffer.add({
        histories: historyBatch([[0, 1, 2, 3], [1]]),
        actions: Int32Array.of(4, 2),
        rewards: Float32Array.of(1, 2),
        terminated: Uint8Array.of(0, 0),
        truncated: Uint8Array.of(1, 0),
        logProb: Float32Array.of(0, -1),
      });
      return buffer;
    };
    const mask = { noRepeat: true };
    const engine = oneUpdate(full(), 'fused', mask);
    expect(engine.asked).toEqual([undefined, undefined]);
    expect(engine.gradient).toEqual(oneUpdate(full(), 'reference', mask).gradient);
  });
});

describe('replay and paper', () => {
  it('update as often as their steps ask for, fractions carried over exactly', () => {
    using agent = tinyAgent();
    const counts = [1 / 8, 0.3, 2].map((updatesPerStep) => {
      const algorithm = replay({ updatesPerStep, batchSize: 4 });
      let updates = 0;
      for (let steps = 5; steps <= 200; steps += 5) {
        updates += algorithm.update(contextOf(agent, tinyBuffer(), new Rng(steps), { steps, newSteps: 5 })).updates;
      }
      return updates;
    });
    expect(counts).toEqual([25, 60, 400]);
  });

  it('keep as many transitions as their buffer has room for', () => {
    expect(replay().stepsPerLane(16)).toBe(125);
    expect(replay({ bufferSize: 10 }).stepsPerLane(16)).toBe(1);
    expect(paper().stepsPerLane(1)).toBe(50_000);
  });

  it('say all their settings, and refuse those out of range', () => {
    expect(paper({ batchSize: 7 }).toJSON()).toMatchObject({
      name: 'paper',
      batchSize: 7,
      correction: 'none',
      clipNorm: 'Infinity',
      valueWeight: 1,
      rewardScale: 1,
    });
    expect(replay().toJSON()).toMatchObject({ name: 'replay', correction: 'clipped-is', clipNorm: 1 });
    for (const wrong of [{ batchSize: 0 }, { gamma: -0.1 }, { correction: 'retrace' }, { bufferSze: 3 }]) {
      expect(() => replay(wrong as ReplaySettings), JSON.stringify(wrong)).toThrow(InvalidArgumentError);
    }
  });
});
