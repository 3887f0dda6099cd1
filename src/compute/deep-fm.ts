import * as tf from '@tensorflow/tfjs';
import { DisposedError, InvalidArgumentError } from '../foundation/errors.js';
import { Rng } from '../foundation/rng.js';
import { Turns } from '../foundation/turns.js';
import { ensureBackend } from './backend.js';
import { gatherRows } from './gather-rows.js';

/** How a {@link DeepFm} is built and fitted; every option resolved. */
export interface DeepFmOptions {
  /** Number of one-hot features of all fields together, F. */
  readonly featureCount: number;
  /** Number of fields: every row names one feature of each. */
  readonly fieldCount: number;
  /** Width of a feature's embedding, E. */
  readonly embedding: number;
  /** Widths of the hidden layers. */
  readonly hidden: readonly number[];
  /** L2 penalty on embeddings, linear weights and layers, over the size of the training set: see {@link DeepFm.fit}. */
  readonly l2: number;
  /** Step size of Adam. */
  readonly learningRate: number;
  /** Rows an update. */
  readonly batchSize: number;
  /** Passes over the training rows. */
  readonly epochs: number;
  /** Seed of weights and order. */
  readonly seed: number;
}

/** Rows to fit on. */
export interface DeepFmRows {
  /** Features of each row, `[N, fieldCount]`, each from 0 to F - 1. */
  readonly features: Int32Array;
  /** What each row should score, `[N]`. */
  readonly targets: Float32Array;
  /** Weight of each row, `[N]`. */
  readonly weights: Float32Array;
}

/** Rows scored at once by {@link DeepFm.predict}. */
const GROUP = 8192;
/** Standard deviation of embeddings and linear weights at the start. */
const START_SCALE = 0.01;

/**
 * DeepFM (Guo et al. 2017): linear weights + second-order products of embeddings + a ReLU network over the embeddings of all
 * fields. A regression: squared error, no sigmoid.
 *
 * Owns its variables: dispose of it. Deterministic by seed on one machine and backend.
 */
export class DeepFm {
  readonly #options: DeepFmOptions;
  readonly #variables: tf.Variable[] = [];
  readonly #embeddings: tf.Variable<tf.Rank.R2>;
  readonly #linear: tf.Variable<tf.Rank.R2>;
  readonly #bias: tf.Variable<tf.Rank.R1>;
  readonly #layers: { readonly weights: tf.Variable<tf.Rank.R2>; readonly bias: tf.Variable<tf.Rank.R1> }[];
  #isDisposed = false;

