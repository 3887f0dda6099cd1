import { z } from 'zod';
import { InvalidArgumentError } from '../foundation/errors.js';
import { checkOptions } from '../foundation/options.js';
import { Rng } from '../foundation/rng.js';
import { Catalog, type Item, type ItemIndex } from './catalog.js';

/** Length of item and user vectors. */
const D = 8;
const STYLES = 10;
const LIKED = 3;
/** Of the Dirichlet that mixes a user's liked items: at 1 one of them dominates, and which one no history tells. */
const CONCENTRATION = 4;
/** Weights of an item's vector, and of the base utility (environments.md, section 4). */
const BRAND_WEIGHT = 0.6;
const STYLE_WEIGHT = 0.5;
const VECTOR_NOISE = 0.15;
const TASTE = 4.4;
const POPULARITY = 0.35;
const NOISE = 0.3;
/** Share of a category's items that are of one of its own two brands; the others' brand is any. */
const OWN_BRAND = 0.95;
/** What (a, b) are solved for: the mean reward, and the mean of each user's best TOP items. */
const MEAN_REWARD = 0.4;
const TOP_REWARD = 4.6;
const TOP = 12;
const HIGHEST_REWARD = 5;

const syntheticOptions = z.strictObject({
  items: z.int().min(50).max(200_000).default(600),
  categories: z.int().min(2).max(500).default(12),
  seed: z.union([z.int(), z.string().min(1)]).default(0),
});

/** Options of {@link syntheticData}. */
export interface SyntheticOptions {
  /**
   * Number of items A, 50 to 200,000.
   * @default 600
   */
  readonly items?: number;
  /**
   * Number of categories C, 2 to 500; there are 2 C brands and 10 styles.
   * @default 12
   */
  readonly categories?: number;
  /**
   * The same seed makes the same world.
   * @default 0
   */
  readonly seed?: number | string;
}

/** A user of the synthetic world. */
export interface SyntheticUser {
  /** Taste, a unit vector, `[8]`. */
  readonly vector: Float32Array;
  /** Three distinct items whose mix is that taste: the start of the history. */
  readonly liked: Int32Array;
}

/** The data of the synthetic world: items with text, hidden vectors, and the reward. The leave rule is the environment's. */
export class SyntheticData {
  /** Attributes title; category; brand; style, in made-up words; ids `item-0`... */
  readonly catalog: Catalog;
  /** `[A, 8]` row-major unit vectors: unit(category + 0.6 brand + 0.8 style + noise of length about 0.3). Hidden from every policy. */
  readonly vectors: Float32Array;
  /** z-score of each item's popularity over the catalogue, `[A]`. */
  readonly popularity: Float32Array;
  /** Category of each item, 0..C-1, `[A]`. */
  readonly categoryCodes: Int32Array;
  /** Slope of the reward's logistic, solved for (see {@link syntheticData}). */
  readonly a: number;
  /** Its offset: the base utility that earns 2.5. */
  readonly b: number;
  readonly #noiseKey: number;

  /** @internal Use {@link syntheticData}. */
  constructor(parts: {
    readonly catalog: Catalog;
    readonly vectors: Float32Array;
    readonly popularity: Float32Array;
    readonly categoryCodes: Int32Array;
    readonly noiseKey: number;
    readonly calibration?: { readonly a: number; readonly b: number };
  }) {
    this.catalog = parts.catalog;
    this.vectors = parts.vectors;
    this.popularity = parts.popularity;
    this.categoryCodes = parts.categoryCodes;
    this.#noiseKey = parts.noiseKey;
    const { a, b } = parts.calibration ?? { a: 1, b: 0 };
    this.a = a;
    this.b = b;
  }

  /** Draws a user: three distinct items, uniform, and their Dirichlet(4, 4, 4) mix, normalised. Depends on `rng` alone. */
  drawUser(rng: Rng): SyntheticUser {
    const liked = rng.sample(this.catalog.size, LIKED);
    const vector = new Float32Array(D);
    // Gamma draws, normalised, are a Dirichlet, and a sum of exponentials is a gamma; the scale cancels as the vector is normalised too.
    for (const item of liked) {
      let share = 0;
      for (let k = 0; k < CONCENTRATION; k++) share -= Math.log(1 - rng.uniform());
      for (let d = 0; d < D; d++) vector[d] = (vector[d] as number) + share * (this.vectors[item * D + d] as number);
    }
    return { vector: unit(vector), liked };
  }

