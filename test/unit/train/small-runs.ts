/** Runs of pretrain and adapt that take a few hundred steps, and ways to break them off. */
import { ActorCritic } from '../../../src/agent/actor-critic.js';
import type { ActorCriticOptions } from '../../../src/agent/agent-model.js';
import { mean } from '../../../src/encoder/mean-encoder.js';
import type { BatchEnv, BatchStep } from '../../../src/env/batch-env.js';
import { liftEnv } from '../../../src/env/env.js';
import type { Storage } from '../../../src/foundation/storage.js';
import type { PreferenceOracle, PreferenceQuery } from '../../../src/oracle/preference-oracle.js';
import { ScriptedOracle } from '../../../src/oracle/scripted-oracle.js';
import { IdentityUserEnv, identityEnv, tinyCatalog } from '../../../src/testing/tiny-envs.js';
import { type AdaptOptions, adapt } from '../../../src/train/adapt.js';
import { type LlmOnlineOptions, llmOnline } from '../../../src/train/llm-online.js';
import { type PretrainOptions, pretrain } from '../../../src/train/pretrain.js';

/** Items of every small run. */
const ITEMS = 40;
const LANES = 4;
/** One catalogue, so that environments and agents share it. */
export const catalog = tinyCatalog(ITEMS);

/** An agent of a few hundred weights. */
export function smallAgent(options: Partial<ActorCriticOptions> = {}): ActorCritic {
  return new ActorCritic({
    catalog,
    encoder: mean({ width: 4, historyLength: 3 }),
    items: 'id',
    historyFeatures: { repeats: 2, text: false },
    valueHidden: 4,
    seed: 5,
    ...options,
  });
}

/** The identity environment, which saves its state. */
export const smallEnv = (): BatchEnv => identityEnv({ items: ITEMS, steps: 5, size: LANES });
/** The same by a user's `Env`: it cannot be saved. */
export const liftedEnv = (): BatchEnv =>
  liftEnv(() => new IdentityUserEnv({ items: ITEMS, steps: 5 }), { size: LANES });

/** Chooses by a rule of the question: an item, or None for about one in five. */
export function answerOf({ history, candidates }: PreferenceQuery): number | 'none' {
  const sum = [...history, ...candidates].reduce((total, item) => (total * 31 + item + 1) % 10_007, 7);
  return sum % 5 === 0 ? 'none' : sum % candidates.length;
}

/** What a test may change of a run. */
export interface Breaks {
  readonly storage?: Storage;
  readonly signal?: AbortSignal;
  readonly seed?: number;
  readonly onWarning?: (message: string) => void;
  readonly events?: NonNullable<AdaptOptions['events']>;
  /** Called before each step of the environment, or each batch of questions. */
  readonly onStep?: () => void;
  /** Told of each question that reached the oracle. */
  readonly onQuestion?: (query: PreferenceQuery) => void;
}

/** What came of a run. */
export interface Outcome {
  readonly hash: string;
  readonly steps: number;
  readonly updates: number;
}

/** One kind of run. */
export interface Scenario {
  readonly name: string;
  /** Whether its episodes can be saved at any step. */
  readonly isSaved: boolean;
  /** Steps of the whole run. */
  readonly steps: number;
  run(breaks?: Breaks): Promise<Outcome>;
}

function countedOracle({ onStep, onQuestion }: Breaks): PreferenceOracle {
  const inner = new ScriptedOracle((query) => {
    onQuestion?.(query);
    return answerOf(query);
  });
  return {
    id: inner.id,
    prefer: (queries, options) => {
      onStep?.();
      return inner.prefer(queries, options);
    },
  };
}

/** `env`, and `before` at each step; its rewards as `reward` says. */
export function watched(env: BatchEnv, before: () => void, reward = (value: number) => value): BatchEnv {
  const watching: BatchEnv = {
    name: env.name,
    catalog: env.catalog,
    size: env.size,
    contextWidth: env.contextWidth,
    maxEpisodeSteps: env.maxEpisodeSteps,
    historyCapacity: env.historyCapacity,
    noRepeat: env.noRepeat,
    histories: () => env.histories(),
    reset: (options) => env.reset(options),
    async step(actions): Promise<BatchStep> {
      before();
      const step = await env.step(actions);
      return { ...step, rewards: step.rewards.map(reward) };
    },
  };
  if (!env.saveState || !env.restoreState) return watching;
  const { saveState, restoreState } = env;
  return Object.assign(watching, { saveState: saveState.bind(env), restoreState: restoreState.bind(env) });
}

