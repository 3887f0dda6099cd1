import { z } from 'zod';
import { Catalog, type ItemId } from '../catalog/catalog.js';
import type { HistoryBatch } from '../compute/history-batch.js';
import { checkNumber } from '../foundation/arguments.js';
import { IalpError, InvalidArgumentError, InvalidDataError } from '../foundation/errors.js';
import { checkOptions, describeValue } from '../foundation/options.js';
import { Rng } from '../foundation/rng.js';
import { type BatchEnv, type BatchReset, type BatchStep, checkReset, type MaybePromise } from './batch-env.js';
import { checkActions } from './check-actions.js';
import { EpisodeHistories } from './episode-histories.js';

/** What {@link Env.reset} gives. */
export interface EnvReset {
  /** Items the user has seen already, oldest first; empty for a user nobody knows. */
  readonly history: readonly ItemId[];
  /** Numbers about the user, as many as `contextWidth` says; zeros where absent. */
  readonly context?: readonly number[];
}

/** What {@link Env.step} gives. */
export interface EnvStep {
  /** What the item was worth; finite. */
  readonly reward: number;
  /** The user left: nothing follows this step. Where both flags are true, this one holds. */
  readonly terminated: boolean;
  /** We stopped counting although the user would have stayed. */
  readonly truncated: boolean;
  /** The whole history now, oldest first. @default the item appended */
  readonly history?: readonly ItemId[];
}

/**
 * An environment of your own, one user at a time, after Gymnasium: start an episode, show an item, get its reward. Methods may
 * return promises. The library lifts it to B lanes with `liftEnv` and checks everything it returns.
 */
export interface Env {
  /** The items that can be shown. */
  readonly catalog: Catalog;
  /** Steps after which an episode is truncated, if the environment does not end it before. @default 1000 */
  readonly maxEpisodeSteps?: number;
  /** Length of the `context` that `reset` gives. @default 0 */
  readonly contextWidth?: number;
  /** Whether items of the history must not be shown again; the library then masks them, and truncates an episode that has shown them all. @default false */
  readonly noRepeat?: boolean;
  /**
   * Starts an episode.
   * @param options - `seed`, an integer from 1 to 2^31 - 1, decides everything random in it.
   */
  reset(options: { readonly seed: number }): MaybePromise<EnvReset>;
  /** Shows one item to the user. */
  step(item: ItemId): MaybePromise<EnvStep>;
}

/** Options of {@link liftEnv}. */
export interface LiftOptions {
  /** Number of lanes, B. @default the number of environments given; 1 for a factory */
  readonly size?: number;
  /** Short name, for tables and messages. @default 'env' */
  readonly name?: string;
  /** Seed of all episodes until a `reset({ seed })`. @default 0 */
  readonly seed?: number;
  /** Steps after which an episode is truncated. @default the environment's own, or 1000 */
  readonly maxEpisodeSteps?: number;
  /** Most items a start history may hold. @default 64 */
  readonly startCapacity?: number;
}

const schema = z.strictObject({
  size: z.int().min(1).max(100_000).optional(),
  name: z.string().min(1).default('env'),
  seed: z.int().default(0),
  maxEpisodeSteps: z.int().min(1).max(1_000_000).optional(),
  startCapacity: z.int().min(0).max(1_000_000).default(64),
});

const DEFAULT_CAP = 1000;
/** Most history entries of all lanes together. */
const MAX_ENTRIES = 2 ** 30;

/**
 * Plays users' own environments in B lanes, one {@link Env} a lane, and checks what they return.
 *
 * Lane i's episode n is reset with a seed drawn from the run's seed, i and n, so a deterministic `Env` gives a deterministic
 * `BatchEnv`. Lanes are stepped concurrently. The environments are borrowed.
 *
 * Once played, `reset` and `step` reject with {@link InvalidDataError}, naming environment, lane, episode, step and field,
 * when an environment returns what {@link Env} does not allow (a reward that is no finite number, an unknown item id, a missing
 * flag) or throws (its error is the `cause`); errors of this library pass unchanged. Every lane must be reset after that.
 *
 * @param envs - one environment (one lane), one for each lane, or a factory of them.
 * @throws {InvalidArgumentError} for options out of range, more lanes than environments, or environments of different catalogues.
 */
