import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Sequences } from '../../../src/catalog/sequences.js';
import { InvalidArgumentError } from '../../../src/foundation/errors.js';
import { Rng } from '../../../src/foundation/rng.js';
import { nextItemLists, ratedLists, splitUsers } from '../../../src/oracle/next-item-lists.js';

const A = 80;
const rng = new Rng(4);
const sequences = Sequences.from(
  Array.from({ length: 300 }, (_, user) => Array.from(rng.fork(user).sample(A, 1 + (user % 7)))),
  { itemCount: A, users: Array.from({ length: 300 }, (_, i) => `u${i % 250}`) },
);
const counts = sequences.counts();

describe('nextItemLists', () => {
  it('asks for the last item, shows what came before, and no item of the sequence as a negative (property)', () => {
    fc.assert(
      fc.property(fc.integer({ min: 2, max: 12 }), fc.integer({ min: 1, max: 5 }), fc.nat(), (K, L, seed) => {
        const lists = nextItemLists({ sequences, candidateCount: K, historyLength: L, seed });
        // Every sequence of two items and more gives one.
        expect(lists).toHaveLength(257);
        for (const { history, candidates, truth, replacement, user } of lists) {
          expect(candidates).toHaveLength(K);
          expect(new Set([...candidates, replacement]).size).toBe(K + 1);
          expect(candidates).toContain(truth);
          expect(history.length).toBeLessThanOrEqual(L);
          expect(user).toMatch(/^u\d+$/);
          for (const item of [...candidates, replacement as number]) expect(history).not.toContain(item);
        }
      }),
      { seed: 1, numRuns: 15 },
    );
  });

  it('puts the truth at each place alike, by chi-square; control: sorted candidates fail', () => {
    const many = Array.from({ length: 10 }, (_, seed) => nextItemLists({ sequences, candidateCount: 5, seed })).flat();
    const place = (sort: boolean): number[] =>
      many.map(({ candidates, truth }) => (sort ? [truth, ...candidates] : candidates).indexOf(truth));
    expect(chiSquare(place(false), 5)).toBeLessThan(18.5); // 4 degrees of freedom, p = 0.001
    expect(chiSquare(place(true), 5)).toBeGreaterThan(100);
  });

  it('draws popularity negatives in proportion to counts, uniform ones alike', () => {
    const half = Float64Array.from({ length: A }, (_, item) => (item < 40 ? 3 : 1));
    const share = (negatives: 'uniform' | 'popularity'): number => {
      const lists = nextItemLists({ sequences, candidateCount: 5, negatives, counts: half, seed: 2 });
      const drawn = lists.flatMap(({ candidates, truth }) => candidates.filter((item) => item !== truth));
      return drawn.filter((item) => item < 40).length / drawn.length;
    };
    expect(share('popularity')).toBeGreaterThan(0.7);
    expect(share('popularity')).toBeLessThan(0.8);
    expect(share('uniform')).toBeGreaterThan(0.45);
    expect(share('uniform')).toBeLessThan(0.55);
  });

  it('never draws an item without a count, and gives no list where counts do not suffice', () => {
    const few = Float64Array.from({ length: A }, (_, item) => (item < 6 ? 1 : 0));
    const lists = nextItemLists({ sequences, candidateCount: 4, negatives: 'popularity', counts: few });
    for (const { candidates, truth } of lists)
      for (const item of candidates) expect(item === truth || item < 6).toBe(true);
    expect(nextItemLists({ sequences, candidateCount: 9, negatives: 'popularity', counts: few })).toEqual([]);
  });

  it("asks for any item but a sequence's first with targets 'any'", () => {
    const lists = nextItemLists({ sequences, targets: 'any', candidateCount: 3 });
    expect(lists).toHaveLength(sequences.items.length - sequences.count);
    expect(lists.every(({ history }) => history.length > 0)).toBe(true);
  });

  it('is a function of its seed, whatever the limit cuts', () => {
    const all = nextItemLists({ sequences, counts, negatives: 'popularity', seed: 6 });
    expect(nextItemLists({ sequences, counts, negatives: 'popularity', seed: 6, limit: 20 })).toEqual(all.slice(0, 20));
    expect(nextItemLists({ sequences, counts, negatives: 'popularity', seed: 7 })).not.toEqual(all);
  });

  it.each([
    ['popularity negatives without counts', { sequences, negatives: 'popularity' }],
    ['negative counts', { sequences, negatives: 'popularity', counts: counts.map((n) => -n) }],
    ['counts that are all 0', { sequences, negatives: 'popularity', counts: new Float32Array(A) }],
    ['counts of another length', { sequences, counts: [1] }],
    ['no sequences', { sequences: [[1, 2]] }],
    ['one candidate', { sequences, candidateCount: 1 }],
  ])('refuses %s', (_, options) => {
    expect(() => nextItemLists(options as never)).toThrow(InvalidArgumentError);
  });
});

