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

/** A {@link Mask} written out as lists: what may not be chosen, without an array over all items. */
export interface MaskLists {
  /** Items excluded in every row; each once, ascending. */
  readonly everywhere: Int32Array;
  /** Where the list of each row begins in {@link MaskLists.rowItems}, `[B + 1]`; the last is their total. */
  readonly rowStart: Int32Array;
  /** Items excluded in single rows, row after row; an item may come twice, and be among those excluded everywhere. */
  readonly rowItems: Int32Array;
}

/**
 * Checks a mask and writes it out as lists, in time and memory that do not grow with the number of items (but for one
 * byte an item where something is excluded everywhere).
 *
 * @param mask - the mask, or undefined.
 * @param batch - the (checked) batch it is for.
 * @param itemCount - number of items A.
 * @param argument - how the message calls the batch when it is not the call's own.
 * @returns copies; or undefined when nothing can be excluded.
 * @throws {InvalidArgumentError} naming the row and the value: an item outside 0..A-1, `excludeRows` of another length
 * than B, a row of which nothing is left.
 */
export function maskLists(
  mask: Mask | undefined,
  batch: HistoryBatch,
  itemCount: number,
  argument?: string,
): MaskLists | undefined {
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
  const everywhere = exclude === undefined ? new Int32Array(0) : distinct(exclude, itemCount);
  const { size, length, lengths, items } = batch;
  const rowStart = new Int32Array(size + 1);
  let total = 0;
  for (let row = 0; row < size; row++) {
    if (noRepeat) total += lengths[row] as number;
    const ofRow: unknown = excludeRows?.[row] ?? [];
    if (!isList(ofRow)) throw argumentError('mask', `mask.excludeRows[${row}]`, 'a list of item indices', ofRow);
    total += ofRow.length;
    rowStart[row + 1] = total;
  }
  const rowItems = new Int32Array(total);
  let seen: Uint8Array | undefined;
  for (let row = 0; row < size; row++) {
    let to = rowStart[row] as number;
    if (noRepeat) {
      const start = row * length;
      const end = start + (lengths[row] as number);
      for (let at = start; at < end; at++) rowItems[to++] = items[at] as number;
    }
    for (const item of excludeRows?.[row] ?? []) {
      if (!isItem(item, itemCount)) throw itemError(item, itemCount, `mask.excludeRows[${row}]`);
      rowItems[to++] = item;
    }
    const end = rowStart[row + 1] as number;
    // Only a row that lists as many items as there are can exclude them all; then they are counted one by one.
    if (everywhere.length + end - (rowStart[row] as number) < itemCount) continue;
    seen ??= new Uint8Array(itemCount);
    if (countDistinct(everywhere, rowItems.subarray(rowStart[row], end), seen) < itemCount) continue;
    const where = argument === undefined ? `row ${row}` : `row ${row} of \`${argument}\``;
    throw new InvalidArgumentError(
      `The mask excludes all ${itemCount} items of ${where}: nothing is left to choose; exclude fewer items`,
      { argument: 'mask', wanted: 'at least one item left in every row', got: where },
    );
  }
  return { everywhere, rowStart, rowItems };
}

/** Whether a row may not choose an item. */
export function isExcluded({ everywhere, rowStart, rowItems }: MaskLists, row: number, item: number): boolean {
  const end = rowStart[row + 1] as number;
  for (let at = rowStart[row] as number; at < end; at++) if (rowItems[at] === item) return true;
  let low = 0;
  let high = everywhere.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((everywhere[middle] as number) < item) low = middle + 1;
    else high = middle;
  }
  return everywhere[low] === item;
}

/**
 * Writes the lists of a mask out as flags.
 *
 * @param lists - of a batch of B rows.
 * @param itemCount - number of items A.
 * @returns `[B, A]`, 1 where the item is excluded.
 */
export function excludedFlags({ everywhere, rowStart, rowItems }: MaskLists, itemCount: number): Uint8Array {
  const size = rowStart.length - 1;
  const excluded = new Uint8Array(size * itemCount);
  const first = excluded.subarray(0, itemCount);
  for (let at = 0; at < everywhere.length; at++) first[everywhere[at] as number] = 1;
  if (everywhere.length > 0) for (let row = 1; row < size; row++) excluded.copyWithin(row * itemCount, 0, itemCount);
  for (let row = 0; row < size; row++) {
    const end = rowStart[row + 1] as number;
    for (let at = rowStart[row] as number; at < end; at++) excluded[row * itemCount + (rowItems[at] as number)] = 1;
  }
  return excluded;
}

/**
 * Checks a mask and writes it out as flags.
 *
 * @param mask - the mask, or undefined.
 * @param batch - the (checked) batch it is for.
 * @param itemCount - number of items A.
 * @returns `[B, A]`, 1 where the item is excluded; or undefined when nothing is excluded.
 * @throws {InvalidArgumentError} as {@link maskLists} does.
 */
export function excludedItems(mask: Mask | undefined, batch: HistoryBatch, itemCount: number): Uint8Array | undefined {
  const lists = maskLists(mask, batch, itemCount);
  return lists && excludedFlags(lists, itemCount);
}

/** The different items of a list, ascending. */
function distinct(items: Int32Array, itemCount: number): Int32Array {
  const seen = new Uint8Array(items.length === 0 ? 0 : itemCount);
  const kept = new Int32Array(items.length);
  let count = 0;
  let isAscending = true;
  for (const item of items) {
    if (!isItem(item, itemCount)) throw itemError(item, itemCount, 'mask.exclude');
    if (seen[item] === 1) continue;
    seen[item] = 1;
    if (count > 0 && item < (kept[count - 1] as number)) isAscending = false;
    kept[count++] = item;
  }
  const list = kept.slice(0, count);
  return isAscending ? list : list.sort();
}

/** How many different items two lists hold together; `seen` is scratch, `[A]`. */
function countDistinct(some: Int32Array, others: Int32Array, seen: Uint8Array): number {
  seen.fill(0);
  let count = 0;
  for (const items of [some, others]) {
    for (let at = 0; at < items.length; at++) {
      const item = items[at] as number;
      if (seen[item] === 1) continue;
      seen[item] = 1;
      count++;
    }
  }
  return count;
}

function isList(value: unknown): value is Int32Array | readonly number[] {
  return Array.isArray(value) || value instanceof Int32Array;
}

function isItem(item: number, itemCount: number): boolean {
  return Number.isInteger(item) && item >= 0 && item < itemCount;
}

function itemError(item: unknown, itemCount: number, argument: string): InvalidArgumentError {
  return new InvalidArgumentError(
    `Expected \`${argument}\` to hold item indices from 0 to ${itemCount - 1}, got ${describeValue(item)}`,
    {
      argument,
      wanted: `an item index from 0 to ${itemCount - 1}`,
      got: item,
    },
  );
}
