import { describe, expect, it } from 'vitest';
import { Rng } from '../../../src/foundation/rng.js';
import { confidenceInterval, mean, standardDeviation, studentQuantile } from '../../../src/metrics/statistics.js';

describe('statistics', () => {
  it('knows the 97.5 % quantile of Student’s t, tabled and beyond the table', () => {
    // Abramowitz and Stegun, table 26.10.
    const known: readonly [number, number][] = [
      [1, 12.706],
      [2, 4.303],
      [4, 2.776],
      [9, 2.262],
      [20, 2.086],
      [30, 2.042],
      [60, 2.0],
      [120, 1.98],
      [100_000, 1.96],
    ];
    for (const [degrees, value] of known) expect(studentQuantile(degrees), String(degrees)).toBeCloseTo(value, 2);
  });

  it('gives mean, sample deviation and interval by hand', () => {
    // 2, 4, 9: mean 5, squares 9 + 1 + 16 = 26, variance 13, half-width 4.303 sqrt(13 / 3) = 8.957.
    expect(mean([2, 4, 9])).toBe(5);
    expect(standardDeviation([2, 4, 9])).toBeCloseTo(Math.sqrt(13), 12);
    const { low, high } = confidenceInterval([2, 4, 9]);
    expect(low).toBeCloseTo(5 - 8.957, 2);
    expect(high).toBeCloseTo(5 + 8.957, 2);
  });

  it('says nothing it does not know of one value or of none', () => {
    expect(confidenceInterval([3])).toMatchObject({ mean: 3, low: 3, high: 3 });
    expect(mean([])).toBeNaN();
    expect(standardDeviation([3])).toBe(0);
  });

  it('holds the truth in 95 of 100 samples', () => {
    const rng = new Rng('coverage');
    let held = 0;
    for (let trial = 0; trial < 4000; trial++) {
      const { low, high } = confidenceInterval(Array.from({ length: 4 }, () => 10 + 3 * rng.normal()));
      if (low <= 10 && 10 <= high) held++;
    }
    expect(held / 4000).toBeGreaterThan(0.935);
    expect(held / 4000).toBeLessThan(0.965);
  });
});
