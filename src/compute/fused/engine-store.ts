import { BackendError, InvalidArgumentError } from '../../foundation/errors.js';
import { describeValue } from '../../foundation/options.js';
import {
  type Adam,
  type AdamSteps,
  adamSteps,
  type MomentHolder,
  type Moments,
  type StepResult,
} from '../optimiser.js';
import {
  isIdTable,
  moveParameters,
  ownGradients,
  type ParameterHolder,
  type ParameterStore,
} from '../parameter-store.js';
import type { Engine } from './engine.js';
import {
  OptimiserField,
  OptimiserOp,
  ParameterField,
  PieceField,
  ROW_HAS_GRADIENT,
  ROW_HAS_MOMENTS,
} from './optimiser-layout.js';

/** Parameters begin at multiples of a cache line, so that threads that write neighbours do not disturb each other. */
const ALIGNMENT = 64;
/** Values of a piece, and at least so many of a chunk: some 100 microseconds of work. */
const PIECE = 16_384;
/** What is 0 beside an epsilon: a ratio that float32 cannot tell from it. */
const NEGLIGIBLE = 1e-8;
/** Smallest normal float32. */
const SMALLEST = 1.1754943508222875e-38;

interface Place {
  readonly name: string;
  /** Bytes from the start of the block. */
  readonly offset: number;
  /** Number of values. */
  readonly size: number;
  /** Number of rows with flags; 0 for a parameter without. */
  readonly rows: number;
  /** Pointer to the flags of the rows; 0 for none. */
  readonly flags: number;
}

/**
 * The arrays of a {@link ParameterStore} in the engine's memory: values and gradients in a block each, moments of the
 * optimiser in two more of the same layout. Kernels that share a store share this; when the last of them has released
 * it, the store has arrays of its own again.
 */
export class EngineStore {
  static readonly #stores = new WeakMap<ParameterStore, EngineStore>();

  /** The engine. */
  readonly engine: Engine;
  /** Whose arrays these are. */
  readonly store: ParameterStore;
  readonly #places = new Map<string, Place>();
  readonly #blockBytes: number;
  readonly #flags: number;
  readonly #data: number;
  readonly #views = new Map<string, Float32Array>();
  readonly #holder: ParameterHolder;
  /** Frozen parameters whose gradient was read, and may have been written, from outside. */
  readonly #exposed = new Set<string>();
  #gradient = 0;
  #steps: StepsInEngine | undefined;
  #users = 0;

