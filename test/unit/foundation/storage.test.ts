import { describe, expect, it } from 'vitest';
import { InvalidArgumentError } from '../../../src/foundation/errors.js';
import { MemoryStorage, prefixedStorage, type Storage } from '../../../src/foundation/storage.js';
import { storageContract } from '../../../src/testing/storage-contract.js';

describe('MemoryStorage', () => {
  for (const { name, run } of storageContract(() => new MemoryStorage())) it(name, run);

  it('shares no memory with a Buffer, whose slice is a view', async () => {
    const storage = new MemoryStorage();
    const given = Buffer.from([1, 2, 3]);
    await storage.put('k', given);
    given[0] = 9;
    expect([...((await storage.get('k')) ?? [])]).toEqual([1, 2, 3]);
  });

  it('refuses what is not bytes', async () => {
    await expect(new MemoryStorage().put('k', 'text' as unknown as Uint8Array)).rejects.toBeInstanceOf(
      InvalidArgumentError,
    );
  });
});

describe('prefixedStorage', () => {
  const longest = 'accepts the longest and the oddest keys';
  for (const { name, run } of storageContract(() => prefixedStorage(new MemoryStorage(), 'runs/one'))) {
    // Keys are bounded with their prefix.
    if (name !== longest) it(name, run);
  }

  it('sees nothing of its neighbours', async () => {
    const whole = new MemoryStorage();
    const one = prefixedStorage(whole, 'one');
    await prefixedStorage(whole, 'one2').put('x', Uint8Array.of(1));
    await one.put('y', Uint8Array.of(2));
    expect(await one.list()).toEqual(['y']);
    expect(await whole.list()).toEqual(['one/y', 'one2/x']);
  });

  it('refuses a prefix that is no key', () => {
    expect(() => prefixedStorage(new MemoryStorage(), '../up')).toThrow(InvalidArgumentError);
  });
});

describe('storageContract (negative controls)', () => {
  const broken: readonly [string, (inner: MemoryStorage) => Partial<Storage>][] = [
    ['a put that appends', (inner) => ({ put: (key, bytes) => inner.append(key, bytes) })],
    ['a list without order', (inner) => ({ list: async (prefix) => [...(await inner.list(prefix))].reverse() })],
    ['a delete that does nothing', () => ({ delete: async () => undefined })],
    [
      'a get that gives empty bytes for nothing',
      (inner) => ({ get: async (key) => (await inner.get(key)) ?? new Uint8Array() }),
    ],
  ];
  for (const [what, change] of broken) {
    it(`is broken by ${what}`, async () => {
      const clauses = storageContract(() => {
        const inner = new MemoryStorage();
        const bound: Storage = {
          get: (key) => inner.get(key),
          put: (key, bytes) => inner.put(key, bytes),
          append: (key, bytes) => inner.append(key, bytes),
          list: (prefix) => inner.list(prefix),
          delete: (key) => inner.delete(key),
        };
        return { ...bound, ...change(inner) };
      });
      const results = await Promise.allSettled(clauses.map(({ run }) => run()));
      expect(results.filter(({ status }) => status === 'rejected').length).toBeGreaterThan(0);
    });
  }
});
