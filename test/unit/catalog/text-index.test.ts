import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { TextIndex, words } from '../../../src/catalog/text-index.js';
import { InvalidArgumentError } from '../../../src/foundation/errors.js';

const texts = fc.array(
  fc
    .array(fc.constantFrom('red', 'blue', 'Coat', 'coat', 'rain', '12', 'Ünder', '!'), { maxLength: 8 })
    .map((list) => list.join(' ')),
  { minLength: 2, maxLength: 15 },
);

/** TF-IDF cosine by dense vectors over maps. */
function bruteForce(all: readonly string[], i: number, j: number): number {
  const bags = all.map((text) => words(text));
  const vocabulary = [...new Set(bags.flat())];
  const vector = (bag: string[]) =>
    vocabulary.map((term) => {
      const df = bags.filter((other) => other.includes(term)).length;
      return bag.filter((word) => word === term).length * (Math.log((1 + bags.length) / (1 + df)) + 1);
    });
  const a = vector(bags[i] as string[]);
  const b = vector(bags[j] as string[]);
  const dot = (x: number[], y: number[]) => x.reduce((sum, value, n) => sum + value * (y[n] as number), 0);
  const norm = Math.sqrt(dot(a, a) * dot(b, b));
  return norm === 0 ? 0 : dot(a, b) / norm;
}

describe('words', () => {
  it('folds case, width and marks of compatibility', () => {
    expect(words('Ｃｏａｔ ﬁne, 1/2-Inch ÉTÉ été')).toEqual(['coat', 'fine', '1', '2', 'inch', 'été', 'été']);
  });

  it('pairs characters where a script has no spaces', () => {
    expect(words('東京都 shop')).toEqual(['東京', '京都', 'shop']);
    expect(words('猫')).toEqual(['猫']);
    expect(words('USB充電器')).toEqual(['usb', '充電', '電器']);
  });

  it('finds no word in punctuation or nothing', () => {
    expect(words(' --- !? ')).toEqual([]);
    expect(words('')).toEqual([]);
  });
});

describe('TextIndex', () => {
  it('equals a brute-force TF-IDF cosine', () => {
    fc.assert(
      fc.property(texts, (all) => {
        const index = new TextIndex(all);
        for (let i = 0; i < all.length; i++) {
          for (let j = 0; j < all.length; j++) expect(index.cosine(i, j)).toBeCloseTo(bruteForce(all, i, j), 10);
        }
      }),
      { seed: 7, numRuns: 60 },
    );
  });

  it('has rows of unit norm with ascending terms, and empty rows for texts without words', () => {
    const index = new TextIndex(['red coat', 'coat coat blue', '...']);
    for (const i of [0, 1]) {
      const { terms, weights } = index.vector(i);
      expect([...terms]).toEqual([...terms].sort((a, b) => a - b));
      expect(weights.reduce((sum, weight) => sum + weight * weight, 0)).toBeCloseTo(1, 12);
    }
    expect(index.vector(2).terms.length).toBe(0);
    expect(index.cosine(2, 2)).toBe(0);
    expect(index.cosine(0, 2)).toBe(0);
    expect(index.vocabulary).toEqual(['red', 'coat', 'blue']);
    // df of coat is 2 of 3: ln(4 / 3) + 1.
    expect(index.idf[1]).toBeCloseTo(1.2876820724517808, 12);
  });

  it('survives words that are names of object members', () => {
    const index = new TextIndex(['__proto__ constructor', 'constructor', 'toString']);
    expect(index.cosine(0, 1)).toBeGreaterThan(0.3);
    expect(index.cosine(0, 2)).toBe(0);
  });

  it('refuses texts that are none and rows out of range', () => {
    expect(() => new TextIndex(['a', 5] as never)).toThrow(InvalidArgumentError);
    const index = new TextIndex(['a', 'b']);
    for (const i of [-1, 2, 0.5]) expect(() => index.cosine(0, i)).toThrow(InvalidArgumentError);
    expect(() => index.vector(9)).toThrow(InvalidArgumentError);
  });
});
