import * as tf from '@tensorflow/tfjs';
import fc from 'fast-check';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { useBackend } from '../../../src/compute/backend.js';
import { currentEngine, type Engine } from '../../../src/compute/fused/engine.js';
import { EngineStore } from '../../../src/compute/fused/engine-store.js';
import { FeatureMatrix } from '../../../src/compute/fused/feature-matrix.js';
import { FusedTower } from '../../../src/compute/fused/fused-tower.js';
import { type HistoryBatch, historyBatch } from '../../../src/compute/history-batch.js';
import { Leaves, ParameterTensors } from '../../../src/compute/leaves.js';
import { initParameters, type ModelSpec } from '../../../src/compute/model.js';
import type { ParameterStore } from '../../../src/compute/parameter-store.js';
import { type CheckedCall, checkCall, denseCall } from '../../../src/compute/scoring-call.js';
import type { SasRecForm } from '../../../src/compute/state-encoder.js';
import { Tower, type TowerName } from '../../../src/compute/tower.js';
import { type SasRecOptions, sasRec } from '../../../src/encoder/sasrec.js';
import { Rng } from '../../../src/foundation/rng.js';

let engine: Engine;
beforeAll(async () => {
  await useBackend('wasm', { threads: 2 });
  engine = currentEngine() as Engine;
});
const rigs: Rig[] = [];
afterEach(() => {
  for (const rig of rigs.splice(0)) rig.dispose();
  expect(engine.bytesInUse).toBe(0);
});
afterAll(() => engine.dispose());

/** A tower on the engine and the reference's on the same parameters, each in a store of its own. */
class Rig {
  readonly spec: ModelSpec;
  readonly store: ParameterStore;
  readonly fused: ParameterStore;
  readonly parameters: EngineStore;
  readonly tower: FusedTower;
  readonly rng: Rng;
  readonly #name: TowerName;
  readonly #features: FeatureMatrix | undefined;
  readonly #tensors: ParameterTensors;

  constructor(options: SasRecOptions, change: Partial<ModelSpec> = {}, seed = 1, name: TowerName = 'policy') {
    this.rng = new Rng(seed);
    const valueEncoder = name === 'value' ? 'separate' : 'shared';
    this.spec = {
      itemCount: 23,
      contextWidth: 0,
      encoder: sasRec(options),
      items: 'id',
      critic: name === 'value' ? 'state' : 'none',
      valueEncoder,
      valueHidden: 0,
      ...change,
    };
    this.store = initParameters(this.spec, this.rng.fork('weights'));
    // Biases too: nothing shall be right because it is 0.
    const noise = this.rng.fork('noise');
    for (const { data } of this.store.parameters()) {
      for (let i = 0; i < data.length; i++) data[i] = (data[i] as number) + 0.3 * noise.normal();
    }
    this.store.touch();
    this.fused = this.store.clone();
    this.#name = name;
    this.#tensors = new ParameterTensors(this.store);
    this.parameters = EngineStore.acquire(engine, this.fused);
    const { itemFeatures, itemCount } = this.spec;
    this.#features = itemFeatures && FeatureMatrix.acquire(engine, itemFeatures, itemCount);
    this.tower = new FusedTower(name, this.spec.encoder.form as SasRecForm, {
      engine,
      parameters: this.parameters,
      store: this.fused,
      spec: this.spec,
      features: this.#features,
    });
    rigs.push(this);
  }

  dispose(): void {
    this.tower.dispose();
    this.#features?.release();
    this.parameters.release();
    this.#tensors.dispose();
  }

  call(histories: number[][], dropoutSeed?: number): CheckedCall {
    const { contextWidth } = this.spec;
    const bare = historyBatch(histories);
    const context = Float32Array.from({ length: bare.size * contextWidth }, () => this.rng.normal());
    const batch: HistoryBatch = contextWidth === 0 ? bare : { ...bare, contextWidth, context };
    return checkCall(this.spec, batch, dropoutSeed === undefined ? {} : { dropoutSeed });
  }

