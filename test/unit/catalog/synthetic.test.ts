import { beforeAll, describe, expect, it } from 'vitest';
import { type SyntheticData, syntheticData } from '../../../src/catalog/synthetic.js';
import { TextIndex } from '../../../src/catalog/text-index.js';
import { InvalidArgumentError } from '../../../src/foundation/errors.js';
import { Rng } from '../../../src/foundation/rng.js';

const mean = (list: ArrayLike<number>) => Array.from(list).reduce((sum, value) => sum + value, 0) / list.length;

describe('syntheticData', () => {
  let data: SyntheticData;
  beforeAll(() => {
    data = syntheticData({ seed: 1 });
  });

  it('has text, unit vectors, z-scores and codes of the documented shapes', () => {
    const { catalog, vectors, popularity, categoryCodes } = data;
    expect(catalog).toMatchObject({ size: 600, attributes: ['title', 'category', 'brand', 'style'] });
    for (let i = 0; i < 600; i++) {
      expect(Math.hypot(...vectors.subarray(i * 8, i * 8 + 8))).toBeCloseTo(1, 5);
      expect(catalog.text(i).split('; ')).toHaveLength(4);
    }
    expect(new Set(catalog.texts()).size).toBe(600);
    expect(mean(popularity)).toBeCloseTo(0, 5);
    expect(mean(popularity.map((value) => value * value))).toBeCloseTo(1, 5);
    expect(new Set(categoryCodes).size).toBe(12);
    // A category code and a category name mean the same.
    const named = catalog.attributeCodes('category');
    const pairs = new Set(Array.from(named, (code, i) => `${code}/${categoryCodes[i]}`));
    expect(pairs.size).toBe(12);
    expect(catalog.attributeValues('brand').length).toBeGreaterThan(20);
    expect(catalog.attributeValues('style')).toHaveLength(10);
  });

  it('is calibrated: mean reward 0.4, and 4.6 for the best 12 of each user, on users it was not solved on', () => {
    for (const seed of [1, 2, 3]) {
      const world = syntheticData({ seed });
      const rng = new Rng(100 + seed);
      const all: number[] = [];
      const best: number[] = [];
      for (let u = 0; u < 400; u++) {
        const rewards = world.rewards(world.drawUser(rng).vector);
        all.push(mean(rewards));
        best.push(mean(rewards.slice().sort().subarray(-12)));
      }
      expect(mean(all)).toBeGreaterThan(0.36);
      expect(mean(all)).toBeLessThan(0.44);
      expect(mean(best)).toBeGreaterThan(4.5);
      expect(mean(best)).toBeLessThan(4.7);
    }
  });

  it('is the same world for the same seed and another for another', async () => {
    const again = syntheticData({ seed: 1 });
    const other = syntheticData({ seed: 2 });
    expect(await again.catalog.fingerprint()).toBe(await data.catalog.fingerprint());
    expect(again.vectors).toEqual(data.vectors);
    expect([again.a, again.b]).toEqual([data.a, data.b]);
    expect(await other.catalog.fingerprint()).not.toBe(await data.catalog.fingerprint());
    const { vector } = data.drawUser(new Rng(5));
    expect(again.rewards(vector)).toEqual(data.rewards(vector));
    expect(other.reward(vector, 3)).not.toBe(data.reward(vector, 3));
  });

  it('pays a user the same for the same item, and rewards() agrees with reward()', () => {
    const { vector, liked } = data.drawUser(new Rng(9));
    expect(liked).toHaveLength(3);
    expect(new Set(liked).size).toBe(3);
    expect(Math.hypot(...vector)).toBeCloseTo(1, 5);
    const all = data.rewards(vector);
    for (const item of [0, 17, 599]) {
      expect(data.reward(vector, item)).toBe(all[item]);
      expect(data.reward(Float32Array.from(vector), item)).toBe(all[item]);
      expect(all[item]).toBeCloseTo(5 / (1 + Math.exp(-data.a * (data.base(vector, item) - data.b))), 12);
    }
    for (const reward of all) expect(reward >= 0 && reward <= 5).toBe(true);
  });

  it('has noise that is standard normal over users and items, and not the same for two users', () => {
    const rng = new Rng(3);
    const noise: number[] = [];
    const perUser: number[][] = [];
    for (let u = 0; u < 60; u++) {
      const { vector } = data.drawUser(rng);
      const row = Array.from({ length: 600 }, (_, i) => {
        const taste = vector.reduce((sum, value, d) => sum + value * (data.vectors[i * 8 + d] as number), 0);
        return (data.base(vector, i) - 4.4 * taste - 0.35 * (data.popularity[i] as number)) / 0.3;
      });
      noise.push(...row);
      perUser.push(row);
    }
    expect(Math.abs(mean(noise))).toBeLessThan(0.02);
    expect(mean(noise.map((value) => value ** 2))).toBeCloseTo(1, 1);
    expect(Math.abs(mean(noise.map((value) => value ** 3)))).toBeLessThan(0.06);
    expect(mean(noise.map((value) => value ** 4))).toBeGreaterThan(2.8);
    expect(mean(noise.map((value) => value ** 4))).toBeLessThan(3.2);
    const [first, second] = perUser as [number[], number[]];
    expect(Math.abs(mean(first.map((value, i) => value * (second[i] as number))))).toBeLessThan(0.15);
  });

  it('tells enough of the taste in its text: a reader of it picks the best of 10 well above chance, of shuffled text at chance', () => {
    const index = new TextIndex(data.catalog.texts());
    const rng = new Rng(11);
    const order = rng.shuffle(Int32Array.from({ length: 600 }, (_, i) => i));
    const hits = { text: 0, shuffled: 0 };
    const queries = 2000;
    for (let q = 0; q < queries; q++) {
      const { vector, liked } = data.drawUser(rng);
      const candidates = [...rng.sample(600, 13)].filter((item) => !liked.includes(item)).slice(0, 10);
      const best = (score: (item: number) => number) =>
        candidates.reduce((top, item) => (score(item) > score(top) ? item : top));
      const read = (row: (item: number) => number) => (item: number) => {
        const cosines = Array.from(liked, (other) => index.cosine(row(item), row(other)));
        return 0.5 * Math.max(...cosines) + 0.5 * mean(cosines);
      };
      const right = best((item) => data.reward(vector, item));
      if (best(read((item) => item)) === right) hits.text++;
      if (best(read((item) => order[item] as number)) === right) hits.shuffled++;
    }
    expect(hits.text / queries).toBeGreaterThan(0.22);
    expect(hits.shuffled / queries).toBeLessThan(0.13);
  });

  it('depends on the generator it is given alone when it draws a user', () => {
    expect(data.drawUser(new Rng(4))).toEqual(data.drawUser(new Rng(4)));
    expect(data.drawUser(new Rng(4))).not.toEqual(data.drawUser(new Rng(5)));
  });

  it('makes small and large worlds', () => {
    expect(syntheticData({ items: 50, categories: 2 }).catalog.size).toBe(50);
    const large = syntheticData({ items: 5000, categories: 40, seed: 'x' });
    expect(new Set(large.catalog.attributeCodes('category')).size).toBe(40);
  });

  it('refuses options and arguments out of range', () => {
    for (const options of [{ items: 10 }, { categories: 1 }, { seed: 1.5 }, { item: 600 }]) {
      expect(() => syntheticData(options as never)).toThrow(InvalidArgumentError);
    }
    const { vector } = data.drawUser(new Rng(1));
    for (const item of [-1, 600, 0.5]) expect(() => data.reward(vector, item)).toThrow(InvalidArgumentError);
    expect(() => data.reward(new Float32Array(7), 0)).toThrow(InvalidArgumentError);
    expect(() => data.reward([1] as never, 0)).toThrow(InvalidArgumentError);
    expect(() => data.rewards(vector, new Float64Array(3))).toThrow(InvalidArgumentError);
  });
});
