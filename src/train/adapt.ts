import { z } from 'zod';
import { ActorCritic } from '../agent/actor-critic.js';
import type { AlgorithmName } from '../agent/agent-model.js';
import type { Algorithm } from '../agent/algorithm.js';
import type { Exploration } from '../agent/exploration.js';
import { MixturePolicy } from '../agent/mixture-policy.js';
import { Ppo, type PpoSettings } from '../agent/ppo.js';
import { paper, type ReplaySettings, replay } from '../agent/replay-a2c.js';
import { ReplayBuffer } from '../agent/replay-buffer.js';
import { ensureBackend } from '../compute/backend.js';
import { type BatchEnv, isBatchEnv } from '../env/batch-env.js';
import { type Env, liftEnv } from '../env/env.js';
import { InvalidArgumentError } from '../foundation/errors.js';
import type { JsonValue } from '../foundation/json.js';
import { checkOptions } from '../foundation/options.js';
import { Rng } from '../foundation/rng.js';
import { asSchedule, linearSchedule, type Schedule } from '../foundation/schedules.js';
import { type Chooser, EnvironmentSource } from './environment-source.js';
import { featuresHash } from './features-hash.js';
import { softenToEntropy } from './handover.js';
import { type LoopResult, runLoop } from './training-loop.js';
import { hookSchemas, instance, type TrainingHookOptions } from './training-options.js';

/** An algorithm by name, or with settings. */
export type AdaptAlgorithm = AlgorithmName | NamedPpoSettings | NamedReplaySettings;

/** PPO, with settings. */
export interface NamedPpoSettings extends PpoSettings {
  /** Says that it is PPO. */
  readonly name: 'ppo';
}

/** One of the algorithms on a replay buffer, with settings. */
export interface NamedReplaySettings extends ReplaySettings {
  /** Which of the two. */
  readonly name: 'replay' | 'paper';
}

/** Options of {@link adapt}. */
export interface AdaptOptions extends TrainingHookOptions {
  /** pi_theta, pre-trained or not; borrowed, and left as it was. */
  readonly agent: ActorCritic;
  /** Where it acts; borrowed. One `Env` is one user at a time; a `BatchEnv` serves many. */
  readonly env: BatchEnv | Env;
  /** `'fineTune'`: the policy that acts is the one that learns. `'mixture'`: Eq. 14, the frozen policy and a learner. @default 'fineTune' */
  readonly scheme?: 'fineTune' | 'mixture';
  /** Alpha of Eq. 14 by environment step, 0 to 1, above 0 at the start or the learner gets no gradient. @default linear from 0.1 to 1 over half of `steps` */
  readonly alpha?: number | Schedule;
  /** Environment steps, all users together; rounded up to whole steps of all lanes of `env`. */
  readonly steps: number;
  /** How it learns. @default the agent's own */
  readonly algorithm?: AdaptAlgorithm;
  /** The mixture's learner: a copy of theta's actor (Algorithm 2, line 3), or a random one (section 5.4). @default 'copy' */
  readonly learnerInit?: 'copy' | 'random';
  /** Whether the critic starts anew: answers pay 0 or 1, environments what they like. @default true */
  readonly freshCritic?: boolean;
  /** Flattens the learner's policy to this mean entropy in nats, if it is sharper: a saturated policy cannot be fine-tuned. @default no change */
  readonly handoverEntropy?: number;
  /** How it explores while it learns (paper section 6.4); the probability of what it did is kept exactly. @default categorical, from the policy itself */
  readonly exploration?: Exploration;
  /** Steps between checkpoints. @default 5000 */
  readonly checkpointEvery?: number;
  /** Awaited after every epoch, with the policy as it stands; may evaluate it. */
  readonly afterEpoch?: (epoch: {
    readonly epoch: number;
    readonly steps: number;
    readonly updates: number;
    readonly policy: ActorCritic | MixturePolicy;
  }) => unknown;
  /**
   * Stops the run after writing a checkpoint. Episodes of an environment that cannot save its state are begun anew at every
   * checkpoint, so there the run goes back to the last one of the beat: choose `checkpointEvery` by what you can lose.
   */
  readonly signal?: AbortSignal;
}

