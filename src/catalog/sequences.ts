import { z } from 'zod';
import { InvalidArgumentError } from '../foundation/errors.js';
import { checkOptions, describeValue } from '../foundation/options.js';
import { Rng } from '../foundation/rng.js';
import { Catalog } from './catalog.js';

const sequencesOptions = z.strictObject({
  itemCount: z.int().min(1),
  users: z.array(z.string().min(1)).optional(),
});
const seed = z.union([z.int(), z.string().min(1)]);
const fractions = z.array(z.number().gt(0).max(1)).min(1).max(20);
const splitOptions = z.strictObject({
  seed,
  fractions: fractions.default([0.7, 0.1, 0.2]),
  by: z.enum(['sequence', 'user']).default('sequence'),
});
const indexSplitOptions = z.strictObject({ seed, fractions });

/** How {@link Sequences.split} divides. */
export interface SplitOptions {
  /** The same seed gives the same parts. */
  readonly seed: number | string;
  /**
   * Share of each part, each above 0, summing to 1.
   * @default [0.7, 0.1, 0.2]
   */
  readonly fractions?: readonly number[];
  /**
   * What is dealt out: single sequences, or users with all their sequences together.
   * @default 'sequence'
   */
  readonly by?: 'sequence' | 'user';
}

/** A row of the paper's Table 2, and a little more. */
export interface SequenceStatistics {
  /** Items of the catalogue, seen or not. */
  readonly items: number;
  /** Items that occur at least once. */
  readonly itemsSeen: number;
  /** Number of sequences. */
  readonly sequences: number;
  /** Distinct users; equal to `sequences` when no users were given. */
  readonly users: number;
  /** Sum of the lengths. */
  readonly interactions: number;
  /** Names of the item attributes that prompts show; undefined when no catalogue was given. */
  readonly attributes: readonly string[] | undefined;
  /** Mean length, items a sequence; 0 when there is no sequence. */
  readonly meanLength: number;
  /** Shortest length. */
  readonly minLength: number;
  /** Median length (the lower of two middles). */
  readonly medianLength: number;
  /** Longest length. */
  readonly maxLength: number;
  /** Distinct (user, item) pairs over users x items, 0..1. */
  readonly density: number;
}

/** Item sequences of many users in two typed arrays: sequence i is `items[offsets[i] .. offsets[i + 1] - 1]`, oldest first. Immutable by convention. */
export class Sequences {
  /** Number of items of the catalogue that the indices refer to, A. */
  readonly catalogSize: number;
  /** Number of sequences. */
  readonly count: number;
  /** All sequences end to end, item indices 0..A-1. */
  readonly items: Int32Array;
  /** `[count + 1]`, where each sequence starts; the last entry is the number of interactions. */
  readonly offsets: Int32Array;
  /** User of each sequence, `[count]`, or undefined when none were given. A user may have several sequences. */
  readonly users?: readonly string[];

  private constructor(
    catalogSize: number,
    items: Int32Array,
    offsets: Int32Array,
    users: readonly string[] | undefined,
  ) {
    this.catalogSize = catalogSize;
    this.count = offsets.length - 1;
    this.items = items;
    this.offsets = offsets;
    if (users !== undefined) this.users = users;
  }

  /**
   * Packs lists of item indices.
   *
   * @param lists - one list a sequence, oldest first, each with at least one item; there may be no list at all.
   * @param options - `itemCount` is the size A of the catalogue; `users` names the user of each list.
   * @throws {InvalidArgumentError} naming the list and the place of an index outside 0..A-1, an empty list, or a wrong number of users.
   */
  static from(
    lists: Iterable<readonly number[] | Int32Array>,
    options: { readonly itemCount: number; readonly users?: readonly string[] },
  ): Sequences {
    const { itemCount, users } = checkOptions(sequencesOptions, options, 'Sequences.from');
    if (lists === null || typeof lists !== 'object' || typeof lists[Symbol.iterator] !== 'function') {
      throw refusal('lists', 'an iterable of lists of item indices', lists, `got ${describeValue(lists)}`);
    }
    const all = Array.from(lists);
    const offsets = new Int32Array(all.length + 1);
    for (const [i, list] of all.entries()) {
      if (!Array.isArray(list) && !(list instanceof Int32Array)) {
        throw refusal(`lists[${i}]`, 'an array of item indices', list, `got a value of type ${typeof list}`);
      }
      if (list.length === 0) throw refusal(`lists[${i}]`, 'at least one item long', list, 'got an empty list');
      offsets[i + 1] = (offsets[i] as number) + list.length;
    }
    const items = new Int32Array(offsets[all.length] as number);
    for (const [i, list] of all.entries()) {
      const start = offsets[i] as number;
      for (let t = 0; t < list.length; t++) {
        const item = list[t];
        if (!Number.isInteger(item) || (item as number) < 0 || (item as number) >= itemCount) {
          throw refusal(
            `lists[${i}][${t}]`,
            `an item index from 0 to ${itemCount - 1}`,
            item,
            `got ${describeValue(item)}`,
          );
        }
        items[start + t] = item as number;
      }
    }
    if (users !== undefined && users.length !== all.length) {
      throw refusal('users', `one for each of ${all.length} sequences`, users.length, `got ${users.length}`);
    }
    return new Sequences(itemCount, items, offsets, users === undefined ? undefined : Object.freeze([...users]));
  }

