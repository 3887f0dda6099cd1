/**
 * The library's errors: few classes, each with a stable `code`, the facts as fields, and the `cause` kept.
 * A caller tells them apart by `instanceof` or by `code`; the message says what was wanted, what came and what to do.
 */

/** What every error of the library is: an `Error` with a stable {@link IalpError.code}. */
export abstract class IalpError extends Error {
  /** Stable machine-readable name of the kind of failure; never changes within a major version. */
  abstract readonly code: string;

  /**
   * @param message - what was wanted, what came, and what to do about it.
   * @param cause - the error underneath, if there is one.
   */
  constructor(message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = new.target.name;
  }
}

/** The facts an {@link InvalidArgumentError} may carry. */
export interface InvalidArgumentFacts {
  /** Name or path of the argument or option at fault, e.g. `budget.calls`. */
  readonly argument?: string | undefined;
  /** What would have been accepted, in words. */
  readonly wanted?: string | undefined;
  /** The value that came. */
  readonly got?: unknown;
  /** The error underneath. */
  readonly cause?: unknown;
}

/** A call was made with an argument or option that it does not accept: the program is to be corrected. */
export class InvalidArgumentError extends IalpError {
  /** Always `'INVALID_ARGUMENT'`. */
  readonly code = 'INVALID_ARGUMENT';
  /** Name or path of the argument or option at fault. */
  readonly argument: string | undefined;
  /** What would have been accepted, in words. */
  readonly wanted: string | undefined;
  /** The value that came. */
  readonly got: unknown;

  /**
   * @param message - what was wanted, what came, what to do.
   * @param facts - the same as fields.
   */
  constructor(message: string, facts: InvalidArgumentFacts = {}) {
    super(message, facts.cause);
    this.argument = facts.argument;
    this.wanted = facts.wanted;
    this.got = facts.got;
  }
}

/** Where an {@link InvalidDataError} was found. */
export interface InvalidDataFacts {
  /** File, key or stream that held the data. */
  readonly source: string;
  /** Line, from 1. */
  readonly line?: number | undefined;
  /** Column, from 1. */
  readonly column?: number | undefined;
  /** Name of the field at fault. */
  readonly field?: string | undefined;
  /** The error underneath. */
  readonly cause?: unknown;
}

/** Data from outside (a file, a stream, an answer of a service) is not what its format promises. The message starts with `source:line:column: `. */
export class InvalidDataError extends IalpError {
  /** Always `'INVALID_DATA'`. */
  readonly code = 'INVALID_DATA';
  /** File, key or stream that held the data. */
  readonly source: string;
  /** Line, from 1, where it is known. */
  readonly line: number | undefined;
  /** Column, from 1, where it is known. */
  readonly column: number | undefined;
  /** Name of the field at fault, where it is known. */
  readonly field: string | undefined;

  /**
   * @param message - what was wanted and what came; the place is put before it.
   * @param facts - the place.
   */
  constructor(message: string, facts: InvalidDataFacts) {
    const place = [facts.source, facts.line, facts.line === undefined ? undefined : facts.column];
    super(`${place.filter((part) => part !== undefined).join(':')}: ${message}`, facts.cause);
    this.source = facts.source;
    this.line = facts.line;
    this.column = facts.column;
    this.field = facts.field;
  }
}

/** What was answered, hence paid, before a call failed; tokens are absent where the back-end does not tell them. */
export interface PaidCalls {
  /** Calls beside the one that failed; absent where its own attempts were answered in part. */
  readonly calls?: number;
  /** Tokens of their prompts. */
  readonly inputTokens?: number;
  /** The part of `inputTokens` that came from a prefix cache. */
  readonly cachedInputTokens?: number;
  /** Tokens of their answers. */
  readonly outputTokens?: number;
  /** Their price in US dollars. */
  readonly costUsd?: number;
}

/** The facts an {@link OracleError} may carry. */
export interface OracleFacts {
  /** How many times the oracle was asked. */
  readonly attempts?: number | undefined;
  /** The last answer, when there was one. */
  readonly answer?: string | undefined;
  /** HTTP status of the last attempt, when there was one. */
  readonly status?: number | undefined;
  /** Attempts that ended without an answer and without a refusal, such as time-outs: whether they are billed nobody knows. */
  readonly lost?: number | undefined;
  /** The wait that a server asked for (Retry-After), in ms. */
  readonly retryAfterMs?: number | undefined;
  /** What other calls for the same answer cost, where any was answered. */
  readonly paid?: PaidCalls | undefined;
  /** The error underneath. */
  readonly cause?: unknown;
}

/** A preference oracle could not answer (no lone bad answer is an error: those are counted as invalid). */
export class OracleError extends IalpError {
  /** Always `'ORACLE'`. */
  readonly code = 'ORACLE';
  /** How many times the oracle was asked. */
  readonly attempts: number | undefined;
  /** The last answer, when there was one. */
  readonly answer: string | undefined;
  /** HTTP status of the last attempt, when there was one. */
  readonly status: number | undefined;
  /** Attempts that ended without an answer and without a refusal, such as time-outs: whether they are billed nobody knows. */
  readonly lost: number | undefined;
  /** The wait that a server asked for (Retry-After), in ms, when it did. */
  readonly retryAfterMs: number | undefined;
  /** What other calls for the same answer cost, where any was answered: an unreadable answer before a reminder that failed. */
  readonly paid: PaidCalls | undefined;

