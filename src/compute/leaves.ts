import * as tf from '@tensorflow/tfjs';
import type { Parameter, ParameterStore } from './parameter-store.js';

/** A tensor that the pass is differentiated by, and what to do with its gradient. */
interface Leaf {
  readonly tensor: tf.Tensor;
  accumulate(gradient: Float32Array): void;
}

/**
 * The store's parameters as tensors: made on first use, kept while the store's version stays, remade after it changed.
 * Owned by one kernels object.
 */
export class ParameterTensors {
  readonly #store: ParameterStore;
  readonly #tensors = new Map<string, tf.Tensor>();
  readonly #derived = new Map<string, tf.Tensor>();
  readonly #constants = new Map<string, tf.Tensor>();
  #version = -1;

  constructor(store: ParameterStore) {
    this.#store = store;
  }

  /** A parameter's values. */
  get(name: string): tf.Tensor {
    this.#refresh();
    return kept(this.#tensors, name, () => {
      const { data, shape } = this.#store.get(name);
      return tf.tensor(data, [...shape], 'float32');
    });
  }

  /** Something computed from parameters alone, kept as long as they stay. */
  derived(name: string, make: () => tf.Tensor): tf.Tensor {
    this.#refresh();
    return kept(this.#derived, name, () => tf.tidy(make));
  }

  /** Something that never changes. */
  constant(name: string, make: () => tf.Tensor): tf.Tensor {
    return kept(this.#constants, name, make);
  }

  dispose(): void {
    for (const tensors of [this.#tensors, this.#derived, this.#constants]) disposeAll(tensors);
  }

  #refresh(): void {
    if (this.#version === this.#store.version) return;
    disposeAll(this.#tensors);
    disposeAll(this.#derived);
    this.#version = this.#store.version;
  }
}

function kept(tensors: Map<string, tf.Tensor>, name: string, make: () => tf.Tensor): tf.Tensor {
  let tensor = tensors.get(name);
  if (tensor === undefined) {
    tensor = tf.keep(make());
    tensors.set(name, tensor);
  }
  return tensor;
}

function disposeAll(tensors: Map<string, tf.Tensor>): void {
  for (const tensor of tensors.values()) tensor.dispose();
  tensors.clear();
}

/**
 * What one pass depends on. Dense parameters are leaves as they are. Where only some rows of a table are read, or where
 * parameters enter through sums that cost less in plain loops than as kernels (biases, history features), the leaf is
 * made from the store's numbers here, and its gradient is added back through the same indices.
 */
export class Leaves {
  readonly #leaves: Leaf[] = [];
  readonly #seen = new Set<string>();

  constructor(
    readonly store: ParameterStore,
    readonly tensors: ParameterTensors,
  ) {}

  /** A whole parameter. */
  dense(name: string): tf.Tensor {
    const tensor = this.tensors.get(name);
    if (!this.#seen.has(name)) {
      this.#seen.add(name);
      const parameter = this.store.get(name);
      if (!parameter.frozen)
        this.#leaves.push({ tensor, accumulate: (gradient) => addTo(parameter.gradient, gradient) });
    }
    return tensor;
  }

  /** A tensor made from parameters by the caller, who says how its gradient goes back; none when all of them are frozen. */
  made(data: Float32Array, shape: number[], accumulate: ((gradient: Float32Array) => void) | undefined): tf.Tensor {
    const tensor = tf.tensor(data, shape, 'float32');
    if (accumulate !== undefined) this.#leaves.push({ tensor, accumulate });
    return tensor;
  }

  /** Rows of a parameter `[N, D]`; a negative index gives a row of zeros. */
  rows(name: string, indices: Int32Array): tf.Tensor2D {
    const parameter = this.store.get(name);
    const width = parameter.shape[1] as number;
    const accumulate = parameter.frozen ? undefined : (gradient: Float32Array) => addRows(parameter, gradient, indices);
    return this.made(copyRows(parameter.data, indices, width), [indices.length, width], accumulate) as tf.Tensor2D;
  }

  /**
   * Runs `compute` and adds the gradient of `sum(cotangent * result)` to the store.
   *
   * @param compute - the pass, a function of the leaves; runs inside a tape.
   * @param cotangent - of the result, same shape.
   */
  differentiate(compute: () => tf.Tensor1D, cotangent: tf.Tensor1D): void {
    if (this.#leaves.length === 0) return;
    const { grads } = tf.engine().gradients(
      compute,
      this.#leaves.map(({ tensor }) => tensor),
      cotangent,
      true,
    );
    for (const [place, { accumulate }] of this.#leaves.entries()) {
      // Leaves that the result does not depend on have none.
      const gradient = grads[place] as tf.Tensor | null | undefined;
      if (gradient !== null && gradient !== undefined) accumulate(gradient.dataSync() as Float32Array);
    }
  }
}

/** Copies rows of a row-major table; a negative index gives a row of zeros. */
export function copyRows(table: Float32Array, indices: Int32Array, width: number): Float32Array {
  const rows = new Float32Array(indices.length * width);
  for (let at = 0; at < indices.length; at++) {
    const from = (indices[at] as number) * width;
    if (from < 0) continue;
    const to = at * width;
    for (let column = 0; column < width; column++) rows[to + column] = table[from + column] as number;
  }
  return rows;
}

function addRows(parameter: Parameter, gradient: Float32Array, indices: Int32Array): void {
  const target = parameter.gradient;
  const width = parameter.shape[1] as number;
  for (let at = 0; at < indices.length; at++) {
    const to = (indices[at] as number) * width;
    if (to < 0) continue;
    const from = at * width;
    for (let column = 0; column < width; column++) {
      target[to + column] = (target[to + column] as number) + (gradient[from + column] as number);
    }
  }
}

function addTo(target: Float32Array, addend: Float32Array): void {
  for (let i = 0; i < target.length; i++) target[i] = (target[i] as number) + (addend[i] as number);
}
