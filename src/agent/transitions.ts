/** The transitions that a replay buffer takes and gives, column by column. */
import type { HistoryBatch } from '../compute/history-batch.js';
import { checkNumber, checkObject } from '../foundation/arguments.js';
import { InvalidArgumentError } from '../foundation/errors.js';
import { describeValue } from '../foundation/options.js';

/** One step of every lane, as `add` takes it. All arrays are copied. */
export interface TransitionStep {
  /** The histories that were acted on, N rows: s. */
  readonly histories: HistoryBatch;
  /** `[N]`, item indices. */
  readonly actions: Int32Array;
  /** `[N]`, reward units. */
  readonly rewards: Float32Array;
  /** `[N]`, 1 where the user left. */
  readonly terminated: Uint8Array;
  /** `[N]`, 1 where the episode was cut off. */
  readonly truncated: Uint8Array;
  /** `[N]`, log μ(a|s) of the policy that acted. */
  readonly logProb: Float32Array;
  /**
   * `[N]`, log π_θ(a|s) of the frozen pretrained policy at act time (Eq. 15).
   *
   * @default zeros, not read while `alpha` is 1
   */
  readonly pretrainedLogProb?: Float32Array;
  /**
   * α of Eq. 14 at act time, 0 to 1.
   *
   * @default 1
   */
  readonly alpha?: number;
  /** `[N, K]`, the candidates shown, then -1 where they were fewer than K; needed exactly when the buffer has `candidateCount` > 0. */
  readonly candidates?: Int32Array;
  /**
   * `[N]`, which candidate the oracle named: 0 to K - 1, K for None, -1 where no oracle was asked.
   *
   * @default -1 everywhere
   */
  readonly choices?: Int32Array;
  /**
   * The histories that the environment shows afterwards, N rows: s'. Needed only where an environment does something else
   * than append the action.
   *
   * @default the histories with the action appended
   */
  readonly nextHistories?: HistoryBatch;
  /**
   * `[N]`, 0 where a lane has nothing to add (such as an answer that could not be read).
   *
   * @default 1 everywhere
   */
  readonly rows?: Uint8Array;
  /**
   * `[N]`, 1 where the transition is kept from learning, to judge what was learned; only in a buffer with `holdsOut`.
   *
   * @default 0 everywhere
   */
  readonly heldOut?: Uint8Array;
}

/** Columns of some transitions, row by row. The arrays belong to the caller. */
export interface TransitionColumns {
  /** Rows B. */
  readonly size: number;
  /** s, `[B]` histories with context. */
  readonly histories: HistoryBatch;
  /** `[B]`. */
  readonly actions: Int32Array;
  /** `[B]`. */
  readonly rewards: Float32Array;
  /** `[B]`. */
  readonly terminated: Uint8Array;
  /** `[B]`. */
  readonly truncated: Uint8Array;
  /** log μ(a|s), `[B]`. */
  readonly logProb: Float32Array;
  /** log π_θ(a|s) at act time, `[B]`. */
  readonly pretrainedLogProb: Float32Array;
  /** α at act time, `[B]`. */
  readonly alpha: Float32Array;
  /** `[B, K]`, -1 after the last of a shorter list; empty when K is 0. */
  readonly candidates: Int32Array;
  /** K. */
  readonly candidateCount: number;
  /** `[B]`: 0 to K - 1, K for None, -1 where no oracle was asked. */
  readonly choices: Int32Array;
}

/** What {@link ReplayBuffer.sample} gives. */
export interface TransitionBatch extends TransitionColumns {
  /** s', `[B]` histories with context. */
  readonly nextHistories: HistoryBatch;
}

/** What {@link ReplayBuffer.lastRollout} gives: row `t * N + n` is step t of lane n. */
export interface Rollout extends TransitionColumns {
  /** Steps. */
  readonly T: number;
  /** Lanes. */
  readonly N: number;
  /**
   * As stored, and also 1 where the lane's next transition does not go on from this one (it was reset in between): either
   * way the sum over later steps must stop here, and the state reached be bootstrapped.
   */
  readonly truncated: Uint8Array;
  /**
   * The states reached whose value no later row of the rollout holds: those of truncated rows and of the last step, unless
   * terminated. `undefined` when there is none.
   */
  readonly bootstrap:
    | {
        /** Row of the rollout of each, ascending. */
        readonly rows: Int32Array;
        /** The histories reached, one for each of `rows`. */
        readonly histories: HistoryBatch;
      }
    | undefined;
}

/**
 * The value of the state that each step of a rollout reached, as `gae` wants it.
 *
 * @param rollout - T, N, `terminated` and `bootstrap` are read.
 * @param values - V(s) of the rollout's histories, `[T, N]`.
 * @param bootstrapValues - V(s') of `rollout.bootstrap.histories`, one for each of its rows.
 * @returns `[T, N]`; 0 where terminated.
 * @throws {InvalidArgumentError} when the lengths do not fit.
 */
