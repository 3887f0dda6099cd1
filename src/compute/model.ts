import { z } from 'zod';
import { argumentError, checkNumber, checkObject } from '../foundation/arguments.js';
import { InvalidArgumentError } from '../foundation/errors.js';
import { checkOptions } from '../foundation/options.js';
import type { Rng } from '../foundation/rng.js';
import type { HistoryFeatures } from './history-features.js';
import { ParameterStore } from './parameter-store.js';
import type { NamedParameter, Parameters, StateEncoder } from './state-encoder.js';

/**
 * What the model is: encoder, item representation and heads. Its parameters are made by `initParameters`.
 *
 * With s_b the state of row b, e_a the item vector the encoder reads, f_a the features of item a and phi the history
 * features:
 *
 * - `e_a = item/id[a] + f_a item/projection`
 * - `logit(b, a) = s_b · (actor/id[a] + f_a actor/projection) + actor/bias[a] + sum_f actor/history[f] phi_f(b, a)`;
 *   None has the scalar logit `actor/none`
 * - `critic: 'action'`: `Q(b, a)` has the same form with `critic/id`, `critic/projection`, `critic/bias`, `critic/history`
 * - `critic: 'state'`: `V(b) = relu(s'_b value/w1 + value/b1) · value/w2 + value/b2`; with `valueHidden: 0` it is
 *   `s'_b · value/w2 + value/b2`
 *
 * s' is s with `valueEncoder: 'shared'`; with `'separate'` the critic (of either kind) has an encoder and item vectors of
 * its own: `valueEncoder/…`, `valueItem/id`, `valueItem/projection`. The terms in `id` are there with `items: 'id'` and
 * `'id+text'`, those in `projection` with `'text'` and `'id+text'`.
 */
export interface ModelSpec {
  /** Number of items A, at least 1. */
  readonly itemCount: number;
  /** Width C of the user context; 0 for none. */
  readonly contextWidth: number;
  /** Turns item vectors into states. */
  readonly encoder: StateEncoder;
  /** What an item is known by: its index (the paper's setting), the features of its text, or the sum of both. */
  readonly items: 'id' | 'text' | 'id+text';
  /** Features of the items `[A, F]`, row-major, rows of unit norm or zero; needed unless `items` is `'id'`. Borrowed, never changed. */
  readonly itemFeatures?: Float32Array;
  /** Width F of {@link ModelSpec.itemFeatures}. */
  readonly itemFeatureWidth?: number;
  /** Planes whose learned weights add to the logits (and to Q). */
  readonly historyFeatures?: HistoryFeatures;
  /** `'state'`: V(s); `'action'`: Q(s, ·) over all items; `'none'`: an actor alone. */
  readonly critic: 'none' | 'state' | 'action';
  /** Whether the critic reads the actor's encoder or one of its own. */
  readonly valueEncoder: 'shared' | 'separate';
  /** Width of the hidden layer of V(s); 0 makes it linear. Ignored unless `critic` is `'state'`. */
  readonly valueHidden: number;
}

/** Most values of one parameter: 1 GiB. */
const MAX_PARAMETER = 2 ** 28;

const isArray = (value: unknown): value is Float32Array => value instanceof Float32Array;
const isObject = (value: unknown): boolean => typeof value === 'object' && value !== null;

/** A state encoder, the user's own included: all its members, of the right kinds. */
export const encoderSchema = z.custom<StateEncoder>(
  (value) => {
    if (!isObject(value)) return false;
    const encoder = value as Partial<StateEncoder>;
    const sizes = [encoder.itemWidth, encoder.stateWidth, encoder.historyLength];
    return (
      typeof encoder.name === 'string' &&
      sizes.every((size) => Number.isInteger(size) && (size as number) > 0) &&
      typeof encoder.init === 'function' &&
      typeof encoder.apply === 'function'
    );
  },
  {
    error:
      'expected a StateEncoder (name, init, apply, and whole itemWidth, stateWidth and historyLength of at least 1)',
  },
);

const modelSpecSchema = z.strictObject({
  itemCount: z.int().min(1),
  contextWidth: z.int().min(0),
  encoder: encoderSchema,
  items: z.enum(['id', 'text', 'id+text']),
  itemFeatures: z.custom<Float32Array>(isArray, { error: 'a Float32Array' }).optional(),
  itemFeatureWidth: z.int().min(1).optional(),
  historyFeatures: z.custom<HistoryFeatures>(isObject, { error: 'a HistoryFeatures object' }).optional(),
  critic: z.enum(['none', 'state', 'action']),
  valueEncoder: z.enum(['shared', 'separate']),
  valueHidden: z.int().min(0),
});

/**
 * Checks a {@link ModelSpec}.
 *
 * @param spec - the spec.
 * @param where - the public function that was called, for the message.
 * @throws {InvalidArgumentError} when a field is out of its range, or item features are missing, of the wrong size or not finite.
 */
