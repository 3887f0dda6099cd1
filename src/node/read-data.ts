import { createReadStream } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { extname, join } from 'node:path';
import { AMAZON_FILES, type AmazonData, type AmazonOptions, parseAmazon } from '../catalog/amazon.js';
import type { Catalog } from '../catalog/catalog.js';
import { COAT_FILES, type CoatData, type CoatFiles, type CoatOptions, parseCoat } from '../catalog/coat.js';
import { LASTFM_FILES, type LastfmData, type LastfmFiles, type LastfmOptions, parseLastfm } from '../catalog/lastfm.js';
import {
  MOVIELENS_FILES,
  type MovielensData,
  type MovielensFiles,
  type MovielensOptions,
  parseMovielens,
} from '../catalog/movielens.js';
import {
  type OwnInteractions,
  type ParseInteractionsOptions,
  type ParseItemNumbersOptions,
  type ParseItemsOptions,
  parseInteractions,
  parseItemNumbers,
  parseItems,
} from '../catalog/own-data.js';
import { parseTracks, TRACKS_FILES, type TracksData, type TracksFiles, type TracksOptions } from '../catalog/tracks.js';
import { argumentError } from '../foundation/arguments.js';
import { IalpError, InvalidArgumentError, InvalidDataError } from '../foundation/errors.js';

/**
 * Reads Coat Shopping from its folder: the files of {@link COAT_FILES}, `test.ascii` only if it is there.
 *
 * @param folder - the folder, as it was unpacked.
 * @param options - what a coat's text says.
 * @throws {InvalidDataError} naming the file that is missing, or the file, line and column of what is wrong in it.
 */
export async function readCoat(folder: string, options: Omit<CoatOptions, 'sources'> = {}): Promise<CoatData> {
  checkPath(folder, 'readCoat', 'folder');
  const names = Object.keys(COAT_FILES) as (keyof CoatFiles)[];
  const sources = Object.fromEntries(names.map((name) => [name, join(folder, COAT_FILES[name])])) as Record<
    keyof CoatFiles,
    string
  >;
  // One after another, so that of several missing files the same one is named every time.
  const train = await readText(sources.train);
  const truth = await readText(sources.truth);
  const test = await readText(sources.test, 'optional');
  const userFeatures = await readText(sources.userFeatures);
  const userFeatureMap = await readText(sources.userFeatureMap);
  const itemFeatures = await readText(sources.itemFeatures);
  const itemFeatureMap = await readText(sources.itemFeatureMap);
  const files = { train, truth, userFeatures, userFeatureMap, itemFeatures, itemFeatureMap };
  return parseCoat(test === undefined ? files : { ...files, test }, { ...options, sources });
}

/**
 * Reads the Amazon "Industrial and Scientific" items and sequences from their folder: the files of {@link AMAZON_FILES}.
 *
 * @param folder - the folder.
 * @param options - which category name an item's text shows.
 * @throws {InvalidDataError} naming the file that is missing, or the file and the line and column or field of what is wrong in it.
 */
export async function readAmazon(
  folder: string,
  options: Omit<AmazonOptions, 'itemsSource' | 'interactionsSource'> = {},
): Promise<AmazonData> {
  checkPath(folder, 'readAmazon', 'folder');
  const itemsSource = join(folder, AMAZON_FILES.items);
  const interactionsSource = join(folder, AMAZON_FILES.interactions);
  // One after the other, so that the first that is missing is the one that is named.
  const items = await readText(itemsSource);
  const interactions = await readText(interactionsSource);
  return parseAmazon(items, interactions, { ...options, itemsSource, interactionsSource });
}

/**
 * Reads Last.fm 2K from its folder, streaming: the files of {@link LASTFM_FILES}.
 *
 * @param folder - the folder, as it was unpacked.
 * @param options - the order of the sequences, and which artists stay.
 * @throws {InvalidDataError} naming the file that is missing, or the file, line and column of what is wrong in it.
 */
