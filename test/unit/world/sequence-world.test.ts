import { beforeAll, describe, expect, it, test } from 'vitest';
import { Sequences } from '../../../src/catalog/sequences.js';
import { useBackend } from '../../../src/compute/backend.js';
import type { LaneEnv } from '../../../src/env/lane-env.js';
import { INDUSTRY_TEMPER, PLAIN_TEMPER } from '../../../src/env/leave-rules.js';
import type { TemperRules } from '../../../src/env/temper-rules.js';
import { DisposedError } from '../../../src/foundation/errors.js';
import { MemoryStorage } from '../../../src/foundation/storage.js';
import { batchEnvContract } from '../../../src/testing/env-contract.js';
import { worldCard } from '../../../src/world/card.js';
import { industryWorldSpec } from '../../../src/world/industry-world.js';
import { lfmWorldSpec } from '../../../src/world/lfm-world.js';
import {
  type BuildSequenceWorldOptions,
  type BuiltSequenceWorld,
  buildSequenceWorld,
  type SequenceWorld,
  type SequenceWorldSpec,
  sequenceWorld,
} from '../../../src/world/sequence-world.js';
import { type CardPolicy, worldStarts } from '../../../src/world/world.js';
import { TINY_ITEMS, TINY_MODEL, tinyKinds, tinySequences, tinySpec } from './tiny-sequences.js';

const data = { catalog: tinyKinds(), sequences: tinySequences(200, 1) };
const build = (changes: Partial<SequenceWorldSpec> = {}, options: BuildSequenceWorldOptions = {}) =>
  buildSequenceWorld(data, tinySpec(changes), options);
const quick = { rewardModel: { ...TINY_MODEL, maxEpochs: 1, members: 1 } };

/** Counts the members that are fitted, not read. */
function counting(): { readonly fitted: Set<string>; readonly options: BuildSequenceWorldOptions } {
  const fitted = new Set<string>();
  return { fitted, options: { onProgress: ({ split, member }) => fitted.add(`${split}-${member}`) } };
}

let built: BuiltSequenceWorld;
let world: SequenceWorld;

beforeAll(async () => {
  await useBackend('wasm');
  built = await build();
  world = sequenceWorld(built);
});

