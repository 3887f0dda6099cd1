import { z } from 'zod';
import { ActorCritic } from '../agent/actor-critic.js';
import type { ActorCriticOptions, AlgorithmName } from '../agent/agent-model.js';
import type { MixturePolicy } from '../agent/mixture-policy.js';
import { RandomPolicy } from '../agent/random-policy.js';
import { ensureBackend } from '../compute/backend.js';
import type { Kernels } from '../compute/kernels.js';
import { InvalidArgumentError } from '../foundation/errors.js';
import { canonicalJson } from '../foundation/json.js';
import { checkOptions } from '../foundation/options.js';
import { linearSchedule, type Schedule } from '../foundation/schedules.js';
import { sha256Hex } from '../foundation/sha256.js';
import { prefixedStorage, type Storage } from '../foundation/storage.js';
import type { PreferenceOracle } from '../oracle/preference-oracle.js';
import type { RecordedAnswer } from '../oracle/recorded-answers.js';
import { type AdaptAlgorithm, type AdaptOptions, type AdaptResult, adapt } from '../train/adapt.js';
import { llmOnline } from '../train/llm-online.js';
import { type PretrainAlgorithm, type PretrainResult, pretrain } from '../train/pretrain.js';
import type { TrainingProgress } from '../train/training-events.js';
import type { World, WorldSplit } from '../world/world.js';
import { imaginedStarts } from './compare-methods.js';
import { greatestCommonDivisor } from './greatest-common-divisor.js';
import { type MeasuredAt, Measurements } from './measurements.js';
import { type PolicyFacts, UNKNOWN_POLICY } from './policy-facts.js';
import { worldPreset } from './presets.js';
import type { ReportCurve } from './report.js';
import type { Method, RunRow } from './result-schema.js';

/** What a run on a world tells as it goes. */
export interface RunProgress {
  /** What is at work. */
  readonly phase: 'measure' | 'pretrain' | 'adapt';
  /** Share of the whole run that is done, 0 to 1. */
  readonly done: number;
  /** Where the training stands, while it trains. */
  readonly training?: TrainingProgress;
}

/** What all runs on a world take. */
export interface RunOnWorldOptions {
  /** Trained on its `train` split, measured on its `test` split. */
  readonly world: World;
  /** Seed of weights, episodes and draws, >= 0. @default 1 */
  readonly seed?: number | undefined;
  /** Episodes of one measurement, >= 1. @default 192 */
  readonly episodes?: number | undefined;
  /** Where measurements and checkpoints go: an interrupted run goes on from there. @default nowhere */
  readonly storage?: Storage | undefined;
  /** Told as it goes. */
  readonly onProgress?: ((progress: RunProgress) => void) | undefined;
  /** Told of what is odd but no error. */
  readonly onWarning?: ((message: string) => void) | undefined;
  /** Stops the run after writing a checkpoint. */
  readonly signal?: AbortSignal | undefined;
}

/** What all runs on a world give. */
export interface RunOnWorldResult {
  /** The table: trivial and untrained rows first, then what was learned. */
  readonly rows: RunRow[];
  /** Sampled return and length against environment steps. */
  readonly curves: ReportCurve[];
  /** Which kernels made the updates. */
  readonly kernels: Kernels['kind'];
  /** Share of the updates on fused kernels, 0 to 1. */
  readonly fusedShare: number;
}

