import { argumentError, checkObject } from '../foundation/arguments.js';
import { CheckpointError, InvalidArgumentError } from '../foundation/errors.js';
import type { NamedArray, NamedArrays } from '../foundation/named-arrays.js';
import { describeValue } from '../foundation/options.js';
import { sha256Hex } from '../foundation/sha256.js';
import type { NamedParameter } from './state-encoder.js';

/** One named array of parameters with its gradient. */
export interface Parameter {
  /** Name, e.g. `actor/id`. */
  readonly name: string;
  /** Shape, row-major. */
  readonly shape: readonly number[];
  /**
   * The values. Whoever writes them calls {@link ParameterStore.touch} afterwards. Ask anew for each use: while fused
   * kernels use the store this is a view of the engine's memory, which may move.
   */
  readonly data: Float32Array;
  /**
   * The gradient accumulated since the last {@link ParameterStore.zeroGradients}; same size as the values. Ask anew for
   * each use, as for the values; what is written to it counts until the next optimiser step.
   */
  readonly gradient: Float32Array;
  /** A frozen parameter gets no gradient, is not counted by the clip and is not changed by the optimiser. */
  readonly frozen: boolean;
}

/** Who holds a store's values and gradients while it holds no arrays of its own: the engine's memory. */
export interface ParameterHolder {
  /** A view of a parameter's values. */
  dataOf(name: string): Float32Array;
  /** A view of a parameter's gradient, that its reader may write. */
  gradientOf(name: string): Float32Array;
  /** A copy of a parameter's gradient; undefined when it is 0. */
  takeGradient(name: string): Float32Array | undefined;
  /** Sets the gradient of one parameter to 0, or of all. */
  zeroGradient(name?: string): void;
}

/** Tables with a row for each item that is known by its id: most batches reach few of their rows. */
const ID_TABLES: ReadonlySet<string> = new Set(['item/id', 'actor/id', 'critic/id', 'valueItem/id']);

/** Whether a parameter is such a table, `[A, width]`. */
export function isIdTable({ name, shape }: Pick<Parameter, 'name' | 'shape'>): boolean {
  return shape.length === 2 && ID_TABLES.has(name);
}

class StoredParameter implements Parameter {
  readonly size: number;
  frozen = false;
  #data: Float32Array;
  #gradient: Float32Array | undefined;
  #holder: ParameterHolder | undefined;

  constructor(
    readonly name: string,
    readonly shape: readonly number[],
    data: Float32Array,
  ) {
    this.size = data.length;
    this.#data = data;
  }

  get data(): Float32Array {
    return this.#holder === undefined ? this.#data : this.#holder.dataOf(this.name);
  }

