import * as tf from '@tensorflow/tfjs';
import { beforeAll, describe, expect, it } from 'vitest';
import { useBackend } from '../../../src/compute/backend.js';
import { createKernels } from '../../../src/compute/create-kernels.js';
import { type HistoryBatch, historyBatch } from '../../../src/compute/history-batch.js';
import type { Kernels } from '../../../src/compute/kernels.js';
import { initParameters, type ModelSpec } from '../../../src/compute/model.js';
import type { EncoderInput, SasRecForm, StateEncoder } from '../../../src/compute/state-encoder.js';
import { mean } from '../../../src/encoder/mean-encoder.js';
import { sasRec } from '../../../src/encoder/sasrec.js';
import { InvalidArgumentError } from '../../../src/foundation/errors.js';
import { Rng } from '../../../src/foundation/rng.js';

beforeAll(async () => {
  await useBackend('wasm');
});

function kernelsOf(encoder: StateEncoder, contextWidth = 0): Kernels {
  const spec: ModelSpec = {
    itemCount: 9,
    contextWidth,
    encoder,
    items: 'id',
    critic: 'none',
    valueEncoder: 'shared',
    valueHidden: 0,
  };
  const store = initParameters(spec, new Rng(1));
  const { data } = store.get('actor/id');
  const noise = new Rng('spread');
  for (let i = 0; i < data.length; i++) data[i] = noise.normal();
  return createKernels(spec, store, { kernels: 'reference' });
}

/** All logits of a batch: they differ whenever states differ. */
function logits(kernels: Kernels, batch: HistoryBatch): number[] {
  const items = Int32Array.from({ length: batch.size * 9 }, (_, i) => i % 9);
  return [...kernels.forward(batch, { scoresOf: { head: 'actor', items, width: 9 } }).scores];
}

const row = (all: readonly number[], at: number): number[] => all.slice(at * 9, at * 9 + 9);

const encoders: readonly (readonly [string, (historyLength: number) => StateEncoder])[] = [
  ['sasRec, 1 block', (historyLength) => sasRec({ width: 8, heads: 2, blocks: 1, historyLength })],
  ['sasRec, 2 blocks, 4 heads', (historyLength) => sasRec({ width: 8, heads: 4, blocks: 2, historyLength })],
  [
    'sasRec, 3 blocks, wide feed-forward',
    (historyLength) => sasRec({ width: 8, heads: 1, blocks: 3, feedForward: 20, historyLength }),
  ],
  ['mean', (historyLength) => mean({ width: 8, historyLength })],
  ['mean, recency-weighted', (historyLength) => mean({ width: 8, historyLength, decay: 0.7 })],
];

describe('form', () => {
  it('says what sasRec made; a copy with another apply has none, nor has mean', () => {
    const encoder = sasRec({ width: 8, heads: 4, blocks: 2, historyLength: 5, dropout: 0.1, feedForward: 12 });
    const { width, historyLength, ...rest } = encoder.form as SasRecForm;
    expect(rest).toEqual({ kind: 'sasRec', blocks: 2, heads: 4, dropout: 0.1, feedForward: 12 });
    expect([width, historyLength]).toEqual([encoder.stateWidth, encoder.historyLength]);
    expect(sasRec({ width: 6 }).form?.feedForward).toBe(6);
    const own: StateEncoder = { ...encoder, apply: (params, input) => encoder.apply(params, input) };
    expect(own.form).toBeUndefined();
    expect(mean().form).toBeUndefined();
  });
});

describe.each(encoders)('%s', (_, make) => {
  it('gives a history the same state alone and among longer ones, whatever stands at padding', () => {
    using kernels = kernelsOf(make(6));
    const alone = logits(kernels, historyBatch([[1, 2]]));
    const among = historyBatch([[3, 4, 5, 6, 7], [1, 2], []]);
    const items = among.items.slice();
    items.fill(8, 7, 10);
    for (const batch of [among, { ...among, items }]) {
      row(logits(kernels, batch), 1).forEach((value, i) => {
        expect(value).toBeCloseTo(alone[i] as number, 5);
      });
    }
    // The control: the same number in place of an item changes the state.
    items[5] = 8;
    expect(row(logits(kernels, { ...among, items }), 1)[0]).not.toBeCloseTo(alone[0] as number, 3);
  });

  it('sees the last historyLength items and no older one', () => {
    using kernels = kernelsOf(make(3));
    const [a, b, c] = [
      [1, 2, 3, 4],
      [7, 2, 3, 4],
      [1, 2, 3, 5],
    ].map((history) => logits(kernels, historyBatch([history])));
    expect(a).toEqual(b);
    expect(a).not.toEqual(c);
  });

  it('gives the empty history a state of its own, the same in any batch, that learns', () => {
    using kernels = kernelsOf(make(4));
    const alone = logits(kernels, historyBatch([[]]));
    row(logits(kernels, historyBatch([[1, 2, 3], []])), 1).forEach((value, i) => {
      expect(value).toBeCloseTo(alone[i] as number, 5);
    });
    expect(alone.some((value) => Math.abs(value) > 1e-3)).toBe(true);
    kernels.forward(historyBatch([[]]), { logProbOf: Int32Array.of(2) });
    kernels.backward({ logProb: Float32Array.of(1) });
    expect(kernels.store.get('encoder/start').gradient.some((g) => g !== 0)).toBe(true);
    expect(kernels.store.get('item/id').gradient.every((g) => g === 0)).toBe(true);
  });

  it('adds the projected user context', () => {
    using kernels = kernelsOf(make(4), 2);
    const of = (context: readonly number[]): number[] => logits(kernels, historyBatch([[1]], { context: [context] }));
    const [zero, one, two] = [of([0, 0]), of([1, 0]), of([2, 0])] as [number[], number[], number[]];
    expect(one).not.toEqual(zero);
    // The projection is linear, and it is added to the state.
    two.forEach((value, i) => {
      expect(value - (one[i] as number)).toBeCloseTo((one[i] as number) - (zero[i] as number), 4);
    });
  });

  it('gives the same initial weights for the same seed, other ones for another', () => {
    const data = (seed: number) =>
      Object.entries(make(4).init(new Rng(seed), { contextWidth: 2 })).map(([name, { data }]) => [name, [...data]]);
    expect(data(1)).toEqual(data(1));
    expect(data(1)).not.toEqual(data(2));
  });
});

