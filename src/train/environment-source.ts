import type { ActorCritic } from '../agent/actor-critic.js';
import type { Exploration } from '../agent/exploration.js';
import { type MixtureDecision, MixturePolicy } from '../agent/mixture-policy.js';
import type { Decision } from '../agent/policy.js';
import type { HistoryBatch } from '../compute/history-batch.js';
import type { Mask } from '../compute/mask.js';
import type { BatchEnv } from '../env/batch-env.js';
import { CheckpointError } from '../foundation/errors.js';
import type { JsonValue } from '../foundation/json.js';
import { Rng } from '../foundation/rng.js';
import type { Schedule } from '../foundation/schedules.js';
import { EpisodeColumns } from './episode-columns.js';
import type { ExperienceSource, SourceStep, StepContext } from './training-loop.js';

/** Actions that somebody other than the policy chose, before the environment has seen them. */
export interface Chosen {
  /** `[B]`, item indices. */
  readonly actions: Int32Array;
  /** `[B]`, log of the probability that the buffer keeps as the behaviour's. */
  readonly logProb: Float32Array;
  /** Questions put to an oracle. */
  readonly oracleCalls: number;
}

/** Chooses in the policy's place (section 6.3: the LLM). When it rejects, nothing has happened. */
export interface Chooser {
  /** @param steps - steps taken before. */
  choose(histories: HistoryBatch, mask: Mask, rng: Rng, steps: number): Promise<Chosen>;
}

/** Experience of an acting policy in an environment: Algorithm 2, lines 5-13, for B users at once. */
export class EnvironmentSource implements ExperienceSource {
  readonly mask: Mask;
  readonly isSaved: boolean;
  readonly #env: BatchEnv;
  readonly #policy: ActorCritic | MixturePolicy;
  readonly #alpha: Schedule | undefined;
  readonly #exploration: Exploration | undefined;
  readonly #chooser: Chooser | undefined;
  readonly #seed: number;
  readonly #returns: Float64Array;
  readonly #lengths: Int32Array;
  /** 1 where an episode ended in the last step. */
  readonly #rows: Uint8Array;
  /** What every step gives; its episodes are overwritten by the next. */
  readonly #done: { -readonly [K in keyof SourceStep]: SourceStep[K] };
  /** What was acted on in the last step. */
  #histories: HistoryBatch | undefined;
  /** False from the moment an environment is asked to step until the step is over: an error in between leaves half a step. */
  #isWhole = true;

  /** @param options - the policy acts, in a mixture with alpha as the schedule says; all are borrowed. */
  constructor(options: {
    readonly env: BatchEnv;
    readonly policy: ActorCritic | MixturePolicy;
    readonly alpha?: Schedule | undefined;
    readonly exploration?: Exploration | undefined;
    /** Chooses in the policy's place. */
    readonly chooser?: Chooser | undefined;
    readonly seed: number;
  }) {
    this.#env = options.env;
    this.#policy = options.policy;
    this.#alpha = options.alpha;
    this.#exploration = options.exploration;
    this.#chooser = options.chooser;
    this.#seed = options.seed;
    this.#returns = new Float64Array(options.env.size);
    this.#lengths = new Int32Array(options.env.size);
    this.#rows = new Uint8Array(options.env.size);
    this.#done = { steps: options.env.size, oracleCalls: 0, ended: new EpisodeColumns() };
    this.isSaved = options.env.saveState !== undefined && options.env.restoreState !== undefined;
    this.mask = options.env.noRepeat ? { noRepeat: true } : {};
  }

  async start(): Promise<void> {
    await this.#env.reset({ seed: this.#seed });
    this.#forget();
  }

