import * as tf from '@tensorflow/tfjs';

/** What {@link policyOutputs} shall compute; at least one. */
export interface PolicyQuestions {
  /** Item of each row whose log-probability is asked, `[B]`. */
  readonly logProbOf: Int32Array | undefined;
  /** Whether the entropy is asked. */
  readonly entropy: boolean;
  /** Scores `[B, A]` whose expectation under the policy is asked; data. */
  readonly expected: tf.Tensor2D | undefined;
}

/**
 * Log-probability of one item, entropy and expected score of each row, laid end to end in that order (those that are
 * asked). One custom operation: tfjs's own log-softmax and its differentiation make some twenty passes over B * A
 * numbers, this makes five. With z the logits, p their softmax, l the log-sum-exp, H the entropy, E the expected score
 * and d1, d2, d3 the cotangents:
 *
 * `dz = onehot(item) d1 - p d1 - p (z - l + H) d2 + p (q - E) d3`
 *
 * @param logits - `[B, A]`, divided by the temperature; about -1e20 at masked items, where p is exactly 0.
 * @param questions - see {@link PolicyQuestions}.
 * @returns `[n * B]`.
 */
export function policyOutputs(logits: tf.Tensor2D, questions: PolicyQuestions): tf.Tensor1D {
  const { logProbOf, entropy, expected } = questions;
  const [rows, itemCount] = logits.shape;
  const places = logProbOf?.map((item, row) => row * itemCount + item);
  const column = (x: tf.Tensor): tf.Tensor => tf.reshape(x, [rows, 1]);
  const compute = tf.customGrad((input, save) => {
    const z = input as tf.Tensor2D;
    const p: tf.Tensor2D = tf.softmax(z);
    const parts: tf.Tensor1D[] = [];
    // The largest probability is at least 1 / A, so its logarithm is exact; this spares a second exp over B * A.
    const logTotal: tf.Tensor1D = tf.sub(tf.max(z, 1), tf.log(tf.max(p, 1)));
    if (places !== undefined) {
      const picked = tf.gather(tf.reshape(z, [rows * itemCount]), tf.tensor1d(places, 'int32'));
      parts.push(tf.sub(picked, logTotal));
    }
    const h: tf.Tensor1D | undefined = entropy ? tf.sub<tf.Tensor1D>(logTotal, tf.sum(tf.mul(p, z), 1)) : undefined;
    if (h !== undefined) parts.push(h);
    const e: tf.Tensor1D | undefined = expected === undefined ? undefined : tf.sum<tf.Tensor1D>(tf.mul(p, expected), 1);
    if (e !== undefined) parts.push(e);
    const keep = [p, logTotal];
    if (h !== undefined) keep.push(z, h);
    if (e !== undefined && expected !== undefined) keep.push(expected, e);
    (save as tf.GradSaveFunc)(keep);
    const gradFunc = (dy: tf.Tensor, saved: tf.Tensor[]): tf.Tensor => {
      const [p, logTotal, ...rest] = saved as [tf.Tensor2D, tf.Tensor1D, ...tf.Tensor[]];
      const cotangents = parts.length === 1 ? [dy] : tf.split(dy, parts.length);
      // Terms that are one number a row, and terms over B * A; all are multiplied by p in the end.
      let perRow: tf.Tensor = tf.zeros([rows]);
      let full: tf.Tensor | undefined;
      let picked: tf.Tensor | undefined;
      if (places !== undefined) {
        const d = cotangents.shift() as tf.Tensor;
        perRow = tf.sub(perRow, d);
        picked = tf.scatterND(tf.tensor2d(places, [rows, 1], 'int32'), d, [rows * itemCount]);
      }
      if (entropy) {
        const d = cotangents.shift() as tf.Tensor;
        const [z, h] = rest.splice(0, 2) as [tf.Tensor2D, tf.Tensor1D];
        perRow = tf.add(perRow, tf.mul(d, tf.sub(logTotal, h)));
        full = tf.mul(z, column(tf.neg(d)));
      }
      if (expected !== undefined) {
        const d = cotangents.shift() as tf.Tensor;
        const [q, e] = rest.splice(0, 2) as [tf.Tensor2D, tf.Tensor1D];
        perRow = tf.sub(perRow, tf.mul(d, e));
        const term = tf.mul(q, column(d));
        full = full === undefined ? term : tf.add(full, term);
      }
      const factor = full === undefined ? column(perRow) : tf.add(full, column(perRow));
      const soft = tf.mul(p, factor);
      return picked === undefined ? soft : tf.add(soft, tf.reshape(picked, [rows, itemCount]));
    };
    return { value: parts.length === 1 ? (parts[0] as tf.Tensor1D) : tf.concat1d(parts), gradFunc };
  });
  return compute(logits) as tf.Tensor1D;
}
