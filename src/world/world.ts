import { z } from 'zod';
import type { Catalog } from '../catalog/catalog.js';
import type { EpisodeRules, LaneEnv } from '../env/lane-env.js';
import { checkObject } from '../foundation/arguments.js';
import { canonicalJson, type JsonValue } from '../foundation/json.js';
import { checkOptions } from '../foundation/options.js';
import { Rng } from '../foundation/rng.js';
import { sha256Hex } from '../foundation/sha256.js';
import type { Planner } from './planner.js';

/** Parts of a world's users: `all` is everyone; the other three share no user. */
export const WORLD_SPLITS = ['all', 'train', 'validation', 'test'] as const;
/** One of {@link WORLD_SPLITS}. */
export type WorldSplit = (typeof WORLD_SPLITS)[number];

/** The policies a card may print, in its order: those a world offers stand in `World.policies`. */
export const CARD_POLICIES = [
  'random',
  'randomNoRepeat',
  'randomLegal',
  'popularity',
  'popularitySampled',
  'rotationTrain',
  'rotationTruth',
  'greedy',
  'aware',
  'beam',
  'oraclePersonal',
  'transfer',
] as const;
/** One of {@link CARD_POLICIES}. */
export type CardPolicy = (typeof CARD_POLICIES)[number];

/** What a world's environment is made of. */
export interface WorldEnvOptions {
  /** Whose users come. */
  readonly split: WorldSplit;
  /** Number of lanes, B >= 1. */
  readonly size: number;
  /** Seed of the episodes. */
  readonly seed: number;
}

/** An environment with a planner that plays it. */
export interface PlannedEnv {
  /** The environment; reset it before the first action. */
  readonly env: LaneEnv<EpisodeRules>;
  /** Chooses its actions. */
  readonly planner: Planner;
}

/** A place to train and to measure: items, users in splits, rewards, a leave rule, and planners that know its truth. */
export interface World {
  /** Short name: `coat`, `synthetic`, `industrial`. */
  readonly name: string;
  /** What it is, in a sentence or two: data, rule, reward. */
  readonly description: string;
  /** The items. */
  readonly catalog: Catalog;
  /** Where rewards come from: the ground truth, or a model fitted to data. */
  readonly reward: 'truth' | 'model';
  /** Which window the leave rule has; `none` where the rule has none of Coat's. */
  readonly window: 'legacy' | 'correct' | 'none';
  /** How items may be shown, for worlds that can be measured in EasyRL4Rec's three modes; see `CardRow.evaluation`. @default by the environment's `noRepeat` */
  readonly evaluation?: 'FB' | 'NX_0' | 'NX_10';
  /** How often each item was chosen in the data a recommender may see, `[A]`. */
  readonly popularity: Float32Array;
  /** Everything that defines it: counts, seeds, rule, calibration. Part of the fingerprint. */
  readonly facts: Readonly<Record<string, JsonValue>>;
  /** Episodes a seed that a card plays by default: enough for intervals below 2 %, in about a minute. */
  readonly cardEpisodes: number;
  /** The planners it has, in the order of {@link CARD_POLICIES}. */
  readonly policies: readonly CardPolicy[];
  /** A fresh environment of one split. @throws {InvalidArgumentError} for options out of range. */
  batchEnv(options: WorldEnvOptions): LaneEnv<EpisodeRules>;
  /** A fresh environment and a planner for it. @throws {InvalidArgumentError} for a policy that this world lacks. */
  planned(policy: CardPolicy, options: WorldEnvOptions): PlannedEnv;
  /**
   * The no-learning rotation: a list to be played cyclically (or from the top, without repeats).
   * @param kind - `train`: chosen by what a recommender may see; `truth`: by the true rewards of the users it may learn from.
   * @param split - the split it will be played on; `all` may use everyone, the others use the train users.
   */
  rotation(kind: 'train' | 'truth', split: WorldSplit): Int32Array;
  /** SHA-256 of all that defines the world: equal where results are comparable. */
  fingerprint(): Promise<string>;
}

/** Histories with which episodes of a split begin, and the users' contexts. */
export interface WorldStarts {
  /** Item indices, oldest first. */
  readonly histories: readonly Int32Array[];
  /** One context each; absent where the world has none. */
  readonly contexts?: readonly (readonly number[])[];
}

const startsOptions = z.strictObject({
  split: z.enum(WORLD_SPLITS),
  count: z.int().min(1).max(1_000_000),
  seed: z.int(),
});

/**
 * Checks what an environment of a world is asked for.
 *
 * @throws {InvalidArgumentError} for an option out of range.
 */
export function checkWorldEnv(name: string, options: WorldEnvOptions): WorldEnvOptions {
  return checkOptions(envOptions, options, `${name}.batchEnv`);
}

/**
 * Checks what a rotation is asked for.
 *
 * @throws {InvalidArgumentError} for another kind or split.
 */
export function checkRotation(name: string, kind: 'train' | 'truth', split: WorldSplit): void {
  checkOptions(z.enum(['train', 'truth']), kind, `${name}.rotation: kind`);
  checkOptions(z.enum(WORLD_SPLITS), split, `${name}.rotation: split`);
}

const envOptions = z.strictObject({
  split: z.enum(WORLD_SPLITS),
  size: z.int().min(1).max(1_000_000),
  seed: z.int(),
});

/**
 * Draws the beginnings of `count` episodes: the users whom a pre-training may imagine.
 *
 * @throws {InvalidArgumentError} for options out of range.
 */
export function worldStarts(
  world: World,
  options: { readonly split: WorldSplit; readonly count: number; readonly seed: number },
): WorldStarts {
  checkObject('worldStarts', 'world', world, ['batchEnv'], 'a World');
  const { split, count, seed } = checkOptions(startsOptions, options, 'worldStarts');
  const env = world.batchEnv({ split, size: count, seed });
  env.reset();
  const { items, lengths, length, context, contextWidth } = env.histories();
  const lanes = Array.from({ length: count }, (_, lane) => lane);
  const histories = lanes.map((lane) => items.slice(lane * length, lane * length + (lengths[lane] as number)));
  if (context === undefined) return { histories };
  return {
    histories,
    contexts: lanes.map((lane) => Array.from(context.subarray(lane * contextWidth, (lane + 1) * contextWidth))),
  };
}

/** SHA-256 of a world's parts: its facts, its items, and the arrays that its rewards come from. */
export async function worldFingerprint(
  name: string,
  facts: Readonly<Record<string, JsonValue>>,
  catalog: Catalog,
  arrays: readonly ArrayBufferView[],
): Promise<string> {
  const hashes = await Promise.all(
    arrays.map((array) => sha256Hex(new Uint8Array(array.buffer, array.byteOffset, array.byteLength))),
  );
  return sha256Hex(canonicalJson({ name, facts, catalog: await catalog.fingerprint(), arrays: hashes }));
}

/** Uniforms for a planner or policy that plays a world under a seed. */
export function actionRng(seed: number, policy: string): Rng {
  return new Rng(seed).fork('actions').fork(policy);
}