  /** `rows` histories of random lengths, some empty, some longer than the window. */
  histories(rows: number): number[][] {
    const { itemCount, encoder } = this.spec;
    return Array.from({ length: rows }, () => {
      const length = this.rng.uniform() < 0.15 ? 0 : this.rng.integer(encoder.historyLength + 3);
      return Array.from({ length }, () => this.rng.integer(itemCount));
    });
  }

  states(use: 'train' | 'act', call: CheckedCall, next?: CheckedCall): Float32Array {
    const pointer = this.tower.forward(use, call, next);
    const rows = next === undefined ? call.size : 2 * call.size;
    return engine.f32(pointer, rows * this.spec.encoder.stateWidth).slice();
  }

  backward(cotangent: Float32Array): void {
    const pointer = engine.allocate(cotangent.length * 4);
    engine.f32(pointer, cotangent.length).set(cotangent);
    this.tower.backward(pointer, cotangent.length / this.spec.encoder.stateWidth);
    engine.free(pointer);
  }

  /** A gradient by the states: normal numbers, some rows zero. */
  cotangent(rows: number): Float32Array {
    const width = this.spec.encoder.stateWidth;
    const values = Float32Array.from({ length: rows * width }, () => this.rng.normal());
    for (let row = 0; row < rows; row++) if (this.rng.uniform() < 0.2) values.fill(0, row * width, (row + 1) * width);
    return values;
  }

