/** What the label read-out stands on: after Table 1 a label is exactly one token, and leaves those of the prompt as they are. */
// @ts-expect-error: the package has no types
import tokenizer from 'mistral-tokenizer-js';
import { describe, expect, it } from 'vitest';
import { renderTable1 } from '../../../src/oracle/prompt.js';
import { music } from './fixtures.js';

const encode = (text: string): number[] => tokenizer.encode(text);
const { text: prompt, labels } = renderTable1({
  catalog: music(),
  history: [1, 2, 3],
  candidates: [4, 5, 6, 7, 8, 9, 10, 11, 12, 13],
});

describe('labels as tokens of Mistral 7B', () => {
  it('are one token each after the prompt, whose own tokens stay', () => {
    const own = encode(prompt);
    const ids = labels.map((label) => {
      const whole = encode(`${prompt} ${label}`);
      expect(whole.slice(0, -1)).toEqual(own);
      return whole.at(-1);
    });
    expect(new Set(ids).size).toBe(labels.length);
  });

  it('would not be after a prompt that ends with a space', () => {
    const own = encode(`${prompt} `);
    const broken = labels.filter((label) => encode(`${prompt} ${label}`).slice(0, own.length).join() !== own.join());
    expect(broken).toEqual(labels);
  });
});
