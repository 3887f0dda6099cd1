import { describe, expect, it } from 'vitest';
import { categoryPath, parseAmazon } from '../../../src/catalog/amazon.js';
import { InvalidArgumentError, InvalidDataError } from '../../../src/foundation/errors.js';

const items = {
  '0': { title: 'Wood screw.', brand: 'Kreg', categories: 'Industrial,Fasteners,Screws', description: 'x' },
  '1': { title: 'Dial 0.001', brand: '', categories: 'Industrial,Test, Measure & Inspect,Indicators' },
  '2': { title: 'Thing.', brand: 'Solo', categories: '' },
  '3': { title: 'Other', brand: 'Solo', categories: 'Industrial' },
};
const interactions = { u1: [0, 1], u2: [3, '2', 0] };
const parse = (a: unknown, b: unknown, options = {}) => parseAmazon(JSON.stringify(a), JSON.stringify(b), options);

describe('parseAmazon', () => {
  it('reads items and sequences', () => {
    const { catalog, sequences } = parse(items, interactions);
    expect(catalog.ids()).toEqual(['0', '1', '2', '3']);
    expect(catalog.texts()).toEqual([
      'Wood screw; Screws; Kreg',
      'Dial 0.001; Indicators',
      'Thing; Solo',
      'Other; Solo',
    ]);
    expect(catalog.attributeValues('level2')).toEqual(['Fasteners', 'Test, Measure & Inspect']);
    expect([...catalog.attributeCodes('level2')]).toEqual([0, 1, -1, -1]);
    expect([...sequences.sequence(1)]).toEqual([3, 2, 0]);
    expect(sequences.users).toEqual(['u1', 'u2']);
  });

  it('shows the category path when asked to', () => {
    const { catalog } = parse(items, interactions, { category: 'path' });
    expect(catalog.attribute(1, 'category')).toBe('Test, Measure & Inspect > Indicators');
    expect(catalog.attribute(1, 'leaf')).toBe('Indicators');
  });

  it('keeps commas that belong to a name', () => {
    expect(categoryPath('A,Hydraulics, Pneumatics & Plumbing,Tubing, Pipe & Hose,Pipe')).toEqual([
      'A',
      'Hydraulics, Pneumatics & Plumbing',
      'Tubing, Pipe & Hose',
      'Pipe',
    ]);
    expect(categoryPath('')).toEqual([]);
  });

  it.each([
    [
      'items that are no JSON',
      '{"0": {"title": "a"},\n "1": }',
      '{}',
      { source: 'Scientific.item.json', line: 2, column: 7 },
    ],
    ['items cut off', '{"0": {"title": "a', '{}', { source: 'Scientific.item.json', line: 1, column: 19 }],
    [
      'items with a bad escape',
      '{"0": {"title": "a\\x"}}',
      '{}',
      { source: 'Scientific.item.json', line: 1, column: 19 },
    ],
    ['items with a bad word', '{"0": tru}', '{}', { source: 'Scientific.item.json', line: 1, column: 7 }],
    ['items with a comma too many', '{"0": [1,]}', '{}', { source: 'Scientific.item.json', line: 1, column: 10 }],
    ['something after the items', '{} {}', '{}', { source: 'Scientific.item.json', line: 1, column: 4 }],
    ['an empty file', '', '{}', { source: 'Scientific.item.json', line: 1, column: 1 }],
    ['items in a list', '[]', '{}', { source: 'Scientific.item.json', line: 1, column: 1 }],
    ['one item', '{"0": {"title": "a"}}', '{}', { source: 'Scientific.item.json' }],
    ['an item that is a string', '{"0": {}, "1": "b"}', '{}', { source: 'Scientific.item.json', field: '"1"' }],
    ['a numeric title', '{"0": {}, "1": {"title": 5}}', '{}', { source: 'Scientific.item.json', field: '"1".title' }],
    ['a null brand', '{"0": {}, "1": {"brand": null}}', '{}', { source: 'Scientific.item.json', field: '"1".brand' }],
    [
      'interactions that are no JSON',
      JSON.stringify(items),
      '{"u": [0 1]}',
      { source: 'Scientific.inter.json', line: 1, column: 10 },
    ],
    ['an unknown item', JSON.stringify(items), '{"u": [0, 4]}', { source: 'Scientific.inter.json', field: '"u"[1]' }],
    [
      'an item that is a fraction',
      JSON.stringify(items),
      '{"u": [0.5]}',
      { source: 'Scientific.inter.json', field: '"u"[0]' },
    ],
    ['an empty sequence', JSON.stringify(items), '{"u": []}', { source: 'Scientific.inter.json', field: '"u"' }],
    ['a sequence that is none', JSON.stringify(items), '{"u": 3}', { source: 'Scientific.inter.json', field: '"u"' }],
    ['a user without a name', JSON.stringify(items), '{"": [0]}', { source: 'Scientific.inter.json', field: '""' }],
  ])('refuses %s and says where', (_, itemsJson, interactionsJson, place) => {
    let error: unknown;
    try {
      parseAmazon(itemsJson, interactionsJson);
    } catch (thrown) {
      error = thrown;
    }
    expect(error).toBeInstanceOf(InvalidDataError);
    expect(error).toMatchObject(place);
  });

  it('refuses what is no text, and unknown options', () => {
    expect(() => parseAmazon(undefined as never, '{}')).toThrow(InvalidArgumentError);
    expect(() => parse(items, interactions, { category: 'top' })).toThrow(InvalidArgumentError);
  });
});
