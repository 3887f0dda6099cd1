import { describe, expect, it } from 'vitest';
import { Rng } from '../../../src/foundation/rng.js';
import { fitConditionalLogit, type LogitList, logitScores } from '../../../src/oracle/conditional-logit.js';
import { pairedGain, wilson } from '../../../src/oracle/shares.js';

/** Lists drawn from a conditional logit of known weights. */
function drawn(weights: readonly number[], count: number): LogitList[] {
  const rng = new Rng(3);
  return Array.from({ length: count }, () => {
    const features = Array.from({ length: 6 }, () => weights.map(() => rng.normal()));
    const exps = logitScores({ features, truth: 0 }, weights).map(Math.exp);
    let at = rng.uniform() * exps.reduce((a, b) => a + b, 0);
    const truth = exps.findIndex((exp) => {
      at -= exp;
      return at < 0;
    });
    return { features, truth };
  });
}

describe('fitConditionalLogit', () => {
  it('finds the weights that lists were drawn by', () => {
    const [text, model] = fitConditionalLogit(drawn([1.5, -0.7], 4_000), 2);
    expect(Math.abs((text as number) - 1.5)).toBeLessThan(0.1);
    expect(Math.abs((model as number) + 0.7)).toBeLessThan(0.1);
  });

  it('by hand: one feature, two candidates, three of four right: log odds of 3 to 1 for a step of 1', () => {
    const lists = Array.from({ length: 4_000 }, (_, i) => ({ features: [[1], [0]], truth: i % 4 === 0 ? 1 : 0 }));
    expect(fitConditionalLogit(lists, 1)[0]).toBeCloseTo(Math.log(3), 3);
  });

  it('stays finite where a feature tells every truth, and 0 where none tells any', () => {
    const sure = Array.from({ length: 50 }, () => ({ features: [[1], [-1]], truth: 0 }));
    const [weight] = fitConditionalLogit(sure, 1);
    expect(weight).toBeGreaterThan(2);
    expect(weight).toBeLessThan(20);
    expect(fitConditionalLogit([], 2)).toEqual([0, 0]);
    expect(
      fitConditionalLogit(
        [
          {
            features: [
              [0, 0],
              [0, 0],
            ],
            truth: 1,
          },
        ],
        2,
      ),
    ).toEqual([0, 0]);
  });
});

describe('shares', () => {
  it('has the Wilson interval of standard tables: 5 of 10 is 0.2366 to 0.7634', () => {
    const { low, high } = wilson(5, 10);
    expect([low, high].map((end) => end.toFixed(4))).toEqual(['0.2366', '0.7634']);
    expect(wilson(0, 0)).toEqual({ share: Number.NaN, low: Number.NaN, high: Number.NaN });
  });

  it('pairs: the same hits have a gain of 0, whose interval holds 0', () => {
    const hits = Array.from({ length: 50 }, (_, i) => i % 3 === 0);
    const { gain, low, high } = pairedGain(hits, hits);
    expect(gain).toBe(0);
    expect(low).toBeLessThan(0);
    expect(high).toBeGreaterThan(0);
  });

  it('covers the true gain in about 95 of 100 samples', () => {
    const rng = new Rng(8);
    let covered = 0;
    for (let sample = 0; sample < 500; sample++) {
      const base = Array.from({ length: 100 }, () => rng.uniform() < 0.3);
      const other = base.map((hit) => (rng.uniform() < 0.2 ? true : hit));
      const { low, high } = pairedGain(base, other);
      // 0.7 x 0.2 more hits.
      if (low <= 0.14 && 0.14 <= high) covered++;
    }
    expect(covered / 500).toBeGreaterThan(0.92);
    expect(covered / 500).toBeLessThan(0.985);
  });
});
