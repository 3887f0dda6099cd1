/**
 * One contestant of the update bench, in a process of its own (so that its peak memory is its own): builds the
 * reference model, runs updates, and prints one line of JSON. Started by `main.ts`.
 *
 * One update: A2C with Q(s, ·): `max Q(s')` for the target, log pi(a|s) and Q(s, a) forward and backward, one Adam step.
 * SASRec with 2 blocks, 2 heads, D 64, L 20; full histories; untied tables; no dropout.
 */
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { useBackend } from '../src/compute/backend.js';
import { createKernels } from '../src/compute/create-kernels.js';
import { historyBatch } from '../src/compute/history-batch.js';
import { initParameters, type ModelSpec } from '../src/compute/model.js';
import { Adam } from '../src/compute/optimiser.js';
import { sasRec } from '../src/encoder/sasrec.js';
import { Rng } from '../src/foundation/rng.js';
import { plainUpdate } from './plain-tfjs.js';

/**
 * Who runs: this library; the same update as one writes it in plain tfjs, on stock tfjs-wasm; and, to tell what is
 * gained by the patch of tfjs-wasm alone, this library without it.
 */
export type Contestant = 'ialp' | 'tfjs' | 'ialp-unpatched';

/** What a contestant's process prints. */
export interface CaseResult {
  /** Wall time of each measured update, milliseconds. */
  readonly ms: readonly number[];
  /** Loss of the first and of the last update: equal maths gives equal losses. */
  readonly losses: readonly [number, number];
  /** Largest resident set of the process, MB. */
  readonly peakRssMb: number;
}

/** The cases by name: batch, items, and how many updates a round measures. */
export const CASES = {
  'update-32-290': { batch: 32, items: 290, updates: 12 },
  'update-128-5814': { batch: 128, items: 5814, updates: 6 },
  'update-128-18297': { batch: 128, items: 18_297, updates: 4 },
} as const;

const WIDTH = 64;
const BLOCKS = 2;
const HEADS = 2;
const LENGTH = 20;
const WARM_UP = 2;
const DISCOUNT = 0.9;

async function runCase(name: keyof typeof CASES, contestant: Contestant): Promise<CaseResult> {
  const { batch: B, items: A, updates } = CASES[name];
  await useBackend('wasm', { patch: contestant === 'ialp' });
  const spec: ModelSpec = {
    itemCount: A,
    contextWidth: 0,
    encoder: sasRec({ width: WIDTH, blocks: BLOCKS, heads: HEADS, historyLength: LENGTH }),
    items: 'id',
    critic: 'action',
    valueEncoder: 'shared',
    valueHidden: 0,
  };
  const rng = new Rng('bench');
  const store = initParameters(spec, rng.fork('init'));
  const draws = rng.fork('data');
  const history = (): Int32Array => Int32Array.from({ length: LENGTH }, () => draws.integer(A));
  const before = Array.from({ length: B }, history);
  const actions = Int32Array.from({ length: B }, () => draws.integer(A));
  const rewards = draws.uniforms(B);
  const after = before.map((items, row) => Int32Array.of(...items.subarray(1), actions[row] as number));
  const s = historyBatch(before);
  const next = historyBatch(after);
  using kernels = createKernels(spec, store);
  const adam = new Adam({ learningRate: 1e-3, clipNorm: Number.POSITIVE_INFINITY });

  function ownUpdate(): number {
    const { maxScore } = kernels.forward(next, { maxScore: 'critic' });
    const scoresOf = { head: 'critic', items: actions, width: 1 } as const;
    const { logProb, scores } = kernels.forward(s, { logProbOf: actions, scoresOf });
    let loss = 0;
    const advantages = scores.map((q, row) => (rewards[row] as number) + DISCOUNT * (maxScore[row] as number) - q);
    advantages.forEach((advantage, row) => {
      loss += (advantage * advantage - advantage * (logProb[row] as number)) / B;
    });
    kernels.backward({
      logProb: advantages.map((advantage) => -advantage / B),
      scores: advantages.map((advantage) => (-2 * advantage) / B),
    });
    kernels.step(adam);
    return loss;
  }

  const update =
    contestant === 'tfjs'
      ? plainUpdate({
          store,
          itemCount: A,
          blocks: BLOCKS,
          heads: HEADS,
          width: WIDTH,
          length: LENGTH,
          items: s.items,
          nextItems: next.items,
          actions,
          rewards,
          discount: DISCOUNT,
        })
      : ownUpdate;
  const first = update();
  for (let i = 1; i < WARM_UP; i++) update();
  const ms: number[] = [];
  let last = first;
  for (let i = 0; i < updates; i++) {
    const start = performance.now();
    last = update();
    ms.push(performance.now() - start);
  }
  return { ms, losses: [first, last], peakRssMb: process.resourceUsage().maxRSS / 1024 };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [, , name, contestant] = process.argv;
  console.log(JSON.stringify(await runCase(name as keyof typeof CASES, contestant as Contestant)));
}
