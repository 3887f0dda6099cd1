import * as tf from '@tensorflow/tfjs';
import { Leaves, ParameterTensors } from '../leaves.js';
import type { ModelSpec } from '../model.js';
import type { ParameterStore } from '../parameter-store.js';
import { type CheckedCall, denseCall } from '../scoring-call.js';
import { Tower, type TowerName } from '../tower.js';
import type { Engine } from './engine.js';
import { EngineBuffers } from './engine-buffers.js';
import type { EngineStore } from './engine-store.js';
import type { FeatureMatrix } from './feature-matrix.js';
import { FusedTower } from './fused-tower.js';

/** From histories to states, in engine memory. Who makes one disposes it. */
export interface StateTower {
  /**
   * The states of a batch, and of the next histories after them.
   *
   * @param use - `train` is remembered for {@link StateTower.backward}; `act` disturbs nothing.
   * @param call - the batch.
   * @param next - the next histories, row for row, if they are wanted.
   * @returns pointer to `[B, D]`, or `[2 B, D]` with next histories; good until the next call of the same use.
   */
  forward(use: 'train' | 'act', call: CheckedCall, next: CheckedCall | undefined): number;
  /**
   * Adds the gradient of the last `train` forward to the parameters'; nothing flows back from next histories.
   *
   * @param stateGradient - pointer to the gradient by the states `[B, D]`.
   * @param rows - B.
   */
  backward(stateGradient: number, rows: number): void;
  /** Frees everything. Idempotent. */
  dispose(): void;
}

/** What towers are made of. */
export interface TowerParts {
  /** The engine. */
  readonly engine: Engine;
  /** The parameters in engine memory. */
  readonly parameters: EngineStore;
  /** The same parameters by name. */
  readonly store: ParameterStore;
  /** The model. */
  readonly spec: ModelSpec;
  /** Item features, where item vectors are made of any. */
  readonly features: FeatureMatrix | undefined;
}

/** The fused form of the model's encoder, or the encoder itself in tfjs where it has none. */
export function makeTower(name: TowerName, parts: TowerParts): StateTower {
  const { form } = parts.spec.encoder;
  return form === undefined ? new TfjsTower(name, parts) : new FusedTower(name, form, parts);
}

/** An encoder of the user's own: its states by tfjs, its gradient by tfjs's differentiation from that of the states. */
class TfjsTower implements StateTower {
  readonly #name: TowerName;
  readonly #parts: TowerParts;
  readonly #buffers: EngineBuffers;
  readonly #tensors: ParameterTensors;
  #call: CheckedCall | undefined;

  constructor(name: TowerName, parts: TowerParts) {
    this.#name = name;
    this.#parts = parts;
    this.#buffers = new EngineBuffers(parts.engine);
    this.#tensors = new ParameterTensors(parts.store);
  }

  forward(use: 'train' | 'act', call: CheckedCall, next: CheckedCall | undefined): number {
    const { engine, spec } = this.#parts;
    const batches = next === undefined ? [call] : [call, next];
    const count = call.size * spec.encoder.stateWidth;
    const pointer = this.#buffers.reserve(use, batches.length * count * 4);
    for (const [place, batch] of batches.entries()) {
      tf.tidy(() => {
        const { tower } = this.#tower(batch);
        engine.f32(pointer + place * count * 4, count).set(tower.states().dataSync());
      });
    }
    if (use === 'train') this.#call = call;
    return pointer;
  }

  backward(stateGradient: number, rows: number): void {
    const { engine, spec } = this.#parts;
    const width = spec.encoder.stateWidth;
    tf.tidy(() => {
      const { leaves, tower } = this.#tower(this.#call as CheckedCall);
      // A copy: tfjs reads the array only when an operation needs it.
      const cotangent = tf.tensor1d(Float32Array.from(engine.f32(stateGradient, rows * width)));
      leaves.differentiate(() => tf.reshape(tower.states(), [-1]), cotangent);
    });
  }

  dispose(): void {
    this.#buffers.dispose();
    this.#tensors.dispose();
  }

  #tower(call: CheckedCall): { leaves: Leaves; tower: Tower } {
    const { store, spec } = this.#parts;
    const leaves = new Leaves(store, this.#tensors);
    return { leaves, tower: new Tower(leaves, spec, denseCall(spec, call, EMPTY, false), this.#name) };
  }
}

/** A tower reads windows, not batches. */
const EMPTY = { size: 0, length: 0, items: new Int32Array(0), lengths: new Int32Array(0), contextWidth: 0 };
