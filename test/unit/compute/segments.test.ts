import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { chunkRows, distinctItems, type Segments, START, segmentsOf } from '../../../src/compute/fused/segments.js';
import { historyBatch } from '../../../src/compute/history-batch.js';
import { lastItems, type Window } from '../../../src/compute/scoring-call.js';

const window = (histories: number[][], historyLength: number): Window =>
  lastItems(historyBatch(histories), historyLength);

/** The items that a segment's last token sees, and their positions. */
function seenBy(segments: Segments, segment: number): { items: number[]; positions: number[] } {
  const { tokenItem, tokenPosition, start, prefixStart, prefixLength } = segments;
  const before = prefixStart[segment] as number;
  const places = [
    ...Array.from({ length: prefixLength[segment] as number }, (_, i) => before + i),
    ...Array.from(tokenItem.keys()).slice(start[segment], start[segment + 1]),
  ];
  return {
    items: places.map((place) => tokenItem[place] as number),
    positions: places.map((place) => tokenPosition[place] as number),
  };
}

const histories = fc.array(fc.array(fc.nat(9), { maxLength: 8 }), { minLength: 1, maxLength: 30 });

describe('segmentsOf', () => {
  it('lets every state see the last items of its own history, oldest first, whatever is shared', () => {
    fc.assert(
      fc.property(
        histories,
        fc.integer({ min: 1, max: 6 }),
        fc.boolean(),
        fc.nat(9),
        (rows, length, canShare, item) => {
          const next = rows.map((history, row) => (row % 4 === 3 ? [item] : [...history, item]));
          const segments = segmentsOf(window(rows, length), window(next, length), canShare);
          expect(segments.count).toBe(2 * rows.length);
          for (const [segment, history] of [...rows, ...next].entries()) {
            const items = history.length === 0 ? [START] : history.slice(-length);
            expect(seenBy(segments, segment)).toEqual({ items, positions: [...items.keys()] });
          }
        },
      ),
      { seed: 11 },
    );
  });

  it('adds one token where the next history goes on, and all of them where the window slides or the start vector goes', () => {
    const now = [[1, 2], [1, 2, 3], [], [4, 5]];
    const later = [[1, 2, 7], [1, 2, 3, 7], [7], [4, 6, 7]];
    const { prefixLength, start } = segmentsOf(window(now, 3), window(later, 3), true);
    expect([...prefixLength]).toEqual([0, 0, 0, 0, 2, 0, 0, 0]);
    expect([...start]).toEqual([0, 2, 5, 6, 8, 9, 12, 13, 16]);
  });

  it('shares nothing when it may not', () => {
    const { prefixLength, tokenItem } = segmentsOf(window([[1, 2]], 5), window([[1, 2, 3]], 5), false);
    expect([...prefixLength]).toEqual([0, 0]);
    expect([...tokenItem]).toEqual([1, 2, 1, 2, 3]);
  });
});

describe('chunkRows', () => {
  it('covers all rows in order, in at most 16 chunks of at least 4 rows on average', () => {
    fc.assert(
      fc.property(histories, (rows) => {
        const chunks = chunkRows(segmentsOf(window(rows, 6), undefined, true), rows.length);
        expect(chunks.length - 1).toBe(Math.ceil(rows.length / 4));
        expect(chunks[0]).toBe(0);
        expect(chunks.at(-1)).toBe(rows.length);
        for (let i = 1; i < chunks.length; i++) expect(chunks[i]).toBeGreaterThanOrEqual(chunks[i - 1] as number);
      }),
      { seed: 12 },
    );
    const many = Array.from({ length: 300 }, () => [1]);
    expect(chunkRows(segmentsOf(window(many, 2), undefined, true), 300)).toHaveLength(17);
  });

  it('shares tokens out evenly, not rows', () => {
    const rows = [...Array.from({ length: 4 }, () => Array<number>(20).fill(1)), ...Array<number[]>(4).fill([1])];
    const chunks = chunkRows(segmentsOf(window(rows, 20), undefined, true), 8);
    expect([...chunks]).toEqual([0, 3, 8]);
  });
});

describe('distinctItems', () => {
  it('names each item once and finds every token, and leaves its table as it was', () => {
    const places = new Int32Array(10).fill(-1);
    const { items, tokenVector } = distinctItems(Int32Array.of(5, 3, START, 5, 9, 3), places);
    expect([...items]).toEqual([5, 3, 9]);
    expect([...tokenVector]).toEqual([0, 1, START, 0, 2, 1]);
    expect([...places]).toEqual(Array(10).fill(-1));
  });
});
