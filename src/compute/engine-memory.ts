import * as tf from '@tensorflow/tfjs';
import { engineBytesInUse } from './fused/engine.js';

/** What the tfjs engine and the fused engine hold at one moment. */
export interface EngineMemory {
  /** Tensors alive. */
  readonly tensors: number;
  /** Their memory in bytes, as tfjs counts it. */
  readonly bytes: number;
  /** Buffers of the backend; fewer than `tensors` where tensors share one. */
  readonly buffers: number;
  /** Bytes in use in the fused engine's memory; 0 without it. */
  readonly fusedBytes: number;
}

/** Counts what the engines hold now: equal before and after whatever leaks nothing. */
export function engineMemory(): EngineMemory {
  const { numTensors, numBytes, numDataBuffers } = tf.memory();
  return { tensors: numTensors, bytes: numBytes, buffers: numDataBuffers, fusedBytes: engineBytesInUse() };
}
