/**
 * `npx tsx bench/real-model-table.ts --world FOLDER --asked FOLDER [--seeds N] [--steps LIST] [--handover NATS] [--json FILE]`: what a
 * policy learns from the answers that `bench/real-model.ts` collected, on the test users of the world, beside those who had no model.
 * Intervals are Student's t over the learner's seeds, which also draw the episodes. `--handover` fine-tunes once more from a start as flat.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { ActorCritic } from '../src/agent/actor-critic.js';
import { ContentPolicy } from '../src/agent/content-policy.js';
import { MixturePolicy } from '../src/agent/mixture-policy.js';
import type { Policy } from '../src/agent/policy.js';
import { RandomPolicy } from '../src/agent/random-policy.js';
import { ItemFeatures } from '../src/catalog/item-features.js';
import { useBackend } from '../src/compute/backend.js';
import { imaginedStarts } from '../src/experiment/compare-methods.js';
import { worldPreset } from '../src/experiment/presets.js';
import { Rng } from '../src/foundation/rng.js';
import { linearSchedule } from '../src/foundation/schedules.js';
import { MemoryStorage } from '../src/foundation/storage.js';
import { evaluate } from '../src/metrics/evaluate.js';
import { confidenceInterval } from '../src/metrics/statistics.js';
import { fileStorage } from '../src/node/file-storage.js';
import { type RecordedAnswer, readAnswers } from '../src/oracle/recorded-answers.js';
import { SimulatedOracle } from '../src/oracle/simulated-oracle.js';
import { adapt } from '../src/train/adapt.js';
import { distil } from '../src/train/distil.js';
import { pretrain } from '../src/train/pretrain.js';
import { storedWorld } from '../src/world/stored-world.js';
import { openWorldFolder } from '../src/world/world-folder.js';

const { values } = parseArgs({
  options: {
    world: { type: 'string' },
    asked: { type: 'string' },
    seeds: { type: 'string', default: '5' },
    steps: { type: 'string', default: '500,2000,5000,20000' },
    handover: { type: 'string', default: '5' },
    json: { type: 'string' },
  },
});
const { world: place, asked, json } = values;
if (!place || !asked) throw new Error('Usage: real-model-table.ts --world FOLDER --asked FOLDER');
const seeds = Array.from({ length: Number(values.seeds) }, (_, i) => i + 1);
const EPISODES = 256;
const LANES = 64;

await useBackend('wasm');
const stored = await openWorldFolder(fileStorage(place), { splits: ['train', 'test'] });
const world = storedWorld(stored);
const { catalog } = world;
const preset = worldPreset(world);
const storage = fileStorage(asked);

interface Row {
  readonly method: string;
  readonly answers: number;
  readonly steps: number;
  readonly mode: string;
  readonly return: number;
  readonly low: number;
  readonly high: number;
  readonly length: number;
  readonly coverage: number;
  readonly perSeed: readonly number[];
}
const rows: Row[] = [];

/** Measures one policy a seed. */
async function measure(
  method: string,
  facts: { answers?: number; steps?: number },
  of: (seed: number) => Promise<Policy> | Policy,
) {
  const played = [];
  for (const seed of seeds) {
    const policy = await of(seed);
    const env = world.batchEnv({ split: 'test', size: LANES, seed });
    played.push(await evaluate({ policies: { policy }, env, episodes: EPISODES, seeds: [1000 + seed] }));
    if (policy instanceof ActorCritic || policy instanceof MixturePolicy) policy.dispose();
  }
  for (const [i, mode] of ['sampled', 'argmax'].entries()) {
    const of = played.map((each) => each[i] as (typeof each)[number]);
    const perSeed = of.map((row) => row.return);
    const { mean, low, high } = confidenceInterval(perSeed);
    const average = (pick: 'length' | 'coverage') => of.reduce((sum, row) => sum + row[pick], 0) / of.length;
    const row = {
      method,
      answers: 0,
      steps: 0,
      ...facts,
      mode,
      return: mean,
      low,
      high,
      length: average('length'),
      coverage: average('coverage'),
      perSeed,
    };
    rows.push(row);
    console.log(
      `${method.padEnd(22)} ${mode.padEnd(8)} answers ${row.answers} steps ${row.steps}  R ${mean.toFixed(2)} [${low.toFixed(2)}, ${high.toFixed(2)}]  Len ${row.length.toFixed(2)}  coverage ${row.coverage.toFixed(2)}`,
    );
  }
}

const agentOf = (seed: number, prior?: readonly number[]): ActorCritic => {
  const options = preset.agent({ seed });
  if (prior === undefined) return new ActorCritic(options);
  return new ActorCritic({ ...options, historyFeatures: { ...(options.historyFeatures || {}), prior } });
};

async function learned(
  answers: readonly RecordedAnswer[],
  seed: number,
  prior?: readonly number[],
): Promise<ActorCritic> {
  const agent = agentOf(seed, prior);
  const { temperature, isBetterThanChance } = await pretrain({ agent, answers, seed });
  console.log(`  seed ${seed}: temperature ${temperature.toFixed(3)}, better than chance: ${isBetterThanChance}`);
  return agent;
}

