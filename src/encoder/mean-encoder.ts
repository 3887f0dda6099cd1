import * as tf from '@tensorflow/tfjs';
import { z } from 'zod';
import { normalParameter } from '../compute/model.js';
import type { NamedParameter, StateEncoder } from '../compute/state-encoder.js';
import { checkOptions } from '../foundation/options.js';

/** Options of {@link mean}. */
export interface MeanOptions {
  /** Width of item vectors and states, E = D. @default 32 */
  readonly width?: number;
  /** How many last items it sees. @default 10 */
  readonly historyLength?: number;
  /** Weight of an item relative to the next newer one, in (0, 1]; 1 is the plain mean. @default 1 */
  readonly decay?: number;
}

const meanOptions = z.strictObject({
  width: z.int().min(1).max(4096).default(32),
  historyLength: z.int().min(1).max(4096).default(10),
  decay: z.number().positive().max(1).default(1),
});

/**
 * The simplest state: the mean of the last item vectors, each weighted by `decay` to the power of its age, through one
 * linear map. No order but recency, no interaction; about a quarter of the cost of {@link sasRec}.
 *
 * Parameters: `start` [D], `output/w` [D, D], `output/b` [D], `context` [C, D] (only with a context). For item vectors
 * e_0..e_{n-1}: `m = sum_i decay^(n-1-i) e_i / sum_i decay^(n-1-i)`, and `m = start` for an empty history;
 * `s = m Wo + bo + context C`. `output/w` starts with sd 1: m has about unit length, so states start with about unit
 * variance.
 *
 * @param options - see {@link MeanOptions}.
 * @throws {InvalidArgumentError} when an option is out of its range.
 */
export function mean(options: MeanOptions = {}): StateEncoder {
  const { width, historyLength, decay } = checkOptions(meanOptions, options, 'mean');
  return {
    name: `mean(width=${width}, historyLength=${historyLength}, decay=${decay})`,
    itemWidth: width,
    stateWidth: width,
    historyLength,
    init(rng, { contextWidth }) {
      const parameters: Record<string, NamedParameter> = {
        start: normalParameter(rng.fork('start'), [width], 1 / Math.sqrt(width)),
        'output/w': normalParameter(rng.fork('output/w'), [width, width], 1),
        'output/b': { shape: [width], data: new Float32Array(width) },
      };
      if (contextWidth > 0) {
        parameters.context = normalParameter(rng.fork('context'), [contextWidth, width], 1 / Math.sqrt(contextWidth));
      }
      return parameters;
    },
    apply(params, { items, lengthValues, context }) {
      const [rows, length] = items.shape;
      const weights = new Float32Array(rows * length);
      const isEmpty = new Float32Array(rows);
      for (let row = 0; row < rows; row++) {
        const count = lengthValues[row] as number;
        if (count === 0) isEmpty[row] = 1;
        let total = 0;
        for (let i = 0; i < count; i++) total += decay ** i;
        for (let i = 0; i < count; i++) weights[row * length + i] = decay ** (count - 1 - i) / total;
      }
      let pooled: tf.Tensor2D = tf.sum(tf.mul(items, tf.tensor3d(weights, [rows, length, 1])), 1);
      if (lengthValues.includes(0)) {
        pooled = tf.add<tf.Tensor2D>(pooled, tf.mul(tf.tensor2d(isEmpty, [rows, 1]), params.start as tf.Tensor));
      }
      const state = tf.fused.matMul({
        a: pooled,
        b: params['output/w'] as tf.Tensor2D,
        bias: params['output/b'] as tf.Tensor1D,
      }) as tf.Tensor2D;
      return context === undefined
        ? state
        : tf.add<tf.Tensor2D>(state, tf.matMul(context, params.context as tf.Tensor2D));
    },
  };
}
