import * as tf from '@tensorflow/tfjs';
import { afterAll, describe, expect, it } from 'vitest';
import { useBackend } from '../../../src/compute/backend.js';
import { gatherRows } from '../../../src/compute/gather-rows.js';
import { normaliseRows } from '../../../src/compute/normalise-rows.js';
import { expectClose } from './models.js';

afterAll(async () => {
  await useBackend('wasm');
});

describe.each(['cpu', 'wasm'] as const)('on %s', (backend) => {
  it('gatherRows has the gradient of a one-hot product, duplicates included', async () => {
    await useBackend(backend);
    tf.tidy(() => {
      const table = tf.tensor2d(
        Float32Array.from({ length: 15 }, (_, i) => Math.sin(i)),
        [5, 3],
      );
      const indices = [2, 0, 2, 4, 2, 0];
      const weights = tf.tensor2d(
        Float32Array.from({ length: 18 }, (_, i) => i - 7.5),
        [6, 3],
      );
      const loss = (pick: (x: tf.Tensor2D) => tf.Tensor) => (x: tf.Tensor) =>
        tf.sum(tf.mul(pick(x as tf.Tensor2D), weights)).asScalar();
      // The indices are made inside the differentiated function, as an encoder does.
      const byGather = tf.grad(loss((x) => gatherRows(x, tf.tensor1d(indices, 'int32'))))(table);
      const oneHot = tf.tensor2d(
        indices.flatMap((i) => [0, 1, 2, 3, 4].map((row) => (row === i ? 1 : 0))),
        [6, 5],
      );
      const byProduct = tf.grad(loss((x) => tf.matMul(oneHot, x)))(table);
      expect(byGather.dataSync()).toEqual(byProduct.dataSync());
      expect(gatherRows(table, tf.tensor1d(indices, 'int32')).dataSync()).toEqual(tf.matMul(oneHot, table).dataSync());
    });
  });

  it('normaliseRows equals the plain steps and has their gradient', async () => {
    await useBackend(backend);
    tf.tidy(() => {
      const x = tf.tensor2d(
        Float32Array.from({ length: 20 }, (_, i) => Math.sin(i * i)),
        [4, 5],
      );
      const weights = tf.tensor2d(
        Float32Array.from({ length: 20 }, (_, i) => Math.cos(3 * i)),
        [4, 5],
      );
      const plain = (v: tf.Tensor): tf.Tensor => {
        const { mean, variance } = tf.moments(v, 1, true);
        return tf.div(tf.sub(v, mean), tf.sqrt(tf.add(variance, 1e-5)));
      };
      const own = normaliseRows(x, 1e-5).dataSync();
      expectClose(own, plain(x).dataSync(), 5);
      const gradient = (normalise: (v: tf.Tensor) => tf.Tensor) =>
        tf
          .grad((v) => tf.sum(tf.mul(normalise(v), weights)).asScalar())(x)
          .dataSync();
      const ours = gradient((v) => normaliseRows(v as tf.Tensor2D, 1e-5));
      expectClose(ours, gradient(plain), 4);
    });
  });
});
