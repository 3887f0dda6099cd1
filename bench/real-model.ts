/**
 * `npx tsx bench/real-model.ts ask|rate|online --world FOLDER --model GGUF --out FOLDER [--answers N] [--threads N]`: what a language model
 * on disk says of a built world's items, kept under `--out`; an interrupted run goes on. `bench/real-model-table.ts` learns from it.
 *
 * `ask`: fits the threshold of None on the logs of validation users (40 lists with the truth and 40 without), then distils N answers:
 * the first half with uniform candidates, the second with half of them drawn by a policy that learned from the first.
 * `rate`: one rating per item, by the contrast of two sentences.
 * `online`: section 6.3 for N steps, the model choosing among the learner's candidates, beside the same learner without it; into
 * `online.json`.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import process from 'node:process';
import { parseArgs } from 'node:util';
import { ActorCritic } from '../src/agent/actor-critic.js';
import { useBackend } from '../src/compute/backend.js';
import { imaginedStarts } from '../src/experiment/compare-methods.js';
import { worldPreset } from '../src/experiment/presets.js';
import { adaptOnWorld } from '../src/experiment/run-on-world.js';
import { prefixedStorage } from '../src/foundation/storage.js';
import { LlamaCppModel } from '../src/llama-cpp/index.js';
import { fileStorage } from '../src/node/file-storage.js';
import { LikelihoodOracle } from '../src/oracle/likelihood-oracle.js';
import { nextItemLists, splitUsers } from '../src/oracle/next-item-lists.js';
import { fitNoneThreshold, type NoneThreshold } from '../src/oracle/none-threshold.js';
import { rateItems } from '../src/oracle/rate-items.js';
import { readAnswers } from '../src/oracle/recorded-answers.js';
import { distil } from '../src/train/distil.js';
import type { LlmOnlineResult } from '../src/train/llm-online.js';
import { pretrain } from '../src/train/pretrain.js';
import { storedWorld } from '../src/world/stored-world.js';
import { openWorldFolder } from '../src/world/world-folder.js';

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    world: { type: 'string' },
    model: { type: 'string' },
    out: { type: 'string' },
    answers: { type: 'string', default: '2000' },
    threads: { type: 'string', default: '2' },
  },
});
const [job] = positionals;
const { world: place, model: file, out } = values;
if (!['ask', 'rate', 'online'].includes(job ?? '') || !place || !file || !out)
  throw new Error('Usage: real-model.ts ask|rate|online --world FOLDER --model GGUF --out FOLDER');

/** Titles say most of what this model can weigh (docs/results); every token costs. */
const TEXT = { attributes: ['title'], maxAttributeLength: 40, maxHistory: 5 } as const;
const THRESHOLD_LISTS = 40;

const stored = await openWorldFolder(fileStorage(place), { splits: ['train', 'test'] });
if (stored.kind !== 'sequence') throw new Error(`${place} is no world of sequences`);
const world = storedWorld(stored);
const { catalog } = world;
const { spec, data } = stored.built;
const parts = splitUsers(data.sequences, { seed: spec.splitSeed });
const storage = fileStorage(out);
const languageModel = await LlamaCppModel.load({ file, threads: Number(values.threads), sequences: 2 });
const oracleOf = (noneBelow: number) =>
  new LikelihoodOracle({ catalog, languageModel, ...TEXT, noneBelow, storage, concurrency: 1, timeoutMs: 600_000 });

async function kept<T>(name: string, make: () => Promise<T>): Promise<T> {
  const path = join(out as string, name);
  const text = await readFile(path, 'utf8').catch(() => undefined);
  if (text !== undefined) return JSON.parse(text) as T;
  const made = await make();
  await writeFile(path, `${JSON.stringify(made)}\n`);
  return made;
}

