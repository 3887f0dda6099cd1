/**
 * `npm run bench [-- --torch] [--case NAME] [--rounds N] [--threads N] [--plain] [--json FILE]`: this library against
 * stock tfjs-wasm and, with `--torch`, a pinned PyTorch; interleaved, each contestant of each round in a process of its
 * own, losses compared first; `--plain` runs our engine without relaxed SIMD. Trust the ratios, not the milliseconds. Exit code 1 when a ratio is below its gate.
 */
import { writeFile } from 'node:fs/promises';
import os from 'node:os';
import process from 'node:process';
import { setTimeout } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import tfjsPackage from '@tensorflow/tfjs/package.json' with { type: 'json' };
import { sharedData } from '../test/shared-data.js';
import { type BenchCase, CASES, type CaseName, type Contestant } from './cases.js';
import { checkSameMaths, logLogSlope, type Ratio, type Row, ratiosOf, rowOf } from './compare.js';
import { shortfalls } from './gates.js';
import type { CaseResult } from './measure.js';
import { Contestants, torchVersion } from './run-contestant.js';

const { values } = parseArgs({
  options: {
    json: { type: 'string' },
    case: { type: 'string', multiple: true },
    rounds: { type: 'string', default: '3' },
    threads: { type: 'string', default: '2' },
    torch: { type: 'boolean', default: false },
    plain: { type: 'boolean', default: false },
  },
});

function wholeNumber(option: 'rounds' | 'threads'): number {
  const number = Number(values[option]);
  if (Number.isInteger(number) && number >= 1) return number;
  throw new Error(`--${option} wants a whole number of at least 1, got ${values[option]}`);
}

function chosenCases(): CaseName[] {
  const names = values.case ?? Object.keys(CASES);
  for (const name of names) {
    if (!Object.hasOwn(CASES, name)) throw new Error(`No case '${name}': ${Object.keys(CASES).join(', ')}`);
  }
  return names as CaseName[];
}

function describe({ contestant, medianMs, bestMs, peakRssMb, stepsPerSecond, facts }: Row, ratio?: Ratio): string {
  const { leaked, kernels, variant, threads, fusedShare } = facts;
  const notes = [
    ...(ratio ? [`${ratio.time.toFixed(2)} times our time, ${ratio.memory.toFixed(1)} times our memory`] : []),
    ...(stepsPerSecond ? [`${stepsPerSecond.toFixed(0)} steps a second`] : []),
    ...(kernels ? [`${[kernels, variant].filter(Boolean).join(' ')} kernels, fusedShare ${fusedShare}`] : []),
    `threads ${threads}`,
    ...(leaked ? [`leaked ${JSON.stringify(leaked)}`] : []),
  ];
  const time = `${medianMs.toFixed(2)} [${bestMs.toFixed(2)}] ms`;
  return `  ${contestant.padEnd(15)}${time.padEnd(24)}${peakRssMb.toFixed(0).padStart(5)} MB   ${notes.join('; ')}`;
}

async function benchCase(name: CaseName): Promise<Row[]> {
  const found: BenchCase = CASES[name];
  const needsData = found.kind === 'ppo' || found.kind === 'env';
  const folder = needsData ? sharedData(found.world) : undefined;
  if (needsData && folder === undefined) return [];
  const racing = found.contestants.filter((contestant) => values.torch || !contestant.startsWith('torch'));
  const results = new Map<Contestant, CaseResult[]>(racing.map((contestant) => [contestant, []]));
  const hasTorch = racing.some((contestant) => contestant.startsWith('torch'));
  if (hasTorch) await contestants.writeTorchFile(name);
  for (let round = 0; round < rounds; round++) {
    for (const contestant of racing) {
      results.get(contestant)?.push(await contestants.run(name, contestant, { engine, folder }));
    }
    if (round === 0) checkSameMaths(name, results);
  }
  if (hasTorch) await contestants.removeTorchFile(name);
  return racing.map((contestant) => rowOf(name, contestant, results.get(contestant) as CaseResult[]));
}

/** Share of the processor that others use now, 0 to 1: the load average still remembers the build. */
async function busyShare(): Promise<number> {
  const ticks = (): readonly [idle: number, all: number] => {
    const times = os.cpus().map((cpu) => cpu.times);
    const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);
    return [sum(times.map(({ idle }) => idle)), sum(times.flatMap((of) => Object.values(of)))];
  };
  const [idle, all] = ticks();
  await setTimeout(1000);
  const [idleThen, allThen] = ticks();
  return 1 - (idleThen - idle) / (allThen - all);
}

/** Points of our update's time over the items, at 128 rows. */
function scalePoints(rows: readonly Row[]): [items: number, ms: number][] {
  return rows.flatMap((row) => {
    const found: BenchCase = CASES[row.case];
    const isPoint = found.kind === 'update' && found.batch === 128 && row.contestant === 'ialp';
    return isPoint ? [[found.items, row.medianMs]] : [];
  });
}

const rounds = wholeNumber('rounds');
const engine = { threads: wholeNumber('threads'), simd: values.plain ? 'plain' : 'auto' } as const;
const names = chosenCases();
const torch = values.torch ? await torchVersion() : undefined;
const machine = {
  cpu: os.cpus()[0]?.model ?? 'unknown',
  cores: os.cpus().length,
  load: os.loadavg()[0] as number,
  busy: await busyShare(),
  node: process.version,
  nodeOptions: process.env.NODE_OPTIONS ?? '',
  tfjs: tfjsPackage.version,
  torch,
  engine,
  date: new Date().toISOString(),
};
await using contestants = await Contestants.prepare();
console.log(
  [
    `${machine.cpu}, ${machine.cores} cores, load ${machine.load.toFixed(1)} (${(100 * machine.busy).toFixed(0)} % busy before the start); ${machine.date}`,
    `Node ${[machine.node, machine.nodeOptions].filter(Boolean).join(' ')}, tfjs ${machine.tfjs} wasm${torch ? `, PyTorch ${torch}, fp32` : ''}`,
    `Median [best] of ${rounds} interleaved rounds, a process each; models and cases: bench/case-data.ts`,
  ].join('\n'),
);
if (machine.busy > 0.1) {
  console.log('The machine is busy: ratios will be off, those of torch on two threads by far.');
}

const rows: Row[] = [];
const ratios: Ratio[] = [];
for (const name of names) {
  const made = await benchCase(name);
  if (made.length === 0) continue;
  const against = ratiosOf(made);
  rows.push(...made);
  ratios.push(...against);
  console.log(name);
  for (const row of made) {
    const ratio = against.find((other) => other.against === row.contestant);
    console.log(describe(row, ratio));
  }
}

const points = scalePoints(rows);
const slope = logLogSlope(points);
const slopeAbove10k = logLogSlope(points.filter(([items]) => items >= 10_000));
if (slope !== undefined) {
  const above = slopeAbove10k === undefined ? 'not measured' : slopeAbove10k.toFixed(2);
  console.log(`Time of an update over items, log-log slope: ${slope.toFixed(2)}; from 10,000 items on: ${above}`);
}
const missed = shortfalls(ratios, slopeAbove10k);
for (const sentence of missed) console.error(`Falls short (15 % of slack included): ${sentence}`);
if (missed.length > 0) process.exitCode = 1;
if (values.json !== undefined) {
  const report = { command: 'bench', ...machine, rounds, rows, ratios, slope, slopeAbove10k, shortfalls: missed };
  await writeFile(values.json, `${JSON.stringify(report, null, 2)}\n`);
}
