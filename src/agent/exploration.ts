/** The three ways of exploring that the paper compares (Figures 8 and 9), as views of a policy. */
import { z } from 'zod';
import { checkHistoryBatch, type HistoryBatch } from '../compute/history-batch.js';
import { excludedItems } from '../compute/mask.js';
import { checkNumber, checkObject } from '../foundation/arguments.js';
import { InvalidArgumentError } from '../foundation/errors.js';
import type { JsonValue } from '../foundation/json.js';
import { checkOptions, describeValue } from '../foundation/options.js';
import type { Schedule } from '../foundation/schedules.js';
import { asSchedule } from '../foundation/schedules.js';
import type { ActOptions, Decision, Feedback, Policy, PolicyOptions } from './policy.js';
import { checkActOptions, checkUniforms } from './row-scorer.js';

/** A bound that no catalogue reaches, so that rows of this length can be made. */
const MAX_ITEMS = 2 ** 27;

/** A rule of exploration. It holds no state: the step says where its schedules are. */
export interface Exploration {
  /** `epsilonGreedy`, `categorical` or `greedy`. */
  readonly name: string;
  /**
   * The policy as it explores at a step. `logProb` of what it does is exact: it counts every way in which the
   * exploring policy could have come to the action.
   *
   * @param policy - Borrowed; asked anew at every call.
   * @param step - Environment steps so far, >= 0.
   */
  at(policy: Policy, step: number): Policy;
  /** The rule and its settings, for reports and to compare on resume. */
  toJSON(): JsonValue;
}

/** Settings of {@link epsilonGreedy}. */
export interface EpsilonGreedyOptions {
  /** ε, 0 to 1, or its schedule over environment steps. */
  readonly epsilon: number | Schedule;
  /** A, the items among which a random one is drawn (those that the mask leaves). */
  readonly itemCount: number;
}

const epsilonGreedySchema = z.strictObject({
  epsilon: z.union([
    z.number().min(0).max(1),
    z.custom<Schedule>((value) => typeof (value as Schedule | null | undefined)?.at === 'function', 'a schedule'),
  ]),
  itemCount: z.int().min(1).max(MAX_ITEMS),
});

/**
 * ε-greedy: with probability ε an item drawn uniformly among those allowed (the best one included), else the policy's
 * best. In `argmax` mode it does not explore.
 *
 * @throws {InvalidArgumentError} when an option is out of range, and on acting when the schedule leaves [0, 1].
 */
export function epsilonGreedy(options: EpsilonGreedyOptions): Exploration {
  const { epsilon: given, itemCount } = checkOptions(epsilonGreedySchema, options, 'epsilonGreedy');
  const schedule = asSchedule(given);
  return {
    name: 'epsilonGreedy',
    at: (policy, step) => {
      const epsilon = inRange('epsilon', schedule.at(step), 0, 1);
      return exploring(policy, {
        act: (batch, options) =>
          checkActOptions(options).mode === 'argmax'
            ? policy.act(batch, options)
            : actEpsilonGreedy(policy, epsilon, itemCount, batch, options),
        probabilities: (batch, options = {}) => epsilonGreedyRows(policy, epsilon, itemCount, batch, options),
      });
    },
    toJSON: () => ({ name: 'epsilonGreedy', epsilon: schedule.toJSON(), itemCount }),
  };
}

/**
 * Categorical sampling from the policy at a temperature, the default of every algorithm.
 *
 * @param temperature - > 0, or its schedule over environment steps; multiplies that of the call. @default 1
 * @throws {InvalidArgumentError} when a number is given that is not above 0, and on acting when a schedule leaves that.
 */
export function categorical(temperature: number | Schedule = 1): Exploration {
  if (typeof temperature === 'number') inRange('temperature', temperature, Number.MIN_VALUE, Number.MAX_VALUE);
  const schedule = asSchedule(temperature);
  return {
    name: 'categorical',
    at: (policy, step) => {
      const factor = inRange('temperature', schedule.at(step), Number.MIN_VALUE, Number.MAX_VALUE);
      const sharpen = <O extends PolicyOptions>(options: O): O => ({
        ...checkedOptions(options),
        temperature: factor * (options.temperature ?? 1),
      });
      return exploring(policy, {
        act: (batch, options) => policy.act(batch, sharpen(options)),
        ...(policy.probabilities && {
          probabilities: (batch, options = {}) => policy.probabilities?.(batch, sharpen(options)) as Float32Array,
        }),
      });
    },
    toJSON: () => ({ name: 'categorical', temperature: schedule.toJSON() }),
  };
}

