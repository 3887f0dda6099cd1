import { z } from 'zod';
import { selectRows } from '../compute/history-batch.js';
import { Adam } from '../compute/optimiser.js';
import type { JsonValue } from '../foundation/json.js';
import { checkOptions } from '../foundation/options.js';
import { type Algorithm, annealed, type UpdateContext, type UpdateReport, UpdateRound } from './algorithm.js';
import { gatherFloats, gatherIntegers, meanOf, scaled } from './columns.js';
import { learnerCotangent, mixtureLogProb } from './losses/mixture-log-prob.js';
import { ppoLoss } from './losses/ppo.js';
import { gae, normaliseAdvantages } from './losses/returns.js';
import { nextValuesOf } from './replay-buffer.js';

/** Settings of `'ppo'`; defaults are those of `learning.md` 2. */
export interface PpoSettings {
  /** Steps of every lane in a rollout, 1 to 1024. @default 8 */
  readonly rolloutSteps?: number;
  /** Passes over a rollout, 1 to 100. @default 3 */
  readonly epochs?: number;
  /** Minibatches a pass, 1 to 1024. @default 2 */
  readonly minibatches?: number;
  /** Discount gamma, 0 to 1. @default 0.9 */
  readonly gamma?: number;
  /** GAE's lambda, 0 to 1. @default 0.9 */
  readonly lambda?: number;
  /** Clip range of the probability ratio. @default 0.2 */
  readonly clip?: number;
  /** Adam's learning rate at the start; it falls linearly to `finalLearningRate` of it. @default 3e-3 */
  readonly learningRate?: number;
  /** Share of the learning rate left at the end, 0 to 1. @default 0.1 */
  readonly finalLearningRate?: number;
  /** Factor of the learning rate for the history features' weights, >= 0: few, shared by all items, and far from 0 where they matter. @default 10 */
  readonly historyRate?: number;
  /** Clip of the global gradient norm. @default 1 */
  readonly clipNorm?: number;
  /** Weight of the value loss. @default 0.5 */
  readonly valueWeight?: number;
  /** Weight of the entropy bonus at the start; it falls linearly to 0 over 80 % of the run. @default 0.01 */
  readonly entropyWeight?: number;
  /** Multiplies rewards before anything learns from them; reports are never scaled. @default 0.2, for rewards up to 5 */
  readonly rewardScale?: number;
  /** Whether advantages are normalised over the rollout. @default true */
  readonly normaliseAdvantages?: boolean;
}

const schema = z.strictObject({
  rolloutSteps: z.int().min(1).max(1024).default(8),
  epochs: z.int().min(1).max(100).default(3),
  minibatches: z.int().min(1).max(1024).default(2),
  gamma: z.number().min(0).max(1).default(0.9),
  lambda: z.number().min(0).max(1).default(0.9),
  clip: z.number().positive().max(10).default(0.2),
  learningRate: z.number().positive().max(1).default(3e-3),
  finalLearningRate: z.number().min(0).max(1).default(0.1),
  historyRate: z.number().min(0).max(1000).default(10),
  clipNorm: z.number().positive().default(1),
  valueWeight: z.number().min(0).default(0.5),
  entropyWeight: z.number().min(0).default(0.01),
  rewardScale: z.number().positive().default(0.2),
  normaliseAdvantages: z.boolean().default(true),
});

/** The entropy bonus reaches 0 at this share of the run. */
const ENTROPY_SHARE = 0.8;

/**
 * Proximal policy optimisation on the last rollout of all lanes: the default, and difference no. 1 from Algorithm 2, which
 * replays (`docs/explanation/ppo.md`). In a mixture the ratio is that of the mixture, Eq. 14, and the gradient reaches the
 * learner by Eq. 15.
 */
export class Ppo implements Algorithm {
  /** `ppo`. */
  readonly name = 'ppo';
  /** A state value. */
  readonly critic = 'state';
  /** Steps of every lane in a rollout. */
  readonly rolloutSteps: number;
  /** Its Adam. */
  readonly optimiser: Adam;
  readonly #settings: z.output<typeof schema>;

