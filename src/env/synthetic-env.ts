import { z } from 'zod';
import type { SyntheticData } from '../catalog/synthetic.js';
import type { HistoryBatch } from '../compute/history-batch.js';
import { checkOptions } from '../foundation/options.js';
import { Rng } from '../foundation/rng.js';
import type { EpisodeHistories } from './episode-histories.js';
import { LaneEnv } from './lane-env.js';
import { SYNTHETIC_TEMPER, type TemperRule, temperRuleSchema } from './leave-rules.js';
import { TemperRules, type TemperSource } from './temper-rules.js';

/** A range of user numbers: users of ranges that do not overlap are different people. */
export interface UserRange {
  /** First user number, >= 0. */
  readonly from: number;
  /** How many there are, >= 1. */
  readonly count: number;
}

/** Options of {@link syntheticEnv}. */
export interface SyntheticEnvOptions {
  /** Items, users and rewards. */
  readonly data: SyntheticData;
  /** The users who may come. @default 3,000,000 from 0 */
  readonly users?: UserRange;
  /** When the user leaves. @default SYNTHETIC_TEMPER */
  readonly rule?: TemperRule;
  /** Steps after which an episode is truncated. @default 20 */
  readonly maxEpisodeSteps?: number;
  /** Whether shown items are refused. @default true */
  readonly noRepeat?: boolean;
  /** Number of lanes, B >= 1. @default 1 */
  readonly size?: number;
  /** Seed of the episodes. @default 0 */
  readonly seed?: number;
}

const schema = z.strictObject({
  data: z.custom<SyntheticData>(
    (value) => typeof value === 'object' && value !== null && 'drawUser' in value,
    'expected SyntheticData',
  ),
  users: z
    .strictObject({ from: z.int().min(0), count: z.int().min(1).max(4_000_000_000) })
    .default({ from: 0, count: 3_000_000 }),
  rule: temperRuleSchema.optional(),
  maxEpisodeSteps: z.int().min(1).max(10_000).default(20),
  noRepeat: z.boolean().default(true),
  size: z.int().min(1).max(1_000_000).default(1),
  seed: z.int().default(0),
});

/** Items a user has liked before the first visit: their taste could not be observed otherwise. */
const START_ITEMS = 3;
/** Up to this many items a user's rewards are computed once, when the episode starts. */
const ROW_ITEMS = 4096;

/** Users of the synthetic world: a fixed taste each, told only by the items they have liked. */
export class SyntheticSource implements TemperSource {
  readonly #data: SyntheticData;
  readonly #users: UserRange;
  readonly #people: Rng;
  readonly #itemCount: number;
  readonly #vectors: Float32Array[];
  readonly #rows: Float64Array[];

  /** Borrows the data. */
  constructor(data: SyntheticData, users: UserRange, size: number) {
    this.#data = data;
    this.#users = users;
    this.#people = new Rng('synthetic').fork('user');
    this.#itemCount = data.catalog.size;
    this.#vectors = Array.from({ length: size }, () => new Float32Array(0));
    this.#rows =
      this.#itemCount > ROW_ITEMS ? [] : Array.from({ length: size }, () => new Float64Array(this.#itemCount));
  }

  /** A user of the range, uniform, with the three items they have liked. */
  start(lane: number, rng: Rng, histories: EpisodeHistories): void {
    const person = this.#users.from + rng.integer(this.#users.count);
    const { vector, liked } = this.#data.drawUser(this.#people.fork(person));
    this.#vectors[lane] = vector;
    const row = this.#rows[lane];
    if (row !== undefined) this.#data.rewards(vector, row);
    for (const item of liked) histories.append(lane, item);
  }

  /** The users' fixed rewards: histories do not change a taste. */
  reward(_histories: HistoryBatch, actions: Int32Array, rewards: Float32Array): void {
    for (let lane = 0; lane < actions.length; lane++) {
      const item = actions[lane] as number;
      if (item < 0) continue;
      const row = this.#rows[lane];
      rewards[lane] =
        row === undefined ? this.#data.reward(this.#vectors[lane] as Float32Array, item) : (row[item] as number);
    }
  }

  /** Rewards of every item to the users of some lanes, `[N, A]`. */
  rewardRows(lanes: Int32Array, _histories: HistoryBatch, rewards: Float32Array): void {
    lanes.forEach((lane, n) => {
      const row = this.#rows[lane] ?? this.#data.rewards(this.#vectors[lane] as Float32Array);
      rewards.set(row, n * this.#itemCount);
    });
  }
}

/** A synthetic environment; see {@link syntheticEnv}. */
export type SyntheticEnv = LaneEnv<TemperRules<SyntheticSource>>;

/**
 * The embedded world (environments.md section 4): a user with a taste of their own comes with three liked items, each item shown
 * pays what it is worth to them, and patience runs out by a temper rule with a hard price on a third item of a category within five.
 *
 * @throws {InvalidArgumentError} for options out of range.
 */
export function syntheticEnv(options: SyntheticEnvOptions): SyntheticEnv {
  const { data, users, rule = SYNTHETIC_TEMPER, size, ...rest } = checkOptions(schema, options, 'syntheticEnv');
  const source = new SyntheticSource(data, users, size);
  return new LaneEnv(
    { ...rest, name: 'synthetic', catalog: data.catalog, size, startCapacity: START_ITEMS },
    new TemperRules({ size, rule: rule as TemperRule, codes: data.categoryCodes, source }),
  );
}
