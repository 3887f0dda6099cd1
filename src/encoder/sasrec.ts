import * as tf from '@tensorflow/tfjs';
import { z } from 'zod';
import { normalParameter } from '../compute/model.js';
import { normaliseRows } from '../compute/normalise-rows.js';
import type { EncoderInput, NamedParameter, SasRecForm, StateEncoder } from '../compute/state-encoder.js';
import { InvalidArgumentError } from '../foundation/errors.js';
import { checkOptions } from '../foundation/options.js';

/** Options of {@link sasRec}. */
export interface SasRecOptions {
  /** Width of item vectors and states, E = D, a multiple of `heads`. @default 32 */
  readonly width?: number;
  /** Number of attention blocks, at least 1. @default 1 */
  readonly blocks?: number;
  /** Attention heads. @default 2 */
  readonly heads?: number;
  /** How many last items it sees. @default 10 */
  readonly historyLength?: number;
  /** Dropout after the embedding, the attention and the feed-forward layer, in [0, 1); active in training forwards only. @default 0 */
  readonly dropout?: number;
  /** Width of the hidden layer of the feed-forward part. @default width */
  readonly feedForward?: number;
}

const sasRecOptions = z.strictObject({
  width: z.int().min(1).max(4096).default(32),
  blocks: z.int().min(1).max(16).default(1),
  heads: z.int().min(1).max(64).default(2),
  historyLength: z.int().min(1).max(4096).default(10),
  dropout: z.number().min(0).lt(1).default(0),
  feedForward: z.int().min(1).max(16384).optional(),
});

const EPSILON = 1e-5;
const EXCLUDED = -1e9;

/**
 * SASRec (Kang and McAuley 2018) as the state encoder G of Eq. 4, with pre-normalisation.
 *
 * Parameters (names as `init` gives them; H = historyLength, D = width, F = feedForward, C = context width; n = 0..blocks-1):
 * `position` [H, D], `start` [D], `context` [C, D] (only when C > 0), and for each block `block<n>/query/w` [D, D],
 * `block<n>/query/b` [D], `block<n>/keyValue/w` [D, 2D] (columns 0..D-1 make the key, D..2D-1 the value; no bias: a key
 * bias would cancel in the softmax, a value bias is part of `output/b`), `block<n>/output/w` [D, D], `block<n>/output/b`
 * [D], `block<n>/feed1/w` [D, F], `block<n>/feed1/b` [F], `block<n>/feed2/w` [F, D], `block<n>/feed2/b` [D].
 *
 * For one row with item vectors e_0..e_{n-1} (oldest first, the last H of the history; an empty history is treated as the
 * one-item history whose item vector is `start`, so n >= 1):
 *
 * ```
 * x_i  = dropout(e_i + position[i])                                     i = 0..n-1, left-aligned; e is not scaled
 * norm(v) = (v - mean(v)) / sqrt(variance(v) + 1e-5)                    over the D entries, variance with divisor D,
 *                                                                       no gain and no bias: the linear maps that follow have them
 * in each block:
 *   z_i = norm(x_i);  q_i = z_i Wq + bq;  [k_i, v_i] = z_i Wkv          head h owns columns h*D/heads .. (h+1)*D/heads - 1
 *   w_i = softmax over j <= i of (q_i · k_j / sqrt(D / heads))          per head
 *   x_i = x_i + dropout(concat over heads(sum_j w_ij v_j) Wo + bo)
 *   x_i = x_i + dropout(relu(norm(x_i) W1 + b1) W2 + b2)
 * s = norm(x_{n-1}) + context C                                          the last row only; the last block computes no other query
 * ```
 *
 * @param options - see {@link SasRecOptions}.
 * @throws {InvalidArgumentError} when an option is out of its range or `width` is no multiple of `heads`.
 */