  /**
   * Base utility u of a user and an item: 4.4 user.item + 0.35 popularity + 0.5 noise. The noise is standard normal and a fixed function of
   * the world's seed, the user's vector and the item: the same user meeting the same item twice gets the same reward, and a planner that asks
   * beforehand gets what a step pays.
   *
   * @throws {InvalidArgumentError} when the vector is not 8 long or the item is out of range.
   */
  base(userVector: Float32Array, item: ItemIndex): number {
    checkUser(userVector);
    if (!Number.isInteger(item) || item < 0 || item >= this.catalog.size) {
      throw new InvalidArgumentError(
        `SyntheticData: expected \`item\` to be an index from 0 to ${this.catalog.size - 1}, got ${item}`,
        {
          argument: 'item',
          wanted: `0 to ${this.catalog.size - 1}`,
          got: item,
        },
      );
    }
    return this.#base(userVector, this.#userKey(userVector), item);
  }

  /** @internal Base utilities of all items for one user, written to `out`, `[A]`: what {@link SyntheticData.base} gives, at once. */
  bases(userVector: Float32Array, out: Float64Array): void {
    const key = this.#userKey(userVector);
    for (let item = 0; item < out.length; item++) out[item] = this.#base(userVector, key, item);
  }

  /**
   * Reward of showing an item to a user: 5 sigmoid(a (base - b)), 0..5.
   * @throws {InvalidArgumentError} as {@link SyntheticData.base}.
   */
  reward(userVector: Float32Array, item: ItemIndex): number {
    return this.#squash(this.base(userVector, item));
  }

  /**
   * Rewards of all items for one user, `[A]`: what {@link SyntheticData.reward} gives, at once.
   *
   * @param userVector - `[8]`.
   * @param out - written to and returned, when given.
   * @throws {InvalidArgumentError} when the vector is not 8 long or `out` is not A long.
   */
  rewards(userVector: Float32Array, out: Float64Array = new Float64Array(this.catalog.size)): Float64Array {
    checkUser(userVector);
    if (out.length !== this.catalog.size) {
      throw new InvalidArgumentError(
        `SyntheticData.rewards: expected \`out\` to be ${this.catalog.size} long, got ${out.length}`,
        {
          argument: 'out',
          wanted: `${this.catalog.size} numbers`,
          got: out.length,
        },
      );
    }
    const key = this.#userKey(userVector);
    for (let item = 0; item < out.length; item++) out[item] = this.#squash(this.#base(userVector, key, item));
    return out;
  }

  #squash(base: number): number {
    return HIGHEST_REWARD / (1 + Math.exp(-this.a * (base - this.b)));
  }

  #base(user: Float32Array, key: number, item: number): number {
    let taste = 0;
    for (let d = 0; d < D; d++) taste += (user[d] as number) * (this.vectors[item * D + d] as number);
    return TASTE * taste + POPULARITY * (this.popularity[item] as number) + NOISE * hashedNormal(key, item);
  }

  /** The user's 256 bits and the world's key, mixed to 32. */
  #userKey(user: Float32Array): number {
    const bits = new Uint32Array(Float32Array.from(user).buffer);
    let key = this.#noiseKey;
    for (const word of bits) key = mix(key ^ word);
    return key;
  }
}

/**
 * Makes the embedded synthetic world (environments.md, section 4): items of C categories, 2 C brands (four in five of a category's items are
 * of its own two) and 10 styles, all told in their text in made-up words, with hidden taste vectors of dimension 8.
 *
 * The reward is 5 sigmoid(a (base - b)), (a, b) solved by bisection so that over users of the world the mean is 0.4 and the mean of each
 * user's best 12 items is 4.6. The default world takes about a third of a second.
 *
 * @throws {InvalidArgumentError} when an option is out of range.
 */
