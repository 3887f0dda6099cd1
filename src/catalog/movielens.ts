import { z } from 'zod';
import { checkObject } from '../foundation/arguments.js';
import { InvalidDataError } from '../foundation/errors.js';
import { checkOptions, describeValue } from '../foundation/options.js';
import { Catalog, type Item } from './catalog.js';
import { eachRow, rowId, uniqueRowId } from './own-rows.js';
import { Sequences } from './sequences.js';
import type { TextSource } from './text-source.js';

/** The contents of the MovieLens files that are read (`ml-latest-small` and its larger sisters), as they are. */
export interface MovielensFiles {
  /** `movies.csv`: `movieId`, `title` with the year in brackets, `genres` joined by `|`. */
  readonly movies: TextSource;
  /** `ratings.csv`: `userId`, `movieId`, `rating` 0.5 to 5 in halves, `timestamp` in seconds. */
  readonly ratings: TextSource;
}

/** Names of the MovieLens files in their folder: what errors call them by default, and where `readMovielens` looks. */
export const MOVIELENS_FILES: Readonly<Record<keyof MovielensFiles, string>> = Object.freeze({
  movies: 'movies.csv',
  ratings: 'ratings.csv',
});

const movielensOptions = z.strictObject({
  minRating: z.number().min(0.5).max(5).optional(),
  minCount: z.int().min(1).default(5),
  sources: z
    .partialRecord(z.enum(Object.keys(MOVIELENS_FILES) as [keyof MovielensFiles]), z.string().min(1))
    .default({}),
});

/** Options of {@link parseMovielens}. */
export interface MovielensOptions {
  /**
   * Ratings below are left out and counted, 0.5 to 5.
   * @default undefined: to have watched it is what counts
   */
  readonly minRating?: number;
  /**
   * Films with fewer ratings (after `minRating`) are left out, >= 1.
   * @default 5
   */
  readonly minCount?: number;
  /**
   * What errors call each file: its path, say.
   * @default {@link MOVIELENS_FILES}
   */
  readonly sources?: Readonly<Partial<Record<keyof MovielensFiles, string>>>;
}

/** MovieLens, read. */
export interface MovielensData {
  /** The films, by the file's ids and in its order. Attributes `title`, `year`, `genres` ("a, b"); extra one `genre`, the first genre. */
  readonly catalog: Catalog;
  /** One sequence a user, oldest rating first, equal timestamps by the file's order. */
  readonly sequences: Sequences;
  /** Ratings left out because they were below `minRating`. */
  readonly belowRating: number;
  /** Films left out because they had fewer than `minCount` ratings. */
  readonly rareFilms: number;
}

const FORM = { format: 'csv', delimiter: ',', maxLineLength: 1_000_000, tornLastLine: 'error' } as const;

/**
 * Reads MovieLens, streaming.
 *
 * @param files - the contents.
 * @param options - which ratings and films stay, and the files' names for errors.
 * @throws {InvalidDataError} with file, line and column (the field's place, from 1): a row too long or too short, a column that is not there, an
 * id twice, an unknown film, an empty user, a rating that is not 0.5 to 5 in halves, a film rated twice by a user, a timestamp that is no integer,
 * bytes that are not UTF-8, a line too long; fewer than two films or no sequence left.
 * @throws {InvalidArgumentError} when a file is no text or an option is wrong.
 */
export async function parseMovielens(files: MovielensFiles, options: MovielensOptions = {}): Promise<MovielensData> {
  const { minRating, minCount, sources } = checkOptions(movielensOptions, options, 'parseMovielens');
  checkObject('parseMovielens', 'files', files);
  const source = (file: keyof MovielensFiles): string => sources[file] ?? MOVIELENS_FILES[file];
  const films = await readFilms(files.movies, source('movies'));
  const { ratings, belowRating } = await readRatings(files.ratings, source('ratings'), films, minRating);
  const counts = new Map<string, number>();
  for (const { film } of ratings) counts.set(film, (counts.get(film) ?? 0) + 1);
  const kept = [...films.values()].filter(({ id }) => (counts.get(id) ?? 0) >= minCount);
  if (kept.length < 2) {
    const message = `expected at least 2 films with ${minCount} or more ratings (\`minCount\`), got ${kept.length}`;
    throw new InvalidDataError(message, { source: source('ratings') });
  }
  const catalog = Catalog.fromItems(kept, {
    scenario: 'movie',
    itemNoun: 'film',
    behavior: 'watching',
    attributes: ['title', 'year', 'genres'],
    extraAttributes: ['genre'],
  });
  const lists = new Map<string, number[]>();
  // `sort` is stable, so ties keep the file's order.
  for (const { user, film } of ratings.sort((a, b) => a.time - b.time)) {
    const item = catalog.find(film);
    if (item === undefined) continue;
    const list = lists.get(user);
    if (list === undefined) lists.set(user, [item]);
    else list.push(item);
  }
  const sequences = Sequences.from(lists.values(), { itemCount: catalog.size, users: [...lists.keys()] });
  return { catalog, sequences, belowRating, rareFilms: films.size - kept.length };
}

interface Rating {
  readonly user: string;
  readonly film: string;
  readonly time: number;
}

async function readFilms(input: TextSource, source: string): Promise<Map<string, Item>> {
  const films = new Map<string, Item>();
  const lines = new Map<string, number>();
  const columns = ['movieId', 'title', 'genres'];
  await eachRow(input, { ...FORM, source }, { columns, needed: columns }, (row) => {
    if (row === 'torn') return;
    const id = uniqueRowId(row, 'movieId', lines);
    const [, title = '', year = ''] = /^(.*?)\s*(?:\((\d{4})\))?\s*$/s.exec(row.text('title')) ?? [];
    const genres = row.text('genres') === '(no genres listed)' ? [] : row.text('genres').split('|');
    films.set(id, { id, title, year, genres: genres.join(', '), genre: genres[0] ?? '' });
  });
  return films;
}

async function readRatings(
  input: TextSource,
  source: string,
  films: ReadonlyMap<string, Item>,
  minRating: number | undefined,
): Promise<{ readonly ratings: Rating[]; readonly belowRating: number }> {
  const ratings: Rating[] = [];
  const seen = new Set<string>();
  let belowRating = 0;
  const columns = ['userId', 'movieId', 'rating', 'timestamp'];
  await eachRow(input, { ...FORM, source }, { columns, needed: columns }, (row) => {
    if (row === 'torn') return;
    const user = rowId(row, 'userId');
    const film = rowId(row, 'movieId');
    if (!films.has(film)) throw row.error('movieId', 'the id of a film of movies.csv', describeValue(film));
    const rating = row.number('rating');
    if (!(rating >= 0.5 && rating <= 5 && Number.isInteger(2 * rating)))
      throw row.error('rating', 'a number from 0.5 to 5 in halves', describeValue(rating));
    const time = row.number('timestamp');
    if (!Number.isSafeInteger(time)) throw row.error('timestamp', 'a whole number of seconds', describeValue(time));
    const pair = `${user}\t${film}`;
    if (seen.has(pair)) throw row.error('movieId', 'a film that the user rated once', `${describeValue(film)} again`);
    seen.add(pair);
    if (minRating !== undefined && rating < minRating) belowRating++;
    else ratings.push({ user, film, time });
  });
  return { ratings, belowRating };
}
