/** Eqs. 14 and 15: the log-probability of a mixture, and what of its gradient reaches the learner. */
import type { FloatArray } from './loss.js';
import { checkLengths, checkRange, rowsOf, zerosLike } from './loss.js';

/** What {@link mixtureLogProb} gives. */
export interface MixtureLogProb<F extends FloatArray> {
  /** log π̃(a|s), `[B]`. */
  readonly logMixture: F;
  /**
   * d log π̃ / d log π_β = α π_β(a|s) / π̃(a|s), `[B]`, 0 to 1: the learner's share of the action. Exactly 0 at α = 0 and
   * 1 at α = 1.
   */
  readonly share: F;
}

/**
 * log of π̃ = (1 - α) π_θ + α π_β (Eq. 14) at the actions taken, from the two log-probabilities alone. Stable for
 * probabilities far below float32; at α = 0 and α = 1 the other policy's number is not read at all.
 *
 * @param logBeta - log π_β(a|s) of the learner, `[B]`.
 * @param logTheta - log π_θ(a|s) of the frozen pretrained policy, `[B]`; data.
 * @param alpha - α in [0, 1], one for all rows or one a row (`[B]`, as stored at act time).
 * @throws {InvalidArgumentError} when the lengths differ or an alpha is out of range.
 */
export function mixtureLogProb<F extends FloatArray>(
  logBeta: F,
  logTheta: FloatArray,
  alpha: number | FloatArray,
): MixtureLogProb<F> {
  const B = rowsOf('mixtureLogProb', 'logBeta', logBeta);
  checkLengths('mixtureLogProb', B, typeof alpha === 'number' ? { logTheta } : { logTheta, alpha });
  const logMixture = zerosLike(logBeta);
  const share = zerosLike(logBeta);
  for (let b = 0; b < B; b++) {
    const weight = typeof alpha === 'number' ? alpha : (alpha[b] as number);
    checkRange('mixtureLogProb', 'alpha', weight, 0, 1);
    const beta = weight === 0 ? -Infinity : Math.log(weight) + (logBeta[b] as number);
    const theta = weight === 1 ? -Infinity : Math.log1p(-weight) + (logTheta[b] as number);
    const high = Math.max(beta, theta);
    if (high === -Infinity) {
      // Neither policy can take this action: no gradient can say anything about it.
      logMixture[b] = -Infinity;
      continue;
    }
    const low = Math.min(beta, theta);
    logMixture[b] = high + Math.log1p(Math.exp(low - high));
    share[b] = 1 / (1 + Math.exp(theta - beta));
  }
  return { logMixture, share };
}

/**
 * Eq. 15's chain rule: d loss / d log π_β from d loss / d log π̃.
 *
 * @param cotangent - d loss / d logMixture, `[B]`.
 * @param share - From {@link mixtureLogProb}, `[B]`.
 * @throws {InvalidArgumentError} when the lengths differ.
 */
export function learnerCotangent<F extends FloatArray>(cotangent: F, share: FloatArray): F {
  checkLengths('learnerCotangent', rowsOf('learnerCotangent', 'cotangent', cotangent), { share });
  const learner = zerosLike(cotangent);
  for (let b = 0; b < cotangent.length; b++) {
    const part = share[b] as number;
    if (part !== 0) learner[b] = part * (cotangent[b] as number);
  }
  return learner;
}
