/**
 * What every loss is: a number, and its derivative by each number that the kernels gave (design.md section 5).
 * All arithmetic is in float64; results are written in the kind of array that came in.
 */
import { argumentError, checkNumber, checkObject } from '../../foundation/arguments.js';
import { InvalidArgumentError } from '../../foundation/errors.js';
import { describeValue } from '../../foundation/options.js';

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
 * Asserts that arrays have numbers and one length, at the door of a loss. What the numbers are is the caller's affair: NaN in,
 * NaN out, which the training loop refuses.
 *
 * @param where - name of the loss, put first in the message.
 * @param length - B, at least 1.
 * @param needed - arrays that must be there.
 * @param optional - arrays that may be undefined.
 * @throws {InvalidArgumentError} naming the first array that does not fit, or when the batch is empty.
 */
export function checkLengths(
  where: string,
  length: number,
  needed: Readonly<Record<string, unknown>>,
  optional: Readonly<Record<string, unknown>> = {},
): void {
  if (!(Number.isSafeInteger(length) && length > 0)) {
    throw new InvalidArgumentError(
      `${where}: expected a batch of at least one row, got ${length === 0 ? 'none' : describeValue(length)}`,
      { argument: Object.keys(needed)[0], wanted: 'at least one row', got: length },
    );
  }
  const given = Object.entries(optional).filter(([, array]) => array !== undefined);
  for (const [argument, array] of [...Object.entries(needed), ...given]) {
    if (!isNumbers(array)) throw argumentError(where, argument, `a typed array of length ${length}`, array);
    if (array.length !== length) {
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
 * Length of the array that says how many rows a batch has.
 *
 * @throws {InvalidArgumentError} when it is not a Float32Array or Float64Array.
 */
export function rowsOf(where: string, argument: string, array: FloatArray): number {
  if (array instanceof Float32Array || array instanceof Float64Array) return array.length;
  throw argumentError(where, argument, 'a Float32Array or Float64Array', array);
}

function isNumbers(value: unknown): value is Float64Array {
  return ArrayBuffer.isView(value) && 'length' in value && typeof (value as Float64Array)[0] !== 'bigint';
}

/**
 * Asserts that a setting is in its range, both ends included.
 *
 * @throws {InvalidArgumentError} otherwise, NaN included.
 */
export function checkRange(where: string, argument: string, value: number, low: number, high: number): void {
  if (typeof value === 'number' && value >= low && value <= high) return;
  throw argumentError(where, argument, high === Infinity ? `at least ${low}` : `from ${low} to ${high}`, value);
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
  weights: readonly number[] = Array.isArray(losses) ? losses.map(() => 1) : [],
): CombinedLoss<P> {
  if (!Array.isArray(losses)) throw argumentError('combineLosses', 'losses', 'an array of losses', losses);
  if (!Array.isArray(weights)) throw argumentError('combineLosses', 'weights', 'an array of numbers', weights);
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
  const sums = new Map<string, FloatArray>();
  for (const [i, part] of losses.entries()) {
    const weight = weights[i] as number;
    checkNumber('combineLosses', `weights[${i}]`, weight);
    checkObject('combineLosses', `losses[${i}]`, part, [], 'a loss');
    if (typeof part.loss !== 'number') throw argumentError('combineLosses', `losses[${i}].loss`, 'a number', part.loss);
    checkObject('combineLosses', `losses[${i}].cotangents`, part.cotangents);
    loss += weight * part.loss;
    for (const [name, cotangent] of Object.entries<FloatArray | undefined>({ ...part.cotangents })) {
      if (cotangent === undefined) continue;
      const sum =
        sums.get(name) ?? zerosLike(cotangent, rowsOf('combineLosses', `losses[${i}].cotangents.${name}`, cotangent));
      sums.set(name, sum);
      checkLengths('combineLosses', sum.length, { [name]: cotangent });
      for (let j = 0; j < sum.length; j++) sum[j] = (sum[j] as number) + weight * (cotangent[j] as number);
    }
  }
  return { loss, cotangents: Object.fromEntries(sums) as unknown as Merged<P['cotangents']> };
}
