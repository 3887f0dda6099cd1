import { OracleError } from '../foundation/errors.js';
import { mayBeBilled } from '../oracle/back-end-failure.js';
import type { Completion, ContinuationScores } from '../oracle/language-model.js';
import type { Usage } from '../oracle/preference-oracle.js';
import { addUsage, withPaid } from '../oracle/usage.js';
import {
  at,
  type LabelForms,
  type ListedToken,
  listAt,
  listedInMap,
  listedTokens,
  logProbOf,
  MissingFieldError,
  openAIUsage,
  textAt,
  tokensAt,
  usageOf,
} from './wire.js';

/** The servers whose fields are known. `openai` is also any other server of that shape. */
export type ServerName = 'vllm' | 'llamacpp' | 'sglang' | 'ollama' | 'openai';

/** `completion`: the prompt is text to be continued; `chat`: it is one user message. */
export type TemplateName = 'completion' | 'chat';

/** One request to the server; resolves to its JSON. */
export type Ask = (path: string, body: Readonly<Record<string, unknown>>) => Promise<unknown>;

/** What a dialect is told about the model beside the prompt. */
export interface ModelSettings {
  /** Name that the server knows. */
  readonly model: string;
  /** How the prompt is put. */
  readonly template: TemplateName;
  /** Most tokens of a text answer. */
  readonly maxTokens: number;
  /** Most tokens that the server lists. */
  readonly topN: number;
  /** An OpenAI model that thinks first: it takes neither `max_tokens` nor `temperature`. */
  readonly reasoning: boolean;
}

/** Tokens that may come next. */
export interface Distribution {
  /** As the server listed them. */
  readonly listed: readonly ListedToken[];
  /** What the call cost. */
  readonly usage: Usage;
}

/** Requests and answers of one server, nothing else. Every method may throw what `ask` throws, or that a field is missing. */
export interface Dialect {
  /** Token ids, one list a text. Absent: the server cannot. */
  readonly tokenize?: (
    ask: Ask,
    settings: ModelSettings,
    texts: readonly string[],
  ) => Promise<readonly (readonly number[])[]>;
  /** Writes an answer; `choices` constrains it to one of them, where the server can. */
  readonly complete: (
    ask: Ask,
    settings: ModelSettings,
    prompt: string,
    choices: readonly string[] | undefined,
  ) => Promise<Completion>;
  /** The next token's distribution, at the labels where the server takes token ids, else its top N. */
  readonly distribution: (
    ask: Ask,
    settings: ModelSettings,
    prompt: string,
    labels: readonly LabelForms[],
  ) => Promise<Distribution>;
  /** Log-likelihoods of continuations (template `completion` only). Absent: the server cannot. */
  readonly likelihoods?: (
    ask: Ask,
    settings: ModelSettings,
    prefix: string,
    continuations: readonly string[],
  ) => Promise<ContinuationScores>;
}

/** The most that OpenAI's chat, vLLM, SGLang and Ollama list; OpenAI's old completions list 5. */
export const TOP_N = 20;

/** llama.cpp has no cap; more makes answers long and hardly better. */
const LLAMA_CPP_TOP_N = 100;

/** Continuations of one request, for prompt log-probabilities take about 100 bytes a token; and requests at a time. */
const CHUNK = 16;

/** The ids of all labels, where each has one. */
function idsOf(labels: readonly LabelForms[]): readonly number[] | undefined {
  const ids = labels.flatMap(({ id }) => (id === undefined ? [] : [id]));
  return ids.length === labels.length ? ids : undefined;
}

function messages(prompt: string): readonly Readonly<Record<string, string>>[] {
  return [{ role: 'user', content: prompt }];
}

/** Chat of every server that speaks OpenAI's form; `extra` carries the server's own fields. */
async function chatText(
  ask: Ask,
  { model, maxTokens, reasoning }: ModelSettings,
  prompt: string,
  extra: Readonly<Record<string, unknown>>,
): Promise<Completion> {
  const limits = reasoning ? { max_completion_tokens: maxTokens } : { max_tokens: maxTokens, temperature: 0 };
  const answer = await ask('/v1/chat/completions', { model, messages: messages(prompt), ...limits, ...extra });
  const usage = openAIUsage(answer);
  // A model that thought until the end, or refused, has said nothing: the same again for the same prompt.
  if (at(answer, 'choices', 0, 'message', 'content') !== null)
    return { text: textAt(answer, 'choices', 0, 'message', 'content'), usage };
  if (at(answer, 'choices', 0, 'finish_reason') !== 'length') return { text: '', usage };
  throw new OracleError(
    `the model used up its ${maxTokens} tokens before it said anything, as one that thinks first may: raise \`maxTokens\``,
    { status: 200, lost: 0, paid: usage },
  );
}