/** What adaptation amounted to. */
export interface AdaptResult extends LoopResult {
  /** The adapted policy; the caller owns it. A mixture borrows the agent that was given. */
  readonly policy: ActorCritic | MixturePolicy;
  /** The learner in it: the policy itself when fine-tuning. */
  readonly learner: ActorCritic;
}

const schema = z.strictObject({
  agent: instance<ActorCritic>((value) => value instanceof ActorCritic, 'an ActorCritic'),
  env: instance<BatchEnv | Env>(
    (value) => typeof value.step === 'function' && typeof value.reset === 'function',
    'an Env or a BatchEnv',
  ),
  scheme: z.enum(['fineTune', 'mixture']).default('fineTune'),
  alpha: z
    .union([z.number().min(0).max(1), instance<Schedule>((value) => typeof value.at === 'function', 'a Schedule')])
    .optional(),
  steps: z.int().min(1),
  algorithm: z
    .union([z.enum(['ppo', 'replay', 'paper']), z.looseObject({ name: z.enum(['ppo', 'replay', 'paper']) })])
    .optional(),
  learnerInit: z.enum(['copy', 'random']).default('copy'),
  freshCritic: z.boolean().default(true),
  handoverEntropy: z.number().positive().optional(),
  exploration: instance<Exploration>((value) => typeof value.at === 'function', 'an Exploration').optional(),
  seed: z.int().default(0),
  ...hookSchemas,
  checkpointEvery: hookSchemas.checkpointEvery.default(5000),
  afterEpoch: z
    .custom<AdaptOptions['afterEpoch']>((value) => typeof value === 'function', { error: 'expected a function' })
    .optional(),
});

/**
 * Algorithm 2, A-iALP: adapts a policy to real feedback. The agent given is left as it was; what learns is a copy.
 *
 * `'fineTune'` acts with the policy it updates (paper.md 8 [5]). `'mixture'` freezes the actor and the encoder it reads, and
 * learns by Eq. 15 with alpha and pi_theta(a|s) as they stood when the action was taken.
 *
 * @returns the adapted policy, which the caller disposes, with counts and the training curve.
 * @throws {InvalidArgumentError} for options out of range or at odds, such as an `alpha` without a mixture, or an environment of another catalogue.
 * @throws {DivergedError} when losses stop being finite.
 * @throws {CheckpointError} when the storage holds a checkpoint of another run.
 */
export async function adapt(options: AdaptOptions): Promise<AdaptResult> {
  return learnOnline(checkOptions(schema, options, 'adapt'), { phase: 'adapt' });
}

/** Who acts beside the policy, and what the run is called. */
interface OnlineWiring {
  readonly phase: 'adapt' | 'llmOnline';
  /** Chooses in the policy's place; made once the copy that learns exists. */
  readonly chooser?: ((learner: ActorCritic, env: BatchEnv) => Chooser) | undefined;
  /** What the chooser adds to what the run is. */
  readonly identity?: { readonly [field: string]: JsonValue };
}

/** The schema of {@link AdaptOptions}, for wirings that take some of them. */
export const adaptSchema = schema;

