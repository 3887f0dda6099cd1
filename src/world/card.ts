import { z } from 'zod';
import { Catalog } from '../catalog/catalog.js';
import { ItemFeatures } from '../catalog/item-features.js';
import { argumentError, checkObject } from '../foundation/arguments.js';
import { InvalidArgumentError } from '../foundation/errors.js';
import { checkOptions } from '../foundation/options.js';
import { Turns } from '../foundation/turns.js';
import { intraListDiversity, selfInformation } from '../metrics/list-metrics.js';
import { confidenceInterval, type Interval, mean } from '../metrics/statistics.js';
import { actionRng, CARD_POLICIES, type CardPolicy, WORLD_SPLITS, type World, type WorldSplit } from './world.js';

/** One row of a card: the public JSON contract of `ialp world card`. Intervals are 95 %, over the seeds, or over episodes where there is one seed. */
export interface CardRow {
  /** Name of the world. */
  readonly world: string;
  /** Whose users came. */
  readonly split: WorldSplit;
  /** Where rewards come from. */
  readonly reward: 'truth' | 'model';
  /** Which window the leave rule has. */
  readonly window: 'legacy' | 'correct' | 'none';
  /**
   * How items may be shown, in EasyRL4Rec's words: `FB` repeats allowed, `NX_0` each at most once an episode, `NX_10` so and ten
   * steps whatever the leave rule says.
   */
  readonly evaluation: 'FB' | 'NX_0' | 'NX_10';
  /** Who played. */
  readonly policy: CardPolicy;
  /** Return R: sum of rewards an episode, mean over episodes. */
  readonly return: number;
  /** Lower end of R's interval: Student's t. */
  readonly returnLow: number;
  /** Upper end of R's interval. */
  readonly returnHigh: number;
  /** Length: steps an episode, the leaving step included. */
  readonly length: number;
  /** Lower end of its interval. */
  readonly lengthLow: number;
  /** Upper end of its interval. */
  readonly lengthHigh: number;
  /** Mean R / mean Len. */
  readonly averageReward: number;
  /** Lower end of its interval; over episodes by the linearised ratio. */
  readonly averageRewardLow: number;
  /** Upper end of its interval. */
  readonly averageRewardHigh: number;
  /** Share of the catalogue shown at least once by all seeds together, 0 to 1. */
  readonly coverage: number;
  /** Lower end of the interval of one seed's coverage, which is lower than that of all; `coverage` where there is one seed. */
  readonly coverageLow: number;
  /** Upper end of that interval. */
  readonly coverageHigh: number;
  /** Intra-list diversity: mean over the pairs of an episode's items of 1 - cosine of their text, 0 to 2; null where items have no text, or no episode two steps. */
  readonly diversity: number | null;
  /** Lower end of its interval. */
  readonly diversityLow: number | null;
  /** Upper end of its interval. */
  readonly diversityHigh: number | null;
  /** Mean self-information of the items shown, in bits: 0 would be an item that everyone has chosen. */
  readonly novelty: number;
  /** Lower end of its interval. */
  readonly noveltyLow: number;
  /** Upper end of its interval. */
  readonly noveltyHigh: number;
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
  /** Episodes for each seed that `beam` and `transfer`, which plan each of them whole, play. @default min(episodes, 50) */
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
  const measures = { features: featuresOf(world.catalog), information: selfInformation(world.popularity) };
  const rows: CardRow[] = [];
  for (const policy of policies) {
    rows.push(
      await measure(world, policy, {
        split,
        episodes: PLANS_WHOLE.has(policy) ? beamEpisodes : episodes,
        seeds: seedList,
        signal,
        ...measures,
      }),
    );
    onProgress?.({ policy, done: rows.length, total: policies.length });
  }
  return rows;
}

/** Planners that plan each episode whole. */
const PLANS_WHOLE: ReadonlySet<CardPolicy> = new Set(['beam', 'transfer']);

/** Features that diversity is measured by; undefined where the items have no text. */
function featuresOf(catalog: Catalog): ItemFeatures | undefined {
  try {
    return ItemFeatures.tfidf(catalog);
  } catch (error) {
    if (error instanceof InvalidArgumentError) return undefined;
    throw error;
  }
}

interface MeasureOptions {
  readonly split: WorldSplit;
  readonly episodes: number;
  readonly seeds: readonly number[];
  readonly signal: AbortSignal | undefined;
  readonly features: ItemFeatures | undefined;
  readonly information: Float64Array;
}

/** The episodes of one seed, a number each. */
class SeedEpisodes {
  readonly returns: number[] = [];
  readonly lengths: number[] = [];
  readonly diversities: number[] = [];
  readonly novelties: number[] = [];
  readonly shown: Uint8Array;

