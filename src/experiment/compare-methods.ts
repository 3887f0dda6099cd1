import { ActorCritic } from '../agent/actor-critic.js';
import type { ActorCriticOptions } from '../agent/agent-model.js';
import { ContentPolicy } from '../agent/content-policy.js';
import { CountingBanditPolicy } from '../agent/counting-bandit-policy.js';
import { PopularityPolicy } from '../agent/popularity-policy.js';
import { RandomPolicy } from '../agent/random-policy.js';
import { ItemFeatures } from '../catalog/item-features.js';
import type { JsonValue } from '../foundation/json.js';
import { Rng } from '../foundation/rng.js';
import type { Schedule } from '../foundation/schedules.js';
import { prefixedStorage, type Storage } from '../foundation/storage.js';
import { mean } from '../metrics/statistics.js';
import type { PreferenceOracle } from '../oracle/preference-oracle.js';
import { type AdaptAlgorithm, adapt } from '../train/adapt.js';
import { type PretrainAlgorithm, pretrain } from '../train/pretrain.js';
import type { TrainingProgress } from '../train/training-events.js';
import { type CardRow, worldCard } from '../world/card.js';
import { type World, worldStarts } from '../world/world.js';
import { Measurements } from './measurements.js';
import type { ReportCurve } from './report.js';
import type { Method, RowAlgorithm, RunRow } from './result-schema.js';

/** What {@link compareMethods} is told as it goes. */
export interface ComparisonProgress {
  /** The method at work. */
  readonly method: Method | 'card';
  /** The seed at work. */
  readonly seed: number;
  /** Share of the whole comparison that is done, 0 to 1. */
  readonly done: number;
  /** Where the method's training stands, while it trains. */
  readonly training?: TrainingProgress;
}

/** Options of {@link compareMethods}. */
export interface ComparisonOptions {
  /** Trained on its `train` split, measured on its `test` split. */
  readonly world: World;
  /** The agent of one seed. */
  readonly agent: (seed: number) => ActorCriticOptions;
  /** The oracle of one seed. */
  readonly oracle: (seed: number) => PreferenceOracle;
  /** The same oracle, reading another item's text: the control that must teach nothing. */
  readonly shuffledOracle: (seed: number) => PreferenceOracle;
  /** Questions of one pre-training. */
  readonly calls: number;
  /** Simulated users' beginnings. */
  readonly starts: number;
  /** How it pre-trains. @default 'list' */
  readonly pretrainAlgorithm?: PretrainAlgorithm;
  /** How it learns online, every method alike. */
  readonly algorithm: AdaptAlgorithm;
  /** Alpha of the mixture. */
  readonly alpha: Schedule;
  /** Mean entropy at hand-over to online learning, nats; undefined leaves theta as it is. */
  readonly handoverEntropy?: number | undefined;
  /** Environment steps of each online method. */
  readonly steps: number;
  /** Steps at which the online methods are evaluated, ascending, multiples of `stepsPerEpoch`; 0 is always evaluated. */
  readonly marks: readonly number[];
  /** Greatest common step of the marks. */
  readonly stepsPerEpoch: number;
  /** Parallel users while learning. */
  readonly lanes: number;
  /** Episodes of each evaluation. */
  readonly episodes: number;
  /** Seeds; all methods run under each. */
  readonly seeds: readonly number[];
  /** Where measurements and checkpoints go: an interrupted comparison goes on from there. @default nowhere */
  readonly storage?: Storage | undefined;
  /** Told before each piece of work, and about every second of training. */
  readonly onProgress?: (progress: ComparisonProgress) => void;
  /** Told the world's card as soon as it is measured. */
  readonly onCard?: (card: readonly CardRow[]) => void;
  /** Told of what is odd but no error, such as a damaged checkpoint that was passed over. */
  readonly onWarning?: (message: string) => void;
  /** Stops the comparison. */
  readonly signal?: AbortSignal;
}

/** What {@link compareMethods} found. */
export interface Comparison {
  /** The table, in a fixed order of methods; by steps and mode within a method. */
  readonly rows: RunRow[];
  /** Sampled return and length against environment steps. */
  readonly curves: ReportCurve[];
  /** What the world itself allows. */
  readonly card: CardRow[];
  /** Share of updates on fused kernels. */
  readonly fusedShare: number;
}

/** The pieces of one seed's work, each with the share of the time that has gone when it begins. */
const PIECES = {
  random: 0,
  ialp: 0.06,
  ialpShuffledOracle: 0.16,
  scratch: 0.26,
  fineTune: 0.48,
  mixture: 0.7,
} as const;
/** The card comes first: this share of the whole. */
const CARD_SHARE = 0.03;
type Piece = keyof typeof PIECES;
type Report = (piece: Piece, training?: TrainingProgress) => void;

/** Lines of the charts; an online method starts where the policy that it was given stands. */
const CURVES = [
  'random',
  'popularity',
  'content',
  ['scratch', 'untrained'],
  ['fineTune', 'ialp'],
  ['mixture', 'ialp'],
  'countingBandit',
] as const;

