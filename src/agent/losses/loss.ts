/**
 * What every loss is: a number, and its derivative by each number that the kernels gave (design.md section 5).
 * All arithmetic is in float64; results are written in the kind of array that came in.
 */
import { InvalidArgumentError } from '../../foundation/errors.js';

/** What losses read and write: float32 in the library, float64 in the tests that check derivatives. */
export type FloatArray = Float32Array | Float64Array;

/**
 * A loss and d loss / d x for each input x named in `N`. Names are those of the kernels' `Cotangents`, so the object
 * `cotangents` is passed to `backward` as it is.
 */
export interface Loss<N extends string, F extends FloatArray = Float32Array> {
  /** The loss, a mean over the batch unless its function says otherwise. */
  readonly loss: number;
  /** d loss / d x, of the shape of x. */
  readonly cotangents: Readonly<Record<N, F>>;
}

/** All members of a union's members: what adding up several losses' cotangents gives. */
export type Merged<U> = (U extends unknown ? (member: U) => void : never) extends (all: infer I) => void ? I : never;

/** A new array of zeros, of the kind of `source`. */
export function zerosLike<F extends FloatArray>(source: F, length: number = source.length): F {
  return (source instanceof Float64Array ? new Float64Array(length) : new Float32Array(length)) as FloatArray as F;
}

/**
 * Asserts that arrays have the length that the batch asks for.
 *
 * @throws {InvalidArgumentError} naming the first that does not, or an empty batch.
 */
export function checkLengths(
  where: string,
  length: number,
  arrays: Readonly<Record<string, { readonly length: number } | undefined>>,
): void {
  if (length === 0) throw new InvalidArgumentError(`${where}: expected a batch of at least one row, got none`);
  for (const [argument, array] of Object.entries(arrays)) {
    if (array !== undefined && array.length !== length) {
      throw new InvalidArgumentError(
        `${where}: expected \`${argument}\` to have length ${length}, got ${array.length}`,
        {
          argument,
          wanted: `length ${length}`,
          got: array.length,
        },
      );
    }
  }
}

/**
 * Asserts that a number lies in a closed range.
 *
 * @throws {InvalidArgumentError} naming the argument.
 */
export function checkRange(where: string, argument: string, value: number, low: number, high: number): void {
  if (!(value >= low && value <= high)) {
    const wanted = high === Infinity ? `at least ${low}` : `from ${low} to ${high}`;
    throw new InvalidArgumentError(`${where}: expected \`${argument}\` to be ${wanted}, got ${value}`, {
      argument,
      wanted,
      got: value,
    });
  }
}

/** Anything shaped like a {@link Loss}, whatever its cotangents are called. */
export interface AnyLoss {
  /** The loss. */
  readonly loss: number;
  /** Its cotangents by name. */
  readonly cotangents: object;
}

/** What {@link combineLosses} gives. */
export interface CombinedLoss<P extends AnyLoss> {
  /** The weighted sum. */
  readonly loss: number;
  /** The cotangents of all parts. */
  readonly cotangents: Merged<P['cotangents']>;
}

/**
 * A weighted sum of losses: values add, cotangents of the same name add. Eq. 10 is this with weights 1 and 1.
 *
 * @param losses - Over the same forward pass.
 * @param weights - One each, any sign. @default all 1
 * @throws {InvalidArgumentError} when there is no loss, a weight is missing, or two cotangents of one name differ in length.
 */
export function combineLosses<P extends AnyLoss>(
  losses: readonly P[],
  weights: readonly number[] = losses.map(() => 1),
): CombinedLoss<P> {
  if (losses.length === 0 || weights.length !== losses.length) {
    const wanted = 'at least one loss, and one weight for each';
    const got = `${losses.length} losses and ${weights.length} weights`;
    throw new InvalidArgumentError(`combineLosses: expected ${wanted}, got ${got}`, {
      argument: 'weights',
      wanted,
      got,
    });
  }
  let loss = 0;
  const sums: Record<string, FloatArray> = {};
  losses.forEach((part, i) => {
    const weight = weights[i] as number;
    loss += weight * part.loss;
    for (const [name, cotangent] of Object.entries<FloatArray | undefined>({ ...part.cotangents })) {
      if (cotangent === undefined) continue;
      sums[name] ??= zerosLike(cotangent);
      const sum = sums[name];
      checkLengths('combineLosses', sum.length, { [name]: cotangent });
      for (let j = 0; j < sum.length; j++) sum[j] = (sum[j] as number) + weight * (cotangent[j] as number);
    }
  });
  return { loss, cotangents: sums as Merged<P['cotangents']> };
}
