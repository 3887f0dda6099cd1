import type { HistoryBatch } from '../compute/history-batch.js';
import type { Rng } from '../foundation/rng.js';
import type { EpisodeHistories } from './episode-histories.js';
import type { EpisodeRules } from './lane-env.js';
import { sameCategory, type TemperRule, temperDrop, temperLookback } from './leave-rules.js';

/** Who comes and what items are worth to them: the part of a temper world that differs from one to the next. */
export interface TemperSource {
  /** Begins an episode: draws the user, appends the start items. */
  start(lane: number, rng: Rng, histories: EpisodeHistories): void;
  /** Writes the reward of each lane's item, `[B]`; lanes at -1 are idle. */
  reward(histories: HistoryBatch, actions: Int32Array, rewards: Float32Array): void;
  /**
   * The truth, for planners: the reward that every item would give to each row's user, `[N, A]`.
   * @param lanes - whose taste each row asks for, `[N]`.
   * @param histories - N rows: those lanes' histories, or continuations of them.
   */
  rewardRows(lanes: Int32Array, histories: HistoryBatch, rewards: Float32Array): void;
}

/** Rules of a world where patience runs out ({@link TemperRule}) over any {@link TemperSource}. */
export class TemperRules<S extends TemperSource = TemperSource> implements EpisodeRules {
  /** The leave rule. */
  readonly rule: TemperRule;
  /** Category of each item, `[A]`; -1 = missing. */
  readonly codes: Int32Array;
  /** Who comes and what items are worth. */
  readonly source: S;
  /** Each lane's temper, `[B]`; a live view, to be read only. */
  readonly temper: Float64Array;

  /** Fresh lanes. */
  constructor(options: {
    readonly size: number;
    readonly rule: TemperRule;
    readonly codes: Int32Array;
    readonly source: S;
  }) {
    this.rule = options.rule;
    this.codes = options.codes;
    this.source = options.source;
    this.temper = new Float64Array(options.size);
  }

  /** Begins an episode at full temper. */
  start(lane: number, rng: Rng, histories: EpisodeHistories): void {
    this.temper[lane] = this.rule.start;
    this.source.start(lane, rng, histories);
  }

  /** The source's reward. */
  reward(histories: HistoryBatch, actions: Int32Array, rewards: Float32Array): void {
    this.source.reward(histories, actions, rewards);
  }

  /** Lowers the temper; start items are no part of the diversity window. */
  leaves(lane: number, item: number, reward: number, step: number, histories: EpisodeHistories): boolean {
    const end = lane * histories.capacity + (histories.lengths[lane] as number);
    const same = sameCategory(this.codes, item, histories.items, end, temperLookback(this.rule, step));
    const temper = (this.temper[lane] as number) - temperDrop(this.rule, reward, same);
    this.temper[lane] = temper;
    return temper < this.rule.leaveBelow;
  }
}
