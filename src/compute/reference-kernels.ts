import * as tf from '@tensorflow/tfjs';
import { checkNumber } from '../foundation/arguments.js';
import { DisposedError, InvalidArgumentError } from '../foundation/errors.js';
import { requireBackend } from './backend.js';
import { Categorical } from './categorical.js';
import { checkCotangents, checkStore, checkUniforms, isAsked, type Output, sizeOf } from './door-checks.js';
import { FullHead, ListHead, ValueHead } from './heads.js';
import type { HistoryBatch } from './history-batch.js';
import type {
  Cotangents,
  Head,
  Kernels,
  NextWant,
  Sampled,
  SampleOptions,
  ScoreOptions,
  Scores,
  TopItems,
  Want,
} from './kernels.js';
import { Leaves, ParameterTensors } from './leaves.js';
import { checkModelSpec, type ModelSpec } from './model.js';
import { Adam, type StepResult } from './optimiser.js';
import type { ParameterStore } from './parameter-store.js';
import { policyOutputs } from './policy-outputs.js';
import {
  type CheckedCall,
  checkCall,
  checkNext,
  checkValue,
  checkWant,
  denseCall,
  type ScoringCall,
} from './scoring-call.js';
import { Tower, type TowerName } from './tower.js';

/** The order in which the outputs of a pass are laid end to end. */
const OUTPUTS: readonly Output[] = ['logProb', 'entropy', 'expectedScore', 'scores', 'value', 'maxScore'];
/** Those that come from the policy's distribution, in the order of {@link policyOutputs}. */
const POLICY_OUTPUTS: readonly Output[] = ['logProb', 'entropy', 'expectedScore'];

interface LastForward {
  readonly call: ScoringCall;
  readonly want: Want;
  readonly version: number;
}

/**
 * The model in plain tfjs ops, on any backend; gradients by tfjs's own differentiation. The test oracle of every other
 * kernels. `backward` runs the forward pass again inside a tape, so `forward` alone costs no tape.
 */
export class ReferenceKernels implements Kernels {
  readonly kind = 'reference';
  readonly backend: string;
  readonly store: ParameterStore;
  readonly spec: ModelSpec;
  readonly #tensors: ParameterTensors;
  #last: LastForward | undefined;
  #isDisposed = false;

  /**
   * @param spec - what the model is.
   * @param store - its parameters; borrowed.
   * @throws {InvalidArgumentError} when the spec is not consistent or the store is not of this model.
   * @throws {BackendError} when no backend was chosen yet.
   */
  constructor(spec: ModelSpec, store: ParameterStore) {
    checkModelSpec(spec, 'createKernels');
    checkStore(spec, store);
    this.backend = requireBackend().backend;
    this.spec = spec;
    this.store = store;
    this.#tensors = new ParameterTensors(store);
  }

