import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Catalog, type Item } from '../../../src/catalog/catalog.js';
import {
  type ParseInteractionsOptions,
  type ParseItemsOptions,
  parseInteractions,
  parseItems,
} from '../../../src/catalog/own-data.js';
import type { TextSource } from '../../../src/catalog/text-source.js';
import { IalpError, InvalidArgumentError, InvalidDataError } from '../../../src/foundation/errors.js';

const words = { scenario: 'music', itemNoun: 'track', behavior: 'listening', attributes: ['title', 'artist'] };
const csv: ParseItemsOptions = { ...words, format: 'csv', source: 'items.csv' };
const jsonl: ParseItemsOptions = { ...words, format: 'jsonl', source: 'items.jsonl' };
const catalog = Catalog.fromItems([{ id: 'a' }, { id: 'b' }, { id: 'track-17' }], words);
const events: ParseInteractionsOptions = { catalog, format: 'csv', source: 'events.csv' };

async function* chunks(text: string, size: number, asBytes: boolean): AsyncGenerator<string | Uint8Array> {
  const all: string | Uint8Array = asBytes ? new TextEncoder().encode(text) : text;
  for (let start = 0; start < all.length; start += size) yield all.slice(start, start + size);
}

async function failure(promise: Promise<unknown>): Promise<IalpError> {
  try {
    await promise;
  } catch (error) {
    expect(error).toBeInstanceOf(IalpError);
    return error as IalpError;
  }
  throw new Error('nothing was thrown');
}

const lists = (result: Awaited<ReturnType<typeof parseInteractions>>) =>
  Object.fromEntries((result.sequences.users ?? []).map((user, i) => [user, [...result.sequences.sequence(i)]]));