/** Greedy: always the policy's best item, in both modes. */
export function greedy(): Exploration {
  return {
    name: 'greedy',
    at: (policy) =>
      exploring(policy, {
        act: (batch, options) => policy.act(batch, { ...options, mode: 'argmax' }),
        ...(policy.probabilities && {
          probabilities: (batch, options = {}) => {
            const favourites = bestActions(policy, batch, options);
            const rows = policy.probabilities?.(batch, options) as Float32Array;
            const A = rows.length / batch.size;
            rows.fill(0);
            favourites.forEach((item, row) => {
              rows[row * A + item] = 1;
            });
            return rows;
          },
        }),
      }),
    toJSON: () => ({ name: 'greedy' }),
  };
}

function checkedOptions<O extends PolicyOptions>(options: O): O {
  checkObject('exploration', 'options', options);
  if (options.temperature !== undefined)
    checkNumber('exploration', 'temperature', options.temperature, { low: Number.MIN_VALUE });
  return options;
}

/** A view of a policy that acts otherwise; what it observes goes to the policy. */
function exploring(policy: Policy, ways: Pick<Policy, 'act' | 'probabilities'>): Policy {
  checkPolicy(policy);
  return {
    name: policy.name,
    ...ways,
    ...(policy.observe && { observe: (feedback: Feedback) => policy.observe?.(feedback) }),
  };
}

function actEpsilonGreedy(
  policy: Policy,
  epsilon: number,
  A: number,
  batch: HistoryBatch,
  options: ActOptions,
): Decision {
  checkActOptions(options);
  checkHistoryBatch(batch, { itemCount: A, contextWidth: batch?.contextWidth });
  checkUniforms(options.uniforms, batch.size);
  const favourites = bestActions(policy, batch, options);
  const excluded = excludedItems(options.mask, batch, A);
  const actions = new Int32Array(batch.size);
  const logProb = new Float32Array(batch.size);
  for (let row = 0; row < batch.size; row++) {
    const allowed = countAllowed(excluded, row, A);
    const uniform = options.uniforms[row] as number;
    const favourite = favourites[row] as number;
    // One number decides twice: below ε, what it is of ε, a number in [0, 1), picks the item.
    const place = Math.min(allowed - 1, Math.floor((uniform / epsilon) * allowed));
    const action = uniform < epsilon ? allowedAt(excluded, row, A, place) : favourite;
    actions[row] = action;
    logProb[row] = Math.log(epsilon / allowed + (action === favourite ? 1 - epsilon : 0));
  }
  return { actions, logProb };
}

function epsilonGreedyRows(
  policy: Policy,
  epsilon: number,
  A: number,
  batch: HistoryBatch,
  options: PolicyOptions,
): Float32Array {
  const favourites = bestActions(policy, batch, options);
  const excluded = excludedItems(options.mask, batch, A);
  const rows = new Float32Array(batch.size * A);
  for (let row = 0; row < batch.size; row++) {
    const share = epsilon / countAllowed(excluded, row, A);
    for (let item = 0; item < A; item++) {
      if (excluded !== undefined && excluded[row * A + item] !== 0) continue;
      rows[row * A + item] = share + (item === favourites[row] ? 1 - epsilon : 0);
    }
  }
  return rows;
}

function bestActions(policy: Policy, batch: HistoryBatch, options: PolicyOptions): Int32Array {
  return policy.act(batch, { ...options, mode: 'argmax', uniforms: new Float64Array(0) }).actions;
}

/** A policy that is asked for its best items must be one. */
function checkPolicy(policy: Policy): void {
  checkObject('exploration', 'policy', policy, ['act'], 'a Policy');
}

function inRange(name: string, value: number, low: number, high: number): number {
  if (typeof value === 'number' && value >= low && value <= high) return value;
  const wanted = low === 0 ? `from ${low} to ${high}` : 'a finite number above 0';
  throw new InvalidArgumentError(`exploration: expected \`${name}\` to be ${wanted}, got ${describeValue(value)}`, {
    argument: name,
    wanted,
    got: value,
  });
}

function countAllowed(excluded: Uint8Array | undefined, row: number, A: number): number {
  if (excluded === undefined) return A;
  let count = 0;
  for (let item = 0; item < A; item++) if (excluded[row * A + item] === 0) count++;
  return count;
}

/** The item at a place among those allowed, in index order. */
function allowedAt(excluded: Uint8Array | undefined, row: number, A: number, place: number): number {
  if (excluded === undefined) return place;
  let left = place;
  for (let item = 0; item < A; item++) {
    if (excluded[row * A + item] === 0 && left-- === 0) return item;
  }
  throw new InvalidArgumentError(`Expected row ${row} to allow more than ${place} items`, { argument: 'mask' });
}
