import { describe, expect, it } from 'vitest';
import { type LastfmFiles, type LastfmOptions, parseLastfm } from '../../../src/catalog/lastfm.js';
import { type MovielensFiles, type MovielensOptions, parseMovielens } from '../../../src/catalog/movielens.js';
import { parseTracks, type TracksFiles, type TracksOptions, trackSequences } from '../../../src/catalog/tracks.js';
import { InvalidArgumentError, InvalidDataError } from '../../../src/foundation/errors.js';
import { readLastfm, readMovielens, readTracks } from '../../../src/node/read-data.js';
import { sharedData } from '../../shared-data.js';

const LASTFM = {
  artists: 'id\tname\turl\tpictureURL\n1\tThe "Quoted"\tu\tp\n2\tDüne\tu\tp\n9\tRare\tu\tp\n',
  plays: 'userID\tartistID\tweight\r\n2\t1\t10\r\n2\t2\t30\r\n2\t9\t20\r\n3\t1\t7\r\n3\t2\t7\r\n',
  tags: Uint8Array.from('tagID\ttagValue\r\n1\trock\r\n2\tcaf\u00e9\r\n', (c) => c.charCodeAt(0)),
  taggings:
    'userID\tartistID\ttagID\tday\tmonth\tyear\r\n2\t1\t2\t1\t5\t2009\r\n2\t2\t1\t1\t4\t2009\r\n3\t1\t2\t1\t4\t2009\r\n3\t1\t1\t1\t1\t2010\r\n3\t77\t1\t1\t4\t2009\r\n',
};
const MOVIELENS = {
  movies:
    'movieId,title,genres\n1,Toy Story (1995),Adventure|Comedy\n5,"Heat, The",(no genres listed)\n8,Rare (2001),Drama\n',
  ratings: 'userId,movieId,rating,timestamp\n1,5,2.5,200\n1,1,4.0,100\n1,8,5,150\n2,1,0.5,300\n2,5,5.0,300\n3,8,1,5\n',
};
const TRACKS = {
  songs: '0 \tGucci (w\\/ X)\tGucci\n1 \t-\tNobody\n2 \tSecond\tGucci\n3 \tThird\tOther\n4 \tFourth\tOther\n',
  tags: '0 1\n0\n#\n1\n0 1\n',
  tagNames: '0, rock\n1, pop, really',
};

const lastfm = (files: Partial<LastfmFiles> = {}, options: LastfmOptions = {}) =>
  parseLastfm({ ...LASTFM, ...files }, { minListeners: 2, ...options });
const movielens = (files: Partial<MovielensFiles> = {}, options: MovielensOptions = {}) =>
  parseMovielens({ ...MOVIELENS, ...files }, { minCount: 2, ...options });
const tracks = (files: Partial<TracksFiles> = {}, options: TracksOptions = {}) =>
  parseTracks({ ...TRACKS, ...files }, options);
const lists = (sequences: { readonly count: number; sequence(i: number): Int32Array }) =>
  Array.from({ length: sequences.count }, (_, i) => [...sequences.sequence(i)]);

describe('parseLastfm', () => {
  it('reads artists with their tags, ISO-8859-1 among them, and sequences by plays, ties by the file', async () => {
    const { catalog, sequences, rareArtists, unknownArtists } = await lastfm();
    expect(catalog.texts()).toEqual(['The "Quoted"; café, rock', 'Düne; rock']);
    expect([catalog.attribute(0, 'tag'), catalog.attribute(1, 'tag')]).toEqual(['café', 'rock']);
    expect(lists(sequences)).toEqual([
      [1, 0],
      [0, 1],
    ]);
    expect(sequences.users).toEqual(['2', '3']);
    expect({ rareArtists, unknownArtists }).toEqual({ rareArtists: 1, unknownArtists: 1 });
  });

  it('orders by the first tag in time when asked to, each artist once', async () => {
    const { sequences } = await lastfm({}, { order: 'tags' });
    expect(lists(sequences)).toEqual([[1, 0], [0]]);
    expect((await lastfm({}, { minListeners: 1 })).catalog.size).toBe(3);
  });

  it('reads the real files', async ({ skip }) => {
    const folder = sharedData('lastfm');
    if (folder === undefined) return skip();
    const { catalog, sequences, unknownArtists } = await readLastfm(folder);
    expect([catalog.size, sequences.items.length, unknownArtists]).toEqual([2828, 71_426, 1538]);
    expect(catalog.text(0)).toBe('Diary of Dreams; darkwave, german, gothic');
  });
});

