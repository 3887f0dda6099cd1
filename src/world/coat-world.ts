import { z } from 'zod';
import type { CoatData } from '../catalog/coat.js';
import { splitIndices } from '../catalog/sequences.js';
import {
  COAT_CAP,
  COAT_DISTANCE,
  COAT_LOOKBACK,
  type CoatEnv,
  type CoatEvaluation,
  type CoatWindow,
  coatCloseness,
  coatDataSchema,
  coatEnv,
  coatEvaluationSchema,
  coatWindowSchema,
} from '../env/coat-env.js';
import { InvalidArgumentError } from '../foundation/errors.js';
import { checkOptions, describeValue } from '../foundation/options.js';
import { type CoatModel, checkCoatReward } from './coat-model.js';
import {
  cyclePlanner,
  lanePlanner,
  listPlanner,
  markShown,
  nthUnmarked,
  type Planner,
  randomPlanner,
  ranking,
  weightedPlanner,
} from './planner.js';
import {
  type CardPolicy,
  checkRotation,
  checkWorldEnv,
  type World,
  type WorldEnvOptions,
  type WorldSplit,
  worldFingerprint,
} from './world.js';

/** Options of {@link coatWorld}. */
export interface CoatWorldOptions {
  /** The parsed data set. */
  readonly data: CoatData;
  /** Which past items make a shopper leave. @default 'correct' */
  readonly window?: CoatWindow;
  /** How items may be shown, and whether shoppers may leave before the tenth. @default 'FB' */
  readonly evaluation?: CoatEvaluation;
  /**
   * What a coat pays: `'truth'`, the completed ratings; a model fitted by `fitCoatModel`; or a matrix of your own, `[U, I]`.
   * Of the last two the world says `reward: 'model'`, and neither may have seen `test.ascii` or the truth. @default 'truth'
   */
  readonly reward?: 'truth' | CoatModel | Float32Array;
  /** Seed of the split of the users. @default 1 */
  readonly splitSeed?: number;
}

const schema = z.strictObject({
  data: coatDataSchema,
  window: coatWindowSchema,
  evaluation: coatEvaluationSchema,
  reward: z
    .custom<'truth' | CoatModel | Float32Array>(
      (value) =>
        value === 'truth' ||
        value instanceof Float32Array ||
        (value as Partial<CoatModel> | null | undefined)?.rewards instanceof Float32Array,
      "expected `reward` to be 'truth', a model of fitCoatModel, or a Float32Array",
    )
    .default('truth'),
  splitSeed: z.int().default(1),
});

/** Users of train / validation / test, of the data set's 290. */
const SHARES = [186, 46, 58] as const;
/** A Coat world; see {@link coatWorld}. */
export interface CoatWorld extends World {
  /** How items may be shown: goes into the rows of a card. */
  readonly evaluation: CoatEvaluation;
}

/** Items of a rotation: one more than the leave rule looks back over. */
const ROTATION = COAT_LOOKBACK + 1;
/** Ratings at the mean that are added to each item's, so that one lucky rating ranks no item first. */
const SHRINKAGE = 5;

const EVALUATION_NOTES: Readonly<Record<CoatEvaluation, string>> = {
  FB: '',
  NX_0: ', no coat twice',
  NX_10: ', no coat twice; here every visit takes 10 steps, whatever is shown',
};

const POLICIES: readonly CardPolicy[] = [
  'random',
  'randomNoRepeat',
  'randomLegal',
  'popularity',
  'popularitySampled',
  'rotationTrain',
  'rotationTruth',
  'oraclePersonal',
];

/**
 * The exact Coat world of EasyRL4Rec as a `World`: users split 186 / 46 / 58 (in proportion for other data), rewards from the
 * completed ratings or a model, popularity and the train rotation from `train.ascii` alone.
 *
 * @throws {InvalidArgumentError} for options out of range, a reward of another shape, or one that has seen `test.ascii` or the
 * truth.
 */
