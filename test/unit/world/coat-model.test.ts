import { beforeAll, describe, expect, it } from 'vitest';
import { InvalidArgumentError } from '../../../src/foundation/errors.js';
import { Rng } from '../../../src/foundation/rng.js';
import { readCoat } from '../../../src/node/read-data.js';
import { checkLeaks } from '../../../src/testing/leak-check.js';
import { worldCard } from '../../../src/world/card.js';
import { arrayFingerprint, auc, type CoatModel, fitCoatModel, pearson } from '../../../src/world/coat-model.js';
import { coatWorld } from '../../../src/world/coat-world.js';
import { sharedData } from '../../shared-data.js';
import { TINY, tinyCoat } from '../env/tiny-coat.js';

const coatFolder = sharedData('coat');

// Random ratings of items drawn at random, as `test.ascii` has them: 6 of 16 a user.
const rng = new Rng(1);
const data = {
  ...tinyCoat(),
  test: Float32Array.from({ length: TINY.users * TINY.items }, () => (rng.uniform() < 0.4 ? 1 + rng.integer(5) : 0)),
};
const quick = { data, members: 1, epochs: 2, heldOut: 0 } as const;

describe('fitCoatModel', () => {
  it('gives rewards from 0 on and says what it saw, the same twice', async () => {
    const model = await fitCoatModel({ ...quick, seed: 4 });
    expect(model.rewards).toHaveLength(TINY.users * TINY.items);
    expect(Math.min(...model.rewards)).toBe(0);
    expect(model.saw.map(({ name }) => name)).toEqual(['train', 'userFeatures', 'itemFeatures']);
    expect(model.saw[0]?.fingerprint).toBe(arrayFingerprint(data.train));
    expect(await fitCoatModel({ ...quick, seed: 4 })).toEqual(model);
    expect((await fitCoatModel({ ...quick, seed: 5 })).rewards).not.toEqual(model.rewards);
  });

  it('reads nothing but train ratings and features', async () => {
    const blind = {
      ...data,
      truth: data.truth.map((_, cell) => 1 + (cell % 5)),
      test: data.test.map((rating) => (rating > 0 ? 6 - rating : 0)),
    };
    expect((await fitCoatModel({ ...quick, data: blind })).rewards).toEqual((await fitCoatModel(quick)).rewards);
    const other = { ...data, train: data.train.map((rating) => (rating > 0 ? 6 - rating : 0)) };
    expect((await fitCoatModel({ ...quick, data: other })).rewards).not.toEqual((await fitCoatModel(quick)).rewards);
  });

  it('tells its progress, stops at an abort, and leaves nothing behind', async () => {
    const told: string[] = [];
    await fitCoatModel({
      ...quick,
      members: 2,
      heldOut: 0.3,
      onProgress: ({ done, total }) => told.push(`${done}/${total}`),
    });
    expect(told).toEqual(['1/4', '2/4', '3/4', '4/4']);
    await checkLeaks(async () => {
      const abort = new AbortController();
      const fitting = fitCoatModel({
        ...quick,
        members: 3,
        onProgress: () => abort.abort(new Error('enough')),
        signal: abort.signal,
      });
      await expect(fitting).rejects.toThrow('enough');
    });
  });

  it('refuses a matrix without ratings and options out of range', async () => {
    await expect(fitCoatModel({ data: { ...data, train: new Float32Array(256) } })).rejects.toThrow(/ratings/);
    await expect(fitCoatModel({ data, members: 0 })).rejects.toThrow(/members/);
  });
});

