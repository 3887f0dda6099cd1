import type { ActorCritic } from '../agent/actor-critic.js';
import type { TransitionColumns } from '../agent/transitions.js';
import { type HistoryBatch, selectRows } from '../compute/history-batch.js';

/** What answers that were not learned from say of a policy. */
export interface ChoiceFit {
  /** Answers that named a candidate: those that count here. */
  readonly answers: number;
  /** Temperature of the policy's logits under which those choices among the shown candidates are likeliest, 1/64 to 64. */
  readonly temperature: number;
  /** How much likelier they are then than under a blind guess: mean of log p(choice | candidates) + log k, nats, >= 0. */
  readonly gain: number;
  /** What the gain is worth in standard errors: sqrt(2 x answers x gain), the signed root of the likelihood ratio of one fitted number. */
  readonly standardErrors: number;
  /** By how much a choice among the candidates falls short of the best of them at that temperature, mean, in logits, >= 0. */
  readonly shortfall: number;
}

const LOWEST = 1 / 64;
const HIGHEST = 64;
/** Golden section and bisection steps: far finer than the answers can tell. */
const SECTIONS = 30;
const HALVINGS = 20;
/** Scores over all items that one look at the shortfall may take. */
const MOST_SCORES = 2 ** 21;
const GOLDEN = (Math.sqrt(5) - 1) / 2;

/**
 * Fits the one temperature at which a policy's logits best explain which of the shown candidates were chosen. Answers None do not count:
 * that logit is of no use where the policy serves.
 *
 * @param agent - the policy; borrowed.
 * @param batches - the answers, with candidates.
 */
export function fitChoices(agent: ActorCritic, batches: readonly TransitionColumns[]): ChoiceFit {
  const lists: { readonly scores: Float32Array; readonly choice: number }[] = [];
  for (const { histories, candidates, candidateCount: K, choices } of batches) {
    // Shorter lists end with -1: any item stands there, and its score is not read.
    const items = candidates.map((item) => Math.max(0, item));
    const { scores } = agent.kernels.forward(histories, { scoresOf: { head: 'actor', items, width: K } });
    for (const [b, choice] of choices.entries()) {
      if (choice < 0 || choice >= K) continue;
      const unused = candidates.subarray(b * K, (b + 1) * K).indexOf(-1);
      lists.push({ scores: scores.slice(b * K, b * K + (unused < 0 ? K : unused)), choice });
    }
  }
  const answers = lists.length;
  if (answers === 0) return { answers, temperature: 1, gain: 0, standardErrors: 0, shortfall: 0 };
  const gainAt = (temperature: number): number => {
    let sum = 0;
    for (const { scores, choice } of lists) {
      const { logTotal } = softmaxOf(scores, temperature);
      sum += (scores[choice] as number) / temperature - logTotal + Math.log(scores.length);
    }
    return sum / answers;
  };
  const temperature = maximise(gainAt, LOWEST, HIGHEST);
  // A blind guess is what every temperature tends to.
  const gain = Math.max(0, gainAt(temperature));
  const shortfalls = lists.map(({ scores }) => softmaxOf(scores, temperature).shortfall);
  const shortfall = shortfalls.reduce((sum, value) => sum + value, 0) / answers;
  return { answers, temperature, gain, standardErrors: Math.sqrt(2 * answers * gain), shortfall };
}

/**
 * The temperature to serve at: the one at which what the policy draws from all items falls as little short of the best as the oracle's choices
 * did among the k shown. At the temperature of {@link fitChoices} itself a choice among k items is as noisy as the oracle's, but among
 * thousands most of the probability goes to the many that are each a little worse, and sampling returns far less than it could. Items
 * that are equally good stay equally likely.
 *
 * @param agent - the policy; borrowed.
 * @param fit - of answers it did not learn from.
 * @param batches - those answers: their histories are the users.
 * @returns `fit.temperature` at most, and a 64th of it at least.
 */
export function servingTemperature(agent: ActorCritic, fit: ChoiceFit, batches: readonly TransitionColumns[]): number {
  if (fit.answers === 0) return 1;
  const users: HistoryBatch[] = [];
  let room = Math.max(1, Math.floor(MOST_SCORES / agent.catalog.size));
  for (const { histories, size } of batches) {
    if (room <= 0) break;
    users.push(
      size <= room
        ? histories
        : selectRows(
            histories,
            Array.from({ length: room }, (_, row) => row),
          ),
    );
    room -= size;
  }
  const mask = { noRepeat: true };
  const shortfallAt = (temperature: number): number => {
    let sum = 0;
    let rows = 0;
    for (const histories of users) {
      const { entropy } = agent.kernels.forward(histories, { entropy: true }, { mask, temperature });
      const { logProb } = agent.kernels.topK(histories, 1, { mask, temperature });
      // log p of the best = best / T - log Z, and entropy = log Z - mean / T.
      for (const [row, value] of entropy.entries()) sum += temperature * (value + (logProb[row] as number));
      rows += histories.size;
    }
    return sum / rows;
  };
  // In the logarithm: the shortfall grows with the temperature.
  let low = Math.log(fit.temperature * LOWEST);
  let high = Math.log(fit.temperature);
  for (let i = 0; i < HALVINGS; i++) {
    const middle = (low + high) / 2;
    if (shortfallAt(Math.exp(middle)) < fit.shortfall) low = middle;
    else high = middle;
  }
  return Math.exp(high);
}

function softmaxOf(scores: Float32Array, temperature: number): { logTotal: number; shortfall: number } {
  let highest = Number.NEGATIVE_INFINITY;
  for (const score of scores) highest = Math.max(highest, score / temperature);
  let total = 0;
  let weighted = 0;
  for (const score of scores) {
    const share = Math.exp(score / temperature - highest);
    total += share;
    weighted += share * (score / temperature);
  }
  const logTotal = highest + Math.log(total);
  return { logTotal, shortfall: temperature * Math.max(0, highest - weighted / total) };
}

/** Where a function with one peak is highest, by golden section in the logarithm. */
function maximise(of: (x: number) => number, lowest: number, highest: number): number {
  let low = Math.log(lowest);
  let high = Math.log(highest);
  let left = high - GOLDEN * (high - low);
  let right = low + GOLDEN * (high - low);
  let [atLeft, atRight] = [of(Math.exp(left)), of(Math.exp(right))];
  for (let i = 0; i < SECTIONS; i++) {
    if (atLeft >= atRight) {
      high = right;
      [right, atRight] = [left, atLeft];
      left = high - GOLDEN * (high - low);
      atLeft = of(Math.exp(left));
    } else {
      low = left;
      [left, atLeft] = [right, atRight];
      right = low + GOLDEN * (high - low);
      atRight = of(Math.exp(right));
    }
  }
  return Math.exp((low + high) / 2);
}
