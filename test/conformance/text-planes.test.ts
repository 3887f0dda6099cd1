/** Text planes that are kept between calls: the same bits as planes made anew, in whatever order histories come. */
import { beforeAll, describe, expect, it } from 'vitest';
import { useBackend } from '../../src/compute/backend.js';
import { createKernels } from '../../src/compute/create-kernels.js';
import { engineMemory } from '../../src/compute/engine-memory.js';
import { hashOf } from '../../src/compute/fused/text-planes.js';
import { historyBatch } from '../../src/compute/history-batch.js';
import type { Kernels } from '../../src/compute/kernels.js';
import { initParameters, type ModelSpec } from '../../src/compute/model.js';
import type { ParameterStore } from '../../src/compute/parameter-store.js';
import { historyFeatures } from '../../src/encoder/history-features.js';
import { sasRec } from '../../src/encoder/sasrec.js';
import { Rng } from '../../src/foundation/rng.js';

beforeAll(async () => {
  await useBackend('wasm', { threads: 2 });
});

/** So many last items count for the planes, see `historyFeatures()`. */
const RECENT = 32;
const WIDTH = 12;

function modelOf(itemCount: number): { readonly spec: ModelSpec; readonly store: ParameterStore } {
  const rng = new Rng('planes');
  const matrix = Float32Array.from({ length: itemCount * WIDTH }, () => rng.normal());
  for (let item = 0; item < itemCount; item++) {
    const row = matrix.subarray(item * WIDTH, (item + 1) * WIDTH);
    const norm = Math.hypot(...row);
    for (let i = 0; i < WIDTH; i++) row[i] = (row[i] as number) / norm;
  }
  const features = { matrix, width: WIDTH };
  const catalog = { size: itemCount, attributes: [], attributeCodes: () => new Int32Array(0) };
  const spec: ModelSpec = {
    itemCount,
    contextWidth: 0,
    encoder: sasRec({ width: 8, blocks: 1, heads: 1, historyLength: 4 }),
    items: 'id+text',
    itemFeatures: matrix,
    itemFeatureWidth: WIDTH,
    historyFeatures: historyFeatures({ catalog, repeats: 2, features }),
    critic: 'state',
    valueEncoder: 'shared',
    valueHidden: 0,
  };
  const store = initParameters(spec, rng.fork('parameters'));
  store.get('actor/history').data.set([0.1, -0.2, 1.5, -0.7, 0.9]);
  store.touch();
  return { spec, store };
}

function updateOf(kernels: Kernels, histories: readonly (readonly number[])[]) {
  const batch = historyBatch(histories);
  const logProbOf = Int32Array.from(histories, (_, row) => row);
  kernels.store.zeroGradients();
  const { logProb, entropy } = kernels.forward(batch, { logProbOf, entropy: true });
  kernels.backward({ logProb: new Float32Array(batch.size).fill(1), entropy: new Float32Array(batch.size).fill(0.1) });
  const gradients = kernels.store.parameters().map(({ name, gradient }) => [name, gradient.slice()]);
  return { logProb, entropy, gradients };
}

/** What kernels give that have never seen any of these histories. */
function anew(spec: ModelSpec, store: ParameterStore, histories: readonly (readonly number[])[]) {
  using kernels = createKernels(spec, store.clone());
  expect(kernels.kind).toBe('fused');
  return updateOf(kernels, histories);
}

