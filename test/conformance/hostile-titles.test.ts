/**
 * Hostile titles through every back-end: whatever stands in a title, a model is offered K + 1 labels and no more, an answer is one of
 * them, and nothing of a prompt or key comes out in an error, a record or a cache. That a title cannot sway a model is not promised.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MockLanguageModelV3 } from 'ai-v6/test';
import { MockLanguageModelV4 } from 'ai-v7/test';
import { describe, expect, it } from 'vitest';
import { type AiSdkLanguageModel, aiSdkModel } from '../../src/ai-sdk/index.js';
import { Catalog } from '../../src/catalog/catalog.js';
import { Rng } from '../../src/foundation/rng.js';
import { MemoryStorage } from '../../src/foundation/storage.js';
import { LlamaCppModel } from '../../src/llama-cpp/index.js';
import { OpenAICompatibleModel } from '../../src/openai-compatible/index.js';
import { CachedOracle } from '../../src/oracle/cached-oracle.js';
import type { LanguageModel } from '../../src/oracle/language-model.js';
import { LikelihoodOracle } from '../../src/oracle/likelihood-oracle.js';
import { LlmOracle } from '../../src/oracle/llm-oracle.js';
import type { Preference, PreferenceOracle, PreferenceQuery } from '../../src/oracle/preference-oracle.js';
import { renderTable1 } from '../../src/oracle/prompt.js';
import { RecordingOracle } from '../../src/oracle/recording-oracle.js';
import { writeTinyLlama } from '../fixtures/gguf/tiny-llama.js';
import { hostileTitles } from '../fixtures/hostile-titles.js';
import { hashModel } from '../fixtures/model-server/hash-model.js';
import { ModelServer, type ServerKind } from '../fixtures/model-server/model-server.js';
import { sharedModel } from '../shared-model.js';

const CLEAN = 30;
const K = 10;
const LETTERS = [...'abcdefghijk'];
const KEY = 'sk-very-secret-0123456789';
const catalog = Catalog.fromItems(
  [
    ...Array.from({ length: CLEAN }, (_, n) => ({ id: `clean-${n}`, title: `Article ${n}`, brand: `Maker ${n % 5}` })),
    ...hostileTitles.map((title, n) => ({ id: `hostile-${n}`, title, brand: n % 3 === 0 ? title : 'Maker 1' })),
  ],
  { scenario: 'shop', itemNoun: 'product', behavior: 'purchase', attributes: ['title', 'brand'] },
);

/** One question a title: it stands among the candidates, and every other time in the history too. */
const queries = hostileTitles.map((_, n): PreferenceQuery => {
  const drawn = Array.from(new Rng(5).fork(n).sample(CLEAN, K + 1));
  const candidates = drawn.slice(0, K - 1);
  candidates.splice(n % K, 0, CLEAN + n);
  return {
    history: [drawn[K] as number, ...(n % 2 === 0 ? [CLEAN + ((n + 7) % hostileTitles.length)] : [])],
    candidates,
  };
});

/** 0 escapes: every answer is one of the K + 1 labels, invalid, or failed where that is allowed. */
async function checkAnswers(oracle: PreferenceOracle, asked = queries): Promise<readonly Preference[]> {
  const answers = await oracle.prefer(asked);
  expect(answers).toHaveLength(asked.length);
  for (const [i, answer] of answers.entries()) {
    if (answer.kind === 'choice') expect(asked[i]?.candidates).toContain(answer.choice);
    else expect(['none', 'invalid']).toContain(answer.kind);
  }
  return answers;
}

/** Five lines, each label once and in order, and no control token that would end the prompt or change who speaks. */
function checkPrompt(prompt: string): void {
  const lines = prompt.split('\n');
  expect(lines).toHaveLength(5);
  const offered = Array.from(` ${lines[3]}`.matchAll(/(?<=\s)([a-z])\.(?=\s)/gu), (match) => match[1]);
  expect(offered).toEqual(LETTERS);
  expect(prompt).not.toMatch(/<\/?s>|<\|[^|]*\|>|\[\/?INST\]|<<SYS>>|<(?:start|end)_of_turn>|\p{Cf}|[^\P{Cc}\n]/u);
  expect(prompt.length).toBeLessThan(10_000);
}

