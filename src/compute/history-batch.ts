import { argumentError, checkNumber, checkObject } from '../foundation/arguments.js';
import { InvalidArgumentError } from '../foundation/errors.js';
import { describeValue } from '../foundation/options.js';

/** Most entries of a batch: what fits one typed array everywhere. */
const MAX_ENTRIES = 2 ** 30;

/**
 * What a policy sees of B users: their histories as item indices, left-aligned and padded, and optionally a context
 * vector for each. A batch may hold histories longer than an encoder's window: the encoder sees the last
 * `historyLength` items, masks and history features see them all. An empty history is a normal input.
 */
export interface HistoryBatch {
  /** Number of rows B, at least 1. */
  readonly size: number;
  /** Number of columns L of {@link HistoryBatch.items}; may be 0 when every history is empty. */
  readonly length: number;
  /** Item indices `[B, L]`, row-major, oldest first and left-aligned; entries at or past `lengths[b]` are ignored (-1 by convention). */
  readonly items: Int32Array;
  /** Number of items of each row, `[B]`, each 0..L. */
  readonly lengths: Int32Array;
  /** User context `[B, C]`, row-major; absent when {@link HistoryBatch.contextWidth} is 0. */
  readonly context?: Float32Array;
  /** Width C of the context; 0 when there is none. */
  readonly contextWidth: number;
}

/** Options of {@link historyBatch}. */
export interface HistoryBatchOptions {
  /** Keep only the last so many items of each history, and make that many columns. @default the longest history */
  readonly length?: number;
  /** One context vector for each history, all of the same width. */
  readonly context?: readonly (readonly number[])[];
}

/**
 * Packs histories (oldest item first) into a {@link HistoryBatch}; a history longer than `length` keeps its last items.
 *
 * @param histories - one list of item indices for each user; may be empty lists.
 * @param options - see {@link HistoryBatchOptions}.
 * @throws {InvalidArgumentError} on no history, a bad length, a negative or fractional item, or ragged contexts.
 */
export function historyBatch(
  histories: readonly (readonly number[] | Int32Array)[],
  options: HistoryBatchOptions = {},
): HistoryBatch {
  if (!Array.isArray(histories)) throw argumentError('historyBatch', 'histories', 'an array of histories', histories);
  checkObject('historyBatch', 'options', options);
  for (let row = 0; row < histories.length; row++) {
    const history: unknown = histories[row];
    if (Array.isArray(history) || history instanceof Int32Array) continue;
    throw argumentError('historyBatch', `histories[${row}]`, 'an array of item indices', history);
  }
  if (histories.length === 0) {
    throw new InvalidArgumentError('Expected `histories` to hold at least one history, got none', {
      argument: 'histories',
      wanted: 'at least one history',
      got: histories,
    });
  }
  const longest = histories.reduce((most, history) => Math.max(most, history.length), 0);
  const length = options.length ?? longest;
  checkNumber('historyBatch', 'length', length, { low: 0, high: MAX_ENTRIES / histories.length, integer: true });
  const size = histories.length;
  const items = new Int32Array(size * length).fill(-1);
  const lengths = new Int32Array(size);
  for (const [row, history] of histories.entries()) {
    const kept = Math.min(history.length, length);
    const skipped = history.length - kept;
    lengths[row] = kept;
    for (let place = 0; place < history.length; place++) {
      const item = history[place];
      if (item === undefined || !Number.isInteger(item) || item < 0) {
        throw new InvalidArgumentError(
          `Expected history ${row} to hold item indices, whole numbers of at least 0, got ${describeValue(item)} at place ${place}`,
          { argument: `histories[${row}][${place}]`, wanted: 'an item index', got: item },
        );
      }
      if (place >= skipped) items[row * length + place - skipped] = item;
    }
  }
  const { context } = options;
  if (context === undefined) return { size, length, items, lengths, contextWidth: 0 };
  return { size, length, items, lengths, ...packContext(context, size) };
}

