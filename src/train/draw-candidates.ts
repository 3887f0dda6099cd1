import type { ActorCritic } from '../agent/actor-critic.js';
import type { HistoryBatch } from '../compute/history-batch.js';
import type { Mask } from '../compute/mask.js';
import type { Rng } from '../foundation/rng.js';

/** How the k candidates of a question are drawn. */
export interface CandidateDraw {
  /** k, >= 2. */
  readonly count: number;
  /** How many of the k the actor draws, 0 to k; the rest is uniform. */
  readonly fromActor: number;
  /** Whether the actor's are sampled without replacement, or its top ones. */
  readonly actor: 'sample' | 'topK';
}

/**
 * Algorithm 1, line 9: k distinct candidates for each history, in random order, none that the mask forbids.
 *
 * @param agent - the actor; borrowed.
 * @param mask - `noRepeat` keeps the items of a history out.
 * @returns item indices `[B, k]`, row-major.
 */
export function drawCandidates(
  agent: ActorCritic,
  histories: HistoryBatch,
  { count: K, fromActor, actor }: CandidateDraw,
  mask: Mask,
  rng: Rng,
): Int32Array {
  const { size: lanes, items, lengths, length } = histories;
  const drawn: number[][] = Array.from({ length: lanes }, () => []);
  if (fromActor > 0 && actor === 'topK') {
    const top = agent.kernels.topK(histories, fromActor, { mask });
    for (const [b, list] of drawn.entries()) list.push(...top.items.subarray(b * fromActor, (b + 1) * fromActor));
  }
  for (let j = 0; j < fromActor && actor === 'sample'; j++) {
    const { actions } = agent.kernels.sample(histories, rng.uniforms(lanes), { mask: { ...mask, excludeRows: drawn } });
    for (const [b, list] of drawn.entries()) list.push(actions[b] as number);
  }
  const out = new Int32Array(lanes * K);
  for (const [b, list] of drawn.entries()) {
    const start = b * length;
    const history = mask.noRepeat ? items.subarray(start, start + (lengths[b] as number)) : [];
    const barred = new Set([...list, ...history]);
    while (list.length < K) {
      const item = rng.integer(agent.catalog.size);
      if (barred.has(item)) continue;
      barred.add(item);
      list.push(item);
    }
    out.set(rng.shuffle(list) as number[], b * K);
  }
  return out;
}
