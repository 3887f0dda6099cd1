import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ItemFeatures } from '../../../src/catalog/item-features.js';
import { TextIndex } from '../../../src/catalog/text-index.js';
import { InvalidArgumentError, InvalidDataError } from '../../../src/foundation/errors.js';
import { readAmazon, readCoat, readInteractions, readItems } from '../../../src/node/read-data.js';
import { sharedData } from '../../shared-data.js';

const words = { scenario: 'music', itemNoun: 'track', behavior: 'listening', attributes: ['title'] };

describe('readers from disk', () => {
  let folder: string;
  const file = async (name: string, text: string | Uint8Array) => {
    await writeFile(join(folder, name), text);
    return join(folder, name);
  };
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'ialp-read-'));
  });
  afterAll(() => rm(folder, { recursive: true }));

  it('read items and interactions of either format, told by the ending', async () => {
    const items = [
      await file('items.csv', 'id,title\na,A\nb,B\n'),
      await file('items.tsv', 'id\ttitle\na\tA\nb\tB\n'),
      await file('items.ndjson', '{"id":"a","title":"A"}\n{"id":"b","title":"B"}\n'),
    ];
    const catalogs = await Promise.all(items.map((path) => readItems(path, words)));
    const prints = await Promise.all(catalogs.map((catalog) => catalog.fingerprint()));
    expect(new Set(prints).size).toBe(1);
    const catalog = catalogs[0] as (typeof catalogs)[0];
    const path = await file('events.jsonl', '{"user":"u","item":"b"}\n{"user":"u","item":"a"}\n');
    const { sequences } = await readInteractions(path, { catalog });
    expect([...sequences.sequence(0)]).toEqual([1, 0]);
    const plain = await file('events.txt', 'user;item\nu;a\n');
    expect((await readInteractions(plain, { catalog, format: 'csv', delimiter: ';' })).records).toBe(1);
  });

  it('read a file larger than a chunk, with characters across its edges', async () => {
    const lines = Array.from({ length: 20_000 }, (_, i) => `é${i},"größe, ${i}"`);
    const catalog = await readItems(await file('large.csv', `id,title\n${lines.join('\n')}\n`), words);
    expect(catalog.size).toBe(20_000);
    expect(catalog.text(19_999)).toBe('größe, 19999');
  });

  it('name the path and line of what is wrong', async () => {
    const path = await file('bad.csv', 'id,title\na,A\na,B\n');
    await expect(readItems(path, words)).rejects.toThrow(`${path}:3:1: `);
  });

  it('name a file that is missing or a folder, and an ending that tells nothing', async () => {
    const missing = join(folder, 'none.csv');
    await expect(readItems(missing, words)).rejects.toMatchObject({ code: 'INVALID_DATA', source: missing });
    await expect(readItems(folder, { ...words, format: 'csv' })).rejects.toMatchObject({
      code: 'INVALID_DATA',
      source: folder,
    });
    await expect(readCoat(folder)).rejects.toBeInstanceOf(InvalidDataError);
    await expect(readCoat(folder)).rejects.toThrow('train.ascii');
    await expect(readAmazon(folder)).rejects.toThrow('Scientific.item.json');
    await expect(readItems(join(folder, 'items.txt'), words)).rejects.toMatchObject({ argument: 'format' });
    for (const path of ['', 5, undefined, 'a\0b']) {
      await expect(readItems(path as string, words)).rejects.toBeInstanceOf(InvalidArgumentError);
      await expect(readCoat(path as string)).rejects.toBeInstanceOf(InvalidArgumentError);
    }
    await expect(readItems(missing, undefined as never)).rejects.toBeInstanceOf(InvalidArgumentError);
  });

  it('say which file is not UTF-8', async () => {
    await file('Scientific.inter.json', Uint8Array.of(0xff));
    await file('Scientific.item.json', '{}');
    await expect(readAmazon(folder)).rejects.toMatchObject({ source: join(folder, 'Scientific.inter.json') });
  });
});

const coat = sharedData('coat');
describe.skipIf(coat === undefined)('the real Coat', () => {
  it('has the counts of its README', async () => {
    const data = await readCoat(coat as string);
    expect(data).toMatchObject({
      users: 290,
      items: 300,
      trainRatings: 6960,
      testRatings: 4640,
      userFeatureWidth: 14,
      itemFeatureWidth: 33,
    });
    const histogram = (matrix: Float32Array) =>
      [1, 2, 3, 4, 5].map((rating) => matrix.filter((value) => value === rating).length);
    expect(histogram(data.train)).toEqual([1901, 1437, 1717, 1275, 630]);
    expect(histogram(data.test as Float32Array)).toEqual([1879, 899, 1002, 641, 219]);
    expect(data.truth.reduce((sum, value) => sum + value, 0) / data.truth.length).toBeCloseTo(2.234, 3);
    for (let u = 0; u < 290; u++)
      expect(data.train.subarray(u * 300, (u + 1) * 300).filter((value) => value > 0)).toHaveLength(24);
    expect(data.catalog.attributeValues('gender')).toHaveLength(2);
    expect(data.catalog.attributeValues('type').length).toBeLessThanOrEqual(16);
    expect([...data.catalog.attributeCodes('colour')]).not.toContain(-1);
  });
});

const industrial = sharedData('industrial');
describe.skipIf(industrial === undefined)('the real Amazon data', () => {
  it('has the counts of its README', async () => {
    const { catalog, sequences } = await readAmazon(industrial as string);
    expect(sequences.statistics(catalog)).toMatchObject({
      items: 4344,
      itemsSeen: 4344,
      sequences: 8317,
      users: 8317,
      interactions: 58_492,
      attributes: ['title', 'category', 'brand'],
      minLength: 5,
      medianLength: 6,
      maxLength: 78,
    });
    expect(Math.min(...sequences.counts())).toBeGreaterThanOrEqual(5);
    // The README's 1,547 counts the missing brand as one.
    expect(catalog.attributeValues('brand')).toHaveLength(1546);
    expect(catalog.attributeCodes('brand').filter((code) => code >= 0)).toHaveLength(4332);
    // "Test, Measure & Inspect" and its like are one name each.
    expect(catalog.attributeValues('level2')).toHaveLength(25);
    expect(catalog.attributeValues('level2')).toContain('Test, Measure & Inspect');
    expect(catalog.attributeCodes('level2').filter((code) => code >= 0)).toHaveLength(4213);
    expect(catalog.indexOf('4343')).toBe(4343);
  });

  it('is reduced to 128 text features in seconds, whose cosines follow the exact ones', async () => {
    const { catalog } = await readAmazon(industrial as string);
    const start = performance.now();
    const features = ItemFeatures.tfidf(catalog);
    // 1.6 s alone; the bound leaves room for a machine that does other things too.
    expect(performance.now() - start).toBeLessThan(15_000);
    expect(features).toMatchObject({ width: 128, itemCount: 4344 });
    // Of the nearest item by features, is the exact cosine high too? Against a random other item.
    const exact = new TextIndex(catalog.texts());
    let near = 0;
    let other = 0;
    for (let i = 0; i < 200; i++) {
      let best = -1;
      for (let j = 0; j < features.itemCount; j++) {
        if (j !== i && (best < 0 || features.cosine(i, j) > features.cosine(i, best))) best = j;
      }
      near += exact.cosine(i, best) / 200;
      other += exact.cosine(i, (i * 37 + 101) % 4344) / 200;
    }
    expect(near).toBeGreaterThan(0.3);
    expect(other).toBeLessThan(0.05);
  });
});
