import type { HistoryBatch } from '../compute/history-batch.js';

/** What the streams ask their owner, who knows which positions its transitions read. */
export interface StreamOwner {
  /** The oldest position of a lane that a kept transition reads, or `undefined` when it keeps none. */
  oldest(lane: number): number | undefined;
  /** Gives up the lane's oldest transition. */
  evict(lane: number): void;
}

/**
 * The histories of a replay buffer: one ring of items for each lane, of which a history is a stretch. A new history is
 * found at the end of its lane's stream by comparing contents, so one that grew by an item, or slid by one, costs one item,
 * and one that begins anew costs its length. Positions are absolute: they count items ever written and never wrap.
 */
export class HistoryStreams {
  /** Position after the newest item of each lane, `[N]`. */
  readonly heads: Float64Array;
  readonly #owner: StreamOwner;
  readonly #maxRoom: number;
  #room: number;
  #items: Int32Array;
  /** The history at hand. */
  #scratch = new Int32Array(64);
  #length = 0;

  /**
   * @param lanes - N.
   * @param room - Items that each ring holds at first; it grows as needed.
   * @param maxRoom - And up to this; beyond it the owner must evict.
   * @param owner - Borrowed.
   */
  constructor(lanes: number, room: number, maxRoom: number, owner: StreamOwner) {
    this.heads = new Float64Array(lanes);
    this.#owner = owner;
    this.#maxRoom = maxRoom;
    this.#room = Math.min(room, maxRoom);
    this.#items = new Int32Array(lanes * this.#room);
  }

  /** Items that each ring holds. */
  get room(): number {
    return this.#room;
  }

  /** The rings, `[N, room]`; another array after growth. */
  get items(): Int32Array {
    return this.#items;
  }

  /** Takes over rings `[N, room]` (copied), to which the owner sets the heads. */
  load(items: Int32Array, room: number): void {
    this.#room = room;
    this.#items = items.slice();
  }

  /** Makes a row's history the one at hand; returns its length. */
  read(batch: HistoryBatch, row: number): number {
    const length = batch.lengths[row] as number;
    if (this.#scratch.length < length + 1) this.#scratch = new Int32Array(2 * length + 2);
    const scratch = this.#scratch;
    const { items } = batch;
    const from = row * batch.length;
    for (let i = 0; i < length; i++) scratch[i] = items[from + i] as number;
    this.#length = length;
    return length;
  }

  /** Appends an item to the history just read; returns its length. */
  extend(item: number): number {
    this.#scratch[this.#length] = item;
    return ++this.#length;
  }

  /**
   * Makes the history at hand the newest stretch of a lane's stream, writing only what is not there yet. Afterwards it ends
   * at the lane's head.
   *
   * @param floor - It may not begin before this position (nor may what lies before it be trusted).
   * @param keep - Items from this position on are in use, beside those of the owner's transitions.
   * @returns where it begins.
   */
  place(lane: number, floor: number, keep: number): number {
    const head = this.heads[lane] as number;
    const length = this.#length;
    for (let missing = 0; missing <= 1; missing++) {
      const start = head - (length - missing);
      if (missing <= length && start >= floor && this.#matches(lane, start, length - missing)) {
        this.#append(lane, length - missing, Math.min(start, keep));
        return start;
      }
    }
    this.#append(lane, 0, keep);
    return head;
  }

  /** Copies a stretch of a lane's stream. */
  copy(lane: number, start: number, length: number, into: Int32Array, at: number): void {
    const room = this.#room;
    const items = this.#items;
    const offset = lane * room;
    // Positions are beyond int32 in a long run: one remainder of a float, then whole numbers.
    let place = (start % room) | 0;
    for (let i = 0; i < length; i++) {
      into[at + i] = items[offset + place] as number;
      if (++place === room) place = 0;
    }
  }

  #matches(lane: number, start: number, length: number): boolean {
    const room = this.#room;
    const items = this.#items;
    const scratch = this.#scratch;
    const offset = lane * room;
    // Backwards: unequal histories mostly differ at their newest item.
    let place = ((start + length) % room) | 0;
    for (let i = length - 1; i >= 0; i--) {
      if (--place < 0) place = room - 1;
      if (items[offset + place] !== scratch[i]) return false;
    }
    return true;
  }

  /** Writes the history at hand from its item `from` on. */
  #append(lane: number, from: number, keep: number): void {
    const head = this.heads[lane] as number;
    const length = this.#length;
    const end = head + length - from;
    while (end - this.#oldest(lane, keep) > this.#room) {
      if (this.#room < this.#maxRoom) this.#grow(end - this.#oldest(lane, keep), lane, keep);
      else this.#owner.evict(lane);
    }
    const room = this.#room;
    const items = this.#items;
    const scratch = this.#scratch;
    const offset = lane * room;
    let place = (head % room) | 0;
    for (let i = from; i < length; i++) {
      items[offset + place] = scratch[i] as number;
      if (++place === room) place = 0;
    }
    this.heads[lane] = end;
  }

  #oldest(lane: number, keep: number): number {
    return Math.min(keep, this.#owner.oldest(lane) ?? keep);
  }

  #grow(needed: number, growing: number, keep: number): void {
    const room = Math.min(this.#maxRoom, Math.max(2 * this.#room, needed));
    const items = new Int32Array(this.heads.length * room);
    for (let lane = 0; lane < this.heads.length; lane++) {
      const head = this.heads[lane] as number;
      for (let at = this.#oldest(lane, lane === growing ? keep : head); at < head; at++) {
        items[lane * room + (at % room)] = this.#items[lane * this.#room + (at % this.#room)] as number;
      }
    }
    this.#room = room;
    this.#items = items;
  }
}