export function sasRec(options: SasRecOptions = {}): StateEncoder {
  const checked = checkOptions(sasRecOptions, options, 'sasRec');
  const { width, blocks, heads, historyLength, dropout } = checked;
  const feedForward = checked.feedForward ?? width;
  if (width % heads !== 0) {
    throw new InvalidArgumentError(
      `sasRec: expected \`width\` to be a multiple of \`heads\` (${heads}), got ${width}`,
      {
        argument: 'width',
        wanted: `a multiple of ${heads}`,
        got: width,
      },
    );
  }
  const encoder: StateEncoder = {
    name: `sasRec(width=${width}, blocks=${blocks}, heads=${heads}, historyLength=${historyLength}, dropout=${dropout}, feedForward=${feedForward})`,
    itemWidth: width,
    stateWidth: width,
    historyLength,
    init(rng, { contextWidth }) {
      const parameters: Record<string, NamedParameter> = {};
      const normal = (name: string, shape: readonly number[], deviation: number): void => {
        parameters[name] = normalParameter(rng.fork(name), shape, deviation);
      };
      const zero = (name: string, size: number): void => {
        parameters[name] = { shape: [size], data: new Float32Array(size) };
      };
      normal('position', [historyLength, width], 0.1 / Math.sqrt(width));
      normal('start', [width], 1 / Math.sqrt(width));
      if (contextWidth > 0) normal('context', [contextWidth, width], 1 / Math.sqrt(contextWidth));
      for (let block = 0; block < blocks; block++) {
        const at = `block${block}`;
        normal(`${at}/query/w`, [width, width], 1 / Math.sqrt(width));
        zero(`${at}/query/b`, width);
        normal(`${at}/keyValue/w`, [width, 2 * width], 1 / Math.sqrt(width));
        normal(`${at}/output/w`, [width, width], 1 / Math.sqrt(width));
        zero(`${at}/output/b`, width);
        normal(`${at}/feed1/w`, [width, feedForward], Math.sqrt(2 / width));
        zero(`${at}/feed1/b`, feedForward);
        normal(`${at}/feed2/w`, [feedForward, width], 1 / Math.sqrt(feedForward));
        zero(`${at}/feed2/b`, width);
      }
      return parameters;
    },
    apply(params, input) {
      const p = (name: string): tf.Tensor => params[name] as tf.Tensor;
      const linear = (x: tf.Tensor2D, name: string): tf.Tensor2D =>
        tf.fused.matMul({ a: x, b: p(`${name}/w`) as tf.Tensor2D, bias: p(`${name}/b`) }) as tf.Tensor2D;
      const attention = new Attention(input, width, heads);
      let x = embed(p, input);
      for (let block = 0; block < blocks; block++) {
        const at = `block${block}`;
        const z = normaliseRows(x, EPSILON);
        const weights: AttentionWeights = {
          query: p(`${at}/query/w`) as tf.Tensor2D,
          queryBias: p(`${at}/query/b`) as tf.Tensor1D,
          keyValue: p(`${at}/keyValue/w`) as tf.Tensor2D,
          output: p(`${at}/output/w`) as tf.Tensor2D,
          outputBias: p(`${at}/output/b`) as tf.Tensor1D,
        };
        let attended: tf.Tensor2D;
        if (block === blocks - 1) {
          // Only the state of the last item is read, so the last block asks for no other.
          x = attention.lastOf(x);
          attended = attention.fromLast(attention.lastOf(z), z, weights);
        } else {
          attended = attention.fromAll(z, weights);
        }
        x = tf.add<tf.Tensor2D>(x, input.dropout(attended, dropout));
        const hidden: tf.Tensor2D = tf.relu(linear(normaliseRows(x, EPSILON), `${at}/feed1`));
        x = tf.add<tf.Tensor2D>(x, input.dropout(linear(hidden, `${at}/feed2`), dropout));
      }
      const state: tf.Tensor2D = normaliseRows(x, EPSILON);
      if (input.context === undefined) return state;
      return tf.add<tf.Tensor2D>(state, tf.matMul(input.context, p('context') as tf.Tensor2D));
    },
  };
  const form: SasRecForm = { kind: 'sasRec', width, blocks, heads, historyLength, dropout, feedForward };
  // Not enumerable: whoever spreads an encoder to give it another `apply` does not take the description along.
  return Object.defineProperty(encoder, 'form', { value: form });

  /** Item vectors, the start vector of empty histories and positions: `[B * L, D]`. */
  function embed(p: (name: string) => tf.Tensor, input: EncoderInput): tf.Tensor2D {
    const [rows, length] = input.items.shape;
    const position = length === historyLength ? p('position') : tf.slice(p('position'), 0, length);
    let x = tf.add(input.items, position);
    if (input.lengthValues.includes(0)) {
      const isEmpty = new Float32Array(rows * length);
      for (let row = 0; row < rows; row++) if (input.lengthValues[row] === 0) isEmpty[row * length] = 1;
      x = tf.add(x, tf.mul(tf.tensor3d(isEmpty, [rows, length, 1]), p('start')));
    }
    return input.dropout(tf.reshape(x, [rows * length, width]), dropout) as tf.Tensor2D;
  }
}

