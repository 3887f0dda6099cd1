import { z } from 'zod';
import type { ActorCritic } from '../agent/actor-critic.js';
import type { Algorithm } from '../agent/algorithm.js';
import type { ReplayBuffer } from '../agent/replay-buffer.js';
import { ensureBackend } from '../compute/backend.js';
import type { Mask } from '../compute/mask.js';
import { CheckpointError, DivergedError } from '../foundation/errors.js';
import type { JsonValue } from '../foundation/json.js';
import type { NamedArray, NamedArrays } from '../foundation/named-arrays.js';
import { Rng, type RngState } from '../foundation/rng.js';
import type { Storage } from '../foundation/storage.js';
import { Turns } from '../foundation/turns.js';
import { CheckpointFile } from './checkpoint.js';
import { EpisodeColumns } from './episode-columns.js';
import type { TrainingCounts, TrainingEmitter, TrainingPhase, TrainingProgress } from './training-events.js';

/** Where experience comes from: an environment (Algorithm 2) or an oracle (Algorithm 1). One call, one step of every lane. */
export interface ExperienceSource {
  /** The environment's mask, counted in every probability. */
  readonly mask: Mask;
  /** Begins the first episodes; not called on resume. */
  start(): Promise<void>;
  /**
   * Steps every lane once, adds to the buffer, and starts new episodes where one ended. When it rejects, buffer and source are
   * as before, or `saveState` gives undefined: a checkpoint is written of the moment before.
   *
   * @param steps - steps taken before.
   */
  step(context: StepContext): Promise<SourceStep>;
  /** Whether episodes can be saved; where not, see {@link ExperienceSource.restart}. */
  readonly isSaved: boolean;
  /** Episodes and counters as JSON; undefined where they cannot be saved, and after half a step. */
  saveState(): JsonValue | undefined;
  /** Goes on from `saveState`. */
  restoreState(state: JsonValue): void;
  /** Where episodes cannot be saved: abandons them and starts others that depend on `steps` alone, at every checkpoint, so that a resumed run meets what an unbroken one met. */
  restart(steps: number): Promise<void>;
}

/** What a source is handed for one step. */
export interface StepContext {
  /** Takes the transitions. */
  readonly buffer: ReplayBuffer;
  /** Draws actions and candidates; its state is part of checkpoints. */
  readonly rng: Rng;
  /** Steps taken before. */
  readonly steps: number;
}

/** What one step of a source did. */
export interface SourceStep {
  /** Steps that count: lanes that had something to add, or questions put. */
  readonly steps: number;
  /** Questions put to an oracle. */
  readonly oracleCalls: number;
  /** Episodes that ended, each `at` its lane; a source may reuse them: valid until its next step. */
  readonly ended: EpisodeColumns;
}

