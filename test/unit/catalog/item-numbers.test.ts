import { describe, expect, it } from 'vitest';
import { Catalog } from '../../../src/catalog/catalog.js';
import { parseItemNumbers } from '../../../src/catalog/own-data.js';
import { InvalidDataError } from '../../../src/foundation/errors.js';

const catalog = Catalog.fromItems(
  [{ id: 'a' }, { id: 'b' }, { id: 'c' }].map((item) => ({ ...item, title: item.id })),
  {
    ...{ scenario: 'shop', itemNoun: 'thing', behavior: 'purchase', attributes: ['title'] },
  },
);
const csv = (text: string, more = {}) =>
  parseItemNumbers(text, { catalog, format: 'csv', source: 'prior.csv', ...more });

describe('parseItemNumbers', () => {
  it('puts numbers in the order of the catalogue, whatever the order of the file', async () => {
    expect([...(await csv('note,rating,id\nx,3,c\ny,-1.5,a\nz,2e1,b\n'))]).toEqual([-1.5, 20, 3]);
    const jsonl = ['c', 'a', 'b'].map((id, i) => JSON.stringify({ id, stars: i })).join('\n');
    const numbers = await parseItemNumbers(jsonl, { catalog, format: 'jsonl', valueColumn: 'stars' });
    expect([...numbers]).toEqual([1, 2, 0]);
  });

  it.each([
    ['id,rating\na,1\nb,2\n', /each of 3 items, got 2.*none for .*c/s],
    ['id,rating\na,1\nb,2\nc,3\nd,4\n', /prior\.csv:5.*an item of the catalogue/s],
    ['id,rating\na,1\na,2\n', /prior\.csv:3.*each id once/s],
    ['id,rating\na,NaN\nb,2\nc,3\n', /prior\.csv:2/],
    ['id,rating\na,\nb,2\nc,3\n', /prior\.csv:2/],
    ['id,score\na,1\n', /rating/],
  ])('refuses %j, and says where', async (text, message) => {
    const refused = csv(text);
    await expect(refused).rejects.toBeInstanceOf(InvalidDataError);
    await expect(refused).rejects.toThrow(message);
  });
});
