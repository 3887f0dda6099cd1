import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { appendFile, chmod, copyFile, mkdir, mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CheckpointError, InvalidArgumentError } from '../../../src/foundation/errors.js';
import { JsonlLog } from '../../../src/foundation/jsonl.js';
import { fileStorage } from '../../../src/node/file-storage.js';
import { storageContract } from '../../../src/testing/storage-contract.js';

let root = '';
let folderCount = 0;
const freshFolder = (): string => join(root, `folder-${folderCount++}`);
const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'ialp-file-storage-'));
});
afterAll(() => rm(root, { recursive: true, force: true }));

describe('FileStorage', { timeout: 60_000 }, () => {
  for (const { name, run } of storageContract(() => fileStorage(freshFolder()))) it(name, run);

  it('keeps files plain, with a digest that sha256sum reads beside them', async () => {
    const folder = freshFolder();
    await fileStorage(folder).put('models/theta.json', bytesOf('{"a":1}'));
    expect(readFileSync(join(folder, 'models/theta.json'), 'utf8')).toBe('{"a":1}');
    const hex = createHash('sha256').update('{"a":1}').digest('hex');
    expect(readFileSync(join(folder, 'models/theta.json~sha256'), 'utf8')).toBe(`${hex}  theta.json\n`);
    expect(readdirSync(join(folder, 'models')).sort()).toEqual(['theta.json', 'theta.json~sha256']);
  });

  it('is read by another instance, and makes no folder for a read', async () => {
    const folder = freshFolder();
    expect(await fileStorage(folder).get('a')).toBeUndefined();
    expect(existsSync(folder)).toBe(false);
    await fileStorage(folder, { fsync: 'os' }).put('a', bytesOf('x'));
    expect(await fileStorage(folder).get('a')).toEqual(bytesOf('x'));
  });

  it('refuses a file truncated at any length or with any bit flipped', async () => {
    const folder = freshFolder();
    const storage = fileStorage(folder, { fsync: 'os' });
    const path = join(folder, 'theta.safetensors');
    await storage.put('theta.safetensors', bytesOf('older'));
    const bytes = Uint8Array.from({ length: 40 }, (_, i) => i * 7);
    await storage.put('theta.safetensors', bytes);
    for (let length = 0; length < bytes.length; length++) {
      await writeFile(path, bytes.subarray(0, length));
      await expect(storage.get('theta.safetensors')).rejects.toBeInstanceOf(CheckpointError);
    }
    await fc.assert(
      fc.asyncProperty(fc.nat(bytes.length - 1), fc.nat(7), async (at, bit) => {
        const flipped = bytes.slice();
        flipped[at] = (flipped[at] as number) ^ (1 << bit);
        await writeFile(path, flipped);
        await expect(storage.get('theta.safetensors')).rejects.toMatchObject({ code: 'CHECKPOINT', source: path });
      }),
      { seed: 7, numRuns: 40 },
    );
    await writeFile(path, bytes);
    expect(await storage.get('theta.safetensors')).toEqual(bytes);
    // A damaged file is replaced like any other.
    await truncate(path, 3);
    await storage.put('theta.safetensors', bytesOf('new'));
    expect(await storage.get('theta.safetensors')).toEqual(bytesOf('new'));
  });

  it('refuses a damaged or missing digest, except for logs or when told otherwise', async () => {
    const folder = freshFolder();
    const storage = fileStorage(folder);
    await storage.put('a.bin', bytesOf('x'));
    await writeFile(join(folder, 'a.bin~sha256'), 'garbage');
    await expect(storage.get('a.bin')).rejects.toThrow(/digest file is damaged/);
    await rm(join(folder, 'a.bin~sha256'));
    await expect(storage.get('a.bin')).rejects.toThrow(/no digest file/);
    await expect(storage.append('a.bin', bytesOf('y'))).rejects.toThrow(/no digest file/);
    const lenient = fileStorage(folder, { acceptUnverified: true });
    expect(await lenient.get('a.bin')).toEqual(bytesOf('x'));
    await lenient.put('a.bin', bytesOf('z'));
    await truncate(join(folder, 'a.bin'), 0);
    await expect(lenient.get('a.bin')).rejects.toBeInstanceOf(CheckpointError);
    await writeFile(join(folder, 'foreign.jsonl'), '1\n');
    await storage.append('foreign.jsonl', bytesOf('2\n'));
    expect(await storage.get('foreign.jsonl')).toEqual(bytesOf('1\n2\n'));
  });

  it.skipIf(process.platform === 'win32')('gives new files the permissions it is told', async () => {
    for (const [mode, others] of [
      [0o600, 0],
      [0o644, 0o044],
    ] as const) {
      const folder = freshFolder();
      const storage = fileStorage(folder, { mode });
      await storage.put('a.bin', bytesOf('x'));
      await storage.put('a.bin', bytesOf('y'));
      await storage.append('log.jsonl', bytesOf('1\n'));
      const files = readdirSync(folder);
      expect(files.sort()).toEqual(['a.bin', 'a.bin~sha256', 'log.jsonl', 'log.jsonl~sha256']);
      for (const file of files)
        expect(statSync(join(folder, file)).mode & 0o077 & ~process.umask()).toBe(others & ~process.umask());
    }
    expect(() => fileStorage(freshFolder(), { mode: 0o1000 })).toThrow(InvalidArgumentError);
  });

  it('still verifies the part of a log that was put', async () => {
    const folder = freshFolder();
    const storage = fileStorage(folder);
    await storage.put('log.jsonl', bytesOf('"put"\n'));
    await storage.append('log.jsonl', bytesOf('"tail"\n'));
    await truncate(join(folder, 'log.jsonl'), 9);
    expect(await storage.get('log.jsonl')).toEqual(bytesOf('"put"\n"ta'));
    expect(await new JsonlLog(storage, 'log.jsonl').open()).toEqual({ records: ['put'], tornBytes: 3 });
    await storage.append('log.jsonl', bytesOf('"more"\n'));
    await truncate(join(folder, 'log.jsonl'), 5);
    await expect(storage.get('log.jsonl')).rejects.toThrow(/torn/);
  });

  it('reads the old bytes when killed between digest and data, and goes on from there', async () => {
    const folder = freshFolder();
    const storage = fileStorage(folder);
    const put = async (text: string): Promise<void> => storage.put('a', bytesOf(text));
    const path = join(folder, 'a');
    // The window: the digest of the new bytes is in place, the data is still old.
    const intoWindow = async (next: string): Promise<void> => {
      await copyFile(path, `${root}/old`);
      await put(next);
      await copyFile(`${root}/old`, path);
    };
    await put('one');
    await intoWindow('two');
    expect(await storage.get('a')).toEqual(bytesOf('one'));
    await intoWindow('three');
    expect(await storage.get('a')).toEqual(bytesOf('one'));
    await storage.append('a', bytesOf('+'));
    expect(await storage.get('a')).toEqual(bytesOf('one+'));
    await intoWindow('four');
    expect(await storage.get('a')).toEqual(bytesOf('one+'));
    // In the window, too, only whole files pass.
    await appendFile(path, 'x');
    await expect(storage.get('a')).rejects.toBeInstanceOf(CheckpointError);
    // First put of all, killed in the window: there is nothing, and no complaint.
    await put('five');
    await rm(path);
    expect(await storage.get('a')).toBeUndefined();
  });

  it('removes what killed processes left, and nothing else', async () => {
    const folder = freshFolder();
    await mkdir(join(folder, 'deep'), { recursive: true });
    const dead = spawn(process.execPath, ['-e', '']);
    await new Promise((done) => dead.on('exit', done));
    const leftover = [
      `deep/a~${dead.pid}-${Date.now()}-0a1b2c3d.tmp`,
      `a~${process.pid}-1000-0a1b2c3d.tmp`,
      `b~1-1000-0a.tmp`,
    ];
    const kept = [`deep/b~${process.pid}-${Date.now()}-0a1b2c3d.tmp`, 'mine.tmp', 'deep/c', 'c~other'];
    for (const name of [...leftover, ...kept]) await writeFile(join(folder, name), 'x');
    const storage = fileStorage(folder);
    expect(await storage.list()).toEqual(['deep/c', 'mine.tmp']);
    for (const name of leftover) expect(existsSync(join(folder, name)), name).toBe(false);
    for (const name of kept) expect(existsSync(join(folder, name)), name).toBe(true);
  });

  it('leaves the old bytes and no temporary file when a put fails', async () => {
    const folder = freshFolder();
    const storage = fileStorage(folder);
    await storage.put('deep/a', bytesOf('old'));
    await storage.put('folder/b', bytesOf('x'));
    await expect(storage.put('folder', bytesOf('y'))).rejects.toBeInstanceOf(InvalidArgumentError);
    await expect(storage.put('deep/a', 5 as unknown as Uint8Array)).rejects.toBeInstanceOf(InvalidArgumentError);
    if (process.getuid?.() !== 0) {
      await chmod(join(folder, 'deep'), 0o500);
      await expect(storage.put('deep/a', bytesOf('new'))).rejects.toBeInstanceOf(CheckpointError);
      await chmod(join(folder, 'deep'), 0o700);
    }
    expect(await storage.get('deep/a')).toEqual(bytesOf('old'));
    expect(
      readdirSync(folder)
        .concat(readdirSync(join(folder, 'deep')))
        .filter((name) => name.endsWith('.tmp')),
    ).toEqual([]);
  });

  it('gives a typed error when the folder is a file', async () => {
    const path = freshFolder();
    await writeFile(path, 'x');
    await expect(fileStorage(path).put('a', bytesOf('x'))).rejects.toMatchObject({
      name: /CheckpointError|InvalidArgumentError/,
    });
    await expect(fileStorage(path).list()).rejects.toBeInstanceOf(CheckpointError);
  });

  it('refuses wrong options', () => {
    expect(() => fileStorage('')).toThrow(InvalidArgumentError);
    expect(() => fileStorage('x', { fsync: 'never' as 'os' })).toThrow(/`fsync` to be one of "always", "os"/);
    expect(() => fileStorage('x', { sync: true } as never)).toThrow(/did you mean `fsync`/);
  });

  it('lets another process read while this one writes', async () => {
    const folder = freshFolder();
    const writer = fileStorage(folder, { fsync: 'os' });
    const reader = fileStorage(folder);
    await writer.put('a', new Uint8Array(1000).fill(0));
    let writing = true;
    const written = (async () => {
      for (let i = 1; i <= 150; i++) await writer.put('a', new Uint8Array(1000).fill(i));
      writing = false;
    })();
    let reads = 0;
    while (writing) {
      const bytes = await reader.get('a');
      expect(new Set(bytes).size).toBe(1);
      reads++;
    }
    await written;
    expect(reads).toBeGreaterThan(5);
  });
});

