import fc from 'fast-check';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { disposeEngine, Engine, loadEngine } from '../../../src/compute/fused/engine.js';
import { EngineStore } from '../../../src/compute/fused/engine-store.js';
import { compileVariant } from '../../../src/compute/fused/engine-variants.js';
import { ROW_HAS_GRADIENT, ROW_HAS_MOMENTS } from '../../../src/compute/fused/optimiser-layout.js';
import { Adam, type AdamOptions } from '../../../src/compute/optimiser.js';
import { ParameterStore } from '../../../src/compute/parameter-store.js';
import { BackendError, InvalidArgumentError } from '../../../src/foundation/errors.js';
import { Rng } from '../../../src/foundation/rng.js';

let engine: Engine;
beforeAll(async () => {
  engine = await loadEngine({ variant: 'simd', threads: 1 });
});
const held: EngineStore[] = [];
afterEach(() => {
  for (const store of held.splice(0)) store.release();
  expect(engine.bytesInUse).toBe(0);
});
afterAll(() => disposeEngine());

function acquire(store: ParameterStore, of = engine): EngineStore {
  const parameters = EngineStore.acquire(of, store);
  held.push(parameters);
  return parameters;
}

const SHAPES = { 'item/id': [37, 8], 'encoder/w': [3, 5], 'actor/id': [37, 12], 'actor/bias': [37], 'actor/none': [1] };

function makeStore(seed = 1, shapes: Readonly<Record<string, readonly number[]>> = SHAPES): ParameterStore {
  const rng = new Rng(seed);
  const entries = Object.entries(shapes).map(([name, shape]) => {
    const size = shape.reduce((product, dimension) => product * dimension, 1);
    return [name, { shape, data: Float32Array.from({ length: size }, () => rng.normal()) }] as const;
  });
  return new ParameterStore(entries);
}

/** Adds the same to the gradients of each store: all of the dense ones, some rows of the tables. */
function addGradients(seed: number, share: number, ...stores: (ParameterStore | EngineStore)[]): void {
  for (const each of stores) {
    const rng = new Rng(seed);
    const store = each instanceof EngineStore ? each.store : each;
    for (const { name, shape, frozen } of store.parameters()) {
      const isTable = name.endsWith('/id');
      const [rows, width] = isTable ? (shape as [number, number]) : [1, shape.reduce((a, b) => a * b, 1)];
      for (let row = 0; row < rows; row++) {
        const values = Float32Array.from({ length: width }, () => rng.normal() * 10 ** (rng.uniform() * 4 - 3));
        if ((isTable && rng.uniform() >= share) || frozen) continue;
        if (each instanceof EngineStore) {
          // As a backward pass does: straight into memory, with the row's flag.
          const at = each.gradient + each.offsetOf(name) + row * width * 4;
          const gradient = each.engine.f32(at, width);
          for (const [i, value] of values.entries()) gradient[i] = (gradient[i] as number) + value;
          if (!isTable) continue;
          const flags = each.engine.u8(each.flagsOf(name), rows);
          flags[row] = (flags[row] as number) | ROW_HAS_GRADIENT;
        } else {
          const gradient = store.get(name).gradient.subarray(row * width);
          for (const [i, value] of values.entries()) gradient[i] = (gradient[i] as number) + value;
        }
      }
    }
  }
}

/** Largest difference of two sets of arrays, relative to the size of the wanted one. */
function distance(got: ArrayLike<number>, wanted: ArrayLike<number>): number {
  let difference = 0;
  let size = 0;
  for (let i = 0; i < wanted.length; i++) {
    difference += ((got[i] as number) - (wanted[i] as number)) ** 2;
    size += (wanted[i] as number) ** 2;
  }
  return size === 0 ? Math.sqrt(difference) : Math.sqrt(difference / size);
}

