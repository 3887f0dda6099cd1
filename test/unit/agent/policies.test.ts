import { describe, expect, it } from 'vitest';
import { ContentPolicy } from '../../../src/agent/content-policy.js';
import { CountingBanditPolicy } from '../../../src/agent/counting-bandit-policy.js';
import { categorical, epsilonGreedy, greedy } from '../../../src/agent/exploration.js';
import type { Policy, PolicyOptions } from '../../../src/agent/policy.js';
import { PopularityPolicy } from '../../../src/agent/popularity-policy.js';
import { RandomPolicy } from '../../../src/agent/random-policy.js';
import { RotationPolicy } from '../../../src/agent/rotation-policy.js';
import { ItemFeatures } from '../../../src/catalog/item-features.js';
import type { HistoryBatch } from '../../../src/compute/history-batch.js';
import { historyBatch } from '../../../src/compute/history-batch.js';
import { CheckpointError, InvalidArgumentError } from '../../../src/foundation/errors.js';
import { decodeNamedArrays, encodeNamedArrays } from '../../../src/foundation/named-arrays.js';
import { Rng } from '../../../src/foundation/rng.js';
import { linearSchedule } from '../../../src/foundation/schedules.js';
import { textOracleScore } from '../../../src/oracle/text-oracle-score.js';
import { catalogOf } from '../oracle/fixtures.js';

const none = new Float64Array(0);
const one = historyBatch([[]]);

const best = (policy: Policy, batch: HistoryBatch, options: PolicyOptions = {}): number[] => [
  ...policy.act(batch, { ...options, mode: 'argmax', uniforms: none }).actions,
];

const rowsOf = (policy: Policy, batch: HistoryBatch, options?: PolicyOptions): number[] => {
  const rows = policy.probabilities?.(batch, options);
  if (rows === undefined) throw new Error(`${policy.name} gives no probabilities`);
  return [...rows];
};

const features = ItemFeatures.fromMatrix([1, 0, 0.6, 0.8, 0, 1, 0, 0], { width: 2, name: 'hand' });

function bandit(temperature?: number): CountingBanditPolicy {
  const policy = new CountingBanditPolicy({ itemCount: 4, ...(temperature === undefined ? {} : { temperature }) });
  policy.observe({ actions: Int32Array.of(0, 1, 1), rewards: Float32Array.of(4, 0, 1) });
  return policy;
}

const all: [string, () => Policy][] = [
  ['popularity', () => new PopularityPolicy([5, 0, 3, 2])],
  ['random', () => new RandomPolicy({ itemCount: 4 })],
  ['rotation', () => new RotationPolicy({ items: [2, 0], itemCount: 4 })],
  ['countingBandit', () => bandit()],
  ['countingBandit, softmax', () => bandit(0.5)],
  ['content', () => new ContentPolicy(features)],
  ['epsilonGreedy', () => epsilonGreedy({ epsilon: 0.3, itemCount: 4 }).at(new PopularityPolicy([5, 0, 3, 2]), 0)],
  ['categorical', () => categorical(2).at(new PopularityPolicy([5, 0, 3, 2]), 0)],
  ['greedy', () => greedy().at(new PopularityPolicy([5, 0, 3, 2]), 0)],
];

