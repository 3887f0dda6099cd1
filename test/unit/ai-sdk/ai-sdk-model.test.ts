import { inspect } from 'node:util';
import { APICallError } from '@ai-sdk/provider';
import { MockLanguageModelV3 } from 'ai-v6/test';
import { MockLanguageModelV4 } from 'ai-v7/test';
import { describe, expect, it } from 'vitest';
import { type AiSdkLanguageModel, aiSdkModel } from '../../../src/ai-sdk/ai-sdk-model.js';
import { InvalidArgumentError, OracleError } from '../../../src/foundation/errors.js';
import { MemoryStorage } from '../../../src/foundation/storage.js';
import { isRetryable, retryAfterMs } from '../../../src/oracle/back-end-failure.js';
import { LlmOracle } from '../../../src/oracle/llm-oracle.js';
import { renderTable1 } from '../../../src/oracle/prompt.js';
import { rateItems } from '../../../src/oracle/rate-items.js';
import { hashModel } from '../../fixtures/model-server/hash-model.js';
import { shop } from '../oracle/fixtures.js';

const PROMPT = 'Secret history: a. Blue b. Red c. None\nResponse: Answer with the label only';
const LABELS = ['a', 'b', 'c'];
const ask = { signal: new AbortController().signal, labels: LABELS, constrained: false };
const truth = hashModel();
const catalog = shop(8, 2);

const nested = {
  inputTokens: { total: 40, noCache: 30, cacheRead: 10, cacheWrite: undefined },
  outputTokens: { total: 2, text: 2, reasoning: undefined },
};
const flat = { inputTokens: 40, outputTokens: 2, totalTokens: 42, cachedInputTokens: 10 };

type Answer = (prompt: string) => Promise<string>;

/** The same answer, thoughts before it, in the form of each specification. */
const models: Readonly<Record<string, (answer: Answer) => AiSdkLanguageModel & { calls: () => readonly unknown[] }>> = {
  v2: (answer) => {
    const calls: unknown[] = [];
    return {
      specificationVersion: 'v2',
      provider: 'mock-provider',
      modelId: 'mock-model-id',
      calls: () => calls,
      doGenerate: async (options: { prompt: { content: { text: string }[] }[] }) => {
        calls.push(options);
        const text = await answer(options.prompt[0]?.content[0]?.text ?? '');
        return { content: content(text), finishReason: 'stop', usage: flat, warnings: [] };
      },
    };
  },
  v3: (answer) => {
    const model: MockLanguageModelV3 = new MockLanguageModelV3({
      doGenerate: async ({ prompt }) => ({
        content: content(await answer(textOf(prompt))),
        finishReason: { unified: 'stop', raw: undefined },
        usage: nested,
        warnings: [],
      }),
    });
    return Object.assign(model, { calls: () => model.doGenerateCalls });
  },
  v4: (answer) => {
    const model: MockLanguageModelV4 = new MockLanguageModelV4({
      doGenerate: async ({ prompt }) => ({
        content: content(await answer(textOf(prompt))),
        finishReason: { unified: 'stop', raw: undefined },
        usage: nested,
        warnings: [],
      }),
    });
    return Object.assign(model, { calls: () => model.doGenerateCalls });
  },
};

function content(text: string): [{ type: 'reasoning'; text: string }, { type: 'text'; text: string }] {
  return [
    { type: 'reasoning', text: 'a, or c?' },
    { type: 'text', text },
  ];
}

function textOf(prompt: unknown): string {
  return (prompt as { content: { text: string }[] }[])[0]?.content[0]?.text ?? '';
}

async function answerOf(prompt: string): Promise<string> {
  return ((await truth.complete(prompt, ask)) as { text: string }).text.trim();
}