describe('EngineStore', () => {
  it('moves values into the engine and back, and keeps the store as it was', async () => {
    const store = makeStore();
    const before = { values: store.toNamedArrays(), digest: await store.sha256(), version: store.version };
    const parameters = acquire(store);
    expect(engine.bytesInUse).toBeGreaterThan(store.parameterCount * 4);
    expect({ values: store.toNamedArrays(), digest: await store.sha256(), version: store.version }).toEqual(before);
    for (const { name, data } of store.parameters()) {
      expect(engine.f32(parameters.data + parameters.offsetOf(name), data.length)).toEqual(data);
      expect(parameters.offsetOf(name) % 64).toBe(0);
      expect(data.buffer).toBeInstanceOf(SharedArrayBuffer);
    }
    store.get('actor/none').data[0] = 5;
    held.pop()?.release();
    expect(store.get('actor/none').data).toEqual(Float32Array.of(5));
    expect(store.get('actor/none').data.buffer).toBeInstanceOf(ArrayBuffer);
    expect(engine.bytesInUse).toBe(0);
  });

  it('is shared by those who use the same store, until the last releases it', () => {
    const store = makeStore();
    const first = acquire(store);
    expect(acquire(store)).toBe(first);
    held.pop()?.release();
    expect(store.get('item/id').data.buffer).toBeInstanceOf(SharedArrayBuffer);
    held.pop()?.release();
    expect(store.get('item/id').data.buffer).toBeInstanceOf(ArrayBuffer);
    expect(acquire(store)).not.toBe(first);
  });

  it('gives copies that no one shares', () => {
    const store = makeStore();
    acquire(store);
    const copy = store.clone();
    for (const { data } of copy.parameters()) expect(data.buffer).toBeInstanceOf(ArrayBuffer);
    for (const { data } of Object.values(store.toNamedArrays())) expect(data.buffer).toBeInstanceOf(ArrayBuffer);
    expect(copy.toNamedArrays()).toEqual(store.toNamedArrays());
    copy.get('actor/none').data[0] = 9;
    store.averageFrom(copy, 0.5);
    copy.copyFrom(store);
    expect(copy.toNamedArrays()).toEqual(store.toNamedArrays());
    store.loadNamedArrays(makeStore(2).toNamedArrays(), 'test');
    expect(store.toNamedArrays()).toEqual(makeStore(2).toNamedArrays());
    expect(store.parameterCount).toBe(makeStore().parameterCount);
  });

  it('allocates gradients when first asked for, takes those along that were there, and gives them back', () => {
    const idle = acquire(makeStore());
    const before = engine.bytesInUse;
    idle.store.zeroGradients();
    expect(engine.bytesInUse).toBe(before);
    const store = makeStore();
    addGradients(3, 0.5, store);
    const wanted = store.parameters().map(({ gradient }) => gradient.slice());
    const parameters = acquire(store);
    const got = () =>
      store.names.map((name, n) =>
        engine.f32(parameters.gradient + parameters.offsetOf(name), (wanted[n] as Float32Array).length).slice(),
      );
    expect(got()).toEqual(wanted);
    expect(engine.u8(parameters.flagsOf('item/id'), 37).every((flag) => flag === ROW_HAS_GRADIENT)).toBe(true);
    held.pop()?.release();
    expect(store.parameters().map(({ gradient }) => gradient)).toEqual(wanted);
    acquire(store);
    store.zeroGradients();
    expect(store.parameters().every(({ gradient }) => gradient.every((value) => value === 0))).toBe(true);
  });

  it('says which rows an outside reader may have written, and forgets it with the gradients', () => {
    const store = makeStore();
    const parameters = acquire(store);
    const flags = () => [...engine.u8(parameters.flagsOf('item/id'), 37)];
    expect(flags()).toEqual(new Array(37).fill(0));
    store.get('item/id').gradient[8 * 4] = 2;
    expect(flags()).toEqual(new Array(37).fill(ROW_HAS_GRADIENT));
    store.zeroGradients();
    expect(flags()).toEqual(new Array(37).fill(0));
    expect(store.get('item/id').gradient.every((value) => value === 0)).toBe(true);
  });

  it('zeroes the gradient of what is frozen, at the freeze and when it was written afterwards', () => {
    const store = makeStore();
    const parameters = acquire(store);
    store.get('encoder/w').gradient.fill(1);
    store.freeze('encoder/');
    expect(parameters.isFrozen('encoder/w')).toBe(true);
    expect(store.get('encoder/w').gradient.every((value) => value === 0)).toBe(true);
    store.get('encoder/w').gradient.fill(1000);
    store.get('actor/none').gradient.fill(3);
    expect(parameters.step(new Adam())).toEqual({ gradientNorm: 3, applied: true });
    store.freeze('encoder/', false);
    expect(store.get('encoder/w').gradient.every((value) => value === 0)).toBe(true);
  });

  it('keeps views valid when memory that is not shared grows', async () => {
    const single = new Engine('simd', await compileVariant('simd', false), false);
    const store = makeStore();
    const wanted = store.toNamedArrays();
    acquire(store, single);
    const stale = store.get('item/id').data;
    const more = acquire(makeStore(1, { 'item/id': [100_000, 16] }), single);
    expect(stale.length).toBe(0);
    expect(store.toNamedArrays()).toEqual(wanted);
    expect(more.store.get('item/id').data.length).toBe(1_600_000);
    const other = new Engine('simd', await compileVariant('simd', false), false);
    expect(() => EngineStore.acquire(other, store)).toThrow(BackendError);
  });

  it('leaves the store as it was when memory does not suffice', () => {
    const store = new ParameterStore([['a', { shape: [2 ** 20], data: new Float32Array(2 ** 20) }]]);
    const most = engine.allocate(4_000_000_000);
    const rest = engine.allocate(4_294_901_760 - 4_000_000_000 - 2_000_000);
    try {
      expect(() => EngineStore.acquire(engine, store)).toThrow(BackendError);
      expect(store.get('a').data.buffer).toBeInstanceOf(ArrayBuffer);
    } finally {
      engine.free(most);
      engine.free(rest);
    }
    acquire(store);
  });

  it('names what it does not have', () => {
    const parameters = acquire(makeStore());
    expect(() => parameters.offsetOf('x')).toThrow(InvalidArgumentError);
    expect(() => parameters.flagsOf('encoder/w')).toThrow(InvalidArgumentError);
  });
});

