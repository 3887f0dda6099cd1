import { z } from 'zod';
import { CheckpointError, InvalidArgumentError } from '../foundation/errors.js';
import type { NamedArray, NamedArrays } from '../foundation/named-arrays.js';
import { checkOptions, describeValue } from '../foundation/options.js';
import type { ParameterStore } from './parameter-store.js';

/** What one optimiser step did. */
export interface StepResult {
  /** Global norm of the gradients of all parameters that are not frozen, before clipping. */
  readonly gradientNorm: number;
  /** False when the norm was not finite: parameters and moments were left as they were. */
  readonly applied: boolean;
}

/** Options of {@link Adam}. */
export interface AdamOptions {
  /** Step size, > 0. @default 1e-3 */
  readonly learningRate?: number;
  /** Decay of the first moment, in [0, 1). @default 0.9 */
  readonly beta1?: number;
  /** Decay of the second moment, in [0, 1). @default 0.999 */
  readonly beta2?: number;
  /** Added to the root of the second moment, > 0. @default 1e-8 */
  readonly epsilon?: number;
  /** Largest global norm of the gradient over all parameters that are not frozen; `Infinity` for no clip. @default 1 */
  readonly clipNorm?: number;
  /**
   * Multiplies the learning rate of all parameters whose name starts with the key; the longest matching key wins.
   * E.g. `{ 'actor/history': 20 }`. @default none
   */
  readonly multipliers?: Readonly<Record<string, number>>;
}

const adamOptions = z.strictObject({
  learningRate: z.number().positive().default(1e-3),
  beta1: z.number().min(0).lt(1).default(0.9),
  beta2: z.number().min(0).lt(1).default(0.999),
  epsilon: z.number().positive().default(1e-8),
  clipNorm: z.union([z.number().positive(), z.literal(Number.POSITIVE_INFINITY)]).default(1),
  multipliers: z.record(z.string(), z.number().min(0)).default({}),
});

interface Moments {
  readonly first: Float32Array;
  readonly second: Float32Array;
}

/**
 * Adam (Kingma and Ba 2015) with bias correction and one global-norm clip, in float64 arithmetic over the store's
 * Float32Arrays. One optimiser belongs to one store. Moments are allocated when a parameter first gets a gradient; a
 * parameter that never got one is left alone, which is exact.
 */
export class Adam {
  readonly #options: z.output<typeof adamOptions>;
  readonly #moments = new Map<string, Moments>();
  #learningRate: number;
  #updates = 0;

  /**
   * @param options - see {@link AdamOptions}.
   * @throws {InvalidArgumentError} when an option is out of its range.
   */
  constructor(options: AdamOptions = {}) {
    this.#options = checkOptions(adamOptions, options, 'Adam');
    this.#learningRate = this.#options.learningRate;
  }

  /** The step size; set it to follow a schedule (0 is allowed and freezes the values but not the moments). */
  get learningRate(): number {
    return this.#learningRate;
  }

  /** @throws {InvalidArgumentError} when it is not a finite number of at least 0. */
  set learningRate(value: number) {
    if (!(Number.isFinite(value) && value >= 0)) {
      throw new InvalidArgumentError(
        `Expected \`learningRate\` to be a finite number of at least 0, got ${describeValue(value)}`,
        {
          argument: 'learningRate',
          wanted: 'a finite number >= 0',
          got: value,
        },
      );
    }
    this.#learningRate = value;
  }

  /** How many steps were applied so far. */
  get updates(): number {
    return this.#updates;
  }