export async function readLastfm(folder: string, options: Omit<LastfmOptions, 'sources'> = {}): Promise<LastfmData> {
  const { files, sources } = openFiles<LastfmFiles>(folder, 'readLastfm', LASTFM_FILES);
  return parseLastfm(files, { ...options, sources });
}

/**
 * Reads MovieLens from its folder, streaming: the files of {@link MOVIELENS_FILES}.
 *
 * @param folder - the folder, as it was unpacked.
 * @param options - which ratings and films stay.
 * @throws {InvalidDataError} naming the file that is missing, or the file, line and column of what is wrong in it.
 */
export async function readMovielens(
  folder: string,
  options: Omit<MovielensOptions, 'sources'> = {},
): Promise<MovielensData> {
  const { files, sources } = openFiles<MovielensFiles>(folder, 'readMovielens', MOVIELENS_FILES);
  return parseMovielens(files, { ...options, sources });
}

/**
 * Reads the Yes.com tracks from their folder, streaming: the files of {@link TRACKS_FILES}. Sequences are made by `trackSequences`.
 *
 * @param folder - the folder.
 * @param options - how many tracks.
 * @throws {InvalidDataError} naming the file that is missing, or the file, line and column of what is wrong in it.
 */
export async function readTracks(folder: string, options: Omit<TracksOptions, 'sources'> = {}): Promise<TracksData> {
  const { files, sources } = openFiles<TracksFiles>(folder, 'readTracks', TRACKS_FILES);
  return parseTracks(files, { ...options, sources });
}

/** Options of {@link readItems}: those of `parseItems`, the source being the path and the format told by its ending if not given. */
export type ReadItemsOptions = Omit<ParseItemsOptions, 'source' | 'format'> &
  Partial<Pick<ParseItemsOptions, 'format'>>;

/** Options of {@link readInteractions}: those of `parseInteractions`, the source being the path and the format told by its ending if not given. */
export type ReadInteractionsOptions = Omit<ParseInteractionsOptions, 'source' | 'format'> &
  Partial<Pick<ParseInteractionsOptions, 'format'>>;

/**
 * Reads a catalogue from a file, streaming.
 *
 * @param path - `.csv`, `.tsv` (tabs), `.jsonl` or `.ndjson`; any name where `format` is given.
 * @param options - as `parseItems`.
 * @throws {InvalidDataError} when the file cannot be read, or as `parseItems`, the path being the source.
 * @throws {InvalidArgumentError} when an option is wrong or the ending tells no format.
 */
export async function readItems(path: string, options: ReadItemsOptions): Promise<Catalog> {
  return readStream(path, 'readItems', (chunks) =>
    parseItems(chunks, { ...formOf(path, 'readItems', options), ...options, source: path }),
  );
}

/** Options of {@link readItemNumbers}: those of `parseItemNumbers`, the source being the path and the format told by its ending if not given. */
export type ReadItemNumbersOptions = Omit<ParseItemNumbersOptions, 'source' | 'format'> &
  Partial<Pick<ParseItemNumbersOptions, 'format'>>;

/**
 * Reads one number for each item from a file, streaming: ratings that `ialp oracle rate` wrote, or your own, for `historyFeatures.prior`.
 *
 * @param path - `.csv`, `.tsv` (tabs), `.jsonl` or `.ndjson`; any name where `format` is given.
 * @param options - as `parseItemNumbers`.
 * @throws {InvalidDataError} when the file cannot be read, or as `parseItemNumbers`, the path being the source.
 * @throws {InvalidArgumentError} when an option is wrong or the ending tells no format.
 */
export async function readItemNumbers(path: string, options: ReadItemNumbersOptions): Promise<Float64Array> {
  return readStream(path, 'readItemNumbers', (chunks) =>
    parseItemNumbers(chunks, { ...formOf(path, 'readItemNumbers', options), ...options, source: path }),
  );
}

/**
 * Reads interactions from a file, streaming.
 *
 * @param path - `.csv`, `.tsv` (tabs), `.jsonl` or `.ndjson`; any name where `format` is given.
 * @param options - as `parseInteractions`.
 * @throws {InvalidDataError} when the file cannot be read, or as `parseInteractions`, the path being the source.
 * @throws {InvalidArgumentError} when an option is wrong or the ending tells no format.
 */
