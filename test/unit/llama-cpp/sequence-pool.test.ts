import type { LlamaContextSequence, Token } from 'node-llama-cpp';
import { describe, expect, it } from 'vitest';
import { SequencePool, type SequenceSlot } from '../../../src/llama-cpp/sequence-pool.js';

const NEVER = new AbortController().signal;

describe('SequencePool', () => {
  it('gives the free sequence that shares the longest beginning', async () => {
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
    const first = await take(pool, 1, 2);
    hold(first, 1, 2, 3, 4, 5, 6);
    first.prefix = [1, 2, 3, 4, 5, 6] as Token[];
    pool.release(first);
    expect(await take(pool, 1, 2, 9)).not.toBe(first);
    expect(await take(pool, 1, 2, 3)).toBe(first);
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

type Fake = { contextTokens: Token[] };

function sequences(count: number): LlamaContextSequence[] {
  return Array.from({ length: count }, (): Fake => ({ contextTokens: [] })) as unknown as LlamaContextSequence[];
}

async function take(pool: SequencePool, ...tokens: number[]): Promise<SequenceSlot> {
  return pool.take(tokens as Token[], NEVER);
}

function hold(slot: SequenceSlot | undefined, ...tokens: number[]): void {
  (slot?.sequence as unknown as Fake).contextTokens = tokens as Token[];
}
