import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Sequences, splitIndices } from '../../../src/catalog/sequences.js';
import { InvalidArgumentError } from '../../../src/foundation/errors.js';

const lists = fc.array(fc.array(fc.integer({ min: 0, max: 9 }), { minLength: 1, maxLength: 8 }), {
  minLength: 10,
  maxLength: 40,
});
const unpack = (sequences: Sequences) => Array.from({ length: sequences.count }, (_, i) => [...sequences.sequence(i)]);

function refused(run: () => unknown): InvalidArgumentError {
  try {
    run();
  } catch (error) {
    expect(error).toBeInstanceOf(InvalidArgumentError);
    return error as InvalidArgumentError;
  }
  throw new Error('nothing was thrown');
}

describe('Sequences', () => {
  it('gives back the lists it was made of, and counts them as a plain loop does', () => {
    fc.assert(
      fc.property(lists, (all) => {
        const sequences = Sequences.from(all, { itemCount: 10 });
        expect(unpack(sequences)).toEqual(all);
        const counts = new Array(10).fill(0);
        for (const list of all) for (const item of list) counts[item]++;
        expect([...sequences.counts()]).toEqual(counts);
        const statistics = sequences.statistics();
        const lengths = all.map((list) => list.length).sort((a, b) => a - b);
        expect(statistics).toMatchObject({
          items: 10,
          itemsSeen: counts.filter((count) => count > 0).length,
          sequences: all.length,
          users: all.length,
          interactions: all.flat().length,
          minLength: lengths[0],
          maxLength: lengths.at(-1),
          medianLength: lengths[(lengths.length - 1) >> 1],
        });
        expect(statistics.meanLength).toBeCloseTo(all.flat().length / all.length, 12);
        const pairs = all.reduce((n, list) => n + new Set(list).size, 0);
        expect(statistics.density).toBeCloseTo(pairs / (all.length * 10), 12);
      }),
      { seed: 7 },
    );
  });

  it('splits into parts that hold every sequence once, the same for the same seed only', () => {
    fc.assert(
      fc.property(lists, fc.integer(), (all, seed) => {
        // Marked by user, so that equal lists can be told apart.
        const users = all.map((_, i) => `u${i}`);
        const sequences = Sequences.from(all, { itemCount: 10, users });
        const parts = sequences.split({ seed });
        expect(parts.flatMap((part) => part.users ?? []).sort()).toEqual([...users].sort());
        for (const part of parts) {
          expect(part.users?.map((user) => all[Number(user.slice(1))])).toEqual(unpack(part));
          const order = part.users?.map((user) => Number(user.slice(1))) ?? [];
          expect(order).toEqual([...order].sort((a, b) => a - b));
        }
        expect(sequences.split({ seed }).map(unpack)).toEqual(parts.map(unpack));
        const joined = Sequences.concat(parts);
        expect(unpack(joined)).toEqual(parts.flatMap(unpack));
        expect(joined.users).toEqual(parts.flatMap((part) => part.users ?? []));
      }),
      { seed: 7 },
    );
    const many = Sequences.from(
      Array.from({ length: 200 }, (_, i) => [i]),
      { itemCount: 200 },
    );
    expect(many.split({ seed: 1 }).map(unpack)).not.toEqual(many.split({ seed: 2 }).map(unpack));
  });

  it('keeps a user in one part when split by user, and does not when split by sequence', () => {
    const users = Array.from({ length: 300 }, (_, i) => `u${i % 60}`);
    const sequences = Sequences.from(
      users.map((_, i) => [i % 7]),
      { itemCount: 7, users },
    );
    const shared = (by: 'user' | 'sequence') => {
      const parts = sequences.split({ seed: 3, by }).map((part) => new Set(part.users));
      return users.filter((user) => parts.filter((part) => part.has(user)).length > 1).length;
    };
    expect(shared('user')).toBe(0);
    expect(shared('sequence')).toBeGreaterThan(100);
    expect(sequences.split({ seed: 3, by: 'user' }).map((part) => part.statistics().users)).toEqual([42, 6, 12]);
  });

  it('deals the users of Coat into 186, 46 and 58', () => {
    const parts = splitIndices(290, { seed: 1, fractions: [0.64, 0.16, 0.2] });
    expect(parts.map((part) => part.length)).toEqual([186, 46, 58]);
    expect([...parts.flatMap((part) => [...part])].sort((a, b) => a - b)).toEqual(
      Array.from({ length: 290 }, (_, i) => i),
    );
  });

  const ok = [[0], [1]];
  it.each([
    ['an index too large', () => Sequences.from([[0], [1, 3]], { itemCount: 3 }), 'lists[1][1]'],
    ['a negative index', () => Sequences.from([[-1]], { itemCount: 3 }), 'lists[0][0]'],
    ['a fraction', () => Sequences.from([[0.5]], { itemCount: 3 }), 'lists[0][0]'],
    ['an empty list', () => Sequences.from([[0], []], { itemCount: 3 }), 'lists[1]'],
    ['a list that is none', () => Sequences.from(['01'] as never, { itemCount: 3 }), 'lists[0]'],
    ['too few users', () => Sequences.from(ok, { itemCount: 3, users: ['a'] }), 'users'],
    [
      'fractions that do not sum to 1',
      () => Sequences.from(ok, { itemCount: 3 }).split({ seed: 1, fractions: [0.5, 0.4] }),
      'fractions',
    ],
    [
      'a part without a sequence',
      () => Sequences.from(ok, { itemCount: 3 }).split({ seed: 1, fractions: [0.99, 0.01] }),
      'fractions[1]',
    ],
    [
      'a split by users there are none of',
      () => Sequences.from(ok, { itemCount: 3 }).split({ seed: 1, by: 'user' }),
      'by',
    ],
    ['a sequence out of range', () => Sequences.from(ok, { itemCount: 3 }).sequence(2), 'i'],
    ['no parts', () => Sequences.concat([]), 'parts'],
    [
      'parts of other catalogues',
      () => Sequences.concat([Sequences.from(ok, { itemCount: 3 }), Sequences.from(ok, { itemCount: 4 })]),
      'parts[1]',
    ],
  ] as [string, () => unknown, string][])('refuses %s', (_, run, argument) => {
    expect(refused(run).argument).toBe(argument);
  });

  it('packs no list at all', () => {
    const none = Sequences.from([], { itemCount: 3 });
    expect(none.statistics()).toMatchObject({ sequences: 0, interactions: 0, meanLength: 0, density: 0 });
  });
});