async function chatDistribution(ask: Ask, { model, topN }: ModelSettings, prompt: string): Promise<Distribution> {
  const answer = await ask('/v1/chat/completions', {
    model,
    messages: messages(prompt),
    max_tokens: 1,
    temperature: 0,
    logprobs: true,
    top_logprobs: topN,
  });
  const listed = listedTokens(listAt(answer, 'choices', 0, 'logprobs', 'content', 0, 'top_logprobs'));
  return { listed, usage: openAIUsage(answer) };
}

async function completionText(
  ask: Ask,
  { model, maxTokens }: ModelSettings,
  prompt: string,
  extra: Readonly<Record<string, unknown>>,
): Promise<Completion> {
  const answer = await ask('/v1/completions', { model, prompt, max_tokens: maxTokens, temperature: 0, ...extra });
  return { text: textAt(answer, 'choices', 0, 'text'), usage: openAIUsage(answer) };
}

async function completionDistribution(
  ask: Ask,
  { model, topN }: ModelSettings,
  prompt: string,
  extra: Readonly<Record<string, unknown>>,
): Promise<Distribution> {
  const body = { model, prompt, max_tokens: 1, temperature: 0, logprobs: topN, ...extra };
  const answer = await ask('/v1/completions', body);
  const listed = listedInMap(at(answer, 'choices', 0, 'logprobs', 'top_logprobs', 0));
  return { listed, usage: openAIUsage(answer) };
}

/** vLLM and SGLang tokenise alike. */
function tokenizePrompts(
  ask: Ask,
  { model }: ModelSettings,
  texts: readonly string[],
): Promise<readonly (readonly number[])[]> {
  return fewAtATime(texts, async (prompt) => tokensAt(await ask('/tokenize', { model, prompt }), 'tokens'));
}

/** {@link CHUNK} at a time: a list of candidates must not open hundreds of connections. */
async function fewAtATime<T>(texts: readonly string[], run: (text: string) => Promise<T>): Promise<readonly T[]> {
  const results: T[] = [];
  for (const some of chunksOf(texts)) results.push(...(await Promise.all(some.map(run))));
  return results;
}

/** Where two token lists part. */
function commonLength(a: readonly number[], b: readonly number[]): number {
  let i = 0;
  while (i < a.length && i < b.length && a[i] === b[i]) i++;
  return i;
}

/**
 * Asks for the parts one after the other and joins what comes.
 *
 * @throws what `score` throws; a refusal with what the parts before it cost as `paid`.
 */
async function joined<P>(
  parts: Iterable<P>,
  score: (part: P) => Promise<ContinuationScores>,
): Promise<ContinuationScores> {
  const logLikelihoods: number[] = [];
  const tokens: number[] = [];
  let usage: Usage = { inputTokens: 0, outputTokens: 0, cachedInputTokens: 0 };
  for (const part of parts) {
    const scored = await score(part).catch((error: unknown) => {
      throw error instanceof OracleError && !mayBeBilled(error) ? withPaid(error, usage) : error;
    });
    logLikelihoods.push(...scored.logLikelihoods);
    tokens.push(...scored.tokens);
    usage = addUsage(usage, scored.usage) ?? usage;
  }
  return { logLikelihoods, tokens, usage };
}

/** {@link CHUNK} of them at a time. */
function* chunksOf<T>(all: readonly T[]): Generator<readonly T[]> {
  for (let from = 0; from < all.length; from += CHUNK) yield all.slice(from, from + CHUNK);
}

/** Sum of tokens' log-probabilities. A token that underflowed counts as vLLM counts it, so that the sum stays comparable. */
function total(logProbs: readonly unknown[]): number {
  return logProbs.reduce<number>((sum, value) => {
    const logProb = logProbOf(value);
    if (logProb === undefined) throw new MissingFieldError('log-probability of a prompt token');
    return sum + Math.max(logProb, -9999);
  }, 0);
}

