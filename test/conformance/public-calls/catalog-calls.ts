import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import {
  Catalog,
  ItemFeatures,
  parseAmazon,
  parseCoat,
  parseInteractions,
  parseItemNumbers,
  parseItems,
  parseLastfm,
  parseMovielens,
  parseTracks,
  Sequences,
  trackSequences,
} from '../../../src/index.js';
import {
  readAmazon,
  readCoat,
  readInteractions,
  readItemNumbers,
  readItems,
  readLastfm,
  readMovielens,
  readTracks,
} from '../../../src/node/index.js';
import { catalog, floats, ITEMS, id, item, seed, sequences, within } from './fixtures.js';
import { type PublicCall, publicCall } from './public-call.js';

const features = ItemFeatures.tfidf(catalog, { dimensions: 4 });
const words = { scenario: fc.constant('shop'), itemNoun: fc.constant('thing'), behavior: fc.constant('buying') };
const ITEM_CSV = 'id,title,kind\na,"red, coat",x\nb,blue coat,y\nc,shirt,x\n';
const ITEM_JSONL = '{"id":"a","title":"red"}\n{"id":"b","title":"blue"}\n';
const NUMBERS_CSV = `id,rating\n${catalog
  .ids()
  .map((name, i) => `${name},${i / 2}\n`)
  .join('')}`;
const TAKEN_CSV = 'user,item,when,stars\nu1,item-1,2,5\nu1,item-2,1,4\nu2,item-3,1,3\n';
const AMAZON_ITEMS =
  '{"0":{"title":"Screw.","brand":"A","categories":"Top,Fasteners,Screws"},"1":{"title":"Nut.","brand":"B","categories":"Top,Fasteners"}}';
const AMAZON_TAKEN = '{"u0":["0","1"],"u1":["1"]}';
const COAT = {
  train: '1 0 2\n0 3 0\n',
  truth: '1 2 3\n4 5 1\n',
  userFeatures: '1 0\n0 1\n',
  userFeatureMap: 'gender:men\ngender:women\n',
  itemFeatures: '1 0 1 1 1\n0 1 1 1 1\n1 0 1 1 1\n',
  itemFeatureMap: 'gender:men\ngender:women\njackettype:rain\ncolor:red\nonfrontpage:no\n',
};

const LASTFM = {
  artists: 'id\tname\n1\tA\n2\tB\n',
  plays: 'userID\tartistID\tweight\nu\t1\t5\nu\t2\t3\nv\t1\t2\nv\t2\t9\n',
  tags: 'tagID\ttagValue\n1\trock\n',
  taggings: 'userID\tartistID\ttagID\tday\tmonth\tyear\nu\t1\t1\t1\t4\t2009\n',
};
const MOVIELENS = {
  movies: 'movieId,title,genres\n1,A (1999),Drama\n2,B,Comedy|Drama\n',
  ratings: 'userId,movieId,rating,timestamp\nu,1,4.5,7\nu,2,4,6\nv,2,5,8\nv,1,4,9\n',
};
const TRACKS = {
  songs: '0 \tA\tX\n1 \tB\tY\n2 \tC\tX\n',
  tags: '0 1\n#\n1\n',
  tagNames: '0, rock\n1, pop\n',
};
const tracks = await parseTracks(TRACKS);

const folder = mkdtempSync(join(tmpdir(), 'ialp-public-calls-'));
const itemsFile = join(folder, 'items.csv');
const takenFile = join(folder, 'taken.csv');
const numbersFile = join(folder, 'numbers.csv');
writeFileSync(itemsFile, ITEM_CSV);
writeFileSync(takenFile, TAKEN_CSV);
writeFileSync(numbersFile, NUMBERS_CSV);
writeFileSync(join(folder, 'Scientific.item.json'), AMAZON_ITEMS);
writeFileSync(join(folder, 'Scientific.inter.json'), AMAZON_TAKEN);

for (const [name, text] of [
  ['artists.dat', LASTFM.artists],
  ['user_artists.dat', LASTFM.plays],
  ['tags.dat', LASTFM.tags],
  ['user_taggedartists.dat', LASTFM.taggings],
  ['movies.csv', MOVIELENS.movies],
  ['ratings.csv', MOVIELENS.ratings],
  ['song_hash.txt', TRACKS.songs],
  ['tags.txt', TRACKS.tags],
  ['tag_hash.txt', TRACKS.tagNames],
] as const)
  writeFileSync(join(folder, name), text);