/** The plan of `bench/real-model.ts`, put to another oracle. */
async function asking(oracle: SimulatedOracle, each: number): Promise<readonly RecordedAnswer[]> {
  const memory = new MemoryStorage();
  const plan = {
    catalog,
    oracle,
    storage: memory,
    count: each,
    starts: imaginedStarts(world, 256, 1),
    stepsPerEpisode: 10,
    emptyShare: 0,
    // Answers are learned from in the order of the record.
    concurrency: 1,
  };
  await distil({ ...plan, key: 'a', seed: 1 });
  const first = await readAnswers({ storage: memory, key: 'a', catalog });
  using policy = await learned(first.answers, 1);
  await distil({ ...plan, key: 'b', seed: 2, policy });
  return [...first.answers, ...(await readAnswers({ storage: memory, key: 'b', catalog })).answers];
}

/** The answers of an oracle for which every item has another item's text: history, candidates and choice under one exchange of items. */
function exchanged(answers: readonly RecordedAnswer[]): RecordedAnswer[] {
  const order = new Rng(5).fork('exchange').shuffle(Array.from({ length: catalog.size }, (_, i) => i));
  const other = (id: string): string => catalog.id(order[catalog.indexOf(id)] as number);
  return answers.map(({ history, candidates, choice }) => ({
    history: history.map(other),
    candidates: candidates.map(other),
    choice: choice === null ? null : other(choice),
  }));
}

/** The same answers had the oracle never said None: its best-scored candidate. */
function decided(answers: readonly RecordedAnswer[]): RecordedAnswer[] {
  return answers.map((answer) => {
    const scores = answer.scores?.slice(0, answer.candidates.length);
    if (scores === undefined) throw new Error('the record holds no scores');
    return { ...answer, choice: answer.candidates[scores.indexOf(Math.max(...scores))] as string };
  });
}

const parts = await Promise.all(
  ['uniform.jsonl', 'by-policy.jsonl'].map((key) => readAnswers({ storage, key, catalog }).catch(() => undefined)),
);
const answers = parts.flatMap((part) => part?.answers ?? []);
const nones = answers.filter(({ choice }) => choice === null).length;
console.log(`${answers.length} answers of ${parts[0]?.oracleId}, ${nones} of them None`);
const text = await readFile(join(asked, 'ratings.json'), 'utf8').catch(() => undefined);
const ratings = text === undefined ? undefined : (JSON.parse(text) as { ratings: number[]; rankCorrelation: number });

await measure('random', {}, () => new RandomPolicy({ itemCount: catalog.size }));
await measure('untrained', {}, (seed) => agentOf(seed));
const features = ItemFeatures.tfidf(catalog);
await measure('content', {}, () => new ContentPolicy(features));
// The temperature that returns most on the validation users of industry-1 (`bench/pretrain-recipe.ts` finds it).
await measure('content, temperature 0.03', {}, () => new ContentPolicy(features, { temperature: 0.03 }));
const facts = { answers: answers.length };
await measure('model', facts, (seed) => learned(answers, seed));
if (ratings) await measure('model+rating', facts, (seed) => learned(answers, seed, ratings.ratings));
await measure('model, never None', facts, (seed) => learned(decided(answers), seed));
if (ratings)
  await measure('model, never None+rating', facts, (seed) => learned(decided(answers), seed, ratings.ratings));
await measure('model, texts exchanged', facts, (seed) => learned(exchanged(answers), seed));
const half = Math.round(answers.length / 2);
const byText = await asking(new SimulatedOracle({ catalog, seed: 1 }), half);
await measure('text oracle', facts, (seed) => learned(byText, seed));

// Adapted online: from what the model taught, and from nothing.
for (const steps of values.steps.split(',').map(Number)) {
  const adapted = async (
    agent: ActorCritic,
    seed: number,
    scheme: 'fineTune' | 'mixture' = 'fineTune',
    handoverEntropy = preset.handoverEntropy,
  ) => {
    const env = world.batchEnv({ split: 'train', size: preset.lanes, seed });
    const alpha = linearSchedule({ from: 0.1, to: 1, steps: Math.min(preset.alphaSteps, steps) });
    const { policy } = await adapt({
      ...{ agent, env, steps, seed, handoverEntropy, scheme },
      ...(scheme === 'mixture' ? { alpha } : {}),
    });
    // A mixture goes on asking the frozen policy.
    if (scheme === 'fineTune') agent.dispose();
    return policy;
  };
  await measure('model, fine-tuned', { ...facts, steps }, async (seed) => adapted(await learned(answers, seed), seed));
  await measure(`model, fine-tuned from ${values.handover} nats`, { ...facts, steps }, async (seed) =>
    adapted(await learned(answers, seed), seed, 'fineTune', Number(values.handover)),
  );
  await measure('model, mixture', { ...facts, steps }, async (seed) =>
    adapted(await learned(answers, seed), seed, 'mixture'),
  );
  await measure('scratch', { steps }, async (seed) => adapted(agentOf(seed), seed));
}

if (json) {
  const command = `npx tsx bench/real-model-table.ts --world FOLDER --asked FOLDER --seeds ${seeds.length} --steps ${values.steps} --handover ${values.handover}`;
  const about = {
    command,
    world: world.name,
    oracle: parts[0]?.oracleId,
    answers: answers.length,
    nones,
    episodes: EPISODES,
    seeds,
  };
  await writeFile(json, `${JSON.stringify({ ...about, ratings: ratings?.rankCorrelation, rows }, undefined, 1)}\n`);
}
