import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { InvalidArgumentError } from '../../../src/foundation/errors.js';
import { canonicalJson, checkJson } from '../../../src/foundation/json.js';

function reordered(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(reordered);
  if (typeof value !== 'object' || value === null) return value;
  const out: Record<string, unknown> = Object.create(null);
  for (const [key, inner] of Object.entries(value).reverse()) out[key] = reordered(inner);
  return out;
}

describe('canonicalJson', () => {
  it('is read back by JSON.parse, and does not depend on the order of keys', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        const text = canonicalJson(value);
        expect(JSON.parse(text)).toEqual(JSON.parse(JSON.stringify(value)));
        expect(canonicalJson(reordered(value))).toBe(text);
        expect(canonicalJson(JSON.parse(text))).toBe(text);
      }),
      { seed: 7, numRuns: 500 },
    );
  });

  it('sorts keys by code units and writes no space', () => {
    expect(canonicalJson({ b: [1, { z: null, a: true }], a: 'x', B: -0, '10': 1, '9': 2 })).toBe(
      '{"10":1,"9":2,"B":0,"a":"x","b":[1,{"a":true,"z":null}]}',
    );
    expect(canonicalJson({ a: undefined, b: 1 })).toBe('{"b":1}');
    expect(canonicalJson(JSON.parse('{"__proto__":1}'))).toBe('{"__proto__":1}');
  });

  it('refuses what JSON would lose, naming the path', () => {
    const cycle: { self?: unknown } = {};
    cycle.self = cycle;
    const cases: readonly [unknown, RegExp][] = [
      [{ a: [0, Number.NaN] }, /`\$\.a\[1\]` to be a finite number, got NaN/],
      [Number.POSITIVE_INFINITY, /`\$`/],
      [[undefined], /`\$\[0\]`/],
      [new Array(2).fill(0, 0, 1), /`\$\[1\]`/],
      [{ f: () => 1 }, /`\$\.f`/],
      [1n, /bigint/],
      [new Date(0), /plain object/],
      [new Map(), /plain object/],
      [new Float32Array(2), /plain object/],
      [Symbol('s'), /symbol/],
      [cycle, /no cycle/],
    ];
    for (const [value, message] of cases) {
      expect(() => canonicalJson(value)).toThrow(InvalidArgumentError);
      expect(() => canonicalJson(value)).toThrow(message);
      expect(() => checkJson(value, 'here')).toThrow(/^here: /);
    }
  });
});
