import { afterEach, describe, expect, it } from 'vitest';
import { DisposedError, InvalidArgumentError, OracleError } from '../../../src/foundation/errors.js';
import { MemoryStorage } from '../../../src/foundation/storage.js';
import {
  OpenAICompatibleModel,
  type OpenAICompatibleOptions,
} from '../../../src/openai-compatible/openai-compatible-model.js';
import { LlmOracle } from '../../../src/oracle/llm-oracle.js';
import { parseAnswer } from '../../../src/oracle/parser.js';
import { renderTable1 } from '../../../src/oracle/prompt.js';
import { rateItems } from '../../../src/oracle/rate-items.js';
import { hashModel, LETTERS, piecesOf } from '../../fixtures/model-server/hash-model.js';
import { ModelServer, type ModelServerOptions, type ServerKind } from '../../fixtures/model-server/model-server.js';
import { shop } from '../oracle/fixtures.js';

const KINDS: readonly ServerKind[] = ['vllm', 'llamacpp', 'sglang', 'ollama', 'openai'];
const LABELS = LETTERS.slice(0, 11);
const PROMPT = 'Below is a question. a. Blue b. Red k. None\nResponse: the user will select';
const CONTINUATIONS = [' a red bicycle', ' blue', ' Café Müller; 東京', ' a red bicycle bell'];
const signal = new AbortController().signal;
const ask = { signal, labels: LABELS, constrained: false };

const running: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const thing of running.splice(0)) await thing.close();
});

async function serve(options: ModelServerOptions): Promise<ModelServer> {
  const server = await ModelServer.start(options);
  running.push(server);
  return server;
}

async function connect(
  server: ModelServer,
  more: Partial<OpenAICompatibleOptions> = {},
): Promise<OpenAICompatibleModel> {
  const model = await OpenAICompatibleModel.connect({ url: server.url, model: 'test-model', timeoutMs: 5000, ...more });
  running.push(model);
  return model;
}

const truth = hashModel();
const catalog = shop(8, 2);
const close = (got: readonly number[], wanted: readonly number[]): void => {
  expect(got.length).toBe(wanted.length);
  for (const [i, value] of got.entries()) expect(value).toBeCloseTo(wanted[i] as number, 9);
};

