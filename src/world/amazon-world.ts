import { z } from 'zod';
import type { AmazonData } from '../catalog/amazon.js';
import { Catalog } from '../catalog/catalog.js';
import { Sequences } from '../catalog/sequences.js';
import type { Calibration } from '../env/calibrate.js';
import { coOccurrenceVectors, DotProductModel } from '../env/dot-product-model.js';
import { INDUSTRY_TEMPER, type TemperRule, temperRuleSchema } from '../env/leave-rules.js';
import { SigmoidReward } from '../env/reward-model.js';
import { calibrateReward, type SequenceEnv, sequenceEnv } from '../env/sequence-env.js';
import { checkOptions } from '../foundation/options.js';
import { temperFacts, temperWorld } from './temper-world.js';
import type { World, WorldEnvOptions, WorldSplit } from './world.js';

/** Options of {@link amazonWorld}. */
export interface AmazonWorldOptions {
  /** The parsed data set; a catalogue of your own works as well. */
  readonly data: AmazonData;
  /** The catalogue's attribute that bores users when repeated. @default 'level2' */
  readonly categoryAttribute?: string;
  /** Seed of the split and of the reward models. @default 1 */
  readonly splitSeed?: number;
  /** When users leave. @default INDUSTRY_TEMPER */
  readonly rule?: TemperRule;
  /** Steps after which a visit is truncated. @default 20 */
  readonly maxEpisodeSteps?: number;
  /** Whether shown items are refused. @default true */
  readonly noRepeat?: boolean;
  /** Mean reward of random items that the rewards are calibrated to. @default 0.21 */
  readonly meanReward?: number;
  /** Mean reward of each state's best item. @default 4.5 */
  readonly bestReward?: number;
}

const schema = z.strictObject({
  data: z.custom<AmazonData>((value) => {
    const data = value as Partial<AmazonData> | null | undefined;
    return data?.catalog instanceof Catalog && data.sequences instanceof Sequences;
  }, 'expected parsed Amazon data'),
  categoryAttribute: z.string().min(1).default('level2'),
  splitSeed: z.int().default(1),
  rule: temperRuleSchema.optional(),
  maxEpisodeSteps: z.int().min(1).max(10_000).default(20),
  noRepeat: z.boolean().default(true),
  meanReward: z.number().positive().default(0.21),
  bestReward: z.number().positive().max(5).default(4.5),
});

/** Weight of the z-score of an item's log count against a cosine. */
const POPULARITY_WEIGHT = 0.04;
const WIDTH = 32;
const STATES = 256;

interface FittedReward {
  readonly reward: SigmoidReward;
  readonly calibration: Calibration;
}

/**
 * A plain sequence world on real sequences (environments.md section 3 with a dot-product reward model): users come with the first
 * item of a sequence, split 70 / 10 / 20 by sequence. Three reward models, as for three worlds: `train` is fitted on the train
 * sequences, `validation` on those and its own, `test` and `all` on every sequence; each is calibrated by itself.
 *
 * @throws {InvalidArgumentError} for options out of range, an attribute the catalogue lacks, or rewards that cannot be calibrated.
 */
export function amazonWorld(options: AmazonWorldOptions): World {
  const checked = checkOptions(schema, options, 'amazonWorld');
  const { data, categoryAttribute, splitSeed, maxEpisodeSteps, noRepeat, meanReward, bestReward } = checked;
  const rule = (checked.rule as TemperRule | undefined) ?? INDUSTRY_TEMPER;
  const { catalog, sequences } = data;
  const codes = catalog.attributeCodes(categoryAttribute);
  const [train, validation, test] = sequences.split({
    seed: splitSeed,
    fractions: [0.7, 0.1, 0.2],
    by: 'sequence',
  }) as [Sequences, Sequences, Sequences];
  const starts: Record<WorldSplit, Sequences> = { all: sequences, train, validation, test };
  const fitOn = (fitted: Sequences, label: number): FittedReward => {
    const model = new DotProductModel({
      vectors: coOccurrenceVectors(fitted, { width: Math.min(WIDTH, catalog.size), seed: splitSeed + label }),
      width: Math.min(WIDTH, catalog.size),
      bias: logCounts(fitted),
      name: 'co-occurrence dot product',
    });
    const calibration = calibrateReward(model, {
      sequences: fitted,
      target: { mean: meanReward, best: bestReward },
      states: STATES,
      seed: splitSeed,
      fatigue: rule.fatigue,
      codes,
    });
    return { reward: new SigmoidReward(model, calibration), calibration };
  };
  const whole = fitOn(sequences, 0);
  const models: Record<WorldSplit, () => FittedReward> = {
    all: () => whole,
    test: () => whole,
    validation: once(() => fitOn(Sequences.concat([train, validation]), 2)),
    train: once(() => fitOn(train, 1)),
  };
  const counts = Float32Array.from(train.counts());
  return temperWorld({
    name: 'industrial',
    description: `Amazon Industrial and Scientific, ${sequences.count} sequences, ${catalog.size} products: a user comes with one product, each product shown is appended and pays 0 to 5 by a co-occurrence model; patience runs out; at most ${maxEpisodeSteps} steps. Not the paper's Industry.`,
    catalog,
    reward: 'model',
    popularity: counts,
    facts: {
      items: catalog.size,
      sequences: sequences.count,
      interactions: sequences.items.length,
      split: { seed: splitSeed, train: train.count, validation: validation.count, test: test.count },
      rewardModel: {
        name: whole.reward.name,
        width: WIDTH,
        popularityWeight: POPULARITY_WEIGHT,
        states: STATES,
        meanReward,
        bestReward,
      },
      calibration: { a: whole.calibration.a, b: whole.calibration.b },
      category: categoryAttribute,
      leaveRule: temperFacts(rule),
      cap: maxEpisodeSteps,
      noRepeat,
    },
    cardEpisodes: 200,
    arrays: [sequences.items, sequences.offsets],
    batchEnv: ({ split, size, seed }: WorldEnvOptions): SequenceEnv =>
      sequenceEnv({
        catalog,
        sequences: starts[split],
        rewardModel: models[split]().reward,
        codes,
        rule,
        maxEpisodeSteps,
        noRepeat,
        size,
        seed,
        name: 'industrial',
      }),
  });
}

function once<T>(make: () => T): () => T {
  let made: { readonly value: T } | undefined;
  return () => {
    made ??= { value: make() };
    return made.value;
  };
}

/** Weighted z-score of each item's log(1 + count). */
function logCounts(sequences: Sequences): Float32Array {
  const logs = Float64Array.from(sequences.counts(), (count) => Math.log1p(count));
  const mean = logs.reduce((a, b) => a + b, 0) / logs.length;
  const variance = logs.reduce((sum, log) => sum + (log - mean) ** 2, 0) / logs.length;
  const scale = variance > 0 ? POPULARITY_WEIGHT / Math.sqrt(variance) : 0;
  return Float32Array.from(logs, (log) => (log - mean) * scale);
}
