import { z } from 'zod';
import { checkObject } from '../foundation/arguments.js';
import { InvalidDataError } from '../foundation/errors.js';
import { checkOptions, describeValue } from '../foundation/options.js';
import { Catalog } from './catalog.js';
import { eachRow, type Row, rowId, uniqueRowId } from './own-rows.js';
import { Sequences } from './sequences.js';
import { latin1Text, type TextSource } from './text-source.js';

/** The contents of the Last.fm 2K files (HetRec 2011), as they are: tab-separated with a header. */
export interface LastfmFiles {
  /** `artists.dat`, UTF-8: `id`, `name` (and addresses, which are not read). */
  readonly artists: TextSource;
  /** `user_artists.dat`: `userID`, `artistID`, `weight`, the number of plays. */
  readonly plays: TextSource;
  /** `tags.dat`, bytes in ISO-8859-1 (or text): `tagID`, `tagValue`. */
  readonly tags: TextSource;
  /** `user_taggedartists.dat`: `userID`, `artistID`, `tagID`, `day`, `month`, `year`. */
  readonly taggings: TextSource;
}

/** Names of the Last.fm files in their folder: what errors call them by default, and where `readLastfm` looks. */
export const LASTFM_FILES: Readonly<Record<keyof LastfmFiles, string>> = Object.freeze({
  artists: 'artists.dat',
  plays: 'user_artists.dat',
  tags: 'tags.dat',
  taggings: 'user_taggedartists.dat',
});

const lastfmOptions = z.strictObject({
  order: z.enum(['plays', 'tags']).default('plays'),
  minListeners: z.int().min(1).default(5),
  sources: z.partialRecord(z.enum(Object.keys(LASTFM_FILES) as [keyof LastfmFiles]), z.string().min(1)).default({}),
});

/** Options of {@link parseLastfm}. */
export interface LastfmOptions {
  /**
   * What a listener's sequence is: `'plays'`, their artists, most played first (equal counts by the file's order); `'tags'`, their tagged
   * artists in the order of the first tag, to the day as written (mostly the first of a month; ties by the file's order). Neither is a session.
   * @default 'plays'
   */
  readonly order?: 'plays' | 'tags';
  /**
   * Artists with fewer listeners in `user_artists.dat` are left out, >= 1.
   * @default 5
   */
  readonly minListeners?: number;
  /**
   * What errors call each file: its path, say.
   * @default {@link LASTFM_FILES}
   */
  readonly sources?: Readonly<Partial<Record<keyof LastfmFiles, string>>>;
}

/** Last.fm 2K, read. Artists, not tracks: not the paper's LFM. */
export interface LastfmData {
  /**
   * The artists, by the file's ids and in its order. Attributes `name` and `tags` (the three most given, "a, b, c"); extra one `tag`, the most
   * given. A tag given equally often stands by its id; an artist without tags has none.
   */
  readonly catalog: Catalog;
  /** One sequence a listener; listeners left with no artist have none. */
  readonly sequences: Sequences;
  /** Which order the sequences have. */
  readonly order: 'plays' | 'tags';
  /** Artists left out for want of listeners. */
  readonly rareArtists: number;
  /** Taggings left out because `artists.dat` does not list the artist: 1,538 of the real ones. */
  readonly unknownArtists: number;
}

const TAGS_SHOWN = 3;

/**
 * Reads Last.fm 2K, streaming.
 *
 * @param files - the contents.
 * @param options - the order of the sequences, which artists stay, and the files' names for errors.
 * @throws {InvalidDataError} with file, line and column (the field's place, from 1): a row too long or too short, a column that is not there, an
 * id twice, an unknown artist of a play or tag of a tagging, a listener or artist that is empty, a count of plays that is no integer above 0, a
 * date that is none, bytes that are not UTF-8, a line too long; fewer than two artists or no sequence left.
 * @throws {InvalidArgumentError} when a file is no text or an option is wrong.
 */
export async function parseLastfm(files: LastfmFiles, options: LastfmOptions = {}): Promise<LastfmData> {
  const { order, minListeners, sources } = checkOptions(lastfmOptions, options, 'parseLastfm');
  checkObject('parseLastfm', 'files', files);
  const source = (file: keyof LastfmFiles): string => sources[file] ?? LASTFM_FILES[file];
  const artists = await readNames(files.artists, source('artists'), 'id', 'name');
  const plays = await readPlays(files.plays, source('plays'), artists);
  const tags = await readNames(latin1Text(files.tags), source('tags'), 'tagID', 'tagValue');
  const taggings = await readTaggings(files.taggings, source('taggings'), artists, tags);

  const listeners = new Map<string, number>();
  for (const { artist } of plays) listeners.set(artist, (listeners.get(artist) ?? 0) + 1);
  const kept = [...artists.keys()].filter((artist) => (listeners.get(artist) ?? 0) >= minListeners);
  if (kept.length < 2) {
    const message = `expected at least 2 artists with ${minListeners} or more listeners (\`minListeners\`), got ${kept.length}`;
    throw new InvalidDataError(message, { source: source('plays') });
  }
  const favourites = mostGiven(taggings.rows, tags);
  const catalog = Catalog.fromItems(
    kept.map((id) => {
      const given = favourites.get(id) ?? [];
      return {
        id,
        name: artists.get(id) as string,
        tags: given.slice(0, TAGS_SHOWN).join(', '),
        tag: given[0] ?? '',
      };
    }),
    {
      scenario: 'music',
      itemNoun: 'artist',
      behavior: 'listening',
      attributes: ['name', 'tags'],
      extraAttributes: ['tag'],
    },
  );
  const lists = listsOf(order === 'plays' ? byPlays(plays) : byFirstTag(taggings.rows), catalog);
  if (lists.size === 0)
    throw new InvalidDataError('expected at least one sequence, got none', {
      source: source(order === 'plays' ? 'plays' : 'taggings'),
    });
  const sequences = Sequences.from(lists.values(), { itemCount: catalog.size, users: [...lists.keys()] });
  return {
    catalog,
    sequences,
    order,
    rareArtists: artists.size - kept.length,
    unknownArtists: taggings.unknownArtists,
  };
}