describe('buildSequenceWorld', () => {
  it('fits three worlds with seeds of their own, each calibrated', () => {
    expect(Object.keys(built.fits)).toEqual(['train', 'validation', 'test']);
    const members = Object.values(built.fits).flatMap((fit) => fit.members);
    expect(members).toHaveLength(6);
    const weights = members.map((parameters) => (parameters['actor/id']?.data ?? []).slice(0, 8).join());
    expect(new Set(weights).size).toBe(6);
    for (const { calibration, auc } of Object.values(built.fits)) {
      expect(calibration.mean).toBeCloseTo(0.5, 2);
      expect(calibration.best).toBeCloseTo(4, 2);
      expect(auc).toBeGreaterThan(0.8);
    }
  });

  it('calibrates after fatigue, which takes from the rewards', async () => {
    const rule = { ...INDUSTRY_TEMPER, fatigue: { lookback: 4, factor: 0.3 } };
    const storage = new MemoryStorage();
    const plain = await build(quick, { storage, splits: ['train'] });
    const weary = await build({ ...quick, rule }, { storage, splits: ['train'] });
    expect(weary.fits.train?.members).toEqual(plain.fits.train?.members);
    expect(weary.fits.train?.calibration.mean).toBeCloseTo(0.5, 2);
    expect(weary.fits.train?.calibration.b).not.toBe(plain.fits.train?.calibration.b);
  });

  it('gives the same bits again, stopped and resumed or not', async () => {
    const storage = new MemoryStorage();
    const abort = new AbortController();
    const stopped = build(quick, {
      storage,
      signal: abort.signal,
      onProgress: ({ split }) => split === 'validation' && abort.abort(new Error('stop')),
    });
    await expect(stopped).rejects.toThrow('stop');
    expect(await storage.list()).toEqual(['models/train-1.safetensors', 'models/validation-1.safetensors']);
    const { fitted, options } = counting();
    const resumed = await build(quick, { storage, ...options });
    expect([...fitted]).toEqual(['test-1']);
    expect(resumed.fits).toEqual((await build(quick)).fits);
  });

  it('fits a damaged or foreign model again, and no other', async () => {
    const storage = new MemoryStorage();
    const first = await build(quick, { storage });
    const key = 'models/test-1.safetensors';
    const bytes = (await storage.get(key)) as Uint8Array;
    // A bit of a weight: the file stays well formed.
    bytes[bytes.length - 2] = (bytes[bytes.length - 2] as number) ^ 1;
    await storage.put(key, bytes);
    await storage.put('models/train-1.safetensors', bytes.subarray(0, 100));
    const { fitted, options } = counting();
    const again = await build(quick, { storage, ...options });
    expect([...fitted]).toEqual(['train-1', 'test-1']);
    expect(again.fits).toEqual(first.fits);
    // Of another seed: none of them is taken.
    const other = counting();
    await build({ ...quick, splitSeed: 2 }, { storage, ...other.options });
    expect(other.fitted.size).toBe(3);
  });

  it('fits what is asked for, to the same bits', async () => {
    const { fits } = await build(quick, { splits: ['validation'] });
    expect(Object.keys(fits)).toEqual(['validation']);
    expect(fits.validation).toEqual((await build(quick)).fits.validation);
  });

  it('keeps the test sequences from the train and validation worlds', async () => {
    // The same sequences, those of the test part read backwards.
    const lists = Array.from({ length: data.sequences.count }, (_, i) => data.sequences.sequence(i));
    const users = lists.map((_, i) => String(i));
    const [, , test] = Sequences.from(lists, { itemCount: TINY_ITEMS, users }).split({
      seed: 1,
      fractions: [0.7, 0.1, 0.2],
    });
    for (const user of test?.users ?? []) lists[Number(user)] = (lists[Number(user)] as Int32Array).toReversed();
    const altered = { catalog: data.catalog, sequences: Sequences.from(lists, { itemCount: TINY_ITEMS }) };
    const [before, after] = [await build(quick), await buildSequenceWorld(altered, tinySpec(quick))];
    expect(after.fits.train).toEqual(before.fits.train);
    expect(after.fits.validation).toEqual(before.fits.validation);
    // Negative control: the test world does see them.
    expect(after.fits.test?.members).not.toEqual(before.fits.test?.members);
    expect(test?.count).toBe(40);
  });

  it('refuses what cannot be built, naming it', async () => {
    const few = { catalog: data.catalog, sequences: tinySequences(9, 1) };
    await expect(buildSequenceWorld(few, tinySpec())).rejects.toThrow(/at least 10 sequences/);
    await expect(build({ category: 'colour' })).rejects.toThrow(/attribute/);
    await expect(build({ window: 0 })).rejects.toThrow(/window/);
    await expect(build({ rewardModel: { ...TINY_MODEL, heads: 3 } })).rejects.toThrow(/multiple of `heads`/);
  });
});

