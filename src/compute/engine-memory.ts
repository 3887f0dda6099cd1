import * as tf from '@tensorflow/tfjs';

/** What the tfjs engine holds at one moment. */
export interface EngineMemory {
  /** Tensors alive. */
  readonly tensors: number;
  /** Their memory in bytes, as tfjs counts it. */
  readonly bytes: number;
  /** Buffers of the backend; fewer than `tensors` where tensors share one. */
  readonly buffers: number;
}

/** Counts what the engine holds now: equal before and after whatever leaks nothing. */
export function engineMemory(): EngineMemory {
  const { numTensors, numBytes, numDataBuffers } = tf.memory();
  return { tensors: numTensors, bytes: numBytes, buffers: numDataBuffers };
}
