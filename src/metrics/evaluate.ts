import { z } from 'zod';
import type { ActOptions, Decision, Policy } from '../agent/policy.js';
import { ensureBackend } from '../compute/backend.js';
import { type HistoryBatch, selectRows } from '../compute/history-batch.js';
import { type BatchEnv, isBatchEnv } from '../env/batch-env.js';
import { type Env, liftEnv } from '../env/env.js';
import { argumentError } from '../foundation/arguments.js';
import { InvalidArgumentError } from '../foundation/errors.js';
import { checkOptions } from '../foundation/options.js';
import { Rng } from '../foundation/rng.js';
import { Turns } from '../foundation/turns.js';
import { confidenceInterval, mean } from './statistics.js';

/** How a policy acts while it is evaluated: it draws from its distribution, or takes the most probable item. */
export type EvaluationMode = 'sampled' | 'argmax';

/** Options of {@link evaluate}. */
export interface EvaluateOptions {
  /** The policies, by the name their rows carry; borrowed. A policy that learns while it serves (`observe`) is shown nothing here. */
  readonly policies: Readonly<Record<string, Policy>>;
  /** Where they act; borrowed, and reset. */
  readonly env: BatchEnv | Env;
  /** Episodes for each seed, >= 1. @default 200 */
  readonly episodes?: number;
  /** How many seeds, or which. Seed i draws both the episodes and the actions, the same episodes for every policy. @default 1 */
  readonly seeds?: number | readonly number[];
  /** Modes to print a row for. @default ['sampled', 'argmax'] */
  readonly modes?: readonly EvaluationMode[];
  /** Divides the logits before the softmax, > 0. @default 1 */
  readonly temperature?: number;
  /** Stops between steps; the call rejects with the signal's reason. */
  readonly signal?: AbortSignal;
}

/** One policy in one mode, over all its episodes. */
export interface EvaluationRow {
  /** Key of the policy in `policies`. */
  readonly policy: string;
  /** How it acted. */
  readonly mode: EvaluationMode;
  /** Return R: undiscounted sum of rewards an episode, mean over episodes. */
  readonly return: number;
  /** Lower end of R's 95 % interval: Student's t over the seeds' means, or over episodes where there is one seed. */
  readonly returnLow: number;
  /** Upper end of R's 95 % interval. */
  readonly returnHigh: number;
  /** Length: steps an episode, the leaving step included. */
  readonly length: number;
  /** Lower end of the length's 95 % interval. */
  readonly lengthLow: number;
  /** Upper end of the length's 95 % interval. */
  readonly lengthHigh: number;
  /** Mean R / mean Len (never the mean of ratios). */
  readonly averageReward: number;
  /** Share of the catalogue recommended at least once, 0 to 1. */
  readonly coverage: number;
  /** Episodes played, all seeds together. */
  readonly episodes: number;
  /** Mean R of each seed. */
  readonly perSeed: readonly number[];
}

/** The action of a lane whose episode has ended; see {@link BatchEnv.step}. */
const IDLE = -1;

const schema = z.strictObject({
  policies: z.record(
    z.string(),
    z.custom<Policy>((value) => typeof (value as Policy | undefined)?.act === 'function', 'expected a Policy'),
  ),
  env: z.custom<BatchEnv | Env>(
    (value) => typeof (value as BatchEnv | undefined)?.step === 'function',
    'expected an Env or BatchEnv',
  ),
  episodes: z.int().min(1).max(10_000_000).default(200),
  seeds: z.union([z.int().min(1).max(100_000), z.array(z.int()).min(1)]).default(1),
  modes: z
    .array(z.enum(['sampled', 'argmax']))
    .min(1)
    .default(['sampled', 'argmax']),
  temperature: z.number().positive().default(1),
  signal: z.custom<AbortSignal>((value) => value instanceof AbortSignal, 'expected an AbortSignal').optional(),
});

/**
 * Plays whole episodes and reports Return, Length and average reward (paper section 5.3) with 95 % intervals. Every lane
 * plays the same number of episodes to their end, so that short episodes are not over-represented.
 *
 * @returns one row for each policy and mode, in the order given.
 * @throws {InvalidArgumentError} for options out of range or an empty set of policies.
 */
export async function evaluate(options: EvaluateOptions): Promise<EvaluationRow[]> {
  const {
    policies,
    env: given,
    episodes,
    seeds,
    modes,
    temperature,
    signal,
  } = checkOptions(schema, options, 'evaluate');
  const names = Object.keys(policies);
  if (names.length === 0)
    throw new InvalidArgumentError('evaluate: expected at least one policy in `policies`, got none');
  await ensureBackend();
  const env = isBatchEnv(given) ? given : liftEnv(given);
  const seedList = typeof seeds === 'number' ? Array.from({ length: seeds }, (_, i) => i + 1) : seeds;
  const rows: EvaluationRow[] = [];
  for (const name of names) {
    for (const mode of modes) {
      const returns: number[][] = [];
      const lengths: number[][] = [];
      const shown = new Uint8Array(env.catalog.size);
      for (const seed of seedList) {
        const played = await playEpisodes(env, policies[name] as Policy, {
          episodes,
          seed,
          mode,
          temperature,
          shown,
          signal,
        });
        returns.push(played.returns);
        lengths.push(played.lengths);
      }
      rows.push(summarise(name, mode, returns, lengths, shown));
    }
  }
  return rows;
}