  /**
   * Puts the sequences of several parts one after another: the first 80 % of three parts, say.
   * @throws {InvalidArgumentError} when the parts are of catalogues of different size, or only some have users.
   */
  static concat(parts: readonly Sequences[]): Sequences {
    if (!Array.isArray(parts)) throw refusal('parts', 'an array of Sequences', parts, `got ${describeValue(parts)}`);
    for (const [p, part] of (parts as readonly unknown[]).entries()) {
      if (!(part instanceof Sequences)) throw refusal(`parts[${p}]`, 'Sequences', part, `got ${describeValue(part)}`);
    }
    const [first] = parts as readonly Sequences[];
    if (first === undefined) throw refusal('parts', 'at least one', parts, 'got none');
    const offsets = new Int32Array(parts.reduce((n, part) => n + part.count, 0) + 1);
    const items = new Int32Array(parts.reduce((n, part) => n + part.items.length, 0));
    let sequence = 0;
    for (const [p, part] of parts.entries()) {
      if (part.catalogSize !== first.catalogSize || (part.users === undefined) !== (first.users === undefined)) {
        throw refusal(
          `parts[${p}]`,
          'of the same catalogue as parts[0], both with users or both without',
          part,
          'it is not',
        );
      }
      const base = offsets[sequence] as number;
      items.set(part.items, base);
      for (let i = 1; i <= part.count; i++) offsets[++sequence] = base + (part.offsets[i] as number);
    }
    const users = first.users === undefined ? undefined : Object.freeze(parts.flatMap((part) => part.users ?? []));
    return new Sequences(first.catalogSize, items, offsets, users);
  }

  /**
   * Items of sequence i, oldest first: a view, not a copy.
   * @throws {InvalidArgumentError} when i is out of range.
   */
  sequence(i: number): Int32Array {
    if (!Number.isInteger(i) || i < 0 || i >= this.count) {
      throw refusal('i', `a sequence from 0 to ${this.count - 1}`, i, `got ${describeValue(i)}`);
    }
    return this.items.subarray(this.offsets[i], this.offsets[i + 1]);
  }

