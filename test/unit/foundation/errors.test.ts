import { describe, expect, it } from 'vitest';
import {
  BackendError,
  CheckpointError,
  DisposedError,
  DivergedError,
  IalpError,
  InvalidArgumentError,
  InvalidDataError,
  OracleError,
} from '../../../src/foundation/errors.js';

describe('errors', () => {
  const cause = new Error('underneath');
  const all: readonly [IalpError, string, Readonly<Record<string, unknown>>][] = [
    [
      new InvalidArgumentError('m', { argument: 'k', wanted: 'w', got: 3, cause }),
      'INVALID_ARGUMENT',
      { argument: 'k', wanted: 'w', got: 3 },
    ],
    [
      new InvalidDataError('m', { source: 'f', line: 2, column: 5, field: 'id', cause }),
      'INVALID_DATA',
      { source: 'f', line: 2, column: 5, field: 'id' },
    ],
    [
      new OracleError('m', { attempts: 3, answer: 'B?', status: 429, cause }),
      'ORACLE',
      { attempts: 3, answer: 'B?', status: 429 },
    ],
    [new CheckpointError('m', { source: 'f', version: 2, cause }), 'CHECKPOINT', { source: 'f', version: 2 }],
    [
      new BackendError('m', { backend: 'node', install: 'npm i x', cause }),
      'BACKEND',
      { backend: 'node', install: 'npm i x' },
    ],
    [
      new DivergedError('m', { step: 7, loss: Number.NaN, gradientNorm: 1 }),
      'DIVERGED',
      { step: 7, loss: Number.NaN, gradientNorm: 1 },
    ],
    [new DisposedError('ActorCritic'), 'DISPOSED', { what: 'ActorCritic' }],
  ];

  it('carry a stable code, their facts, their cause and their name', () => {
    for (const [error, code, facts] of all) {
      expect(error).toBeInstanceOf(IalpError);
      expect(error).toBeInstanceOf(Error);
      expect(error).toMatchObject({ code, ...facts, name: error.constructor.name });
      const hasCause = !['DIVERGED', 'DISPOSED'].includes(code);
      expect(error.cause).toBe(hasCause ? cause : undefined);
      expect('cause' in error).toBe(hasCause);
    }
    expect(new Set(all.map(([{ code }]) => code)).size).toBe(all.length);
  });

  it('InvalidDataError begins with the place, as far as it is known', () => {
    expect(new InvalidDataError('bad', { source: 'a.csv', line: 3, column: 9 }).message).toBe('a.csv:3:9: bad');
    expect(new InvalidDataError('bad', { source: 'a.csv', line: 3 }).message).toBe('a.csv:3: bad');
    expect(new InvalidDataError('bad', { source: 'a.csv', column: 9 }).message).toBe('a.csv: bad');
  });
});
