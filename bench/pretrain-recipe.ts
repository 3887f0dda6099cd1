/**
 * `npx tsx bench/pretrain-recipe.ts --worlds DIR,DIR [--seeds N] [--episodes N] [--no-synthetic] [--json FILE]`: what pre-training makes of N
 * answers of the simulated text oracle, on the test users of built worlds (`ialp world build industry`), each learner seed with
 * episodes of its own, the same for every row. Prints every row with its 95 % interval over worlds x seeds, and the ratios and differences that
 * are asked of it, paired by world and seed. Temperatures of the rows that have one to choose (`content`, `noiselessOracle`) are chosen
 * on the validation users. Exit code 1 when a floor is missed.
 */
import { writeFile } from 'node:fs/promises';
import process from 'node:process';
import { parseArgs } from 'node:util';
import { ActorCritic } from '../src/agent/actor-critic.js';
import type { ActorCriticOptions } from '../src/agent/agent-model.js';
import { ContentPolicy } from '../src/agent/content-policy.js';
import { CountingBanditPolicy } from '../src/agent/counting-bandit-policy.js';
import type { ActOptions, Decision, Policy, PolicyOptions, Ranking } from '../src/agent/policy.js';
import { PopularityPolicy } from '../src/agent/popularity-policy.js';
import { RandomPolicy } from '../src/agent/random-policy.js';
import { actByScore, probabilitiesByScore, type RowScorer, topKByScore } from '../src/agent/row-scorer.js';
import type { Catalog } from '../src/catalog/catalog.js';
import { ItemFeatures } from '../src/catalog/item-features.js';
import { TextIndex } from '../src/catalog/text-index.js';
import { useBackend } from '../src/compute/backend.js';
import type { HistoryBatch } from '../src/compute/history-batch.js';
import { ItemCosines } from '../src/compute/item-cosines.js';
import { imaginedStarts } from '../src/experiment/compare-methods.js';
import { DEMO } from '../src/experiment/demo.js';
import { worldPreset } from '../src/experiment/presets.js';
import { Rng } from '../src/foundation/rng.js';
import { type EvaluationMode, evaluate } from '../src/metrics/evaluate.js';
import { confidenceInterval, type Interval } from '../src/metrics/statistics.js';
import { fileStorage } from '../src/node/file-storage.js';
import type { PreferenceOracle } from '../src/oracle/preference-oracle.js';
import { SimulatedOracle, type SimulatedPopularity } from '../src/oracle/simulated-oracle.js';
import { type PretrainOptions, type PretrainResult, pretrain } from '../src/train/pretrain.js';
import { disposeWorld, storedWorld } from '../src/world/stored-world.js';
import { syntheticWorld } from '../src/world/synthetic-world.js';
import type { World, WorldSplit } from '../src/world/world.js';
import { openWorldFolder } from '../src/world/world-folder.js';

const { values } = parseArgs({
  options: {
    worlds: { type: 'string' },
    seeds: { type: 'string', default: '5' },
    episodes: { type: 'string', default: '192' },
    synthetic: { type: 'boolean', default: true },
    ablations: { type: 'boolean', default: true },
    json: { type: 'string' },
  },
  allowNegative: true,
});
if (values.worlds === undefined) throw new Error('wants --worlds DIR,DIR');
const folders = values.worlds.split(',');
const seeds = Array.from({ length: Number(values.seeds) }, (_, i) => i + 1);
const episodes = Number(values.episodes);

/** The simulated text oracle's noise and its threshold for None. */
const NOISE = 0.1;
const NONE_BELOW = 0.2;
/** c: what a standard deviation of log popularity adds to the score of an oracle that knows of it. */
const POPULARITY_WEIGHT = 0.1;
/** Questions of a pre-training where nothing else is said, and simulated users' beginnings: those of the presets. */
const CALLS = 2000;
const STARTS = 256;
const TEMPERATURES = [0.1, 0.05, 0.03, 0.02, 0.01];
const LANES = 64;

/** The text oracle's own score over all items, with or without noise: what asking it at every step would choose. */
class TextOraclePolicy implements Policy {
  readonly name = 'textOracle';
  readonly #scorer: RowScorer;
  readonly #cosines: ItemCosines;
  readonly #bonus: ArrayLike<number> | undefined;
  readonly #noise: { readonly deviation: number; readonly rng: Rng } | undefined;

