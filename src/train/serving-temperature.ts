import type { ActorCritic } from '../agent/actor-critic.js';
import type { TransitionColumns } from '../agent/transitions.js';
import { type HistoryBatch, selectRows } from '../compute/history-batch.js';

/** What answers that were not learned from say of a policy. */
export interface ChoiceFit {
  /** Answers that named a candidate: those that count here. */
  readonly answers: number;
  /** Temperature of the policy's logits under which those choices among the shown candidates are likeliest, {@link LOWEST} to {@link HIGHEST}. */
  readonly temperature: number;
  /** How much likelier they are then than under a blind guess: mean of log p(choice | candidates) + log k, nats, >= 0. */
  readonly gain: number;
  /** What the gain is worth in standard errors: sqrt(2 x answers x gain), the signed root of the likelihood ratio of one fitted number. */
  readonly standardErrors: number;
  /** Mean entropy of the choice among the candidates at that temperature, nats, 0 to log k. */
  readonly entropy: number;
}

const LOWEST = 1 / 64;
const HIGHEST = 64;
/** Golden section and bisection steps: far finer than the answers can tell. */
const SECTIONS = 30;
const HALVINGS = 20;
/** Scores over all items that one look at the entropy may take. */
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
    const { scores } = agent.kernels.forward(histories, {
      scoresOf: { head: 'actor', items: candidates, width: K },
    });
    for (const [b, choice] of choices.entries()) {
      if (choice >= 0 && choice < K) lists.push({ scores: scores.slice(b * K, (b + 1) * K), choice });
    }
  }
  const answers = lists.length;
  if (answers === 0) return { answers, temperature: 1, gain: 0, standardErrors: 0, entropy: 0 };
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
  const entropies = lists.map(({ scores }) => softmaxOf(scores, temperature).entropy);
  const entropy = entropies.reduce((sum, value) => sum + value, 0) / answers;
  return { answers, temperature, gain, standardErrors: Math.sqrt(2 * answers * gain), entropy };
}

/**
 * The temperature to serve at: the one at which the policy is as decided among all items as the oracle was among the k it was shown.
 * At the temperature of {@link fitChoices} itself a choice among k items is as noisy as the oracle's, but among thousands most of the
 * probability goes to the many that are each a little worse, and sampling returns far less than it could.
 *
 * @param agent - the policy; borrowed.
 * @param fit - of answers it did not learn from.
 * @param batches - those answers: their histories are the users.
 * @returns `fit.temperature` at most.
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
  const entropyAt = (temperature: number): number => {
    let sum = 0;
    let rows = 0;
    for (const histories of users) {
      const { entropy } = agent.kernels.forward(histories, { entropy: true }, { mask, temperature });
      for (const value of entropy) sum += value;
      rows += histories.size;
    }
    return sum / rows;
  };
  // In the logarithm: entropy grows with the temperature.
  let low = Math.log(fit.temperature * LOWEST);
  let high = Math.log(fit.temperature);
  for (let i = 0; i < HALVINGS; i++) {
    const middle = (low + high) / 2;
    if (entropyAt(Math.exp(middle)) < fit.entropy) low = middle;
    else high = middle;
  }
  return Math.exp(high);
}

function softmaxOf(scores: Float32Array, temperature: number): { logTotal: number; entropy: number } {
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
  return { logTotal, entropy: Math.max(0, logTotal - weighted / total) };
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
