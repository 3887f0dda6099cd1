import { ensureBackend } from '../compute/backend.js';
import { type EngineMemory, engineMemory } from '../compute/engine-memory.js';
import { InvalidArgumentError } from '../foundation/errors.js';

/** Options of {@link checkLeaks}. */
export interface LeakCheckOptions {
  /** Calls after the one that warms up, >= 1. @default 3 */
  readonly calls?: number;
}

/** What {@link checkLeaks} counted. */
export interface LeakCounts {
  /** What the engine held after the call that warms up. */
  readonly before: EngineMemory;
  /** What it held after all calls. */
  readonly after: EngineMemory;
}

/**
 * Calls `work` once to warm up (caches fill, kernels are made), then `calls` times more, and compares what the tfjs engine
 * holds before and after those. It needs no test runner: it rejects when something leaked.
 *
 * @param work - the call under test, awaited; whatever it makes, it must dispose, or make at its first call only.
 * @param options - how often it is called.
 * @returns the counts.
 * @throws {InvalidArgumentError} when `calls` is not a whole number >= 1.
 * @throws {Error} naming what grew, from what to what.
 */
export async function checkLeaks(work: () => unknown, options: LeakCheckOptions = {}): Promise<LeakCounts> {
  const { calls = 3 } = options;
  if (!(Number.isInteger(calls) && calls >= 1)) {
    const facts = { argument: 'calls', wanted: 'a whole number >= 1', got: calls };
    throw new InvalidArgumentError(`checkLeaks: expected \`calls\` to be ${facts.wanted}, got ${calls}`, facts);
  }
  await ensureBackend();
  await work();
  const before = engineMemory();
  for (let call = 0; call < calls; call++) await work();
  const after = engineMemory();
  const grown = (Object.keys(before) as (keyof EngineMemory)[]).filter((count) => after[count] > before[count]);
  if (grown.length > 0) {
    const list = grown.map((count) => `${count} grew from ${before[count]} to ${after[count]}`).join(', ');
    throw new Error(`Expected ${calls} calls after the first to leave nothing behind, but ${list}`);
  }
  return { before, after };
}
