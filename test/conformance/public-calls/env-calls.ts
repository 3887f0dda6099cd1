import fc from 'fast-check';
import {
  amazonWorld,
  calibrateReward,
  coatWorld,
  coOccurrenceVectors,
  DotProductModel,
  type Env,
  type EpisodeRules,
  fitCoatModel,
  INDUSTRY_TEMPER,
  isBatchEnv,
  LaneEnv,
  liftEnv,
  SigmoidReward,
  sequenceEnv,
  syntheticWorld,
  worldCard,
  worldStarts,
} from '../../../src/index.js';
import { tinyCoat } from '../../unit/env/tiny-coat.js';
import { batch, catalog, floats, ITEMS, id, ids, item, seed, sequences, within } from './fixtures.js';
import { type PublicCall, publicCall } from './public-call.js';

const WIDTH = 3;
const vectors = floats(ITEMS * WIDTH);
const fixedVectors = coOccurrenceVectors(sequences, { width: WIDTH });
const model = new DotProductModel({ vectors: fixedVectors, width: WIDTH });
const reward = new SigmoidReward(model, { a: 2, b: 0 });
const codes = catalog.attributeCodes('category');
const coat = tinyCoat();
const world = syntheticWorld({ items: 50, categories: 3, maxEpisodeSteps: 4 });
const rule = fc.record({
  start: within(3, 9),
  likedFrom: within(0, 1),
  likedDrop: within(0.5, 1),
  otherDrop: within(1, 2),
  leaveBelow: within(0, 1),
  diversity: fc.record({ lookback: fc.constant(4), repeats: fc.constantFrom(1, 2), drop: within(1, 2) }),
});

/** A user's own environment that answers what it is told to. */
const telling = (reset: unknown, step: unknown, facts: object = {}): Env => ({
  catalog,
  contextWidth: 2,
  ...facts,
  reset: () => reset as never,
  step: () => step as never,
});

class FreeRules implements EpisodeRules {
  start(): void {}
  reward(): void {}
  leaves(): boolean {
    return false;
  }
}

