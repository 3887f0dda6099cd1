import { z } from 'zod';
import { InvalidArgumentError, InvalidDataError } from '../foundation/errors.js';
import type { JsonValue } from '../foundation/json.js';
import { checkOptions, describeValue } from '../foundation/options.js';
import { Catalog, type Item } from './catalog.js';
import { parseJsonText } from './json-text.js';
import { Sequences } from './sequences.js';

/** Names of the Amazon files in their folder: what errors call them by default, and where `readAmazon` looks. */
export const AMAZON_FILES: Readonly<Record<'items' | 'interactions', string>> = Object.freeze({
  items: 'Scientific.item.json',
  interactions: 'Scientific.inter.json',
});

const amazonOptions = z.strictObject({
  category: z.enum(['leaf', 'path']).default('leaf'),
  itemsSource: z.string().min(1).default(AMAZON_FILES.items),
  interactionsSource: z.string().min(1).default(AMAZON_FILES.interactions),
});

/** Options of {@link parseAmazon}. */
export interface AmazonOptions {
  /**
   * What `category` says in an item's text: the last name of the path ("Wood Screws"), or all below the top ("Fasteners > Screws > Wood
   * Screws"). The other one and the level-2 name are extra attributes either way.
   * @default 'leaf'
   */
  readonly category?: 'leaf' | 'path';
  /**
   * What errors call the items file.
   * @default 'Scientific.item.json'
   */
  readonly itemsSource?: string;
  /**
   * What errors call the interactions file.
   * @default 'Scientific.inter.json'
   */
  readonly interactionsSource?: string;
}

/** The paper's "Industry", from the Amazon files. */
export interface AmazonData {
  /**
   * Attributes `title`, `category`, `brand`; extra ones `level2` (the category below the top one) and `path` (or `leaf`). A full stop that the
   * preprocessing put behind every title is taken off. Indices are in the order of the file's ids.
   */
  readonly catalog: Catalog;
  /** One sequence a user, oldest first. */
  readonly sequences: Sequences;
}

/**
 * Reads the Amazon JSON: items `{id: {title, brand, categories}}` and interactions `{user: [item id, ...]}`, oldest first.
 * Object keys that look like integers come in ascending order, as JSON.parse gives them: ids "0".."4343" are their own indices.
 *
 * @param itemsJson - text of the items file.
 * @param interactionsJson - text of the interactions file.
 * @param options - which category name the text shows, and the files' names for errors.
 * @throws {InvalidDataError} with the file and line and column (not JSON), or the file and field (a wrong type, an item that is not there).
 * @throws {InvalidArgumentError} when a file is not a string or an option is wrong.
 */
export function parseAmazon(itemsJson: string, interactionsJson: string, options: AmazonOptions = {}): AmazonData {
  const { category, itemsSource, interactionsSource } = checkOptions(amazonOptions, options, 'parseAmazon');
  const items = Object.entries(parseObject(itemsJson, itemsSource, 'itemsJson')).map(([id, fields]) =>
    parseItem(id, fields, category, itemsSource),
  );
  if (items.length < 2)
    throw new InvalidDataError(`expected at least 2 items, got ${items.length}`, { source: itemsSource });
  const other = category === 'leaf' ? 'path' : 'leaf';
  const catalog = Catalog.fromItems(items, {
    scenario: 'e-commerce',
    itemNoun: 'product',
    behavior: 'purchase',
    attributes: ['title', 'category', 'brand'],
    extraAttributes: ['level2', other],
  });
  const users: string[] = [];
  const lists: number[][] = [];
  for (const [user, list] of Object.entries(parseObject(interactionsJson, interactionsSource, 'interactionsJson'))) {
    const field = JSON.stringify(user);
    if (user === '' || !Array.isArray(list) || list.length === 0) {
      const wanted = user === '' ? 'a user id that is not empty' : `a list of item ids for user ${field}`;
      const got = user === '' ? '""' : Array.isArray(list) ? 'an empty list' : describeValue(list);
      throw new InvalidDataError(`expected ${wanted}, got ${got}`, { source: interactionsSource, field });
    }
    users.push(user);
    lists.push(
      list.map((id: unknown, place) => {
        const index = typeof id === 'string' || Number.isInteger(id) ? catalog.find(String(id)) : undefined;
        if (index !== undefined) return index;
        const message = `expected the id of an item of ${itemsSource} for user ${field}, place ${place}, got ${describeValue(id)}`;
        throw new InvalidDataError(message, { source: interactionsSource, field: `${field}[${place}]` });
      }),
    );
  }
  return { catalog, sequences: Sequences.from(lists, { itemCount: catalog.size, users }) };
}

/**
 * Names of a category path, from the top. Names hold commas themselves ("Test, Measure & Inspect"); there a space follows the comma, and
 * between names none does.
 */
export function categoryPath(categories: string): string[] {
  return categories
    .split(/,(?! )/)
    .map((name) => name.trim())
    .filter((name) => name !== '');
}

function parseItem(id: string, fields: JsonValue, category: 'leaf' | 'path', source: string): Item {
  const field = JSON.stringify(id);
  if (id === '' || id.length > 512) {
    throw new InvalidDataError(`expected an item id of 1 to 512 characters, got ${id.length}`, { source, field });
  }
  if (fields === null || typeof fields !== 'object' || Array.isArray(fields)) {
    throw new InvalidDataError(`expected an object for item ${field}, got ${describeValue(fields)}`, { source, field });
  }
  const text = (name: string): string => {
    const value: unknown = Object.hasOwn(fields, name) ? (fields as Readonly<Record<string, JsonValue>>)[name] : '';
    if (typeof value === 'string') return value;
    const message = `expected \`${name}\` of item ${field} to be a string, got ${describeValue(value)}`;
    throw new InvalidDataError(message, { source, field: `${field}.${name}` });
  };
  const names = categoryPath(text('categories'));
  // The top name is that of the whole file ("Industrial & Scientific"): alone it tells nothing, so the category counts as missing.
  const below = names.slice(1);
  const leaf = below.at(-1) ?? '';
  const path = below.join(' > ');
  const shown = category === 'leaf' ? { category: leaf, path } : { category: path, leaf };
  return { id, title: text('title').replace(/\.$/, ''), brand: text('brand'), level2: below[0] ?? '', ...shown };
}

function parseObject(json: string, source: string, argument: string): Readonly<Record<string, JsonValue>> {
  if (typeof json !== 'string') {
    throw new InvalidArgumentError(
      `parseAmazon: expected \`${argument}\` to be the text of ${source}, got ${typeof json}`,
      {
        argument,
        wanted: 'a string',
        got: json,
      },
    );
  }
  const value = parseJsonText(json, source);
  if (value !== null && typeof value === 'object' && !Array.isArray(value))
    return value as Readonly<Record<string, JsonValue>>;
  throw new InvalidDataError(`expected an object, got ${describeValue(value)}`, { source, line: 1, column: 1 });
}
