import type { Usage } from './preference-oracle.js';

/** How one call of a {@link LanguageModel} may end early. */
export interface ModelCallOptions {
  /** Aborts on the caller's abort and on the time-out; the call rejects with `signal.reason`. */
  readonly signal?: AbortSignal;
}

/** What {@link LanguageModel.complete} is told beside the prompt. */
export interface CompleteOptions {
  /** Aborts on the caller's abort and on the time-out; pass it to `fetch`. */
  readonly signal: AbortSignal;
  /** The letters offered, None's last: for back-ends that can constrain the answer. */
  readonly labels: readonly string[];
  /** True when an answer without a label came before and the format should be enforced, where that is possible. */
  readonly constrained: boolean;
}

/** A completion with what it cost. */
export interface Completion {
  /** What the model wrote after the prompt. */
  readonly text: string;
  /** What it cost, as far as known. */
  readonly usage?: Usage;
}

/** Asks a language model: ten lines around any client. */
export type Complete = (prompt: string, options: CompleteOptions) => Promise<string | Completion>;

/** Log-probabilities of labels as the answer to one prompt. */
export interface LabelScores {
  /**
   * One natural log-probability per label, in the order asked, over the model's whole vocabulary (not normalised over the labels).
   * `-Infinity` only where the model rules a label out.
   */
  readonly logProbs: readonly number[];
  /** Labels that the server did not list: their entry is the lowest log-probability that it listed, an upper bound. @default none */
  readonly bounded?: readonly boolean[];
  /**
   * Whether the likeliest first token of the answer is no label, or one that begins a sentence as well ("A", "I"): what the labels got is
   * then not what the model says, and its text is asked for. @default false
   */
  readonly beginsOtherwise?: boolean;
  /** What the call cost. */
  readonly usage?: Usage;
}

/** Log-likelihoods of texts that may follow one prefix. */
export interface ContinuationScores {
  /** Sum of natural log-probabilities of each continuation's tokens after the prefix, in the order asked. */
  readonly logLikelihoods: readonly number[];
  /** Tokens of each continuation, in the same order. */
  readonly tokens: readonly number[];
  /** What the call cost; `cachedInputTokens` are those of a prefix that was not evaluated again. */
  readonly usage?: Usage;
}

/**
 * A language model as the read-outs see it: three questions, each optional. A back-end offers those that its server can really
 * answer (found out once, when it is opened) and leaves the others out.
 *
 * A call that fails throws; an error with a numeric `status` decides whether it is tried again, its `headers` may hold Retry-After.
 */
export interface LanguageModel {
  /** Back-end, model, revision or file hash, adapter hash: all that an answer depends on beside the prompt. Holds no secret. */
  readonly id: string;
  /**
   * How prompts reach the model: `completion` continues them, `chat` puts them as one user message, which cannot prefill an answer. The
   * read-outs write their prompts accordingly. @default 'completion'
   */
  readonly template?: 'completion' | 'chat';
  /** Calls that the back-end takes at the same time. @default as many as the read-out's `concurrency` */
  readonly concurrency?: number;
  /**
   * The `label` read-out: how likely each label is the next word after the prompt, in one forward pass.
   *
   * @param prompt - never ends with a space.
   * @param labels - single letters; the model is asked for `' ' + letter` (oracles.md 1).
   */
  readonly labelScores?: (
    prompt: string,
    labels: readonly string[],
    options?: ModelCallOptions,
  ) => Promise<LabelScores>;
  /**
   * The `likelihood` read-out: log p(continuation | prefix) of each continuation. The prefix is evaluated once where the back-end can.
   *
   * @param prefix - never ends with a space.
   * @param continuations - each begins with a space.
   */
  readonly continuationScores?: (
    prefix: string,
    continuations: readonly string[],
    options?: ModelCallOptions,
  ) => Promise<ContinuationScores>;
  /**
   * What a call of `continuationScores` will be billed for, where that is not the prefix once and each continuation: a server that
   * is asked once a continuation bills the prefix each time.
   */
  readonly continuationUsage?: (prefixTokens: number, continuationTokens: readonly number[]) => Usage;
  /** Writes an answer as text: the way that every model has. */
  readonly complete?: Complete;
  /** Tokens of a text, as the model counts or as nearly as is known: prices a job before it runs. @default a quarter of the characters */
  readonly countTokens?: (text: string) => number | Promise<number>;
  /** Releases what the model holds; safe to call twice. */
  readonly close?: () => Promise<void>;
}
