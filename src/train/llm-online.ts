import { z } from 'zod';
import type { ActorCritic } from '../agent/actor-critic.js';
import type { HistoryBatch } from '../compute/history-batch.js';
import type { Mask } from '../compute/mask.js';
import type { BatchEnv } from '../env/batch-env.js';
import { InvalidArgumentError } from '../foundation/errors.js';
import { checkOptions } from '../foundation/options.js';
import type { Rng } from '../foundation/rng.js';
import { type PreferenceOracle, type PreferenceQuery, preferInBatches } from '../oracle/preference-oracle.js';
import { RecordingOracle } from '../oracle/recording-oracle.js';
import { type AdaptOptions, type AdaptResult, adaptSchema, learnOnline } from './adapt.js';
import { AnswerJudge } from './answer-judge.js';
import { type CandidateDraw, drawCandidates } from './draw-candidates.js';
import type { Chooser, Chosen } from './environment-source.js';
import type { TrainingEmitter } from './training-events.js';
import { instance } from './training-options.js';

/** Options of {@link llmOnline}: those of `adapt` that concern a single learner, and the oracle. */
export interface LlmOnlineOptions
  extends Omit<AdaptOptions, 'scheme' | 'alpha' | 'learnerInit' | 'exploration' | 'afterEpoch'> {
  /** Who chooses among the policy's candidates, at every step of every user; borrowed. */
  readonly oracle: PreferenceOracle;
  /** Candidates of a question, k, from 2; the `label` read-out takes 25. @default 10 */
  readonly candidateCount?: number;
  /** Whether the policy's candidates are sampled without replacement or its top ones. @default 'sample' */
  readonly candidateDraw?: 'sample' | 'topK';
  /** What the oracle is told of a user beside the history, from the user's context. @default nothing */
  readonly describeUser?: (context: readonly number[]) => string | undefined;
  /** Share of unusable answers among the last 200 that ends the run. @default 0.05 */
  readonly maxInvalidRate?: number;
  /** Asks questions again whose answer on record could not be read. @default false */
  readonly retryInvalid?: boolean;
  /** Awaited after every epoch, with the policy as it stands; may evaluate it. */
  readonly afterEpoch?: (epoch: {
    readonly epoch: number;
    readonly steps: number;
    readonly updates: number;
    readonly policy: ActorCritic;
  }) => unknown;
}

/** What {@link llmOnline} amounted to. */
export interface LlmOnlineResult extends AdaptResult {
  /** The policy that learned, without the LLM; the caller owns it. */
  readonly policy: ActorCritic;
  /** Steps whose item the oracle chose. */
  readonly chosen: number;
  /** Steps whose item was a random one of the k, because the answer was None. */
  readonly nones: number;
  /** Steps whose item was a random one of the k, because the answer could not be used. */
  readonly unusable: number;
  /** Seconds of this call spent waiting for the oracle. */
  readonly oracleSeconds: number;
}

const schema = adaptSchema.omit({ scheme: true, alpha: true, learnerInit: true, exploration: true }).extend({
  oracle: instance<PreferenceOracle>(
    (value) => typeof value.prefer === 'function' && typeof value.id === 'string',
    'a PreferenceOracle: an object with `id` and `prefer`',
  ),
  candidateCount: z.int().min(2).default(10),
  candidateDraw: z.enum(['sample', 'topK']).default('sample'),
  describeUser: z
    .custom<LlmOnlineOptions['describeUser']>((value) => typeof value === 'function', 'expected a function')
    .optional(),
  maxInvalidRate: z.number().min(0).max(1).default(0.05),
  retryInvalid: z.boolean().default(false),
  afterEpoch: z
    .custom<LlmOnlineOptions['afterEpoch']>((value) => typeof value === 'function', 'expected a function')
    .optional(),
});

/**
 * LLMOnline, the baseline of section 6.3: at every step the policy proposes k candidates, the LLM chooses one, the environment
 * rewards it and the policy learns. On None, and where an answer cannot be used, a random one of the k is shown (paper.md 9).
 * The same loop as `adapt`; only who acts differs.
 *
 * The LLM's choice has no behaviour probability that anybody knows; the policy's own log π(a|s) stands in its place.
 *
 * @returns as `adapt`, with counts of the answers and the time spent on them; the policy alone needs no LLM.
 * @throws {InvalidArgumentError} for options out of range, or more candidates than the catalogue has room for.
 * @throws {OracleError} when all questions of a step failed, or too many answers cannot be used; after writing a checkpoint.
 * @throws {DivergedError} when losses stop being finite.
 * @throws {CheckpointError} when the storage holds a checkpoint of another run.
 */
