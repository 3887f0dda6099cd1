/**
 * The same update as one would write it in plain tfjs, without this library's kernels: SASRec over all positions,
 * attention by transposed batched products, layer normalisation by moments, log-softmax and one-hot over all items, the
 * dense critic, `variableGrads` and `tf.train.adam`. `gatherRows` stands in for `tf.gather`, whose gradient tfjs-wasm
 * lacks. It starts from the same weights and computes the same losses, which the bench checks.
 */
import * as tf from '@tensorflow/tfjs';
import { gatherRows } from '../src/compute/gather-rows.js';
import type { ParameterStore } from '../src/compute/parameter-store.js';

/** Sizes and data of the update. */
export interface PlainUpdate {
  /** Initial weights, by this library's names; copied. */
  readonly store: ParameterStore;
  /** Number of items A. */
  readonly itemCount: number;
  /** Number of attention blocks. */
  readonly blocks: number;
  /** Attention heads. */
  readonly heads: number;
  /** Width D. */
  readonly width: number;
  /** Length L of every history. */
  readonly length: number;
  /** Items of the states s, `[B, L]`. */
  readonly items: Int32Array;
  /** Items of the states s', `[B, L]`. */
  readonly nextItems: Int32Array;
  /** Actions taken, `[B]`. */
  readonly actions: Int32Array;
  /** Rewards, `[B]`. */
  readonly rewards: Float64Array;
  /** Discount of the target. */
  readonly discount: number;
}

/**
 * Prepares the update.
 *
 * @param options - see {@link PlainUpdate}.
 * @returns a function that makes one update and returns its loss.
 */
export function plainUpdate(options: PlainUpdate): () => number {
  const { store, itemCount, blocks, heads, width, length, items, nextItems, actions, discount } = options;
  const batch = actions.length;
  const variables = new Map<string, tf.Variable>();
  for (const { name, shape, data } of store.parameters()) {
    variables.set(name, tf.variable(tf.tensor(data.slice(), [...shape]), true, name));
  }
  const v = (name: string): tf.Tensor => variables.get(name) as tf.Tensor;
  const indices = tf.tensor1d(items, 'int32');
  const nextIndices = tf.tensor1d(nextItems, 'int32');
  const chosen = tf.oneHot(tf.tensor1d(actions, 'int32'), itemCount).toFloat();
  const reward = tf.tensor1d(Float32Array.from(options.rewards));
  const future = tf.tensor2d(
    Array.from({ length }, (_, i) => Array.from({ length }, (_, j) => (j > i ? -1e9 : 0))),
    [length, length],
  );
  const optimiser = tf.train.adam(1e-3, 0.9, 0.999, 1e-8);

  const asData = tf.customGrad((x) => ({
    value: tf.clone(x as tf.Tensor),
    gradFunc: (dy: tf.Tensor) => tf.zerosLike(dy),
  }));
  const normalise = (x: tf.Tensor): tf.Tensor => {
    const { mean, variance } = tf.moments(x, -1, true);
    return tf.div(tf.sub(x, mean), tf.sqrt(tf.add(variance, 1e-5)));
  };
  const split = (x: tf.Tensor): tf.Tensor =>
    tf.transpose(tf.reshape(x, [batch, length, heads, width / heads]), [0, 2, 1, 3]);
  const encode = (at: tf.Tensor1D): tf.Tensor2D => {
    const rows = gatherRows(v('item/id') as tf.Tensor2D, at);
    let x: tf.Tensor = tf.reshape(tf.add(tf.reshape(rows, [batch, length, width]), v('encoder/position')), [-1, width]);
    for (let block = 0; block < blocks; block++) {
      const p = (name: string): tf.Tensor => v(`encoder/block${block}/${name}`);
      const z = normalise(x);
      const q = split(tf.add(tf.matMul(z, p('query/w')), p('query/b')));
      const [k, values] = tf.split(tf.matMul(z, p('keyValue/w')), 2, 1).map(split) as [tf.Tensor, tf.Tensor];
      const scores = tf.mul(tf.matMul(q, k, false, true), 1 / Math.sqrt(width / heads));
      const mixed = tf.transpose(tf.matMul(tf.softmax(tf.add(scores, future)), values), [0, 2, 1, 3]);
      x = tf.add(x, tf.add(tf.matMul(tf.reshape(mixed, [-1, width]), p('output/w')), p('output/b')));
      const hidden = tf.relu(tf.add(tf.matMul(normalise(x), p('feed1/w')), p('feed1/b')));
      x = tf.add(x, tf.add(tf.matMul(hidden, p('feed2/w')), p('feed2/b')));
    }
    const last = tf.slice(tf.reshape(normalise(x), [batch, length, width]), [0, length - 1, 0], [batch, 1, width]);
    return tf.reshape(last, [batch, width]);
  };
  const scoresOf = (state: tf.Tensor2D, head: string): tf.Tensor2D =>
    tf.add(tf.matMul(state, v(`${head}/id`) as tf.Tensor2D, false, true), v(`${head}/bias`));

  return () => {
    // The target is data, so it is computed outside the tape.
    const target = tf.tidy(() => tf.add(reward, tf.mul(discount, tf.max(scoresOf(encode(nextIndices), 'critic'), 1))));
    const trained = [...variables.values()].filter(({ name }) => !/none|start/.test(name));
    const { value, grads } = tf.variableGrads(() => {
      const state = encode(indices);
      const q = tf.sum(tf.mul(scoresOf(state, 'critic'), chosen), 1);
      const logProb = tf.sum(tf.mul(tf.logSoftmax(scoresOf(state, 'actor')), chosen), 1);
      const error = tf.sub(target, q);
      return tf.mean(tf.sub(tf.square(error), tf.mul(asData(error), logProb))).asScalar();
    }, trained);
    optimiser.applyGradients(Object.entries(grads).map(([name, tensor]) => ({ name, tensor })));
    const loss = value.dataSync()[0] as number;
    tf.dispose([target, value, grads]);
    return loss;
  };
}
