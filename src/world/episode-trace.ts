import { z } from 'zod';
import { Catalog } from '../catalog/catalog.js';
import { argumentError, checkObject } from '../foundation/arguments.js';
import { checkOptions } from '../foundation/options.js';
import { actionRng, CARD_POLICIES, type CardPolicy, WORLD_SPLITS, type World, type WorldSplit } from './world.js';

/** One step of an episode. */
export interface TracedStep {
  /** The item shown, by id. */
  readonly id: string;
  /** Its text. */
  readonly text: string;
  /** What it paid. */
  readonly reward: number;
  /** The user's temper after it; null in a world without one. */
  readonly temper: number | null;
}

/** How one episode went. */
export interface EpisodeTrace {
  /** Who played. */
  readonly policy: CardPolicy;
  /** Texts of the items the user came with, oldest first. */
  readonly start: readonly string[];
  /** Temper at the start; null in a world without one. */
  readonly startTemper: number | null;
  /** The user leaves when temper is below this; null in a world without one. */
  readonly leaveBelow: number | null;
  /** The steps, in order. */
  readonly steps: readonly TracedStep[];
  /** `left`: the user left; `cap`: the episode was cut off. */
  readonly end: 'left' | 'cap';
}

/** Options of {@link traceEpisode}. */
export interface TraceOptions {
  /** Who plays. */
  readonly policy: CardPolicy;
  /** Whose user comes. @default 'test' */
  readonly split?: WorldSplit;
  /** Seed of the episode. @default 1 */
  readonly seed?: number;
}

const schema = z.strictObject({
  policy: z.enum(CARD_POLICIES),
  split: z.enum(WORLD_SPLITS).default('test'),
  seed: z.int().default(1),
});

/** What a rule with patience shows; see `TemperRules`. */
interface Patience {
  readonly temper: Float64Array;
  readonly rule: { readonly leaveBelow: number };
}

/**
 * Plays one episode and writes down how it went: the picture of a world.
 *
 * @throws {InvalidArgumentError} for options out of range, or a policy the world lacks.
 */
export function traceEpisode(world: World, options: TraceOptions): EpisodeTrace {
  checkObject('traceEpisode', 'world', world, ['planned'], 'a World');
  if (!(world.catalog instanceof Catalog))
    throw argumentError('traceEpisode', 'world.catalog', 'a Catalog', world.catalog);
  const { policy, split, seed } = checkOptions(schema, options, 'traceEpisode');
  const { env, planner } = world.planned(policy, { split, size: 1, seed });
  const { catalog } = world;
  const rng = actionRng(seed, policy);
  env.reset({ seed });
  const rules = env.rules as unknown as Partial<Patience>;
  const temper = (): number | null => rules.temper?.[0] ?? null;
  const { items, lengths } = env.histories();
  const start = Array.from(items.subarray(0, lengths[0]), (item) => catalog.text(item));
  const startTemper = temper();
  const steps: TracedStep[] = [];
  for (;;) {
    const [item] = planner.act(rng.uniforms(1)) as unknown as [number];
    const { rewards, terminated, truncated } = env.step(Int32Array.of(item));
    steps.push({ id: catalog.id(item), text: catalog.text(item), reward: rewards[0] as number, temper: temper() });
    if (terminated[0] === 0 && truncated[0] === 0) continue;
    const leaveBelow = rules.temper === undefined ? null : (rules.rule?.leaveBelow ?? null);
    return { policy, start, startTemper, leaveBelow, steps, end: terminated[0] === 1 ? 'left' : 'cap' };
  }
}

/** Policies whose episodes tell most about a world, from chance to the truth. */
const TYPICAL: readonly CardPolicy[] = ['random', 'rotationTrain', 'greedy', 'beam', 'oraclePersonal'];

/** An episode of the same user under each of a few telling policies that the world has. */
export function typicalEpisodes(world: World, options: Omit<TraceOptions, 'policy'> = {}): EpisodeTrace[] {
  checkObject('typicalEpisodes', 'world', world, ['planned'], 'a World');
  if (!Array.isArray(world.policies))
    throw argumentError('typicalEpisodes', 'world.policies', 'a list of policies', world.policies);
  return TYPICAL.filter((policy) => world.policies.includes(policy)).map((policy) =>
    traceEpisode(world, { ...options, policy }),
  );
}
