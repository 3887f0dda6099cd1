import * as tf from '@tensorflow/tfjs';
import { checkNumber, checkObject } from '../foundation/arguments.js';
import { DisposedError, InvalidArgumentError } from '../foundation/errors.js';
import { requireBackend } from './backend.js';
import { Categorical } from './categorical.js';
import { FullHead, ListHead, ValueHead } from './heads.js';
import type { HistoryBatch } from './history-batch.js';
import type {
  Cotangents,
  Head,
  Kernels,
  SampledActions,
  ScoreArrays,
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
import { checkWant, type ScoringCall, scoringCall } from './scoring-call.js';
import { Tower, type TowerName } from './tower.js';

type Output = keyof ScoreArrays;

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
    const needsPlanes = Object.entries(want ?? {}).some(([name, part]) => name !== 'value' && part !== undefined);
    const call = scoringCall(this.spec, batch, options, needsPlanes);
    const checked = checkWant(this.spec, call, want);
    const names = OUTPUTS.filter((name) => isAsked(checked, name));
    const joined = download(() => this.#pass(call, checked, names, false).compute());
    this.#last = { call, want: checked, version: this.store.version };
    const scores: Partial<Record<Output, Float32Array>> = {};
    let offset = 0;
    for (const name of names) {
      const size = sizeOf(name, call, checked);
      scores[name] = joined.slice(offset, offset + size);
      offset += size;
    }
    return scores as Scores<W>;
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

  sample(batch: HistoryBatch, uniforms: Float64Array, options: ScoreOptions = {}): SampledActions {
    const { call, categorical } = this.#categorical(batch, options);
    if (!(uniforms instanceof Float64Array) || uniforms.length !== call.size) {
      throw new InvalidArgumentError(
        `Expected \`uniforms\` to be a Float64Array of ${call.size}, got length ${uniforms?.length}`,
        {
          argument: 'uniforms',
          wanted: `${call.size} numbers`,
          got: uniforms?.length,
        },
      );
    }
    const bad = uniforms.findIndex((u) => !(u >= 0 && u < 1));
    if (bad >= 0) {
      throw new InvalidArgumentError(`Expected \`uniforms\` to be in [0, 1), got ${uniforms[bad]} in row ${bad}`, {
        argument: `uniforms[${bad}]`,
        wanted: 'a number in [0, 1)',
        got: uniforms[bad],
      });
    }
    return categorical.sample(uniforms);
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

  #categorical(batch: HistoryBatch, options: ScoreOptions): { call: ScoringCall; categorical: Categorical } {
    this.#checkAlive();
    const call = scoringCall(this.spec, batch, options, true);
    const logits = download(() => {
      const leaves = new Leaves(this.store, this.#tensors);
      const tower = new Tower(leaves, this.spec, call, 'policy');
      // The mask is applied in plain loops, after the download.
      const head = new FullHead(leaves, this.spec, call, 'actor', { tower, differentiable: false, isMasked: false });
      return head.scores();
    });
    const { excluded, temperature } = call;
    return { call, categorical: new Categorical(logits, { itemCount: this.spec.itemCount, excluded, temperature }) };
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

function isAsked(want: Want, name: Output): boolean {
  switch (name) {
    case 'logProb':
      return want.logProbOf !== undefined;
    case 'scores':
      return want.scoresOf !== undefined;
    default:
      return want[name] !== undefined;
  }
}

function sizeOf(name: Output, call: ScoringCall, want: Want): number {
  return name === 'scores' ? call.size * (want.scoresOf?.width ?? 0) : call.size;
}

function checkCotangents(cotangents: Cotangents, call: ScoringCall, want: Want): void {
  checkObject('backward', 'cotangents', cotangents);
  for (const [name, cotangent] of Object.entries(cotangents)) {
    if (cotangent === undefined) continue;
    const output = OUTPUTS.find((known) => known === name && known !== 'maxScore');
    if (output === undefined || !isAsked(want, output)) {
      throw new InvalidArgumentError(
        `backward: expected cotangents of outputs that the last forward gave, got one of \`${name}\``,
        {
          argument: name,
          wanted: 'an output of the last forward (maxScore has no gradient)',
          got: name,
        },
      );
    }
    const size = sizeOf(output, call, want);
    if (!(cotangent instanceof Float32Array) || cotangent.length !== size) {
      throw new InvalidArgumentError(
        `backward: expected the cotangent of \`${name}\` to be a Float32Array of ${size}, got length ${cotangent?.length}`,
        {
          argument: name,
          wanted: `${size} numbers`,
          got: cotangent?.length,
        },
      );
    }
  }
}

/** The tables of the heads tell whether a store was made for a model; the encoder's parameters are its own affair. */
function checkStore(spec: ModelSpec, store: ParameterStore): void {
  const heads: readonly Head[] = spec.critic === 'action' ? ['actor', 'critic'] : ['actor'];
  const wanted = new Map<string, readonly number[]>();
  for (const head of heads) {
    wanted.set(`${head}/bias`, [spec.itemCount]);
    if (spec.items !== 'text') wanted.set(`${head}/id`, [spec.itemCount, spec.encoder.stateWidth]);
    if (spec.items !== 'id')
      wanted.set(`${head}/projection`, [spec.itemFeatureWidth as number, spec.encoder.stateWidth]);
    if (spec.historyFeatures !== undefined) wanted.set(`${head}/history`, [spec.historyFeatures.names.length]);
  }
  if (spec.critic === 'state')
    wanted.set('value/w2', [spec.valueHidden > 0 ? spec.valueHidden : spec.encoder.stateWidth, 1]);
  for (const [name, shape] of wanted) {
    const got = store.get(name).shape;
    if (got.length === shape.length && got.every((size, axis) => size === shape[axis])) continue;
    throw new InvalidArgumentError(
      `createKernels: expected parameter '${name}' to have the model's shape [${shape}], got [${got}]`,
      {
        argument: name,
        wanted: `[${shape}]`,
        got,
      },
    );
  }
}
