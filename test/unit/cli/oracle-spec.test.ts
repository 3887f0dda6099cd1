import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { openLanguageModel, openOracle, parseOracleSpec } from '../../../src/cli/oracle-spec.js';
import { BudgetExceededError, IalpError, InvalidArgumentError } from '../../../src/foundation/errors.js';
import { MemoryStorage } from '../../../src/foundation/storage.js';
import { hashModel } from '../../fixtures/model-server/hash-model.js';
import { ModelServer } from '../../fixtures/model-server/model-server.js';
import { shop } from '../oracle/fixtures.js';
import { temporaryFolder } from './run.js';

const catalog = shop();
const QUERIES = [{ history: [1], candidates: [2, 3, 4] }];

describe('a spec', () => {
  it.each([
    ['simulated', { kind: 'simulated' }],
    ['none', { kind: 'none' }],
    ['llama-cpp:my model.gguf', { kind: 'llama-cpp', file: 'my model.gguf' }],
    ['llama-cpp:a,b.gguf,lora=c.gguf', { kind: 'llama-cpp', file: 'a,b.gguf', lora: 'c.gguf' }],
    ['llama-cpp:C:\\models\\a.gguf', { kind: 'llama-cpp', file: 'C:\\models\\a.gguf' }],
    [
      'openai-compatible:http://localhost:11434/v1#qwen3:8b',
      { kind: 'openai-compatible', url: 'http://localhost:11434/v1', model: 'qwen3:8b' },
    ],
    ['ai-sdk:./model.mjs#model', { kind: 'ai-sdk', module: './model.mjs', exported: 'model' }],
    ['recorded:runs/answers.jsonl', { kind: 'recorded', file: 'runs/answers.jsonl' }],
  ])('%s is read', (text, spec) => expect(parseOracleSpec(text)).toEqual(spec));

  it.each([
    ['simulatd', /There is no oracle 'simulatd'. Did you mean simulated\?/],
    ['llamacpp:a.gguf', /Did you mean llama-cpp\?/],
    ['openai-compatable:http://x#m', /Did you mean openai-compatible\?/],
    ['gpt', /Allowed are simulated, shuffled, random, none, llama-cpp:FILE/],
    ['llama-cpp', /Expected llama-cpp:FILE\[,lora=FILE\], got 'llama-cpp'/],
    ['llama-cpp:a.gguf,lora=', /Expected llama-cpp:FILE/],
    ['openai-compatible:http://localhost', /Expected openai-compatible:URL#MODEL/],
    ['openai-compatible:localhost:8000#m', /Expected a URL such as http/],
    ['ai-sdk:./m.mjs', /Expected ai-sdk:MODULE#EXPORT/],
    ['recorded:', /Expected recorded:FILE/],
    ['', /There is no oracle ''/],
  ])('%s is refused, and it is said why', (text, message) => {
    expect(() => parseOracleSpec(text)).toThrow(InvalidArgumentError);
    expect(() => parseOracleSpec(text)).toThrow(message);
  });

  it('with a password in the URL is refused without repeating it', () => {
    const spec = 'openai-compatible:https://me:hunter2@host/v1#m';
    expect(() => parseOracleSpec(spec)).toThrow(/IALP_API_KEY/);
    expect(() => parseOracleSpec(spec)).not.toThrow(/hunter2/);
  });
});

describe('openOracle', () => {
  it.each(['simulated', 'shuffled', 'random', 'none'])('%s answers', async (spec) => {
    const { oracle, close, languageModel } = await openOracle(spec, { catalog });
    expect(languageModel).toBeUndefined();
    expect(await oracle.prefer(QUERIES)).toHaveLength(1);
    await close();
  });

  it.each([
    ['llama-cpp:no/such.gguf', /no\/such\.gguf: expected a file that can be read: there is none/],
    ['recorded:no/such.jsonl', /no\/such\.jsonl: expected a file/],
    ['ai-sdk:./no-such.mjs#model', /no-such\.mjs: expected a module that exports an AI SDK model/],
  ])('%s: says what is missing', async (spec, message) => {
    const opening = openOracle(spec, { catalog });
    await expect(opening).rejects.toThrow(IalpError);
    await expect(openOracle(spec, { catalog })).rejects.toThrow(message);
  });

  it('says what a server that is not there is', async () => {
    const server = await ModelServer.start({ kind: 'vllm' });
    const spec = `openai-compatible:${server.url}#test-model`;
    await server.close();
    await expect(openOracle(spec, { catalog })).rejects.toThrow(IalpError);
  });

  it('reads a server by either read-out, and keeps the key out of everything', async () => {
    const server = await ModelServer.start({ kind: 'vllm', model: hashModel(), apiKey: 'sk-secret-1' });
    const spec = `openai-compatible:${server.url}#test-model`;
    const before = process.env.IALP_API_KEY;
    try {
      delete process.env.IALP_API_KEY;
      await expect(openOracle(spec, { catalog })).rejects.toThrow(IalpError);
      process.env.IALP_API_KEY = 'sk-secret-1';
      for (const readout of ['label', 'likelihood'] as const) {
        const said: string[] = [];
        const { oracle, close } = await openOracle(spec, { catalog, readout, say: (line) => said.push(line) });
        if (readout === 'label') expect(oracle.id).toContain('|label|completion|');
        const [answer] = await oracle.prefer(QUERIES);
        expect(answer?.kind).toMatch(/choice|none/);
        expect(answer).toMatchObject({ meta: { scores: expect.any(Array) } });
        expect(JSON.stringify([oracle.id, answer, said])).not.toContain('secret');
        await close();
      }
    } finally {
      if (before === undefined) delete process.env.IALP_API_KEY;
      else process.env.IALP_API_KEY = before;
      await server.close();
    }
  });

  it('stacks debiasing and a limit around the read-out', async () => {
    const server = await ModelServer.start({ kind: 'vllm', model: hashModel() });
    const spec = `openai-compatible:${server.url}#test-model`;
    try {
      for (const debias of ['cyclic', 'contextual', 'pride'] as const) {
        const { oracle, close } = await openOracle(spec, { catalog, debias, perMinute: 1000, candidateCount: 3 });
        expect(oracle.id).toContain(debias);
        server.forget();
        expect((await oracle.prefer(QUERIES))[0]?.kind).toMatch(/choice|none/);
        if (debias === 'cyclic') expect(server.asked).toBe(3);
        await close();
      }
      for (const perToken of [undefined, true]) {
        const { oracle, close } = await openOracle(spec, {
          catalog,
          readout: 'likelihood',
          maxAttributeLength: 9,
          perToken,
          ...(perToken ? { ownWeight: 0.5, baselineHistories: 2 } : {}),
        });
        expect(oracle.id).toContain(perToken ? '|mean|own*0.5|baseline 2' : '|sum');
        expect(oracle.id).toContain('|attribute<=9|');
        await close();
      }
      const titled = await openOracle(spec, { catalog, readout: 'likelihood', attributes: ['title'] });
      expect(titled.oracle.id).toContain('|["title"]|');
      await titled.close();
    } finally {
      await server.close();
    }
  });

  it('calibrates within the caps, counts what earlier runs paid, and asks nobody in a dry run', async () => {
    const server = await ModelServer.start({ kind: 'vllm', model: hashModel() });
    const spec = `openai-compatible:${server.url}#test-model`;
    const storage = new MemoryStorage();
    const said: string[] = [];
    const pride = {
      catalog,
      debias: 'pride',
      candidateCount: 3,
      storage,
      say: (line: string) => said.push(line),
    } as const;
    // 40 questions in 3 orders; the probe of a server is one or two more.
    const calls = 40 * 3;
    const open = async (options: Partial<Parameters<typeof openOracle>[1]>): Promise<number> => {
      server.forget();
      const { close } = await openOracle(spec, { ...pride, ...options });
      await close();
      return server.asked;
    };
    try {
      expect(await open({ isDry: true })).toBeLessThan(5);
      expect(said.at(-1)).toMatch(/calibrated: about 120 calls/);
      await expect(open({ budget: { calls: 50 } })).rejects.toThrow(BudgetExceededError);
      expect(server.asked).toBeLessThan(50 + 5);
      await expect(open({ budget: { calls: 50 } })).rejects.toThrow(BudgetExceededError);
      expect(server.asked).toBeLessThan(5);
      expect(await open({ budget: { calls } })).toBeLessThan(calls - 50 + 5);
      expect(await open({ budget: { calls } })).toBeLessThan(5);
    } finally {
      await server.close();
    }
  });

  it('refuses the likelihood of a model that tells none, and says what does', async () => {
    const server = await ModelServer.start({ kind: 'openai', quirks: { reasoning: true } });
    try {
      const opening = openOracle(`openai-compatible:${server.url}#test-model`, { catalog, readout: 'likelihood' });
      await expect(opening).rejects.toThrow(/--readout likelihood needs log-probabilities of a prompt/);
    } finally {
      await server.close();
    }
  });

  it('takes a model, or a function that gives one, from a module of the user', async () => {
    const folder = temporaryFolder();
    const path = join(folder, 'model.mjs');
    writeFileSync(
      path,
      `const doGenerate = async () => ({ content: [{ type: 'text', text: 'b' }], finishReason: 'stop', usage: { inputTokens: 9, outputTokens: 1 }, warnings: [] });
export const model = { specificationVersion: 'v2', provider: 'mine', modelId: 'one', doGenerate };
export const later = async () => model;`,
    );
    for (const exported of ['model', 'later']) {
      const { oracle, close } = await openOracle(`ai-sdk:${path}#${exported}`, { catalog });
      // Records go by it.
      expect(oracle.id).toContain('|label|chat|');
      const [answer] = await oracle.prefer(QUERIES);
      expect(answer?.kind).toBe('choice');
      await close();
    }
    const wrong = openOracle(`ai-sdk:${path}#modle`, { catalog });
    await expect(wrong).rejects.toThrow(/it exports \w+, \w+. Did you mean model\?/);
  });

  it('gives no language model for a spec without one', async () => {
    await expect(openLanguageModel('simulated', {})).rejects.toThrow(/Expected a language model/);
  });
});
