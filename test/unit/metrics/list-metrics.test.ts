import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ItemFeatures } from '../../../src/catalog/item-features.js';
import { intraListDiversity, selfInformation } from '../../../src/metrics/list-metrics.js';

// Rows of unit norm and one of which nothing is known.
const rows = [
  [1, 0],
  [0, 1],
  [0.6, 0.8],
  [-1, 0],
  [0, 0],
  [1, 0],
];
const features = ItemFeatures.fromMatrix(Float32Array.from(rows.flat()), { width: 2, name: 'by hand' });

const cosine = (a: number, b: number): number => {
  const [x, y] = [rows[a] as number[], rows[b] as number[]];
  return (x[0] as number) * (y[0] as number) + (x[1] as number) * (y[1] as number);
};

describe('intraListDiversity', () => {
  it('is the mean over the pairs of 1 - cosine', () => {
    expect(intraListDiversity(features, [0, 5])).toBeCloseTo(0, 6);
    expect(intraListDiversity(features, [0, 1])).toBeCloseTo(1, 6);
    expect(intraListDiversity(features, [0, 3])).toBeCloseTo(2, 6);
    expect(intraListDiversity(features, [0, 4])).toBeCloseTo(1, 6);
    expect(intraListDiversity(features, [2])).toBeNaN();
    fc.assert(
      fc.property(fc.array(fc.nat(5), { minLength: 2, maxLength: 12 }), (list) => {
        const pairs = list.flatMap((a, i) => list.slice(i + 1).map((b) => 1 - cosine(a, b)));
        const wanted = pairs.reduce((sum, value) => sum + value, 0) / pairs.length;
        expect(intraListDiversity(features, list)).toBeCloseTo(wanted, 5);
      }),
    );
  });
});

describe('selfInformation', () => {
  it('is -log2 of the smoothed share, and falls with popularity', () => {
    // (3 + 1) / (4 + 4), (1 + 1) / 8, 1 / 8, 1 / 8
    expect(Array.from(selfInformation([3, 1, 0, 0]))).toEqual([1, 2, 3, 3]);
    expect(selfInformation([0, 0]).every((bits) => bits === 1)).toBe(true);
  });
});
