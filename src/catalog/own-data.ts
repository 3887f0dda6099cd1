import { z } from 'zod';
import { InvalidArgumentError, InvalidDataError } from '../foundation/errors.js';
import { checkOptions, closest, describeValue } from '../foundation/options.js';
import { Catalog, type CatalogOptions, type Item } from './catalog.js';
import { eachRow, uniqueRowId } from './own-rows.js';
import { Sequences } from './sequences.js';
import type { TextSource } from './text-source.js';

const name = z.string().min(1).max(200);
const form = {
  format: z.enum(['csv', 'jsonl']),
  source: z.string().min(1).default('input'),
  delimiter: z
    .string()
    .refine(
      (value) => value.length === 1 && !'"\r\n'.includes(value),
      'one character, neither a quote nor a line break',
    )
    .default(','),
  maxLineLength: z.int().min(16).max(100_000_000).default(1_000_000),
  tornLastLine: z.enum(['error', 'skip']).default('error'),
};
const itemsOptions = z.strictObject({
  ...form,
  idColumn: name.default('id'),
  scenario: z.string(),
  itemNoun: z.string(),
  behavior: z.string(),
  attributes: z.array(name).min(1),
  extraAttributes: z.array(name).default([]),
});
const interactionsOptions = z.strictObject({
  ...form,
  catalog: z.custom<Catalog>((value) => value instanceof Catalog, 'a Catalog'),
  userColumn: name.default('user'),
  itemColumn: name.default('item'),
  timestampColumn: name.optional(),
  ratingColumn: name.optional(),
  minRating: z.number().optional(),
  unknownItems: z.enum(['error', 'skip']).default('error'),
  minLength: z.int().min(1).default(1),
});

const itemNumbersOptions = z.strictObject({
  ...form,
  catalog: z.custom<Catalog>((value) => value instanceof Catalog, 'a Catalog'),
  idColumn: name.default('id'),
  valueColumn: name.default('rating'),
});

/** How a user's own file is written. */
export interface OwnDataForm {
  /** `'csv'`: a header line, then RFC 4180 records. `'jsonl'`: one JSON object a line. */
  readonly format: 'csv' | 'jsonl';
  /**
   * What errors call the data: the file's path, say.
   * @default 'input'
   */
  readonly source?: string;
  /**
   * Character between the fields of a CSV record: `'\t'` for TSV.
   * @default ','
   */
  readonly delimiter?: string;
  /**
   * The longest line (CSV: record) allowed, in UTF-16 code units, 16 to 100,000,000.
   * @default 1000000
   */
  readonly maxLineLength?: number;
  /**
   * What to do about a last line that no line break ends and that cannot be read: an interrupted download or append. `'skip'` leaves it out
   * and counts it; a CSV record cut inside its last field looks whole and is kept.
   * @default 'error'
   */
  readonly tornLastLine?: 'error' | 'skip';
}

/** Options of {@link parseItems}: the file's form, and those of {@link Catalog.fromItems}. */
export interface ParseItemsOptions extends OwnDataForm, CatalogOptions {
  /**
   * Column (CSV) or field (JSONL) that holds the id.
   * @default 'id'
   */
  readonly idColumn?: string;
}

/** Options of {@link parseInteractions}. */
export interface ParseInteractionsOptions extends OwnDataForm {
  /** The items that the interactions are with. */
  readonly catalog: Catalog;
  /**
   * Column or field that holds the user.
   * @default 'user'
   */
  readonly userColumn?: string;
  /**
   * Column or field that holds the item's id.
   * @default 'item'
   */
  readonly itemColumn?: string;
  /**
   * Column or field that holds a number that grows with time; a user's interactions are put in its order, ties in the file's.
   * @default undefined: the order of the file is that of time
   */
  readonly timestampColumn?: string;
  /**
   * Column or field that holds a rating; needed for `minRating`.
   * @default undefined: no rating is read
   */
  readonly ratingColumn?: string;
  /**
   * Interactions rated lower are left out and counted.
   * @default undefined: all are kept
   */
  readonly minRating?: number;
  /**
   * What to do about an item that the catalogue lacks: `'skip'` leaves the interaction out and counts it.
   * @default 'error'
   */
  readonly unknownItems?: 'error' | 'skip';
  /**
   * Users with fewer interactions (after the above) are left out and counted.
   * @default 1
   */
  readonly minLength?: number;
}

