import * as tf from '@tensorflow/tfjs';
import type { Head } from './kernels.js';
import type { Leaves } from './leaves.js';
import type { ModelSpec } from './model.js';
import type { ScoringCall } from './scoring-call.js';
import { featureRows, type Tower } from './tower.js';

/** The score of an excluded item: exp of it is exactly 0 in float32, 0 times it is 0, and no usable temperature makes it infinite. */
const EXCLUDED = -1e20;

/** Scores of all items, `[B, A]`: states times the head's table, plus bias, history features and mask. */
export class FullHead {
  readonly #tower: Tower;
  readonly #table: () => tf.Tensor2D;
  readonly #isTransposed: boolean;
  readonly #offset: tf.Tensor2D | undefined;
  readonly #bias: tf.Tensor1D;
  #scores: tf.Tensor2D | undefined;

  /**
   * Makes the leaves.
   *
   * @param differentiable - false lets it use a table that is kept, transposed, as long as the parameters stay.
   * @param isMasked - whether excluded items get a score of about -1e20.
   */
  constructor(
    leaves: Leaves,
    spec: ModelSpec,
    call: ScoringCall,
    head: Head,
    options: { readonly tower: Tower; readonly differentiable: boolean; readonly isMasked: boolean },
  ) {
    this.#tower = options.tower;
    this.#isTransposed = !options.differentiable;
    const table = tableOf(leaves, spec, head);
    this.#table = options.differentiable
      ? table
      : () => leaves.tensors.derived(`${head}/table`, () => tf.transpose(table())) as tf.Tensor2D;
    this.#bias = leaves.tensors.get(`${head}/bias`) as tf.Tensor1D;
    // Without a tape, and with nothing but the bias to add, the product adds it on the way.
    const isPlain =
      !options.differentiable && call.planes === undefined && !(options.isMasked && call.excluded !== undefined);
    this.#offset = isPlain ? undefined : fullOffset(leaves, spec, call, head, options.isMasked);
  }

  /** The scores, computed once. */
  scores(): tf.Tensor2D {
    this.#scores ??= this.#compute();
    return this.#scores;
  }