  /**
   * One step on the gradients in the store: clips them by their global norm, moves the values of all parameters that are
   * not frozen, raises the store's version. Does not zero the gradients ({@link Kernels.step} does).
   *
   * @param store - the parameters; always the same store.
   * @returns the norm before the clip; `applied` is false when it is not finite, and then nothing was changed.
   */
  step(store: ParameterStore): StepResult {
    let squares = 0;
    const moving: { name: string; data: Float32Array; gradient: Float32Array }[] = [];
    for (const { name, data, gradient, frozen } of store.parameters()) {
      if (frozen) continue;
      const sum = sumOfSquares(gradient);
      squares += sum;
      if (sum !== 0 || this.#moments.has(name)) moving.push({ name, data, gradient });
    }
    const gradientNorm = Math.sqrt(squares);
    if (!Number.isFinite(gradientNorm)) return { gradientNorm, applied: false };
    const { beta1, beta2, epsilon, clipNorm } = this.#options;
    const scale = gradientNorm > clipNorm ? clipNorm / gradientNorm : 1;
    this.#updates++;
    const firstCorrection = 1 - beta1 ** this.#updates;
    const secondCorrection = 1 - beta2 ** this.#updates;
    for (const { name, data, gradient } of moving) {
      const { first, second } = this.#momentsOf(name, data.length);
      const rate = (this.#learningRate * this.#multiplierOf(name)) / firstCorrection;
      for (let i = 0; i < data.length; i++) {
        const g = (gradient[i] as number) * scale;
        const m0 = first[i] as number;
        const v0 = second[i] as number;
        // Rows of a table that no batch has touched: skipping them changes no bit.
        if (g === 0 && m0 === 0 && v0 === 0) continue;
        const m = beta1 * m0 + (1 - beta1) * g;
        const v = beta2 * v0 + (1 - beta2) * g * g;
        first[i] = m;
        second[i] = v;
        data[i] = (data[i] as number) - (rate * m) / (Math.sqrt(v / secondCorrection) + epsilon);
      }
    }
    store.touch();
    return { gradientNorm, applied: true };
  }

  /** Moments, count of updates and learning rate as named arrays (copies), to be saved in a checkpoint. */
  state(): NamedArrays {
    const arrays: Record<string, NamedArray> = Object.create(null);
    arrays['adam/updates'] = { shape: [1], data: Float64Array.of(this.#updates) };
    arrays['adam/learningRate'] = { shape: [1], data: Float64Array.of(this.#learningRate) };
    for (const [name, { first, second }] of this.#moments) {
      arrays[`adam/first/${name}`] = { shape: [first.length], data: first.slice() };
      arrays[`adam/second/${name}`] = { shape: [second.length], data: second.slice() };
    }
    return arrays;
  }

  /**
   * Goes on from a saved state, bit for bit.
   *
   * @param arrays - what {@link Adam.state} gave; names that do not start with `adam/` are ignored.
   * @param source - where they come from, for the message.
   * @throws {CheckpointError} when it is not such a state; nothing is changed then.
   */
  load(arrays: NamedArrays, source: string): void {
    checkArrays(arrays, source);
    const updates = arrays['adam/updates']?.data[0];
    const learningRate = arrays['adam/learningRate']?.data[0];
    if (updates === undefined || !Number.isInteger(updates) || updates < 0) {
      throw new CheckpointError(`${source}: expected 'adam/updates' to be a count, found ${updates}`, { source });
    }
    if (learningRate === undefined || !Number.isFinite(learningRate) || learningRate < 0) {
      throw new CheckpointError(`${source}: expected 'adam/learningRate' to be a rate, found ${learningRate}`, {
        source,
      });
    }
    const moments = new Map<string, Moments>();
    for (const [key, { data: first }] of Object.entries(arrays)) {
      if (!key.startsWith('adam/first/')) continue;
      const name = key.slice('adam/first/'.length);
      const second = arrays[`adam/second/${name}`]?.data;
      if (!(first instanceof Float32Array) || !(second instanceof Float32Array) || first.length !== second.length) {
        throw new CheckpointError(`${source}: expected both moments of '${name}' as float32 arrays of one size`, {
          source,
        });
      }
      // Seconds are means of squares.
      if (!first.every(Number.isFinite) || !second.every((value) => Number.isFinite(value) && value >= 0)) {
        throw new CheckpointError(`${source}: expected both moments of '${name}' to be finite`, { source });
      }
      moments.set(name, { first: first.slice(), second: second.slice() });
    }
    this.#moments.clear();
    for (const [name, pair] of moments) this.#moments.set(name, pair);
    this.#updates = updates;
    this.#learningRate = learningRate;
  }

  #momentsOf(name: string, size: number): Moments {
    let moments = this.#moments.get(name);
    if (moments === undefined) {
      moments = { first: new Float32Array(size), second: new Float32Array(size) };
      this.#moments.set(name, moments);
    }
    if (moments.first.length !== size) {
      throw new InvalidArgumentError(
        `Expected '${name}' to have ${moments.first.length} values as when this optimiser first saw it, got ${size}; use one optimiser for each store`,
        { argument: 'store', wanted: `${moments.first.length} values`, got: size },
      );
    }
    return moments;
  }

  #multiplierOf(name: string): number {
    let longest = -1;
    let multiplier = 1;
    for (const [prefix, value] of Object.entries(this.#options.multipliers)) {
      if (name.startsWith(prefix) && prefix.length > longest) {
        longest = prefix.length;
        multiplier = value;
      }
    }
    return multiplier;
  }
}

function sumOfSquares(values: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += (values[i] as number) ** 2;
  return sum;
}

/** @throws {CheckpointError} when these are no named arrays. */
function checkArrays(arrays: NamedArrays, source: string): void {
  const isArrays = typeof arrays === 'object' && arrays !== null;
  if (
    isArrays &&
    Object.values<unknown>(arrays).every((array) => ArrayBuffer.isView((array as NamedArray | null)?.data))
  )
    return;
  throw new CheckpointError(`${source}: expected named arrays, got ${describeValue(arrays)}`, { source });
}
