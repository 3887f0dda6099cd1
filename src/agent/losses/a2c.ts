/** Eq. 10: actor and critic together, in both readings of the critic. */
import { checkObject } from '../../foundation/arguments.js';
import { actorLoss } from './actor-losses.js';
import type { CriticName, CriticReading } from './critic-losses.js';
import { criticLoss, tdAdvantage } from './critic-losses.js';
import type { FloatArray, Loss } from './loss.js';
import { checkLengths, checkRange, rowsOf, zerosLike } from './loss.js';

/** What {@link a2cLoss} reads. */
export interface A2cInput<R extends CriticReading, F extends FloatArray> {
  /** How the critic is read. */
  readonly critic: R;
  /** log π(a|s), or for Eq. 15 log π̃(a|s), `[B]`. */
  readonly logProb: F;
  /** V(s) (`state`) or Q(s,a) (`action`), `[B]`. */
  readonly predictions: F;
  /** `[B]`, from `tdTarget`; data. */
  readonly targets: FloatArray;
  /**
   * `[B]`, importance weights of both terms; data.
   *
   * @default ones
   */
  readonly weights?: FloatArray | undefined;
  /**
   * Weight of L_Q, >= 0.
   *
   * @default 1, as printed
   */
  readonly valueWeight?: number;
}

/** {@link a2cLoss} and its parts. */
export interface A2cLoss<R extends CriticReading, F extends FloatArray> extends Loss<'logProb' | CriticName<R>, F> {
  /** L_A · A, Eq. 9. */
  readonly actor: number;
  /** L_Q, Eq. 8, before its weight. */
  readonly critic: number;
  /** A(s,a), `[B]`, reward units. */
  readonly advantages: F;
}

/**
 * The paper's loss, Eq. 10: `L = L_A · A + valueWeight · L_Q`, where A = target - prediction is data (Eq. 9) and L_Q is
 * the squared TD error (Eq. 8).
 *
 * With `critic: 'action'` the advantage is that critic's own TD error, so it goes to zero for good and bad actions alike
 * (learning.md 1); the reading is kept because it is what is printed.
 *
 * @throws {InvalidArgumentError} when the lengths differ.
 */
export function a2cLoss<R extends CriticReading, F extends FloatArray>(input: A2cInput<R, F>): A2cLoss<R, F> {
  checkObject('a2cLoss', 'input', input);
  const { critic, logProb, predictions, targets, weights, valueWeight = 1 } = input;
  checkRange('a2cLoss', 'valueWeight', valueWeight, 0, Infinity);
  checkLengths('a2cLoss', rowsOf('a2cLoss', 'logProb', logProb), { predictions, targets }, { weights });
  const advantages = zerosLike(predictions);
  advantages.set(tdAdvantage(targets, predictions));
  const actor = actorLoss(logProb, advantages, weights);
  const value = criticLoss({ critic, predictions, targets, weights });
  const cotangents: Record<string, F> = { ...actor.cotangents };
  for (const [name, cotangent] of Object.entries<F>(value.cotangents)) {
    cotangents[name] = cotangent.map((slope) => valueWeight * slope) as F;
  }
  return {
    loss: actor.loss + valueWeight * value.loss,
    cotangents: cotangents as Record<'logProb' | CriticName<R>, F>,
    actor: actor.loss,
    critic: value.loss,
    advantages,
  };
}
