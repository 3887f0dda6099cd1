import { z } from 'zod';
import { checkObject } from '../foundation/arguments.js';
import { InvalidArgumentError, InvalidDataError } from '../foundation/errors.js';
import { checkOptions } from '../foundation/options.js';
import { Catalog, type Item } from './catalog.js';

/** The texts of Coat's files, as they are. */
export interface CoatFiles {
  /** `train.ascii`: ratings of items the user chose to rate, 1-5, 0 = not rated; U lines of I numbers. */
  readonly train: string;
  /** `coat_pseudoGT_ratingM.ascii`: the completed ratings, 1-5, U lines of I numbers: the truth of the simulators. Never train on it. */
  readonly truth: string;
  /** `test.ascii`: ratings of items drawn at random, as `train`. */
  readonly test?: string;
  /** `user_features.ascii`: one-hot user attributes, U lines. */
  readonly userFeatures: string;
  /** `user_features_map.txt`: `attribute:value` of each of those columns, a line each. */
  readonly userFeatureMap: string;
  /** `item_features.ascii`: one-hot item attributes, I lines. */
  readonly itemFeatures: string;
  /** `item_features_map.txt`: `attribute:value` of each of those columns, a line each. */
  readonly itemFeatureMap: string;
}

/** Names of Coat's files below its folder: what errors call them by default, and where `readCoat` looks. */
export const COAT_FILES: Readonly<Record<keyof CoatFiles, string>> = Object.freeze({
  train: 'train.ascii',
  truth: 'coat_pseudoGT_ratingM.ascii',
  test: 'test.ascii',
  userFeatures: 'user_item_features/user_features.ascii',
  userFeatureMap: 'user_item_features/user_features_map.txt',
  itemFeatures: 'user_item_features/item_features.ascii',
  itemFeatureMap: 'user_item_features/item_features_map.txt',
});

const coatOptions = z.strictObject({
  attributes: z.enum(['gender+paper', 'paper']).default('gender+paper'),
  sources: z.partialRecord(z.enum(Object.keys(COAT_FILES) as [keyof CoatFiles]), z.string().min(1)).default({}),
});

/** Options of {@link parseCoat}. */
export interface CoatOptions {
  /**
   * What a coat's text says: `'paper'` is its "jacket colour; type"; `'gender+paper'` puts the gender before, without which half the coats
   * are for nobody (a departure from the paper, declared in the docs).
   * @default 'gender+paper'
   */
  readonly attributes?: 'gender+paper' | 'paper';
  /**
   * What errors call each file: its path, say.
   * @default {@link COAT_FILES}
   */
  readonly sources?: Readonly<Partial<Record<keyof CoatFiles, string>>>;
}

/** Coat Shopping, read. U users by I items; the real files have 290 by 300 (the paper's Table 2 has them swapped). */
export interface CoatData {
  /**
   * The coats, ids `coat-0`.. by column. Attributes `gender`, `colour`, `type` (or the last two); `frontPage`, `title` (and `gender`) as
   * extra ones. The title is the same in words, "women's navy trench coat": a small language model weighs it better (`rewordedCatalog`).
   */
  readonly catalog: Catalog;
  /** Number of users, U. */
  readonly users: number;
  /** Number of items, I. */
  readonly items: number;
  /** `[U, I]` row-major ratings 1-5 of what the user chose to rate, 0 = not rated. */
  readonly train: Float32Array;
  /** Number of ratings in `train`, those above 0. */
  readonly trainRatings: number;
  /** `[U, I]` completed ratings, 1-5: the reward of the `truth` worlds. */
  readonly truth: Float32Array;
  /** `[U, I]` ratings of items drawn at random, 0 = not rated; undefined when the file was not given. */
  readonly test: Float32Array | undefined;
  /** Number of ratings in `test`; 0 when it was not given. */
  readonly testRatings: number;
  /** `[U, userFeatureWidth]` one-hot: gender, age, location, fashion interest. The context of a Coat state. */
  readonly userFeatures: Float32Array;
  /** Columns of `userFeatures`, 14 in the real files. */
  readonly userFeatureWidth: number;
  /** `attribute:value` of each of those columns. */
  readonly userFeatureNames: readonly string[];
  /** `[I, itemFeatureWidth]` one-hot: gender, jacket type, colour, front page. */
  readonly itemFeatures: Float32Array;
  /** Columns of `itemFeatures`, 33 in the real files. */
  readonly itemFeatureWidth: number;
  /** `attribute:value` of each of those columns. */
  readonly itemFeatureNames: readonly string[];
}