/** vLLM: `/v1/completions` with `logprob_token_ids` (older ones list 20), `prompt_logprobs`, `structured_outputs`. */
const vllm: Dialect = {
  tokenize: tokenizePrompts,
  complete: (ask, settings, prompt, choices) => {
    const words = settings.template === 'chat' ? choices : choices?.map((choice) => ` ${choice}`);
    const extra = words === undefined ? {} : { structured_outputs: { choice: words } };
    return settings.template === 'chat'
      ? chatText(ask, settings, prompt, extra)
      : completionText(ask, settings, prompt, extra);
  },
  distribution: (ask, settings, prompt, labels) => {
    if (settings.template === 'chat') return chatDistribution(ask, settings, prompt);
    const ids = idsOf(labels);
    const extra = ids === undefined ? {} : { logprob_token_ids: ids, return_tokens_as_token_ids: true };
    return completionDistribution(ask, settings, prompt, extra);
  },
  likelihoods: async (ask, settings, prefix, continuations) => {
    const [before = []] = await tokenizePrompts(ask, settings, [prefix]);
    return joined(chunksOf(continuations), async (some) => {
      const answer = await ask('/v1/completions', {
        model: settings.model,
        prompt: some.map((text) => prefix + text),
        max_tokens: 1,
        temperature: 0,
        prompt_logprobs: 0,
        return_token_ids: true,
      });
      const scored = some.map((_, i) => vllmTail(at(answer, 'choices', i), before));
      return {
        logLikelihoods: scored.map(({ logLikelihood }) => logLikelihood),
        tokens: scored.map(({ tokens }) => tokens),
        usage: openAIUsage(answer),
      };
    });
  },
};

/** The prompt's tokens after those of the prefix. Each row of `prompt_logprobs: 0` holds the prompt's own token under its id. */
function vllmTail(choice: unknown, before: readonly number[]): { logLikelihood: number; tokens: number } {
  const rows = listAt(choice, 'prompt_logprobs');
  const known = listAt(choice, 'prompt_token_ids');
  const ids = rows.map((row, i) => {
    const own = Object.keys(row ?? {});
    return Number(known[i] ?? (own.length === 1 ? own[0] : i === 0 ? before[0] : Number.NaN));
  });
  const start = commonLength(before, ids);
  if (rows.length === 0 || start === 0 || start >= rows.length)
    throw new MissingFieldError('log-probabilities of the prompt');
  const logProbs = rows.slice(start).map((row, i) => at(row, String(ids[start + i]), 'logprob'));
  return { logLikelihood: total(logProbs), tokens: logProbs.length };
}

/** llama.cpp's server: `/completion` lists the plain softmax, before grammar and sampler, with token ids. */
const llamacpp: Dialect = {
  // Item text must not become a control token.
  tokenize: (ask, _settings, texts) =>
    fewAtATime(texts, async (content) =>
      tokensAt(await ask('/tokenize', { content, add_special: true, parse_special: false }), 'tokens'),
    ),
  complete: async (ask, settings, prompt, choices) => {
    const grammar = choices === undefined ? {} : { grammar: `root ::= " "? [${choices.join('')}]` };
    if (settings.template === 'chat') return chatText(ask, settings, prompt, grammar);
    const body = { prompt, n_predict: settings.maxTokens, temperature: 0, cache_prompt: true, ...grammar };
    const answer = await ask('/completion', body);
    return { text: textAt(answer, 'content'), usage: llamaCppUsage(answer) };
  },
  distribution: async (ask, settings, prompt) => {
    if (settings.template === 'chat') return chatDistribution(ask, settings, prompt);
    const answer = await ask('/completion', {
      prompt,
      n_predict: 1,
      n_probs: LLAMA_CPP_TOP_N,
      post_sampling_probs: false,
      temperature: 0,
      cache_prompt: true,
    });
    const listed = listedTokens(listAt(answer, 'completion_probabilities', 0, 'top_logprobs'));
    return { listed, usage: llamaCppUsage(answer) };
  },
  // No prompt log-probabilities: the server writes the continuation under a grammar of token ids, and reports what each was worth.
  likelihoods: async (ask, settings, prefix, continuations) => {
    const texts = [prefix, ...continuations.map((text) => prefix + text)];
    const [before = [], ...full] = (await llamacpp.tokenize?.(ask, settings, texts)) ?? [];
    return joined(full, async (ids) => {
      const start = commonLength(before, ids);
      const forced = ids.slice(start);
      const answer = await ask('/completion', {
        prompt: ids.slice(0, start),
        n_predict: forced.length,
        grammar: `root ::= ${forced.map((id) => `<[${id}]>`).join(' ')}`,
        n_probs: 1,
        post_sampling_probs: false,
        temperature: 0,
        cache_prompt: true,
      });
      const rows = listAt(answer, 'completion_probabilities');
      if (rows.length !== forced.length || rows.some((row, i) => at(row, 'id') !== forced[i]))
        throw new MissingFieldError('log-probabilities of the tokens that were forced');
      const logLikelihoods = [total(rows.map((row) => at(row, 'logprob')))];
      return { logLikelihoods, tokens: [forced.length], usage: llamaCppUsage(answer) };
    });
  },
};

