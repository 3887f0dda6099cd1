import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { InvalidArgumentError } from '../../../src/foundation/errors.js';
import { type ParsedAnswer, parseAnswer } from '../../../src/oracle/parser.js';
import { table1Labels } from '../../../src/oracle/prompt.js';

const TEN = table1Labels(10);
const label = (letter: string): ParsedAnswer => ({ kind: 'label', index: letter.charCodeAt(0) - 97 });
const none: ParsedAnswer = { kind: 'none' };

const NAMED: readonly (readonly [string, ParsedAnswer])[] = [
  // The whole reply
  [' a', label('a')],
  ['b', label('b')],
  ['C', label('c')],
  ['i', label('i')],
  ['I.', label('i')],
  ['(d)', label('d')],
  ['**e**', label('e')],
  ['`f`', label('f')],
  ['"g"', label('g')],
  ['“h”.', label('h')],
  ['[j]', label('j')],
  ['*b.*', label('b')],
  ['b.\n', label('b')],
  ['ｂ', label('b')],
  ['b\u200b', label('b')],
  ['k', none],
  [' None', none],
  ['none.', none],
  ['"None"', none],
  ['**None**', none],
  ['(k)', none],
  // Head of a line
  ['b. Song 3; Album 1; Artist 2', label('b')],
  [' c. Song 3; Album 1\n\nThe user likes rock.', label('c')],
  ['c) Song', label('c')],
  ['(a) Song', label('a')],
  ['**a**. Song', label('a')],
  ['**b. Song**', label('b')],
  ['- d. Song', label('d')],
  ['Let me look.\nd: Song', label('d')],
  ['k. None', none],
  ['K. None of them fits.', none],
  ['None.\nThe user likes jazz only.', none],
  ['None, because the user likes jazz only.', none],
  // After a word that announces it
  ["By analysing the user's preference, the user will select b", label('b')],
  ['The user will select a.', label('a')],
  ['The user will select a, since it is rock.', label('a')],
  ['The user will most likely choose (i).', label('i')],
  ['the user will select **c**', label('c')],
  ['I think the answer is d.', label('d')],
  ['Answer: e', label('e')],
  ['**Answer:** e', label('e')],
  ['**Answer**: (f)', label('f')],
  ['My choice would be "g"!', label('g')],
  ['The user would pick option h.', label('h')],
  ['{"answer": "b"}', label('b')],
  ['\\boxed{c}', label('c')],
  ['The best option: j\nIt is rock.', label('j')],
  ['The user will select b - Song 3', label('b')],
  ['The user will select k.', none],
  ['The user will select None.', none],
  // None in words
  ['None of the candidates will be selected.', none],
  ['I think none of these would please the user.', none],
  // Thinking
  ['<think>Maybe a. Or b. The answer is c.</think>d', label('d')],
  ['it may be a. or b.</think>\n\ne', label('e')],
  ['<THINKING>x</THINKING> The user will select f.', label('f')],
  // Once more the same
  ['b\n\nThe user will select b.', label('b')],
  ['b. Song\nNone of the others fits.', label('b')],
];

const INVALID: readonly (readonly [string, string])[] = [
  ['The user will select a rock song', 'no-label'],
  ['The user will select a\nrock song', 'no-label'],
  ['The user will select a-ha', 'no-label'],
  ['A rock song by the same artist', 'no-label'],
  ['I would say that it is hard to tell', 'no-label'],
  ['A. J. Croce would please the user', 'no-label'],
  ['Song 3; Album 1; Artist 2', 'no-label'],
  ['as an AI model I cannot choose', 'no-label'],
  ['I, as a user, would like rock', 'no-label'],
  ['Nonetheless', 'no-label'],
  ['', 'empty'],
  [' \n ', 'empty'],
  ['<think>the answer is b.</think>', 'empty'],
  ['<think>the answer is b.', 'empty'],
  ['\u200b', 'empty'],
  ['m', 'unknown-label'],
  ['The user will select z.', 'unknown-label'],
  ['a. Song\nb. Song', 'ambiguous'],
  ['a. Song 1 b. Song 2 c. Song 3', 'ambiguous'],
  ['The user will select a or b.', 'ambiguous'],
  ['The user will select a, b, or c.', 'ambiguous'],
  ['The user will select b.\nThe answer is c.', 'ambiguous'],
  ['b. None', 'ambiguous'],
  ['The user will select c. But none of the candidates is good.', 'ambiguous'],
  ['option a over option b.', 'negated'],
  ['The user will select a and b.', 'ambiguous'],
  ['The user does not like option b.', 'negated'],
  ["It isn't option b.", 'negated'],
  ['x'.repeat(30_000), 'too-long'],
];

