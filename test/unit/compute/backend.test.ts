import { availableParallelism } from 'node:os';
import * as tf from '@tensorflow/tfjs';
import { describe, expect, it, vi } from 'vitest';
import {
  type BackendName,
  type BackendOptions,
  currentBackend,
  ensureBackend,
  requireBackend,
  useBackend,
} from '../../../src/compute/backend.js';
import { createKernels } from '../../../src/compute/create-kernels.js';
import { currentEngine, disposeEngine } from '../../../src/compute/fused/engine.js';
import { bestVariant } from '../../../src/compute/fused/engine-variants.js';
import { initParameters } from '../../../src/compute/model.js';
import { BackendError, InvalidArgumentError } from '../../../src/foundation/errors.js';
import { Rng } from '../../../src/foundation/rng.js';
import { expectClose, smallSpec } from './models.js';

// The order matters: the first test runs before any backend was chosen.
describe('useBackend', () => {
  it('is required before synchronous work, even when tfjs has fallen back to cpu by itself', () => {
    const store = initParameters(smallSpec(), new Rng(1));
    expect(currentBackend()).toBeUndefined();
    expect(() => createKernels(smallSpec(), store)).toThrow(BackendError);
    expect(() => createKernels(smallSpec(), store)).toThrow(/await useBackend\('auto'\)/);
  });

  it('chooses wasm with "auto" when no native binding is installed, says why, and patches it', async () => {
    // At once: a start must not make another one, still under way, fail.
    const [report, ...others] = await Promise.all([ensureBackend(), ensureBackend(), useBackend('auto')]);
    for (const other of others) expect(other).toEqual(report);
    expect(report).toMatchObject({ backend: 'wasm', requested: 'auto', patched: true });
    expect(report.reason).toContain('@tensorflow/tfjs-node-gpu is not installed');
    expect(report.reason).toContain('@tensorflow/tfjs-node is not installed');
    expect(tf.getBackend()).toBe('wasm');
    expect(currentBackend()).toEqual(report);
    expect(requireBackend()).toEqual(report);
    expect(await ensureBackend()).toEqual(report);
  });

  it('leaves no listener of the wasm loader behind', () => {
    const sources = process.listeners('uncaughtException').map((listener) => listener.toString());
    expect(sources.some((source) => source.includes('ExitStatus'))).toBe(false);
  });

  it.each([
    ['node-gpu', '@tensorflow/tfjs-node-gpu'],
    ['node', '@tensorflow/tfjs-node'],
    ['webgpu', '@tensorflow/tfjs-backend-webgpu'],
  ] as const)('names the command that installs %s', async (name, specifier) => {
    const error = await useBackend(name).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(BackendError);
    expect(error).toMatchObject({ code: 'BACKEND', backend: name, install: `npm install ${specifier}` });
    expect(currentBackend()?.backend).toBe('wasm');
  });

  it('refuses an unknown name, with a guess', async () => {
    await expect(useBackend('wasmm' as BackendName)).rejects.toThrow(InvalidArgumentError);
    await expect(useBackend('wasmm' as BackendName)).rejects.toThrow(/did you mean 'wasm'/);
  });

  it.each([
    [{ wasmPath: '/wasm/' }, /did you mean `?'?wasmPaths/],
    [{ patch: 'no' }, /patch/],
    [{ wasmPaths: '' }, /`wasmPaths`: expected the URL of a folder/],
    [{ wasmPaths: { 'tfjs-backend-wasm.wasm': '/a.wasm' } }, /tfjs-backend-wasm-simd\.wasm/],
  ])('refuses the options %j', async (options, message) => {
    const error = await useBackend('wasm', options as BackendOptions).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(InvalidArgumentError);
    expect((error as Error).message).toMatch(message);
  });

  it('stays on what runs when another backend does not start, and lets no failed start pass for a choice', async () => {
    tf.registerBackend('webgl', () => {
      throw new Error('no such device');
    });
    const warn = vi.spyOn(console, 'warn').mockImplementation(() => {});
    try {
      await expect(useBackend('webgl')).rejects.toThrow(BackendError);
      expect(tf.getBackend()).toBe('wasm');
      expect(tf.scalar(2).square().dataSync()[0]).toBe(4);
      expect(currentBackend()?.backend).toBe('wasm');
    } finally {
      warn.mockRestore();
      tf.removeBackend('webgl');
    }
  });

  it('runs on cpu only when asked by name', async () => {
    expect(await useBackend('cpu')).toEqual({
      backend: 'cpu',
      requested: 'cpu',
      reason: 'asked for by name',
      patched: false,
      kernels: 'reference',
      kernelsReason: 'the fused engine belongs to the wasm backend',
      variant: undefined,
      threads: 1,
    });
    expect(tf.getBackend()).toBe('cpu');
    await useBackend('wasm');
  });
});

describe("useBackend and the library's engine", () => {
  it('loads it with wasm, and changes threads, SIMD and kernels at any time', async () => {
    const report = await useBackend('wasm', { threads: 2 });
    expect(report).toMatchObject({ kernels: 'fused', variant: bestVariant(), threads: 2 });
    const engine = currentEngine();
    expect(engine?.threads).toBe(2);
    const pointer = engine?.allocate(64) as number;
    engine?.f32(pointer, 16).fill(7);
    expect(await useBackend('wasm', { threads: 1, simd: 'plain' })).toMatchObject({ variant: 'simd', threads: 1 });
    expect(currentEngine()).toBe(engine);
    expect(engine).toMatchObject({ variant: 'simd', threads: 1 });
    const without = await useBackend('wasm', { kernels: 'reference' });
    expect(without).toMatchObject({ kernels: 'reference', kernelsReason: 'asked for by name', threads: 1 });
    expect(currentEngine()).toBeUndefined();
    await useBackend('wasm');
    expect(currentEngine()).toBe(engine);
    expect(engine?.f32(pointer, 16).every((value) => value === 7)).toBe(true);
    engine?.free(pointer);
  });

  it('uses at most 4 threads unless more are asked for', async () => {
    expect((await useBackend('wasm')).threads).toBe(Math.min(4, availableParallelism()));
    expect((await useBackend('wasm', { threads: 5 })).threads).toBe(5);
    expect(currentEngine()?.workers).toBe(0); // none has had work
    await useBackend('wasm');
  });

  it('says why it is not there where WebAssembly has no SIMD, and what a page without shared memory lacks', async () => {
    const validate = vi.spyOn(WebAssembly, 'validate').mockReturnValue(false);
    try {
      const report = await useBackend('wasm');
      expect(report).toMatchObject({ kernels: 'reference', kernelsReason: 'WebAssembly has no SIMD here' });
    } finally {
      validate.mockRestore();
    }
    disposeEngine();
    vi.stubGlobal('crossOriginIsolated', false);
    try {
      const report = await useBackend('wasm', { threads: 2 });
      expect(report).toMatchObject({ kernels: 'fused', threads: 1 });
      expect(report.kernelsReason).toContain('memory cannot be shared');
    } finally {
      vi.unstubAllGlobals();
      disposeEngine();
      await useBackend('wasm');
    }
  });

  it.each([{ threads: 0 }, { threads: 1.5 }, { threads: 65 }, { simd: 'none' }, { kernels: 'fast' }])(
    'refuses the options %j',
    async (options) => {
      await expect(useBackend('wasm', options as BackendOptions)).rejects.toThrow(InvalidArgumentError);
    },
  );
});

describe('the BatchMatMul patch', () => {
  const shapes = [
    { a: [7, 40], b: [40, 70] },
    { a: [1, 5], b: [5, 1] },
    { a: [65, 33], b: [33, 97] },
    { a: [3, 4, 5], b: [3, 5, 6] },
    { a: [1, 4, 5], b: [1, 5, 6] },
    { a: [2, 1, 3, 4], b: [2, 3, 4, 2] },
  ];

  function products(): Float32Array[] {
    const out: Float32Array[] = [];
    tf.tidy(() => {
      for (const { a, b } of shapes) {
        const left = wave(a, 0.3);
        const right = wave(b, 0.7);
        for (const [ta, tb] of [
          [false, false],
          [true, false],
          [false, true],
          [true, true],
        ] as const) {
          const x = ta ? swapped(left) : left;
          const y = tb ? swapped(right) : right;
          out.push(tf.matMul(x, y, ta, tb).dataSync() as Float32Array);
          if (a.length > 2) continue;
          const bias = tf.tensor1d(Float32Array.from({ length: b[1] as number }, (_, i) => i));
          const operands = { a: x as tf.Tensor2D, b: y as tf.Tensor2D, transposeA: ta, transposeB: tb };
          out.push(tf.fused.matMul({ ...operands, bias, activation: 'relu' }).dataSync() as Float32Array);
        }
      }
    });
    return out;
  }

  const wave = (shape: number[], step: number): tf.Tensor =>
    tf.tensor(
      Float32Array.from({ length: shape.reduce((x, y) => x * y, 1) }, (_, i) => Math.sin(step * i)),
      shape,
    );
  const swapped = (x: tf.Tensor): tf.Tensor => {
    const axes = x.shape.map((_, axis) => axis);
    return tf.transpose(x, [...axes.slice(0, -2), axes.length - 1, axes.length - 2]);
  };

  it('gives what cpu gives, transposed or not, leaks nothing, and can be taken out again', async () => {
    await useBackend('cpu');
    const wanted = products();
    await useBackend('wasm', { patch: true });
    const patchedKernel = tf.getKernel('BatchMatMul', 'wasm');
    const patched = products();
    expect(patched.length).toBe(wanted.length);
    for (const [n, product] of patched.entries()) expectClose(product, wanted[n] as Float32Array, 4);
    const { numTensors, numDataBuffers } = tf.memory();
    products();
    expect(tf.memory()).toMatchObject({ numTensors, numDataBuffers });
    expect((await useBackend('wasm', { patch: false })).patched).toBe(false);
    expect(tf.getKernel('BatchMatMul', 'wasm')).not.toBe(patchedKernel);
    expect((await useBackend('wasm')).patched).toBe(true);
    expect((await useBackend('wasm')).patched).toBe(true);
  });

  it('equals stock tfjs on plain products', async () => {
    const product = (): Float32Array => {
      let values: Float32Array = new Float32Array();
      tf.tidy(() => {
        values = tf.matMul(wave([40, 7], 0.3), wave([70, 40], 0.7), true, true).dataSync() as Float32Array;
      });
      return values;
    };
    await useBackend('wasm', { patch: false });
    const stock = product();
    await useBackend('wasm');
    expectClose(product(), stock, 4);
  });
});
