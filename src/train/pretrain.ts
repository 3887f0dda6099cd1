import { z } from 'zod';
import { ActorCritic } from '../agent/actor-critic.js';
import type { Algorithm } from '../agent/algorithm.js';
import { ListDistillation, type ListSettings, listDistillation } from '../agent/list-distillation.js';
import { paper, type ReplaySettings } from '../agent/replay-a2c.js';
import { ReplayBuffer } from '../agent/replay-buffer.js';
import type { ItemId } from '../catalog/catalog.js';
import type { ParameterStore } from '../compute/parameter-store.js';
import { InvalidArgumentError } from '../foundation/errors.js';
import { canonicalJson, type JsonValue } from '../foundation/json.js';
import { checkOptions, describeValue } from '../foundation/options.js';
import { Rng } from '../foundation/rng.js';
import { sha256Hex } from '../foundation/sha256.js';
import type { PreferenceOracle } from '../oracle/preference-oracle.js';
import type { RecordedAnswer } from '../oracle/recorded-answers.js';
import { RecordingOracle } from '../oracle/recording-oracle.js';
import { featuresHash } from './features-hash.js';
import { type IndexedStart, PreferenceSource } from './preference-source.js';
import { type IndexedAnswer, RecordedSource } from './recorded-source.js';
import { type ChoiceFit, fitChoices, servingTemperature } from './serving-temperature.js';
import type { TrainingCounts } from './training-events.js';
import { type LoopResult, runLoop } from './training-loop.js';
import { hookSchemas, instance, type TrainingHookOptions } from './training-options.js';

/** A simulated user's beginning: x1 of the paper. */
export interface PretrainStart {
  /** Items, oldest first; may be empty. */
  readonly history: readonly ItemId[];
  /** The user context, `contextWidth` numbers. @default zeros */
  readonly context?: readonly number[] | undefined;
  /** What the oracle is told of the user beside the history. @default nothing */
  readonly text?: string | undefined;
}

/** How pre-training learns: `'list'` reads which of the k was chosen, `'paper'` is Algorithm 1's losses; either with settings. */
export type PretrainAlgorithm = 'list' | 'paper' | NamedListSettings | NamedPaperSettings;

/** The list loss, with settings. */
export interface NamedListSettings extends ListSettings {
  /** Says that it is the list loss. */
  readonly name: 'list';
}

/** The paper's losses, with settings. */
export interface NamedPaperSettings extends ReplaySettings {
  /** Says that these are the paper's losses. */
  readonly name: 'paper';
}

/** Options of {@link pretrain}. */
export interface PretrainOptions extends TrainingHookOptions {
  /** The agent that learns, in place; borrowed. */
  readonly agent: ActorCritic;
  /** Who is asked. Exactly one of `oracle` and `answers`. */
  readonly oracle?: PreferenceOracle;
  /** Answers that are there already; nobody is asked. */
  readonly answers?: readonly RecordedAnswer[];
  /** Caps the questions. @default `epochs` x starts x `stepsPerEpisode` */
  readonly budget?: {
    /** Questions, >= 1. */
    readonly calls: number;
  };
  /** Episodes from every start (paper: 100). @default as many as the budget allows, 1 without a budget */
  readonly epochs?: number;
  /** Where simulated users begin. @default every item of the catalogue, alone (paper: x1 in I) */
  readonly starts?: readonly (readonly ItemId[] | PretrainStart)[];
  /** Steps of a simulated episode, T. @default 10 */
  readonly stepsPerEpisode?: number;
  /** Candidates of a question, k, 2 to 25. @default 10 */
  readonly candidateCount?: number;
  /** Share of the candidates that the actor draws, the rest being uniform; 'paper': 1. @default 0.5 */
  readonly actorShare?: number;
  /** Whether the actor's candidates are sampled without replacement or its top ones. @default 'sample' */
  readonly candidateDraw?: 'sample' | 'topK';
  /** Share of the budget during which all candidates are uniform: an untrained actor has nothing to say. @default 0.05; 'paper': 0 */
  readonly uniformShare?: number;
  /** How it learns. @default 'list' */
  readonly algorithm?: PretrainAlgorithm;
  /**
   * Most times each answer is learned from, on average; `'list'` only, where `algorithm` does not say it. @default 16
   */
  readonly passes?: number;
  /**
   * Share of the simulated users (of recorded answers: of the streams whose histories go on from each other) whose answers are not
   * learned from but tell when to stop and at which temperature to serve, 0 to 0.5. @default 0.15; 0 for 'paper'
   */
  readonly heldOutShare?: number;
  /**
   * The trained policy is handed over at this temperature (its logits divided by it). `'fitted'`: the one at which what it draws from all
   * items falls as little short of the best as the oracle's choices did among those shown, by the answers held out, or where none are by
   * all. @default 'fitted'; 1 for 'paper'
   */
  readonly temperature?: number | 'fitted';
  /** Simulated users at once, hence questions a batch. @default 32 */
  readonly lanes?: number;
  /** Share of unusable answers among the last 200 that ends the run. @default 0.05 */
  readonly maxInvalidRate?: number;
  /** Asks questions again whose answer on record could not be read: for a run that `maxInvalidRate` ended, once the oracle is mended. @default false */
  readonly retryInvalid?: boolean;
  /** Steps between checkpoints. @default 500 */
  readonly checkpointEvery?: number;
  /** Awaited after every epoch. */
  readonly afterEpoch?: (epoch: {
    readonly epoch: number;
    readonly steps: number;
    readonly updates: number;
  }) => unknown;
  /** Stops the run after writing a checkpoint. */
  readonly signal?: AbortSignal;
}

