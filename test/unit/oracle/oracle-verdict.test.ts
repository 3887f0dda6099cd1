import { describe, expect, it } from 'vitest';
import { InvalidArgumentError } from '../../../src/foundation/errors.js';
import type { OracleEvaluation, OracleRow } from '../../../src/oracle/oracle-evaluation.js';
import { judgeOracle } from '../../../src/oracle/oracle-verdict.js';

interface Told {
  readonly hits?: readonly [low: number, share: number, high: number];
  readonly modelGain?: readonly [low: number, gain: number, high: number];
  readonly bothGain?: readonly [low: number, gain: number, high: number];
  readonly rest?: Partial<OracleEvaluation>;
}

/** An evaluation of which only what the verdict reads is told. */
function evaluation({ hits = [0.2, 0.25, 0.3], modelGain, bothGain, rest = {} }: Told): OracleEvaluation {
  const row = (oracle: OracleRow['oracle'], gain: Told['modelGain']): Partial<OracleRow> => ({
    ...{ oracle, lists: 200, gain: gain?.[1] ?? null, gainLow: gain?.[0] ?? null, gainHigh: gain?.[2] ?? null },
  });
  const [hitAt1Low, hitAt1, hitAt1High] = hits;
  return {
    ...{
      oracle: 'o',
      negatives: 'uniform',
      lists: 200,
      chance: 0.1,
      hitAt1,
      hitAt1Low,
      hitAt1High,
      hitForced: undefined,
    },
    ...{ invalidRate: 0, failedRate: 0, flipRate: 0, secondOrders: 200, noneAuc: Number.NaN, noneLists: 0 },
    rows: [row('model', modelGain), row('textPlusModel', bothGain)],
    ...rest,
  } as OracleEvaluation;
}

describe('judgeOracle', () => {
  const poor = [-0.1, -0.05, 0] as const;

  it('takes one that adds to text similarity', () => {
    const { isWorthUsing, sentence } = judgeOracle([evaluation({ modelGain: poor, bothGain: [0.01, 0.05, 0.09] })]);
    expect(isWorthUsing).toBe(true);
    expect(sentence).toBe(
      'Worth using: it adds to text similarity, +0.05 [+0.01, +0.09] hit@1 with uniform negatives where both are weighed together.',
    );
  });

  it('takes one that knows more than text alone', () => {
    expect(judgeOracle([evaluation({ modelGain: [0.1, 0.2, 0.3], bothGain: poor })]).sentence).toMatch(
      /^Worth using: it knows more/,
    );
  });

  it('leaves one that knows what text tells for nothing, however far above chance', () => {
    const { isWorthUsing, sentence } = judgeOracle([evaluation({ modelGain: poor, bothGain: [-0.01, 0.01, 0.03] })]);
    expect(isWorthUsing).toBe(false);
    expect(sentence).toMatch(/adds nothing certain to text similarity/);
  });

  it('leaves one whose interval reaches down to chance, on any kind of lists', () => {
    const good = evaluation({ bothGain: [0.1, 0.2, 0.3] });
    const chance = evaluation({
      hits: [0.09, 0.13, 0.18],
      bothGain: [0.1, 0.2, 0.3],
      rest: { negatives: 'popularity' },
    });
    expect(judgeOracle([good]).isWorthUsing).toBe(true);
    expect(judgeOracle([good, chance])).toEqual({
      isWorthUsing: false,
      sentence: 'Not worth using: hit@1 0.13 [0.09, 0.18] with popularity negatives is not above the 0.10 of chance.',
    });
  });

  it('judges knowledge by the best-scored candidate where None hides it', () => {
    const shy = evaluation({ hits: [0, 0, 0.02], bothGain: [0.1, 0.2, 0.3], rest: { hitForced: 0.4 } });
    expect(judgeOracle([shy]).isWorthUsing).toBe(true);
  });

  it('leaves one whose answers cannot be used', () => {
    expect(judgeOracle([evaluation({ bothGain: [0.1, 0.2, 0.3], rest: { invalidRate: 0.2 } })]).sentence).toBe(
      'Not worth using: 20 % of the answers name no candidate.',
    );
    expect(judgeOracle([evaluation({ rest: { failedRate: 0.5 } })]).sentence).toMatch(
      /50 % of the lists got no answer/,
    );
    // Nobody answered at all: hit@1 is NaN.
    expect(judgeOracle([evaluation({ hits: [Number.NaN, Number.NaN, Number.NaN] })]).isWorthUsing).toBe(false);
  });

  it('says where order decides, and where None tells nothing', () => {
    const { sentence } = judgeOracle([
      evaluation({ bothGain: [0.1, 0.2, 0.3], rest: { flipRate: 0.6, noneAuc: 0.52, noneLists: 50 } }),
    ]);
    expect(sentence).toMatch(/; the order of candidates changes 60 % of its answers; its None tells nothing\.$/);
    const fine = judgeOracle([
      evaluation({ bothGain: [0.1, 0.2, 0.3], rest: { flipRate: 0.1, noneAuc: 0.8, noneLists: 50 } }),
    ]);
    expect(fine.sentence).not.toMatch(/order|None/);
    const few = { flipRate: 0.6, secondOrders: 19, noneAuc: 0.52, noneLists: 19 };
    expect(judgeOracle([evaluation({ bothGain: [0.1, 0.2, 0.3], rest: few })]).sentence).not.toMatch(/order|None/);
  });

  it('says that text was not compared', () => {
    expect(judgeOracle([evaluation({})])).toMatchObject({
      isWorthUsing: true,
      sentence: expect.stringMatching(/not compared/),
    });
  });

  it('refuses nothing to judge', () => expect(() => judgeOracle([])).toThrow(InvalidArgumentError));
});
