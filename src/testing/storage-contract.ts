import { InvalidArgumentError } from '../foundation/errors.js';
import type { Storage } from '../foundation/storage.js';

/** One clause of a contract: runs with any test runner, `for (const { name, run } of …) test(name, run)`. */
export interface StorageClause {
  /** What must be true, in words. */
  readonly name: string;
  /** Checks the clause: the promise rejects, saying what was wanted and what came, when the clause is broken. */
  readonly run: () => Promise<void>;
}

/**
 * What every {@link Storage} must do. A clause uses one fresh, empty storage.
 *
 * @param make - makes an empty storage, once for each clause.
 * @returns the clauses.
 */
export function storageContract(make: () => Storage | Promise<Storage>): readonly StorageClause[] {
  const clause = (name: string, check: (storage: Storage) => Promise<void>): StorageClause => ({
    name,
    run: async () => check(await make()),
  });
  return [
    clause('gives undefined for a key that is not there', async (storage) => {
      await expectBytes(storage, 'none', undefined);
      await expectBytes(storage, 'folder/none', undefined);
      await expectKeys(storage, '', []);
    }),
    clause('gives back what was put, and the last put wins', async (storage) => {
      const every = Uint8Array.from({ length: 256 }, (_, i) => i);
      await storage.put('a/b.bin', every);
      await expectBytes(storage, 'a/b.bin', every);
      await storage.put('a/b.bin', Uint8Array.of(7));
      await expectBytes(storage, 'a/b.bin', Uint8Array.of(7));
      await storage.put('a/b.bin', new Uint8Array(0));
      await expectBytes(storage, 'a/b.bin', new Uint8Array(0));
    }),
    clause('keeps bytes apart from the caller’s arrays', async (storage) => {
      const given = Uint8Array.of(1, 2, 3);
      await storage.put('k', given);
      given[0] = 9;
      const got = await storage.get('k');
      if (got !== undefined) got[1] = 9;
      await expectBytes(storage, 'k', Uint8Array.of(1, 2, 3));
    }),
    clause('stores the part that a view shows, not its whole buffer', async (storage) => {
      const whole = Uint8Array.of(0, 1, 2, 3, 4);
      await storage.put('view', whole.subarray(1, 3));
      await storage.append('view', whole.subarray(3, 4));
      await expectBytes(storage, 'view', Uint8Array.of(1, 2, 3));
    }),
    clause('appends in call order, to new entries and to put ones', async (storage) => {
      await Promise.all(Array.from({ length: 20 }, (_, i) => storage.append('log.jsonl', Uint8Array.of(i, i))));
      await expectBytes(
        storage,
        'log.jsonl',
        Uint8Array.from({ length: 40 }, (_, i) => Math.floor(i / 2)),
      );
      await storage.put('log.jsonl', Uint8Array.of(5));
      await storage.append('log.jsonl', Uint8Array.of(6));
      await storage.append('log.jsonl', new Uint8Array(0));
      await expectBytes(storage, 'log.jsonl', Uint8Array.of(5, 6));
      await storage.put('log.jsonl', Uint8Array.of(8));
      await expectBytes(storage, 'log.jsonl', Uint8Array.of(8));
    }),
    clause('lists keys sorted, by any prefix', async (storage) => {
      for (const key of ['b', 'a/2', 'a/10', 'ab', 'A', 'a/c/d']) await storage.put(key, Uint8Array.of(1));
      await storage.append('a/log.jsonl', Uint8Array.of(1));
      await expectKeys(storage, '', ['A', 'a/10', 'a/2', 'a/c/d', 'a/log.jsonl', 'ab', 'b']);
      await expectKeys(storage, 'a', ['a/10', 'a/2', 'a/c/d', 'a/log.jsonl', 'ab']);
      await expectKeys(storage, 'a/', ['a/10', 'a/2', 'a/c/d', 'a/log.jsonl']);
      await expectKeys(storage, 'a/1', ['a/10']);
      await expectKeys(storage, 'zz', []);
    }),
    clause('deletes, and deletes what is not there without complaint', async (storage) => {
      await storage.put('x/y', Uint8Array.of(1));
      await storage.delete('x/y');
      await storage.delete('x/y');
      await storage.delete('never/was');
      await expectBytes(storage, 'x/y', undefined);
      await expectKeys(storage, '', []);
      await storage.append('x/y', Uint8Array.of(2));
      await expectBytes(storage, 'x/y', Uint8Array.of(2));
    }),
    clause('refuses keys that are malformed or could leave the storage', async (storage) => {
      for (const key of BAD_KEYS) {
        for (const [verb, call] of [
          ['get', () => storage.get(key)],
          ['put', () => storage.put(key, Uint8Array.of(1))],
          ['append', () => storage.append(key, Uint8Array.of(1))],
          ['delete', () => storage.delete(key)],
        ] as const) {
          await expectRefusal(call, `${verb} of the key ${JSON.stringify(key)}`);
        }
      }
      await expectKeys(storage, '', []);
    }),
    clause('accepts the longest and the oddest keys', async (storage) => {
      for (const key of ['k'.repeat(200), '...', '.hidden', '-', '__proto__', 'constructor', 'a.b/c_d-e/0']) {
        await storage.put(key, new TextEncoder().encode(key));
        await expectBytes(storage, key, new TextEncoder().encode(key));
        await storage.delete(key);
      }
    }),
    clause('refuses a key that is the folder of another, or below one', async (storage) => {
      await storage.put('a/b', Uint8Array.of(1));
      await expectRefusal(() => storage.put('a', Uint8Array.of(2)), 'put of `a` beside `a/b`');
      await expectRefusal(() => storage.append('a', Uint8Array.of(2)), 'append to `a` beside `a/b`');
      await expectRefusal(() => storage.put('a/b/c', Uint8Array.of(2)), 'put of `a/b/c` beside `a/b`');
      await expectRefusal(() => storage.append('a/b/c', Uint8Array.of(2)), 'append to `a/b/c` beside `a/b`');
      await expectBytes(storage, 'a', undefined);
      await expectBytes(storage, 'a/b/c', undefined);
      await storage.delete('a');
      await storage.delete('a/b/c');
      await expectKeys(storage, '', ['a/b']);
      await expectBytes(storage, 'a/b', Uint8Array.of(1));
    }),
  ];
}

