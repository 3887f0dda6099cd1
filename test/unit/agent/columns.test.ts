import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  gatherFlags,
  gatherFloats,
  gatherIntegers,
  gatherVectors,
  meanOf,
  scaled,
} from '../../../src/agent/columns.js';

const float = fc.float({ noNaN: true, min: -1000, max: 1000 });
const columnAndRows = fc
  .tuple(fc.array(float, { minLength: 1, maxLength: 20 }), fc.array(fc.nat(1000), { maxLength: 30 }))
  .map(([column, picks]) => ({ column, rows: Int32Array.from(picks, (pick) => pick % column.length) }));

describe('columns', () => {
  it('are gathered row by row, rows given twice included, whatever they hold', () => {
    fc.assert(
      fc.property(columnAndRows, ({ column, rows }) => {
        const picked = [...rows].map((row) => column[row] as number);
        expect(gatherFloats(Float32Array.from(column), rows)).toEqual(Float32Array.from(picked));
        expect(gatherIntegers(Int32Array.from(column), rows)).toEqual(Int32Array.from(picked));
        expect(gatherFlags(Uint8Array.from(column), rows)).toEqual(Uint8Array.from(picked));
      }),
      { seed: 7 },
    );
  });

  it('of vectors keep each vector together', () => {
    const vectors = Int32Array.of(1, 2, 3, 4, 5, 6);
    expect(gatherVectors(vectors, 2, Int32Array.of(2, 0, 2), new Int32Array(6))).toEqual(
      Int32Array.of(5, 6, 1, 2, 5, 6),
    );
    expect(gatherVectors(vectors, 0, Int32Array.of(2, 0), new Int32Array(0))).toEqual(new Int32Array(0));
  });

  it('are scaled into a new column', () => {
    const column = Float32Array.of(1, -2, 0.1);
    expect(scaled(column, 3)).toEqual(Float32Array.of(3, -6, Math.fround(Math.fround(0.1) * 3)));
    expect(column).toEqual(Float32Array.of(1, -2, 0.1));
  });

  it('have a mean, and none where there is nothing', () => {
    expect(meanOf(Float32Array.of(1, 2, 6))).toBe(3);
    expect(meanOf(new Float32Array(0))).toBeNaN();
  });
});
