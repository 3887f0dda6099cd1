import { InvalidArgumentError } from './errors.js';
import { describeValue } from './options.js';

/** Bounds of {@link checkNumber}, both included. */
interface NumberBounds {
  /** Least value. @default -Infinity, which still excludes -Infinity itself */
  readonly low?: number;
  /** Greatest value. @default Infinity; not itself, unless `infinite` */
  readonly high?: number;
  /** Only whole numbers. @default false */
  readonly integer?: boolean;
  /** Whether Infinity will do where `high` is. @default false */
  readonly infinite?: boolean;
}

/**
 * The error for one wrong argument, in the house's words.
 *
 * @param where - name of the public function, put first in the message.
 * @param argument - name or path of the argument.
 * @param wanted - what would have been accepted, in words.
 * @param got - what came; any value, hostile ones included.
 * @returns the error, to be thrown.
 */
export function argumentError(where: string, argument: string, wanted: string, got: unknown): InvalidArgumentError {
  const message = `${where}: expected \`${argument}\` to be ${wanted}, got ${describeValue(got)}`;
  return new InvalidArgumentError(message, { argument, wanted, got });
}

/**
 * Checks one number at the door of a function that takes no options object.
 *
 * @throws {InvalidArgumentError} when it is no number (NaN is none) or out of bounds.
 */
export function checkNumber(where: string, argument: string, value: unknown, bounds: NumberBounds = {}): void {
  const { low = -Infinity, high = Infinity, integer = false, infinite = false } = bounds;
  const isFine = typeof value === 'number' && value >= low && value <= high;
  if (isFine && (Number.isFinite(value) || (infinite && value === Infinity)) && (!integer || Number.isInteger(value)))
    return;
  const range = [low > -Infinity ? `from ${low}` : '', high < Infinity ? `to ${high}` : ''].filter(
    (part) => part !== '',
  );
  const kind = integer ? 'a whole number' : infinite ? 'a number' : 'a finite number';
  throw argumentError(where, argument, [kind, ...range].join(' '), value);
}

/**
 * Checks that an argument is an object, and that methods it must have are there.
 *
 * @param methods - names of functions that it must have.
 * @param wanted - what is wanted, in words.
 * @throws {InvalidArgumentError} otherwise.
 */
export function checkObject(
  where: string,
  argument: string,
  value: unknown,
  methods: readonly string[] = [],
  wanted = 'an object',
): void {
  const isObject = typeof value === 'object' && value !== null;
  if (isObject && methods.every((name) => typeof (value as Record<string, unknown>)[name] === 'function')) return;
  throw argumentError(where, argument, wanted, value);
}
