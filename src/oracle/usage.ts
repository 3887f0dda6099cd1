import { OracleError } from '../foundation/errors.js';
import { isPassingStatus } from './back-end-failure.js';
import type { LanguageModel } from './language-model.js';
import type { Usage } from './preference-oracle.js';

/** Characters of a token where a model does not count them: about right for English, low for numbers and other scripts. */
const CHARACTERS_PER_TOKEN = 4;

/** What two calls cost together; a member that only one of them tells is kept. */
export function addUsage(sum: Usage | undefined, more: Usage | undefined): Usage | undefined {
  if (sum === undefined || more === undefined) return sum ?? more;
  const total: Record<string, number> = { ...sum };
  for (const [key, value] of Object.entries(more))
    if (typeof value === 'number') total[key] = (total[key] ?? 0) + value;
  return total;
}

/** Tokens of a text as the model counts them; a quarter of its characters where it does not, or fails to this once. */
export async function tokensOf(model: LanguageModel | undefined, text: string): Promise<number> {
  const guess = Math.ceil(text.length / CHARACTERS_PER_TOKEN);
  try {
    const counted = await model?.countTokens?.(text);
    return typeof counted === 'number' && counted >= 0 && counted <= Number.MAX_SAFE_INTEGER ? counted : guess;
  } catch (error) {
    // A server asked for its tokeniser may be busy as at any call; what only prices a question must not end the job.
    if (error instanceof OracleError && isPassingStatus(error.status)) return guess;
    throw error;
  }
}

/** What so many calls like one cost; of time and of calls nothing is said. */
export function timesUsage({ inputTokens, outputTokens, cachedInputTokens, costUsd }: Usage, count: number): Usage {
  const told = Object.entries({ inputTokens, outputTokens, cachedInputTokens, costUsd });
  return Object.fromEntries(told.flatMap(([name, value]) => (value === undefined ? [] : [[name, value * count]])));
}

/** A failure after other calls for the same answer, or a part of the one that failed, were answered. */
export function withPaid(error: OracleError, paid: Usage): OracleError {
  const { attempts, answer, status, lost, retryAfterMs, cause } = error;
  const facts = { attempts, answer, status, lost, retryAfterMs, cause };
  return new OracleError(error.message, { ...facts, paid: addUsage(error.paid, paid) });
}