describe('killed with SIGKILL', { timeout: 60_000 }, () => {
  const KILLS = 20;
  const SIZE = 2_000_000;
  let program = '';

  // The child writes version 1, 2, 3, … of one file, each of one repeated byte, and prints each when it is stored.
  beforeAll(async () => {
    program = join(root, 'writer.mjs');
    const module = fileURLToPath(new URL('../../../src/node/file-storage.ts', import.meta.url));
    const log = fileURLToPath(new URL('../../../src/foundation/jsonl.ts', import.meta.url));
    await build({
      stdin: {
        contents: `
          import { writeFile } from 'node:fs/promises';
          import { fileStorage } from ${JSON.stringify(module)};
          import { JsonlLog } from ${JSON.stringify(log)};
          const [folder, mode, start] = process.argv.slice(2);
          const storage = fileStorage(folder);
          const log = new JsonlLog(storage, 'log.jsonl');
          for (let i = Number(start); ; i++) {
            const bytes = new Uint8Array(${SIZE}).fill(i % 251);
            if (mode === 'put') await storage.put('data.bin', bytes);
            else if (mode === 'log') await log.append({ i, text: 'x'.repeat(50_000) });
            else await writeFile(folder + '/data.bin', bytes);
            process.stdout.write(i + '\\n');
          }`,
        resolveDir: root,
        loader: 'ts',
      },
      bundle: true,
      format: 'esm',
      platform: 'node',
      outfile: program,
      banner: { js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);" },
    });
  }, 60_000);

  /** Runs the writer, kills it `afterMs` after its first stored version, and says which was the last it called stored. */
  function runAndKill(folder: string, mode: string, start: number, afterMs: number): Promise<number> {
    return new Promise((done, fail) => {
      const child = spawn(process.execPath, [program, folder, mode, String(start)], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      let output = '';
      let timer: NodeJS.Timeout | undefined;
      child.stdout.on('data', (chunk) => {
        output += String(chunk);
        timer ??= setTimeout(() => child.kill('SIGKILL'), afterMs);
      });
      child.on('close', (_code, signal) => {
        clearTimeout(timer);
        if (signal === 'SIGKILL') done(Number(output.trim().split('\n').at(-1)));
        else fail(new Error('the writer ended by itself'));
      });
    });
  }

  it(`put: ${KILLS} kills leave 0 files unreadable or older than the last stored version`, async () => {
    const folder = freshFolder();
    await mkdir(folder);
    let next = 1;
    let temporary = 0;
    for (let kill = 0; kill < KILLS; kill++) {
      const stored = await runAndKill(folder, 'put', next, (kill * 7) % 40);
      temporary += readdirSync(folder).filter((name) => name.endsWith('.tmp')).length;
      const bytes = (await fileStorage(folder).get('data.bin')) as Uint8Array;
      expect(bytes.length).toBe(SIZE);
      expect(new Set(bytes).size).toBe(1);
      // The last that was acknowledged, or the one in flight.
      expect([stored % 251, (stored + 1) % 251]).toContain(bytes[0]);
      next = stored + 2;
    }
    expect(readdirSync(folder).filter((name) => name.endsWith('.tmp'))).toEqual([]);
    console.log(
      `FileStorage.put: ${KILLS} SIGKILL, 0 unreadable, ${temporary} temporary files left by them and removed`,
    );
    // The kills hit puts half-way, else this shows nothing.
    expect(temporary).toBeGreaterThan(0);
  });

  it('append: every acknowledged record is there, in order, and torn tails are repaired', async () => {
    const folder = freshFolder();
    await mkdir(folder);
    let next = 1;
    for (let kill = 0; kill < 6; kill++) {
      const stored = await runAndKill(folder, 'log', next, 5 + kill * 3);
      const { records } = await new JsonlLog(fileStorage(folder), 'log.jsonl').open();
      const numbers = records.map((record) => (record as { i: number }).i);
      expect(numbers).toEqual(Array.from({ length: numbers.length }, (_, i) => i + 1));
      expect([stored, stored + 1]).toContain(numbers.length);
      next = numbers.length + 1;
    }
  });

  it('negative control: plain writeFile leaves torn files, which a verifying read refuses', async () => {
    const folder = freshFolder();
    await mkdir(folder);
    let torn = 0;
    for (let kill = 0; kill < 40 && torn === 0; kill++) {
      await runAndKill(folder, 'plain', 1, kill % 8);
      const length = readFileSync(join(folder, 'data.bin')).length;
      if (length < SIZE) torn++;
    }
    console.log(`plain writeFile: ${torn} torn file within 40 SIGKILL`);
    const storage = fileStorage(folder);
    const torn1 = readFileSync(join(folder, 'data.bin')).subarray(0, SIZE / 2);
    await storage.put('data.bin', new Uint8Array(SIZE).fill(1));
    await writeFile(join(folder, 'data.bin'), torn1);
    await expect(storage.get('data.bin')).rejects.toThrow(/torn or altered/);
  });
});