/** What pre-training amounted to. */
export interface PretrainResult extends TrainingCounts {
  /** Questions that reached the oracle in this call; the others were on record. */
  readonly asked: number;
  /** Share of updates on fused kernels, 0 to 1. */
  readonly fusedShare: number;
  /** Temperature at which the policy was handed over. */
  readonly temperature: number;
  /**
   * What the answers held out say of it; undefined where there are none. `standardErrors` below 4 means that its choices cannot be told
   * from a blind guess: the policy was then handed over as it was given.
   */
  readonly heldOut: ChoiceFit | undefined;
  /** Whether anything was learned that the answers held out confirm (or there are none): otherwise the policy is as it was given. */
  readonly isBetterThanChance: boolean;
  /** Whether the run went on from a checkpoint. */
  readonly resumed: boolean;
  /** Wall-clock seconds of this call. */
  readonly wallSeconds: number;
}

const idList = z.array(z.string()).max(10_000);
const startSchema = z.union([
  idList,
  z.strictObject({ history: idList, context: z.array(z.number()).optional(), text: z.string().optional() }),
]);
const share = z.number().min(0).max(1);

const schema = z.strictObject({
  agent: instance<ActorCritic>((value) => value instanceof ActorCritic, 'an ActorCritic'),
  oracle: instance<PreferenceOracle>(
    (value) => typeof value.prefer === 'function' && typeof value.id === 'string',
    'a PreferenceOracle: an object with `id` and `prefer`',
  ).optional(),
  answers: z
    .array(
      z.strictObject({
        history: idList,
        // As many as were shown: letters, and with them the bound of 25, are an affair of who asked.
        candidates: idList.min(2),
        choice: z.string().nullable(),
        context: z.array(z.number()).optional(),
        // `readAnswers` gives them; a score may be -Infinity.
        scores: z
          .array(
            z.custom<number>(
              (value) => typeof value === 'number' && value < Number.POSITIVE_INFINITY,
              'expected a finite number, or -Infinity',
            ),
          )
          .optional(),
        text: z.string().optional(),
      }),
    )
    .min(1)
    .optional(),
  budget: z.strictObject({ calls: z.int().min(1) }).optional(),
  epochs: z.int().min(1).optional(),
  starts: z.array(startSchema).min(1).optional(),
  stepsPerEpisode: z.int().min(1).max(1000).default(10),
  candidateCount: z.int().min(2).max(25).default(10),
  actorShare: share.optional(),
  candidateDraw: z.enum(['sample', 'topK']).default('sample'),
  uniformShare: share.optional(),
  algorithm: z.union([z.enum(['list', 'paper']), z.looseObject({ name: z.enum(['list', 'paper']) })]).default('list'),
  passes: z.number().positive().max(10_000).optional(),
  heldOutShare: z.number().min(0).max(0.5).optional(),
  temperature: z.union([z.number().positive().max(100), z.literal('fitted')]).optional(),
  lanes: z.int().min(1).max(65_536).default(32),
  maxInvalidRate: share.default(0.05),
  retryInvalid: z.boolean().default(false),
  seed: z.int().default(0),
  ...hookSchemas,
  checkpointEvery: hookSchemas.checkpointEvery.default(500),
});