  referenceStates(call: CheckedCall): Float32Array {
    return tf.tidy(() => this.#reference(call).tower.states().dataSync() as Float32Array).slice();
  }

  referenceBackward(call: CheckedCall, cotangent: Float32Array): void {
    tf.tidy(() => {
      const { leaves, tower } = this.#reference(call);
      leaves.differentiate(() => tf.reshape(tower.states(), [-1]), tf.tensor1d(cotangent));
    });
  }

  /** The largest difference of a gradient from the reference's, by norm, relative to it. */
  gradientError(): number {
    let worst = 0;
    for (const { name, gradient } of this.store.parameters()) {
      const { offset, length } = { offset: this.parameters.offsetOf(name), length: gradient.length };
      const got = engine.f32(this.parameters.gradient + offset, length);
      const difference = Math.hypot(...got.map((value, i) => value - (gradient[i] as number)));
      worst = Math.max(worst, difference / Math.max(Math.hypot(...gradient), 1e-3));
    }
    return worst;
  }

  gradients(): Record<string, Float32Array> {
    const entries = this.fused.parameters().map(({ name, gradient }) => [name, gradient.slice()] as const);
    return Object.fromEntries(entries);
  }

  #reference(call: CheckedCall): { leaves: Leaves; tower: Tower } {
    const leaves = new Leaves(this.store, this.#tensors);
    return { leaves, tower: new Tower(leaves, this.spec, denseCall(this.spec, call, NO_HISTORIES, false), this.#name) };
  }
}

/** What a tower needs of the batch itself beside the window: nothing. */
const NO_HISTORIES: HistoryBatch = historyBatch([[]]);

function largestDifference(a: Float32Array, b: Float32Array): number {
  expect(a.length).toBe(b.length);
  return a.reduce((worst, value, i) => Math.max(worst, Math.abs(value - (b[i] as number))), 0);
}

/** Number of heads and their width, whose product is a multiple of 4: padded ones among them. */
const HEADS = [
  [1, 4],
  [2, 2],
  [4, 1],
  [4, 3],
  [2, 6],
  [4, 5],
  [2, 8],
  [3, 4],
  [2, 16],
] as const;

const models = fc.record({
  seed: fc.nat(2 ** 31 - 1),
  rows: fc.integer({ min: 1, max: 24 }),
  heads: fc.constantFrom(...HEADS),
  blocks: fc.integer({ min: 1, max: 3 }),
  feedForward: fc.integer({ min: 1, max: 10 }),
  historyLength: fc.constantFrom(1, 2, 3, 5, 8, 12, 19),
  dropout: fc.constantFrom(0, 0.3),
  itemCount: fc.integer({ min: 2, max: 60 }),
  items: fc.constantFrom('id', 'text', 'id+text'),
  featureWidth: fc.integer({ min: 1, max: 40 }),
  contextWidth: fc.constantFrom(0, 1, 3),
  next: fc.constantFrom('none', 'extended', 'others'),
  tower: fc.constantFrom('policy', 'value'),
});
type Model = typeof models extends fc.Arbitrary<infer T> ? T : never;

function rigOf(model: Model): Rig {
  const { heads, blocks, feedForward, historyLength, dropout, itemCount, items, contextWidth } = model;
  const width = heads[0] * heads[1];
  const rng = new Rng(model.seed);
  const features = Float32Array.from({ length: itemCount * model.featureWidth }, () => rng.normal());
  const text = items === 'id' ? {} : { itemFeatures: features, itemFeatureWidth: model.featureWidth };
  const options = { width, heads: heads[0], blocks, historyLength, dropout, feedForward: 4 * feedForward };
  return new Rig(options, { itemCount, items, contextWidth, ...text }, model.seed, model.tower);
}

describe('FusedTower', () => {
  // A rectified unit within rounding of 0 would make a gradient jump: with this seed none is.
  it('gives the states and all gradients of the reference, for random models and histories', () => {
    fc.assert(
      fc.property(models, (model) => {
        const rig = rigOf(model);
        const histories = rig.histories(model.rows);
        const call = rig.call(histories, model.dropout > 0 ? model.seed * 2 ** 21 + 5 : undefined);
        const extended = histories.map((history) => [...history, rig.rng.integer(model.itemCount)]);
        const later = model.next === 'extended' ? extended : rig.histories(model.rows);
        const next = model.next === 'none' ? undefined : rig.call(later);
        const wanted = [call, ...(next === undefined ? [] : [next])].map((each) => rig.referenceStates(each));
        const states = rig.states('train', call, next);
        expect(largestDifference(states, Float32Array.from(wanted.flatMap((each) => [...each])))).toBeLessThan(3e-5);
        expect(rig.states('act', call, next)).toEqual(states);
        // Two backward passes add up.
        for (let pass = 0; pass < 2; pass++) {
          const cotangent = rig.cotangent(model.rows);
          rig.backward(cotangent);
          rig.referenceBackward(call, cotangent);
        }
        expect(rig.gradientError()).toBeLessThan(1e-4);
        rigs.pop()?.dispose();
      }),
      { seed: 20, numRuns: 80 },
    );
  });

  it('fits a window of 200', () => {
    const rig = new Rig({ width: 8, heads: 2, blocks: 2, historyLength: 200 });
    const call = rig.call(
      Array.from({ length: 5 }, (_, row) => Array.from({ length: 40 * row + 41 }, (_, i) => i % 23)),
    );
    expect(largestDifference(rig.states('train', call), rig.referenceStates(call))).toBeLessThan(3e-5);
    const cotangent = rig.cotangent(5);
    rig.backward(cotangent);
    rig.referenceBackward(call, cotangent);
    expect(rig.gradientError()).toBeLessThan(1e-4);
  });

  it('gives next states from one causal pass that are those of a pass of their own, to the bit', () => {
    const rig = new Rig({ width: 16, heads: 2, blocks: 3, historyLength: 12 }, { contextWidth: 2 });
    const histories = rig.histories(21);
    const later = rig.call(histories.map((history, row) => [...history, row % 23]));
    const both = rig.states('train', rig.call(histories), later);
    expect(rig.states('act', later)).toEqual(both.subarray(21 * 16));
  });

  it('gives the same bits with one thread and with two', () => {
    const results = [1, 2].map((threads) => {
      engine.setThreads(threads);
      const features = Float32Array.from({ length: 23 * 30 }, (_, i) => Math.sin(i));
      const text = { items: 'id+text', itemFeatures: features, itemFeatureWidth: 30 } as const;
      const rig = new Rig({ width: 16, heads: 2, blocks: 2, historyLength: 9, dropout: 0.2 }, text);
      const states = rig.states('train', rig.call(rig.histories(70), 4), rig.call(rig.histories(70)));
      rig.backward(rig.cotangent(70));
      return { states, gradients: rig.gradients() };
    });
    expect(results[1]).toEqual(results[0]);
  });

  it('drops by the seed: another one gives other states', () => {
    const rig = new Rig({ width: 8, heads: 2, blocks: 2, historyLength: 6, dropout: 0.4 });
    const histories = rig.histories(9);
    const states = rig.states('train', rig.call(histories, 2 ** 40 + 1));
    expect(largestDifference(states, rig.referenceStates(rig.call(histories, 2 ** 40 + 1)))).toBeLessThan(3e-5);
    expect(largestDifference(states, rig.referenceStates(rig.call(histories, 1)))).toBeGreaterThan(0.1);
  });

  it('is not disturbed by acting between forward and backward', () => {
    const [undisturbed, disturbed] = [false, true].map((isDisturbed) => {
      const rig = new Rig({ width: 8, heads: 2, blocks: 2, historyLength: 6 });
      rig.states('train', rig.call(rig.histories(9)));
      const cotangent = rig.cotangent(9);
      if (isDisturbed) rig.states('act', rig.call(rig.histories(40)));
      rig.backward(cotangent);
      return rig.gradients();
    });
    expect(disturbed).toEqual(undisturbed);
  });

  it('adds nothing to what is frozen, and flags the rows that it adds to', () => {
    const rig = new Rig({ width: 8, heads: 2, blocks: 2, historyLength: 6 });
    for (const prefix of ['encoder/block0', 'encoder/start']) rig.fused.freeze(prefix);
    rig.states('train', rig.call([[1, 2], [2, 5, 9], []]));
    rig.backward(new Float32Array(24).fill(1).map((_, i) => i - 10));
    const flags = engine.u8(rig.parameters.flagsOf('item/id'), 23).slice();
    expect([...flags.keys()].filter((item) => flags[item] === 1)).toEqual([1, 2, 5, 9]);
    for (const [name, gradient] of Object.entries(rig.gradients())) {
      if (name.startsWith('actor/')) continue;
      const isFrozen = name.startsWith('encoder/block0') || name === 'encoder/start';
      expect(
        gradient.some((value) => value !== 0),
        name,
      ).toBe(!isFrozen);
    }
    rig.fused.zeroGradients();
    rig.fused.freeze('');
    rig.backward(new Float32Array(24).fill(1).map((_, i) => i));
    expect(Object.values(rig.gradients()).every((gradient) => gradient.every((value) => value === 0))).toBe(true);
  });

  it('stays finite where attention scores are huge, and passes NaN on', () => {
    const rig = new Rig({ width: 8, heads: 2, blocks: 2, historyLength: 6 });
    const call = rig.call(rig.histories(9));
    for (const block of [0, 1]) {
      const { data } = rig.fused.get(`encoder/block${block}/query/w`);
      for (let i = 0; i < data.length; i++) data[i] = (data[i] as number) * 1e5;
    }
    expect(rig.states('train', call).every(Number.isFinite)).toBe(true);
    rig.backward(rig.cotangent(9));
    expect(Object.values(rig.gradients()).every((gradient) => gradient.every(Number.isFinite))).toBe(true);
    rig.fused.get('encoder/block0/feed1/b').data[0] = Number.NaN;
    expect(rig.states('train', call).every(Number.isNaN)).toBe(true);
  });

  it('takes no more memory for more calls of the same size', () => {
    const rig = new Rig({ width: 8, heads: 2, blocks: 2, historyLength: 6, dropout: 0.1 });
    const call = rig.call(rig.histories(30), 1);
    const round = (): number => {
      rig.states('train', call);
      rig.backward(rig.cotangent(30));
      rig.states('act', call);
      return engine.bytesInUse;
    };
    const bytes = round();
    for (let i = 0; i < 50; i++) expect(round()).toBe(bytes);
  });
});