describe('parseMovielens', () => {
  it('reads films and sequences by time, ties by the file', async () => {
    const { catalog, sequences, rareFilms } = await movielens({}, { minCount: 1 });
    expect(catalog.texts()).toEqual(['Toy Story; 1995; Adventure, Comedy', 'Heat, The', 'Rare; 2001; Drama']);
    expect(catalog.attributeValues('genre')).toEqual(['Adventure', 'Drama']);
    expect(catalog.attributeCodes('genre')[1]).toBe(-1);
    expect(lists(sequences)).toEqual([[2], [0, 2, 1], [0, 1]]);
    expect(sequences.users).toEqual(['3', '1', '2']);
    expect(rareFilms).toBe(0);
  });

  it('leaves out low ratings, then rare films, and counts both', async () => {
    const { catalog, belowRating, rareFilms } = await movielens({}, { minRating: 2, minCount: 1 });
    expect([catalog.size, belowRating, rareFilms]).toEqual([3, 2, 0]);
    expect((await movielens()).rareFilms).toBe(0);
    expect((await movielens({}, { minRating: 2.5, minCount: 2 }).catch((e: Error) => e.message)) as string).toMatch(
      /ratings\.csv: expected at least 2 films with 2 or more ratings/,
    );
  });

  it('reads the real files', async ({ skip }) => {
    const folder = sharedData('movielens');
    if (folder === undefined) return skip();
    const { catalog, sequences } = await readMovielens(folder, { minCount: 1 });
    expect([catalog.size, sequences.count, sequences.items.length]).toEqual([9066, 671, 100_004]);
  });
});

describe('parseTracks and trackSequences', () => {
  it('reads the first usable tracks', async () => {
    const { catalog, tags, untitled } = await tracks({}, { count: 3 });
    expect(catalog.ids()).toEqual(['0', '2', '3']);
    expect(catalog.texts()).toEqual(['Gucci (w/ X); Gucci', 'Second; Gucci', 'Third; Other']);
    expect([0, 1, 2].map((item) => catalog.attribute(item, 'tag'))).toEqual(['rock', '', 'pop, really']);
    expect(tags.map((list) => [...list])).toEqual([[0, 1], [], [1]]);
    expect(untitled).toBe(1);
  });

  it('walks by artist and tag, seeded, no track twice', async () => {
    const data = await tracks();
    const walk = (seed: number) => trackSequences(data, { count: 200, seed, meanLength: 3 });
    expect(lists(walk(1))).toEqual(lists(walk(1)));
    expect(lists(walk(1))).not.toEqual(lists(walk(2)));
    for (const list of lists(walk(1))) expect(new Set(list).size).toBe(list.length);
    const artist = data.catalog.attributeCodes('artist');
    const pairs = (options: { sameArtist: number; sameTag: number }) => {
      const all = lists(trackSequences(data, { count: 400, maxLength: 2, ...options }));
      return all.filter(([a, b]) => artist[a as number] === artist[b as number]).length / all.length;
    };
    expect(pairs({ sameArtist: 1, sameTag: 0 })).toBeGreaterThan(0.95);
    expect(pairs({ sameArtist: 0, sameTag: 0 })).toBeLessThan(0.8);
    expect(() => trackSequences(data, { sameArtist: 0.7, sameTag: 0.7 })).toThrow(InvalidArgumentError);
  });

  it('make a catalogue of the size of the paper’s LFM, with as many interactions', async ({ skip }) => {
    const folder = sharedData('yes_tracks');
    if (folder === undefined) return skip();
    const data = await readTracks(folder);
    const { sequences, interactions, items } = trackSequences(data).statistics();
    expect([items, sequences]).toEqual([18_297, 11_073]);
    expect(Math.abs(interactions - 146_255) / 146_255).toBeLessThan(0.05);
  });
});

