import { describe, expect, it } from 'vitest';
import { Sequences } from '../../../src/catalog/sequences.js';
import { historyBatch } from '../../../src/compute/history-batch.js';
import { calibrate } from '../../../src/env/calibrate.js';
import { coOccurrenceVectors, DotProductModel } from '../../../src/env/dot-product-model.js';
import { SigmoidReward, sigmoidReward } from '../../../src/env/reward-model.js';
import { calibrateReward, randomStates } from '../../../src/env/sequence-env.js';
import { InvalidArgumentError } from '../../../src/foundation/errors.js';
import { Rng } from '../../../src/foundation/rng.js';

describe('DotProductModel', () => {
  const model = new DotProductModel({
    vectors: Float32Array.of(1, 0, 0, 1, 1, 1),
    width: 2,
    bias: Float32Array.of(0, 0.25, 0),
    decay: 0.5,
    window: 2,
  });

  it('scores by the decayed mean of the latest items, plus the bias', () => {
    // History 0, 1: state = (1 (0,1) + 0.5 (1,0)) / 1.5 = (1/3, 2/3).
    const batch = historyBatch([[0, 1], [2, 0, 1], []]);
    const all = model.scoreAll(batch, new Float32Array(9));
    const row = [1 / 3, 2 / 3 + 0.25, 1];
    [...row, ...row, 0, 0.25, 0].forEach((wanted, i) => {
      expect(all[i]).toBeCloseTo(wanted, 6);
    });
  });

  it('scores one item as it scores all, and skips rows at -1', () => {
    const batch = historyBatch([[0, 1], [2], [1, 1]]);
    const all = model.scoreAll(batch, new Float32Array(9));
    expect([...model.score(batch, Int32Array.of(2, -1, 0), Float32Array.of(7, 7, 7))]).toEqual([all[2], 7, all[6]]);
  });

  it('refuses arrays that do not fit', () => {
    expect(() => new DotProductModel({ vectors: new Float32Array(5), width: 2 })).toThrow(InvalidArgumentError);
    expect(() => new DotProductModel({ vectors: new Float32Array(4), width: 2, bias: new Float32Array(3) })).toThrow(
      InvalidArgumentError,
    );
    expect(() => new DotProductModel({ vectors: new Float32Array(4), width: 2, decay: 0 })).toThrow(
      InvalidArgumentError,
    );
  });
});

describe('coOccurrenceVectors', () => {
  // Two worlds of items that never meet.
  const rng = new Rng(1);
  const lists = Array.from({ length: 200 }, (_, i) => Array.from({ length: 6 }, () => (i % 2) * 10 + rng.integer(9)));
  const sequences = Sequences.from(lists, { itemCount: 20 });

  it('puts items that occur together together, and leaves strangers at zero', () => {
    const width = 4;
    const vectors = coOccurrenceVectors(sequences, { width, rounds: 20 });
    const dot = (i: number, j: number): number =>
      Array.from(
        { length: width },
        (_, d) => (vectors[i * width + d] as number) * (vectors[j * width + d] as number),
      ).reduce((a, b) => a + b);
    expect(dot(3, 3)).toBeCloseTo(1, 5);
    for (let i = 0; i < 9; i++) for (let j = 10; j < 19; j++) expect(Math.abs(dot(i, j))).toBeLessThan(0.05);
    expect(dot(9, 9)).toBe(0);
    let within = 0;
    for (let i = 1; i < 9; i++) within += dot(0, i) / 8;
    expect(within).toBeGreaterThan(0.1);
  });

  it('depends on its seed alone and refuses too wide vectors', () => {
    expect(coOccurrenceVectors(sequences, { width: 3, seed: 2 })).toEqual(
      coOccurrenceVectors(sequences, { width: 3, seed: 2 }),
    );
    expect(() => coOccurrenceVectors(sequences, { width: 21 })).toThrow(InvalidArgumentError);
  });
});