describe('the leak check of coatWorld', () => {
  let model: CoatModel;
  beforeAll(async () => {
    model = await fitCoatModel(quick);
  });
  const world = (reward: CoatModel | Float32Array) => (): unknown => coatWorld({ data, reward });
  const seen = (name: string, array: Float32Array): CoatModel => ({
    ...model,
    saw: [...model.saw, { name, fingerprint: arrayFingerprint(array) }],
  });

  it('lets a model pass that saw train ratings and features, and says so in the facts', async () => {
    const passed = coatWorld({ data, reward: model });
    expect([passed.reward, passed.facts.reward]).toEqual(['model', 'model']);
    expect((passed.facts.rewardModel as { saw: unknown[] }).saw).toEqual(model.saw);
    expect(await passed.fingerprint()).not.toBe(await coatWorld({ data }).fingerprint());
  });

  it('refuses one that saw test.ascii, the truth, or anything else, under whatever name', () => {
    expect(world(seen('train', data.test))).toThrow(/seen test\.ascii: it leaks/);
    expect(world(seen('ratings', data.truth))).toThrow(/seen the ground truth: it leaks/);
    const both = data.train.map((rating, cell) => rating || (data.test[cell] as number));
    expect(world(seen('both', both))).toThrow(/seen `both`/);
    expect(world({ ...model, saw: [] })).toThrow(/saw/);
    expect(world(seen('train', data.test))).toThrow(InvalidArgumentError);
  });

  it('refuses a matrix made from the truth, wholly or user by user, and lets an unrelated one pass', () => {
    const perUser = data.truth.map(
      (rating, cell) => rating * (1 + (Math.floor(cell / TINY.items) % 7)) + 40 * (Math.floor(cell / TINY.items) % 3),
    );
    for (const made of [
      data.truth,
      data.truth.map((rating) => 3 * rating - 7),
      data.truth.map((rating) => rating ** 1.5),
      perUser,
    ])
      expect(world(made)).toThrow(/ground truth.*leaks/);
    expect(world({ ...model, rewards: data.truth })).toThrow(/ground truth/);
    const noise = new Rng(5);
    for (const unrelated of [
      model.rewards,
      new Float32Array(256).fill(3),
      data.truth.map(() => noise.uniform()),
      data.truth.map((rating) => 5 - rating),
    ])
      expect(world(unrelated)).not.toThrow();
  });

  it('refuses a matrix that agrees with the ratings of test.ascii', () => {
    const noise = new Rng(6);
    const memorised = data.test.map((rating) => (rating > 0 ? 2 * rating + 1 : 5 * noise.uniform()));
    expect(world(memorised)).toThrow(/test\.ascii.*leaks/);
    const shuffled = data.test.map((rating) => (rating > 0 ? 1 + noise.integer(5) : 5 * noise.uniform()));
    expect(world(shuffled)).not.toThrow();
  });

  it('refuses another shape and numbers that are not finite', () => {
    expect(world(new Float32Array(3))).toThrow(/16 x 16/);
    expect(world(new Float32Array(256).fill(Number.NaN))).toThrow(/finite/);
    expect(() => coatWorld({ data, reward: 'trooth' as 'truth' })).toThrow(/reward/);
  });
});

describe('pearson, auc and arrayFingerprint', () => {
  it('are what they are by hand', () => {
    expect(pearson([1, 2, 3], [2, 4, 6])).toBeCloseTo(1, 12);
    expect(pearson([1, 2, 3], [3, 2, 1])).toBeCloseTo(-1, 12);
    // Deviations (-1, 0, 1) and (-1, 2, -1): product sum 0.
    expect(pearson([1, 2, 3], [1, 4, 1])).toBeCloseTo(0, 12);
    expect(pearson([1, 1, 1], [1, 2, 3])).toBeNaN();
    // Pairs liked > other: (3 > 1), (3 > 2), (2 = 2 counts half), (2 > 1): 3.5 of 4.
    expect(auc(Float64Array.of(3, 2, 2, 1), Uint8Array.of(1, 1, 0, 0))).toBe(3.5 / 4);
    expect(auc(Float64Array.of(1, 2), Uint8Array.of(1, 1))).toBeNaN();
  });

  it('tell arrays apart by any value, place or length', () => {
    const array = Float32Array.of(1, 2, 3, 0);
    const prints = [
      array,
      Float32Array.of(2, 1, 3, 0),
      Float32Array.of(1, 2, 3),
      Float32Array.of(1, 2, 3.0000002, 0),
    ].map(arrayFingerprint);
    expect(new Set(prints).size).toBe(4);
    expect(arrayFingerprint(array.slice())).toBe(prints[0]);
    expect(prints[0]).toMatch(/^[0-9a-f]{16}$/);
  });
});

describe.skipIf(coatFolder === undefined)('the DeepFM on the real data', () => {
  it('beats the baselines on held-out train ratings and meets the truth it never saw', {
    timeout: 240_000,
  }, async () => {
    const real = await readCoat(coatFolder as string);
    const model = await fitCoatModel({ data: real });
    const { model: ours, itemMean, biases } = model.facts.heldOutAuc as Record<string, number>;
    expect(ours).toBeGreaterThan(itemMean as number);
    expect(ours).toBeGreaterThan(biases as number);
    expect(pearson(model.rewards, real.truth)).toBeGreaterThanOrEqual(0.6);
    const [random] = await worldCard(coatWorld({ data: real, reward: model }), {
      policies: ['random'],
      episodes: 100,
      seeds: 1,
    });
    expect(random?.reward).toBe('model');
  });
});
