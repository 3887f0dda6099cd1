import { describe, expect, it } from 'vitest';
import { Catalog, type Item } from '../../../src/catalog/catalog.js';
import { ItemFeatures } from '../../../src/catalog/item-features.js';
import { syntheticData } from '../../../src/catalog/synthetic.js';
import { TextIndex, words } from '../../../src/catalog/text-index.js';
import { InvalidArgumentError } from '../../../src/foundation/errors.js';
import { Rng } from '../../../src/foundation/rng.js';

const shop = { scenario: 'shop', itemNoun: 'coat', behavior: 'purchase', attributes: ['title', 'brand'] };
const coats: Item[] = [
  { id: 'a', title: 'Red rain coat', brand: 'North Wind' },
  { id: 'b', title: 'Blue coat', brand: 'North Wind' },
  { id: 'c', title: 'Blue scarf wind', brand: 'Solo' },
  { id: 'd' },
];

/** The terms as documented: words of every attribute, and whole values that two items share. */
function terms(catalog: Catalog): string[][] {
  const whole = (i: number, name: string) => `${name}=${words(catalog.attribute(i, name)).join(' ')}`;
  return Array.from({ length: catalog.size }, (_, i) =>
    catalog.attributes.flatMap((name) => {
      const list = words(catalog.attribute(i, name));
      const twins = Array.from({ length: catalog.size }, (_, j) => whole(j, name)).filter(
        (value) => value === whole(i, name),
      );
      return list.length > 0 && twins.length > 1 ? [...list, whole(i, name)] : list;
    }),
  );
}

function correlation(x: number[], y: number[]): number {
  const mean = (list: number[]) => list.reduce((sum, value) => sum + value, 0) / list.length;
  const [mx, my] = [mean(x), mean(y)];
  const covariance = (a: number[], ma: number, b: number[], mb: number) =>
    mean(a.map((value, i) => (value - ma) * ((b[i] as number) - mb)));
  return covariance(x, mx, y, my) / Math.sqrt(covariance(x, mx, x, mx) * covariance(y, my, y, my));
}

function refused(run: () => unknown): InvalidArgumentError {
  try {
    run();
  } catch (error) {
    expect(error).toBeInstanceOf(InvalidArgumentError);
    return error as InvalidArgumentError;
  }
  throw new Error('nothing was thrown');
}

describe('ItemFeatures.tfidf', () => {
  it('is exact while the vocabulary fits: cosines equal a brute-force loop over the documented terms', () => {
    const catalog = Catalog.fromItems(coats, shop);
    const features = ItemFeatures.tfidf(catalog);
    const exact = new TextIndex({ tokens: terms(catalog) });
    expect(features.width).toBe(exact.vocabulary.length);
    for (let i = 0; i < 4; i++) {
      for (let j = 0; j < 4; j++) expect(features.cosine(i, j)).toBeCloseTo(exact.cosine(i, j), 6);
    }
    // Equal brand weighs more than an equal word: "wind" is in both pairs.
    expect(features.cosine(0, 1)).toBeGreaterThan(features.cosine(0, 2));
    expect([...features.row(3)].every((value) => value === 0)).toBe(true);
    expect(features.cosine(3, 3)).toBe(0);
  });

  it('approximates the cosines in fewer dimensions, far better than a random projection, and shuffled rows not at all', () => {
    const { catalog } = syntheticData({ items: 400, categories: 40, seed: 5 });
    const exact = new TextIndex({ tokens: terms(catalog) });
    expect(exact.vocabulary.length).toBeGreaterThan(150);
    const features = ItemFeatures.tfidf(catalog, { dimensions: 32 });
    expect(features.width).toBe(32);
    const rng = new Rng(1);
    const projected = new Float64Array(400 * 32);
    const directions = Float64Array.from({ length: exact.vocabulary.length * 32 }, () => rng.normal());
    for (let i = 0; i < 400; i++) {
      const { terms, weights } = exact.vector(i);
      for (const [n, term] of terms.entries()) {
        for (let k = 0; k < 32; k++) {
          projected[i * 32 + k] =
            (projected[i * 32 + k] as number) + (weights[n] as number) * (directions[term * 32 + k] as number);
        }
      }
    }
    const random = ItemFeatures.fromMatrix(projected, { width: 32 });
    const order = rng.shuffle(Int32Array.from({ length: 400 }, (_, i) => i));
    const lists: { exact: number[]; svd: number[]; random: number[]; shuffled: number[] } = {
      exact: [],
      svd: [],
      random: [],
      shuffled: [],
    };
    for (let i = 0; i < 400; i++) {
      for (let j = 0; j < i; j++) {
        lists.exact.push(exact.cosine(i, j));
        lists.svd.push(features.cosine(i, j));
        lists.random.push(random.cosine(i, j));
        lists.shuffled.push(features.cosine(order[i] as number, order[j] as number));
      }
    }
    const svd = correlation(lists.exact, lists.svd);
    const projection = correlation(lists.exact, lists.random);
    expect(svd).toBeGreaterThan(0.75);
    expect(svd).toBeGreaterThan(projection + 0.1);
    expect(Math.abs(correlation(lists.exact, lists.shuffled))).toBeLessThan(0.05);
  });

  it('loses nothing when the dimensions reach the rank', () => {
    const { catalog } = syntheticData({ items: 60, categories: 30, seed: 2 });
    const exact = new TextIndex({ tokens: terms(catalog) });
    // More terms than items: the rank is at most 60, and so is the width.
    expect(exact.vocabulary.length).toBeGreaterThan(70);
    const features = ItemFeatures.tfidf(catalog, { dimensions: 70 });
    expect(features.width).toBe(60);
    let worst = 0;
    for (let i = 0; i < 60; i++) {
      for (let j = 0; j < 60; j++) worst = Math.max(worst, Math.abs(features.cosine(i, j) - exact.cosine(i, j)));
    }
    expect(worst).toBeLessThan(1e-5);
  });

  it('has rows of unit norm, the same for the same seed, and nearly the same cosines for another', () => {
    const { catalog } = syntheticData({ items: 200, categories: 20, seed: 4 });
    const one = ItemFeatures.tfidf(catalog, { dimensions: 40, seed: 1 });
    for (let i = 0; i < one.itemCount; i++) {
      expect(one.row(i).reduce((sum, value) => sum + value * value, 0)).toBeCloseTo(1, 5);
    }
    expect(ItemFeatures.tfidf(catalog, { dimensions: 40, seed: 1 }).matrix).toEqual(one.matrix);
    const other = ItemFeatures.tfidf(catalog, { dimensions: 40, seed: 2 });
    let worst = 0;
    for (let i = 0; i < 200; i++)
      for (let j = 0; j < i; j++) worst = Math.max(worst, Math.abs(one.cosine(i, j) - other.cosine(i, j)));
    expect(worst).toBeLessThan(0.05);
  });

  it('reads the attributes it is told to', () => {
    const catalog = Catalog.fromItems(coats, shop);
    const brands = ItemFeatures.tfidf(catalog, { attributes: ['brand'] });
    expect(brands.cosine(0, 1)).toBeCloseTo(1, 6);
    expect(brands.cosine(0, 2)).toBe(0);
  });

  it('refuses unknown attributes, bad options and items without a word', () => {
    const catalog = Catalog.fromItems(coats, shop);
    expect(refused(() => ItemFeatures.tfidf(catalog, { attributes: ['brnad'] })).message).toContain(
      'did you mean "brand"',
    );
    refused(() => ItemFeatures.tfidf(catalog, { dimensions: 0 }));
    refused(() => ItemFeatures.tfidf(catalog, { dimension: 5 } as never));
    const mute = Catalog.fromItems([{ id: 'a', title: '!' }, { id: 'b' }], shop);
    expect(refused(() => ItemFeatures.tfidf(mute)).argument).toBe('catalog');
  });
});

