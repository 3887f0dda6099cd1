import { z } from 'zod';
import { Catalog } from '../catalog/catalog.js';
import type { CoatData } from '../catalog/coat.js';
import type { HistoryBatch } from '../compute/history-batch.js';
import { InvalidArgumentError } from '../foundation/errors.js';
import { checkOptions } from '../foundation/options.js';
import type { Rng } from '../foundation/rng.js';
import type { EpisodeHistories } from './episode-histories.js';
import { type EpisodeRules, LaneEnv } from './lane-env.js';

/**
 * Which past items make a shopper leave: `correct` the last 7; `legacy` the same with EasyRL4Rec's slice, whose start turns
 * negative and leaves only 3, 2, 1 items at t = 4, 5, 6; `none` no leave rule at all.
 */
export type CoatWindow = 'legacy' | 'correct' | 'none';

/**
 * How items may be shown, in EasyRL4Rec's words: `FB` repeats allowed; `NX_0` each at most once an episode; `NX_10` the same, and
 * every visit takes 10 steps: the leave rule waits, and the tenth step is truncated.
 */
export type CoatEvaluation = 'FB' | 'NX_0' | 'NX_10';

/** Items the leave rule looks back over. */
export const COAT_LOOKBACK = 7;
/** Two coats closer than this (L2 distance of their truth columns) are the same to a shopper. */
export const COAT_DISTANCE = 6;
/** Steps after which a visit is truncated. */
export const COAT_CAP = 30;

/** Steps of every visit under `NX_10`. */
const COAT_FORCED_STEPS = 10;

/** Options of {@link coatEnv}. */
export interface CoatEnvOptions {
  /** The parsed data set; its truth matrix gives the distances. */
  readonly data: CoatData;
  /** Reward of each item to each user, `[U, I]`. @default data.truth */
  readonly reward?: Float32Array;
  /** Which past items make a shopper leave. @default 'correct' */
  readonly window?: CoatWindow;
  /**
   * Whether items may be repeated, and whether shoppers may leave. Where there are no more than 30 items, `NX_0` ends once all
   * have been shown. @default 'FB'
   */
  readonly evaluation?: CoatEvaluation;
  /** The users who may come, by row. @default all */
  readonly users?: Int32Array;
  /** Number of lanes, B >= 1. @default 1 */
  readonly size?: number;
  /** Seed of the episodes. @default 0 */
  readonly seed?: number;
}

const matrix = z.instanceof(Float32Array);
const count = z.int().min(1);

/** Parsed Coat data, or of the same form: sizes and matrices that fit each other. */
export const coatDataSchema = z
  .looseObject({
    catalog: z.custom<Catalog>((value) => value instanceof Catalog, 'expected a Catalog'),
    users: count,
    items: count,
    train: matrix,
    trainRatings: z.int().min(0),
    truth: matrix,
    userFeatures: matrix,
    userFeatureWidth: z.int().min(0),
  })
  .refine(
    ({ catalog, users, items, train, truth }) =>
      catalog.size === items && train.length === users * items && truth.length === users * items,
    {
      message: 'expected `data.catalog`, `data.train` and `data.truth` to be of `data.users` x `data.items`',
    },
  )
  .refine(({ users, userFeatures, userFeatureWidth }) => userFeatures.length === users * userFeatureWidth, {
    message: 'expected `data.userFeatures` to be of `data.users` x `data.userFeatureWidth`',
  })
  .refine(({ truth }) => truth.every(Number.isFinite), { message: 'expected `data.truth` to be finite numbers' })
  .transform((data) => data as unknown as CoatData);

/** Schema of a {@link CoatWindow} with its default. */
export const coatWindowSchema = z.enum(['legacy', 'correct', 'none']).default('correct');
/** Schema of a {@link CoatEvaluation} with its default. */
export const coatEvaluationSchema = z.enum(['FB', 'NX_0', 'NX_10']).default('FB');

const schema = z.strictObject({
  data: coatDataSchema,
  reward: z.instanceof(Float32Array).optional(),
  window: coatWindowSchema,
  evaluation: coatEvaluationSchema,
  users: z.instanceof(Int32Array).optional(),
  size: z.int().min(1).max(1_000_000).default(1),
  seed: z.int().default(0),
});

/**
 * How many of the latest items the leave rule sees after `t` items have been shown.
 *
 * `legacy` is Python's `shown[t - 7 : t]` on a list of length t: a negative start counts from the end, so t = 1, 2, 3 see all,
 * t = 4, 5, 6 see 3, 2, 1 items, and from 7 on the last 7.
 */
export function coatLookback(window: CoatWindow, t: number): number {
  if (window === 'none') return 0;
  if (t >= COAT_LOOKBACK) return COAT_LOOKBACK;
  return window === 'legacy' ? Math.min(t, COAT_LOOKBACK - t) : t;
}

/**
 * Which pairs of coats are the same to a shopper, `[I, I]`: 1 where the L2 distance between their columns of the truth matrix
 * is below {@link COAT_DISTANCE}; the diagonal is 1.
 */
export function coatCloseness(data: CoatData): Uint8Array {
  const { users, items, truth } = data;
  const close = new Uint8Array(items * items);
  for (let i = 0; i < items; i++) {
    close[i * items + i] = 1;
    for (let j = 0; j < i; j++) {
      let squares = 0;
      for (let u = 0; u < users; u++)
        squares += ((truth[u * items + i] as number) - (truth[u * items + j] as number)) ** 2;
      if (Math.sqrt(squares) < COAT_DISTANCE) {
        close[i * items + j] = 1;
        close[j * items + i] = 1;
      }
    }
  }
  return close;
}

