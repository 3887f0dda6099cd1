/** Wrong files. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { InvalidDataError, parseAmazon, parseCoat, parseItems } from '../../../src/index.js';
import { readCoat, readInteractions, readItems } from '../../../src/node/index.js';
import { catalog } from '../public-calls/fixtures.js';
import { badInputs, folder, words } from './case.js';

const file = (name: string, text: string | Uint8Array): string => {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
};
const items = (name: string, text: string | Uint8Array) => readItems(file(name, text), words);
const taken = (name: string, text: string, options: object = {}) =>
  readInteractions(file(name, text), { catalog, ...options });

/** Wrong files of the user's own. */
export const ownFiles = badInputs(InvalidDataError, [
  [
    'items: no such file',
    () => readItems(join(folder, 'nowhere.csv'), words),
    { source: join(folder, 'nowhere.csv') },
    /there is none/,
  ],
  [
    'items: an empty file',
    () => items('empty.csv', ''),
    { source: join(folder, 'empty.csv'), line: 1 },
    /empty\.csv:1: expected a header line/,
  ],
  [
    'items: a misspelt column',
    () => items('column.csv', 'id,titel\na,x\nb,y\n'),
    { line: 1, field: 'title' },
    /expected a column "title".*did you mean "titel"/,
  ],
  [
    'items: a column twice',
    () => items('twice.csv', 'id,title,title\na,x,y\n'),
    { line: 1, column: 3, field: 'title' },
    /each column once/,
  ],
  [
    'items: a record too short',
    () => items('short.csv', 'id,title\na,x\nb\n'),
    { line: 3, column: 2 },
    /short\.csv:3:2: expected 2 fields, got 1/,
  ],
  [
    'items: a record too long',
    () => items('long.csv', 'id,title\na,x,z\n'),
    { line: 2, column: 3 },
    /expected 2 fields, got 3/,
  ],
  ['items: a quote within a field', () => items('quote.csv', 'id,title\na,re"d\nb,y"\n'), { line: 2 }, /quote/],
  ['items: a quote never closed', () => items('open.csv', 'id,title\na,"red\nb,blue\n'), { line: 2 }, /closing quote/],
  [
    'items: an empty id',
    () => items('id.csv', 'id,title\n,red\nb,blue\n'),
    { line: 2, column: 1, field: 'id' },
    /an id of 1 to 512 characters/,
  ],
  [
    'items: an id twice',
    () => items('same.csv', 'id,title\na,red\na,blue\n'),
    { line: 3, column: 1, field: 'id' },
    /which line 2 has too/,
  ],
  [
    'items: one item',
    () => items('one.csv', 'id,title\na,red\n'),
    { source: join(folder, 'one.csv') },
    /at least 2 items, got 1/,
  ],
  [
    'items: bytes that are no UTF-8',
    () => items('latin.csv', Uint8Array.of(0x69, 0x64, 0x0a, 0xe9, 0x0a)),
    { source: join(folder, 'latin.csv') },
    /UTF-8/,
  ],
  [
    'items: a JSONL line that is no JSON',
    () => items('bad.jsonl', '{"id":"a"}\n{"id":"b",}\n'),
    { line: 2, column: 11 },
    /bad\.jsonl:2:11: expected JSON/,
  ],
  [
    'items: a JSONL line that is a list',
    () => items('list.jsonl', '["a"]\n'),
    { line: 1, column: 1 },
    /expected an object/,
  ],
  [
    'items: a JSONL field of the wrong type',
    () => items('type.jsonl', '{"id":"a","title":{"x":1}}\n'),
    { line: 1, field: 'title' },
    /a string or a finite number/,
  ],
  [
    'items: a line without end',
    () => parseItems('x'.repeat(100), { ...words, format: 'csv', maxLineLength: 16 }),
    { source: 'input', line: 1 },
    /at most 16 characters/,
  ],
  [
    'interactions: an unknown item',
    () => taken('unknown.csv', 'user,item\nu,item-1\nu,item-99\n'),
    { line: 3, column: 2, field: 'item' },
    /did you mean "item-9"/,
  ],
  [
    'interactions: a rating in words',
    () => taken('stars.csv', 'user,item,stars\nu,item-1,five\n', { ratingColumn: 'stars' }),
    { line: 2, column: 3, field: 'stars' },
    /a finite number, got "five"/,
  ],
  [
    'interactions: a NaN timestamp',
    () => taken('when.csv', 'user,item,when\nu,item-1,NaN\n', { timestampColumn: 'when' }),
    { line: 2, column: 3, field: 'when' },
    /a finite number/,
  ],
  [
    'interactions: an empty user',
    () => taken('user.csv', 'user,item\n,item-1\n'),
    { line: 2, column: 1, field: 'user' },
    /a user/,
  ],
  [
    'interactions: a JSONL record without its user',
    () => taken('no.jsonl', '{"usr":"u","item":"item-1"}\n'),
    { line: 1, field: 'user' },
    /did you mean "usr"/,
  ],
]);

