import type { Complete, LanguageModel } from '../oracle/language-model.js';

/** What a {@link scriptedModel} answers; questions that are left out it does not take. */
export interface ModelScript {
  /** The labels' logits: any numbers, one a label; the model tells their log-softmax. */
  readonly labels?: (prompt: string, labels: readonly string[]) => readonly number[] | Promise<readonly number[]>;
  /** Probability mass on the labels, 0..1. @default 1 */
  readonly labelMass?: number;
  /** Log-likelihood of one text after the prefix, a number of at most 0. */
  readonly continuation?: (prefix: string, continuation: string) => number;
  /** Writes a text. */
  readonly complete?: Complete;
}

/** A {@link LanguageModel} that does what it is told, counts words as tokens, and remembers what it was asked. */
export interface ScriptedModel extends LanguageModel {
  /** Prompts and prefixes, in the order asked. */
  readonly prompts: readonly string[];
}

/**
 * A test double for language models, two lines for most tests:
 * `scriptedModel({ labels: (prompt, labels) => labels.map((label) => (prompt.includes(label + '. Song 3') ? 1 : 0)) })`.
 *
 * @param script - the answers.
 * @param id - the model's id. @default 'scripted'
 */
export function scriptedModel(script: ModelScript, id = 'scripted'): ScriptedModel {
  const prompts: string[] = [];
  const { labels: logitsOf, labelMass = 1, continuation, complete } = script;
  return {
    id,
    prompts,
    countTokens: wordsOf,
    ...(logitsOf === undefined
      ? {}
      : {
          labelScores: async (prompt, labels, options) => {
            options?.signal?.throwIfAborted();
            prompts.push(prompt);
            const logits = await logitsOf(prompt, labels);
            const most = Math.max(...logits);
            const total = most + Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit - most), 0));
            return {
              logProbs: logits.map((logit) => logit - total + Math.log(labelMass)),
              usage: { inputTokens: wordsOf(prompt), outputTokens: 1 },
            };
          },
        }),
    ...(continuation === undefined
      ? {}
      : {
          continuationScores: async (prefix, continuations, options) => {
            options?.signal?.throwIfAborted();
            prompts.push(prefix);
            const tokens = continuations.map(wordsOf);
            return {
              logLikelihoods: continuations.map((text) => continuation(prefix, text)),
              tokens,
              usage: { inputTokens: tokens.reduce((sum, count) => sum + count, wordsOf(prefix)), outputTokens: 0 },
            };
          },
        }),
    ...(complete === undefined
      ? {}
      : {
          complete: async (prompt, options) => {
            options.signal.throwIfAborted();
            prompts.push(prompt);
            return complete(prompt, options);
          },
        }),
  };
}

function wordsOf(text: string): number {
  return text.split(/\s+/u).filter((word) => word !== '').length;
}
