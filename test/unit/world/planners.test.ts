import { describe, expect, it } from 'vitest';
import { Sequences } from '../../../src/catalog/sequences.js';
import { DotProductModel } from '../../../src/env/dot-product-model.js';
import { INDUSTRY_TEMPER, type TemperRule } from '../../../src/env/leave-rules.js';
import { SigmoidReward } from '../../../src/env/reward-model.js';
import { sequenceEnv } from '../../../src/env/sequence-env.js';
import type { TemperSource } from '../../../src/env/temper-rules.js';
import { Rng } from '../../../src/foundation/rng.js';
import { identityEnv, tinyCatalog } from '../../../src/testing/tiny-envs.js';
import {
  cyclePlanner,
  listPlanner,
  type Planner,
  randomPlanner,
  ranking,
  weightedPlanner,
} from '../../../src/world/planner.js';
import {
  awarePlanner,
  beamPlanner,
  crowdRotation,
  greedyPlanner,
  itemsLeft,
  type TemperEnv,
} from '../../../src/world/temper-planners.js';

const A = 7;
// A short temper, so that every episode can be enumerated: 4 pleasing items, fewer where the user is bored or displeased.
const rule: TemperRule = {
  start: 4,
  likedFrom: 2,
  likedDrop: 0.9,
  otherDrop: 2,
  leaveBelow: 1,
  diversity: { lookback: 2, repeats: 1, drop: 1.9 },
};

function tinyWorld(seed: number): TemperEnv {
  const rng = new Rng(seed);
  const model = new DotProductModel({ vectors: Float32Array.from({ length: A * 3 }, () => rng.normal()), width: 3 });
  const codes = Int32Array.from({ length: A }, (_, item) => item % 3);
  return sequenceEnv({
    catalog: tinyCatalog(A),
    sequences: Sequences.from([[0], [1], [2]], { itemCount: A }),
    rewardModel: new SigmoidReward(model, { a: 1.5, b: 0.2 }),
    codes,
    rule,
    maxEpisodeSteps: 5,
    seed,
  });
}

/** Best return from here over all item sequences, by trying every one of them from a saved start. */
function bruteForce(env: TemperEnv): number {
  const start = env.saveState();
  let best = 0;
  const extend = (items: readonly number[]): void => {
    for (let item = 0; item < A; item++) {
      env.restoreState(start);
      if (items.includes(item) || env.histories().items[0] === item) continue;
      let total = 0;
      let over = false;
      for (const shown of [...items, item]) {
        const { rewards, terminated, truncated } = env.step(Int32Array.of(shown));
        total += rewards[0] as number;
        over = terminated[0] === 1 || truncated[0] === 1;
      }
      if (over) best = Math.max(best, total);
      else extend([...items, item]);
    }
  };
  extend([]);
  env.restoreState(start);
  return best;
}

function playOut(env: TemperEnv, planner: Planner): number {
  const start = env.saveState();
  let total = 0;
  while (env.ended[0] === 0) total += env.step(planner.act(new Float64Array(1))).rewards[0] as number;
  env.restoreState(start);
  return total;
}

describe('beamPlanner', () => {
  it('finds the best episode there is, found by trying all; greedy and aware do not always', () => {
    let greedyBehind = 0;
    for (let seed = 1; seed <= 6; seed++) {
      const env = tinyWorld(seed);
      env.reset();
      const best = bruteForce(env);
      expect(playOut(env, beamPlanner(env, { width: 400, branching: A }))).toBeCloseTo(best, 4);
      const aware = playOut(env, awarePlanner(env));
      const greedy = playOut(env, greedyPlanner(env));
      expect(aware).toBeLessThanOrEqual(best + 1e-4);
      expect(greedy).toBeLessThanOrEqual(best + 1e-4);
      if (greedy < best - 0.1) greedyBehind++;
    }
    expect(greedyBehind).toBeGreaterThan(0);
  });

  it('plans from the middle of an episode too', () => {
    const env = tinyWorld(2);
    env.reset();
    env.step(Int32Array.of(5));
    const item = beamPlanner(env).act(new Float64Array(1))[0] as number;
    expect(item).toBeGreaterThanOrEqual(0);
    expect(item).not.toBe(5);
  });
});