/** Options of one small pre-training. */
export function pretrainOptions(agent: ActorCritic, breaks: Breaks = {}): PretrainOptions {
  const { storage, signal, seed = 3, events, onWarning } = breaks;
  return {
    agent,
    oracle: countedOracle(breaks),
    budget: { calls: 90 },
    stepsPerEpisode: 4,
    candidateCount: 5,
    lanes: LANES,
    checkpointEvery: 16,
    seed,
    ...(storage ? { storage } : {}),
    ...(signal ? { signal } : {}),
    ...(events ? { events } : {}),
    ...(onWarning ? { onWarning } : {}),
  };
}

/** Options of one small adaptation. */
export function adaptOptions(agent: ActorCritic, breaks: Breaks = {}): AdaptOptions {
  const { storage, signal, seed = 3, events, onWarning, onStep } = breaks;
  return {
    agent,
    env: watched(smallEnv(), onStep ?? (() => {})),
    steps: 212,
    checkpointEvery: 40,
    stepsPerEpoch: 50,
    seed,
    ...(storage ? { storage } : {}),
    ...(signal ? { signal } : {}),
    ...(events ? { events } : {}),
    ...(onWarning ? { onWarning } : {}),
  };
}

function pretraining(
  name: string,
  change: Partial<PretrainOptions>,
  agentOptions: Partial<ActorCriticOptions> = {},
): Scenario {
  return {
    name: `pretrain, ${name}`,
    isSaved: true,
    steps: 90,
    async run(breaks = {}) {
      using agent = smallAgent(agentOptions);
      const { steps, updates } = await pretrain({ ...pretrainOptions(agent, breaks), ...change });
      return { hash: await agent.sha256(), steps, updates };
    },
  };
}

function adapting(
  name: string,
  change: Partial<AdaptOptions>,
  agentOptions: Partial<ActorCriticOptions> = {},
  env: () => BatchEnv = smallEnv,
): Scenario {
  return {
    name: `adapt, ${name}`,
    isSaved: env().saveState !== undefined,
    steps: 212,
    async run(breaks = {}) {
      using agent = smallAgent(agentOptions);
      const result = await adapt({
        ...adaptOptions(agent, breaks),
        env: watched(env(), breaks.onStep ?? (() => {})),
        ...change,
      });
      using _policy = result.policy;
      return { hash: await result.learner.sha256(), steps: result.steps, updates: result.updates };
    },
  };
}

function askingOnline(name: string, change: Partial<LlmOnlineOptions>): Scenario {
  return {
    name: `llmOnline, ${name}`,
    isSaved: true,
    steps: 212,
    async run(breaks = {}) {
      using agent = smallAgent();
      const { onStep: _, ...asked } = breaks;
      const oracle = countedOracle(asked);
      const result = await llmOnline({ ...adaptOptions(agent, breaks), oracle, candidateCount: 5, ...change });
      using _policy = result.policy;
      return { hash: await result.policy.sha256(), steps: result.steps, updates: result.updates };
    },
  };
}

/** Every kind of run that must survive being broken off. */
export const scenarios: readonly Scenario[] = [
  pretraining('list', { algorithm: { name: 'list', passes: 40, batchSize: 32 } }),
  pretraining('paper', { algorithm: { name: 'paper', batchSize: 16, updatesPerStep: 0.5 } }, { critic: 'action' }),
  adapting('ppo fine-tuning', {}),
  adapting('ppo mixture', { scheme: 'mixture' }),
  adapting('replay', { algorithm: { name: 'replay', batchSize: 16 } }),
  adapting('an Env that cannot be saved', {}, {}, liftedEnv),
  askingOnline('replay', { algorithm: { name: 'replay', batchSize: 16 } }),
];
