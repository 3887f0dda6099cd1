/**
 * `npx tsx bench/world-cards.ts industry|lfm|lfm-tags|movielens|tracks --data DIR [--worlds N] [--models DIR] [--json FILE] [--plain]`: builds
 * a sequence world under N seeds (split, reward models, calibration), measures each one's card in its test world, prints the
 * spread over the worlds and whether the acceptance lines of Industry-like and LFM-like hold. `--models` keeps what is fitted, so
 * that an interrupted run goes on. `--plain` is the degenerate rule: repeats allowed, no diversity; `--no-diversity` leaves out the
 * latter alone; `--negatives uniform` fits rewards by other negatives. Exit code 1 when a line fails.
 */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import process from 'node:process';
import { parseArgs } from 'node:util';
import { trackSequences } from '../src/catalog/tracks.js';
import { useBackend } from '../src/compute/backend.js';
import type { TemperRules } from '../src/env/temper-rules.js';
import { confidenceInterval } from '../src/metrics/statistics.js';
import { fileStorage } from '../src/node/file-storage.js';
import { readAmazon, readLastfm, readMovielens, readTracks } from '../src/node/read-data.js';
import { type CardRow, worldCard } from '../src/world/card.js';
import { movielensWorldSpec, tracksWorldSpec } from '../src/world/custom-world.js';
import { industryWorldSpec } from '../src/world/industry-world.js';
import { lfmWorldSpec } from '../src/world/lfm-world.js';
import { ranking } from '../src/world/planner.js';
import {
  buildSequenceWorld,
  type SequenceWorldData,
  type SequenceWorldSpec,
  sequenceWorld,
} from '../src/world/sequence-world.js';
import type { World } from '../src/world/world.js';

/** Users to whom one item is shown for ever. */
const CROWD = 256;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    data: { type: 'string' },
    worlds: { type: 'string', default: '3' },
    models: { type: 'string' },
    json: { type: 'string' },
    plain: { type: 'boolean', default: false },
    'no-diversity': { type: 'boolean', default: false },
    negatives: { type: 'string' },
    episodes: { type: 'string', default: '200' },
    beam: { type: 'string', default: '64' },
  },
});
const [name] = positionals;
const folder = values.data;
if (name === undefined || folder === undefined) throw new Error('wants a world and --data DIR');

/** Acceptance (environments.md section 3). */
interface Wanted {
  readonly averageReward: number;
  readonly length: number;
  readonly beam: number;
}

interface Kind {
  readonly spec: (changes: Partial<SequenceWorldSpec>) => SequenceWorldSpec;
  readonly read: (folder: string) => Promise<SequenceWorldData>;
  readonly wanted?: Wanted;
}

const LFM: Wanted = { averageReward: 0.34, length: 4.9, beam: 40 };
const KINDS: Readonly<Record<string, Kind>> = {
  industry: {
    spec: industryWorldSpec,
    read: readAmazon,
    wanted: { averageReward: 0.21, length: 5.2, beam: 50 },
  },
  lfm: { spec: lfmWorldSpec, read: readLastfm, wanted: LFM },
  'lfm-tags': { spec: lfmWorldSpec, read: (from) => readLastfm(from, { order: 'tags' }), wanted: LFM },
  movielens: { spec: movielensWorldSpec, read: readMovielens },
  tracks: {
    spec: tracksWorldSpec,
    read: async (from) => {
      const tracks = await readTracks(from);
      return { catalog: tracks.catalog, sequences: trackSequences(tracks, { seed: 1 }) };
    },
  },
};
const kind = KINDS[name];
if (kind === undefined) throw new Error(`wants one of ${Object.keys(KINDS).join(', ')}, got ${name}`);

const isPlain = values.plain || values['no-diversity'];
const { backend, kernels, threads } = await useBackend('auto');
const data = await kind.read(folder);
const worlds: Record<string, unknown>[] = [];
const cards: CardRow[][] = [];
for (let seed = 1; seed <= Number(values.worlds); seed++) {
  const preset = kind.spec({ splitSeed: seed });
  const { diversity: _, ...withoutDiversity } = preset.rule;
  const rewardModel =
    values.negatives === undefined
      ? preset.rewardModel
      : { ...preset.rewardModel, negatives: values.negatives as 'uniform' | 'popularity' };
  const spec = kind.spec({
    splitSeed: seed,
    rewardModel,
    ...(isPlain ? { rule: withoutDiversity, category: null } : {}),
    ...(values.plain ? { noRepeat: false } : {}),
  });
  const began = performance.now();
  const built = await buildSequenceWorld(data, spec, {
    ...(values.models ? { storage: fileStorage(join(values.models, `${name}-${seed}`)) } : {}),
  });
  const buildSeconds = (performance.now() - began) / 1000;
  using world = sequenceWorld(built);
  const rows = await worldCard(world, {
    split: 'test',
    seeds: 3,
    episodes: Number(values.episodes),
    beamEpisodes: Number(values.beam),
  });
  const fits = Object.fromEntries(
    Object.entries(built.fits).map(([split, { calibration, auc, hitRate10, epochs }]) => [
      split,
      { a: calibration.a, b: calibration.b, auc, hitRate10, epochs },
    ]),
  );
  cards.push(rows);
  const single = values.plain
    ? { oneItemOfTest: oneItem(world, 'test'), oneItemOfTrain: oneItem(world, 'train') }
    : undefined;
  worlds.push({ seed, buildSeconds, fits, rows, ...single });
  if (single) console.log(`one item for ever: ${JSON.stringify(single)}`);
  console.log(`world ${seed}: built in ${buildSeconds.toFixed(0)} s; ${JSON.stringify(fits)}`);
  for (const row of rows) {
    const { policy, return: R, returnLow, returnHigh, length, averageReward, coverage } = row;
    console.log(
      `  ${policy.padEnd(18)}${R.toFixed(2).padStart(6)} [${returnLow.toFixed(2)}, ${returnHigh.toFixed(2)}]  Len ${length.toFixed(2)}  avg ${averageReward.toFixed(3)}  coverage ${coverage.toFixed(4)}`,
    );
  }
}