/** Options of {@link pretrainOnWorld}. */
export interface PretrainOnWorldOptions extends RunOnWorldOptions {
  /** Who is asked. Exactly one of `oracle` and `answers`. */
  readonly oracle?: PreferenceOracle | undefined;
  /** Answers that are there already, such as `readAnswers` gives; nobody is asked, and `calls`, `epochs` and `starts` mean nothing. */
  readonly answers?: readonly RecordedAnswer[] | undefined;
  /** What the rows call the policy. @default 'ialp' */
  readonly method?: Method | undefined;
  /** The agent. @default that of `worldPreset(world)` */
  readonly agent?: ActorCriticOptions | undefined;
  /** One number for every item, by item index, such as `rateItems()` gives: one more history feature; only where `agent` is not given. @default none */
  readonly itemPrior?: ArrayLike<number> | undefined;
  /** Questions in all. @default the preset's, 2000; where `epochs` is given, all that those ask */
  readonly calls?: number | undefined;
  /** Episodes from every start; caps the questions. */
  readonly epochs?: number | undefined;
  /** Simulated users' beginnings. @default the preset's, 256 */
  readonly starts?: number | undefined;
  /** How it learns. @default 'list' */
  readonly algorithm?: PretrainAlgorithm | undefined;
  /** Simulated users at once. @default the preset's */
  readonly lanes?: number | undefined;
  /** Steps between checkpoints. @default 500 */
  readonly checkpointEvery?: number | undefined;
}

/** What {@link pretrainOnWorld} gives. */
export interface PretrainOnWorldResult extends RunOnWorldResult {
  /** The pre-trained policy; the caller disposes it. */
  readonly agent: ActorCritic;
  /** What it went through. */
  readonly facts: PolicyFacts;
  /** Counts of the training. */
  readonly training: PretrainResult;
}

/** Options of {@link adaptOnWorld}. */
export interface AdaptOnWorldOptions extends RunOnWorldOptions {
  /** The policy that is adapted; borrowed, left as it was. @default an untrained one, made from `worldPreset(world)`: from scratch */
  readonly agent?: ActorCritic | undefined;
  /** What that policy went through. @default nothing is known of it */
  readonly facts?: PolicyFacts | undefined;
  /** Fine-tuning, Eq. 14, or section 6.3, where `oracle` chooses among the policy's candidates. @default 'fineTune' */
  readonly scheme?: 'fineTune' | 'mixture' | 'llmOnline' | undefined;
  /** Who chooses while it learns; for `scheme: 'llmOnline'` only, and needed there. */
  readonly oracle?: PreferenceOracle | undefined;
  /** Candidates of a question to `oracle`, from 2. @default 10 */
  readonly candidateCount?: number | undefined;
  /** How it learns. @default 'ppo' */
  readonly algorithm?: AdaptAlgorithm | undefined;
  /** Environment steps. @default 20000 */
  readonly steps?: number | undefined;
  /** Steps at which it is measured, ascending, at most `steps`. @default a twentieth, a tenth, a quarter, half and three quarters of `steps`, and `steps` */
  readonly marks?: readonly number[] | undefined;
  /** Alpha of a mixture. @default linear from 0.1 to 1 over 6000 steps, or `steps` where there are fewer */
  readonly alpha?: Schedule | undefined;
  /** Mean entropy that a pre-trained policy is flattened to, nats. @default the preset's, 3; an untrained one is left as it is */
  readonly handoverEntropy?: number | undefined;
  /** Parallel users while learning. @default the preset's */
  readonly lanes?: number | undefined;
  /** Steps between checkpoints. @default 1000 */
  readonly checkpointEvery?: number | undefined;
}

/** What {@link adaptOnWorld} gives. */
export interface AdaptOnWorldResult extends RunOnWorldResult {
  /** The adapted policy; freed by `dispose`. */
  readonly policy: ActorCritic | MixturePolicy;
  /** The learner in it: the policy itself when fine-tuning. */
  readonly learner: ActorCritic;
  /** What the learner went through. */
  readonly facts: PolicyFacts;
  /** Counts and curve of the training. */
  readonly training: AdaptResult;
  /** Frees the policy, and the untrained one that was made for it. */
  readonly dispose: () => void;
}