/**
 * Algorithm 1, iALP: learns a policy from an oracle's preferences before any user is met. Simulated users begin at the
 * starts; at each step the actor draws candidates, the oracle chooses, and the choice becomes the next item of the history.
 *
 * The agent is trained in place; when the call rejects (abort included) it has the weights it began with. With `storage` every
 * answer is kept and the run can be killed at any moment: run again with the same options it goes on, asks no question twice,
 * and ends with the same weights.
 *
 * @returns counts of steps, updates and questions, each apart.
 * @throws {InvalidArgumentError} for options out of range or at odds, such as neither or both of `oracle` and `answers`.
 * @throws {OracleError} when all questions of a batch failed, or too many answers cannot be used; after writing a checkpoint.
 * @throws {DivergedError} when losses stop being finite.
 * @throws {CheckpointError} when the storage holds a checkpoint of another run.
 */
export async function pretrain(options: PretrainOptions): Promise<PretrainResult> {
  const checked = checkOptions(schema, options, 'pretrain');
  const { agent, seed, storage } = checked;
  const algorithm = pretrainAlgorithm(checked.algorithm as PretrainAlgorithm, agent, checked.passes);
  const isPaper = algorithm.name === 'paper';
  if ((checked.oracle === undefined) === (checked.answers === undefined)) {
    throw new InvalidArgumentError(
      `pretrain: expected exactly one of \`oracle\` and \`answers\`, got ${checked.oracle ? 'both' : 'neither'}`,
      {
        argument: 'oracle',
      },
    );
  }
  const recording =
    checked.oracle &&
    storage &&
    (await RecordingOracle.open({
      oracle: checked.oracle,
      catalog: agent.catalog,
      storage,
      retryInvalid: checked.retryInvalid,
    }));
  const oracle = recording ?? checked.oracle;
  if (recording?.id.startsWith('llm:custom')) {
    checked.onWarning?.(
      'The oracle was given no `model`: its recorded answers cannot be told from those of another model. Name it, as in `new LlmOracle({ model: "my-model@1", … })`',
    );
  }
  const starts = indexStarts(agent, checked.starts ?? agent.catalog.ids().map((id) => [id]));
  const answers = checked.answers && indexAnswers(agent, checked.answers);
  const totalSteps = answers?.length ?? planSteps(checked, starts.length);
  const lanes = Math.min(checked.lanes, totalSteps);
  const candidateCount =
    answers?.reduce((most, { candidates }) => Math.max(most, candidates.length), 0) ?? checked.candidateCount;
  const candidates = {
    count: candidateCount,
    actorShare: checked.actorShare ?? (isPaper ? 1 : 0.5),
    actor: checked.candidateDraw,
    uniformShare: checked.uniformShare ?? (isPaper ? 0 : 0.05),
  };
  const heldOutShare = checked.heldOutShare ?? (isPaper ? 0 : 0.15);
  if (!answers) checkRoom(agent, starts, checked.stepsPerEpisode, candidateCount);
  const source = answers
    ? new RecordedSource({ answers, lanes, heldOutShare, seed })
    : new PreferenceSource({
        agent,
        oracle: oracle as PreferenceOracle,
        starts,
        candidates,
        lanes,
        stepsPerEpisode: checked.stepsPerEpisode,
        totalSteps,
        maxInvalidRate: checked.maxInvalidRate,
        heldOutShare,
        seed,
        events: checked.events,
        signal: checked.signal,
      });
  const buffer = new ReplayBuffer({
    lanes,
    stepsPerLane: Math.min(algorithm.stepsPerLane(lanes), Math.ceil(totalSteps / lanes) + 1),
    contextWidth: agent.settings.contextWidth,
    candidateCount,
    holdsOut: true,
  });
  const identity = {
    phase: 'pretrain',
    catalog: await agent.catalog.fingerprint(),
    agent: agent.settings as unknown as JsonValue,
    encoder: agent.encoder.name,
    features: await featuresHash(agent),
    oracle: oracle?.id ?? 'answers',
    algorithm: algorithm.toJSON(),
    // Hashes: what may be a million items need not stand in every checkpoint.
    starts: await sha256Hex(canonicalJson(starts as unknown as JsonValue)),
    answers: answers ? await sha256Hex(canonicalJson(answers as unknown as JsonValue)) : null,
    stepsPerEpisode: checked.stepsPerEpisode,
    candidates,
    totalSteps,
    heldOutShare,
    lanes,
    seed,
    // Last: it follows from what stands before, and the first difference is the one that is named.
    initial: await agent.sha256(),
  };
  const initial = agent.store.clone();
  // What does not learn is left out of gradients and clip; what the caller froze stays frozen.
  const fixed = agent.store.parameters().filter(({ name, frozen }) => !frozen && !isLearned(algorithm, name));
  for (const { name } of fixed) agent.store.freeze(name);
  let result: LoopResult;
  try {
    result = await runLoop({
      phase: 'pretrain',
      learner: agent,
      algorithm,
      source,
      buffer,
      totalSteps,
      stepsPerEpoch: checked.stepsPerEpoch,
      rng: new Rng(seed).fork('pretrain'),
      identity,
      alphaAt: () => 1,
      hooks: checked,
    });
  } catch (error) {
    // All or nothing: with the weights it began with, the same agent can go on from the checkpoint.
    agent.store.copyFrom(initial);
    throw error;
  } finally {
    for (const { name } of fixed) agent.store.freeze(name, false);
  }
  const handedOver = handOver(agent, algorithm, buffer, initial, checked);
  const asked = recording?.counts.asked ?? (checked.oracle ? result.oracleCalls : 0);
  return { ...withoutCurve(result), asked, ...handedOver };
}