describe.each(all)('%s', (name, make) => {
  const batch = historyBatch([[], [1], [0, 2, 1]]);
  const masks: PolicyOptions[] = [
    {},
    { mask: { noRepeat: true } },
    { mask: { exclude: Int32Array.of(0) } },
    { mask: { excludeRows: [[0, 2], [], [3]] }, temperature: 0.5 },
  ];

  it('draws exactly from its probabilities, which sum to 1 and give nothing to masked items', () => {
    for (const options of masks) {
      const policy = make();
      const rows = rowsOf(policy, batch, options);
      for (let row = 0; row < 3; row++) {
        const p = rows.slice(row * 4, row * 4 + 4);
        expect(p.reduce((sum, value) => sum + value, 0)).toBeCloseTo(1, 6);
        const barred = new Set([
          ...(options.mask?.exclude ?? []),
          ...(options.mask?.excludeRows?.[row] ?? []),
          ...(options.mask?.noRepeat ? batch.items.subarray(row * 3, row * 3 + (batch.lengths[row] as number)) : []),
        ]);
        for (const item of barred) expect(p[item]).toBe(0);
      }
      // A fine grid of uniforms: the share of each item is its probability, to the grid's width.
      const shares = new Float64Array(12);
      const grid = 400;
      for (let i = 0; i < grid; i++) {
        const uniforms = new Float64Array(3).fill((i + 0.5) / grid);
        const { actions, logProb } = policy.act(batch, { ...options, mode: 'sampled', uniforms });
        actions.forEach((action, row) => {
          shares[row * 4 + action] = (shares[row * 4 + action] as number) + 1 / grid;
          expect(Math.exp(logProb[row] as number)).toBeCloseTo(rows[row * 4 + action] as number, 5);
        });
      }
      for (const [i, p] of rows.entries()) expect(Math.abs((shares[i] as number) - p)).toBeLessThan(5 / grid);
    }
  });

  it('takes an allowed item of the highest probability for argmax, for certain', () => {
    for (const options of masks) {
      const policy = make();
      const rows = rowsOf(policy, batch, options);
      const { actions, logProb } = policy.act(batch, { ...options, mode: 'argmax', uniforms: none });
      actions.forEach((action, row) => {
        expect(rows[row * 4 + action]).toBe(Math.max(...rows.slice(row * 4, row * 4 + 4)));
        expect(logProb[row]).toBe(0);
      });
    }
  });

  it('ranks its best item first, the rest by probability, none masked', () => {
    const policy = make();
    if (policy.topK === undefined) return;
    const options: PolicyOptions = { mask: { exclude: Int32Array.of(2) } };
    const { items, logProb } = policy.topK(batch, 3, options);
    expect(best(policy, batch, options)).toEqual([items[0], items[3], items[6]]);
    const rows = rowsOf(policy, batch, options);
    for (let row = 0; row < 3; row++) {
      const ranked = [...items.subarray(row * 3, row * 3 + 3)];
      expect([...ranked].sort()).toEqual([0, 1, 3]);
      const p = ranked.map((item) => rows[row * 4 + item] as number);
      expect([...p].sort((a, b) => b - a)).toEqual(p);
      ranked.forEach((_, rank) => {
        expect(Math.exp(logProb[row * 3 + rank] as number)).toBeCloseTo(p[rank] as number, 6);
      });
    }
    expect(() => policy.topK?.(batch, 4, options)).toThrow(/`k`/);
    expect(() => policy.topK?.(batch, 0)).toThrow(InvalidArgumentError);
  });

  it('refuses bad calls', () => {
    const policy = make();
    const sampled = { mode: 'sampled', uniforms: new Float64Array(3) } as const;
    // Greedy exploration draws nothing, so it needs no uniforms.
    if (name !== 'greedy') expect(() => policy.act(batch, { ...sampled, uniforms: none })).toThrow(/uniforms/);
    expect(() => policy.act(batch, { ...sampled, mask: { exclude: Int32Array.of(0, 1, 2, 3) } })).toThrow(
      InvalidArgumentError,
    );
    expect(() => policy.act(batch, { ...sampled, mask: { exclude: Int32Array.of(4) } })).toThrow(InvalidArgumentError);
    expect(() => policy.act(batch, { ...sampled, temperature: 0 })).toThrow(/temperature/);
    expect(() => policy.act(historyBatch([[4], [], []]), sampled)).toThrow(InvalidArgumentError);
  });
});

describe('PopularityPolicy', () => {
  it('takes the most popular, or draws in proportion to the counts', () => {
    const policy = new PopularityPolicy([5, 0, 3, 2]);
    expect(best(policy, one)).toEqual([0]);
    expect(best(policy, historyBatch([[0]]), { mask: { noRepeat: true } })).toEqual([2]);
    expect(rowsOf(policy, one).map((p) => Math.round(p * 1000))).toEqual([500, 0, 300, 200]);
    // counts^(1/0.5): 25, 9, 4 of 38.
    expect(rowsOf(policy, one, { temperature: 0.5 })[0]).toBeCloseTo(25 / 38, 6);
  });

  it('is uniform where nothing is known of what is left', () => {
    expect(rowsOf(new PopularityPolicy([0, 0, 3]), one, { mask: { exclude: Int32Array.of(2) } })).toEqual([
      0.5, 0.5, 0,
    ]);
    expect(() => new PopularityPolicy([1, -1])).toThrow(/-1 for item 1/);
    expect(() => new PopularityPolicy([1, Number.NaN])).toThrow(InvalidArgumentError);
    expect(() => new PopularityPolicy([])).toThrow(InvalidArgumentError);
  });
});

