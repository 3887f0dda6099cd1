import { z } from 'zod';
import { Catalog } from '../catalog/catalog.js';
import { Sequences } from '../catalog/sequences.js';
import { ensureBackend } from '../compute/backend.js';
import type { Calibration } from '../env/calibrate.js';
import { type TemperRule, temperRuleSchema } from '../env/leave-rules.js';
import { SigmoidReward } from '../env/reward-model.js';
import { calibrateReward, sequenceEnv } from '../env/sequence-env.js';
import { argumentError, checkObject } from '../foundation/arguments.js';
import { arrayDigest } from '../foundation/array-digest.js';
import { CheckpointError, DisposedError, InvalidArgumentError } from '../foundation/errors.js';
import { canonicalJson, type JsonValue } from '../foundation/json.js';
import { decodeNamedArrays, encodeNamedArrays, type NamedArrays } from '../foundation/named-arrays.js';
import { checkOptions } from '../foundation/options.js';
import { sha256Hex } from '../foundation/sha256.js';
import type { Storage } from '../foundation/storage.js';
import {
  EnsembleModel,
  judgeSequenceModel,
  SEQUENCE_MODEL,
  SequenceModel,
  type SequenceModelSettings,
  sequenceModelSchema,
  trainSequenceModel,
} from './sequence-model.js';
import { temperFacts, temperWorld } from './temper-world.js';
import type { World, WorldSplit } from './world.js';

/** Items and what users did with them: what a sequence world is built from. */
export interface SequenceWorldData {
  /** The items. */
  readonly catalog: Catalog;
  /** What users chose, oldest first. */
  readonly sequences: Sequences;
}

/** All that defines a sequence world besides its data: plain JSON, every option resolved. */
export interface SequenceWorldSpec {
  /** Short name, printed in tables. */
  readonly name: string;
  /** What it is, in a sentence or two. */
  readonly description: string;
  /** Seed of the split and of the reward models. */
  readonly splitSeed: number;
  /** The catalogue's attribute that bores users when repeated; null where there is none. */
  readonly category: string | null;
  /** When users leave. */
  readonly rule: TemperRule;
  /** Steps after which a visit is truncated. */
  readonly maxEpisodeSteps: number;
  /** Whether shown items are refused. */
  readonly noRepeat: boolean;
  /** How many last items the reward model sees. */
  readonly window: number;
  /** The reward model and how it is fitted. */
  readonly rewardModel: SequenceModelSettings;
  /** Mean reward of random items that the rewards are calibrated to. */
  readonly meanReward: number;
  /** Mean reward of each state's best item. */
  readonly bestReward: number;
}

/** Schema of a {@link SequenceWorldSpec}. */
export const sequenceWorldSpecSchema = z.strictObject({
  name: z.string().min(1).max(64),
  description: z.string(),
  splitSeed: z.int(),
  category: z.string().min(1).nullable(),
  rule: temperRuleSchema,
  maxEpisodeSteps: z.int().min(1).max(10_000),
  noRepeat: z.boolean(),
  window: z.int().min(1).max(1000),
  rewardModel: sequenceModelSchema,
  meanReward: z.number().positive(),
  bestReward: z.number().positive().max(5),
});

/** The parts of a world that have a reward model of their own. */
export const WORLD_FITS: readonly WorldFitName[] = ['train', 'validation', 'test'];
/** A part of a world that has a reward model of its own. */
export type WorldFitName = 'train' | 'validation' | 'test';

/** The reward of one part of a world. */
export interface WorldFit {
  /** Parameters of each member of the ensemble. */
  readonly members: readonly NamedArrays[];
  /** From the ensemble's logit to rewards. */
  readonly calibration: Calibration;
  /** Share of the other items that score below the one that came, on sequences used for nothing else. */
  readonly auc: number;
  /** How often the one that came is among the ten best, on the same. */
  readonly hitRate10: number;
  /** The epoch whose parameters each member kept. */
  readonly epochs: readonly number[];
}