function withoutCurve({ curve: _, ...result }: LoopResult): Omit<LoopResult, 'curve'> {
  return result;
}

function isLearned(algorithm: Algorithm, name: string): boolean {
  return !(algorithm instanceof ListDistillation) || algorithm.isLearned(name);
}

/** Answers scored at once when the policy is judged. */
const JUDGED_AT_ONCE = 128;
/**
 * A gain of fewer standard errors may be chance: answers of one user are no independent ones, and learning ended where they looked best.
 * Oracles that answer by chance gave up to 2.6 in 100 runs, one that reads text 8 and more from 500 answers on.
 */
const CHANCE = 4;

/** Judges what was learned by what was held out, and sets the temperature. */
function handOver(
  agent: ActorCritic,
  algorithm: Algorithm,
  buffer: ReplayBuffer,
  initial: ParameterStore,
  {
    temperature = algorithm.name === 'paper' ? 1 : 'fitted',
    onWarning,
  }: Pick<z.output<typeof schema>, 'temperature' | 'onWarning'>,
): Pick<PretrainResult, 'temperature' | 'heldOut' | 'isBetterThanChance'> {
  const batches = buffer.all('heldOut', JUDGED_AT_ONCE);
  const heldOut = batches.length > 0 ? fitChoices(agent, batches) : undefined;
  const isJudged = heldOut !== undefined && algorithm instanceof ListDistillation && algorithm.loss === 'list';
  if (isJudged && heldOut.standardErrors < CHANCE) {
    agent.store.copyFrom(initial);
    onWarning?.(
      `pretrain: on ${heldOut.answers} choices held out the policy is no better than a blind guess (${heldOut.standardErrors.toFixed(1)} standard errors): it is handed over as it was given. Ask more questions, or look at the oracle`,
    );
    return { temperature: 1, heldOut, isBetterThanChance: false };
  }
  const used = batches.length > 0 ? batches : buffer.all('learned', JUDGED_AT_ONCE);
  const fitted =
    temperature === 'fitted' ? servingTemperature(agent, heldOut ?? fitChoices(agent, used), used) : temperature;
  agent.scaleLogits(1 / fitted);
  return { temperature: fitted, heldOut, isBetterThanChance: true };
}

