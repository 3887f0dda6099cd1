import { z } from 'zod';
import type { CoatData } from '../catalog/coat.js';
import { DeepFm, type DeepFmRows } from '../compute/deep-fm.js';
import { coatDataSchema } from '../env/coat-env.js';
import { InvalidArgumentError } from '../foundation/errors.js';
import type { JsonValue } from '../foundation/json.js';
import { checkOptions } from '../foundation/options.js';
import { Rng } from '../foundation/rng.js';

/** An array that a model was fitted on. */
export interface SeenArray {
  /** What it is: `train`, `userFeatures`, `itemFeatures`. */
  readonly name: string;
  /** 64 bits of a hash of its values, 16 hexadecimal digits: against mistakes, not against forgery. */
  readonly fingerprint: string;
}

/** A reward for every shopper and coat, fitted to data, that says what it has seen. */
export interface CoatModel {
  /** Short name. */
  readonly name: string;
  /** Reward of each item to each user, `[U, I]`, >= 0: prediction - lowest prediction. */
  readonly rewards: Float32Array;
  /** Every array that had a part in it. */
  readonly saw: readonly SeenArray[];
  /** How it was fitted and how good it is; part of the world's fingerprint. */
  readonly facts: Readonly<Record<string, JsonValue>>;
}

/** Options of {@link fitCoatModel}. */
export interface CoatModelOptions {
  /** The parsed data set; nothing is read of it but train ratings and features. */
  readonly data: CoatData;
  /** Seed of weights, negatives and order. @default 1 */
  readonly seed?: number;
  /** Models whose mean is taken, >= 1. @default 5 */
  readonly members?: number;
  /** Passes over the ratings, >= 1. @default 5 */
  readonly epochs?: number;
  /** L2 penalty over the number of rows, on embeddings, linear weights and layers. @default 0.1 */
  readonly l2?: number;
  /** Step size of Adam. @default 0.01 */
  readonly learningRate?: number;
  /** Unrated coats drawn for each rating and epoch, of the same shopper. @default 1 */
  readonly negatives?: number;
  /** Weight of each of those in the loss; they are fitted to 0. @default 0.05 */
  readonly negativeWeight?: number;
  /**
   * Share of the ratings held out to measure the same fit on before it is done on all of them; 0 measures nothing and takes half
   * the time. @default 0.2
   */
  readonly heldOut?: number;
  /** Told after each member. */
  readonly onProgress?: (progress: { readonly done: number; readonly total: number }) => void;
  /** Stops between updates. */
  readonly signal?: AbortSignal;
}

/** Beyond what environments read of it: the coats' features, and what the columns are. */
const modelDataSchema = coatDataSchema
  .refine(({ items, itemFeatures, itemFeatureWidth }) => itemFeatures?.length === items * itemFeatureWidth, {
    message: 'expected `data.itemFeatures` to be of `data.items` x `data.itemFeatureWidth`',
  })
  .refine(
    ({ userFeatureNames, userFeatures, itemFeatureNames, itemFeatures }) =>
      isOneHot(userFeatureNames, userFeatures) && isOneHot(itemFeatureNames, itemFeatures),
    { message: 'expected features to be named `attribute:value` and to hold one 1 for each attribute, 0 elsewhere' },
  )
  .refine(({ train }) => train.every((rating) => rating >= 0 && rating <= 5), {
    message: 'expected `data.train` to hold ratings from 0 to 5',
  });

const schema = z.strictObject({
  data: modelDataSchema,
  seed: z.int().default(1),
  members: z.int().min(1).max(100).default(5),
  epochs: z.int().min(1).max(10_000).default(5),
  l2: z.number().min(0).default(0.1),
  learningRate: z.number().positive().max(1).default(0.01),
  negatives: z.int().min(0).max(100).default(1),
  negativeWeight: z.number().min(0).max(10).default(0.05),
  heldOut: z.number().min(0).max(0.9).default(0.2),
  onProgress: z
    .custom<NonNullable<CoatModelOptions['onProgress']>>((value) => typeof value === 'function', 'a function')
    .optional(),
  signal: z.custom<AbortSignal>((value) => value instanceof AbortSignal, 'an AbortSignal').optional(),
});