describe('aiSdkModel', () => {
  for (const [version, make] of Object.entries(models)) {
    it(`reads text and usage of a ${version} model, and leaves its thoughts`, async () => {
      const model = make(answerOf);
      const { id, complete } = aiSdkModel({ model });
      expect(id).toMatch(/^ai-sdk:mock-provider:mock-model-id\|/u);
      const got = await complete?.(PROMPT, ask);
      expect(got).toEqual({
        text: await answerOf(PROMPT),
        usage: { inputTokens: 40, outputTokens: 2, cachedInputTokens: 10 },
      });
    });

    it(`asks a ${version} model with one user message at temperature 0, and for JSON when constrained`, async () => {
      const model = make(answerOf);
      const providerOptions = { openai: { reasoningEffort: 'low' } };
      const { complete } = aiSdkModel({ model, providerOptions, maxOutputTokens: 9 });
      await complete?.(PROMPT, ask);
      await complete?.(PROMPT, { ...ask, constrained: true });
      const [plain, constrained] = model.calls();
      expect(plain).toEqual({
        prompt: [{ role: 'user', content: [{ type: 'text', text: PROMPT }] }],
        maxOutputTokens: 9,
        temperature: 0,
        providerOptions,
        abortSignal: ask.signal,
      });
      expect(constrained).toMatchObject({
        responseFormat: { type: 'json', schema: { properties: { label: { enum: LABELS } } } },
      });
    });

    it(`is asked in chat form by oracles that were told nothing: ${version}`, async () => {
      const model = make(async () => 'b');
      const languageModel = aiSdkModel({ model });
      const query = { history: [1], candidates: [2, 3] };
      await new LlmOracle({ catalog, languageModel, shuffle: false }).prefer([query]);
      const { prompt } = model.calls()[0] as { prompt: unknown };
      expect(textOf(prompt)).toBe(renderTable1({ catalog, ...query, mode: 'chat' }).text);
      await rateItems({ catalog, languageModel, storage: new MemoryStorage() });
      const { prompt: last } = model.calls().at(-1) as { prompt: unknown };
      expect(textOf(last)).toMatch(/one lowercase letter from a to e\.$/);
    });

    it(`maps the error of a ${version} model to one that holds nothing of the request`, async () => {
      let calls = 0;
      const model = make(async () => {
        calls++;
        throw new APICallError({
          message: `cannot do ${PROMPT} with sk-secret`,
          url: 'https://example.com/sk-secret',
          requestBodyValues: { prompt: PROMPT },
          statusCode: 429,
          responseHeaders: { 'retry-after': '7', authorization: 'sk-secret' },
          responseBody: PROMPT,
          data: { PROMPT },
        });
      });
      const error = await Promise.resolve(aiSdkModel({ model }).complete?.(PROMPT, ask)).catch(
        (thrown: unknown) => thrown,
      );
      expect(calls).toBe(1);
      expect(error).toBeInstanceOf(OracleError);
      expect(error).toMatchObject({ status: 429, retryAfterMs: 7000, code: 'ORACLE' });
      expect([isRetryable(error), retryAfterMs(error)]).toEqual([true, 7000]);
      const shown = `${inspect(error, { depth: 9, showHidden: true })} ${JSON.stringify(error)}`;
      expect(shown).not.toMatch(/Secret history|sk-secret/u);
    });
  }

  it('sends no temperature when there is to be none', async () => {
    const model = models.v2?.(answerOf) as AiSdkLanguageModel & { calls: () => readonly unknown[] };
    await aiSdkModel({ model, temperature: null }).complete?.(PROMPT, ask);
    expect(model.calls()[0]).not.toHaveProperty('temperature');
  });

  it('rejects with the reason of an abort, also where the model ignores its signal', async () => {
    const model = models.v2?.(() => new Promise(() => {})) as AiSdkLanguageModel;
    const controller = new AbortController();
    const reason = new Error('enough');
    const waiting = aiSdkModel({ model }).complete?.(PROMPT, { ...ask, signal: controller.signal });
    const rejected = expect(waiting).rejects.toBe(reason);
    controller.abort(reason);
    await rejected;
  });

  it('names a finish by error, and an answer without content, as failures', async () => {
    const answering = (result: unknown): AiSdkLanguageModel => ({
      specificationVersion: 'v3',
      provider: 'p',
      modelId: 'm',
      doGenerate: async () => result,
    });
    for (const result of [
      {},
      undefined,
      { content: [], finishReason: { unified: 'error' } },
      { content: [], finishReason: 'error' },
    ])
      await expect(aiSdkModel({ model: answering(result) }).complete?.(PROMPT, ask)).rejects.toBeInstanceOf(
        OracleError,
      );
    const odd = answering({
      content: [null, 3, { type: 'text' }, { type: 'tool-call' }],
      usage: { inputTokens: 'many' },
    });
    expect(await aiSdkModel({ model: odd }).complete?.(PROMPT, ask)).toEqual({ text: '', usage: {} });
  });

  it('takes what a model throws while it is called, and what is no error', async () => {
    const throwing = (thrown: unknown): AiSdkLanguageModel => ({
      specificationVersion: 'v2',
      provider: 'p',
      modelId: 'm',
      doGenerate: () => {
        throw thrown;
      },
    });
    for (const thrown of [new TypeError(PROMPT), PROMPT, undefined, null, { name: PROMPT, message: PROMPT }]) {
      const complete = aiSdkModel({ model: throwing(thrown) }).complete;
      const error = await Promise.resolve(complete?.(PROMPT, ask)).catch((caught: unknown) => caught);
      expect(error).toBeInstanceOf(OracleError);
      expect(inspect(error)).not.toContain('Secret history');
    }
  });

  it('changes its id with whatever changes an answer, and shows no option in it', () => {
    const model = models.v2?.(answerOf) as AiSdkLanguageModel;
    const ids = [
      aiSdkModel({ model }),
      aiSdkModel({ model, temperature: 1 }),
      aiSdkModel({ model, temperature: null }),
      aiSdkModel({ model, maxOutputTokens: 5 }),
      aiSdkModel({ model, providerOptions: { openai: { user: 'someone' } } }),
      aiSdkModel({ model, providerOptions: { openai: { user: 'someone else' } } }),
    ].map(({ id }) => id);
    expect(new Set(ids).size).toBe(ids.length);
    expect(ids.join()).not.toContain('someone');
  });

  it('refuses what is no model of a known specification', () => {
    const doGenerate = async (): Promise<unknown> => ({});
    for (const model of [
      'openai/gpt-5',
      undefined,
      { doGenerate },
      { specificationVersion: 'v1', doGenerate },
      { specificationVersion: 'v3' },
    ])
      expect(() => aiSdkModel({ model: model as unknown as AiSdkLanguageModel })).toThrow(InvalidArgumentError);
    const model = models.v2?.(answerOf) as AiSdkLanguageModel;
    expect(() => aiSdkModel({ model, maxOutputTokens: 0 })).toThrow(/maxOutputTokens/u);
  });
});
