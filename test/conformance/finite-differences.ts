/** Derivatives and steps in float64, by nothing but arithmetic: what every gradient of the library is held against. */

/** Named arrays of float64 numbers. */
export type Arrays = Readonly<Record<string, Float64Array>>;

/**
 * d objective / d w for each number of each array, by central differences with step `h`. The arrays are changed while it
 * runs and hold their own values again afterwards.
 */
export function finiteDifferences(arrays: Arrays, objective: () => number, h = 1e-5): Record<string, Float64Array> {
  const gradients: Record<string, Float64Array> = {};
  for (const [name, array] of Object.entries(arrays)) {
    const gradient = new Float64Array(array.length);
    for (let i = 0; i < array.length; i++) {
      const value = array[i] as number;
      array[i] = value + h;
      const above = objective();
      array[i] = value - h;
      const below = objective();
      array[i] = value;
      gradient[i] = (above - below) / (2 * h);
    }
    gradients[name] = gradient;
  }
  return gradients;
}

/** The slope of the objective along `direction` in the space of one array, by a central difference. */
export function slopeAlong(array: Float64Array, direction: Float64Array, objective: () => number, h = 1e-5): number {
  const start = array.slice();
  const move = (by: number): number => {
    for (let i = 0; i < array.length; i++) array[i] = (start[i] as number) + by * (direction[i] as number);
    return objective();
  };
  const slope = (move(h) - move(-h)) / (2 * h);
  array.set(start);
  return slope;
}

/** Euclidean norm of everything in the arrays together. */
export function globalNorm(arrays: Arrays): number {
  let sum = 0;
  for (const array of Object.values(arrays)) for (const x of array) sum += x * x;
  return Math.sqrt(sum);
}

/**
 * ‖got - wanted‖ / ‖wanted‖, with `floor` under the divisor: an array whose gradient is zero by symmetry (the bias of
 * attention's keys) has no scale of its own.
 */
export function relativeError(got: ArrayLike<number>, wanted: ArrayLike<number>, floor = 0): number {
  if (got.length !== wanted.length) return Infinity;
  let error = 0;
  let size = 0;
  for (let i = 0; i < wanted.length; i++) {
    const want = wanted[i] as number;
    const have = got[i] as number;
    if (Object.is(have, want) || have === want) {
      // Equal, -Infinity included: no error, and an infinity gives the norm no size.
      if (Number.isFinite(want)) size += want * want;
      continue;
    }
    error += (have - want) ** 2;
    size += want * want;
  }
  if (error === 0) return 0;
  if (!Number.isFinite(error) || Number.isNaN(error)) return Infinity;
  return Math.sqrt(error) / Math.max(Math.sqrt(size), floor, Number.MIN_VALUE);
}

/** Adam with one clip by the norm of all gradients together (Kingma & Ba, Algorithm 1, after the clip). */
export class Float64Adam {
  readonly #m: Record<string, Float64Array> = {};
  readonly #v: Record<string, Float64Array> = {};
  #updates = 0;

  constructor(
    readonly options: { learningRate: number; beta1: number; beta2: number; epsilon: number; clipNorm: number },
  ) {}

  /** Changes `weights` in place; returns the norm before the clip. */
  step(weights: Arrays, gradients: Arrays): number {
    const { learningRate, beta1, beta2, epsilon, clipNorm } = this.options;
    const norm = globalNorm(gradients);
    const scale = norm > clipNorm ? clipNorm / norm : 1;
    this.#updates++;
    for (const [name, weight] of Object.entries(weights)) {
      const gradient = gradients[name] as Float64Array;
      this.#m[name] ??= new Float64Array(weight.length);
      this.#v[name] ??= new Float64Array(weight.length);
      const m = this.#m[name];
      const v = this.#v[name];
      for (let i = 0; i < weight.length; i++) {
        const g = scale * (gradient[i] as number);
        m[i] = beta1 * (m[i] as number) + (1 - beta1) * g;
        v[i] = beta2 * (v[i] as number) + (1 - beta2) * g * g;
        const mean = (m[i] as number) / (1 - beta1 ** this.#updates);
        const square = (v[i] as number) / (1 - beta2 ** this.#updates);
        weight[i] = (weight[i] as number) - (learningRate * mean) / (Math.sqrt(square) + epsilon);
      }
    }
    return norm;
  }
}

/** Largest relative error over arrays of one gradient or answer, with where it is. */
export function worstError(
  got: Readonly<Record<string, ArrayLike<number>>>,
  wanted: Readonly<Record<string, ArrayLike<number>>>,
  floor = 0,
) {
  let error = 0;
  let name = '';
  for (const key of new Set([...Object.keys(wanted), ...Object.keys(got)])) {
    const found = relativeError(got[key] ?? [], wanted[key] ?? [], floor);
    if (!(found <= error)) [error, name] = [found, key];
  }
  return { error, name };
}
