import { z } from 'zod';
import { Catalog } from '../catalog/catalog.js';
import type { HistoryBatch } from '../compute/history-batch.js';
import { checkObject } from '../foundation/arguments.js';
import { CheckpointError, InvalidArgumentError } from '../foundation/errors.js';
import type { JsonValue } from '../foundation/json.js';
import { checkOptions } from '../foundation/options.js';
import { Rng } from '../foundation/rng.js';
import { type BatchEnv, type BatchReset, type BatchStep, checkReset } from './batch-env.js';
import { type ActionLanes, checkActions } from './check-actions.js';
import { EpisodeHistories } from './episode-histories.js';

/**
 * What distinguishes one environment from another: who comes, what an item is worth, when the user leaves. Everything an
 * episode does must follow from its `Rng` and the items shown: that is what makes it possible to save and restore it.
 */
export interface EpisodeRules {
  /** Begins an episode in an emptied lane: draws the user from `rng`, appends the start items, sets the context. */
  start(lane: number, rng: Rng, histories: EpisodeHistories): void;
  /**
   * Writes the reward of every lane's item, before any is appended. All lanes at once, so that a reward model can score a batch.
   * @param actions - `[B]`; lanes at -1 are idle and their reward is not read.
   * @param rewards - `[B]`, to be filled.
   */
  reward(histories: HistoryBatch, actions: Int32Array, rewards: Float32Array): void;
  /**
   * Whether the user leaves after this item. Called once a step and lane, after `reward` and before the item is appended.
   * @param step - items shown in this episode so far: 0 at the first.
   */
  leaves(lane: number, item: number, reward: number, step: number, histories: EpisodeHistories): boolean;
}

/** Options of {@link LaneEnv}. */
export interface LaneEnvOptions {
  /** Short name, printed in tables and written into saved states. */
  readonly name: string;
  /** The items. */
  readonly catalog: Catalog;
  /** Number of lanes, B >= 1. */
  readonly size: number;
  /** Seed of all episodes until a `reset({ seed })`. */
  readonly seed: number;
  /** Steps after which an episode is truncated, >= 1. */
  readonly maxEpisodeSteps: number;
  /** Most items a start history can hold, >= 0. */
  readonly startCapacity: number;
  /** Whether shown items are refused. */
  readonly noRepeat: boolean;
  /** Width of the user context. @default 0 */
  readonly contextWidth?: number;
}

/** Most history entries of all lanes together: what one typed array can hold everywhere. */
const MAX_ENTRIES = 2 ** 30;

const optionsSchema = z
  .strictObject({
    name: z.string().min(1),
    catalog: z.custom<Catalog>((value) => value instanceof Catalog, 'expected a Catalog'),
    size: z.int().min(1).max(1_000_000),
    seed: z.int(),
    maxEpisodeSteps: z.int().min(1).max(1_000_000),
    startCapacity: z.int().min(0).max(1_000_000),
    noRepeat: z.boolean(),
    contextWidth: z.int().min(0).max(100_000).default(0),
  })
  .refine(({ size, maxEpisodeSteps, startCapacity }) => size * (maxEpisodeSteps + startCapacity) <= MAX_ENTRIES, {
    message: 'expected `size` x (`startCapacity` + `maxEpisodeSteps`) to be at most 2^30: lower one of them',
  });

const stateSchema = z.strictObject({
  format: z.literal('ialp-env/1'),
  name: z.string(),
  items: z.int(),
  seed: z.int(),
  lanes: z.array(z.strictObject({ episode: z.int().min(-1), shown: z.array(z.string()) })),
});

/**
 * The machinery every built-in environment shares: counters, seeds, flags, the cap, no-repeat, saving. It is a `BatchEnv` for
 * any {@link EpisodeRules}; stepping allocates nothing.
 *
 * @typeParam R - the rules, reachable as `rules` by planners that are allowed to look at the truth.
 */
