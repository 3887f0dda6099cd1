import { z } from 'zod';
import { Catalog } from '../catalog/catalog.js';
import { Sequences } from '../catalog/sequences.js';
import { type HistoryBatch, historyBatch } from '../compute/history-batch.js';
import { argumentError, checkObject } from '../foundation/arguments.js';
import { InvalidArgumentError } from '../foundation/errors.js';
import { checkOptions } from '../foundation/options.js';
import { Rng } from '../foundation/rng.js';
import { type Calibration, type CalibrationTarget, calibrate } from './calibrate.js';
import type { EpisodeHistories } from './episode-histories.js';
import { LaneEnv } from './lane-env.js';
import { type FatigueRule, fatigueShare, INDUSTRY_TEMPER, type TemperRule, temperRuleSchema } from './leave-rules.js';
import type { LogitModel, RewardModel } from './reward-model.js';
import { TemperRules, type TemperSource } from './temper-rules.js';

/** Options of {@link sequenceEnv}. */
export interface SequenceEnvOptions {
  /** The items. */
  readonly catalog: Catalog;
  /** Episodes begin with the first item of a random one of these. */
  readonly sequences: Sequences;
  /** What an item is worth after a history; borrowed. */
  readonly rewardModel: RewardModel;
  /** Category of each item for the diversity rule, `[A]`; -1 = missing, which matches nothing. */
  readonly codes: Int32Array;
  /** When the user leaves. @default INDUSTRY_TEMPER */
  readonly rule?: TemperRule;
  /** Steps after which an episode is truncated. @default 20 */
  readonly maxEpisodeSteps?: number;
  /** Whether shown items are refused. @default true */
  readonly noRepeat?: boolean;
  /** Number of lanes, B >= 1. @default 1 */
  readonly size?: number;
  /** Seed of the episodes. @default 0 */
  readonly seed?: number;
  /** Short name, printed in tables. @default 'sequence' */
  readonly name?: string;
}

const scored = z.custom<RewardModel>(
  (value) =>
    ['score', 'scoreAll'].every(
      (name) => typeof (value as Record<string, unknown> | null | undefined)?.[name] === 'function',
    ),
  'expected a RewardModel',
);
const ofSequences = z.custom<Sequences>((value) => value instanceof Sequences, 'expected Sequences');
const calibrateOptions = z.strictObject({
  sequences: ofSequences,
  target: z.custom<CalibrationTarget>((value) => typeof value === 'object' && value !== null, 'a target'),
  states: z.int().min(1).max(1_000_000).default(256),
  seed: z.int().default(0),
  fatigue: temperRuleSchema.shape.fatigue,
  codes: z.instanceof(Int32Array).optional(),
});

const schema = z.strictObject({
  catalog: z.custom<Catalog>((value) => value instanceof Catalog, 'expected a Catalog'),
  sequences: ofSequences,
  rewardModel: scored,
  codes: z.instanceof(Int32Array),
  rule: temperRuleSchema.optional(),
  maxEpisodeSteps: z.int().min(1).max(10_000).default(20),
  noRepeat: z.boolean().default(true),
  size: z.int().min(1).max(1_000_000).default(1),
  seed: z.int().default(0),
  name: z.string().min(1).default('sequence'),
});

/** Users whose taste is what a reward model says after their history. */
export class SequenceSource implements TemperSource {
  /** The reward model; borrowed. */
  readonly model: RewardModel;
  readonly #sequences: Sequences;

  /** Borrows both. */
  constructor(sequences: Sequences, model: RewardModel) {
    this.#sequences = sequences;
    this.model = model;
  }

  /** The first item of a random sequence. */
  start(lane: number, rng: Rng, histories: EpisodeHistories): void {
    const { items, offsets, count } = this.#sequences;
    histories.append(lane, items[offsets[rng.integer(count)] as number] as number);
  }

  /** The model's reward. */
  reward(histories: HistoryBatch, actions: Int32Array, rewards: Float32Array): void {
    this.model.score(histories, actions, rewards);
  }

  /** The model's rewards of every item, `[N, A]`; histories say all there is to know about a user. */
  rewardRows(_lanes: Int32Array, histories: HistoryBatch, rewards: Float32Array): void {
    this.model.scoreAll(histories, rewards);
  }
}

/** A sequence environment; see {@link sequenceEnv}. */
export type SequenceEnv = LaneEnv<TemperRules<SequenceSource>>;

