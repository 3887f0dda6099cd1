import { z } from 'zod';
import { checkObject } from '../foundation/arguments.js';
import { InvalidArgumentError, InvalidDataError } from '../foundation/errors.js';
import { checkOptions, describeValue } from '../foundation/options.js';
import { Rng } from '../foundation/rng.js';
import { Catalog } from './catalog.js';
import { Sequences } from './sequences.js';
import { type TextSource, textLines } from './text-source.js';

/** The contents of the Yes.com track files (Playlist Prediction via Metric Embedding, KDD 2012), as they are. */
export interface TracksFiles {
  /** `song_hash.txt`: id, title, artist, tab-separated, a space after the id; ids 0, 1, 2, ... in order; `/` is written `\/`. */
  readonly songs: TextSource;
  /** `tags.txt`: on line n + 1 the tag ids of track n, space-separated, rising; `#` where it has none. */
  readonly tags: TextSource;
  /** `tag_hash.txt`: tag id and name, separated by `, `, the commonest tag first. */
  readonly tagNames: TextSource;
}

/** Names of the track files in their folder: what errors call them by default, and where `readTracks` looks. */
export const TRACKS_FILES: Readonly<Record<keyof TracksFiles, string>> = Object.freeze({
  songs: 'song_hash.txt',
  tags: 'tags.txt',
  tagNames: 'tag_hash.txt',
});

const tracksOptions = z.strictObject({
  count: z.int().min(2).default(18_297),
  sources: z.partialRecord(z.enum(Object.keys(TRACKS_FILES) as [keyof TracksFiles]), z.string().min(1)).default({}),
});

/** Options of {@link parseTracks}. */
export interface TracksOptions {
  /**
   * How many of the first usable tracks are taken; all where there are fewer.
   * @default 18297, the paper's LFM
   */
  readonly count?: number;
  /**
   * What errors call each file: its path, say.
   * @default {@link TRACKS_FILES}
   */
  readonly sources?: Readonly<Partial<Record<keyof TracksFiles, string>>>;
}

/** Real track text, without any listener: sequences are made by {@link trackSequences}. */
export interface TracksData {
  /** The tracks, by the file's ids and in its order. Attributes `title`, `artist`; extra one `tag`, the first (commonest) of its tags. */
  readonly catalog: Catalog;
  /** Codes of each track's tags, rising, `[A]` lists; empty where it has none. */
  readonly tags: readonly Int32Array[];
  /** Tracks passed over because they have no title ("-" or nothing). */
  readonly untitled: number;
}

const MAX_LINE = 1_000_000;

/**
 * Reads the Yes.com tracks, streaming.
 *
 * @param files - the contents.
 * @param options - how many tracks, and the files' names for errors.
 * @throws {InvalidDataError} with file, line and column (the field's place, from 1): a row too long or too short, an id that is not the row's
 * number, a tag that `tag_hash.txt` lacks or that does not rise, tags of fewer or more tracks than there are, bytes that are not UTF-8, a line
 * too long; fewer than two usable tracks.
 * @throws {InvalidArgumentError} when a file is no text or an option is wrong.
 */
export async function parseTracks(files: TracksFiles, options: TracksOptions = {}): Promise<TracksData> {
  const { count, sources } = checkOptions(tracksOptions, options, 'parseTracks');
  checkObject('parseTracks', 'files', files);
  const source = (file: keyof TracksFiles): string => sources[file] ?? TRACKS_FILES[file];
  const names = await readTagNames(files.tagNames, source('tagNames'));
  const songs = await readSongs(files.songs, source('songs'));
  const tags = await readTags(files.tags, source('tags'), names.length, songs.length);
  const usable = songs.flatMap((song, place) => (song.title === '' || song.title === '-' ? [] : [place]));
  if (usable.length < 2)
    throw new InvalidDataError(`expected at least 2 tracks with a title, got ${usable.length}`, {
      source: source('songs'),
    });
  const taken = usable.slice(0, count);
  const catalog = Catalog.fromItems(
    taken.map((place) => {
      const first = (tags[place] as Int32Array)[0];
      return { id: String(place), ...(songs[place] as Song), tag: first === undefined ? '' : (names[first] as string) };
    }),
    {
      scenario: 'music',
      itemNoun: 'track',
      behavior: 'listening',
      attributes: ['title', 'artist'],
      extraAttributes: ['tag'],
    },
  );
  const seen = taken.length === 0 ? 0 : (taken.at(-1) as number) + 1;
  return {
    catalog,
    tags: taken.map((place) => tags[place] as Int32Array),
    untitled: seen - taken.length,
  };
}

interface Song {
  readonly title: string;
  readonly artist: string;
}