function llamaCppUsage(answer: unknown): Usage {
  return usageOf(at(answer, 'tokens_evaluated'), at(answer, 'tokens_predicted'), at(answer, 'timings', 'cache_n'));
}

/** SGLang: its own `/generate` gives any token's log-probability and those of the prompt. */
const sglang: Dialect = {
  tokenize: tokenizePrompts,
  complete: async (ask, settings, prompt, choices) => {
    if (settings.template === 'chat') {
      return chatText(ask, settings, prompt, choices === undefined ? {} : { regex: `[${choices.join('')}]` });
    }
    const regex = choices === undefined ? {} : { regex: ` ?[${choices.join('')}]` };
    const answer = await ask('/generate', {
      text: prompt,
      sampling_params: { max_new_tokens: settings.maxTokens, temperature: 0, ...regex },
    });
    return { text: textAt(answer, 'text'), usage: sglangUsage(answer) };
  },
  distribution: async (ask, settings, prompt, labels) => {
    if (settings.template === 'chat') return chatDistribution(ask, settings, prompt);
    const ids = idsOf(labels);
    const answer = await ask('/generate', {
      text: prompt,
      sampling_params: { max_new_tokens: 1, temperature: 0 },
      return_logprob: true,
      logprob_start_len: -1,
      top_logprobs_num: settings.topN,
      return_text_in_logprobs: true,
      ...(ids === undefined ? {} : { token_ids_logprob: ids }),
    });
    const asked = listAt(answer, 'meta_info', 'output_token_ids_logprobs', 0);
    const rows = asked.length > 0 ? asked : listAt(answer, 'meta_info', 'output_top_logprobs', 0);
    const listed = listedTokens(rows.map((row) => ({ logprob: at(row, 0), id: at(row, 1), token: at(row, 2) })));
    return { listed, usage: sglangUsage(answer) };
  },
  likelihoods: async (ask, settings, prefix, continuations) => {
    const texts = [prefix, ...continuations.map((text) => prefix + text)];
    const [before = [], ...full] = await tokenizePrompts(ask, settings, texts);
    const starts = full.map((ids) => commonLength(before, ids));
    return joined(chunksOf([...full.entries()]), async (some) => {
      const prompts = some.map(([, ids]) => ids);
      const first = Math.min(...some.map(([i]) => starts[i] as number));
      const answer = await ask('/generate', {
        input_ids: prompts,
        sampling_params: { max_new_tokens: 1, temperature: 0 },
        return_logprob: true,
        logprob_start_len: Math.max(0, first - 1),
      });
      let usage: Usage | undefined;
      const tokens = some.map(([i, ids]) => ids.length - (starts[i] as number));
      const logLikelihoods = prompts.map((ids, i) => {
        const one = at(answer, i);
        // Versions differ in whether the token at the start is listed: the tail is the same in all.
        const rows = listAt(one, 'meta_info', 'input_token_logprobs').slice(-(tokens[i] as number));
        const tail = ids.slice(ids.length - (tokens[i] as number));
        if (tail.length === 0 || rows.length !== tail.length || rows.some((row, j) => at(row, 1) !== tail[j]))
          throw new MissingFieldError('log-probabilities of the prompt');
        usage = addUsage(usage, sglangUsage(one));
        return total(rows.map((row) => at(row, 0)));
      });
      return { logLikelihoods, tokens, ...(usage === undefined ? {} : { usage }) };
    });
  },
};

function sglangUsage(answer: unknown): Usage {
  const meta = at(answer, 'meta_info');
  return usageOf(at(meta, 'prompt_tokens'), at(meta, 'completion_tokens'), at(meta, 'cached_tokens'));
}

