import { afterEach, describe, expect, it } from 'vitest';
import { engineMemory } from '../../../src/compute/engine-memory.js';
import { currentEngine, disposeEngine, Engine, leaveEngine, loadEngine } from '../../../src/compute/fused/engine.js';
import { createEngineMemory, EngineHeap } from '../../../src/compute/fused/engine-heap.js';
import { bestVariant, compileVariant } from '../../../src/compute/fused/engine-variants.js';
import { OptimiserField, OptimiserOp, PieceField } from '../../../src/compute/fused/optimiser-layout.js';
import { BackendError, InvalidArgumentError } from '../../../src/foundation/errors.js';
import { Rng } from '../../../src/foundation/rng.js';

afterEach(() => disposeEngine());

/** Sum of squares by the engine, of 1, 2, ..., n. */
function sumOfSquares(engine: Engine, n: number): number {
  const pointer = engine.allocate(1024 + n * 4);
  const values = pointer + 1024;
  engine.f32(values, n).set(Float32Array.from({ length: n }, (_, i) => i + 1));
  const [pieces, starts, parameters, sums] = [pointer + 128, pointer + 256, pointer + 320, pointer + 384] as const;
  engine.i32(pointer, 256).fill(0);
  const words = engine.i32(pointer, OptimiserField.Count);
  words[OptimiserField.Pieces] = pieces;
  words[OptimiserField.ChunkStarts] = starts;
  words[OptimiserField.Parameters] = parameters;
  words[OptimiserField.Gradient] = values;
  words[OptimiserField.Sums] = sums;
  const piece = engine.i32(pieces, PieceField.Count);
  piece[PieceField.Width] = n;
  piece[PieceField.Rows] = 1;
  engine.i32(starts, 2).set([0, 1]);
  engine.i32(parameters, 2).set([1, 0]);
  engine.run(OptimiserOp.Norm, pointer, 1);
  const sum = engine.f64(sums, 1)[0] as number;
  engine.free(pointer);
  return sum;
}

describe('Engine', () => {
  it('is one a process: loaded once, changed afterwards, forgotten when disposed', async () => {
    expect(currentEngine()).toBeUndefined();
    const engine = await loadEngine({ variant: 'simd', threads: 1 });
    expect(currentEngine()).toBe(engine);
    expect(engine).toMatchObject({ variant: 'simd', threads: 1, isShared: true, bytesInUse: 0 });
    expect(await loadEngine({ variant: 'simd', threads: 2 })).toBe(engine);
    expect(engine.threads).toBe(2);
    leaveEngine();
    expect(currentEngine()).toBeUndefined();
    expect(engine.threads).toBe(1);
    expect(await loadEngine({ variant: 'simd', threads: 2 })).toBe(engine);
    disposeEngine();
    expect(await loadEngine({ variant: 'simd', threads: 2 })).not.toBe(engine);
  });

  it('changes its binary over the memory that is in use', async () => {
    const variant = bestVariant();
    if (variant === undefined) throw new Error('expected Node to have SIMD');
    const engine = await loadEngine({ variant: 'simd', threads: 1 });
    const pointer = engine.allocate(40);
    engine.f32(pointer, 10).fill(3);
    const before = sumOfSquares(engine, 1003);
    await loadEngine({ variant, threads: 1 });
    expect(engine.variant).toBe(variant);
    expect(engine.f32(pointer, 10).every((value) => value === 3)).toBe(true);
    expect(sumOfSquares(engine, 1003)).toBe(before);
    expect(before).toBe((1003 * 1004 * 2007) / 6);
    engine.free(pointer);
  });

  it.each(['simd', 'relaxed-simd'] as const)(
    'runs %s over memory that is not shared, with one thread',
    async (variant) => {
      if (variant === 'relaxed-simd' && bestVariant() !== variant) return;
      const engine = new Engine(variant, await compileVariant(variant, false), false);
      engine.setThreads(2);
      expect(engine.threads).toBe(1);
      const pointer = engine.allocate(4);
      const view = engine.f32(pointer, 1);
      expect(view.buffer).toBeInstanceOf(ArrayBuffer);
      expect(sumOfSquares(engine, 3_000_000)).toBeCloseTo((3e6 * (3e6 + 1) * (6e6 + 1)) / 6, -8);
      expect(engine.isCurrent(view)).toBe(false);
      expect(view.length).toBe(0); // growth detached it
      expect(engine.f32(pointer, 1).length).toBe(1);
    },
  );

  it('refuses an unknown operation, and goes on', async () => {
    const engine = await loadEngine({ variant: 'simd', threads: 1 });
    const error = (() => {
      try {
        engine.run(19, 0, 3);
      } catch (reason) {
        return reason;
      }
    })();
    expect(error).toBeInstanceOf(BackendError);
    expect((error as BackendError).cause).toBeInstanceOf(WebAssembly.RuntimeError);
    expect(sumOfSquares(engine, 5)).toBe(55);
  });

  it('is not forgotten while its memory is in use; leak checks count that memory', async () => {
    const engine = await loadEngine({ variant: 'simd', threads: 1 });
    const before = engineMemory();
    const pointer = engine.allocate(1000);
    expect(engineMemory().fusedBytes - before.fusedBytes).toBe(1024);
    expect(() => disposeEngine()).toThrow(InvalidArgumentError);
    engine.free(pointer);
    expect(engineMemory()).toEqual(before);
  });
});

