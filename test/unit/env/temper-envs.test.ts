import { describe, expect, it, test } from 'vitest';
import { Sequences } from '../../../src/catalog/sequences.js';
import { syntheticData } from '../../../src/catalog/synthetic.js';
import type { HistoryBatch } from '../../../src/compute/history-batch.js';
import type { LaneEnv } from '../../../src/env/lane-env.js';
import { INDUSTRY_TEMPER, type TemperRule } from '../../../src/env/leave-rules.js';
import type { LogitModel, RewardModel } from '../../../src/env/reward-model.js';
import { calibrateReward, sequenceEnv } from '../../../src/env/sequence-env.js';
import { syntheticEnv } from '../../../src/env/synthetic-env.js';
import type { TemperRules } from '../../../src/env/temper-rules.js';
import { CheckpointError, InvalidArgumentError } from '../../../src/foundation/errors.js';
import type { JsonValue } from '../../../src/foundation/json.js';
import { batchEnvContract } from '../../../src/testing/env-contract.js';
import { chainEnv, identityEnv, tinyCatalog } from '../../../src/testing/tiny-envs.js';

const A = 40;
const catalog = tinyCatalog(A);
const sequences = Sequences.from([[0, 1, 2], [3, 4], [5]], { itemCount: A });
// Even items please, odd ones do not; what was shown before does not matter.
const model: RewardModel = {
  name: 'parity',
  itemCount: A,
  maxReward: 5,
  score(_histories: HistoryBatch, actions, out) {
    actions.forEach((item, i) => {
      if (item >= 0) out[i] = item % 2 === 0 ? 4 : 0;
    });
    return out;
  },
  scoreAll(histories, out) {
    for (let n = 0; n < histories.size * A; n++) out[n] = (n % A) % 2 === 0 ? 4 : 0;
    return out;
  },
};
// Category = tens; the items from 36 on have none.
const codes = Int32Array.from({ length: A }, (_, item) => (item < 36 ? Math.floor(item / 10) : -1));
const make = (extra: { rule?: TemperRule; size?: number; seed?: number; noRepeat?: boolean } = {}) =>
  sequenceEnv({ catalog, sequences, rewardModel: model, codes, ...extra });

/** Temper after each item; rounded, since 0.9 is no binary fraction. */
function tempers(env: LaneEnv<TemperRules>, items: readonly number[]): number[] {
  env.reset({ seed: 1 });
  return items.map((item) => {
    env.step(Int32Array.of(item));
    return Math.round((env.rules.temper[0] as number) * 10) / 10;
  });
}

