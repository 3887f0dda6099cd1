import { describe, expect, it } from 'vitest';
import { OracleError } from '../../../src/foundation/errors.js';
import { InvalidRateGuard } from '../../../src/oracle/invalid-rate-guard.js';
import type { Preference } from '../../../src/oracle/preference-oracle.js';

const none: Preference = { kind: 'none' };
const invalid: Preference = { kind: 'invalid', raw: 'a rock song' };
const failed: Preference = { kind: 'failed', error: new OracleError('down') };
const mixed = (bad: number, of: number, kind: Preference = invalid): Preference[] =>
  Array.from({ length: of }, (_, i) => (i < bad ? kind : none));

describe('InvalidRateGuard', () => {
  it('bears the limit, and stops above it with a sample and advice', () => {
    const guard = new InvalidRateGuard({ oracleId: 'o', maxInvalidRate: 0.1, advice: 'mend it' });
    guard.add(mixed(10, 100));
    guard.add(mixed(10, 100));
    const add = (): void => guard.add(mixed(11, 100));
    expect(add).toThrow(
      /^o: 11 % of the last 200 answers could not be used, more than `maxInvalidRate` 0\.1; mend it$/,
    );
    try {
      add();
    } catch (error) {
      expect((error as OracleError).answer).toBe('a rock song');
    }
    // What was refused does not count.
    guard.add(mixed(9, 100));
  });

  it('judges nobody by less than 50 answers, and forgets on demand', () => {
    const guard = new InvalidRateGuard({ oracleId: 'o' });
    guard.add(mixed(20, 49));
    expect(() => guard.add([none])).toThrow(OracleError);
    guard.forget();
    guard.add(mixed(40, 49));
  });

  it('counts failures too, and stops when all of a batch failed', () => {
    const guard = new InvalidRateGuard({ oracleId: 'o' });
    expect(() => guard.add(mixed(10, 60, failed))).toThrow(/17 %/);
    expect(() => guard.add([failed, failed])).toThrow(/all 2 questions of a batch failed: down/);
    guard.add([]);
  });
});