/** Options of {@link evaluateOnWorld}. */
export interface EvaluateOnWorldOptions {
  /** Where. */
  readonly world: World;
  /** The policy; borrowed. */
  readonly agent: ActorCritic;
  /** What it went through. @default nothing is known of it */
  readonly facts?: PolicyFacts | undefined;
  /** Whose users come. @default 'test' */
  readonly split?: WorldSplit | undefined;
  /** Episodes for each seed, >= 1. @default 192 */
  readonly episodes?: number | undefined;
  /** Seeds of episodes and draws. @default [1] */
  readonly seeds?: readonly number[] | undefined;
  /** Divides the logits before the softmax, > 0. @default 1 */
  readonly temperature?: number | undefined;
  /** Told as it goes. */
  readonly onProgress?: ((progress: RunProgress) => void) | undefined;
  /** Stops between steps. */
  readonly signal?: AbortSignal | undefined;
}

const isFunction = (value: unknown): boolean => typeof value === 'function';
const count = z.int().min(1);
const worldSchema = z.custom<World>((value) => isFunction((value as World | undefined)?.batchEnv), 'a World');
const agentSchema = z.custom<ActorCritic>(
  (value) => isFunction((value as ActorCritic | undefined)?.recommend),
  'an ActorCritic',
);
const oracleSchema = z.custom<PreferenceOracle>(
  (value) => isFunction((value as PreferenceOracle | undefined)?.prefer),
  'a PreferenceOracle',
);
const watching = {
  onProgress: z.custom<(progress: RunProgress) => void>(isFunction, 'a function').optional(),
  signal: z.custom<AbortSignal>((value) => value instanceof AbortSignal, 'an AbortSignal').optional(),
};
const common = {
  world: worldSchema,
  seed: z.int().min(0).default(1),
  episodes: count.optional(),
  storage: z.custom<Storage>((value) => isFunction((value as Storage | undefined)?.put), 'a Storage').optional(),
  onWarning: z.custom<(message: string) => void>(isFunction, 'a function').optional(),
  ...watching,
};
const pretrainSchema = z.strictObject({
  ...common,
  oracle: oracleSchema.optional(),
  answers: z.custom<readonly RecordedAnswer[]>((value) => Array.isArray(value), 'an array of answers').optional(),
  method: z.custom<Method>((value) => typeof value === 'string').default('ialp'),
  agent: z.custom<ActorCriticOptions>((value) => typeof value === 'object').optional(),
  itemPrior: z.custom<ArrayLike<number>>((value) => typeof value === 'object' && value !== null).optional(),
  calls: count.optional(),
  epochs: count.optional(),
  starts: count.optional(),
  algorithm: z.custom<PretrainAlgorithm>().optional(),
  lanes: count.optional(),
  checkpointEvery: count.default(500),
});
const adaptSchema = z.strictObject({
  ...common,
  agent: agentSchema.optional(),
  facts: z.custom<PolicyFacts>((value) => typeof value === 'object').optional(),
  scheme: z.enum(['fineTune', 'mixture', 'llmOnline']).default('fineTune'),
  oracle: oracleSchema.optional(),
  candidateCount: z.int().min(2).optional(),
  algorithm: z.custom<AdaptAlgorithm>().optional(),
  steps: count.default(20_000),
  marks: z.array(count).min(1).optional(),
  alpha: z.custom<Schedule>((value) => isFunction((value as Schedule | undefined)?.at), 'a Schedule').optional(),
  handoverEntropy: z.number().positive().optional(),
  lanes: count.optional(),
  checkpointEvery: count.default(1000),
});
const evaluateSchema = z.strictObject({
  world: worldSchema,
  agent: agentSchema,
  facts: z.custom<PolicyFacts>((value) => typeof value === 'object').optional(),
  split: z.enum(['all', 'train', 'validation', 'test']).default('test'),
  episodes: count.default(192),
  seeds: z.array(z.int().min(0)).min(1).default([1]),
  temperature: z.number().positive().default(1),
  ...watching,
});

/** Steps of a simulated episode: `pretrain`'s own default. */
const STEPS_PER_EPISODE = 10;

