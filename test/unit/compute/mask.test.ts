import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { historyBatch } from '../../../src/compute/history-batch.js';
import { excludedFlags, excludedItems, isExcluded, type Mask, maskLists } from '../../../src/compute/mask.js';
import { InvalidArgumentError } from '../../../src/foundation/errors.js';

const A = 7;

/** What a mask excludes, straight from its definition: one set for each row. */
function definition(mask: Mask, histories: readonly number[][]): Set<number>[] {
  return histories.map(
    (history, row) =>
      new Set([
        ...(mask.exclude ?? []),
        ...(mask.noRepeat === true ? history : []),
        ...(mask.excludeRows?.[row] ?? []),
      ]),
  );
}

const item = fc.nat(A - 1);
const rows = fc.array(
  fc.record({ history: fc.array(item, { maxLength: 9 }), excluded: fc.array(item, { maxLength: 9 }) }),
  { minLength: 1, maxLength: 5 },
);
const parts = fc.record({ noRepeat: fc.boolean(), exclude: fc.array(item, { maxLength: 6 }), hasRows: fc.boolean() });

describe('maskLists', () => {
  it('excludes what the mask says, or refuses the first row of which nothing is left', () => {
    let refused = 0;
    fc.assert(
      fc.property(rows, parts, (rows, { noRepeat, exclude, hasRows }) => {
        const histories = rows.map(({ history }) => history);
        const mask: Mask = {
          noRepeat,
          exclude: Int32Array.from(exclude),
          ...(hasRows ? { excludeRows: rows.map(({ excluded }) => excluded) } : {}),
        };
        const sets = definition(mask, histories);
        const full = sets.findIndex((set) => set.size === A);
        if (full >= 0) {
          refused++;
          const wanted = `excludes all ${A} items of row ${full}: nothing is left`;
          expect(() => maskLists(mask, historyBatch(histories), A)).toThrow(wanted);
          return;
        }
        const lists = maskLists(mask, historyBatch(histories), A);
        const flags = lists && excludedFlags(lists, A);
        expect(excludedItems(mask, historyBatch(histories), A)).toEqual(flags);
        for (const [row, set] of sets.entries()) {
          for (let a = 0; a < A; a++) {
            expect(lists !== undefined && isExcluded(lists, row, a)).toBe(set.has(a));
            expect(flags?.[row * A + a] ?? 0).toBe(set.has(a) ? 1 : 0);
          }
        }
      }),
      { seed: 7, numRuns: 500 },
    );
    expect(refused, 'fully masked rows must have come up').toBeGreaterThan(10);
  });

  it('lists what is excluded everywhere once and in order, and keeps copies', () => {
    const batch = historyBatch([[4, 4], []]);
    const mask = { noRepeat: true, exclude: Int32Array.of(5, 1, 5, 0), excludeRows: [[2], Int32Array.of(3, 3)] };
    const lists = maskLists(mask, batch, A);
    batch.items.fill(6);
    mask.exclude.fill(6);
    expect(lists).toEqual({
      everywhere: Int32Array.of(0, 1, 5),
      rowStart: Int32Array.of(0, 3, 5),
      rowItems: Int32Array.of(4, 4, 2, 3, 3),
    });
  });

  it('is undefined where nothing can be excluded', () => {
    const batch = historyBatch([[1]]);
    expect(maskLists(undefined, batch, A)).toBeUndefined();
    expect(maskLists({}, batch, A)).toBeUndefined();
    expect(maskLists({ noRepeat: false, exclude: new Int32Array(0) }, batch, A)).toBeUndefined();
  });

  it('needs no array over rows times items', () => {
    // 2^10 rows of 2^30 items: a terabyte of flags.
    const size = 1024;
    const batch = historyBatch(Array.from({ length: size }, () => [1, 2]));
    const lists = maskLists({ noRepeat: true }, batch, 2 ** 30);
    expect(lists?.rowItems.length).toBe(2 * size);
  });

  it.each<[string, unknown, RegExp]>([
    ['an item of no row', { exclude: Int32Array.of(7) }, /mask\.exclude.*0 to 6, got 7/],
    ['a fraction', { excludeRows: [[], [0.5]] }, /mask\.excludeRows\[1\].*got 0\.5/],
    ['a negative item', { excludeRows: [[-1], []] }, /mask\.excludeRows\[0\].*got -1/],
    ['lists of another batch', { excludeRows: [[]] }, /2 rows, got 1/],
    ['a row that is no list', { excludeRows: [[], 'x'] }, /mask\.excludeRows\[1\]/],
    ['a flag that is none', { noRepeat: 1 }, /mask\.noRepeat/],
  ])('refuses %s', (_, mask, message) => {
    const call = () => maskLists(mask as Mask, historyBatch([[], []]), A);
    expect(call).toThrow(InvalidArgumentError);
    expect(call).toThrow(message);
  });

  it('names the batch in the message where it is not the first of the call', () => {
    const exclude = Int32Array.from({ length: A }, (_, a) => a);
    expect(() => maskLists({ exclude }, historyBatch([[]]), A, 'want.next.histories')).toThrow(
      'row 0 of `want.next.histories`',
    );
  });
});
