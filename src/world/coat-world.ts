import { z } from 'zod';
import type { CoatData } from '../catalog/coat.js';
import { splitIndices } from '../catalog/sequences.js';
import {
  COAT_CAP,
  COAT_DISTANCE,
  COAT_LOOKBACK,
  type CoatEnv,
  type CoatWindow,
  coatCloseness,
  coatDataSchema,
  coatEnv,
  coatLookback,
} from '../env/coat-env.js';
import { InvalidArgumentError } from '../foundation/errors.js';
import { checkOptions, describeValue } from '../foundation/options.js';
import {
  cyclePlanner,
  lanePlanner,
  listPlanner,
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
  /** A reward of your own, `[U, I]`, fitted to data: the world then says `reward: 'model'`. @default the truth */
  readonly model?: Float32Array;
  /** Seed of the split of the users. @default 1 */
  readonly splitSeed?: number;
}

const schema = z.strictObject({
  data: coatDataSchema,
  window: z.enum(['legacy', 'correct', 'none']).default('correct'),
  model: z.instanceof(Float32Array).optional(),
  splitSeed: z.int().default(1),
});

/** Users of train / validation / test, of the data set's 290. */
const SHARES = [186, 46, 58] as const;
/** Items of a rotation: one more than the leave rule looks back over. */
const ROTATION = COAT_LOOKBACK + 1;
/** Ratings at the mean that are added to each item's, so that one lucky rating ranks no item first. */
const SHRINKAGE = 5;

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
 * completed ratings or a model of your own, popularity and the train rotation from `train.ascii` alone.
 *
 * @throws {InvalidArgumentError} for options out of range or a model of another shape.
 */
export function coatWorld(options: CoatWorldOptions): World {
  const { data, window, model, splitSeed } = checkOptions(schema, options, 'coatWorld');
  const { users, items, catalog } = data;
  const total = SHARES.reduce((sum, share) => sum + share, 0);
  const parts = splitIndices(users, { seed: splitSeed, fractions: SHARES.map((share) => share / total) });
  const members: Record<WorldSplit, Int32Array> = {
    all: Int32Array.from({ length: users }, (_, user) => user),
    train: parts[0] as Int32Array,
    validation: parts[1] as Int32Array,
    test: parts[2] as Int32Array,
  };
  const close = coatCloseness(data);
  const reward = model ?? data.truth;
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
    reward: model === undefined ? 'truth' : 'model',
  };
  const batchEnv = (options: WorldEnvOptions): CoatEnv => {
    const { split, size, seed } = checkWorldEnv('coat', options);
    return coatEnv({ data, reward, window, users: members[split], size, seed });
  };
  const rotation = (kind: 'train' | 'truth', split: WorldSplit): Int32Array => {
    checkRotation('coat', kind, split);
    const among = split === 'all' ? members.all : members.train;
    return distinctItems(ranking(shrunkMeans(kind === 'train' ? data.train : data.truth, items, among)), close, items);
  };
  const planner = (policy: CardPolicy, env: CoatEnv, split: WorldSplit): Planner => {
    switch (policy) {
      case 'random':
        return randomPlanner(env, { noRepeat: false });
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
    description: `Coat Shopping, ${users} users, ${items} coats: a shopper rates one coat a step (${facts.reward} reward, 1 to 5) and leaves at one too like the last ${COAT_LOOKBACK} (${window} window); at most ${COAT_CAP} steps.`,
    catalog,
    reward: model === undefined ? 'truth' : 'model',
    window,
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

/** Number of train ratings of each item by some users, `[I]`. */
function ratingCounts(data: CoatData, among: Int32Array): Float32Array {
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

/** Writes 1 for every item that would make the lane's shopper leave; returns how many those are. */
function markIllegal(env: CoatEnv, lane: number, marks: Uint8Array): number {
  const { close, itemCount, window } = env.rules;
  const { items, lengths, length } = env.histories();
  const end = lane * length + (lengths[lane] as number);
  marks.fill(0);
  for (let i = end - coatLookback(window, env.steps[lane] as number); i < end; i++) {
    const row = (items[i] as number) * itemCount;
    for (let item = 0; item < itemCount; item++) if (close[row + item] === 1) marks[item] = 1;
  }
  return marks.reduce((count, mark) => count + mark, 0);
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
