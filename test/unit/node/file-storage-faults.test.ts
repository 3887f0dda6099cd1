import { mkdtempSync, rmSync } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { CheckpointError } from '../../../src/foundation/errors.js';
import { JsonlLog } from '../../../src/foundation/jsonl.js';
import { type FileStorage, fileStorage } from '../../../src/node/file-storage.js';

/**
 * A file system that dies at its N-th call: that call does half of what it should (a write) or nothing, and every later
 * one fails too, the ones that would clean up included. What is on the disk then is what a kill leaves.
 */
const faults = vi.hoisted(() => ({ calls: 0, dieAt: Number.POSITIVE_INFINITY }));

vi.mock('node:fs/promises', async (importOriginal) => {
  const real = await importOriginal<typeof import('node:fs/promises')>();
  const counted =
    <A extends unknown[], R>(call: (...args: A) => Promise<R>, half?: (...args: A) => Promise<unknown>) =>
    async (...args: A): Promise<R> => {
      const mine = ++faults.calls;
      if (mine < faults.dieAt) return call(...args);
      if (mine === faults.dieAt) await half?.(...args);
      throw Object.assign(new Error('killed'), { code: 'EIO' });
    };
  const wrapped = (file: FileHandle): FileHandle =>
    new Proxy(file, {
      get(target, name) {
        const value: unknown = Reflect.get(target, name, target);
        if (typeof value !== 'function') return value;
        const call = value.bind(target) as (...args: unknown[]) => Promise<unknown>;
        // A killed process leaves no handle open either.
        if (name === 'close') return call;
        if (name !== 'writeFile' && name !== 'appendFile') return counted(call);
        return counted(call, (bytes) => call((bytes as Uint8Array).subarray(0, (bytes as Uint8Array).length >> 1)));
      },
    });
  return {
    ...real,
    open: counted(async (...args: Parameters<typeof real.open>) => wrapped(await real.open(...args))),
    rename: counted(real.rename),
    rm: counted(real.rm),
    mkdir: counted(real.mkdir as (path: string, options: { recursive: true }) => Promise<string | undefined>),
    readFile: counted(real.readFile as (path: string) => Promise<Buffer>),
    stat: counted(real.stat as (path: string) => Promise<import('node:fs').Stats>),
  };
});