export function checkModelSpec(spec: ModelSpec, where: string): void {
  checkOptions(modelSpecSchema, spec, where);
  if (spec.items === 'id') return;
  const { itemFeatures, itemFeatureWidth = 0 } = spec;
  if (itemFeatures === undefined || itemFeatures.length !== spec.itemCount * itemFeatureWidth) {
    throw new InvalidArgumentError(
      `${where}: expected \`itemFeatures\` to hold ${spec.itemCount} rows of \`itemFeatureWidth\` (${itemFeatureWidth}) because \`items\` is '${spec.items}', got ${itemFeatures === undefined ? 'none' : `length ${itemFeatures.length}`}`,
      { argument: 'itemFeatures', wanted: `[${spec.itemCount}, itemFeatureWidth]`, got: itemFeatures?.length },
    );
  }
  const bad = itemFeatures.findIndex((value) => !Number.isFinite(value));
  if (bad >= 0) {
    throw new InvalidArgumentError(
      `${where}: expected \`itemFeatures\` to be finite, got ${itemFeatures[bad]} for item ${Math.floor(bad / itemFeatureWidth)}`,
      { argument: 'itemFeatures', wanted: 'finite numbers', got: itemFeatures[bad] },
    );
  }
}

/**
 * Makes the parameters of a model; each array depends on `rng` and its own name only, so the same seed gives the same
 * weights whatever else the model has.
 *
 * Item vectors that the encoder reads start as normal numbers of sd 1/sqrt(E) (rows of about unit length, as the item
 * features have); the score tables of actor and critic with sd 0.1/sqrt(D), so that with states of unit variance
 * logits start with a spread of about 0.1: a near-uniform policy. `value/w1` has sd sqrt(2/D) (relu), `value/w2`
 * 0.1/sqrt(H): values start near 0. Biases, history weights and `actor/none` start at 0.
 *
 * @param spec - see {@link ModelSpec}.
 * @param rng - forked by parameter name.
 * @throws {InvalidArgumentError} when the spec is not consistent.
 */
export function initParameters(spec: ModelSpec, rng: Rng): ParameterStore {
  checkModelSpec(spec, 'initParameters');
  const { itemCount, encoder, critic, contextWidth } = spec;
  const { itemWidth, stateWidth } = encoder;
  const parameters = new Map<string, NamedParameter>();
  const normal = (name: string, shape: readonly number[], deviation: number): void => {
    parameters.set(name, normalParameter(rng.fork(name), shape, deviation));
  };
  const zero = (name: string, shape: readonly number[]): void => {
    parameters.set(name, { shape, data: new Float32Array(shape.reduce((product, size) => product * size, 1)) });
  };
  const table = (prefix: string, width: number, deviation: number): void => {
    if (spec.items !== 'text') normal(`${prefix}/id`, [itemCount, width], deviation);
    if (spec.items !== 'id') normal(`${prefix}/projection`, [spec.itemFeatureWidth as number, width], deviation);
  };
  const encoderParameters = (prefix: string): void => {
    const made: unknown = encoder.init(rng.fork(prefix), { contextWidth });
    checkObject('ActorCritic', 'what encoder.init gives', made, [], 'parameters by name');
    for (const [name, parameter] of Object.entries(made as Parameters)) {
      parameters.set(`${prefix}/${name}`, parameter);
    }
  };
  const head = (prefix: string): void => {
    table(prefix, stateWidth, 0.1 / Math.sqrt(stateWidth));
    zero(`${prefix}/bias`, [itemCount]);
    if (spec.historyFeatures !== undefined) zero(`${prefix}/history`, [spec.historyFeatures.names.length]);
  };
  table('item', itemWidth, 1 / Math.sqrt(itemWidth));
  encoderParameters('encoder');
  head('actor');
  zero('actor/none', [1]);
  if (critic === 'none') return new ParameterStore(parameters);
  if (spec.valueEncoder === 'separate') {
    table('valueItem', itemWidth, 1 / Math.sqrt(itemWidth));
    encoderParameters('valueEncoder');
  }
  if (critic === 'action') head('critic');
  else {
    const hidden = spec.valueHidden;
    if (hidden > 0) {
      normal('value/w1', [stateWidth, hidden], Math.sqrt(2 / stateWidth));
      zero('value/b1', [hidden]);
    }
    const last = hidden > 0 ? hidden : stateWidth;
    normal('value/w2', [last, 1], 0.1 / Math.sqrt(last));
    zero('value/b2', [1]);
  }
  return new ParameterStore(parameters);
}

/**
 * An array of normal numbers of mean 0; what encoders make their weights with.
 *
 * @param rng - drawn from.
 * @param shape - of the array.
 * @param deviation - standard deviation, >= 0.
 */
export function normalParameter(rng: Rng, shape: readonly number[], deviation: number): NamedParameter {
  checkObject('normalParameter', 'rng', rng, ['normal'], 'an Rng');
  if (!Array.isArray(shape)) throw argumentError('normalParameter', 'shape', 'an array of sizes', shape);
  for (let axis = 0; axis < shape.length; axis++) {
    checkNumber('normalParameter', `shape[${axis}]`, shape[axis], { low: 0, integer: true });
  }
  checkNumber('normalParameter', 'deviation', deviation, { low: 0 });
  const size = shape.reduce<number>((product, dimension) => product * dimension, 1);
  checkNumber('normalParameter', 'shape, multiplied', size, { low: 0, high: MAX_PARAMETER, integer: true });
  const data = new Float32Array(size);
  for (let i = 0; i < data.length; i++) data[i] = deviation * rng.normal();
  return { shape, data };
}
