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
import type { ExperienceSource, SourceStep, StepContext } from './training-loop.js';

/** Experience of an acting policy in an environment: Algorithm 2, lines 5-13, for B users at once. */
export class EnvironmentSource implements ExperienceSource {
  readonly mask: Mask;
  readonly isSaved: boolean;
  readonly #env: BatchEnv;
  readonly #policy: ActorCritic | MixturePolicy;
  readonly #alpha: Schedule | undefined;
  readonly #exploration: Exploration | undefined;
  readonly #seed: number;
  readonly #returns: Float64Array;
  readonly #lengths: Int32Array;
  /** False from the moment an environment is asked to step until the step is over: an error in between leaves half a step. */
  #isWhole = true;

  /** @param options - the policy acts, in a mixture with alpha as the schedule says; all are borrowed. */
  constructor(options: {
    readonly env: BatchEnv;
    readonly policy: ActorCritic | MixturePolicy;
    readonly alpha?: Schedule | undefined;
    readonly exploration?: Exploration | undefined;
    readonly seed: number;
  }) {
    this.#env = options.env;
    this.#policy = options.policy;
    this.#alpha = options.alpha;
    this.#exploration = options.exploration;
    this.#seed = options.seed;
    this.#returns = new Float64Array(options.env.size);
    this.#lengths = new Int32Array(options.env.size);
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
    const histories = snapshot(env.histories());
    const actor = this.#exploration?.at(policy, steps) ?? policy;
    const decision = actor.act(histories, { mode: 'sampled', uniforms: rng.uniforms(lanes), mask: this.mask });
    const { actions, logProb } = decision;
    const shares = policy instanceof MixturePolicy ? sharesOf(policy, histories, decision, this.mask) : {};
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
    const ended: { lane: number; return: number; length: number }[] = [];
    const rows = new Uint8Array(lanes);
    for (let lane = 0; lane < lanes; lane++) {
      this.#returns[lane] = (this.#returns[lane] as number) + (rewards[lane] as number);
      this.#lengths[lane] = (this.#lengths[lane] as number) + 1;
      if (!terminated[lane] && !truncated[lane]) continue;
      ended.push({ lane, return: this.#returns[lane] as number, length: this.#lengths[lane] as number });
      this.#returns[lane] = 0;
      this.#lengths[lane] = 0;
      rows[lane] = 1;
    }
    if (ended.length > 0) await env.reset({ rows });
    this.#isWhole = true;
    return { steps: lanes, oracleCalls: 0, ended };
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

/** The environment's view is live; what was acted on must outlive the step. */
function snapshot(live: HistoryBatch): HistoryBatch {
  return {
    ...live,
    items: live.items.slice(),
    lengths: live.lengths.slice(),
    ...(live.context ? { context: live.context.slice() } : {}),
  };
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
