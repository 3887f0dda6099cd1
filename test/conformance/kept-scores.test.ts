import { beforeAll, expect, it } from 'vitest';
import { useBackend } from '../../src/compute/backend.js';
import { createKernels } from '../../src/compute/create-kernels.js';
import { historyBatch } from '../../src/compute/history-batch.js';
import { initParameters, type ModelSpec } from '../../src/compute/model.js';
import { sasRec } from '../../src/encoder/sasrec.js';
import { Rng } from '../../src/foundation/rng.js';

beforeAll(async () => {
  await useBackend('wasm', { threads: 2 });
});

/** 256 rows keep the scores of 16,384 items: the last 516 are made again in `backward`. */
const ITEMS = 16_900;
const ROWS = 256;

it('gradients are those of the reference where scores of the last items are not kept', () => {
  const spec: ModelSpec = {
    itemCount: ITEMS,
    contextWidth: 0,
    encoder: sasRec({ width: 4, blocks: 1, heads: 1, historyLength: 3 }),
    items: 'id',
    critic: 'none',
    valueEncoder: 'shared',
    valueHidden: 0,
  };
  const rng = new Rng('kept');
  const store = initParameters(spec, rng.fork('parameters'));
  const bias = store.get('actor/bias').data;
  for (let item = 0; item < ITEMS; item++) bias[item] = rng.normal();
  store.touch();
  const other = store.clone();
  const batch = historyBatch(Array.from({ length: ROWS }, () => [rng.integer(ITEMS), rng.integer(ITEMS)]));
  // Half of the picked items are among those whose scores are not kept.
  const logProbOf = Int32Array.from({ length: ROWS }, (_, row) =>
    row % 2 === 0 ? ITEMS - 1 - row : 2 * row + rng.integer(2),
  );
  const cotangents = {
    logProb: Float32Array.from({ length: ROWS }, () => rng.normal()),
    entropy: Float32Array.from({ length: ROWS }, () => rng.normal()),
  };
  const results = (['reference', 'fused'] as const).map((kernels, i) => {
    const own = i === 0 ? store : other;
    using made = createKernels(spec, own, { kernels });
    const scores = made.forward(batch, { logProbOf, entropy: true }, { temperature: 0.7 });
    made.backward(cotangents);
    const gradients = own.parameters().map(({ name, gradient }) => [name, gradient.slice()] as const);
    return { ...scores, gradients: new Map(gradients) };
  });
  const [wanted, got] = results as [(typeof results)[0], (typeof results)[0]];
  const distance = (a: Float32Array, b: Float32Array): number => {
    let difference = 0;
    let norm = 0;
    for (let i = 0; i < a.length; i++) {
      difference += ((a[i] as number) - (b[i] as number)) ** 2;
      norm += (a[i] as number) ** 2;
    }
    return Math.sqrt(difference) / Math.max(1e-6, Math.sqrt(norm));
  };
  expect(distance(wanted.logProb, got.logProb)).toBeLessThan(1e-5);
  expect(distance(wanted.entropy, got.entropy)).toBeLessThan(1e-5);
  for (const [name, gradient] of wanted.gradients) {
    expect(distance(gradient, got.gradients.get(name) as Float32Array), name).toBeLessThan(1e-4);
  }
  // The items that are made again have gradients at all: about ten rows' worth of softmax, and the picked ones.
  const last = (got.gradients.get('actor/bias') as Float32Array).subarray(ITEMS - 516);
  expect(last.every((slope) => slope !== 0)).toBe(true);
  expect(distance(wanted.gradients.get('actor/id') as Float32Array, store.get('actor/id').data)).toBeGreaterThan(0.1);
});