/**
 * Reads Coat from the texts of its files. The number of users and items is that of `train`; every other file must agree with it, and every
 * number is checked.
 *
 * @param files - the texts.
 * @param options - what an item's text says, and the files' names for errors.
 * @throws {InvalidDataError} with file, line and column (the number's place in its line, from 1): a number that is none or out of range, a
 * line that is too short or too long, lines missing or too many, a row without exactly one 1 in each attribute, an unknown attribute.
 * @throws {InvalidArgumentError} when a file is not a string or an option is wrong.
 */
export function parseCoat(files: CoatFiles, options: CoatOptions = {}): CoatData {
  const { attributes, sources } = checkOptions(coatOptions, options, 'parseCoat');
  checkObject('parseCoat', 'files', files);
  const source = (file: keyof CoatFiles): string => sources[file] ?? COAT_FILES[file];
  for (const file of Object.keys(COAT_FILES) as (keyof CoatFiles)[]) {
    const text: unknown = files[file];
    if (typeof text === 'string' || (file === 'test' && text === undefined)) continue;
    throw new InvalidArgumentError(
      `parseCoat: expected \`files.${file}\` to be the text of ${source(file)}, got ${typeof text}`,
      {
        argument: `files.${file}`,
        wanted: 'a string',
        got: text,
      },
    );
  }
  const train = parseMatrix(files.train, { source: source('train'), lowest: 0, highest: 5 });
  const { rows: users, columns: items } = train;
  const shape = { rows: users, columns: items };
  const truth = parseMatrix(files.truth, { source: source('truth'), lowest: 1, highest: 5, ...shape });
  const test =
    files.test === undefined
      ? undefined
      : parseMatrix(files.test, { source: source('test'), lowest: 0, highest: 5, ...shape });
  const user = parseOneHot(
    files.userFeatures,
    files.userFeatureMap,
    source('userFeatures'),
    source('userFeatureMap'),
    users,
  );
  const item = parseOneHot(
    files.itemFeatures,
    files.itemFeatureMap,
    source('itemFeatures'),
    source('itemFeatureMap'),
    items,
  );
  const paper = ['colour', 'type'];
  const catalog = Catalog.fromItems(coats(item, items, source('itemFeatureMap')), {
    scenario: 'clothing shopping',
    itemNoun: 'coat',
    behavior: 'purchase',
    attributes: attributes === 'paper' ? paper : ['gender', ...paper],
    extraAttributes: [...(attributes === 'paper' ? ['gender'] : []), 'frontPage', 'title'],
  });
  return {
    catalog,
    users,
    items,
    train: train.data,
    trainRatings: rated(train.data),
    truth: truth.data,
    test: test?.data,
    testRatings: test === undefined ? 0 : rated(test.data),
    userFeatures: user.data,
    userFeatureWidth: user.names.length,
    userFeatureNames: user.names,
    itemFeatures: item.data,
    itemFeatureWidth: item.names.length,
    itemFeatureNames: item.names,
  };
}

interface Matrix {
  readonly rows: number;
  readonly columns: number;
  readonly data: Float32Array;
}

interface MatrixForm {
  readonly source: string;
  /** Lowest and highest integer allowed. */
  readonly lowest: number;
  readonly highest: number;
  /** Expected shape; the first line's where it is not given. */
  readonly rows?: number;
  readonly columns?: number;
}

/** Lines of integers between spaces. */
function parseMatrix(text: string, form: MatrixForm): Matrix {
  const { source, lowest, highest } = form;
  const lines = linesOf(text);
  if (lines.length === 0)
    throw new InvalidDataError('expected a line of numbers, got an empty file', { source, line: 1 });
  const columns = form.columns ?? numbersOf(lines[0] as string).length;
  if (form.rows !== undefined && lines.length !== form.rows) {
    const line = Math.min(lines.length, form.rows) + 1;
    throw new InvalidDataError(`expected ${form.rows} lines, got ${lines.length}`, { source, line });
  }
  const data = new Float32Array(lines.length * columns);
  for (const [r, text] of lines.entries()) {
    const numbers = numbersOf(text);
    for (const [c, token] of numbers.slice(0, columns).entries()) {
      const value = /^[+-]?\d+(\.0*)?$/.test(token) ? Number(token) : Number.NaN;
      if (!(value >= lowest && value <= highest)) {
        const message = `expected an integer from ${lowest} to ${highest}, got ${JSON.stringify(token.slice(0, 40))}`;
        throw new InvalidDataError(message, { source, line: r + 1, column: c + 1 });
      }
      data[r * columns + c] = value;
    }
    if (numbers.length !== columns) {
      const column = Math.min(numbers.length, columns) + 1;
      throw new InvalidDataError(`expected ${columns} numbers, got ${numbers.length}`, { source, line: r + 1, column });
    }
  }
  return { rows: lines.length, columns, data };
}

