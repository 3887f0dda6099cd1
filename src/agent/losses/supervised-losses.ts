/** Losses of answers rather than rewards: the list loss of pre-training and the BCE of reward models. */
import { argumentError, checkNumber, checkObject } from '../../foundation/arguments.js';
import { InvalidArgumentError } from '../../foundation/errors.js';
import type { FloatArray, Loss } from './loss.js';
import { checkLengths, rowsOf, zerosLike } from './loss.js';

/** What {@link listLoss} reads. */
export interface ListInput<F extends FloatArray> {
  /** Scores of the K candidates and, last, of None, `[B, K + 1]`. */
  readonly scores: F;
  /** K + 1, at least 2. */
  readonly width: number;
  /** The column that was chosen, `[B]`, 0 to K; K is None. */
  readonly targets: Int32Array;
  /**
   * `[B]`, weight of each answer, >= 0; 0 leaves a row out of the sum (the mean stays over B).
   *
   * @default ones
   */
  readonly weights?: FloatArray;
  /**
   * `[B, K + 1]`, >= 0: multiplies exp(score) in the softmax, such as 1 / (probability of being drawn as a candidate).
   * 0 takes a column out, so that shorter lists can share a batch; the chosen column must be above 0.
   *
   * @default ones
   */
  readonly candidateWeights?: FloatArray;
}

/**
 * List loss: softmax cross-entropy over the K candidates that the oracle was shown and None (learning.md 3). What an
 * answer of Eq. 2 says is *which of the k*; this reads that, where Eq. 3's reward keeps one bit.
 *
 * @returns mean over B of -w · log softmax(score + log candidateWeight)[target], and d loss / d scores, `[B, K + 1]`.
 * @throws {InvalidArgumentError} when lengths differ, or a target is not a column with a weight above 0.
 */
export function listLoss<F extends FloatArray>(input: ListInput<F>): Loss<'scores', F> {
  checkObject('listLoss', 'input', input);
  const { scores, width, targets, weights, candidateWeights } = input;
  if (!(targets instanceof Int32Array)) throw argumentError('listLoss', 'targets', 'an Int32Array', targets);
  checkNumber('listLoss', 'width', width, { low: 2, integer: true });
  const B = targets.length;
  checkLengths('listLoss', B, {}, { weights });
  rowsOf('listLoss', 'scores', scores);
  checkLengths('listLoss', B * width, { scores }, { candidateWeights });
  const cotangent = zerosLike(scores);
  const shares = new Float64Array(width);
  let loss = 0;
  for (let b = 0; b < B; b++) {
    const target = targets[b] as number;
    const offset = b * width;
    if (!(target >= 0 && target < width) || (candidateWeights?.[offset + target] ?? 1) <= 0) {
      throw new InvalidArgumentError(
        `listLoss: expected \`targets[${b}]\` to be a column from 0 to ${width - 1} with a weight above 0, got ${target}`,
        { argument: 'targets', wanted: `0 to ${width - 1}`, got: target },
      );
    }
    const weight = (weights === undefined ? 1 : (weights[b] as number)) / B;
    if (weight === 0) continue;
    let highest = -Infinity;
    for (let c = 0; c < width; c++) {
      const isIn = candidateWeights === undefined || (candidateWeights[offset + c] as number) > 0;
      if (isIn) highest = Math.max(highest, scores[offset + c] as number);
    }
    let total = 0;
    for (let c = 0; c < width; c++) {
      const times = candidateWeights === undefined ? 1 : (candidateWeights[offset + c] as number);
      const share = times > 0 ? times * Math.exp((scores[offset + c] as number) - highest) : 0;
      shares[c] = share;
      total += share;
    }
    const times = candidateWeights === undefined ? 1 : (candidateWeights[offset + target] as number);
    loss += weight * (Math.log(total) + highest - (scores[offset + target] as number) - Math.log(times));
    for (let c = 0; c < width; c++) {
      cotangent[offset + c] = weight * ((shares[c] as number) / total - (c === target ? 1 : 0));
    }
  }
  return { loss, cotangents: { scores: cotangent } };
}

/**
 * Binary cross-entropy *on the logit* (once through a sigmoid, not twice: environments.md 1.4), mean over all entries:
 * `w · (softplus(x) - label · x)`. The loss of the reward models.
 *
 * @param input.scores - Logits, any shape flattened.
 * @param input.labels - 0 to 1, same length.
 * @param input.weights - Same length; data. Default: ones.
 * @throws {InvalidArgumentError} when the lengths differ.
 */
export function binaryCrossEntropy<F extends FloatArray>(input: {
  readonly scores: F;
  readonly labels: FloatArray;
  readonly weights?: FloatArray;
}): Loss<'scores', F> {
  checkObject('binaryCrossEntropy', 'input', input);
  const { scores, labels, weights } = input;
  const n = rowsOf('binaryCrossEntropy', 'scores', scores);
  checkLengths('binaryCrossEntropy', n, { labels }, { weights });
  const cotangent = zerosLike(scores);
  let loss = 0;
  for (let i = 0; i < n; i++) {
    const x = scores[i] as number;
    const label = labels[i] as number;
    const weight = (weights === undefined ? 1 : (weights[i] as number)) / n;
    // exp of a number that is never positive: no overflow at any logit.
    const small = Math.exp(-Math.abs(x));
    loss += weight * (Math.max(x, 0) + Math.log1p(small) - label * x);
    cotangent[i] = weight * ((x >= 0 ? 1 / (1 + small) : small / (1 + small)) - label);
  }
  return { loss, cotangents: { scores: cotangent } };
}