  #compute(): tf.Tensor2D {
    const a = this.#tower.states();
    const b = this.#table();
    if (this.#offset === undefined) return tf.fused.matMul({ a, b, bias: this.#bias }) as tf.Tensor2D;
    return tf.add<tf.Tensor2D>(tf.matMul(a, b, false, !this.#isTransposed), this.#offset);
  }
}

/** The head's vectors of all items `[A, D]`: by id, by features, or the sum. */
function tableOf(leaves: Leaves, spec: ModelSpec, head: Head): () => tf.Tensor2D {
  const id = spec.items === 'text' ? undefined : (leaves.dense(`${head}/id`) as tf.Tensor2D);
  if (spec.items === 'id') return () => id as tf.Tensor2D;
  const projection = leaves.dense(`${head}/projection`) as tf.Tensor2D;
  const features = leaves.tensors.constant('itemFeatures', () =>
    tf.tensor2d(spec.itemFeatures as Float32Array, [spec.itemCount, spec.itemFeatureWidth as number]),
  ) as tf.Tensor2D;
  return () => {
    const projected: tf.Tensor2D = tf.matMul(features, projection);
    return id === undefined ? projected : tf.add<tf.Tensor2D>(id, projected);
  };
}

function fullOffset(leaves: Leaves, spec: ModelSpec, call: ScoringCall, head: Head, isMasked: boolean): tf.Tensor2D {
  const { size, planes, excluded } = call;
  const itemCount = spec.itemCount;
  const bias = leaves.store.get(`${head}/bias`);
  const history = planes === undefined ? undefined : leaves.store.get(`${head}/history`);
  const offset = new Float32Array(size * itemCount);
  for (let row = 0; row < size; row++) offset.set(bias.data, row * itemCount);
  if (planes !== undefined && history !== undefined) {
    for (let plane = 0; plane < history.data.length; plane++) {
      const weight = history.data[plane] as number;
      if (weight === 0) continue;
      const start = plane * offset.length;
      for (let i = 0; i < offset.length; i++)
        offset[i] = (offset[i] as number) + weight * (planes[start + i] as number);
    }
  }
  if (isMasked && excluded !== undefined) {
    for (let i = 0; i < offset.length; i++) if (excluded[i] === 1) offset[i] = EXCLUDED;
  }
  const isFrozen = bias.frozen && (history === undefined || history.frozen);
  const accumulate = (gradient: Float32Array): void => {
    if (!bias.frozen) {
      const target = bias.gradient;
      for (let row = 0; row < size; row++) {
        const start = row * itemCount;
        for (let item = 0; item < itemCount; item++) {
          target[item] = (target[item] as number) + (gradient[start + item] as number);
        }
      }
    }
    if (planes === undefined || history === undefined || history.frozen) return;
    for (let plane = 0; plane < history.data.length; plane++) {
      const start = plane * gradient.length;
      let sum = 0;
      for (let i = 0; i < gradient.length; i++) sum += (gradient[i] as number) * (planes[start + i] as number);
      history.gradient[plane] = (history.gradient[plane] as number) + sum;
    }
  };
  return leaves.made(offset, [size, itemCount], isFrozen ? undefined : accumulate) as tf.Tensor2D;
}

/** Scores of K listed items a row, `[B * K]`: only their rows of the table are read. */
export class ListHead {
  readonly #spec: ModelSpec;
  readonly #tower: Tower;
  readonly #size: number;
  readonly #width: number;
  readonly #indices: Int32Array;
  readonly #idRows: tf.Tensor2D | undefined;
  readonly #projection: tf.Tensor2D | undefined;
  readonly #offset: tf.Tensor1D;

  /** Makes the leaves. `items` is `[B, width]`; the index A (None) is allowed for the actor. */
  constructor(
    leaves: Leaves,
    spec: ModelSpec,
    call: ScoringCall,
    list: { readonly head: Head; readonly items: Int32Array; readonly width: number },
    tower: Tower,
  ) {
    this.#spec = spec;
    this.#tower = tower;
    this.#size = call.size;
    this.#width = list.width;
    // None has no vector: its row is zero and its score is the offset alone.
    this.#indices = list.items.map((item) => (item === spec.itemCount ? -1 : item));
    if (spec.items !== 'text') this.#idRows = leaves.rows(`${list.head}/id`, this.#indices);
    if (spec.items !== 'id') this.#projection = leaves.dense(`${list.head}/projection`) as tf.Tensor2D;
    this.#offset = listOffset(leaves, spec, call, list);
  }

  /** The scores. */
  scores(): tf.Tensor1D {
    const state = this.#tower.states();
    const vectors = tf.reshape(this.#vectors(), [this.#size, this.#width, state.shape[1]]);
    const products = tf.matMul(vectors, tf.reshape(state, [this.#size, state.shape[1], 1]));
    return tf.add<tf.Tensor1D>(tf.reshape(products, [-1]), this.#offset);
  }

  #vectors(): tf.Tensor2D {
    if (this.#projection === undefined) return this.#idRows as tf.Tensor2D;
    const projected: tf.Tensor2D = tf.matMul(featureRows(this.#spec, this.#indices), this.#projection);
    return this.#idRows === undefined ? projected : tf.add<tf.Tensor2D>(this.#idRows, projected);
  }
}

function listOffset(
  leaves: Leaves,
  spec: ModelSpec,
  call: ScoringCall,
  list: { readonly head: Head; readonly items: Int32Array; readonly width: number },
): tf.Tensor1D {
  const { planes, size } = call;
  const { head, items, width } = list;
  const itemCount = spec.itemCount;
  const bias = leaves.store.get(`${head}/bias`);
  const none = head === 'actor' ? leaves.store.get('actor/none') : undefined;
  const history = planes === undefined ? undefined : leaves.store.get(`${head}/history`);
  const planeSize = size * itemCount;
  const offset = new Float32Array(items.length);
  for (let at = 0; at < items.length; at++) {
    const item = items[at] as number;
    if (item === itemCount) {
      offset[at] = none?.data[0] as number;
      continue;
    }
    let sum = bias.data[item] as number;
    const place = Math.floor(at / width) * itemCount + item;
    for (let plane = 0; plane < (history?.data.length ?? 0); plane++) {
      sum += (history?.data[plane] as number) * (planes?.[plane * planeSize + place] as number);
    }
    offset[at] = sum;
  }
  const accumulate = (gradient: Float32Array): void => {
    for (let at = 0; at < items.length; at++) {
      const item = items[at] as number;
      const slope = gradient[at] as number;
      if (item === itemCount) {
        if (none !== undefined && !none.frozen) none.gradient[0] = (none.gradient[0] as number) + slope;
        continue;
      }
      if (!bias.frozen) bias.gradient[item] = (bias.gradient[item] as number) + slope;
      if (history === undefined || history.frozen) continue;
      const place = Math.floor(at / width) * itemCount + item;
      for (let plane = 0; plane < history.data.length; plane++) {
        const value = planes?.[plane * planeSize + place] as number;
        history.gradient[plane] = (history.gradient[plane] as number) + slope * value;
      }
    }
  };
  return leaves.made(offset, [items.length], accumulate) as tf.Tensor1D;
}

/** V(s), `[B]`: linear, or with one hidden layer of rectified units. */
export class ValueHead {
  readonly #tower: Tower;
  readonly #hidden: { readonly w: tf.Tensor2D; readonly b: tf.Tensor1D } | undefined;
  readonly #w: tf.Tensor2D;
  readonly #b: tf.Tensor1D;

  /** Makes the leaves. */
  constructor(leaves: Leaves, spec: ModelSpec, tower: Tower) {
    this.#tower = tower;
    if (spec.valueHidden > 0) {
      this.#hidden = { w: leaves.dense('value/w1') as tf.Tensor2D, b: leaves.dense('value/b1') as tf.Tensor1D };
    }
    this.#w = leaves.dense('value/w2') as tf.Tensor2D;
    this.#b = leaves.dense('value/b2') as tf.Tensor1D;
  }

  /** The values. */
  values(): tf.Tensor1D {
    let x: tf.Tensor2D = this.#tower.states();
    if (this.#hidden !== undefined)
      x = tf.relu(tf.fused.matMul({ a: x, b: this.#hidden.w, bias: this.#hidden.b }) as tf.Tensor2D);
    return tf.reshape(tf.fused.matMul({ a: x, b: this.#w, bias: this.#b }), [-1]);
  }
}