/** A built world: all that {@link sequenceWorld} needs, and all that is stored. */
export interface BuiltSequenceWorld {
  /** What was built. */
  readonly spec: SequenceWorldSpec;
  /** From what. */
  readonly data: SequenceWorldData;
  /** The rewards; those that were not asked for are not there. */
  readonly fits: Readonly<Partial<Record<WorldFitName, WorldFit>>>;
}

/** What {@link buildSequenceWorld} tells while it works. */
export interface BuildWorldProgress {
  /** Which part's reward is being fitted. */
  readonly split: WorldFitName;
  /** Which member of its ensemble, from 1. */
  readonly member: number;
  /** Epochs of that member done. */
  readonly epoch: number;
  /** Models fitted so far, of all parts. */
  readonly done: number;
  /** Models to be fitted in all. */
  readonly total: number;
}

/** Options of {@link buildSequenceWorld}. */
export interface BuildSequenceWorldOptions {
  /** Each fitted model is put here, under `models/`, and read back instead of fitted again. @default nothing is kept */
  readonly storage?: Storage;
  /** Which parts are built. @default all three */
  readonly splits?: readonly WorldFitName[];
  /** Stops; the call rejects with the signal's reason. Models that are done are kept. */
  readonly signal?: AbortSignal;
  /** Called after each epoch. */
  readonly onProgress?: (progress: BuildWorldProgress) => void;
}

const dataSchema = z.custom<SequenceWorldData>((value) => {
  const data = value as Partial<SequenceWorldData> | null | undefined;
  return (
    data?.catalog instanceof Catalog &&
    data.sequences instanceof Sequences &&
    data.sequences.catalogSize === data.catalog.size
  );
}, 'expected { catalog, sequences } of one number of items');

const buildSchema = z.strictObject({
  storage: z
    .custom<Storage>(
      (value) =>
        ['get', 'put'].every((name) => typeof (value as Record<string, unknown> | null)?.[name] === 'function'),
      'expected a Storage',
    )
    .optional(),
  splits: z
    .array(z.enum(WORLD_FITS))
    .min(1)
    .default([...WORLD_FITS]),
  signal: z.custom<AbortSignal>((value) => value instanceof AbortSignal, 'expected an AbortSignal').optional(),
  onProgress: z
    .custom<(progress: BuildWorldProgress) => void>((value) => typeof value === 'function', 'expected a function')
    .optional(),
});

const number = z.number();
const fitsSchema = z.partialRecord(
  z.enum(WORLD_FITS),
  z.looseObject({
    members: z.array(z.looseObject({})).min(1),
    calibration: z.looseObject({ a: number.positive(), b: number, mean: number, best: number }),
    auc: number,
    hitRate10: number,
    epochs: z.array(z.int()),
  }),
);

/** Shares of the sequences in the train, validation and test part. */
const SHARES = [0.7, 0.1, 0.2] as const;
/** Of the sequences a reward model is fitted on, this share decides when to stop, and as many more measure AUC and HR@10. */
const HELD_OUT = 0.05;
/** States that rewards are calibrated on. */
const STATES = 512;

/**
 * Builds a sequence world (environments.md section 3): three worlds of one rule. `train` has a reward fitted on the first 70 %
 * of the sequences and users who come with their first items; `validation` one of other seeds on 80 %, with the users of the
 * next 10 %; `test` one of other seeds on all, with the users of the last 20 %. A tenth of what each is fitted on is held out:
 * half decides when fitting stops, half measures AUC and HR@10 and is used for nothing else. Rewards are calibrated last.
 *
 * The same data, spec and platform give the same bits, whether it was stopped and resumed or not.
 *
 * @param data - items and sequences.
 * @param spec - every option; see {@link industryWorldSpec} and {@link lfmWorldSpec}.
 * @throws {InvalidArgumentError} for options out of range, too few sequences, or rewards that cannot be calibrated.
 */
