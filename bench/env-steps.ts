import type { LaneEnv } from '../src/env/lane-env.js';
import { Rng } from '../src/foundation/rng.js';

/** What {@link measureEnvSteps} measures. */
export interface EnvStepsOptions {
  /** How long a round is, seconds. @default 1 */
  readonly seconds?: number;
  /** Rounds after the one that warms up. @default 5 */
  readonly rounds?: number;
  /** Seed of episodes and actions. @default 1 */
  readonly seed?: number;
}

/** Steps a second of an environment. */
export interface EnvSteps {
  /** Number of lanes, B. */
  readonly size: number;
  /** Steps a second of each round, by the clock on the wall. */
  readonly perSecond: readonly number[];
  /** The best of them: other work on the machine only slows. */
  readonly best: number;
  /** Their median. */
  readonly median: number;
  /** Episodes begun for each step: what a reset costs is in the time. */
  readonly resetsPerStep: number;
}

/** Actions drawn ahead: drawing is no part of what is measured, and they are many enough not to repeat within an episode. */
const DRAWN = 64;

/**
 * Steps an environment with a random policy in this thread: B lanes a call, random items (others than those shown where it
 * never repeats), lanes that end reset at once.
 */
export function measureEnvSteps(env: LaneEnv, options: EnvStepsOptions = {}): EnvSteps {
  const { seconds = 1, rounds = 5, seed = 1 } = options;
  const { size } = env;
  const A = env.catalog.size;
  const rng = new Rng(seed).fork('random-actions');
  const drawn = Array.from({ length: DRAWN }, () => Int32Array.from({ length: size }, () => rng.integer(A)));
  const actions = new Int32Array(size);
  const rows = new Uint8Array(size);
  const { items, lengths, length } = env.histories();
  let calls = 0;
  let resets = 0;
  const round = (): number => {
    const begin = performance.now();
    const end = begin + 1000 * seconds;
    let steps = 0;
    while (performance.now() < end) {
      actions.set(drawn[calls++ % DRAWN] as Int32Array);
      if (env.noRepeat) {
        for (let lane = 0; lane < size; lane++) {
          const from = lane * length;
          const to = from + (lengths[lane] as number);
          // A shown item gives way to the next one, which is looked at from the start again.
          for (let i = from; i < to; i++) {
            if (items[i] !== actions[lane]) continue;
            actions[lane] = ((actions[lane] as number) + 1) % A;
            i = from - 1;
          }
        }
      }
      const { terminated, truncated } = env.step(actions);
      let ended = 0;
      for (let lane = 0; lane < size; lane++) {
        const flag = (terminated[lane] as number) | (truncated[lane] as number);
        rows[lane] = flag;
        ended += flag;
      }
      if (ended > 0) env.reset({ rows });
      resets += ended;
      steps += size;
    }
    return steps / ((performance.now() - begin) / 1000);
  };
  env.reset({ seed });
  round();
  calls = 0;
  resets = 0;
  const perSecond = Array.from({ length: rounds }, round);
  const sorted = [...perSecond].sort((a, b) => a - b);
  return {
    size,
    perSecond,
    best: sorted.at(-1) as number,
    median: sorted[Math.floor(rounds / 2)] as number,
    resetsPerStep: resets / (calls * size),
  };
}
