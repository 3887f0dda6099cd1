import { describe, expect, it } from 'vitest';
import {
  cardResultSchema,
  METHODS,
  resultJsonSchema,
  resultSchema,
  runResultSchema,
} from '../../../src/experiment/result-schema.js';
import { cardRow, runRow } from './report-example.js';

const header = {
  command: 'ialp demo',
  version: '0.1.0',
  seed: 1,
  backend: 'wasm',
  kernels: 'reference',
  fusedShare: 0,
  wallSeconds: 90,
};
const runs = { ...header, rows: [runRow] };
const card = { ...header, rows: [cardRow] };

describe('resultSchema', () => {
  it('accepts a table of runs, a card, and either with no rows', () => {
    expect(runResultSchema.parse(runs)).toEqual(runs);
    expect(cardResultSchema.parse(card)).toEqual(card);
    for (const result of [runs, card, { ...header, rows: [] }])
      expect(resultSchema.safeParse(result).success).toBe(true);
  });

  it('accepts every method, null for what a policy has not, and a card with its later fields', () => {
    for (const method of METHODS)
      expect(runResultSchema.safeParse({ ...header, rows: [{ ...runRow, method }] }).success).toBe(true);
    expect(
      runResultSchema.safeParse({ ...header, rows: [{ ...runRow, weightsSha256: null, temperature: null }] }).success,
    ).toBe(true);
  });

  it.each([
    ['an unknown method', { method: 'a2c' }, 'method'],
    ['an unknown mode', { mode: 'greedy' }, 'mode'],
    ['a split of another spelling', { split: 'Test' }, 'split'],
    ['half a step', { steps: 0.5 }, 'steps'],
    ['fewer than no updates', { updates: -1 }, 'updates'],
    ['a coverage in per cent', { coverage: 28.3 }, 'coverage'],
    ['a return that is no number', { return: Number.NaN }, 'return'],
    ['an interval upside down', { returnLow: 9, returnHigh: 8 }, 'returnLow'],
    ['no seed at all', { perSeed: [] }, 'perSeed'],
    ['a hash cut short', { weightsSha256: 'abc' }, 'weightsSha256'],
    ['a missing world', { world: undefined }, 'world'],
  ])('refuses %s', (_title, change, field) => {
    const issues = runResultSchema.safeParse({ ...header, rows: [{ ...runRow, ...change }] }).error?.issues;
    expect(issues?.map(({ path }) => path.join('.'))).toEqual([`rows.0.${field}`]);
  });

  it('refuses an unknown field, a card row in a run, and a header without its version', () => {
    expect(runResultSchema.safeParse({ ...header, rows: [{ ...runRow, reurn: 1 }] }).success).toBe(false);
    expect(runResultSchema.safeParse(card).success).toBe(false);
    expect(resultSchema.safeParse({ ...header, rows: [runRow, cardRow] }).success).toBe(false);
    expect(resultSchema.safeParse({ ...runs, version: undefined }).success).toBe(false);
    expect(resultSchema.safeParse({ ...runs, fusedShare: 2 }).success).toBe(false);
  });
});

describe('resultJsonSchema', () => {
  it('says the same fields as required, and closes the objects', () => {
    const schema = resultJsonSchema() as {
      $defs: Record<string, { required: string[]; additionalProperties: unknown }>;
      anyOf: unknown[];
    };
    const results = ['CardResult', 'RunResult', 'OracleResult', 'DistilResult'];
    expect(schema.anyOf).toEqual(results.map((name) => ({ $ref: `#/$defs/${name}` })));
    expect([...(schema.$defs.RunRow?.required ?? [])].sort()).toEqual(Object.keys(runRow).sort());
    expect([...(schema.$defs.CardRow?.required ?? [])].sort()).toEqual(Object.keys(cardRow).sort());
    expect(schema.$defs.RunResult?.required).toEqual(Object.keys(runs));
    expect(Object.values(schema.$defs).filter(({ additionalProperties }) => additionalProperties !== false)).toEqual(
      [],
    );
  });
});