const root = mkdtempSync(join(tmpdir(), 'ialp-faults-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));
beforeEach(() => {
  faults.dieAt = Number.POSITIVE_INFINITY;
});

const text = (bytes: Uint8Array | undefined): string | undefined => bytes && new TextDecoder().decode(bytes);
const bytes = (content: string): Uint8Array => new TextEncoder().encode(content);
const KEY = 'deep/data.bin';

/** Runs `work` once for every call at which it may die, and `check` after each death, on the disk as it then is. */
async function dieEverywhere(
  prepare: (storage: FileStorage) => Promise<void>,
  work: (storage: FileStorage) => Promise<void>,
  check: (storage: FileStorage, died: boolean) => Promise<void>,
): Promise<number> {
  for (let dieAt = 1; ; dieAt++) {
    const folder = mkdtempSync(join(root, 'run-'));
    await prepare(fileStorage(folder));
    faults.calls = 0;
    faults.dieAt = dieAt;
    const died = await work(fileStorage(folder)).then(
      () => false,
      (error: unknown) => {
        expect(error).toBeInstanceOf(CheckpointError);
        return true;
      },
    );
    const reached = faults.calls >= dieAt;
    faults.dieAt = Number.POSITIVE_INFINITY;
    await check(fileStorage(folder), died);
    if (!reached) return dieAt - 1;
  }
}

describe('FileStorage dies at every file system call', { timeout: 60_000 }, () => {
  const beginnings: readonly [string, string | undefined, (storage: FileStorage) => Promise<void>][] = [
    ['nothing', undefined, async () => undefined],
    ['a put entry', 'old', (storage) => storage.put(KEY, bytes('old'))],
    ['an appended entry', 'old', (storage) => storage.append(KEY, bytes('old'))],
    [
      'an entry put and appended to',
      'older',
      async (storage) => {
        await storage.put(KEY, bytes('old'));
        await storage.append(KEY, bytes('er'));
      },
    ],
    [
      'an entry whose last put died in the window',
      'old',
      async (storage) => {
        await storage.put(KEY, bytes('old'));
        // Folder, two reads, the temporary file, the digest: the rename of the data is the last call but the folder's sync.
        for (let dieAt = 1; ; dieAt++) {
          faults.calls = 0;
          faults.dieAt = dieAt;
          const error = await storage.put(KEY, bytes('lost')).catch((cause: unknown) => cause);
          faults.dieAt = Number.POSITIVE_INFINITY;
          expect(error).toBeInstanceOf(CheckpointError);
          const digest = text(
            await fileStorage(join(storage.folder, 'deep'), { acceptUnverified: true }).get('data.bin'),
          );
          expect(digest).toBe('old');
          if (await digestNamesBoth(storage.folder)) return;
        }
      },
    ],
  ];

  async function digestNamesBoth(folder: string): Promise<boolean> {
    const { readFileSync } = await import('node:fs');
    return readFileSync(join(folder, `${KEY}~sha256`), 'utf8').includes('# previous');
  }

  for (const [what, old, prepare] of beginnings) {
    it(`put over ${what}: the old bytes or the new, and the new once it said so`, async () => {
      const points = await dieEverywhere(
        prepare,
        (storage) => storage.put(KEY, bytes('new bytes')),
        async (storage, died) => {
          const found = text(await storage.get(KEY));
          if (died) expect([old, 'new bytes']).toContain(found);
          else expect(found).toBe('new bytes');
          // And the storage is as good as ever.
          await storage.append(KEY, bytes('!'));
          expect(text(await storage.get(KEY))).toBe(`${found ?? ''}!`);
          await storage.put(KEY, bytes('next'));
          expect(text(await storage.get(KEY))).toBe('next');
          expect(await storage.list()).toEqual([KEY]);
        },
      );
      expect(points).toBeGreaterThan(8);
    });

    it(`append over ${what}: the old bytes and a beginning of the new`, async () => {
      const points = await dieEverywhere(
        prepare,
        (storage) => storage.append(KEY, bytes('tail')),
        async (storage, died) => {
          const found = text(await storage.get(KEY));
          const whole = `${old ?? ''}tail`;
          if (!died) expect(found).toBe(whole);
          else if (found !== old)
            expect(whole.startsWith(found ?? '') && (found ?? '').startsWith(old ?? '')).toBe(true);
        },
      );
      expect(points).toBeGreaterThan(4);
    });

    it(`delete over ${what}: there or gone`, async () => {
      await dieEverywhere(
        prepare,
        (storage) => storage.delete(KEY),
        async (storage, died) => {
          const found = text(await storage.get(KEY));
          expect(died ? [old, undefined] : [undefined]).toContain(found);
          await storage.put(KEY, bytes('again'));
          expect(text(await storage.get(KEY))).toBe('again');
        },
      );
    });
  }

  it('JsonlLog over it: no acknowledged record is lost, no torn one is read', async () => {
    const acknowledged: number[] = [];
    const points = await dieEverywhere(
      async (storage) => {
        acknowledged.length = 0;
        await storage.append('log.jsonl', bytes('0\n1\n{"torn'));
      },
      async (storage) => {
        const log = new JsonlLog(storage, 'log.jsonl');
        for (const n of [2, 3]) {
          await log.append(n);
          acknowledged.push(n);
        }
      },
      async (storage) => {
        const { records } = await new JsonlLog(storage, 'log.jsonl').open();
        expect(records).toEqual([0, 1, 2, 3].slice(0, records.length));
        expect(records.length).toBeGreaterThanOrEqual(2 + acknowledged.length);
      },
    );
    expect(points).toBeGreaterThan(15);
  });
});
