import { checkNumber, checkObject } from '../foundation/arguments.js';
import { InvalidArgumentError } from '../foundation/errors.js';
import { sigmoidReward } from './reward-model.js';

/** What {@link calibrateReward} aims at. */
export interface CalibrationTarget {
  /** Mean reward of all items over all states: what a random policy gets a step, above 0. */
  readonly mean: number;
  /** Mean over states of the best items' mean reward, below 5 and above `mean`. */
  readonly best: number;
  /** How many best items of a state are averaged. @default 1 */
  readonly bestCount?: number;
}

/** What {@link calibrateReward} found. */
export interface Calibration {
  /** Steepness. */
  readonly a: number;
  /** The logit whose reward is 2.5. */
  readonly b: number;
  /** The mean reward it gives. */
  readonly mean: number;
  /** The best items' mean reward it gives. */
  readonly best: number;
}

/** Logits are pooled into this many bins: an evaluation costs as many sigmoids, however many items there are. */
const BINS = 4096;
const ROUNDS = 40;

/**
 * Finds `r = 5 sigmoid(a (logit - b))` with a wanted mean and a wanted best (environments.md section 3): for each a, b is solved
 * for the mean; then a is bisected for the best. Both are monotonic.
 *
 * @param logits - `[states, A]`.
 * @param itemCount - A.
 * @param shares - what each reward is multiplied by, `[states, A]`, 0 to 1, few different values: fatigue, say. @default ones
 * @throws {InvalidArgumentError} when no (a, b) gives the target: the logits are all alike, or not finite.
 */
export function calibrate(
  logits: Float32Array,
  itemCount: number,
  target: CalibrationTarget,
  shares?: Float32Array,
): Calibration {
  checkObject('calibrate', 'target', target);
  const { mean, best, bestCount = 1 } = target;
  checkNumber('calibrate', 'target.mean', mean);
  checkNumber('calibrate', 'target.best', best);
  checkNumber('calibrate', 'target.bestCount', bestCount, { low: 1, high: itemCount, integer: true });
  if (!(mean > 0 && mean < best && best < 5)) {
    throw new InvalidArgumentError(`calibrate: expected 0 < mean < best < 5, got mean ${mean} and best ${best}`, {
      argument: 'target',
      got: target,
    });
  }
  if (shares !== undefined && shares.length !== logits.length) {
    throw new InvalidArgumentError(`calibrate: expected ${logits.length} shares, got ${shares.length}`, {
      argument: 'shares',
      got: shares.length,
    });
  }
  const bins = pool(logits, shares);
  const tops = bestLogits(logits, itemCount, bestCount, shares);
  const solveB = (a: number): number => {
    let low = bins.low - 40 / a;
    let high = bins.high + 40 / a;
    for (let i = 0; i < ROUNDS; i++) {
      const middle = (low + high) / 2;
      if (pooledMean(bins, a, middle) > mean) low = middle;
      else high = middle;
    }
    return (low + high) / 2;
  };
  const topMean = (a: number, b: number): number => {
    let sum = 0;
    for (const candidates of tops) {
      const rewards = candidates.map(({ logit, share }) => share * sigmoidReward(logit, a, b)).sort((x, y) => y - x);
      for (let i = 0; i < bestCount; i++) sum += (rewards[i] as number) / bestCount;
    }
    return sum / tops.length;
  };
  const range = bins.high - bins.low;
  let low = 1e-4 / range;
  let high = 1e4 / range;
  for (let i = 0; i < ROUNDS; i++) {
    const middle = Math.sqrt(low * high);
    if (topMean(middle, solveB(middle)) < best) low = middle;
    else high = middle;
  }
  const a = Math.sqrt(low * high);
  const b = solveB(a);
  const found = { a, b, mean: pooledMean(bins, a, b), best: topMean(a, b) };
  if (Math.abs(found.best - best) > 0.01 || Math.abs(found.mean - mean) > 0.01) {
    throw new InvalidArgumentError(
      `calibrate: expected logits that can give mean ${mean} and best ${best}, got at most mean ${found.mean.toFixed(3)} and best ${found.best.toFixed(3)}`,
      { argument: 'target', got: target },
    );
  }
  return found;
}

interface Bins {
  readonly low: number;
  readonly high: number;
  readonly counts: Float64Array;
  readonly centres: Float64Array;
  readonly total: number;
}

function pool(logits: Float32Array, shares: Float32Array | undefined): Bins {
  let low = Number.POSITIVE_INFINITY;
  let high = Number.NEGATIVE_INFINITY;
  for (const logit of logits) {
    if (!Number.isFinite(logit))
      throw new InvalidArgumentError(`calibrate: expected finite logits, got ${logit}`, {
        argument: 'logits',
        got: logit,
      });
    if (logit < low) low = logit;
    if (logit > high) high = logit;
  }
  if (!(high > low))
    throw new InvalidArgumentError('calibrate: expected logits that differ, got all alike or none', {
      argument: 'logits',
    });
  const counts = new Float64Array(BINS);
  const centres = new Float64Array(BINS);
  for (let n = 0; n < logits.length; n++) {
    const logit = logits[n] as number;
    const share = shares === undefined ? 1 : (shares[n] as number);
    const bin = Math.min(BINS - 1, Math.floor(((logit - low) / (high - low)) * BINS));
    counts[bin] = (counts[bin] as number) + share;
    centres[bin] = (centres[bin] as number) + share * logit;
  }
  for (let bin = 0; bin < BINS; bin++)
    if ((counts[bin] as number) > 0) centres[bin] = (centres[bin] as number) / (counts[bin] as number);
  return { low, high, counts, centres, total: logits.length };
}

function pooledMean(bins: Bins, a: number, b: number): number {
  let sum = 0;
  for (let bin = 0; bin < BINS; bin++) {
    const count = bins.counts[bin] as number;
    if (count > 0) sum += count * sigmoidReward(bins.centres[bin] as number, a, b);
  }
  return sum / bins.total;
}

/** What can be among a state's best. */
interface Candidate {
  readonly logit: number;
  readonly share: number;
}

/** Of every state the best few logits of each share: whatever (a, b), its best few rewards are among them. */
function bestLogits(
  logits: Float32Array,
  itemCount: number,
  bestCount: number,
  shares: Float32Array | undefined,
): Candidate[][] {
  return Array.from({ length: logits.length / itemCount }, (_, state) => {
    const from = state * itemCount;
    const byShare = new Map<number, number[]>();
    for (let n = from; n < from + itemCount; n++) {
      const share = shares === undefined ? 1 : (shares[n] as number);
      const list = byShare.get(share);
      if (list === undefined) byShare.set(share, [logits[n] as number]);
      else list.push(logits[n] as number);
    }
    return [...byShare].flatMap(([share, list]) =>
      Array.from(Float32Array.from(list).sort().subarray(-bestCount), (logit) => ({ logit, share })),
    );
  });
}