const coat = {
  train: '1 0 2\n0 3 0\n',
  truth: '1 2 3\n4 5 1\n',
  userFeatures: '1 0\n0 1\n',
  userFeatureMap: 'gender:men\ngender:women\n',
  itemFeatures: '1 0 1 1 1\n0 1 1 1 1\n1 0 1 1 1\n',
  itemFeatureMap: 'gender:men\ngender:women\njackettype:rain\ncolor:red\nonfrontpage:no\n',
};
const ITEM = '{"0":{"title":"a","brand":"b","categories":"Top,Leaf"},"1":{"title":"c"}}';

/** Wrong files of the two data sets. */
export const dataSets = badInputs(InvalidDataError, [
  [
    'coat: no folder',
    () => readCoat(join(folder, 'coat')),
    { source: join(folder, 'coat', 'train.ascii') },
    /there is none/,
  ],
  [
    'coat: a word for a rating',
    () => parseCoat({ ...coat, train: '1 0 x\n0 3 0\n' }),
    { source: 'train.ascii', line: 1, column: 3 },
    /an integer from 0 to 5, got "x"/,
  ],
  [
    'coat: a rating of 6',
    () => parseCoat({ ...coat, truth: '1 2 3\n4 6 1\n' }),
    { source: 'coat_pseudoGT_ratingM.ascii', line: 2, column: 2 },
    /an integer from 1 to 5/,
  ],
  ['coat: a NaN rating', () => parseCoat({ ...coat, truth: '1 NaN 3\n4 5 1\n' }), { line: 1, column: 2 }, /got "NaN"/],
  [
    'coat: a line too short',
    () => parseCoat({ ...coat, truth: '1 2 3\n4 5\n' }),
    { line: 2, column: 3 },
    /expected 3 numbers, got 2/,
  ],
  ['coat: a line missing', () => parseCoat({ ...coat, truth: '1 2 3\n' }), { line: 2 }, /expected 2 lines, got 1/],
  [
    'coat: two genders',
    () => parseCoat({ ...coat, userFeatures: '1 1\n0 1\n' }),
    { source: 'user_item_features/user_features.ascii', line: 1, column: 2, field: 'gender' },
    /exactly one 1/,
  ],
  [
    'coat: a map without values',
    () => parseCoat({ ...coat, userFeatureMap: 'gender\ngender:women\n' }),
    { source: 'user_item_features/user_features_map.txt', line: 1, column: 1 },
    /attribute:value/,
  ],
  [
    'coat: no colours',
    () => parseCoat({ ...coat, itemFeatureMap: coat.itemFeatureMap.replace('color', 'hue') }),
    { source: 'user_item_features/item_features_map.txt', field: 'color' },
    /color/,
  ],
  [
    'amazon: items cut off',
    () => parseAmazon(ITEM.slice(0, 30), '{}'),
    { source: 'Scientific.item.json', line: 1, column: 31 },
    /the end of the text/,
  ],
  [
    'amazon: items as a list',
    () => parseAmazon('[]', '{}'),
    { source: 'Scientific.item.json', line: 1, column: 1 },
    /expected an object/,
  ],
  [
    'amazon: a title that is a number',
    () => parseAmazon(ITEM.replace('"a"', '7'), '{}'),
    { source: 'Scientific.item.json', field: '"0".title' },
    /a string, got 7/,
  ],
  [
    'amazon: an item that is not there',
    () => parseAmazon(ITEM, '{"u":["0","7"]}'),
    { source: 'Scientific.inter.json', field: '"u"[1]' },
    /place 1, got "7"/,
  ],
  [
    'amazon: a user without items',
    () => parseAmazon(ITEM, '{"u":[]}'),
    { source: 'Scientific.inter.json', field: '"u"' },
    /an empty list/,
  ],
]);