describe('planners of many lanes at once', () => {
  const many = (size: number) => {
    const rng = new Rng(4);
    const model = new DotProductModel({ vectors: Float32Array.from({ length: A * 3 }, () => rng.normal()), width: 3 });
    return sequenceEnv({
      catalog: tinyCatalog(A),
      sequences: Sequences.from([[0], [1], [2], [3]], { itemCount: A }),
      rewardModel: new SigmoidReward(model, { a: 1.5, b: 0.2 }),
      codes: Int32Array.from({ length: A }, (_, item) => item % 3),
      rule,
      maxEpisodeSteps: 5,
      size,
      seed: 1,
    });
  };
  const histories = (size: number, make: (env: TemperEnv) => Planner): string[] => {
    const env = many(size);
    env.reset();
    const planner = make(env);
    while (env.ended.includes(0)) env.step(planner.act(new Float64Array(size)));
    const { items, lengths, length } = env.histories();
    return Array.from(lengths, (count, lane) => items.subarray(lane * length, lane * length + count).join());
  };

  it('choose for each lane what they choose for fewer', () => {
    for (const make of [greedyPlanner, awarePlanner, beamPlanner]) {
      const [three, all] = [histories(3, make), histories(40, make)];
      expect(all.slice(0, 3)).toEqual(three);
      expect(new Set(all).size).toBeGreaterThan(1);
    }
  });

  it('plan by another world where told to, once, and go on where its users would have left', () => {
    // In the other world nothing but item 5 and 6 pays, and nothing pleases: its users leave after two steps; these stay longer.
    const source: TemperSource = {
      start: () => {},
      reward: () => {},
      rewardRows: (_lanes, { size }, rewards) => {
        for (let row = 0; row < size; row++) rewards.set([0, 0, 0, 0, 0, 1.5, 1], row * A);
      },
    };
    const plans = histories(8, (env) => beamPlanner(env, { source }));
    for (const plan of plans) expect(plan.slice(2)).toMatch(/^(5,6|6,5)/);
    expect(plans.some((plan) => plan.split(',').length > 3)).toBe(true);
    // Negative control: by these users' own rewards it plans otherwise.
    expect(histories(8, beamPlanner)).not.toEqual(plans);
  });
});

describe('itemsLeft', () => {
  it('counts the leaving step and stops at the cap', () => {
    // 11: 12 pleasing items (see leave-rules). 1: one more brings it to 0.1. 0.99: gone.
    expect([11, 1, 0.99].map((temper) => itemsLeft(INDUSTRY_TEMPER, temper, 20))).toEqual([12, 1, 0]);
    expect(itemsLeft(INDUSTRY_TEMPER, 11, 5)).toBe(5);
  });
});

describe('simple planners', () => {
  it('random without repeats shows everything once; with repeats it repeats', () => {
    const shown = (noRepeat: boolean): number[] => {
      const env = identityEnv({ items: 8, steps: 7 });
      env.reset({ seed: 1 });
      const rng = new Rng(1);
      const planner = randomPlanner(env, { noRepeat });
      const start = env.histories().items[0] as number;
      return [
        start,
        ...Array.from({ length: 7 }, () => {
          const actions = planner.act(rng.uniforms(1));
          env.step(actions);
          return actions[0] as number;
        }),
      ];
    };
    expect(new Set(shown(true)).size).toBe(8);
    expect(new Set(shown(false)).size).toBeLessThan(8);
  });

  it('draws popular items more often, in proportion', () => {
    const env = identityEnv({ items: 4, steps: 2, size: 4000 });
    env.reset({ seed: 1 });
    const { items, length } = env.histories();
    const actions = weightedPlanner(env, Float32Array.of(0, 1, 3, 6)).act(new Rng(3).uniforms(4000));
    const counts = [0, 0, 0, 0];
    actions.forEach((item, lane) => {
      expect(item).not.toBe(items[lane * length]);
      if (items[lane * length] === 0) counts[item] = (counts[item] as number) + 1;
    });
    const total = counts.reduce((a, b) => a + b);
    [0, 0.1, 0.3, 0.6].forEach((share, item) => {
      expect(Math.abs((counts[item] as number) / total - share)).toBeLessThan(0.05);
    });
  });

  it('plays rankings from the top and cycles in step; ended lanes idle', () => {
    expect([...ranking([1, 5, 5, 9])]).toEqual([3, 1, 2, 0]);
    const env = identityEnv({ items: 6, steps: 3 });
    env.reset({ seed: 1 });
    const start = env.histories().items[0] as number;
    const order = Int32Array.of(start, 4, 2, 1, 3, 0, 5);
    expect(listPlanner(env, order).act(new Float64Array(1))[0]).toBe(start === 4 ? 2 : 4);
    const cycle = cyclePlanner(env, Int32Array.of(5, 3));
    const played = [0, 1, 2].map(() => {
      const item = cycle.act(new Float64Array(1))[0] as number;
      env.step(Int32Array.of(item));
      return item;
    });
    expect(played).toEqual([5, 3, 5]);
    expect(cycle.act(new Float64Array(1))[0]).toBe(-1);
  });
});

describe('crowdRotation', () => {
  it('lists distinct items and keeps a category apart from itself while it can', () => {
    const env = tinyWorld(3);
    const list = crowdRotation(env, A);
    expect([...list].sort()).toEqual([0, 1, 2, 3, 4, 5, 6]);
    // Three categories, a window of two: the first three are of different ones.
    expect(new Set([...list.slice(0, 3)].map((item) => item % 3)).size).toBe(3);
  });
});
