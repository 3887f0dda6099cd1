import type { HistoryBatch } from './history-batch.js';
import type { Mask } from './mask.js';
import type { ModelSpec } from './model.js';
import type { Adam, StepResult } from './optimiser.js';
import type { ParameterStore } from './parameter-store.js';

/** A head that scores every item: the policy's logits, or Q(s, ·) of a critic over actions. */
export type Head = 'actor' | 'critic';

/** What a forward pass shall compute; only what is asked for is computed. */
export interface Want {
  /** log pi(a|s) of one item for each row, `[B]`. An item that the mask excludes is refused. */
  readonly logProbOf?: Int32Array;
  /**
   * Raw scores of listed items, neither masked nor divided by the temperature: `items` is `[B, width]`, row-major. In
   * the actor's head the index A (= `itemCount`) means None, whose score is the scalar `actor/none`.
   */
  readonly scoresOf?: {
    /** Whose scores. */
    readonly head: Head;
    /** Item indices, `[B, width]`. */
    readonly items: Int32Array;
    /** Items a row, >= 1. */
    readonly width: number;
  };
  /** max over the unmasked items of the head's scores (the actor's are not divided by the temperature). */
  readonly maxScore?: Head;
  /** E_pi[Q] = sum over items of pi(a|s) Q(s, a), under mask and temperature; needs `critic: 'action'`. */
  readonly expectedScore?: true;
  /** Entropy of pi(·|s) in nats, under mask and temperature. */
  readonly entropy?: true;
  /** V(s); needs `critic: 'state'`. */
  readonly value?: true;
  /** Numbers of the states that follow, as targets are made of. */
  readonly next?: NextWant;
}

/**
 * What {@link Want.next} asks of the states that follow those of the batch, row for row; at least one number. It is what
 * a `forward` of its own on `histories` would give, under the same mask (`noRepeat` excludes the items of these
 * histories; `excludeRows` is refused, for it could be meant for either) and temperature, never with dropout. It is
 * data: nothing flows back through it. `value` alone reads no mask, so that a row with nothing left to show has one.
 *
 * One causal pass gives both where it is exact: no dropout, every next history is its history plus one item, and fits
 * `historyLength`; checked row by row, otherwise two passes.
 */
export interface NextWant {
  /** The next histories: as many rows as the batch, the same context width. */
  readonly histories: HistoryBatch;
  /** max over the unmasked items of the head's scores. */
  readonly maxScore?: Head;
  /** V(s'); needs `critic: 'state'`. */
  readonly value?: true;
  /** E_pi[Q] at s'; needs `critic: 'action'`. */
  readonly expectedScore?: true;
}

/** Every number a forward pass can give; each is `[B]` but `scores`, which is `[B, width]`. */
export interface ScoreArrays {
  /** log pi(a|s) of `logProbOf`, `[B]`. */
  readonly logProb: Float32Array;
  /** The scores of `scoresOf`, `[B, width]`. */
  readonly scores: Float32Array;
  /** The largest score of an unmasked item, `[B]`. */
  readonly maxScore: Float32Array;
  /** E_pi[Q], `[B]`. */
  readonly expectedScore: Float32Array;
  /** Entropy in nats, `[B]`. */
  readonly entropy: Float32Array;
  /** V(s), `[B]`. */
  readonly value: Float32Array;
}

/** The names of {@link ScoreArrays} that a given {@link Want} asks for. */
export type AskedFor<W extends Want> =
  | (W extends Required<Pick<Want, 'logProbOf'>> ? 'logProb' : never)
  | (W extends Required<Pick<Want, 'scoresOf'>> ? 'scores' : never)
  | (W extends Required<Pick<Want, 'maxScore'>> ? 'maxScore' : never)
  | (W extends Required<Pick<Want, 'expectedScore'>> ? 'expectedScore' : never)
  | (W extends Required<Pick<Want, 'entropy'>> ? 'entropy' : never)
  | (W extends Required<Pick<Want, 'value'>> ? 'value' : never);

/** The numbers that {@link NextWant} can ask for, each `[B]`. */
export type NextArrays = Pick<ScoreArrays, 'maxScore' | 'value' | 'expectedScore'>;

/** The names of {@link NextArrays} that a given {@link NextWant} asks for. */
export type NextAskedFor<N extends NextWant> =
  | (N extends Required<Pick<NextWant, 'maxScore'>> ? 'maxScore' : never)
  | (N extends Required<Pick<NextWant, 'value'>> ? 'value' : never)
  | (N extends Required<Pick<NextWant, 'expectedScore'>> ? 'expectedScore' : never);

/** What `forward` gives of the next states: exactly the numbers asked for. */
export type NextScores<N extends NextWant = NextWant> = Readonly<Partial<NextArrays>> &
  Readonly<Pick<NextArrays, NextAskedFor<N>>>;

/** What `forward` gives: exactly the numbers asked for. */
export type Scores<W extends Want = Want> = Readonly<Partial<ScoreArrays>> &
  Readonly<Pick<ScoreArrays, AskedFor<W>>> &
  (W extends {
    /** What is asked of the next states. */
    readonly next: infer N extends NextWant;
  }
    ? NextPart<N>
    : OptionalNextPart);

/** The part of {@link Scores} about the next states, where they were asked for. */
export interface NextPart<N extends NextWant = NextWant> {
  /** Numbers of the next states. */
  readonly next: NextScores<N>;
}

/** The same where it is open whether they were. */
export interface OptionalNextPart {
  /** Numbers of the next states, if they were asked for. */
  readonly next?: NextScores;
}