interface OneHot {
  readonly data: Float32Array;
  readonly names: readonly string[];
  /** The columns of each attribute, in order of the map. */
  readonly groups: ReadonlyMap<string, { readonly columns: readonly number[]; readonly values: readonly string[] }>;
}

function parseOneHot(text: string, map: string, source: string, mapSource: string, rows: number): OneHot {
  const names = linesOf(map);
  const groups = new Map<string, { columns: number[]; values: string[] }>();
  for (const [c, name] of names.entries()) {
    const colon = name.indexOf(':');
    if (colon < 1 || colon === name.length - 1) {
      const message = `expected \`attribute:value\`, got ${JSON.stringify(name.slice(0, 80))}`;
      throw new InvalidDataError(message, { source: mapSource, line: c + 1, column: 1 });
    }
    const attribute = name.slice(0, colon);
    const value = name.slice(colon + 1);
    const group = groups.get(attribute) ?? { columns: [], values: [] };
    if (group.values.includes(value)) {
      const message = `expected each value once, got ${JSON.stringify(name)} again`;
      throw new InvalidDataError(message, { source: mapSource, line: c + 1, column: colon + 2, field: attribute });
    }
    group.columns.push(c);
    group.values.push(value);
    groups.set(attribute, group);
  }
  if (names.length === 0)
    throw new InvalidDataError('expected a line for each column, got an empty file', { source: mapSource, line: 1 });
  const { data } = parseMatrix(text, { source, lowest: 0, highest: 1, rows, columns: names.length });
  for (let r = 0; r < rows; r++) {
    for (const [attribute, { columns }] of groups) {
      const ones = columns.filter((c) => data[r * names.length + c] === 1);
      if (ones.length === 1) continue;
      const column = (ones[1] ?? columns[0] ?? 0) + 1;
      throw new InvalidDataError(`expected exactly one 1 for ${attribute}, got ${ones.length}`, {
        source,
        line: r + 1,
        column,
        field: attribute,
      });
    }
  }
  return { data, names, groups };
}

/** Attribute names of the map against ours. */
const ITEM_ATTRIBUTES = { gender: 'gender', colour: 'color', type: 'jackettype', frontPage: 'onfrontpage' } as const;

function coats(features: OneHot, items: number, mapSource: string): Item[] {
  const attributes = Object.entries(ITEM_ATTRIBUTES).map(([name, column]) => {
    const group = features.groups.get(column);
    if (group !== undefined) return { name, ...group };
    const message = `expected lines \`${column}:...\`, got none`;
    throw new InvalidDataError(message, { source: mapSource, line: features.names.length + 1, field: column });
  });
  return Array.from({ length: items }, (_, i) => {
    const own = Object.fromEntries(
      attributes.map(({ name, columns, values }) => [
        name,
        values[columns.findIndex((c) => features.data[i * features.names.length + c] === 1)],
      ]),
    ) as CoatAttributes;
    return { ...own, id: `coat-${i}`, title: titleOf(own) };
  });
}

type CoatAttributes = Readonly<Record<keyof typeof ITEM_ATTRIBUTES, string>>;

/** What people call the types that are not called "… jacket". */
const TYPE_WORDS: ReadonlyMap<string, string> = new Map([
  ['other', 'jacket'],
  ['parkas', 'parka'],
  ['pea', 'pea coat'],
  ['shells', 'shell jacket'],
  ['trench', 'trench coat'],
  ['vests', 'vest'],
]);
const COLOUR_WORDS: ReadonlyMap<string, string> = new Map([
  ['multi', 'multicolor'],
  ['other', ''],
]);

function titleOf({ gender, colour, type }: CoatAttributes): string {
  const words = [`${gender}'s`, COLOUR_WORDS.get(colour) ?? colour, TYPE_WORDS.get(type) ?? `${type} jacket`];
  return words.filter((word) => word !== '').join(' ');
}

/** Lines without their ends; a last line may lack its line break, a byte order mark is no part of the first. */
function linesOf(text: string): string[] {
  const lines = (text.startsWith('\ufeff') ? text.slice(1) : text).split(/\r?\n/);
  if (lines.at(-1) === '') lines.pop();
  return lines;
}

function numbersOf(line: string): string[] {
  const trimmed = line.trim();
  return trimmed === '' ? [] : trimmed.split(/[ \t]+/);
}

function rated(matrix: Float32Array): number {
  return matrix.reduce((n, rating) => n + (rating > 0 ? 1 : 0), 0);
}