describe('ItemFeatures.fromMatrix', () => {
  it('normalises a copy', () => {
    const given = Float32Array.from([3, 4, 0, 0, 1e-30, 0]);
    const features = ItemFeatures.fromMatrix(given, { width: 2, name: 'mine' });
    expect([...features.matrix]).toEqual([Math.fround(0.6), Math.fround(0.8), 0, 0, 1, 0]);
    expect(given[0]).toBe(3);
    expect(features).toMatchObject({ name: 'mine', width: 2, itemCount: 3 });
    expect([...ItemFeatures.fromMatrix([1e300, 1e300], { width: 2 }).matrix][0]).toBeCloseTo(Math.SQRT1_2, 6);
  });

  it.each([
    ['a length that is no multiple', [1, 2, 3], 2, 'matrix'],
    ['nothing', [], 2, 'matrix'],
    ['NaN', [1, 2, 3, Number.NaN], 2, 'matrix[3] (row 1, column 1)'],
    ['Infinity', Float32Array.from([Number.POSITIVE_INFINITY, 1]), 1, 'matrix[0] (row 0, column 0)'],
    ['text', 'matrix', 2, 'matrix'],
  ])('refuses %s', (_, matrix, width, argument) => {
    expect(refused(() => ItemFeatures.fromMatrix(matrix as number[], { width })).argument).toBe(argument);
  });
});

describe('ItemFeatures.embed', () => {
  const catalog = Catalog.fromItems(coats, shop);
  const embedder = (texts: readonly string[]) => Promise.resolve(texts.map((text) => [text.length, 1]));

  it('asks in batches, in order, and normalises', async () => {
    const asked: (readonly string[])[] = [];
    const features = await ItemFeatures.embed(
      catalog,
      (texts) => {
        asked.push(texts);
        return embedder(texts);
      },
      { batchSize: 3 },
    );
    expect(asked).toEqual([catalog.texts().slice(0, 3), catalog.texts().slice(3)]);
    expect(features.row(3)[0]).toBeCloseTo(Math.SQRT1_2, 6);
  });

  it('stops at an abort with its reason', async () => {
    const controller = new AbortController();
    const reason = new Error('enough');
    let calls = 0;
    const run = ItemFeatures.embed(
      catalog,
      (texts) => {
        calls++;
        controller.abort(reason);
        return embedder(texts);
      },
      { batchSize: 1, signal: controller.signal },
    );
    await expect(run).rejects.toBe(reason);
    expect(calls).toBe(1);
  });

  it.each([
    ['too few rows', () => [[1]], 'embed'],
    ['no array', () => 'x', 'embed'],
    ['a row that is none', () => [[1], null, [1], [1]], 'the embedding of item 1 (id "b")'],
    ['rows of two lengths', () => [[1], [1], [1, 2], [1]], 'the embedding of item 2 (id "c")'],
    ['a number that is none', () => [[1], [1], [1], [Number.NaN]], 'the embedding of item 3 (id "d")'],
  ])('refuses %s', async (_, rows, argument) => {
    const run = ItemFeatures.embed(catalog, () => Promise.resolve(rows() as number[][]));
    await expect(run).rejects.toMatchObject({ code: 'INVALID_ARGUMENT', argument });
  });

  it("lets the embedder's own failure through", async () => {
    const failure = new Error('rate limit');
    await expect(ItemFeatures.embed(catalog, () => Promise.reject(failure))).rejects.toBe(failure);
  });
});
