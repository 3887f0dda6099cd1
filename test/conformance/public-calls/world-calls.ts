import fc from 'fast-check';
import {
  buildSequenceWorld,
  buildWorldFolder,
  customWorldSpec,
  ItemFeatures,
  industryWorldSpec,
  intraListDiversity,
  lfmWorldSpec,
  MemoryStorage,
  movielensWorldSpec,
  openWorldCards,
  openWorldFolder,
  type SequenceWorldSpec,
  saveWorldCard,
  saveWorldFolder,
  selfInformation,
  sequenceWorld,
  storedWorld,
  syntheticWorld,
  traceEpisode,
  tracksWorldSpec,
  typicalEpisodes,
} from '../../../src/index.js';
import { catalog, seed, sequences, within } from './fixtures.js';
import { type PublicCall, publicCall } from './public-call.js';

const data = { catalog, sequences };
const own = customWorldSpec(data, { category: 'category' });
const spec: SequenceWorldSpec = { ...own, rewardModel: { ...own.rewardModel, members: 1, maxEpochs: 1 } };
const built = await buildSequenceWorld(data, spec, { splits: ['train'] });
const features = ItemFeatures.tfidf(catalog);
const small = syntheticWorld({ items: 50, categories: 3, maxEpisodeSteps: 4 });
const filled = new MemoryStorage();
await saveWorldFolder(filled, { kind: 'synthetic', options: { items: 50, categories: 3 } });
const changes = fc.record({
  name: fc.constant('own'),
  splitSeed: seed,
  maxEpisodeSteps: fc.constantFrom(2, 5),
  noRepeat: fc.boolean(),
  meanReward: within(0.5, 1),
  bestReward: within(2, 4),
});

/** World folders, and the specs of worlds. */
export const worldCalls: readonly PublicCall[] = [
  publicCall('specs of worlds', {
    covers: ['customWorldSpec', 'industryWorldSpec', 'lfmWorldSpec', 'movielensWorldSpec', 'tracksWorldSpec'],
    arguments: { data: fc.constant({ ...data }), changes },
    call: ({ data, changes }) => [
      customWorldSpec(data, changes),
      industryWorldSpec(changes),
      lfmWorldSpec(changes),
      movielensWorldSpec(changes),
      tracksWorldSpec(changes),
    ],
  }),
  publicCall('buildSequenceWorld', {
    covers: ['buildSequenceWorld'],
    runs: 40,
    arguments: {
      data: fc.constant({ ...data }),
      spec: fc.constant({ ...spec }),
      options: fc.record({ splits: fc.constant(['train' as const]), onProgress: fc.constant(() => {}) }),
    },
    call: ({ data, spec, options }, { signal }) =>
      buildSequenceWorld(
        data,
        spec,
        typeof options === 'object' && options !== null ? { ...options, signal } : options,
      ),
  }),
  publicCall('sequenceWorld', {
    covers: ['sequenceWorld'],
    runs: 60,
    arguments: {
      built: fc.constant({ ...built }),
      env: fc.record({ split: fc.constant('train' as const), size: fc.constant(2), seed }),
    },
    call: ({ built, env }) => {
      using world = sequenceWorld(built);
      const lanes = world.batchEnv(env);
      lanes.reset();
      return lanes.step(
        new Int32Array(lanes.size)
          .fill(0)
          .map((_, lane) => (lanes.histories().items[lane * lanes.histories().length] === 0 ? 1 : 0)),
      );
    },
  }),
  publicCall('traceEpisode and typicalEpisodes', {
    covers: ['traceEpisode', 'typicalEpisodes'],
    takesNaN: /^world\.(facts|cardEpisodes)/,
    arguments: {
      world: fc.constant(small),
      options: fc.record({
        policy: fc.constantFrom('random' as const, 'greedy' as const),
        split: fc.constantFrom('train' as const, 'test' as const),
        seed,
      }),
      typical: fc.record({ split: fc.constant('test' as const), seed }),
    },
    call: ({ world, options, typical }) => [traceEpisode(world, options), typicalEpisodes(world, typical)],
  }),
  publicCall('measures of lists', {
    covers: ['intraListDiversity', 'selfInformation'],
    arguments: {
      features: fc.constant(features),
      items: fc.array(fc.nat(catalog.size - 1), { minLength: 2, maxLength: 5 }),
      counts: fc.array(fc.nat(9), { minLength: 2, maxLength: 5 }),
    },
    call: ({ features, items, counts }) => [intraListDiversity(features, items), selfInformation(counts)],
  }),
  publicCall('saveWorldFolder and openWorldFolder', {
    covers: ['saveWorldFolder', 'openWorldFolder', 'storedWorld'],
    runs: 60,
    arguments: {
      stored: fc.record({
        kind: fc.constant('synthetic' as const),
        options: fc.record({ items: fc.constantFrom(50, 60), categories: fc.constant(3), seed: fc.nat(3) }),
      }),
      saving: fc.record({ inputs: fc.constant([{ file: 'a.csv', sha256: 'a'.repeat(64) }]) }),
      opening: fc.record({ splits: fc.constantFrom(['train' as const], ['train' as const, 'test' as const]) }),
    },
    call: async ({ stored, saving, opening }) => {
      const storage = new MemoryStorage();
      await saveWorldFolder(storage, stored, saving);
      return storedWorld(await openWorldFolder(storage, opening));
    },
  }),
  publicCall('buildWorldFolder', {
    covers: ['buildWorldFolder'],
    runs: 40,
    arguments: {
      data: fc.constant({ ...data }),
      spec: fc.constant({ ...spec }),
      options: fc.record({
        inputs: fc.constant([]),
        splits: fc.constant(['train' as const]),
        onClaim: fc.constant(() => {}),
        onProgress: fc.constant(() => {}),
      }),
    },
    call: ({ data, spec, options }, { signal }) =>
      buildWorldFolder(
        new MemoryStorage(),
        data,
        spec,
        typeof options === 'object' && options !== null ? { ...options, signal } : options,
      ),
  }),
  publicCall('cards of a world', {
    covers: ['saveWorldCard', 'openWorldCards'],
    arguments: { name: fc.constantFrom('test', 'all'), card: fc.record({ rows: fc.constant([{ return: 1 }]) }) },
    call: async ({ name, card }) => {
      await saveWorldCard(filled, name, card);
      return openWorldCards(filled);
    },
  }),
];
