import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import type { ReportAssets, ReportData } from '../../../src/experiment/report.js';
import type { RunRow } from '../../../src/experiment/result-schema.js';
import type { CardRow } from '../../../src/world/card.js';

const require = createRequire(import.meta.url);

/** The real uPlot, as the command line reads it. */
export const assets: ReportAssets = {
  uplotScript: readFileSync(require.resolve('uplot/dist/uPlot.iife.min.js'), 'utf8'),
  uplotStyle: readFileSync(require.resolve('uplot/dist/uPlot.min.css'), 'utf8'),
};

export const runRow: RunRow = {
  world: 'synthetic',
  split: 'test',
  reward: 'truth',
  method: 'mixture',
  algorithm: 'ppo',
  mode: 'sampled',
  temperature: 1,
  steps: 20_000,
  updates: 1_234,
  oracleCalls: 2_000,
  return: 8.75,
  returnLow: 8.5,
  returnHigh: 9,
  length: 12.25,
  averageReward: 0.714,
  coverage: 0.283,
  perSeed: [8.5, 9],
  weightsSha256: 'a'.repeat(64),
  wallSeconds: 12.5,
};

export const cardRow: CardRow = {
  world: 'synthetic',
  split: 'all',
  reward: 'truth',
  window: 'correct',
  evaluation: 'NX_0',
  policy: 'rotationTruth',
  return: 10,
  returnLow: 9.5,
  returnHigh: 10.5,
  length: 20,
  lengthLow: 19.5,
  lengthHigh: 20.5,
  averageReward: 0.5,
  averageRewardLow: 0.48,
  averageRewardHigh: 0.52,
  coverage: 1,
  coverageLow: 0.98,
  coverageHigh: 1,
  diversity: 0.81,
  diversityLow: 0.8,
  diversityHigh: 0.82,
  novelty: 9.3,
  noveltyLow: 9.2,
  noveltyHigh: 9.4,
  episodes: 2_900,
};

/** Made-up numbers of the shape a demo gives. */
export const reportData: ReportData = {
  title: 'iALP on the synthetic world',
  summary: 'Made-up numbers.',
  command: 'ialp demo --seed 1 --seeds 2',
  version: '0.1.0',
  seeds: [1, 2],
  backend: 'wasm',
  kernels: 'reference',
  fusedShare: 0,
  wallSeconds: 101.4,
  date: '2025-11-24',
  curves: [
    {
      method: 'mixture',
      points: [0, 10_000, 20_000].map((steps, i) => ({
        ...{ steps, return: 5 + i, low: 4.5 + i, high: 5.5 + i },
        ...{ length: 10 + i, lengthLow: 9.5 + i, lengthHigh: 10.5 + i },
      })),
    },
    { method: 'random', points: [{ steps: 0, return: 1, low: 1, high: 1, length: 6, lengthLow: 6, lengthHigh: 6 }] },
  ],
  rows: [runRow, { ...runRow, mode: 'argmax' }],
  card: [cardRow],
  notes: ['The oracle reads only text.'],
};