export function syntheticData(options: SyntheticOptions = {}): SyntheticData {
  const { items, categories, seed } = checkOptions(syntheticOptions, options, 'syntheticData');
  const rng = new Rng(seed).fork('synthetic');
  const placed = rng.fork('items');
  const categoryCodes = placed.shuffle(Int32Array.from({ length: items }, (_, i) => i % categories));
  const brandCodes = categoryCodes.map((category) =>
    placed.uniform() < OWN_BRAND ? 2 * category + placed.integer(2) : placed.integer(2 * categories),
  );
  const styleCodes = Int32Array.from({ length: items }, () => placed.integer(STYLES));
  const directions = rng.fork('directions');
  const categoryVectors = unitVectors(categories, directions);
  const brandVectors = unitVectors(2 * categories, directions);
  const styleVectors = unitVectors(STYLES, directions);
  const vectors = new Float32Array(items * D);
  for (let i = 0; i < items; i++) {
    const category = (categoryCodes[i] as number) * D;
    const brand = (brandCodes[i] as number) * D;
    const style = (styleCodes[i] as number) * D;
    for (let d = 0; d < D; d++) {
      vectors[i * D + d] =
        (categoryVectors[category + d] as number) +
        BRAND_WEIGHT * (brandVectors[brand + d] as number) +
        STYLE_WEIGHT * (styleVectors[style + d] as number) +
        (VECTOR_NOISE / Math.sqrt(D)) * placed.normal();
    }
    unit(vectors.subarray(i * D, (i + 1) * D));
  }
  const popularity = zScores(Float64Array.from({ length: items }, () => placed.normal()));
  const catalog = Catalog.fromItems(textItems(categoryCodes, brandCodes, styleCodes, categories, rng.fork('words')), {
    scenario: 'shopping',
    itemNoun: 'product',
    behavior: 'purchase',
    attributes: ['title', 'category', 'brand', 'style'],
  });
  const parts = { catalog, vectors, popularity, categoryCodes, noiseKey: rng.fork('noise').integer(2 ** 32) };
  return new SyntheticData({ ...parts, calibration: calibrate(new SyntheticData(parts), rng.fork('calibration')) });
}

/** Solves (a, b) on a sample of users. */
function calibrate(data: SyntheticData, rng: Rng): { a: number; b: number } {
  const items = data.catalog.size;
  const users = Math.max(40, Math.min(400, Math.floor(400_000 / items)));
  const all = new Float64Array(users * items);
  const best = new Float64Array(users * TOP);
  for (let u = 0; u < users; u++) {
    const { vector } = data.drawUser(rng);
    const row = all.subarray(u * items, (u + 1) * items);
    data.bases(vector, row);
    best.set(
      row
        .slice()
        .sort()
        .subarray(items - TOP),
      u * TOP,
    );
  }
  // The mean over all pairs is taken over the means of 4,096 groups of neighbours: the logistic hardly bends within one.
  all.sort();
  const groups = Math.min(4096, all.length);
  const middles = new Float64Array(groups);
  const sizes = new Float64Array(groups);
  for (let g = 0; g < groups; g++) {
    const group = all.subarray(Math.floor((g * all.length) / groups), Math.floor(((g + 1) * all.length) / groups));
    middles[g] = group.reduce((sum, base) => sum + base, 0) / group.length;
    sizes[g] = group.length / all.length;
  }
  // Plain loops: they run 1,600 times over all groups.
  const mean = (a: number, b: number): number => {
    let sum = 0;
    for (let g = 0; g < groups; g++) {
      const reward = HIGHEST_REWARD / (1 + Math.exp(-a * ((middles[g] as number) - b)));
      sum += (sizes[g] as number) * reward;
    }
    return sum;
  };
  const offset = (a: number): number => bisect(-100, 100, (b) => mean(a, b) < MEAN_REWARD);
  const top = (a: number): number => {
    const b = offset(a);
    let sum = 0;
    for (let n = 0; n < best.length; n++) sum += HIGHEST_REWARD / (1 + Math.exp(-a * ((best[n] as number) - b)));
    return sum / best.length;
  };
  // log a, because useful slopes span orders of magnitude.
  const a = Math.exp(bisect(Math.log(0.05), Math.log(200), (logA) => top(Math.exp(logA)) > TOP_REWARD));
  return { a, b: offset(a) };
}