  /**
   * @param message - what was asked and what went wrong.
   * @param facts - the same as fields.
   */
  constructor(message: string, facts: OracleFacts = {}) {
    super(message, facts.cause);
    this.attempts = facts.attempts;
    this.answer = facts.answer;
    this.status = facts.status;
    this.lost = facts.lost;
    this.retryAfterMs = facts.retryAfterMs;
    this.paid = facts.paid;
  }
}

/** The facts of a {@link BudgetExceededError}. */
export interface BudgetFacts {
  /** The cap that was reached, e.g. `'inputTokens'`. */
  readonly cap: string;
  /** Its value, in the cap's unit. */
  readonly limit: number;
  /** Spent, and reserved for questions in flight. */
  readonly used: number;
  /** What the next question would have taken, as estimated. */
  readonly asked: number;
}

/** The next question does not fit into the budget. All that was asked before is answered: go on with a larger budget from there. */
export class BudgetExceededError extends OracleError {
  /** The cap that was reached, e.g. `'inputTokens'`. */
  readonly cap: string;
  /** Its value, in the cap's unit. */
  readonly limit: number;
  /** Spent, and reserved for questions in flight. */
  readonly used: number;
  /** What the next question would have taken, as estimated. */
  readonly asked: number;

  /**
   * @param message - what was reached and how to go on.
   * @param facts - the numbers.
   */
  constructor(message: string, { cap, limit, used, asked }: BudgetFacts) {
    super(message);
    this.cap = cap;
    this.limit = limit;
    this.used = used;
    this.asked = asked;
  }
}

/** The facts a {@link CheckpointError} may carry. */
export interface CheckpointFacts {
  /** File or key that was read or written. */
  readonly source?: string | undefined;
  /** Format version found in it. */
  readonly version?: number | undefined;
  /** The error underneath. */
  readonly cause?: unknown;
}

/** Saved state cannot be written, or cannot be trusted: torn, altered, of another version or of another model. */
export class CheckpointError extends IalpError {
  /** Always `'CHECKPOINT'`. */
  readonly code = 'CHECKPOINT';
  /** File or key that was read or written. */
  readonly source: string | undefined;
  /** Format version found in it. */
  readonly version: number | undefined;

  /**
   * @param message - what was expected and what was found.
   * @param facts - the same as fields.
   */
  constructor(message: string, facts: CheckpointFacts = {}) {
    super(message, facts.cause);
    this.source = facts.source;
    this.version = facts.version;
  }
}

/** An object was used after its `dispose()`. */
export class DisposedError extends IalpError {
  /** Always `'DISPOSED'`. */
  readonly code = 'DISPOSED';
  /** What was disposed, e.g. `ActorCritic`. */
  readonly what: string;

  /** @param what - what was disposed, e.g. `ActorCritic`. */
  constructor(what: string) {
    super(`${what} was used after dispose(); create a new one`);
    this.what = what;
  }
}

/** Where a {@link DivergedError} happened. */
export interface DivergedFacts {
  /** The update or step at which training was stopped. */
  readonly step: number;
  /** The loss there. */
  readonly loss?: number | undefined;
  /** The gradient's norm there. */
  readonly gradientNorm?: number | undefined;
  /** The error that first showed it, if another was thrown. */
  readonly cause?: unknown;
}

/** Training produced numbers that are not finite, repeatedly, and was stopped. */
export class DivergedError extends IalpError {
  /** Always `'DIVERGED'`. */
  readonly code = 'DIVERGED';
  /** The update or step at which training was stopped. */
  readonly step: number;
  /** The loss there. */
  readonly loss: number | undefined;
  /** The gradient's norm there. */
  readonly gradientNorm: number | undefined;

  /**
   * @param message - what diverged, and what to try.
   * @param facts - where.
   */
  constructor(message: string, facts: DivergedFacts) {
    super(message, facts.cause === undefined ? undefined : { cause: facts.cause });
    this.step = facts.step;
    this.loss = facts.loss;
    this.gradientNorm = facts.gradientNorm;
  }
}

/** The facts of a {@link BackendError}. */
export interface BackendFacts {
  /** The backend or platform feature that was asked for. */
  readonly backend: string;
  /** The command that installs what is missing. */
  readonly install?: string | undefined;
  /** The error underneath. */
  readonly cause?: unknown;
}

/** A compute backend or platform feature is missing or does not start. */
export class BackendError extends IalpError {
  /** Always `'BACKEND'`. */
  readonly code = 'BACKEND';
  /** The backend or platform feature that was asked for. */
  readonly backend: string;
  /** The command that installs what is missing. */
  readonly install: string | undefined;

  /**
   * @param message - what was asked for and why it cannot be had.
   * @param facts - the same as fields.
   */
  constructor(message: string, facts: BackendFacts) {
    super(message, facts.cause);
    this.backend = facts.backend;
    this.install = facts.install;
  }
}
