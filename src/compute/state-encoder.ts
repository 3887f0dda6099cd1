import type * as tf from '@tensorflow/tfjs';
import type { Rng } from '../foundation/rng.js';

/** A named array of parameters as an encoder makes them: plain numbers, no tensor. */
export interface NamedParameter {
  /** Shape, row-major. */
  readonly shape: readonly number[];
  /** The values; as many as the shape's product. */
  readonly data: Float32Array;
}

/** The initial parameters of an encoder by name (without the `encoder/` prefix that the store adds). */
export type Parameters = Readonly<Record<string, NamedParameter>>;

/** What {@link StateEncoder.apply} gets: the last `historyLength` items of each history as vectors. L is the longest of the batch, at least 1. */
export interface EncoderInput {
  /** Item vectors `[B, L, E]`, oldest first and left-aligned; rows of zeros at padding. */
  readonly items: tf.Tensor3D;
  /** `[B, L]`: 1 at an item, 0 at padding. */
  readonly mask: tf.Tensor2D;
  /** Number of items of each row `[B]`, int32, each 0..L. */
  readonly lengths: tf.Tensor1D;
  /** The same lengths as plain numbers `[B]`, so that masks and indices can be computed without reading a tensor back. */
  readonly lengthValues: Int32Array;
  /** User context `[B, C]`, or undefined when the model has none. */
  readonly context: tf.Tensor2D | undefined;
  /**
   * Inverted dropout: zeros elements with probability `rate` and divides the others by `1 - rate` in a training
   * forward; the identity otherwise. The masks come from a counter-based generator and are the same in `backward`.
   */
  dropout<T extends tf.Tensor>(x: T, rate: number): T;
}

/** What `sasRec()` made, so that kernels can compute it themselves; the formula is in its documentation. */
export interface SasRecForm {
  /** Which encoder it is. */
  readonly kind: 'sasRec';
  /** Width of item vectors and states, E = D. */
  readonly width: number;
  /** Number of attention blocks, at least 1. */
  readonly blocks: number;
  /** Attention heads; divide the width. */
  readonly heads: number;
  /** How many last items it sees. */
  readonly historyLength: number;
  /** Dropout rate of training forwards, in [0, 1). */
  readonly dropout: number;
  /** Width of the hidden layer of the feed-forward part. */
  readonly feedForward: number;
}

/** A description of an encoder that kernels may compute in place of {@link StateEncoder.apply}. */
export type StateEncoderForm = SasRecForm;

/**
 * Turns histories into states, Eq. 4: `s = G(x_1:t)`. Pure: it holds no tensor and no parameter. The parameters that
 * `init` makes live in the {@link ParameterStore} under `encoder/` (and `valueEncoder/` for a separate critic), under
 * one optimiser and one clip with all others.
 *
 * `apply` is differentiated by tfjs, so it must be made of differentiable tfjs ops (use {@link gatherRows} in place of
 * `tf.gather`), must not read tensors back, and must not let padding change a row's state.
 */
export interface StateEncoder {
  /** Short name, shown in reports and stored in checkpoints. */
  readonly name: string;
  /** Width E of the item vectors it reads. */
  readonly itemWidth: number;
  /** Width D of the states it makes. */
  readonly stateWidth: number;
  /** How many last items of a history it sees, at least 1. */
  readonly historyLength: number;
  /**
   * The same encoder as a description, for kernels that compute it themselves; it must say exactly what
   * {@link StateEncoder.apply} does. An encoder of one's own has none: kernels then call `apply`.
   */
  readonly form?: StateEncoderForm;
  /**
   * Makes the initial parameters; the same `rng` gives the same values.
   *
   * @param rng - fork it by parameter name.
   * @param shape - `contextWidth` is the width C of the user context, 0 when there is none.
   */
  init(rng: Rng, shape: { readonly contextWidth: number }): Parameters;
  /**
   * Computes states `[B, D]` inside a `tf.tidy` of the kernels.
   *
   * @param params - the parameters of `init`, by the same names, as tensors that the kernels own.
   * @param input - see {@link EncoderInput}.
   */
  apply(params: Readonly<Record<string, tf.Tensor>>, input: EncoderInput): tf.Tensor2D;
}