/**
 * One item shown for ever: the best of the hundred with the highest mean reward at the start, chosen among users of one split and
 * played to those of the test split.
 */
function oneItem(world: World, from: 'train' | 'test'): { readonly return: number; readonly length: number } {
  const play = (split: 'train' | 'test', item: number) => {
    const env = world.batchEnv({ split, size: CROWD, seed: 1 });
    env.reset();
    let total = 0;
    let steps = 0;
    while (env.ended.includes(0)) {
      const actions = Int32Array.from(env.ended, (flag) => (flag === 1 ? -1 : item));
      steps += actions.filter((action) => action >= 0).length;
      total += env.step(actions).rewards.reduce((sum, reward) => sum + reward);
    }
    return { return: total / CROWD, length: steps / CROWD };
  };
  const env = world.batchEnv({ split: from, size: CROWD, seed: 1 });
  env.reset();
  const A = world.catalog.size;
  const rewards = new Float32Array(CROWD * A);
  const { source } = env.rules as unknown as TemperRules;
  source.rewardRows(
    Int32Array.from({ length: CROWD }, (_, lane) => lane),
    env.histories(),
    rewards,
  );
  const sums = new Float64Array(A);
  for (let i = 0; i < rewards.length; i++) sums[i % A] = (sums[i % A] as number) + (rewards[i] as number);
  const tried = ranking(sums).subarray(0, 100);
  const best = tried.reduce((a, b) => (play(from, b).return > play(from, a).return ? b : a));
  return play('test', best);
}

const of = (policy: string): CardRow[] => cards.map((rows) => rows.find((row) => row.policy === policy) as CardRow);
const spread = (cards[0] ?? []).map(({ policy }) => ({
  policy,
  return: confidenceInterval(of(policy).map((row) => row.return)),
  length: confidenceInterval(of(policy).map((row) => row.length)),
  averageReward: confidenceInterval(of(policy).map((row) => row.averageReward)),
}));
console.log(`over ${cards.length} worlds, mean [95 % interval]:`);
for (const { policy, return: R, length, averageReward } of spread) {
  console.log(
    `  ${policy.padEnd(18)}${R.mean.toFixed(2).padStart(6)} [${R.low.toFixed(2)}, ${R.high.toFixed(2)}]  Len ${length.mean.toFixed(2)}  avg ${averageReward.mean.toFixed(3)}`,
  );
}

const lines: { readonly line: string; readonly holds: boolean }[] = [];
if (kind.wanted !== undefined && !isPlain) {
  const { wanted } = kind;
  cards.forEach((_, n) => {
    const [random, popularity, greedy, beam, transfer] = ['random', 'popularity', 'greedy', 'beam', 'transfer'].map(
      (policy) => of(policy)[n] as CardRow,
    ) as [CardRow, CardRow, CardRow, CardRow, CardRow];
    const check = (line: string, holds: boolean) => lines.push({ line: `world ${n + 1}: ${line}`, holds });
    const within = Math.abs(random.averageReward / wanted.averageReward - 1);
    check(
      `random average reward within 20 % of ${wanted.averageReward}: ${random.averageReward.toFixed(3)}`,
      within <= 0.2,
    );
    check(
      `random length within 1 of ${wanted.length}: ${random.length.toFixed(2)}`,
      Math.abs(random.length - wanted.length) <= 1,
    );
    check(`beam at least ${wanted.beam}: ${beam.return.toFixed(1)}`, beam.return >= wanted.beam);
    check(
      `beam at least 1.2 x greedy: ${(beam.return / greedy.return).toFixed(2)}`,
      beam.return >= 1.2 * greedy.return,
    );
    check(
      `popularity at most 0.6 x beam: ${(popularity.return / beam.return).toFixed(2)}`,
      popularity.return <= 0.6 * beam.return,
    );
    check(
      `transfer at least 0.85 x beam: ${(transfer.return / beam.return).toFixed(2)}`,
      transfer.return >= 0.85 * beam.return,
    );
  });
  for (const { line, holds } of lines) console.log(`${holds ? 'holds' : 'FAILS'}  ${line}`);
  if (lines.some(({ holds }) => !holds)) process.exitCode = 1;
}
if (values.json !== undefined) {
  const command = `npx tsx bench/world-cards.ts ${name} --data DIR --worlds ${values.worlds}${values.plain ? ' --plain' : ''}${values['no-diversity'] ? ' --no-diversity' : ''}${values.negatives ? ` --negatives ${values.negatives}` : ''} --episodes ${values.episodes} --beam ${values.beam}`;
  const facts = { command, node: process.version, backend, kernels, threads, items: data.catalog.size };
  await writeFile(
    values.json,
    `${JSON.stringify({ ...facts, sequences: data.sequences.count, lines, spread, worlds }, undefined, 1)}\n`,
  );
}