/** States of every prefix at once are not offered, so causality is seen through a gradient of the last block's input. */
describe('sasRec attention', () => {
  const encoder = sasRec({ width: 8, heads: 2, blocks: 2, historyLength: 5 });
  const parameters = encoder.init(new Rng(3), { contextWidth: 0 });

  function stateOf(vectors: Float32Array, length: number, seen: number): Float32Array {
    let state: Float32Array = new Float32Array();
    tf.tidy(() => {
      const tensors = Object.fromEntries(
        Object.entries(parameters).map(([name, { data, shape }]) => [name, tf.tensor(data, [...shape])]),
      );
      const input: EncoderInput = {
        items: tf.tensor3d(vectors.slice(0, length * 8), [1, length, 8]),
        mask: tf.ones([1, length]),
        lengths: tf.tensor1d([seen], 'int32'),
        lengthValues: Int32Array.of(seen),
        context: undefined,
        dropout: (x) => x,
      };
      state = encoder.apply(tensors, input).dataSync() as Float32Array;
    });
    return state;
  }

  const vectors = Float32Array.from({ length: 40 }, (_, i) => Math.sin(i * i));

  it('is causal: what comes after the last item of a row changes nothing, what comes before does', () => {
    const state = stateOf(vectors, 5, 3);
    const later = vectors.slice();
    later.fill(9, 3 * 8);
    stateOf(later, 5, 3).forEach((value, i) => {
      expect(value).toBeCloseTo(state[i] as number, 5);
    });
    stateOf(vectors, 3, 3).forEach((value, i) => {
      expect(value).toBeCloseTo(state[i] as number, 5);
    });
    const earlier = vectors.slice();
    earlier.fill(9, 0, 4);
    expect(Math.abs((stateOf(earlier, 5, 3)[0] as number) - (state[0] as number))).toBeGreaterThan(1e-3);
  });

  it('knows the order of items', () => {
    const swapped = Float32Array.from([...vectors.slice(8, 16), ...vectors.slice(0, 8), ...vectors.slice(16)]);
    expect(stateOf(swapped, 5, 5)).not.toEqual(stateOf(vectors, 5, 5));
  });

  it('gives states of zero mean and unit variance', () => {
    const state = [...stateOf(vectors, 5, 5)];
    const average = state.reduce((sum, x) => sum + x, 0) / 8;
    expect(average).toBeCloseTo(0, 5);
    expect(state.reduce((sum, x) => sum + (x - average) ** 2, 0) / 8).toBeCloseTo(1, 2);
  });
});

describe('mean', () => {
  it('is the weighted mean through one linear map', () => {
    using kernels = kernelsOf(mean({ width: 8, historyLength: 3, decay: 0.5 }));
    const data = (name: string): Float32Array => kernels.store.get(name).data;
    const weights = [1 / 7, 2 / 7, 4 / 7];
    const pooled = Array.from({ length: 8 }, (_, d) =>
      [2, 5, 1].reduce((sum, item, i) => sum + (weights[i] as number) * (data('item/id')[item * 8 + d] as number), 0),
    );
    const state = pooled.map((_, d) =>
      pooled.reduce((sum, x, i) => sum + x * (data('encoder/output/w')[i * 8 + d] as number), 0),
    );
    const scores = logits(kernels, historyBatch([[2, 5, 1]]));
    for (let item = 0; item < 9; item++) {
      const wanted = state.reduce((sum, x, d) => sum + x * (data('actor/id')[item * 8 + d] as number), 0);
      expect(scores[item]).toBeCloseTo(wanted, 4);
    }
  });
});

describe('options', () => {
  it.each([
    ['a width that is no multiple of heads', () => sasRec({ width: 9, heads: 2 })],
    ['no block', () => sasRec({ blocks: 0 })],
    ['dropout of 1', () => sasRec({ dropout: 1 })],
    ['an unknown option', () => sasRec({ layers: 2 } as never)],
    ['a decay of 0', () => mean({ decay: 0 })],
    ['no history', () => mean({ historyLength: 0 })],
  ])('refuse %s', (_, call) => {
    expect(call).toThrow(InvalidArgumentError);
  });
});
