import { beforeAll, describe, expect, it } from 'vitest';
import { epsilonGreedy, greedy } from '../../../src/agent/exploration.js';
import { useBackend } from '../../../src/compute/backend.js';
import { CheckpointError, OracleError } from '../../../src/foundation/errors.js';
import { MemoryStorage } from '../../../src/foundation/storage.js';
import type { PreferenceOracle } from '../../../src/oracle/preference-oracle.js';
import { ScriptedOracle } from '../../../src/oracle/scripted-oracle.js';
import { type AdaptOptions, adapt } from '../../../src/train/adapt.js';
import { pretrain } from '../../../src/train/pretrain.js';
import { adaptOptions, answerOf, catalog, pretrainOptions, smallAgent } from './small-runs.js';

beforeAll(async () => {
  await useBackend('wasm');
});

async function hashOf(change: Partial<AdaptOptions>): Promise<string> {
  using agent = smallAgent();
  const { policy, learner } = await adapt({ ...adaptOptions(agent), ...change });
  try {
    return await learner.sha256();
  } finally {
    policy.dispose();
  }
}

describe('adapt with an exploration', () => {
  const exploration = epsilonGreedy({ epsilon: 0.3, itemCount: catalog.size });

  it.each(['fineTune', 'mixture'] as const)(
    'acts by it, in %s too: the same seed the same weights, another rule others',
    async (scheme) => {
      const first = await hashOf({ scheme, exploration });
      expect(await hashOf({ scheme, exploration })).toBe(first);
      expect(await hashOf({ scheme })).not.toBe(first);
      expect(await hashOf({ scheme, exploration: greedy() })).not.toBe(first);
    },
  );

  it('is part of what a run is: a checkpoint of another rule is refused by name', async () => {
    const storage = new MemoryStorage();
    await hashOf({ exploration, storage });
    const refused = await hashOf({ exploration: greedy(), storage }).catch((error: unknown) => error);
    expect(refused).toBeInstanceOf(CheckpointError);
    expect((refused as Error).message).toContain('exploration');
  });
});

describe('a run that unreadable answers ended', () => {
  const broken = new ScriptedOracle(() => 'invalid');
  let asked = 0;
  const mended: PreferenceOracle = {
    id: broken.id,
    prefer: (queries, options) => {
      asked += queries.length;
      return new ScriptedOracle(answerOf).prefer(queries, options);
    },
  };

  it('stays ended while its answers are replayed, and goes on with `retryInvalid`, for good', async () => {
    const storage = new MemoryStorage();
    using agent = smallAgent();
    const options = { ...pretrainOptions(agent, { storage }), oracle: broken, lanes: 60, budget: { calls: 120 } };
    const stopped = await pretrain(options).catch((error: unknown) => error);
    expect(stopped).toBeInstanceOf(OracleError);
    expect((stopped as Error).message).toContain('retryInvalid');

    // The control: a mended oracle alone changes nothing, for the answers on record are not asked for again.
    expect(await pretrain({ ...options, oracle: mended }).catch((error: unknown) => error)).toBeInstanceOf(OracleError);
    expect(asked).toBe(0);

    const result = await pretrain({ ...options, oracle: mended, retryInvalid: true });
    expect(result.asked).toBe(asked);
    expect(asked).toBe(120);

    // Once more without it, from the answers alone: the good ones took the place of the unreadable.
    for (const key of await storage.list('checkpoint/')) await storage.delete(key);
    using again = smallAgent();
    const replayed = await pretrain({ ...options, agent: again, oracle: mended });
    expect(replayed.asked).toBe(0);
    expect(await again.sha256()).toBe(await agent.sha256());
  });
});