/** EasyRL4Rec's Coat rule (environments.md section 2). */
export class CoatRules implements EpisodeRules {
  /** The user of each lane, `[B]`; a live view, to be read only. */
  readonly users: Int32Array;
  /** Reward of each item to each user, `[U, I]`. */
  readonly rewards: Float32Array;
  /** Pairs that make a shopper leave, `[I, I]`. */
  readonly close: Uint8Array;
  /** Which past items count. */
  readonly window: CoatWindow;
  /** How items may be shown. */
  readonly evaluation: CoatEvaluation;
  /** Number of items, I. */
  readonly itemCount: number;
  readonly #data: CoatData;
  readonly #among: Int32Array;
  // The lookback at each step, so that a step looks up rather than decides.
  readonly #lookbacks: Int32Array;

  /** Fresh lanes over checked options. */
  constructor(options: {
    readonly data: CoatData;
    readonly reward: Float32Array;
    readonly window: CoatWindow;
    readonly evaluation: CoatEvaluation;
    readonly among: Int32Array;
    readonly size: number;
  }) {
    this.users = new Int32Array(options.size);
    this.rewards = options.reward;
    this.close = coatCloseness(options.data);
    this.window = options.window;
    this.evaluation = options.evaluation;
    this.#lookbacks = Int32Array.from({ length: COAT_CAP + 1 }, (_, step) =>
      options.evaluation === 'NX_10' ? 0 : coatLookback(options.window, step),
    );
    this.itemCount = options.data.items;
    this.#data = options.data;
    this.#among = options.among;
  }

  /** A user of the split and one start item, both uniform; the user's attributes are the context. */
  start(lane: number, rng: Rng, histories: EpisodeHistories): void {
    const user = this.#among[rng.integer(this.#among.length)] as number;
    this.users[lane] = user;
    histories.append(lane, rng.integer(this.itemCount));
    const { userFeatures, userFeatureWidth: width } = this.#data;
    for (let c = 0; c < width; c++) histories.context[lane * width + c] = userFeatures[user * width + c] as number;
  }

  /** The reward matrix's cell of the lane's user. */
  reward(_histories: HistoryBatch, actions: Int32Array, rewards: Float32Array): void {
    for (let lane = 0; lane < actions.length; lane++) {
      const item = actions[lane] as number;
      if (item >= 0) rewards[lane] = this.rewards[(this.users[lane] as number) * this.itemCount + item] as number;
    }
  }

  /** Whether one of the items in the window is too close to the new one; the start item is in no window. */
  leaves(lane: number, item: number, _reward: number, step: number, histories: EpisodeHistories): boolean {
    const end = lane * histories.capacity + (histories.lengths[lane] as number);
    const row = item * this.itemCount;
    for (let i = end - this.lookback(step); i < end; i++) {
      if (this.close[row + (histories.items[i] as number)] === 1) return true;
    }
    return false;
  }

  /** How many of the latest items can make a shopper leave after `step` items: {@link coatLookback}, 0 while the rule waits. */
  lookback(step: number): number {
    return this.#lookbacks[step] as number;
  }
}

/** A Coat environment; see {@link coatEnv}. */
export type CoatEnv = LaneEnv<CoatRules>;

/**
 * The exact Coat world of EasyRL4Rec: a shopper of the split with one random coat in their history is shown one coat a step,
 * gives its rating, and leaves at a coat too like a recent one; after 30 the visit is truncated. Repeats are allowed unless
 * `evaluation` says otherwise.
 *
 * @throws {InvalidArgumentError} for a reward matrix of another shape, unknown users, or options out of range.
 */
export function coatEnv(options: CoatEnvOptions): CoatEnv {
  const checked = checkOptions(schema, options, 'coatEnv');
  const { data, reward = data.truth, window, evaluation, users, size, seed } = checked;
  if (reward.length !== data.users * data.items) {
    throw new InvalidArgumentError(
      `coatEnv: expected \`reward\` to hold ${data.users} x ${data.items} values, got ${reward.length}`,
      { argument: 'reward', got: reward.length },
    );
  }
  const among = users ?? Int32Array.from({ length: data.users }, (_, user) => user);
  const stranger = among.find((user) => user < 0 || user >= data.users);
  if (among.length === 0 || stranger !== undefined) {
    throw new InvalidArgumentError(
      `coatEnv: expected \`users\` to hold rows from 0 to ${data.users - 1}, got ${stranger ?? 'none'}`,
      { argument: 'users', got: stranger },
    );
  }
  return new LaneEnv(
    {
      name: 'coat',
      catalog: data.catalog,
      size,
      seed,
      maxEpisodeSteps: coatCap(evaluation, data.items),
      startCapacity: 1,
      noRepeat: evaluation !== 'FB',
      contextWidth: data.userFeatureWidth,
    },
    new CoatRules({ data, reward, window, evaluation, among, size }),
  );
}

/** Steps of a visit at most: a visit without repeats cannot be longer than there are items besides the start item. */
function coatCap(evaluation: CoatEvaluation, items: number): number {
  if (evaluation === 'FB') return COAT_CAP;
  return Math.min(evaluation === 'NX_10' ? COAT_FORCED_STEPS : COAT_CAP, Math.max(1, items - 1));
}