describe('parseItems', () => {
  it('reads CSV with quotes, line breaks within them, CRLF, a byte order mark, empty lines and columns not asked for', async () => {
    const text = '\ufeffid,year,title,artist\r\na,1999,"Blue, ""deep""","Ann\r\nBo"\r\n\r\nb,,Größe,\r\n"c",1,"",x';
    const read = await parseItems(text, csv);
    expect(read.ids()).toEqual(['a', 'b', 'c']);
    expect(read.attribute(0, 'title')).toBe('Blue, "deep"');
    expect(read.attribute(0, 'artist')).toBe('Ann\nBo');
    expect(read.texts()).toEqual(['Blue, "deep"; Ann Bo', 'Größe', 'x']);
  });

  it('gives back any catalogue written as CSV or JSONL, however the stream is cut', async () => {
    const value = fc.oneof(
      fc.string({ maxLength: 12, unit: 'grapheme' }),
      fc.constantFrom('"', 'a,b', 'x\ny', ' ', '""', "'", '\ufeff', '😀'),
    );
    const items = fc.uniqueArray(
      fc.record({ id: fc.string({ minLength: 1, maxLength: 8, unit: 'grapheme' }), title: value, artist: value }),
      { selector: (item) => item.id, minLength: 2, maxLength: 8 },
    );
    const quote = (text: string) => (/[",\n\r]/.test(text) || text === '' ? `"${text.replaceAll('"', '""')}"` : text);
    const toCsv = (all: Item[]) =>
      [
        'id,title,artist',
        ...all.map((item) => [item.id, item.title ?? '', item.artist ?? ''].map(quote).join(',')),
      ].join('\n');
    await fc.assert(
      fc.asyncProperty(
        items,
        fc.integer({ min: 1, max: 9 }),
        fc.boolean(),
        fc.boolean(),
        async (all, size, asBytes, ended) => {
          // CRLF within quotes is read as LF; lone surrogates have no UTF-8.
          const clean = all.map((item) => ({
            ...item,
            title: item.title.replaceAll('\r', ''),
            artist: item.artist.replaceAll('\r', ''),
            id: item.id.replaceAll('\r', '?'),
          }));
          fc.pre(new Set(clean.map((item) => item.id)).size === clean.length);
          const expected = await Catalog.fromItems(clean, words).fingerprint();
          const end = ended ? '\n' : '';
          const fromCsv = await parseItems(chunks(toCsv(clean) + end, asBytes ? size : size + 1, asBytes), csv);
          expect(await fromCsv.fingerprint()).toBe(expected);
          const lines = clean.map((item) => JSON.stringify(item)).join('\n') + end;
          expect(await (await parseItems(chunks(lines, size, asBytes), jsonl)).fingerprint()).toBe(expected);
        },
      ),
      { seed: 7, numRuns: 150 },
    );
  });

  it('takes numbers and missing attributes from JSONL', async () => {
    const read = await parseItems('{"id":7,"title":1999,"other":{}}\n\n{"id":"__proto__","artist":null}\n', jsonl);
    expect(read.ids()).toEqual(['7', '__proto__']);
    expect(read.text(0)).toBe('1999');
    expect(read.attribute(1, 'artist')).toBe('');
  });

  it('reads TSV, another id column and extra attributes', async () => {
    const options = { ...csv, delimiter: '\t', idColumn: 'sku', extraAttributes: ['genre'] };
    const read = await parseItems('sku\ttitle\tartist\tgenre\nx1\tA, b\tB\tpop\nx2\tC\tD\tpop\n', options);
    expect(read.indexOf('x2')).toBe(1);
    expect([...read.attributeCodes('genre')]).toEqual([0, 0]);
  });

  it('leaves a torn last line out only when asked to', async () => {
    const good = 'id,title,artist\na,A,x\nb,B,y\n';
    for (const torn of ['c,C', 'c,"C', 'c']) {
      expect(await failure(parseItems(good + torn, csv))).toMatchObject({ code: 'INVALID_DATA', line: 4 });
      expect((await parseItems(good + torn, { ...csv, tornLastLine: 'skip' })).size).toBe(2);
      // The same line, ended, is not torn but wrong.
      expect(await failure(parseItems(`${good}${torn}\nd,D,z\n`, { ...csv, tornLastLine: 'skip' }))).toBeInstanceOf(
        InvalidDataError,
      );
    }
    const lines = '{"id":"a"}\n{"id":"b"}\n{"id":"c","ti';
    expect(await failure(parseItems(lines, jsonl))).toMatchObject({ line: 3, column: 14 });
    expect((await parseItems(lines, { ...jsonl, tornLastLine: 'skip' })).size).toBe(2);
  });

  const bytes = (...parts: (string | number)[]) =>
    Uint8Array.from(parts.flatMap((part) => (typeof part === 'number' ? [part] : [...new TextEncoder().encode(part)])));
  const wrong: [string, TextSource, ParseItemsOptions, Partial<InvalidDataError>][] = [
    ['an empty file', '', csv, { source: 'items.csv', line: 1 }],
    ['only a header', 'id,title,artist\n', csv, { source: 'items.csv' }],
    ['one item', 'id,title,artist\na,A,x\n', csv, { source: 'items.csv' }],
    ['a column that is not there', 'id,titel,artist\na,A,x\n', csv, { line: 1, field: 'title' }],
    ['no id column', 'key,title,artist\na,A,x\n', csv, { line: 1, field: 'id' }],
    ['a column twice', 'id,title,artist,title\na,A,x,B\n', csv, { line: 1, column: 4, field: 'title' }],
    ['a record too short', 'id,title,artist\na,A,x\nb,B\nc,C,z\n', csv, { line: 3, column: 3 }],
    ['a record too long', 'id,title,artist\na,A,x,9\nb,B,y\n', csv, { line: 2, column: 4 }],
    ['an id twice', 'id,title,artist\na,A,x\nb,B,y\na,C,z\n', csv, { line: 4, column: 1, field: 'id' }],
    ['an empty id', 'title,id,artist\nA,a,x\nB,,y\n', csv, { line: 3, column: 2, field: 'id' }],
    [
      'an id of 513 characters',
      `id,title,artist\n${'i'.repeat(513)},A,x\nb,B,y\n`,
      csv,
      { line: 2, column: 1, field: 'id' },
    ],
    ['a quote within a field', 'id,title,artist\na,A,x\nb,B "b" c,y\n', csv, { line: 3, column: 2 }],
    ['text after a quote', 'id,title,artist\na,"A"b,x\n', csv, { line: 2, column: 2 }],
    ['text after a quote, further down', 'id,title,artist\na,"A\nA",x\n\nb,"B\nB"b,y\n', csv, { line: 6, column: 2 }],
    ['a quote never closed', 'id,title,artist\na,A,x\nb,"B,y\nc,C,z\n', csv, { line: 3 }],
    [
      'a record that never ends',
      `id,title,artist\na,"${'A\n'.repeat(60)}`,
      { ...csv, maxLineLength: 100 },
      { line: 2 },
    ],
    ['a line that never ends', `id,title,artist\na,${'A'.repeat(200)}`, { ...csv, maxLineLength: 100 }, { line: 2 }],
    ['bytes that are no UTF-8', bytes('id,title,artist\na,A,', 0xff, ',x\n'), csv, { source: 'items.csv', line: 1 }],
    ['bytes cut within a character', bytes('id,title,artist\na,A,x\nb,B,', 0xc3), csv, { line: 3 }],
    ['UTF-16', bytes(0xff, 0xfe, 'i', 0, 'd', 0), csv, { line: 1 }],
    [
      'a JSONL line that is no JSON',
      '{"id":"a"}\n{"id":b}\n{"id":"c"}\n',
      jsonl,
      { source: 'items.jsonl', line: 2, column: 7 },
    ],
    ['a JSONL line that is a list', '{"id":"a"}\n["b"]\n', jsonl, { line: 2, column: 1 }],
    ['a JSONL line that is null', 'null\n', jsonl, { line: 1, column: 1 }],
    ['a JSONL object over two lines', '{"id":"a",\n"title":"x"}\n', jsonl, { line: 1 }],
    ['a JSONL record without id', '{"id":"a"}\n{"ID":"b"}\n', jsonl, { line: 2, field: 'id' }],
    ['a JSONL id that is null', '{"id":"a"}\n{"id":null}\n', jsonl, { line: 2, field: 'id' }],
    ['a JSONL id that is true', '{"id":true}\n', jsonl, { line: 1, field: 'id' }],
    ['a JSONL id twice, as number and text', '{"id":1}\n{"id":"1"}\n', jsonl, { line: 2, field: 'id' }],
    ['a JSONL attribute that is an object', '{"id":"a","title":{}}\n', jsonl, { line: 1, field: 'title' }],
    ['a JSONL attribute that is infinite', '{"id":"a","title":1e999}\n', jsonl, { line: 1, field: 'title' }],
  ];
  it.each(wrong)('refuses %s and says where', async (_, text, options, place) => {
    const error = await failure(parseItems(text, options));
    expect(error).toBeInstanceOf(InvalidDataError);
    expect(error).toMatchObject(place);
    const { source, line, column } = error as InvalidDataError;
    expect(
      error.message.startsWith([source, line, line && column].filter((part) => part !== undefined).join(':')),
    ).toBe(true);
  });

  it('suggests the column that was meant', async () => {
    expect((await failure(parseItems('id,titel,artist\n', csv))).message).toContain('did you mean "titel"');
  });

  it.each([
    ['an unknown format', { ...csv, format: 'xml' }],
    ['a delimiter of two characters', { ...csv, delimiter: ';;' }],
    ['a quote as delimiter', { ...csv, delimiter: '"' }],
    ['an attribute twice', { ...csv, attributes: ['title', 'title'] }],
    ['an unknown option', { ...csv, columns: [] }],
    ['no scenario', { ...csv, scenario: '' }],
  ])('refuses %s before it reads', async (_, options) => {
    let read = false;
    const input = (async function* () {
      read = true;
      yield 'id';
    })();
    expect(await failure(parseItems(input, options as ParseItemsOptions))).toBeInstanceOf(InvalidArgumentError);
    expect(read).toBe(false);
  });

  it.each([[5], [null], [[1, 2]], [{}]])('refuses the input %j', async (input) => {
    expect(await failure(parseItems(input as never, csv))).toBeInstanceOf(InvalidArgumentError);
  });

  it("lets a stream's own failure through", async () => {
    const reason = new Error('connection lost');
    const input = (async function* () {
      yield 'id,title,artist\n';
      throw reason;
    })();
    await expect(parseItems(input, csv)).rejects.toBe(reason);
  });

  it('throws nothing untyped, whatever the bytes', async () => {
    const alphabet = fc.constantFrom(
      '"',
      ',',
      '\n',
      '\r',
      'a',
      'b',
      ' ',
      '{',
      '}',
      '[',
      ':',
      '\\',
      '1',
      '\u0000',
      'id',
      'é',
    );
    const noise = fc.array(alphabet, { maxLength: 40 }).map((list) => list.join(''));
    let sound = 0;
    await fc.assert(
      fc.asyncProperty(
        noise,
        fc.constantFrom('id,title,artist\nx,1,2\ny,3,4\n', '{"id":"x"}\n{"id":"y"}\n'),
        async (text, head) => {
          try {
            await parseItems(head + text, head.startsWith('id') ? csv : jsonl);
            sound++;
          } catch (error) {
            expect(error).toBeInstanceOf(IalpError);
          }
        },
      ),
      { seed: 7, numRuns: 600 },
    );
    expect(sound).toBeGreaterThan(5);
  });
});

describe('parseInteractions', () => {
  it("collects a user's records wherever they stand, in the file's order", async () => {
    const read = await parseInteractions('user,item\nu1,a\nu2,track-17\nu1,b\nu1,a\n', events);
    expect(lists(read)).toEqual({ u1: [0, 1, 0], u2: [2] });
    expect(read).toMatchObject({ records: 4, unknownItems: 0, belowRating: 0, shortUsers: 0, tornLines: 0 });
  });

  it('orders by timestamp, ties by file', async () => {
    const text = 'when,user,item\n3,u,a\n-1,u,b\n3,u,track-17\n1.5e0,u,a\n';
    expect(lists(await parseInteractions(text, { ...events, timestampColumn: 'when' }))).toEqual({ u: [1, 0, 0, 2] });
  });

  it('leaves out and counts unknown items, low ratings and short users', async () => {
    const text = 'user,item,stars\nu,a,5\nu,zzz,5\nu,b,2\nv,b,4\nv,a,4\nw,zzz,1\n';
    const options = { ...events, ratingColumn: 'stars', minRating: 3, unknownItems: 'skip', minLength: 2 } as const;
    const read = await parseInteractions(text, options);
    expect(lists(read)).toEqual({ v: [1, 0] });
    expect(read).toMatchObject({ records: 6, unknownItems: 2, belowRating: 1, shortUsers: 1 });
  });

  it('reads JSONL with numbers as ids, ratings as text, and a torn end', async () => {
    const text = '{"user":1,"item":"a","t":"2"}\n{"user":"1","item":"b","t":1}\n{"user":"1","it';
    const read = await parseInteractions(text, {
      ...events,
      format: 'jsonl',
      timestampColumn: 't',
      tornLastLine: 'skip',
    });
    expect(lists(read)).toEqual({ '1': [1, 0] });
    expect(read).toMatchObject({ records: 2, tornLines: 1 });
  });

  const rated = { ...events, ratingColumn: 'stars', timestampColumn: 'when' } as const;
  const lines = { ...events, format: 'jsonl', source: 'events.jsonl', ratingColumn: 'stars' } as const;
  const head = 'user,item,stars,when\n';
  it.each([
    ['an unknown item', 'user,item\nu,a\nu,track-71\n', events, { line: 3, column: 2, field: 'item' }],
    ['an empty user', 'user,item\n,a\n', events, { line: 2, column: 1, field: 'user' }],
    ['an empty item', 'user,item\nu,\n', events, { line: 2, column: 2, field: 'item' }],
    ['a rating that is a word', `${head}u,a,five,1\n`, rated, { line: 2, column: 3, field: 'stars' }],
    ['an empty rating', `${head}u,a,,1\n`, rated, { line: 2, column: 3, field: 'stars' }],
    ['a rating that is infinite', `${head}u,a,Infinity,1\n`, rated, { line: 2, column: 3, field: 'stars' }],
    ['a rating beyond all numbers', `${head}u,a,1e999,1\n`, rated, { line: 2, column: 3, field: 'stars' }],
    ['a timestamp that is a date', `${head}u,a,5,1\nu,b,5,2024-01-01\n`, rated, { line: 3, column: 4, field: 'when' }],
    ['a timestamp in hexadecimal', `${head}u,a,5,0x10\n`, rated, { line: 2, column: 4, field: 'when' }],
    ['no timestamp column', 'user,item,stars\nu,a,5\n', rated, { line: 1, field: 'when' }],
    [
      'a JSONL rating that is a list',
      '{"user":"u","item":"a","stars":[5]}\n',
      lines,
      { source: 'events.jsonl', line: 1, field: 'stars' },
    ],
    ['a JSONL record without rating', '{"user":"u","item":"a","star":5}\n', lines, { line: 1, field: 'stars' }],
    ['a JSONL item that is an object', '{"user":"u","item":{},"stars":5}\n', lines, { line: 1, field: 'item' }],
  ] as [string, string, ParseInteractionsOptions, Partial<InvalidDataError>][])(
    'refuses %s and says where',
    async (_, text, options, place) => {
      const error = await failure(parseInteractions(text, options));
      expect(error).toBeInstanceOf(InvalidDataError);
      expect(error).toMatchObject(place);
    },
  );

  it('suggests the item that was meant', async () => {
    expect((await failure(parseInteractions('user,item\nu,track-71\n', events))).message).toContain(
      'did you mean "track-17"',
    );
  });

  it('refuses a least rating without a rating column, and what is no catalogue', async () => {
    expect(await failure(parseInteractions('', { ...events, minRating: 3 }))).toMatchObject({
      argument: 'ratingColumn',
    });
    expect(await failure(parseInteractions('', { ...events, catalog: {} as never }))).toBeInstanceOf(
      InvalidArgumentError,
    );
  });
});
