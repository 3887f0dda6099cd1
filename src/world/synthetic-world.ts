import { z } from 'zod';
import { syntheticData } from '../catalog/synthetic.js';
import { SYNTHETIC_TEMPER, type TemperRule, temperRuleSchema } from '../env/leave-rules.js';
import { syntheticEnv, type UserRange } from '../env/synthetic-env.js';
import { checkOptions } from '../foundation/options.js';
import { temperFacts, temperWorld } from './temper-world.js';
import type { World, WorldSplit } from './world.js';

/** Options of {@link syntheticWorld}. */
export interface SyntheticWorldOptions {
  /** Number of items A. @default 600 */
  readonly items?: number;
  /** Number of categories C. @default 12 */
  readonly categories?: number;
  /** Seed of items and rewards. @default 0 */
  readonly seed?: number;
  /** When users leave. Fatigue only lowers rewards here: they are calibrated without it. @default SYNTHETIC_TEMPER */
  readonly rule?: TemperRule;
  /** Steps after which a visit is truncated. @default 20 */
  readonly maxEpisodeSteps?: number;
  /** Whether shown items are refused. @default true */
  readonly noRepeat?: boolean;
}

const schema = z.strictObject({
  items: z.int().min(1).default(600),
  categories: z.int().min(1).default(12),
  seed: z.int().default(0),
  rule: temperRuleSchema.optional(),
  maxEpisodeSteps: z.int().min(1).max(10_000).default(20),
  noRepeat: z.boolean().default(true),
});

/** Users of a split: their numbers do not overlap, so no user is in two. */
const USERS: Readonly<Record<WorldSplit, UserRange>> = {
  all: { from: 0, count: 3_000_000 },
  train: { from: 0, count: 1_000_000 },
  validation: { from: 1_000_000, count: 1_000_000 },
  test: { from: 2_000_000, count: 1_000_000 },
};

/**
 * The embedded world: made by a seeded generator, no data set, no licence. It runs the demo, the tests and the browser page.
 * @throws {InvalidArgumentError} for options out of range.
 */
export function syntheticWorld(options: SyntheticWorldOptions = {}): World {
  const {
    items,
    categories,
    seed,
    rule: given,
    maxEpisodeSteps,
    noRepeat,
  } = checkOptions(schema, options, 'syntheticWorld');
  const rule = (given as TemperRule | undefined) ?? SYNTHETIC_TEMPER;
  const data = syntheticData({ items, categories, seed });
  return temperWorld({
    name: 'synthetic',
    description: `Generated: ${items} items of ${categories} categories; users with a taste for a mix of three items, which they come with; rewards 0 to 5; patience runs out, faster with a third item of a category within five; at most ${maxEpisodeSteps} steps.`,
    catalog: data.catalog,
    reward: 'truth',
    // The generator's popularity is a z-score: as a log-count it gives counts of the usual skew.
    popularity: data.popularity.map((score) => Math.exp(score)),
    facts: {
      items,
      categories,
      seed,
      users: { train: { ...USERS.train }, validation: { ...USERS.validation }, test: { ...USERS.test } },
      calibration: { a: data.a, b: data.b },
      leaveRule: temperFacts(rule),
      cap: maxEpisodeSteps,
      noRepeat,
    },
    cardEpisodes: 1000,
    arrays: [data.vectors, data.popularity],
    batchEnv: ({ split, size, seed: episodes }) =>
      syntheticEnv({ data, users: USERS[split], rule, maxEpisodeSteps, noRepeat, size, seed: episodes }),
  });
}
