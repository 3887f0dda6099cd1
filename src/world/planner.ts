import type { EpisodeRules, LaneEnv } from '../env/lane-env.js';

/**
 * Chooses an item for each lane of the environment it was made for. Unlike a `Policy` it may look at the world's truth: planners
 * say what is possible in a world, and what is trivial.
 */
export interface Planner {
  /**
   * One action a lane.
   * @param uniforms - `[B]`, each in [0, 1): all the randomness there is.
   * @returns `[B]`, -1 in lanes that have ended; reused by the next call.
   */
  act(uniforms: Float64Array): Int32Array;
}

/** A planner that decides lane by lane. */
export function lanePlanner(env: LaneEnv<EpisodeRules>, choose: (lane: number, uniform: number) => number): Planner {
  const actions = new Int32Array(env.size);
  return {
    act(uniforms) {
      for (let lane = 0; lane < env.size; lane++)
        actions[lane] = env.ended[lane] === 1 ? -1 : choose(lane, uniforms[lane] as number);
      return actions;
    },
  };
}

/** Writes 1 in `marks` for every item of a lane's history, the start items included, 0 elsewhere; returns how many are marked. */
export function markShown(env: LaneEnv<EpisodeRules>, lane: number, marks: Uint8Array): number {
  const { items, lengths, length } = env.histories();
  marks.fill(0);
  let count = 0;
  for (let i = 0; i < (lengths[lane] as number); i++) {
    const item = items[lane * length + i] as number;
    if (marks[item] === 0) count++;
    marks[item] = 1;
  }
  return count;
}

/** Uniform over the items, or over those not yet in the history. */
export function randomPlanner(env: LaneEnv<EpisodeRules>, options: { readonly noRepeat: boolean }): Planner {
  const itemCount = env.catalog.size;
  if (!options.noRepeat) return lanePlanner(env, (_lane, uniform) => Math.floor(uniform * itemCount));
  const marks = new Uint8Array(itemCount);
  return lanePlanner(env, (lane, uniform) => {
    const free = itemCount - markShown(env, lane, marks);
    return nthUnmarked(marks, Math.floor(uniform * free));
  });
}

/** The n-th item (from 0) that is not marked; -1 when there are fewer. */
export function nthUnmarked(marks: Uint8Array, n: number): number {
  let left = n;
  for (let item = 0; item < marks.length; item++) if (marks[item] === 0 && left-- === 0) return item;
  return -1;
}

/** The first item of a ranking that is not in the history. */
export function listPlanner(env: LaneEnv<EpisodeRules>, ranking: Int32Array): Planner {
  const marks = new Uint8Array(env.catalog.size);
  return lanePlanner(env, (lane) => {
    markShown(env, lane, marks);
    return ranking.find((item) => marks[item] === 0) ?? -1;
  });
}

/** Draws in proportion to weights >= 0 among the items not in the history; uniformly where all of those weigh 0. */
export function weightedPlanner(env: LaneEnv<EpisodeRules>, weights: Float32Array): Planner {
  const marks = new Uint8Array(env.catalog.size);
  return lanePlanner(env, (lane, uniform) => {
    const shown = markShown(env, lane, marks);
    let total = 0;
    for (let item = 0; item < weights.length; item++) if (marks[item] === 0) total += weights[item] as number;
    if (!(total > 0)) return nthUnmarked(marks, Math.floor(uniform * (weights.length - shown)));
    let left = uniform * total;
    let last = -1;
    for (let item = 0; item < weights.length; item++) {
      const weight = weights[item] as number;
      if (marks[item] === 1 || !(weight > 0)) continue;
      last = item;
      left -= weight;
      if (left < 0) break;
    }
    return last;
  });
}

/** Plays a list over and over, in step with the episode; where the environment never repeats, shown items are passed over. */
export function cyclePlanner(env: LaneEnv<EpisodeRules>, list: Int32Array): Planner {
  if (env.noRepeat) return listPlanner(env, list);
  return lanePlanner(env, (lane) => list[(env.steps[lane] as number) % list.length] as number);
}

/** Item indices by descending score, equal scores by index. */
export function ranking(scores: ArrayLike<number>): Int32Array {
  return Int32Array.from({ length: scores.length }, (_, item) => item).sort(
    (i, j) => (scores[j] as number) - (scores[i] as number) || i - j,
  );
}
