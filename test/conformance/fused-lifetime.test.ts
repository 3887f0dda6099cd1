/** What the fused kernels hold: as much after 10,000 updates as after the first, and nothing once disposed. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { useBackend } from '../../src/compute/backend.js';
import { createKernels } from '../../src/compute/create-kernels.js';
import { engineMemory } from '../../src/compute/engine-memory.js';
import { currentEngine } from '../../src/compute/fused/engine.js';
import { selectRows } from '../../src/compute/history-batch.js';
import type { Kernels } from '../../src/compute/kernels.js';
import { initParameters, type ModelSpec } from '../../src/compute/model.js';
import { Adam } from '../../src/compute/optimiser.js';
import { sasRec } from '../../src/encoder/sasrec.js';
import { DisposedError } from '../../src/foundation/errors.js';
import { Rng } from '../../src/foundation/rng.js';
import { askTrial, gradientsOf, valuesOf } from './compare-kernels.js';
import { buildTrial, type ModelChoice, type Trial } from './random-models.js';

const tiny: ModelChoice = {
  seed: 4,
  rows: 6,
  itemCount: 19,
  window: 4,
  width: 8,
  blocks: 1,
  heads: 1,
  feedForward: 2,
  dropout: 0.2,
  isDropping: false,
  items: 'id+text',
  featureWidth: 3,
  contextWidth: 2,
  historyFeatures: { repeats: 2, attributes: 1, text: true, prior: true },
  critic: 'action',
  valueEncoder: 'separate',
  valueHidden: 0,
  mask: 'noRepeat',
  temperature: 1,
  next: 'plusOne',
  extraColumns: 0,
  frozen: null,
};

await useBackend('wasm');
const hasEngine = currentEngine() !== undefined;
if (!hasEngine) console.warn('Not tested: this platform has no engine');

describe.skipIf(!hasEngine)('fused kernels', () => {
  beforeAll(async () => {
    await useBackend('wasm', { threads: 2 });
  });
  afterAll(async () => {
    await useBackend('wasm');
  });

  it('hold as much after 10,000 updates as after the first round of all calls, and nothing once disposed', () => {
    const before = engineMemory();
    const trial = buildTrial(tiny);
    const kernels = createKernels(trial.spec, trial.makeStore(), { kernels: 'fused' });
    const adam = new Adam({ learningRate: 1e-4 });
    const seen: object[] = [];
    // Every option has its turn within 60 updates.
    for (let n = 0; n <= 10_020; n++) {
      update(kernels, adam, trial, n);
      if (n > 0 && n % 60 === 0) seen.push(engineMemory());
    }
    expect(new Set(seen.map((memory) => JSON.stringify(memory)))).toEqual(new Set([JSON.stringify(seen[0])]));
    expect(engineMemory().fusedBytes).toBeGreaterThan(before.fusedBytes);
    expect(adam.updates).toBe(10_021);
    for (const { name, data } of kernels.store.parameters()) expect(data.every(Number.isFinite), name).toBe(true);
    kernels.dispose();
    kernels.dispose();
    expect(engineMemory()).toEqual(before);
  });

  it('hold as much after 120 updates over an encoder of the user', () => {
    const before = engineMemory();
    const base = buildTrial(tiny);
    const spec: ModelSpec = { ...base.spec, encoder: { ...sasRec({ width: 8, historyLength: 4 }), name: 'mine' } };
    const kernels = createKernels(spec, initParameters(spec, new Rng(1)));
    expect(kernels.kind).toBe('hybrid');
    const adam = new Adam({ learningRate: 1e-4 });
    const seen: object[] = [];
    for (let n = 0; n <= 120; n++) {
      update(kernels, adam, { ...base, spec }, n);
      if (n > 0 && n % 60 === 0) seen.push(engineMemory());
    }
    expect(new Set(seen.map((memory) => JSON.stringify(memory)))).toEqual(new Set([JSON.stringify(seen[0])]));
    kernels.dispose();
    expect(engineMemory()).toEqual(before);
  });

  it('leave nothing after 1,000 rounds of creating, using and disposing', () => {
    const trial = buildTrial({ ...tiny, critic: 'state', valueHidden: 5 });
    const store = trial.makeStore();
    const before = engineMemory();
    const start = valuesOf(store);
    for (let round = 0; round < 1_000; round++) {
      const kernels = createKernels(trial.spec, store, { kernels: 'fused' });
      if (round % 10 === 0) askTrial(kernels, trial);
      if (round % 3 === 0) kernels.sample(trial.batch, new Float64Array(trial.batch.size), trial.options);
      kernels.dispose();
      expect(engineMemory()).toEqual(before);
    }
    expect(valuesOf(store)).toEqual(start);
  });

  it('leave the store as it is: values, gradients, moments and what is frozen', () => {
    const trial = buildTrial(tiny);
    const walk = (isInterrupted: boolean) => {
      const store = trial.makeStore();
      store.freeze('critic/bias');
      const adam = new Adam({ learningRate: 0.01 });
      let kernels = createKernels(trial.spec, store, { kernels: 'fused' });
      for (let step = 0; step < 4; step++) {
        kernels.forward(trial.batch, trial.questions.actor.want, trial.options);
        kernels.backward(trial.questions.actor.cotangents);
        if (isInterrupted) {
          const held = [valuesOf(store), gradientsOf(store)];
          kernels.dispose();
          expect([valuesOf(store), gradientsOf(store)]).toEqual(held);
          kernels = createKernels(trial.spec, store, { kernels: 'fused' });
          expect([valuesOf(store), gradientsOf(store)]).toEqual(held);
        }
        kernels.step(adam);
      }
      kernels.dispose();
      return valuesOf(store);
    };
    expect(walk(true)).toEqual(walk(false));
  });

  it('share a store with kernels of either kind, and outlive each other', () => {
    const trial = buildTrial(tiny);
    const before = engineMemory();
    const store = trial.makeStore();
    const one = createKernels(trial.spec, store, { kernels: 'fused' });
    const other = createKernels(trial.spec, store, { kernels: 'fused' });
    const plain = createKernels(trial.spec, store, { kernels: 'reference' });
    const adam = new Adam({ learningRate: 0.05 });
    const entropyOf = (kernels: Kernels) => kernels.forward(trial.batch, { entropy: true }, trial.options).entropy;
    const start = entropyOf(other).slice();
    one.forward(trial.batch, trial.questions.actor.want, trial.options);
    one.backward(trial.questions.actor.cotangents);
    one.step(adam);
    expect(entropyOf(other)).toEqual(entropyOf(one));
    expect(entropyOf(other)).not.toEqual(start);
    entropyOf(plain).forEach((nats, row) => {
      expect(nats).toBeCloseTo(entropyOf(one)[row] as number, 4);
    });
    const kept = entropyOf(other);
    one.dispose();
    expect(() => entropyOf(one)).toThrow(DisposedError);
    expect(entropyOf(other)).toEqual(kept);
    plain.forward(trial.batch, trial.questions.actor.want, trial.options);
    plain.backward(trial.questions.actor.cotangents);
    expect(plain.step(adam).applied).toBe(true);
    expect(entropyOf(other)).not.toEqual(kept);
    other.dispose();
    plain.dispose();
    expect(engineMemory()).toEqual(before);
  });

  it('hold nothing more after calls that were refused', () => {
    const trial = buildTrial(tiny);
    using kernels = createKernels(trial.spec, trial.makeStore(), { kernels: 'fused' });
    askTrial(kernels, trial);
    const before = engineMemory();
    const { size } = trial.batch;
    for (let round = 0; round < 100; round++) {
      const all = Int32Array.from({ length: 19 }, (_, item) => item);
      expect(() => kernels.forward(trial.batch, { entropy: true }, { mask: { exclude: all } })).toThrow();
      expect(() => kernels.forward(trial.batch, { value: true })).toThrow();
      expect(() => kernels.backward({ value: new Float32Array(size) })).toThrow();
      expect(() => kernels.sample(trial.batch, new Float64Array(size + 1))).toThrow();
      expect(() => kernels.topK(trial.batch, 19, { mask: { exclude: Int32Array.of(1) } })).toThrow();
    }
    expect(engineMemory()).toEqual(before);
  });
});

/** One update; by its number it takes other options, rows and calls. */
function update(kernels: Kernels, adam: Adam, trial: Trial, n: number): void {
  const { actor, critic } = trial.questions;
  const rows = Array.from({ length: 1 + (n % 6) }, (_, row) => row);
  const batch = n % 2 === 0 ? trial.batch : selectRows(trial.batch, rows);
  const { size } = batch;
  const options = {
    mask: { noRepeat: n % 4 < 2, exclude: Int32Array.of(unshown(trial)) },
    ...(n % 3 === 0 ? { dropoutSeed: n + 1 } : {}),
  };
  if (n % 5 === 4) {
    const part = critic as NonNullable<typeof critic>;
    kernels.forward(trial.batch, { ...part.want, next: { histories: trial.next, maxScore: 'critic' } }, options);
    kernels.backward(part.cotangents);
  } else {
    const ones = new Float32Array(size).fill(1e-3);
    kernels.forward(batch, { entropy: true, expectedScore: true, maxScore: 'actor' }, options);
    kernels.backward({ entropy: ones, expectedScore: ones });
    kernels.forward(trial.batch, { scoresOf: actor.want.scoresOf as NonNullable<typeof actor.want.scoresOf> }, options);
    kernels.backward({ scores: actor.cotangents.scores as Float32Array });
  }
  if (n % 10 === 9) {
    kernels.sample(batch, new Float64Array(size).fill(0.5), options);
    kernels.topK(batch, 2, options);
    kernels.probabilities(batch, options);
  }
  expect(kernels.step(adam).applied).toBe(true);
}

/** An item in no history. */
function unshown({ batch }: Trial): number {
  const shown = new Set(batch.items);
  let item = 0;
  while (shown.has(item)) item++;
  return item;
}
