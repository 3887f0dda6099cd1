import { OracleError } from '../foundation/errors.js';
import type { LabelScores } from '../oracle/language-model.js';
import { LABEL_WORDS } from '../oracle/parser.js';
import type { Usage } from '../oracle/preference-oracle.js';
import { logSumExp } from '../oracle/score-decision.js';

/** Servers write log 0 as -9999 (vLLM) or as the lowest float (llama.cpp), for JSON has no infinity. */
const LOG_ZERO = -9999;

/** One token that a server listed as possible next one. */
export interface ListedToken {
  /** Its id, where the server gives one. */
  readonly id?: number;
  /** Its text, where the server gives one. */
  readonly text?: string;
  /** Natural log-probability over the whole vocabulary. */
  readonly logProb: number;
}

/** The tokens that stand for one label. */
export interface LabelForms {
  /** Texts: the letter with its space; in chat also bare and as a capital. */
  readonly texts: readonly string[];
  /** Its token id, where the server tokenises and the label is one token. */
  readonly id?: number | undefined;
}

/** An answer lacks what it must have. It has no status, so that it is asked for again: servers under load drop fields. */
export class MissingFieldError extends OracleError {
  /** @param what - is missing. */
  constructor(what: string) {
    super(`the model server's answer has no ${what}`);
  }
}

/** The member at a path of keys; undefined where there is none. */
export function at(value: unknown, ...path: readonly (string | number)[]): unknown {
  let current = value;
  for (const key of path) {
    if (typeof current !== 'object' || current === null || !Object.hasOwn(current, key)) return undefined;
    current = (current as Readonly<Record<string | number, unknown>>)[key];
  }
  return current;
}

/** The list at a path; empty where there is none. */
export function listAt(value: unknown, ...path: readonly (string | number)[]): readonly unknown[] {
  const found = at(value, ...path);
  return Array.isArray(found) ? found : [];
}

/** The text at a path. @throws {OracleError} where there is none. */
export function textAt(value: unknown, ...path: readonly (string | number)[]): string {
  const found = at(value, ...path);
  if (typeof found !== 'string') throw new MissingFieldError(`text at ${path.join('.')}`);
  return found;
}

/** A log-probability as servers write it; undefined for anything else. */
export function logProbOf(value: unknown): number | undefined {
  // Rounding may pass 0 by a little.
  if (typeof value !== 'number' || Number.isNaN(value) || value > 0.01) return undefined;
  return value <= LOG_ZERO ? Number.NEGATIVE_INFINITY : Math.min(0, value);
}

/** Token ids. @throws {OracleError} when it is no list of them. */
export function tokensAt(value: unknown, ...path: readonly (string | number)[]): readonly number[] {
  const tokens = at(value, ...path);
  if (!Array.isArray(tokens) || !tokens.every((id) => Number.isInteger(id)))
    throw new MissingFieldError(`tokens at ${path.join('.')}`);
  return tokens as number[];
}

/** Token counts by their names on a server; a count that is missing or odd is left out. */
export function usageOf(input: unknown, output: unknown, cached?: unknown): Usage {
  const counts = { inputTokens: input, outputTokens: output, cachedInputTokens: cached };
  return Object.fromEntries(Object.entries(counts).filter(([, n]) => Number.isInteger(n) && (n as number) >= 0));
}

/** `usage` of OpenAI's answers. */
export function openAIUsage(answer: unknown): Usage {
  const usage = at(answer, 'usage');
  return usageOf(
    at(usage, 'prompt_tokens'),
    at(usage, 'completion_tokens'),
    at(usage, 'prompt_tokens_details', 'cached_tokens'),
  );
}

/** Entries `{ token, id?, logprob }` of OpenAI's chat, llama.cpp and Ollama. */
export function listedTokens(rows: readonly unknown[]): readonly ListedToken[] {
  return rows.flatMap((row) => {
    const logProb = logProbOf(at(row, 'logprob'));
    if (logProb === undefined) return [];
    const text = at(row, 'token');
    const id = at(row, 'id');
    return [{ logProb, ...(typeof text === 'string' ? { text } : {}), ...(typeof id === 'number' ? { id } : {}) }];
  });
}

/** Entries `{ token: logprob }` of OpenAI's completions; with vLLM's `return_tokens_as_token_ids` the token reads `token_id:5`. */
export function listedInMap(map: unknown): readonly ListedToken[] {
  if (typeof map !== 'object' || map === null) return [];
  return Object.entries(map).flatMap(([token, value]) => {
    const logProb = logProbOf(value);
    if (logProb === undefined) return [];
    const id = /^token_id:(\d+)$/u.exec(token)?.[1];
    return [id === undefined ? { text: token, logProb } : { id: Number(id), logProb }];
  });
}

/**
 * Log-probabilities of labels out of listed tokens: the mass of all forms of a label; of a label that is not listed, the least
 * listed one, marked as a bound.
 *
 * @throws {OracleError} when nothing is listed at all.
 */
export function readLabels(listed: readonly ListedToken[], labels: readonly LabelForms[]): LabelScores {
  const finite = listed.filter(({ logProb }) => logProb > Number.NEGATIVE_INFINITY);
  if (finite.length === 0) throw new MissingFieldError('log-probabilities, which it gave when it was opened');
  const least = finite.reduce((min, { logProb }) => Math.min(min, logProb), 0);
  const found = labels.map((label) => {
    const forms = listed.filter((token) => isForm(token, label));
    return forms.length === 0 ? undefined : Math.min(0, logSumExp(forms.map(({ logProb }) => logProb)));
  });
  return { logProbs: found.map((logProb) => logProb ?? least), bounded: found.map((logProb) => logProb === undefined) };
}

/** Whether the likeliest listed token is no label, or a word that is spelled like one: "I think b", "A good one is c". */
export function beginsOtherwise(listed: readonly ListedToken[], labels: readonly LabelForms[]): boolean {
  const [first, ...rest] = listed;
  if (first === undefined) return false;
  const likeliest = rest.reduce((best, token) => (token.logProb > best.logProb ? token : best), first);
  return !labels.some((label) => isForm(likeliest, label)) || LABEL_WORDS.includes(likeliest.text?.trim() ?? '');
}

/** By id where both sides have one: a decoded text may have lost its space. */
export function isForm(token: ListedToken, label: LabelForms): boolean {
  if (token.id !== undefined && label.id !== undefined) return token.id === label.id;
  return token.text !== undefined && label.texts.includes(token.text.replace('▁', ' '));
}
