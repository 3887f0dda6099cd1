import type { ItemFeatures } from '../catalog/item-features.js';

/**
 * Intra-list diversity: mean over the pairs of a list of 1 - cosine of the items' features, 0 (all alike) to 2. An item of
 * which nothing is known (a zero row) is like no other.
 *
 * @param items - item indices, in any order; repeats count as pairs of cosine 1.
 * @returns NaN for fewer than two items.
 */
export function intraListDiversity(features: ItemFeatures, items: ArrayLike<number>): number {
  const { matrix, width } = features;
  const count = items.length;
  if (count < 2) return Number.NaN;
  // The sum over pairs from the square of the sum: linear in the list's length.
  const sum = new Float64Array(width);
  let ownSquares = 0;
  for (let i = 0; i < count; i++) {
    const from = (items[i] as number) * width;
    for (let d = 0; d < width; d++) {
      const value = matrix[from + d] as number;
      sum[d] = (sum[d] as number) + value;
      ownSquares += value * value;
    }
  }
  const squares = sum.reduce((total, value) => total + value * value, 0);
  return 1 - (squares - ownSquares) / (count * (count - 1));
}

/**
 * Self-information of each item in bits, `-log2((n + 1) / (N + A))` with n of N choices its own: what it says about novelty.
 *
 * @param counts - how often each item was chosen, >= 0, `[A]`.
 */
export function selfInformation(counts: ArrayLike<number>): Float64Array {
  let total = 0;
  for (let item = 0; item < counts.length; item++) total += counts[item] as number;
  const all = total + counts.length;
  return Float64Array.from(counts, (count) => -Math.log2((count + 1) / all));
}