  // Allocated on first use: a frozen copy, or a store that only serves, needs none.
  get gradient(): Float32Array {
    if (this.#holder !== undefined) return this.#holder.gradientOf(this.name);
    this.#gradient ??= new Float32Array(this.size);
    return this.#gradient;
  }

  zeroGradient(): void {
    if (this.#holder !== undefined) this.#holder.zeroGradient(this.name);
    else this.#gradient?.fill(0);
  }

  /** Its own array of the gradient, where there is one that was not moved away. */
  get ownGradient(): Float32Array | undefined {
    return this.#gradient;
  }

  moveTo(holder: ParameterHolder | undefined): void {
    if (holder === undefined) {
      this.#gradient = this.#holder?.takeGradient(this.name);
      this.#data = this.data.slice();
    } else {
      this.#gradient = undefined;
      if (isIdTable(this)) freeArray(this.#data);
      this.#data = NOTHING;
    }
    this.#holder = holder;
  }
}

/** From this size on, an array that nobody needs any more is freed at once. */
const LARGE_BYTES = 4 * 2 ** 20;

/**
 * Frees a large array that a store has taken over: an old array waits for the next full garbage collection, which may be
 * minutes away; one that has just been moved to a new buffer goes with the next small one.
 */
function freeArray({ buffer, byteLength }: Float32Array): void {
  if (byteLength < LARGE_BYTES || byteLength !== buffer.byteLength || !(buffer instanceof ArrayBuffer)) return;
  structuredClone(buffer, { transfer: [buffer] });
}

const NOTHING = new Float32Array();

let moveStore: (store: ParameterStore, holder: ParameterHolder | undefined) => void;
let gradientsOfStore: (store: ParameterStore) => ReadonlyMap<string, Float32Array>;

/**
 * Moves a store's arrays to a holder, who has copied their values before, or back to arrays of the store's own.
 *
 * @param store - whose.
 * @param holder - undefined to move them back.
 */
export function moveParameters(store: ParameterStore, holder: ParameterHolder | undefined): void {
  moveStore(store, holder);
}

/** The gradients that a store without a holder has allocated, by name. */
export function ownGradients(store: ParameterStore): ReadonlyMap<string, Float32Array> {
  return gradientsOfStore(store);
}

/**
 * All parameters of a model as named Float32Arrays. They are the authority: kernels copy them to wherever they compute
 * when {@link ParameterStore.version} changes. Holds no tensor and needs no disposal. While fused kernels use it, its
 * arrays lie in the engine's memory; when the last of them is disposed, they are arrays of its own again.
 */
export class ParameterStore {
  readonly #parameters = new Map<string, StoredParameter>();
  #version = 0;
  #holder: ParameterHolder | undefined;

  static {
    moveStore = (store, holder) => {
      for (const parameter of store.#parameters.values()) parameter.moveTo(holder);
      store.#holder = holder;
    };
    gradientsOfStore = (store) => {
      const own = [...store.#parameters].map(([name, { ownGradient }]) => [name, ownGradient] as const);
      return new Map(own.filter((entry): entry is [string, Float32Array] => entry[1] !== undefined));
    };
  }

  /**
   * @param parameters - shape and values by name; the arrays are taken over, not copied. The order is kept.
   * @throws {InvalidArgumentError} when an array's size is not its shape's product.
   */
  constructor(
    parameters: Iterable<
      readonly [name: string, parameter: { readonly shape: readonly number[]; readonly data: Float32Array }]
    >,
  ) {
    if (typeof parameters !== 'object' || parameters === null || typeof parameters[Symbol.iterator] !== 'function') {
      throw argumentError('ParameterStore', 'parameters', 'an iterable of [name, parameter]', parameters);
    }
    for (const entry of parameters) {
      const [name, parameter] = Array.isArray(entry) ? (entry as readonly [string, NamedParameter]) : [];
      if (typeof name !== 'string')
        throw argumentError('ParameterStore', 'parameters', 'an iterable of [name, parameter]', entry);
      checkObject('ParameterStore', name, parameter);
      const { shape, data } = parameter as NamedParameter;
      if (!isShape(shape)) {
        throw argumentError('ParameterStore', `${name}.shape`, 'an array of sizes', shape);
      }
      const wanted = (shape as readonly number[]).reduce((product, dimension) => product * dimension, 1);
      if (!(data instanceof Float32Array) || data.length !== wanted) {
        throw new InvalidArgumentError(
          `Expected parameter '${name}' [${shape}] to be a Float32Array of ${wanted} values, got ${data?.length}`,
          {
            argument: name,
            wanted: `${wanted} values`,
            got: data?.length,
          },
        );
      }
      if (this.#parameters.has(name)) {
        throw new InvalidArgumentError(`Expected parameter names to differ, got '${name}' twice`, {
          argument: name,
          got: name,
        });
      }
      this.#parameters.set(name, new StoredParameter(name, [...shape], data));
    }
  }

  /** Names of all parameters, in the order of construction. */
  get names(): readonly string[] {
    return [...this.#parameters.keys()];
  }

  /** Goes up with every change of values or of what is frozen; kernels compare it to know when to copy anew. */
  get version(): number {
    return this.#version;
  }

  /** Number of scalars over all parameters. */
  get parameterCount(): number {
    let count = 0;
    for (const { size } of this.#parameters.values()) count += size;
    return count;
  }

  /** Whether a parameter of that name exists. */
  has(name: string): boolean {
    return this.#parameters.has(name);
  }

  /**
   * One parameter by name.
   *
   * @throws {InvalidArgumentError} when there is none of that name.
   */
  get(name: string): Parameter {
    const parameter = this.#parameters.get(name);
    if (parameter === undefined) {
      throw new InvalidArgumentError(
        `Expected the name of a parameter (${this.names.join(', ')}), got ${describeValue(name)}`,
        {
          argument: 'name',
          wanted: 'the name of a parameter',
          got: name,
        },
      );
    }
    return parameter;
  }

  /** All parameters, in order. */
  parameters(): readonly Parameter[] {
    return [...this.#parameters.values()];
  }

  /** Says that values were changed from outside: raises {@link ParameterStore.version}. */
  touch(): void {
    this.#version++;
  }

  /** Sets all gradients to 0. */
  zeroGradients(): void {
    if (this.#holder !== undefined) this.#holder.zeroGradient();
    else for (const parameter of this.#parameters.values()) parameter.zeroGradient();
  }

  /**
   * Freezes (or thaws) every parameter whose name is `prefix` or starts with it; `''` means all.
   *
   * @param prefix - e.g. `'encoder/'`.
   * @param frozen - false to thaw. @default true
   * @throws {InvalidArgumentError} when no parameter has such a name.
   */
  freeze(prefix: string, frozen = true): void {
    if (typeof prefix !== 'string') throw argumentError('ParameterStore.freeze', 'prefix', 'a string', prefix);
    let count = 0;
    for (const [name, parameter] of this.#parameters) {
      if (!name.startsWith(prefix)) continue;
      parameter.frozen = frozen;
      if (frozen) parameter.zeroGradient();
      count++;
    }
    if (count === 0) {
      throw new InvalidArgumentError(
        `Expected \`prefix\` to begin some parameter's name (${this.names.join(', ')}), got '${prefix}'`,
        {
          argument: 'prefix',
          wanted: "the beginning of a parameter's name",
          got: prefix,
        },
      );
    }
    this.touch();
  }

  /**
   * Takes over the values of another store of the same names and shapes; gradients and what is frozen stay.
   *
   * @throws {InvalidArgumentError} when names or shapes differ; nothing is changed then.
   */
  copyFrom(other: ParameterStore): void {
    this.averageFrom(other, 1);
  }

  /**
   * Moves every value towards another store's: `x += rate * (other - x)`, e.g. a target network.
   *
   * @param other - a store of the same names and shapes.
   * @param rate - 0 keeps, 1 copies.
   * @throws {InvalidArgumentError} when names or shapes differ, or the rate is not from 0 to 1; nothing is changed then.
   */
  averageFrom(other: ParameterStore, rate: number): void {
    if (!(other instanceof ParameterStore)) throw argumentError('ParameterStore', 'other', 'a ParameterStore', other);
    if (typeof rate !== 'number' || !(rate >= 0 && rate <= 1)) {
      throw new InvalidArgumentError(`Expected \`rate\` to be from 0 to 1, got ${describeValue(rate)}`, {
        argument: 'rate',
        wanted: '0..1',
        got: rate,
      });
    }
    const difference = describeDifference(this.#shapes(), other.#shapes());
    if (difference !== undefined) {
      throw new InvalidArgumentError(`Expected a store of the same names and shapes: ${difference}`, {
        argument: 'other',
        got: difference,
      });
    }
    for (const [name, { data }] of this.#parameters) {
      const source = other.get(name).data;
      if (rate === 1) data.set(source);
      else {
        for (let i = 0; i < data.length; i++) {
          const value = data[i] as number;
          data[i] = value + rate * ((source[i] as number) - value);
        }
      }
    }
    this.touch();
  }

  /** The values as named arrays (copies), to be saved. */
  toNamedArrays(): NamedArrays {
    const arrays: Record<string, NamedArray> = Object.create(null);
    for (const { name, shape, data } of this.#parameters.values()) arrays[name] = { shape, data: data.slice() };
    return arrays;
  }

  /**
   * Replaces all values by saved ones.
   *
   * @param arrays - exactly this store's names and shapes, Float32, finite.
   * @param source - where they come from, for the message.
   * @throws {CheckpointError} when they are not; nothing is changed then.
   */
  loadNamedArrays(arrays: NamedArrays, source: string): void {
    const isArrays = typeof arrays === 'object' && arrays !== null;
    if (!isArrays || !Object.values<unknown>(arrays).every((array) => isShape((array as NamedArray | null)?.shape))) {
      throw new CheckpointError(`${source}: expected named arrays, got ${describeValue(arrays)}`, { source });
    }
    const shapes = new Map(Object.entries(arrays).map(([name, { shape }]) => [name, shape]));
    const difference = describeDifference(this.#shapes(), shapes);
    if (difference !== undefined) {
      throw new CheckpointError(`${source}: expected the parameters of this model: ${difference}`, { source });
    }
    for (const [name, { data }] of this.#parameters) {
      const saved = arrays[name]?.data;
      if (!(saved instanceof Float32Array) || saved.length !== data.length) {
        throw new CheckpointError(`${source}: expected '${name}' to hold ${data.length} float32 values`, { source });
      }
      if (!saved.every(Number.isFinite)) {
        throw new CheckpointError(`${source}: expected '${name}' to be finite, found a value that is not`, { source });
      }
    }
    for (const [name, { data }] of this.#parameters) data.set(arrays[name]?.data as Float32Array);
    this.touch();
  }

  /** A store of its own with the same values and the same parameters frozen; gradients are 0. */
  clone(): ParameterStore {
    const copy = new ParameterStore(
      [...this.#parameters.values()].map(({ name, shape, data }) => [name, { shape, data: data.slice() }] as const),
    );
    for (const [name, { frozen }] of this.#parameters) {
      (copy.#parameters.get(name) as StoredParameter).frozen = frozen;
    }
    return copy;
  }

  /** SHA-256 over names, shapes and the bits of all values, in the order of the names; 64 hexadecimal digits. */
  async sha256(): Promise<string> {
    const parts: Uint8Array[] = [];
    for (const name of this.names.toSorted()) {
      const { shape, data } = this.get(name);
      parts.push(new TextEncoder().encode(`${name}[${shape}]\n`));
      parts.push(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
    }
    const bytes = new Uint8Array(parts.reduce((total, part) => total + part.length, 0));
    let offset = 0;
    for (const part of parts) {
      bytes.set(part, offset);
      offset += part.length;
    }
    return sha256Hex(bytes);
  }

  #shapes(): Map<string, readonly number[]> {
    return new Map([...this.#parameters].map(([name, { shape }]) => [name, shape]));
  }
}

function describeDifference(
  wanted: ReadonlyMap<string, readonly number[]>,
  got: ReadonlyMap<string, readonly number[]>,
): string | undefined {
  for (const [name, shape] of wanted) {
    const other = got.get(name);
    if (other === undefined) return `'${name}' [${shape}] is missing`;
    if (other.length !== shape.length || other.some((dimension, axis) => dimension !== shape[axis])) {
      return `'${name}' has shape [${other}] in place of [${shape}]`;
    }
  }
  for (const name of got.keys()) if (!wanted.has(name)) return `'${name}' is not one of them`;
  return undefined;
}

function isShape(value: unknown): value is readonly number[] {
  return Array.isArray(value) && Array.from(value).every((size) => Number.isSafeInteger(size) && size >= 0);
}