const lastfmOptions = {
  order: fc.constantFrom('plays' as const, 'tags' as const),
  minListeners: fc.constantFrom(1, 2),
};
const movielensOptions = { minRating: fc.constantFrom(1, 4), minCount: fc.constantFrom(1, 2) };

const parsedItems = fc.record({
  format: fc.constant('csv' as const),
  source: fc.constant('items.csv'),
  delimiter: fc.constant(','),
  maxLineLength: fc.constant(1000),
  tornLastLine: fc.constantFrom('error' as const, 'skip' as const),
  idColumn: fc.constant('id'),
  ...words,
  attributes: fc.constant(['title']),
  extraAttributes: fc.constant(['kind']),
});
const readOptions = fc.record({ ...words, attributes: fc.constant(['title', 'kind']) });
const takenOptions = {
  catalog: fc.constant(catalog),
  userColumn: fc.constant('user'),
  itemColumn: fc.constant('item'),
  timestampColumn: fc.constant('when'),
  ratingColumn: fc.constant('stars'),
  minRating: fc.constantFrom(1, 4),
  unknownItems: fc.constantFrom('error' as const, 'skip' as const),
  minLength: fc.constantFrom(1, 2),
};

/** Everything of `catalog/`, and the readers of files. */
export const catalogCalls: readonly PublicCall[] = [
  publicCall('Catalog.fromItems', {
    covers: ['Catalog'],
    runs: 200,
    arguments: {
      items: fc
        .uniqueArray(seed, { minLength: 2, maxLength: 4 })
        .map((list) => list.map((n) => ({ id: `i${n}`, title: `t ${n}` }))),
      options: fc.record({ ...words, attributes: fc.constant(['title']), extraAttributes: fc.constant(['brand']) }),
    },
    call: ({ items, options }) => Catalog.fromItems(items, options).texts(),
  }),
  publicCall('Catalog look-ups', {
    covers: ['Catalog'],
    arguments: { id, index: item, name: fc.constantFrom('title', 'category') },
    call: ({ id, index, name }) => {
      catalog.has(id);
      catalog.find(id);
      catalog.attribute(index, name);
      catalog.id(index);
      catalog.text(index);
      catalog.attributeCodes(name);
      catalog.attributeValues(name);
      return catalog.indexOf(id);
    },
  }),
  publicCall('ItemFeatures.tfidf', {
    covers: ['ItemFeatures'],
    arguments: {
      catalog: fc.constant(catalog),
      options: fc.record({ dimensions: fc.constantFrom(2, 4, 100), seed, attributes: fc.constant(['title']) }),
    },
    call: ({ catalog, options }) => ItemFeatures.tfidf(catalog, options),
  }),
  publicCall('ItemFeatures.fromMatrix', {
    covers: ['ItemFeatures'],
    arguments: { matrix: floats(6), options: fc.record({ width: fc.constantFrom(2, 3), name: fc.constant('own') }) },
    call: ({ matrix, options }) => ItemFeatures.fromMatrix(matrix, options).cosine(0, 1),
  }),
  publicCall('ItemFeatures.embed', {
    covers: ['ItemFeatures'],
    arguments: {
      catalog: fc.constant(catalog),
      rows: fc.array(fc.array(fc.nat(5), { minLength: 2, maxLength: 2 }), { minLength: ITEMS, maxLength: ITEMS }),
      options: fc
        .record({ batchSize: fc.constant(ITEMS), name: fc.constant('model'), signal: fc.constant(undefined) })
        .map(({ batchSize, name }) => ({ batchSize, name })),
    },
    call: ({ catalog, rows, options }) => ItemFeatures.embed(catalog, async () => rows, options),
  }),
  publicCall('ItemFeatures.embed, its function', {
    covers: ['ItemFeatures'],
    runs: 60,
    arguments: { embed: fc.constant(async (texts: readonly string[]) => texts.map(() => [1, 2])) },
    call: ({ embed }) => ItemFeatures.embed(catalog, embed),
  }),
  publicCall('ItemFeatures rows', {
    covers: ['ItemFeatures'],
    arguments: { i: item, j: item },
    call: ({ i, j }) => [features.row(i), features.cosine(i, j)],
  }),
  publicCall('ItemFeatures.restore', {
    covers: ['ItemFeatures'],
    arguments: {
      saved: fc.constant(null).map(() => ({
        name: features.name,
        vocabulary: [...(features.vocabulary ?? [])],
        attributes: [...(features.attributes ?? [])],
        arrays: Object.fromEntries(
          Object.entries(features.toNamedArrays()).map(([name, { shape, data }]) => [
            name,
            { shape: [...shape], data },
          ]),
        ),
      })),
      source: fc.constant('policy.safetensors'),
    },
    call: ({ saved, source }) => ItemFeatures.restore(saved, source),
  }),
  publicCall('ItemFeatures.transform', {
    covers: ['ItemFeatures'],
    arguments: {
      catalog: fc.constant(catalog),
      origin: fc
        .array(fc.integer({ min: -1, max: ITEMS - 1 }), { minLength: ITEMS, maxLength: ITEMS })
        .map((list) => Int32Array.from(list)),
    },
    call: ({ catalog, origin }) => features.transform(catalog, origin),
  }),
  publicCall('Sequences.from', {
    covers: ['Sequences'],
    runs: 200,
    arguments: {
      lists: fc.array(fc.array(item, { minLength: 1, maxLength: 3 }), { minLength: 2, maxLength: 2 }),
      options: fc.record({ itemCount: fc.constant(ITEMS), users: fc.constant(['u', 'v']) }),
    },
    call: ({ lists, options }) => Sequences.from(lists, options).counts(),
  }),
  publicCall('Sequences.split', {
    covers: ['Sequences'],
    arguments: {
      options: fc.record({
        seed,
        fractions: fc.constant([0.5, 0.25, 0.25]),
        by: fc.constantFrom('user' as const, 'sequence' as const),
      }),
    },
    call: ({ options }) => sequences.split(options),
  }),
  publicCall('Sequences, its methods', {
    covers: ['Sequences'],
    arguments: { i: fc.nat(19), parts: fc.constant([sequences, sequences]), catalog: fc.constant(catalog) },
    call: ({ i, parts, catalog }) => [sequences.sequence(i), Sequences.concat(parts), sequences.statistics(catalog)],
  }),
  publicCall('parseItems, CSV', {
    covers: ['parseItems'],
    runs: 300,
    arguments: { input: fc.constant(ITEM_CSV), options: parsedItems },
    call: ({ input, options }) => parseItems(input, options),
  }),
  publicCall('parseItems, JSONL in chunks', {
    covers: ['parseItems'],
    arguments: {
      input: fc.constantFrom([ITEM_JSONL], [ITEM_JSONL.slice(0, 20), ITEM_JSONL.slice(20)]),
      options: fc.record({ format: fc.constant('jsonl' as const), ...words, attributes: fc.constant(['title']) }),
    },
    call: ({ input, options }) => parseItems(input, options),
  }),
  publicCall('parseItemNumbers', {
    covers: ['parseItemNumbers'],
    runs: 200,
    arguments: {
      input: fc.constant(NUMBERS_CSV),
      options: fc.record({
        format: fc.constant('csv' as const),
        catalog: fc.constant(catalog),
        idColumn: fc.constant('id'),
        valueColumn: fc.constant('rating'),
        source: fc.constant('ratings.csv'),
      }),
    },
    call: ({ input, options }) => parseItemNumbers(input, options),
  }),
  publicCall('readItemNumbers', {
    covers: ['readItemNumbers'],
    runs: 80,
    arguments: { path: fc.constant(numbersFile), options: fc.record({ catalog: fc.constant(catalog) }) },
    call: ({ path, options }) => readItemNumbers(path, options),
  }),
  publicCall('parseInteractions', {
    covers: ['parseInteractions'],
    runs: 300,
    arguments: {
      input: fc.constant(TAKEN_CSV),
      options: fc.record({ format: fc.constant('csv' as const), ...takenOptions }),
    },
    call: ({ input, options }) => parseInteractions(input, options),
  }),
  publicCall('readItems', {
    covers: ['readItems'],
    arguments: { path: fc.constant(itemsFile), options: readOptions },
    call: ({ path, options }) => readItems(path, options),
  }),
  publicCall('readInteractions', {
    covers: ['readInteractions'],
    arguments: { path: fc.constant(takenFile), options: fc.record(takenOptions) },
    call: ({ path, options }) => readInteractions(path, options),
  }),
  publicCall('parseAmazon', {
    covers: ['parseAmazon'],
    arguments: {
      itemsJson: fc.constant(AMAZON_ITEMS),
      interactionsJson: fc.constant(AMAZON_TAKEN),
      options: fc.record({
        category: fc.constantFrom('leaf' as const, 'path' as const),
        itemsSource: fc.constant('a'),
        interactionsSource: fc.constant('b'),
      }),
    },
    call: ({ itemsJson, interactionsJson, options }) => parseAmazon(itemsJson, interactionsJson, options),
  }),
  publicCall('parseAmazon, the items', {
    covers: ['parseAmazon'],
    arguments: {
      items: fc.constant(JSON.parse(AMAZON_ITEMS) as Record<string, unknown>),
      taken: fc.constant(JSON.parse(AMAZON_TAKEN) as Record<string, unknown>),
    },
    call: ({ items, taken }) => parseAmazon(asJson(items), asJson(taken)),
  }),
  publicCall('readAmazon', {
    covers: ['readAmazon'],
    arguments: {
      folder: fc.constant(folder),
      options: fc.record({ category: fc.constantFrom('leaf' as const, 'path' as const) }),
    },
    call: ({ folder, options }) => readAmazon(folder, options),
  }),
  publicCall('parseCoat', {
    covers: ['parseCoat'],
    runs: 300,
    arguments: {
      files: fc.constant({ ...COAT, test: COAT.train }),
      options: fc.record({
        attributes: fc.constantFrom('paper' as const, 'gender+paper' as const),
        sources: fc.constant({ train: 'train', truth: 'truth' }),
      }),
    },
    call: ({ files, options }) => parseCoat(files, options),
  }),
  publicCall('parseLastfm', {
    covers: ['parseLastfm'],
    arguments: {
      files: fc.constant({ ...LASTFM }),
      options: fc.record({ ...lastfmOptions, sources: fc.constant({ plays: 'plays' }) }),
    },
    call: ({ files, options }) => parseLastfm(files, options),
  }),
  publicCall('parseMovielens', {
    covers: ['parseMovielens'],
    arguments: {
      files: fc.constant({ ...MOVIELENS }),
      options: fc.record({ ...movielensOptions, sources: fc.constant({ movies: 'movies' }) }),
    },
    call: ({ files, options }) => parseMovielens(files, options),
  }),
  publicCall('parseTracks', {
    covers: ['parseTracks'],
    arguments: {
      files: fc.constant({ ...TRACKS }),
      options: fc.record({ count: fc.constantFrom(2, 9), sources: fc.constant({ songs: 'songs' }) }),
    },
    call: ({ files, options }) => parseTracks(files, options),
  }),
  publicCall('trackSequences', {
    covers: ['trackSequences'],
    // What parseTracks gives; how many it left out is only told.
    takesNaN: /^data\.untitled$/,
    arguments: {
      data: fc.constant({ ...tracks }),
      options: fc.record({
        count: fc.constantFrom(1, 5),
        meanLength: fc.constantFrom(2, 3.5),
        maxLength: fc.constantFrom(2, 3),
        sameArtist: within(0, 0.5),
        sameTag: within(0, 0.5),
        seed,
      }),
    },
    call: ({ data, options }) => trackSequences(data, options),
  }),
  publicCall('readLastfm, readMovielens and readTracks', {
    covers: ['readLastfm', 'readMovielens', 'readTracks'],
    runs: 60,
    arguments: {
      folder: fc.constant(folder),
      lastfm: fc.record(lastfmOptions),
      movielens: fc.record(movielensOptions),
      tracks: fc.record({ count: fc.constantFrom(2, 9) }),
    },
    call: async ({ folder, lastfm, movielens, tracks }) => {
      await readLastfm(folder, lastfm);
      await readMovielens(folder, movielens);
      await readTracks(folder, tracks);
    },
  }),
  publicCall('readCoat', {
    covers: ['readCoat'],
    runs: 60,
    arguments: {
      folder: fc.constant(folder),
      options: fc.record({ attributes: fc.constantFrom('paper' as const, 'gender+paper' as const) }),
    },
    call: async ({ folder: given, options }) => {
      if (given === folder && options?.attributes !== undefined) return parseCoat(COAT);
      return readCoat(given, options);
    },
  }),
];

/** JSON of what JSON can hold: a changed value may be none. */
function asJson(value: unknown): string {
  return (
    JSON.stringify(value, (_key, inner: unknown) => (typeof inner === 'bigint' ? String(inner) : inner)) ?? 'undefined'
  );
}