  forward<W extends Want>(batch: HistoryBatch, want: W, options: ScoreOptions = {}): Scores<W> {
    this.#checkAlive();
    const checkedCall = checkCall(this.spec, batch, options);
    const checked = checkWant(this.spec, checkedCall, want);
    const next = want.next === undefined ? undefined : this.#nextCall(checkedCall, want.next, options);
    const names = OUTPUTS.filter((name) => isAsked(checked, name));
    const call = denseCall(this.spec, checkedCall, batch, needsItems(names));
    const scores = this.#scores(call, checked, names);
    const nextScores = next && { next: this.#scores(next.call, next.want, next.names) };
    this.#last = { call, want: checked, version: this.store.version };
    return { ...scores, ...nextScores } as Scores<W>;
  }

  backward(cotangents: Cotangents): void {
    this.#checkAlive();
    const last = this.#last;
    if (last === undefined) throw new InvalidArgumentError('backward: expected a forward before it, there was none');
    if (last.version !== this.store.version) {
      throw new InvalidArgumentError('backward: the parameters changed since the last forward; run forward again');
    }
    const { call, want } = last;
    checkCotangents(cotangents, call, want);
    const given = OUTPUTS.filter((name) => name !== 'maxScore' && cotangents[name] !== undefined);
    if (given.length === 0) return;
    const total = given.reduce((sum, name) => sum + sizeOf(name, call, want), 0);
    const joined = new Float32Array(total);
    let offset = 0;
    for (const name of given) {
      const cotangent = cotangents[name as keyof Cotangents] as Float32Array;
      joined.set(cotangent, offset);
      offset += cotangent.length;
    }
    tf.tidy(() => {
      const { leaves, compute } = this.#pass(call, want, given, true);
      leaves.differentiate(compute, tf.tensor1d(joined));
    });
  }

  sample<O extends SampleOptions>(batch: HistoryBatch, uniforms: Float64Array, options?: O): Sampled<O> {
    const { call, categorical, value } = this.#categorical(batch, options, ['value']);
    checkUniforms(uniforms, call.size);
    return { ...categorical.sample(uniforms), ...(value === undefined ? {} : { value }) } as Sampled<O>;
  }

  topK(batch: HistoryBatch, k: number, options: ScoreOptions = {}): TopItems {
    checkNumber('topK', 'k', k, { low: 1, high: this.spec.itemCount, integer: true });
    return this.#categorical(batch, options).categorical.topK(k);
  }

  probabilities(batch: HistoryBatch, options: ScoreOptions = {}): Float32Array {
    return this.#categorical(batch, options).categorical.probabilities();
  }

  step(optimiser: Adam): StepResult {
    this.#checkAlive();
    if (!(optimiser instanceof Adam)) {
      throw new InvalidArgumentError('step: expected `optimiser` to be an Adam', {
        argument: 'optimiser',
        got: optimiser,
      });
    }
    const result = optimiser.step(this.store);
    this.store.zeroGradients();
    return result;
  }

  dispose(): void {
    if (this.#isDisposed) return;
    this.#isDisposed = true;
    this.#last = undefined;
    this.#tensors.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #checkAlive(): void {
    if (this.#isDisposed) throw new DisposedError('Kernels');
  }

  /** Checks what is asked of the next states; `want` is that question as one about a batch of its own. */
  #nextCall(call: CheckedCall, { histories, ...want }: NextWant, { mask }: ScoreOptions) {
    const checked = checkNext(this.spec, call, { histories, ...want }, mask);
    const names = OUTPUTS.filter((name) => isAsked(want, name));
    return { call: denseCall(this.spec, checked, histories, needsItems(names)), want, names };
  }

  /** The outputs of one pass by name. */
  #scores(call: ScoringCall, want: Want, names: readonly Output[]): Partial<Record<Output, Float32Array>> {
    const scores: Partial<Record<Output, Float32Array>> = {};
    if (names.length === 0) return scores;
    const joined = download(() => this.#pass(call, want, names, false).compute());
    let offset = 0;
    for (const name of names) {
      const size = sizeOf(name, call, want);
      scores[name] = joined.slice(offset, offset + size);
      offset += size;
    }
    return scores;
  }

  /** The policy's distribution, and V(s) where the options ask for it. */
  #categorical(
    batch: HistoryBatch,
    options: SampleOptions = {},
    known: readonly string[] = [],
  ): { call: ScoringCall; categorical: Categorical; value: Float32Array | undefined } {
    this.#checkAlive();
    const checked = checkCall(this.spec, batch, options, known);
    if (options.value !== undefined) checkValue(this.spec, options.value, 'options.value');
    const call = denseCall(this.spec, checked, batch, true);
    const scores = download(() => {
      const leaves = new Leaves(this.store, this.#tensors);
      const heads = new Heads(leaves, this.spec, call, false);
      const tower = heads.tower('actor');
      // The mask is applied in plain loops, after the download.
      const head = new FullHead(leaves, this.spec, call, 'actor', { tower, differentiable: false, isMasked: false });
      if (options.value === undefined) return head.scores();
      const value = heads.output('value', { value: true });
      return tf.concat1d([tf.reshape(head.scores(), [-1]), value()]);
    });
    const { excluded, temperature } = call;
    const { itemCount } = this.spec;
    const logits = scores.subarray(0, call.size * itemCount);
    return {
      call,
      categorical: new Categorical(logits, { itemCount, excluded, temperature }),
      value: options.value && scores.slice(call.size * itemCount),
    };
  }

  /** Makes the leaves that `names` need at once; `compute` then is a function of them and gives the outputs end to end. */
  #pass(
    call: ScoringCall,
    want: Want,
    names: readonly Output[],
    differentiable: boolean,
  ): { leaves: Leaves; compute: () => tf.Tensor1D } {
    const leaves = new Leaves(this.store, this.#tensors);
    const heads = new Heads(leaves, this.spec, call, differentiable);
    // Q is data: when differentiating it is computed here, before the tape starts, from leaves of its own.
    const needsQ = names.includes('expectedScore');
    const q = needsQ && differentiable ? this.#criticScores(call) : undefined;
    const ofPolicy = names.filter((name) => POLICY_OUTPUTS.includes(name));
    const outputs: (() => tf.Tensor1D)[] = ofPolicy.length > 0 ? [heads.policy(ofPolicy, want, q)] : [];
    for (const name of names) if (!ofPolicy.includes(name)) outputs.push(heads.output(name, want));
    return {
      leaves,
      compute: () => {
        const results = outputs.map((output) => output());
        return results.length === 1 ? (results[0] as tf.Tensor1D) : tf.concat1d(results);
      },
    };
  }

  #criticScores(call: ScoringCall): tf.Tensor2D {
    return new Heads(new Leaves(this.store, this.#tensors), this.spec, call, false).full('critic').scores();
  }
}

/** The parts of one pass, each made once and shared by the outputs that need it. */
class Heads {
  readonly #towers = new Map<TowerName, Tower>();
  readonly #full = new Map<Head, FullHead>();

  constructor(
    private readonly leaves: Leaves,
    private readonly spec: ModelSpec,
    private readonly call: ScoringCall,
    private readonly differentiable: boolean,
  ) {}

  /** Makes the leaves of the outputs of the policy's distribution; the function it returns computes them end to end. */
  policy(names: readonly Output[], want: Want, q: tf.Tensor2D | undefined): () => tf.Tensor1D {
    const { temperature } = this.call;
    const actor = this.full('actor');
    const critic = names.includes('expectedScore') && q === undefined ? this.full('critic') : undefined;
    return () => {
      const logits = actor.scores();
      return policyOutputs(temperature === 1 ? logits : tf.mul<tf.Tensor2D>(logits, 1 / temperature), {
        logProbOf: names.includes('logProb') ? want.logProbOf : undefined,
        entropy: names.includes('entropy'),
        expected: names.includes('expectedScore') ? (q ?? critic?.scores()) : undefined,
      });
    };
  }

  /** Makes the leaves of one other output; the function it returns computes it. */
  output(name: Output, want: Want): () => tf.Tensor1D {
    switch (name) {
      case 'scores': {
        const list = want.scoresOf as NonNullable<Want['scoresOf']>;
        const head = new ListHead(this.leaves, this.spec, this.call, list, this.tower(list.head));
        return () => head.scores();
      }
      case 'value': {
        const head = new ValueHead(this.leaves, this.spec, this.tower('critic'));
        return () => head.values();
      }
      default: {
        const head = this.full(want.maxScore as Head);
        return () => tf.max(head.scores(), 1);
      }
    }
  }

  full(head: Head): FullHead {
    let made = this.#full.get(head);
    if (made === undefined) {
      const options = { tower: this.tower(head), differentiable: this.differentiable, isMasked: true };
      made = new FullHead(this.leaves, this.spec, this.call, head, options);
      this.#full.set(head, made);
    }
    return made;
  }

  tower(head: Head): Tower {
    const name = head === 'critic' && this.spec.valueEncoder === 'separate' ? 'value' : 'policy';
    let made = this.#towers.get(name);
    if (made === undefined) {
      made = new Tower(this.leaves, this.spec, this.call, name);
      this.#towers.set(name, made);
    }
    return made;
  }
}

/** Runs `compute` in a tidy and reads its result. */
function download(compute: () => tf.Tensor): Float32Array {
  let values: Float32Array | undefined;
  // Not returned from the tidy, which would look for tensors in every element of the array.
  tf.tidy(() => {
    values = compute().dataSync() as Float32Array;
  });
  return values as Float32Array;
}

/** Whether a head over items is scored: a state value reads neither mask nor history features. */
function needsItems(names: readonly Output[]): boolean {
  return names.some((name) => name !== 'value');
}
