import { z } from 'zod';
import { argumentError } from '../foundation/arguments.js';
import { OracleError } from '../foundation/errors.js';
import { checkOptions } from '../foundation/options.js';
import type { Preference } from './preference-oracle.js';

/** Answers looked back on when the share of unusable ones is judged. */
const JUDGED = 200;
/** No judgement before so many. */
const JUDGED_AT_LEAST = 50;

/** Options of {@link InvalidRateGuard}. */
export interface InvalidRateGuardOptions {
  /** Whose answers they are, for the message. */
  readonly oracleId: string;
  /** Share of unusable answers among the last 200 that is still borne, 0 to 1. @default 0.05 */
  readonly maxInvalidRate?: number;
  /** What to do about it, the end of the message. @default how to look at the answers */
  readonly advice?: string;
}

const schema = z.strictObject({
  oracleId: z.string(),
  maxInvalidRate: z.number().min(0).max(1).default(0.05),
  advice: z.string().optional(),
});

/**
 * Stops a run whose oracle talks nonsense. A silent None would teach reward 0, so answers that cannot be read (`invalid`) or did not
 * come (`failed`) are counted, and too many among the last 200 are an error; the first 50 are not judged.
 */
export class InvalidRateGuard {
  readonly #oracleId: string;
  readonly #maxInvalidRate: number;
  readonly #advice: string;
  #recent: boolean[] = [];

  /**
   * @param options - whose answers, and the limit.
   * @throws {InvalidArgumentError} for a wrong option.
   */
  constructor(options: InvalidRateGuardOptions) {
    const { oracleId, maxInvalidRate, advice } = checkOptions(schema, options, 'InvalidRateGuard');
    this.#oracleId = oracleId;
    this.#maxInvalidRate = maxInvalidRate;
    this.#advice =
      advice ??
      "look at `raw` of some invalid answers: `mode: 'chat'`, a larger model or a back-end that tells probabilities may mend it";
  }

  /** Forgets what came before: an oracle that was mended since must get its chance. */
  forget(): void {
    this.#recent = [];
  }

  /**
   * Looks at further answers.
   *
   * @param answers - of one whole batch.
   * @throws {InvalidArgumentError} for something else than an array of preferences.
   * @throws {OracleError} when all of the batch failed, or too many of the latest answers cannot be used; the batch then does not count.
   */
  add(answers: readonly Preference[]): void {
    if (!Array.isArray(answers) || !Array.from(answers).every(isPreference))
      throw argumentError('InvalidRateGuard.add', 'answers', 'an array of preferences', answers);
    const failures = answers.filter((answer) => answer.kind === 'failed');
    const [failure] = failures;
    if (failure !== undefined && failures.length === answers.length) {
      throw new OracleError(
        `${this.#oracleId}: all ${answers.length} questions of a batch failed: ${failure.error.message}`,
        { cause: failure.error },
      );
    }
    const unusable = answers.map(({ kind }) => kind === 'invalid' || kind === 'failed');
    const recent = [...this.#recent, ...unusable].slice(-JUDGED);
    const rate = recent.filter(Boolean).length / recent.length;
    if (recent.length >= JUDGED_AT_LEAST && rate > this.#maxInvalidRate) {
      const sample = answers.find((answer) => answer.kind === 'invalid');
      throw new OracleError(
        `${this.#oracleId}: ${(100 * rate).toFixed(0)} % of the last ${recent.length} answers could not be used, more than \`maxInvalidRate\` ${this.#maxInvalidRate}; ${this.#advice}`,
        sample?.kind === 'invalid' ? { answer: sample.raw } : {},
      );
    }
    this.#recent = recent;
  }
}

/** As far as the guard looks. */
function isPreference(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false;
  const { kind, error } = value as { readonly kind?: unknown; readonly error?: unknown };
  return kind === 'choice' || kind === 'none' || kind === 'invalid' || (kind === 'failed' && error instanceof Error);
}