export function coatWorld(options: CoatWorldOptions): CoatWorld {
  const { data, window, evaluation, reward: given, splitSeed } = checkOptions(schema, options, 'coatWorld');
  const { users, items, catalog } = data;
  const parts = coatUserParts(users, splitSeed);
  const members: Record<WorldSplit, Int32Array> = {
    all: Int32Array.from({ length: users }, (_, user) => user),
    ...parts,
  };
  const close = coatCloseness(data);
  const model = given === 'truth' || given instanceof Float32Array ? undefined : given;
  if (given !== 'truth') checkCoatReward(data, given);
  const reward = given === 'truth' ? data.truth : given instanceof Float32Array ? given : given.rewards;
  const rewardKind = given === 'truth' ? 'truth' : 'model';
  const popularity = ratingCounts(data, members.train);
  const facts = {
    users,
    items,
    trainRatings: data.trainRatings,
    split: {
      seed: splitSeed,
      train: members.train.length,
      validation: members.validation.length,
      test: members.test.length,
    },
    leaveRule: { window, lookback: COAT_LOOKBACK, distance: COAT_DISTANCE, cap: COAT_CAP },
    // Worlds that let items repeat are what they were before there were modes: their fingerprints stay.
    ...(evaluation === 'FB' ? {} : { evaluation }),
    reward: rewardKind,
    ...(model === undefined
      ? {}
      : { rewardModel: { name: model.name, saw: model.saw.map((seen) => ({ ...seen })), ...model.facts } }),
  };
  const batchEnv = (options: WorldEnvOptions): CoatEnv => {
    const { split, size, seed } = checkWorldEnv('coat', options);
    return coatEnv({ data, reward, window, evaluation, users: members[split], size, seed });
  };
  const rotation = (kind: 'train' | 'truth', split: WorldSplit): Int32Array => {
    checkRotation('coat', kind, split);
    const among = split === 'all' ? members.all : members.train;
    const order = ranking(shrunkMeans(kind === 'train' ? data.train : data.truth, items, among));
    return evaluation === 'FB' ? distinctItems(order, close, items) : spacedItems(order, close, items);
  };
  const planner = (policy: CardPolicy, env: CoatEnv, split: WorldSplit): Planner => {
    switch (policy) {
      case 'random':
        return randomPlanner(env, { noRepeat: env.noRepeat });
      case 'randomNoRepeat':
        return randomPlanner(env, { noRepeat: true });
      case 'randomLegal':
        return randomLegalPlanner(env);
      case 'popularity':
        return listPlanner(env, ranking(split === 'all' ? ratingCounts(data, members.all) : popularity));
      case 'popularitySampled':
        return weightedPlanner(env, split === 'all' ? ratingCounts(data, members.all) : popularity);
      case 'rotationTrain':
        return cyclePlanner(env, rotation('train', split));
      case 'rotationTruth':
        return cyclePlanner(env, rotation('truth', split));
      case 'oraclePersonal':
        return oraclePersonalPlanner(env);
      default:
        throw new InvalidArgumentError(
          `coat: expected \`policy\` to be one of ${POLICIES.join(', ')}, got ${describeValue(policy)}`,
          {
            argument: 'policy',
            got: policy,
          },
        );
    }
  };
  return {
    name: 'coat',
    description: `Coat Shopping, ${users} users, ${items} coats: a shopper rates one coat a step (${rewardKind} reward) and leaves at one too like the last ${COAT_LOOKBACK} (${window} window); at most ${COAT_CAP} steps${EVALUATION_NOTES[evaluation]}.`,
    catalog,
    reward: rewardKind,
    window,
    evaluation,
    popularity,
    facts,
    cardEpisodes: 2000,
    policies: POLICIES,
    batchEnv,
    planned(policy, options) {
      const env = batchEnv(options);
      return { env, planner: planner(policy, env, options.split) };
    },
    rotation,
    fingerprint: () => worldFingerprint('coat', facts, catalog, [data.train, data.truth, reward]),
  };
}

/**
 * Deals users into the world's parts: 186 / 46 / 58 of the data set's 290, in proportion for others.
 *
 * @param users - how many there are.
 * @param splitSeed - of {@link CoatWorldOptions}.
 */
export function coatUserParts(users: number, splitSeed: number): Record<'train' | 'validation' | 'test', Int32Array> {
  const total = SHARES.reduce((sum, share) => sum + share, 0);
  const parts = splitIndices(users, { seed: splitSeed, fractions: SHARES.map((share) => share / total) });
  const [train, validation, test] = parts as [Int32Array, Int32Array, Int32Array];
  return { train, validation, test };
}

