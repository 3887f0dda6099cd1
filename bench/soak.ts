/**
 * `npx tsx bench/soak.ts [--steps N] [--items N] [--json FILE]`: one long online run by the library's `adapt` and A2C on a
 * replay buffer, batch 128, one update an environment step, over 18,297 items; every minute it notes what memory is held.
 * Exit code 1 when a count grew after the buffers had their size, or the resident set by more than 1 MB a minute.
 */
import { writeFile } from 'node:fs/promises';
import process from 'node:process';
import { parseArgs } from 'node:util';
import { ActorCritic } from '../src/agent/actor-critic.js';
import { useBackend } from '../src/compute/backend.js';
import { engineMemory } from '../src/compute/engine-memory.js';
import { sasRec } from '../src/encoder/sasrec.js';
import { adapt } from '../src/train/adapt.js';
import { syntheticWorld } from '../src/world/synthetic-world.js';
import { LENGTH, MODEL } from './case-data.js';

const { values } = parseArgs({
  options: {
    steps: { type: 'string', default: '50000' },
    items: { type: 'string', default: '18297' },
    threads: { type: 'string', default: '2' },
    json: { type: 'string' },
  },
});
const steps = Number(values.steps);
const LANES = 16;
const BATCH = 128;
const SAMPLE_MS = 60_000;
const MOST_MB_A_MINUTE = 1;

await useBackend('wasm', { threads: Number(values.threads) });
const world = syntheticWorld({ items: Number(values.items) });
using agent = new ActorCritic({
  catalog: world.catalog,
  encoder: sasRec({ ...MODEL, historyLength: LENGTH, dropout: 0.1 }),
  items: 'id',
  historyFeatures: { repeats: 8, attributes: [], text: false },
  critic: 'action',
  algorithm: 'replay',
  seed: 1,
});

const began = performance.now();
const samples: Record<string, number>[] = [];
let reached = 0;
function sample(): void {
  const { rss, heapUsed } = process.memoryUsage();
  samples.push({
    minute: (performance.now() - began) / 60_000,
    steps: reached,
    rssMb: rss / 2 ** 20,
    heapMb: heapUsed / 2 ** 20,
    ...engineMemory(),
  });
  console.log(JSON.stringify(samples[samples.length - 1]));
}

let next = began + SAMPLE_MS;
const { policy, learner, updates, fusedShare, curve } = await adapt({
  agent,
  env: world.batchEnv({ split: 'train', size: LANES, seed: 1 }),
  algorithm: { name: 'replay', batchSize: BATCH, updatesPerStep: 1 },
  steps,
  stepsPerEpoch: 10 * LANES,
  seed: 1,
  afterEpoch: (epoch) => {
    reached = epoch.steps;
    if (performance.now() < next) return;
    next += SAMPLE_MS;
    sample();
  },
});
using _policy = policy;
const minutes = (performance.now() - began) / 60_000;
sample();

/** Megabytes a minute, by least squares over the samples after the first third, in which buffers find their size. */
function slope(of: string): number {
  const late = samples.slice(Math.floor(samples.length / 3));
  const mean = (name: string): number => late.reduce((sum, row) => sum + (row[name] as number), 0) / late.length;
  const [x0, y0] = [mean('minute'), mean(of)];
  const covariance = late.reduce((sum, row) => sum + ((row.minute as number) - x0) * ((row[of] as number) - y0), 0);
  return covariance / late.reduce((sum, row) => sum + ((row.minute as number) - x0) ** 2, 0);
}

const late = samples.slice(Math.floor(samples.length / 3));
const grown = (['tensors', 'buffers', 'fusedBytes'] as const).filter((name) => {
  const [first, last] = [late[0]?.[name] as number, late.at(-1)?.[name] as number];
  // A longer history than any before makes a buffer of the engine larger once more, by some bytes.
  return name === 'fusedBytes' ? last > 1.001 * first : last > first;
});
const result = {
  command: `npx tsx bench/soak.ts --steps ${steps} --items ${values.items} --threads ${values.threads}`,
  node: process.version,
  steps,
  updates,
  batch: BATCH,
  items: Number(values.items),
  minutes,
  msPerStep: (minutes * 60_000) / steps,
  kernels: learner.kernels.kind,
  variant: learner.kernels.variant,
  threads: learner.kernels.threads,
  fusedShare,
  episodes: curve.length,
  rssMbPerMinute: samples.length > 5 ? slope('rssMb') : undefined,
  heapMbPerMinute: samples.length > 5 ? slope('heapMb') : undefined,
  grown,
  samples,
};
if (values.json) await writeFile(values.json, `${JSON.stringify(result, undefined, 1)}\n`);
console.log(JSON.stringify({ ...result, samples: undefined }));
if (grown.length > 0 || (result.rssMbPerMinute ?? 0) > MOST_MB_A_MINUTE) process.exitCode = 1;
