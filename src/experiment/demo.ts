import { z } from 'zod';
import { sasRec } from '../encoder/sasrec.js';
import { checkOptions } from '../foundation/options.js';
import { linearSchedule } from '../foundation/schedules.js';
import type { Storage } from '../foundation/storage.js';
import { SimulatedOracle } from '../oracle/simulated-oracle.js';
import { syntheticWorld } from '../world/synthetic-world.js';
import type { World } from '../world/world.js';
import { type Comparison, type ComparisonOptions, type ComparisonProgress, compareMethods } from './compare-methods.js';
import { greatestCommonDivisor } from './greatest-common-divisor.js';

/** Every number of the demo: what it is tuned by stands here and nowhere else. */
export const DEMO = {
  /** The embedded world. */
  world: { items: 200, categories: 8, seed: 0 },
  /** SASRec's size. */
  encoder: { width: 32, blocks: 1, historyLength: 10 },
  /** What an item is to the policy. */
  items: 'id+text',
  /** What the policy is shown of a history beside its state. */
  historyFeatures: { repeats: 8, attributes: ['category', 'brand'] },
  /** How every method learns online. */
  algorithm: 'ppo',
  /** Questions of a pre-training. */
  calls: 2000,
  /** Simulated users' beginnings. */
  starts: 256,
  /** Mean entropy at hand-over, nats. */
  handoverEntropy: 2.5,
  /** Alpha of the mixture, by environment step. */
  alpha: { from: 0.2, to: 1, steps: 6000 },
  /** Environment steps of each online method. */
  steps: 20_000,
  /** Steps at which the online methods are measured. */
  marks: [1000, 2000, 5000, 10_000, 15_000, 20_000],
  /** Greatest common step of the marks. */
  stepsPerEpoch: 1000,
  /** Parallel users while learning. */
  lanes: 16,
  /** Episodes of a measurement. */
  episodes: 384,
} as const;

/** Options of {@link runDemo}. */
export interface DemoOptions {
  /** Seeds; every method runs under each. @default [1] */
  readonly seeds?: readonly number[];
  /** Environment steps of each online method, >= 1; marks and alpha's schedule shrink with it. @default 20000 */
  readonly steps?: number;
  /** Questions of a pre-training, >= 1. @default 2000 */
  readonly calls?: number;
  /** Episodes of a measurement, >= 1. @default 384 */
  readonly episodes?: number;
  /** Where measurements and checkpoints go: an interrupted demo goes on from there. @default nowhere */
  readonly storage?: Storage | undefined;
  /** Told as it goes. */
  readonly onProgress?: ((progress: ComparisonProgress) => void) | undefined;
  /** Told the world's card, which is measured first. */
  readonly onCard?: ComparisonOptions['onCard'];
  /** Told of what is odd but no error. */
  readonly onWarning?: ((message: string) => void) | undefined;
  /** Stops the demo after writing a checkpoint. */
  readonly signal?: AbortSignal | undefined;
}

const positive = z.int().min(1).max(100_000_000);
const schema = z.strictObject({
  seeds: z.array(z.int().min(0)).min(1).default([1]),
  steps: positive.default(DEMO.steps),
  calls: positive.default(DEMO.calls),
  episodes: positive.default(DEMO.episodes),
  storage: z
    .custom<Storage>((value) => typeof (value as Storage | undefined)?.put === 'function', 'a Storage')
    .optional(),
  onProgress: z.custom<DemoOptions['onProgress']>((value) => typeof value === 'function', 'a function').optional(),
  onCard: z.custom<DemoOptions['onCard']>((value) => typeof value === 'function', 'a function').optional(),
  onWarning: z.custom<DemoOptions['onWarning']>((value) => typeof value === 'function', 'a function').optional(),
  signal: z.custom<AbortSignal>((value) => value instanceof AbortSignal, 'an AbortSignal').optional(),
});

/** The world of the demo. */
export function demoWorld(): World {
  return syntheticWorld(DEMO.world);
}

/**
 * The demo: on the embedded synthetic world, pre-trains from an oracle that reads only text, then learns online from scratch,
 * by fine-tuning and as a mixture, all with one algorithm, and measures each beside the trivial policies and the controls.
 *
 * @returns the table, the curves and the world's card.
 * @throws {InvalidArgumentError} for options out of range.
 * @throws {CheckpointError} when the storage holds another demo's state.
 */
export async function runDemo(options: DemoOptions = {}): Promise<Comparison> {
  const { seeds, steps, calls, episodes, storage, onProgress, onCard, onWarning, signal } = checkOptions(
    schema,
    options,
    'runDemo',
  );
  const world = demoWorld();
  const { catalog } = world;
  const marks = marksUpTo(steps);
  return compareMethods({
    world,
    agent: (seed) => {
      const { historyFeatures, items, encoder, algorithm } = DEMO;
      return { catalog, encoder: sasRec(encoder), items, historyFeatures, algorithm, seed };
    },
    oracle: (seed) => new SimulatedOracle({ catalog, seed }),
    shuffledOracle: (seed) => new SimulatedOracle({ catalog, seed, shuffledText: seed }),
    calls,
    starts: DEMO.starts,
    algorithm: DEMO.algorithm,
    alpha: linearSchedule({ ...DEMO.alpha, steps: Math.max(1, Math.round((DEMO.alpha.steps * steps) / DEMO.steps)) }),
    handoverEntropy: DEMO.handoverEntropy,
    steps,
    marks,
    stepsPerEpoch: marks.reduce(greatestCommonDivisor),
    lanes: DEMO.lanes,
    episodes,
    seeds,
    storage,
    ...(onProgress ? { onProgress } : {}),
    ...(onCard ? { onCard } : {}),
    ...(onWarning ? { onWarning } : {}),
    ...(signal ? { signal } : {}),
  });
}

/** The demo's marks below `steps`, and `steps` itself. */
function marksUpTo(steps: number): number[] {
  return [...DEMO.marks.filter((mark) => mark < steps), steps];
}