  constructor(
    catalog: Catalog,
    options: {
      readonly temperature?: number;
      readonly bonus?: ArrayLike<number> | undefined;
      readonly noise?: { readonly deviation: number; readonly rng: Rng };
    } = {},
  ) {
    const { offsets, terms, weights, vocabulary } = new TextIndex(catalog.texts());
    const rows = { offsets, terms, weights: Float32Array.from(weights), termCount: vocabulary.length };
    this.#cosines = new ItemCosines({ rows }, catalog.size);
    this.#bonus = options.bonus;
    this.#noise = options.noise;
    this.#scorer = {
      itemCount: catalog.size,
      link: options.noise ? 'best' : 'softmax',
      temperature: options.temperature ?? 1,
      scoreRow: (batch, row, into) => this.#score(batch, row, into),
    };
  }

  act(batch: HistoryBatch, options: ActOptions): Decision {
    return actByScore(this.#scorer, batch, options);
  }

  probabilities(batch: HistoryBatch, options?: PolicyOptions): Float32Array {
    return probabilitiesByScore(this.#scorer, batch, options);
  }

  topK(batch: HistoryBatch, k: number, options?: PolicyOptions): Ranking {
    return topKByScore(this.#scorer, batch, k, options);
  }

  /** 0.5 max cos + 0.5 sum 0.8^age cos / sum 0.8^age over the last 10 items, as `textOracleScore`. */
  #score(batch: HistoryBatch, row: number, scores: Float64Array): void {
    const length = batch.lengths[row] as number;
    const seen = Math.min(length, 10);
    const best = new Float64Array(scores.length);
    scores.fill(0);
    let total = 0;
    for (let age = 0; age < seen; age++) {
      const cosines = this.#cosines.of(batch.items[row * batch.length + length - 1 - age] as number);
      const weight = 0.8 ** age;
      total += weight;
      for (let item = 0; item < scores.length; item++) {
        const cosine = cosines[item] as number;
        scores[item] = (scores[item] as number) + weight * cosine;
        if (cosine > (best[item] as number)) best[item] = cosine;
      }
    }
    for (let item = 0; item < scores.length; item++) {
      const text = total === 0 ? 0 : 0.5 * (best[item] as number) + (0.5 * (scores[item] as number)) / total;
      const noise = this.#noise === undefined ? 0 : this.#noise.deviation * this.#noise.rng.normal();
      scores[item] = text + (this.#bonus?.[item] ?? 0) + noise;
    }
  }
}

/** What one row gave under one world and seed. */
interface Cell {
  readonly world: string;
  readonly seed: number;
  readonly return: number;
  readonly length: number;
  readonly coverage: number;
}

interface Learned {
  readonly row: string;
  readonly world: string;
  readonly seed: number;
  readonly updates: number;
  readonly temperature: number;
  readonly heldOut: PretrainResult['heldOut'] | null;
  readonly isBetterThanChance: boolean;
  readonly seconds: number;
}

const cells = new Map<string, Cell[]>();
const learned: Learned[] = [];

async function measure(
  row: string,
  policy: Policy,
  at: {
    readonly world: World;
    readonly name: string;
    readonly seed: number;
    readonly modes?: readonly EvaluationMode[];
  },
  temperature = 1,
): Promise<void> {
  const { world, name, seed, modes = ['sampled', 'argmax'] } = at;
  const env = world.batchEnv({ split: 'test', size: Math.min(LANES, episodes), seed });
  const rows = await evaluate({ policies: { row: policy }, env, episodes, seeds: [seed], modes, temperature });
  for (const { mode, return: total, length, coverage } of rows) {
    const key = `${row} ${mode}`;
    cells.set(key, [...(cells.get(key) ?? []), { world: name, seed, return: total, length, coverage }]);
  }
}

/** The temperature of a softmax over scores that returns most on the validation users. */
async function bestTemperature(world: World, make: (temperature: number) => Policy): Promise<number> {
  const env = world.batchEnv({ split: 'validation', size: Math.min(LANES, episodes), seed: 900 });
  let best = { temperature: 1, return: Number.NEGATIVE_INFINITY };
  for (const temperature of TEMPERATURES) {
    const [row] = await evaluate({
      policies: { row: make(temperature) },
      env,
      episodes,
      seeds: [900, 901],
      modes: ['sampled'],
    });
    if (row !== undefined && row.return > best.return) best = { temperature, return: row.return };
  }
  return best.temperature;
}

/** z-score of log(1 + count), correlated by `belief` with the truth: what `SimulatedOracle`'s popularity believes under its seed. */
function beliefOf({ counts, belief = 1 }: SimulatedPopularity, seed: number): Float64Array {
  const logs = Array.from(counts, (count) => Math.log1p(count));
  const centre = logs.reduce((sum, log) => sum + log, 0) / logs.length;
  const deviation = Math.sqrt(logs.reduce((sum, log) => sum + (log - centre) ** 2, 0) / logs.length);
  const rng = new Rng(seed).fork('simulated-oracle').fork('belief');
  const rest = Math.sqrt(1 - belief * belief);
  return Float64Array.from(
    logs,
    (log) => (belief * (log - centre)) / deviation + (rest === 0 ? 0 : rest * rng.normal()),
  );
}

async function learn(
  row: string,
  at: { readonly world: World; readonly name: string; readonly seed: number },
  agentOptions: ActorCriticOptions,
  oracle: PreferenceOracle,
  options: Partial<PretrainOptions> = {},
): Promise<void> {
  using agent = new ActorCritic(agentOptions);
  const began = performance.now();
  const result = await pretrain({
    agent,
    oracle,
    starts: imaginedStarts(at.world, STARTS, at.seed),
    budget: { calls: CALLS },
    seed: at.seed,
    ...options,
  });
  const { updates, temperature, heldOut = null, isBetterThanChance } = result;
  const seconds = (performance.now() - began) / 1000;
  learned.push({ row, world: at.name, seed: at.seed, updates, temperature, heldOut, isBetterThanChance, seconds });
  await measure(row, agent, at);
  // The same weights at the temperature that makes the held-out choices likeliest: what fitting by likelihood alone would serve.
  if (heldOut && isBetterThanChance && row.startsWith('ialp ')) {
    await measure(`${row}, by likelihood`, agent, { ...at, modes: ['sampled'] }, heldOut.temperature / temperature);
  }
}

async function runWorld(folder: string): Promise<void> {
  const splits: readonly WorldSplit[] = ['train', 'validation', 'test'];
  const world = storedWorld(
    await openWorldFolder(fileStorage(folder), { splits: splits as ('train' | 'validation' | 'test')[] }),
  );
  const name = folder.split('/').at(-1) as string;
  const { catalog } = world;
  const preset = worldPreset(world);
  const features = preset.agent({ seed: 0 }).features ?? ItemFeatures.tfidf(catalog);
  const ofText = await bestTemperature(world, (temperature) => new TextOraclePolicy(catalog, { temperature }));
  const ofContent = await bestTemperature(world, (temperature) => new ContentPolicy(features, { temperature }));
  const popularity = (belief: number) => ({ counts: world.popularity, weight: POPULARITY_WEIGHT, belief });
  console.error(`${name}: noiselessOracle at ${ofText}, content at ${ofContent}`);
  for (const seed of seeds) {
    const at = { world, name, seed };
    await measure('random', new RandomPolicy({ itemCount: catalog.size }), { ...at, modes: ['sampled'] });
    await measure('popularity', new PopularityPolicy(world.popularity), at);
    await measure('countingBandit', new CountingBanditPolicy({ itemCount: catalog.size }), {
      ...at,
      modes: ['argmax'],
    });
    await measure('content', new ContentPolicy(features, { temperature: ofContent }), at);
    await measure('noiselessOracle', new TextOraclePolicy(catalog, { temperature: ofText }), at);
    const asking = { deviation: NOISE, rng: new Rng(seed).fork('asking') };
    await measure('askingOracle', new TextOraclePolicy(catalog, { noise: asking }), { ...at, modes: ['argmax'] });
    {
      using untrained = new ActorCritic(preset.agent({ seed }));
      await measure('untrained', untrained, at);
    }
    const oracle = () => new SimulatedOracle({ catalog, seed, noise: NOISE, noneBelow: NONE_BELOW });
    for (const calls of [500, CALLS, 10_000]) {
      await learn(`ialp ${calls}`, at, preset.agent({ seed }), oracle(), { budget: { calls } });
    }
    await learn(
      'ialpShuffledOracle',
      at,
      preset.agent({ seed }),
      new SimulatedOracle({ catalog, seed, shuffledText: seed }),
    );
    await learn(
      'ialpRandomOracle',
      at,
      preset.agent({ seed }),
      new SimulatedOracle({ catalog, seed, control: 'random' }),
    );
    for (const belief of [0.5, 1]) {
      const bonus = beliefOf(popularity(belief), seed);
      const knowing = new SimulatedOracle({ catalog, seed, popularity: popularity(belief) });
      const agent = preset.agent({ seed });
      const historyFeatures = { ...(agent.historyFeatures || {}), prior: bonus };
      await learn(`itemPrior ${belief}`, at, { ...agent, historyFeatures }, knowing);
      const scaled = bonus.map((value) => POPULARITY_WEIGHT * value);
      const policy = new TextOraclePolicy(catalog, { temperature: ofText, bonus: scaled });
      await measure(`noiselessOracle, belief ${belief}`, policy, at);
    }
    if (values.ablations) {
      const { matrix, width } = features;
      const dense = ItemFeatures.fromMatrix(matrix, { width });
      await learn('ialp 2000, SVD cosines', at, { ...preset.agent({ seed }), features: dense }, oracle());
      const all: Partial<PretrainOptions> = { algorithm: { name: 'list', learns: 'all' } };
      await learn('ialp 2000, whole policy learns', at, preset.agent({ seed }), oracle(), all);
    }
    console.error(`${name}, seed ${seed}: done after ${(performance.now() / 1000).toFixed(0)} s`);
  }
  disposeWorld(world);
}

async function runSynthetic(): Promise<void> {
  const world = syntheticWorld(DEMO.world);
  const { catalog } = world;
  const preset = worldPreset(world);
  for (const seed of seeds) {
    const at = { world, name: 'synthetic', seed };
    const asking = { deviation: NOISE, rng: new Rng(seed).fork('asking') };
    await measure('synthetic: askingOracle', new TextOraclePolicy(catalog, { noise: asking }), {
      ...at,
      modes: ['argmax'],
    });
    await measure('synthetic: content', new ContentPolicy(ItemFeatures.tfidf(catalog)), at);
    {
      using untrained = new ActorCritic(preset.agent({ seed }));
      await measure('synthetic: untrained', untrained, at);
    }
    const oracle = new SimulatedOracle({ catalog, seed, noise: NOISE, noneBelow: NONE_BELOW });
    await learn('synthetic: ialp 2000', at, preset.agent({ seed }), oracle);
  }
}

const returnsOf = (row: string): number[] => {
  const found = cells.get(row);
  if (!found) throw new Error(`no row ${row}`);
  return found.map((cell) => cell.return);
};
const show = ({ mean, low, high }: Interval): string => `${mean.toFixed(2)} [${low.toFixed(2)}, ${high.toFixed(2)}]`;
/** Paired by world and seed. */
const paired = (one: string, other: string, of: (a: number, b: number) => number): Interval => {
  const others = returnsOf(other);
  return confidenceInterval(returnsOf(one).map((value, i) => of(value, others[i] as number)));
};
/** Ratio of the means, with the interval of the paired differences from it (delta method). */
const ratio = (one: string, other: string): Interval => {
  const [a, b] = [confidenceInterval(returnsOf(one)).mean, confidenceInterval(returnsOf(other)).mean];
  const { low, high } = paired(one, other, (x, y) => (x - (a / b) * y) / b);
  return { mean: a / b, low: a / b + low, high: a / b + high };
};

await useBackend('wasm', { threads: 1 });
for (const folder of folders) await runWorld(folder);
if (values.synthetic) await runSynthetic();

console.log(
  `\n${folders.length} worlds x ${seeds.length} seeds, ${episodes} test episodes each; R [95 %], length, coverage`,
);
for (const [row, found] of [...cells].toSorted(
  ([a], [b]) => Number(a.startsWith('synthetic')) - Number(b.startsWith('synthetic')),
)) {
  const average = (pick: (cell: Cell) => number) => found.reduce((sum, cell) => sum + pick(cell), 0) / found.length;
  const length = average((cell) => cell.length).toFixed(1);
  console.log(
    row.padEnd(46),
    show(confidenceInterval(returnsOf(row))).padStart(22),
    length,
    average((cell) => cell.coverage).toFixed(3),
  );
}

interface Check {
  readonly what: string;
  readonly got: Interval;
  readonly floor: number;
  readonly aim: number;
  /** Whether it is to be at least the floor, or at most. */
  readonly atMost?: boolean;
}
const checks: Check[] = [];
for (const mode of ['sampled', 'argmax'] as const) {
  const ialp = `ialp 2000 ${mode}`;
  checks.push(
    {
      what: `2,000 answers / noiseless oracle, ${mode}`,
      got: ratio(ialp, `noiselessOracle ${mode}`),
      floor: 0.85,
      aim: 0.95,
    },
    { what: `2,000 answers / untrained, ${mode}`, got: ratio(ialp, `untrained ${mode}`), floor: 5, aim: 7 },
    {
      what: `2,000 answers - content, ${mode}, paired`,
      got: paired(ialp, `content ${mode}`, (a, b) => a - b),
      floor: Number.NEGATIVE_INFINITY,
      aim: 0,
    },
    {
      what: `500 / 10,000 answers, ${mode}`,
      got: ratio(`ialp 500 ${mode}`, `ialp 10000 ${mode}`),
      floor: 0.85,
      aim: 0.95,
    },
    {
      what: `random oracle / untrained, ${mode}`,
      got: ratio(`ialpRandomOracle ${mode}`, `untrained ${mode}`),
      floor: 1.5,
      aim: 1.5,
      atMost: true,
    },
    {
      what: `shuffled text / untrained, ${mode}`,
      got: ratio(`ialpShuffledOracle ${mode}`, `untrained ${mode}`),
      floor: 1.5,
      aim: 1.5,
      atMost: true,
    },
  );
}
for (const [belief, floor, aim] of [
  [0.5, 11, 13],
  [1, 15, 20],
] as const) {
  checks.push({
    what: `R with itemPrior of belief ${belief}, argmax`,
    got: confidenceInterval(returnsOf(`itemPrior ${belief} argmax`)),
    floor,
    aim,
  });
}
if (values.synthetic) {
  for (const mode of ['sampled', 'argmax'] as const) {
    const got = ratio(`synthetic: ialp 2000 ${mode}`, 'synthetic: askingOracle argmax');
    checks.push({ what: `synthetic: 2,000 answers / asking at every step, ${mode}`, got, floor: 0.9, aim: 1 });
  }
}
console.log('\nasked of it');
let isMissed = false;
for (const { what, got, floor, aim, atMost } of checks) {
  const passes = (line: number) => (atMost ? got.mean <= line : got.mean >= line);
  const verdict = passes(aim) ? 'aim' : passes(floor) ? 'floor' : 'missed';
  if (verdict === 'missed') isMissed = true;
  console.log(
    what.padEnd(58),
    show(got).padStart(22),
    `floor ${Number.isFinite(floor) ? floor : '-'}, aim ${aim}:`,
    verdict,
  );
}
if (values.json !== undefined) {
  const names = folders.map((folder) => folder.split('/').at(-1) as string);
  const command = `npx tsx bench/pretrain-recipe.ts --worlds ${names.join(',')} --seeds ${seeds.length} --episodes ${episodes}`;
  const round = (value: number): number => Number(value.toPrecision(5));
  const rounded = ({ mean, low, high }: Interval) => ({ mean: round(mean), low: round(low), high: round(high) });
  const rows = [...cells].map(([row, found]) => ({
    row,
    ...rounded(confidenceInterval(returnsOf(row))),
    length: round(found.reduce((sum, cell) => sum + cell.length, 0) / found.length),
    coverage: round(found.reduce((sum, cell) => sum + cell.coverage, 0) / found.length),
    returns: found.map((cell) => round(cell.return)),
  }));
  const judged = checks.map(({ what, got, floor, aim }) => ({
    what,
    ...rounded(got),
    floor: Number.isFinite(floor) ? floor : null,
    aim,
  }));
  const of = [...new Set(learned.map(({ row }) => row))].map((row) => {
    const runs = learned.filter((one) => one.row === row);
    return {
      row,
      updates: runs.map(({ updates }) => updates),
      temperature: runs.map(({ temperature }) => round(temperature)),
      likeliestTemperature: runs.map(({ heldOut }) => (heldOut ? round(heldOut.temperature) : null)),
      standardErrors: runs.map(({ heldOut }) => (heldOut ? round(heldOut.standardErrors) : null)),
      seconds: runs.map(({ seconds }) => round(seconds)),
    };
  });
  const order = names.flatMap((name) => seeds.map((seed) => `${name}/${seed}`));
  const date = new Date().toISOString().slice(0, 10);
  // A line an entry: short, and still to be read.
  const list = (entries: readonly object[]) => entries.map((entry) => JSON.stringify(entry)).join(',\n');
  const head = JSON.stringify({ command, date, node: process.version, order });
  await writeFile(
    values.json,
    `${head.slice(0, -1)},"checks":[\n${list(judged)}],"rows":[\n${list(rows)}],"learned":[\n${list(of)}]}\n`,
  );
}
process.exitCode = isMissed ? 1 : 0;
