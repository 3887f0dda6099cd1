import { createHash } from 'node:crypto';

/** What the digest file beside a data file says. */
export interface DigestRecord {
  /** SHA-256 of the first `bytes` bytes, or of the whole file when `bytes` is `undefined`. */
  readonly current: { readonly hex: string; readonly bytes: number | undefined };
  /** SHA-256 of the whole file that a `put` may not have replaced yet. */
  readonly previous: string | undefined;
}

/**
 * @param bytes - any.
 * @returns their SHA-256, 64 lower-case hexadecimal digits.
 */
export function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/**
 * @param bytes - what the data file holds.
 * @param digest - what its digest file says; `undefined` when that cannot be read.
 * @returns what is wrong, in words, or `undefined` when the bytes are those that were stored.
 */
export function mismatch(bytes: Uint8Array, digest: DigestRecord | undefined): string | undefined {
  if (digest === undefined) return 'its digest file is damaged';
  const { hex, bytes: covered } = digest.current;
  if (covered !== undefined && bytes.length < covered) return `torn: ${bytes.length} of at least ${covered} bytes`;
  const found = sha256(covered === undefined ? bytes : bytes.subarray(0, covered));
  if (found === hex) return undefined;
  if (digest.previous !== undefined && sha256(bytes) === digest.previous) return undefined;
  return `torn or altered: expected SHA-256 ${hex}, got ${found}`;
}

/**
 * @param digest - what is to be said.
 * @param name - of the data file, without folders.
 * @returns the digest file, as `sha256sum` writes it; what that program does not know is in comments.
 */
export function formatDigest(digest: DigestRecord, name: string): Uint8Array {
  const { hex, bytes } = digest.current;
  const lines = [bytes === undefined ? `${hex}  ${name}` : `# first ${bytes} bytes: ${hex}`];
  if (digest.previous !== undefined) lines.push(`# previous: ${digest.previous}`);
  return new TextEncoder().encode(`${lines.join('\n')}\n`);
}

const DIGEST_FILE =
  /^(?:([0-9a-f]{64}) {2}\S+|# first (\d{1,15}) bytes: ([0-9a-f]{64}))\n(?:# previous: ([0-9a-f]{64})\n)?$/;

/**
 * @param text - a digest file.
 * @returns what it says, or `undefined` when it is damaged.
 */
export function parseDigest(text: Uint8Array): DigestRecord | undefined {
  const match = DIGEST_FILE.exec(new TextDecoder().decode(text));
  if (match === null) return undefined;
  const [, whole, bytes, first, previous] = match;
  const hex = whole ?? first;
  if (hex === undefined) return undefined;
  return { current: { hex, bytes: bytes === undefined ? undefined : Number(bytes) }, previous };
}
