import * as tf from '@tensorflow/tfjs';

/** The part of tfjs-wasm's backend that the patch uses. */
interface WasmBackend {
  makeOutput(shape: number[], dtype: tf.DataType): tf.TensorInfo;
  typedArrayFromHeap(info: tf.TensorInfo): Float32Array;
  disposeData(dataId: object): boolean;
}

interface MatMulArguments {
  readonly inputs: { readonly a: tf.TensorInfo; readonly b: tf.TensorInfo };
  readonly backend: WasmBackend;
  readonly attrs: { readonly transposeA: boolean; readonly transposeB: boolean };
}

const KERNELS = ['BatchMatMul', '_FusedMatMul'] as const;
const PATCHED_VERSION = /^4\.22\./;
const originals = new Map<string, tf.KernelConfig>();

/**
 * Puts faster matrix products in tfjs-wasm's place. tfjs-wasm takes its fast path (XNNPACK) only when neither operand
 * is transposed and the batch is 1; every gradient of a matrix product has a transposed operand and goes through a
 * plain loop. The patch transposes first and then takes the fast path. Batched products (attention) are left alone:
 * they are too small to gain. (The patch also mends the fused product: tfjs-wasm's plain loop clamps before it adds the
 * bias, so a transposed product with bias and relu comes out wrong.)
 *
 * Called by {@link useBackend} only. Idempotent; {@link removeMatMulPatch} undoes it.
 *
 * @returns whether the patch is in place: false, with a warning, when tfjs is not the version it was written for.
 */
export function applyMatMulPatch(): boolean {
  const version = tf.version['tfjs-core'];
  if (!PATCHED_VERSION.test(version)) {
    console.warn(
      `ialp: the BatchMatMul patch is for tfjs 4.22, not ${version}: left out, training will be about 3 times slower`,
    );
    return false;
  }
  for (const name of KERNELS) {
    if (originals.has(name)) continue;
    const original = tf.getKernel(name, 'wasm');
    if (original === undefined || original === null) return false;
    originals.set(name, original);
    tf.unregisterKernel(name, 'wasm');
    // Without setupFunc: the original's has run already and what it set up stays.
    tf.registerKernel({ kernelName: name, backendName: 'wasm', kernelFunc: transposingFirst(original) });
  }
  return true;
}

/** Puts tfjs-wasm's own kernels back. */
export function removeMatMulPatch(): void {
  for (const [name, original] of originals) {
    tf.unregisterKernel(name, 'wasm');
    tf.registerKernel(original);
  }
  originals.clear();
}

function transposingFirst(original: tf.KernelConfig): tf.KernelFunc {
  return (params) => {
    const call = params as unknown as MatMulArguments;
    const { inputs, backend, attrs } = call;
    const { transposeA, transposeB } = attrs;
    const isBatched = batchOf(inputs.a) > 1 || batchOf(inputs.b) > 1;
    if ((!transposeA && !transposeB) || isBatched) return original.kernelFunc(params);
    const a = transposeA ? transposed(inputs.a, backend) : inputs.a;
    const b = transposeB ? transposed(inputs.b, backend) : inputs.b;
    const result = original.kernelFunc({
      ...params,
      inputs: { ...params.inputs, a, b },
      attrs: { ...params.attrs, transposeA: false, transposeB: false },
    } as Parameters<tf.KernelFunc>[0]);
    if (transposeA) backend.disposeData(a.dataId);
    if (transposeB) backend.disposeData(b.dataId);
    return result;
  };
}

function batchOf({ shape }: tf.TensorInfo): number {
  let batch = 1;
  for (let axis = 0; axis < shape.length - 2; axis++) batch *= shape[axis] as number;
  return batch;
}

/** Side of the square blocks that are transposed one by one, so that reads and writes stay within the cache. */
const BLOCK = 32;

function transposed(matrix: tf.TensorInfo, backend: WasmBackend): tf.TensorInfo {
  const rank = matrix.shape.length;
  const rows = matrix.shape[rank - 2] as number;
  const columns = matrix.shape[rank - 1] as number;
  const output = backend.makeOutput([...matrix.shape.slice(0, -2), columns, rows], 'float32');
  // Views are taken after makeOutput, which may grow the memory and detach older ones.
  const source = backend.typedArrayFromHeap(matrix);
  const target = backend.typedArrayFromHeap(output);
  for (let row0 = 0; row0 < rows; row0 += BLOCK) {
    const row1 = Math.min(row0 + BLOCK, rows);
    for (let column0 = 0; column0 < columns; column0 += BLOCK) {
      const column1 = Math.min(column0 + BLOCK, columns);
      for (let column = column0; column < column1; column++) {
        const offset = column * rows;
        for (let row = row0; row < row1; row++) target[offset + row] = source[row * columns + column] as number;
      }
    }
  }
  return output;
}
