import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  at,
  beginsOtherwise,
  type ListedToken,
  listedInMap,
  listedTokens,
  logProbOf,
  MissingFieldError,
  readLabels,
  usageOf,
} from '../../../src/openai-compatible/wire.js';

const forms = (letter: string) => ({ texts: [letter, ` ${letter}`, letter.toUpperCase(), ` ${letter.toUpperCase()}`] });

describe('readLabels', () => {
  it('adds the mass of all forms of a label', () => {
    const listed = [
      { text: 'a', logProb: Math.log(0.2) },
      { text: ' a', logProb: Math.log(0.1) },
      { text: ' A', logProb: Math.log(0.05) },
      { text: 'the', logProb: Math.log(0.4) },
      { text: '▁b', logProb: Math.log(0.02) },
    ];
    const { logProbs, bounded } = readLabels(listed, [forms('a'), forms('b'), forms('c')]);
    expect(logProbs[0]).toBeCloseTo(Math.log(0.35), 12);
    expect(logProbs[1]).toBeCloseTo(Math.log(0.02), 12);
    // Not listed, so at most as likely as the least that is.
    expect(logProbs[2]).toBeCloseTo(Math.log(0.02), 12);
    expect(bounded).toEqual([false, false, true]);
  });

  it('goes by ids where both sides have them, for decoded texts may have lost their space', () => {
    const listed = [
      { id: 5, text: 'a', logProb: -1 },
      { id: 6, text: 'a', logProb: -2 },
    ];
    expect(readLabels(listed, [{ texts: [' a'], id: 6 }]).logProbs).toEqual([-2]);
    expect(readLabels(listed, [{ texts: ['a'] }]).bounded).toEqual([false]);
  });

  it('keeps what is impossible apart from what is unknown', () => {
    const listed = listedInMap({ ' a': -9999, ' b': -3, ' c': -3.4028234663852886e38 });
    const { logProbs, bounded } = readLabels(listed, [{ texts: [' a'] }, { texts: [' b'] }, { texts: [' d'] }]);
    expect(logProbs).toEqual([Number.NEGATIVE_INFINITY, -3, -3]);
    expect(bounded).toEqual([false, false, true]);
  });

  it.each([
    ['b', false],
    [' B', false],
    ['I', true],
    [' A', true],
    ['i', false],
    ['The', true],
    ['**', true],
  ])('an answer that begins with %j begins otherwise: %s', (text, expected) => {
    const labels = [...'abcdefghijk'].map(forms);
    const listed = [
      { text: 'c', logProb: -2 },
      { text, logProb: -0.3 },
      { text: 'I', logProb: -3 },
    ];
    expect(beginsOtherwise(listed, labels)).toBe(expected);
    expect(beginsOtherwise([], labels)).toBe(false);
  });

  it('refuses a list in which nothing is said', () => {
    expect(() => readLabels([], [{ texts: ['a'] }])).toThrow(MissingFieldError);
    expect(() => readLabels(listedInMap({ a: -9999 }), [{ texts: ['a'] }])).toThrow(MissingFieldError);
  });

  it('gives log-probabilities of at most 0 that bound the truth, whatever N', () => {
    const letters = [...'abcdefghij'];
    fc.assert(
      fc.property(
        fc.array(fc.double({ min: -20, max: 0, noNaN: true }), { minLength: 10, maxLength: 10 }),
        fc.integer({ min: 1, max: 10 }),
        (logits, top) => {
          const z = Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit), 0));
          const all: ListedToken[] = letters.map((text, i) => ({ text, logProb: (logits[i] as number) - z }));
          const listed = all.toSorted((a, b) => b.logProb - a.logProb).slice(0, top);
          const { logProbs, bounded } = readLabels(
            listed,
            letters.map((letter) => ({ texts: [letter] })),
          );
          for (const [i, logProb] of logProbs.entries()) {
            const truth = (all[i] as ListedToken).logProb;
            expect(logProb).toBeLessThanOrEqual(0);
            if (bounded?.[i]) expect(logProb).toBeGreaterThanOrEqual(truth - 1e-9);
            else expect(logProb).toBeCloseTo(Math.min(0, truth), 9);
          }
          expect(bounded?.filter((isBound) => isBound).length).toBe(10 - top);
        },
      ),
      { seed: 7, numRuns: 100 },
    );
  });
});

describe('what comes over the wire', () => {
  it('is read or left out, whatever it is', () => {
    fc.assert(
      fc.property(fc.anything({ withNullPrototype: true, withBigInt: true, withDate: true }), (value) => {
        for (const { logProb } of [
          ...listedInMap(value),
          ...listedTokens([value, { token: value, logprob: value, id: value }]),
        ])
          expect(logProb).toBeLessThanOrEqual(0);
        for (const count of Object.values(usageOf(value, value, value))) expect(count).toBeGreaterThanOrEqual(0);
        at(value, 'choices', 0, 'text');
      }),
      { seed: 7, numRuns: 300 },
    );
    expect(at({ a: [{ b: 3 }] }, 'a', 0, 'b')).toBe(3);
    expect(at({}, 'constructor')).toBeUndefined();
    expect([logProbOf(0.005), logProbOf(0.5), logProbOf(Number.NaN), logProbOf('-1'), logProbOf(-1)]).toEqual([
      0,
      undefined,
      undefined,
      undefined,
      -1,
    ]);
  });
});
