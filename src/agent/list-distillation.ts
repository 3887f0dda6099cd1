import { z } from 'zod';
import { Adam } from '../compute/optimiser.js';
import type { JsonValue } from '../foundation/json.js';
import { checkOptions } from '../foundation/options.js';
import type { ActorCritic } from './actor-critic.js';
import { type Algorithm, type UpdateContext, type UpdateReport, UpdateRound } from './algorithm.js';
import { listLoss } from './losses/supervised-losses.js';
import type { TransitionColumns } from './transitions.js';

/** Settings of `'list'`, pre-training's default way to learn. */
export interface ListSettings {
  /** Mean number of times each answer is learned from, > 0. @default 16 */
  readonly passes?: number;
  /** Answers a minibatch, 1 to 65,536. @default 128 */
  readonly batchSize?: number;
  /** Adam's learning rate of tables, projections and encoder. @default 1e-3 */
  readonly learningRate?: number;
  /** Adam's learning rate of the history features' weights: few, shared by all items, so they may move fast. @default 2e-2 */
  readonly historyLearningRate?: number;
  /** Clip of the global gradient norm. @default 1 */
  readonly clipNorm?: number;
}

const schema = z.strictObject({
  passes: z.number().positive().max(10_000).default(16),
  batchSize: z.int().min(1).max(65_536).default(128),
  learningRate: z.number().positive().max(1).default(1e-3),
  historyLearningRate: z.number().positive().max(1).default(2e-2),
  clipNorm: z.number().positive().default(1),
});

/** Half of the updates wait for the last answer: before, the late answers would hardly be learned from. */
const SHARE_WHILE_COLLECTING = 0.5;
/** Updates of one call at most, so that an abort is heard soon. */
const ROUND = 16;
/**
 * Weight of an item just shown against a candidate's 1: it was not offered, so it must not outweigh what was. Enough for the repeat
 * features to learn; more costs what the text weights know.
 */
const SHOWN_WEIGHT = 0.1;

/**
 * `'list'`, pre-training's default: the list loss over the candidates shown and None, because the information of an answer
 * is which of the k, not Eq. 3's reward (`learning.md` 3; a numbered difference in `docs/explanation/pretraining.md`). It
 * trains no critic.
 *
 * @throws {InvalidArgumentError} for a setting out of range.
 */
export function listDistillation(settings: ListSettings = {}): Algorithm {
  return new ListDistillation(checkOptions(schema, settings, 'list'));
}

class ListDistillation implements Algorithm {
  readonly name = 'list';
  readonly critic = undefined;
  readonly rolloutSteps = 1;
  readonly optimiser: Adam;
  readonly #settings: z.output<typeof schema>;

  constructor(settings: z.output<typeof schema>) {
    this.#settings = settings;
    this.optimiser = new Adam({
      learningRate: settings.learningRate,
      clipNorm: settings.clipNorm,
      multipliers: { 'actor/history': settings.historyLearningRate / settings.learningRate },
    });
  }

  /** Every answer is kept: the loop sizes the buffer by the budget. */
  stepsPerLane(): number {
    return Number.POSITIVE_INFINITY;
  }

  /** Quadratic while answers come in (each then gets its share), the rest at the end. */
  updatesDue(steps: number, totalSteps: number): number {
    const planned = Math.ceil((totalSteps * this.#settings.passes) / this.#settings.batchSize);
    if (steps >= totalSteps) return planned;
    return Math.floor(planned * SHARE_WHILE_COLLECTING * Math.max(0, steps / totalSteps) ** 2);
  }

  update({ learner, buffer, rng, steps, totalSteps, attempted }: UpdateContext): UpdateReport {
    const { batchSize } = this.#settings;
    const { kernels } = learner;
    const round = new UpdateRound();
    const due = Math.min(ROUND, this.updatesDue(steps, totalSteps) - attempted);
    for (let i = 0; i < due && buffer.size > 0; i++) {
      const batch = buffer.sample(batchSize, rng);
      const { items, width, candidateWeights } = columnsOf(batch, learner.spec.itemCount, repeatsOf(learner));
      const want = { scoresOf: { head: 'actor' as const, items, width } };
      const { scores } = kernels.forward(batch.histories, want, { dropoutSeed: rng.nonZeroSeed() });
      round.apply(kernels, this.optimiser, listLoss({ scores, width, targets: batch.choices, candidateWeights }));
    }
    return round.report();
  }

  toJSON(): JsonValue {
    return { name: this.name, ...this.#settings };
  }
}

function repeatsOf(learner: ActorCritic): number {
  return learner.settings.historyFeatures ? learner.settings.historyFeatures.repeats : 0;
}

/**
 * What the softmax runs over: the K candidates, None (the item index A of the actor's head), and the latest `repeats` items of the
 * history. Those were never candidates, so an answer alone says nothing of them and a policy that reads text would show the same
 * item for ever; a simulated user never takes an item twice, and the repeat features are there to learn that.
 */
function columnsOf(
  { size, candidateCount: K, candidates, histories }: TransitionColumns,
  none: number,
  repeats: number,
) {
  const width = K + 1 + repeats;
  const items = new Int32Array(size * width).fill(none);
  const candidateWeights = new Float32Array(size * width);
  for (let b = 0; b < size; b++) {
    const shown = candidates.subarray(b * K, (b + 1) * K);
    const at = b * width;
    items.set(shown, at);
    candidateWeights.fill(1, at, at + K + 1);
    const length = histories.lengths[b] as number;
    for (let j = 1; j <= Math.min(repeats, length); j++) {
      const item = histories.items[b * histories.length + length - j] as number;
      // Answers from elsewhere may offer an item of the history again, or have it there twice: it then stands once.
      if (items.subarray(at, at + K + j).includes(item)) continue;
      items[at + K + j] = item;
      candidateWeights[at + K + j] = SHOWN_WEIGHT;
    }
  }
  return { items, width, candidateWeights };
}