const LATIN = Uint8Array.of(0x69, 0x64, 0x09, 0xe9, 0x0a);
/** A line of 200 MB, a megabyte at a time, after a good header; counts what is taken of it. */
function endless(header: string) {
  const taken = { megabytes: 0 };
  function* chunks() {
    yield header;
    for (; taken.megabytes < 200; taken.megabytes++) yield 'x'.repeat(1_000_000);
  }
  return { taken, chunks: chunks() };
}

type Case = readonly [what: string, run: () => Promise<unknown>, place: object, message: RegExp];
const bad =
  (run: (text: string) => Promise<unknown>, source: string) =>
  (what: string, text: string, place: object, message: RegExp): Case => [
    `${source}: ${what}`,
    () => run(text),
    { source, ...place },
    message,
  ];
const artists = bad((artists) => lastfm({ artists }), 'artists.dat');
const plays = bad((plays) => lastfm({ plays }), 'user_artists.dat');
const tagNames = bad((tags) => lastfm({ tags }), 'tags.dat');
const taggings = bad((taggings) => lastfm({ taggings }), 'user_taggedartists.dat');
const movies = bad((movies) => movielens({ movies }), 'movies.csv');
const ratings = bad((ratings) => movielens({ ratings }), 'ratings.csv');
const songs = bad((songs) => tracks({ songs }), 'song_hash.txt');
const trackTags = bad((tags) => tracks({ tags }), 'tags.txt');
const names = bad((tagNames) => tracks({ tagNames }), 'tag_hash.txt');
const PLAYS = 'userID\tartistID\tweight\n';
const TAGGINGS = 'userID\tartistID\ttagID\tday\tmonth\tyear\n';
const RATINGS = 'userId,movieId,rating,timestamp\n';

const BAD: readonly Case[] = [
  artists('empty', '', { line: 1 }, /a header line/),
  artists('a column that is not there', 'id\tnom\n', { line: 1, field: 'name' }, /a column "name"/),
  artists('a row too short', 'id\tname\n1\n', { line: 2, column: 2 }, /expected 2 fields, got 1/),
  artists('an id twice', 'id\tname\n1\ta\n1\tb\n', { line: 3, column: 1 }, /which line 2 has too/),
  plays('a row too long', `${PLAYS}2\t1\t3\t4\n`, { line: 2, column: 4 }, /expected 3 fields, got 4/),
  plays('an unknown artist', `${PLAYS}2\t1\t3\n2\t5\t3\n`, { line: 3, column: 2 }, /an artist of artists.dat, got "5"/),
  plays('an empty user', `${PLAYS}\t1\t3\n`, { line: 2, column: 1 }, /1 to 512 characters/),
  plays('plays that are NaN', `${PLAYS}2\t1\tNaN\n`, { line: 2, column: 3 }, /a finite number, got "NaN"/),
  plays('no plays', `${PLAYS}2\t1\t0\n`, { line: 2, column: 3 }, /an integer from 1/),
  plays('a pair twice', `${PLAYS}2\t1\t3\n2\t1\t3\n`, { line: 3, column: 2 }, /"1" again/),
  plays('nothing left', PLAYS, {}, /at least 2 artists with 2 or more listeners/),
  tagNames('an id twice', 'tagID\ttagValue\n1\ta\n1\tb\n', { line: 3, column: 1 }, /which line 2 has too/),
  taggings('an unknown tag', `${TAGGINGS}2\t1\t9\t1\t1\t2009\n`, { line: 2, column: 3 }, /a tag of tags.dat, got "9"/),
  taggings('a month 13', `${TAGGINGS}2\t1\t1\t1\t13\t2009\n`, { line: 2, column: 5 }, /from 1 to 12, got 13/),
  movies('an id twice', 'movieId,title,genres\n1,a,b\n1,a,b\n', { line: 3, column: 1 }, /which line 2 has too/),
  movies('an open quote', 'movieId,title,genres\n1,"a,b\n', { line: 2 }, /closing quote/),
  ratings('a row too short', `${RATINGS}1,1,4\n`, { line: 2, column: 4 }, /expected 4 fields, got 3/),
  ratings('a rating 9', `${RATINGS}1,1,4,1\n1,5,9,1\n`, { line: 3, column: 3 }, /from 0.5 to 5 in halves, got 9/),
  ratings('a rating 3.2', `${RATINGS}1,1,3.2,1\n`, { line: 2, column: 3 }, /in halves, got 3.2/),
  ratings('an unknown film', `${RATINGS}1,7,4,1\n`, { line: 2, column: 2 }, /a film of movies.csv, got "7"/),
  ratings('an empty user', `${RATINGS},1,4,1\n`, { line: 2, column: 1 }, /1 to 512 characters/),
  ratings('a NaN timestamp', `${RATINGS}1,1,4,NaN\n`, { line: 2, column: 4 }, /a finite number/),
  ratings('a film rated twice', `${RATINGS}1,1,4,1\n1,1,5,2\n`, { line: 3, column: 2 }, /"1" again/),
  songs('a row too short', '0\tTitle\n', { line: 1, column: 3 }, /expected 3 fields, got 2/),
  songs('an id twice', '0\ta\tb\n0\tc\td\n', { line: 2, column: 1 }, /the track id 1, got "0"/),
  songs('no titles', '0\t-\tb\n1\t\td\n', {}, /tags of 2 tracks|a title/),
  trackTags('an unknown tag', '0 1\n0 7\n#\n1\n0\n', { line: 2, column: 2 }, /from 0 to 1, got "7"/),
  trackTags('no number', '0\nx\n#\n1\n0\n', { line: 2, column: 1 }, /a tag id from 0 to 1, got "x"/),
  trackTags('a tag twice', '0 0\n0\n#\n1\n0\n', { line: 1, column: 2 }, /rising tag ids/),
  trackTags('a line too few', '0\n0\n#\n1\n', { line: 5 }, /tags of 5 tracks, got the end after 4/),
  trackTags('a line too many', '0\n0\n#\n1\n1\n1\n', { line: 6 }, /tags of 5 tracks, got a line more/),
  names('no comma', '0 rock\n', { line: 1 }, /`id, name`/),
  names('a number left out', '0, a\n2, b\n', { line: 2 }, /the tag id 1, got "2"/),
];