export class LaneEnv<R extends EpisodeRules = EpisodeRules> implements BatchEnv {
  /** Short name, printed in tables. */
  readonly name: string;
  /** The items that can be shown. */
  readonly catalog: Catalog;
  /** Number of lanes, B. */
  readonly size: number;
  /** Width C of the user context. */
  readonly contextWidth: number;
  /** An episode is truncated after this many steps. */
  readonly maxEpisodeSteps: number;
  /** Start items + cap. */
  readonly historyCapacity: number;
  /** Whether an item of the history may not be shown again. */
  readonly noRepeat: boolean;
  /** The rules; borrowed. */
  readonly rules: R;
  /** Items shown so far in each lane's episode, `[B]`; a live view, to be read only. */
  readonly steps: Int32Array;
  /** 1 where the lane awaits a reset, `[B]`; a live view, to be read only. */
  readonly ended: Uint8Array;

  readonly #histories: EpisodeHistories;
  readonly #episodes: Int32Array;
  readonly #outcome: BatchStep;
  readonly #itemCount: number;
  readonly #lanes: ActionLanes;
  #seed: number;
  #root: Rng;

  /**
   * Builds the lanes; the first `reset` starts their episodes.
   *
   * @throws {InvalidArgumentError} for an option out of range, or more steps without repeats than there are items.
   */
  constructor(options: LaneEnvOptions, rules: R) {
    const checked = checkOptions(optionsSchema, options, 'LaneEnv');
    checkObject('LaneEnv', 'rules', rules, ['start', 'reward', 'leaves'], 'EpisodeRules');
    const { name, catalog, size, seed, maxEpisodeSteps, startCapacity, noRepeat, contextWidth } = checked;
    this.name = name;
    this.catalog = catalog;
    this.size = size;
    this.contextWidth = contextWidth;
    this.maxEpisodeSteps = maxEpisodeSteps;
    this.historyCapacity = startCapacity + maxEpisodeSteps;
    this.noRepeat = noRepeat;
    this.rules = rules;
    this.steps = new Int32Array(size);
    this.ended = new Uint8Array(size).fill(1);
    this.#histories = new EpisodeHistories({ size, capacity: this.historyCapacity, contextWidth });
    this.#episodes = new Int32Array(size).fill(-1);
    this.#outcome = {
      rewards: new Float32Array(size),
      terminated: new Uint8Array(size),
      truncated: new Uint8Array(size),
    };
    this.#itemCount = catalog.size;
    this.#lanes = { name, size, itemCount: catalog.size, noRepeat, ended: this.ended, histories: this.#histories };
    this.#seed = seed;
    this.#root = new Rng(seed);
    if (noRepeat && this.historyCapacity > catalog.size) {
      throw new InvalidArgumentError(
        `${name}: expected at least ${this.historyCapacity} items for ${maxEpisodeSteps} steps without repeats, got ${catalog.size}; lower \`maxEpisodeSteps\` or allow repeats`,
        { argument: 'maxEpisodeSteps', got: maxEpisodeSteps },
      );
    }
  }

  /** The histories of all lanes: a live view. */
  histories(): HistoryBatch {
    return this.#histories.batch;
  }

  /** Starts episodes, as {@link BatchEnv.reset}. @throws {InvalidArgumentError} for contradictory options. */
  reset(options: BatchReset = {}): void {
    checkReset(this.name, this.size, options);
    const { seed, rows } = options;
    if (seed !== undefined) {
      this.#seed = seed;
      this.#root = new Rng(seed);
      this.#episodes.fill(-1);
    }
    for (let lane = 0; lane < this.size; lane++) {
      if (rows !== undefined && rows[lane] === 0) continue;
      this.#begin(lane, (this.#episodes[lane] as number) + 1);
    }
  }

  /** Shows one item to the user of each lane, as {@link BatchEnv.step}. @throws {InvalidArgumentError} for an impossible action. */
  step(actions: Int32Array): BatchStep {
    checkActions(this.#lanes, actions);
    const { rewards, terminated, truncated } = this.#outcome;
    const histories = this.#histories;
    this.rules.reward(histories.batch, actions, rewards);
    for (let lane = 0; lane < this.size; lane++) {
      const item = actions[lane] as number;
      terminated[lane] = 0;
      truncated[lane] = 0;
      if (item < 0) {
        rewards[lane] = 0;
        continue;
      }
      const step = this.steps[lane] as number;
      const left = this.rules.leaves(lane, item, rewards[lane] as number, step, histories);
      histories.append(lane, item);
      this.steps[lane] = step + 1;
      if (left) terminated[lane] = 1;
      else if (step + 1 >= this.maxEpisodeSteps) truncated[lane] = 1;
      this.ended[lane] = (terminated[lane] as number) | (truncated[lane] as number);
    }
    return this.#outcome;
  }

  /** Seed, counters and the items shown so far, by id. */
  saveState(): JsonValue {
    const lanes = Array.from({ length: this.size }, (_, lane) => {
      const length = this.#histories.lengths[lane] as number;
      const shown = this.#histories.lane(lane).subarray(length - (this.steps[lane] as number));
      return { episode: this.#episodes[lane] as number, shown: Array.from(shown, (item) => this.catalog.id(item)) };
    });
    return { format: 'ialp-env/1', name: this.name, items: this.#itemCount, seed: this.#seed, lanes };
  }

  /** Draws the saved episodes again and plays their items. @throws {CheckpointError} when that cannot be done; nothing has changed then. */
  restoreState(state: JsonValue): void {
    const before = this.saveState();
    try {
      this.#replay(state);
    } catch (cause) {
      this.#replay(before);
      if (cause instanceof CheckpointError) throw cause;
      throw new CheckpointError(
        `${this.name}: expected the saved episodes to be playable, got: ${cause instanceof Error ? cause.message : String(cause)}`,
        { cause },
      );
    }
  }

  #begin(lane: number, episode: number): void {
    this.#episodes[lane] = episode;
    this.#histories.clear(lane);
    this.steps[lane] = 0;
    this.ended[lane] = 0;
    this.rules.start(lane, this.#root.fork(`lane/${lane}/episode/${episode}`), this.#histories);
  }

  #replay(state: JsonValue): void {
    const parsed = stateSchema.safeParse(state);
    if (!parsed.success) {
      const issue = parsed.error.issues[0];
      throw new CheckpointError(
        `${this.name}: expected a saved environment, got a wrong \`${issue?.path.join('.') ?? ''}\`: ${issue?.message ?? ''}`,
        { cause: parsed.error },
      );
    }
    const { name, items, seed, lanes } = parsed.data;
    if (name !== this.name || items !== this.#itemCount || lanes.length !== this.size) {
      throw new CheckpointError(
        `expected the state of \`${this.name}\` with ${this.#itemCount} items and ${this.size} lanes, got \`${name}\` with ${items} items and ${lanes.length} lanes`,
      );
    }
    this.#seed = seed;
    this.#root = new Rng(seed);
    let longest = 0;
    lanes.forEach(({ episode, shown }, lane) => {
      if (episode < 0 && shown.length > 0)
        throw new CheckpointError(`${this.name}: lane ${lane} was never started, yet has shown ${shown.length} items`);
      longest = Math.max(longest, shown.length);
      if (episode >= 0) {
        this.#begin(lane, episode);
        return;
      }
      this.#episodes[lane] = -1;
      this.#histories.clear(lane);
      this.steps[lane] = 0;
      this.ended[lane] = 1;
    });
    const actions = new Int32Array(this.size);
    for (let t = 0; t < longest; t++) {
      for (let lane = 0; lane < this.size; lane++) {
        const id = lanes[lane]?.shown[t];
        actions[lane] = id === undefined ? -1 : this.catalog.indexOf(id);
      }
      this.#play(actions);
    }
  }

  // As `step`, but lanes whose saved episode is shorter wait although they have not ended.
  #play(actions: Int32Array): void {
    const waiting = this.ended.map((flag, lane) => ((actions[lane] as number) < 0 && flag === 0 ? 1 : 0));
    for (let lane = 0; lane < this.size; lane++) if (waiting[lane] === 1) this.ended[lane] = 1;
    this.step(actions);
    for (let lane = 0; lane < this.size; lane++) if (waiting[lane] === 1) this.ended[lane] = 0;
  }
}