describe('sequenceEnv', () => {
  it('follows the temper rule on a hand-made trace', () => {
    // 10 pleases: 10.1. 12 pleases, one of its tens before: 9.2. 14, two before: 7.7. 20: 6.8. 11 is odd, its tens 3 of the last 4:
    // max(2.1, 1.5): 4.7. 22: 10s 12 14 20 11 -> one 20 in the last four (12 14 20 11): 3.8. 24: 14 20 11 22, two: 2.3.
    expect(tempers(make(), [10, 12, 14, 20, 11, 22, 24])).toEqual([10.1, 9.2, 7.7, 6.8, 4.7, 3.8, 2.3]);
  });

  it('looks back over four items, not five', () => {
    // 10, 12, then four of other tens, then 14: none of its tens in the last four.
    const trace = tempers(make(), [10, 12, 20, 30, 22, 32, 14]);
    expect((trace[5] as number) - (trace[6] as number)).toBeCloseTo(0.9);
  });

  it('is never bored by items without a category', () => {
    expect(tempers(make(), [36, 38, 10])).toEqual([10.1, 9.2, 8.3]);
    const withCategory = sequenceEnv({
      catalog,
      sequences,
      rewardModel: model,
      codes: codes.map((code) => Math.max(code, 0)),
    });
    expect(tempers(withCategory, [36, 38, 2])).toEqual([10.1, 9.2, 7.7]);
  });

  it('does not count the start item among those shown', () => {
    const env = make();
    env.reset({ seed: 1 });
    const start = env.histories().items[0] as number;
    expect([0, 3, 5]).toContain(start);
    env.step(Int32Array.of(2));
    env.step(Int32Array.of(4));
    // Start, 2 and 4 are of one category: had the start counted, 4 would have cost 1.5.
    expect(env.rules.temper[0]).toBeCloseTo(11 - 0.9 - 0.9);
  });

  it('terminates below 1 and counts that step', () => {
    const env = make();
    env.reset({ seed: 1 });
    const flags = [11, 21, 31, 13, 23].map((item) => env.step(Int32Array.of(item)).terminated[0]);
    expect(flags).toEqual([0, 0, 0, 0, 1]);
  });

  it('truncates at the cap only a user who would have stayed', () => {
    const patient: TemperRule = { ...INDUSTRY_TEMPER, start: 1000 };
    const env = sequenceEnv({ catalog, sequences, rewardModel: model, codes, rule: patient, maxEpisodeSteps: 3 });
    env.reset({ seed: 1 });
    const steps = [10, 20, 30].map((item) => {
      const { terminated, truncated } = env.step(Int32Array.of(item));
      return [terminated[0], truncated[0]];
    });
    expect(steps).toEqual([
      [0, 0],
      [0, 0],
      [0, 1],
    ]);
    const leaving = sequenceEnv({ catalog, sequences, rewardModel: model, codes, maxEpisodeSteps: 5 });
    leaving.reset({ seed: 1 });
    const last = [11, 21, 31, 13, 23].map((item) => leaving.step(Int32Array.of(item))).at(-1);
    expect([last?.terminated[0], last?.truncated[0]]).toEqual([1, 0]);
  });

  it('starts with the first item of a sequence, each about as often', () => {
    const env = make({ size: 900 });
    env.reset({ seed: 2 });
    const { items, length } = env.histories();
    const firsts = Array.from({ length: 900 }, (_, lane) => items[lane * length] as number);
    expect([...new Set(firsts)].sort()).toEqual([0, 3, 5]);
    for (const first of [0, 3, 5]) expect(firsts.filter((item) => item === first).length).toBeGreaterThan(240);
  });

  it('refuses parts that do not fit, and more steps than items', () => {
    expect(() => sequenceEnv({ catalog: tinyCatalog(5), sequences, rewardModel: model, codes })).toThrow(/5 items/);
    expect(() => sequenceEnv({ catalog, sequences, rewardModel: model, codes: codes.slice(1) })).toThrow(/codes/);
    expect(() =>
      sequenceEnv({ catalog, sequences: Sequences.from([], { itemCount: A }), rewardModel: model, codes }),
    ).toThrow(InvalidArgumentError);
    expect(() => sequenceEnv({ catalog, sequences, rewardModel: model, codes, maxEpisodeSteps: 40 })).toThrow(
      /maxEpisodeSteps/,
    );
    expect(() => make({ rule: { ...INDUSTRY_TEMPER, start: -1 } })).toThrow(/start/);
  });
});

describe('fatigue', () => {
  const weary: TemperRule = { ...INDUSTRY_TEMPER, fatigue: { lookback: 3, factor: 0.5 } };

  it('tells planners what it pays', () => {
    const env = make({ rule: weary, size: 2, noRepeat: false });
    env.reset({ seed: 1 });
    const rows = new Float32Array(2 * A);
    for (const items of [
      [10, 20],
      [12, 22],
      [14, 30],
      [16, 24],
    ]) {
      env.rules.source.rewardRows(Int32Array.of(0, 1), env.histories(), rows);
      const { rewards } = env.step(Int32Array.from(items));
      expect([...rewards]).toEqual(items.map((item, lane) => rows[lane * A + item]));
    }
    // 16 after 10 12 14 in lane 0: 4 x 0.5^3.
    expect(rows[16]).toBe(0.5);
    // `people` are not weary.
    env.rules.people.rewardRows(Int32Array.of(0, 1), env.histories(), rows);
    expect(rows[16]).toBe(4);
  });

  it('is part of the calibration', () => {
    const logits: LogitModel = {
      name: 'hash',
      itemCount: A,
      score: model.score,
      scoreAll: (_histories, out) => {
        for (let n = 0; n < out.length; n++) out[n] = Math.sin(n * 12.9898) * 4;
        return out;
      },
    };
    const target = { mean: 0.8, best: 3.5 };
    const tired = calibrateReward(logits, { sequences, target, fatigue: { lookback: 4, factor: 0.2 }, codes });
    const fresh = calibrateReward(logits, { sequences, target });
    expect(tired.mean).toBeCloseTo(0.8, 2);
    expect(tired.b).toBeLessThan(fresh.b);
    expect(() => calibrateReward(logits, { sequences, target, fatigue: { lookback: 4, factor: 0.2 } })).toThrow(
      /codes/,
    );
  });
});

