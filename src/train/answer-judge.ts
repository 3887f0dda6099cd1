import { checkPreference } from '../oracle/check-query.js';
import { InvalidRateGuard } from '../oracle/invalid-rate-guard.js';
import type { Preference, PreferenceQuery } from '../oracle/preference-oracle.js';
import type { TrainingEmitter, TrainingPhase } from './training-events.js';

/**
 * Watches what an oracle answers while a policy learns from it. A silent None would teach reward 0, so answers that cannot be
 * read are counted, and too many of them end the run.
 */
export class AnswerJudge {
  readonly #phase: TrainingPhase;
  readonly #oracleId: string;
  readonly #events: TrainingEmitter | undefined;
  readonly #guard: InvalidRateGuard;

  /** @param options - `maxInvalidRate` is a share of the last 200 answers, 0 to 1. */
  constructor(options: {
    readonly phase: TrainingPhase;
    readonly oracleId: string;
    readonly maxInvalidRate: number;
    readonly events: TrainingEmitter | undefined;
  }) {
    this.#phase = options.phase;
    this.#oracleId = options.oracleId;
    this.#events = options.events;
    this.#guard = new InvalidRateGuard({
      oracleId: options.oracleId,
      maxInvalidRate: options.maxInvalidRate,
      advice: 'once the oracle is mended, go on with `retryInvalid: true`, which asks those questions again',
    });
  }

  /** Forgets what came before: an oracle that was mended since must get its chance. */
  forget(): void {
    this.#guard.forget();
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
    this.#guard.add(answers);
  }
}