describe('bad data', () => {
  it.each(BAD)('%s: named by file and line', async (_what, run, place, message) => {
    const error = await run().catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(InvalidDataError);
    // The sources of the two cases whose fault lies in the other file are told apart by their message.
    if (!/a title/.test(message.source)) expect(error).toMatchObject(place);
    expect((error as Error).message).toMatch(message);
  });

  it.each([
    ['artists.dat', () => lastfm({ artists: LATIN })],
    ['movies.csv', () => movielens({ movies: LATIN })],
    ['song_hash.txt', () => tracks({ songs: LATIN })],
  ])('%s that is not UTF-8', async (source, run) => {
    await expect(run()).rejects.toMatchObject({ code: 'INVALID_DATA', source, line: 1 });
  });

  it.each([
    ['user_artists.dat', PLAYS, 2, (plays: Iterable<string>) => lastfm({ plays })],
    ['tags.dat', 'tagID\ttagValue\n', 2, (tags: Iterable<string>) => lastfm({ tags })],
    ['ratings.csv', RATINGS, 2, (ratings: Iterable<string>) => movielens({ ratings })],
    ['tags.txt', '0\n', 2, (tags: Iterable<string>) => tracks({ tags })],
  ] as const)('%s with a line of 200 MB: refused after a few, not read', async (source, header, line, run) => {
    const { taken, chunks } = endless(header);
    await expect(run(chunks)).rejects.toMatchObject({ code: 'INVALID_DATA', source, line });
    expect(taken.megabytes).toBeLessThan(4);
  });

  it('a folder without the files names the first that is missing', async () => {
    for (const read of [readLastfm, readMovielens, readTracks])
      await expect(read('/nowhere/at/all')).rejects.toThrow(/there is none/);
  });

  it('what is no text, or an option out of range, is a wrong argument', async () => {
    await expect(lastfm({ plays: 7 as never })).rejects.toBeInstanceOf(InvalidArgumentError);
    await expect(lastfm({ tags: 7 as never })).rejects.toBeInstanceOf(InvalidArgumentError);
    await expect(movielens({}, { minRating: 9 })).rejects.toBeInstanceOf(InvalidArgumentError);
    await expect(tracks({}, { count: 1 })).rejects.toBeInstanceOf(InvalidArgumentError);
  });
});