/** The published shape (environments.md section 2). */
const SHAPE = { embedding: 8, hidden: [128, 128], batchSize: 2048 } as const;
/** A rating from here on says that the coat was liked. */
const LIKED = 4;
/** Ratings at the mean added to each bias of the baselines. */
const SHRINKAGE = 5;

/** How well scores tell liked from other ratings that had no part in the fit: AUC. */
interface HeldOutAuc {
  /** The model. */
  readonly model: number;
  /** The item's shrunk mean rating. */
  readonly itemMean: number;
  /** Mean + user bias + item bias, shrunk, fitted in turn. */
  readonly biases: number;
}

/**
 * Fits the user model of the Coat simulators to `train.ascii` alone: an ensemble of DeepFMs (embedding 8, layers 128-128) over
 * {id, gender, age, location, fashion interest} of the shopper and {id, gender, jacket type, colour, front page} of the coat;
 * squared error on the ratings, and on drawn coats that the shopper did not rate towards 0.
 *
 * @returns the model; `facts.heldOutAuc` has the AUC (liked: 4 or more) of `model`, `itemMean` and `biases` on the ratings that were held out.
 * @throws {InvalidArgumentError} for options out of range; the signal's reason when it aborts.
 */
export async function fitCoatModel(options: CoatModelOptions): Promise<CoatModel> {
  const { data, onProgress, signal, ...settings } = checkOptions(schema, options, 'fitCoatModel');
  const { seed, members, heldOut } = settings;
  const fields = new CoatFields(data);
  const rated = ratedCells(data.train);
  if (rated.length === 0) {
    throw new InvalidArgumentError('fitCoatModel: expected `data.train` to hold ratings, got none', {
      argument: 'data.train',
    });
  }
  const total = heldOut > 0 ? 2 * members : members;
  let done = 0;
  const ensemble = async (cells: Int32Array): Promise<Float64Array> => {
    const sums = new Float64Array(data.users * data.items);
    for (let member = 0; member < members; member++) {
      const rng = new Rng(seed).fork('coat-model').fork(member);
      const model = await DeepFm.fit(
        {
          ...SHAPE,
          featureCount: fields.featureCount,
          fieldCount: fields.fieldCount,
          l2: settings.l2,
          learningRate: settings.learningRate,
          epochs: settings.epochs,
          seed: rng.fork('weights').nonZeroSeed(),
        },
        (epoch) => trainingRows(data, fields, cells, { ...settings, rng: rng.fork('negatives').fork(epoch) }),
        { signal },
      );
      try {
        model.predict(fields.features).forEach((score, cell) => {
          sums[cell] = (sums[cell] as number) + score / members;
        });
      } finally {
        model.dispose();
      }
      onProgress?.({ done: ++done, total });
    }
    return sums;
  };
  const { kept, held } = holdOut(rated, heldOut, seed);
  const heldOutAuc = held.length === 0 ? undefined : aucOf(data, kept, held, await ensemble(kept));
  const scores = await ensemble(rated);
  const lowest = scores.reduce((low, score) => Math.min(low, score), Number.POSITIVE_INFINITY);
  return {
    name: 'DeepFM',
    rewards: Float32Array.from(scores, (score) => score - lowest),
    saw: (['train', 'userFeatures', 'itemFeatures'] as const).map((name) => ({
      name,
      fingerprint: arrayFingerprint(data[name]),
    })),
    facts: {
      ...settings,
      embedding: SHAPE.embedding,
      hidden: [...SHAPE.hidden],
      batchSize: SHAPE.batchSize,
      ratings: rated.length,
      ...(heldOutAuc === undefined ? {} : { heldOutAuc: { ...heldOutAuc } }),
    },
  };
}

/**
 * Refuses a reward that has seen what a recommender is judged by.
 *
 * A model may have seen this data set's `train.ascii` and features and nothing else. Any reward, a plain matrix too, is refused
 * where it agrees with the truth, or with the ratings of `test.ascii`, as nothing fitted to `train.ascii` can: a correlation above
 * 0.95 over all cells or within the shoppers (a DeepFM has about 0.6 with the truth).
 *
 * @throws {InvalidArgumentError} saying what it has seen, or that it is of another shape or not finite.
 */
