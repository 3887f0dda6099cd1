/** The gradient that one update should have had: central differences of a loss written out in plain loops. */
import type { ActorCritic } from '../../../src/agent/actor-critic.js';
import type { Algorithm } from '../../../src/agent/algorithm.js';
import type { HistoryBatch } from '../../../src/compute/history-batch.js';
import type { Mask } from '../../../src/compute/mask.js';

/** What losses are made of, read off the agent as it stands. */
export interface Readings {
  /** pi(a|s), `[B][A]`. */
  readonly policy: number[][];
  /** V(s), `[B]`; empty without a state critic. */
  readonly values: number[];
}

/** Full rows and values of some histories. */
export function read(agent: ActorCritic, batch: HistoryBatch, mask: Mask = {}): Readings {
  const rows = agent.probabilities(batch, { mask });
  const A = rows.length / batch.size;
  return {
    policy: Array.from({ length: batch.size }, (_, b) => [...rows.subarray(b * A, (b + 1) * A)]),
    values: agent.settings.critic === 'state' ? [...agent.forward(batch, { value: true }).value] : [],
  };
}

/** Entropy in nats of one distribution. */
export function entropyOf(row: readonly number[]): number {
  return row.reduce((sum, p) => sum - (p > 0 ? p * Math.log(p) : 0), 0);
}

/** d loss / d every parameter, by name; the agent is as before afterwards. */
export function plainGradient(agent: ActorCritic, loss: () => number): Map<string, number[]> {
  const gradient = new Map<string, number[]>();
  // Float32 weights and scores: a step that is not small keeps rounding out, and the losses are smooth.
  const h = 0.02;
  for (const { name, data } of agent.store.parameters()) {
    const slopes = Array.from(data, (value, i) => {
      const at = (x: number): number => {
        data[i] = x;
        agent.store.touch();
        return loss();
      };
      const slope = (8 * (at(value + h) - at(value - h)) - (at(value + 2 * h) - at(value - 2 * h))) / (12 * h);
      data[i] = value;
      agent.store.touch();
      return slope;
    });
    gradient.set(name, slopes);
  }
  return gradient;
}

/** The gradient that Adam saw in its first step, from its first moment: m = (1 - 0.9) g. Zero where it has none. */
export function seenGradient(algorithm: Algorithm, agent: ActorCritic): Map<string, number[]> {
  const state = algorithm.optimiser.state();
  return new Map(
    agent.store.names.map((name) => {
      const moment = state[`adam/first/${name}`]?.data;
      return [name, Array.from(agent.store.get(name).data, (_, i) => (moment ? (moment[i] as number) * 10 : 0))];
    }),
  );
}

/** || a - b || / || b || over all parameters. */
export function relativeError(a: Map<string, number[]>, b: Map<string, number[]>): number {
  let error = 0;
  let size = 0;
  for (const [name, wanted] of b) {
    for (const [i, value] of wanted.entries()) {
      error += ((a.get(name)?.[i] as number) - value) ** 2;
      size += value ** 2;
    }
  }
  return Math.sqrt(error / size);
}
