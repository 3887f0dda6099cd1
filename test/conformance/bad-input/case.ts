import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { IalpError } from '../../../src/index.js';

/** One wrong input. */
export interface BadInput {
  /** What is wrong. */
  readonly name: string;
  /** Meets the error. */
  readonly run: () => unknown;
  /** Its class. */
  readonly error: abstract new (
    ...args: never[]
  ) => IalpError;
  /** Its facts: `argument`, or `source`, `line`, `column`, `field`… */
  readonly facts: Readonly<Record<string, unknown>>;
  /** What it says. */
  readonly message: RegExp;
}

/** A wrong input in short: name, what meets the error, its facts, what it says. */
export type Case = readonly [
  name: string,
  run: () => unknown,
  facts: Readonly<Record<string, unknown>>,
  message: RegExp,
];

/** Cases that all meet one class of error. */
export const badInputs = (error: BadInput['error'], cases: readonly Case[]): BadInput[] =>
  cases.map(([name, run, facts, message]) => ({ name, run, error, facts, message }));

/** A program in plain JavaScript passes what it likes. */
export const any = <T>(value: unknown): T => value as T;

/** A folder for files of these cases. */
export const folder = mkdtempSync(join(tmpdir(), 'ialp-bad-input-'));

/** The words of Table 1 for a catalogue of titles. */
export const words = { scenario: 'shop', itemNoun: 'thing', behavior: 'buying', attributes: ['title'] };