/** Options of {@link parseItemNumbers}. */
export interface ParseItemNumbersOptions extends OwnDataForm {
  /** The items that the numbers are of. */
  readonly catalog: Catalog;
  /**
   * Column or field that holds the item's id.
   * @default 'id'
   */
  readonly idColumn?: string;
  /**
   * Column or field that holds the number.
   * @default 'rating'
   */
  readonly valueColumn?: string;
}

/** What {@link parseInteractions} read, and what it left out. */
export interface OwnInteractions {
  /** One sequence a user, oldest first; users in order of first appearance. */
  readonly sequences: Sequences;
  /** Records read. */
  readonly records: number;
  /** Records left out because the catalogue has no such item. */
  readonly unknownItems: number;
  /** Records left out because they were rated below `minRating`. */
  readonly belowRating: number;
  /** Users left out because they had fewer than `minLength` interactions. */
  readonly shortUsers: number;
  /** 1 if a torn last line was left out, else 0. */
  readonly tornLines: number;
}

/**
 * Reads a catalogue from CSV or JSONL, streaming. Columns that are neither the id nor named in `attributes` or `extraAttributes` are not
 * read. In JSONL ids and attributes may be strings or finite numbers, and an attribute may be absent or null: missing.
 *
 * @param input - the text.
 * @param options - the file's form and the catalogue's options.
 * @throws {InvalidDataError} with source, line, and column (the field's place in its record, CSV) or field: a column that is not there, a
 * record that is too long or short, an id that is empty, too long or there twice, bad quotes, bad JSON, bytes that are not UTF-8, fewer than
 * two items.
 * @throws {InvalidArgumentError} when an option is wrong.
 */
export async function parseItems(input: TextSource, options: ParseItemsOptions): Promise<Catalog> {
  const { idColumn, extraAttributes, attributes, scenario, itemNoun, behavior, ...form } = checkOptions(
    itemsOptions,
    options,
    'parseItems',
  );
  const catalogOptions = { scenario, itemNoun, behavior, attributes, extraAttributes };
  const names = [...attributes, ...extraAttributes];
  // The catalogue checks names and words of its own: before the file is read, not after.
  Catalog.fromItems([{ id: 'a' }, { id: 'b' }], catalogOptions);
  const items: Item[] = [];
  const lines = new Map<string, number>();
  await eachRow(input, form, { columns: [idColumn, ...names], needed: [idColumn] }, (row) => {
    if (row === 'torn') return;
    const id = uniqueRowId(row, idColumn, lines);
    const item: Record<string, string> & { id: string } = { id };
    for (const name of names) define(item, name, row.text(name));
    items.push(item);
  });
  if (items.length < 2)
    throw new InvalidDataError(`expected at least 2 items, got ${items.length}`, { source: form.source });
  return Catalog.fromItems(items, catalogOptions);
}

/**
 * Reads one number for each item from CSV or JSONL, streaming: ratings, counts, margins. Records in any order; other columns are not read.
 *
 * @param input - the text.
 * @param options - the file's form, its columns, and the catalogue.
 * @returns `[A]`, by item index.
 * @throws {InvalidDataError} with source, line, and column (CSV) or field: an item that the catalogue lacks, or that stands there twice, a
 * number that is none or not finite, items without a number, and what `parseItems` refuses.
 * @throws {InvalidArgumentError} when an option is wrong.
 */
export async function parseItemNumbers(input: TextSource, options: ParseItemNumbersOptions): Promise<Float64Array> {
  const checked = checkOptions(itemNumbersOptions, options, 'parseItemNumbers');
  const { catalog, idColumn, valueColumn, ...form } = checked;
  const numbers = new Float64Array(catalog.size).fill(Number.NaN);
  const lines = new Map<string, number>();
  const columns = [idColumn, valueColumn];
  await eachRow(input, form, { columns, needed: columns }, (row) => {
    if (row === 'torn') return;
    const id = uniqueRowId(row, idColumn, lines);
    if (!catalog.has(id)) throw row.error(idColumn, 'an item of the catalogue', describeValue(id));
    numbers[catalog.indexOf(id)] = row.number(valueColumn);
  });
  const missing = numbers.findIndex(Number.isNaN);
  if (missing >= 0) {
    const message = `expected a number for each of ${catalog.size} items, got ${lines.size}; there is none for ${describeValue(catalog.id(missing))}`;
    throw new InvalidDataError(message, { source: form.source, field: valueColumn });
  }
  return numbers;
}

