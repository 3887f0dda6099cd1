import { describe, expect, it } from 'vitest';
import { dropoutFactors } from '../../../src/compute/dropout.js';

describe('dropoutFactors', () => {
  it('zeroes the given share and keeps the mean at 1', () => {
    for (const rate of [0.1, 0.5, 0.8]) {
      const factors = dropoutFactors(7, 0, 100_000, rate);
      const zeros = factors.filter((factor) => factor === 0).length;
      // Five standard deviations of a binomial count.
      expect(Math.abs(zeros - 100_000 * rate)).toBeLessThan(5 * Math.sqrt(100_000 * rate * (1 - rate)));
      expect(factors.find((factor) => factor !== 0)).toBeCloseTo(1 / (1 - rate), 6);
    }
  });

  it('depends on seed, site and place only', () => {
    expect(dropoutFactors(1, 2, 64, 0.5)).toEqual(dropoutFactors(1, 2, 64, 0.5));
    expect(dropoutFactors(1, 2, 128, 0.5).slice(0, 64)).toEqual(dropoutFactors(1, 2, 64, 0.5));
    for (const other of [
      dropoutFactors(2, 2, 64, 0.5),
      dropoutFactors(1, 3, 64, 0.5),
      dropoutFactors(2 ** 40 + 1, 2, 64, 0.5),
    ]) {
      expect(other).not.toEqual(dropoutFactors(1, 2, 64, 0.5));
    }
  });
});