export async function buildSequenceWorld(
  data: SequenceWorldData,
  spec: SequenceWorldSpec,
  options: BuildSequenceWorldOptions = {},
): Promise<BuiltSequenceWorld> {
  const where = 'buildSequenceWorld';
  checkOptions(dataSchema, data, `${where}: data`);
  const checked = checkOptions(sequenceWorldSpecSchema, spec, `${where}: spec`) as SequenceWorldSpec;
  const { storage, splits, signal, onProgress } = checkOptions(buildSchema, options, where);
  await ensureBackend();
  const { rewardModel: settings, window, splitSeed } = checked;
  const parts = partsOf(data.sequences, splitSeed);
  const inputs = await sha256Hex(canonicalJson({ ...modelIdentity(checked), data: await sequencesDigest(data) }));
  const total = splits.length * settings.members;
  let done = 0;
  const fits: Partial<Record<WorldFitName, WorldFit>> = {};
  for (const split of splits) {
    const [fitOn, stopOn, judgeOn] = heldOutOf(parts[split].fitOn, `${splitSeed}/${split}`);
    const members: FittedMember[] = [];
    for (let member = 0; member < settings.members; member++) {
      const key = `models/${split}-${member + 1}.safetensors`;
      const kept = storage && (await readMember(storage, key, inputs));
      if (kept !== undefined) members.push(kept);
      else {
        const { parameters, epoch } = await trainSequenceModel(fitOn, stopOn, {
          settings,
          window,
          seed: `${splitSeed}/${split}/${member}`,
          signal,
          onProgress: (progress) => onProgress?.({ split, member: member + 1, epoch: progress.epoch, done, total }),
        });
        const fitted = { parameters, epoch };
        if (storage !== undefined) await storage.put(key, await encodeMember(fitted, inputs));
        members.push(fitted);
      }
      done++;
    }
    signal?.throwIfAborted();
    using reward = new FitModel(
      checked,
      data.catalog.size,
      members.map(({ parameters }) => parameters),
    );
    const { auc, hitRate10 } = await judgeSequenceModel(reward.model, judgeOn);
    const calibration = calibrateReward(reward.model, {
      sequences: parts[split].starts,
      target: { mean: checked.meanReward, best: checked.bestReward },
      states: STATES,
      seed: splitSeed,
      fatigue: checked.rule.fatigue,
      codes: categoriesOf(data.catalog, checked),
    });
    fits[split] = {
      members: members.map(({ parameters }) => parameters),
      calibration,
      auc,
      hitRate10,
      epochs: members.map(({ epoch }) => epoch),
    };
  }
  return { spec: checked, data, fits };
}

/** The part of a spec that a fitted model depends on. */
function modelIdentity({ rewardModel, window, splitSeed }: SequenceWorldSpec): Readonly<Record<string, JsonValue>> {
  const { members: _, ...settings } = rewardModel;
  return { format: 'ialp-sequence-model/1', settings, window, splitSeed };
}

async function sequencesDigest({ sequences }: SequenceWorldData): Promise<string> {
  const { items, offsets, catalogSize } = sequences;
  const arrays = {
    items: { shape: [items.length], data: items },
    offsets: { shape: [offsets.length], data: offsets },
  };
  return arrayDigest(arrays, { items: String(catalogSize) });
}

/** Category of each item, `[A]`; -1, which matches nothing, where the world has none. */
function categoriesOf(catalog: Catalog, { category }: SequenceWorldSpec): Int32Array {
  return category === null ? new Int32Array(catalog.size).fill(-1) : catalog.attributeCodes(category);
}

