import { describe, expect, it } from 'vitest';
import { initParameters } from '../../../src/compute/model.js';
import { ParameterStore } from '../../../src/compute/parameter-store.js';
import { CheckpointError, InvalidArgumentError } from '../../../src/foundation/errors.js';
import { Rng } from '../../../src/foundation/rng.js';
import { smallSpec } from './models.js';

const make = (seed = 1): ParameterStore => initParameters(smallSpec(), new Rng(seed));

describe('ParameterStore', () => {
  it('raises its version with every change of values', () => {
    const store = make();
    const versions = [store.version];
    store.touch();
    versions.push(store.version);
    store.copyFrom(make(2));
    versions.push(store.version);
    store.loadNamedArrays(make(3).toNamedArrays(), 'test');
    versions.push(store.version);
    expect(versions).toEqual([...new Set(versions)].sort((a, b) => a - b));
  });

  it('copies values, not the arrays', async () => {
    const [a, b] = [make(1), make(2)];
    expect(await a.sha256()).not.toBe(await b.sha256());
    a.copyFrom(b);
    expect(await a.sha256()).toBe(await b.sha256());
    b.get('actor/bias').data[0] = 7;
    expect(a.get('actor/bias').data[0]).toBe(0);
  });

  it('averages towards another store', () => {
    const a = new ParameterStore([['x', { shape: [1], data: Float32Array.of(1) }]]);
    const b = new ParameterStore([['x', { shape: [1], data: Float32Array.of(3) }]]);
    a.averageFrom(b, 0.25);
    expect(a.get('x').data[0]).toBe(1.5);
    expect(() => a.averageFrom(b, 2)).toThrow(InvalidArgumentError);
  });

  it('refuses another model and stays as it was', async () => {
    const store = make();
    const before = await store.sha256();
    const other = initParameters(smallSpec({ itemCount: 12 }), new Rng(1));
    expect(() => store.copyFrom(other)).toThrow(/\[12,8\] in place of \[11,8\]/);
    expect(() => store.loadNamedArrays(other.toNamedArrays(), 'a.safetensors')).toThrow(CheckpointError);
    const { 'actor/none': _, ...rest } = make(2).toNamedArrays();
    expect(() => store.loadNamedArrays(rest, 'a.safetensors')).toThrow(
      /a\.safetensors: .*'actor\/none' \[1\] is missing/,
    );
    const bad = make(2).toNamedArrays();
    (bad['actor/bias'] as { data: Float32Array }).data[3] = Number.NaN;
    expect(() => store.loadNamedArrays(bad, 'a.safetensors')).toThrow(/finite/);
    expect(await store.sha256()).toBe(before);
  });

  it('round-trips through named arrays', async () => {
    const store = make(5);
    const copy = make(6);
    copy.loadNamedArrays(store.toNamedArrays(), 'test');
    expect(await copy.sha256()).toBe(await store.sha256());
  });

  it('clones values and what is frozen', () => {
    const store = make();
    store.freeze('encoder/');
    const copy = store.clone();
    expect(copy.get('encoder/position').frozen).toBe(true);
    expect(copy.get('actor/id').frozen).toBe(false);
    copy.get('actor/id').data[0] = 9;
    expect(store.get('actor/id').data[0]).not.toBe(9);
    copy.freeze('encoder/', false);
    expect(copy.get('encoder/position').frozen).toBe(false);
    expect(() => store.freeze('nothing')).toThrow(InvalidArgumentError);
  });

  it('refuses unknown names, repeated names and wrong sizes', () => {
    expect(() => make().get('actor/idd')).toThrow(InvalidArgumentError);
    const x = ['x', { shape: [2], data: new Float32Array(2) }] as const;
    expect(() => new ParameterStore([x, x])).toThrow(/twice/);
    expect(() => new ParameterStore([['x', { shape: [3], data: new Float32Array(2) }]])).toThrow(InvalidArgumentError);
  });
});

describe('initParameters', () => {
  it('gives the same weights for the same seed, others for another', async () => {
    expect(await make(1).sha256()).toBe(await make(1).sha256());
    expect(await make(1).sha256()).not.toBe(await make(2).sha256());
  });

  it('draws an array by its name alone, whatever else the model has', () => {
    const plain = make(1);
    const rich = initParameters(smallSpec({ critic: 'action', valueEncoder: 'separate' }), new Rng(1));
    expect(rich.get('actor/id').data).toEqual(plain.get('actor/id').data);
    expect(rich.get('valueEncoder/start').data).not.toEqual(rich.get('encoder/start').data);
  });

  it('names the parameters by the contract', () => {
    const features = new Float32Array(11 * 3).fill(0.1);
    const names = initParameters(
      smallSpec({ items: 'id+text', itemFeatures: features, itemFeatureWidth: 3, valueEncoder: 'separate' }),
      new Rng(1),
    ).names.filter((name) => !name.includes('ncoder/'));
    expect(names).toEqual([
      'item/id',
      'item/projection',
      'actor/id',
      'actor/projection',
      'actor/bias',
      'actor/none',
      'valueItem/id',
      'valueItem/projection',
      'value/w1',
      'value/b1',
      'value/w2',
      'value/b2',
    ]);
  });

  it.each([
    ['text without features', { items: 'text' as const }],
    ['features of the wrong size', { items: 'text' as const, itemFeatures: new Float32Array(4), itemFeatureWidth: 3 }],
    ['no item', { itemCount: 0 }],
    ['an unknown critic', { critic: 'both' as 'state' }],
    ['an encoder that is none', { encoder: {} as never }],
  ])('refuses %s', (_, change) => {
    expect(() => initParameters(smallSpec(change), new Rng(1))).toThrow(InvalidArgumentError);
  });
});