  private constructor(engine: Engine, store: ParameterStore) {
    this.engine = engine;
    this.store = store;
    const parameters = store.parameters();
    let offset = 0;
    let flagBytes = 0;
    const places: Place[] = [];
    for (const { name, shape } of parameters) {
      const size = shape.reduce((product, dimension) => product * dimension, 1);
      const rows = isIdTable({ name, shape }) ? (shape[0] as number) : 0;
      places.push({ name, offset, size, rows, flags: flagBytes });
      offset = aligned(offset + size * 4);
      flagBytes = aligned(flagBytes + rows);
    }
    this.#blockBytes = offset;
    this.#data = engine.allocate(offset);
    try {
      this.#flags = engine.allocate(flagBytes);
    } catch (error) {
      engine.free(this.#data);
      throw error;
    }
    engine.u8(this.#flags, flagBytes).fill(0);
    engine.f32(this.#data, offset / 4).fill(0);
    for (const place of places) {
      this.#places.set(place.name, { ...place, flags: place.rows > 0 ? this.#flags + place.flags : 0 });
    }
    this.#holder = {
      dataOf: (name) => this.#viewOf(name),
      gradientOf: (name) => this.#exposeGradient(name),
      takeGradient: (name) => this.#copyGradient(name),
      zeroGradient: (name) => this.#zeroGradient(name),
    };
  }

  /**
   * Moves a store's arrays into the engine's memory, if they are not there; whoever calls this releases it.
   *
   * @throws {BackendError} when there is not memory enough; the store is as it was.
   */
  static acquire(engine: Engine, store: ParameterStore): EngineStore {
    let held = EngineStore.#stores.get(store);
    if (held === undefined) {
      held = new EngineStore(engine, store);
      held.#adopt();
      EngineStore.#stores.set(store, held);
    } else if (held.engine !== engine) {
      throw new BackendError('The parameters lie in the memory of another engine: dispose its kernels first', {
        backend: 'wasm',
      });
    }
    held.#users++;
    return held;
  }

  /** Gives the store its own arrays back, and an optimiser its moments, when this was the last user. */
  release(): void {
    this.#users--;
    if (this.#users > 0) return;
    this.#steps?.dispose();
    this.#steps = undefined;
    moveParameters(this.store, undefined);
    EngineStore.#stores.delete(this.store);
    for (const pointer of [this.#data, this.#flags]) this.engine.free(pointer);
    if (this.#gradient !== 0) this.engine.free(this.#gradient);
    this.#gradient = 0;
  }

  /** Pointer to the values of all parameters. */
  get data(): number {
    return this.#data;
  }

  /**
   * Pointer to the gradients of all parameters, allocated and zeroed when first asked for.
   *
   * @throws {BackendError} when there is not memory enough.
   */
  get gradient(): number {
    if (this.#gradient === 0) {
      this.#gradient = this.engine.allocate(this.#blockBytes);
      this.engine.f32(this.#gradient, this.#blockBytes / 4).fill(0);
    }
    return this.#gradient;
  }

  /** Bytes from the start of a block to a parameter. */
  offsetOf(name: string): number {
    return this.#placeOf(name).offset;
  }

  /** Pointer to the flags of an id table's rows, a byte each: see {@link ROW_HAS_GRADIENT} and {@link ROW_HAS_MOMENTS}. */
  flagsOf(name: string): number {
    const { flags } = this.#placeOf(name);
    if (flags !== 0) return flags;
    throw new InvalidArgumentError(`Expected the name of an id table, got '${name}'`, { argument: 'name', got: name });
  }

  /** Whether a parameter is frozen: it gets no gradient. */
  isFrozen(name: string): boolean {
    return this.store.get(name).frozen;
  }

  /**
   * One optimiser step on the gradients, which are zeroed, applied or not: what {@link Adam.step} does, in float32 and on
   * all threads. The optimiser's moments stay in the engine until another optimiser steps or the store is released.
   */
  step(adam: Adam): StepResult {
    this.#steps ??= new StepsInEngine(this.engine, this, [...this.#places.values()]);
    const result = this.#steps.step(adam);
    if (result.applied) this.store.touch();
    if (!result.applied) this.#zeroGradient();
    else for (const name of [...this.#exposed]) this.#zeroGradient(name);
    return result;
  }

  #adopt(): void {
    const gradients = ownGradients(this.store);
    // Everything that may fail comes before anything is moved.
    if ([...gradients.values()].some((gradient) => gradient.some((value) => value !== 0))) {
      try {
        for (const [name, gradient] of gradients) this.#exposeGradient(name).set(gradient);
      } catch (error) {
        for (const pointer of [this.#data, this.#flags]) this.engine.free(pointer);
        throw error;
      }
    }
    for (const { name, data } of this.store.parameters()) this.#viewOf(name).set(data);
    moveParameters(this.store, this.#holder);
  }

  #placeOf(name: string): Place {
    const place = this.#places.get(name);
    if (place !== undefined) return place;
    throw new InvalidArgumentError(`Expected the name of a parameter, got ${describeValue(name)}`, {
      argument: 'name',
      got: name,
    });
  }

  #viewOf(name: string): Float32Array {
    const view = this.#views.get(name);
    if (view !== undefined && this.engine.isCurrent(view)) return view;
    const { offset, size } = this.#placeOf(name);
    const fresh = this.engine.f32(this.#data + offset, size);
    this.#views.set(name, fresh);
    return fresh;
  }

  /** Whoever asks may write: all rows of a table may differ from 0 afterwards. */
  #exposeGradient(name: string): Float32Array {
    const { offset, size, rows, flags } = this.#placeOf(name);
    const view = this.engine.f32(this.gradient + offset, size);
    const rowFlags = this.engine.u8(flags, rows);
    for (let row = 0; row < rows; row++) rowFlags[row] = (rowFlags[row] as number) | ROW_HAS_GRADIENT;
    if (this.store.get(name).frozen) this.#exposed.add(name);
    return view;
  }

  #copyGradient(name: string): Float32Array | undefined {
    if (this.#gradient === 0) return undefined;
    const { offset, size } = this.#placeOf(name);
    const view = this.engine.f32(this.#gradient + offset, size);
    return view.some((value) => value !== 0) ? view.slice() : undefined;
  }

  #zeroGradient(name?: string): void {
    if (this.#gradient === 0) return;
    const places = name === undefined ? this.#places.values() : [this.#placeOf(name)];
    for (const { offset, size, rows, flags } of places) {
      const gradient = this.engine.f32(this.#gradient + offset, size);
      if (rows === 0) gradient.fill(0);
      else zeroRows(gradient, this.engine.u8(flags, rows));
    }
    if (name === undefined) this.#exposed.clear();
    else this.#exposed.delete(name);
  }
}

/** Zeroes the rows of a table's gradient that may differ from 0, and says so in their flags. */
function zeroRows(gradient: Float32Array, flags: Uint8Array): void {
  const width = gradient.length / flags.length;
  for (let row = 0; row < flags.length; row++) {
    const flag = flags[row] as number;
    if ((flag & ROW_HAS_GRADIENT) === 0) continue;
    gradient.fill(0, row * width, (row + 1) * width);
    flags[row] = flag & ROW_HAS_MOMENTS;
  }
}

/** The steps of an optimiser on the parameters of one store, and that optimiser's moments. */
class StepsInEngine implements MomentHolder {
  readonly #engine: Engine;
  readonly #parameters: EngineStore;
  readonly #places: readonly Place[];
  readonly #sizes: ReadonlyMap<string, number>;
  /** Which parameter each piece is a part of. */
  readonly #pieceParameters: readonly number[];
  readonly #chunks: number;
  /** Pointers to the structure, what is done to each parameter, and the sum of each piece, in one allocation. */
  readonly #structure: number;
  readonly #table: number;
  readonly #sums: number;
  #first = 0;
  #second = 0;
  #optimiser: AdamSteps | undefined;
  #adam: Adam | undefined;
  /** Names of the parameters that have moments, in the order in which they came. */
  readonly #moving = new Set<string>();

  constructor(engine: Engine, parameters: EngineStore, places: readonly Place[]) {
    this.#engine = engine;
    this.#parameters = parameters;
    this.#places = places;
    this.#sizes = new Map(places.map(({ name, size }) => [name, size]));
    const pieces = places.flatMap(cut);
    const starts = chunkStarts(pieces);
    this.#pieceParameters = pieces.map((piece) => piece[PieceField.Parameter] as number);
    this.#chunks = starts.length - 1;
    const bytes = [
      OptimiserField.Count * 4,
      places.length * ParameterField.Count * 4,
      pieces.length * 8,
      pieces.length * PieceField.Count * 4,
      starts.length * 4,
    ];
    this.#structure = engine.allocate(bytes.reduce((sum, size) => sum + aligned(size), 0));
    this.#table = this.#structure + aligned(bytes[0] as number);
    this.#sums = this.#table + aligned(bytes[1] as number);
    const pieceTable = this.#sums + aligned(bytes[2] as number);
    const startTable = pieceTable + aligned(bytes[3] as number);
    engine.i32(pieceTable, pieces.length * PieceField.Count).set(pieces.flat());
    engine.i32(startTable, starts.length).set(starts);
    const words = engine.i32(this.#structure, OptimiserField.Count);
    words[OptimiserField.Pieces] = pieceTable;
    words[OptimiserField.ChunkStarts] = startTable;
    words[OptimiserField.Parameters] = this.#table;
    words[OptimiserField.Sums] = this.#sums;
    words[OptimiserField.Data] = parameters.data;
  }

  step(adam: Adam): StepResult {
    const optimiser = this.#take(adam);
    const engine = this.#engine;
    const { beta1, beta2, epsilon, clipNorm, lazy } = optimiser.options;
    const { frozen, squares } = this.#norm();
    const gradientNorm = Math.sqrt(squares.reduce((sum, square) => sum + square, 0));
    if (!Number.isFinite(gradientNorm)) return { gradientNorm, applied: false };
    const updates = optimiser.advance();
    const rates = this.#places.map(({ name, offset, size }, index) => {
      if (frozen[index] === true || (squares[index] === 0 && !this.#moving.has(name))) return undefined;
      if (!this.#moving.has(name)) {
        for (const block of [this.#first, this.#second]) engine.f32(block + offset, size).fill(0);
        this.#moving.add(name);
      }
      return optimiser.rateOf(name) / (1 - beta1 ** updates);
    });
    this.#choose(rates);
    const floats = engine.f32(this.#structure, OptimiserField.Count);
    floats[OptimiserField.Scale] = gradientNorm > clipNorm ? clipNorm / gradientNorm : 1;
    floats[OptimiserField.FirstGain] = 1 - beta1;
    floats[OptimiserField.SecondGain] = 1 - beta2;
    floats[OptimiserField.RootCorrection] = 1 / Math.sqrt(1 - beta2 ** updates);
    floats[OptimiserField.Epsilon] = epsilon;
    const tinySecond = Math.max((NEGLIGIBLE * epsilon) ** 2, SMALLEST);
    floats[OptimiserField.TinyFirst] = Math.max(NEGLIGIBLE ** 2 * epsilon, SMALLEST);
    floats[OptimiserField.TinySecond] = tinySecond;
    floats[OptimiserField.TinyGradient] = Math.sqrt(tinySecond);
    engine.i32(this.#structure, OptimiserField.Count)[OptimiserField.Lazy] = lazy ? 1 : 0;
    engine.run(OptimiserOp.Update, this.#structure, this.#chunks);
    return { gradientNorm, applied: true };
  }

  *moments(): Iterable<readonly [name: string, moments: Moments]> {
    for (const name of this.#moving) yield [name, this.#viewOf(name)];
  }

  forget(): void {
    this.#moving.clear();
    this.#optimiser = undefined;
    this.#adam = undefined;
  }

  /** Gives the optimiser its moments back, and frees everything. */
  dispose(): void {
    this.#optimiser?.takeBack();
    this.#engine.free(this.#structure);
    if (this.#second !== 0) this.#engine.free(this.#second);
    if (this.#first !== 0) this.#engine.free(this.#first);
  }

  /** Sum of squares of each parameter's gradient; 0 for the frozen ones. */
  #norm(): { readonly frozen: readonly boolean[]; readonly squares: readonly number[] } {
    const frozen = this.#places.map(({ name }) => this.#parameters.isFrozen(name));
    this.#choose(frozen.map((isFrozen) => (isFrozen ? undefined : 0)));
    // Asked for first: it may be allocated now, which detaches views.
    const { gradient } = this.#parameters;
    this.#engine.i32(this.#structure, OptimiserField.Count)[OptimiserField.Gradient] = gradient;
    this.#engine.run(OptimiserOp.Norm, this.#structure, this.#chunks);
    const sums = this.#engine.f64(this.#sums, this.#pieceParameters.length);
    const squares = this.#places.map(() => 0);
    for (const [piece, parameter] of this.#pieceParameters.entries()) {
      squares[parameter] = (squares[parameter] as number) + (sums[piece] as number);
    }
    return { frozen, squares };
  }

  /** Writes which parameters the next operation concerns (those with a rate). */
  #choose(rates: readonly (number | undefined)[]): void {
    const length = rates.length * ParameterField.Count;
    const words = this.#engine.i32(this.#table, length);
    const floats = this.#engine.f32(this.#table, length);
    for (const [index, rate] of rates.entries()) {
      words[index * ParameterField.Count + ParameterField.Active] = rate === undefined ? 0 : 1;
      floats[index * ParameterField.Count + ParameterField.Rate] = rate ?? 0;
    }
  }

  /** Takes over an optimiser's moments, after giving those of another one back. */
  #take(adam: Adam): AdamSteps {
    if (this.#optimiser !== undefined && this.#adam === adam) return this.#optimiser;
    this.#optimiser?.takeBack();
    this.#allocate();
    const optimiser = adamSteps(adam);
    for (const [name, saved] of optimiser.handOver(this, this.#sizes)) {
      const { first, second } = this.#viewOf(name);
      first.set(saved.first);
      second.set(saved.second);
      this.#moving.add(name);
    }
    this.#markRows();
    this.#optimiser = optimiser;
    this.#adam = adam;
    return optimiser;
  }

  #allocate(): void {
    const bytes = this.#places.reduce((end, { offset, size }) => Math.max(end, offset + size * 4), 0);
    if (this.#first === 0) this.#first = this.#engine.allocate(bytes);
    if (this.#second === 0) this.#second = this.#engine.allocate(bytes);
    const words = this.#engine.i32(this.#structure, OptimiserField.Count);
    words[OptimiserField.First] = this.#first;
    words[OptimiserField.Second] = this.#second;
  }

  /** Sets the flag of each row that has moments, and takes it from the others. */
  #markRows(): void {
    for (const { name, size, rows, flags: pointer } of this.#places) {
      if (rows === 0) continue;
      const width = size / rows;
      const { first, second } = this.#viewOf(name);
      const flags = this.#engine.u8(pointer, rows);
      for (let row = 0; row < rows; row++) {
        let has = false;
        for (let i = row * width; this.#moving.has(name) && !has && i < (row + 1) * width; i++) {
          has = first[i] !== 0 || second[i] !== 0;
        }
        flags[row] = ((flags[row] as number) & ROW_HAS_GRADIENT) | (has ? ROW_HAS_MOMENTS : 0);
      }
    }
  }

  #viewOf(name: string): Moments {
    const { offset, size } = this.#places.find((place) => place.name === name) as Place;
    return {
      first: this.#engine.f32(this.#first + offset, size),
      second: this.#engine.f32(this.#second + offset, size),
    };
  }
}

/** A parameter in pieces; the words of each. */
function cut({ offset, size, rows, flags }: Place, parameter: number): number[][] {
  const width = rows === 0 ? Math.min(size, PIECE) : size / rows;
  const rowsEach = rows === 0 ? 1 : Math.max(1, Math.floor(PIECE / Math.max(1, width)));
  const step = rows === 0 ? PIECE : width * rowsEach;
  const pieces: number[][] = [];
  for (let start = 0; start < size; start += step) {
    const words = new Array<number>(PieceField.Count).fill(0);
    words[PieceField.Parameter] = parameter;
    words[PieceField.Offset] = offset + start * 4;
    words[PieceField.Width] = rows === 0 ? Math.min(step, size - start) : width;
    words[PieceField.Rows] = rows === 0 ? 1 : Math.min(rowsEach, rows - start / width);
    words[PieceField.Flags] = rows === 0 ? 0 : flags + start / width;
    pieces.push(words);
  }
  return pieces;
}

/** First piece of each chunk, and the end. */
function chunkStarts(pieces: readonly (readonly number[])[]): number[] {
  const starts = [0];
  let values = 0;
  for (const [index, piece] of pieces.entries()) {
    values += (piece[PieceField.Width] as number) * (piece[PieceField.Rows] as number);
    if (values < PIECE && index + 1 < pieces.length) continue;
    starts.push(index + 1);
    values = 0;
  }
  return starts;
}

function aligned(bytes: number): number {
  return Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;
}