export function liftEnv(envs: Env | readonly Env[] | ((lane: number) => Env), options: LiftOptions = {}): BatchEnv {
  const checked = checkOptions(schema, options, 'liftEnv');
  return new LiftedEnv(environments(envs, checked.size), checked);
}

function environments(given: Env | readonly Env[] | ((lane: number) => Env), size: number | undefined): Env[] {
  const list =
    typeof given === 'function'
      ? Array.from({ length: size ?? 1 }, (_, lane) => given(lane))
      : Array.isArray(given)
        ? [...given]
        : [given as Env];
  if (list.length === 0 || (size !== undefined && size !== list.length)) {
    throw new InvalidArgumentError(
      `liftEnv: expected one environment for each of ${size ?? 'at least one'} lanes, got ${list.length}: an Env plays one episode at a time; give an array, or a factory (lane) => Env`,
      { argument: 'envs', got: list.length },
    );
  }
  list.forEach((env, lane) => {
    if (
      typeof env !== 'object' ||
      env === null ||
      typeof env.reset !== 'function' ||
      typeof env.step !== 'function' ||
      !(env.catalog instanceof Catalog)
    ) {
      throw new InvalidArgumentError(
        `liftEnv: expected environment ${lane} to have \`catalog\`, \`reset\` and \`step\``,
        { argument: `envs[${lane}]`, got: env },
      );
    }
    if (list.indexOf(env) !== lane) {
      throw new InvalidArgumentError(
        `liftEnv: expected a separate environment for each lane, got the same for lanes ${list.indexOf(env)} and ${lane}`,
        { argument: `envs[${lane}]` },
      );
    }
    const first = list[0] as Env;
    for (const field of ['maxEpisodeSteps', 'contextWidth', 'noRepeat'] as const) {
      if (env[field] !== first[field]) {
        throw new InvalidArgumentError(
          `liftEnv: expected all environments to have the same \`${field}\`, got ${describeValue(first[field])} in lane 0 and ${describeValue(env[field])} in lane ${lane}`,
          {
            argument: `envs[${lane}].${field}`,
            got: env[field],
          },
        );
      }
    }
    if (!sameIds(first.catalog, env.catalog)) {
      throw new InvalidArgumentError(
        `liftEnv: expected all environments to have the same catalogue, got another one in lane ${lane}`,
        { argument: `envs[${lane}].catalog` },
      );
    }
  });
  return list;
}

function sameIds(a: Catalog, b: Catalog): boolean {
  if (a === b) return true;
  const others = b.ids();
  return a.size === b.size && a.ids().every((id, index) => id === others[index]);
}

class LiftedEnv implements BatchEnv {
  readonly name: string;
  readonly catalog: Catalog;
  readonly size: number;
  readonly contextWidth: number;
  readonly maxEpisodeSteps: number;
  readonly historyCapacity: number;
  readonly noRepeat: boolean;
  readonly #envs: readonly Env[];
  readonly #histories: EpisodeHistories;
  readonly #episodes: Int32Array;
  readonly #steps: Int32Array;
  readonly #ended: Uint8Array;
  readonly #outcome: BatchStep;
  #root: Rng;
  #busy = false;