const BAD_KEYS = [
  '',
  '/',
  'a/',
  '/a',
  'a//b',
  '.',
  '..',
  '../a',
  'a/../b',
  'a/./b',
  'a b',
  'a\\b',
  'a\0',
  'ä',
  'a~b',
  'C:x',
  'k'.repeat(201),
];

async function expectBytes(storage: Storage, key: string, wanted: Uint8Array | undefined): Promise<void> {
  const got = await storage.get(key);
  const same = got === undefined || wanted === undefined ? got === wanted : String([...got]) === String([...wanted]);
  if (!same) throw new Error(`expected \`${key}\` to hold ${show(wanted)}, got ${show(got)}`);
}

function show(bytes: Uint8Array | undefined): string {
  return bytes === undefined ? 'nothing' : `[${[...bytes.subarray(0, 20)].join(', ')}] (${bytes.length} bytes)`;
}

async function expectKeys(storage: Storage, prefix: string, wanted: readonly string[]): Promise<void> {
  const got = await storage.list(prefix);
  if (got.join(' ') !== wanted.join(' ')) {
    throw new Error(`expected the keys [${wanted.join(', ')}] under "${prefix}", got [${got.join(', ')}]`);
  }
}

async function expectRefusal(call: () => Promise<unknown>, what: string): Promise<void> {
  try {
    await call();
  } catch (error) {
    if (error instanceof InvalidArgumentError) return;
    throw new Error(`expected ${what} to be refused with an InvalidArgumentError, got ${String(error)}`, {
      cause: error,
    });
  }
  throw new Error(`expected ${what} to be refused, but it was done`);
}
