import type { Catalog } from '../catalog/catalog.js';
import type { TemperRule } from '../env/leave-rules.js';
import { InvalidArgumentError } from '../foundation/errors.js';
import type { JsonValue } from '../foundation/json.js';
import { describeValue } from '../foundation/options.js';
import { cyclePlanner, listPlanner, type Planner, randomPlanner, ranking, weightedPlanner } from './planner.js';
import { awarePlanner, beamPlanner, crowdRotation, greedyPlanner, type TemperEnv } from './temper-planners.js';
import {
  type CardPolicy,
  checkRotation,
  checkWorldEnv,
  type World,
  type WorldEnvOptions,
  type WorldSplit,
  worldFingerprint,
} from './world.js';

/** What distinguishes one world of patience from another. */
export interface TemperWorldParts {
  /** Short name. */
  readonly name: string;
  /** What it is, in a sentence or two. */
  readonly description: string;
  /** The items. */
  readonly catalog: Catalog;
  /** Where rewards come from. */
  readonly reward: 'truth' | 'model';
  /** How often each item was chosen, >= 0, `[A]`: the popularity list's order, and the sampled one's weights. */
  readonly popularity: Float32Array;
  /** Everything that defines it. */
  readonly facts: Readonly<Record<string, JsonValue>>;
  /** The part of the facts that the fingerprint is made of. @default facts */
  readonly identity?: Readonly<Record<string, JsonValue>>;
  /** Arrays that its rewards come from, for the fingerprint. */
  readonly arrays: readonly ArrayBufferView[];
  /** Whether the train split has a reward of its own, so that `transfer` says something: a planner who knows that one only. @default false */
  readonly hasTransfer?: boolean;
  /** Episodes a seed that a card plays by default. */
  readonly cardEpisodes: number;
  /** A fresh environment. */
  readonly batchEnv: (options: WorldEnvOptions) => TemperEnv;
}

const POLICIES: readonly CardPolicy[] = [
  'random',
  'popularity',
  'popularitySampled',
  'rotationTrain',
  'rotationTruth',
  'greedy',
  'aware',
  'beam',
  'transfer',
];

/** Users whose mean rewards choose a rotation, and the seed that draws them. */
const CROWD = { size: 256, seed: 20_240_101 } as const;

/** A world of patience: everything but its data is the same in all of them. */
export function temperWorld(parts: TemperWorldParts): World {
  const { name, catalog, popularity, hasTransfer = false } = parts;
  const policies = POLICIES.filter((policy) => policy !== 'transfer' || hasTransfer);
  const batchEnv = (options: WorldEnvOptions): TemperEnv => parts.batchEnv(checkWorldEnv(name, options));
  const lists = new Map<WorldSplit, Int32Array>();
  // Both kinds are told true rewards: `train` those of the users one may learn from, `truth` those of the users it is played to.
  const rotation = (kind: 'train' | 'truth', split: WorldSplit): Int32Array => {
    checkRotation(name, kind, split);
    const crowd: WorldSplit = kind === 'train' ? 'train' : split;
    const known = lists.get(crowd);
    if (known !== undefined) return known;
    const env = batchEnv({ split: crowd, ...CROWD });
    const list = crowdRotation(env, Math.min(env.historyCapacity, catalog.size));
    lists.set(crowd, list);
    return list;
  };
  const planner = (policy: CardPolicy, env: TemperEnv, split: WorldSplit): Planner => {
    switch (policy) {
      case 'random':
        return randomPlanner(env, { noRepeat: env.noRepeat });
      case 'popularity':
        return listPlanner(env, ranking(popularity));
      case 'popularitySampled':
        return weightedPlanner(env, popularity);
      case 'rotationTrain':
        return cyclePlanner(env, rotation('train', split));
      case 'rotationTruth':
        return cyclePlanner(env, rotation('truth', split));
      case 'greedy':
        return greedyPlanner(env);
      case 'aware':
        return awarePlanner(env);
      case 'beam':
        return beamPlanner(env);
      default:
        if (policy === 'transfer' && hasTransfer)
          return beamPlanner(env, { source: batchEnv({ split: 'train', size: 1, seed: 0 }).rules.source });
        throw new InvalidArgumentError(
          `${name}: expected \`policy\` to be one of ${policies.join(', ')}, got ${describeValue(policy)}`,
          { argument: 'policy', got: policy },
        );
    }
  };
  return {
    name,
    description: parts.description,
    catalog,
    reward: parts.reward,
    window: 'none',
    popularity,
    facts: parts.facts,
    cardEpisodes: parts.cardEpisodes,
    policies,
    batchEnv,
    planned(policy, options) {
      const env = batchEnv(options);
      return { env, planner: planner(policy, env, options.split) };
    },
    rotation,
    fingerprint: () => worldFingerprint(name, parts.identity ?? parts.facts, catalog, parts.arrays),
  };
}

/** A temper rule as facts of a card. */
export function temperFacts(rule: TemperRule): Readonly<Record<string, JsonValue>> {
  const { start, likedFrom, likedDrop, otherDrop, leaveBelow, diversity, fatigue, stochastic } = rule;
  return {
    start,
    likedFrom,
    likedDrop,
    otherDrop,
    leaveBelow,
    diversity: diversity === undefined ? null : { ...diversity },
    ...(fatigue === undefined ? {} : { fatigue: { ...fatigue } }),
    ...(stochastic === undefined ? {} : { stochastic: { ...stochastic } }),
  };
}