/**
 * How many questions a pre-training will ask: `calls`, or every start `epochs` times for ten steps, the smaller where both
 * are given.
 *
 * @param preset - what is asked where neither is given.
 */
export function plannedCalls(
  {
    calls,
    epochs,
    starts,
  }: { readonly calls?: number | undefined; readonly epochs?: number | undefined; readonly starts: number },
  preset: number,
): number {
  const all = epochs === undefined ? Number.POSITIVE_INFINITY : epochs * starts * STEPS_PER_EPISODE;
  return Math.min(calls ?? (epochs === undefined ? preset : all), all);
}

/**
 * Algorithm 1 on a world: pre-trains an agent from an oracle, before any of the world's users is met, and measures `random`,
 * `untrained` and the pre-trained policy on the test users.
 *
 * @throws {InvalidArgumentError} for options out of range, and as `pretrain` throws.
 */
export async function pretrainOnWorld(options: PretrainOnWorldOptions): Promise<PretrainOnWorldResult> {
  const checked = checkOptions(pretrainSchema, options, 'pretrainOnWorld');
  const { world, oracle, answers, method, seed, storage, signal, onProgress, algorithm = 'list', itemPrior } = checked;
  if (itemPrior && checked.agent) {
    throw new InvalidArgumentError(
      'pretrainOnWorld: expected `itemPrior` without `agent`; give it to the agent as `historyFeatures: { prior }`',
      { argument: 'itemPrior' },
    );
  }
  if ((oracle === undefined) === (answers === undefined)) {
    throw new InvalidArgumentError(
      `pretrainOnWorld: expected exactly one of \`oracle\` and \`answers\`, got ${oracle ? 'both' : 'neither'}`,
      { argument: 'oracle' },
    );
  }
  await ensureBackend();
  const preset = worldPreset(world);
  const { episodes = preset.episodes, starts = preset.starts, lanes = preset.lanes } = checked;
  const name = typeof algorithm === 'string' ? algorithm : algorithm.name;
  const calls = plannedCalls({ ...checked, starts }, preset.calls);
  const agentOptions =
    checked.agent ?? preset.agent({ seed, itemPrior, ...(name === 'paper' ? { algorithm: name } : {}) });
  const agent = new ActorCritic(agentOptions);
  try {
    const asked = oracle
      ? { oracle: oracle.id }
      : { answers: await sha256Hex(canonicalJson(answers?.map(withoutScores))) };
    const rated = itemPrior ? { itemPrior: await sha256Hex(canonicalJson(Array.from(itemPrior))) } : {};
    const run = { ...asked, ...rated, method, calls, starts, seed, initial: await agent.sha256() };
    const measurements = await Measurements.open({ world, split: 'test', episodes, storage, run, signal });
    onProgress?.({ phase: 'measure', done: 0 });
    const still = { seed, steps: 0, updates: 0, oracleCalls: 0, algorithm: 'none' as const };
    await measurements.measure('random', new RandomPolicy({ itemCount: world.catalog.size }), now(still));
    await measurements.measure('untrained', agent, now(still));
    const began = Date.now();
    const training = await pretrain({
      agent,
      ...(answers ? { answers } : { starts: imaginedStarts(world, starts, seed), budget: { calls } }),
      ...(oracle ? { oracle } : {}),
      algorithm,
      lanes,
      seed,
      checkpointEvery: checked.checkpointEvery,
      ...hooksOf(checked, 'pretrain', (share) => 0.1 + 0.8 * share),
    });
    const facts: PolicyFacts = {
      method,
      algorithm: name,
      steps: 0,
      updates: training.updates,
      oracleCalls: answers?.length ?? training.oracleCalls,
    };
    onProgress?.({ phase: 'measure', done: 0.9 });
    await measurements.measure(method, agent, { ...facts, seed, began });
    const rows = measurements.rows();
    return { agent, facts, training, rows, curves: [], kernels: agent.kernels.kind, fusedShare: training.fusedShare };
  } catch (error) {
    agent.dispose();
    throw error;
  }
}

