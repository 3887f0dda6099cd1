import { z } from 'zod';
import { InvalidArgumentError } from '../foundation/errors.js';
import { checkOptions, closest, describeValue } from '../foundation/options.js';
import { sha256Hex } from '../foundation/sha256.js';

/** The name of an item as its owner wrote it: any non-empty string of at most 512 characters. Everything saved carries these. */
export type ItemId = string;

/** Dense index of an item in one {@link Catalog}, 0..A-1: the action. Only the catalogue converts between it and {@link ItemId}. */
export type ItemIndex = number;

/** One item: its id and its text attributes by name. An attribute that is absent or `''` is missing. */
export type Item = {
  /** Its id, unique in the catalogue. */
  readonly id: ItemId;
} & Readonly<Record<string, string>>;

/** The longest id, in UTF-16 code units. */
const ID_LENGTH = 512;

const attributeName = z.string().min(1).max(64);
const catalogOptions = z.strictObject({
  scenario: z.string().min(1).max(200),
  itemNoun: z.string().min(1).max(100),
  behavior: z.string().min(1).max(100),
  attributes: z.array(attributeName).min(1).max(32),
  extraAttributes: z.array(attributeName).max(32).optional(),
});

/** What a {@link Catalog} has to know beside its items: the words of the paper's Table 1 and the attributes. */
export interface CatalogOptions {
  /** `{scenario}` of Table 1: "You are a user in a {scenario} platform now", for example `'music'`. */
  readonly scenario: string;
  /** `{item}` of Table 1, in the singular, for example `'track'`. */
  readonly itemNoun: string;
  /** `{behavior}` of Table 1, an adjectival noun, for example `'listening'` or `'purchase'`. */
  readonly behavior: string;
  /** Names of the attributes that make an item's text, in the order in which prompts show them; 1 to 32, none called `id`. */
  readonly attributes: readonly string[];
  /**
   * Further named attributes that items may carry and {@link Catalog.attributeCodes} can read, but no prompt shows: a level-2 category, say.
   * @default []
   */
  readonly extraAttributes?: readonly string[];
}

/**
 * The items that can be recommended: string ids to dense indices and back, and the text that a language model reads.
 * Immutable. Look-ups go through a `Map`, so that ids such as `__proto__` are harmless.
 */
export class Catalog {
  /** Number of items, A. */
  readonly size: number;
  /** `{scenario}` of Table 1. */
  readonly scenario: string;
  /** `{item}` of Table 1. */
  readonly itemNoun: string;
  /** `{behavior}` of Table 1. */
  readonly behavior: string;
  /** Names of the attributes that make an item's text, in order. */
  readonly attributes: readonly string[];
  /** Names of the attributes that no prompt shows. */
  readonly extraAttributes: readonly string[];
  readonly #ids: readonly string[];
  readonly #indices: ReadonlyMap<string, number>;
  readonly #columns: ReadonlyMap<string, readonly string[]>;
  readonly #codes = new Map<string, { readonly codes: Int32Array; readonly values: readonly string[] }>();
  #fingerprint: Promise<string> | undefined;

  private constructor(
    options: z.output<typeof catalogOptions>,
    ids: readonly string[],
    indices: ReadonlyMap<string, number>,
    columns: ReadonlyMap<string, readonly string[]>,
  ) {
    this.size = ids.length;
    this.scenario = options.scenario;
    this.itemNoun = options.itemNoun;
    this.behavior = options.behavior;
    this.attributes = Object.freeze([...options.attributes]);
    this.extraAttributes = Object.freeze([...(options.extraAttributes ?? [])]);
    this.#ids = Object.freeze(ids);
    this.#indices = indices;
    this.#columns = columns;
  }

