/** Losses of the actor, on log π(a|s) of actions taken, or on E_π[Q]. */
import type { FloatArray, Loss } from './loss.js';
import { checkLengths, checkRange, rowsOf, zerosLike } from './loss.js';

/**
 * Policy-gradient loss with a given advantage, Eqs. 6 and 9: `-mean(w · A(s,a) · log π(a|s))`. Eqs. 13 and 15 are the
 * same with an online advantage (paper.md 8 [3]), for Eq. 15 on the mixture's log-probability.
 *
 * @param logProb - log π(a|s) of the actions taken, `[B]`.
 * @param advantages - `[B]`, reward units; data, nothing flows through them. Ones give Eq. 6 as printed.
 * @param weights - `[B]`, importance weights (see {@link clippedImportanceWeights}); data. @default ones
 * @returns the loss, and d loss / d logProb, `[B]`.
 * @throws {InvalidArgumentError} when the lengths differ.
 */
export function actorLoss<F extends FloatArray>(
  logProb: F,
  advantages: FloatArray,
  weights?: FloatArray,
): Loss<'logProb', F> {
  const B = rowsOf('actorLoss', 'logProb', logProb);
  checkLengths('actorLoss', B, { advantages }, { weights });
  const cotangent = zerosLike(logProb);
  let loss = 0;
  for (let b = 0; b < B; b++) {
    const slope = (-(advantages[b] as number) * (weights === undefined ? 1 : (weights[b] as number))) / B;
    cotangent[b] = slope;
    // Nothing flows where the slope is 0, even if the action has become impossible (0 · -Infinity is not a number).
    if (slope !== 0) loss += slope * (logProb[b] as number);
  }
  return { loss, cotangents: { logProb: cotangent } };
}

/**
 * REINFORCE (the paper's PG baseline): the actor loss whose advantage is return-to-go minus a baseline.
 *
 * @param logProb - log π(a|s) of the actions taken, `[B]`.
 * @param returns - Discounted returns-to-go, `[B]` (see `discountedReturns`); data.
 * @param baseline - A number for all rows, or one a row (`[B]`, such as V(s)); data. @default 0
 * @throws {InvalidArgumentError} when the lengths differ.
 */
export function reinforceLoss<F extends FloatArray>(
  logProb: F,
  returns: FloatArray,
  baseline: number | FloatArray = 0,
): Loss<'logProb', F> {
  const B = rowsOf('reinforceLoss', 'logProb', logProb);
  checkLengths('reinforceLoss', B, typeof baseline === 'number' ? { returns } : { returns, baseline });
  if (typeof baseline === 'number')
    checkRange('reinforceLoss', 'baseline', baseline, -Number.MAX_VALUE, Number.MAX_VALUE);
  const advantages = new Float64Array(B);
  for (let b = 0; b < B; b++) {
    advantages[b] = (returns[b] as number) - (typeof baseline === 'number' ? baseline : (baseline[b] as number));
  }
  return actorLoss(logProb, advantages);
}

/**
 * All-action actor loss: `-mean(w · Σ_a π(a|s) Q(s,a))`, off-policy without importance weights (learning.md 2). The
 * kernels' `expectedScore` is that sum; its cotangent reaches the actor only. Subtracting V(s) = Σ π Q as data would
 * change the value and no derivative.
 *
 * @param expectedScore - E_π[Q], `[B]`.
 * @param weights - `[B]`; data. @default ones
 * @throws {InvalidArgumentError} when the lengths differ.
 */
export function allActionLoss<F extends FloatArray>(expectedScore: F, weights?: FloatArray): Loss<'expectedScore', F> {
  const B = rowsOf('allActionLoss', 'expectedScore', expectedScore);
  checkLengths('allActionLoss', B, {}, { weights });
  const cotangent = zerosLike(expectedScore);
  let loss = 0;
  for (let b = 0; b < B; b++) {
    const slope = -(weights === undefined ? 1 : (weights[b] as number)) / B;
    cotangent[b] = slope;
    loss += slope * (expectedScore[b] as number);
  }
  return { loss, cotangents: { expectedScore: cotangent } };
}

/**
 * Entropy bonus: `-weight · mean(H(π(·|s)))`, which keeps the policy from collapsing while it is positive.
 *
 * @param entropy - H, nats, `[B]`.
 * @param weight - >= 0.
 * @throws {InvalidArgumentError} when the weight is negative or the batch is empty.
 */
export function entropyBonus<F extends FloatArray>(entropy: F, weight: number): Loss<'entropy', F> {
  const B = rowsOf('entropyBonus', 'entropy', entropy);
  checkLengths('entropyBonus', B, {});
  checkRange('entropyBonus', 'weight', weight, 0, Infinity);
  const cotangent = zerosLike(entropy).fill(-weight / B) as F;
  let sum = 0;
  for (let b = 0; b < B; b++) sum += entropy[b] as number;
  return { loss: (-weight * sum) / B, cotangents: { entropy: cotangent } };
}

/**
 * Clipped importance weights min(cap, π(a|s) / μ(a|s)) for actions that an older policy μ chose. *Data*: the gradient of
 * a loss weighted by them does not flow through π here, as usual for truncated importance sampling.
 *
 * @param logProb - log π(a|s) now, `[B]`.
 * @param behaviourLogProb - log μ(a|s), stored when the action was taken, `[B]`.
 * @param cap - > 0. @default 1
 * @throws {InvalidArgumentError} when the lengths differ.
 */
export function clippedImportanceWeights<F extends FloatArray>(logProb: F, behaviourLogProb: FloatArray, cap = 1): F {
  const B = rowsOf('clippedImportanceWeights', 'logProb', logProb);
  checkLengths('clippedImportanceWeights', B, { behaviourLogProb });
  checkRange('clippedImportanceWeights', 'cap', cap, Number.MIN_VALUE, Infinity);
  const weights = zerosLike(logProb);
  for (let b = 0; b < B; b++) {
    weights[b] = Math.min(cap, Math.exp((logProb[b] as number) - (behaviourLogProb[b] as number)));
  }
  return weights;
}
