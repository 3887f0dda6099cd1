import { selectRows } from '../compute/history-batch.js';
import type { LaneEnv } from '../env/lane-env.js';
import { sameCategory, type TemperRule, temperDrop, temperLookback } from '../env/leave-rules.js';
import type { TemperRules, TemperSource } from '../env/temper-rules.js';
import { markShown, type Planner } from './planner.js';

/** An environment where patience runs out. */
export type TemperEnv = LaneEnv<TemperRules>;

/** Options of {@link beamPlanner}. */
export interface BeamOptions {
  /** Plans kept at each depth, >= 1. @default 16 */
  readonly width?: number;
  /** Continuations of a plan that are looked at, >= 1. @default 8 */
  readonly branching?: number;
  /**
   * Plans by these users' rewards instead of the environment's: `transfer`, a planner who knows the train world only. Tempers are
   * reckoned by the same rewards. @default the environment's own
   */
  readonly source?: TemperSource;
}

/** Rewards of this many items in all rows together are asked for at once. */
const REWARDS_AT_ONCE = 2 ** 20;

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
  const group = Math.max(1, Math.floor(REWARDS_AT_ONCE / A));
  const rewards = new Float32Array(Math.min(group, env.size) * A);
  const actions = new Int32Array(env.size);
  const choose = (lane: number, row: Float32Array): number => {
    if (env.noRepeat) markShown(env, lane, marks);
    const best = highest(row, marks);
    let chosen = -1;
    let worthMost = Number.NEGATIVE_INFINITY;
    for (let item = 0; item < A; item++) {
      if (marks[item] === 1) continue;
      const worth = value(row[item] as number, item, lane, best);
      if (worth > worthMost) {
        worthMost = worth;
        chosen = item;
      }
    }
    return chosen;
  };
  return {
    act() {
      for (const lanes of groups(awaiting(env), group)) {
        env.rules.source.rewardRows(lanes, selectRows(env.histories(), lanes), rewards);
        lanes.forEach((lane, row) => {
          actions[lane] = choose(lane, rewards.subarray(row * A, (row + 1) * A));
        });
      }
      for (let lane = 0; lane < env.size; lane++) if (env.ended[lane] === 1) actions[lane] = -1;
      return actions;
    },
  };
}

/** The lanes whose episode goes on. */
function awaiting(env: TemperEnv): number[] {
  return Array.from(env.ended, (_, lane) => lane).filter((lane) => env.ended[lane] === 0);
}