/** What each part is fitted on, and whose first items its users bring. */
function partsOf(
  sequences: Sequences,
  seed: number,
): Readonly<Record<WorldFitName, { readonly fitOn: Sequences; readonly starts: Sequences }>> {
  if (sequences.count < 10) {
    throw new InvalidArgumentError(
      `buildSequenceWorld: expected at least 10 sequences to split 70 / 10 / 20, got ${sequences.count}`,
      { argument: 'data.sequences', wanted: 'at least 10 sequences', got: sequences.count },
    );
  }
  const [train, validation, test] = sequences.split({ seed, fractions: SHARES, by: 'sequence' }) as [
    Sequences,
    Sequences,
    Sequences,
  ];
  return {
    train: { fitOn: train, starts: train },
    validation: { fitOn: Sequences.concat([train, validation]), starts: validation },
    test: { fitOn: sequences, starts: test },
  };
}

/** Deals the sequences that have a transition into what is fitted, what decides when to stop, and what measures. */
function heldOutOf(sequences: Sequences, seed: string): [Sequences, Sequences, Sequences] {
  const lists = Array.from({ length: sequences.count }, (_, i) => sequences.sequence(i)).filter(
    ({ length }) => length > 1,
  );
  if (lists.length < 3) {
    throw new InvalidArgumentError(
      `buildSequenceWorld: expected at least 3 sequences of 2 items and more in each part, got ${lists.length}`,
      { argument: 'data.sequences', got: lists.length },
    );
  }
  const share = Math.max(1, Math.round(HELD_OUT * lists.length)) / lists.length;
  return Sequences.from(lists, { itemCount: sequences.catalogSize }).split({
    seed: `held-out/${seed}`,
    fractions: [1 - 2 * share, share, share],
  }) as [Sequences, Sequences, Sequences];
}

interface FittedMember {
  readonly parameters: NamedArrays;
  readonly epoch: number;
}

async function encodeMember({ parameters, epoch }: FittedMember, inputs: string): Promise<Uint8Array> {
  const metadata = { format: 'ialp-sequence-model/1', inputs, epoch: String(epoch) };
  return encodeNamedArrays(parameters, { ...metadata, digest: await arrayDigest(parameters, metadata) });
}

/** A stored model of the same inputs; undefined where there is none, or it is torn or altered: then it is fitted again. */
async function readMember(storage: Storage, key: string, inputs: string): Promise<FittedMember | undefined> {
  try {
    const bytes = await storage.get(key);
    if (bytes === undefined) return undefined;
    const { arrays, metadata } = decodeNamedArrays(bytes, key, { finite: true });
    const { digest, ...rest } = metadata;
    const { inputs: of, epoch } = rest;
    const isSame = of === inputs && digest === (await arrayDigest(arrays, rest));
    return isSame ? { parameters: arrays, epoch: Number(epoch) } : undefined;
  } catch (error) {
    if (error instanceof CheckpointError) return undefined;
    throw error;
  }
}

/** The ensemble of one fit; owns its members. */
class FitModel {
  readonly model: EnsembleModel;
  readonly #members: readonly SequenceModel[];

  constructor(spec: SequenceWorldSpec, itemCount: number, members: readonly NamedArrays[]) {
    const form = { ...spec.rewardModel, itemCount, window: spec.window };
    this.#members = members.map(
      (parameters, n) => new SequenceModel(form, parameters, `${spec.name}: member ${n + 1}`),
    );
    this.model = new EnsembleModel(this.#members);
  }