describe('sequenceWorld', () => {
  it('pays each split by its own model', () => {
    const row = (split: 'train' | 'validation' | 'test' | 'all') => {
      const env = world.batchEnv({ split, size: 1, seed: 1 }) as LaneEnv<TemperRules>;
      const histories = { size: 1, length: 1, items: Int32Array.of(7), lengths: Int32Array.of(1), contextWidth: 0 };
      const rewards = new Float32Array(TINY_ITEMS);
      env.rules.source.rewardRows(Int32Array.of(0), histories, rewards);
      return rewards.join();
    };
    expect(new Set([row('train'), row('validation'), row('test')]).size).toBe(3);
    expect(row('all')).toBe(row('test'));
  });

  it('brings each split its own users', () => {
    const [, , test] = data.sequences.split({ seed: 1, fractions: [0.7, 0.1, 0.2] });
    const first = new Set(Array.from({ length: test?.count ?? 0 }, (_, i) => test?.sequence(i)[0]));
    const { histories } = worldStarts(world, { split: 'test', count: 100, seed: 1 });
    expect(histories.every((history) => history.length === 1 && first.has(history[0]))).toBe(true);
  });

  it('counts popularity by the train sequences alone', () => {
    expect(world.popularity.reduce((a, b) => a + b)).toBe(140 * 6);
  });

  it('measures a card, the same bits each time; planners come in their order', async () => {
    const card = () => worldCard(world, { episodes: 24, beamEpisodes: 24, seeds: 2 });
    const rows = await card();
    expect(await card()).toEqual(rows);
    const R = Object.fromEntries(rows.map((row) => [row.policy, row.return])) as Record<CardPolicy, number>;
    expect(R.beam).toBeGreaterThanOrEqual(R.aware);
    expect(R.aware).toBeGreaterThan(R.greedy);
    expect(R.greedy).toBeGreaterThan(3 * R.random);
    expect(R.transfer).toBeLessThan(R.beam);
    expect(R.transfer).toBeGreaterThan(1.5 * R.random);
  });

  it('transfers nothing in the train world: there it is the beam planner', async () => {
    const [beam, transfer] = await worldCard(world, {
      split: 'train',
      episodes: 16,
      beamEpisodes: 16,
      seeds: [3],
      policies: ['beam', 'transfer'],
    });
    expect(transfer?.return).toBeCloseTo(beam?.return as number, 4);
  });

  it('says which split it lacks, and has no transfer without the train world', async () => {
    const { test: fit } = built.fits;
    using part = sequenceWorld({ ...built, fits: fit === undefined ? {} : { test: fit } });
    expect(part.policies).not.toContain('transfer');
    expect(() => part.planned('transfer', { split: 'test', size: 1, seed: 1 })).toThrow(/policy/);
    expect(() => part.batchEnv({ split: 'train', size: 1, seed: 1 })).toThrow(/test.*train/);
    // What is there plays as before.
    const of = (one: SequenceWorld) => worldCard(one, { episodes: 8, seeds: 1, policies: ['random'] });
    expect(await of(part)).toEqual(await of(world));
  });

  it('has a fingerprint of data and spec, whichever splits are there', async () => {
    using part = sequenceWorld({ ...built, fits: {} });
    expect(await part.fingerprint()).toBe(await world.fingerprint());
    using other = sequenceWorld({ ...built, spec: tinySpec({ meanReward: 0.6 }) });
    expect(await other.fingerprint()).not.toBe(await world.fingerprint());
  });

  it('is not used after dispose', () => {
    const gone = sequenceWorld(built);
    const env = gone.batchEnv({ split: 'test', size: 1, seed: 1 });
    env.reset();
    gone.dispose();
    gone.dispose();
    expect(() => env.step(Int32Array.of(env.histories().items[0] === 3 ? 4 : 3))).toThrow(DisposedError);
    expect(() => gone.batchEnv({ split: 'test', size: 1, seed: 1 })).toThrow(DisposedError);
  });

  it('is degenerate under the plain rule: one item for ever is worth most of what can be had', async () => {
    const plain = tinySpec({ rule: PLAIN_TEMPER, noRepeat: false });
    using dull = sequenceWorld({ ...built, spec: plain });
    const one = async (of: SequenceWorld) => bestOneItem(of) / ((await beamReturn(of)) as number);
    expect(await one(dull)).toBeGreaterThan(0.4);
    // Negative control: where nothing is shown twice, no such policy exists.
    expect(() => bestOneItem(world)).toThrow(/never repeats/);
  });

  for (const { name, run } of batchEnvContract(({ size, seed }) => world.batchEnv({ split: 'train', size, seed })))
    test(`sequenceWorld: ${name}`, run);
});

async function beamReturn(of: SequenceWorld): Promise<number | undefined> {
  const [row] = await worldCard(of, { episodes: 16, beamEpisodes: 16, seeds: 1, policies: ['beam'] });
  return row?.return;
}

/** Mean return of the best policy that knows one item only. */
function bestOneItem(of: SequenceWorld): number {
  const size = 16;
  let best = 0;
  for (let item = 0; item < TINY_ITEMS; item++) {
    const env = of.batchEnv({ split: 'test', size, seed: 1 });
    env.reset();
    let total = 0;
    while (env.ended.includes(0)) {
      const { rewards } = env.step(Int32Array.from(env.ended, (flag) => (flag === 1 ? -1 : item)));
      total += rewards.reduce((a, b) => a + b);
    }
    best = Math.max(best, total / size);
  }
  return best;
}

describe('presets', () => {
  it('are those of environments.md section 3', () => {
    const [industry, lfm] = [industryWorldSpec(), lfmWorldSpec({ splitSeed: 3 })];
    expect([industry.rule.start, industry.category, industry.meanReward, industry.bestReward]).toEqual([
      11,
      'level2',
      0.21,
      4.5,
    ]);
    expect([lfm.rule.start, lfm.category, lfm.meanReward, lfm.bestReward, lfm.splitSeed]).toEqual([
      10,
      'tag',
      0.34,
      4.3,
      3,
    ]);
    expect([industry.rewardModel.negatives, lfm.rewardModel.negatives]).toEqual(['uniform', 'popularity']);
    expect([industry.rewardModel.members, industry.noRepeat, industry.maxEpisodeSteps]).toEqual([3, true, 20]);
  });
});
