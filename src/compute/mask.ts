import { argumentError, checkObject } from '../foundation/arguments.js';
import { InvalidArgumentError } from '../foundation/errors.js';
import { describeValue } from '../foundation/options.js';
import type { HistoryBatch } from './history-batch.js';

/** Items that may not be chosen, applied before the softmax. All parts are joined. */
export interface Mask {
  /** Excludes in each row the items of its whole history. @default false */
  readonly noRepeat?: boolean;
  /** Item indices excluded in every row. @default none */
  readonly exclude?: Int32Array;
  /** Item indices excluded in each row; one list for each of the B rows. @default none */
  readonly excludeRows?: readonly (Int32Array | readonly number[])[];
}

/**
 * Writes a mask out as flags.
 *
 * @param mask - the mask, or undefined.
 * @param batch - the (checked) batch it is for.
 * @param itemCount - number of items A.
 * @returns `[B, A]`, 1 where the item is excluded; or undefined when nothing is excluded.
 * @throws {InvalidArgumentError} naming the row and the value: an item outside 0..A-1, `excludeRows` of another length
 * than B, a row of which nothing is left.
 */
export function excludedItems(mask: Mask | undefined, batch: HistoryBatch, itemCount: number): Uint8Array | undefined {
  if (mask === undefined) return undefined;
  checkObject('mask', 'mask', mask);
  const { noRepeat = false, exclude, excludeRows } = mask;
  if (typeof noRepeat !== 'boolean') throw argumentError('mask', 'mask.noRepeat', 'true or false', noRepeat);
  if (exclude !== undefined && !isList(exclude)) throw argumentError('mask', 'mask.exclude', 'an Int32Array', exclude);
  if (excludeRows !== undefined && !Array.isArray(excludeRows)) {
    throw argumentError('mask', 'mask.excludeRows', 'an array with a list for each row', excludeRows);
  }
  if (excludeRows !== undefined && excludeRows.length !== batch.size) {
    throw new InvalidArgumentError(
      `Expected \`mask.excludeRows\` to hold one list for each of the ${batch.size} rows, got ${excludeRows.length}`,
      { argument: 'mask.excludeRows', wanted: `${batch.size} lists`, got: excludeRows.length },
    );
  }
  if (!noRepeat && (exclude === undefined || exclude.length === 0) && excludeRows === undefined) return undefined;
  const excluded = new Uint8Array(batch.size * itemCount);
  if (exclude !== undefined && exclude.length > 0) {
    for (const item of exclude) checkItem(item, itemCount, 'mask.exclude');
    const first = excluded.subarray(0, itemCount);
    for (const item of exclude) first[item] = 1;
    for (let row = 1; row < batch.size; row++) excluded.copyWithin(row * itemCount, 0, itemCount);
  }
  for (let row = 0; row < batch.size; row++) {
    const offset = row * itemCount;
    if (noRepeat) {
      const start = row * batch.length;
      const end = start + (batch.lengths[row] as number);
      for (let at = start; at < end; at++) excluded[offset + (batch.items[at] as number)] = 1;
    }
    const ofRow: unknown = excludeRows?.[row] ?? [];
    if (!isList(ofRow)) throw argumentError('mask', `mask.excludeRows[${row}]`, 'a list of item indices', ofRow);
    for (const item of ofRow) {
      checkItem(item, itemCount, `mask.excludeRows[${row}]`);
      excluded[offset + item] = 1;
    }
    if (!excluded.subarray(offset, offset + itemCount).includes(0)) {
      throw new InvalidArgumentError(
        `The mask excludes all ${itemCount} items of row ${row}: nothing is left to choose; exclude fewer items`,
        { argument: 'mask', wanted: 'at least one item left in every row', got: `row ${row}` },
      );
    }
  }
  return excluded;
}

function isList(value: unknown): value is Int32Array | readonly number[] {
  return Array.isArray(value) || value instanceof Int32Array;
}

function checkItem(item: number, itemCount: number, argument: string): void {
  if (Number.isInteger(item) && item >= 0 && item < itemCount) return;
  throw new InvalidArgumentError(
    `Expected \`${argument}\` to hold item indices from 0 to ${itemCount - 1}, got ${describeValue(item)}`,
    {
      argument,
      wanted: `an item index from 0 to ${itemCount - 1}`,
      got: item,
    },
  );
}