/** Scores may be -Infinity, which JSON does not hold; what was answered tells one set from another. */
function withoutScores({ scores: _, ...answer }: RecordedAnswer): RecordedAnswer {
  return answer;
}

/**
 * Algorithm 2 on a world: adapts a policy, or an untrained one, to the train users, and measures `random`, the policy that
 * was given and the one that learns, at each mark, on the test users.
 *
 * @throws {InvalidArgumentError} for options out of range or at odds, and as `adapt` throws.
 */
export async function adaptOnWorld(options: AdaptOnWorldOptions): Promise<AdaptOnWorldResult> {
  const checked = checkOptions(adaptSchema, options, 'adaptOnWorld');
  const { world, scheme, seed, steps, storage, signal, onProgress, algorithm = 'ppo', checkpointEvery } = checked;
  await ensureBackend();
  const preset = worldPreset(world);
  const { episodes = preset.episodes, lanes = preset.lanes } = checked;
  const marks = checkMarks(checked.marks ?? defaultMarks(steps), steps);
  const name: AlgorithmName = typeof algorithm === 'string' ? algorithm : algorithm.name;
  const made = checked.agent ? undefined : new ActorCritic(preset.agent({ seed, algorithm: name }));
  const agent = checked.agent ?? (made as ActorCritic);
  const before = checked.agent
    ? (checked.facts ?? UNKNOWN_POLICY)
    : { ...UNKNOWN_POLICY, method: 'untrained' as const };
  const { oracle } = checked;
  if ((scheme === 'llmOnline') !== (oracle !== undefined)) {
    throw new InvalidArgumentError(
      `adaptOnWorld: expected \`oracle\` with \`scheme: 'llmOnline'\` and only there, got ${oracle ? 'one' : 'none'} with '${scheme}'`,
      { argument: 'oracle' },
    );
  }
  const method: Method = scheme !== 'fineTune' ? scheme : checked.agent ? 'fineTune' : 'scratch';
  const handoverEntropy = checked.handoverEntropy ?? (checked.agent ? preset.handoverEntropy : undefined);
  const alpha =
    checked.alpha ??
    (scheme === 'mixture'
      ? linearSchedule({ from: 0.1, to: 1, steps: Math.min(preset.alphaSteps, steps) })
      : undefined);
  const stepsPerEpoch = marks.reduce(greatestCommonDivisor);
  try {
    const asked = oracle ? { oracle: oracle.id } : {};
    const run = {
      method,
      steps,
      lanes,
      seed,
      algorithm: name,
      pretrained: await agent.sha256(),
      marks: [...marks],
      ...asked,
    };
    const measurements = await Measurements.open({ world, split: 'test', episodes, storage, run, signal });
    onProgress?.({ phase: 'measure', done: 0 });
    const still = { ...UNKNOWN_POLICY, seed };
    await measurements.measure('random', new RandomPolicy({ itemCount: world.catalog.size }), now(still));
    await measurements.measure(before.method, agent, now({ ...before, seed }));
    const began = Date.now();
    const factsAt = (at: number, updates: number): PolicyFacts => ({
      method,
      algorithm: name,
      steps: before.steps + at,
      updates: before.updates + updates,
      // Online every step of every user is a question.
      oracleCalls: before.oracleCalls + (oracle ? at : 0),
    });
    const online: Omit<AdaptOptions, 'scheme' | 'alpha'> = {
      agent,
      env: world.batchEnv({ split: 'train', size: lanes, seed }),
      ...(handoverEntropy !== undefined ? { handoverEntropy } : {}),
      steps,
      algorithm,
      seed,
      stepsPerEpoch,
      checkpointEvery,
      ...hooksOf(checked, 'adapt', (share) => 0.03 + 0.96 * share),
      afterEpoch: async ({ epoch, policy, updates }) => {
        const mark = epoch * stepsPerEpoch;
        if (marks.includes(mark))
          await measurements.measure(method, policy, { ...factsAt(mark, updates), seed, began });
      },
    };
    const training =
      scheme === 'llmOnline'
        ? await llmOnline({
            ...online,
            oracle: oracle as PreferenceOracle,
            ...(checked.candidateCount !== undefined ? { candidateCount: checked.candidateCount } : {}),
          })
        : await adapt({ ...online, scheme, ...(alpha ? { alpha } : {}) });
    const facts = factsAt(training.steps, training.updates);
    const { policy, learner, fusedShare } = training;
    const rows = measurements.rows();
    const curves = measurements.curves(['random', before.steps > 0 ? method : [method, before.method]]);
    const dispose = (): void => {
      policy.dispose();
      made?.dispose();
    };
    return { policy, learner, facts, training, dispose, rows, curves, kernels: learner.kernels.kind, fusedShare };
  } catch (error) {
    made?.dispose();
    throw error;
  }
}

