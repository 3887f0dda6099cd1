import { describe, expect, it } from 'vitest';
import { Adam } from '../../../src/compute/optimiser.js';
import { ParameterStore } from '../../../src/compute/parameter-store.js';
import { CheckpointError, InvalidArgumentError } from '../../../src/foundation/errors.js';

function storeOf(values: Record<string, number[]>): ParameterStore {
  return new ParameterStore(
    Object.entries(values).map(
      ([name, data]) => [name, { shape: [data.length], data: Float32Array.from(data) }] as const,
    ),
  );
}

describe('Adam', () => {
  it('equals float64 arithmetic by hand over five steps', () => {
    const store = storeOf({ x: [1, -2, 0.5] });
    const adam = new Adam({ learningRate: 0.01, clipNorm: Number.POSITIVE_INFINITY });
    const x = [1, -2, 0.5];
    const m = [0, 0, 0];
    const v = [0, 0, 0];
    for (let t = 1; t <= 5; t++) {
      const gradient = x.map((value, i) => 0.3 * value + 0.1 * (i - 1));
      store.get('x').gradient.set(gradient);
      for (let i = 0; i < 3; i++) {
        const g = gradient[i] as number;
        m[i] = 0.9 * (m[i] as number) + 0.1 * g;
        v[i] = 0.999 * (v[i] as number) + 0.001 * g * g;
        const mHat = (m[i] as number) / (1 - 0.9 ** t);
        const vHat = (v[i] as number) / (1 - 0.999 ** t);
        x[i] = (x[i] as number) - (0.01 * mHat) / (Math.sqrt(vHat) + 1e-8);
      }
      expect(adam.step(store).applied).toBe(true);
      for (let i = 0; i < 3; i++) expect(store.get('x').data[i]).toBeCloseTo(x[i] as number, 6);
    }
    expect(adam.updates).toBe(5);
    expect(store.version).toBe(5);
  });

  it('clips by one norm over all parameters that are not frozen', () => {
    const store = storeOf({ a: [0], b: [0], c: [0] });
    store.freeze('c');
    store.get('a').gradient[0] = 3;
    store.get('b').gradient[0] = 4;
    store.get('c').gradient[0] = 1000;
    const adam = new Adam({ clipNorm: 1 });
    expect(adam.step(store)).toEqual({ gradientNorm: 5, applied: true });
    // The first moments hold (1 - 0.9) times the clipped gradients 0.6 and 0.8.
    expect(adam.state()['adam/first/a']?.data[0]).toBeCloseTo(0.06, 6);
    expect(adam.state()['adam/first/b']?.data[0]).toBeCloseTo(0.08, 6);
    expect(adam.state()['adam/first/c']).toBeUndefined();
    expect(store.get('c').data[0]).toBe(0);
  });

  it('leaves a gradient below the clip as it is', () => {
    const store = storeOf({ a: [0] });
    store.get('a').gradient[0] = 0.5;
    const adam = new Adam({ clipNorm: 1 });
    adam.step(store);
    expect(adam.state()['adam/first/a']?.data[0]).toBeCloseTo(0.05, 6);
  });

  it.each([Number.NaN, Number.POSITIVE_INFINITY])('changes nothing when a gradient is %s', (bad) => {
    const store = storeOf({ a: [1], b: [2] });
    const adam = new Adam();
    store.get('a').gradient[0] = 1;
    adam.step(store);
    const before = { values: store.toNamedArrays(), adam: adam.state(), version: store.version };
    store.get('a').gradient[0] = bad;
    store.get('b').gradient[0] = 1;
    expect(adam.step(store).applied).toBe(false);
    expect({ values: store.toNamedArrays(), adam: adam.state(), version: store.version }).toEqual(before);
  });

  it('multiplies the rate by the longest matching prefix', () => {
    const store = storeOf({ 'actor/id': [0], 'actor/history': [0], 'value/w2': [0] });
    for (const { gradient } of store.parameters()) gradient[0] = 1;
    new Adam({ learningRate: 0.01, multipliers: { 'actor/': 2, 'actor/history': 20 } }).step(store);
    expect(store.get('value/w2').data[0]).toBeCloseTo(-0.01, 6);
    expect(store.get('actor/id').data[0]).toBeCloseTo(-0.02, 6);
    expect(store.get('actor/history').data[0]).toBeCloseTo(-0.2, 6);
  });

  it('with lazy leaves rows of id tables without gradient alone, and only those', () => {
    const run = (lazy: boolean) => {
      const store = new ParameterStore([
        ['item/id', { shape: [3, 2], data: new Float32Array(6) }],
        ['encoder/w', { shape: [3, 2], data: new Float32Array(6) }],
      ]);
      const adam = new Adam({ learningRate: 0.1, lazy });
      const moved: number[][] = [];
      for (const row of [0, 2]) {
        const before = store.parameters().map(({ data }) => data.slice());
        store.zeroGradients();
        for (const { gradient } of store.parameters()) gradient[2 * row] = 1;
        adam.step(store);
        const after = store.parameters().map(({ data }) => data);
        const change = after.flatMap((data, n) => [...data].map((value, i) => Number(value !== before[n]?.[i])));
        moved.push(change);
      }
      return moved;
    };
    const dense = [1, 0, 0, 0, 1, 0];
    expect(run(false)).toEqual([
      [1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0],
      [...dense, ...dense],
    ]);
    expect(run(true)).toEqual([
      [1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0],
      [0, 0, 0, 0, 1, 0, ...dense],
    ]);
  });

  it('goes on from a saved state bit for bit, and not from a fresh one', () => {
    const run = (resume: 'unbroken' | 'loaded' | 'fresh'): Float32Array => {
      const store = storeOf({ a: [1, 2] });
      let adam = new Adam({ learningRate: 0.1 });
      for (let t = 0; t < 6; t++) {
        if (t === 3 && resume !== 'unbroken') {
          const saved = adam.state();
          adam = new Adam({ learningRate: 0.1 });
          if (resume === 'loaded') adam.load(saved, 'test');
        }
        store.get('a').gradient.set([Math.sin(t), Math.cos(t)]);
        adam.step(store);
      }
      return store.get('a').data;
    };
    expect(run('loaded')).toEqual(run('unbroken'));
    expect(run('fresh')).not.toEqual(run('unbroken'));
  });

  it('refuses bad options and states', () => {
    expect(() => new Adam({ learningRate: -1 })).toThrow(InvalidArgumentError);
    expect(() => new Adam({ beta1: 1 })).toThrow(InvalidArgumentError);
    expect(() => new Adam({ multipliers: { a: -1 } })).toThrow(InvalidArgumentError);
    expect(() => {
      new Adam().learningRate = Number.NaN;
    }).toThrow(InvalidArgumentError);
    expect(() => new Adam().load({}, 'file')).toThrow(CheckpointError);
  });
});
