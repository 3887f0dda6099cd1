import { ItemFeatures } from '../catalog/item-features.js';
import { argumentError, checkNumber } from '../foundation/arguments.js';

/**
 * Intra-list diversity: mean over the pairs of a list of 1 - cosine of the items' features, 0 (all alike) to 2. An item of
 * which nothing is known (a zero row) is like no other.
 *
 * @param items - item indices, in any order; repeats count as pairs of cosine 1.
 * @returns NaN for fewer than two items.
 * @throws {InvalidArgumentError} when something is no item.
 */
export function intraListDiversity(features: ItemFeatures, items: ArrayLike<number>): number {
  if (!(features instanceof ItemFeatures))
    throw argumentError('intraListDiversity', 'features', 'ItemFeatures', features);
  const { matrix, width, itemCount } = features;
  const count = lengthOf('intraListDiversity', 'items', items);
  for (let i = 0; i < count; i++)
    checkNumber('intraListDiversity', `items[${i}]`, items[i], { low: 0, high: itemCount - 1, integer: true });
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
 * @throws {InvalidArgumentError} for a count below 0, or none.
 */
export function selfInformation(counts: ArrayLike<number>): Float64Array {
  const A = lengthOf('selfInformation', 'counts', counts);
  let total = 0;
  for (let item = 0; item < A; item++) {
    checkNumber('selfInformation', `counts[${item}]`, counts[item], { low: 0 });
    total += counts[item] as number;
  }
  const all = total + counts.length;
  return Float64Array.from(counts, (count) => -Math.log2((count + 1) / all));
}

function lengthOf(where: string, argument: string, list: ArrayLike<number>): number {
  const length: unknown = (list as ArrayLike<number> | null | undefined)?.length;
  if (typeof list !== 'object' || !Number.isSafeInteger(length) || (length as number) < 0)
    throw argumentError(where, argument, 'a list of numbers', list);
  return length as number;
}
