import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it, vi } from 'vitest';
import { BackendError } from '../../../src/foundation/errors.js';
import { sha256Hex } from '../../../src/foundation/sha256.js';

describe('sha256Hex', () => {
  it('gives the standard’s examples', async () => {
    expect(await sha256Hex('')).toBe('e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855');
    expect(await sha256Hex('abc')).toBe('ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad');
  });

  it('agrees with node:crypto, views and shared memory included', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array(), fc.nat(5), async (bytes, skip) => {
        const part = bytes.subarray(Math.min(skip, bytes.length));
        const shared = new Uint8Array(new SharedArrayBuffer(part.length));
        shared.set(part);
        const wanted = createHash('sha256').update(part).digest('hex');
        expect(await sha256Hex(part)).toBe(wanted);
        expect(await sha256Hex(shared)).toBe(wanted);
      }),
      { seed: 7 },
    );
  });

  it('says what to do where there is no WebCrypto', async () => {
    vi.stubGlobal('crypto', {});
    try {
      await expect(sha256Hex('x')).rejects.toBeInstanceOf(BackendError);
    } finally {
      vi.unstubAllGlobals();
    }
  });
});