/** Number of train ratings of each item by some users, `[I]`. */
export function ratingCounts(data: CoatData, among: Int32Array): Float32Array {
  const counts = new Float32Array(data.items);
  for (const user of among) {
    for (let item = 0; item < data.items; item++)
      if ((data.train[user * data.items + item] as number) > 0) counts[item] = (counts[item] as number) + 1;
  }
  return counts;
}

/** (sum of ratings + 5 x mean) / (n + 5) of each item over some users; 0 in the matrix means not rated. */
function shrunkMeans(ratings: Float32Array, items: number, among: Int32Array): Float64Array {
  const sums = new Float64Array(items);
  const counts = new Float64Array(items);
  for (const user of among) {
    for (let item = 0; item < items; item++) {
      const rating = ratings[user * items + item] as number;
      if (rating > 0) {
        sums[item] = (sums[item] as number) + rating;
        counts[item] = (counts[item] as number) + 1;
      }
    }
  }
  const mean = sums.reduce((a, b) => a + b, 0) / counts.reduce((a, b) => a + b, 0);
  return sums.map((sum, item) => (sum + SHRINKAGE * mean) / ((counts[item] as number) + SHRINKAGE));
}

/** The first 8 items of a ranking no two of which are too close. */
function distinctItems(order: Int32Array, close: Uint8Array, items: number): Int32Array {
  const taken: number[] = [];
  for (const item of order) {
    if (taken.length === ROTATION) break;
    if (taken.every((other) => close[item * items + other] === 0)) taken.push(item);
  }
  return Int32Array.from(taken);
}

/**
 * The same where nothing is shown twice: as many items as a visit takes and one more (one may be the start item), each the
 * best left that is not too close to the 8 before it; the best left where there is none.
 */
function spacedItems(order: Int32Array, close: Uint8Array, items: number): Int32Array {
  const left = Array.from(order);
  const taken: number[] = [];
  while (taken.length <= COAT_CAP && left.length > 0) {
    const recent = taken.slice(-ROTATION);
    const at = left.findIndex((item) => recent.every((other) => close[item * items + other] === 0));
    taken.push(...left.splice(Math.max(at, 0), 1));
  }
  return Int32Array.from(taken);
}

/**
 * Writes 1 for every item that would make the lane's shopper leave or may not be shown again; returns how many those are. Where
 * that is all of them, only what may not be shown is marked.
 */
function markIllegal(env: CoatEnv, lane: number, marks: Uint8Array): number {
  const { close, itemCount } = env.rules;
  const { items, lengths, length } = env.histories();
  const end = lane * length + (lengths[lane] as number);
  const forbidden = env.noRepeat ? markShown(env, lane, marks) : 0;
  if (!env.noRepeat) marks.fill(0);
  for (let i = end - env.rules.lookback(env.steps[lane] as number); i < end; i++) {
    const row = (items[i] as number) * itemCount;
    for (let item = 0; item < itemCount; item++) if (close[row + item] === 1) marks[item] = 1;
  }
  const illegal = marks.reduce((count, mark) => count + mark, 0);
  if (illegal < itemCount) return illegal;
  if (env.noRepeat) markShown(env, lane, marks);
  else marks.fill(0);
  return forbidden;
}

/** Uniform over the items that do not make the shopper leave. */
function randomLegalPlanner(env: CoatEnv): Planner {
  const marks = new Uint8Array(env.rules.itemCount);
  return lanePlanner(env, (lane, uniform) => {
    const illegal = markIllegal(env, lane, marks);
    return nthUnmarked(marks, Math.floor(uniform * (marks.length - illegal)));
  });
}

/** The shopper's best-rated item among those that do not make them leave; equal ratings by index. */
function oraclePersonalPlanner(env: CoatEnv): Planner {
  const { rewards, itemCount, users } = env.rules;
  const marks = new Uint8Array(itemCount);
  return lanePlanner(env, (lane) => {
    markIllegal(env, lane, marks);
    const row = (users[lane] as number) * itemCount;
    let best = -1;
    for (let item = 0; item < itemCount; item++) {
      if (marks[item] === 0 && (best < 0 || (rewards[row + item] as number) > (rewards[row + best] as number)))
        best = item;
    }
    return best;
  });
}
