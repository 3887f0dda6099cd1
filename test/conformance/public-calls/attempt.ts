import { IalpError } from '../../../src/index.js';
import { type Arguments, type Mutated, type MutationSeed, mutate } from './mutate.js';
import type { PublicCall } from './public-call.js';

/** What became of one call. */
export interface Attempt {
  /** `accepted`, `refused` by a typed error, `stopped` by the signal after {@link STOP_MS}; or a bug. */
  readonly outcome: 'accepted' | 'refused' | 'stopped' | 'untyped' | 'hangs' | 'took NaN';
  /** What was changed, if anything. */
  readonly mutated: Mutated | undefined;
  /** What was thrown. */
  readonly error?: unknown;
}

/** Processor time after which the signal of calls that take one is aborted, milliseconds. */
const STOP_MS = 150;
/** Time between two looks at it. */
const LOOK_MS = 10;
/** Processor time after which a call hangs; of the processor, because other programs may keep ours waiting. */
const HANG_MS = 1000;
/** A call that has not settled by then waits for something that never comes. */
const NEVER_MS = 8000;

const TIMES_OUT = Symbol('times out');
const STOP = new Error('stopped by the test');

/** Calls a public entry point, with one field changed or as it should be. */
export async function attempt(entry: PublicCall, valid: Arguments, seed: MutationSeed | undefined): Promise<Attempt> {
  const mutated = seed === undefined ? undefined : mutate(valid, seed);
  const controller = new AbortController();
  const started = process.cpuUsage();
  const stop = setInterval(() => {
    if (milliseconds(started) > STOP_MS) controller.abort(STOP);
  }, LOOK_MS);
  let never: ReturnType<typeof setTimeout> | undefined;
  try {
    const running = Promise.resolve().then(() =>
      entry.call(mutated?.arguments ?? valid, { signal: controller.signal }),
    );
    const waiting = new Promise((resolve) => {
      never = setTimeout(() => resolve(TIMES_OUT), NEVER_MS);
    });
    const result = await Promise.race([running, waiting]);
    if (result === TIMES_OUT || milliseconds(started) > HANG_MS) return { outcome: 'hangs', mutated };
    if (mutated?.isNumberToNaN === true && entry.takesNaN?.test(mutated.path) !== true)
      return { outcome: 'took NaN', mutated };
    return { outcome: 'accepted', mutated };
  } catch (error) {
    if (milliseconds(started) > HANG_MS) return { outcome: 'hangs', mutated, error };
    if (error === STOP) return { outcome: 'stopped', mutated };
    return { outcome: error instanceof IalpError ? 'refused' : 'untyped', mutated, error };
  } finally {
    clearInterval(stop);
    clearTimeout(never);
  }
}

function milliseconds(since: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(since);
  return (user + system) / 1000;
}
