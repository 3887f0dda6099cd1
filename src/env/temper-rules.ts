import type { HistoryBatch } from '../compute/history-batch.js';
import type { Rng } from '../foundation/rng.js';
import type { EpisodeHistories } from './episode-histories.js';
import type { EpisodeRules } from './lane-env.js';
import {
  type FatigueRule,
  fatigueShare,
  sameCategory,
  type TemperRule,
  temperDrop,
  temperLeaves,
  temperLookback,
} from './leave-rules.js';

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
  /** Who comes, and what items are worth to them: `people`, wearied where the rule has fatigue. */
  readonly source: TemperSource;
  /** Who comes, and what items would be worth without fatigue. */
  readonly people: S;
  /** Each lane's temper, `[B]`; a live view, to be read only. */
  readonly temper: Float64Array;
  // Each lane's chances of leaving; empty where leaving is not by chance.
  readonly #chances: Rng[] = [];

  /** Fresh lanes. */
  constructor(options: {
    readonly size: number;
    readonly rule: TemperRule;
    readonly codes: Int32Array;
    readonly source: S;
  }) {
    const { size, rule, codes, source } = options;
    this.rule = rule;
    this.codes = codes;
    this.people = source;
    this.source = rule.fatigue === undefined ? source : new WearySource(source, rule.fatigue, codes);
    this.temper = new Float64Array(size);
  }

  /** Begins an episode at full temper. */
  start(lane: number, rng: Rng, histories: EpisodeHistories): void {
    this.temper[lane] = this.rule.start;
    if (this.rule.stochastic !== undefined) this.#chances[lane] = rng.fork('leave');
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
    return temperLeaves(this.rule, temper, this.#chances[lane]?.uniform() ?? 0);
  }
}

/** A source whose items pay less the more of their kind the history ends with. */
class WearySource implements TemperSource {
  readonly #source: TemperSource;
  readonly #rule: FatigueRule;
  readonly #codes: Int32Array;

  /** Borrows all. */
  constructor(source: TemperSource, rule: FatigueRule, codes: Int32Array) {
    this.#source = source;
    this.#rule = rule;
    this.#codes = codes;
  }

  start(lane: number, rng: Rng, histories: EpisodeHistories): void {
    this.#source.start(lane, rng, histories);
  }

  reward(histories: HistoryBatch, actions: Int32Array, rewards: Float32Array): void {
    this.#source.reward(histories, actions, rewards);
    for (let lane = 0; lane < actions.length; lane++) {
      const item = actions[lane] as number;
      if (item >= 0) rewards[lane] = (rewards[lane] as number) * this.#share(histories, lane, item);
    }
  }

  rewardRows(lanes: Int32Array, histories: HistoryBatch, rewards: Float32Array): void {
    this.#source.rewardRows(lanes, histories, rewards);
    const A = this.#codes.length;
    for (let row = 0; row < histories.size; row++) {
      for (let item = 0; item < A; item++) {
        const at = row * A + item;
        rewards[at] = (rewards[at] as number) * this.#share(histories, row, item);
      }
    }
  }

  #share({ items, lengths, length }: HistoryBatch, row: number, item: number): number {
    const begin = row * length;
    return fatigueShare(this.#rule, this.#codes, item, items, begin, begin + (lengths[row] as number));
  }
}
