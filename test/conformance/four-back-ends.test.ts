/**
 * One program, four back-ends. The model behind them is the same: a generated Llama whose answers are known in closed form, run by
 * the real llama.cpp in process and behind HTTP. Whatever the way, the same questions get the same answers.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MockLanguageModelV3 } from 'ai-v6/test';
import { MockLanguageModelV4 } from 'ai-v7/test';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { type AiSdkLanguageModel, aiSdkModel } from '../../src/ai-sdk/index.js';
import { Rng } from '../../src/foundation/rng.js';
import { LlamaCppModel } from '../../src/llama-cpp/index.js';
import { OpenAICompatibleModel } from '../../src/openai-compatible/index.js';
import type { LanguageModel } from '../../src/oracle/language-model.js';
import { LlmOracle } from '../../src/oracle/llm-oracle.js';
import type { Preference, PreferenceQuery } from '../../src/oracle/preference-oracle.js';
import { renderTable1 } from '../../src/oracle/prompt.js';
import { type TinyLlama, writeTinyLlama } from '../fixtures/gguf/tiny-llama.js';
import { ModelServer, type ServerKind } from '../fixtures/model-server/model-server.js';
import { shop } from '../unit/oracle/fixtures.js';

/** `IALP_QUESTIONS=500 npx vitest run test/conformance/four-back-ends.test.ts` asks more; it takes three minutes. */
const QUESTIONS = Number(process.env.IALP_QUESTIONS ?? 150);
/** Servers and specifications speak to the same model: one of each kind answers all questions, the others so many. */
const OF_EACH_DIALECT = 40;
/** Who asks for more questions waits for longer. */
const MORE = Math.max(1, QUESTIONS / 150);
vi.setConfig({ testTimeout: 60_000 * MORE, hookTimeout: 180_000 * MORE });
const catalog = shop();
const folder = mkdtempSync(join(tmpdir(), 'ialp-four-'));
let closedForm: TinyLlama;
let engine: LlamaCppModel;

/** The program: the same for every back-end, and the same prompt, though two of them would take the chat form by default. */
async function answersOf(
  languageModel: LanguageModel,
  asked: readonly PreferenceQuery[],
): Promise<readonly Preference[]> {
  const oracle = new LlmOracle({ catalog, languageModel, mode: 'completion', shuffle: false, retries: 0 });
  try {
    return await oracle.prefer(asked);
  } finally {
    await oracle.close();
  }
}

/** The label that an answer is, or why it is none. */
function labelOf({ candidates }: PreferenceQuery, answer: Preference): string {
  if (answer.kind === 'failed') return answer.error.message;
  if (answer.kind === 'invalid') return `invalid: ${answer.raw}`;
  const place = answer.kind === 'none' ? candidates.length : candidates.indexOf(answer.choice);
  return String.fromCharCode(97 + place);
}

function labelsOf(asked: readonly PreferenceQuery[], answers: readonly Preference[]): string[] {
  return answers.map((answer, i) => labelOf(asked[i] as PreferenceQuery, answer));
}

const queries: readonly PreferenceQuery[] = Array.from({ length: QUESTIONS }, (_, i) => {
  const drawn = Array.from(new Rng(11).fork(i).sample(catalog.size, 14));
  return { history: drawn.slice(10, 11 + (i % 4)), candidates: drawn.slice(0, 10) };
});
let expected: readonly string[];

beforeAll(async () => {
  const file = join(folder, 'tiny.gguf');
  const usual = queries
    .slice(0, 40)
    .map(({ history, candidates }) => renderTable1({ catalog, history, candidates }).text);
  closedForm = writeTinyLlama(file, { usual });
  engine = await LlamaCppModel.load({ file, threads: 1 });
  expected = labelsOf(queries, await answersOf(engine, queries));
});

afterAll(async () => {
  await engine.close();
  rmSync(folder, { recursive: true });
});

/** The engine as the models of the AI SDK see it: text in, text out; its grammar keeps it from writing on after the label. */
async function written(prompt: string): Promise<string> {
  const labels = [...'abcdefghijk'];
  const { signal } = new AbortController();
  const answer = await engine.complete(prompt, { signal, labels, constrained: true });
  return typeof answer === 'string' ? answer : answer.text;
}

type Prompt = readonly { readonly content: unknown }[];

function textOf(prompt: Prompt): string {
  const [message] = prompt as readonly { readonly content: readonly { readonly text: string }[] }[];
  return message?.content[0]?.text ?? '';
}