export function checkCoatReward(data: CoatData, reward: CoatModel | Float32Array): void {
  const rewards = reward instanceof Float32Array ? reward : reward.rewards;
  const wrong = (message: string): never => {
    throw new InvalidArgumentError(`coatWorld: ${message}`, { argument: 'reward', got: reward });
  };
  if (rewards.length !== data.users * data.items)
    wrong(`expected \`reward\` to hold ${data.users} x ${data.items} values, got ${rewards.length}`);
  if (!rewards.every(Number.isFinite)) wrong('expected `reward` to hold finite numbers');
  if (!(reward instanceof Float32Array)) {
    const allowed = [data.train, data.userFeatures, data.itemFeatures].map(arrayFingerprint);
    const forbidden = new Map([[arrayFingerprint(data.truth), 'the ground truth']]);
    if (data.test !== undefined) forbidden.set(arrayFingerprint(data.test), 'test.ascii');
    if (!Array.isArray(reward.saw) || reward.saw.length === 0) wrong('expected a model to say what it `saw`');
    for (const { name, fingerprint } of reward.saw) {
      if (allowed.includes(fingerprint)) continue;
      const what =
        forbidden.get(fingerprint) ?? `\`${name}\`, which is neither the train ratings nor the features here`;
      wrong(`expected a model that has seen train.ascii and features only, got one that has seen ${what}: it leaks`);
    }
  }
  const everywhere = Int32Array.from({ length: rewards.length }, (_, cell) => cell);
  if (agreement(rewards, data.truth, everywhere, data.items) > TOO_ALIKE)
    wrong('expected `reward` not to be made from the ground truth, got one that agrees with it: it leaks');
  const { test } = data;
  if (test === undefined) return;
  const judged = everywhere.filter((cell) => (test[cell] as number) > 0 && (data.train[cell] as number) === 0);
  if (agreement(rewards, test, judged, data.items) > TOO_ALIKE)
    wrong('expected `reward` not to be made from test.ascii, got one that agrees with its ratings: it leaks');
}

/** Above this correlation a reward was made from what it correlates with. */
const TOO_ALIKE = 0.95;

/** The larger of the correlation over some cells and the mean of those within each user; 0 where neither can be said. */
function agreement(a: Float32Array, b: Float32Array, cells: Int32Array, items: number): number {
  const users = new Map<number, number[]>();
  for (const cell of cells) {
    const user = Math.floor(cell / items);
    const list = users.get(user);
    if (list === undefined) users.set(user, [cell]);
    else list.push(cell);
  }
  // Two points always lie on a line.
  const within = [...users.values()]
    .filter((list) => list.length >= 3)
    .map((list) => pearson(a, b, list))
    .filter((value) => !Number.isNaN(value));
  const mean = within.reduce((sum, value) => sum + value, 0) / within.length;
  const over = cells.length >= 3 ? pearson(a, b, cells) : Number.NaN;
  return Math.max(Number.isNaN(over) ? 0 : over, within.length < 3 || Number.isNaN(mean) ? 0 : mean);
}

/**
 * Pearson correlation of two arrays.
 *
 * @param cells - where they are compared. @default everywhere
 * @returns from -1 to 1; NaN where one of them does not vary.
 */
export function pearson(a: ArrayLike<number>, b: ArrayLike<number>, cells?: ArrayLike<number>): number {
  const n = cells?.length ?? a.length;
  const at = (i: number): number => (cells === undefined ? i : (cells[i] as number));
  let meanA = 0;
  let meanB = 0;
  for (let i = 0; i < n; i++) {
    meanA += (a[at(i)] as number) / n;
    meanB += (b[at(i)] as number) / n;
  }
  let together = 0;
  let squaresA = 0;
  let squaresB = 0;
  for (let i = 0; i < n; i++) {
    const x = (a[at(i)] as number) - meanA;
    const y = (b[at(i)] as number) - meanB;
    together += x * y;
    squaresA += x * x;
    squaresB += y * y;
  }
  // A constant's squares are rounding only.
  const flat = 1e-9 * n;
  return squaresA > flat && squaresB > flat ? together / Math.sqrt(squaresA * squaresB) : Number.NaN;
}

