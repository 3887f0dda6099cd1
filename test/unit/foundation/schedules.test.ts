import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { InvalidArgumentError } from '../../../src/foundation/errors.js';
import {
  asSchedule,
  constantSchedule,
  exponentialSchedule,
  linearSchedule,
} from '../../../src/foundation/schedules.js';

const number = fc.double({ min: -1e6, max: 1e6, noNaN: true });
const positive = fc.double({ min: 1e-9, max: 1e9, noNaN: true });
const steps = fc.integer({ min: 1, max: 1_000_000 });

describe('schedules', () => {
  it('linear: from, half-way, to', () => {
    const alpha = linearSchedule({ from: 0.1, to: 0.9, steps: 100, delay: 50 });
    // 0.1 until 50; at 100, half-way: 0.5; from 150 on 0.9.
    expect([0, 50, 150, 1e9].map((step) => alpha.at(step))).toEqual([0.1, 0.1, 0.9, 0.9]);
    expect(alpha.at(100)).toBeCloseTo(0.5, 12);
    expect(alpha.at(75)).toBeCloseTo(0.3, 12);
    expect(alpha.toJSON()).toEqual({ kind: 'linear', from: 0.1, to: 0.9, steps: 100, delay: 50 });
    expect(linearSchedule({ from: 0, to: 1, steps: 1 }).toJSON()).toMatchObject({ delay: 0 });
  });

  it('exponential: equal factors', () => {
    const rate = exponentialSchedule({ from: 1, to: 0.01, steps: 2 });
    expect(rate.at(0)).toBe(1);
    expect(rate.at(1)).toBeCloseTo(0.1, 12);
    expect(rate.at(2)).toBe(0.01);
    expect(rate.at(3)).toBe(0.01);
    expect(rate.toJSON()).toEqual({ kind: 'exponential', from: 1, to: 0.01, steps: 2 });
  });

  it('are exact at the ends, monotone, and stay between them', () => {
    fc.assert(
      fc.property(
        number,
        number,
        positive,
        positive,
        steps,
        fc.nat(2_000_000),
        fc.nat(1000),
        (a, b, p, q, n, step, delay) => {
          for (const [schedule, from, to, end] of [
            [linearSchedule({ from: a, to: b, steps: n, delay }), a, b, n + delay],
            [exponentialSchedule({ from: p, to: q, steps: n }), p, q, n],
          ] as const) {
            expect(schedule.at(0)).toBe(from);
            expect(schedule.at(end)).toBe(to);
            const here = schedule.at(step);
            expect(here >= Math.min(from, to) && here <= Math.max(from, to)).toBe(true);
            const slack = 1e-9 * Math.max(Math.abs(from), Math.abs(to));
            expect(Math.sign(to - from) * (schedule.at(step + 1) - here)).toBeGreaterThanOrEqual(-slack);
          }
        },
      ),
      { seed: 7 },
    );
  });

  it('asSchedule takes a number, or keeps a schedule', () => {
    expect(asSchedule(0.3).at(99)).toBe(0.3);
    expect(asSchedule(0.3).toJSON()).toEqual({ kind: 'constant', value: 0.3 });
    const own = { at: (step: number) => step, toJSON: () => 'mine' };
    expect(asSchedule(own)).toBe(own);
  });

  it('refuse settings and steps out of range', () => {
    const bad: readonly (() => unknown)[] = [
      () => constantSchedule(Number.NaN),
      () => linearSchedule({ from: 0, to: 1, steps: 0 }),
      () => linearSchedule({ from: 0, to: Number.POSITIVE_INFINITY, steps: 1 }),
      () => linearSchedule({ from: 0, to: 1, steps: 1.5 }),
      () => linearSchedule({ from: 0, to: 1, steps: 1, delay: -1 }),
      () => exponentialSchedule({ from: 0, to: 1, steps: 1 }),
      () => exponentialSchedule({ from: 1, to: -1, steps: 1 }),
      () => linearSchedule({ from: 0, to: 1, step: 5 } as never),
      () => asSchedule(Number.NaN),
      () => asSchedule({ at: 1 } as never),
      () => asSchedule(null as never),
      () => constantSchedule(1).at(-1),
      () => constantSchedule(1).at(Number.NaN),
    ];
    for (const call of bad) expect(call).toThrow(InvalidArgumentError);
  });
});