describe('leaving by chance', () => {
  const rule: TemperRule = { ...INDUSTRY_TEMPER, stochastic: { scale: 1 } };
  const lengths = (given: TemperRule, size: number): number[] => {
    const env = make({ rule: given, size });
    env.reset({ seed: 3 });
    for (let t = 0; env.ended.includes(0); t++) {
      const item = [11, 21, 31, 13, 23, 33, 15, 25, 35, 17, 27, 1, 19, 29, 9, 37, 39, 7, 34, 36][t] as number;
      env.step(Int32Array.from(env.ended, (flag) => (flag === 1 ? -1 : item)));
    }
    return [...env.steps];
  };

  it('spreads the lengths, and each lane draws alone', () => {
    const toAction = lengths(rule, 64);
    expect(new Set(toAction).size).toBeGreaterThan(2);
    expect(new Set(lengths(INDUSTRY_TEMPER, 64)).size).toBe(1);
    expect(lengths(rule, 5)).toEqual(toAction.slice(0, 5));
  });

  for (const { name, run } of batchEnvContract(
    ({ size, seed }) => make({ size, seed, rule: { ...rule, fatigue: { lookback: 4, factor: 0.5 } } }),
    { rewards: { low: 0, high: 5 } },
  ))
    test(`sequenceEnv, stochastic and weary: ${name}`, run);
});

describe('syntheticEnv', () => {
  const data = syntheticData({ items: 60, categories: 6, seed: 1 });

  it("starts with three liked items, pays the data's reward and follows its categories", () => {
    const env = syntheticEnv({ data, size: 8 });
    env.reset({ seed: 3 });
    expect([...env.histories().lengths]).toEqual(Array(8).fill(3));
    const rows = new Float32Array(8 * 60);
    env.rules.source.rewardRows(
      Int32Array.from({ length: 8 }, (_, lane) => lane),
      env.histories(),
      rows,
    );
    const { items, length } = env.histories();
    const actions = Int32Array.from({ length: 8 }, (_, lane) =>
      items[lane * length] === 7 || items[lane * length + 1] === 7 || items[lane * length + 2] === 7 ? 8 : 7,
    );
    const { rewards } = env.step(actions);
    expect([...rewards]).toEqual(Array.from(actions, (item, lane) => rows[lane * 60 + item]));
    expect(env.rules.codes).toBe(data.categoryCodes);
    expect(env.noRepeat).toBe(true);
  });

  it('gives the same user for the same number, others for other ranges', () => {
    const starts = (from: number): string => {
      const env = syntheticEnv({ data, users: { from, count: 1 }, size: 2 });
      env.reset({ seed: from });
      return env.histories().items.slice(0, 3).join();
    };
    const env = syntheticEnv({ data, users: { from: 5, count: 1 }, size: 2 });
    env.reset({ seed: 1 });
    const { items, length } = env.histories();
    expect([...items.slice(0, 3)]).toEqual([...items.slice(length, length + 3)]);
    expect(starts(5)).not.toBe(starts(6));
  });

  it('pays the same where rewards are not computed ahead', () => {
    const large = syntheticData({ items: 4200, categories: 6, seed: 1 });
    const env = syntheticEnv({ data: large, size: 2 });
    env.reset({ seed: 1 });
    const rows = new Float32Array(2 * 4200);
    env.rules.source.rewardRows(Int32Array.of(0, 1), env.histories(), rows);
    const item = [100, 101, 102, 103].find((candidate) => !env.histories().items.includes(candidate)) as number;
    expect([...env.step(Int32Array.of(item, item)).rewards]).toEqual([rows[item], rows[4200 + item]]);
  });

  for (const { name, run } of batchEnvContract(({ size, seed }) => syntheticEnv({ data, size, seed })))
    test(`syntheticEnv: ${name}`, run);
  for (const { name, run } of batchEnvContract(({ size, seed }) => syntheticEnv({ data, size, seed, noRepeat: false })))
    test(`syntheticEnv with repeats: ${name}`, run);
});

