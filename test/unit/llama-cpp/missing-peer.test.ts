import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it, vi } from 'vitest';
import { BackendError } from '../../../src/foundation/errors.js';
import { LlamaCppModel } from '../../../src/llama-cpp/llama-cpp-model.js';
import { writeTinyLlama } from '../../fixtures/gguf/tiny-llama.js';

const folder = mkdtempSync(join(tmpdir(), 'ialp-llama-'));
const peer = vi.hoisted(() => ({ getLlama: undefined as (() => Promise<never>) | undefined }));
vi.mock('node-llama-cpp', () => {
  if (peer.getLlama === undefined) throw new Error('Cannot find package');
  return { getLlama: peer.getLlama, LlamaLogLevel: {} };
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

it('names the install line where the package, or its binary for this machine, is missing', async () => {
  const file = join(folder, 'tiny.gguf');
  writeTinyLlama(file);
  const install = /run `npm i --omit=optional node-llama-cpp @node-llama-cpp\/\w+-[\w-]+`/;
  const withoutPackage = LlamaCppModel.load({ file });
  await expect(withoutPackage).rejects.toThrow(BackendError);
  await expect(withoutPackage).rejects.toThrow(install);

  vi.resetModules();
  peer.getLlama = () => Promise.reject(new Error('NoBinaryFoundError'));
  const withoutBinary = LlamaCppModel.load({ file });
  await expect(withoutBinary).rejects.toThrow(/no binary for/);
  await expect(withoutBinary).rejects.toThrow(install);
});
