import type { ActorCritic } from '../agent/actor-critic.js';
import { sha256Hex } from '../foundation/sha256.js';

/** SHA-256 of what the policy reads of its items' text, part of what a run is: on other features its weights would mean something else. */
export async function featuresHash({ features }: ActorCritic): Promise<string | null> {
  if (!features) return null;
  const { buffer, byteOffset, byteLength } = features.matrix;
  return sha256Hex(new Uint8Array(buffer, byteOffset, byteLength));
}
