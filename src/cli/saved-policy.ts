import { join } from 'node:path';
import { ActorCritic } from '../agent/actor-critic.js';
import type { Catalog } from '../catalog/catalog.js';
import { loadPolicyFacts, type PolicyFacts, savePolicyFacts } from '../experiment/policy-facts.js';
import { CheckpointError } from '../foundation/errors.js';
import type { Storage } from '../foundation/storage.js';
import { fileStorage } from '../node/file-storage.js';

const POLICY = 'policy.safetensors';

/** Writes a policy, and what it went through beside it. */
export async function savePolicy(storage: Storage, agent: ActorCritic, facts: PolicyFacts): Promise<void> {
  await agent.save(storage);
  await savePolicyFacts(storage, facts);
}

/**
 * Reads a policy from its folder, or from the folder of the run that made it.
 *
 * @param warn - told when the catalogue is another than the policy was saved with.
 * @throws {CheckpointError} when neither holds a policy, it is damaged, or it knows none of the items.
 */
export async function loadSavedPolicy(
  folder: string,
  catalog: Catalog,
  warn: (message: string) => void,
): Promise<{ readonly agent: ActorCritic; readonly facts: PolicyFacts }> {
  const places = [folder, join(folder, 'policy')];
  for (const place of places) {
    const storage = fileStorage(place);
    if ((await storage.get(POLICY)) === undefined) continue;
    const facts = await loadPolicyFacts(storage);
    const agent = await ActorCritic.load(storage, { catalog });
    const { catalogChange: change } = agent;
    if (change?.kept === 0) {
      agent.dispose();
      throw new CheckpointError(
        `${place}: expected a policy for these items, got one that knows none of them: it is of another world`,
        { source: place },
      );
    }
    if (change) {
      const order = change.reordered ? ', in another order' : '';
      warn(
        `The policy was saved with another catalogue: ${change.kept} items kept, ${change.added.length} new, ${change.missing.length} gone${order}.`,
      );
    }
    return { agent, facts };
  }
  throw new CheckpointError(
    `${folder}: expected a folder with ${POLICY}, or one with policy/${POLICY}, found neither`,
    {
      source: folder,
    },
  );
}