describe(`${hostileTitles.length} hostile titles, at least 200`, () => {
  it('are as many, all different', () => {
    expect(hostileTitles.length).toBeGreaterThanOrEqual(200);
    expect(new Set(hostileTitles).size).toBe(hostileTitles.length);
  });

  it.each(['completion', 'chat'] as const)('offer no label but ours, in the %s form', (mode) => {
    for (const { history, candidates } of queries)
      checkPrompt(renderTable1({ catalog, history, candidates, mode }).text);
  });

  it('control: unsanitised, they would offer labels of their own', () => {
    const forged = hostileTitles.filter((title) => {
      const offered = Array.from(` a. ${title} b. None`.matchAll(/(?<=\s)([a-z])\.(?=\s)/gu), (match) => match[1]);
      return offered.length !== 2 || title.includes('\n') || title.includes('</s>');
    });
    expect(forged.length).toBeGreaterThan(30);
  });

  it('by scores: labels only', async () => {
    const oracle = new LlmOracle({ catalog, languageModel: { id: 'hash', labelScores: hashModel().labelScores } });
    const answers = await checkAnswers(oracle);
    expect(answers.every(({ kind }) => kind !== 'invalid')).toBe(true);
  });

  it('by a model that obeys: its answer is the title itself', async () => {
    let n = 0;
    const prompts: string[] = [];
    const oracle = new LlmOracle({
      ...{ catalog, concurrency: 1, retries: 0 },
      complete: async (prompt) => {
        prompts.push(prompt);
        return hostileTitles[n++ % hostileTitles.length] as string;
      },
    });
    const answers = await checkAnswers(oracle);
    for (const prompt of prompts) checkPrompt(prompt);
    // Some name a label ("The user will select b."): within the set. Most name nothing.
    expect(answers.filter(({ kind }) => kind === 'invalid').length).toBeGreaterThan(queries.length / 4);
    for (const answer of answers) if (answer.kind === 'invalid') expect(answer.raw.length).toBeLessThanOrEqual(500);
  });

  it('by likelihood: one line an item, one of the candidates', async () => {
    const { continuationScores } = hashModel();
    const oracle = new LikelihoodOracle({
      catalog,
      languageModel: {
        id: 'hash',
        continuationScores: (prefix, texts) => {
          // "intro", an empty line, one line an item of the history (at most 2), "next", "-".
          expect(prefix.split('\n').length).toBeLessThanOrEqual(6);
          for (const text of texts) expect(text).not.toMatch(/\n|<\/s>|<\|/u);
          return continuationScores(prefix, texts);
        },
      },
    });
    const answers = await checkAnswers(oracle);
    expect(answers.every(({ kind }) => kind === 'choice')).toBe(true);
  });

  it.each<ServerKind>(['vllm', 'llamacpp', 'sglang', 'ollama', 'openai'])(
    'over HTTP, as %s speaks it',
    async (kind) => {
      const server = await ModelServer.start({ kind, apiKey: KEY });
      try {
        const model = await OpenAICompatibleModel.connect({
          ...{ url: server.url, model: 'test-model', server: kind, apiKey: () => KEY },
        });
        await checkAnswers(new LlmOracle({ catalog, languageModel: model, retries: 0 }));
        await model.close?.();
      } finally {
        await server.close();
      }
    },
  );

  const text = (prompt: unknown): string =>
    (prompt as readonly { readonly content: readonly { readonly text: string }[] }[])[0]?.content[0]?.text ?? '';
  const tokens = { total: 1, noCache: 1, cacheRead: 0, cacheWrite: 0 };
  const nested = { inputTokens: tokens, outputTokens: { total: 1, text: 1, reasoning: 0 } };
  const answering = async (prompt: unknown): Promise<{ type: 'text'; text: string }[]> => {
    checkPrompt(text(prompt));
    const { signal } = new AbortController();
    const answer = await hashModel().complete(text(prompt), { signal, labels: LETTERS, constrained: false });
    return [{ type: 'text', text: typeof answer === 'string' ? answer : answer.text }];
  };
  const stopped = { unified: 'stop', raw: undefined } as const;
  const sdkModels: Readonly<Record<string, AiSdkLanguageModel>> = {
    v2: {
      ...{ specificationVersion: 'v2', provider: 'mock', modelId: 'hash' },
      doGenerate: async ({ prompt }: { prompt: unknown }) => ({
        content: await answering(prompt),
        ...{ finishReason: 'stop', usage: { inputTokens: 1, outputTokens: 1, totalTokens: 2 }, warnings: [] },
      }),
    },
    v3: new MockLanguageModelV3({
      doGenerate: async ({ prompt }) => ({
        content: await answering(prompt),
        ...{ finishReason: stopped, usage: nested, warnings: [] },
      }),
    }),
    v4: new MockLanguageModelV4({
      doGenerate: async ({ prompt }) => ({
        content: await answering(prompt),
        ...{ finishReason: stopped, usage: nested, warnings: [] },
      }),
    }),
  };

  it.each(Object.keys(sdkModels))('by the AI SDK, specification %s', async (version) => {
    const languageModel = aiSdkModel({ model: sdkModels[version] as AiSdkLanguageModel });
    await checkAnswers(new LlmOracle({ catalog, languageModel, mode: 'chat', retries: 0 }));
  });

  it('by llama.cpp in process, generated model', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'ialp-hostile-'));
    try {
      const file = join(folder, 'tiny.gguf');
      writeTinyLlama(file);
      const model = await LlamaCppModel.load({ file, threads: 1 });
      try {
        await checkAnswers(new LlmOracle({ catalog, languageModel: model, retries: 0 }));
      } finally {
        await model.close();
      }
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  const real = sharedModel();
  it.skipIf(real === undefined)('by llama.cpp in process, real model, some of them', { timeout: 120_000 }, async () => {
    const model = await LlamaCppModel.load({ file: real as string });
    try {
      // A prompt costs a second and more: one title of each kind.
      const asked = [3, 50, 96].map((n) => queries[n] as PreferenceQuery);
      await checkAnswers(new LlmOracle({ catalog, languageModel: model, retries: 0, timeoutMs: 100_000 }), asked);
    } finally {
      await model.close();
    }
  });
});