/**
 * The plain sequence world (environments.md section 3): a user comes with one item, every item shown is appended, the reward
 * model says what it was worth, and patience runs out by a temper rule.
 *
 * @throws {InvalidArgumentError} for options out of range, or sequences, model and codes of another number of items.
 */
export function sequenceEnv(options: SequenceEnvOptions): SequenceEnv {
  const {
    catalog,
    sequences,
    rewardModel,
    codes,
    rule = INDUSTRY_TEMPER,
    size,
    ...rest
  } = checkOptions(schema, options, 'sequenceEnv');
  for (const [argument, got] of [
    ['sequences', sequences.catalogSize],
    ['rewardModel', rewardModel.itemCount],
    ['codes', codes.length],
  ] as const) {
    if (got !== catalog.size)
      throw new InvalidArgumentError(
        `sequenceEnv: expected \`${argument}\` to be for ${catalog.size} items, got ${got}`,
        { argument, got },
      );
  }
  if (sequences.count === 0)
    throw new InvalidArgumentError('sequenceEnv: expected at least one sequence to begin with, got none', {
      argument: 'sequences',
    });
  const source = new SequenceSource(sequences, rewardModel);
  return new LaneEnv(
    { ...rest, catalog, size, startCapacity: 1 },
    new TemperRules({ size, rule: rule as TemperRule, codes, source }),
  );
}

/** Options of {@link calibrateReward}. */
export interface CalibrateRewardOptions {
  /** Where states begin. */
  readonly sequences: Sequences;
  /** Wanted mean and best. */
  readonly target: CalibrationTarget;
  /** How many states are drawn. @default 256 */
  readonly states?: number;
  /** Seed of the states. @default 0 */
  readonly seed?: number;
  /** Fatigue of the world's rule, which changes what random agents get: it needs `codes`. @default none */
  readonly fatigue?: FatigueRule | undefined;
  /** Category of each item, `[A]`; -1 = missing. */
  readonly codes?: Int32Array;
}

/**
 * Calibrates a model on the states that random agents meet: a first item and 0 to 4 random items more.
 * @throws {InvalidArgumentError} for options out of range, or a target that cannot be reached.
 */
export function calibrateReward(model: LogitModel, options: CalibrateRewardOptions): Calibration {
  checkObject('calibrateReward', 'model', model, ['scoreAll'], 'a LogitModel');
  const { sequences, target, states, seed, fatigue, codes } = checkOptions(
    calibrateOptions,
    options,
    'calibrateReward',
  );
  if (fatigue !== undefined && codes?.length !== model.itemCount)
    throw argumentError('calibrateReward', 'codes', `categories of ${model.itemCount} items`, codes);
  if (sequences.catalogSize !== model.itemCount || sequences.count === 0) {
    const got = `${sequences.count} of ${sequences.catalogSize} items`;
    throw argumentError('calibrateReward', 'sequences', `sequences of ${model.itemCount} items`, got);
  }
  const histories = randomStates(sequences, { states, seed });
  const logits = model.scoreAll(histories, new Float32Array(states * model.itemCount));
  if (fatigue === undefined) return calibrate(logits, model.itemCount, target);
  return calibrate(logits, model.itemCount, target, wearyShares(histories, fatigue, codes as Int32Array));
}

function wearyShares(histories: HistoryBatch, fatigue: FatigueRule, codes: Int32Array): Float32Array {
  const { items, lengths, length, size } = histories;
  const A = codes.length;
  return Float32Array.from({ length: size * A }, (_, n) => {
    const begin = Math.floor(n / A) * length;
    const end = begin + (lengths[Math.floor(n / A)] as number);
    return fatigueShare(fatigue, codes, n % A, items, begin, end);
  });
}

/** States that random agents meet: the first item of a random sequence and 0 to 4 random items more. */
export function randomStates(
  sequences: Sequences,
  options: { readonly states: number; readonly seed: number },
): HistoryBatch {
  const rng = new Rng(options.seed).fork('random-states');
  const histories = Array.from({ length: options.states }, () => {
    const first = sequences.items[sequences.offsets[rng.integer(sequences.count)] as number] as number;
    return [first, ...Array.from({ length: rng.integer(5) }, () => rng.integer(sequences.catalogSize))];
  });
  return historyBatch(histories);
}