export async function readInteractions(path: string, options: ReadInteractionsOptions): Promise<OwnInteractions> {
  return readStream(path, 'readInteractions', (chunks) =>
    parseInteractions(chunks, { ...formOf(path, 'readInteractions', options), ...options, source: path }),
  );
}

const FORMS: Readonly<Record<string, { readonly format: 'csv' | 'jsonl'; readonly delimiter?: string }>> = {
  '.csv': { format: 'csv' },
  '.tsv': { format: 'csv', delimiter: '\t' },
  '.jsonl': { format: 'jsonl' },
  '.ndjson': { format: 'jsonl' },
};

function formOf(
  path: string,
  where: string,
  options: { readonly format?: 'csv' | 'jsonl' },
): { readonly format: 'csv' | 'jsonl'; readonly delimiter?: string } {
  if (options?.format !== undefined) return { format: options.format };
  const ending = extname(path).toLowerCase();
  const form = Object.hasOwn(FORMS, ending) ? FORMS[ending] : undefined;
  if (form !== undefined) return form;
  throw new InvalidArgumentError(
    `${where}: expected \`path\` to end in ${Object.keys(FORMS).join(', ')}, or \`format\` to be given, got ${JSON.stringify(path)}`,
    { argument: 'format', wanted: "'csv' or 'jsonl'", got: options?.format },
  );
}

async function readStream<T>(
  path: string,
  where: string,
  parse: (chunks: AsyncIterable<Uint8Array>) => Promise<T>,
): Promise<T> {
  checkPath(path, where, 'path');
  return parse(chunksOf(path));
}

/** Streams of a data set's files, and their paths as errors call them. */
function openFiles<Files extends object>(
  folder: string,
  where: string,
  names: Readonly<Record<keyof Files, string>>,
): { readonly files: Files; readonly sources: Record<keyof Files, string> } {
  checkPath(folder, where, 'folder');
  const entries = (Object.keys(names) as (keyof Files)[]).map((name) => [name, join(folder, names[name])] as const);
  return {
    sources: Object.fromEntries(entries) as Record<keyof Files, string>,
    files: Object.fromEntries(entries.map(([name, path]) => [name, chunksOf(path)])) as unknown as Files,
  };
}

/** The file is opened when the first chunk is asked for: where the options are refused, never. */
async function* chunksOf(path: string): AsyncGenerator<Uint8Array> {
  try {
    yield* createReadStream(path) as AsyncIterable<Uint8Array>;
  } catch (error) {
    // Errors of the file system carry the call that failed; anything else is not about the file.
    const isSystem = error instanceof Error && !(error instanceof IalpError) && 'syscall' in error;
    throw isSystem ? unreadable(path, error) : error;
  }
}

async function readText(path: string): Promise<string>;
async function readText(path: string, presence: 'optional'): Promise<string | undefined>;
async function readText(path: string, presence?: 'optional'): Promise<string | undefined> {
  let bytes: Uint8Array;
  try {
    bytes = await readFile(path);
  } catch (cause) {
    if (presence === 'optional' && isMissing(cause)) return undefined;
    throw unreadable(path, cause);
  }
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new InvalidDataError('expected UTF-8 text, got bytes that are none', { source: path, cause });
  }
}

function unreadable(path: string, cause: unknown): InvalidDataError {
  const reason = isMissing(cause) ? 'there is none' : cause instanceof Error ? cause.message : String(cause);
  return new InvalidDataError(`expected a file that can be read: ${reason}`, { source: path, cause });
}

function isMissing(cause: unknown): boolean {
  return cause instanceof Error && (cause as Error & { readonly code?: unknown }).code === 'ENOENT';
}

function checkPath(path: string, where: string, argument: string): void {
  if (typeof path === 'string' && path !== '' && !path.includes('\0')) return;
  throw argumentError(where, argument, 'a path', path);
}