  constructor(envs: readonly Env[], options: z.output<typeof schema>) {
    const first = envs[0] as Env;
    const size = envs.length;
    this.#envs = envs;
    this.name = options.name;
    this.catalog = first.catalog;
    this.size = size;
    this.contextWidth = checkOptions(
      z.int().min(0).max(100_000),
      first.contextWidth ?? 0,
      "liftEnv: the environment's `contextWidth`",
    );
    this.maxEpisodeSteps =
      options.maxEpisodeSteps ??
      checkOptions(
        z.int().min(1).max(1_000_000),
        first.maxEpisodeSteps ?? DEFAULT_CAP,
        "liftEnv: the environment's `maxEpisodeSteps`",
      );
    this.historyCapacity = options.startCapacity + this.maxEpisodeSteps;
    checkNumber('liftEnv', 'size x (startCapacity + maxEpisodeSteps)', size * this.historyCapacity, {
      high: MAX_ENTRIES,
    });
    this.noRepeat = checkOptions(z.boolean(), first.noRepeat ?? false, "liftEnv: the environment's `noRepeat`");
    this.#histories = new EpisodeHistories({ size, capacity: this.historyCapacity, contextWidth: this.contextWidth });
    this.#episodes = new Int32Array(size).fill(-1);
    this.#steps = new Int32Array(size);
    this.#ended = new Uint8Array(size).fill(1);
    this.#outcome = {
      rewards: new Float32Array(size),
      terminated: new Uint8Array(size),
      truncated: new Uint8Array(size),
    };
    this.#root = new Rng(options.seed);
  }

  histories(): HistoryBatch {
    return this.#histories.batch;
  }

  async reset(options: BatchReset = {}): Promise<void> {
    checkReset(this.name, this.size, options);
    const { seed, rows } = options;
    await this.#alone(
      'reset',
      (lane) => (rows === undefined || rows[lane] !== 0 ? this.#begin(lane) : undefined),
      () => {
        if (seed === undefined) return;
        this.#root = new Rng(seed);
        this.#episodes.fill(-1);
      },
    );
  }

  async step(actions: Int32Array): Promise<BatchStep> {
    checkActions(
      {
        name: this.name,
        size: this.size,
        itemCount: this.catalog.size,
        noRepeat: this.noRepeat,
        ended: this.#ended,
        histories: this.#histories,
      },
      actions,
    );
    const { rewards, terminated, truncated } = this.#outcome;
    await this.#alone(
      'step',
      (lane) => ((actions[lane] as number) >= 0 ? this.#play(lane, actions[lane] as number) : undefined),
      () => {
        rewards.fill(0);
        terminated.fill(0);
        truncated.fill(0);
      },
    );
    return this.#outcome;
  }

  // One call at a time, all lanes at once; after a failure no lane is in a known state, so all must be reset.
  async #alone(method: string, each: (lane: number) => Promise<void> | undefined, prepare: () => void): Promise<void> {
    if (this.#busy)
      throw new InvalidArgumentError(`${this.name}.${method}: expected the previous call to have been awaited`, {
        argument: method,
      });
    this.#busy = true;
    try {
      prepare();
      const lanes = await Promise.allSettled(this.#envs.map((_, lane) => each(lane)));
      const failed = lanes.find((lane) => lane.status === 'rejected');
      if (failed !== undefined) {
        this.#ended.fill(1);
        throw failed.reason;
      }
    } finally {
      this.#busy = false;
    }
  }

  async #begin(lane: number): Promise<void> {
    const episode = (this.#episodes[lane] as number) + 1;
    this.#episodes[lane] = episode;
    this.#steps[lane] = 0;
    this.#histories.clear(lane);
    const seed = this.#root.fork(`lane/${lane}/episode/${episode}`).nonZeroSeed();
    const start = await this.#call(lane, 'reset', (env) => env.reset({ seed }));
    this.#setHistory(lane, start.history);
    if (this.#isUsedUp(lane)) this.#bad(lane, 'history', 'such that an item is left to show', 'the whole catalogue');
    const { context } = start;
    if (context !== undefined || this.contextWidth > 0) this.#setContext(lane, context);
    this.#ended[lane] = 0;
  }

  async #play(lane: number, item: number): Promise<void> {
    const result = await this.#call(lane, 'step', (env) => env.step(this.catalog.id(item)));
    const { reward, terminated, truncated, history } = result;
    if (typeof reward !== 'number' || !Number.isFinite(reward)) this.#bad(lane, 'reward', 'a finite number', reward);
    if (typeof terminated !== 'boolean') this.#bad(lane, 'terminated', 'a boolean', terminated);
    if (typeof truncated !== 'boolean') this.#bad(lane, 'truncated', 'a boolean', truncated);
    if (history === undefined) this.#histories.append(lane, item);
    else this.#setHistory(lane, history);
    const steps = (this.#steps[lane] as number) + 1;
    this.#steps[lane] = steps;
    this.#outcome.rewards[lane] = reward;
    this.#outcome.terminated[lane] = terminated ? 1 : 0;
    const isCutOff = truncated || steps >= this.maxEpisodeSteps || this.#isUsedUp(lane);
    this.#outcome.truncated[lane] = !terminated && isCutOff ? 1 : 0;
    this.#ended[lane] = (this.#outcome.terminated[lane] as number) | (this.#outcome.truncated[lane] as number);
  }

  async #call<T extends object>(lane: number, method: string, call: (env: Env) => MaybePromise<T>): Promise<T> {
    let result: T;
    try {
      result = await call(this.#envs[lane] as Env);
    } catch (cause) {
      if (cause instanceof IalpError) throw cause;
      throw new InvalidDataError(`${method}() threw: ${describeValue(cause)}`, {
        source: this.#place(lane),
        field: method,
        cause,
      });
    }
    if (typeof result !== 'object' || result === null) this.#bad(lane, method, `${method}() to give an object`, result);
    return result;
  }

  /** Whether nothing can be shown next, every item having been shown. */
  #isUsedUp(lane: number): boolean {
    const { size } = this.catalog;
    if (!this.noRepeat || (this.#histories.lengths[lane] as number) < size) return false;
    return new Set(this.#histories.lane(lane)).size >= size;
  }

  #setHistory(lane: number, history: unknown): void {
    if (!Array.isArray(history)) this.#bad(lane, 'history', 'an array of item ids', history);
    const list = history as readonly unknown[];
    if (list.length > this.historyCapacity)
      this.#bad(lane, 'history', `at most ${this.historyCapacity} items (raise \`startCapacity\`)`, list.length);
    // Found first, set afterwards: an unknown id leaves no half-written history.
    const items = list.map((id, i) => {
      if (typeof id !== 'string' || !this.catalog.has(id))
        this.#bad(lane, `history[${i}]`, 'the id of an item of the catalogue', id);
      return this.catalog.indexOf(id as string);
    });
    const from = lane * this.historyCapacity;
    this.#histories.items.fill(-1, from, from + this.historyCapacity);
    this.#histories.items.set(items, from);
    this.#histories.lengths[lane] = items.length;
  }

  #setContext(lane: number, context: unknown): void {
    const wanted = `${this.contextWidth} finite numbers (the environment's \`contextWidth\`)`;
    if (!Array.isArray(context) || context.length !== this.contextWidth)
      this.#bad(lane, 'context', wanted, Array.isArray(context) ? `${context.length} values` : context);
    const values = context as readonly unknown[];
    values.forEach((value, i) => {
      if (typeof value !== 'number' || !Number.isFinite(value))
        this.#bad(lane, `context[${i}]`, 'a finite number', value);
      this.#histories.context[lane * this.contextWidth + i] = value as number;
    });
  }

  #place(lane: number): string {
    return `${this.name}, lane ${lane}, episode ${this.#episodes[lane] as number}, step ${this.#steps[lane] as number}`;
  }

  #bad(lane: number, field: string, wanted: string, got: unknown): never {
    throw new InvalidDataError(`expected \`${field}\` to be ${wanted}, got ${describeValue(got)}`, {
      source: this.#place(lane),
      field,
    });
  }
}