/**
 * Pre-trains, adapts and measures every method of the demo's table under the same world, episodes and online algorithm:
 * trivial policies, what text alone gives, controls that must fail, and an oracle that is told the truth.
 */
export async function compareMethods(options: ComparisonOptions): Promise<Comparison> {
  const { world, seeds, episodes, storage, signal } = options;
  const measurements = await Measurements.open({
    world,
    split: 'test',
    episodes,
    storage,
    signal,
    run: identityOf(options),
  });
  options.onProgress?.({ method: 'card', seed: seeds[0] as number, done: 0 });
  const card = await worldCard(world, { split: 'test', episodes, seeds, ...(signal ? { signal } : {}) });
  options.onCard?.(card);
  const fused: number[] = [];
  for (const [index, seed] of seeds.entries()) {
    const report: Report = (method, training) => {
      // Not from within a training: it writes its checkpoint first.
      if (!training) signal?.throwIfAborted();
      const begins = Object.values(PIECES);
      const ends = begins[begins.indexOf(PIECES[method]) + 1] ?? 1;
      const share = training ? training.steps / training.totalSteps : 0;
      const ofSeed = PIECES[method] + (ends - PIECES[method]) * share;
      const done = CARD_SHARE + ((index + ofSeed) / seeds.length) * (1 - CARD_SHARE);
      options.onProgress?.({ method, seed, done, ...(training ? { training } : {}) });
    };
    fused.push(...(await measureSeed(options, measurements, seed, report)));
  }
  const truth = card.find(({ policy }) => policy === 'oraclePersonal') ?? card.find(({ policy }) => policy === 'beam');
  return {
    rows: [...measurements.rows(), ...(truth ? oracleRows(truth) : [])],
    // Without the oracle: its level would press the learners' curves flat. It stands in the table.
    curves: measurements.curves(CURVES),
    card,
    fusedShare: mean(fused),
  };
}

/** @returns the share of fused updates of each training. */
async function measureSeed(
  options: ComparisonOptions,
  measurements: Measurements,
  seed: number,
  report: Report,
): Promise<number[]> {
  const { world, steps, lanes, calls, algorithm, alpha, pretrainAlgorithm = 'list' } = options;
  const fused: number[] = [];
  const hooks = (method: Piece) => ({
    // A stop while a policy is measured falls back to the checkpoint before: one every epoch, so that little is repeated.
    checkpointEvery: options.stepsPerEpoch,
    ...(options.storage ? { storage: prefixedStorage(options.storage, `seed-${seed}/${method}`) } : {}),
    ...(options.onProgress ? { onProgress: (training: TrainingProgress) => report(method, training) } : {}),
    ...(options.onWarning ? { onWarning: options.onWarning } : {}),
    ...(options.signal ? { signal: options.signal } : {}),
  });
  const still = { seed, steps: 0, updates: 0, oracleCalls: 0, algorithm: 'none' as const };

  report('random');
  const now = () => ({ ...still, began: Date.now() });
  await measurements.measure('random', new RandomPolicy({ itemCount: world.catalog.size }), now());
  await measurements.measure('popularity', new PopularityPolicy(world.popularity), now());
  await measurements.measure('content', new ContentPolicy(ItemFeatures.tfidf(world.catalog)), now());
  await measureBandit(options, measurements, seed);

  report('ialp');
  using untrained = new ActorCritic(options.agent(seed));
  await measurements.measure('untrained', untrained, now());
  const starts = imaginedStarts(world, options.starts, seed);
  const pretrained = async (method: 'ialp' | 'ialpShuffledOracle', oracle: PreferenceOracle) => {
    const began = Date.now();
    const agent = new ActorCritic(options.agent(seed));
    try {
      const result = await pretrain({
        agent,
        oracle,
        starts,
        budget: { calls },
        seed,
        algorithm: pretrainAlgorithm,
        ...hooks(method),
      });
      fused.push(result.fusedShare);
      const at = {
        ...still,
        updates: result.updates,
        oracleCalls: result.oracleCalls,
        algorithm: nameOf(pretrainAlgorithm),
        began,
      };
      await measurements.measure(method, agent, at);
      return { agent, at };
    } catch (error) {
      agent.dispose();
      throw error;
    }
  };
  const { agent: given, at: pretraining } = await pretrained('ialp', options.oracle(seed));
  using theta = given;
  report('ialpShuffledOracle');
  (await pretrained('ialpShuffledOracle', options.shuffledOracle(seed))).agent.dispose();
  using wrong = wrongSign(theta);
  await measurements.measure('wrongSign', wrong, pretraining);

  const online = async (method: 'scratch' | 'fineTune' | 'mixture', agent: ActorCritic): Promise<void> => {
    const began = Date.now();
    const before = agent === theta ? pretraining : still;
    const result = await adapt({
      agent,
      env: world.batchEnv({ split: 'train', size: lanes, seed }),
      ...(method === 'mixture' ? { scheme: 'mixture', alpha } : {}),
      ...(options.handoverEntropy !== undefined && agent === theta ? { handoverEntropy: options.handoverEntropy } : {}),
      steps,
      algorithm,
      seed,
      stepsPerEpoch: options.stepsPerEpoch,
      afterEpoch: async ({ epoch, policy, updates }) => {
        const mark = epoch * options.stepsPerEpoch;
        if (!options.marks.includes(mark)) return;
        await measurements.measure(method, policy, {
          seed,
          steps: mark,
          updates: before.updates + updates,
          oracleCalls: before.oracleCalls,
          algorithm: nameOf(algorithm),
          began,
        });
      },
      ...hooks(method),
    });
    fused.push(result.fusedShare);
    result.policy.dispose();
  };
  report('scratch');
  await online('scratch', untrained);
  report('fineTune');
  await online('fineTune', theta);
  report('mixture');
  await online('mixture', theta);
  return fused;
}

