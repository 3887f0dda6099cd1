/** A float64 model of the losses' derivatives: central differences of a plain function of plain numbers. */
import { expect } from 'vitest';

/** d f / d x[i] for every i. */
function centralDifferences(f: (x: readonly number[]) => number, x: readonly number[]): number[] {
  return x.map((value, i) => {
    const h = 1e-5 * Math.max(1, Math.abs(value));
    const moved = (by: number): number[] => x.map((other, j) => (j === i ? other + by : other));
    return (f(moved(h)) - f(moved(-h))) / (2 * h);
  });
}

/** Asserts a relative error of at most `tolerance`, in the norm of the whole array. */
export function expectClose(got: ArrayLike<number>, wanted: ArrayLike<number>, tolerance: number): void {
  expect(got.length).toBe(wanted.length);
  let error = 0;
  let size = 0;
  for (let i = 0; i < wanted.length; i++) {
    error += ((got[i] as number) - (wanted[i] as number)) ** 2;
    size += (wanted[i] as number) ** 2;
  }
  expect(Math.sqrt(error)).toBeLessThanOrEqual(tolerance * Math.max(Math.sqrt(size), 1e-12));
}

/** What a loss gives for one of its inputs. */
export interface Given {
  readonly loss: number;
  readonly cotangent: ArrayLike<number>;
}

/**
 * Checks one input of a loss: in float64 its value equals the plain model's and its cotangent the model's central
 * differences, both to 1e-6; in float32 both equal the float64 ones within rounding.
 */
export function checkAgainstModel(
  x: readonly number[],
  model: (x: readonly number[]) => number,
  ours: (x: Float32Array | Float64Array) => Given,
): void {
  const exact = ours(Float64Array.from(x));
  expectClose([exact.loss], [model(x)], 1e-12);
  expectClose(exact.cotangent, centralDifferences(model, x), 1e-6);
  expect(exact.cotangent).toBeInstanceOf(Float64Array);
  // The float32 input is itself rounded, so the comparison is with float64 at the rounded point.
  const single = Float32Array.from(x);
  const rounded = ours(Float64Array.from(single));
  const result = ours(single);
  expect(result.cotangent).toBeInstanceOf(Float32Array);
  expectClose([result.loss], [rounded.loss], 1e-12);
  expectClose(result.cotangent, rounded.cotangent, 1e-6);
}
