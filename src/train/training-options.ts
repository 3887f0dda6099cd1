import { z } from 'zod';
import type { Storage } from '../foundation/storage.js';
import type { TrainingEmitter, TrainingProgress } from './training-events.js';

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