describe('text planes of histories', () => {
  it('have the same bits made item by item and at once, past the window too', () => {
    const { spec, store } = modelOf(203);
    const rng = new Rng('grow');
    const users = Array.from({ length: 5 }, () => [] as number[]);
    using kernels = createKernels(spec, store);
    for (let step = 0; step < RECENT + 8; step++) {
      const result = updateOf(kernels, users);
      if (step % 5 === 4 || step > RECENT - 3) expect(result, `step ${step}`).toEqual(anew(spec, store, users));
      for (const [n, user] of users.entries()) if (n !== 2 || step < 3) user.push(rng.integer(203));
    }
    // Back to the beginnings, backwards and some of them twice.
    const beginnings = [30, 31, 32, 33, 5, 5, 1, 0].map((length, n) => users[n % 2 === 0 ? 0 : 1]?.slice(0, length));
    expect(updateOf(kernels, beginnings as number[][])).toEqual(anew(spec, store, beginnings as number[][]));
  });

  it('are those of the reference', () => {
    const { spec, store } = modelOf(203);
    const rng = new Rng('reference');
    const histories = [0, 1, 2, 31, 32, 33, 40].map((length) => Array.from({ length }, () => rng.integer(203)));
    using reference = createKernels(spec, store.clone(), { kernels: 'reference' });
    const wanted = updateOf(reference, histories);
    const got = anew(spec, store, histories);
    for (const [n, value] of wanted.logProb.entries()) expect(got.logProb[n]).toBeCloseTo(value, 4);
    const planes = (result: typeof wanted) =>
      new Map(result.gradients as [string, Float32Array][]).get('actor/history');
    for (const [n, value] of (planes(wanted) as Float32Array).entries()) {
      expect(planes(got)?.[n], `plane ${n}`).toBeCloseTo(value, 3);
    }
  });

  it('come back right after others took their place, in bounded memory', () => {
    const { spec, store } = modelOf(4_001);
    const rng = new Rng('evict');
    // 48 kB a history: 32 MiB keep 698 of them, and cosines of 4,193 items.
    const batches = Array.from({ length: 8 }, () =>
      Array.from({ length: 200 }, () => Array.from({ length: 1 + rng.integer(5) }, () => rng.integer(4_001))),
    );
    using kernels = createKernels(spec, store);
    const first = updateOf(kernels, batches[0] as number[][]);
    const bytes = batches.map((batch) => {
      updateOf(kernels, batch);
      return engineMemory().fusedBytes;
    });
    expect(updateOf(kernels, batches[0] as number[][])).toEqual(first);
    expect(first).toEqual(anew(spec, store, batches[0] as number[][]));
    const planes = 126 * 3 * 32 * 4;
    const cosines = 4_032 * 4 * new Set(batches.flat(2)).size;
    expect((bytes.at(-1) as number) - (bytes[0] as number)).toBeLessThan(700 * planes + cosines);
  });

  it('of a batch stay until backward, whoever asks for others in between', () => {
    const { spec, store } = modelOf(4_001);
    const rng = new Rng('between');
    const draw = (count: number) =>
      Array.from({ length: count }, () => Array.from({ length: 1 + rng.integer(4) }, () => rng.integer(4_001)));
    const histories = draw(120);
    const nextHistories = historyBatch(draw(120));
    const logProbOf = Int32Array.from(histories, (_, row) => row);
    const cotangents = { logProb: new Float32Array(120).fill(1), entropy: new Float32Array(120).fill(0.1) };
    // 600 histories that act would push out the first 120 of the 698 that are kept.
    const others = [draw(300), draw(300)];
    const gradients = [false, true].map((isDisturbed) => {
      using kernels = createKernels(spec, store.clone());
      const want = { logProbOf, entropy: true, value: true } as const;
      const next = { histories: nextHistories, value: true } as const;
      kernels.forward(historyBatch(histories), { ...want, next });
      for (const other of isDisturbed ? others : []) kernels.sample(historyBatch(other), rng.uniforms(300));
      kernels.backward({ ...cotangents, value: new Float32Array(120) });
      return kernels.store.parameters().map(({ name, gradient }) => [name, gradient.slice()]);
    });
    expect(gradients[1]).toEqual(gradients[0]);
  });

  it('are told apart where two histories have one hash', () => {
    const { spec, store } = modelOf(4_001);
    const seen = new Map<number, number[]>();
    const pair: number[][] = [];
    const rng = new Rng('collide');
    while (pair.length === 0) {
      const items = [rng.integer(4_001), rng.integer(4_001), rng.integer(4_001)];
      const hash = hashOf(Int32Array.from(items), 0, 3);
      const other = seen.get(hash);
      if (other !== undefined && other.join() !== items.join()) pair.push(other, items);
      seen.set(hash, items);
    }
    const [one, two] = pair as [number[], number[]];
    using kernels = createKernels(spec, store);
    for (const histories of [[one], [two], [one, two, one, [...two, 7], [...one, 7]], [two, one]]) {
      expect(updateOf(kernels, histories)).toEqual(anew(spec, store, histories));
    }
    expect(anew(spec, store, [one])).not.toEqual(anew(spec, store, [two]));
  });
});

describe('item vectors', () => {
  it('follow the parameters: after a step, after touch(), and in kernels that share the store', () => {
    const { spec, store } = modelOf(203);
    const histories = [[1, 2, 3], [4], []];
    using kernels = createKernels(spec, store);
    using other = createKernels(spec, store);
    const before = updateOf(kernels, histories);
    const projection = store.get('actor/projection').data;
    for (let i = 0; i < projection.length; i++) projection[i] = (projection[i] as number) + 0.1;
    store.touch();
    const after = updateOf(kernels, histories);
    expect(after.logProb).not.toEqual(before.logProb);
    expect(after).toEqual(anew(spec, store, histories));
    expect(updateOf(other, histories)).toEqual(after);
  });
});
