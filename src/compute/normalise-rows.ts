import * as tf from '@tensorflow/tfjs';

/**
 * Layer normalisation without gain and bias: each row minus its mean, divided by `sqrt(variance + epsilon)`, the variance
 * with divisor D. One custom operation, since tfjs's own differentiation of the seven steps makes about thirty, each of
 * which costs 15 µs of dispatch. With y the result and r = 1 / sqrt(variance + epsilon), the gradient is
 * `r (dy - mean(dy) - y mean(dy y))`.
 *
 * @param x - `[N, D]`.
 * @param epsilon - added to the variance, > 0.
 * @returns `[N, D]`.
 */
export function normaliseRows(x: tf.Tensor2D, epsilon: number): tf.Tensor2D {
  const normalise = tf.customGrad((input, save) => {
    const centred = tf.sub(input as tf.Tensor, tf.mean(input as tf.Tensor, 1, true));
    const rate = tf.rsqrt(tf.add(tf.mean(tf.square(centred), 1, true), epsilon));
    const value = tf.mul(centred, rate);
    (save as tf.GradSaveFunc)([value, rate]);
    return {
      value,
      gradFunc: (dy: tf.Tensor, saved: tf.Tensor[]) => {
        const [y, r] = saved as [tf.Tensor, tf.Tensor];
        const along = tf.mul(y, tf.mean(tf.mul(dy, y), 1, true));
        return tf.mul(r, tf.sub(tf.sub(dy, tf.mean(dy, 1, true)), along));
      },
    };
  });
  return normalise(x) as tf.Tensor2D;
}
