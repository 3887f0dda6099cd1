/**
 * Every public entry point against 10,000 calls: valid ones, and valid ones with exactly one field changed. A valid call
 * succeeds; a changed one succeeds too (some changes are valid) or is refused by a typed error: never by a TypeError, never by
 * a hang, never with NaN taken for a number, and nothing is left behind.
 */
import * as tf from '@tensorflow/tfjs';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import * as api from '../../src/index.js';
import * as node from '../../src/node/index.js';
import { agentCalls } from './public-calls/agent-calls.js';
import { type Attempt, attempt } from './public-calls/attempt.js';
import { catalogCalls } from './public-calls/catalog-calls.js';
import { computeCalls } from './public-calls/compute-calls.js';
import { envCalls } from './public-calls/env-calls.js';
import { evaluationCalls } from './public-calls/evaluation-calls.js';
import { foundationCalls } from './public-calls/foundation-calls.js';
import { lossCalls } from './public-calls/loss-calls.js';
import { type Arguments, HOSTILE_NAN, type MutationSeed } from './public-calls/mutate.js';
import { oracleCalls } from './public-calls/oracle-calls.js';
import { type PublicCall, publicCall } from './public-calls/public-call.js';
import { readOutCalls } from './public-calls/read-out-calls.js';
import { trainCalls } from './public-calls/train-calls.js';
import { worldCalls } from './public-calls/world-calls.js';

const calls: readonly PublicCall[] = [
  ...foundationCalls,
  ...catalogCalls,
  ...oracleCalls,
  ...readOutCalls,
  ...evaluationCalls,
  ...lossCalls,
  ...computeCalls,
  ...agentCalls,
  ...envCalls,
  ...trainCalls,
  ...worldCalls,
];

/** Exports that are no entry points, or that have tests of their own, and why. */
const EXEMPT: Readonly<Record<string, string>> = {
  ...Object.fromEntries(
    [
      'compareMethods',
      'demoWorld',
      'runDemo',
      'catalogPreset',
      'worldPreset',
      'adaptOnWorld',
      'evaluateOnWorld',
      'plannedCalls',
      'pretrainOnWorld',
    ].map((name) => [name, 'an experiment: minutes of pretrain, adapt and evaluate, which are called here']),
  ),
  renderReport: 'prints what it is given: test/unit/experiment/report.test.ts',
};

/** `FC_SEED=7 npx vitest run test/conformance/public-entry-points.test.ts` makes other cases. */
const SEED = Number(process.env.FC_SEED ?? 20_250_107);
const CASES = 10_000;

const mutation: fc.Arbitrary<MutationSeed | undefined> = fc.option(
  fc.record({ place: fc.nat(100_000), value: fc.nat(100_000), kind: fc.nat(99) }),
  { nil: undefined, freq: 3 },
);

const counts = { valid: 0, mutated: 0, accepted: 0, refused: 0, stopped: 0, untyped: 0 };

/** What is wrong with an attempt, in words; undefined when nothing is. */
function complaintOf(entry: PublicCall, { outcome, mutated, error }: Attempt): string | undefined {
  if (outcome === 'untyped' && mutated !== undefined && entry.unchecked?.test(mutated.path) === true) return undefined;
  const what = mutated === undefined ? 'a valid call' : `\`${mutated.path}\`, ${mutated.as}`;
  const thrown = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  if (mutated === undefined && outcome !== 'accepted') return `${what}: ${outcome}: ${thrown}`;
  if (outcome === 'untyped') return `${what}: an untyped error: ${thrown}`;
  if (outcome === 'hangs') return `${what}: hangs`;
  if (outcome === 'took NaN') return `${what}: NaN was taken for a number`;
  return undefined;
}

beforeAll(async () => {
  await api.useBackend('wasm');
});

afterAll(() => {
  const cases = counts.valid + counts.mutated;
  console.log(
    `public entry points: ${cases} cases over ${calls.length} calls, ${counts.mutated} with one field changed: ` +
      `${counts.accepted} accepted, ${counts.refused} refused by a typed error, ${counts.stopped} allowed but long and stopped by their signal, ${counts.untyped} untyped errors at places known to be unchecked; 0 others, 0 hangs`,
  );
});

describe('every public entry point', () => {
  it.each(calls.map((entry) => [entry.name, entry] as const))('%s', async (_name, entry) => {
    // What is made at the first use, such as kernels, is no leak.
    for (const given of fc.sample(entry.arguments, { numRuns: 2, seed: SEED })) {
      expect(complaintOf(entry, await attempt(entry, given, undefined))).toBeUndefined();
    }
    const before = tf.memory().numTensors;
    const property = fc.asyncProperty(entry.arguments, mutation, async (given: Arguments, seed) => {
      const result = await attempt(entry, given, seed);
      const complaint = complaintOf(entry, result);
      if (complaint !== undefined) throw new Error(`${entry.name}: ${complaint}`, { cause: result.error });
      counts[seed === undefined ? 'valid' : 'mutated']++;
      if (seed !== undefined) counts[result.outcome as keyof typeof counts]++;
    });
    await fc.assert(property, { numRuns: entry.runs, seed: SEED, endOnFailure: true });
    expect(tf.memory().numTensors).toBe(before);
    expect(({} as Record<string, unknown>).polluted).toBeUndefined();
  });
});

it.each([
  ['untyped', (): unknown => (undefined as unknown as number[]).length],
  ['took NaN', (): unknown => 1],
  [
    'hangs',
    (): unknown => {
      const started = process.cpuUsage();
      while (process.cpuUsage(started).user < 1_100_000);
      return undefined;
    },
  ],
] as const)('would find a call that is %s', async (outcome, call) => {
  const entry = publicCall('control', { covers: [], arguments: { n: fc.constant(1) }, call });
  const toNaN = { place: 0, value: HOSTILE_NAN, kind: 0 };
  expect((await attempt(entry, { n: 1 }, toNaN)).outcome).toBe(outcome);
});

it(`makes at least ${CASES} cases, at least half of them changed`, () => {
  const { valid, mutated } = counts;
  expect(valid + mutated).toBeGreaterThanOrEqual(CASES);
  expect(mutated).toBeGreaterThanOrEqual((valid + mutated) / 2);
  // The controls: changes are neither all refused nor all ignored.
  expect(counts.refused).toBeGreaterThan(mutated / 4);
  expect(counts.accepted).toBeGreaterThan(mutated / 50);
});

it('leaves no public function or class out', () => {
  const covered = new Set(calls.flatMap(({ covers }) => covers));
  const isEntry = (value: unknown) => typeof value === 'function';
  const isError = (value: unknown) =>
    value === api.IalpError || (value as { prototype?: unknown }).prototype instanceof api.IalpError;
  const missing = Object.entries({ ...api, ...node })
    .filter(([name, value]) => isEntry(value) && !isError(value) && !covered.has(name) && !Object.hasOwn(EXEMPT, name))
    .map(([name]) => name);
  expect(missing).toEqual([]);
  const known = new Set(Object.keys({ ...api, ...node }));
  expect([...covered].filter((name) => !known.has(name))).toEqual([]);
});