  constructor(itemCount: number) {
    this.shown = new Uint8Array(itemCount);
  }

  get coverage(): number {
    return this.shown.reduce((count, flag) => count + flag, 0) / this.shown.length;
  }
}

async function measure(world: World, policy: CardPolicy, options: MeasureOptions): Promise<CardRow> {
  const { split, episodes, seeds, signal, features, information } = options;
  const size = Math.min(LANES, episodes);
  const { env, planner } = world.planned(policy, { split, size, seed: seeds[0] as number });
  const played: SeedEpisodes[] = [];
  const turns = new Turns();
  for (const seed of seeds) {
    const rng = actionRng(seed, policy);
    const of = new SeedEpisodes(world.catalog.size);
    const total = new Float64Array(size);
    // Each lane plays its own share to the end: short episodes are not over-represented.
    const left = Int32Array.from(
      { length: size },
      (_, lane) => Math.floor(episodes / size) + (lane < episodes % size ? 1 : 0),
    );
    const again = new Uint8Array(size);
    env.reset({ seed });
    while (left.some((count) => count > 0)) {
      await turns.give();
      signal?.throwIfAborted();
      const actions = planner.act(rng.uniforms(size));
      const { rewards, terminated, truncated } = env.step(actions);
      again.fill(0);
      for (let lane = 0; lane < size; lane++) {
        const item = actions[lane] as number;
        if (item < 0) continue;
        of.shown[item] = 1;
        total[lane] = (total[lane] as number) + (rewards[lane] as number);
        if (((terminated[lane] as number) | (truncated[lane] as number)) === 0) continue;
        const steps = env.steps[lane] as number;
        const { items, lengths, length } = env.histories();
        const end = lane * length + (lengths[lane] as number);
        const list = items.subarray(end - steps, end);
        of.returns.push(total[lane] as number);
        of.lengths.push(steps);
        of.novelties.push(list.reduce((sum, one) => sum + (information[one] as number), 0) / steps);
        if (features !== undefined && steps > 1) of.diversities.push(intraListDiversity(features, list));
        total[lane] = 0;
        left[lane] = (left[lane] as number) - 1;
        if ((left[lane] as number) > 0) again[lane] = 1;
      }
      if (again.includes(1)) env.reset({ rows: again });
    }
    played.push(of);
  }
  const returns = spread(played.map((of) => of.returns));
  const lengths = spread(played.map((of) => of.lengths));
  const rate = returns.mean / lengths.mean;
  const rates = spread(
    played.length > 1
      ? played.map((of) => [mean(of.returns) / mean(of.lengths)])
      : played.map((of) => of.returns.map((r, i) => rate + (r - rate * (of.lengths[i] as number)) / lengths.mean)),
  );
  const diversity = played.every((of) => of.diversities.length > 0)
    ? spread(played.map((of) => of.diversities))
    : undefined;
  const novelty = spread(played.map((of) => of.novelties));
  const together = new SeedEpisodes(world.catalog.size);
  for (const { shown } of played) for (let i = 0; i < shown.length; i++) if (shown[i] === 1) together.shown[i] = 1;
  const coverage = spread(played.map((of) => [of.coverage]));
  return {
    world: world.name,
    split,
    reward: world.reward,
    window: world.window,
    evaluation: world.evaluation === 'NX_10' ? 'NX_10' : env.noRepeat || NEVER_REPEATS.has(policy) ? 'NX_0' : 'FB',
    policy,
    return: returns.mean,
    returnLow: returns.low,
    returnHigh: returns.high,
    length: lengths.mean,
    lengthLow: lengths.low,
    lengthHigh: lengths.high,
    averageReward: rate,
    averageRewardLow: rates.low,
    averageRewardHigh: rates.high,
    coverage: together.coverage,
    coverageLow: coverage.low,
    coverageHigh: coverage.high,
    diversity: diversity?.mean ?? null,
    diversityLow: diversity?.low ?? null,
    diversityHigh: diversity?.high ?? null,
    novelty: novelty.mean,
    noveltyLow: novelty.low,
    noveltyHigh: novelty.high,
    episodes: played.reduce((count, of) => count + of.returns.length, 0),
  };
}

/** Of the seeds' means, or of the episodes' values where there is one seed. */
function spread(values: readonly (readonly number[])[]): Interval {
  return confidenceInterval(values.length > 1 ? values.map(mean) : (values[0] as readonly number[]));
}

/** Policies that never repeat an item, whatever the environment allows. */
const NEVER_REPEATS: ReadonlySet<CardPolicy> = new Set(['randomNoRepeat', 'popularity', 'popularitySampled']);