describe('parseAnswer', () => {
  it(`knows ${NAMED.length + INVALID.length} replies, at least 40`, () =>
    expect(NAMED.length + INVALID.length).toBeGreaterThanOrEqual(40));

  it.each(NAMED)('%j is an answer', (text, wanted) => expect(parseAnswer(text, TEN)).toEqual(wanted));

  it.each(INVALID)('%j is none', (text, reason) => expect(parseAnswer(text, TEN)).toEqual({ kind: 'invalid', reason }));

  it('control: the naive pattern reads a rock song as a', () => {
    expect(/\b[a-k]\b/.exec('The user will select a rock song')?.[0]).toBe('a');
  });

  it('reads the labels that were offered: c is None among two, z among 25', () => {
    expect(parseAnswer('c', table1Labels(2))).toEqual(none);
    expect(parseAnswer('d', table1Labels(2))).toEqual({ kind: 'invalid', reason: 'unknown-label' });
    expect(parseAnswer(' y', table1Labels(25))).toEqual({ kind: 'label', index: 24 });
    expect(parseAnswer(' z', table1Labels(25))).toEqual(none);
  });

  it('gives each label back from each honest form (property)', () => {
    const forms = [
      (x: string) => x,
      (x: string) => ` ${x}`,
      (x: string) => `${x}. Song; Album`,
      (x: string) => `(${x}) Song`,
      (x: string) => `**${x}**`,
      (x: string) => `The user will select ${x}.`,
      (x: string) => `The answer is (${x}).`,
      (x: string) => `Answer: ${x}`,
      (x: string) => `<think>a b c</think>${x.toUpperCase()}`,
    ];
    fc.assert(
      fc.property(fc.integer({ min: 2, max: 25 }), fc.nat(), fc.constantFrom(...forms), (k, n, form) => {
        const labels = table1Labels(k);
        const index = n % (k + 1);
        expect(parseAnswer(form(labels[index] as string), labels)).toEqual(
          index === k ? none : { kind: 'label', index },
        );
      }),
      { seed: 1, numRuns: 1_000 },
    );
  });

  it('never throws, never leaves 0..K-1, and is stable, whatever comes (fuzz)', () => {
    const pieces = fc.constantFrom(
      'a',
      'b',
      'k',
      'z',
      'I',
      ' ',
      '\n',
      '.',
      ')',
      '(',
      '**',
      '`',
      '"',
      'None',
      'none of the ',
      'will select ',
      'answer',
      ' is ',
      ':',
      'option ',
      '<think>',
      '</think>',
      'not ',
      'or ',
      ', ',
      '{',
      '}',
      '\\boxed',
      '\u200b',
      '\ud800',
      '—',
    );
    const text = fc.oneof(
      fc.array(pieces, { maxLength: 20 }).map((p) => p.join('')),
      fc.string({ unit: 'binary', maxLength: 200 }),
    );
    fc.assert(
      fc.property(text, fc.integer({ min: 2, max: 25 }), (reply, k) => {
        const labels = table1Labels(k);
        const parsed = parseAnswer(reply, labels);
        expect(parseAnswer(reply, labels)).toEqual(parsed);
        if (parsed.kind === 'label') {
          expect(parsed.index).toBeGreaterThanOrEqual(0);
          expect(parsed.index).toBeLessThan(k);
          // Whatever was read stands in the text.
          expect(reply.normalize('NFKC').toLowerCase()).toContain(labels[parsed.index]);
        }
      }),
      { seed: 2, numRuns: 5_000 },
    );
  });

  it('two honest answers that differ are never one answer (property)', () => {
    fc.assert(
      fc.property(fc.nat(9), fc.nat(9), (x, y) => {
        fc.pre(x !== y);
        const text = `The user will select ${TEN[x]}.\nThe answer is ${TEN[y]}.`;
        expect(parseAnswer(text, TEN)).toEqual({ kind: 'invalid', reason: 'ambiguous' });
      }),
      { seed: 3 },
    );
  });

  it.each([
    ['no text', undefined, TEN],
    ['labels that are words', 'a', ['yes', 'no', 'none']],
    ['labels that repeat', 'a', ['a', 'a', 'b']],
    ['no labels', 'a', undefined],
  ])('refuses %s', (_, reply, labels) => {
    expect(() => parseAnswer(reply as never, labels as never)).toThrow(InvalidArgumentError);
  });

  it('takes linear time on long hostile replies', () => {
    const started = performance.now();
    for (const piece of [
      '<think>',
      '</think>',
      '(a',
      '**',
      'will select ',
      'none of ',
      '\n',
      'answer is is ',
      '"',
      'a. ',
      'is ',
      "n't ",
    ]) {
      parseAnswer(piece.repeat(Math.floor(19_000 / piece.length)), TEN);
    }
    parseAnswer('<think>'.repeat(200_000), TEN);
    expect(performance.now() - started).toBeLessThan(2_000);
  });

  it('reads no more than it must of 10 MB', () => {
    const started = performance.now();
    for (const piece of ['a', ' b. ', '<', '<think>', 'will select ']) {
      expect(['too-long', 'empty']).toContain(
        (parseAnswer(piece.repeat(10_000_000 / piece.length), TEN) as { reason: string }).reason,
      );
    }
    // Five times 10 MB; quadratic work would take hours.
    expect(performance.now() - started).toBeLessThan(20_000);
  });
});