  /**
   * Makes a catalogue; the index of an item is its place in `items`.
   *
   * @param items - at least two, ids unique.
   * @param options - the words of Table 1 and the attribute names.
   * @throws {InvalidArgumentError} naming the item and its place: an id that is empty, too long or there twice, an attribute that is not a
   * string or that `attributes` and `extraAttributes` do not name; fewer than two items; options out of range.
   */
  static fromItems(items: Iterable<Item>, options: CatalogOptions): Catalog {
    const checked = checkOptions(catalogOptions, options, 'Catalog.fromItems');
    const names = attributeNames(checked.attributes, checked.extraAttributes ?? []);
    const known = new Set(['id', ...names]);
    const columns = new Map<string, string[]>(names.map((name) => [name, []]));
    const ids: string[] = [];
    const indices = new Map<string, number>();
    if (items === null || typeof items !== 'object' || typeof items[Symbol.iterator] !== 'function') {
      throw refusal('items', 'an iterable of items', items, `got ${describeValue(items)}`);
    }
    for (const item of items) {
      const place = `items[${ids.length}]`;
      if (item === null || typeof item !== 'object' || Array.isArray(item)) {
        throw refusal(place, 'an object with an id', item, `got ${describeValue(item)}`);
      }
      const id: unknown = Object.hasOwn(item, 'id') ? item.id : undefined;
      if (typeof id !== 'string' || id === '' || id.length > ID_LENGTH) {
        const got = typeof id === 'string' && id !== '' ? `got ${id.length} characters` : `got ${describeValue(id)}`;
        throw refusal(`${place}.id`, `a non-empty string of at most ${ID_LENGTH} characters`, id, got);
      }
      const before = indices.get(id);
      if (before !== undefined) {
        throw refusal(`${place}.id`, 'unique', id, `got ${describeValue(id)}, which items[${before}] has too`);
      }
      for (const key of Object.keys(item)) {
        if (known.has(key)) continue;
        const near = closest(key, names);
        const hint =
          near === undefined
            ? `known are ${names.map(describeValue).join(', ')}`
            : `did you mean ${describeValue(near)}?`;
        throw refusal(
          `${place} (id ${describeValue(id)})`,
          'without unknown attributes',
          key,
          `got ${describeValue(key)}; ${hint}`,
        );
      }
      for (const [name, column] of columns) {
        const value: unknown = Object.hasOwn(item, name) ? item[name] : undefined;
        if (value !== undefined && typeof value !== 'string') {
          throw refusal(
            `${place}.${name} (id ${describeValue(id)})`,
            'a string, or absent',
            value,
            `got ${describeValue(value)}`,
          );
        }
        column.push(value ?? '');
      }
      indices.set(id, ids.length);
      ids.push(id);
    }
    if (ids.length < 2)
      throw refusal('items', 'at least 2 items, or there is nothing to choose', ids.length, `got ${ids.length}`);
    return new Catalog(checked, ids, indices, columns);
  }

  /** Whether an item of this id is in the catalogue. */
  has(id: ItemId): boolean {
    return this.#indices.has(id);
  }

