import { OracleError } from '../foundation/errors.js';
import { checkPreference } from '../oracle/check-query.js';
import type { Preference, PreferenceQuery } from '../oracle/preference-oracle.js';
import type { TrainingEmitter, TrainingPhase } from './training-events.js';

/** Answers looked back on when the share of unusable ones is judged. */
const JUDGED = 200;
/** No judgement before so many. */
const JUDGED_AT_LEAST = 50;

/**
 * Watches what an oracle answers while a policy learns from it. A silent None would teach reward 0, so answers that cannot be
 * read are counted, and too many of them end the run.
 */
export class AnswerJudge {
  readonly #phase: TrainingPhase;
  readonly #oracleId: string;
  readonly #maxUnusable: number;
  readonly #events: TrainingEmitter | undefined;
  #recent: boolean[] = [];

  /** @param options - `maxInvalidRate` is a share of the last 200 answers, 0 to 1. */
  constructor(options: {
    readonly phase: TrainingPhase;
    readonly oracleId: string;
    readonly maxInvalidRate: number;
    readonly events: TrainingEmitter | undefined;
  }) {
    this.#phase = options.phase;
    this.#oracleId = options.oracleId;
    this.#maxUnusable = options.maxInvalidRate;
    this.#events = options.events;
  }

  /** Forgets what came before: an oracle that was mended since must get its chance. */
  forget(): void {
    this.#recent = [];
  }

  /**
   * Looks at the answers of one step, before anything of it has happened.
   *
   * @throws {OracleError} when an answer is none, when all failed, or when too many of the latest cannot be used.
   */
  judge(queries: readonly PreferenceQuery[], answers: readonly Preference[], step: number): void {
    const id = this.#oracleId;
    for (const [b, answer] of answers.entries()) {
      const checked = checkPreference(queries[b] as PreferenceQuery, answer, id);
      if (checked !== answer && checked.kind === 'failed') throw checked.error;
    }
    const counts = { choice: 0, none: 0, invalid: 0, failed: 0 };
    for (const { kind } of answers) counts[kind]++;
    this.#events?.emit('oracleAnswer', {
      phase: this.#phase,
      step,
      asked: answers.length,
      chosen: counts.choice,
      none: counts.none,
      unusable: counts.invalid + counts.failed,
    });
    const failure = answers.find((answer) => answer.kind === 'failed');
    if (counts.failed === answers.length && failure?.kind === 'failed') {
      throw new OracleError(`${id}: all ${answers.length} questions of a batch failed: ${failure.error.message}`, {
        cause: failure.error,
      });
    }
    const unusable = answers.map(({ kind }) => kind === 'invalid' || kind === 'failed');
    const recent = [...this.#recent, ...unusable].slice(-JUDGED);
    const rate = recent.filter(Boolean).length / recent.length;
    if (recent.length >= JUDGED_AT_LEAST && rate > this.#maxUnusable) {
      const sample = answers.find((answer) => answer.kind === 'invalid');
      throw new OracleError(
        `${id}: ${(100 * rate).toFixed(0)} % of the last ${recent.length} answers could not be used, more than \`maxInvalidRate\` ${this.#maxUnusable}; once the oracle is mended, go on with \`retryInvalid: true\`, which asks those questions again`,
        sample?.kind === 'invalid' ? { answer: sample.raw } : {},
      );
    }
    this.#recent = recent;
  }
}
