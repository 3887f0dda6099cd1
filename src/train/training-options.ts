import { z } from 'zod';
import type { Storage } from '../foundation/storage.js';
import type { TrainingEmitter, TrainingProgress } from './training-events.js';

/** What a caller of `pretrain` and `adapt` may say alike. */
export interface TrainingHookOptions {
  /** Seed of everything drawn. @default 0 */
  readonly seed?: number;
  /** Steps an epoch of `afterEpoch` lasts (the paper's @e). @default 1000 */
  readonly stepsPerEpoch?: number;
  /** Where checkpoints go, and the oracle's answers; run again with the same storage and options and the run goes on. @default nowhere */
  readonly storage?: Storage;
  /** Told what happens. */
  readonly events?: TrainingEmitter;
  /** Told about every second. */
  readonly onProgress?: (progress: TrainingProgress) => void;
  /** Told of what is odd but no error, such as a damaged checkpoint that was passed over. */
  readonly onWarning?: (message: string) => void;
}

/** A zod schema for a value that is passed on as it is; `wanted` completes "expected …" in the message. */
export function instance<T>(test: (value: T) => boolean, wanted: string) {
  return z.custom<T>((value) => typeof value === 'object' && value !== null && test(value as T), {
    error: `expected ${wanted}`,
  });
}

const functionSchema = <T>() =>
  z.custom<T>((value) => typeof value === 'function', { error: 'expected a function' }).optional();

/** The hooks that `pretrain` and `adapt` share, for their schemas. */
export const hookSchemas = {
  storage: instance<Storage>(
    (value) => typeof value.put === 'function' && typeof value.list === 'function',
    'a Storage',
  ).optional(),
  checkpointEvery: z.int().min(1),
  stepsPerEpoch: z.int().min(1).default(1000),
  events: instance<TrainingEmitter>((value) => typeof value.emit === 'function', 'an EventEmitter').optional(),
  onProgress: functionSchema<(progress: TrainingProgress) => void>(),
  afterEpoch:
    functionSchema<(epoch: { readonly epoch: number; readonly steps: number; readonly updates: number }) => unknown>(),
  onWarning: functionSchema<(message: string) => void>(),
  signal: instance<AbortSignal>((value) => value instanceof AbortSignal, 'an AbortSignal').optional(),
};