describe('RotationPolicy', () => {
  it('shows its list cyclically by the history length', () => {
    const policy = new RotationPolicy({ items: [3, 1, 2], itemCount: 5 });
    const seen = [[], [0], [0, 0], [0, 0, 0], [0, 0, 0, 0]].map((history) => best(policy, historyBatch([history]))[0]);
    expect(seen).toEqual([3, 1, 2, 3, 1]);
    expect(policy.act(one, { mode: 'sampled', uniforms: Float64Array.of(0.99) }).actions[0]).toBe(3);
    expect([...policy.topK(one, 4).items]).toEqual([3, 1, 2, 0]);
  });

  it('takes the next allowed of the cycle, and beyond the list the first allowed item', () => {
    const policy = new RotationPolicy({ items: [3, 1, 2], itemCount: 5 }, 'rotationTrain');
    expect(policy.name).toBe('rotationTrain');
    expect(best(policy, historyBatch([[3, 1]]), { mask: { noRepeat: true, exclude: Int32Array.of(2) } })).toEqual([0]);
    expect(best(policy, historyBatch([[1]]), { mask: { noRepeat: true } })).toEqual([2]);
    expect(() => new RotationPolicy({ items: [1, 1], itemCount: 5 })).toThrow(/place 1/);
    expect(() => new RotationPolicy({ items: [5], itemCount: 5 })).toThrow(InvalidArgumentError);
    expect(() => new RotationPolicy({ items: [], itemCount: 5 })).toThrow(InvalidArgumentError);
  });
});

describe('CountingBanditPolicy', () => {
  it('values items by the mean of their rewards and the optimistic prior', () => {
    const policy = bandit();
    // (4 + 1.5) / 2; (0 + 1 + 1.5) / 3; never shown: 1.5.
    expect([0, 1, 2, 3].map((item) => policy.value(item))).toEqual([2.75, 2.5 / 3, 1.5, 1.5]);
    expect(best(policy, one)).toEqual([0]);
    // A sampled call without a temperature is certain too.
    expect(policy.act(one, { mode: 'sampled', uniforms: Float64Array.of(0.99) })).toEqual({
      actions: Int32Array.of(0),
      logProb: Float32Array.of(0),
    });
  });

  it('tries every item, then settles on the best; without optimism it stays with the first', () => {
    const play = (prior: number): { tried: number; last: number } => {
      const policy = new CountingBanditPolicy({ itemCount: 6, prior });
      const rewards = [0.2, 0.1, 0.9, 0.3, 0.4, 0];
      const seen = new Set<number>();
      let last = -1;
      for (let step = 0; step < 60; step++) {
        const { actions } = policy.act(one, { mode: 'argmax', uniforms: none });
        last = actions[0] as number;
        seen.add(last);
        policy.observe({ actions, rewards: Float32Array.of(rewards[last] as number) });
      }
      return { tried: seen.size, last };
    };
    expect(play(1.5)).toEqual({ tried: 6, last: 2 });
    expect(play(0)).toEqual({ tried: 1, last: 0 });
  });

  it('is carried through a checkpoint, and refuses a wrong one', () => {
    const policy = bandit();
    const { arrays } = decodeNamedArrays(encodeNamedArrays(policy.toNamedArrays()), 'test');
    const other = new CountingBanditPolicy({ itemCount: 4 });
    other.load(arrays, 'test');
    expect(other.toNamedArrays()).toEqual(policy.toNamedArrays());
    expect(() => new CountingBanditPolicy({ itemCount: 5 }).load(arrays, 'file')).toThrow(CheckpointError);
    const counts = { shape: [4], data: Float64Array.of(1, -1, 0, 0) };
    expect(() => other.load({ ...arrays, counts }, 'file')).toThrow(/^file: /);
    expect(() => policy.observe({ actions: Int32Array.of(4), rewards: Float32Array.of(1) })).toThrow(
      InvalidArgumentError,
    );
    expect(() => policy.observe({ actions: Int32Array.of(1), rewards: Float32Array.of(Number.NaN) })).toThrow(
      InvalidArgumentError,
    );
    expect(policy.value(1)).toBe(2.5 / 3);
  });
});