/** Where `above` turns from false to true between low and high. */
function bisect(low: number, high: number, above: (x: number) => boolean): number {
  let [from, to] = [low, high];
  for (let i = 0; i < 40; i++) {
    const middle = (from + to) / 2;
    if (above(middle)) to = middle;
    else from = middle;
  }
  return (from + to) / 2;
}

function textItems(
  categoryCodes: Int32Array,
  brandCodes: Int32Array,
  styleCodes: Int32Array,
  categories: number,
  rng: Rng,
): Item[] {
  const fresh = wordMaker(rng);
  const list = (length: number): string[] => Array.from({ length }, fresh);
  const categoryNames = list(categories);
  const brandNames = list(2 * categories);
  const styleNames = list(STYLES);
  // What a thing of the category is called, and words for its look: a title tells category and style once more, in words of its own.
  const nouns = list(categories);
  const looks = Array.from({ length: STYLES }, () => list(2));
  const used = new Map<string, number>();
  return Array.from(categoryCodes, (category, i) => {
    const style = styleCodes[i] as number;
    const look = (looks[style] as string[])[rng.integer(2)] as string;
    const stem = `${look} ${nouns[category]}`;
    const serial = (used.get(stem) ?? 0) + 1;
    used.set(stem, serial);
    return {
      id: `item-${i}`,
      title: serial === 1 ? stem : `${stem} ${serial}`,
      category: categoryNames[category] as string,
      brand: brandNames[brandCodes[i] as number] as string,
      style: styleNames[style] as string,
    };
  });
}

/** Made-up words of two or three syllables, none twice. */
function wordMaker(rng: Rng): () => string {
  const onsets = [
    'b',
    'br',
    'd',
    'dr',
    'f',
    'g',
    'gl',
    'h',
    'k',
    'kr',
    'l',
    'm',
    'n',
    'p',
    'pl',
    'r',
    's',
    'st',
    't',
    'tr',
    'v',
    'z',
  ];
  const vowels = ['a', 'e', 'i', 'o', 'u', 'ai', 'ou'];
  const codas = ['', 'l', 'm', 'n', 'r', 's', 'k'];
  const pick = (from: readonly string[]): string => from[rng.integer(from.length)] as string;
  const taken = new Set<string>();
  return () => {
    for (;;) {
      let word = '';
      for (let n = 2 + rng.integer(2); n > 0; n--) word += pick(onsets) + pick(vowels);
      word += pick(codas);
      if (taken.has(word)) continue;
      taken.add(word);
      return (word[0] as string).toUpperCase() + word.slice(1);
    }
  };
}

function unitVectors(count: number, rng: Rng): Float64Array {
  const out = new Float64Array(count * D);
  for (let n = 0; n < count; n++) {
    const vector = out.subarray(n * D, (n + 1) * D);
    for (let d = 0; d < D; d++) vector[d] = rng.normal();
    unit(vector);
  }
  return out;
}

function unit<T extends Float32Array | Float64Array>(vector: T): T {
  let square = 0;
  for (const value of vector) square += value * value;
  const norm = Math.sqrt(square);
  for (let d = 0; d < vector.length; d++) vector[d] = (vector[d] as number) / norm;
  return vector;
}

function zScores(values: Float64Array): Float32Array {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length;
  return Float32Array.from(values, (value) => (value - mean) / Math.sqrt(variance));
}

/** 32-bit finaliser of MurmurHash3: every input bit moves about half of the output bits. */
function mix(value: number): number {
  let x = value | 0;
  x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
  return (x ^ (x >>> 16)) >>> 0;
}

/** A standard normal number that is a fixed function of (key, item), by Box and Muller. */
function hashedNormal(key: number, item: number): number {
  const first = mix(key ^ mix(item + 1));
  const second = mix(first ^ 0x9e3779b9);
  return Math.sqrt(-2 * Math.log((first + 1) / 4294967297)) * Math.cos((2 * Math.PI * second) / 4294967296);
}

function checkUser(userVector: Float32Array): void {
  if (userVector instanceof Float32Array && userVector.length === D) return;
  throw new InvalidArgumentError(`SyntheticData: expected \`userVector\` to be a Float32Array of ${D} numbers`, {
    argument: 'userVector',
    wanted: `a Float32Array of ${D} numbers`,
    got: userVector,
  });
}
