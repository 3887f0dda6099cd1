import type { Catalog } from '../catalog/catalog.js';
import type { HistoryBatch } from '../compute/history-batch.js';
import { argumentError, checkObject } from '../foundation/arguments.js';
import { InvalidArgumentError } from '../foundation/errors.js';
import type { JsonValue } from '../foundation/json.js';
import { describeValue } from '../foundation/options.js';

/** A value, or a promise of it. */
export type MaybePromise<T> = T | PromiseLike<T>;

/** What one step of every lane gave. A built-in environment reuses these arrays: they are valid until its next step. */
export interface BatchStep {
  /** Reward of the item shown, `[B]`; the leaving step's reward counts. 0 in an idle lane. */
  readonly rewards: Float32Array;
  /** 1 where the user left: nothing follows, so nothing may be bootstrapped, `[B]`. Never 1 together with `truncated`. */
  readonly terminated: Uint8Array;
  /** 1 where we stopped counting (the cap): the user would have stayed, so a value may be bootstrapped, `[B]`. */
  readonly truncated: Uint8Array;
}

/** Options of {@link BatchEnv.reset}: at most one of the two. */
export interface BatchReset {
  /** Starts every lane at its episode 0 under this seed. Without it the lanes go on to their next episode. */
  readonly seed?: number;
  /** Only the lanes flagged 1 start their next episode; the others go on undisturbed, `[B]`. */
  readonly rows?: Uint8Array;
}

/**
 * B episodes stepped at once over typed arrays. An environment gives histories, never states: the encoder makes those.
 *
 * Episode n of lane i under seed s is drawn from `new Rng(s).fork('lane/i/episode/n')` and from nothing else. There is no
 * automatic reset: after a step `histories()` shows the final state, and a lane that has ended refuses further items
 * (action -1 leaves it idle) until `reset({ rows })` starts its next episode.
 */
export interface BatchEnv {
  /** Short name, printed in tables. */
  readonly name: string;
  /** The items that can be shown; an action is an index into it. */
  readonly catalog: Catalog;
  /** Number of lanes, B. */
  readonly size: number;
  /** Width C of the user context; 0 where there is none. */
  readonly contextWidth: number;
  /** An episode is truncated after this many steps. */
  readonly maxEpisodeSteps: number;
  /** The longest history a lane can hold: start items + `maxEpisodeSteps`. */
  readonly historyCapacity: number;
  /** Whether an item of the history may not be shown again: policies mask by it, and a repeat is refused. */
  readonly noRepeat: boolean;
  /** The histories of all lanes: a live view, valid until the next `reset` or `step`. */
  histories(): HistoryBatch;
  /**
   * Starts episodes: all lanes at episode 0 with `seed`, the flagged lanes with `rows`, every lane's next one without options.
   * @throws {InvalidArgumentError} for `seed` and `rows` together, or `rows` of another length than `size`.
   */
  reset(options?: BatchReset): MaybePromise<void>;
  /**
   * Shows one item to the user of each lane.
   * @param actions - item indices, `[B]`; -1 only in a lane that has ended.
   * @throws {InvalidArgumentError} for an index that is no item, a repeat where `noRepeat` holds, or a lane that has ended. Nothing has changed then.
   */
  step(actions: Int32Array): MaybePromise<BatchStep>;
  /** The seed, the counters and the episodes under way, as JSON with item ids; absent where episodes cannot be played again. */
  saveState?(): JsonValue;
  /**
   * Continues exactly where `saveState` was taken.
   * @throws {CheckpointError} when the state is of another environment or damaged; the environment is unchanged then.
   */
  restoreState?(state: JsonValue): void;
}

const METHODS = ['histories', 'reset', 'step'] as const;
const COUNTS = ['size', 'contextWidth', 'maxEpisodeSteps', 'historyCapacity'] as const;

/** Whether `value` has the shape of a {@link BatchEnv}; a plain `Env` has not. */
export function isBatchEnv(value: unknown): value is BatchEnv {
  if (typeof value !== 'object' || value === null) return false;
  const fields = value as Record<string, unknown>;
  return (
    METHODS.every((name) => typeof fields[name] === 'function') &&
    COUNTS.every((name) => typeof fields[name] === 'number')
  );
}

/**
 * Checks the arguments of a `reset` against the number of lanes.
 * @throws {InvalidArgumentError} as {@link BatchEnv.reset} says.
 */
export function checkReset(name: string, size: number, options: BatchReset): void {
  checkObject(`${name}.reset`, 'options', options);
  const { seed, rows } = options;
  if (seed !== undefined && rows !== undefined) {
    throw new InvalidArgumentError(
      `${name}.reset: expected \`seed\` (all lanes, counters to 0) or \`rows\` (some lanes go on to their next episode), got both`,
      {
        argument: 'rows',
      },
    );
  }
  if (seed !== undefined && !Number.isSafeInteger(seed)) {
    throw new InvalidArgumentError(`${name}.reset: expected \`seed\` to be an integer, got ${describeValue(seed)}`, {
      argument: 'seed',
      got: seed,
    });
  }
  if (rows !== undefined && !(rows instanceof Uint8Array)) {
    throw argumentError(`${name}.reset`, 'rows', 'a Uint8Array with one flag for each lane', rows);
  }
  if (rows !== undefined && rows.length !== size) {
    throw new InvalidArgumentError(
      `${name}.reset: expected \`rows\` to hold one flag for each of the ${size} lanes, got ${rows.length}`,
      {
        argument: 'rows',
        got: rows.length,
      },
    );
  }
}
