import { describe, expect, it } from 'vitest';
import { CheckpointError } from '../../../src/foundation/errors.js';
import type { JsonValue } from '../../../src/foundation/json.js';
import { Rng } from '../../../src/foundation/rng.js';
import { MemoryStorage } from '../../../src/foundation/storage.js';
import { CheckpointFile } from '../../../src/train/checkpoint.js';

const identity = { phase: 'adapt', algorithm: { name: 'ppo', clip: 0.2 }, steps: 100, seed: 1 };
const at = (step: number) => ({
  step,
  identity: identity as JsonValue,
  state: { counters: { steps: step }, words: [0.1, 1 / 3, 5e-324] } as JsonValue,
  arrays: {
    'weights/a': { shape: [2, 2], data: Float32Array.of(1, -0, 1e-40, step) },
    'buffer/counts': { shape: [1], data: Float64Array.of(step + 0.1) },
    'buffer/flags': { shape: [3], data: Uint8Array.of(0, 1, 255) },
  },
});
const silent = (): void => {
  throw new Error('nothing should have been refused');
};
const flip = async (storage: MemoryStorage, key: string, where: (length: number) => number): Promise<void> => {
  const bytes = (await storage.get(key)) as Uint8Array;
  const place = where(bytes.length);
  bytes[place] = (bytes[place] as number) ^ 1;
  await storage.put(key, bytes);
};

describe('CheckpointFile', () => {
  it('gives back what was saved, to the bit', async () => {
    const file = new CheckpointFile(new MemoryStorage());
    expect(await file.newest(identity, silent)).toBeUndefined();
    const bytes = await file.save(at(7));
    expect(bytes).toBeGreaterThan(100);
    const read = await file.newest(identity, silent);
    expect(read).toMatchObject({ step: 7, identity, state: at(7).state });
    expect({ ...read?.arrays }).toEqual(at(7).arrays);
    expect(Object.is(read?.arrays['weights/a']?.data[1], -0)).toBe(true);
  });

  it('keeps the newest and the one before', async () => {
    const storage = new MemoryStorage();
    const file = new CheckpointFile(storage);
    for (const step of [5, 9, 100, 1000]) await file.save(at(step));
    expect(await storage.list('checkpoint/')).toEqual([
      'checkpoint/000000000100.safetensors',
      'checkpoint/000000001000.safetensors',
    ]);
    expect((await file.newest(identity, silent))?.step).toBe(1000);
  });

  it('passes over damaged ones, and drops them once the run has passed', async () => {
    const storage = new MemoryStorage();
    const file = new CheckpointFile(storage);
    for (const step of [100, 200]) await file.save(at(step));
    await flip(storage, 'checkpoint/000000000200.safetensors', (length) => length - 1);
    const refused: string[] = [];
    expect((await file.newest(identity, (error) => refused.push(error.message)))?.step).toBe(100);
    expect(refused).toEqual(['checkpoint/000000000200.safetensors: its SHA-256 does not match its content']);
    // Written before the damaged one: it must not count as one of the two that are kept.
    await file.save(at(150));
    expect(await storage.list('checkpoint/')).toEqual([
      'checkpoint/000000000100.safetensors',
      'checkpoint/000000000150.safetensors',
    ]);
    expect((await file.newest(identity, silent))?.step).toBe(150);
  });

  it('finds any flipped bit, in the arrays, the state or the identity, and any cut', async () => {
    const storage = new MemoryStorage();
    await new CheckpointFile(storage).save(at(3));
    const [key] = (await storage.list()) as [string];
    const whole = (await storage.get(key)) as Uint8Array;
    const rng = new Rng('flips');
    for (let n = 0; n < 80; n++) {
      const damaged = n % 8 === 0 ? whole.slice(0, rng.integer(whole.length)) : whole.slice();
      const place = rng.integer(whole.length);
      if (n % 8 > 0) damaged[place] = (damaged[place] as number) ^ (1 << rng.integer(8));
      await storage.put(key, damaged);
      // Damage is never taken for another run: that would tell the user to start over.
      let refused = 0;
      await expect(
        new CheckpointFile(storage).newest(identity, () => refused++),
        `byte ${place}`,
      ).rejects.toBeInstanceOf(CheckpointError);
      expect(refused, `byte ${place}`).toBe(1);
    }
  });

  it.each([
    ['seed', { ...identity, seed: 2 }],
    ['algorithm.clip', { ...identity, algorithm: { name: 'ppo', clip: 0.3 } }],
    ['steps', { phase: 'adapt', algorithm: identity.algorithm, seed: 1 }],
    ['alpha', { ...identity, alpha: 0.5 }],
  ])('refuses the checkpoint of a run with another %s, naming it with both values', async (field, other) => {
    const storage = new MemoryStorage();
    const file = new CheckpointFile(storage);
    await file.save(at(3));
    const error = await file.newest(other as JsonValue, silent).catch((reason: unknown) => reason as Error);
    expect(error).toBeInstanceOf(CheckpointError);
    expect((error as Error).message).toContain(`another \`${field}\` (it has `);
  });

  it('leaves other keys of the storage alone', async () => {
    const storage = new MemoryStorage();
    await storage.put('checkpoint/notes.txt', Uint8Array.of(1));
    await storage.put('answers.jsonl', Uint8Array.of(2));
    const file = new CheckpointFile(storage);
    for (const step of [1, 2, 3, 4]) await file.save(at(step));
    expect(await storage.list()).toContain('checkpoint/notes.txt');
    expect(await storage.list()).toContain('answers.jsonl');
  });
});
