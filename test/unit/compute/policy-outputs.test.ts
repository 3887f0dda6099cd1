import * as tf from '@tensorflow/tfjs';
import { describe, expect, it } from 'vitest';
import { useBackend } from '../../../src/compute/backend.js';
import { type PolicyQuestions, policyOutputs } from '../../../src/compute/policy-outputs.js';
import { expectClose } from './models.js';

/** The same outputs in tfjs's own operations, differentiated by tfjs. */
function plain(z: tf.Tensor2D, { logProbOf, entropy, expected }: PolicyQuestions): tf.Tensor1D {
  const logPolicy = tf.logSoftmax(z);
  const parts: tf.Tensor1D[] = [];
  if (logProbOf !== undefined) {
    const chosen = tf.oneHot(tf.tensor1d(logProbOf, 'int32'), z.shape[1]);
    parts.push(tf.sum(tf.mul(logPolicy, chosen), 1));
  }
  if (entropy) parts.push(tf.neg(tf.sum<tf.Tensor1D>(tf.mul(tf.exp(logPolicy), logPolicy), 1)));
  if (expected !== undefined) parts.push(tf.sum(tf.mul(tf.exp(logPolicy), expected), 1));
  return tf.concat1d(parts);
}

describe.each(['cpu', 'wasm'] as const)('policyOutputs on %s', (backend) => {
  it.each([
    [true, false, false],
    [false, true, false],
    [false, false, true],
    [true, true, true],
  ])('equals tfjs and its gradient: logProb %s, entropy %s, expected %s', async (logProb, entropy, hasExpected) => {
    await useBackend(backend);
    tf.tidy(() => {
      // Item 2 is masked in the first row; the last row is sharp, to see rounding.
      const values = Float32Array.from({ length: 15 }, (_, i) => 3 * Math.sin(i * i));
      values[2] = -1e20;
      values[10] = 40;
      const z = tf.tensor2d(values, [3, 5]);
      const questions = {
        logProbOf: logProb ? Int32Array.of(0, 4, 3) : undefined,
        entropy,
        expected: hasExpected
          ? tf.tensor2d(
              Float32Array.from({ length: 15 }, (_, i) => Math.cos(i)),
              [3, 5],
            )
          : undefined,
      };
      const own = policyOutputs(z, questions);
      expectClose(own.dataSync(), plain(z, questions).dataSync(), 4);
      const cotangent = tf.tensor1d(Float32Array.from({ length: own.size }, (_, i) => i + 0.5));
      const gradient = tf
        .grad((x) => policyOutputs(x as tf.Tensor2D, questions))(z, cotangent)
        .dataSync();
      const wanted = tf
        .grad((x) => plain(x as tf.Tensor2D, questions))(z, cotangent)
        .dataSync();
      expectClose(gradient, wanted, 4);
      expect(gradient[2]).toBeCloseTo(0, 12);
    });
  });
});
