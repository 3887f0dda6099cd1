import * as tf from '@tensorflow/tfjs';
import { beforeAll, describe, expect, it } from 'vitest';
import { useBackend } from '../../../src/compute/backend.js';
import { ActorCritic, historyBatch, mean } from '../../../src/index.js';
import { checkLeaks, tinyCatalog } from '../../../src/testing/index.js';

describe('checkLeaks', () => {
  beforeAll(() => useBackend('cpu'));

  it('passes what leaves nothing behind, and says how often it was called', async () => {
    let calls = 0;
    const { before, after } = await checkLeaks(
      () => {
        calls++;
        tf.tidy(() => {
          tf.add(1, 2);
        });
      },
      { calls: 5 },
    );
    expect(calls).toBe(6);
    expect(after).toEqual(before);
  });

  it('allows what the first call makes and keeps', async () => {
    let kept: tf.Tensor | undefined;
    const { before } = await checkLeaks(async () => {
      kept ??= tf.scalar(1);
    });
    expect(before.tensors).toBeGreaterThanOrEqual(1);
    kept?.dispose();
  });

  it('refuses a tensor left behind by a later call, and names the counts', async () => {
    const left: tf.Tensor[] = [];
    const leaking = checkLeaks(() => left.push(tf.zeros([4])), { calls: 2 });
    await expect(leaking).rejects.toThrow(/Expected 2 calls .* tensors grew from \d+ to \d+, bytes grew/);
    tf.dispose(left);
  });

  it('refuses a number of calls that proves nothing', async () => {
    await expect(checkLeaks(() => {}, { calls: 0 })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  });

  it('finds no leak in an agent that acts, is cloned and is disposed', async () => {
    const catalog = tinyCatalog(6);
    using agent = new ActorCritic({ catalog, encoder: mean({ width: 4 }), items: 'id', seed: 1 });
    const batch = historyBatch([[0, 1], []]);
    await checkLeaks(() => {
      agent.act(batch, { mode: 'argmax', uniforms: new Float64Array(2) });
      agent.recommend({ history: ['item-1'], k: 2 });
      using copy = agent.clone();
      copy.probabilities(batch);
    });
  });
});