  /** @throws {InvalidArgumentError} for a setting out of range. */
  constructor(settings: PpoSettings = {}) {
    this.#settings = checkOptions(schema, settings, 'ppo');
    this.rolloutSteps = this.#settings.rolloutSteps;
    const { learningRate, clipNorm, historyRate } = this.#settings;
    this.optimiser = new Adam({ learningRate, clipNorm, multipliers: { 'actor/history': historyRate } });
  }

  /** One rollout. */
  stepsPerLane(): number {
    return this.rolloutSteps;
  }

  /** `epochs x minibatches` updates on the last rollout. */
  update({ learner, buffer, mask, rng, progress, newSteps }: UpdateContext): UpdateReport {
    const { rolloutSteps, epochs, minibatches, rewardScale, finalLearningRate, learningRate, ...loss } = this.#settings;
    const { kernels } = learner;
    // A run's last rollout may be shorter: only steps that nothing was learned from yet.
    const fresh = Math.max(1, Math.floor(newSteps / buffer.lanes));
    const rollout = buffer.lastRollout(Math.min(rolloutSteps, fresh, buffer.rolloutLength));
    const { T, N, histories, terminated, truncated, bootstrap, logProb: oldLogProb } = rollout;
    const values = kernels.forward(histories, { value: true }).value;
    const reached = bootstrap ? kernels.forward(bootstrap.histories, { value: true }).value : undefined;
    const nextValues = nextValuesOf(rollout, values, reached);
    const rewards = scaled(rollout.rewards, rewardScale);
    const { advantages: raw, returns } = gae({
      rewards,
      values,
      nextValues,
      terminated,
      truncated,
      gamma: loss.gamma,
      lambda: loss.lambda,
      T,
      N,
    });
    const advantages = loss.normaliseAdvantages ? normaliseAdvantages(raw) : raw;

    this.optimiser.learningRate = learningRate * (1 - (1 - finalLearningRate) * progress);
    const entropyWeight = annealed(loss.entropyWeight, progress, ENTROPY_SHARE);
    const round = new UpdateRound();
    const rows = new Int32Array(T * N);
    for (let row = 0; row < rows.length; row++) rows[row] = row;
    for (let epoch = 0; epoch < epochs; epoch++) {
      rng.shuffle(rows);
      for (let part = 0; part < minibatches; part++) {
        const picked = rows.subarray(
          Math.floor((part * rows.length) / minibatches),
          Math.floor(((part + 1) * rows.length) / minibatches),
        );
        if (picked.length === 0) continue;
        const scores = kernels.forward(
          selectRows(histories, picked),
          { logProbOf: gatherIntegers(rollout.actions, picked), entropy: true, value: true },
          { mask, dropoutSeed: rng.nonZeroSeed() },
        );
        // Without a mixture alpha is 1 and the share with it: Eq. 14 is then the learner alone.
        const { logMixture, share } = mixtureLogProb(
          scores.logProb,
          gatherFloats(rollout.pretrainedLogProb, picked),
          gatherFloats(rollout.alpha, picked),
        );
        const { loss: total, cotangents } = ppoLoss({
          logProb: logMixture,
          oldLogProb: gatherFloats(oldLogProb, picked),
          advantages: gatherFloats(advantages, picked),
          value: scores.value,
          returns: gatherFloats(returns, picked),
          ...(entropyWeight > 0 ? { entropy: scores.entropy } : {}),
          clip: loss.clip,
          valueWeight: loss.valueWeight,
          entropyWeight,
        });
        const onLearner = { ...cotangents, logProb: learnerCotangent(cotangents.logProb, share) };
        round.apply(kernels, this.optimiser, { loss: total, cotangents: onLearner }, meanOf(scores.entropy));
      }
    }
    return round.report();
  }

  /** All settings. */
  toJSON(): JsonValue {
    return { name: this.name, ...this.#settings };
  }
}