  private constructor(options: DeepFmOptions, mean: number) {
    this.#options = options;
    const { featureCount, fieldCount, embedding, hidden, seed } = options;
    const rng = new Rng(seed).fork('deep-fm');
    const normal = (label: string, rows: number, columns: number, scale: number): tf.Variable<tf.Rank.R2> => {
      const draws = rng.fork(label);
      const data = Float32Array.from({ length: rows * columns }, () => scale * draws.normal());
      return this.#keep(tf.tensor2d(data, [rows, columns]));
    };
    this.#embeddings = normal('embeddings', featureCount, embedding, START_SCALE);
    this.#linear = normal('linear', featureCount, 1, START_SCALE);
    this.#bias = this.#keep(tf.tensor1d([mean]));
    const widths = [fieldCount * embedding, ...hidden, 1];
    this.#layers = widths.slice(1).map((width, i) => ({
      weights: normal(`layer/${i}`, widths[i] as number, width, Math.sqrt(2 / ((widths[i] as number) + width))),
      bias: this.#keep(tf.zeros([width]) as tf.Tensor1D),
    }));
  }

  /**
   * Fits a model: Adam on the weighted mean of squared errors + l2 / N x the squares of all weights but biases.
   *
   * @param rowsOf - the rows of an epoch: negatives may be drawn anew for each.
   * @throws the signal's reason when it aborts; {@link InvalidArgumentError} for rows that do not fit.
   */
  static async fit(
    options: DeepFmOptions,
    rowsOf: (epoch: number) => DeepFmRows,
    { signal }: { readonly signal?: AbortSignal | undefined } = {},
  ): Promise<DeepFm> {
    await ensureBackend();
    const { fieldCount, batchSize, epochs, learningRate, l2, seed } = options;
    const turns = new Turns();
    let rows = checkRows(rowsOf(0), fieldCount);
    const model = new DeepFm(options, weightedMean(rows));
    const optimiser = tf.train.adam(learningRate);
    try {
      for (let epoch = 0; epoch < epochs; epoch++) {
        if (epoch > 0) rows = checkRows(rowsOf(epoch), fieldCount);
        const N = rows.targets.length;
        const order = new Rng(seed)
          .fork('order')
          .fork(epoch)
          .shuffle(Int32Array.from({ length: N }, (_, i) => i));
        for (let from = 0; from < N; from += batchSize) {
          signal?.throwIfAborted();
          const among = order.subarray(from, from + batchSize);
          optimiser.minimize(() => model.#loss(pick(rows, among, fieldCount), l2 / N), false, model.#variables);
          await turns.give();
        }
      }
      return model;
    } catch (error) {
      model.dispose();
      throw error;
    } finally {
      optimiser.dispose();
    }
  }

  /**
   * Scores rows.
   *
   * @param features - `[N, fieldCount]`.
   * @returns `[N]`.
   * @throws {DisposedError} after dispose.
   */
  predict(features: Int32Array): Float32Array {
    if (this.#isDisposed) throw new DisposedError('DeepFm');
    const { fieldCount } = this.#options;
    const N = features.length / fieldCount;
    const out = new Float32Array(N);
    for (let from = 0; from < N; from += GROUP) {
      const group = features.subarray(from * fieldCount, (from + GROUP) * fieldCount);
      out.set(
        tf.tidy(() => this.#scores(group).dataSync<'float32'>()),
        from,
      );
    }
    return out;
  }

  /** Frees the variables. */
  dispose(): void {
    this.#isDisposed = true;
    for (const variable of this.#variables) if (!variable.isDisposed) variable.dispose();
  }

  #keep<R extends tf.Rank>(value: tf.Tensor<R>): tf.Variable<R> {
    const variable = tf.variable(value);
    value.dispose();
    this.#variables.push(variable as tf.Variable);
    return variable;
  }

  #scores(features: Int32Array): tf.Tensor1D {
    const { fieldCount, embedding } = this.#options;
    const B = features.length / fieldCount;
    const indices = tf.tensor1d(features, 'int32');
    const linear = gatherRows(this.#linear, indices).reshape([B, fieldCount]).sum(1);
    const vectors = gatherRows(this.#embeddings, indices);
    const fields = vectors.reshape([B, fieldCount, embedding]);
    const products = fields.sum(1).square().sub(fields.square().sum(1)).sum(1).mul(0.5);
    let layer = vectors.reshape([B, fieldCount * embedding]) as tf.Tensor2D;
    for (const [i, { weights, bias }] of this.#layers.entries()) {
      const sums = layer.matMul(weights).add(bias) as tf.Tensor2D;
      layer = i === this.#layers.length - 1 ? sums : sums.relu();
    }
    return linear
      .add(products)
      .add(layer.reshape([B]))
      .add(this.#bias) as tf.Tensor1D;
  }

  #loss({ features, targets, weights }: DeepFmRows, penalty: number): tf.Scalar {
    const errors = this.#scores(features).sub(tf.tensor1d(targets)).square();
    const data = errors.mul(tf.tensor1d(weights)).mean();
    const squares = [this.#embeddings, this.#linear, ...this.#layers.map(({ weights }) => weights)].map((variable) =>
      variable.square().sum(),
    );
    return data.add(tf.addN(squares).mul(penalty)) as tf.Scalar;
  }
}

function checkRows(rows: DeepFmRows, fieldCount: number): DeepFmRows {
  const N = rows.targets.length;
  if (N > 0 && rows.features.length === N * fieldCount && rows.weights.length === N) return rows;
  throw new InvalidArgumentError(
    `DeepFm.fit: expected ${fieldCount} features and one weight for each of ${N} targets, at least one, got ${rows.features.length} and ${rows.weights.length}`,
    { argument: 'rows' },
  );
}

function weightedMean({ targets, weights }: DeepFmRows): number {
  let sum = 0;
  let total = 0;
  for (let i = 0; i < targets.length; i++) {
    sum += (weights[i] as number) * (targets[i] as number);
    total += weights[i] as number;
  }
  return sum / total;
}

function pick(rows: DeepFmRows, among: Int32Array, fieldCount: number): DeepFmRows {
  const features = new Int32Array(among.length * fieldCount);
  among.forEach((row, i) => {
    features.set(rows.features.subarray(row * fieldCount, (row + 1) * fieldCount), i * fieldCount);
  });
  return {
    features,
    targets: Float32Array.from(among, (row) => rows.targets[row] as number),
    weights: Float32Array.from(among, (row) => rows.weights[row] as number),
  };
}