function summarise(
  policy: string,
  mode: EvaluationMode,
  returns: number[][],
  lengths: number[][],
  shown: Uint8Array,
): EvaluationRow {
  const spread = (values: number[][]) =>
    confidenceInterval(values.length > 1 ? values.map(mean) : (values[0] as number[]));
  const total = spread(returns);
  const steps = spread(lengths);
  return {
    policy,
    mode,
    return: total.mean,
    returnLow: total.low,
    returnHigh: total.high,
    length: steps.mean,
    lengthLow: steps.low,
    lengthHigh: steps.high,
    averageReward: total.mean / steps.mean,
    coverage: shown.reduce((count, flag) => count + flag, 0) / shown.length,
    episodes: returns.reduce((count, list) => count + list.length, 0),
    perSeed: returns.map(mean),
  };
}

interface PlayOptions {
  readonly episodes: number;
  readonly seed: number;
  readonly mode: EvaluationMode;
  readonly temperature: number;
  readonly shown: Uint8Array;
  readonly signal: AbortSignal | undefined;
}

/** Rounds of one whole episode a lane; a lane that has ended waits for the others, its further steps are not counted. */
async function playEpisodes(env: BatchEnv, policy: Policy, options: PlayOptions) {
  const { episodes, seed, mode, temperature, shown, signal } = options;
  const lanes = env.size;
  const rng = new Rng(seed).fork('evaluate');
  const returns: number[] = [];
  const lengths: number[] = [];
  const total = new Float64Array(lanes);
  const steps = new Int32Array(lanes);
  const ended = new Uint8Array(lanes);
  const mask = env.noRepeat ? { noRepeat: true } : {};
  const turns = new Turns();
  for (let round = 0; returns.length < episodes; round++) {
    // A seed for each round, so that every policy meets the same episodes however early lanes ended in the round before.
    await env.reset({ seed: new Rng(seed).fork(round).nonZeroSeed() });
    total.fill(0);
    steps.fill(0);
    ended.fill(0);
    const counted = Math.min(lanes, episodes - returns.length);
    for (let left = counted; left > 0; ) {
      await turns.give();
      signal?.throwIfAborted();
      const asked: ActOptions = { mode, uniforms: rng.uniforms(lanes), mask, temperature };
      const actions = actInLiveLanes(policy, env.histories(), ended, asked);
      const { rewards, terminated, truncated } = await env.step(actions);
      for (let b = 0; b < lanes; b++) {
        if (ended[b]) continue;
        ended[b] = (terminated[b] as number) | (truncated[b] as number);
        if (b >= counted) continue;
        total[b] = (total[b] as number) + (rewards[b] as number);
        steps[b] = (steps[b] as number) + 1;
        shown[actions[b] as number] = 1;
        if (ended[b]) left--;
      }
    }
    for (let b = 0; b < counted; b++) {
      returns.push(total[b] as number);
      lengths.push(steps[b] as number);
    }
  }
  return { returns, lengths };
}

/** Asks for the lanes that have not ended: of the others a policy might be unable to say anything. The uniforms are by lane. */
function actInLiveLanes(policy: Policy, histories: HistoryBatch, ended: Uint8Array, options: ActOptions): Int32Array {
  if (!ended.includes(1)) return actionsOf(policy, histories, options);
  const live = [...ended.keys()].filter((lane) => ended[lane] === 0);
  const uniforms = Float64Array.from(live, (lane) => options.uniforms[lane] as number);
  const chosen = actionsOf(policy, selectRows(histories, live), { ...options, uniforms });
  const actions = new Int32Array(ended.length).fill(IDLE);
  for (const [i, lane] of live.entries()) actions[lane] = chosen[i] as number;
  return actions;
}

/** What a policy does; a policy of the user's own is trusted with nothing. */
function actionsOf(policy: Policy, histories: HistoryBatch, options: ActOptions): Int32Array {
  const actions: unknown = (policy.act(histories, options) as Decision | undefined | null)?.actions;
  if (actions instanceof Int32Array && actions.length === histories.size) return actions;
  const wanted = `an Int32Array of ${histories.size} items`;
  throw argumentError('evaluate', `what ${policy.name}.act gives as \`actions\``, wanted, actions);
}
