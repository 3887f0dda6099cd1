/** Returns and advantages over rollouts `[T, N]`: row `t * N + n` is step t of lane n. All of them are data. */

import { checkNumber, checkObject } from '../../foundation/arguments.js';
import type { FloatArray } from './loss.js';
import { checkLengths, checkRange, rowsOf, zerosLike } from './loss.js';

/** A rollout of T steps in N lanes, in arrays of length T * N. */
export interface RolloutInput<F extends FloatArray> {
  /** Reward units. */
  readonly rewards: F;
  /**
   * Value of the state that each step *reached*, the final state of an episode included. Not read where terminated.
   * `ReplayBuffer`'s rollouts make them, see `nextValuesOf`.
   */
  readonly nextValues: FloatArray;
  /** 1 where the user left: nothing comes after, so nothing is bootstrapped. */
  readonly terminated: Uint8Array;
  /** 1 where we stopped counting: bootstrapped from the state reached, but the next row belongs to another episode. */
  readonly truncated: Uint8Array;
  /** γ, 0 to 1. */
  readonly gamma: number;
  /** Steps. */
  readonly T: number;
  /** Lanes. */
  readonly N: number;
}

/** What {@link gae} gives. */
export interface Advantages<F extends FloatArray> {
  /** GAE(λ), `[T, N]`. */
  readonly advantages: F;
  /** Advantages plus values, `[T, N]`: the critic's targets. */
  readonly returns: F;
}

/**
 * Generalised advantage estimation (Schulman et al. 2016, Eq. 16):
 * `A_t = δ_t + γ λ A_{t+1}`, `δ_t = r_t + γ V(s_{t+1}) - V(s_t)`.
 *
 * `terminated` sets V(s_{t+1}) to 0; `truncated` keeps it. Either stops the sum, as does the rollout's last step. λ = 0
 * is the one-step advantage of Eq. 9, λ = 1 the Monte-Carlo one.
 *
 * @param input.values - V(s_t), `[T, N]`.
 * @param input.lambda - λ, 0 to 1.
 * @throws {InvalidArgumentError} when a length is not T * N, or γ or λ is out of range.
 */
export function gae<F extends FloatArray>(
  input: RolloutInput<F> & { readonly values: FloatArray; readonly lambda: number },
): Advantages<F> {
  checkRollout('gae', input);
  const { rewards, values, nextValues, terminated, truncated, gamma, lambda, T, N } = input;
  checkLengths('gae', T * N, { rewards, values, nextValues, terminated, truncated });
  checkRange('gae', 'gamma', gamma, 0, 1);
  checkRange('gae', 'lambda', lambda, 0, 1);
  const advantages = zerosLike(rewards);
  const returns = zerosLike(rewards);
  for (let n = 0; n < N; n++) {
    let later = 0;
    for (let t = T - 1; t >= 0; t--) {
      const i = t * N + n;
      const value = values[i] as number;
      const ends = terminated[i] !== 0;
      const next = ends ? 0 : gamma * (nextValues[i] as number);
      later = (rewards[i] as number) + next - value + (ends || truncated[i] !== 0 ? 0 : gamma * lambda * later);
      advantages[i] = later;
      returns[i] = later + value;
    }
  }
  return { advantages, returns };
}

/**
 * Discounted returns-to-go, `G_t = r_t + γ G_{t+1}` (Eq. 1 from step t on). An episode that is cut off, by `truncated` or
 * by the end of the rollout, goes on with `nextValues` (zeros give the plain, biased Monte-Carlo return); one that
 * terminated goes on with 0.
 *
 * @throws {InvalidArgumentError} when a length is not T * N, or γ is out of range.
 */
export function discountedReturns<F extends FloatArray>(input: RolloutInput<F>): F {
  checkRollout('discountedReturns', input);
  const { rewards, nextValues, terminated, truncated, gamma, T, N } = input;
  checkLengths('discountedReturns', T * N, { rewards, nextValues, terminated, truncated });
  checkRange('discountedReturns', 'gamma', gamma, 0, 1);
  const returns = zerosLike(rewards);
  for (let n = 0; n < N; n++) {
    let later = 0;
    for (let t = T - 1; t >= 0; t--) {
      const i = t * N + n;
      if (terminated[i] !== 0) later = 0;
      else if (truncated[i] !== 0 || t === T - 1) later = nextValues[i] as number;
      later = (rewards[i] as number) + gamma * later;
      returns[i] = later;
    }
  }
  return returns;
}

/**
 * Advantages moved to mean 0 and scaled to (population) standard deviation 1. Equal advantages become zeros.
 *
 * @param advantages - `[B]`.
 * @throws {InvalidArgumentError} when the batch is empty.
 */
export function normaliseAdvantages<F extends FloatArray>(advantages: F): F {
  const B = rowsOf('normaliseAdvantages', 'advantages', advantages);
  checkLengths('normaliseAdvantages', B, {});
  let mean = 0;
  for (let b = 0; b < B; b++) mean += (advantages[b] as number) / B;
  let variance = 0;
  for (let b = 0; b < B; b++) variance += ((advantages[b] as number) - mean) ** 2 / B;
  const scale = 1 / (Math.sqrt(variance) + 1e-8);
  const normalised = zerosLike(advantages);
  for (let b = 0; b < B; b++) normalised[b] = ((advantages[b] as number) - mean) * scale;
  return normalised;
}

/** @throws {InvalidArgumentError} when the input is no object, or T and N are no counts. */
function checkRollout(where: string, input: RolloutInput<FloatArray>): void {
  checkObject(where, 'input', input);
  rowsOf(where, 'rewards', input.rewards);
  checkNumber(where, 'T', input.T, { low: 1, integer: true });
  checkNumber(where, 'N', input.N, { low: 1, integer: true });
}