/** What a caller of `pretrain` or `adapt` may hook in. */
export interface TrainingHooks {
  /** Where checkpoints go; run again with the same storage and options and the run goes on. Without it nothing is written. */
  readonly storage?: Storage | undefined;
  /** Steps between checkpoints, >= 1. */
  readonly checkpointEvery: number;
  /** Told what happens; see `TrainingEvents`. */
  readonly events?: TrainingEmitter | undefined;
  /** Told about every second, and at the end. */
  readonly onProgress?: ((progress: TrainingProgress) => void) | undefined;
  /** Awaited after every epoch; may evaluate. */
  readonly afterEpoch?:
    | ((epoch: { readonly epoch: number; readonly steps: number; readonly updates: number }) => unknown)
    | undefined;
  /** Told of a damaged checkpoint that was passed over, and of a resume on other kernels. */
  readonly onWarning?: ((message: string) => void) | undefined;
  /** On abort a checkpoint is written and the call rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
}

/** One run of the loop. */
export interface LoopRun {
  readonly phase: TrainingPhase;
  readonly learner: ActorCritic;
  readonly algorithm: Algorithm;
  readonly source: ExperienceSource;
  readonly buffer: ReplayBuffer;
  readonly totalSteps: number;
  readonly stepsPerEpoch: number;
  readonly rng: Rng;
  /** What the run is, an object; a checkpoint of another is refused. */
  readonly identity: { readonly [field: string]: JsonValue };
  /** Alpha at a step, for the events; 1 without a mixture. */
  alphaAt(step: number): number;
  readonly hooks: TrainingHooks;
}

/** One episode of a training curve. */
export interface EpisodePoint {
  /** Steps taken by all users when it ended. */
  readonly step: number;
  /** Its return: the undiscounted sum of its rewards. */
  readonly return: number;
  /** Its length in steps. */
  readonly length: number;
}

/** What a run amounted to. */
export interface LoopResult extends TrainingCounts {
  /** Share of updates that ran on fused kernels, 0 to 1. */
  readonly fusedShare: number;
  /** Whether it went on from a checkpoint (also when the run had already ended). */
  readonly resumed: boolean;
  /** Wall-clock seconds of this call. */
  readonly wallSeconds: number;
  /** Return and length of every episode ended in this call, with the step at its end. */
  readonly curve: readonly EpisodePoint[];
}

/** So many updates in a row that are not finite end a run. */
const SKIPS_ALLOWED = 3;
const PROGRESS_MS = 1000;
/** Where updates go on after the last step, a checkpoint is written after so many. */
const UPDATES_A_CHECKPOINT = 250;
/** The paper's curves show the mean of the latest 20 episodes. */
const RECENT_EPISODES = 20;

type Counters = { -readonly [K in keyof TrainingCounts]: number } & {
  epoch: number;
  iterations: number;
  sinceUpdate: number;
  skipsInRow: number;
  fusedUpdates: number;
};

/**
 * The one loop of Algorithms 1 and 2: step all lanes, learn when an update is due, end epochs, write checkpoints. It stops at
 * `totalSteps`, on abort, and when numbers stop being finite.
 *
 * @throws {DivergedError} after three updates in a row that were not finite, naming the step.
 * @throws {CheckpointError} when the storage holds another run's checkpoint.
 */
export async function runLoop(run: LoopRun): Promise<LoopResult> {
  const { phase, learner, algorithm, source, buffer, totalSteps, hooks, rng } = run;
  const backend = await ensureBackend();
  const began = Date.now();
  const files = hooks.storage && new CheckpointFile(hooks.storage);
  const counters: Counters = {
    steps: 0,
    updates: 0,
    skipped: 0,
    episodes: 0,
    oracleCalls: 0,
    epoch: 0,
    iterations: 0,
    sinceUpdate: 0,
    skipsInRow: 0,
    fusedUpdates: 0,
  };
  let rngs = { act: rng.fork('act'), learn: rng.fork('learn') };
  const { kind, variant } = learner.kernels;
  const kernels = variant === undefined ? kind : `${kind} (${variant})`;
  const curve = new EpisodeColumns();

  // Where episodes are started anew at every checkpoint, their beat is part of what the run is.
  const beat = source.isSaved ? {} : { checkpointEvery: hooks.checkpointEvery };
  const identity = { ...run.identity, ...beat };
  const saved = await files?.newest(identity, (error) =>
    hooks.onWarning?.(`${error.message}; going on from the checkpoint before it`),
  );
  if (saved) {
    const state = parseState(saved.state);
    Object.assign(counters, state.counters);
    rngs = { act: Rng.fromState(state.act), learn: Rng.fromState(state.learn) };
    restoreArrays(run, saved.arrays);
    if (state.kernels !== kernels || state.backend !== backend.backend) {
      hooks.onWarning?.(
        `The checkpoint was made by ${state.kernels} kernels on ${state.backend}, this run uses ${kernels} on ${backend.backend}: results will differ in their last digits`,
      );
    }
    if (state.source !== null) source.restoreState(state.source);
    else await source.restart(counters.steps);
  } else await source.start();
  const beganAt = counters.steps;
  let last = { ...counters };

  const save = async (): Promise<void> => {
    if (!files) {
      // With or without a storage the beat is the same, hence the weights.
      if (!source.isSaved) await source.restart(counters.steps);
      last = { ...counters };
      return;
    }
    const state = source.saveState();
    const bytes = await files.save({
      step: counters.steps,
      identity,
      state: {
        counters: { ...counters },
        act: rngs.act.state() as unknown as JsonValue,
        learn: rngs.learn.state() as unknown as JsonValue,
        source: state ?? null,
        backend: backend.backend,
        kernels,
      },
      arrays: collectArrays(run),
    });
    last = { ...counters };
    if (state === undefined) await source.restart(counters.steps);
    hooks.events?.emit('checkpointEnd', { phase, step: counters.steps, bytes });
  };

  hooks.events?.emit('runStart', {
    phase,
    step: counters.steps,
    totalSteps,
    resumed: saved !== undefined,
    backend: backend.backend,
    kernels: kind,
  });
  let reported = 0;
  const progress = (): void => {
    if (!hooks.onProgress) return;
    reported = Date.now();
    const elapsedSeconds = (reported - began) / 1000;
    const recent = Math.min(RECENT_EPISODES, curve.count);
    const average = (pick: 'return' | 'length') => {
      let sum = 0;
      for (let i = curve.count - recent; i < curve.count; i++) sum += curve[pick](i);
      return sum / recent;
    };
    hooks.onProgress({
      phase,
      ...countsOf(counters),
      totalSteps,
      calls: counters.oracleCalls,
      elapsedSeconds,
      etaSeconds:
        counters.steps > beganAt
          ? (elapsedSeconds * (totalSteps - counters.steps)) / (counters.steps - beganAt)
          : Number.NaN,
      recentReturn: average('return'),
      recentLength: average('length'),
    });
  };

  /** An abort or a failed step keeps what was done, unless the source would have to restart its episodes off the beat. */
  const keep = async (): Promise<void> => {
    if (files && counters.iterations > last.iterations && source.saveState() !== undefined) await save();
  };
  const attempted = (): number => counters.updates + counters.skipped;
  // Nothing can be learned from an empty buffer: where no answer was usable, nothing is owed.
  const owed = (): number =>
    buffer.size === 0
      ? 0
      : (algorithm.updatesDue?.(Math.min(counters.steps, totalSteps), totalSteps) ?? 0) - attempted();

  const collect = async (): Promise<void> => {
    const before = rngs.act.state();
    const done = await source.step({ buffer, rng: rngs.act, steps: counters.steps }).catch(async (error: unknown) => {
      // A step that failed added nothing: with its draws taken back, the checkpoint is that of the moment before it.
      rngs.act = Rng.fromState(before);
      refuseBrokenWeights(run, counters, error);
      await keep();
      throw error;
    });
    counters.steps += done.steps;
    counters.sinceUpdate += done.steps;
    counters.oracleCalls += done.oracleCalls;
    const { ended } = done;
    counters.episodes += ended.count;
    for (let i = 0; i < ended.count; i++) {
      const [lane, episodeReturn, length] = [ended.at(i), ended.return(i), ended.length(i)];
      curve.push(counters.steps, episodeReturn, length);
      hooks.events?.emit('episodeEnd', { phase, step: counters.steps, lane, return: episodeReturn, length });
    }
  };

  const turns = new Turns();
  while (counters.steps < totalSteps || owed() > 0) {
    await turns.give();
    if (hooks.signal?.aborted) {
      await keep();
      hooks.signal.throwIfAborted();
    }
    if (counters.steps < totalSteps) await collect();
    counters.iterations++;
    const isCollected = counters.steps >= totalSteps;
    if (counters.iterations % algorithm.rolloutSteps === 0 || (isCollected && buffer.rolloutLength > 0)) {
      learn(run, counters, rngs.learn);
    }
    while (counters.steps >= (counters.epoch + 1) * run.stepsPerEpoch) {
      counters.epoch++;
      hooks.events?.emit('epochEnd', { phase, step: counters.steps, epoch: counters.epoch });
      await hooks.afterEpoch?.({ epoch: counters.epoch, steps: counters.steps, updates: counters.updates });
    }
    const isEnd = isCollected && owed() <= 0;
    const isBeat =
      counters.steps - last.steps >= hooks.checkpointEvery ||
      (isCollected && attempted() - last.updates - last.skipped >= UPDATES_A_CHECKPOINT);
    // Only right after an update: a rollout is never split by a restart.
    if (counters.sinceUpdate === 0 && (isEnd || isBeat)) await save();
    if (Date.now() - reported >= PROGRESS_MS) progress();
  }
  progress();
  hooks.events?.emit('runEnd', { phase, step: counters.steps, ...countsOf(counters) });
  return {
    ...countsOf(counters),
    fusedShare: counters.updates > 0 ? counters.fusedUpdates / counters.updates : 0,
    resumed: saved !== undefined,
    wallSeconds: (Date.now() - began) / 1000,
    curve: pointsOf(curve),
  };
}

function pointsOf(curve: EpisodeColumns): EpisodePoint[] {
  const point = (_: unknown, i: number) => ({ step: curve.at(i), return: curve.return(i), length: curve.length(i) });
  return Array.from({ length: curve.count }, point);
}

function learn(run: LoopRun, counters: Counters, rng: Rng): void {
  const { phase, learner, algorithm, buffer, source, totalSteps, hooks } = run;
  const report = algorithm.update({
    learner,
    buffer,
    mask: source.mask,
    rng,
    progress: Math.min(1, counters.steps / totalSteps),
    steps: counters.steps,
    totalSteps,
    newSteps: counters.sinceUpdate,
    attempted: counters.updates + counters.skipped,
  });
  counters.sinceUpdate = 0;
  counters.updates += report.updates;
  if (learner.kernels.kind === 'fused') counters.fusedUpdates += report.updates;
  counters.skipped += report.skipped;
  counters.skipsInRow = report.updates > 0 ? 0 : counters.skipsInRow + report.skipped;
  if (counters.skipsInRow >= SKIPS_ALLOWED) {
    throw new DivergedError(
      `${phase}: ${counters.skipsInRow} updates in a row had a loss or gradient that is not finite, at step ${counters.steps}; lower the learning rate or check the rewards`,
      { step: counters.steps, loss: report.loss, gradientNorm: report.gradientNorm },
    );
  }
  if (report.updates > 0) {
    const { loss, gradientNorm, entropy } = report;
    hooks.events?.emit('updateEnd', {
      phase,
      step: counters.steps,
      updates: counters.updates,
      loss,
      gradientNorm,
      entropy,
      alpha: run.alphaAt(counters.steps),
    });
  }
}

/** Weights that are no longer finite make the next step fail somewhere deep down: what happened is that the run diverged. */
function refuseBrokenWeights({ phase, learner }: LoopRun, counters: Counters, cause: unknown): void {
  for (const { name, data } of learner.store.parameters()) {
    if (data.every(Number.isFinite)) continue;
    throw new DivergedError(`${phase}: the weights \`${name}\` are not finite, at step ${counters.steps}`, {
      step: counters.steps,
      cause,
    });
  }
}

const countersSchema = z.strictObject({
  steps: z.int(),
  updates: z.int(),
  skipped: z.int(),
  episodes: z.int(),
  oracleCalls: z.int(),
  epoch: z.int(),
  iterations: z.int(),
  sinceUpdate: z.int(),
  skipsInRow: z.int(),
  fusedUpdates: z.int(),
});
const stateSchema = z.strictObject({
  counters: countersSchema,
  act: z.custom<RngState>(),
  learn: z.custom<RngState>(),
  source: z.custom<JsonValue>(),
  backend: z.string(),
  kernels: z.string(),
});

function parseState(state: JsonValue): z.output<typeof stateSchema> {
  const parsed = stateSchema.safeParse(state);
  if (parsed.success) return parsed.data;
  const field = parsed.error.issues[0]?.path.join('.') ?? '';
  throw new CheckpointError(`checkpoint: expected the state of a run, found a wrong \`${field}\``, {
    cause: parsed.error,
  });
}

function countsOf({ steps, updates, skipped, episodes, oracleCalls }: Counters): TrainingCounts {
  return { steps, updates, skipped, episodes, oracleCalls };
}

function collectArrays({ learner, algorithm, buffer }: LoopRun): NamedArrays {
  const arrays: Record<string, NamedArray> = {};
  const parts = {
    weights: learner.store.toNamedArrays(),
    optimiser: algorithm.optimiser.state(),
    buffer: buffer.toNamedArrays(),
    algorithm: algorithm.state?.() ?? {},
  };
  for (const [prefix, part] of Object.entries(parts)) {
    for (const [name, array] of Object.entries(part)) arrays[`${prefix}/${name}`] = array;
  }
  return arrays;
}

function restoreArrays({ learner, algorithm, buffer }: LoopRun, arrays: NamedArrays): void {
  const part = (prefix: string): NamedArrays =>
    Object.fromEntries(
      Object.entries(arrays)
        .filter(([name]) => name.startsWith(`${prefix}/`))
        .map(([name, array]) => [name.slice(prefix.length + 1), array]),
    );
  learner.store.loadNamedArrays(part('weights'), 'checkpoint');
  algorithm.optimiser.load(part('optimiser'), 'checkpoint');
  buffer.load(part('buffer'), 'checkpoint');
  algorithm.load?.(part('algorithm'), 'checkpoint');
}
