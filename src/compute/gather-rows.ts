import * as tf from '@tensorflow/tfjs';
import { argumentError } from '../foundation/arguments.js';

/**
 * Rows of a table, differentiable on every backend: use it in place of `tf.gather`, whose gradient is unusably slow on
 * cpu and missing on wasm. The gradient is `tf.scatterND`, which adds up duplicate indices.
 *
 * @param table - `[N, D]`, float32.
 * @param indices - `[M]`, int32, each 0..N-1 (not checked: an index out of range reads foreign memory on wasm).
 * @returns `[M, D]`.
 */
export function gatherRows(table: tf.Tensor2D, indices: tf.Tensor1D): tf.Tensor2D {
  if (!(table instanceof tf.Tensor) || table.rank !== 2)
    throw argumentError('gatherRows', 'table', 'a tensor [A, E]', table);
  if (!(indices instanceof tf.Tensor) || indices.rank !== 1 || indices.dtype !== 'int32') {
    throw argumentError('gatherRows', 'indices', 'an int32 tensor [N]', indices);
  }
  const shape = table.shape;
  const gather = tf.customGrad((x, save) => {
    // Saved, since the caller's tidy may dispose of the indices before the gradient runs.
    (save as tf.GradSaveFunc)([indices]);
    return {
      value: tf.gather(x as tf.Tensor2D, indices),
      gradFunc: (dy: tf.Tensor, saved: tf.Tensor[]) =>
        tf.scatterND(tf.reshape(saved[0] as tf.Tensor, [-1, 1]), dy, shape),
    };
  });
  return gather(table) as tf.Tensor2D;
}
