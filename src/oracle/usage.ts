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

/** Tokens of a text as the model counts them; a quarter of its characters where it does not. */
export async function tokensOf(model: LanguageModel | undefined, text: string): Promise<number> {
  const counted = await model?.countTokens?.(text);
  return counted ?? Math.ceil(text.length / CHARACTERS_PER_TOKEN);
}
