import { z } from 'zod';
import { CheckpointError, InvalidArgumentError } from '../foundation/errors.js';
import type { NamedArray, NamedArrays } from '../foundation/named-arrays.js';
import { checkOptions, describeValue } from '../foundation/options.js';
import { isIdTable, type Parameter, type ParameterStore } from './parameter-store.js';

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
  /**
   * Leaves alone the rows of the id tables (`item/id`, `actor/id`, ...) that have no gradient at this step: neither their
   * values nor their moments move. Dense Adam, the default, moves them on along their decaying first moment; so this is
   * another optimiser, cheaper where a step reaches few of many items. @default false
   */
  readonly lazy?: boolean;
}

const adamOptions = z.strictObject({
  learningRate: z.number().positive().default(1e-3),
  beta1: z.number().min(0).lt(1).default(0.9),
  beta2: z.number().min(0).lt(1).default(0.999),
  epsilon: z.number().positive().default(1e-8),
  clipNorm: z.union([z.number().positive(), z.literal(Number.POSITIVE_INFINITY)]).default(1),
  multipliers: z.record(z.string(), z.number().min(0)).default({}),
  lazy: z.boolean().default(false),
});

/** Running means of one parameter's gradient. */
export interface Moments {
  /** Of the gradient. */
  readonly first: Float32Array;
  /** Of its square. */
  readonly second: Float32Array;
}

/** Who holds an optimiser's moments while it holds no arrays of its own: the engine's memory, beside the store's values. */
export interface MomentHolder {
  /** Views of the moments of each parameter that has some, in the order in which they came. */
  moments(): Iterable<readonly [name: string, moments: Moments]>;
  /** Says that the optimiser has its moments elsewhere from now on. */
  forget(): void;
}

/** What an engine that does the steps itself needs of an optimiser. */
export interface AdamSteps {
  /** The options, defaults filled in. */
  readonly options: Readonly<Required<AdamOptions>>;
  /** Learning rate times multiplier of a parameter. */
  rateOf(name: string): number;
  /** Counts one more update; gives the count. */
  advance(): number;
  /**
   * Hands over the moments of the parameters of one store, wherever they are; from now on the holder has them.
   *
   * @throws {InvalidArgumentError} when one has another size than there; nothing is changed then.
   */
  handOver(holder: MomentHolder, sizes: ReadonlyMap<string, number>): ReadonlyMap<string, Moments>;
  /** Takes all moments back from whoever holds them. */
  takeBack(): void;
}

let stepsOf: (adam: Adam) => AdamSteps;

/** The door for an engine that does an optimiser's steps. */
export function adamSteps(adam: Adam): AdamSteps {
  return stepsOf(adam);
}

/**
 * Adam (Kingma and Ba 2015) with bias correction and one global-norm clip, in float64 arithmetic over the store's
 * Float32Arrays; fused kernels do the same in float32. One optimiser belongs to one store. Moments are allocated when a
 * parameter first gets a gradient; a parameter that never got one is left alone, which is exact.
 */
export class Adam {
  readonly #options: z.output<typeof adamOptions>;
  readonly #moments = new Map<string, Moments>();
  #learningRate: number;
  #updates = 0;
  #holder: MomentHolder | undefined;

  static {
    stepsOf = (adam) => ({
      options: adam.#options,
      rateOf: (name) => adam.#learningRate * adam.#multiplierOf(name),
      advance: () => ++adam.#updates,
      handOver: (holder, sizes) => adam.#handOver(holder, sizes),
      takeBack: () => adam.#takeBack(),
    });
  }

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
   * not frozen, raises the store's version. Does not zero the gradients ({@link Kernels.step} does, and is the faster way
   * where kernels are fused).
   *
   * @param store - the parameters; always the same store.
   * @returns the norm before the clip; `applied` is false when it is not finite, and then nothing was changed.
   */
  step(store: ParameterStore): StepResult {
    this.#takeBack();
    let squares = 0;
    const moving: { parameter: Parameter; data: Float32Array; gradient: Float32Array }[] = [];
    for (const parameter of store.parameters()) {
      if (parameter.frozen) continue;
      const { name, data, gradient } = parameter;
      const sum = sumOfSquares(gradient);
      squares += sum;
      if (sum !== 0 || this.#moments.has(name)) moving.push({ parameter, data, gradient });
    }
    const gradientNorm = Math.sqrt(squares);
    if (!Number.isFinite(gradientNorm)) return { gradientNorm, applied: false };
    const { beta1, beta2, epsilon, clipNorm, lazy } = this.#options;
    const scale = gradientNorm > clipNorm ? clipNorm / gradientNorm : 1;
    this.#updates++;
    const firstCorrection = 1 - beta1 ** this.#updates;
    const secondCorrection = 1 - beta2 ** this.#updates;
    for (const { parameter, data, gradient } of moving) {
      const { first, second } = this.#momentsOf(parameter.name, data.length);
      const rate = (this.#learningRate * this.#multiplierOf(parameter.name)) / firstCorrection;
      const width = lazy && isIdTable(parameter) ? (parameter.shape[1] as number) : 0;
      for (let i = 0; i < data.length; i++) {
        if (width > 0 && i % width === 0) {
          while (i < data.length && isZero(gradient, i, i + width)) i += width;
          if (i >= data.length) break;
        }
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
    for (const [name, { first, second }] of [...this.#moments, ...(this.#holder?.moments() ?? [])]) {
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
    this.#holder?.forget();
    this.#holder = undefined;
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
    checkSize(name, moments, size);
    return moments;
  }

  #handOver(holder: MomentHolder, sizes: ReadonlyMap<string, number>): ReadonlyMap<string, Moments> {
    this.#takeBack();
    const handed = new Map([...this.#moments].filter(([name]) => sizes.has(name)));
    for (const [name, moments] of handed) checkSize(name, moments, sizes.get(name) as number);
    for (const name of handed.keys()) this.#moments.delete(name);
    this.#holder = holder;
    return handed;
  }

  #takeBack(): void {
    const holder = this.#holder;
    if (holder === undefined) return;
    for (const [name, { first, second }] of holder.moments()) {
      this.#moments.set(name, { first: first.slice(), second: second.slice() });
    }
    this.#holder = undefined;
    holder.forget();
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

function checkSize(name: string, { first }: Moments, size: number): void {
  if (first.length === size) return;
  throw new InvalidArgumentError(
    `Expected '${name}' to have ${first.length} values as when this optimiser first saw it, got ${size}; use one optimiser for each store`,
    { argument: 'store', wanted: `${first.length} values`, got: size },
  );
}

function isZero(values: Float32Array, from: number, to: number): boolean {
  for (let i = from; i < to; i++) if (values[i] !== 0) return false;
  return true;
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
