import { z } from 'zod';
import { type HistoryBatch, selectRows } from '../compute/history-batch.js';
import type { Cotangents } from '../compute/kernels.js';
import type { Mask } from '../compute/mask.js';
import { Adam } from '../compute/optimiser.js';
import type { JsonValue } from '../foundation/json.js';
import { checkOptions } from '../foundation/options.js';
import type { ActorCritic } from './actor-critic.js';
import { type Algorithm, annealed, type UpdateContext, type UpdateReport, UpdateRound } from './algorithm.js';
import { meanOf, scaled } from './columns.js';
import { a2cLoss } from './losses/a2c.js';
import { clippedImportanceWeights, entropyBonus } from './losses/actor-losses.js';
import { discountsOf, tdTarget } from './losses/critic-losses.js';
import { learnerCotangent, mixtureLogProb } from './losses/mixture-log-prob.js';
import type { TransitionBatch } from './replay-buffer.js';

/** Settings of `'replay'` and `'paper'`, which differ in their defaults alone. */
export interface ReplaySettings {
  /** Transitions a minibatch, 1 to 65,536. @default 64 */
  readonly batchSize?: number;
  /** Gradient updates for each step of one user, > 0. @default 'replay' 0.125, 'paper' 1 (Algorithm 2, lines 14-16) */
  readonly updatesPerStep?: number;
  /** Transitions kept. @default 'replay' 2,000, 'paper' 50,000 */
  readonly bufferSize?: number;
  /** Discount gamma, 0 to 1. @default 0.9 */
  readonly gamma?: number;
  /** Adam's learning rate at the start. @default 'replay' 3e-3, 'paper' 1e-3 */
  readonly learningRate?: number;
  /** Share of the learning rate left at the end, 0 to 1. @default 'replay' 0, 'paper' 1 */
  readonly finalLearningRate?: number;
  /** Factor of the learning rate for the history features' weights, >= 0. @default 'replay' 10, 'paper' 1 */
  readonly historyRate?: number;
  /** Clip of the global gradient norm; Infinity for none. @default 'replay' 1, 'paper' Infinity */
  readonly clipNorm?: number;
  /** Weight of L_Q. @default 'replay' 0.5, 'paper' 1 (Eq. 10) */
  readonly valueWeight?: number;
  /** Weight of the entropy bonus at the start; it falls linearly to 0 over 80 % of the run. @default 'replay' 0.04, 'paper' 0 */
  readonly entropyWeight?: number;
  /** Multiplies rewards before anything learns from them. @default 'replay' 0.2, 'paper' 1 */
  readonly rewardScale?: number;
  /** Off-policy correction: weights min(1, pi / mu), or none. @default 'replay' 'clipped-is', 'paper' 'none' */
  readonly correction?: 'none' | 'clipped-is';
}

const schema = z.strictObject({
  batchSize: z.int().min(1).max(65_536),
  updatesPerStep: z.number().positive().max(100),
  bufferSize: z.int().min(1).max(100_000_000),
  gamma: z.number().min(0).max(1),
  learningRate: z.number().positive().max(1),
  finalLearningRate: z.number().min(0).max(1),
  historyRate: z.number().min(0).max(1000),
  clipNorm: z.union([z.number().positive(), z.literal(Number.POSITIVE_INFINITY)]),
  valueWeight: z.number().min(0),
  entropyWeight: z.number().min(0),
  rewardScale: z.number().positive(),
  correction: z.enum(['none', 'clipped-is']),
});

const ENTROPY_SHARE = 0.8;

/** A2C on minibatches of a replay buffer; what the two public forms differ in is their settings alone. */
class ReplayA2c implements Algorithm {
  readonly name: 'replay' | 'paper';
  readonly critic = undefined;
  readonly rolloutSteps = 1;
  readonly optimiser: Adam;
  readonly #settings: z.output<typeof schema>;

  constructor(name: 'replay' | 'paper', settings: z.output<typeof schema>) {
    this.name = name;
    this.#settings = settings;
    const { learningRate, clipNorm, historyRate } = settings;
    this.optimiser = new Adam({ learningRate, clipNorm, multipliers: { 'actor/history': historyRate } });
  }

