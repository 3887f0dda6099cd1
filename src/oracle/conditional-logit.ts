/** One list: a row of feature values for each candidate, and the place of the one that was taken. */
export interface LogitList {
  /** `[K][F]`. */
  readonly features: readonly (readonly number[])[];
  /** Place of the true candidate, 0..K-1. */
  readonly truth: number;
}

/** Keeps weights finite where a feature tells every truth. */
const RIDGE = 0.01;
const STEPS = 50;

/**
 * Weights of a conditional logit, `p(candidate) = softmax(features · weights)` over each list, by Newton's method on the
 * log-likelihood less a small ridge: concave, so the weights are unique.
 *
 * @param lists - what it is fitted on; none gives weights of 0.
 * @param width - F, number of features.
 */
export function fitConditionalLogit(lists: readonly LogitList[], width: number): number[] {
  let weights = new Array<number>(width).fill(0);
  let value = objective(lists, weights);
  for (let step = 0; step < STEPS; step++) {
    const { gradient, curvature } = derivatives(lists, weights);
    const direction = solve(curvature, gradient);
    let scale = 1;
    let next = weights;
    let nextValue = Number.NEGATIVE_INFINITY;
    // A full Newton step may overshoot far from the optimum.
    for (; scale > 1e-6; scale /= 2) {
      next = weights.map((weight, f) => weight + scale * (direction[f] as number));
      nextValue = objective(lists, next);
      if (nextValue >= value) break;
    }
    if (!(nextValue > value + 1e-12)) break;
    weights = next;
    value = nextValue;
  }
  return weights;
}

/** `features · weights` of each candidate. */
export function logitScores(list: LogitList, weights: readonly number[]): number[] {
  return list.features.map((row) => row.reduce((sum, value, f) => sum + value * (weights[f] as number), 0));
}

function objective(lists: readonly LogitList[], weights: readonly number[]): number {
  let sum = -0.5 * RIDGE * weights.reduce((total, weight) => total + weight * weight, 0);
  for (const list of lists) {
    const scores = logitScores(list, weights);
    const highest = Math.max(...scores);
    const rest = scores.reduce((total, score) => total + Math.exp(score - highest), 0);
    sum += (scores[list.truth] as number) - highest - Math.log(rest);
  }
  return sum;
}

/** Gradient of the objective, and the negative of its Hessian. */
function derivatives(
  lists: readonly LogitList[],
  weights: readonly number[],
): { readonly gradient: number[]; readonly curvature: number[][] } {
  const F = weights.length;
  const gradient = weights.map((weight) => -RIDGE * weight);
  const curvature = weights.map((_, f) => weights.map((__, g) => (f === g ? RIDGE : 0)));
  for (const list of lists) {
    const scores = logitScores(list, weights);
    const highest = Math.max(...scores);
    const exps = scores.map((score) => Math.exp(score - highest));
    const total = exps.reduce((sum, exp) => sum + exp, 0);
    const mean = new Array<number>(F).fill(0);
    for (const [k, row] of list.features.entries()) {
      const p = (exps[k] as number) / total;
      for (let f = 0; f < F; f++) mean[f] = (mean[f] as number) + p * (row[f] as number);
    }
    for (const [k, row] of list.features.entries()) {
      const p = (exps[k] as number) / total;
      for (let f = 0; f < F; f++) {
        if (k === list.truth) gradient[f] = (gradient[f] as number) + (row[f] as number) - (mean[f] as number);
        const own = curvature[f] as number[];
        for (let g = 0; g < F; g++) {
          const product = ((row[f] as number) - (mean[f] as number)) * ((row[g] as number) - (mean[g] as number));
          own[g] = (own[g] as number) + p * product;
        }
      }
    }
  }
  return { gradient, curvature };
}

/** Solves `matrix · x = right` by Gaussian elimination; the matrix is positive definite. */
function solve(matrix: readonly (readonly number[])[], right: readonly number[]): number[] {
  const rows = matrix.map((row, f) => [...row, right[f] as number]);
  const F = right.length;
  for (let f = 0; f < F; f++) {
    const pivot = rows[f] as number[];
    for (let g = f + 1; g < F; g++) {
      const row = rows[g] as number[];
      const factor = (row[f] as number) / (pivot[f] as number);
      for (let c = f; c <= F; c++) row[c] = (row[c] as number) - factor * (pivot[c] as number);
    }
  }
  const x = new Array<number>(F).fill(0);
  for (let f = F - 1; f >= 0; f--) {
    const row = rows[f] as number[];
    let rest = row[F] as number;
    for (let g = f + 1; g < F; g++) rest -= (row[g] as number) * (x[g] as number);
    x[f] = rest / (row[f] as number);
  }
  return x;
}
