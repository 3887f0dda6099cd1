/** Targets and losses of the critic, in both readings of Eq. 7, and of DQN. */

import { argumentError, checkObject } from '../../foundation/arguments.js';
import type { FloatArray, Loss } from './loss.js';
import { checkLengths, checkRange, rowsOf, zerosLike } from './loss.js';

/**
 * How Eq. 7 is read (paper.md 8 [1]): `state`, a scalar V(s) (the kernels' `value`, the max of Eq. 8 void); or `action`,
 * a vector of A values of which Q(s,a) is one entry (the kernels' `scores` of width 1 under the critic head, the max of
 * Eq. 8 their `maxScore`).
 */
export type CriticReading = 'state' | 'action';

/** The cotangent that a reading's critic loss gives. */
export type CriticName<R extends CriticReading> = R extends 'state' ? 'value' : 'scores';

/**
 * The discount of each step: gamma, or 0 where the episode truly ended. *Truncation is not an end*: a truncated step
 * bootstraps from the value of the state it reached.
 *
 * @param terminated - `[B]`, 1 where the user left.
 * @param gamma - γ, 0 to 1.
 * @throws {InvalidArgumentError} when gamma is out of range.
 */
export function discountsOf(terminated: Uint8Array, gamma: number): Float32Array {
  checkLengths('discountsOf', terminated?.length ?? 1, { terminated });
  checkRange('discountsOf', 'gamma', gamma, 0, 1);
  const discounts = new Float32Array(terminated.length);
  for (let b = 0; b < terminated.length; b++) discounts[b] = terminated[b] === 0 ? gamma : 0;
  return discounts;
}

/**
 * One-step targets, Eqs. 8 and 12: `r + discount · next`. Data: nothing flows through them.
 *
 * @param input.rewards - `[B]`, reward units.
 * @param input.discounts - `[B]`, γ or 0 where terminated ({@link discountsOf}).
 * @param input.nextValues - `[B]`: V(s'), or max_a' Q(s', a'), or E_π[Q(s',·)], or for double DQN the target network's
 * score of the online network's best item. Not read where the discount is 0.
 * @throws {InvalidArgumentError} when the lengths differ.
 */
export function tdTarget<F extends FloatArray>(input: {
  readonly rewards: F;
  readonly discounts: FloatArray;
  readonly nextValues: FloatArray;
}): F {
  checkObject('tdTarget', 'input', input);
  const { rewards, discounts, nextValues } = input;
  checkLengths('tdTarget', rowsOf('tdTarget', 'rewards', rewards), { discounts, nextValues });
  const targets = zerosLike(rewards);
  for (let b = 0; b < rewards.length; b++) {
    const discount = discounts[b] as number;
    targets[b] = (rewards[b] as number) + (discount === 0 ? 0 : discount * (nextValues[b] as number));
  }
  return targets;
}

/**
 * Advantages of Eq. 9: target minus prediction. Data.
 *
 * @param targets - `[B]`, see {@link tdTarget}.
 * @param predictions - `[B]`, V(s) or Q(s,a).
 * @throws {InvalidArgumentError} when the lengths differ.
 */
export function tdAdvantage<F extends FloatArray>(targets: F, predictions: FloatArray): F {
  checkLengths('tdAdvantage', rowsOf('tdAdvantage', 'targets', targets), { predictions });
  const advantages = zerosLike(targets);
  for (let b = 0; b < targets.length; b++) advantages[b] = (targets[b] as number) - (predictions[b] as number);
  return advantages;
}

/**
 * Squared TD error, Eqs. 8 and 12: `mean(w · (target - prediction)²)`, with no factor of one half, as printed.
 *
 * @param input.critic - Which reading, hence the name of the cotangent.
 * @param input.predictions - V(s) or Q(s,a), `[B]`.
 * @param input.targets - `[B]`; data, as any target.
 * @param input.weights - `[B]`; data. Default: ones.
 * @throws {InvalidArgumentError} when the lengths differ.
 */
export function criticLoss<R extends CriticReading, F extends FloatArray>(input: {
  readonly critic: R;
  readonly predictions: F;
  readonly targets: FloatArray;
  readonly weights?: FloatArray | undefined;
}): Loss<CriticName<R>, F> {
  checkObject('criticLoss', 'input', input);
  const { critic, predictions, targets, weights } = input;
  const B = rowsOf('criticLoss', 'predictions', predictions);
  checkLengths('criticLoss', B, { targets }, { weights });
  checkReading('criticLoss', critic);
  const cotangent = zerosLike(predictions);
  let loss = 0;
  for (let b = 0; b < B; b++) {
    const error = (predictions[b] as number) - (targets[b] as number);
    const weight = (weights === undefined ? 1 : (weights[b] as number)) / B;
    loss += weight * error * error;
    cotangent[b] = 2 * weight * error;
  }
  const name = (critic === 'state' ? 'value' : 'scores') as CriticName<R>;
  return { loss, cotangents: { [name]: cotangent } as Record<CriticName<R>, F> };
}

/**
 * DQN: mean Huber loss of Q(s,a) against targets that are data. For double DQN the targets are {@link tdTarget} with
 * `nextValues` = the target network's score of the item that the *online* network ranks first in s'.
 *
 * @param input.scores - Q(s,a), `[B]`.
 * @param input.targets - `[B]`.
 * @param input.delta - Where the parabola becomes a line, > 0; Infinity gives half the squared error. Default: 1.
 * @param input.weights - `[B]`; data. Default: ones.
 * @throws {InvalidArgumentError} when the lengths differ.
 */
export function dqnLoss<F extends FloatArray>(input: {
  readonly scores: F;
  readonly targets: FloatArray;
  readonly delta?: number;
  readonly weights?: FloatArray;
}): Loss<'scores', F> {
  checkObject('dqnLoss', 'input', input);
  const { scores, targets, delta = 1, weights } = input;
  const B = rowsOf('dqnLoss', 'scores', scores);
  checkLengths('dqnLoss', B, { targets }, { weights });
  checkRange('dqnLoss', 'delta', delta, Number.MIN_VALUE, Infinity);
  const cotangent = zerosLike(scores);
  let loss = 0;
  for (let b = 0; b < B; b++) {
    const error = (scores[b] as number) - (targets[b] as number);
    const weight = (weights === undefined ? 1 : (weights[b] as number)) / B;
    const size = Math.abs(error);
    loss += weight * (size <= delta ? 0.5 * error * error : delta * (size - 0.5 * delta));
    cotangent[b] = weight * Math.max(-delta, Math.min(delta, error));
  }
  return { loss, cotangents: { scores: cotangent } };
}

/** @throws {InvalidArgumentError} when it is not one of the two readings. */
function checkReading(where: string, critic: unknown): void {
  if (critic !== 'state' && critic !== 'action') throw argumentError(where, 'critic', "'state' or 'action'", critic);
}
