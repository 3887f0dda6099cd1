/**
 * The update as one would write it in plain tfjs, without this library's kernels: SASRec over all positions,
 * attention by transposed batched products, layer normalisation by moments, log-softmax and one-hot over all items, the
 * dense critic, `variableGrads` and `tf.train.adam`, on stock tfjs-wasm. `gatherRows` stands in for `tf.gather`, whose
 * gradient tfjs-wasm lacks. It starts from the same weights and has the same batches as the others.
 */
import * as tf from '@tensorflow/tfjs';
import { useBackend } from '../src/compute/backend.js';
import { gatherRows } from '../src/compute/gather-rows.js';
import { LENGTH, MODEL, type UpdateBatch, updateBatches, updateModel } from './case-data.js';
import { TFJS, type UpdateCase } from './cases.js';
import { DISCOUNT } from './ialp-update.js';
import { type CaseResult, measure, peakRssMb } from './measure.js';

/** Runs the updates of a case; fewer than the others do. */
export async function tfjsUpdate(benchCase: UpdateCase): Promise<CaseResult> {
  const { backend } = await useBackend('wasm', { patch: false, kernels: 'reference' });
  const update = plainUpdate(benchCase);
  const batches = updateBatches(benchCase);
  const losses = Array.from({ length: TFJS.compared }, (_, call) => update(batches[call] as UpdateBatch));
  const { ms, leaked } = measure(TFJS.updates, (call) => update(batches[TFJS.compared + call] as UpdateBatch));
  return { ms, losses, peakRssMb: peakRssMb(), facts: { backend, tfjs: tf.version.tfjs, threads: 1, leaked } };
}

function plainUpdate(benchCase: UpdateCase): (batch: UpdateBatch) => number {
  const { items: itemCount, batch } = benchCase;
  const { width, blocks, heads } = MODEL;
  const variables = new Map<string, tf.Variable>();
  for (const { name, shape, data } of updateModel(benchCase).store.parameters()) {
    variables.set(name, tf.variable(tf.tensor(data, [...shape]), true, name));
  }
  const v = (name: string): tf.Tensor => variables.get(name) as tf.Tensor;
  const trained = [...variables.values()].filter(({ name }) => !/none|start/.test(name));
  const optimiser = tf.train.adam(1e-3, 0.9, 0.999, 1e-8);

  const asData = tf.customGrad((x) => ({
    value: tf.clone(x as tf.Tensor),
    gradFunc: (dy: tf.Tensor) => tf.zerosLike(dy),
  }));
  const normalise = (x: tf.Tensor): tf.Tensor => {
    const { mean, variance } = tf.moments(x, -1, true);
    return tf.div(tf.sub(x, mean), tf.sqrt(tf.add(variance, 1e-5)));
  };
  const encode = (items: Int32Array, length: number): tf.Tensor2D => {
    const split = (x: tf.Tensor): tf.Tensor =>
      tf.transpose(tf.reshape(x, [batch, length, heads, width / heads]), [0, 2, 1, 3]);
    const future = tf.tensor2d(
      Array.from({ length }, (_, i) => Array.from({ length }, (_, j) => (j > i ? -1e9 : 0))),
      [length, length],
    );
    const rows = gatherRows(v('item/id') as tf.Tensor2D, tf.tensor1d(items, 'int32'));
    const position = tf.slice(v('encoder/position'), 0, length);
    let x: tf.Tensor = tf.reshape(tf.add(tf.reshape(rows, [batch, length, width]), position), [-1, width]);
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

  return ({ before, after, actions, rewards }) => {
    // The target is data, so it is computed outside the tape.
    const target = tf.tidy(() => {
      const future = tf.max(scoresOf(encode(after.items, LENGTH + 1), 'critic'), 1);
      return tf.add(tf.tensor1d(rewards), tf.mul(DISCOUNT, future));
    });
    const { value, grads } = tf.variableGrads(() => {
      const chosen = tf.oneHot(tf.tensor1d(actions, 'int32'), itemCount).toFloat();
      const state = encode(before.items, LENGTH);
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
