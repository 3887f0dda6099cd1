import { encodeNamedArrays, type NamedArrays } from './named-arrays.js';
import { sha256Hex } from './sha256.js';

/**
 * SHA-256 over arrays and the text that goes with them. safetensors has no digest of its own: stored in the metadata, this one
 * finds a flipped bit on any storage.
 *
 * @param arrays - by name.
 * @param metadata - the file's metadata without the digest itself.
 * @returns 64 hexadecimal digits.
 */
export async function arrayDigest(arrays: NamedArrays, metadata: Readonly<Record<string, string>>): Promise<string> {
  return sha256Hex(encodeNamedArrays(arrays, metadata));
}