/** Ollama's own API, for its OpenAI layer drops `logprobs` silently. Log-probabilities since 0.12.11. */
const ollama: Dialect = {
  complete: async (ask, settings, prompt, choices) => {
    const format = choices === undefined ? {} : { format: { type: 'string', enum: choices } };
    const answer = await askOllama(ask, settings, prompt, settings.maxTokens, format);
    const text = textAt(answer, ...(settings.template === 'chat' ? ['message', 'content'] : ['response']));
    return { text, usage: ollamaUsage(answer) };
  },
  distribution: async (ask, settings, prompt) => {
    const answer = await askOllama(ask, settings, prompt, 1, { logprobs: true, top_logprobs: settings.topN });
    return { listed: listedTokens(listAt(answer, 'logprobs', 0, 'top_logprobs')), usage: ollamaUsage(answer) };
  },
};

function askOllama(
  ask: Ask,
  { model, template }: ModelSettings,
  prompt: string,
  maxTokens: number,
  extra: Readonly<Record<string, unknown>>,
): Promise<unknown> {
  const shared = { model, stream: false, options: { temperature: 0, seed: 0, num_predict: maxTokens }, ...extra };
  return template === 'chat'
    ? ask('/api/chat', { ...shared, messages: messages(prompt), think: false })
    : ask('/api/generate', { ...shared, prompt, raw: true });
}

function ollamaUsage(answer: unknown): Usage {
  return usageOf(at(answer, 'prompt_eval_count'), at(answer, 'eval_count'));
}

/** OpenAI, and every server that has these two calls. */
const openai: Dialect = {
  complete: (ask, settings, prompt, choices) => {
    if (settings.template === 'completion') return completionText(ask, settings, prompt, {});
    const schema = {
      type: 'object',
      properties: { label: { type: 'string', enum: choices } },
      required: ['label'],
      additionalProperties: false,
    };
    const json_schema = { name: 'choice', strict: true, schema };
    const extra = choices === undefined ? {} : { response_format: { type: 'json_schema', json_schema } };
    return chatText(ask, settings, prompt, extra);
  },
  distribution: (ask, settings, prompt) =>
    settings.template === 'chat'
      ? chatDistribution(ask, settings, prompt)
      : completionDistribution(ask, settings, prompt, {}),
  likelihoods: (ask, settings, prefix, continuations) =>
    joined(chunksOf(continuations), async (some) => {
      const prompts = some.map((text) => prefix + text);
      const answer = await ask('/v1/completions', {
        model: settings.model,
        prompt: prompts,
        max_tokens: 0,
        temperature: 0,
        logprobs: 1,
        echo: true,
      });
      const scored = prompts.map((prompt, i) => echoTail(at(answer, 'choices', i, 'logprobs'), prompt, prefix));
      return {
        logLikelihoods: scored.map(({ logLikelihood }) => logLikelihood),
        tokens: scored.map(({ tokens }) => tokens),
        usage: openAIUsage(answer),
      };
    }),
};

/** The echoed prompt's tokens from the one that holds the first character after the prefix. */
function echoTail(logprobs: unknown, prompt: string, prefix: string): { logLikelihood: number; tokens: number } {
  const values = listAt(logprobs, 'token_logprobs');
  const texts = listAt(logprobs, 'tokens').map(String);
  // A beginning-of-text token may stand before the prompt, and a generated one after it.
  const lead = texts.join('').indexOf(prompt);
  let offset = -lead;
  // Where the tokens' texts are no cut-up of the prompt (characters split between tokens), the server's offsets count code points.
  const offsets =
    lead < 0
      ? listAt(logprobs, 'text_offset').map(Number)
      : texts.map((text) => {
          const start = offset;
          offset += text.length;
          return start;
        });
  const lengthOf = (text: string): number => (lead < 0 ? [...text].length : text.length);
  const start = offsets.filter((place) => place <= lengthOf(prefix)).length - 1;
  const end = offsets.filter((place) => place < lengthOf(prompt)).length;
  if (values.length === 0 || offsets.length !== values.length || start < 1 || end <= start)
    throw new MissingFieldError('log-probabilities of the prompt');
  const tail = values.slice(start, end);
  return { logLikelihood: total(tail), tokens: tail.length };
}

/** How each server is asked. */
export const dialects: Readonly<Record<ServerName, Dialect>> = { vllm, llamacpp, sglang, ollama, openai };