/**
 * Measures a policy, and `random` beside it, on a world.
 *
 * @throws {InvalidArgumentError} for options out of range.
 */
export async function evaluateOnWorld(options: EvaluateOnWorldOptions): Promise<RunOnWorldResult> {
  const checked = checkOptions(evaluateSchema, options, 'evaluateOnWorld');
  const { world, agent, facts = UNKNOWN_POLICY, split, episodes, seeds, temperature, signal, onProgress } = checked;
  await ensureBackend();
  const measurements = await Measurements.open({ world, split, episodes, temperature, signal });
  const random = new RandomPolicy({ itemCount: world.catalog.size });
  for (const [index, seed] of seeds.entries()) {
    onProgress?.({ phase: 'measure', done: index / seeds.length });
    await measurements.measure('random', random, now({ ...UNKNOWN_POLICY, seed }));
    await measurements.measure(facts.method, agent, now({ ...facts, seed }));
  }
  return { rows: measurements.rows(), curves: [], kernels: agent.kernels.kind, fusedShare: 0 };
}

function now(at: Omit<MeasuredAt, 'began'>): MeasuredAt {
  const { seed, steps, updates, oracleCalls, algorithm } = at;
  return { seed, steps, updates, oracleCalls, algorithm, began: Date.now() };
}

interface RunHooks extends Pick<RunOnWorldOptions, 'storage' | 'onProgress' | 'onWarning' | 'signal'> {}

/** A run's hooks as `pretrain` and `adapt` take them, in a part of the storage of their own. */
function hooksOf(
  { storage, onProgress, onWarning, signal }: RunHooks,
  phase: 'pretrain' | 'adapt',
  doneAt: (share: number) => number,
) {
  return {
    ...(storage ? { storage: prefixedStorage(storage, phase) } : {}),
    ...(onProgress
      ? {
          onProgress: (training: TrainingProgress) =>
            onProgress({ phase, done: doneAt(training.steps / training.totalSteps), training }),
        }
      : {}),
    ...(onWarning ? { onWarning } : {}),
    ...(signal ? { signal } : {}),
  };
}

/** A twentieth, a tenth, a quarter, half and three quarters of the steps, and all. */
function defaultMarks(steps: number): number[] {
  const shares = [0.05, 0.1, 0.25, 0.5, 0.75, 1];
  const marks = shares.map((share) => Math.max(1, Math.round(steps * share)));
  return [...new Set(marks)];
}

function checkMarks(marks: readonly number[], steps: number): readonly number[] {
  const isAscending = marks.every((mark, i) => i === 0 || mark > (marks[i - 1] as number));
  if (isAscending && (marks.at(-1) as number) <= steps) return marks;
  throw new InvalidArgumentError(
    `adaptOnWorld: expected \`marks\` in rising order and at most the ${steps} steps of the run, got ${marks.join(', ')}`,
    { argument: 'marks', got: marks },
  );
}
