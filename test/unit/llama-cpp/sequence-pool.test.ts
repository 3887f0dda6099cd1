import type { LlamaContextSequence, Token } from 'node-llama-cpp';
import { describe, expect, it } from 'vitest';
import { SequencePool, type SequenceSlot } from '../../../src/llama-cpp/sequence-pool.js';

const NEVER = new AbortController().signal;

describe('SequencePool', () => {
  it('gives the free sequence of which most can be used again', async () => {
    const pool = new SequencePool(sequences(3));
    const slots = [await take(pool, 1, 2), await take(pool, 1, 3), await take(pool, 7)];
    hold(slots[0], 1, 2, 9);
    hold(slots[1], 1, 3, 9);
    hold(slots[2], 7);
    for (const slot of slots) pool.release(slot as SequenceSlot);
    expect(await take(pool, 1, 3, 4)).toBe(slots[1]);
    expect(await take(pool, 1, 3, 4)).toBe(slots[0]);
  });

  it('gives the one that was idle for longest where none shares more', async () => {
    const pool = new SequencePool(sequences(2));
    const first = await take(pool, 1);
    hold(first, 1);
    pool.release(first);
    const second = await take(pool, 2);
    expect(second).not.toBe(first);
    hold(second, 2);
    pool.release(second);
    expect(await take(pool, 3)).toBe(first);
  });

  it('leaves a long prefix alone where little of it is shared', async () => {
    const pool = new SequencePool(sequences(2));
    const slots = [await take(pool, 1, 2), await take(pool, 7)];
    hold(slots[0], 1, 2, 3, 4, 5, 6);
    hold(slots[1], 7, 8, 9);
    for (const slot of slots.toReversed()) pool.release(slot as SequenceSlot);
    // By age it would be the first.
    expect(await take(pool, 1, 2, 3, 4)).toBe(slots[0]);
    pool.release(slots[0] as SequenceSlot);
    expect(await take(pool, 1, 5)).toBe(slots[1]);
  });

  it('holds prefixes that have most of their tokens in common, each in a sequence of its own', async () => {
    const pool = new SequencePool(sequences(3), 1);
    const prefixes = [1, 2, 3].map((end) => [9, 9, 9, end, end]);
    const round = async (): Promise<SequenceSlot[]> => {
      const slots: SequenceSlot[] = [];
      for (const prefix of prefixes) {
        const slot = await take(pool, ...prefix);
        hold(slot, ...prefix);
        pool.release(slot);
        slots.push(slot);
      }
      return slots;
    };
    const first = await round();
    expect(new Set(first).size).toBe(3);
    expect(await round()).toEqual(first);
  });

  it('counts as used again only whole chunks, or the whole prefix', async () => {
    const pool = new SequencePool(sequences(2), 2, 4);
    const slots = [await take(pool, 1), await take(pool, 2)];
    hold(slots[0], 1, 1, 1, 5);
    hold(slots[1], 2, 2, 2, 2, 5);
    for (const slot of slots) pool.release(slot as SequenceSlot);
    // Three of four tokens shared are no chunk: the first is only the one that was idle for longest.
    expect(await take(pool, 2, 2, 2, 2, 6)).toBe(slots[1]);
    hold(slots[1], 1, 1, 1, 6);
    pool.release(slots[1] as SequenceSlot);
    expect(await take(pool, 1, 1, 1, 7)).toBe(slots[0]);
  });

  it('has no more out than it may, however many are free', async () => {
    const pool = new SequencePool(sequences(3), 1);
    const slot = await take(pool, 1);
    let isServed = false;
    const waiting = take(pool, 2).then((got) => {
      isServed = true;
      return got;
    });
    await Promise.resolve();
    await Promise.resolve();
    expect(isServed).toBe(false);
    pool.release(slot);
    await waiting;
    expect(isServed).toBe(true);
  });

  it('serves those who wait in the order in which they came', async () => {
    const pool = new SequencePool(sequences(1));
    const slot = await take(pool, 1);
    const served: number[] = [];
    const waiting = [0, 1, 2].map(async (i) => {
      const got = await take(pool, i);
      served.push(i);
      pool.release(got);
    });
    pool.release(slot);
    await Promise.all(waiting);
    expect(served).toEqual([0, 1, 2]);
  });

  it('lets who waits give up, and forgets it', async () => {
    const pool = new SequencePool(sequences(1));
    const slot = await take(pool, 1);
    const controller = new AbortController();
    const gone = pool.take([2 as Token], controller.signal);
    const stays = take(pool, 3);
    controller.abort(new Error('enough'));
    await expect(gone).rejects.toThrow('enough');
    pool.release(slot);
    expect(await stays).toBe(slot);
    await expect(pool.take([2 as Token], controller.signal)).rejects.toThrow('enough');
  });

  it('is idle when all sequences are back', async () => {
    const pool = new SequencePool(sequences(2));
    await pool.idle();
    const slots = [await take(pool, 1), await take(pool, 2)];
    let isIdle = false;
    const idle = pool.idle().then(() => {
      isIdle = true;
    });
    pool.release(slots[0] as SequenceSlot);
    await Promise.resolve();
    expect(isIdle).toBe(false);
    pool.release(slots[1] as SequenceSlot);
    await idle;
  });
});

function sequences(count: number): LlamaContextSequence[] {
  return Array.from({ length: count }, () => ({})) as unknown as LlamaContextSequence[];
}

async function take(pool: SequencePool, ...tokens: number[]): Promise<SequenceSlot> {
  return pool.take(tokens as Token[], NEVER);
}

/** As after a call whose prefix these were. */
function hold(slot: SequenceSlot | undefined, ...tokens: number[]): void {
  if (slot !== undefined) slot.prefix = tokens as Token[];
}