const tokens = { total: 1, noCache: 1, cacheRead: 0, cacheWrite: 0 };
const nested = { inputTokens: tokens, outputTokens: { total: 1, text: 1, reasoning: 0 } };
const stopped = { unified: 'stop', raw: undefined } as const;
const sdkModels: Readonly<Record<string, AiSdkLanguageModel>> = {
  v2: {
    ...{ specificationVersion: 'v2', provider: 'mock', modelId: 'tiny' },
    doGenerate: async ({ prompt }: { prompt: Prompt }) => ({
      content: [{ type: 'text', text: await written(textOf(prompt)) }],
      ...{ finishReason: 'stop', usage: { inputTokens: 1, outputTokens: 1, totalTokens: 2 }, warnings: [] },
    }),
  },
  v3: new MockLanguageModelV3({
    doGenerate: async ({ prompt }) => ({
      content: [{ type: 'text', text: await written(textOf(prompt as Prompt)) }],
      ...{ finishReason: stopped, usage: nested, warnings: [] },
    }),
  }),
  v4: new MockLanguageModelV4({
    doGenerate: async ({ prompt }) => ({
      content: [{ type: 'text', text: await written(textOf(prompt as Prompt)) }],
      ...{ finishReason: stopped, usage: nested, warnings: [] },
    }),
  }),
};

describe('one program, four back-ends', () => {
  it('answers by at least 8 different labels, every question by one', () => {
    expect(new Set(expected).size).toBeGreaterThanOrEqual(8);
    expect(expected.every((label) => /^[a-k]$/.test(label))).toBe(true);
  });

  it('scripted by the closed form, answers as llama.cpp in process', async () => {
    const scripted: LanguageModel = {
      id: 'closed-form',
      labelScores: async (prompt, labels) => ({ logProbs: closedForm.labelScores(prompt, labels) }),
    };
    expect(labelsOf(queries, await answersOf(scripted, queries))).toEqual(expected);
  });

  it.each<ServerKind>(['vllm', 'llamacpp', 'sglang', 'ollama', 'openai'])(
    'over HTTP, as %s speaks it, answers as llama.cpp in process',
    async (kind) => {
      const server = await ModelServer.start({ kind, model: engine });
      try {
        const model = await OpenAICompatibleModel.connect({ url: server.url, model: 'test-model', server: kind });
        const asked = queries.slice(0, kind === 'vllm' ? QUESTIONS : OF_EACH_DIALECT);
        expect(labelsOf(asked, await answersOf(model, asked))).toEqual(expected.slice(0, asked.length));
        await model.close?.();
      } finally {
        await server.close();
      }
    },
  );

  it.each(Object.keys(sdkModels))(
    'by the AI SDK, specification %s, answers as llama.cpp in process',
    async (version) => {
      const model = aiSdkModel({ model: sdkModels[version] as AiSdkLanguageModel });
      const asked = queries.slice(0, version === 'v4' ? QUESTIONS : OF_EACH_DIALECT);
      expect(labelsOf(asked, await answersOf(model, asked))).toEqual(expected.slice(0, asked.length));
    },
  );

  it('has other scores when one item of the history is exchanged', async () => {
    const asked = queries.slice(0, 20).filter(({ history }) => history.length > 0);
    const exchanged = asked.map(({ history, candidates }) => ({
      candidates,
      history: [catalog.size - 1 - (history[0] as number), ...history.slice(1)],
    }));
    const before = await answersOf(engine, asked);
    const after = await answersOf(engine, exchanged);
    for (const [i, answer] of before.entries()) {
      if (exchanged[i]?.history[0] === asked[i]?.history[0]) continue;
      expect(scoresOf(after[i] as Preference)).not.toEqual(scoresOf(answer));
    }
  });

  it('would notice another model behind one of them', async () => {
    const file = join(folder, 'other.gguf');
    writeTinyLlama(file, { seed: 99 });
    const other = await LlamaCppModel.load({ file, threads: 1 });
    try {
      const asked = queries.slice(0, 50);
      expect(labelsOf(asked, await answersOf(other, asked))).not.toEqual(expected.slice(0, 50));
    } finally {
      await other.close();
    }
  });
});

function scoresOf(answer: Preference): readonly number[] | undefined {
  return answer.kind === 'failed' ? undefined : answer.meta?.scores;
}