describe('Adam in the engine', () => {
  /** The same steps by the engine and by the float64 loops. */
  function race(options: AdamOptions, steps: number, share: number, shapes = SHAPES, thaw?: number) {
    const [mine, wanted] = [makeStore(1, shapes), makeStore(1, shapes)];
    const [fast, exact] = [new Adam(options), new Adam(options)];
    const parameters = acquire(mine);
    if (thaw !== undefined) for (const store of [mine, wanted]) store.freeze('encoder/');
    for (let t = 0; t < steps; t++) {
      if (t === thaw) for (const store of [mine, wanted]) store.freeze('encoder/', false);
      addGradients(t, share, parameters, wanted);
      const got = parameters.step(fast);
      const result = exact.step(wanted);
      wanted.zeroGradients();
      expect(got.gradientNorm).toBeCloseTo(result.gradientNorm, 9);
      expect(got.applied).toBe(true);
    }
    return { mine, wanted, fast, exact, parameters };
  }

  it('agrees with the float64 loops: values, moments, norms, versions', () => {
    fc.assert(
      fc.property(
        fc.record({
          learningRate: fc.constantFrom(1e-3, 0.05),
          beta1: fc.constantFrom(0, 0.5, 0.9, 0.99),
          beta2: fc.constantFrom(0, 0.9, 0.999, 0.9999),
          epsilon: fc.constantFrom(1e-8, 1e-3),
          clipNorm: fc.constantFrom(0.1, 1, Number.POSITIVE_INFINITY),
          multipliers: fc.constantFrom({}, { 'actor/': 3, 'actor/bias': 0.5, 'encoder/': 0 }),
          lazy: fc.boolean(),
        }),
        fc.constantFrom(0, 0.2, 1),
        fc.constantFrom(undefined, 4),
        (options, share, thaw) => {
          const { mine, wanted, fast, exact } = race(options, 12, share, SHAPES, thaw);
          for (const { name, data } of mine.parameters()) {
            expect(distance(data, wanted.get(name).data), name).toBeLessThan(1e-5);
          }
          const [state, wantedState] = [fast.state(), exact.state()];
          expect(Object.keys(state)).toEqual(Object.keys(wantedState));
          for (const [key, { data, shape }] of Object.entries(wantedState)) {
            expect(state[key]?.shape).toEqual(shape);
            expect(distance(state[key]?.data as Float32Array, data as Float32Array), key).toBeLessThan(1e-5);
          }
          expect(fast.updates).toBe(12);
          expect(mine.version).toBe(wanted.version);
          held.pop()?.release();
        },
      ),
      { seed: 11, numRuns: 60 },
    );
  });

  it('stays with the float64 loops over 2,000 steps', () => {
    const { mine, wanted } = race({ clipNorm: Number.POSITIVE_INFINITY }, 2000, 0.05);
    for (const { name, data } of mine.parameters()) {
      expect(distance(data, wanted.get(name).data), name).toBeLessThan(1e-5);
    }
  });

  it('zeroes gradients and keeps the flags: touched rows coast, untouched rows stay, exactly', () => {
    const { mine, parameters } = race({}, 1, 0.3);
    const flags = () => [...engine.u8(parameters.flagsOf('item/id'), 37)];
    expect(new Set(flags())).toEqual(new Set([0, ROW_HAS_MOMENTS]));
    const first = mine.get('item/id').data.slice();
    const adam = new Adam({ learningRate: 0.1 });
    addGradients(5, 0, parameters);
    parameters.step(adam); // another optimiser: it has no moments, so nothing coasts
    expect(mine.get('item/id').data).toEqual(first);
    expect(flags()).toEqual(new Array(37).fill(0));
    engine.f32(parameters.gradient + parameters.offsetOf('item/id') + 7 * 32, 1)[0] = 1;
    engine.u8(parameters.flagsOf('item/id'), 37)[7] = ROW_HAS_GRADIENT;
    parameters.step(adam);
    parameters.step(adam);
    const after = mine.get('item/id').data;
    for (const [i, value] of after.entries()) expect(value !== first[i], `value ${i}`).toBe(i === 56);
    expect(mine.get('item/id').gradient.every((value) => value === 0)).toBe(true);
  });

  it('with lazy leaves a row without gradient alone, though its moments are not 0', () => {
    const run = (lazy: boolean): Float32Array[] => {
      const store = makeStore();
      const parameters = acquire(store);
      const adam = new Adam({ lazy });
      store.get('item/id').gradient.fill(1, 8, 16);
      parameters.step(adam);
      const once = store.get('item/id').data.slice();
      store.get('actor/none').gradient[0] = 1; // marks nothing of the table
      parameters.step(adam);
      return [once, store.get('item/id').data.slice()];
    };
    const [once, twice] = run(true);
    expect(twice).toEqual(once);
    const [moved, coasted] = run(false);
    expect(moved).toEqual(once);
    expect(coasted).not.toEqual(moved);
  });

  it.each([Number.NaN, Number.POSITIVE_INFINITY])('changes nothing but the gradients when one is %s', (bad) => {
    const { mine, fast, parameters } = race({}, 2, 0.5);
    const before = { values: mine.toNamedArrays(), adam: fast.state(), version: mine.version };
    addGradients(9, 1, parameters);
    mine.get('actor/id').gradient[3] = bad;
    const result = parameters.step(fast);
    expect(result.applied).toBe(false);
    expect(Number.isFinite(result.gradientNorm)).toBe(false);
    expect({ values: mine.toNamedArrays(), adam: fast.state(), version: mine.version }).toEqual(before);
    expect(mine.parameters().every(({ gradient }) => gradient.every((value) => value === 0))).toBe(true);
  });

  it('goes on from a saved state bit for bit, in the engine, and from the engine to the float64 loops', () => {
    const { mine, fast } = race({ lazy: true }, 3, 0.4);
    const saved = { values: mine.toNamedArrays(), adam: fast.state() };
    const unbroken = held.at(-1) as EngineStore;
    const resumed = makeStore(4);
    resumed.loadNamedArrays(saved.values, 'test');
    const parameters = acquire(resumed);
    const adam = new Adam({ lazy: true });
    adam.load(saved.adam, 'test');
    for (let t = 3; t < 6; t++) {
      addGradients(t, 0.4, unbroken, parameters);
      unbroken.step(fast);
      parameters.step(adam);
    }
    expect(resumed.toNamedArrays()).toEqual(mine.toNamedArrays());
    expect(adam.state()).toEqual(fast.state());
    for (const { data } of Object.values(adam.state())) expect(data.buffer).toBeInstanceOf(ArrayBuffer);
    // Released, both go on in arrays of their own, from the same numbers.
    const before = adam.state();
    for (const store of held.splice(0)) store.release();
    expect(engine.bytesInUse).toBe(0);
    expect(adam.state()).toEqual(before);
    addGradients(6, 0.4, resumed, mine);
    expect(adam.step(resumed)).toEqual(fast.step(mine));
    expect(resumed.toNamedArrays()).toEqual(mine.toNamedArrays());
  });

  it('keeps the moments of each of two optimisers, and of one that steps outside of the engine', () => {
    const [mine, wanted] = [makeStore(), makeStore()];
    const parameters = acquire(mine);
    const pairs = [0.01, 0.003].map(
      (learningRate) => [new Adam({ learningRate }), new Adam({ learningRate })] as const,
    );
    for (let t = 0; t < 9; t++) {
      const [fast, exact] = pairs[t % 2] as readonly [Adam, Adam];
      addGradients(t, 0.5, parameters, wanted);
      if (t % 3 === 2) {
        fast.step(mine);
        mine.zeroGradients();
      } else parameters.step(fast);
      exact.step(wanted);
      wanted.zeroGradients();
    }
    for (const { name, data } of mine.parameters()) {
      expect(distance(data, wanted.get(name).data), name).toBeLessThan(1e-5);
    }
    for (const [fast, exact] of pairs) {
      const state = fast.state();
      for (const [key, { data }] of Object.entries(exact.state())) {
        expect(distance(state[key]?.data as Float32Array, data as Float32Array), key).toBeLessThan(1e-5);
      }
    }
  });

  it('refuses an optimiser that knows one of the parameters in another size, and keeps it as it was', () => {
    const adam = new Adam();
    const other = makeStore(1, { 'actor/bias': [3] });
    other.get('actor/bias').gradient.fill(1);
    adam.step(other);
    const before = adam.state();
    const parameters = acquire(makeStore());
    expect(() => parameters.step(adam)).toThrow(InvalidArgumentError);
    expect(adam.state()).toEqual(before);
  });

  it('gives the same bits with 1, 2 and 3 threads', async () => {
    const shapes = { 'item/id': [2001, 16], 'encoder/w': [150, 301], 'actor/id': [2001, 12], 'actor/bias': [2001] };
    const results: string[] = [];
    for (const threads of [1, 2, 3, 1]) {
      await loadEngine({ variant: 'simd', threads });
      const store = makeStore(1, shapes);
      const parameters = acquire(store);
      const adam = new Adam({ learningRate: 0.01 });
      addGradients(7, 1, parameters);
      // Long enough for workers to start and take their part.
      for (let t = 0; t < 1000; t++) parameters.step(adam);
      for (let t = 0; t < 4; t++) {
        addGradients(t, 0.3, parameters);
        for (let coast = 0; coast < 20; coast++) parameters.step(adam);
      }
      expect(engine.workers).toBe(threads - 1);
      const moments = Object.values(adam.state()).map(({ data }) => Buffer.from(data.buffer).toString('base64'));
      results.push(`${await store.sha256()} ${moments.join()}`);
      held.pop()?.release();
    }
    for (const result of results) expect(result === results[0]).toBe(true);
  });

  it('does not slow down when moments decay to nothing', () => {
    const shapes = { 'encoder/w': [400_000] };
    const store = makeStore(1, shapes);
    const parameters = acquire(store);
    const adam = new Adam({ beta1: 0.5, beta2: 0.5 });
    const step = (): number => {
      const started = performance.now();
      parameters.step(adam);
      return performance.now() - started;
    };
    engine.f32(parameters.gradient, 400_000).fill(1e-3);
    const fresh = Math.min(...Array.from({ length: 10 }, step));
    for (let t = 0; t < 120; t++) step(); // 2^-130: below the normal numbers, had they not been made 0
    const late = Math.min(...Array.from({ length: 10 }, step));
    expect(late).toBeLessThan(5 * fresh);
    expect(adam.state()['adam/first/encoder/w']?.data[0]).toBe(0);
  });
});
