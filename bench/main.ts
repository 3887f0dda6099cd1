/**
 * `npm run bench [-- --json FILE] [--case NAME] [--rounds N]`: one reference update by this library against the same
 * update in plain tfjs on stock tfjs-wasm, interleaved in one run, each in a process of its own; losses are compared first. Trust the ratios,
 * not the milliseconds. Fails when the ratio at 18,297 items is below 2.5.
 */
import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import os from 'node:os';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { parseArgs, promisify } from 'node:util';
import * as tf from '@tensorflow/tfjs';
import { CASES, type CaseResult, type Contestant } from './update-case.js';

const CONTESTANTS: readonly Contestant[] = ['ialp', 'tfjs', 'ialp-unpatched'];
/** The largest case must be so many times faster than stock. */
const WANTED = { case: 'update-128-18297', ratio: 2.5 } as const;

type CaseName = keyof typeof CASES;

interface Row {
  readonly case: CaseName;
  readonly contestant: Contestant;
  readonly medianMs: number;
  readonly bestMs: number;
  readonly peakRssMb: number;
}

async function runChild(name: CaseName, contestant: Contestant): Promise<CaseResult> {
  const script = fileURLToPath(new URL('./update-case.ts', import.meta.url));
  const { stdout } = await promisify(execFile)(process.execPath, ['--import', 'tsx', script, name, contestant]);
  return JSON.parse(stdout) as CaseResult;
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] as number;
  return sorted.length % 2 === 1 ? upper : (upper + (sorted[middle - 1] as number)) / 2;
}

function checkSameMaths(name: CaseName, results: ReadonlyMap<Contestant, readonly CaseResult[]>): void {
  const ours = results.get('ialp')?.[0]?.losses ?? [];
  for (const [contestant, runs] of results) {
    const theirs = runs[0]?.losses ?? [];
    const isSame = ours.every(
      (loss, place) => Math.abs(loss - (theirs[place] as number)) <= 1e-3 * Math.max(1, Math.abs(loss)),
    );
    if (!isSame)
      throw new Error(`${name}: ${contestant} does not compute the same: losses ${theirs} in place of ${ours}`);
  }
}

async function benchCase(name: CaseName, rounds: number): Promise<Row[]> {
  const results = new Map<Contestant, CaseResult[]>(CONTESTANTS.map((contestant) => [contestant, []]));
  for (let round = 0; round < rounds; round++) {
    for (const contestant of CONTESTANTS) results.get(contestant)?.push(await runChild(name, contestant));
  }
  checkSameMaths(name, results);
  return [...results].map(([contestant, runs]) => ({
    case: name,
    contestant,
    medianMs: median(runs.map(({ ms }) => median(ms))),
    bestMs: Math.min(...runs.flatMap(({ ms }) => ms)),
    peakRssMb: Math.max(...runs.map(({ peakRssMb }) => peakRssMb)),
  }));
}

const { values } = parseArgs({
  options: {
    json: { type: 'string' },
    case: { type: 'string', multiple: true },
    rounds: { type: 'string', default: '3' },
  },
});
const rounds = Number(values.rounds);
const names = (values.case ?? Object.keys(CASES)) as CaseName[];
for (const name of names)
  if (!Object.hasOwn(CASES, name)) throw new Error(`No case '${name}': ${Object.keys(CASES).join(', ')}`);
if (!Number.isInteger(rounds) || rounds < 1)
  throw new Error(`--rounds wants a whole number of at least 1, got ${values.rounds}`);

const machine = {
  cpu: os.cpus()[0]?.model ?? 'unknown',
  cores: os.cpus().length,
  load: os.loadavg()[0],
  node: process.version,
  tfjs: tf.version.tfjs,
  date: new Date().toISOString(),
};
console.log(
  `${machine.cpu}, ${machine.cores} cores (load ${machine.load?.toFixed(1)}), Node ${machine.node}, tfjs ${machine.tfjs} wasm`,
);
console.log(
  `A2C update, SASRec 2 blocks, 2 heads, D 64, L 20; ${rounds} interleaved rounds, a process each; ms/update`,
);

const rows: Row[] = [];
const ratios: { readonly case: CaseName; readonly ratio: number }[] = [];
for (const name of names) {
  const made = await benchCase(name, rounds);
  rows.push(...made);
  const [ours, stock, unpatched] = made as [Row, Row, Row];
  const ratio = stock.medianMs / ours.medianMs;
  ratios.push({ case: name, ratio });
  const show = ({ medianMs, bestMs, peakRssMb }: Row): string =>
    `${medianMs.toFixed(1)} [best ${bestMs.toFixed(1)}], ${peakRssMb.toFixed(0)} MB`;
  console.log(`${name}: ialp ${show(ours)}; plain stock tfjs ${show(stock)}: ${ratio.toFixed(2)} times faster`);
  const byPatch = unpatched.medianMs / ours.medianMs;
  console.log(`  of which by the patch alone ${byPatch.toFixed(2)} (ialp without it ${show(unpatched)})`);
}
if (values.json !== undefined) {
  await writeFile(values.json, `${JSON.stringify({ command: 'bench', ...machine, rounds, rows, ratios }, null, 2)}\n`);
}
const wanted = ratios.find(({ case: name }) => name === WANTED.case);
if (wanted !== undefined && wanted.ratio < WANTED.ratio) {
  console.error(
    `${wanted.case}: wanted at least ${WANTED.ratio} times faster than stock, got ${wanted.ratio.toFixed(2)}`,
  );
  process.exitCode = 1;
}