describe('ContentPolicy', () => {
  it('scores by the best and the recency-weighted cosine', () => {
    // History 0 then 2. cos to item 1: 0.6 and 0.8. Score: 0.5 * 0.8 + 0.5 * (0.8 + 0.8 * 0.6) / 1.8.
    // Item 0: 1 and 0: 0.5 + 0.5 * 0.8 / 1.8. Item 2: 0.5 + 0.5 * 1 / 1.8. Item 3 has no text: 0.
    const scores = [0.5 + 0.4 / 1.8, 0.4 + (0.5 * 1.28) / 1.8, 0.5 + 0.5 / 1.8, 0];
    const weights = scores.map((score) => Math.exp(score / 0.1));
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    const rows = rowsOf(new ContentPolicy(features), historyBatch([[0, 2]]));
    for (const [item, p] of rows.entries()) expect(p).toBeCloseTo((weights[item] as number) / total, 5);
    expect(best(new ContentPolicy(features), historyBatch([[0, 2]]), { mask: { noRepeat: true } })).toEqual([1]);
  });

  it('is the text oracle without its noise, exact terms and not their reduction', () => {
    const catalog = catalogOf(
      Array.from({ length: 40 }, (_, n) => ({ id: `${n}`, title: `w${n % 7} w${n % 5} w${n % 11} own${n}` })),
      ['title'],
      'product',
      'shop',
      'purchase',
    );
    const reduced = ItemFeatures.tfidf(catalog, { dimensions: 4 });
    const texts = catalog.texts();
    const history = [3, 17, 8];
    const truth = textOracleScore(texts)(
      history.map((item) => texts[item] as string),
      texts,
      undefined,
    );
    const weights = Array.from(truth, (score) => Math.exp(score / 0.1));
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    const off = (policy: ContentPolicy): number =>
      Math.max(
        ...rowsOf(policy, historyBatch([history])).map((p, item) => Math.abs(p - (weights[item] as number) / total)),
      );
    expect(off(new ContentPolicy(reduced))).toBeLessThan(1e-6);
    const { matrix, width } = reduced;
    expect(off(new ContentPolicy(ItemFeatures.fromMatrix(matrix, { width })))).toBeGreaterThan(1e-3);
  });

  it('looks at the window only, and serves a first user by the cold start', () => {
    const policy = new ContentPolicy(features, { window: 1, coldStart: [0, 0, 0, 5] });
    expect(rowsOf(policy, historyBatch([[0, 2]]))).toEqual(rowsOf(policy, historyBatch([[1, 1, 2]])));
    expect(rowsOf(policy, historyBatch([[0, 2]]))).not.toEqual(rowsOf(policy, historyBatch([[2, 0]])));
    expect(best(policy, one)).toEqual([3]);
    expect(rowsOf(new ContentPolicy(features), one)).toEqual([0.25, 0.25, 0.25, 0.25]);
    expect(() => new ContentPolicy(features, { coldStart: [1] })).toThrow(/`coldStart` to hold 4 numbers/);
    expect(() => new ContentPolicy(features, { decay: 0 })).toThrow(InvalidArgumentError);
  });

  it('gives the same however often and in whatever order it is asked', () => {
    const width = 3;
    const rng = new Rng(1);
    const matrix = Float32Array.from({ length: 50 * width }, () => rng.normal());
    const warm = new ContentPolicy(ItemFeatures.fromMatrix(matrix, { width }));
    for (let i = 0; i < 200; i++) {
      const batch = historyBatch([[rng.integer(50), rng.integer(50), rng.integer(50)]]);
      const cold = new ContentPolicy(ItemFeatures.fromMatrix(matrix, { width }));
      expect(rowsOf(warm, batch)).toEqual(rowsOf(cold, batch));
    }
  });
});