/** Learns from an environment: `adapt`, and `llmOnline` with a chooser in the policy's place. */
export async function learnOnline(checked: z.output<typeof schema>, wiring: OnlineWiring): Promise<AdaptResult> {
  const { phase } = wiring;
  const { agent, scheme, steps, seed } = checked;
  const isMixture = scheme === 'mixture';
  if (!isMixture && checked.alpha !== undefined) {
    throw new InvalidArgumentError(
      `${phase}: expected no \`alpha\` with \`scheme: 'fineTune'\`, which has no mixture`,
      {
        argument: 'alpha',
      },
    );
  }
  const algorithm = adaptAlgorithm((checked.algorithm ?? agent.settings.algorithm) as AdaptAlgorithm);
  const wantsOther = algorithm.critic !== undefined && algorithm.critic !== agent.settings.critic;
  if (wantsOther && !checked.freshCritic) {
    throw new InvalidArgumentError(
      `${phase}: expected an agent with \`critic: '${algorithm.critic}'\` for '${algorithm.name}' without \`freshCritic\`, got '${agent.settings.critic}'`,
      { argument: 'algorithm', wanted: String(algorithm.critic), got: agent.settings.critic },
    );
  }
  const env = isBatchEnv(checked.env) ? checked.env : liftEnv(checked.env);
  const catalog = await agent.catalog.fingerprint();
  if (env.catalog !== agent.catalog && (await env.catalog.fingerprint()) !== catalog) {
    throw new InvalidArgumentError(`${phase}: expected \`env\` to have the catalogue of \`agent\`, got another one`, {
      argument: 'env',
    });
  }
  if (env.contextWidth !== agent.settings.contextWidth) {
    throw new InvalidArgumentError(
      `${phase}: expected an agent with \`contextWidth: ${env.contextWidth}\` for this environment, got ${agent.settings.contextWidth}`,
      { argument: 'agent', wanted: String(env.contextWidth), got: agent.settings.contextWidth },
    );
  }
  const alpha = isMixture
    ? asSchedule(checked.alpha ?? linearSchedule({ from: 0.1, to: 1, steps: Math.max(1, Math.round(steps / 2)) }))
    : undefined;

  await ensureBackend();
  const rng = new Rng(seed).fork(phase);
  const learner =
    wantsOther && algorithm.critic ? agent.withCritic(algorithm.critic, rng.fork('critic')) : agent.clone();
  const policy = isMixture ? new MixturePolicy({ pretrained: agent, learner, alpha: alpha?.at(0) ?? 1 }) : learner;
  try {
    if (isMixture && checked.learnerInit === 'random') learner.resetActor(rng.fork('actor'));
    if (checked.freshCritic) learner.resetCritic(rng.fork('critic'));
    // Before the softening, which reads the environment's first states: an environment that does not go by its seed alone would
    // make another run of every resume.
    const initial = await learner.sha256();
    if (checked.handoverEntropy !== undefined) await softenToEntropy(learner, env, checked.handoverEntropy, seed);
    const buffer = new ReplayBuffer({
      lanes: env.size,
      stepsPerLane: Math.min(
        algorithm.stepsPerLane(env.size),
        Math.max(algorithm.rolloutSteps, Math.ceil(steps / env.size)),
      ),
      contextWidth: env.contextWidth,
    });
    const identity = {
      phase,
      catalog,
      pretrained: await agent.sha256(),
      agent: agent.settings as unknown as JsonValue,
      encoder: agent.encoder.name,
      features: await featuresHash(agent),
      env: { name: env.name, size: env.size, maxEpisodeSteps: env.maxEpisodeSteps, noRepeat: env.noRepeat },
      scheme,
      handoverEntropy: checked.handoverEntropy ?? null,
      exploration: checked.exploration?.toJSON() ?? null,
      alpha: alpha?.toJSON() ?? null,
      algorithm: algorithm.toJSON(),
      steps,
      seed,
      ...wiring.identity,
      // Last: it follows from what stands before, and the first difference is the one that is named.
      initial,
    };
    const { afterEpoch, ...hooks } = checked;
    const result = await runLoop({
      phase,
      learner,
      algorithm,
      source: new EnvironmentSource({
        env,
        policy,
        alpha,
        exploration: checked.exploration,
        chooser: wiring.chooser?.(learner, env),
        seed: rng.fork('env').nonZeroSeed(),
      }),
      buffer,
      totalSteps: steps,
      stepsPerEpoch: checked.stepsPerEpoch,
      rng,
      identity,
      alphaAt: (step) => alpha?.at(step) ?? 1,
      hooks: { ...hooks, ...(afterEpoch ? { afterEpoch: (epoch) => afterEpoch({ ...epoch, policy }) } : {}) },
    });
    if (alpha && policy instanceof MixturePolicy) policy.alpha = alpha.at(result.steps);
    return { ...result, policy, learner };
  } catch (error) {
    policy.dispose();
    throw error;
  }
}

function adaptAlgorithm(given: AdaptAlgorithm): Algorithm {
  const { name, ...settings } = typeof given === 'string' ? { name: given } : given;
  if (name === 'ppo') return new Ppo(settings as PpoSettings);
  return name === 'replay' ? replay(settings as ReplaySettings) : paper(settings as ReplaySettings);
}