  stepsPerLane(lanes: number): number {
    return Math.max(1, Math.floor(this.#settings.bufferSize / lanes));
  }

  update(context: UpdateContext): UpdateReport {
    const { batchSize, updatesPerStep, learningRate, finalLearningRate } = this.#settings;
    const { buffer, rng, progress, steps, newSteps } = context;
    const round = new UpdateRound();
    this.optimiser.learningRate = learningRate * (1 - (1 - finalLearningRate) * progress);
    // From the totals, so that fractions of an update need no state of their own in checkpoints.
    const due = Math.floor(steps * updatesPerStep) - Math.floor((steps - newSteps) * updatesPerStep);
    for (let i = 0; i < due && buffer.size > 0; i++) this.#updateOn(buffer.sample(batchSize, rng), context, round);
    return round.report();
  }

  toJSON(): JsonValue {
    const { clipNorm, ...settings } = this.#settings;
    return { name: this.name, ...settings, clipNorm: Number.isFinite(clipNorm) ? clipNorm : 'Infinity' };
  }

  #updateOn(batch: TransitionBatch, { learner, mask, rng, progress }: UpdateContext, round: UpdateRound): void {
    const { gamma, valueWeight, rewardScale, correction } = this.#settings;
    const { kernels } = learner;
    const reading = learner.settings.critic;
    const discounts = discountsOf(batch.terminated, gamma);
    const { actions, histories, nextHistories } = batch;
    // One pass for s and s' beats leaving out the ends of episodes, whose Q(s', .) nobody reads; where it is two passes anyway, fewer
    // rows are cheaper. A row where nothing is left to show may not be asked at all.
    const isOnePass =
      reading === 'state' ||
      (kernels.kind !== 'reference' && isItemLeftEverywhere(learner.catalog.size, nextHistories, mask));
    const apart = isOnePass ? undefined : bestNextScores(learner, nextHistories, discounts, mask);
    const entropyWeight = annealed(this.#settings.entropyWeight, progress, ENTROPY_SHARE);
    const options = { mask, dropoutSeed: rng.nonZeroSeed() };
    const policy = { logProbOf: actions, ...(entropyWeight > 0 ? { entropy: true as const } : {}) };
    const scores =
      reading === 'state'
        ? kernels.forward(
            histories,
            { ...policy, value: true, next: { histories: nextHistories, value: true } },
            options,
          )
        : kernels.forward(
            histories,
            {
              ...policy,
              scoresOf: { head: 'critic', items: actions, width: 1 },
              ...(isOnePass ? { next: { histories: nextHistories, maxScore: 'critic' } } : {}),
            },
            options,
          );
    const targets = tdTarget({
      rewards: scaled(batch.rewards, rewardScale),
      discounts,
      nextValues: (apart ?? scores.next?.value ?? scores.next?.maxScore) as Float32Array,
    });
    const { logMixture, share } = mixtureLogProb(scores.logProb, batch.pretrainedLogProb, batch.alpha);
    const predictions = (reading === 'state' ? scores.value : scores.scores) as Float32Array;
    const a2c = a2cLoss({
      critic: reading,
      logProb: logMixture,
      predictions,
      targets,
      weights: correction === 'clipped-is' ? clippedImportanceWeights(logMixture, batch.logProb) : undefined,
      valueWeight,
    });
    const bonus = scores.entropy && entropyBonus(scores.entropy, entropyWeight);
    const cotangents: Cotangents = {
      ...a2c.cotangents,
      logProb: learnerCotangent(a2c.cotangents.logProb, share),
      ...bonus?.cotangents,
    };
    const total = { loss: a2c.loss + (bonus?.loss ?? 0), cotangents };
    round.apply(kernels, this.optimiser, total, scores.entropy ? meanOf(scores.entropy) : Number.NaN);
  }
}

/** max_a' Q(s', a') over the allowed items; 0 where it is not read (discount 0), or where no item is left to be shown. */
function bestNextScores(learner: ActorCritic, next: HistoryBatch, discounts: Float32Array, mask: Mask): Float32Array {
  const best = new Float32Array(next.size);
  const rows: number[] = [];
  for (let b = 0; b < next.size; b++) {
    if (discounts[b] !== 0 && isItemLeft(learner.catalog.size, next, b, mask)) rows.push(b);
  }
  if (rows.length === 0) return best;
  const open = rows.length === next.size ? next : selectRows(next, rows);
  const { maxScore } = learner.kernels.forward(open, { maxScore: 'critic' }, { mask });
  for (const [i, b] of rows.entries()) best[b] = maxScore[i] as number;
  return best;
}

function isItemLeftEverywhere(itemCount: number, histories: HistoryBatch, mask: Mask): boolean {
  for (let b = 0; b < histories.size; b++) if (!isItemLeft(itemCount, histories, b, mask)) return false;
  return true;
}

/** Whether the mask leaves an item in a row. */
function isItemLeft(itemCount: number, { items, length, lengths }: HistoryBatch, row: number, mask: Mask): boolean {
  const { exclude = [], noRepeat = false } = mask;
  const shown = noRepeat ? (lengths[row] as number) : 0;
  if (exclude.length + shown < itemCount) return true;
  return new Set([...exclude, ...items.subarray(row * length, row * length + shown)]).size < itemCount;
}

/**
 * `'replay'`: A2C on a short replay buffer with clipped importance weights, the off-policy sibling of PPO (`learning.md` 2).
 *
 * @throws {InvalidArgumentError} for a setting out of range.
 */
export function replay(settings: ReplaySettings = {}): Algorithm {
  const defaults = {
    batchSize: 64,
    updatesPerStep: 0.125,
    bufferSize: 2000,
    gamma: 0.9,
    learningRate: 3e-3,
    finalLearningRate: 0,
    historyRate: 10,
    clipNorm: 1,
    valueWeight: 0.5,
    entropyWeight: 0.04,
    rewardScale: 0.2,
    correction: 'clipped-is',
  };
  return new ReplayA2c('replay', checkOptions(schema, { ...defaults, ...settings }, 'replay'));
}

/**
 * `'paper'`: Eqs. 8-10 and 12-15 as printed, one minibatch update an environment step (Algorithms 1 and 2, lines 13-16).
 * It collapses (`docs/explanation/paper.md`) and is kept as the reference.
 *
 * @throws {InvalidArgumentError} for a setting out of range.
 */
export function paper(settings: ReplaySettings = {}): Algorithm {
  const defaults = {
    batchSize: 64,
    updatesPerStep: 1,
    bufferSize: 50_000,
    gamma: 0.9,
    learningRate: 1e-3,
    finalLearningRate: 1,
    historyRate: 1,
    clipNorm: Number.POSITIVE_INFINITY,
    valueWeight: 1,
    entropyWeight: 0,
    rewardScale: 1,
    correction: 'none',
  };
  return new ReplayA2c('paper', checkOptions(schema, { ...defaults, ...settings }, 'paper'));
}