function pretrainAlgorithm(given: PretrainAlgorithm, agent: ActorCritic, passes: number | undefined): Algorithm {
  const { name, ...settings } = typeof given === 'string' ? { name: given } : given;
  if (name === 'list') {
    return listDistillation({ ...(passes === undefined ? {} : { passes }), ...(settings as ListSettings) }, agent);
  }
  if (passes !== undefined) {
    throw new InvalidArgumentError(
      "pretrain: expected `passes` with `algorithm: 'list'` only; 'paper' has `updatesPerStep`",
      { argument: 'passes' },
    );
  }
  if ((settings as ReplaySettings).correction === 'clipped-is') {
    // An action of pre-training is the oracle's choice: nobody knows with which probability it would have come.
    throw new InvalidArgumentError(
      "pretrain: expected `algorithm.correction` 'none', got 'clipped-is': the oracle's choices have no behaviour probability to correct by",
      { argument: 'algorithm.correction', wanted: "'none'", got: 'clipped-is' },
    );
  }
  return paper(settings as ReplaySettings);
}

/** epochs x starts x T, capped by the budget. */
function planSteps(options: z.output<typeof schema>, starts: number): number {
  const { budget, epochs, stepsPerEpisode } = options;
  const calls = budget?.calls ?? Number.POSITIVE_INFINITY;
  const planned = epochs === undefined && budget ? Number.POSITIVE_INFINITY : (epochs ?? 1) * starts * stepsPerEpisode;
  return Math.min(calls, planned);
}

function indexStarts(agent: ActorCritic, starts: readonly (readonly ItemId[] | PretrainStart)[]): IndexedStart[] {
  const width = agent.settings.contextWidth;
  return starts.map((given, i) => {
    const start: PretrainStart = 'history' in given ? given : { history: given };
    if (start.context !== undefined && start.context.length !== width) {
      throw new InvalidArgumentError(
        `pretrain: expected \`starts[${i}].context\` to have ${width} numbers, got ${start.context.length}`,
        {
          argument: `starts[${i}].context`,
        },
      );
    }
    return { ...start, history: start.history.map((id) => agent.catalog.indexOf(id)) };
  });
}

function indexAnswers(agent: ActorCritic, answers: readonly RecordedAnswer[]): IndexedAnswer[] {
  const width = agent.settings.contextWidth;
  return answers.map(({ history, candidates, choice, context = new Array<number>(width).fill(0) }, i) => {
    if (new Set(candidates).size < candidates.length) {
      const twice = candidates.find((id, at) => candidates.indexOf(id) < at);
      throw new InvalidArgumentError(
        `pretrain: expected \`answers[${i}].candidates\` to be distinct, got ${describeValue(twice)} twice`,
        { argument: `answers[${i}].candidates`, wanted: 'distinct items', got: twice },
      );
    }
    const position = choice === null ? candidates.length : candidates.indexOf(choice);
    if (position < 0) {
      throw new InvalidArgumentError(
        `pretrain: expected \`answers[${i}].choice\` to be one of its candidates, or null for None, got ${describeValue(choice)}`,
        { argument: `answers[${i}].choice`, wanted: 'one of the candidates, or null', got: choice },
      );
    }
    if (context.length !== width) {
      throw new InvalidArgumentError(
        `pretrain: expected \`answers[${i}].context\` to have ${width} numbers, got ${context.length}`,
        {
          argument: `answers[${i}].context`,
        },
      );
    }
    const indexOf = (id: ItemId) => agent.catalog.indexOf(id);
    return { history: history.map(indexOf), candidates: candidates.map(indexOf), choice: position, context };
  });
}

/** Candidates are distinct and new to the user, so the catalogue must have them. */
function checkRoom(agent: ActorCritic, starts: readonly IndexedStart[], stepsPerEpisode: number, k: number): void {
  const longest = starts.reduce((most, { history }) => Math.max(most, history.length), 0);
  const needed = longest + stepsPerEpisode - 1 + k;
  if (agent.catalog.size < needed) {
    throw new InvalidArgumentError(
      `pretrain: expected a catalogue of at least ${needed} items (longest start ${longest} + ${stepsPerEpisode - 1} steps + ${k} new candidates), got ${agent.catalog.size}; lower \`candidateCount\` or \`stepsPerEpisode\``,
      { argument: 'candidateCount', wanted: `a catalogue of ${needed} items`, got: agent.catalog.size },
    );
  }
}
