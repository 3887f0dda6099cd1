import fc from 'fast-check';
import type { Arguments } from './mutate.js';

/** What a call is told beside its arguments. */
export interface CallContext {
  /** Aborted when the call has run long enough: what a huge but allowed number of steps needs. */
  readonly signal: AbortSignal;
}

/** One public entry point, with valid calls that take a moment. */
export interface PublicCall {
  /** What is called. */
  readonly name: string;
  /** Names of the package's exports that it exercises. */
  readonly covers: readonly string[];
  /** Cases. */
  readonly runs: number;
  /** Valid arguments. */
  readonly arguments: fc.Arbitrary<Arguments>;
  /** Calls it with arguments that may have been changed. */
  readonly call: (given: Arguments, context: CallContext) => unknown;
  /** Places that the library does not check yet: a wrong value there may throw what it likes. */
  readonly unchecked: RegExp | undefined;
  /** Places whose numbers are data rather than settings: NaN in, NaN out. */
  readonly takesNaN: RegExp | undefined;
}

/** How a call is described; see {@link PublicCall}. */
interface Description<A> {
  readonly covers: readonly string[];
  readonly runs?: number;
  readonly arguments: { readonly [K in keyof A]: fc.Arbitrary<A[K]> };
  readonly call: (given: A, context: CallContext) => unknown;
  readonly unchecked?: RegExp;
  readonly takesNaN?: RegExp;
}

/** Most entry points cost microseconds: this many cases each. */
const RUNS = 130;

/** A public call; its arguments are typed as they are before one of them is changed. */
export function publicCall<A extends object>(name: string, description: Description<A>): PublicCall {
  return {
    name,
    covers: description.covers,
    runs: description.runs ?? RUNS,
    arguments: fc.record(description.arguments) as unknown as fc.Arbitrary<Arguments>,
    call: (given, context) => description.call(given as unknown as A, context),
    unchecked: description.unchecked,
    takesNaN: description.takesNaN,
  };
}
