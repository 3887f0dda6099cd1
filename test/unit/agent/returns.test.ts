import { describe, expect, it } from 'vitest';
import { discountedReturns, gae, normaliseAdvantages } from '../../../src/agent/losses/returns.js';
import { InvalidArgumentError } from '../../../src/foundation/errors.js';
import { Rng } from '../../../src/foundation/rng.js';
import { expectClose } from './finite-differences.js';

const f64 = (...values: number[]): Float64Array => Float64Array.from(values);

/** One step of one lane, as a textbook would write it. */
interface Step {
  reward: number;
  value: number;
  next: number;
  terminated: boolean;
  truncated: boolean;
}

/** GAE by its definition, the discounted sum of TD errors to the end of the episode. */
function plainGae(lane: readonly Step[], gamma: number, lambda: number): number[] {
  return lane.map((_, start) => {
    let sum = 0;
    let weight = 1;
    for (const step of lane.slice(start)) {
      sum += weight * (step.reward + (step.terminated ? 0 : gamma * step.next) - step.value);
      if (step.terminated || step.truncated) break;
      weight *= gamma * lambda;
    }
    return sum;
  });
}

function randomRollout(T: number, N: number) {
  const rng = new Rng(3);
  const draw = (): Float64Array => Float64Array.from({ length: T * N }, () => rng.normal());
  const flags = (): Uint8Array => Uint8Array.from({ length: T * N }, () => (rng.uniform() < 0.2 ? 1 : 0));
  return { rewards: draw(), values: draw(), nextValues: draw(), terminated: flags(), truncated: flags(), T, N };
}

describe('gae', () => {
  it('equals hand arithmetic', () => {
    // One lane of three steps, gamma 0.5, lambda 0.5, not ended: next values are the following values, then 8.
    // delta = 1 + 0.5*4 - 2 = 1;  2 + 0.5*6 - 4 = 1;  3 + 0.5*8 - 6 = 1.
    // A = 1;  1 + 0.25 * 1 = 1.25;  1 + 0.25 * 1.25 = 1.3125.  Returns add 6, 4, 2.
    const { advantages, returns } = gae({
      rewards: f64(1, 2, 3),
      values: f64(2, 4, 6),
      nextValues: f64(4, 6, 8),
      terminated: new Uint8Array(3),
      truncated: new Uint8Array(3),
      gamma: 0.5,
      lambda: 0.5,
      T: 3,
      N: 1,
    });
    expect([...advantages]).toEqual([1.3125, 1.25, 1]);
    expect([...returns]).toEqual([3.3125, 5.25, 7]);
  });

  it('equals the plain sum of TD errors over 40 steps of 5 lanes', () => {
    const rollout = randomRollout(40, 5);
    const { advantages, returns } = gae({ ...rollout, gamma: 0.9, lambda: 0.8 });
    for (let n = 0; n < 5; n++) {
      const lane = Array.from({ length: 40 }, (_, t): Step => {
        const i = t * 5 + n;
        return {
          reward: rollout.rewards[i] as number,
          value: rollout.values[i] as number,
          next: rollout.nextValues[i] as number,
          terminated: rollout.terminated[i] === 1,
          truncated: rollout.truncated[i] === 1,
        };
      });
      const wanted = plainGae(lane, 0.9, 0.8);
      const pick = (column: Float64Array): number[] => lane.map((_, t) => column[t * 5 + n] as number);
      expectClose(pick(advantages), wanted, 1e-12);
      expectClose(
        pick(returns),
        wanted.map((advantage, t) => advantage + (lane[t] as Step).value),
        1e-12,
      );
    }
  });

  // Two steps of one lane; the first ends its episode, at a state worth 100; gamma 1, lambda 1, all values 0.
  const two = {
    rewards: f64(1, 1000),
    values: f64(0, 0),
    nextValues: f64(100, 0),
    gamma: 1,
    lambda: 1,
    T: 2,
    N: 1,
  };
  const [first, never] = [Uint8Array.of(1, 0), new Uint8Array(2)];

  it('terminated does not bootstrap, truncated does, and neither reaches into the next episode', () => {
    expect(gae({ ...two, terminated: first, truncated: never }).advantages[0]).toBe(1);
    expect(gae({ ...two, terminated: never, truncated: first }).advantages[0]).toBe(101);
    // Without an end the sum goes on.
    expect(gae({ ...two, terminated: never, truncated: never }).advantages[0]).toBe(1101);
  });

  it('negative control: swapping the two flags changes the result', () => {
    const rollout = randomRollout(40, 5);
    const right = gae({ ...rollout, gamma: 0.9, lambda: 0.8 }).advantages;
    const swapped = gae({
      ...rollout,
      terminated: rollout.truncated,
      truncated: rollout.terminated,
      gamma: 0.9,
      lambda: 0.8,
    }).advantages;
    const gap = Math.max(...right.map((advantage, i) => Math.abs(advantage - (swapped[i] as number))));
    expect(gap).toBeGreaterThan(0.5);
  });

  it('is the one-step advantage at lambda 0 and the return at lambda 1', () => {
    const rollout = randomRollout(10, 2);
    const oneStep = gae({ ...rollout, gamma: 0.9, lambda: 0 }).advantages;
    const wanted = rollout.rewards.map(
      (reward, i) =>
        reward +
        (rollout.terminated[i] === 1 ? 0 : 0.9 * (rollout.nextValues[i] as number)) -
        (rollout.values[i] as number),
    );
    expectClose(oneStep, wanted, 1e-12);
    // With next values that are the following values, lambda 1 gives the discounted return-to-go.
    const consistent = { ...rollout, nextValues: rollout.nextValues.slice() };
    consistent.nextValues.set(rollout.values.subarray(2));
    const monteCarlo = gae({ ...consistent, gamma: 0.9, lambda: 1 }).returns;
    expectClose(monteCarlo, discountedReturns({ ...consistent, gamma: 0.9 }), 1e-12);
  });

  it('refuses lengths and ranges that do not fit', () => {
    const good = { ...two, terminated: never, truncated: never };
    expect(() => gae({ ...good, T: 3 })).toThrow(/length 3, got 2/);
    expect(() => gae({ ...good, lambda: 1.01 })).toThrow(InvalidArgumentError);
    expect(() => gae({ ...good, gamma: -0.1 })).toThrow(InvalidArgumentError);
  });
});

describe('discountedReturns', () => {
  it('equals hand arithmetic', () => {
    // gamma 0.5: step 2 is cut by the rollout: 4 + 0.5 * 10 = 9; step 1 terminates: 2; step 0: 1 + 0.5 * 2 = 2.
    const returns = discountedReturns({
      rewards: f64(1, 2, 4),
      nextValues: f64(7, 7, 10),
      terminated: Uint8Array.of(0, 1, 0),
      truncated: new Uint8Array(3),
      gamma: 0.5,
      T: 3,
      N: 1,
    });
    expect([...returns]).toEqual([2, 2, 9]);
  });
});

describe('normaliseAdvantages', () => {
  it('gives mean 0 and deviation 1, and zeros where all are equal', () => {
    // Mean 2, deviations -1, 1: population deviation 1.
    expectClose(normaliseAdvantages(f64(1, 3)), [-1, 1], 1e-7);
    expect([...normaliseAdvantages(f64(5, 5, 5))]).toEqual([0, 0, 0]);
  });
});