/**
 * Reads interactions with a catalogue's items from CSV or JSONL, streaming: one record an interaction, a user's records anywhere. In JSONL
 * user and item may be strings or integers, ratings and timestamps numbers or strings that spell one.
 *
 * @param input - the text.
 * @param options - the file's form, its columns, and what to leave out.
 * @throws {InvalidDataError} with source, line, and column (the field's place in its record, CSV) or field: a column that is not there, a
 * record that is too long or short, an empty user, an unknown item (unless skipped), a rating or timestamp that is no finite number, bad
 * quotes, bad JSON, bytes that are not UTF-8.
 * @throws {InvalidArgumentError} when an option is wrong, or `minRating` is given without `ratingColumn`.
 */
export async function parseInteractions(
  input: TextSource,
  options: ParseInteractionsOptions,
): Promise<OwnInteractions> {
  const {
    catalog,
    userColumn,
    itemColumn,
    timestampColumn,
    ratingColumn,
    minRating,
    unknownItems,
    minLength,
    ...form
  } = checkOptions(interactionsOptions, options, 'parseInteractions');
  if (minRating !== undefined && ratingColumn === undefined) {
    throw new InvalidArgumentError('parseInteractions: expected `ratingColumn` beside `minRating`, got none', {
      argument: 'ratingColumn',
      wanted: 'the column that holds the rating',
      got: undefined,
    });
  }
  const columns = [userColumn, itemColumn, timestampColumn, ratingColumn].filter((column) => column !== undefined);
  const users = new Map<string, { readonly items: number[]; readonly times: number[] }>();
  const left = { records: 0, unknownItems: 0, belowRating: 0, tornLines: 0 };
  await eachRow(input, form, { columns, needed: columns }, (row) => {
    if (row === 'torn') {
      left.tornLines++;
      return;
    }
    left.records++;
    const user = row.text(userColumn);
    if (user === '') throw row.error(userColumn, 'a user', '""');
    const id = row.text(itemColumn);
    const rating = ratingColumn === undefined ? 0 : row.number(ratingColumn);
    const time = timestampColumn === undefined ? 0 : row.number(timestampColumn);
    const item = catalog.find(id);
    if (item === undefined && unknownItems === 'error') {
      const near = closest(id, catalog.ids());
      const hint = near === undefined ? '' : `; did you mean ${describeValue(near)}?`;
      throw row.error(itemColumn, 'the id of an item of the catalogue', `${describeValue(id)}${hint}`);
    }
    if (item === undefined) left.unknownItems++;
    else if (minRating !== undefined && rating < minRating) left.belowRating++;
    else {
      const known = users.get(user) ?? { items: [], times: [] };
      users.set(user, known);
      known.items.push(item);
      known.times.push(time);
    }
  });
  const kept = [...users].filter(([, { items }]) => items.length >= minLength);
  const sequences = Sequences.from(
    kept.map(([, { items, times }]) => (timestampColumn === undefined ? items : inOrder(items, times))),
    { itemCount: catalog.size, users: kept.map(([user]) => user) },
  );
  return { sequences, ...left, shortUsers: users.size - kept.length };
}

/** Items by time; `sort` is stable, so ties keep the file's order. */
function inOrder(items: readonly number[], times: readonly number[]): number[] {
  const order = Array.from(items.keys()).sort((a, b) => (times[a] as number) - (times[b] as number));
  return order.map((i) => items[i] as number);
}

/** Sets an own property even where the name is `__proto__`. */
function define(item: Record<string, string>, name: string, value: string): void {
  Object.defineProperty(item, name, { value, enumerable: true, configurable: true, writable: true });
}
