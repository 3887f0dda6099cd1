import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { SparseCosines, type TermRows } from '../../../src/compute/sparse-cosines.js';
import { InvalidArgumentError } from '../../../src/foundation/errors.js';

const TERMS = 9;

/** Each item's terms with their weights, as dense rows and as sparse ones. */
const tables = fc
  .array(fc.array(fc.option(fc.integer({ min: 1, max: 9 })), { minLength: TERMS, maxLength: TERMS }), {
    minLength: 1,
    maxLength: 12,
  })
  .map((cells) => {
    const dense = cells.map((row) => {
      const norm = Math.hypot(...row.map((value) => value ?? 0)) || 1;
      return row.map((value) => Math.fround((value ?? 0) / norm));
    });
    return { dense, rows: sparse(dense) };
  });

function sparse(dense: readonly (readonly number[])[]): TermRows {
  const terms: number[] = [];
  const weights: number[] = [];
  const offsets = [0];
  for (const row of dense) {
    row.forEach((weight, term) => {
      if (weight === 0) return;
      terms.push(term);
      weights.push(weight);
    });
    offsets.push(terms.length);
  }
  return {
    offsets: Int32Array.from(offsets),
    terms: Int32Array.from(terms),
    weights: Float32Array.from(weights),
    termCount: TERMS,
  };
}

const product = (a: readonly number[], b: readonly number[]) =>
  a.reduce((sum, value, i) => sum + value * (b[i] as number), 0);

describe('SparseCosines', () => {
  it('gives the products of the dense rows, of one with all and of two, whatever stood there before', () => {
    fc.assert(
      fc.property(tables, fc.nat(), ({ dense, rows }, pick) => {
        const cosines = new SparseCosines(rows);
        const item = pick % dense.length;
        const into = new Float32Array(dense.length + 2).fill(7);
        cosines.fill(item, into);
        dense.forEach((row, other) => {
          const wanted = product(dense[item] as number[], row);
          expect(into[other]).toBeCloseTo(wanted, 5);
          expect(cosines.between(item, other)).toBeCloseTo(wanted, 5);
        });
        expect([...into.subarray(dense.length)]).toEqual([7, 7]);
      }),
      { seed: 5, numRuns: 200 },
    );
  });

  it('refuses rows that do not fit together', () => {
    const right = sparse([
      [0.6, 0.8, 0, 0, 0, 0, 0, 0, 0],
      [0, 0, 1, 0, 0, 0, 0, 0, 0],
    ]);
    expect(() => new SparseCosines(right)).not.toThrow();
    const wrong: Partial<TermRows>[] = [
      { offsets: Int32Array.of(0, 2, 4) },
      { offsets: Int32Array.of(0, 3, 3, 2) },
      { terms: Int32Array.of(1, 0, 2) },
      { terms: Int32Array.of(0, 0, 2) },
      { terms: Int32Array.of(0, 1, TERMS) },
      { weights: Float32Array.of(0.6, Number.NaN, 1) },
      { weights: Float32Array.of(0.6, 0.8) },
    ];
    for (const part of wrong) {
      expect(() => new SparseCosines({ ...right, ...part }), JSON.stringify(part)).toThrow(InvalidArgumentError);
    }
  });
});
