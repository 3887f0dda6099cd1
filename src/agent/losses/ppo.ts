/** Proximal policy optimisation (Schulman et al. 2017): the default algorithm's loss. */
import { checkObject } from '../../foundation/arguments.js';
import { InvalidArgumentError } from '../../foundation/errors.js';
import type { FloatArray } from './loss.js';
import { checkLengths, checkRange, rowsOf, zerosLike } from './loss.js';

/** What {@link ppoLoss} reads. */
export interface PpoInput<F extends FloatArray> {
  /** log π(a|s) now (for a mixture log π̃, Eq. 15), `[B]`. */
  readonly logProb: F;
  /** log π(a|s) when the action was taken, `[B]`; data. */
  readonly oldLogProb: FloatArray;
  /** `[B]`, from `gae`, usually normalised; data. */
  readonly advantages: FloatArray;
  /** V(s) now, `[B]`. */
  readonly value: F;
  /** The critic's targets, `[B]`, from `gae`; data. */
  readonly returns: FloatArray;
  /** Entropy of π(·|s), nats, `[B]`; given exactly when `entropyWeight` is not 0. */
  readonly entropy?: F | undefined;
  /**
   * ε: the ratio π/π_old earns nothing outside [1 - ε, 1 + ε]; > 0.
   *
   * @default 0.2
   */
  readonly clip?: number;
  /**
   * Weight of the value loss, >= 0.
   *
   * @default 0.5
   */
  readonly valueWeight?: number;
  /**
   * Clips the value's move from `oldValue` to this much, reward units, > 0; Infinity: not clipped.
   *
   * @default Infinity
   */
  readonly valueClip?: number;
  /** V(s) when the action was taken, `[B]`; data. Needed with a finite `valueClip`. */
  readonly oldValue?: FloatArray | undefined;
  /**
   * Weight of the entropy bonus, >= 0.
   *
   * @default 0
   */
  readonly entropyWeight?: number;
}

/** {@link ppoLoss}, its parts and the usual diagnostics. */
export interface PpoLoss<F extends FloatArray> {
  /** policy + valueWeight · value - entropyWeight · entropy. */
  readonly loss: number;
  /** d loss / d logProb and d value, and d entropy where it was given; `[B]` each. */
  readonly cotangents: {
    /** d loss / d logProb, `[B]`. */
    readonly logProb: F;
    /** d loss / d value, `[B]`. */
    readonly value: F;
    /** d loss / d entropy, `[B]`; where it was given. */
    readonly entropy?: F;
  };
  /** The clipped surrogate, -mean(min(ratio · A, clip(ratio) · A)). */
  readonly policy: number;
  /** Mean squared error of the value (clipped if asked), no factor of one half. */
  readonly value: number;
  /** Mean entropy, nats; 0 where it was not given. */
  readonly entropy: number;
  /** Share of rows whose ratio lies outside the clip range, 0 to 1. */
  readonly clipFraction: number;
  /** Estimate of KL(π_old ‖ π), nats, >= 0: mean(ratio - 1 - log ratio). */
  readonly approxKl: number;
}

/**
 * PPO's clipped surrogate, value loss and entropy bonus. A row whose ratio has left the clip range on the side that its
 * advantage favours has cotangent exactly 0.
 *
 * @throws {InvalidArgumentError} when lengths differ, an option is out of range, a finite `valueClip` has no `oldValue`,
 * or `entropy` and `entropyWeight` do not go together.
 */
export function ppoLoss<F extends FloatArray>(input: PpoInput<F>): PpoLoss<F> {
  checkObject('ppoLoss', 'input', input);
  const { logProb, oldLogProb, advantages, value, returns, entropy, oldValue } = input;
  const { clip = 0.2, valueWeight = 0.5, valueClip = Infinity, entropyWeight = 0 } = input;
  const B = rowsOf('ppoLoss', 'logProb', logProb);
  checkLengths('ppoLoss', B, { oldLogProb, advantages, value, returns }, { entropy, oldValue });
  rowsOf('ppoLoss', 'value', value);
  checkRange('ppoLoss', 'clip', clip, Number.MIN_VALUE, Infinity);
  checkRange('ppoLoss', 'valueWeight', valueWeight, 0, Infinity);
  checkRange('ppoLoss', 'valueClip', valueClip, Number.MIN_VALUE, Infinity);
  checkRange('ppoLoss', 'entropyWeight', entropyWeight, 0, Infinity);
  if (valueClip !== Infinity && oldValue === undefined) {
    throw new InvalidArgumentError('ppoLoss: expected `oldValue` beside a finite `valueClip`, got none', {
      argument: 'oldValue',
      wanted: `length ${B}`,
    });
  }
  if ((entropy === undefined) !== (entropyWeight === 0)) {
    throw new InvalidArgumentError('ppoLoss: expected `entropy` exactly when `entropyWeight` is not 0', {
      argument: 'entropy',
      got: entropy === undefined ? 'none' : `entropyWeight ${entropyWeight}`,
    });
  }
  const dLogProb = zerosLike(logProb);
  const dValue = zerosLike(value);
  const sums = { policy: 0, value: 0, entropy: 0, clipped: 0, kl: 0 };
  for (let b = 0; b < B; b++) {
    const advantage = advantages[b] as number;
    const logRatio = (logProb[b] as number) - (oldLogProb[b] as number);
    const ratio = Math.exp(logRatio);
    const plain = ratio * advantage;
    const held = Math.min(1 + clip, Math.max(1 - clip, ratio)) * advantage;
    sums.policy -= Math.min(plain, held);
    if (plain <= held) dLogProb[b] = -plain / B;
    if (Math.abs(ratio - 1) > clip) sums.clipped++;
    sums.kl += ratio - 1 - logRatio;

    const now = value[b] as number;
    const target = returns[b] as number;
    const error = now - target;
    let squared = error * error;
    let slope = 2 * error;
    if (oldValue !== undefined && valueClip !== Infinity) {
      const old = oldValue[b] as number;
      const heldError = old + Math.min(valueClip, Math.max(-valueClip, now - old)) - target;
      if (heldError * heldError > squared) {
        squared = heldError * heldError;
        slope = 0; // Only a value already outside the range gets here, and there the clip is flat.
      }
    }
    sums.value += squared;
    dValue[b] = (valueWeight * slope) / B;
    if (entropy !== undefined) sums.entropy += entropy[b] as number;
  }
  const policy = sums.policy / B;
  const valueLoss = sums.value / B;
  const meanEntropy = sums.entropy / B;
  return {
    loss: policy + valueWeight * valueLoss - entropyWeight * meanEntropy,
    cotangents: {
      logProb: dLogProb,
      value: dValue,
      ...(entropy === undefined ? {} : { entropy: zerosLike(entropy).fill(-entropyWeight / B) as F }),
    },
    policy,
    value: valueLoss,
    entropy: meanEntropy,
    clipFraction: sums.clipped / B,
    approxKl: sums.kl / B,
  };
}
