import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { InvalidArgumentError, OracleError } from '../../../src/foundation/errors.js';
import { LikelihoodOracle } from '../../../src/oracle/likelihood-oracle.js';
import { LlmOracle } from '../../../src/oracle/llm-oracle.js';
import { cutBetween, fitNoneThreshold, noneMargin } from '../../../src/oracle/none-threshold.js';
import { ScriptedOracle } from '../../../src/oracle/scripted-oracle.js';
import { scriptedModel } from '../../../src/testing/scripted-model.js';
import { shop } from './fixtures.js';

const catalog = shop();
/** Item n's true follower is n + 6, of its group: in half of the lists it is shown, in the others another stands in its place. */
const lists = Array.from({ length: 40 }, (_, n) => ({
  history: [n],
  candidates: [n + 1, n + 2, n + 3, n % 2 === 0 ? n + 6 : n + 10],
  truth: n + 6,
}));
const balanced = (cut: number, high: readonly number[], low: readonly number[]): number =>
  high.filter((at) => at >= cut).length / high.length / 2 + low.filter((at) => at < cut).length / low.length / 2;

describe('fitNoneThreshold', () => {
  it('fits `noneBelow`, with which the oracle then tells the two kinds of lists apart', async () => {
    // A text of the history's group gains; how much depends on the item, so that no cut is perfect by construction.
    const languageModel = scriptedModel({
      continuation: (prefix, text) => {
        const word = text.trim().split(' ')[0] as string;
        return -text.length + (prefix.includes(`- ${word}`) ? 4 + (text.length % 3) : (text.length % 5) / 5);
      },
    });
    const oracle = new LikelihoodOracle({ catalog, languageModel });
    const { option, value, noneRate, noneHit } = await fitNoneThreshold({ oracle, readout: 'likelihood', lists });
    expect({ option, noneRate, noneHit }).toEqual({ option: 'noneBelow', noneRate: 0, noneHit: 1 });
    const fitted = new LikelihoodOracle({ catalog, languageModel, noneBelow: value });
    const answers = await fitted.prefer(lists);
    expect(answers.map(({ kind }) => kind)).toEqual(lists.map((_, n) => (n % 2 === 0 ? 'choice' : 'none')));
    const kinds = (await oracle.prefer(lists)).map(({ kind }) => kind);
    expect(new Set(kinds)).toEqual(new Set(['choice']));
  });

  it('fits `noneThreshold` of the label read-out', async () => {
    const languageModel = scriptedModel({
      labels: (prompt, labels) => {
        const group = /History: (\w+)/.exec(prompt)?.[1] as string;
        const candidates = prompt.split('\n')[3] as string;
        return labels.map((label, i) =>
          i === labels.length - 1 ? 3 : new RegExp(`\\b${label}\\. ${group} `).test(candidates) ? 2 : 0,
        );
      },
    });
    // Plain arg-max is always None: the letter after the candidates is this model's favourite.
    const oracle = new LlmOracle({ catalog, languageModel });
    expect(new Set((await oracle.prefer(lists)).map(({ kind }) => kind))).toEqual(new Set(['none']));
    const { option, value } = await fitNoneThreshold({ oracle, readout: 'label', lists });
    expect(option).toBe('noneThreshold');
    const fitted = new LlmOracle({ catalog, languageModel, noneThreshold: value });
    expect((await fitted.prefer(lists)).map(({ kind }) => kind)).toEqual(
      lists.map((_, n) => (n % 2 === 0 ? 'choice' : 'none')),
    );
  });

  it('refuses lists of one kind, and oracles without scores', async () => {
    const oracle = new ScriptedOracle(() => 0);
    const one = lists.filter((_, n) => n % 2 === 0);
    await expect(fitNoneThreshold({ oracle, readout: 'label', lists: one })).rejects.toThrow(InvalidArgumentError);
    await expect(fitNoneThreshold({ oracle, readout: 'label', lists })).rejects.toThrow(OracleError);
  });
});

describe('cutBetween', () => {
  it('has the largest balanced accuracy there is (property, against trying every cut)', () => {
    const margins = fc.array(fc.integer({ min: -5, max: 5 }), { minLength: 1, maxLength: 12 });
    fc.assert(
      fc.property(margins, margins, (high, low) => {
        const { below, noneRate, noneHit } = cutBetween(high, low) as {
          below: number;
          noneRate: number;
          noneHit: number;
        };
        const best = Math.max(...Array.from({ length: 14 }, (_, i) => balanced(i - 6.5, high, low)));
        expect(balanced(below, high, low)).toBeCloseTo(best, 12);
        expect((1 - noneRate + noneHit) / 2).toBeCloseTo(best, 12);
      }),
      { seed: 3 },
    );
  });

  it('is a finite number whatever the margins are, and nothing without lists of one kind', () => {
    const never = Number.NEGATIVE_INFINITY;
    expect(cutBetween([1, 2], [never, never])).toMatchObject({ below: 0, noneHit: 1, noneRate: 0 });
    expect(Number.isFinite(cutBetween([never], [never, Infinity])?.below)).toBe(true);
    expect(cutBetween([], [1])).toBeUndefined();
  });
});

it('noneMargin is the distance that each read-out compares with its threshold', () => {
  const answer = { kind: 'none', meta: { scores: [-1, -2, -0.5] } } as const;
  expect(noneMargin(answer, 2, 'likelihood')).toBe(-1);
  expect(noneMargin(answer, 2, 'label')).toBeCloseTo(Math.log(Math.exp(-1) + Math.exp(-2)) + 0.5, 12);
  expect(noneMargin({ kind: 'none' }, 2, 'label')).toBeUndefined();
});
