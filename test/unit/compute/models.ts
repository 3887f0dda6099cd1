import { expect } from 'vitest';
import { createKernels } from '../../../src/compute/create-kernels.js';
import type { HistoryBatch } from '../../../src/compute/history-batch.js';
import { historyBatch } from '../../../src/compute/history-batch.js';
import type { HistoryFeatures } from '../../../src/compute/history-features.js';
import type { Kernels } from '../../../src/compute/kernels.js';
import { initParameters, type ModelSpec } from '../../../src/compute/model.js';
import { sasRec } from '../../../src/encoder/sasrec.js';
import { Rng } from '../../../src/foundation/rng.js';

/** A small model; `change` replaces fields. */
export function smallSpec(change: Partial<ModelSpec> = {}): ModelSpec {
  return {
    itemCount: 11,
    contextWidth: 0,
    encoder: sasRec({ width: 8, blocks: 1, heads: 2, historyLength: 4 }),
    items: 'id',
    critic: 'state',
    valueEncoder: 'shared',
    valueHidden: 6,
    ...change,
  };
}

/** Reference kernels with every parameter (biases too) drawn at random, so that nothing is accidentally zero. */
export function randomKernels(spec: ModelSpec, seed = 1): Kernels {
  const store = initParameters(spec, new Rng(seed));
  const rng = new Rng(seed).fork('scatter');
  for (const { name, data } of store.parameters()) {
    const noise = rng.fork(name);
    for (let i = 0; i < data.length; i++) data[i] = (data[i] as number) + 0.3 * noise.normal();
  }
  store.touch();
  return createKernels(spec, store, { kernels: 'reference' });
}

/** Four histories: longer than the window, full, short, empty. */
export function mixedBatch(): HistoryBatch {
  return historyBatch([[1, 2, 3, 4, 5, 6], [7, 8, 9, 10], [3, 3], []]);
}

/** Two planes: 1 where the last item is the item, and a ramp. */
export function rampFeatures(itemCount: number): HistoryFeatures {
  return {
    names: ['last', 'ramp'],
    planes(batch) {
      const size = batch.size * itemCount;
      const planes = new Float32Array(2 * size);
      for (let row = 0; row < batch.size; row++) {
        const count = batch.lengths[row] as number;
        const last = batch.items[row * batch.length + count - 1];
        for (let item = 0; item < itemCount; item++) {
          planes[row * itemCount + item] = count > 0 && last === item ? 1 : 0;
          planes[size + row * itemCount + item] = (item - row) / itemCount;
        }
      }
      return planes;
    },
  };
}

/** Every element close to the wanted one, to so many digits after the point. */
export function expectClose(actual: ArrayLike<number>, wanted: ArrayLike<number>, digits: number): void {
  expect(actual.length).toBe(wanted.length);
  for (let i = 0; i < wanted.length; i++) expect(actual[i]).toBeCloseTo(wanted[i] as number, digits);
}