  /**
   * Deals the sequences into parts by a seeded shuffle; every sequence is in exactly one part, and each part keeps the original order.
   * Sizes are the cumulative fractions, rounded.
   *
   * @throws {InvalidArgumentError} when the fractions do not sum to 1, a part would be empty, or `by: 'user'` without users.
   */
  split(options: SplitOptions): Sequences[] {
    const { seed, fractions, by } = checkOptions(splitOptions, options, 'Sequences.split');
    if (by === 'sequence') return splitIndices(this.count, { seed, fractions }).map((part) => this.#take(part));
    const { users } = this;
    if (users === undefined) throw refusal('by', "'sequence' where the sequences have no users", by, "got 'user'");
    const groups = new Map<string, number[]>();
    for (const [i, user] of users.entries()) {
      const group = groups.get(user);
      if (group === undefined) groups.set(user, [i]);
      else group.push(i);
    }
    const lists = [...groups.values()];
    return splitIndices(lists.length, { seed, fractions }).map((part) =>
      this.#take(Int32Array.from([...part].flatMap((group) => lists[group] as number[])).sort()),
    );
  }

  /** The numbers of the paper's Table 2 and the spread of lengths. With a catalogue its attribute names are told too. */
  statistics(catalog?: Catalog): SequenceStatistics {
    if (catalog !== undefined && !(catalog instanceof Catalog)) {
      throw refusal('catalog', 'a Catalog', catalog, `got ${describeValue(catalog)}`);
    }
    const lengths = new Int32Array(this.count);
    for (let i = 0; i < this.count; i++) lengths[i] = (this.offsets[i + 1] as number) - (this.offsets[i] as number);
    lengths.sort();
    const codes = new Map<string, number>();
    const pairs = new Set<number>();
    for (let i = 0; i < this.count; i++) {
      const user = this.users === undefined ? i : userCode(codes, this.users[i] as string);
      for (const item of this.sequence(i)) pairs.add(user * this.catalogSize + item);
    }
    const users = this.users === undefined ? this.count : codes.size;
    return {
      items: this.catalogSize,
      itemsSeen: this.counts().reduce((n, count) => n + (count > 0 ? 1 : 0), 0),
      sequences: this.count,
      users,
      interactions: this.items.length,
      attributes: catalog?.attributes,
      meanLength: this.count === 0 ? 0 : this.items.length / this.count,
      minLength: lengths[0] ?? 0,
      medianLength: lengths[(this.count - 1) >> 1] ?? 0,
      maxLength: lengths[this.count - 1] ?? 0,
      density: this.count === 0 ? 0 : pairs.size / (users * this.catalogSize),
    };
  }

  /** How often each item occurs, `[A]`: the popularity of the train split. */
  counts(): Int32Array {
    const counts = new Int32Array(this.catalogSize);
    for (const item of this.items) counts[item] = (counts[item] as number) + 1;
    return counts;
  }

  #take(indices: Int32Array): Sequences {
    const offsets = new Int32Array(indices.length + 1);
    for (let n = 0; n < indices.length; n++) {
      offsets[n + 1] = (offsets[n] as number) + this.sequence(indices[n] as number).length;
    }
    const items = new Int32Array(offsets[indices.length] as number);
    for (let n = 0; n < indices.length; n++) items.set(this.sequence(indices[n] as number), offsets[n]);
    const { users } = this;
    const taken = users === undefined ? undefined : Object.freeze(Array.from(indices, (i) => users[i] as string));
    return new Sequences(this.catalogSize, items, offsets, taken);
  }
}

/**
 * Deals the indices 0..count-1 into seeded random parts, each sorted: the users of Coat into 186 / 46 / 58, say.
 * Sizes are the cumulative fractions, rounded.
 *
 * @param count - how many there are to deal.
 * @param options - the seed, and the share of each part (each above 0, summing to 1).
 * @throws {InvalidArgumentError} when the fractions do not sum to 1 or a part would be empty.
 */
export function splitIndices(
  count: number,
  options: { readonly seed: number | string; readonly fractions: readonly number[] },
): Int32Array[] {
  const { seed, fractions } = checkOptions(indexSplitOptions, options, 'splitIndices');
  if (!Number.isInteger(count) || count < 0) throw refusal('count', 'an integer of at least 0', count, `got ${count}`);
  const sum = fractions.reduce((total, fraction) => total + fraction, 0);
  if (Math.abs(sum - 1) > 1e-9) throw refusal('fractions', 'numbers that sum to 1', fractions, `got a sum of ${sum}`);
  const order = new Rng(seed).fork('split').shuffle(Int32Array.from({ length: count }, (_, i) => i));
  let start = 0;
  let share = 0;
  return fractions.map((fraction, part) => {
    share += fraction;
    const end = part === fractions.length - 1 ? count : Math.round(share * count);
    if (end <= start)
      throw refusal(`fractions[${part}]`, `large enough for one of ${count}`, fraction, `got ${fraction}`);
    const indices = order.slice(start, end).sort();
    start = end;
    return indices;
  });
}

function userCode(codes: Map<string, number>, user: string): number {
  const code = codes.get(user) ?? codes.size;
  codes.set(user, code);
  return code;
}

function refusal(argument: string, wanted: string, got: unknown, told: string): InvalidArgumentError {
  return new InvalidArgumentError(`Sequences: expected \`${argument}\` to be ${wanted}, ${told}`, {
    argument,
    wanted,
    got,
  });
}
