/** A handful of transitions and a very small agent: enough to compare one update with arithmetic on paper. */
import { ActorCritic } from '../../../src/agent/actor-critic.js';
import type { ActorCriticOptions } from '../../../src/agent/agent-model.js';
import type { UpdateContext } from '../../../src/agent/algorithm.js';
import { ReplayBuffer } from '../../../src/agent/replay-buffer.js';
import { historyBatch } from '../../../src/compute/history-batch.js';
import { mean } from '../../../src/encoder/mean-encoder.js';
import { Rng } from '../../../src/foundation/rng.js';
import { tinyCatalog } from '../../../src/testing/tiny-envs.js';

/** Items. */
export const A = 5;
const catalog = tinyCatalog(A);

/** An agent with every weight drawn at random. */
export function tinyAgent(options: Partial<ActorCriticOptions> = {}): ActorCritic {
  const agent = new ActorCritic({
    catalog,
    encoder: mean({ width: 2, historyLength: 3 }),
    items: 'id',
    historyFeatures: { repeats: 1, text: false },
    valueHidden: 0,
    seed: 2,
    ...options,
  });
  const rng = new Rng('tiny');
  for (const { name, data } of agent.store.parameters()) {
    const noise = rng.fork(name);
    for (let i = 0; i < data.length; i++) data[i] = (data[i] as number) + 0.4 * noise.normal();
  }
  agent.store.touch();
  return agent;
}

/** How {@link tinyBuffer} ends an episode. */
export interface Ending {
  /** Eq. 14's alpha at act time; 1 without a mixture. */
  readonly alpha?: number;
  /** Exchanges the flags: the bug that every algorithm must show. */
  readonly swapped?: boolean;
}

/** Two users of four steps: the first leaves after two and another comes; the second is cut off after three. */
export function tinyBuffer({ alpha = 1, swapped = false }: Ending = {}): ReplayBuffer {
  const buffer = new ReplayBuffer({ lanes: 2, stepsPerLane: 4 });
  const steps = [
    { histories: [[0], [2, 3]], actions: [1, 4], rewards: [1, 0.5], terminated: [0, 0], truncated: [0, 0] },
    {
      histories: [
        [0, 1],
        [2, 3, 4],
      ],
      actions: [2, 0],
      rewards: [-0.5, 2],
      terminated: [1, 0],
      truncated: [0, 0],
    },
    { histories: [[3], [2, 3, 4, 0]], actions: [4, 1], rewards: [0.3, 1.2], terminated: [0, 0], truncated: [0, 1] },
    { histories: [[3, 4], [1]], actions: [0, 3], rewards: [2, 0], terminated: [0, 0], truncated: [0, 0] },
  ];
  for (const [t, { histories, actions, rewards, terminated, truncated }] of steps.entries()) {
    buffer.add({
      histories: historyBatch(histories),
      actions: Int32Array.from(actions),
      rewards: Float32Array.from(rewards),
      terminated: Uint8Array.from(swapped ? truncated : terminated),
      truncated: Uint8Array.from(swapped ? terminated : truncated),
      logProb: Float32Array.of(Math.log(0.21 + 0.02 * t), Math.log(0.17 + 0.03 * t)),
      pretrainedLogProb: Float32Array.of(Math.log(0.3 - 0.05 * t), Math.log(0.1 + 0.04 * t)),
      alpha,
    });
  }
  return buffer;
}

/** The context of one update on a buffer. */
export function contextOf(
  learner: ActorCritic,
  buffer: ReplayBuffer,
  rng: Rng,
  change: Partial<UpdateContext> = {},
): UpdateContext {
  return {
    learner,
    buffer,
    mask: {},
    rng,
    progress: 0,
    steps: 8,
    totalSteps: 1000,
    newSteps: 8,
    attempted: 0,
    ...change,
  };
}