describe('EngineHeap', () => {
  it('keeps allocations apart, aligned and in memory, through random use', () => {
    const memory = createEngineMemory(true);
    const heap = new EngineHeap(memory);
    const rng = new Rng(3);
    const live = new Map<number, number>();
    let inUse = 0;
    for (let n = 0; n < 4000; n++) {
      if (live.size > 0 && rng.uniform() < 0.5) {
        const [pointer, size] = [...live][Math.floor(rng.uniform() * live.size)] as [number, number];
        const bytes = new Uint8Array(memory.buffer, pointer, size);
        if (size > 0) expect([bytes[0], bytes[size - 1]]).toEqual([pointer & 255, pointer & 255]);
        heap.free(pointer);
        live.delete(pointer);
        inUse -= Math.max(64, Math.ceil(size / 64) * 64);
      } else {
        const size = Math.floor(10 ** (rng.uniform() * 5)) - 1;
        const pointer = heap.allocate(size);
        expect(pointer % 64).toBe(0);
        expect(pointer).toBeGreaterThan(0);
        expect(pointer + size).toBeLessThanOrEqual(memory.buffer.byteLength);
        new Uint8Array(memory.buffer, pointer, size).fill(pointer);
        live.set(pointer, size);
        inUse += Math.max(64, Math.ceil(size / 64) * 64);
      }
      expect(heap.bytesInUse).toBe(inUse);
    }
    for (const pointer of live.keys()) heap.free(pointer);
    expect(heap.bytesInUse).toBe(0);
    // All joined again: one allocation of nearly everything needs no growth.
    const before = memory.buffer.byteLength;
    heap.allocate(before - 1024);
    expect(memory.buffer.byteLength).toBe(before);
  });

  it('refuses what does not fit, naming the bytes, and goes on', () => {
    const memory = new WebAssembly.Memory({ initial: 16, maximum: 32, shared: true });
    const heap = new EngineHeap(memory);
    const kept = heap.allocate(1_000_000);
    expect(() => heap.allocate(2_000_000)).toThrow(BackendError);
    expect(() => heap.allocate(2_000_000)).toThrow(/2000000 bytes/);
    expect(() => heap.allocate(8 * 2 ** 30)).toThrow(BackendError);
    expect(heap.bytesInUse).toBe(1_000_000);
    heap.free(heap.allocate(1_000_000)); // grows to the last page
    heap.free(kept);
    expect(() => heap.free(kept)).toThrow(InvalidArgumentError);
  });

  it('gives pointers above 2 GiB as they are', () => {
    const memory = createEngineMemory(true);
    const heap = new EngineHeap(memory);
    const low = heap.allocate(2 ** 31);
    const high = heap.allocate(1024);
    expect(high).toBeGreaterThanOrEqual(2 ** 31);
    new Float32Array(memory.buffer, high, 256).fill(1);
    heap.free(low);
    heap.free(high);
  });
});