async function fitted(): Promise<NoneThreshold> {
  const drawn = nextItemLists({ sequences: parts.validation, limit: THRESHOLD_LISTS, seed: 7 });
  const without = drawn.flatMap(({ replacement, ...list }) =>
    replacement === undefined
      ? []
      : [{ ...list, candidates: list.candidates.map((item) => (item === list.truth ? replacement : item)) }],
  );
  return fitNoneThreshold({
    oracle: oracleOf(Number.NEGATIVE_INFINITY),
    readout: 'likelihood',
    lists: [...drawn, ...without],
  });
}

if (job === 'rate') {
  const counts = parts.train.counts();
  const { ratings, rankCorrelation, usage } = await rateItems({
    ...{ catalog, languageModel, method: 'contrast', counts, storage, concurrency: 1, timeoutMs: 600_000 },
    ...{ attributes: TEXT.attributes, maxAttributeLength: TEXT.maxAttributeLength },
    onProgress: ({ done, total }) => {
      if (done % 200 === 0) console.log(`${done} of ${total} items`);
    },
  });
  console.log(`Rank correlation with log counts ${rankCorrelation?.toFixed(3)}; ${JSON.stringify(usage)}`);
  await writeFile(join(out, 'ratings.json'), JSON.stringify({ rankCorrelation, ratings: [...ratings] }));
} else if (job === 'online') {
  const threshold = await kept('threshold.json', fitted);
  await useBackend('wasm');
  const steps = Number(values.answers);
  const rows: unknown[] = [];
  for (const scheme of ['llmOnline', 'fineTune'] as const) {
    const asked = scheme === 'llmOnline' ? { oracle: oracleOf(threshold.value) } : {};
    const run = { world, scheme, steps, lanes: 8, seed: 1, episodes: 256, ...asked };
    const result = await adaptOnWorld({ ...run, storage: prefixedStorage(storage, `online-${scheme}`) });
    const { chosen, nones, unusable, oracleCalls, oracleSeconds, wallSeconds } = result.training as LlmOnlineResult;
    const facts = { scheme, steps, chosen, nones, unusable, oracleCalls, oracleSeconds, wallSeconds };
    rows.push({ ...facts, rows: result.rows });
    for (const row of result.rows)
      console.log(
        `${scheme} ${row.method} ${row.mode} steps ${row.steps} R ${row.return.toFixed(2)} Len ${row.length.toFixed(2)}`,
      );
    console.log(JSON.stringify(facts));
    result.dispose();
  }
  await writeFile(join(out, 'online.json'), `${JSON.stringify(rows, undefined, 1)}\n`);
} else {
  const threshold = await kept('threshold.json', fitted);
  console.log(`None: ${JSON.stringify(threshold)}`);
  const oracle = oracleOf(threshold.value);
  const half = Math.round(Number(values.answers) / 2);
  const starts = imaginedStarts(world, 256, 1);
  const ask = async (key: string, plan: { seed: number; policy?: ActorCritic }) => {
    let said = 0;
    const { choices, nones, spent, wallSeconds } = await distil({
      ...{
        catalog,
        oracle,
        storage,
        key,
        count: half,
        starts,
        stepsPerEpisode: 10,
        emptyShare: 0,
        concurrency: 1,
        ...plan,
      },
      onProgress: ({ done, total, perSecond, etaSeconds = Number.NaN }) => {
        if (Date.now() - said < 60_000) return;
        said = Date.now();
        console.log(
          `${key}: ${done} of ${total}, ${perSecond.toFixed(2)} a second, ${(etaSeconds / 60).toFixed(0)} min left`,
        );
      },
    });
    console.log(`${key}: ${JSON.stringify({ choices, nones, spent, wallSeconds })}`);
    return readAnswers({ storage, key, catalog });
  };
  const first = await ask('uniform.jsonl', { seed: 1 });
  await useBackend('wasm');
  using policy = new ActorCritic(worldPreset(world).agent({ seed: 1 }));
  await pretrain({ agent: policy, answers: first.answers, seed: 1 });
  await ask('by-policy.jsonl', { seed: 2, policy });
}
await languageModel.close();
process.exitCode = 0;
