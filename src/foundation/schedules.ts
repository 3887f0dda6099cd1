import { z } from 'zod';
import { InvalidArgumentError } from './errors.js';
import type { JsonValue } from './json.js';
import { checkOptions, describeValue } from './options.js';

/** A number that changes over training: alpha of Eq. 14, a learning rate, an exploration rate. */
export interface Schedule {
  /**
   * @param step - 0 or more; of what (environment steps, updates) is said by the option that takes the schedule.
   * @returns the value at that step.
   */
  at(step: number): number;
  /** @returns the schedule's kind and settings, to be written into reports and compared on resume. */
  toJSON(): JsonValue;
}

/** Settings of {@link linearSchedule}. */
export interface LinearScheduleOptions {
  /** Value up to and at the end of `delay`. */
  readonly from: number;
  /** Value from step `delay + steps` on. */
  readonly to: number;
  /** How many steps the change takes, an integer >= 1. */
  readonly steps: number;
  /** Steps before the change begins. @default 0 */
  readonly delay?: number | undefined;
}

/** Settings of {@link exponentialSchedule}. */
export interface ExponentialScheduleOptions {
  /** Value at step 0, > 0. */
  readonly from: number;
  /** Value from step `steps` on, > 0. */
  readonly to: number;
  /** How many steps the change takes, an integer >= 1. */
  readonly steps: number;
}

const linearOptions = z.strictObject({
  from: z.number(),
  to: z.number(),
  steps: z.int().min(1),
  delay: z.int().min(0).default(0),
});

const exponentialOptions = z.strictObject({
  from: z.number().positive(),
  to: z.number().positive(),
  steps: z.int().min(1),
});

/**
 * @param value - the value at every step, finite.
 * @returns a schedule that never changes.
 * @throws {InvalidArgumentError} when the value is not a finite number.
 */
export function constantSchedule(value: number): Schedule {
  checkOptions(z.number(), value, 'constantSchedule');
  return schedule({ kind: 'constant', value }, () => value);
}

/**
 * Straight from one value to another: `from` until `delay`, then a line over `steps`, then `to`.
 *
 * @param options - see {@link LinearScheduleOptions}.
 * @returns the schedule.
 * @throws {InvalidArgumentError} on a setting out of its range.
 */
export function linearSchedule(options: LinearScheduleOptions): Schedule {
  const { from, to, steps, delay } = checkOptions(linearOptions, options, 'linearSchedule');
  return schedule({ kind: 'linear', from, to, steps, delay }, (step) => {
    const share = Math.min(1, Math.max(0, (step - delay) / steps));
    // This form is exact at both ends and never leaves the interval between them.
    return from * (1 - share) + to * share;
  });
}

/**
 * From one positive value to another by a constant factor a step: `from (to / from)^(step / steps)`, then `to`.
 *
 * @param options - see {@link ExponentialScheduleOptions}.
 * @returns the schedule.
 * @throws {InvalidArgumentError} on a setting out of its range.
 */
export function exponentialSchedule(options: ExponentialScheduleOptions): Schedule {
  const { from, to, steps } = checkOptions(exponentialOptions, options, 'exponentialSchedule');
  const [low, high] = [Math.min(from, to), Math.max(from, to)];
  return schedule({ kind: 'exponential', from, to, steps }, (step) => {
    if (step >= steps) return to;
    // The logarithms keep `to / from` from overflowing; the bounds, rounding from leaving the interval.
    const value = from * Math.exp((Math.log(to) - Math.log(from)) * (step / steps));
    return Math.min(high, Math.max(low, value));
  });
}

/**
 * Lets an option be a plain number or a schedule.
 *
 * @param value - a finite number (constant), or any object with `at` and `toJSON`.
 * @returns a schedule; a schedule is returned as it is.
 * @throws {InvalidArgumentError} when it is neither.
 */
export function asSchedule(value: number | Schedule): Schedule {
  if (typeof value === 'number') return constantSchedule(value);
  if (isSchedule(value)) return value;
  const wanted = 'a finite number or a schedule (`at(step)` and `toJSON()`)';
  throw new InvalidArgumentError(`asSchedule: expected ${wanted}, got ${describeValue(value)}`, { wanted, got: value });
}

function isSchedule(value: unknown): value is Schedule {
  if (typeof value !== 'object' || value === null) return false;
  const { at, toJSON } = value as Partial<Record<keyof Schedule, unknown>>;
  return typeof at === 'function' && typeof toJSON === 'function';
}

function schedule(json: JsonValue, at: (step: number) => number): Schedule {
  return {
    at(step) {
      if (typeof step !== 'number' || !(step >= 0)) {
        throw new InvalidArgumentError(`Expected \`step\` to be a number of at least 0, got ${describeValue(step)}`, {
          argument: 'step',
          wanted: 'a number of at least 0',
          got: step,
        });
      }
      return at(step);
    },
    toJSON: () => json,
  };
}
