import { z } from 'zod';
import { Catalog } from '../catalog/catalog.js';
import { argumentError, checkObject } from '../foundation/arguments.js';
import { checkOptions } from '../foundation/options.js';
import { confidenceInterval, mean } from '../metrics/statistics.js';
import { actionRng, CARD_POLICIES, type CardPolicy, WORLD_SPLITS, type World, type WorldSplit } from './world.js';

/** One row of a card: the public JSON contract of `ialp world card`. */
export interface CardRow {
  /** Name of the world. */
  readonly world: string;
  /** Whose users came. */
  readonly split: WorldSplit;
  /** Where rewards come from. */
  readonly reward: 'truth' | 'model';
  /** Which window the leave rule has. */
  readonly window: 'legacy' | 'correct' | 'none';
  /** How items may be shown, in EasyRL4Rec's words: `FB` repeats allowed, `NX_0` each at most once an episode. */
  readonly evaluation: 'FB' | 'NX_0';
  /** Who played. */
  readonly policy: CardPolicy;
  /** Return R: sum of rewards an episode, mean over episodes. */
  readonly return: number;
  /** Lower end of R's 95 % interval: Student's t over the seeds' means, or over episodes where there is one seed. */
  readonly returnLow: number;
  /** Upper end of R's 95 % interval. */
  readonly returnHigh: number;
  /** Length: steps an episode, the leaving step included. */
  readonly length: number;
  /** Mean R / mean Len. */
  readonly averageReward: number;
  /** Share of the catalogue shown at least once, 0 to 1. */
  readonly coverage: number;
  /** Episodes played, all seeds together. */
  readonly episodes: number;
}

/** What {@link worldCard} tells while it works. */
export interface CardProgress {
  /** The policy that has just been measured. */
  readonly policy: CardPolicy;
  /** Policies measured so far. */
  readonly done: number;
  /** Policies in all. */
  readonly total: number;
}

/** Options of {@link worldCard}. */
export interface WorldCardOptions {
  /** Whose users come. @default 'test' */
  readonly split?: WorldSplit;
  /** Episodes for each seed, >= 1. @default world.cardEpisodes */
  readonly episodes?: number;
  /** Episodes for each seed that `beam`, which plans each of them whole, plays. @default min(episodes, 50) */
  readonly beamEpisodes?: number;
  /** How many seeds, or which. @default 5 */
  readonly seeds?: number | readonly number[];
  /** Which rows. @default all that the world has */
  readonly policies?: readonly CardPolicy[];
  /** Called after each row. */
  readonly onProgress?: (progress: CardProgress) => void;
  /** Stops between steps; the call rejects with the signal's reason. */
  readonly signal?: AbortSignal;
}

const schema = z.strictObject({
  split: z.enum(WORLD_SPLITS).default('test'),
  episodes: z.int().min(1).max(10_000_000).optional(),
  beamEpisodes: z.int().min(1).max(10_000_000).optional(),
  seeds: z.union([z.int().min(1).max(100_000), z.array(z.int()).min(1)]).default(5),
  policies: z.array(z.enum(CARD_POLICIES)).min(1).optional(),
  onProgress: z
    .custom<(progress: CardProgress) => void>((value) => typeof value === 'function', 'expected a function')
    .optional(),
  signal: z.custom<AbortSignal>((value) => value instanceof AbortSignal, 'expected an AbortSignal').optional(),
});

const LANES = 32;
/** Steps between two looks at the clock of the host, so that a page stays alive and an abort is heard. */
const BREATH = 256;

/**
 * Measures what is trivial and what is possible in a world: one row for each of its planners.
 *
 * @throws {InvalidArgumentError} for options out of range, or a policy the world lacks.
 */
export async function worldCard(world: World, options: WorldCardOptions = {}): Promise<CardRow[]> {
  checkObject('worldCard', 'world', world, ['planned'], 'a World');
  if (!(world.catalog instanceof Catalog))
    throw argumentError('worldCard', 'world.catalog', 'a Catalog', world.catalog);
  const {
    split,
    episodes = world.cardEpisodes,
    seeds,
    policies = world.policies,
    onProgress,
    signal,
    ...rest
  } = checkOptions(schema, options, 'worldCard');
  const { beamEpisodes = Math.min(episodes, 50) } = rest;
  const seedList = typeof seeds === 'number' ? Array.from({ length: seeds }, (_, i) => i + 1) : seeds;
  const rows: CardRow[] = [];
  for (const policy of policies) {
    rows.push(
      await measure(world, policy, {
        split,
        episodes: policy === 'beam' ? beamEpisodes : episodes,
        seeds: seedList,
        signal,
      }),
    );
    onProgress?.({ policy, done: rows.length, total: policies.length });
  }
  return rows;
}

interface MeasureOptions {
  readonly split: WorldSplit;
  readonly episodes: number;
  readonly seeds: readonly number[];
  readonly signal: AbortSignal | undefined;
}

async function measure(world: World, policy: CardPolicy, options: MeasureOptions): Promise<CardRow> {
  const { split, episodes, seeds, signal } = options;
  const size = Math.min(LANES, episodes);
  const { env, planner } = world.planned(policy, { split, size, seed: seeds[0] as number });
  const returns: number[][] = [];
  const lengths: number[][] = [];
  const shown = new Uint8Array(world.catalog.size);
  for (const seed of seeds) {
    const rng = actionRng(seed, policy);
    const seedReturns: number[] = [];
    const seedLengths: number[] = [];
    const total = new Float64Array(size);
    // Each lane plays its own share to the end: short episodes are not over-represented.
    const left = Int32Array.from(
      { length: size },
      (_, lane) => Math.floor(episodes / size) + (lane < episodes % size ? 1 : 0),
    );
    const again = new Uint8Array(size);
    env.reset({ seed });
    for (let step = 0; left.some((count) => count > 0); step++) {
      if (step % BREATH === BREATH - 1) await new Promise<void>((resolve) => setTimeout(resolve, 0));
      signal?.throwIfAborted();
      const actions = planner.act(rng.uniforms(size));
      const { rewards, terminated, truncated } = env.step(actions);
      again.fill(0);
      for (let lane = 0; lane < size; lane++) {
        const item = actions[lane] as number;
        if (item < 0) continue;
        shown[item] = 1;
        total[lane] = (total[lane] as number) + (rewards[lane] as number);
        if (((terminated[lane] as number) | (truncated[lane] as number)) === 0) continue;
        seedReturns.push(total[lane] as number);
        seedLengths.push(env.steps[lane] as number);
        total[lane] = 0;
        left[lane] = (left[lane] as number) - 1;
        if ((left[lane] as number) > 0) again[lane] = 1;
      }
      if (again.includes(1)) env.reset({ rows: again });
    }
    returns.push(seedReturns);
    lengths.push(seedLengths);
  }
  const result = confidenceInterval(returns.length > 1 ? returns.map(mean) : (returns[0] as number[]));
  const length = mean(lengths.flat());
  return {
    world: world.name,
    split,
    reward: world.reward,
    window: world.window,
    evaluation: env.noRepeat || NEVER_REPEATS.has(policy) ? 'NX_0' : 'FB',
    policy,
    return: result.mean,
    returnLow: result.low,
    returnHigh: result.high,
    length,
    averageReward: result.mean / length,
    coverage: shown.reduce((count, flag) => count + flag, 0) / shown.length,
    episodes: returns.flat().length,
  };
}

/** Policies that never repeat an item, whatever the environment allows. */
const NEVER_REPEATS: ReadonlySet<CardPolicy> = new Set(['randomNoRepeat', 'popularity', 'popularitySampled']);
