import type { HistoryBatch } from '../compute/history-batch.js';
import type { LaneEnv } from '../env/lane-env.js';
import { sameCategory, type TemperRule, temperDrop, temperLookback } from '../env/leave-rules.js';
import type { TemperRules } from '../env/temper-rules.js';
import { lanePlanner, markShown, type Planner } from './planner.js';

/** An environment where patience runs out. */
export type TemperEnv = LaneEnv<TemperRules>;

/** Options of {@link beamPlanner}. */
export interface BeamOptions {
  /** Plans kept at each depth, >= 1. @default 16 */
  readonly width?: number;
  /** Continuations of a plan that are looked at, >= 1. @default 8 */
  readonly branching?: number;
}

/**
 * How many more items a user of this temper would take if all pleased, at most `cap`. It prices patience: a step that costs
 * more than a pleasing item costs some of these.
 */
export function itemsLeft(rule: TemperRule, temper: number, cap: number): number {
  if (temper < rule.leaveBelow) return 0;
  // The step that brings temper below the mark still counts; 1e-9 forgives the rounding of repeated subtraction.
  return Math.min(cap, Math.floor((temper - rule.leaveBelow) / rule.likedDrop + 1e-9) + 1);
}

/** The item that pays most now, shown ones passed over where the environment never repeats; blind to patience. */
export function greedyPlanner(env: TemperEnv): Planner {
  return oneStepPlanner(env, (reward) => reward);
}

/** The item that pays most now, less what its drop in temper costs in items to come: one step of foresight. */
export function awarePlanner(env: TemperEnv): Planner {
  const { rule, codes, temper } = env.rules;
  const { items, lengths, length } = env.histories();
  return oneStepPlanner(env, (reward, item, lane, best) => {
    const step = env.steps[lane] as number;
    const end = lane * length + (lengths[lane] as number);
    const same = sameCategory(codes, item, items, end, temperLookback(rule, step));
    const after = (temper[lane] as number) - temperDrop(rule, reward, same);
    return reward + best * itemsLeft(rule, after, env.maxEpisodeSteps - step - 1);
  });
}

function oneStepPlanner(
  env: TemperEnv,
  value: (reward: number, item: number, lane: number, best: number) => number,
): Planner {
  const A = env.catalog.size;
  const marks = new Uint8Array(A);
  const row = new Float32Array(A);
  return lanePlanner(env, (lane) => {
    if (env.noRepeat) markShown(env, lane, marks);
    env.rules.source.rewardRows(Int32Array.of(lane), rowOf(env, lane), row);
    let best = 0;
    for (let item = 0; item < A; item++) if (marks[item] === 0) best = Math.max(best, row[item] as number);
    let chosen = -1;
    let highest = Number.NEGATIVE_INFINITY;
    for (let item = 0; item < A; item++) {
      if (marks[item] === 1) continue;
      const worth = value(row[item] as number, item, lane, best);
      if (worth > highest) {
        highest = worth;
        chosen = item;
      }
    }
    return chosen;
  });
}

function rowOf(env: TemperEnv, lane: number): HistoryBatch {
  const { items, lengths, length } = env.histories();
  return {
    size: 1,
    length,
    items: items.subarray(lane * length, (lane + 1) * length),
    lengths: lengths.subarray(lane, lane + 1),
    contextWidth: 0,
  };
}

interface Plan {
  readonly items: readonly number[];
  readonly temper: number;
  readonly total: number;
  /** Total + the most that patience could still bring. */
  readonly promise: number;
}

/**
 * Plans a whole episode by beam search over the truth, at its first step, and plays the plan: a strong lower bound of what
 * an omniscient policy gets.
 */
export function beamPlanner(env: TemperEnv, options: BeamOptions = {}): Planner {
  const { width = 16, branching = 8 } = options;
  const plans: number[][] = Array.from({ length: env.size }, () => []);
  return lanePlanner(env, (lane) => {
    if (env.steps[lane] === 0 || (plans[lane] as number[]).length === 0)
      plans[lane] = search(env, lane, width, branching);
    return (plans[lane] as number[]).shift() as number;
  });
}