for (const { name, run } of batchEnvContract(({ size, seed }) => make({ size, seed })))
  test(`sequenceEnv: ${name}`, run);
for (const { name, run } of batchEnvContract(({ size, seed }) => identityEnv({ size, seed })))
  test(`identityEnv: ${name}`, run);
for (const { name, run } of batchEnvContract(({ size, seed }) => chainEnv({ size, seed, ends: 'truncated', steps: 3 })))
  test(`chainEnv: ${name}`, run);

describe('chainEnv', () => {
  it('ends alike at the same step, by leaving or by the cap', () => {
    for (const ends of ['terminated', 'truncated'] as const) {
      const env = chainEnv({ steps: 2, ends });
      env.reset();
      expect([...env.step(Int32Array.of(0)).terminated, ...env.step(Int32Array.of(0)).rewards]).toEqual([0, 1]);
      env.reset();
      env.step(Int32Array.of(1));
      const { terminated, truncated } = env.step(Int32Array.of(1));
      expect([terminated[0], truncated[0]]).toEqual(ends === 'terminated' ? [1, 0] : [0, 1]);
    }
  });
});

describe('saved states', () => {
  const env = make({ size: 2 });
  env.reset({ seed: 4 });
  env.step(Int32Array.of(10, 20));
  const state = env.saveState() as { lanes: { episode: number; shown: string[] }[] } & Record<string, JsonValue>;

  it('hold ids and counters only', () => {
    expect(state).toEqual({
      format: 'ialp-env/1',
      name: 'sequence',
      items: A,
      seed: 4,
      lanes: [
        { episode: 0, shown: ['item-10'] },
        { episode: 0, shown: ['item-20'] },
      ],
    });
  });

  const wrongs: [string, JsonValue][] = [
    ['another number of lanes', { ...state, lanes: state.lanes.slice(1) }],
    ['another number of items', { ...state, items: 41 }],
    ['another format', { ...state, format: 'ialp-env/2' }],
    [
      'an unknown item',
      {
        ...state,
        lanes: [
          { episode: 0, shown: ['item-99'] },
          { episode: 0, shown: [] },
        ],
      },
    ],
    [
      'a repeated item',
      {
        ...state,
        lanes: [
          { episode: 0, shown: ['item-10', 'item-10'] },
          { episode: 0, shown: [] },
        ],
      },
    ],
    [
      'items beyond the end',
      {
        ...state,
        lanes: [
          { episode: 0, shown: ['item-11', 'item-21', 'item-31', 'item-13', 'item-23', 'item-7'] },
          { episode: 0, shown: [] },
        ],
      },
    ],
    [
      'items before the first episode',
      {
        ...state,
        lanes: [
          { episode: -1, shown: ['item-10'] },
          { episode: 0, shown: [] },
        ],
      },
    ],
    ['a fractional seed', { ...state, seed: 0.5 }],
    ['an extra field', { ...state, more: 1 }],
  ];
  for (const [what, wrong] of wrongs) {
    it(`with ${what} are refused and change nothing`, () => {
      const other = make({ size: 2 });
      other.reset({ seed: 8 });
      other.step(Int32Array.of(12, 22));
      const before = JSON.stringify(other.saveState());
      expect(() => other.restoreState(wrong)).toThrow(CheckpointError);
      expect(JSON.stringify(other.saveState())).toBe(before);
      expect([...other.steps]).toEqual([1, 1]);
    });
  }

  it('restore lanes at different steps, ended ones as ended', () => {
    const a = make({ size: 3 });
    a.reset({ seed: 2 });
    const first = [11, 21, 31, 13, 23];
    for (const item of first) a.step(Int32Array.of(item, item === 11 ? 10 : item + 1, item + 2));
    a.reset({ rows: Uint8Array.of(0, 1, 0) });
    const b = make({ size: 3 });
    b.restoreState(a.saveState());
    expect([...b.ended]).toEqual([...a.ended]);
    expect([...b.steps]).toEqual([...a.steps]);
    expect([...b.rules.temper]).toEqual([...a.rules.temper]);
    expect([...b.histories().items]).toEqual([...a.histories().items]);
  });
});
