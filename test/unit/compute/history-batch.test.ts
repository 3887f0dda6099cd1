import { describe, expect, it } from 'vitest';
import { checkHistoryBatch, historyBatch } from '../../../src/compute/history-batch.js';
import { InvalidArgumentError } from '../../../src/foundation/errors.js';

describe('historyBatch', () => {
  it('packs oldest first, left-aligned, with -1 at padding', () => {
    const batch = historyBatch([[4, 5], [], [1, 2, 3]]);
    expect([...batch.items]).toEqual([4, 5, -1, -1, -1, -1, 1, 2, 3]);
    expect([...batch.lengths]).toEqual([2, 0, 3]);
    expect(batch).toMatchObject({ size: 3, length: 3, contextWidth: 0 });
  });

  it('keeps the last items when a history is longer than `length`', () => {
    const batch = historyBatch([Int32Array.of(1, 2, 3, 4)], { length: 2 });
    expect([...batch.items]).toEqual([3, 4]);
  });

  it('packs contexts', () => {
    const batch = historyBatch([[], [1]], {
      context: [
        [0.5, 1],
        [2, 3],
      ],
    });
    expect(batch.contextWidth).toBe(2);
    expect([...(batch.context ?? [])]).toEqual([0.5, 1, 2, 3]);
  });

  it.each([
    ['no history', () => historyBatch([])],
    ['a negative item', () => historyBatch([[1, -1]])],
    ['a fractional item', () => historyBatch([[1.5]])],
    ['a negative length', () => historyBatch([[1]], { length: -1 })],
    ['ragged contexts', () => historyBatch([[], []], { context: [[1], [1, 2]] })],
    ['too few contexts', () => historyBatch([[], []], { context: [[1]] })],
    ['a context that is not finite', () => historyBatch([[]], { context: [[Number.NaN]] })],
  ])('refuses %s', (_, call) => {
    expect(call).toThrow(InvalidArgumentError);
  });
});

describe('checkHistoryBatch', () => {
  const shape = { itemCount: 5, contextWidth: 0 };
  const good = historyBatch([[1, 2], [4]]);

  it('accepts a good batch, and whatever stands at padding', () => {
    expect(() => checkHistoryBatch(good, shape)).not.toThrow();
    const items = good.items.slice();
    items[3] = 99;
    expect(() => checkHistoryBatch({ ...good, items }, shape)).not.toThrow();
  });

  it('names the row and the value of an item out of range', () => {
    expect(() => checkHistoryBatch(historyBatch([[1], [0, 5]]), shape)).toThrow(/items\[1, 1\].*0 to 4.*got 5/);
  });

  it.each([
    ['lengths beyond the columns', { ...good, lengths: Int32Array.of(3, 1) }, /lengths\[0\].*0 to 2.*got 3/],
    ['too few items', { ...good, items: new Int32Array(3) }, /2 rows by 2 columns/],
    ['an empty batch', { ...good, size: 0 }, /size/],
    ['another context width', { ...good, contextWidth: 2 }, /contextWidth.*to be 0.*got 2/],
  ])('refuses %s', (_, batch, message) => {
    expect(() => checkHistoryBatch(batch, shape)).toThrow(InvalidArgumentError);
    expect(() => checkHistoryBatch(batch, shape)).toThrow(message);
  });

  it('wants the context that the model has', () => {
    expect(() => checkHistoryBatch({ ...good, contextWidth: 2 }, { itemCount: 5, contextWidth: 2 })).toThrow(
      /batch\.context/,
    );
  });
});