describe('OpenAICompatibleModel against each server', () => {
  const found = {
    vllm: { distribution: 'full', likelihood: true, template: 'completion', tokens: 'exact' },
    llamacpp: { distribution: 'topN', likelihood: true, template: 'completion', tokens: 'exact' },
    sglang: { distribution: 'full', likelihood: true, template: 'completion', tokens: 'exact' },
    ollama: { distribution: 'topN', likelihood: false, template: 'completion', tokens: 'estimated' },
    openai: { distribution: 'topN', likelihood: false, template: 'chat', tokens: 'estimated' },
  } as const;

  for (const kind of KINDS) {
    it(`recognises ${kind} and finds what it can do`, async () => {
      const server = await serve({ kind });
      const lines: string[] = [];
      const model = await connect(server, { onReport: (line) => lines.push(line) });
      expect(model.capabilities).toEqual({ server: kind, ...found[kind] });
      expect(model.labelScores !== undefined).toBe(true);
      expect(model.continuationScores !== undefined).toBe(found[kind].likelihood);
      expect(lines).toHaveLength(1);
      expect(model.id).toMatch(new RegExp(`^openai-compatible:${kind}:test-model\\|`, 'u'));
      expect(model.id).not.toContain(String(server.port));
    });

    it(`reads the labels that the model behind ${kind} gives`, async () => {
      const server = await serve({ kind });
      const model = await connect(server);
      const got = await model.labelScores?.(PROMPT, LABELS);
      const { logProbs } = await truth.labelScores(PROMPT, LABELS);
      const bounded = got?.bounded ?? [];
      expect(bounded.filter((isBound) => isBound).length).toBeLessThanOrEqual(3);
      for (const [i, logProb] of (got?.logProbs ?? []).entries()) {
        if (bounded[i]) expect(logProb).toBeGreaterThanOrEqual(logProbs[i] as number);
        else expect(logProb).toBeCloseTo(logProbs[i] as number, 9);
      }
      expect(got?.usage?.inputTokens).toBe(piecesOf(PROMPT).length);
      expect(server.bodies.at(-1)).toMatchObject(kind === 'llamacpp' ? { n_predict: 1 } : {});
    });

    it(`writes the text that the model behind ${kind} gives`, async () => {
      const server = await serve({ kind });
      const model = await connect(server);
      const wanted = (await truth.complete(PROMPT, ask)) as { text: string };
      const plain = await model.complete(PROMPT, ask);
      const constrained = await model.complete(PROMPT, { ...ask, constrained: true });
      expect(plain.text.trim()).toBe(wanted.text.trim());
      expect(parseAnswer(constrained.text, LABELS)).toEqual(parseAnswer(wanted.text, LABELS));
      expect(plain.usage?.inputTokens).toBe(piecesOf(PROMPT).length);
      const field = {
        vllm: 'structured_outputs',
        llamacpp: 'grammar',
        sglang: 'regex',
        ollama: 'format',
        openai: 'response_format',
      }[kind];
      const [before, after] = server.bodies.slice(-2).map((body) => JSON.stringify(body).includes(`"${field}"`));
      expect([before, after]).toEqual([false, true]);
    });

    it(`puts one user message to ${kind} in chat`, async () => {
      const server = await serve({ kind });
      const model = await connect(server, { template: 'chat' });
      expect(model.capabilities).toMatchObject({ template: 'chat', distribution: 'topN', likelihood: false });
      const got = await model.labelScores?.(PROMPT, LABELS);
      const { logProbs } = await truth.labelScores(PROMPT, LABELS);
      for (const [i, logProb] of (got?.logProbs ?? []).entries())
        if (!got?.bounded?.[i]) expect(logProb).toBeCloseTo(logProbs[i] as number, 9);
      expect(server.bodies.at(-1)?.messages).toEqual([{ role: 'user', content: PROMPT }]);
      expect((await model.complete(PROMPT, ask)).text).toMatch(/^[a-k]$/u);
    });

    it(`gets the chat form from oracles that were told nothing, where ${kind} is asked in chat`, async () => {
      const server = await serve({ kind });
      // OpenAI's own is the default.
      const languageModel = await connect(server, kind === 'openai' ? {} : { template: 'chat' });
      const query = { history: [1], candidates: [2, 3] };
      const oracle = new LlmOracle({ catalog, languageModel, shuffle: false });
      expect(oracle.id).toContain('|label|chat|');
      const asked = server.bodies.length;
      await oracle.prefer([query]);
      const content = renderTable1({ catalog, ...query, mode: 'chat' }).text;
      expect(server.bodies[asked]?.messages).toEqual([{ role: 'user', content }]);
      await rateItems({ catalog, languageModel, storage: new MemoryStorage() });
      expect(server.bodies.at(-1)?.messages).toEqual([
        { role: 'user', content: expect.stringMatching(/one lowercase letter from a to e\.$/) },
      ]);
    });

    it(`asks ${kind} again without a constraint where it refuses it`, async () => {
      const server = await serve({ kind, quirks: { noConstraint: true } });
      const model = await connect(server);
      const before = server.asked;
      const wanted = (await truth.complete(PROMPT, ask)) as { text: string };
      for (const asked of [2, 3]) {
        expect((await model.complete(PROMPT, { ...ask, constrained: true })).text.trim()).toBe(wanted.text.trim());
        expect(server.asked - before).toBe(asked);
      }
    });

    it(`falls back to text where ${kind} drops log-probabilities`, async () => {
      const server = await serve({ kind, quirks: { noLogprobs: true, noPromptLogprobs: true } });
      const model = await connect(server);
      expect(model.capabilities).toMatchObject({ distribution: 'none', likelihood: false });
      expect('labelScores' in model).toBe(false);
      expect('continuationScores' in model).toBe(false);
      expect((await model.complete(PROMPT, ask)).text).toMatch(/[a-k]/u);
    });
  }

  for (const kind of ['vllm', 'llamacpp', 'sglang', 'openai'] as const) {
    it(`weighs texts as the model behind ${kind} does`, async () => {
      const server = await serve({ kind });
      const model = await connect(server, { template: 'completion' });
      expect(model.capabilities.likelihood).toBe(true);
      const prefix = 'A customer bought:\n\n- a tent\nThe next product the customer bought:\n-';
      const many = [...CONTINUATIONS, ...Array.from({ length: 30 }, (_, i) => ` item ${i}`)];
      const wanted = await truth.continuationScores(prefix, many);
      const got = await model.continuationScores?.(prefix, many);
      close(got?.logLikelihoods ?? [], wanted.logLikelihoods);
      expect(got?.tokens).toEqual(wanted.tokens);
      expect(got?.usage?.inputTokens).toBeGreaterThan(many.length);
      expect(await model.continuationScores?.(prefix, [])).toMatchObject({ logLikelihoods: [], tokens: [] });
    });
  }
});