async function eachLine(
  input: TextSource,
  source: string,
  read: (text: string, line: number, fail: (column: number, wanted: string, got: string) => InvalidDataError) => void,
): Promise<void> {
  for await (const lines of textLines(input, source, MAX_LINE)) {
    for (const { text, line } of lines) {
      read(
        text,
        line,
        (column, wanted, got) => new InvalidDataError(`expected ${wanted}, got ${got}`, { source, line, column }),
      );
    }
  }
}

async function readTagNames(input: TextSource, source: string): Promise<string[]> {
  const names: string[] = [];
  await eachLine(input, source, (text, _line, fail) => {
    const comma = text.indexOf(', ');
    if (comma < 0) throw fail(2, '`id, name`', describeValue(text));
    if (text.slice(0, comma) !== String(names.length))
      throw fail(1, `the tag id ${names.length}`, describeValue(text.slice(0, comma)));
    names.push(text.slice(comma + 2));
  });
  return names;
}

async function readSongs(input: TextSource, source: string): Promise<Song[]> {
  const songs: Song[] = [];
  await eachLine(input, source, (text, _line, fail) => {
    const fields = text.split('\t');
    if (fields.length !== 3) throw fail(Math.min(fields.length, 3) + 1, '3 fields', String(fields.length));
    const [id = '', title = '', artist = ''] = fields.map((field) => field.trim().replaceAll('\\/', '/'));
    if (id !== String(songs.length)) throw fail(1, `the track id ${songs.length}`, describeValue(id));
    songs.push({ title, artist });
  });
  return songs;
}

async function readTags(input: TextSource, source: string, known: number, songs: number): Promise<Int32Array[]> {
  const tags: Int32Array[] = [];
  await eachLine(input, source, (text, _line, fail) => {
    if (tags.length === songs) throw fail(1, `tags of ${songs} tracks`, 'a line more');
    const words = text.trim() === '#' ? [] : text.trim().split(/ +/);
    const list = new Int32Array(words.length);
    for (const [place, word] of words.entries()) {
      const tag = /^\d{1,9}$/.test(word) ? Number(word) : -1;
      if (tag < 0 || tag >= known) throw fail(place + 1, `a tag id from 0 to ${known - 1}`, describeValue(word));
      if (place > 0 && tag <= (list[place - 1] as number)) throw fail(place + 1, 'rising tag ids', describeValue(word));
      list[place] = tag;
    }
    tags.push(list);
  });
  if (tags.length < songs)
    throw new InvalidDataError(`expected tags of ${songs} tracks, got the end after ${tags.length}`, {
      source,
      line: tags.length + 1,
    });
  return tags;
}

const walkOptions = z.strictObject({
  count: z.int().min(1).max(10_000_000).default(11_073),
  meanLength: z.number().min(2).max(1000).default(13.2),
  maxLength: z.int().min(2).max(10_000).default(60),
  sameArtist: z.number().min(0).max(1).default(0.25),
  sameTag: z.number().min(0).max(1).default(0.6),
  seed: z.int().default(1),
});

/** Options of {@link trackSequences}. The defaults give the counts of the paper's LFM: 11,073 sequences of 13.2 tracks. */
export interface TrackSequencesOptions {
  /** How many sequences. @default 11073 */
  readonly count?: number;
  /** Mean length before the cut, tracks, 2 to 1000: lengths are 2 and a geometric number more. @default 13.2 */
  readonly meanLength?: number;
  /** Longest length, at most the number of tracks. @default 60 */
  readonly maxLength?: number;
  /** Share of steps that stay with the last track's artist, where the artist has another track. @default 0.25 */
  readonly sameArtist?: number;
  /** Share of steps to a track with which the last one shares a tag, where it has one; the rest goes anywhere. @default 0.6 */
  readonly sameTag?: number;
  /** Seed of popularities and walks. @default 1 */
  readonly seed?: number;
}

/** Draws of one step that may meet tracks already in the sequence. */
const TRIES = 20;

/**
 * **Synthetic** sequences on real track text, since the Yes.com playlists are not to be had: seeded Markov walks. A track's popularity is the
 * product of its artist's and its own log-normal draw; a walk begins with a track by popularity, and each next track is one of the same artist,
 * one that shares a tag drawn evenly from the last track's, or any; within those, by popularity. No track is in a sequence twice. The same
 * data and seed give the same sequences. Nothing learned from them says anything of real listeners.
 *
 * @throws {InvalidArgumentError} for options out of range, or shares that sum to more than 1.
 */
