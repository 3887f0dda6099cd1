import type { ModelSpec } from '../model.js';
import type { Engine } from './engine.js';
import type { EngineBuffers } from './engine-buffers.js';
import type { EngineStore } from './engine-store.js';
import { HeadOp, ValueField } from './head-layout.js';

const CHUNK_ROWS = 16;
/** Chunks that the gradient of the first weights is made in. */
const WEIGHT_CHUNKS = 4;

/** One evaluation of V(s); what it holds of the last call stays until the next. */
export class ValueCall {
  readonly #engine: Engine;
  readonly #store: EngineStore;
  readonly #buffers: EngineBuffers;
  readonly #name: string;
  readonly #width: number;
  readonly #hidden: number;
  readonly #struct: number;
  #rows = 0;

  /**
   * @param parts - engine, parameters and model.
   * @param buffers - the caller's, disposed by the caller.
   * @param name - tells this call's buffers from those of others.
   */
  constructor(
    { engine, store, spec }: { readonly engine: Engine; readonly store: EngineStore; readonly spec: ModelSpec },
    buffers: EngineBuffers,
    name: string,
  ) {
    this.#engine = engine;
    this.#store = store;
    this.#buffers = buffers;
    this.#name = name;
    this.#width = spec.encoder.stateWidth;
    this.#hidden = spec.valueHidden;
    this.#struct = buffers.reserve(`${name}/struct`, ValueField.Count * 4);
  }

  /**
   * V(s) of R states.
   *
   * @param states - pointer to `[R, D]`.
   * @param rows - R.
   * @returns `[R]`, the caller's.
   */
  forward(states: number, rows: number): Float32Array {
    this.#rows = rows;
    const hasHidden = this.#hidden > 0;
    const valuesAt = this.#reserve('values', rows * 4);
    this.#set([
      [ValueField.Rows, rows],
      [ValueField.Width, this.#width],
      [ValueField.Hidden, this.#hidden],
      [ValueField.ChunkRows, CHUNK_ROWS],
      [ValueField.States, states],
      [ValueField.W1, hasHidden ? this.#valuesOf('w1') : 0],
      [ValueField.B1, hasHidden ? this.#valuesOf('b1') : 0],
      [ValueField.W2, this.#valuesOf('w2')],
      [ValueField.B2, this.#valuesOf('b2')],
      [ValueField.Units, this.#reserve('units', rows * this.#hidden * 4)],
      [ValueField.Values, valuesAt],
    ]);
    this.#engine.run(HeadOp.Value, this.#struct, Math.ceil(rows / CHUNK_ROWS));
    return this.#engine.f32(valuesAt, rows).slice();
  }

  /**
   * Adds the gradient of `sum(cotangent * V)` of the last {@link ValueCall.forward} to the parameters' and the states'.
   *
   * @param cotangents - `[R]`.
   * @param stateGradient - pointer to the gradient by the states `[R, D]`, added to.
   */
  backward(cotangents: Float32Array, stateGradient: number): void {
    const hasHidden = this.#hidden > 0;
    const cotangentsAt = this.#reserve('cotangents', this.#rows * 4);
    this.#engine.f32(cotangentsAt, this.#rows).set(cotangents);
    this.#set([
      [ValueField.Cotangents, cotangentsAt],
      [ValueField.UnitGradient, this.#reserve('unitGradient', this.#rows * this.#hidden * 4)],
      [ValueField.StateGradient, stateGradient],
      [ValueField.W1Gradient, hasHidden ? this.#gradientOf('w1') : 0],
      [ValueField.B1Gradient, hasHidden ? this.#gradientOf('b1') : 0],
      [ValueField.W2Gradient, this.#gradientOf('w2')],
      [ValueField.B2Gradient, this.#gradientOf('b2')],
      [ValueField.WeightChunks, WEIGHT_CHUNKS],
    ]);
    this.#engine.run(HeadOp.ValueGradientsByRow, this.#struct, Math.ceil(this.#rows / CHUNK_ROWS));
    this.#engine.run(HeadOp.ValueGradientsByWeight, this.#struct, hasHidden ? WEIGHT_CHUNKS : 1);
  }

  #set(words: readonly (readonly [name: ValueField, value: number])[]): void {
    const all = this.#engine.i32(this.#struct, ValueField.Count);
    for (const [name, value] of words) all[name] = value;
  }

  #valuesOf(name: string): number {
    return this.#store.data + this.#store.offsetOf(`value/${name}`);
  }

  #gradientOf(name: string): number {
    const full = `value/${name}`;
    return this.#store.isFrozen(full) ? 0 : this.#store.gradient + this.#store.offsetOf(full);
  }

  #reserve(name: string, bytes: number): number {
    return this.#buffers.reserve(`${this.#name}/${name}`, bytes);
  }
}
