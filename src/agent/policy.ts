/**
 * How anything that recommends is asked for an action: the learned agents, their mixtures and the simple policies alike.
 * A policy acts; the algorithm that makes it better lives elsewhere.
 */
import type { HistoryBatch } from '../compute/history-batch.js';
import type { TopItems } from '../compute/kernels.js';
import type { Mask } from '../compute/mask.js';

/** `sampled` draws from the policy's distribution; `argmax` takes its best item (of a mixture: the mixture's best). */
export type ActMode = 'sampled' | 'argmax';

/** What restricts and sharpens a policy's distribution. */
export interface PolicyOptions {
  /** Items that may not be chosen; they get probability 0 before anything else happens. */
  readonly mask?: Mask;
  /**
   * Divides the scores before the softmax, > 0.
   *
   * @default 1
   */
  readonly temperature?: number;
}

/** One decision for each row of a batch. */
export interface ActOptions extends PolicyOptions {
  /** Whether to draw or to take the best. */
  readonly mode: ActMode;
  /**
   * `[B]`, each in [0, 1): the only randomness of the call, one number a row. A wrapper that must decide more than one
   * thing rescales what is left of the number. Not read where `mode` is `argmax`.
   */
  readonly uniforms: Float64Array;
}

/** What a policy did. */
export interface Decision {
  /** `[B]`, item indices. */
  readonly actions: Int32Array;
  /**
   * `[B]`, log of the probability with which *this call* would have chosen that action: log π(a|s) where sampled, 0
   * where `mode` is `argmax` (the choice is certain). It is the behaviour probability μ of off-policy corrections.
   */
  readonly logProb: Float32Array;
}

/** The best items of each row, best first, with log π(a|s) under `probabilities`. */
export type Ranking = TopItems;

/** What came of a batch of actions, for policies that learn as they go. */
export interface Feedback {
  /** The histories that the policy saw, before the actions. */
  readonly histories: HistoryBatch;
  /** `[B]`, the items shown. */
  readonly actions: Int32Array;
  /** `[B]`, what the environment paid. */
  readonly rewards: Float32Array;
}

/** Chooses one item for each history of a batch. */
export interface Policy {
  /** Short name, for tables. */
  readonly name: string;
  /**
   * One action a row. The same batch, options and state of the policy give the same actions, always.
   *
   * @throws {InvalidArgumentError} when a row has no allowed item, or `uniforms` is too short for a sampled call.
   */
  act(batch: HistoryBatch, options: ActOptions): Decision;
  /** The whole distribution that a sampled call draws from, `[B, A]`, each row summing to 1; masked items have exactly 0. */
  probabilities?(batch: HistoryBatch, options?: PolicyOptions): Float32Array;
  /**
   * The k best items of each row, best first: what a service shows as a list. `logProb` is that of `probabilities`, so
   * -Infinity where a policy that does not sample would never take the item.
   *
   * @throws {InvalidArgumentError} when a row has fewer than k allowed items.
   */
  topK?(batch: HistoryBatch, k: number, options?: PolicyOptions): Ranking;
  /** Learn from what came of actions; policies without it do not change while they act. */
  observe?(feedback: Feedback): void;
}
