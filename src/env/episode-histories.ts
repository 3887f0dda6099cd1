import type { HistoryBatch } from '../compute/history-batch.js';
import { InvalidArgumentError } from '../foundation/errors.js';

/** Options of {@link EpisodeHistories}. */
export interface EpisodeHistoriesOptions {
  /** Number of lanes, B. */
  readonly size: number;
  /** Longest history a lane can hold. */
  readonly capacity: number;
  /** Width C of the user context. @default 0 */
  readonly contextWidth?: number;
}

/**
 * The growing histories of B lanes in preallocated arrays: appending an item allocates nothing. Rows are left-aligned, oldest
 * item first, and -1 past their length.
 */
export class EpisodeHistories {
  /** The live view handed to policies, `[B, capacity]`. */
  readonly batch: HistoryBatch;
  /** Longest history a lane can hold. */
  readonly capacity: number;
  /** Item indices, `[B, capacity]`. */
  readonly items: Int32Array;
  /** Items in each lane, `[B]`. */
  readonly lengths: Int32Array;
  /** User context, `[B, C]`; empty where C is 0. */
  readonly context: Float32Array;
  /** Width C of the user context. */
  readonly contextWidth: number;

  /** Empty histories, zero contexts. */
  constructor({ size, capacity, contextWidth = 0 }: EpisodeHistoriesOptions) {
    this.capacity = capacity;
    this.contextWidth = contextWidth;
    this.items = new Int32Array(size * capacity).fill(-1);
    this.lengths = new Int32Array(size);
    this.context = new Float32Array(size * contextWidth);
    const { items, lengths, context } = this;
    this.batch =
      contextWidth === 0
        ? { size, length: capacity, items, lengths, contextWidth }
        : { size, length: capacity, items, lengths, context, contextWidth };
  }

  /** Empties one lane and zeroes its context. */
  clear(lane: number): void {
    const from = lane * this.capacity;
    this.items.fill(-1, from, from + this.capacity);
    this.lengths[lane] = 0;
    this.context.fill(0, lane * this.contextWidth, (lane + 1) * this.contextWidth);
  }

  /**
   * Appends one item to a lane.
   * @throws {InvalidArgumentError} when the lane is full.
   */
  append(lane: number, item: number): void {
    const length = this.lengths[lane] as number;
    if (length >= this.capacity) {
      throw new InvalidArgumentError(
        `lane ${lane}: expected a history of at most ${this.capacity} items, got one more`,
        { argument: 'history' },
      );
    }
    this.items[lane * this.capacity + length] = item;
    this.lengths[lane] = length + 1;
  }

  /** The item `back` places before the end of a lane: 0 is the last one; -1 where the history is shorter. */
  recent(lane: number, back: number): number {
    const at = (this.lengths[lane] as number) - 1 - back;
    return at < 0 ? -1 : (this.items[lane * this.capacity + at] as number);
  }

  /** Whether a lane's history holds the item. */
  has(lane: number, item: number): boolean {
    const from = lane * this.capacity;
    const to = from + (this.lengths[lane] as number);
    for (let i = from; i < to; i++) if (this.items[i] === item) return true;
    return false;
  }

  /** A copy of one lane's items, oldest first. */
  lane(lane: number): Int32Array {
    const from = lane * this.capacity;
    return this.items.slice(from, from + (this.lengths[lane] as number));
  }
}