describe('exploration', () => {
  const policy = new PopularityPolicy([5, 0, 3, 2]);
  const sampled = (uniform: number) => ({ mode: 'sampled', uniforms: Float64Array.of(uniform) }) as const;

  it('epsilon-greedy: a random allowed item with probability epsilon, else the best', () => {
    const explored = epsilonGreedy({ epsilon: 0.4, itemCount: 4 }).at(policy, 0);
    // Best: 0.6 + 0.4 / 4.
    expect(rowsOf(explored, one).map((p) => Math.round(p * 1000))).toEqual([700, 100, 100, 100]);
    const { actions, logProb } = explored.act(one, sampled(0.39));
    expect([actions[0], Math.exp(logProb[0] as number)]).toEqual([3, expect.closeTo(0.1, 6)]);
    const mostly = explored.act(one, sampled(0.41));
    expect([mostly.actions[0], Math.exp(mostly.logProb[0] as number)]).toEqual([0, expect.closeTo(0.7, 6)]);
    // A mask leaves two: 0.6 + 0.2 and 0.2.
    const masked = rowsOf(explored, one, { mask: { exclude: Int32Array.of(0, 1) } });
    expect(masked.map((p) => Math.round(p * 1000))).toEqual([0, 0, 800, 200]);
    expect(best(explored, one)).toEqual([0]);
  });

  it('follows its schedule, and needs none of it at the ends', () => {
    const rule = epsilonGreedy({ epsilon: linearSchedule({ from: 1, to: 0, steps: 10 }), itemCount: 4 });
    expect(rowsOf(rule.at(policy, 0), one)).toEqual([0.25, 0.25, 0.25, 0.25]);
    expect(rowsOf(rule.at(policy, 5), one)).toEqual([0.625, 0.125, 0.125, 0.125]);
    expect(rowsOf(rule.at(policy, 10), one)).toEqual([1, 0, 0, 0]);
    expect(rule.at(policy, 10).act(one, sampled(0)).actions[0]).toBe(0);
    expect(rule.at(policy, 0).act(one, sampled(1 - 2 ** -53)).actions[0]).toBe(3);
    expect(JSON.parse(JSON.stringify(rule))).toMatchObject({ name: 'epsilonGreedy', itemCount: 4 });
  });

  it('categorical multiplies the temperature, greedy takes the best in both modes', () => {
    expect(rowsOf(categorical(0.5).at(policy, 0), one)).toEqual(rowsOf(policy, one, { temperature: 0.5 }));
    expect(rowsOf(categorical().at(policy, 0), one)).toEqual(rowsOf(policy, one));
    const { actions, logProb } = greedy().at(policy, 0).act(one, sampled(0.99));
    expect([actions[0], logProb[0]]).toEqual([0, 0]);
    expect(rowsOf(greedy().at(policy, 0), one)).toEqual([1, 0, 0, 0]);
  });

  it('passes on what it observes', () => {
    const learner = new CountingBanditPolicy({ itemCount: 4 });
    const feedback = { histories: one, actions: Int32Array.of(2), rewards: Float32Array.of(5) };
    for (const rule of [epsilonGreedy({ epsilon: 0.1, itemCount: 4 }), categorical(), greedy()]) {
      rule.at(learner, 0).observe?.(feedback);
      expect(rule.at(policy, 0).observe).toBeUndefined();
    }
    expect(learner.value(2)).toBe((15 + 1.5) / 4);
  });

  it('refuses settings out of range', () => {
    expect(() => epsilonGreedy({ epsilon: 1.5, itemCount: 4 })).toThrow(InvalidArgumentError);
    expect(() => epsilonGreedy({ epsilon: 0.5, itemCount: 0 })).toThrow(InvalidArgumentError);
    expect(() => categorical(0)).toThrow(/temperature/);
    const wild = epsilonGreedy({ epsilon: linearSchedule({ from: 0, to: 2, steps: 2 }), itemCount: 4 });
    expect(() => wild.at(policy, 2)).toThrow(/`epsilon` to be from 0 to 1, got 2/);
  });
});