  async step({ buffer, rng, steps }: StepContext): Promise<SourceStep> {
    const env = this.#env;
    const lanes = env.size;
    const policy = this.#policy;
    if (this.#alpha && policy instanceof MixturePolicy) policy.alpha = this.#alpha.at(steps);
    this.#histories = snapshot(env.histories(), this.#histories);
    const histories = this.#histories;
    const chosen = await this.#chooser?.choose(histories, this.mask, rng, steps);
    const decision = chosen ?? this.#act(histories, rng, steps);
    const { actions, logProb } = decision;
    const shares = policy instanceof MixturePolicy ? sharesOf(policy, histories, decision, this.mask) : undefined;
    this.#isWhole = false;
    const { rewards, terminated, truncated } = await env.step(actions);
    buffer.add({
      histories,
      actions,
      rewards,
      terminated,
      truncated,
      logProb,
      ...shares,
      nextHistories: env.histories(),
    });
    this.#done.oracleCalls = chosen?.oracleCalls ?? 0;
    const { ended } = this.#done;
    const [returns, lengths, rows] = [this.#returns, this.#lengths, this.#rows];
    ended.clear();
    for (let lane = 0; lane < lanes; lane++) {
      returns[lane] = (returns[lane] as number) + (rewards[lane] as number);
      lengths[lane] = (lengths[lane] as number) + 1;
      rows[lane] = terminated[lane] || truncated[lane] ? 1 : 0;
      if (rows[lane] === 0) continue;
      ended.push(lane, returns[lane] as number, lengths[lane] as number);
      returns[lane] = 0;
      lengths[lane] = 0;
    }
    if (ended.count > 0) await env.reset({ rows });
    this.#isWhole = true;
    return this.#done;
  }

  #act(histories: HistoryBatch, rng: Rng, steps: number): Decision {
    const actor = this.#exploration?.at(this.#policy, steps) ?? this.#policy;
    return actor.act(histories, { mode: 'sampled', uniforms: rng.uniforms(histories.size), mask: this.mask });
  }

  saveState(): JsonValue | undefined {
    const env = this.isSaved && this.#isWhole ? this.#env.saveState?.() : undefined;
    return env === undefined ? undefined : { env, returns: [...this.#returns], lengths: [...this.#lengths] };
  }

  restoreState(state: JsonValue): void {
    const { env, returns, lengths } = state as {
      readonly env: JsonValue;
      readonly returns: number[];
      readonly lengths: number[];
    };
    if (!this.#env.restoreState)
      throw new CheckpointError(`checkpoint: the environment ${this.#env.name} cannot go on from a saved state`);
    this.#env.restoreState(env);
    this.#returns.set(returns);
    this.#lengths.set(lengths);
  }

  async restart(steps: number): Promise<void> {
    await this.#env.reset({ seed: new Rng(this.#seed).fork(`restart/${steps}`).nonZeroSeed() });
    this.#forget();
  }

  #forget(): void {
    this.#returns.fill(0);
    this.#lengths.fill(0);
  }
}

/** The environment's view is live; what was acted on must outlive the step. Written over the snapshot before, where it fits. */
function snapshot(live: HistoryBatch, before: HistoryBatch | undefined): HistoryBatch {
  const { size, length, items, lengths, context, contextWidth } = live;
  const fits =
    before?.length === length && before.items.length === items.length && before.context?.length === context?.length;
  if (before === undefined || !fits) {
    const copy = { size, length, items: items.slice(), lengths: lengths.slice(), contextWidth };
    return context ? { ...copy, context: context.slice() } : copy;
  }
  before.items.set(items);
  before.lengths.set(lengths);
  if (context) before.context?.set(context);
  return before;
}

/** What Eq. 15 needs of a mixture's action; an exploring view of it says what it did, not the frozen arm's share. */
function sharesOf(
  policy: MixturePolicy,
  histories: HistoryBatch,
  decision: Decision & Partial<MixtureDecision>,
  mask: Mask,
) {
  const { actions, pretrainedLogProb = policy.pretrained.logProbOf(histories, actions, { mask }) } = decision;
  return { pretrainedLogProb, alpha: policy.alpha };
}