/** Everything of `env/` and `world/`. */
export const envCalls: readonly PublicCall[] = [
  publicCall('liftEnv', {
    covers: ['liftEnv', 'isBatchEnv'],
    runs: 200,
    arguments: {
      env: fc.constant(null).map(() => ({
        catalog,
        maxEpisodeSteps: 5,
        contextWidth: 0,
        noRepeat: false,
        reset: () => ({ history: [] }),
        step: () => ({ reward: 1, terminated: false, truncated: false }),
      })),
      options: fc.record({
        size: fc.constant(1),
        name: fc.constant('own'),
        seed,
        maxEpisodeSteps: fc.constantFrom(2, 9),
        startCapacity: fc.nat(5),
      }),
    },
    call: async ({ env, options }) => {
      const lifted = liftEnv(env, options);
      isBatchEnv(lifted);
      await lifted.reset();
      await lifted.step(Int32Array.of(1));
    },
  }),
  publicCall('liftEnv, what the environment says', {
    covers: ['liftEnv'],
    runs: 300,
    arguments: {
      reset: fc.record({ history: ids, context: fc.constant([1, 2]) }),
      step: fc.record({
        reward: within(0, 1),
        terminated: fc.boolean(),
        truncated: fc.boolean(),
        history: fc.array(id, { minLength: 1, maxLength: 3 }),
      }),
    },
    call: async ({ reset, step }) => {
      const lifted = liftEnv(telling(reset, step));
      await lifted.reset({ seed: 3 });
      await lifted.step(Int32Array.of(1));
    },
  }),
  publicCall('BatchEnv, its calls', {
    covers: ['liftEnv', 'LaneEnv'],
    runs: 200,
    arguments: {
      reset: fc.record({ seed }),
      actions: fc.array(item, { minLength: 2, maxLength: 2 }).map((list) => Int32Array.from(list)),
      rows: fc.constant(Uint8Array.of(0, 1)),
    },
    call: async ({ reset, actions, rows }) => {
      const step = { reward: 1, terminated: true, truncated: false };
      const lifted = liftEnv(() => telling({ history: [], context: [1, 2] }, step), { size: 2 });
      const lanes = new LaneEnv(
        { name: 'free', catalog, size: 2, seed: 1, maxEpisodeSteps: 1, startCapacity: 0, noRepeat: false },
        new FreeRules(),
      );
      for (const env of [lifted, lanes]) {
        await env.reset(reset);
        await env.step(actions);
        await env.reset({ rows });
      }
    },
  }),
  publicCall('new LaneEnv', {
    covers: ['LaneEnv'],
    arguments: {
      options: fc.record({
        name: fc.constant('free'),
        catalog: fc.constant(catalog),
        size: fc.constantFrom(1, 2),
        seed,
        maxEpisodeSteps: fc.constantFrom(2, 5),
        startCapacity: fc.nat(2),
        noRepeat: fc.boolean(),
        contextWidth: fc.nat(2),
      }),
      rules: fc.constant(null).map(() => new FreeRules()),
    },
    call: ({ options, rules }) => {
      const env = new LaneEnv(options, rules);
      env.reset();
      env.step(new Int32Array(env.size));
      return env.saveState();
    },
  }),
  publicCall('LaneEnv.restoreState', {
    covers: ['LaneEnv'],
    runs: 200,
    arguments: {
      state: seed.map((seed) => ({
        format: 'ialp-env/1',
        name: 'free',
        items: ITEMS,
        seed,
        lanes: [
          { episode: 0, shown: ['item-1'] },
          { episode: -1, shown: [] as string[] },
        ],
      })),
    },
    call: ({ state }) =>
      new LaneEnv(
        { name: 'free', catalog, size: 2, seed: 1, maxEpisodeSteps: 5, startCapacity: 0, noRepeat: true },
        new FreeRules(),
      ).restoreState(state),
  }),
  publicCall('DotProductModel', {
    covers: ['DotProductModel'],
    arguments: {
      options: fc.record({
        vectors,
        width: fc.constant(WIDTH),
        bias: floats(ITEMS),
        window: fc.constantFrom(1, 5),
        decay: within(0.1, 1),
        name: fc.constant('dot'),
      }),
    },
    call: ({ options }) => new DotProductModel(options),
  }),
  publicCall('DotProductModel and SigmoidReward, scoring', {
    covers: ['DotProductModel', 'SigmoidReward'],
    arguments: {
      batch,
      actions: fc.constant(Int32Array.of(1, 2, -1)),
      out: fc.constant(null).map(() => new Float32Array(3)),
      all: fc.constant(null).map(() => new Float32Array(3 * ITEMS)),
    },
    call: ({ batch, actions, out, all }) => [reward.score(batch, actions, out), reward.scoreAll(batch, all)],
  }),
  publicCall('new SigmoidReward', {
    covers: ['SigmoidReward'],
    arguments: { model: fc.constant(model), calibration: fc.record({ a: within(0.1, 3), b: within(-1, 1) }) },
    call: ({ model, calibration }) => new SigmoidReward(model, calibration),
  }),
  publicCall('coOccurrenceVectors', {
    covers: ['coOccurrenceVectors'],
    arguments: {
      sequences: fc.constant(sequences),
      options: fc.record({
        width: fc.constantFrom(1, 3),
        distance: fc.constantFrom(1, 4),
        rounds: fc.constantFrom(1, 3),
        seed,
      }),
    },
    call: ({ sequences, options }) => coOccurrenceVectors(sequences, options),
  }),
  publicCall('calibrateReward', {
    covers: ['calibrateReward'],
    arguments: {
      model: fc.constant(model),
      options: fc.record({
        sequences: fc.constant(sequences),
        target: fc.record({ mean: within(1.6, 1.9), best: within(2.5, 3), bestCount: fc.constantFrom(1, 2) }),
        states: fc.constant(8),
        seed: fc.constant(1),
      }),
    },
    call: ({ model, options }) => calibrateReward(model, options),
  }),
  publicCall('sequenceEnv', {
    covers: ['sequenceEnv'],
    runs: 200,
    arguments: {
      options: fc.record({
        catalog: fc.constant(catalog),
        sequences: fc.constant(sequences),
        rewardModel: fc.constant(reward),
        codes: fc.constant(codes),
        rule,
        maxEpisodeSteps: fc.constantFrom(3, 9),
        noRepeat: fc.boolean(),
        size: fc.constantFrom(1, 2),
        seed,
        name: fc.constant('own'),
      }),
    },
    call: ({ options }) => {
      const env = sequenceEnv(options);
      env.reset();
      const actions = Int32Array.from({ length: env.size }, (_, lane) =>
        env.histories().items[lane * env.histories().length] === 0 ? 1 : 0,
      );
      env.step(actions);
    },
  }),
  publicCall('syntheticWorld', {
    covers: ['syntheticWorld', 'worldStarts'],
    runs: 70,
    arguments: {
      options: fc.record({
        items: fc.constantFrom(50, 60),
        categories: fc.constantFrom(3, 4),
        seed: fc.nat(3),
        rule,
        maxEpisodeSteps: fc.constantFrom(2, 5),
        noRepeat: fc.boolean(),
      }),
      starts: fc.record({
        split: fc.constantFrom('all' as const, 'train' as const, 'test' as const),
        count: fc.constantFrom(1, 3),
        seed,
      }),
    },
    call: ({ options, starts }) => worldStarts(syntheticWorld(options), starts),
  }),
  publicCall('coatWorld', {
    covers: ['coatWorld'],
    // Only counted in print.
    takesNaN: /^options\.data\.(testRatings|itemFeatureWidth)$/,
    arguments: {
      options: fc.record({
        data: fc.constant({ ...coat }),
        window: fc.constantFrom('legacy' as const, 'correct' as const, 'none' as const),
        evaluation: fc.constantFrom('FB' as const, 'NX_0' as const, 'NX_10' as const),
        reward: fc.constantFrom('truth' as const, coat.train),
        splitSeed: seed,
      }),
    },
    call: ({ options }) => coatWorld(options).batchEnv({ split: 'test', size: 2, seed: 1 }).reset(),
  }),
  publicCall('fitCoatModel', {
    covers: ['fitCoatModel'],
    takesNaN: /^options\.data\.testRatings$/,
    runs: 60,
    arguments: {
      options: fc.record({
        data: fc.constant({ ...coat }),
        seed,
        members: fc.constant(1),
        epochs: fc.constant(1),
        l2: within(0, 1),
        learningRate: within(0.001, 0.1),
        negatives: fc.constantFrom(0, 1),
        negativeWeight: within(0, 1),
        heldOut: fc.constantFrom(0, 0.2),
      }),
    },
    call: ({ options }) => fitCoatModel(options),
  }),
  publicCall('amazonWorld', {
    covers: ['amazonWorld'],
    runs: 160,
    arguments: {
      options: fc.record({
        data: fc.constant({ catalog, sequences }),
        categoryAttribute: fc.constant('category'),
        splitSeed: fc.nat(3),
        rule: fc.constant({ ...INDUSTRY_TEMPER }),
        maxEpisodeSteps: fc.constantFrom(2, 5),
        noRepeat: fc.boolean(),
        meanReward: within(0.5, 1),
        bestReward: within(2.5, 3),
      }),
    },
    call: ({ options }) => amazonWorld(options).batchEnv({ split: 'all', size: 2, seed: 1 }).reset(),
  }),
  publicCall('World.batchEnv and planned', {
    covers: ['syntheticWorld', 'coatWorld'],
    arguments: {
      policy: fc.constantFrom('random' as const, 'popularity' as const),
      options: fc.record({
        split: fc.constantFrom('all' as const, 'test' as const),
        size: fc.constantFrom(1, 2),
        seed,
      }),
      kind: fc.constantFrom('train' as const, 'truth' as const),
    },
    call: ({ policy, options, kind }) => {
      for (const place of [world, coatWorld({ data: coat })]) {
        const { env, planner } = place.planned(policy, options);
        env.reset();
        planner.act(new Float64Array(env.size));
        place.rotation(kind, 'all');
      }
    },
  }),
  publicCall('worldCard', {
    covers: ['worldCard'],
    // A world is any object of that form; its facts are its own.
    takesNaN: /^world\.(facts|cardEpisodes)/,
    runs: 200,
    arguments: {
      world: fc.constant(world),
      options: fc.record({
        split: fc.constantFrom('all' as const, 'test' as const),
        episodes: fc.constantFrom(1, 3),
        beamEpisodes: fc.constant(1),
        seeds: fc.constantFrom<number | number[]>(1, [3, 4]),
        policies: fc.constantFrom(['random' as const], ['popularity' as const]),
        onProgress: fc.constant(() => {}),
      }),
    },
    call: ({ world, options }, { signal }) =>
      worldCard(world, typeof options === 'object' && options !== null ? { ...options, signal } : options),
  }),
];
