import type { Kernels } from '../compute/kernels.js';
import type { EventEmitter } from '../foundation/events.js';

/** Whether the run learns from preferences (Algorithm 1), from an environment (Algorithm 2), or from one in which the LLM acts (section 6.3). */
export type TrainingPhase = 'pretrain' | 'adapt' | 'llmOnline';

/** Where a run stands: all counts apart, none derived from another. */
export interface TrainingCounts {
  /** Steps taken: one interaction of one user (of one simulated user while pre-training). */
  readonly steps: number;
  /** Gradient updates applied. */
  readonly updates: number;
  /** Updates skipped for a loss or gradient that was not finite. */
  readonly skipped: number;
  /** Episodes ended. */
  readonly episodes: number;
  /** Questions put to the oracle, those answered from a record included. */
  readonly oracleCalls: number;
}

/** What every event says. */
export interface EventBase {
  /** Which of the phases. */
  readonly phase: TrainingPhase;
  /** Steps taken so far. */
  readonly step: number;
}

/** Payloads of the training events, by name: subject, then moment. Events observe; control is by `signal` and awaited callbacks. */
export interface TrainingEvents {
  /** The run begins, or goes on from `step`. */
  runStart: EventBase & {
    /** Steps declared. */
    readonly totalSteps: number;
    /** Whether it goes on from a checkpoint. */
    readonly resumed: boolean;
    /** tfjs backend. */
    readonly backend: string;
    /** Which kernels run. */
    readonly kernels: Kernels['kind'];
  };
  /** A user left, or the cap was reached. */
  episodeEnd: EventBase & {
    /** Lane of the parallel episodes, 0 to B - 1. */
    readonly lane: number;
    /** Undiscounted sum of rewards. */
    readonly return: number;
    /** Steps taken in it. */
    readonly length: number;
  };
  /** A round of updates was applied. */
  updateEnd: EventBase & {
    /** Updates applied so far. */
    readonly updates: number;
    /** Mean loss of the round. */
    readonly loss: number;
    /** Mean global gradient norm before the clip. */
    readonly gradientNorm: number;
    /** Mean entropy of the policy in nats; NaN where the algorithm does not look at it. */
    readonly entropy: number;
    /** Alpha of Eq. 14; 1 without a mixture. */
    readonly alpha: number;
  };
  /** `stepsPerEpoch` more steps were taken. */
  epochEnd: EventBase & {
    /** Epochs ended, from 1. */
    readonly epoch: number;
  };
  /** The oracle answered a batch of questions. */
  oracleAnswer: EventBase & {
    /** Questions of the batch. */
    readonly asked: number;
    /** Answers that chose an item. */
    readonly chosen: number;
    /** Answers "None". */
    readonly none: number;
    /** Answers that could not be read, or that failed; they teach nothing. */
    readonly unusable: number;
  };
  /** A checkpoint is durable. */
  checkpointEnd: EventBase & {
    /** Its size. */
    readonly bytes: number;
  };
  /** The run reached its end. */
  runEnd: EventBase & TrainingCounts;
}

/** An emitter for {@link TrainingEvents}: make one, listen, and pass it as `events`. */
export type TrainingEmitter = EventEmitter<TrainingEvents>;

/** What `onProgress` is told, about every second and at the end. */
export interface TrainingProgress extends TrainingCounts {
  /** Which of the phases. */
  readonly phase: TrainingPhase;
  /** Steps declared. */
  readonly totalSteps: number;
  /** Questions put to the oracle so far; the same as `oracleCalls`. */
  readonly calls: number;
  /** Seconds since this process began or resumed the run. */
  readonly elapsedSeconds: number;
  /** Seconds still to go at the pace so far; NaN until it is known. */
  readonly etaSeconds: number;
  /** Mean return of the latest 20 episodes (paper section 5); NaN before the first. */
  readonly recentReturn: number;
  /** Mean length of the latest 20 episodes; NaN before the first. */
  readonly recentLength: number;
}