export function trackSequences(data: TracksData, options: TrackSequencesOptions = {}): Sequences {
  const { count, meanLength, maxLength, sameArtist, sameTag, seed } = checkOptions(
    walkOptions,
    options,
    'trackSequences',
  );
  checkObject('trackSequences', 'data', data);
  const { catalog, tags } = data;
  if (!(catalog instanceof Catalog) || !isTagLists(tags) || tags.length !== catalog.size) {
    throw new InvalidArgumentError('trackSequences: expected `data` to be what parseTracks gives', {
      argument: 'data',
      got: data,
    });
  }
  if (sameArtist + sameTag > 1) {
    throw new InvalidArgumentError(
      `trackSequences: expected \`sameArtist\` and \`sameTag\` to sum to at most 1, got ${sameArtist + sameTag}`,
      { argument: 'sameTag', got: sameTag },
    );
  }
  const rng = new Rng(seed).fork('tracks');
  const artists = catalog.attributeCodes('artist');
  const weights = popularity(artists, rng.fork('popularity'));
  const everything = new WeightedItems(
    weights,
    Array.from({ length: catalog.size }, (_, item) => item),
  );
  const byArtist = grouped(artists.length, (item) => {
    const artist = artists[item] as number;
    return artist < 0 ? [] : [artist];
  });
  const byTag = grouped(tags.length, (item) => tags[item] as Int32Array);
  const pools = (groups: ReadonlyMap<number, number[]>): Map<number, WeightedItems> =>
    new Map([...groups].map(([code, items]) => [code, new WeightedItems(weights, items)]));
  const artistPools = pools(byArtist);
  const tagPools = pools(byTag);
  const walk = rng.fork('walks');
  const longest = Math.min(maxLength, catalog.size);
  const next = (last: number): WeightedItems => {
    const kind = walk.uniform();
    if (kind < sameArtist) return artistPools.get(artists[last] as number) ?? everything;
    const own = tags[last] as Int32Array;
    if (kind < sameArtist + sameTag && own.length > 0)
      return tagPools.get(own[walk.integer(own.length)] as number) as WeightedItems;
    return everything;
  };
  const lists = Array.from({ length: count }, () => {
    const length = Math.min(longest, geometricLength(meanLength, walk.uniform()));
    const list: number[] = [everything.draw(walk.uniform())];
    const taken = new Set(list);
    while (list.length < length) {
      const pool = next(list.at(-1) as number);
      let item = pool.draw(walk.uniform());
      for (let tries = 1; taken.has(item) && tries < TRIES; tries++)
        item = (tries < TRIES / 2 ? pool : everything).draw(walk.uniform());
      if (taken.has(item)) break;
      list.push(item);
      taken.add(item);
    }
    return list;
  });
  return Sequences.from(lists, { itemCount: catalog.size, users: lists.map((_, i) => `listener-${i}`) });
}

function isTagLists(tags: unknown): boolean {
  return Array.isArray(tags) && tags.every((list) => list instanceof Int32Array);
}

/** Standard deviations of the log-normal draws: the commonest hundredth of the tracks then gets about a quarter of the plays. */
const ARTIST_SPREAD = 1.2;
const TRACK_SPREAD = 0.8;

function popularity(artists: Int32Array, rng: Rng): Float64Array {
  const ofArtist = new Map<number, number>();
  return Float64Array.from(artists, (artist) => {
    const own = Math.exp(TRACK_SPREAD * rng.normal());
    let shared = ofArtist.get(artist);
    if (shared === undefined) {
      shared = Math.exp(ARTIST_SPREAD * rng.normal());
      // Tracks without an artist have nothing in common.
      if (artist >= 0) ofArtist.set(artist, shared);
    }
    return own * shared;
  });
}

/** 2 and a geometric number of mean `mean - 2`. */
function geometricLength(mean: number, uniform: number): number {
  const goesOn = (mean - 2) / (mean - 1);
  return goesOn === 0 ? 2 : 2 + Math.floor(Math.log1p(-uniform) / Math.log(goesOn));
}

function grouped(count: number, codesOf: (item: number) => Iterable<number>): Map<number, number[]> {
  const groups = new Map<number, number[]>();
  for (let item = 0; item < count; item++) {
    for (const code of codesOf(item)) {
      const group = groups.get(code);
      if (group === undefined) groups.set(code, [item]);
      else group.push(item);
    }
  }
  return groups;
}

/** Items drawn in proportion to their weights, by inverse CDF. */
class WeightedItems {
  readonly #items: readonly number[];
  readonly #sums: Float64Array;

  constructor(weights: Float64Array, items: readonly number[]) {
    this.#items = items;
    this.#sums = new Float64Array(items.length);
    let sum = 0;
    for (const [place, item] of items.entries()) {
      sum += weights[item] as number;
      this.#sums[place] = sum;
    }
  }

  draw(uniform: number): number {
    const wanted = uniform * (this.#sums.at(-1) as number);
    let low = 0;
    let high = this.#sums.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#sums[middle] as number) > wanted) high = middle;
      else low = middle + 1;
    }
    return this.#items[low] as number;
  }
}