/** The algorithm as rows name it, with settings or without. */
function nameOf<N extends RowAlgorithm>(algorithm: N | { readonly name: N }): N {
  return typeof algorithm === 'string' ? algorithm : algorithm.name;
}

/** All that the numbers depend on beside the world: kept measurements of another comparison are refused. */
function identityOf(options: ComparisonOptions): Readonly<Record<string, JsonValue>> {
  const { calls, starts, pretrainAlgorithm, algorithm, alpha, handoverEntropy, steps, lanes, seeds } = options;
  const { encoder, catalog: _, features: __, ...agent } = options.agent(0);
  return {
    ...{ calls, starts, algorithm: algorithm as JsonValue, alpha: alpha.toJSON(), steps, lanes, seeds: [...seeds] },
    ...{ agent: agent as unknown as JsonValue, encoder: encoder.name, handoverEntropy: handoverEntropy ?? null },
    pretrainAlgorithm: (pretrainAlgorithm as JsonValue | undefined) ?? null,
  };
}

/** Users' beginnings of the train split, as item ids: whom a team may imagine before it meets anyone. */
export function imaginedStarts(world: World, count: number, seed: number) {
  const { histories, contexts } = worldStarts(world, { split: 'train', count, seed });
  return histories.map((history, i) => ({
    history: Array.from(history, (item) => world.catalog.id(item)),
    ...(contexts ? { context: contexts[i] as readonly number[] } : {}),
  }));
}

/** Counts what each item paid, one list for all, and shows the best: what a learner must beat to be worth its name. */
async function measureBandit(options: ComparisonOptions, measurements: Measurements, seed: number): Promise<void> {
  const { world, lanes, marks } = options;
  const bandit = new CountingBanditPolicy({ itemCount: world.catalog.size });
  const env = world.batchEnv({ split: 'train', size: lanes, seed });
  const rng = new Rng(seed).fork('countingBandit');
  const mask = env.noRepeat ? { noRepeat: true } : {};
  const began = Date.now();
  env.reset({ seed });
  let steps = 0;
  for (const mark of marks) {
    for (; steps < mark; steps += lanes) {
      const { actions } = bandit.act(env.histories(), { mode: 'argmax', uniforms: rng.uniforms(lanes), mask });
      const { rewards, terminated, truncated } = env.step(actions);
      bandit.observe({ actions, rewards });
      const rows = Uint8Array.from(terminated, (flag, b) => flag | (truncated[b] as number));
      if (rows.includes(1)) env.reset({ rows });
    }
    await measurements.measure('countingBandit', bandit, {
      seed,
      steps: mark,
      updates: 0,
      oracleCalls: 0,
      algorithm: 'none',
      began,
    });
  }
}

/** Theta with its taste turned around: item preferences negated, the "was shown" weights kept (`learning.md` 5). */
function wrongSign(theta: ActorCritic): ActorCritic {
  const agent = theta.clone();
  const repeats = theta.settings.historyFeatures ? theta.settings.historyFeatures.repeats : 0;
  for (const name of agent.store.names) {
    if (!name.startsWith('actor/')) continue;
    const { data } = agent.store.get(name);
    for (let i = name === 'actor/history' ? repeats : 0; i < data.length; i++) data[i] = -(data[i] as number);
  }
  agent.store.touch();
  return agent;
}

/** The card's best planner under both modes: it does not sample. */
function oracleRows({
  world,
  split,
  reward,
  averageReward,
  coverage,
  length,
  returnHigh,
  returnLow,
  return: total,
}: CardRow): RunRow[] {
  return (['sampled', 'argmax'] as const).map((mode) => ({
    ...{ world, split, reward, method: 'oracle' as const, algorithm: 'none' as const, mode, temperature: null },
    ...{ steps: 0, updates: 0, oracleCalls: 0, return: total, returnLow, returnHigh, length, averageReward, coverage },
    ...{ perSeed: [total], weightsSha256: null, wallSeconds: 0 },
  }));
}
