import fc from 'fast-check';
import {
  buildWorldFolder,
  customWorldSpec,
  MemoryStorage,
  movielensWorldSpec,
  openWorldCards,
  openWorldFolder,
  type SequenceWorldSpec,
  saveWorldCard,
  saveWorldFolder,
  storedWorld,
  tracksWorldSpec,
} from '../../../src/index.js';
import { catalog, seed, sequences, within } from './fixtures.js';
import { type PublicCall, publicCall } from './public-call.js';

const data = { catalog, sequences };
const own = customWorldSpec(data, { category: 'category' });
const spec: SequenceWorldSpec = { ...own, rewardModel: { ...own.rewardModel, members: 1, maxEpochs: 1 } };
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
    covers: ['customWorldSpec', 'movielensWorldSpec', 'tracksWorldSpec'],
    arguments: { data: fc.constant({ ...data }), changes },
    call: ({ data, changes }) => [
      customWorldSpec(data, changes),
      movielensWorldSpec(changes),
      tracksWorldSpec(changes),
    ],
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
