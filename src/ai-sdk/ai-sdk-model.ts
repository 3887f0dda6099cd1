import { z } from 'zod';
import { OracleError } from '../foundation/errors.js';
import { canonicalJson, type JsonValue } from '../foundation/json.js';
import { checkOptions } from '../foundation/options.js';
import { Rng } from '../foundation/rng.js';
import { retryAfterMs } from '../oracle/back-end-failure.js';
import type { CompleteOptions, Completion, LanguageModel } from '../oracle/language-model.js';
import { orAbort } from '../oracle/or-abort.js';
import type { Usage } from '../oracle/preference-oracle.js';

/**
 * A language model of the AI SDK, by its shape: `openai('…')`, `anthropic('…')`, or your own. Specification v2 (`ai` 5), v3 (`ai` 6)
 * and v4 (`ai` 7); the package `ai` itself is not needed.
 */
export interface AiSdkLanguageModel {
  /** `'v2'`, `'v3'` or `'v4'`. */
  readonly specificationVersion: string;
  /** Names the provider in the oracle's id. */
  readonly provider: string;
  /** Names the model in the oracle's id. */
  readonly modelId: string;
  /** One call of the model, without retries. */
  // biome-ignore lint/suspicious/noExplicitAny: the three versions' call options have no type in common.
  doGenerate(options: any): PromiseLike<unknown>;
}

/** Options of {@link aiSdkModel}. */
export interface AiSdkModelOptions {
  /** Any language model of the AI SDK. */
  readonly model: AiSdkLanguageModel;
  /** Handed to the provider, by its name, e.g. `{ openai: { reasoningEffort: 'low' } }`. Enters the id as a hash. @default none */
  readonly providerOptions?: Readonly<Record<string, { readonly [key: string]: JsonValue }>>;
  /** Most tokens of an answer, thoughts included. @default 1_024 */
  readonly maxOutputTokens?: number;
  /** Sampling temperature; `null` leaves it to the provider, for models that take none. @default 0 */
  readonly temperature?: number | null;
}

const VERSIONS = ['v2', 'v3', 'v4'];

const optionsSchema = z.strictObject({
  model: z.custom<AiSdkLanguageModel>((value) => {
    const { specificationVersion, doGenerate } = (value ?? {}) as Partial<AiSdkLanguageModel>;
    return VERSIONS.includes(specificationVersion as string) && typeof doGenerate === 'function';
  }, "expected a language model of the AI SDK, specification v2, v3 or v4, such as openai('gpt-5'): a name alone needs a provider"),
  providerOptions: z.custom<Record<string, { [key: string]: JsonValue }>>(isRecord, 'expected an object').optional(),
  maxOutputTokens: z.int().min(1).max(1_000_000).default(1024),
  temperature: z.number().min(0).max(2).nullable().default(0),
});

/**
 * Makes a language model of the AI SDK answer an oracle's questions, by text: prompts go as one user message, so that
 * oracles ask in chat form. Log-probabilities are not read, for each provider hands them on in its own way, or not at all.
 *
 * Calls `doGenerate` directly, so that retries are the oracle's alone. What fails is an `OracleError` with status and Retry-After,
 * and with nothing of the request: the SDK's own errors carry prompt, headers and answer.
 *
 * @returns a model with `complete` only.
 * @throws {InvalidArgumentError} for a wrong option.
 */
export function aiSdkModel(options: AiSdkModelOptions): LanguageModel {
  const { model, providerOptions, maxOutputTokens, temperature } = checkOptions(optionsSchema, options, 'aiSdkModel');
  const name = `${String(model.provider)}:${String(model.modelId)}`;
  const parts = [`ai-sdk:${name}`, `max=${maxOutputTokens}`, `temperature=${temperature ?? 'own'}`];
  // A hash, for options may name a user or an account.
  if (providerOptions !== undefined)
    parts.push(`options=${new Rng(0).fork(canonicalJson(providerOptions)).nonZeroSeed().toString(16)}`);

  return {
    id: parts.join('|'),
    template: 'chat',
    complete: async (prompt: string, { signal, labels, constrained }: CompleteOptions): Promise<Completion> => {
      signal.throwIfAborted();
      let result: unknown;
      try {
        const answering = model.doGenerate({
          prompt: [{ role: 'user', content: [{ type: 'text', text: prompt }] }],
          maxOutputTokens,
          ...(temperature === null ? {} : { temperature }),
          ...(constrained ? { responseFormat: { type: 'json', schema: labelSchema(labels), name: 'choice' } } : {}),
          ...(providerOptions === undefined ? {} : { providerOptions }),
          abortSignal: signal,
        });
        result = await orAbort(Promise.resolve(answering), signal);
      } catch (error) {
        signal.throwIfAborted();
        throw failure(name, error);
      }
      return read(name, result);
    },
  };
}

function labelSchema(labels: readonly string[]): Readonly<Record<string, unknown>> {
  return {
    type: 'object',
    properties: { label: { type: 'string', enum: labels } },
    required: ['label'],
    additionalProperties: false,
  };
}

/** Text, usage (flat in v2, nested since v3) and finish reason (a text in v2, `{ unified }` since v3). */
function read(name: string, result: unknown): Completion {
  const { content, usage, finishReason } = fields(result);
  if (!Array.isArray(content)) throw new OracleError(`the AI SDK model ${name} gave an answer without \`content\``);
  const reason = isRecord(finishReason) ? finishReason.unified : finishReason;
  if (reason === 'error') throw new OracleError(`the AI SDK model ${name} ended its answer by an error`);
  const texts = content.map(fields).filter(({ type, text }) => type === 'text' && typeof text === 'string');
  return { text: texts.map(({ text }) => text as string).join(''), usage: usageOf(usage) };
}

function usageOf(usage: unknown): Usage {
  const { inputTokens, outputTokens, cachedInputTokens } = fields(usage);
  const input = fields(inputTokens);
  const counts = {
    inputTokens: isRecord(inputTokens) ? input.total : inputTokens,
    outputTokens: isRecord(outputTokens) ? outputTokens.total : outputTokens,
    cachedInputTokens: isRecord(inputTokens) ? input.cacheRead : cachedInputTokens,
  };
  return Object.fromEntries(Object.entries(counts).filter(([, n]) => Number.isInteger(n) && (n as number) >= 0));
}

/** Name, status and Retry-After of what was thrown; its message may quote the request. */
function failure(name: string, error: unknown): OracleError {
  const { statusCode, status } = fields(error);
  const code = [statusCode, status].find((value): value is number => Number.isInteger(value));
  const wait = retryAfterMs(error);
  const kind = error instanceof Error && /^[A-Za-z_]{1,60}$/u.test(error.name) ? error.name : typeof error;
  const http = code === undefined ? '' : ` with HTTP ${code}`;
  const advice = code === 401 || code === 403 ? ': check the key that the provider was given' : '';
  return new OracleError(`the AI SDK model ${name} failed (${kind})${http}${advice}`, {
    ...(code === undefined ? {} : { status: code }),
    ...(wait === undefined ? {} : { retryAfterMs: wait }),
  });
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null;
}

function fields(value: unknown): Readonly<Record<string, unknown>> {
  return isRecord(value) ? value : {};
}
