import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { type ParsedAnswer, parseAnswer } from '../../../src/oracle/parser.js';
import { table1Labels } from '../../../src/oracle/prompt.js';

const TEN = table1Labels(10);
const fixture = z
  .object({ about: z.string() })
  .catchall(
    z.array(z.tuple([z.string(), z.union([z.enum(TEN.slice(0, 10) as [string]), z.enum(['none', 'invalid'])])])),
  )
  .parse(JSON.parse(readFileSync(new URL('../../fixtures/replies.json', import.meta.url), 'utf8')));
const { about: _, ...kinds } = fixture as Record<string, readonly (readonly [string, string])[]> & { about: unknown };
const replies = Object.entries(kinds).flatMap(([kind, pairs]) =>
  pairs.map(([reply, reading]) => ({ kind, reply, reading })),
);

/** In the fixture's words. */
function readingOf(parsed: ParsedAnswer): string {
  return parsed.kind === 'label' ? (TEN[parsed.index] as string) : parsed.kind;
}

describe('replies written down', () => {
  it(`are at least 300, all different: ${replies.length}`, () => {
    expect(replies.length).toBeGreaterThanOrEqual(300);
    expect(new Set(replies.map(({ reply }) => reply)).size).toBe(replies.length);
  });

  it('hold every label, None and invalid', () => {
    expect(new Set(replies.map(({ reading }) => reading))).toEqual(new Set([...TEN.slice(0, 10), 'none', 'invalid']));
  });

  it.each(replies)('$kind: $reply', ({ reply, reading }) => expect(readingOf(parseAnswer(reply, TEN))).toBe(reading));

  it('control: the naive pattern misreads a tenth of them and more', () => {
    const naive = (reply: string): string => {
      const found = /\b[a-k]\b/i.exec(reply)?.[0].toLowerCase();
      return found === undefined ? 'invalid' : found === 'k' ? 'none' : found;
    };
    const wrong = replies.filter(({ reply, reading }) => naive(reply) !== reading);
    expect(wrong.length).toBeGreaterThan(replies.length / 10);
  });
});