export async function llmOnline(options: LlmOnlineOptions): Promise<LlmOnlineResult> {
  const checked = checkOptions(schema, options, 'llmOnline');
  const { oracle, candidateCount, candidateDraw, describeUser, maxInvalidRate, retryInvalid, ...online } = checked;
  const { agent, storage, events, signal } = online;
  const asked = storage
    ? await RecordingOracle.open({ oracle, catalog: agent.catalog, storage, retryInvalid })
    : oracle;
  let chooser: LlmChooser | undefined;
  const { afterEpoch, ...rest } = online;
  const result = await learnOnline(
    {
      ...rest,
      scheme: 'fineTune',
      learnerInit: 'copy',
      ...(afterEpoch ? { afterEpoch: (epoch) => afterEpoch({ ...epoch, policy: epoch.policy as ActorCritic }) } : {}),
    },
    {
      phase: 'llmOnline',
      identity: { oracle: oracle.id, candidateCount, candidateDraw },
      chooser: (learner, env) => {
        checkRoom(env, candidateCount);
        chooser = new LlmChooser({
          ...{ agent: learner, oracle: asked, describeUser, events, signal, maxInvalidRate },
          draw: { count: candidateCount, fromActor: candidateCount, actor: candidateDraw },
        });
        return chooser;
      },
    },
  );
  const { chosen = 0, nones = 0, unusable = 0, oracleSeconds = 0 } = chooser?.counts ?? {};
  return { ...result, policy: result.learner, chosen, nones, unusable, oracleSeconds };
}

function checkRoom(env: BatchEnv, candidateCount: number): void {
  const room = env.catalog.size - (env.noRepeat ? env.historyCapacity : 0);
  if (candidateCount <= room) return;
  throw new InvalidArgumentError(
    `llmOnline: expected \`candidateCount\` to be at most ${room}, the items that a user of ${env.name} has not seen at the end of a visit, got ${candidateCount}`,
    { argument: 'candidateCount', wanted: `at most ${room}`, got: candidateCount },
  );
}

/** Lets an oracle choose among the policy's candidates. */
class LlmChooser implements Chooser {
  readonly counts = { chosen: 0, nones: 0, unusable: 0, oracleSeconds: 0 };
  readonly #agent: ActorCritic;
  readonly #oracle: PreferenceOracle;
  readonly #draw: CandidateDraw;
  readonly #describeUser: LlmOnlineOptions['describeUser'];
  readonly #signal: AbortSignal | undefined;
  readonly #judge: AnswerJudge;

  constructor(options: {
    readonly agent: ActorCritic;
    readonly oracle: PreferenceOracle;
    readonly draw: CandidateDraw;
    readonly describeUser: LlmOnlineOptions['describeUser'];
    readonly events: TrainingEmitter | undefined;
    readonly signal: AbortSignal | undefined;
    readonly maxInvalidRate: number;
  }) {
    this.#agent = options.agent;
    this.#oracle = options.oracle;
    this.#draw = options.draw;
    this.#describeUser = options.describeUser;
    this.#signal = options.signal;
    this.#judge = new AnswerJudge({ ...options, oracleId: options.oracle.id, phase: 'llmOnline' });
  }

  async choose(histories: HistoryBatch, mask: Mask, rng: Rng, steps: number): Promise<Chosen> {
    const { size, length, items, lengths, context, contextWidth } = histories;
    const { count: K } = this.#draw;
    const candidates = drawCandidates(this.#agent, histories, this.#draw, mask, rng);
    // One draw a lane whether it is needed or not, so that an answer changes no other lane's draws.
    const otherwise = Int32Array.from({ length: size }, () => rng.integer(K));
    const queries = Array.from({ length: size }, (_, b): PreferenceQuery => {
      const of = context ? Array.from(context.subarray(b * contextWidth, (b + 1) * contextWidth)) : [];
      const text = this.#describeUser?.(of);
      return {
        history: [...items.subarray(b * length, b * length + (lengths[b] as number))],
        candidates: [...candidates.subarray(b * K, (b + 1) * K)],
        ...(text === undefined ? {} : { context: text }),
      };
    });
    const began = performance.now();
    const answers = await preferInBatches(this.#oracle, queries, this.#signal ? { signal: this.#signal } : {});
    this.counts.oracleSeconds += (performance.now() - began) / 1000;
    this.#judge.judge(queries, answers, steps);
    const actions = Int32Array.from(answers, (answer, b) => {
      if (answer.kind === 'choice') {
        this.counts.chosen++;
        return answer.choice;
      }
      if (answer.kind === 'none') this.counts.nones++;
      else this.counts.unusable++;
      return candidates[b * K + (otherwise[b] as number)] as number;
    });
    return { actions, logProb: this.#agent.logProbOf(histories, actions, { mask }), oracleCalls: size };
  }
}