  [Symbol.dispose](): void {
    for (const member of this.#members) member.dispose();
  }
}

/** A world with reward models, whose memory somebody frees. */
export interface SequenceWorld extends World {
  /** Frees the reward models; environments of this world cannot go on. Idempotent. */
  dispose(): void;
  /** The same as `dispose()`, for `using`. */
  [Symbol.dispose](): void;
}

/**
 * A built world as a {@link World}. Each split's environments pay by that split's reward (`all` by that of `test`), and
 * `transfer` is the beam planner of the train world played in another: it plans once, at the first step, by the train world's
 * rewards and the tempers that they make. Needs a backend (`await useBackend('auto')`) before the first environment acts.
 *
 * @throws {InvalidArgumentError} when spec, data and fits do not fit together; for an environment of a split that was not built.
 */
export function sequenceWorld(built: BuiltSequenceWorld): SequenceWorld {
  const where = 'sequenceWorld';
  checkObject(where, 'built', built);
  checkOptions(dataSchema, built.data, `${where}: data`);
  const spec = checkOptions(sequenceWorldSpecSchema, built.spec, `${where}: spec`) as SequenceWorldSpec;
  const { data, fits } = built;
  checkOptions(fitsSchema, fits, `${where}: fits`);
  const { catalog, sequences } = data;
  const parts = partsOf(sequences, spec.splitSeed);
  const codes = categoriesOf(catalog, spec);
  const models = new Map<WorldFitName, { readonly owner: FitModel; readonly reward: SigmoidReward }>();
  let isDisposed = false;
  const rewardOf = (name: WorldFitName): SigmoidReward => {
    if (isDisposed) throw new DisposedError(where);
    const known = models.get(name);
    if (known !== undefined) return known.reward;
    const fit = fits[name];
    if (fit === undefined) {
      const there = Object.keys(fits).join(', ');
      throw argumentError(where, 'split', `one whose reward is there (${there})`, name);
    }
    const owner = new FitModel(spec, catalog.size, fit.members);
    const reward = new SigmoidReward(owner.model, fit.calibration);
    models.set(name, { owner, reward });
    return reward;
  };
  const world = temperWorld({
    name: spec.name,
    description: spec.description,
    catalog,
    reward: 'model',
    popularity: Float32Array.from(parts.train.fitOn.counts()),
    facts: { ...specFacts(spec), ...dataFacts(data, parts), fits: fitFacts(fits) },
    identity: specFacts(spec),
    arrays: [sequences.items, sequences.offsets],
    cardEpisodes: 200,
    hasTransfer: fits.train !== undefined,
    batchEnv: ({ split, size, seed }) =>
      sequenceEnv({
        catalog,
        sequences: split === 'all' ? sequences : parts[split].starts,
        rewardModel: rewardOf(split === 'all' ? 'test' : split),
        codes,
        rule: spec.rule,
        maxEpisodeSteps: spec.maxEpisodeSteps,
        noRepeat: spec.noRepeat,
        size,
        seed,
        name: spec.name,
      }),
  });
  const dispose = (): void => {
    isDisposed = true;
    for (const { owner } of models.values()) owner[Symbol.dispose]();
    models.clear();
  };
  return { ...world, dispose, [Symbol.dispose]: dispose };
}

function specFacts(spec: SequenceWorldSpec): Readonly<Record<string, JsonValue>> {
  const { splitSeed, category, rule, maxEpisodeSteps, noRepeat, window, rewardModel, meanReward, bestReward } = spec;
  return {
    splitSeed,
    rewardModel: { ...rewardModel, window, heldOut: HELD_OUT },
    calibration: { mean: meanReward, best: bestReward, states: STATES },
    category,
    leaveRule: temperFacts(rule),
    cap: maxEpisodeSteps,
    noRepeat,
  };
}

function dataFacts(
  { catalog, sequences }: SequenceWorldData,
  parts: ReturnType<typeof partsOf>,
): Readonly<Record<string, JsonValue>> {
  const split = Object.fromEntries(WORLD_FITS.map((name): [WorldSplit, number] => [name, parts[name].starts.count]));
  return { items: catalog.size, sequences: sequences.count, interactions: sequences.items.length, split };
}

function fitFacts(fits: BuiltSequenceWorld['fits']): JsonValue {
  return Object.fromEntries(
    Object.entries(fits).map(([name, { calibration, auc, hitRate10, epochs }]) => [
      name,
      { a: calibration.a, b: calibration.b, auc, hitRate10, epochs: [...epochs] },
    ]),
  );
}

/** The settings that presets start from. */
export const SEQUENCE_WORLD_DEFAULTS = {
  splitSeed: 1,
  maxEpisodeSteps: 20,
  noRepeat: true,
  window: 20,
  rewardModel: SEQUENCE_MODEL,
} as const;