function packContext(
  context: readonly (readonly number[])[],
  size: number,
): { context?: Float32Array; contextWidth: number } {
  if (!Array.isArray(context)) throw argumentError('historyBatch', 'context', 'an array of rows', context);
  for (let row = 0; row < context.length; row++) {
    const values: unknown = context[row];
    if (!Array.isArray(values)) throw argumentError('historyBatch', `context[${row}]`, 'an array of numbers', values);
  }
  if (context.length !== size) {
    throw new InvalidArgumentError(
      `Expected \`context\` to hold one row for each of the ${size} histories, got ${context.length}`,
      {
        argument: 'context',
        wanted: `${size} rows`,
        got: context.length,
      },
    );
  }
  const contextWidth = context[0]?.length ?? 0;
  if (contextWidth === 0 && context.every((row) => row.length === 0)) return { contextWidth: 0 };
  const packed = new Float32Array(size * contextWidth);
  for (const [row, values] of context.entries()) {
    if (values.length !== contextWidth) {
      throw new InvalidArgumentError(
        `Expected every row of \`context\` to have width ${contextWidth} as the first has, got ${values.length} in row ${row}`,
        { argument: `context[${row}]`, wanted: `width ${contextWidth}`, got: values.length },
      );
    }
    for (const [column, value] of values.entries()) {
      if (!Number.isFinite(value)) {
        throw new InvalidArgumentError(
          `Expected \`context\` to be finite, got ${describeValue(value)} in row ${row}, column ${column}`,
          {
            argument: `context[${row}][${column}]`,
            wanted: 'a finite number',
            got: value,
          },
        );
      }
    }
    packed.set(values, row * contextWidth);
  }
  return { context: packed, contextWidth };
}

/**
 * Checks a batch against a model, once at the door of every kernel call.
 *
 * @param batch - the batch to check.
 * @param shape - the model's number of items A and context width C.
 * @param where - how the message calls the batch. @default 'batch'
 * @throws {InvalidArgumentError} naming the row and the value: an empty batch, arrays of the wrong size, a length
 * beyond L, an item outside 0..A-1, a context of another width than the model's.
 */
export function checkHistoryBatch(
  batch: HistoryBatch,
  shape: { readonly itemCount: number; readonly contextWidth: number },
  where = 'batch',
): void {
  checkObject('checkHistoryBatch', where, batch, [], 'a HistoryBatch');
  const { size, length, items, lengths } = batch;
  const fail = (argument: string, wanted: string, got: unknown): never => {
    throw new InvalidArgumentError(`Expected \`${where}.${argument}\` to be ${wanted}, got ${describeValue(got)}`, {
      argument: `${where}.${argument}`,
      wanted,
      got,
    });
  };
  if (!Number.isInteger(size) || size < 1) fail('size', 'a whole number of at least 1', size);
  if (!Number.isInteger(length) || length < 0) fail('length', 'a whole number of at least 0', length);
  if (!(items instanceof Int32Array) || items.length < size * length) {
    fail('items', `an Int32Array of ${size} rows by ${length} columns`, `length ${items?.length}`);
  }
  if (!(lengths instanceof Int32Array) || lengths.length < size) {
    fail('lengths', `an Int32Array of ${size} rows`, `length ${lengths?.length}`);
  }
  const { itemCount } = shape;
  for (let row = 0; row < size; row++) {
    const count = lengths[row] as number;
    if (count < 0 || count > length) fail(`lengths[${row}]`, `from 0 to ${length}, the number of columns`, count);
    const start = row * length;
    const end = start + count;
    for (let at = start; at < end; at++) {
      const item = items[at] as number;
      if (item >= 0 && item < itemCount) continue;
      fail(`items[${row}, ${at - start}]`, `an item index from 0 to ${itemCount - 1}`, item);
    }
  }
  if (!Number.isInteger(batch.contextWidth) || batch.contextWidth < 0) {
    fail('contextWidth', 'a whole number of at least 0', batch.contextWidth);
  }
  if (batch.contextWidth !== shape.contextWidth) {
    fail('contextWidth', `${shape.contextWidth}, the width the model was made for`, batch.contextWidth);
  }
  if (shape.contextWidth === 0) return;
  const { context } = batch;
  if (!(context instanceof Float32Array) || context.length < size * shape.contextWidth) {
    throw new InvalidArgumentError(
      `Expected \`${where}.context\` to hold ${size} rows of width ${shape.contextWidth}, got ${describeValue(context)}`,
      { argument: `${where}.context`, wanted: `${size} rows of width ${shape.contextWidth}`, got: context },
    );
  }
}

/**
 * Some rows of a batch, in the order given; a row may be given more than once.
 *
 * @param batch - where they come from; copied, not borrowed.
 * @param rows - row numbers, 0 to `batch.size` - 1.
 */
export function selectRows(batch: HistoryBatch, rows: ArrayLike<number>): HistoryBatch {
  const { length, contextWidth, context } = batch;
  const size = rows.length;
  const items = new Int32Array(size * length);
  const lengths = new Int32Array(size);
  const contexts = context && new Float32Array(size * contextWidth);
  for (let i = 0; i < size; i++) {
    const b = rows[i] as number;
    items.set(batch.items.subarray(b * length, (b + 1) * length), i * length);
    lengths[i] = batch.lengths[b] as number;
    if (context) contexts?.set(context.subarray(b * contextWidth, (b + 1) * contextWidth), i * contextWidth);
  }
  return { size, length, items, lengths, contextWidth, ...(contexts ? { context: contexts } : {}) };
}