/**
 * 64 bits that tell arrays apart, at once and without WebCrypto (FNV-1a over the 32-bit words, twice): for provenance, against
 * mistakes and not against forgery.
 *
 * @returns 16 hexadecimal digits; equal values give equal digits.
 */
export function arrayFingerprint(array: Float32Array): string {
  const words = new Int32Array(array.buffer, array.byteOffset, array.length);
  const hash = (start: number, prime: number): string => {
    let state = start ^ array.length;
    for (const word of words) {
      state = Math.imul(state ^ word, prime);
      state ^= state >>> 15;
    }
    return (state >>> 0).toString(16).padStart(8, '0');
  };
  return hash(0x811c9dc5, 0x01000193) + hash(0x9747b28c, 0x5bd1e995);
}

/** The one-hot features of every shopper and coat as field indices. */
class CoatFields {
  /** Features of all fields together. */
  readonly featureCount: number;
  /** Fields a row. */
  readonly fieldCount: number;
  /** Of every cell of the matrix, `[U x I, fieldCount]`. */
  readonly features: Int32Array;

  constructor(data: CoatData) {
    const { users, items, userFeatureWidth, itemFeatureWidth } = data;
    const userGroups = groupsOf(data.userFeatureNames);
    const itemGroups = groupsOf(data.itemFeatureNames);
    this.fieldCount = 2 + userGroups.length + itemGroups.length;
    this.featureCount = users + userFeatureWidth + items + itemFeatureWidth;
    const rowsOf = (count: number, groups: readonly number[][], oneHot: Float32Array, width: number, first: number) =>
      Array.from({ length: count }, (_, n) => [
        first + n,
        ...groups.map((columns) => first + count + (columns.find((c) => oneHot[n * width + c] === 1) as number)),
      ]);
    const ofUsers = rowsOf(users, userGroups, data.userFeatures, userFeatureWidth, 0);
    const ofItems = rowsOf(items, itemGroups, data.itemFeatures, itemFeatureWidth, users + userFeatureWidth);
    this.features = new Int32Array(users * items * this.fieldCount);
    ofUsers.forEach((user, u) => {
      ofItems.forEach((item, i) => {
        const at = (u * items + i) * this.fieldCount;
        this.features.set(user, at);
        this.features.set(item, at + user.length);
      });
    });
  }
}

function isOneHot(names: readonly string[], features: Float32Array): boolean {
  if (!Array.isArray(names) || !names.every((name) => typeof name === 'string' && name.includes(':'))) return false;
  const width = names.length;
  const groups = groupsOf(names);
  if (width === 0 || features.length % width !== 0 || !features.every((value) => value === 0 || value === 1))
    return false;
  return Array.from({ length: features.length / width }, (_, row) => row * width).every((from) =>
    groups.every((columns) => columns.filter((column) => features[from + column] === 1).length === 1),
  );
}

/** Columns of each attribute of `attribute:value` names. */
function groupsOf(names: readonly string[]): number[][] {
  const groups = new Map<string, number[]>();
  names.forEach((name, column) => {
    const attribute = name.slice(0, name.indexOf(':'));
    groups.set(attribute, [...(groups.get(attribute) ?? []), column]);
  });
  return [...groups.values()];
}

function trainingRows(
  data: CoatData,
  fields: CoatFields,
  cells: Int32Array,
  options: { readonly negatives: number; readonly negativeWeight: number; readonly rng: Rng },
): DeepFmRows {
  const { items, train, users } = data;
  const { negatives, negativeWeight, rng } = options;
  const known = new Uint8Array(users * items);
  const perUser = new Int32Array(users);
  for (const cell of cells) {
    const user = Math.floor(cell / items);
    known[cell] = 1;
    perUser[user] = (perUser[user] as number) + 1;
  }
  const chosen: number[] = [];
  const targets: number[] = [];
  const weights: number[] = [];
  for (const cell of cells) {
    chosen.push(cell);
    targets.push(train[cell] as number);
    weights.push(1);
    const user = Math.floor(cell / items);
    if ((perUser[user] as number) >= items) continue;
    for (let n = 0; n < negatives; n++) {
      let other = cell;
      while (known[other] === 1) other = user * items + rng.integer(items);
      chosen.push(other);
      targets.push(0);
      weights.push(negativeWeight);
    }
  }
  const features = new Int32Array(chosen.length * fields.fieldCount);
  chosen.forEach((cell, row) => {
    features.set(
      fields.features.subarray(cell * fields.fieldCount, (cell + 1) * fields.fieldCount),
      row * fields.fieldCount,
    );
  });
  return { features, targets: Float32Array.from(targets), weights: Float32Array.from(weights) };
}