function groups(lanes: readonly number[], size: number): Int32Array[] {
  const count = Math.ceil(lanes.length / size);
  return Array.from({ length: count }, (_, n) => Int32Array.from(lanes.slice(n * size, (n + 1) * size)));
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
 * an omniscient policy gets. It plans once: where a plan was made for other rewards (`source`) and the user is still there at
 * its end, it goes on item by item, as if each were the last.
 */
export function beamPlanner(env: TemperEnv, options: BeamOptions = {}): Planner {
  const { width = 16, branching = 8, source = env.rules.source } = options;
  const plans: number[][] = Array.from({ length: env.size }, () => []);
  const actions = new Int32Array(env.size);
  const group = Math.max(1, Math.floor(REWARDS_AT_ONCE / (width * env.catalog.size)));
  return {
    act() {
      const lanes = awaiting(env);
      const unplanned = lanes.filter((lane) => env.steps[lane] === 0 || (plans[lane] as number[]).length === 0);
      for (const some of groups(unplanned, group)) {
        const searches = Array.from(some, (lane) => new Search(env, lane, { width, branching, source }));
        searchTogether(env, searches, { width, source });
        searches.forEach((search) => {
          plans[search.lane] = [...search.items];
        });
      }
      actions.fill(-1);
      for (const lane of lanes) actions[lane] = (plans[lane] as number[]).shift() as number;
      return actions;
    },
  };
}

type SearchOptions = Required<BeamOptions>;

/** Deepens several searches at the same time, so that rewards are asked for in large batches. */
function searchTogether(
  env: TemperEnv,
  searches: readonly Search[],
  { width, source }: Pick<SearchOptions, 'width' | 'source'>,
): void {
  const A = env.catalog.size;
  const L = env.historyCapacity;
  const items = new Int32Array(searches.length * width * L);
  const lengths = new Int32Array(searches.length * width);
  const lanes = new Int32Array(searches.length * width);
  const rewards = new Float32Array(searches.length * width * A);
  for (;;) {
    const open = searches.filter((search) => search.beam.length > 0);
    if (open.length === 0) return;
    let size = 0;
    for (const { lane, known, beam } of open) {
      for (const plan of beam) {
        items.set(known, size * L);
        items.set(plan.items, size * L + known.length);
        lengths[size] = known.length + plan.items.length;
        lanes[size++] = lane;
      }
    }
    source.rewardRows(lanes.subarray(0, size), { size, length: L, items, lengths, contextWidth: 0 }, rewards);
    let first = 0;
    for (const search of open) {
      const rows = search.beam.length;
      search.deepen({ items: items.subarray(first * L), rewards: rewards.subarray(first * A, (first + rows) * A) });
      first += rows;
    }
  }
}

/** The beam search of one lane. */
class Search {
  readonly lane: number;
  /** The history it starts from. */
  readonly known: Int32Array;
  /** Plans of users who are still there, best promise first; none when the search is over. */
  beam: Plan[];
  readonly #env: TemperEnv;
  readonly #options: SearchOptions;
  readonly #marks: Uint8Array;
  #step: number;
  #best: Plan | undefined;
  /** What an item to come is worth: the best reward at the root, the same for all plans, so that their promises compare. */
  #price: number | undefined;

  constructor(env: TemperEnv, lane: number, options: SearchOptions) {
    const { items, lengths, length } = env.histories();
    const { rule, source } = env.rules;
    this.lane = lane;
    this.known = items.slice(lane * length, lane * length + (lengths[lane] as number));
    this.#env = env;
    this.#options = options;
    this.#marks = new Uint8Array(env.catalog.size);
    this.#step = env.steps[lane] as number;
    const isOwn = options.source === source;
    const temper = isOwn ? (env.rules.temper[lane] as number) : this.#step === 0 ? rule.start : rule.leaveBelow;
    this.beam = [{ items: [], temper, total: 0, promise: 0 }];
  }

  /** The items of the best plan. */
  get items(): readonly number[] {
    return (this.#best as Plan).items;
  }

  /** One step deeper: `items` are the histories of the beam's plans, `[beam, L]`, `rewards` what each item would give, `[beam, A]`. */
  deepen({ items, rewards }: { readonly items: Int32Array; readonly rewards: Float32Array }): void {
    const env = this.#env;
    const { rule, codes } = env.rules;
    const { width, branching } = this.#options;
    const A = env.catalog.size;
    const L = env.historyCapacity;
    const marks = this.#marks;
    const step = this.#step++;
    const left = env.maxEpisodeSteps - step - 1;
    const lookback = temperLookback(rule, step);
    const next: Plan[] = [];
    for (const [n, plan] of this.beam.entries()) {
      const end = n * L + this.known.length + plan.items.length;
      marks.fill(0);
      if (env.noRepeat) for (let i = n * L; i < end; i++) marks[items[i] as number] = 1;
      this.#price ??= highest(rewards.subarray(0, A), marks);
      const price = this.#price;
      const children = new Best(branching);
      // No item can promise more than this and its reward: most are passed over without a look at the rule.
      const ceiling =
        plan.total + price * itemsLeft(rule, plan.temper - Math.min(rule.likedDrop, rule.otherDrop), left);
      for (let item = 0; item < A; item++) {
        if (marks[item] === 1) continue;
        const reward = rewards[n * A + item] as number;
        if (ceiling + reward <= children.worst) continue;
        const drop = temperDrop(rule, reward, sameCategory(codes, item, items, end, lookback));
        children.offer(plan.total + reward + price * itemsLeft(rule, plan.temper - drop, left), item);
      }
      for (const [promise, item] of children.entries()) {
        const reward = rewards[n * A + item] as number;
        const drop = temperDrop(rule, reward, sameCategory(codes, item, items, end, lookback));
        const child = { items: [...plan.items, item], temper: plan.temper - drop, total: plan.total + reward, promise };
        const over = child.temper < rule.leaveBelow || left === 0;
        if (!over) next.push(child);
        else if (this.#best === undefined || child.total > this.#best.total) this.#best = child;
      }
    }
    this.beam = next.sort((x, y) => y.promise - x.promise).slice(0, width);
  }
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