  /**
   * Index of an id.
   * @throws {InvalidArgumentError} when the catalogue has no such item, with the nearest id that it has.
   */
  indexOf(id: ItemId): ItemIndex {
    const index = this.#indices.get(id);
    if (index !== undefined) return index;
    const near = typeof id === 'string' ? closest(id, this.#ids) : undefined;
    const hint = near === undefined ? `the catalogue has ${this.size} items` : `did you mean ${describeValue(near)}?`;
    throw refusal('id', 'the id of an item of the catalogue', id, `got ${describeValue(id)}; ${hint}`);
  }

  /** Index of an id, or undefined when the catalogue has no such item: for data that may name unknown ones. */
  find(id: ItemId): ItemIndex | undefined {
    return this.#indices.get(id);
  }

  /**
   * Id of an index, 0..A-1.
   * @throws {InvalidArgumentError} when the index is out of range.
   */
  id(index: ItemIndex): ItemId {
    return at(this.#ids, index);
  }

  /** All ids, by index. Frozen. */
  ids(): readonly ItemId[] {
    return this.#ids;
  }

  /**
   * An attribute of one item as it was given; `''` when it is missing.
   * @throws {InvalidArgumentError} when the index is out of range or the catalogue has no such attribute.
   */
  attribute(index: ItemIndex, name: string): string {
    return at(this.#column(name), index);
  }

  /**
   * What a prompt says of an item: its attributes in order, joined by `'; '` ("title; album; artist"). Runs of white space, line breaks
   * included, become one space, because a prompt is read by lines. A missing attribute is left out together with its separator (a word such
   * as "unknown" would make all such items alike to a text reader); an item with no attribute at all is shown by its id.
   *
   * @throws {InvalidArgumentError} when the index is out of range.
   */
  text(index: ItemIndex): string {
    const id = at(this.#ids, index);
    const parts: string[] = [];
    for (const name of this.attributes) {
      const value = oneLine((this.#column(name) as readonly string[])[index] as string);
      if (value !== '') parts.push(value);
    }
    return parts.length === 0 ? oneLine(id) : parts.join('; ');
  }

  /** {@link Catalog.text} of every item, by index. */
  texts(): string[] {
    return this.#ids.map((_, index) => this.text(index));
  }

  /**
   * Dense codes of an attribute's values, `[A]`: 0.. in order of first appearance, items of equal value having equal codes. Missing is -1,
   * and -1 matches nothing, not even another -1. Computed once; the caller must not write to it.
   *
   * @throws {InvalidArgumentError} when the catalogue has no such attribute.
   */
  attributeCodes(name: string): Int32Array {
    return this.#coded(name).codes;
  }

  /**
   * The distinct values of an attribute; the place of a value is its code in {@link Catalog.attributeCodes}.
   * @throws {InvalidArgumentError} when the catalogue has no such attribute.
   */
  attributeValues(name: string): readonly string[] {
    return this.#coded(name).values;
  }

  /** SHA-256, in hexadecimal, of ids and attributes in order: two catalogues with the same one mean the same by every index. */
  fingerprint(): Promise<string> {
    this.#fingerprint ??= sha256Hex(
      JSON.stringify([this.attributes, this.extraAttributes, this.#ids, [...this.#columns.values()]]),
    );
    return this.#fingerprint;
  }

  #coded(name: string): { readonly codes: Int32Array; readonly values: readonly string[] } {
    let coded = this.#codes.get(name);
    if (coded === undefined) {
      const seen = new Map<string, number>();
      const codes = Int32Array.from(this.#column(name), (value) => {
        if (value === '') return -1;
        const code = seen.get(value) ?? seen.size;
        seen.set(value, code);
        return code;
      });
      coded = { codes, values: Object.freeze([...seen.keys()]) };
      this.#codes.set(name, coded);
    }
    return coded;
  }

  #column(name: string): readonly string[] {
    const column = this.#columns.get(name);
    if (column !== undefined) return column;
    const names = [...this.#columns.keys()];
    const near = typeof name === 'string' ? closest(name, names) : undefined;
    const hint =
      near === undefined ? `known are ${names.map(describeValue).join(', ')}` : `did you mean ${describeValue(near)}?`;
    throw refusal('attribute', 'an attribute of the catalogue', name, `got ${describeValue(name)}; ${hint}`);
  }
}

function attributeNames(attributes: readonly string[], extra: readonly string[]): string[] {
  const names = [...attributes, ...extra];
  const seen = new Set<string>();
  for (const [i, name] of names.entries()) {
    const argument = i < attributes.length ? `attributes[${i}]` : `extraAttributes[${i - attributes.length}]`;
    if (name === 'id') throw refusal(argument, 'a name other than "id", which is the item itself', name, 'got "id"');
    if (seen.has(name))
      throw refusal(argument, 'a name that stands there once', name, `got ${describeValue(name)} again`);
    seen.add(name);
  }
  return names;
}

function at(values: readonly string[], index: number): string {
  const value = Number.isInteger(index) ? values[index] : undefined;
  if (value === undefined) {
    throw refusal('index', `an item index from 0 to ${values.length - 1}`, index, `got ${describeValue(index)}`);
  }
  return value;
}

function oneLine(text: string): string {
  return text.replace(/[\s\p{Cc}]+/gu, ' ').trim();
}

function refusal(argument: string, wanted: string, got: unknown, told: string): InvalidArgumentError {
  return new InvalidArgumentError(`Catalog: expected \`${argument}\` to be ${wanted}, ${told}`, {
    argument,
    wanted,
    got,
  });
}