interface AttentionWeights {
  readonly query: tf.Tensor2D;
  readonly queryBias: tf.Tensor1D;
  readonly keyValue: tf.Tensor2D;
  readonly output: tf.Tensor2D;
  readonly outputBias: tf.Tensor1D;
}

/**
 * Attention over one batch of B rows and L columns. All index arithmetic is done in plain numbers, and nothing of the
 * size of the batch is transposed, gathered or split, all of which tfjs-wasm does element by element at 150 ns each:
 * heads are told apart by zeroing the other heads' columns in copies of the (small) weights.
 */
class Attention {
  readonly #rows: number;
  readonly #length: number;
  readonly #lengths: Int32Array;
  /** `[heads, D]`: 1 where the column belongs to the head. */
  readonly #headMask: Float32Array;
  #isLast: tf.Tensor3D | undefined;

  constructor(
    input: EncoderInput,
    private readonly width: number,
    private readonly heads: number,
  ) {
    this.#rows = input.items.shape[0];
    this.#length = input.items.shape[1];
    // An empty history is the one-item history of the start vector.
    this.#lengths = input.lengthValues.map((length) => Math.max(length, 1));
    const headWidth = width / heads;
    this.#headMask = new Float32Array(heads * width);
    for (let head = 0; head < heads; head++) {
      this.#headMask.fill(1, head * width + head * headWidth, head * width + (head + 1) * headWidth);
    }
  }