function search(env: TemperEnv, lane: number, width: number, branching: number): number[] {
  const { rule, codes, source, temper } = env.rules;
  const A = env.catalog.size;
  const L = env.historyCapacity;
  const { items, lengths, length } = env.histories();
  const known = items.slice(lane * length, lane * length + (lengths[lane] as number));
  const played = env.steps[lane] as number;
  const batch = { items: new Int32Array(width * L), lengths: new Int32Array(width) };
  const lanes = new Int32Array(width).fill(lane);
  const rewards = new Float32Array(width * A);
  const marks = new Uint8Array(A);
  let beam: Plan[] = [{ items: [], temper: temper[lane] as number, total: 0, promise: 0 }];
  let best: Plan | undefined;
  // What an item to come is worth: the best reward at the root, the same for all plans, so that their promises compare.
  let price: number | undefined;
  for (let step = played; step < env.maxEpisodeSteps && beam.length > 0; step++) {
    beam.forEach((plan, n) => {
      batch.items.set(known, n * L);
      batch.items.set(plan.items, n * L + known.length);
      batch.lengths[n] = known.length + plan.items.length;
    });
    source.rewardRows(
      lanes.subarray(0, beam.length),
      { size: beam.length, length: L, ...batch, contextWidth: 0 },
      rewards,
    );
    const next: Plan[] = [];
    for (const [n, plan] of beam.entries()) {
      const end = n * L + known.length + plan.items.length;
      marks.fill(0);
      if (env.noRepeat) for (let i = n * L; i < end; i++) marks[batch.items[i] as number] = 1;
      price ??= highest(rewards.subarray(0, A), marks);
      const children = new Best(branching);
      // No item can promise more than this and its reward: most are passed over without a look at the rule.
      const ceiling =
        plan.total +
        price * itemsLeft(rule, plan.temper - Math.min(rule.likedDrop, rule.otherDrop), env.maxEpisodeSteps - step - 1);
      for (let item = 0; item < A; item++) {
        if (marks[item] === 1) continue;
        const reward = rewards[n * A + item] as number;
        if (ceiling + reward <= children.worst) continue;
        const drop = temperDrop(rule, reward, sameCategory(codes, item, batch.items, end, temperLookback(rule, step)));
        children.offer(
          plan.total + reward + price * itemsLeft(rule, plan.temper - drop, env.maxEpisodeSteps - step - 1),
          item,
        );
      }
      for (const [promise, item] of children.entries()) {
        const reward = rewards[n * A + item] as number;
        const drop = temperDrop(rule, reward, sameCategory(codes, item, batch.items, end, temperLookback(rule, step)));
        const child = { items: [...plan.items, item], temper: plan.temper - drop, total: plan.total + reward, promise };
        const over = child.temper < rule.leaveBelow || step + 1 === env.maxEpisodeSteps;
        if (!over) next.push(child);
        else if (best === undefined || child.total > best.total) best = child;
      }
    }
    beam = next.sort((x, y) => y.promise - x.promise).slice(0, width);
  }
  return [...(best as Plan).items];
}

function highest(row: Float32Array, marks: Uint8Array): number {
  let best = 0;
  for (let item = 0; item < row.length; item++) if (marks[item] === 0) best = Math.max(best, row[item] as number);
  return best;
}

/** The few best of many, best first; of equals the first offered. */
class Best {
  readonly #scores: number[] = [];
  readonly #items: number[] = [];
  readonly #size: number;

  constructor(size: number) {
    this.#size = size;
  }

  /** What must be beaten. */
  get worst(): number {
    return this.#scores.length < this.#size ? Number.NEGATIVE_INFINITY : (this.#scores[this.#size - 1] as number);
  }

  offer(score: number, item: number): void {
    const scores = this.#scores;
    if (score <= this.worst) return;
    let at = scores.length;
    while (at > 0 && score > (scores[at - 1] as number)) at--;
    scores.splice(at, 0, score);
    this.#items.splice(at, 0, item);
    if (scores.length > this.#size) {
      scores.pop();
      this.#items.pop();
    }
  }

  entries(): [number, number][] {
    return this.#scores.map((score, i) => [score, this.#items[i] as number]);
  }
}

/**
 * The best fixed list for a crowd, built from the top: each place takes the item with the highest mean reward, after the places
 * before it, among those that bore nobody. It is *told* the diversity rule.
 *
 * @param env - a fresh environment whose lanes are the crowd; it is reset.
 * @param places - length of the list, at most A.
 */
export function crowdRotation(env: TemperEnv, places: number): Int32Array {
  const { rule, codes, source } = env.rules;
  const A = env.catalog.size;
  env.reset();
  const { size, length, items, lengths } = env.histories();
  const batch = {
    size,
    length: length + places,
    items: new Int32Array(size * (length + places)),
    lengths: lengths.slice(),
    contextWidth: 0,
  };
  for (let lane = 0; lane < size; lane++)
    batch.items.set(items.subarray(lane * length, lane * length + (lengths[lane] as number)), lane * batch.length);
  const lanes = Int32Array.from({ length: size }, (_, lane) => lane);
  const rewards = new Float32Array(size * A);
  const list = new Int32Array(places);
  const taken = new Uint8Array(A);
  for (let place = 0; place < places; place++) {
    source.rewardRows(lanes, batch, rewards);
    const means = new Float64Array(A);
    for (let n = 0; n < size * A; n++) means[n % A] = (means[n % A] as number) + (rewards[n] as number);
    let chosen = -1;
    let chosenBores = true;
    for (let item = 0; item < A; item++) {
      if (taken[item] === 1) continue;
      const bores =
        sameCategory(codes, item, list, place, temperLookback(rule, place)) >=
        (rule.diversity?.repeats ?? Number.POSITIVE_INFINITY);
      const better =
        chosen < 0 ||
        (chosenBores && !bores) ||
        (chosenBores === bores && (means[item] as number) > (means[chosen] as number));
      if (!better) continue;
      chosen = item;
      chosenBores = bores;
    }
    list[place] = chosen;
    taken[chosen] = 1;
    for (let lane = 0; lane < size; lane++) {
      batch.items[lane * batch.length + (batch.lengths[lane] as number)] = chosen;
      batch.lengths[lane] = (batch.lengths[lane] as number) + 1;
    }
  }
  return list;
}