function ratedCells(ratings: Float32Array): Int32Array {
  return Int32Array.from(ratings.keys()).filter((cell) => (ratings[cell] as number) > 0);
}

function holdOut(cells: Int32Array, share: number, seed: number): { kept: Int32Array; held: Int32Array } {
  const order = new Rng(seed).fork('held-out').shuffle(cells.slice());
  const count = Math.floor(cells.length * share);
  return { kept: order.slice(count).sort(), held: order.slice(0, count) };
}

function aucOf(data: CoatData, kept: Int32Array, held: Int32Array, scores: Float64Array): HeldOutAuc {
  const liked = Uint8Array.from(held, (cell) => ((data.train[cell] as number) >= LIKED ? 1 : 0));
  const { itemMean, biases } = baselines(data, kept);
  const of = (score: (cell: number) => number): number => auc(Float64Array.from(held, score), liked);
  return { model: of((cell) => scores[cell] as number), itemMean: of(itemMean), biases: of(biases) };
}

/** Shrunk item means, and mean + user + item biases fitted in turn. */
function baselines(
  { train, users, items }: CoatData,
  cells: Int32Array,
): Readonly<Record<'itemMean' | 'biases', (cell: number) => number>> {
  const mean = cells.reduce((sum, cell) => sum + (train[cell] as number), 0) / cells.length;
  const userOf = (cell: number): number => Math.floor(cell / items);
  const itemOf = (cell: number): number => cell % items;
  const shrunk = (count: number, groupOf: (cell: number) => number, rest: (cell: number) => number): Float64Array => {
    const sums = new Float64Array(count);
    const counts = new Float64Array(count).fill(SHRINKAGE);
    for (const cell of cells) {
      const group = groupOf(cell);
      sums[group] = (sums[group] as number) + (train[cell] as number) - rest(cell);
      counts[group] = (counts[group] as number) + 1;
    }
    return sums.map((sum, group) => sum / (counts[group] as number));
  };
  const itemMeans = shrunk(items, itemOf, () => mean);
  let ofUser: Float64Array = new Float64Array(users);
  let ofItem: Float64Array = new Float64Array(items);
  for (let round = 0; round < 20; round++) {
    ofItem = shrunk(items, itemOf, (cell) => mean + (ofUser[userOf(cell)] as number));
    ofUser = shrunk(users, userOf, (cell) => mean + (ofItem[itemOf(cell)] as number));
  }
  return {
    itemMean: (cell) => itemMeans[itemOf(cell)] as number,
    biases: (cell) => (ofUser[userOf(cell)] as number) + (ofItem[itemOf(cell)] as number),
  };
}

/**
 * Area under the ROC curve: how likely a liked one scores above one that is not; ties count half.
 *
 * @returns from 0 to 1; NaN where all are liked or none is.
 */
export function auc(scores: Float64Array, liked: Uint8Array): number {
  const order = Int32Array.from(scores.keys()).sort((i, j) => (scores[i] as number) - (scores[j] as number));
  let ranks = 0;
  let positives = 0;
  for (let from = 0; from < order.length; ) {
    let to = from;
    while (to < order.length && scores[order[to] as number] === scores[order[from] as number]) to++;
    for (let k = from; k < to; k++) {
      if (liked[order[k] as number] === 0) continue;
      // The mean rank of its ties, from 1.
      ranks += (from + to + 1) / 2;
      positives++;
    }
    from = to;
  }
  const negatives = order.length - positives;
  return (ranks - (positives * (positives + 1)) / 2) / (positives * negatives);
}