describe('calibrate', () => {
  const rng = new Rng(2);
  const items = 500;
  const logits = Float32Array.from({ length: 64 * items }, () => 3 * rng.normal() - 7);
  const means = (a: number, b: number): [number, number] => {
    let sum = 0;
    let best = 0;
    for (let s = 0; s < 64; s++) {
      let top = 0;
      for (let i = 0; i < items; i++) {
        const reward = 5 / (1 + Math.exp(-a * ((logits[s * items + i] as number) - b)));
        sum += reward;
        top = Math.max(top, reward);
      }
      best += top / 64;
    }
    return [sum / logits.length, best];
  };

  it('meets mean and best, recomputed by a plain loop', () => {
    for (const target of [
      { mean: 0.21, best: 4.5 },
      { mean: 0.34, best: 4.3 },
      { mean: 1.5, best: 4 },
    ]) {
      const { a, b, mean, best } = calibrate(logits, items, target);
      const [loopMean, loopBest] = means(a, b);
      expect(Math.abs(loopMean - target.mean)).toBeLessThan(0.003);
      expect(Math.abs(loopBest - target.best)).toBeLessThan(0.003);
      expect([mean, best].map((value) => value.toFixed(2))).toEqual([loopMean.toFixed(2), loopBest.toFixed(2)]);
    }
  });

  it('misses them when a or b is moved', () => {
    const { a, b } = calibrate(logits, items, { mean: 0.21, best: 4.5 });
    expect(Math.abs(means(a, b + 0.3)[0] - 0.21)).toBeGreaterThan(0.02);
    expect(Math.abs(means(a * 0.7, b)[1] - 4.5)).toBeGreaterThan(0.02);
  });

  it('averages the best few where asked', () => {
    const one = calibrate(logits, items, { mean: 0.21, best: 4 });
    const ten = calibrate(logits, items, { mean: 0.21, best: 4, bestCount: 10 });
    expect(ten.a).toBeGreaterThan(one.a);
  });

  it('meets them where some rewards are multiplied by a share, and misses them when the shares are left out', () => {
    const target = { mean: 0.21, best: 4 };
    const shares = Float32Array.from({ length: logits.length }, (_, n) => [1, 0.5, 0.25][n % 3] as number);
    const worth = (a: number, b: number): [number, number] => {
      const rewards = logits.map((logit, n) => ((shares[n] as number) * 5) / (1 + Math.exp(-a * (logit - b))));
      const best = Array.from({ length: 64 }, (_, s) => Math.max(...rewards.subarray(s * items, (s + 1) * items)));
      return [rewards.reduce((sum, r) => sum + r) / rewards.length, best.reduce((sum, r) => sum + r) / 64];
    };
    const found = calibrate(logits, items, target, shares);
    const [mean, best] = worth(found.a, found.b);
    expect(Math.abs(mean - 0.21)).toBeLessThan(0.003);
    expect(Math.abs(best - 4)).toBeLessThan(0.003);
    const without = calibrate(logits, items, target);
    expect(Math.abs(worth(without.a, without.b)[0] - 0.21)).toBeGreaterThan(0.05);
    expect(() => calibrate(logits, items, target, new Float32Array(3))).toThrow(/shares/);
  });

  it('refuses targets that cannot be', () => {
    expect(() => calibrate(logits, items, { mean: 2, best: 1 })).toThrow(InvalidArgumentError);
    expect(() => calibrate(new Float32Array(10).fill(1), 5, { mean: 0.2, best: 4 })).toThrow(/alike/);
    expect(() => calibrate(Float32Array.of(1, Number.NaN), 2, { mean: 0.2, best: 4 })).toThrow(/finite/);
    // One item in two is best: a mean below half the best cannot be.
    expect(() => calibrate(Float32Array.of(0, 1, 0, 1), 2, { mean: 0.2, best: 4 })).toThrow(/at most|logits/);
  });
});

describe('SigmoidReward', () => {
  const inner = new DotProductModel({ vectors: Float32Array.of(1, 0, -1), width: 1 });
  const reward = new SigmoidReward(inner, { a: 2, b: 0.5 });

  it('squashes logits to 0..5, 2.5 at b', () => {
    expect(sigmoidReward(0.5, 2, 0.5)).toBe(2.5);
    const batch = historyBatch([[0]]);
    const all = reward.scoreAll(batch, new Float32Array(3));
    [1, 0, -1].forEach((logit, item) => {
      expect(all[item]).toBeCloseTo(5 / (1 + Math.exp(-2 * (logit - 0.5))), 6);
    });
    expect(reward.score(batch, Int32Array.of(1), new Float32Array(1))[0]).toBe(all[1]);
    expect(reward.score(batch, Int32Array.of(-1), Float32Array.of(3))[0]).toBe(0);
  });

  it('is calibrated on first items with 0 to 4 random ones behind', () => {
    const sequences = Sequences.from(
      [
        [4, 1],
        [7, 2],
      ],
      { itemCount: 200 },
    );
    const states = randomStates(sequences, { states: 400, seed: 1 });
    expect([...new Set(states.lengths)].sort()).toEqual([1, 2, 3, 4, 5]);
    for (let n = 0; n < 400; n++) expect([4, 7]).toContain(states.items[n * states.length]);
    const rng = new Rng(4);
    const model = new DotProductModel({ vectors: Float32Array.from({ length: 800 }, () => rng.normal()), width: 4 });
    const { mean, best } = calibrateReward(model, { sequences, target: { mean: 0.4, best: 4 } });
    expect([mean.toFixed(2), best.toFixed(2)]).toEqual(['0.40', '4.00']);
  });
});
