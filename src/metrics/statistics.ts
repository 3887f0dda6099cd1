import { argumentError, checkNumber } from '../foundation/arguments.js';

/** A mean with a two-sided 95 % confidence interval. */
export interface Interval {
  /** Arithmetic mean. */
  readonly mean: number;
  /** Lower end; equal to the mean when there is one value only. */
  readonly low: number;
  /** Upper end; equal to the mean when there is one value only. */
  readonly high: number;
}

// Two-sided 97.5 % quantiles of Student's t for 1 to 30 degrees of freedom; beyond that the Cornish-Fisher expansion is exact to 3 digits.
const T_QUANTILES = [
  12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.16, 2.145, 2.131, 2.12, 2.11,
  2.101, 2.093, 2.086, 2.08, 2.074, 2.069, 2.064, 2.06, 2.056, 2.052, 2.048, 2.045, 2.042,
];
const NORMAL_QUANTILE = 1.959964;

/** 97.5 % quantile of Student's t with `degrees` >= 1 degrees of freedom. */
export function studentQuantile(degrees: number): number {
  const tabled = T_QUANTILES[degrees - 1];
  if (tabled !== undefined) return tabled;
  const z = NORMAL_QUANTILE;
  return z + (z ** 3 + z) / (4 * degrees) + (5 * z ** 5 + 16 * z ** 3 + 3 * z) / (96 * degrees ** 2);
}

/** Arithmetic mean; NaN for no values. */
export function mean(values: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i] as number;
  return sum / values.length;
}

/** Sample standard deviation (n - 1); 0 for fewer than two values. */
export function standardDeviation(values: ArrayLike<number>): number {
  if (values.length < 2) return 0;
  const centre = mean(values);
  let squares = 0;
  for (let i = 0; i < values.length; i++) squares += ((values[i] as number) - centre) ** 2;
  return Math.sqrt(squares / (values.length - 1));
}

/**
 * Student's t interval of the mean of independent values.
 *
 * @param values - one number each, at least one, finite.
 * @returns the mean and the ends of its 95 % interval.
 * @throws {InvalidArgumentError} when there is none, or naming the first that is not finite.
 */
export function confidenceInterval(values: ArrayLike<number>): Interval {
  const count: unknown = (values as ArrayLike<number> | null | undefined)?.length;
  if (typeof values !== 'object' || !Number.isSafeInteger(count) || (count as number) < 1) {
    throw argumentError('confidenceInterval', 'values', 'at least one number', values);
  }
  for (let i = 0; i < values.length; i++) checkNumber('confidenceInterval', `values[${i}]`, values[i]);
  const centre = mean(values);
  if (values.length < 2) return { mean: centre, low: centre, high: centre };
  const half = (studentQuantile(values.length - 1) * standardDeviation(values)) / Math.sqrt(values.length);
  return { mean: centre, low: centre - half, high: centre + half };
}