export function nextValuesOf(
  rollout: Pick<Rollout, 'T' | 'N' | 'terminated' | 'bootstrap'>,
  values: Float32Array,
  bootstrapValues: Float32Array = new Float32Array(0),
): Float32Array {
  checkObject('nextValuesOf', 'rollout', rollout);
  const { T, N, terminated, bootstrap } = rollout;
  checkNumber('nextValuesOf', 'T', T, { low: 1, integer: true });
  checkNumber('nextValuesOf', 'N', N, { low: 1, integer: true });
  expectLength('nextValuesOf', 'terminated', terminated, T * N);
  if (bootstrap !== undefined) {
    checkObject('nextValuesOf', 'rollout.bootstrap', bootstrap);
    expectLength('nextValuesOf', 'rollout.bootstrap.rows', bootstrap.rows, bootstrap.rows?.length);
  }
  expectLength('nextValuesOf', 'values', values, T * N);
  expectLength('nextValuesOf', 'bootstrapValues', bootstrapValues, bootstrap?.rows.length ?? 0);
  const next = new Float32Array(T * N);
  next.set(values.subarray(N));
  bootstrap?.rows.forEach((row, i) => {
    next[row] = bootstrapValues[i] as number;
  });
  for (let i = 0; i < T * N; i++) if (terminated[i] !== 0) next[i] = 0;
  return next;
}

/** What a buffer expects of the steps that are added to it. */
export interface TransitionShape {
  /** N. */
  readonly lanes: number;
  /** C. */
  readonly contextWidth: number;
  /** K. */
  readonly candidateCount: number;
  /** Most items that s and s' may need together. */
  readonly maxItems: number;
}

/**
 * Checks a step whole, so that a buffer either takes all of it or nothing.
 *
 * @throws {InvalidArgumentError} naming the first column that does not fit.
 */
export function checkTransitionStep(step: TransitionStep, shape: TransitionShape): void {
  const { lanes: N, contextWidth: C, candidateCount: K, maxItems } = shape;
  const where = 'ReplayBuffer.add';
  checkObject(where, 'step', step);
  const { histories, nextHistories, alpha = 1 } = step;
  checkHistories(where, 'histories', histories, N);
  if (nextHistories !== undefined) checkHistories(where, 'nextHistories', nextHistories, N);
  if (histories.contextWidth !== C) fail(where, 'histories.contextWidth', String(C), histories.contextWidth);
  if (C > 0) expectLength(where, 'histories.context', histories.context, N * C);
  const { pretrainedLogProb, choices, rows } = step;
  expectLength(where, 'actions', step.actions, N);
  expectLength(where, 'rewards', step.rewards, N);
  expectLength(where, 'terminated', step.terminated, N);
  expectLength(where, 'truncated', step.truncated, N);
  expectLength(where, 'logProb', step.logProb, N);
  if (pretrainedLogProb !== undefined) expectLength(where, 'pretrainedLogProb', pretrainedLogProb, N);
  if (choices !== undefined) expectLength(where, 'choices', choices, N);
  if (rows !== undefined) expectLength(where, 'rows', rows, N);
  checkNumber(where, 'alpha', alpha, { low: 0, high: 1 });
  if (K > 0 || step.candidates !== undefined) expectLength(where, 'candidates', step.candidates, N * K);
  for (let lane = 0; lane < N; lane++) {
    const choice = choices?.[lane] ?? -1;
    if (!(choice >= -1 && choice <= K)) fail(where, `choices[${lane}]`, `-1 to ${K}`, choice);
    const length = histories.lengths[lane] as number;
    const needed = length + (nextHistories === undefined ? 1 : (nextHistories.lengths[lane] as number));
    if (needed > maxItems) {
      fail(where, `histories.lengths[${lane}]`, `such that \`maxItemsPerLane\` ${maxItems} holds s and s'`, length);
    }
  }
}

function checkHistories(where: string, name: string, batch: HistoryBatch, lanes: number): void {
  checkObject(where, name, batch, [], 'a HistoryBatch');
  const { size, length, items, lengths } = batch;
  checkNumber(where, `${name}.length`, length, { low: 0, high: 2 ** 30, integer: true });
  if (size !== lanes) fail(where, `${name}.size`, `${lanes}, the lanes`, size);
  expectLength(where, `${name}.lengths`, lengths, lanes);
  expectLength(where, `${name}.items`, items, lanes * length);
  for (let lane = 0; lane < lanes; lane++) {
    const count = lengths[lane] as number;
    if (!(count >= 0 && count <= length)) fail(where, `${name}.lengths[${lane}]`, `0 to ${length}`, count);
  }
}

function isNumbers(value: unknown): value is Float64Array {
  return ArrayBuffer.isView(value) && 'length' in value && typeof (value as Float64Array)[0] !== 'bigint';
}

function fail(where: string, argument: string, wanted: string, got: unknown): never {
  throw new InvalidArgumentError(`${where}: expected \`${argument}\` to be ${wanted}, got ${describeValue(got)}`, {
    argument,
    wanted,
    got,
  });
}

function expectLength(where: string, argument: string, array: unknown, length: number): void {
  if (!isNumbers(array)) fail(where, argument, `a typed array of length ${length}`, array);
  if (array.length !== length) fail(where, argument, `of length ${length}`, array.length);
}