/**
 * d loss / d output for outputs of the last forward; same sizes as the outputs. `maxScore` has none (targets are data);
 * that of `expectedScore` flows into the actor only (Q is data).
 */
export interface Cotangents {
  /** d loss / d logProb, `[B]`. */
  readonly logProb?: Float32Array;
  /** d loss / d scores, `[B, width]`. */
  readonly scores?: Float32Array;
  /** d loss / d expectedScore, `[B]`; flows into the actor and its encoder only. */
  readonly expectedScore?: Float32Array;
  /** d loss / d entropy, `[B]`. */
  readonly entropy?: Float32Array;
  /** d loss / d value, `[B]`. */
  readonly value?: Float32Array;
}

/** Options of every scoring call. */
export interface ScoreOptions {
  /** Items that may not be chosen; applied before the softmax. @default none */
  readonly mask?: Mask;
  /** Divides the actor's logits before the softmax, > 0. @default 1 */
  readonly temperature?: number;
  /** Makes this a training forward: dropout is on, its masks drawn from this seed. @default no dropout */
  readonly dropoutSeed?: number;
}

/** Options of {@link Kernels.sample}. */
export interface SampleOptions extends ScoreOptions {
  /** Also gives V(s), from the same pass; needs `critic: 'state'`. @default not */
  readonly value?: true;
}

/** Actions drawn from the policy, one for each row. */
export interface SampledActions {
  /** Item indices `[B]`. */
  readonly actions: Int32Array;
  /** log pi(a|s) of them under mask and temperature, `[B]`. */
  readonly logProb: Float32Array;
}

/** What `sample` gives: with `value` where the options ask for it, V(s) `[B]`. */
export type Sampled<O extends SampleOptions = SampleOptions> = SampledActions &
  (O extends Required<Pick<SampleOptions, 'value'>> ? ValuePart : OptionalValuePart);

/** The part of {@link Sampled} about V(s), where it was asked for. */
export interface ValuePart {
  /** V(s), `[B]`. */
  readonly value: Float32Array;
}

/** The same where it is open whether it was. */
export interface OptionalValuePart {
  /** V(s), `[B]`, if it was asked for. */
  readonly value?: Float32Array;
}

/** The k best items of each row. */
export interface TopItems {
  /** Item indices `[B, k]`, best first; equal scores by lower index. */
  readonly items: Int32Array;
  /** log pi(a|s) of them under mask and temperature, `[B, k]`. */
  readonly logProb: Float32Array;
}

/**
 * The one door to the model's arithmetic: scores out, cotangents in. Everything is a plain number or typed array; no
 * tensor crosses. All calls are synchronous, check their arguments and leak nothing.
 *
 * `forward`, `sample`, `topK` and `probabilities` throw {@link InvalidArgumentError} for a bad batch, mask or option
 * and {@link DisposedError} after `dispose()`. `forward` returns NaN where the parameters give NaN (the training loop
 * counts it); `sample`, `topK` and `probabilities` refuse logits that are not finite.
 */
export interface Kernels {
  /**
   * `reference`: plain tfjs ops with tfjs's own differentiation; `fused`: one fused engine; `hybrid`: the engine's heads
   * over an encoder that runs in tfjs.
   */
  readonly kind: 'reference' | 'hybrid' | 'fused';
  /** Which build of the engine computes, e.g. `relaxed-simd`; undefined for `reference`. */
  readonly variant?: string;
  /** How many threads the engine uses; undefined for `reference`. */
  readonly threads?: number;
  /** The tfjs backend it runs on, e.g. `wasm`. */
  readonly backend: string;
  /** The parameters; borrowed. */
  readonly store: ParameterStore;
  /** What the model is. */
  readonly spec: ModelSpec;
  /**
   * Computes what `want` asks for and remembers the call for {@link Kernels.backward}.
   *
   * @throws {InvalidArgumentError} also when the model has no head that `want` needs.
   */
  forward<W extends Want>(batch: HistoryBatch, want: W, options?: ScoreOptions): Scores<W>;
  /**
   * Adds the gradient of `sum(cotangent * output)` of the last forward to the gradients in the store. The parameters
   * must not have changed in between; `sample`, `topK` and `probabilities` in between do no harm.
   *
   * @throws {InvalidArgumentError} when there was no forward, or a cotangent's output was not asked for or has another size.
   */
  backward(cotangents: Cotangents): void;
  /**
   * Draws one action for each row by inverse CDF: the first item whose cumulative mass exceeds `u` times the total. A
   * masked item is never drawn.
   *
   * @param uniforms - one number of [0, 1) for each row.
   * @throws {InvalidArgumentError} also when `value` is asked of a model without one.
   */
  sample<O extends SampleOptions>(batch: HistoryBatch, uniforms: Float64Array, options?: O): Sampled<O>;
  /**
   * The k best unmasked items of each row; `topK(batch, 1)` is the argmax.
   *
   * @throws {InvalidArgumentError} when a row has fewer than k unmasked items.
   */
  topK(batch: HistoryBatch, k: number, options?: ScoreOptions): TopItems;
  /** pi(·|s), `[B, A]`; exactly 0 at masked items. For evaluation and tests; no training path needs it. */
  probabilities(batch: HistoryBatch, options?: ScoreOptions): Float32Array;
  /** One optimiser step on the gradients in the store, which are then zeroed (also when the step was not applied). */
  step(optimiser: Adam): StepResult;
  /** Frees everything the kernels hold; the store stays. Idempotent. */
  dispose(): void;
  /** The same as `dispose()`, for `using`. */
  [Symbol.dispose](): void;
}
