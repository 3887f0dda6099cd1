import { Catalog, type ItemId } from '../catalog/catalog.js';
import type { HistoryBatch } from '../compute/history-batch.js';
import type { Env, EnvReset, EnvStep } from '../env/env.js';
import type { EpisodeHistories } from '../env/episode-histories.js';
import { type EpisodeRules, LaneEnv } from '../env/lane-env.js';
import type { Rng } from '../foundation/rng.js';

/** Items named `item-0`.. with nothing to say. */
export function tinyCatalog(items: number): Catalog {
  return Catalog.fromItems(
    Array.from({ length: items }, (_, i) => ({ id: `item-${i}`, title: `Thing ${i}` })),
    { scenario: 'test', itemNoun: 'thing', behavior: 'testing', attributes: ['title'] },
  );
}

/** Options of {@link identityEnv}. */
export interface IdentityOptions {
  /** Number of items A. @default 5 */
  readonly items?: number;
  /** Steps an episode takes; all of them, always. @default 5 */
  readonly steps?: number;
  /** Number of lanes. @default 1 */
  readonly size?: number;
  /** Seed of the episodes. @default 0 */
  readonly seed?: number;
}

/**
 * The item to show after `last`: the next one, round and round.
 * @param items - A.
 */
export function identityTarget(last: number, items: number): number {
  return (last + 1) % items;
}

class IdentityRules implements EpisodeRules {
  readonly #items: number;

  constructor(items: number) {
    this.#items = items;
  }

  start(lane: number, rng: Rng, histories: EpisodeHistories): void {
    histories.append(lane, rng.integer(this.#items));
  }

  reward({ items, lengths, length }: HistoryBatch, actions: Int32Array, rewards: Float32Array): void {
    for (let lane = 0; lane < actions.length; lane++) {
      const last = items[lane * length + (lengths[lane] as number) - 1] as number;
      rewards[lane] = actions[lane] === identityTarget(last, this.#items) ? 1 : 0;
    }
  }

  leaves(): boolean {
    return false;
  }
}

/**
 * The easiest thing to learn that a history is needed for: 1 for the item after the last one ({@link identityTarget}), 0 for any
 * other. Best return = steps, random return = steps / A.
 */
export function identityEnv(options: IdentityOptions = {}): LaneEnv<EpisodeRules> {
  const { items = 5, steps = 5, size = 1, seed = 0 } = options;
  return new LaneEnv(
    {
      name: 'identity',
      catalog: tinyCatalog(items),
      size,
      seed,
      maxEpisodeSteps: steps,
      startCapacity: 1,
      noRepeat: false,
    },
    new IdentityRules(items),
  );
}

/** Options of {@link chainEnv}. */
export interface ChainOptions {
  /** Steps after which every episode ends. @default 2 */
  readonly steps?: number;
  /**
   * How it ends: `truncated`, we stopped counting and the user would have gone on for ever, so the value of every state is
   * 1 / (1 - gamma); `terminated`, the user left, so the value of a state with n steps to go is (1 - gamma^n) / (1 - gamma).
   * @default 'terminated'
   */
  readonly ends?: 'terminated' | 'truncated';
  /** Number of items A, all alike. @default 3 */
  readonly items?: number;
  /** Number of lanes. @default 1 */
  readonly size?: number;
  /** Seed of the episodes. @default 0 */
  readonly seed?: number;
}

class ChainRules implements EpisodeRules {
  readonly #leavesAfter: number;
  readonly #items: number;

  constructor(leavesAfter: number, items: number) {
    this.#leavesAfter = leavesAfter;
    this.#items = items;
  }

  start(lane: number, rng: Rng, histories: EpisodeHistories): void {
    histories.append(lane, rng.integer(this.#items));
  }

  reward(_histories: HistoryBatch, _actions: Int32Array, rewards: Float32Array): void {
    rewards.fill(1);
  }

  leaves(_lane: number, _item: number, _reward: number, step: number): boolean {
    return step + 1 >= this.#leavesAfter;
  }
}

/** 1 for whatever is shown, and a short life: it tells a learner that bootstraps where it should from one that does not. */
export function chainEnv(options: ChainOptions = {}): LaneEnv<EpisodeRules> {
  const { steps = 2, ends = 'terminated', items = 3, size = 1, seed = 0 } = options;
  const leavesAfter = ends === 'terminated' ? steps : Number.POSITIVE_INFINITY;
  return new LaneEnv(
    {
      name: `chain-${ends}`,
      catalog: tinyCatalog(items),
      size,
      seed,
      maxEpisodeSteps: steps,
      startCapacity: 1,
      noRepeat: false,
    },
    new ChainRules(leavesAfter, items),
  );
}

/** {@link identityEnv} written as a user would write an `Env`: one user, ids, plain values. Its start item is `seed % A`. */
export class IdentityUserEnv implements Env {
  /** Items `item-0`... */
  readonly catalog: Catalog;
  /** Steps after which the episode is truncated. */
  readonly maxEpisodeSteps: number;
  #last = 0;
  #steps = 0;

  /** Items A and steps an episode takes. */
  constructor(options: { readonly items?: number; readonly steps?: number } = {}) {
    this.catalog = tinyCatalog(options.items ?? 5);
    this.maxEpisodeSteps = options.steps ?? 5;
  }

  /** Starts with one item that the seed decides. */
  reset({ seed }: { readonly seed: number }): EnvReset {
    this.#last = seed % this.catalog.size;
    this.#steps = 0;
    return { history: [this.catalog.id(this.#last)] };
  }

  /** 1 for the item after the last one. */
  step(item: ItemId): EnvStep {
    const index = this.catalog.indexOf(item);
    const reward = index === identityTarget(this.#last, this.catalog.size) ? 1 : 0;
    this.#last = index;
    this.#steps++;
    return { reward, terminated: false, truncated: this.#steps >= this.maxEpisodeSteps };
  }
}