/** Both are taken in the order in which they stand here. */
interface Visit {
  readonly user: string;
  readonly artist: string;
}

interface Play extends Visit {
  readonly count: number;
}

interface Tagging extends Visit {
  readonly tag: string;
  /** Days of a calendar of 31-day months: only their order counts. */
  readonly day: number;
}

/** How all four files are written. A name may hold a quote, and no field is quoted. */
const TSV = { format: 'csv', delimiter: '\t', quoted: false, maxLineLength: 1_000_000, tornLastLine: 'error' } as const;

async function eachTsvRow(
  input: TextSource,
  source: string,
  columns: readonly string[],
  read: (row: Row) => void,
): Promise<void> {
  await eachRow(input, { ...TSV, source }, { columns, needed: columns }, (row) => {
    if (row !== 'torn') read(row);
  });
}

/** An id of a table read before. */
function knownId(row: Row, column: string, known: ReadonlyMap<string, string>, kind: string): string {
  const id = rowId(row, column);
  if (!known.has(id)) throw row.error(column, `the id of ${kind}`, describeValue(id));
  return id;
}

function wholeNumber(row: Row, column: string, low: number, high: number): number {
  const value = row.number(column);
  if (Number.isInteger(value) && value >= low && value <= high) return value;
  throw row.error(column, `an integer from ${low} to ${high}`, describeValue(value));
}

async function readNames(
  input: TextSource,
  source: string,
  idColumn: string,
  nameColumn: string,
): Promise<Map<string, string>> {
  const names = new Map<string, string>();
  const lines = new Map<string, number>();
  await eachTsvRow(input, source, [idColumn, nameColumn], (row) => {
    names.set(uniqueRowId(row, idColumn, lines), row.text(nameColumn));
  });
  return names;
}

async function readPlays(input: TextSource, source: string, artists: ReadonlyMap<string, string>): Promise<Play[]> {
  const plays: Play[] = [];
  const seen = new Set<string>();
  await eachTsvRow(input, source, ['userID', 'artistID', 'weight'], (row) => {
    const user = rowId(row, 'userID');
    const artist = knownId(row, 'artistID', artists, 'an artist of artists.dat');
    const pair = `${user}\t${artist}`;
    if (seen.has(pair))
      throw row.error('artistID', 'an artist that the listener has once', `${describeValue(artist)} again`);
    seen.add(pair);
    plays.push({ user, artist, count: wholeNumber(row, 'weight', 1, Number.MAX_SAFE_INTEGER) });
  });
  return plays;
}

async function readTaggings(
  input: TextSource,
  source: string,
  artists: ReadonlyMap<string, string>,
  tags: ReadonlyMap<string, string>,
): Promise<{ readonly rows: Tagging[]; readonly unknownArtists: number }> {
  const rows: Tagging[] = [];
  let unknownArtists = 0;
  await eachTsvRow(input, source, ['userID', 'artistID', 'tagID', 'day', 'month', 'year'], (row) => {
    const user = rowId(row, 'userID');
    const artist = rowId(row, 'artistID');
    const tag = knownId(row, 'tagID', tags, 'a tag of tags.dat');
    const months = 12 * wholeNumber(row, 'year', 1900, 2100) + wholeNumber(row, 'month', 1, 12) - 1;
    const day = 31 * months + wholeNumber(row, 'day', 1, 31);
    if (artists.has(artist)) rows.push({ user, artist, tag, day });
    else unknownArtists++;
  });
  return { rows, unknownArtists };
}

/** Names of each artist's tags, most given first, equal ones by id. */
function mostGiven(taggings: readonly Tagging[], tags: ReadonlyMap<string, string>): Map<string, string[]> {
  const places = new Map([...tags.keys()].map((tag, place) => [tag, place]));
  const counts = new Map<string, Map<string, number>>();
  for (const { artist, tag } of taggings) {
    const of = counts.get(artist) ?? new Map<string, number>();
    counts.set(artist, of);
    of.set(tag, (of.get(tag) ?? 0) + 1);
  }
  return new Map(
    [...counts].map(([artist, of]) => {
      const order = [...of].sort(([a, m], [b, n]) => n - m || (places.get(a) as number) - (places.get(b) as number));
      return [artist, order.map(([tag]) => tags.get(tag) as string).filter((name) => name !== '')];
    }),
  );
}

/** `sort` is stable, so ties keep the file's order. */
function byPlays(plays: readonly Play[]): Visit[] {
  return [...plays].sort((a, b) => b.count - a.count);
}

function byFirstTag(taggings: readonly Tagging[]): Visit[] {
  return [...taggings].sort((a, b) => a.day - b.day);
}

/** Each listener's artists, the first visit of each; listeners in order of first appearance. */
function listsOf(visits: readonly Visit[], catalog: Catalog): Map<string, number[]> {
  const lists = new Map<string, Set<number>>();
  for (const { user, artist } of visits) {
    const item = catalog.find(artist);
    if (item === undefined) continue;
    const list = lists.get(user) ?? new Set<number>();
    lists.set(user, list);
    list.add(item);
  }
  return new Map([...lists].map(([user, list]) => [user, [...list]]));
}