describe('OpenAICompatibleModel', () => {
  it('gives an unlisted label the lowest listed log-probability, as a bound', async () => {
    const server = await serve({ kind: 'ollama', quirks: { maxTop: 5 } });
    const model = await connect(server);
    const got = await model.labelScores?.(PROMPT, LABELS);
    const { logProbs } = await truth.labelScores(PROMPT, LABELS);
    const exact = (got?.logProbs ?? []).filter((_, i) => !got?.bounded?.[i]);
    expect(exact.length).toBeGreaterThanOrEqual(4);
    const least = Math.min(...exact);
    for (const [i, isBound] of (got?.bounded ?? []).entries()) {
      if (isBound) expect(got?.logProbs[i]).toBeLessThanOrEqual(least + 1e-12);
      expect(got?.logProbs[i]).toBeGreaterThanOrEqual((logProbs[i] as number) - 1e-12);
    }
  });

  it('reads an older vLLM by its top 20', async () => {
    const server = await serve({ kind: 'vllm', quirks: { noTokenIds: true } });
    const model = await connect(server);
    expect(model.capabilities.distribution).toBe('topN');
    const { logProbs } = await truth.labelScores(PROMPT, LABELS);
    const got = await model.labelScores?.(PROMPT, LABELS);
    for (const [i, isBound] of (got?.bounded ?? []).entries())
      if (!isBound) expect(got?.logProbs[i]).toBeCloseTo(logProbs[i] as number, 9);
  });

  it('reads labels by their text where the server does not tokenise', async () => {
    for (const kind of ['vllm', 'llamacpp', 'sglang'] as const) {
      const model = await connect(await serve({ kind, quirks: { noTokenize: true } }));
      expect(model.capabilities).toMatchObject({ distribution: 'topN', likelihood: false, tokens: 'estimated' });
      expect((await model.labelScores?.(PROMPT, LABELS))?.bounded?.includes(false)).toBe(true);
    }
  });

  it('takes five where old completions list no more', async () => {
    const server = await serve({ kind: 'openai', quirks: { maxTop: 5, noPromptLogprobs: true } });
    const model = await connect(server, { template: 'completion' });
    expect(model.capabilities).toMatchObject({ distribution: 'topN', likelihood: false });
    await model.labelScores?.(PROMPT, LABELS);
    expect(server.bodies.at(-1)).toMatchObject({ logprobs: 5 });
  });

  it('asks a model that thinks without the fields that it refuses', async () => {
    const server = await serve({ kind: 'openai', quirks: { reasoning: true } });
    const model = await connect(server);
    expect(model.capabilities.distribution).toBe('none');
    expect((await model.complete(PROMPT, ask)).text).toMatch(/^[a-k]$/u);
    expect(server.bodies.at(-1)).toEqual({
      model: 'test-model',
      messages: [{ role: 'user', content: PROMPT }],
      max_completion_tokens: 1024,
    });
  });

  it('estimates tokens where the tokeniser answers something else', async () => {
    const server = await serve({ kind: 'vllm' });
    const other = async (url: string, init: RequestInit) =>
      url.endsWith('/tokenize') ? Response.json({ ids: [1] }) : fetch(url, init);
    const model = await connect(server, { fetch: other });
    expect(model.capabilities).toMatchObject({ distribution: 'topN', likelihood: false, tokens: 'estimated' });
  });

  it('goes on constraining answers after a prompt that the server refuses anyhow', async () => {
    const server = await serve({ kind: 'vllm' });
    const model = await connect(server);
    server.fault = () => ({ kind: 'status', status: 400, code: 'context_length_exceeded' });
    await expect(model.complete(PROMPT, { ...ask, constrained: true })).rejects.toThrow(/context_length_exceeded/u);
    server.fault = undefined;
    await model.complete(PROMPT, { ...ask, constrained: true });
    expect(server.bodies.at(-1)).toHaveProperty('structured_outputs');
  });

  it('takes a list without any label for no distribution', async () => {
    const thinker = {
      ...truth,
      labelScores: async (_: string, labels: readonly string[]) => ({ logProbs: labels.map(() => -50) }),
    };
    const model = await connect(await serve({ kind: 'ollama', model: thinker, quirks: { maxTop: 1 } }));
    expect(model.capabilities.distribution).toBe('none');
  });

  it('does not let a failure that passes decide what the server can do', async () => {
    const server = await serve({
      kind: 'vllm',
      fault: ({ index }) => (index % 2 === 0 ? { kind: 'status', status: 503, retryAfter: '0' } : undefined),
    });
    const model = await connect(server);
    expect(model.capabilities).toMatchObject({ distribution: 'full', likelihood: true });
  });

  it('rejects where the server keeps failing, instead of falling back', async () => {
    const server = await serve({ kind: 'vllm', fault: () => ({ kind: 'status', status: 503, retryAfter: '0' }) });
    await expect(connect(server)).rejects.toMatchObject({ status: 503, code: 'ORACLE' });
  });

  it('counts tokens by the server, or by what the probe cost', async () => {
    const text = 'The quick brown fox jumps over the lazy dog; Nightfall; The Harbour Lights. '.repeat(10);
    const exact = await connect(await serve({ kind: 'vllm' }));
    expect(await exact.countTokens(text)).toBe(piecesOf(text).length);
    const estimated = await connect(await serve({ kind: 'ollama' }));
    const count = await estimated.countTokens(text);
    expect(count / piecesOf(text).length).toBeGreaterThan(0.75);
    expect(count / piecesOf(text).length).toBeLessThan(1.25);
  });

  it('changes its id with whatever changes an answer, and with nothing else', async () => {
    const server = await serve({ kind: 'vllm' });
    const other = await serve({ kind: 'vllm' });
    const id = async (from: ModelServer, more: Partial<OpenAICompatibleOptions> = {}) => (await connect(from, more)).id;
    const plain = await id(server);
    expect(await id(other, { apiKey: 'k', timeoutMs: 9000, headers: { 'x-a': 'b' } })).toBe(plain);
    const ids = [
      plain,
      await id(server, { template: 'chat' }),
      await id(server, { maxTokens: 17 }),
      await id(server, { revision: '2' }),
    ];
    expect(new Set(ids).size).toBe(4);
    const llama = await serve({ kind: 'llamacpp', modelName: '/home/someone/models/seven-billion.gguf' });
    expect(await id(llama, { model: 'whatever' })).toMatch(/\|served=seven-billion\.gguf$/u);
  });

  it('takes /v1 at the end of the URL, and a path before it', async () => {
    const server = await serve({ kind: 'openai' });
    const urls: string[] = [];
    const fetchVia = (url: string, init: RequestInit) => {
      urls.push(url);
      return fetch(url.replace('/proxy', ''), init);
    };
    await connect(server, { url: `${server.url}/proxy/v1/`, fetch: fetchVia });
    expect(urls).toContain(`${server.url}/proxy/v1/chat/completions`);
  });

  it('asks for the key at each call', async () => {
    const server = await serve({ kind: 'openai', apiKey: 'right' });
    let key = 'right';
    const model = await connect(server, { apiKey: async () => key });
    await model.complete(PROMPT, ask);
    key = 'other';
    await expect(model.complete(PROMPT, ask)).rejects.toMatchObject({ status: 401 });
  });

  it('ends what is open when it is closed, and refuses what comes later', async () => {
    const server = await serve({ kind: 'openai' });
    const model = await connect(server);
    server.fault = () => ({ kind: 'silence' });
    const waiting = model.complete(PROMPT, ask);
    const rejected = expect(waiting).rejects.toBeInstanceOf(DisposedError);
    await model.close();
    await model.close();
    await rejected;
    await expect(model.complete(PROMPT, ask)).rejects.toBeInstanceOf(DisposedError);
  });

  it('rejects with the reason of the abort', async () => {
    const server = await serve({ kind: 'openai' });
    const model = await connect(server);
    server.fault = () => ({ kind: 'silence' });
    const reason = new Error('enough');
    const controller = new AbortController();
    const waiting = model.complete(PROMPT, { ...ask, signal: controller.signal });
    const rejected = expect(waiting).rejects.toBe(reason);
    controller.abort(reason);
    await rejected;
    await expect(connect(server, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
  });

  for (const [argument, options] of Object.entries({
    url: { url: 'http://user:secret@localhost:1/' },
    'url ': { url: 'https://localhost/v1?key=secret' },
    ' url': { url: 'secret' },
    'url  ': { url: 'file:///secret' },
    apiKey: { apiKey: ['secret'] },
    headers: { headers: { authorization: ['secret'] } },
    apikey: { apikey: 'secret' },
    timeoutMs: { timeoutMs: 'secret'.length * -1 },
    model: { model: '' },
  })) {
    it(`refuses a wrong ${argument.trim()} without repeating it`, async () => {
      const wrong = { url: 'http://localhost:1', model: 'm', ...options } as unknown as OpenAICompatibleOptions;
      const error = await OpenAICompatibleModel.connect(wrong).catch((thrown: unknown) => thrown);
      expect(error).toBeInstanceOf(InvalidArgumentError);
      expect(error).toMatchObject({ argument: argument.trim() });
      const { inspect } = await import('node:util');
      expect(inspect(error, { depth: 9, showHidden: true })).not.toContain('secret');
    });
  }

  it('says where nobody listens', async () => {
    const server = await ModelServer.start({ kind: 'openai' });
    const { url } = server;
    await server.close();
    const error = await OpenAICompatibleModel.connect({ url, model: 'm' }).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(OracleError);
    expect(String(error)).toContain('ECONNREFUSED');
  });

  it('says what to check where the model is not there', async () => {
    const server = await serve({ kind: 'vllm' });
    await expect(connect(server, { model: 'another' })).rejects.toThrow(
      /HTTP 404 \(model_not_found\).*`url`.*`model`/u,
    );
  });
});