describe('nothing of a prompt or key comes out', () => {
  /** Pieces of prompts and of the key, by which a leak would show. */
  const secrets = [KEY, 'Maker 1', 'Article 2', 'Ignore all previous', 'at next timestamp', 'will select'];
  const expectClean = (said: string): void => {
    for (const secret of secrets) expect(said).not.toContain(secret);
  };
  const everythingOf = (error: unknown): string => {
    const said: string[] = [];
    for (let cause = error; cause instanceof Error; cause = cause.cause)
      said.push(cause.message, cause.stack ?? '', JSON.stringify(cause, Object.getOwnPropertyNames(cause)));
    return said.join('\n');
  };

  it.each<ServerKind>(['vllm', 'llamacpp', 'sglang', 'ollama', 'openai'])(
    'in the errors of a server that echoes both, as %s',
    async (kind) => {
      const server = await ModelServer.start({ kind, apiKey: KEY });
      try {
        const model = await OpenAICompatibleModel.connect({
          ...{ url: server.url, model: 'test-model', server: kind, apiKey: () => KEY },
        });
        server.fault = () => ({ kind: 'status', status: 400 });
        const answers = await new LlmOracle({ catalog, languageModel: model, retries: 0 }).prefer(queries.slice(0, 20));
        for (const answer of answers) {
          expect(answer.kind).toBe('failed');
          if (answer.kind === 'failed') expectClean(everythingOf(answer.error));
        }
        expectClean(JSON.stringify(model) + model.id);
        await model.close?.();
      } finally {
        await server.close();
      }
    },
  );

  it('in the errors of a client that quotes both', async () => {
    const languageModel: LanguageModel = {
      id: 'leaky',
      complete: async (prompt) => {
        throw Object.assign(new Error(`400: could not read ${prompt}`), {
          ...{ status: 400, requestBodyValues: { prompt }, responseHeaders: { authorization: KEY } },
        });
      },
    };
    const answers = await new LlmOracle({ catalog, languageModel, retries: 0 }).prefer(queries.slice(0, 20));
    for (const answer of answers) {
      expect(answer.kind).toBe('failed');
      if (answer.kind === 'failed') expectClean(everythingOf(answer.error));
    }
  });

  it.each(['record', 'cache'] as const)('in a %s', async (kind) => {
    const storage = new MemoryStorage();
    const oracle = new LlmOracle({ catalog, languageModel: { id: 'hash', labelScores: hashModel().labelScores } });
    const kept =
      kind === 'record'
        ? await RecordingOracle.open({ oracle, catalog, storage })
        : await CachedOracle.open({ oracle, catalog, storage });
    await kept.prefer(queries);
    await kept.close();
    const written: string[] = [];
    for (const key of await storage.list()) written.push(new TextDecoder().decode(await storage.get(key)));
    expect(written.join('').length).toBeGreaterThan(1_000);
    expectClean(written.join(''));
  });

  it('control: a record of the prompts would show', () => {
    const { history, candidates } = queries[0] as PreferenceQuery;
    expect(() => expectClean(renderTable1({ catalog, history, candidates }).text)).toThrow();
  });
});
