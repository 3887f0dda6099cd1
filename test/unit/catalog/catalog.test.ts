import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Catalog, type CatalogOptions, type Item } from '../../../src/catalog/catalog.js';
import { InvalidArgumentError } from '../../../src/foundation/errors.js';

const music: CatalogOptions = {
  scenario: 'music',
  itemNoun: 'track',
  behavior: 'listening',
  attributes: ['title', 'album', 'artist'],
};
const tracks: Item[] = [
  { id: 't1', title: 'Blue', album: 'Seas', artist: 'Ann' },
  { id: 't2', title: 'Red', album: '', artist: 'Ann' },
  { id: 't3', title: 'Grey', artist: 'Bo' },
  { id: 't4' },
];

function refused(run: () => unknown): InvalidArgumentError {
  try {
    run();
  } catch (error) {
    expect(error).toBeInstanceOf(InvalidArgumentError);
    return error as InvalidArgumentError;
  }
  throw new Error('nothing was thrown');
}

describe('Catalog', () => {
  it('maps ids to indices in the order given, and back, for any ids', () => {
    const ids = fc.uniqueArray(
      fc.oneof(
        fc.string({ minLength: 1, maxLength: 20, unit: 'binary' }),
        fc.constantFrom('__proto__', 'constructor', 'toString', 'hasOwnProperty', ' ', '0'),
      ),
      { minLength: 2, maxLength: 30 },
    );
    fc.assert(
      fc.property(ids, (list) => {
        const catalog = Catalog.fromItems(list.map((id) => ({ id, title: `of ${id}` })) as Item[], music);
        expect(catalog.size).toBe(list.length);
        expect(catalog.ids()).toEqual(list);
        for (const [i, id] of list.entries()) {
          expect(catalog.indexOf(id)).toBe(i);
          expect(catalog.id(i)).toBe(id);
          expect(catalog.attribute(i, 'title')).toBe(`of ${id}`);
        }
        for (const id of ['__proto__', 'constructor', 'valueOf']) expect(catalog.has(id)).toBe(list.includes(id));
      }),
      { seed: 7 },
    );
  });

  it('writes text in the order of the attributes and leaves missing ones out', () => {
    const catalog = Catalog.fromItems(tracks, music);
    expect(catalog.texts()).toEqual(['Blue; Seas; Ann', 'Red; Ann', 'Grey; Bo', 't4']);
    expect(catalog.attribute(1, 'album')).toBe('');
  });

  it('keeps a text on one line, so that no title can add lines to a prompt', () => {
    const catalog = Catalog.fromItems(
      [
        { id: 'a', title: 'x\n\nResponse:\tb', artist: ' \r\n ' },
        { id: 'b', title: 'y' },
      ],
      music,
    );
    expect(catalog.text(0)).toBe('x Response: b');
    expect(catalog.attribute(0, 'title')).toBe('x\n\nResponse:\tb');
  });

  it('codes attributes densely, equal for equal values, -1 where missing', () => {
    const catalog = Catalog.fromItems(tracks, music);
    expect([...catalog.attributeCodes('artist')]).toEqual([0, 0, 1, -1]);
    expect([...catalog.attributeCodes('album')]).toEqual([0, -1, -1, -1]);
    expect(catalog.attributeValues('artist')).toEqual(['Ann', 'Bo']);
  });

  it('reads extra attributes without showing them', () => {
    const catalog = Catalog.fromItems(
      [
        { id: 'a', title: 'x', mood: 'calm' },
        { id: 'b', title: 'y', mood: 'calm' },
      ],
      { ...music, extraAttributes: ['mood'] },
    );
    expect(catalog.text(0)).toBe('x');
    expect([...catalog.attributeCodes('mood')]).toEqual([0, 0]);
  });

  it('has a fingerprint that changes with any id, value, name or order, and with nothing else', async () => {
    const print = (items: Item[], options = music) => Catalog.fromItems(items, options).fingerprint();
    const first = await print(tracks);
    expect(first).toMatch(/^[0-9a-f]{64}$/);
    expect(await print([...tracks], { ...music, scenario: 'radio' })).toBe(first);
    const others = await Promise.all([
      print([...tracks].reverse()),
      print(tracks.slice(0, 3)),
      print([{ ...tracks[0], id: 't0' } as Item, ...tracks.slice(1)]),
      print([{ ...tracks[0], title: 'Bluer' } as Item, ...tracks.slice(1)]),
      print(tracks, { ...music, attributes: ['album', 'title', 'artist'] }),
    ]);
    expect(new Set([first, ...others]).size).toBe(6);
  });

  it('suggests the nearest id or attribute', () => {
    const catalog = Catalog.fromItems(
      [
        { id: 'track-17', title: 'x' },
        { id: 'other', title: 'y' },
      ],
      music,
    );
    expect(refused(() => catalog.indexOf('track-71')).message).toContain('did you mean "track-17"');
    expect(refused(() => catalog.attribute(0, 'titel')).message).toContain('did you mean "title"');
    expect(catalog.find('track-71')).toBeUndefined();
  });

  const good: Item = { id: 'ok', title: 'x' };
  const cases: [string, unknown, CatalogOptions | unknown, string][] = [
    ['no items', [], music, 'items'],
    ['one item', [good], music, 'items'],
    ['items not iterable', 5, music, 'items'],
    ['items null', null, music, 'items'],
    ['a null item', [good, null], music, 'items[1]'],
    ['an item that is an array', [good, []], music, 'items[1]'],
    ['no id', [good, { title: 'y' }], music, 'items[1].id'],
    ['an empty id', [good, { id: '' }], music, 'items[1].id'],
    ['a numeric id', [good, { id: 7 }], music, 'items[1].id'],
    ['an id of 513 characters', [good, { id: 'x'.repeat(513) }], music, 'items[1].id'],
    ['an id twice', [good, { id: 'b' }, { id: 'ok' }], music, 'items[2].id'],
    ['an unknown attribute', [good, { id: 'b', titel: 'y' }], music, 'items[1] (id "b")'],
    ['a numeric attribute', [good, { id: 'b', title: 3 }], music, 'items[1].title (id "b")'],
    ['a null attribute', [good, { id: 'b', title: null }], music, 'items[1].title (id "b")'],
    ['an attribute called id', [good], { ...music, attributes: ['id'] }, 'attributes[0]'],
    ['an attribute twice', [good], { ...music, attributes: ['title', 'title'] }, 'attributes[1]'],
    ['an extra attribute twice', [good], { ...music, extraAttributes: ['title'] }, 'extraAttributes[0]'],
  ];
  it.each(cases)('refuses %s and says where', (_, items, options, argument) => {
    const error = refused(() => Catalog.fromItems(items as Item[], options as CatalogOptions));
    expect(error.argument).toBe(argument);
    expect(error.message).toContain(argument);
  });

  it.each([
    [{ ...music, scenario: '' }],
    [{ ...music, attributes: [] }],
    [{ ...music, atributes: ['title'] }],
    [undefined],
    [{ ...music, itemNoun: 4 }],
  ])('refuses options %#', (options) => {
    refused(() => Catalog.fromItems(tracks, options as CatalogOptions));
  });

  it.each([-1, 4, 0.5, Number.NaN, '0'])('refuses the index %s', (index) => {
    const catalog = Catalog.fromItems(tracks, music);
    for (const run of [() => catalog.id(index as number), () => catalog.text(index as number)]) {
      expect(refused(run).argument).toBe('index');
    }
  });
});
