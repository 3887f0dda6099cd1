import type { ActorCritic } from '../agent/actor-critic.js';
import { sha256Hex } from '../foundation/sha256.js';

/** SHA-256 of what the policy reads of its items' text and of the item prior, part of what a run is: on others its weights would mean something else. */
export async function featuresHash({ features, prior }: ActorCritic): Promise<string | null> {
  const { matrix, terms } = features ?? {};
  const arrays = [matrix, terms?.offsets, terms?.terms, terms?.weights, prior].filter((array) => array !== undefined);
  if (arrays.length === 0) return null;
  const hashes = await Promise.all(
    arrays.map(({ buffer, byteOffset, byteLength }) => sha256Hex(new Uint8Array(buffer, byteOffset, byteLength))),
  );
  return hashes.length === 1 ? (hashes[0] as string) : sha256Hex(hashes.join());
}
