import * as tf from '@tensorflow/tfjs';
import { dropoutFactors } from './dropout.js';
import { copyRows, type Leaves } from './leaves.js';
import type { ModelSpec } from './model.js';
import type { ScoringCall } from './scoring-call.js';
import type { EncoderInput } from './state-encoder.js';

/** Which encoder and item vectors a tower reads, by the prefixes of their parameters. */
export type TowerName = 'policy' | 'value';

/** Prefixes of the parameters that each tower reads, and the number of its first dropout. */
export const TOWER_PREFIXES = {
  policy: { encoder: 'encoder', item: 'item', dropoutSite: 0 },
  value: { encoder: 'valueEncoder', item: 'valueItem', dropoutSite: 1 << 16 },
} as const;

/** Item vectors and the encoder on top: from the window of histories to states. */
export class Tower {
  readonly #spec: ModelSpec;
  readonly #call: ScoringCall;
  readonly #prefixes: (typeof TOWER_PREFIXES)[TowerName];
  readonly #parameters: Record<string, tf.Tensor> = {};
  readonly #idRows: tf.Tensor2D | undefined;
  readonly #projection: tf.Tensor2D | undefined;
  readonly #indices: Int32Array;
  #states: tf.Tensor2D | undefined;

  /** Makes the leaves; nothing is computed before {@link Tower.states}. */
  constructor(leaves: Leaves, spec: ModelSpec, call: ScoringCall, name: TowerName) {
    this.#spec = spec;
    this.#call = call;
    this.#prefixes = TOWER_PREFIXES[name];
    const { encoder, item } = this.#prefixes;
    const start = `${encoder}/`;
    for (const parameter of leaves.store.names) {
      if (parameter.startsWith(start)) this.#parameters[parameter.slice(start.length)] = leaves.dense(parameter);
    }
    this.#indices = paddedIndices(call);
    if (spec.items !== 'text') this.#idRows = leaves.rows(`${item}/id`, this.#indices);
    if (spec.items !== 'id') this.#projection = leaves.dense(`${item}/projection`) as tf.Tensor2D;
  }

  /** The states `[B, D]`, computed once. */
  states(): tf.Tensor2D {
    this.#states ??= this.#spec.encoder.apply(this.#parameters, this.#input());
    return this.#states;
  }

  #input(): EncoderInput {
    const { size, window, context, dropoutSeed } = this.#call;
    const { length, lengths } = window;
    let site = this.#prefixes.dropoutSite;
    let mask: tf.Tensor2D | undefined;
    let lengthTensor: tf.Tensor1D | undefined;
    return {
      items: tf.reshape(this.#items(), [size, length, this.#spec.encoder.itemWidth]),
      // Made when first read: most encoders need the plain numbers only.
      get mask() {
        mask ??= tf.tensor2d(
          Float32Array.from({ length: size * length }, (_, at) =>
            at % length < (lengths[Math.floor(at / length)] as number) ? 1 : 0,
          ),
          [size, length],
        );
        return mask;
      },
      get lengths() {
        lengthTensor ??= tf.tensor1d(lengths, 'int32');
        return lengthTensor;
      },
      lengthValues: lengths,
      context: context === undefined ? undefined : tf.tensor2d(context, [size, this.#spec.contextWidth]),
      dropout: <T extends tf.Tensor>(x: T, rate: number): T => {
        if (dropoutSeed === undefined || rate === 0) return x;
        return tf.mul(x, tf.tensor(dropoutFactors(dropoutSeed, site++, x.size, rate), x.shape)) as T;
      },
    };
  }

  /** Item vectors of the window `[B * L, E]`, zero at padding. */
  #items(): tf.Tensor2D {
    if (this.#projection === undefined) return this.#idRows as tf.Tensor2D;
    const projected: tf.Tensor2D = tf.matMul(featureRows(this.#spec, this.#indices), this.#projection);
    return this.#idRows === undefined ? projected : tf.add<tf.Tensor2D>(this.#idRows, projected);
  }
}

/** Feature rows of items `[M, F]`: data, read from the spec; a negative index gives a row of zeros. */
export function featureRows(spec: ModelSpec, indices: Int32Array): tf.Tensor2D {
  const width = spec.itemFeatureWidth as number;
  return tf.tensor2d(copyRows(spec.itemFeatures as Float32Array, indices, width), [indices.length, width]);
}

function paddedIndices({ size, window }: ScoringCall): Int32Array {
  const { length, lengths, items } = window;
  const indices = items.slice();
  for (let row = 0; row < size; row++) indices.fill(-1, row * length + (lengths[row] as number), (row + 1) * length);
  return indices;
}
