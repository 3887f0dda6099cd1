import { type HistoryBatch, selectRows } from '../compute/history-batch.js';
import { DisposedError, InvalidArgumentError } from '../foundation/errors.js';
import type { ActorCritic } from './actor-critic.js';
import { mixtureLogProb } from './losses/mixture-log-prob.js';
import type { ActOptions, Decision, Policy, PolicyOptions } from './policy.js';

/** A policy that can say the log-probability of an action: all a frozen arm of a mixture must do besides acting. */
export interface ScoringPolicy extends Policy {
  /** log pi(a|s) of the given actions, `[B]`. */
  logProbOf(batch: HistoryBatch, actions: Int32Array, options?: PolicyOptions): Float32Array;
  /** pi(a|s) of every item, `[B, A]`. */
  probabilities(batch: HistoryBatch, options?: PolicyOptions): Float32Array;
}

/** What a mixture did, with both arms' shares: Eq. 15 needs no second forward pass of the frozen arm. */
export interface MixtureDecision extends Decision {
  /** log pi_theta(a|s), `[B]`. */
  readonly pretrainedLogProb: Float32Array;
  /** The weight the actions were drawn with. */
  readonly alpha: number;
}

/**
 * Eq. 14: `(1 - alpha) pi_theta + alpha pi_beta`. It borrows the frozen pretrained policy and owns the learner. Sampling
 * first chooses an arm, then asks that arm, so both arms must see the same mask.
 */
export class MixturePolicy implements ScoringPolicy {
  /** `MixturePolicy`. */
  readonly name: string = 'MixturePolicy';
  /** pi_theta, frozen; borrowed. */
  readonly pretrained: ScoringPolicy;
  /** pi_beta, the learner; owned. */
  readonly learner: ActorCritic;
  #alpha: number;
  #disposed = false;

  /**
   * @throws {InvalidArgumentError} for an alpha outside [0, 1].
   */
  constructor(options: { readonly pretrained: ScoringPolicy; readonly learner: ActorCritic; readonly alpha: number }) {
    this.pretrained = options.pretrained;
    this.learner = options.learner;
    this.#alpha = checkAlpha(options.alpha);
  }

  /** Share of actions by the learner, 0 to 1. */
  get alpha(): number {
    return this.#alpha;
  }

  /** Sets the share. @throws {InvalidArgumentError} outside [0, 1]. */
  set alpha(value: number) {
    this.#alpha = checkAlpha(value);
  }

  /** Acts for a batch; argmax is that of the mixture, not of an arm. */
  act(batch: HistoryBatch, options: ActOptions): MixtureDecision {
    this.#check();
    const alpha = this.#alpha;
    const actions =
      options.mode === 'sampled'
        ? this.#sample(batch, options)
        : argmaxRows(this.probabilities(batch, options), batch.size);
    const pretrainedLogProb = this.pretrained.logProbOf(batch, actions, options);
    // At alpha 0 the learner's value is irrelevant, but finite: the formula needs no special case.
    const learnerLogProb = this.learner.logProbOf(batch, actions, options);
    const { logMixture } = mixtureLogProb(learnerLogProb, pretrainedLogProb, alpha);
    // An argmax is certain: see {@link Decision.logProb}.
    const logProb = options.mode === 'argmax' ? new Float32Array(batch.size) : logMixture;
    return { actions, logProb, pretrainedLogProb, alpha };
  }

  /** Rows of Eq. 14, `[B, A]`. */
  probabilities(batch: HistoryBatch, options?: PolicyOptions): Float32Array {
    this.#check();
    const alpha = this.#alpha;
    if (alpha === 0) return this.pretrained.probabilities(batch, options);
    const rows = this.learner.probabilities(batch, options);
    if (alpha === 1) return rows;
    const frozen = this.pretrained.probabilities(batch, options);
    for (let i = 0; i < rows.length; i++) rows[i] = (1 - alpha) * (frozen[i] as number) + alpha * (rows[i] as number);
    return rows;
  }

  /** log of Eq. 14 at the given actions, `[B]`. */
  logProbOf(batch: HistoryBatch, actions: Int32Array, options?: PolicyOptions): Float32Array {
    this.#check();
    const frozen = this.pretrained.logProbOf(batch, actions, options);
    return Float32Array.from(
      mixtureLogProb(this.learner.logProbOf(batch, actions, options), frozen, this.#alpha).logMixture,
    );
  }

  /** Disposes the learner, not the borrowed pretrained policy; idempotent. */
  dispose(): void {
    this.#disposed = true;
    this.learner.dispose();
  }

  /** {@link MixturePolicy.dispose}, for `using`. */
  [Symbol.dispose](): void {
    this.dispose();
  }

  /** One uniform a row chooses the arm and, rescaled to what is left of it, the item: exact, and half the draws. */
  #sample(batch: HistoryBatch, options: ActOptions): Int32Array {
    const alpha = this.#alpha;
    const arms = { learner: [] as number[], pretrained: [] as number[] };
    for (let b = 0; b < batch.size; b++)
      arms[(options.uniforms[b] as number) < alpha ? 'learner' : 'pretrained'].push(b);
    const actions = new Int32Array(batch.size);
    for (const arm of ['learner', 'pretrained'] as const) {
      const rows = arms[arm];
      if (rows.length === 0) continue;
      const uniforms = Float64Array.from(rows, (b) => {
        const u = options.uniforms[b] as number;
        return arm === 'learner' ? u / alpha : (u - alpha) / (1 - alpha);
      });
      const drawn = this[arm].act(selectRows(batch, rows), { ...options, uniforms, ...selectMask(options, rows) });
      for (const [i, b] of rows.entries()) actions[b] = drawn.actions[i] as number;
    }
    return actions;
  }

  #check(): void {
    if (this.#disposed) throw new DisposedError(this.name);
  }
}

function selectMask({ mask }: ActOptions, rows: readonly number[]): Pick<PolicyOptions, 'mask'> {
  if (!mask?.excludeRows) return mask ? { mask } : {};
  const { excludeRows } = mask;
  return { mask: { ...mask, excludeRows: rows.map((b) => excludeRows[b] ?? []) } };
}

function argmaxRows(rows: Float32Array, batch: number): Int32Array {
  const width = rows.length / batch;
  return Int32Array.from({ length: batch }, (_, b) => {
    let best = 0;
    for (let i = 1; i < width; i++) if ((rows[b * width + i] as number) > (rows[b * width + best] as number)) best = i;
    return best;
  });
}

function checkAlpha(alpha: number): number {
  if (!(alpha >= 0 && alpha <= 1)) {
    throw new InvalidArgumentError(`MixturePolicy: expected \`alpha\` from 0 to 1, got ${alpha}`, {
      argument: 'alpha',
      got: alpha,
    });
  }
  return alpha;
}
