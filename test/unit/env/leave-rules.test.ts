import { describe, expect, it } from 'vitest';
import {
  fatigueShare,
  INDUSTRY_TEMPER,
  PLAIN_TEMPER,
  SYNTHETIC_TEMPER,
  sameCategory,
  temperDrop,
  temperLeaves,
  temperLookback,
  temperRuleSchema,
} from '../../../src/env/leave-rules.js';

describe('temper rule', () => {
  it('drops 0.9 for an item that pleases and 2.1 for any other', () => {
    expect([0.5, 0.49999, 5, 0].map((reward) => temperDrop(INDUSTRY_TEMPER, reward, 0))).toEqual([0.9, 2.1, 0.9, 2.1]);
  });

  it('drops at least the price of boredom from two of the kind on, and never less than without', () => {
    // [same, reward] -> max(0.9 or 2.1, 1.5 or 3)
    expect(temperDrop(INDUSTRY_TEMPER, 5, 1)).toBe(0.9);
    expect(temperDrop(INDUSTRY_TEMPER, 5, 2)).toBe(1.5);
    expect(temperDrop(INDUSTRY_TEMPER, 0, 2)).toBe(2.1);
    expect(temperDrop(SYNTHETIC_TEMPER, 5, 3)).toBe(3);
    expect(temperDrop(SYNTHETIC_TEMPER, 0, 2)).toBe(3);
  });

  it('knows no boredom without a diversity rule', () => {
    const { diversity: _, ...plain } = INDUSTRY_TEMPER;
    expect(temperDrop(plain, 5, 4)).toBe(0.9);
    expect(temperLookback(plain, 9)).toBe(0);
  });

  it('lasts 12 pleasing items, or 5 others, from T0 11', () => {
    const steps = (reward: number): number => {
      let temper = INDUSTRY_TEMPER.start;
      for (let step = 1; ; step++) {
        temper -= temperDrop(INDUSTRY_TEMPER, reward, 0);
        if (temper < INDUSTRY_TEMPER.leaveBelow) return step;
      }
    };
    // 11 - 11 x 0.9 = 1.1 stays, 0.2 leaves; 11 - 4 x 2.1 = 2.6 stays, 0.5 leaves.
    expect([steps(5), steps(0)]).toEqual([12, 5]);
  });

  it('has a schema that refuses more repeats than it looks back over', () => {
    expect(temperRuleSchema.safeParse(SYNTHETIC_TEMPER).success).toBe(true);
    expect(
      temperRuleSchema.safeParse({ ...SYNTHETIC_TEMPER, diversity: { lookback: 2, repeats: 3, drop: 1 } }).success,
    ).toBe(false);
  });
});

describe('options of the temper rule', () => {
  it('plain is the default without boredom', () => {
    const { diversity: _, ...rest } = INDUSTRY_TEMPER;
    expect(PLAIN_TEMPER).toEqual(rest);
  });

  it('fatigue multiplies by its factor for each of the kind among the latest, start items included', () => {
    const codes = Int32Array.of(0, 0, 1, -1, -1);
    const shown = Int32Array.of(0, 1, 2, 0, 3);
    const share = (item: number, begin: number, end: number, lookback = 4): number =>
      fatigueShare({ lookback, factor: 0.5 }, codes, item, shown, begin, end);
    // 0 after 0 1 2 0: three of its kind; looking back over two (2 0): one; after 1 2 alone: one.
    expect([share(0, 0, 4), share(0, 0, 4, 2), share(1, 1, 3), share(0, 2, 3), share(4, 0, 5)]).toEqual([
      0.125, 0.5, 0.5, 1, 1,
    ]);
  });

  it('leaves by chance: even odds at the mark, rarely above, mostly below', () => {
    const rule = { ...PLAIN_TEMPER, stochastic: { scale: 0.5 } };
    // sigmoid(2) = 0.88, sigmoid(-2) = 0.12.
    expect([0.49, 0.51].map((u) => temperLeaves(rule, 1, u))).toEqual([true, false]);
    expect([0.87, 0.89].map((u) => temperLeaves(rule, 0, u))).toEqual([true, false]);
    expect([0.11, 0.13].map((u) => temperLeaves(rule, 2, u))).toEqual([true, false]);
    expect([0.99, 1, 1.01].map((temper) => temperLeaves(PLAIN_TEMPER, temper, 0))).toEqual([true, false, false]);
  });

  it('have a schema that refuses what makes no sense', () => {
    const ok = (extra: object): boolean => temperRuleSchema.safeParse({ ...PLAIN_TEMPER, ...extra }).success;
    expect([ok({}), ok({ fatigue: { lookback: 4, factor: 0.5 } }), ok({ stochastic: { scale: 1 } })]).toEqual([
      true,
      true,
      true,
    ]);
    expect([
      ok({ fatigue: { lookback: 0, factor: 0.5 } }),
      ok({ fatigue: { lookback: 4, factor: 1.5 } }),
      ok({ stochastic: { scale: 0 } }),
      ok({ tired: 1 }),
    ]).toEqual([false, false, false, false]);
  });
});

describe('sameCategory', () => {
  // item:                    0  1  2  3  4   5
  const codes = Int32Array.of(0, 0, 1, 0, -1, -1);
  const shown = Int32Array.of(9, 0, 2, 1, 4, 5);

  it("counts the items of the new one's category among the latest", () => {
    // Before place 4 were shown 0, 2, 1 (a 9 that is no item lies before what is looked at).
    expect([0, 1, 2, 3].map((count) => sameCategory(codes, 3, shown, 4, count))).toEqual([0, 1, 1, 2]);
    expect(sameCategory(codes, 2, shown, 4, 3)).toBe(1);
  });

  it('matches nothing to a missing category, not even another missing one', () => {
    expect(sameCategory(codes, 4, shown, 6, 2)).toBe(0);
    expect(sameCategory(codes, 0, shown, 6, 2)).toBe(0);
  });

  it('looks at the four items before the new one, fewer at the start', () => {
    expect([0, 1, 3, 4, 5, 19].map((step) => temperLookback(SYNTHETIC_TEMPER, step))).toEqual([0, 1, 3, 4, 4, 4]);
  });
});
