import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { InvalidArgumentError } from '../../../src/foundation/errors.js';
import { checkOptions, closest, describeValue } from '../../../src/foundation/options.js';

const schema = z
  .strictObject({
    candidateCount: z.int().min(2).max(25).describe('one letter each, and one for None').default(10),
    temperature: z.number().positive().optional(),
    discount: z.number().min(0).max(1).default(0.9),
    mode: z.enum(['sampled', 'argmax']).default('sampled'),
    budget: z.strictObject({ calls: z.int().min(1) }).optional(),
    starts: z.array(z.array(z.string().min(1))).optional(),
    seed: z.union([z.number(), z.string()]).default(0),
    onProgress: z.custom<() => void>((value) => typeof value === 'function', 'a function').optional(),
    items: z.literal('id').optional(),
  })
  .refine(({ mode, temperature }) => mode === 'sampled' || temperature === undefined, {
    message: '`temperature` has no effect with `mode: "argmax"`: leave one out',
  });

function refusal(value: unknown): InvalidArgumentError {
  try {
    checkOptions(schema, value, 'pretrain');
  } catch (error) {
    if (error instanceof InvalidArgumentError) return error;
    throw error;
  }
  throw new Error('expected a refusal');
}

describe('checkOptions', () => {
  it('fills in defaults', () => {
    expect(checkOptions(schema, {}, 'pretrain')).toEqual({
      candidateCount: 10,
      discount: 0.9,
      mode: 'sampled',
      seed: 0,
    });
  });

  const cases: readonly [unknown, string, string | RegExp][] = [
    [
      { candidateCount: 40 },
      'candidateCount',
      'pretrain: expected `candidateCount` to be an integer from 2 to 25 (one letter each, and one for None), got 40',
    ],
    [{ candidateCount: 2.5 }, 'candidateCount', /an integer from 2 to 25 .*, got 2\.5/],
    [{ candidateCount: '7' }, 'candidateCount', /an integer from 2 to 25 .*, got "7"/],
    [{ discount: Number.NaN }, 'discount', 'pretrain: expected `discount` to be a finite number from 0 to 1, got NaN'],
    [{ temperature: 0 }, 'temperature', 'pretrain: expected `temperature` to be a finite number greater than 0, got 0'],
    [{ mode: 'greedy' }, 'mode', 'pretrain: expected `mode` to be one of "sampled", "argmax", got "greedy"'],
    [
      { budget: { calls: 0 } },
      'budget.calls',
      'pretrain: expected `budget.calls` to be an integer of at least 1, got 0',
    ],
    [{ budget: 5 }, 'budget', 'pretrain: expected `budget` to be an object, got 5'],
    [{ starts: [['a'], ['b', '']] }, 'starts[1][1]', /`starts\[1\]\[1\]` to be a non-empty string, got ""/],
    [{ seed: {} }, 'seed', 'pretrain: expected `seed` to be a finite number, or a string, got {}'],
    [{ onProgress: 1 }, 'onProgress', /`onProgress`: a function/],
    [{ items: 'text' }, 'items', 'pretrain: expected `items` to be "id", got "text"'],
    [
      { candidatCount: 4 },
      'candidatCount',
      /unknown option `candidatCount` \(did you mean `candidateCount`\?\); known are/,
    ],
    [{ budget: { calls: 1, cals: 2 } }, 'budget.cals', /unknown option `cals` \(did you mean `calls`\?\) in `budget`/],
    [{ zzz: 1 }, 'zzz', /unknown option `zzz`; known are `candidateCount`/],
    [JSON.parse('{"__proto__": 1}'), '__proto__', /unknown option `__proto__`/],
    [undefined, 'options', 'pretrain: expected `options` to be an object, got undefined'],
    [null, 'options', /got null/],
    [
      { mode: 'argmax', temperature: 1 },
      'options',
      'pretrain: `temperature` has no effect with `mode: "argmax"`: leave one out',
    ],
  ];
  for (const [value, argument, message] of cases) {
    it(`says of ${describeValue(value)} what was wanted and what came`, () => {
      const error = refusal(value);
      expect(error.argument).toBe(argument);
      if (typeof message === 'string') expect(error.message).toBe(message);
      else expect(error.message).toMatch(message);
    });
  }

  it('says all of several faults, but not endlessly', () => {
    const error = refusal({ candidateCount: 0, discount: 2, mode: 1, budget: 0, temperature: -1, seed: null });
    expect(error.message.match(/expected `/g)).toHaveLength(4);
    expect(error.message).toMatch(/; and 2 more$/);
  });

  it('says of one element of a list what is wrong with many', () => {
    const lists = z.strictObject({ items: z.array(z.strictObject({ count: z.int().min(2), name: z.string() })) });
    const items = Array.from({ length: 20 }, (_, i) => (i < 5 ? { count: 2, name: '' } : { count: 1, name: i }));
    expect(() => checkOptions(lists, { items }, 'f')).toThrow(
      /^f: expected `items\[5\].count` to be [^;]*, got 1; expected `items\[5\].name` to be a string, got 5; and 28 more$/,
    );
  });

  it('gives a typed error when the options throw while they are read', () => {
    const hostile = {
      get candidateCount() {
        throw new Error('boo');
      },
    };
    expect(refusal(hostile).message).toMatch(/cannot be read.*boo/);
    const proxy = new Proxy(
      {},
      {
        get: () => {
          throw new Error('trap');
        },
        ownKeys: () => {
          throw new Error('trap');
        },
      },
    );
    expect(refusal(proxy)).toBeInstanceOf(InvalidArgumentError);
  });

  it('never throws anything untyped', () => {
    const field = fc.constantFrom('candidateCount', 'temperature', 'mode', 'budget', 'starts', 'seed', 'other');
    fc.assert(
      fc.property(
        fc.anything({ withBigInt: true, withNullPrototype: true, withTypedArray: true }),
        field,
        (value, name) => {
          for (const given of [value, { [name]: value }, { budget: { calls: value } }, { starts: [[value]] }]) {
            try {
              checkOptions(schema, given, 'f');
            } catch (error) {
              expect(error).toBeInstanceOf(InvalidArgumentError);
              expect((error as Error).message.startsWith('f: ')).toBe(true);
              expect((error as Error).message.length).toBeLessThan(1200);
            }
          }
        },
      ),
      { seed: 7, numRuns: 500 },
    );
  });
});

describe('closest', () => {
  it('finds what was meant, and nothing far away', () => {
    const among = ['temperature', 'discount', 'learningRate', 'seed'];
    expect(closest('temprature', among)).toBe('temperature');
    expect(closest('dicsount', among)).toBe('discount');
    expect(closest('learningrate', among)).toBe('learningRate');
    expect(closest('sede', among)).toBe('seed');
    expect(closest('epsilon', among)).toBeUndefined();
    expect(closest('x'.repeat(1000), among)).toBeUndefined();
    expect(closest('seed', [])).toBeUndefined();
    expect(closest('track-17', ['track-1', 'track-7', 'TRACK-17'])).toBe('TRACK-17');
  });

  it('finds the word itself first', () => {
    fc.assert(
      fc.property(fc.array(fc.string({ minLength: 1, maxLength: 20 }), { minLength: 1 }), (words) => {
        expect(closest(words[0] as string, [...words].reverse())).toBe(words[0]);
      }),
      { seed: 7 },
    );
  });
});

describe('describeValue', () => {
  it('is short and never throws', () => {
    fc.assert(
      fc.property(
        fc.anything({ withBigInt: true, withMap: true, withTypedArray: true, withNullPrototype: true }),
        (value) => {
          expect(describeValue(value).length).toBeLessThanOrEqual(100);
        },
      ),
      { seed: 7 },
    );
    const cycle: unknown[] = [];
    cycle.push(cycle);
    expect(describeValue(cycle)).toBe('a value that cannot be shown');
    expect(describeValue(new Float32Array(3))).toBe('Float32Array(3)');
    expect(describeValue(() => 1)).toBe('a function');
    expect(describeValue({ a: [1, Number.NaN] })).toBe('{"a":[1,"NaN"]}');
    expect(describeValue(new Map())).toBe('an instance of Map');
    expect(describeValue('x'.repeat(1e6)).length).toBe(80);
    expect(describeValue(Symbol('s'))).toBe('Symbol(s)');
    expect(describeValue(Object.create({ constructor: undefined }))).toBe('a value that cannot be shown');
  });
});
