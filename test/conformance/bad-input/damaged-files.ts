/** Files that were written here and came back otherwise. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  ActorCritic,
  CheckpointError,
  MemoryStorage,
  pretrain,
  ReplayBuffer,
  Rng,
  ScriptedOracle,
} from '../../../src/index.js';
import { fileStorage } from '../../../src/node/index.js';
import { catalog, smallAgent } from '../public-calls/fixtures.js';
import { any, badInputs, folder } from './case.js';

const scripted = new ScriptedOracle(() => 0);
const agent = smallAgent();
const options = { agent, oracle: scripted, budget: { calls: 4 }, candidateCount: 2, stepsPerEpisode: 1, lanes: 1 };

/** Files that were written here and came back otherwise. */
const stored = async (change: (bytes: Uint8Array) => Uint8Array, load: object = {}) => {
  const storage = new MemoryStorage();
  await agent.save(storage);
  await storage.put('policy.safetensors', change((await storage.get('policy.safetensors')) as Uint8Array));
  return ActorCritic.load(storage, { catalog, ...load });
};
/** A safetensors file with a header of one's own. */
const withHeader = (header: string, data = 0): Uint8Array => {
  const text = new TextEncoder().encode(header);
  const bytes = new Uint8Array(8 + text.length + data);
  new DataView(bytes.buffer).setUint32(0, text.length, true);
  bytes.set(text, 8);
  return bytes;
};
const source = 'policy.safetensors';
const weights = (bytes: Uint8Array, change: (floats: DataView) => void): Uint8Array => {
  const copy = bytes.slice();
  const start = 8 + new DataView(copy.buffer).getUint32(0, true);
  change(new DataView(copy.buffer, start));
  return copy;
};

export const damaged = badInputs(CheckpointError, [
  [
    'policy: nothing stored',
    () => ActorCritic.load(new MemoryStorage(), { catalog }),
    { source },
    /no policy is stored here/,
  ],
  ['policy: an empty file', () => stored(() => new Uint8Array(0)), { source }, /0 bytes/],
  ['policy: torn', () => stored((bytes) => bytes.slice(0, bytes.length - 5)), { source }, /torn/],
  [
    'policy: a tail too long',
    () => stored((bytes) => Uint8Array.of(...bytes, 1, 2)),
    { source },
    /2 bytes follow the last array/,
  ],
  [
    'policy: spliced with another',
    () => stored((bytes) => Uint8Array.of(...bytes.slice(0, 200), ...bytes.slice(300))),
    { source },
    /./,
  ],
  [
    'policy: NaN in the weights',
    () => stored((bytes) => weights(bytes, (floats) => floats.setFloat32(0, Number.NaN, true))),
    { source },
    /SHA-256/,
  ],
  [
    'policy: a bit flipped',
    () => stored((bytes) => weights(bytes, (floats) => floats.setUint8(9, floats.getUint8(9) ^ 4))),
    { source },
    /SHA-256/,
  ],
  [
    'policy: a header of 2^40 bytes',
    () => stored(() => Uint8Array.of(0, 0, 0, 0, 0, 1, 0, 0, 123)),
    { source },
    /at most 16 MiB/,
  ],
  ['policy: a header that is no JSON', () => stored(() => withHeader('{"a":')), { source }, /header is damaged/],
  ['policy: a key twice', () => stored(() => withHeader('{"a":{},"a":{}}')), { source }, /"a" stands twice/],
  [
    'policy: __proto__ as an array',
    () => stored(() => withHeader('{"__proto__":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', 4)),
    { source },
    /not a policy/,
  ],
  [
    'policy: arrays that overlap',
    () =>
      stored(() =>
        withHeader(
          '{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}',
          3,
        ),
      ),
    { source },
    /overlaps/,
  ],
  [
    'policy: a shape that is not its bytes',
    () => stored(() => withHeader('{"a":{"dtype":"F32","shape":[9],"data_offsets":[0,4]}}', 4)),
    { source },
    /36 bytes/,
  ],
  [
    'policy: another file of ours',
    () => stored(() => withHeader('{"__metadata__":{"format":"ialp-checkpoint"}}')),
    { source },
    /not a policy of this library/,
  ],
  [
    'policy: of a later version',
    () => stored(() => withHeader('{"__metadata__":{"format":"ialp-policy","version":"9"}}')),
    { source, version: 9 },
    /expected format version 1, got 9/,
  ],
  [
    'run: the checkpoint of another run',
    async () => {
      const storage = new MemoryStorage();
      using one = smallAgent();
      using other = smallAgent();
      await pretrain({ ...options, agent: one, storage, checkpointEvery: 2 });
      await pretrain({ ...options, agent: other, storage, checkpointEvery: 2, seed: 9 });
    },
    {},
    /another `seed`/,
  ],
  ['Rng: a state of something else', () => Rng.fromState(any({ path: 'x' })), {}, /the state of an Rng/],
  [
    'ReplayBuffer: NaN counters',
    () => {
      const buffer = new ReplayBuffer({ lanes: 1, stepsPerLane: 2 });
      const arrays = buffer.toNamedArrays();
      buffer.load({ ...arrays, counts: { shape: [1], data: Float64Array.of(Number.NaN) } }, 'checkpoint');
    },
    { source: 'checkpoint' },
    /counters of lane 0/,
  ],
  [
    'file storage: altered from outside',
    async () => {
      const storage = fileStorage(join(folder, 's'));
      await storage.put('a', Uint8Array.of(1, 2, 3));
      writeFileSync(join(folder, 's', 'a'), 'zzz');
      await storage.get('a');
    },
    {},
    /torn or altered/,
  ],
]);