  /** Each row's last token: `[B * L, D]` to `[B, D]`, by a product with its one-hot position. */
  lastOf(x: tf.Tensor2D): tf.Tensor2D {
    const { width } = this;
    const [B, L] = [this.#rows, this.#length];
    if (L === 1) return x;
    if (this.#isLast === undefined) {
      const flags = new Float32Array(B * L);
      for (let row = 0; row < B; row++) flags[row * L + (this.#lengths[row] as number) - 1] = 1;
      this.#isLast = tf.tensor3d(flags, [B, 1, L]);
    }
    return tf.reshape(tf.matMul(this.#isLast, tf.reshape(x, [B, L, width])), [B, width]);
  }

  /** Every token asks, sees itself and older ones, and hence no padding (which is newer): `[B * L, D]`. */
  fromAll(z: tf.Tensor2D, weights: AttentionWeights): tf.Tensor2D {
    const { width, heads } = this;
    const [B, L] = [this.#rows, this.#length];
    const future = new Float32Array(L * heads * L);
    for (let row = 0; row < L * heads; row++) {
      future.fill(EXCLUDED, row * L + Math.floor(row / heads) + 1, (row + 1) * L);
    }
    const [keyWeight, valueWeight] = tf.split(weights.keyValue, 2, 1) as [tf.Tensor2D, tf.Tensor2D];
    const queries = tf.reshape(this.#queries(z, weights), [B, L * heads, width]);
    const keys = tf.reshape(tf.matMul(z, keyWeight), [B, L, width]);
    const values = tf.reshape(tf.matMul(z, valueWeight), [B, L, width]);
    const scores = tf.matMul(queries, keys, false, true);
    const mixed = tf.matMul(tf.softmax(tf.add<tf.Tensor3D>(scores, tf.tensor3d(future, [1, L * heads, L]))), values);
    return this.#output(tf.reshape(mixed, [B * L, heads * width]), weights);
  }

  /**
   * Only the last token of each row asks: `[B, D]`. Since `q · (z Wk) = (q Wk') · z` and `sum w (z Wv) = (sum w z) Wv`,
   * keys and values of the L tokens are never made.
   *
   * @param last - `[B, D]`, the last tokens of `z`.
   */
  fromLast(last: tf.Tensor2D, z: tf.Tensor2D, weights: AttentionWeights): tf.Tensor2D {
    const { width, heads } = this;
    const [B, L] = [this.#rows, this.#length];
    const [keyWeight, valueWeight] = tf.split(weights.keyValue, 2, 1) as [tf.Tensor2D, tf.Tensor2D];
    const queries: tf.Tensor2D = tf.reshape(this.#queries(last, weights), [B * heads, width]);
    const asking = tf.reshape(tf.matMul(queries, keyWeight, false, true), [B, heads, width]);
    const tokens: tf.Tensor3D = tf.reshape(z, [B, L, width]);
    const scores: tf.Tensor3D = tf.matMul(asking, tokens, false, true);
    const mixed = tf.matMul(tf.softmax(this.#withoutPadding(scores)), tokens);
    const values = tf.matMul<tf.Tensor2D>(tf.reshape(mixed, [B * heads, width]), valueWeight);
    return this.#output(tf.reshape(values, [B, heads * width]), weights);
  }

  #withoutPadding(scores: tf.Tensor3D): tf.Tensor3D {
    const [B, L] = [this.#rows, this.#length];
    if (this.#lengths.every((length) => length === L)) return scores;
    const padding = new Float32Array(B * L);
    for (let row = 0; row < B; row++) padding.fill(EXCLUDED, row * L + (this.#lengths[row] as number), (row + 1) * L);
    return tf.add(scores, tf.tensor3d(padding, [B, 1, L]));
  }

  /** Scaled queries `[N, heads * D]`: those of a head are 0 in the other heads' columns. */
  #queries(x: tf.Tensor2D, { query, queryBias }: AttentionWeights): tf.Tensor2D {
    const { width, heads } = this;
    const scale = 1 / Math.sqrt(width / heads);
    const mask = this.#headMask.map((flag) => flag * scale);
    const spread: tf.Tensor3D = tf.mul(tf.reshape(query, [width, 1, width]), tf.tensor3d(mask, [1, heads, width]));
    const w: tf.Tensor2D = tf.reshape(spread, [width, heads * width]);
    // Joined, not reshaped: tfjs-wasm's fused product looks at the shape the bias was made with.
    const b: tf.Tensor1D = tf.mul(tf.concat1d(Array<tf.Tensor1D>(heads).fill(queryBias)), tf.tensor1d(mask));
    return tf.fused.matMul({ a: x, b: w, bias: b }) as tf.Tensor2D;
  }

  /** `mixed` is `[N, heads * D]`; of a head's D columns only its own are read. */
  #output(mixed: tf.Tensor2D, { output, outputBias }: AttentionWeights): tf.Tensor2D {
    const { width, heads } = this;
    const mask = tf.tensor3d(this.#headMask, [heads, width, 1]);
    const w: tf.Tensor2D = tf.reshape(tf.mul(output, mask), [heads * width, width]);
    return tf.fused.matMul({ a: mixed, b: w, bias: outputBias }) as tf.Tensor2D;
  }
}