describe('splitUsers', () => {
  it('puts no user into two parts, and all into one', () => {
    const { train, validation, test } = splitUsers(sequences, { seed: 3 });
    const users = [train, validation, test].map((part) => new Set(part.users));
    expect(users.map((part) => part.size)).toEqual([175, 25, 50]);
    expect(new Set(users.flatMap((part) => [...part])).size).toBe(250);
  });

  it('deals as the sequence worlds do where each user has one sequence', () => {
    const own = Sequences.from(
      [
        [1, 2],
        [2, 3],
        [3, 4],
        [4, 5],
        [5, 6],
        [6, 7],
        [7, 8],
        [8, 9],
        [9, 1],
        [1, 3],
      ],
      { itemCount: 10 },
    );
    const worlds = own.split({ seed: 1, fractions: [0.7, 0.1, 0.2], by: 'sequence' });
    const { train, validation, test } = splitUsers(own, { seed: 1 });
    expect([train, validation, test].map(({ items }) => [...items])).toEqual(worlds.map(({ items }) => [...items]));
  });
});

describe('ratedLists', () => {
  const ITEMS = 6;
  const ratings = [5, 4, 3, 2, 1, 0, /**/ 5, 2, 1, 0, 0, 0, /**/ 4, 0, 5, 3, 0, 4, /**/ 4, 5, 4, 1, 2, 2];
  const base = { ratings, itemCount: ITEMS, users: [0, 1, 2, 3], candidateCount: 3 };
  const of = (user: number, lists = ratedLists(base)) => lists.filter((list) => list.user === `user ${user}`);

  it('sets each liked item against the disliked ones, the history being what else is liked', () => {
    const lists = of(0).sort((a, b) => a.truth - b.truth);
    expect(lists.map(({ truth, history }) => [truth, history])).toEqual([
      [0, [1]],
      [1, [0]],
    ]);
    // Item 2 is neither liked nor disliked, item 5 is not rated.
    for (const { truth, candidates } of lists) expect([...candidates].sort()).toEqual([truth, 3, 4]);
    expect(of(3)).toHaveLength(3);
    for (const { truth, history } of of(3)) expect([truth, ...history].sort()).toEqual([0, 1, 2]);
  });

  it('gives none for a user who likes one item only, or dislikes too few', () => {
    expect(of(1)).toEqual([]);
    expect(of(2)).toEqual([]);
    expect(of(0, ratedLists({ ...base, candidateCount: 4 }))).toEqual([]);
    expect(of(3, ratedLists({ ...base, candidateCount: 4 }))).toHaveLength(3);
  });

  it('takes other bounds', () => {
    expect(of(2, ratedLists({ ...base, likedFrom: 5, dislikedUpTo: 4 }))).toEqual([]);
    const harder = of(2, ratedLists({ ...base, dislikedUpTo: 3, candidateCount: 2 }));
    expect(harder.map(({ truth }) => truth).sort()).toEqual([0, 2, 5]);
    for (const { candidates, truth } of harder) expect([...candidates].sort()).toEqual([truth, 3].sort());
  });

  it('gives every user one list before any has two', () => {
    expect(new Set(ratedLists({ ...base, limit: 2 }).map(({ user }) => user)).size).toBe(2);
  });

  it('keeps one more disliked item as replacement where there is one', () => {
    const [list] = ratedLists({ ...base, candidateCount: 2, users: [0] });
    expect(list?.candidates).toHaveLength(2);
    expect([3, 4]).toContain(list?.replacement);
    expect(list?.candidates).not.toContain(list?.replacement);
    expect(of(0)[0]?.replacement).toBeUndefined();
  });

  it.each([
    ['users without a row', { users: [4] }],
    ['a part of a row', { itemCount: 5 }],
    ['disliked items that are liked', { dislikedUpTo: 4 }],
  ])('refuses %s', (_, options) => {
    expect(() => ratedLists({ ...base, ...options } as never)).toThrow(InvalidArgumentError);
  });
});

function chiSquare(places: readonly number[], K: number): number {
  const wanted = places.length / K;
  return Array.from({ length: K }, (_, k) => places.filter((place) => place === k).length).reduce(
    (sum, seen) => sum + (seen - wanted) ** 2 / wanted,
    0,
  );
}
