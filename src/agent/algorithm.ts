import type { Cotangents, Kernels } from '../compute/kernels.js';
import type { Mask } from '../compute/mask.js';
import type { Adam } from '../compute/optimiser.js';
import type { JsonValue } from '../foundation/json.js';
import type { NamedArrays } from '../foundation/named-arrays.js';
import type { Rng } from '../foundation/rng.js';
import type { ActorCritic } from './actor-critic.js';
import type { ReplayBuffer } from './replay-buffer.js';

/** What an algorithm is handed when an update is due. */
export interface UpdateContext {
  /** The agent that learns: pi_theta while pre-training or fine-tuning, pi_beta in a mixture. */
  readonly learner: ActorCritic;
  /** Experience; for a mixture its `pretrainedLogProb` and `alpha` columns hold what Eq. 15 needs. */
  readonly buffer: ReplayBuffer;
  /** The environment's mask: an action's probability is counted under the mask it was drawn under. */
  readonly mask: Mask;
  /** Draws minibatches and dropout seeds; its state is part of checkpoints. */
  readonly rng: Rng;
  /** Share of the declared steps that were taken, 0 to 1. */
  readonly progress: number;
  /** Steps taken so far. */
  readonly steps: number;
  /** Steps declared. */
  readonly totalSteps: number;
  /** Steps taken since the last call. */
  readonly newSteps: number;
  /** Updates applied or skipped so far. */
  readonly attempted: number;
}

/** What a round of updates did; losses and norms are means over it. */
export interface UpdateReport {
  /** Updates applied. */
  readonly updates: number;
  /** Updates skipped for a loss or gradient that was not finite. */
  readonly skipped: number;
  /** Mean loss of the updates applied; NaN for none. */
  readonly loss: number;
  /** Mean gradient norm before the clip; NaN for none. */
  readonly gradientNorm: number;
  /** Mean entropy in nats; NaN where the algorithm does not look at it. */
  readonly entropy: number;
}

/** How an agent learns. It acts on an {@link ActorCritic} and owns its optimiser, nothing else. */
export interface Algorithm {
  /** Name for tables. */
  readonly name: string;
  /** Which critic it needs; undefined: it works with either, or none. */
  readonly critic: 'state' | 'action' | undefined;
  /** Steps of every lane between two calls of `update`. */
  readonly rolloutSteps: number;
  /** Its Adam, saved in checkpoints. */
  readonly optimiser: Adam;
  /** Transitions the buffer must keep for each of `lanes` lanes. */
  stepsPerLane(lanes: number): number;
  /**
   * Updates that should have been tried after so many steps. An algorithm that has it may do a part of them in one call: the
   * loop calls again, also after the last step, until none is owed, and hears aborts in between.
   */
  updatesDue?(steps: number, totalSteps: number): number;
  /** Learns from the buffer. */
  update(context: UpdateContext): UpdateReport;
  /** What it knows beside its optimiser, for a checkpoint; absent where that is nothing. The arrays may be live views. */
  state?(): NamedArrays;
  /** Goes on from `state`. */
  load?(arrays: NamedArrays, source: string): void;
  /** All settings, resolved: compared on resume, printed in reports. */
  toJSON(): JsonValue;
}

/** Counts a round of updates and refuses those whose numbers are not finite. */
export class UpdateRound {
  #updates = 0;
  #skipped = 0;
  #loss = 0;
  #norm = 0;
  #entropy = 0;

  /**
   * Backward pass and optimiser step of one minibatch. A loss or gradient that is not finite changes nothing and is counted.
   *
   * @param entropy - mean entropy of the minibatch, if known.
   */
  apply(
    kernels: Kernels,
    optimiser: Adam,
    loss: { readonly loss: number; readonly cotangents: Cotangents },
    entropy = Number.NaN,
  ): void {
    if (!Number.isFinite(loss.loss)) {
      this.#skipped++;
      return;
    }
    kernels.backward(loss.cotangents);
    const { gradientNorm, applied } = kernels.step(optimiser);
    if (!applied) {
      this.#skipped++;
      return;
    }
    this.#updates++;
    this.#loss += loss.loss;
    this.#norm += gradientNorm;
    this.#entropy += entropy;
  }

  /** The round's report. */
  report(): UpdateReport {
    const updates = this.#updates;
    return {
      updates,
      skipped: this.#skipped,
      loss: this.#loss / updates,
      gradientNorm: this.#norm / updates,
      entropy: this.#entropy / updates,
    };
  }
}

/** Fraction of the way from `from` to 0 that is left when 0 is reached at `share` of the run: `from` x max(0, 1 - progress / share). */
export function annealed(from: number, progress: number, share: number): number {
  return from * Math.max(0, 1 - progress / share);
}
