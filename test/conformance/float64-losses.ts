/** The losses once more, as loops over float64 numbers, written from the equations of paper.md and learning.md. */

type Numbers = ArrayLike<number>;

function mean(length: number, term: (b: number) => number): number {
  let total = 0;
  for (let b = 0; b < length; b++) total += term(b);
  return total / length;
}

/** Eq. 9 (and 6, 13, 15): -mean(weight · advantage · log pi). */
export function policyGradient(logProb: Numbers, advantages: Numbers, weights?: Numbers): number {
  return -mean(logProb.length, (b) => (weights?.[b] ?? 1) * (advantages[b] as number) * (logProb[b] as number));
}

/** Eq. 8: mean of weight · (target - prediction)². */
export function squaredTdError(predictions: Numbers, targets: Numbers, weights?: Numbers): number {
  return mean(
    predictions.length,
    (b) => (weights?.[b] ?? 1) * ((targets[b] as number) - (predictions[b] as number)) ** 2,
  );
}

/** Huber with its corner at `delta`. */
export function huber(predictions: Numbers, targets: Numbers, delta: number): number {
  return mean(predictions.length, (b) => {
    const error = Math.abs((targets[b] as number) - (predictions[b] as number));
    return error < delta ? error ** 2 / 2 : delta * (error - delta / 2);
  });
}

/** PPO's clipped surrogate, to be made small. */
export function clippedSurrogate(logProb: Numbers, oldLogProb: Numbers, advantages: Numbers, clip: number): number {
  return -mean(logProb.length, (b) => {
    const ratio = Math.exp((logProb[b] as number) - (oldLogProb[b] as number));
    const clipped = Math.min(1 + clip, Math.max(1 - clip, ratio));
    const advantage = advantages[b] as number;
    return Math.min(ratio * advantage, clipped * advantage);
  });
}

/** Eq. 15: log of the mixture (1 - alpha) pi_theta + alpha pi_beta, where pi_theta is a stored number. */
export function mixtureLogProb(learnerLogProb: Numbers, pretrainedLogProb: Numbers, alpha: Numbers): number[] {
  return Array.from({ length: learnerLogProb.length }, (_, b) => {
    const share = alpha[b] as number;
    return Math.log(
      (1 - share) * Math.exp(pretrainedLogProb[b] as number) + share * Math.exp(learnerLogProb[b] as number),
    );
  });
}

/** The larger of the squared errors of the value and of the value held within `clip` of the old one, mean. */
export function clippedValueError(value: Numbers, oldValue: Numbers, targets: Numbers, clip: number): number {
  return mean(value.length, (b) => {
    const old = oldValue[b] as number;
    const target = targets[b] as number;
    const held = Math.min(old + clip, Math.max(old - clip, value[b] as number));
    return Math.max(((value[b] as number) - target) ** 2, (held - target) ** 2);
  });
}

/** Arithmetic mean. */
export function average(numbers: Numbers): number {
  return mean(numbers.length, (b) => numbers[b] as number);
}

/** Mean of weight · -log of the chosen one's share of the masses `columnWeight · exp(score)` of a row. */
export function listCrossEntropy(
  scores: Numbers,
  width: number,
  chosen: Numbers,
  weights?: Numbers,
  columnWeights?: Numbers,
): number {
  return mean(chosen.length, (b) => {
    const mass = (k: number) => (columnWeights?.[b * width + k] ?? 1) * Math.exp(scores[b * width + k] as number);
    let total = 0;
    for (let k = 0; k < width; k++) total += mass(k);
    return -(weights?.[b] ?? 1) * Math.log(mass(chosen[b] as number) / total);
  });
}

/** Binary cross-entropy of logits. */
export function binaryCrossEntropy(scores: Numbers, labels: Numbers): number {
  return mean(scores.length, (i) => {
    const probability = 1 / (1 + Math.exp(-(scores[i] as number)));
    const label = labels[i] as number;
    return -(label * Math.log(probability) + (1 - label) * Math.log(1 - probability));
  });
}
