import * as tf from '@tensorflow/tfjs';
import fc from 'fast-check';
import {
  Adam,
  currentBackend,
  gatherRows,
  historyBatch,
  mean,
  normalParameter,
  ParameterStore,
  Rng,
  sasRec,
  useBackend,
} from '../../../src/index.js';
import { batch, floats, ITEMS, item, seed, smallAgent, within } from './fixtures.js';
import { type PublicCall, publicCall } from './public-call.js';

const agent = smallAgent({ critic: 'action', items: 'id' });
const parameter = (length: number) => floats(length).map((data) => ({ shape: [length], data }));
const items = fc.array(item, { minLength: 3, maxLength: 3 }).map((list) => Int32Array.from(list));

/** Everything of `compute/` and `encoder/`. */
export const computeCalls: readonly PublicCall[] = [
  publicCall('useBackend', {
    covers: ['useBackend', 'currentBackend'],
    runs: 100,
    arguments: { name: fc.constant('wasm' as const), options: fc.record({ patch: fc.constant(true) }) },
    call: async ({ name, options }) => {
      try {
        await useBackend(name, options);
        return currentBackend();
      } finally {
        await useBackend('wasm');
      }
    },
  }),
  publicCall('gatherRows', {
    covers: ['gatherRows'],
    arguments: { table: floats(6), indices: fc.array(fc.nat(2), { minLength: 2, maxLength: 2 }) },
    call: ({ table, indices }) =>
      // The tensors are the caller's; what is under test is the gather.
      tf.tidy(() => {
        const valid =
          Array.isArray(indices) && indices.length > 0 && indices.every((i) => Number.isInteger(i) && i >= 0 && i < 3);
        const isTable = table instanceof Float32Array && table.length === 6;
        return gatherRows(
          isTable ? tf.tensor2d(table, [3, 2]) : (table as unknown as tf.Tensor2D),
          valid ? tf.tensor1d(indices, 'int32') : (indices as unknown as tf.Tensor1D),
        ).dataSync();
      }),
  }),
  publicCall('historyBatch', {
    covers: ['historyBatch'],
    runs: 200,
    arguments: {
      histories: fc.array(fc.array(item, { maxLength: 3 }), { minLength: 2, maxLength: 2 }),
      options: fc.record({
        length: fc.nat(4),
        context: fc.constant([
          [1, 2],
          [3, 4],
        ]),
      }),
    },
    call: ({ histories, options }) => historyBatch(histories, options),
  }),
  publicCall('normalParameter', {
    covers: ['normalParameter'],
    arguments: {
      rng: fc.constant(new Rng(1)),
      shape: fc.array(fc.integer({ min: 1, max: 3 }), { minLength: 1, maxLength: 2 }),
      deviation: within(0, 1),
    },
    call: ({ rng, shape, deviation }) => normalParameter(rng, shape, deviation),
  }),
  publicCall('ParameterStore', {
    covers: ['ParameterStore'],
    arguments: {
      parameters: fc.tuple(parameter(2), parameter(3)).map(
        ([a, b]) =>
          [
            ['a/w', a],
            ['b', b],
          ] as [string, { shape: number[]; data: Float32Array }][],
      ),
      name: fc.constantFrom('a/w', 'b'),
      prefix: fc.constantFrom('a/', 'b'),
    },
    call: async ({ parameters, name, prefix }) => {
      const store = new ParameterStore(parameters);
      store.get(name);
      store.freeze(prefix);
      const other = store.clone();
      other.copyFrom(store);
      other.loadNamedArrays(store.toNamedArrays(), 'file');
      return store.sha256();
    },
  }),
  publicCall('ParameterStore.loadNamedArrays', {
    covers: ['ParameterStore'],
    arguments: { arrays: parameter(3).map((array) => ({ w: array })), source: fc.constant('file') },
    call: ({ arrays, source }) =>
      new ParameterStore([['w', { shape: [3], data: new Float32Array(3) }]]).loadNamedArrays(arrays, source),
  }),
  publicCall('Adam', {
    covers: ['Adam'],
    runs: 200,
    arguments: {
      options: fc.record({
        learningRate: within(0.001, 1),
        beta1: within(0, 0.9),
        beta2: within(0, 0.9),
        epsilon: within(1e-8, 1e-3),
        clipNorm: within(0.1, 2),
        multipliers: fc.constant({ a: 0.5 }),
      }),
      rate: within(0, 1),
      data: floats(3),
    },
    call: ({ options, rate, data }) => {
      const adam = new Adam(options);
      adam.learningRate = rate;
      const store = new ParameterStore([['a', { shape: [3], data }]]);
      store.get('a').gradient.fill(1);
      adam.step(store);
      new Adam().load(adam.state(), 'file');
    },
  }),
  publicCall('Adam.load', {
    covers: ['Adam'],
    arguments: {
      arrays: floats(2, 0, 1).map((data) => ({
        'adam/updates': { shape: [1], data: Float64Array.of(3) },
        'adam/learningRate': { shape: [1], data: Float64Array.of(0.1) },
        'adam/first/w': { shape: [2], data },
        'adam/second/w': { shape: [2], data },
      })),
      source: fc.constant('file'),
    },
    call: ({ arrays, source }) => new Adam().load(arrays, source),
    takesNaN: /shape/,
  }),
  publicCall('mean', {
    covers: ['mean'],
    arguments: {
      options: fc.record({ width: fc.constantFrom(2, 4), historyLength: fc.constantFrom(1, 3), decay: within(0.1, 1) }),
    },
    call: ({ options }) => mean(options),
  }),
  publicCall('sasRec', {
    covers: ['sasRec'],
    runs: 200,
    arguments: {
      options: fc.record({
        width: fc.constantFrom(2, 4),
        blocks: fc.constantFrom(1, 2),
        heads: fc.constantFrom(1, 2),
        historyLength: fc.constantFrom(1, 3),
        dropout: within(0, 0.9),
        feedForward: fc.constantFrom(2, 8),
      }),
    },
    call: ({ options }) => sasRec(options),
  }),
  publicCall('Kernels.forward', {
    covers: ['ActorCritic'],
    runs: 200,
    arguments: {
      batch,
      want: fc.record({
        logProbOf: items,
        scoresOf: fc.record({
          head: fc.constantFrom('actor' as const, 'critic' as const),
          items,
          width: fc.constant(1),
        }),
        maxScore: fc.constantFrom('actor' as const, 'critic' as const),
        expectedScore: fc.constant(true as const),
        entropy: fc.constant(true as const),
      }),
      options: fc.record({ temperature: within(0.5, 2), dropoutSeed: seed }),
    },
    call: ({ batch, want, options }) => agent.kernels.forward(batch, want, options),
  }),
  publicCall('Kernels.backward', {
    covers: ['ActorCritic'],
    runs: 100,
    arguments: { cotangents: fc.record({ logProb: floats(3), entropy: floats(3) }) },
    call: ({ cotangents }) => {
      agent.kernels.forward(historyBatch([[1], [2], [3]]), { logProbOf: Int32Array.of(1, 2, 3), entropy: true });
      agent.kernels.backward(cotangents);
      agent.store.zeroGradients();
    },
  }),
  publicCall('Kernels.sample and topK', {
    covers: ['ActorCritic'],
    arguments: {
      batch,
      uniforms: fc.constant(Float64Array.of(0.1, 0.5, 0.9)),
      k: fc.integer({ min: 1, max: 5 }),
      options: fc.record({
        mask: fc.record({
          noRepeat: fc.boolean(),
          exclude: fc.constant(Int32Array.of(1, 2)),
          excludeRows: fc.constant([[3], [], [ITEMS - 1]]),
        }),
        temperature: within(0.5, 2),
      }),
    },
    call: ({ batch, uniforms, k, options }) => [
      agent.kernels.sample(batch, uniforms, options),
      agent.kernels.topK(batch, k, options),
    ],
  }),
];
