import { BackendError } from './errors.js';

/**
 * SHA-256 by the platform's WebCrypto, in Node and in browsers.
 *
 * @param data - bytes, or text that is taken as UTF-8.
 * @returns 64 lower-case hexadecimal digits.
 * @throws {BackendError} where the platform has no WebCrypto (a browser page that is neither https nor localhost).
 */
export async function sha256Hex(data: Uint8Array | string): Promise<string> {
  const subtle: SubtleCrypto | undefined = globalThis.crypto?.subtle;
  if (subtle === undefined) {
    throw new BackendError('SHA-256 needs WebCrypto, which this page lacks: serve it over https or from localhost', {
      backend: 'webcrypto',
    });
  }
  const bytes = typeof data === 'string' ? new TextEncoder().encode(data) : data;
  // WebCrypto does not take shared memory, which the wasm engine may hand out.
  const owned = bytes.buffer instanceof ArrayBuffer ? (bytes as Uint8Array<ArrayBuffer>) : new Uint8Array(bytes);
  return Array.from(new Uint8Array(await subtle.digest('SHA-256', owned)), (byte) =>
    byte.toString(16).padStart(2, '0'),
  ).join('');
}
