/**
 * The HTTP back-end against every server and every way in which one may break: the answers are those of the model behind it, every
 * call ends within its time-out, nothing of a prompt or key stands in an error or a record, and nothing is left behind.
 */
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { inspect } from 'node:util';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Catalog } from '../../src/catalog/catalog.js';
import { OracleError } from '../../src/foundation/errors.js';
import { Rng } from '../../src/foundation/rng.js';
import { sha256Hex } from '../../src/foundation/sha256.js';
import { MemoryStorage } from '../../src/foundation/storage.js';
import { OpenAICompatibleModel } from '../../src/openai-compatible/openai-compatible-model.js';
import { isRetryable, retryAfterMs } from '../../src/oracle/back-end-failure.js';
import { LlmOracle } from '../../src/oracle/llm-oracle.js';
import { parseAnswer } from '../../src/oracle/parser.js';
import { renderTable1 } from '../../src/oracle/prompt.js';
import { RecordingOracle } from '../../src/oracle/recording-oracle.js';
import { hashModel, LETTERS } from '../fixtures/model-server/hash-model.js';
import { type Fault, ModelServer, type ServerKind } from '../fixtures/model-server/model-server.js';

const KINDS: readonly ServerKind[] = ['vllm', 'llamacpp', 'sglang', 'ollama', 'openai'];
const KEY = 'sk-canary-0123456789';
const CANARY = 'canary-title';
const LABELS = LETTERS.slice(0, 11);
const TIMEOUT_MS = 250;

const truth = hashModel();
const items = Array.from({ length: 40 }, (_, i) => ({ id: `item-${i}`, title: `${CANARY} ${i}` }));
const catalog = Catalog.fromItems(items, {
  scenario: 'music',
  itemNoun: 'track',
  behavior: 'listening',
  attributes: ['title'],
});
const queries = Array.from({ length: 40 }, (_, i) => {
  const order = new Rng(i).shuffle(items.map((_item, index) => index));
  return { history: order.slice(0, 3), candidates: order.slice(3, 13) };
});

const servers = new Map<ServerKind, ModelServer>();
const models = new Map<ServerKind, OpenAICompatibleModel>();
beforeAll(async () => {
  for (const kind of KINDS) {
    const server = await ModelServer.start({ kind, apiKey: KEY });
    servers.set(kind, server);
    models.set(
      kind,
      await OpenAICompatibleModel.connect({
        url: server.url,
        model: 'test-model',
        apiKey: KEY,
        timeoutMs: TIMEOUT_MS * 20,
        template: 'completion',
      }),
    );
  }
});
afterAll(async () => {
  for (const model of models.values()) await model.close();
  for (const server of servers.values()) await server.close();
});

/** What a log, a crash report or a test runner may show of an error. */
function everythingOf(error: unknown): string {
  const chain: unknown[] = [];
  for (let e = error; e !== undefined && chain.length < 5; e = (e as { cause?: unknown } | null)?.cause) chain.push(e);
  return chain
    .map((e) => `${inspect(e, { depth: 9, showHidden: true })} ${JSON.stringify(e)} ${(e as Error)?.stack ?? ''}`)
    .join('\n');
}

/** True when something of a prompt or of the key stands in it. */
function leaks(text: string): boolean {
  return text.includes(CANARY) || text.includes(KEY) || text.includes('canary');
}

describe('the same model behind each server', () => {
  it('answers alike, with at least 8 labels, and depends on the history', async () => {
    const prompts = queries.map((query) => renderTable1({ catalog, ...query }).text);
    const wanted = await Promise.all(prompts.map(async (prompt) => (await truth.labelScores(prompt, LABELS)).logProbs));
    const picks = wanted.map((logProbs) => logProbs.indexOf(Math.max(...logProbs)));
    expect(new Set(picks).size).toBeGreaterThanOrEqual(8);
    for (const kind of KINDS) {
      const got = await Promise.all(prompts.map((prompt) => models.get(kind)?.labelScores?.(prompt, LABELS)));
      expect(
        got.map((scores) => scores?.logProbs.indexOf(Math.max(...scores.logProbs))),
        kind,
      ).toEqual(picks);
    }
    const [query] = queries as [(typeof queries)[number]];
    const exchanged = renderTable1({
      catalog,
      candidates: query.candidates,
      history: [...query.history.slice(0, 2), 39],
    });
    const other = await models.get('vllm')?.labelScores?.(exchanged.text, LABELS);
    expect(other?.logProbs).not.toEqual(wanted[0]);
  });

  it('gives an oracle the same choices, and leaves nothing of titles or key in its record', async () => {
    const direct = await new LlmOracle({ catalog, languageModel: truth }).prefer(queries.slice(0, 20));
    for (const kind of KINDS) {
      const storage = new MemoryStorage();
      const oracle = new LlmOracle({ catalog, languageModel: models.get(kind) as OpenAICompatibleModel });
      const recording = await RecordingOracle.open({ oracle, catalog, storage });
      const got = await recording.prefer(queries.slice(0, 20));
      const choiceOf = (preference: (typeof got)[number]) =>
        preference.kind === 'choice' ? preference.choice : preference.kind;
      expect(got.map(choiceOf), kind).toEqual(direct.map(choiceOf));
      await recording.close();
      const written = new TextDecoder().decode(await storage.get('answers.jsonl'));
      expect(written.split('\n').length).toBeGreaterThan(20);
      expect(leaks(written)).toBe(false);
      expect(
        leaks(
          `${oracle.id} ${JSON.stringify(models.get(kind))} ${inspect(models.get(kind), { depth: 9, showHidden: true })}`,
        ),
      ).toBe(false);
    }
  });

  it('pays each prompt once', async () => {
    const server = servers.get('openai') as ModelServer;
    server.forget();
    const prompts = queries.map((query) => renderTable1({ catalog, ...query }).text);
    await Promise.all(prompts.map((prompt) => models.get('openai')?.labelScores?.(prompt, LABELS)));
    expect(server.paid.size).toBe(prompts.length);
    expect([...server.paid.values()].every((times) => times === 1)).toBe(true);
    expect(server.delivered).toEqual(server.paid);
  });
});

describe('a server that breaks', () => {
  const fault: fc.Arbitrary<Fault> = fc.oneof(
    fc.record({ kind: fc.constant('delay' as const), ms: fc.constantFrom(1, 20, 2 * TIMEOUT_MS) }),
    fc.record({
      kind: fc.constant('status' as const),
      status: fc.constantFrom(400, 401, 403, 404, 408, 413, 422, 429, 500, 502, 503, 529),
      retryAfter: fc.constantFrom('0', '3', 'Wed, 21 Oct 2037 07:28:00 GMT', 'soon', '-1'),
      code: fc.constantFrom('context_length_exceeded', KEY, CANARY, `${CANARY} 1`, '', 'canary_title'),
    }),
    fc.constantFrom<Fault>(
      { kind: 'truncated' },
      { kind: 'short' },
      { kind: 'dropped', fields: 'all' },
      { kind: 'dropped', fields: 'logprobs' },
      { kind: 'wrongLabels' },
      { kind: 'huge', bytes: 300_000 },
      { kind: 'drip', ms: 5 },
      { kind: 'reset', when: 'before' },
      { kind: 'reset', when: 'during' },
      { kind: 'html', status: 200 },
      { kind: 'html', status: 502 },
      { kind: 'contentType', type: 'text/plain; charset=utf-8' },
      { kind: 'contentType', type: `${KEY}/${CANARY}` },
      { kind: 'redirect', status: 301 },
      { kind: 'redirect', status: 307 },
      { kind: 'silence' },
    ),
  );
  const call = fc.record({
    fault,
    kind: fc.constantFrom(...KINDS),
    question: fc.constantFrom('labels', 'text', 'weigh'),
  });

  /** The faults of the calls in flight, by the hash of their prompts. */
  const faults = new Map<string, Fault>();
  const hasty = new Map<ServerKind, OpenAICompatibleModel>();
  beforeAll(async () => {
    for (const kind of KINDS) {
      const server = servers.get(kind) as ModelServer;
      const options = { url: server.url, model: 'test-model', apiKey: () => KEY, template: 'completion' as const };
      hasty.set(
        kind,
        await OpenAICompatibleModel.connect({ ...options, timeoutMs: TIMEOUT_MS, maxResponseBytes: 100_000 }),
      );
      server.fault = ({ promptHash }) => faults.get(promptHash);
    }
  });
  afterAll(async () => {
    for (const server of servers.values()) server.fault = undefined;
    for (const model of hasty.values()) await model.close();
  });

  let count = 0;

  /** Makes one call against one fault. @returns whether it was answered. */
  async function run({
    fault,
    kind,
    question,
  }: {
    fault: Fault;
    kind: ServerKind;
    question: string;
  }): Promise<boolean> {
    const model = hasty.get(kind) as OpenAICompatibleModel;
    const prompt = `${CANARY} ${count++} a. Blue b. Red k. None: the user will select`;
    const continuation = ' canary blue';
    // What the server hashes: llama.cpp is given the prefix, the others the whole text.
    const whole = question === 'weigh' && kind !== 'llamacpp' ? prompt + continuation : prompt;
    const hash = await sha256Hex(whole);
    faults.set(hash, fault);
    const began = performance.now();
    try {
      const signal = new AbortController().signal;
      if (question === 'labels') {
        const { logProbs: wanted } = await truth.labelScores(prompt, LABELS);
        const got = await (model.labelScores as NonNullable<typeof model.labelScores>)(prompt, LABELS);
        for (const [i, logProb] of got.logProbs.entries())
          if (!got.bounded?.[i]) expect(logProb).toBeCloseTo(wanted[i] as number, 9);
      } else if (question === 'text' || model.continuationScores === undefined) {
        const ask = { signal, labels: LABELS, constrained: false };
        const wanted = (await truth.complete(prompt, ask)) as { text: string };
        const got = await model.complete(prompt, ask);
        if (got.text !== wanted.text) expect(parseAnswer(got.text, LABELS).kind).toBe('invalid');
      } else {
        const wanted = await truth.continuationScores(prompt, [continuation]);
        const got = await model.continuationScores(prompt, [continuation]);
        expect(got.logLikelihoods[0]).toBeCloseTo(wanted.logLikelihoods[0] as number, 9);
      }
      return true;
    } catch (error) {
      if (!(error instanceof OracleError)) throw error;
      expect(leaks(everythingOf(error)), everythingOf(error)).toBe(false);
      if (fault.kind === 'status') {
        // On a busy machine the time-out may come first.
        if (error.status === undefined && /timeoutMs/u.test(error.message)) return false;
        expect(error).toMatchObject({ status: fault.status });
        expect(isRetryable(error)).toBe(![400, 401, 403, 404, 413, 422].includes(fault.status));
        if (fault.retryAfter === '3') expect(retryAfterMs(error)).toBe(3000);
      }
      return false;
    } finally {
      // Some questions take several requests, each with its own time-out; the machine may be busy.
      expect(performance.now() - began).toBeLessThan(TIMEOUT_MS * 3 + 2000);
      faults.delete(hash);
    }
  }

  it('is answered, or rejected with a typed error that tells nothing, within the time-out', {
    timeout: 60_000,
  }, async () => {
    const seen = { answered: 0, rejected: 0 };
    await fc.assert(
      fc.asyncProperty(fc.array(call, { minLength: 10, maxLength: 10 }), async (calls) => {
        for (const answered of await Promise.all(calls.map(run))) seen[answered ? 'answered' : 'rejected']++;
      }),
      { seed: 7, numRuns: 15 },
    );
    expect(seen.answered).toBeGreaterThan(10);
    expect(seen.rejected).toBeGreaterThan(60);
  });

  it('would be found to leak, if it did', () => {
    expect(leaks(everythingOf(new Error('x', { cause: new Error(`asked for ${CANARY}`) })))).toBe(true);
    expect(leaks(everythingOf(Object.assign(new Error('x'), { request: { headers: { key: KEY } } })))).toBe(true);
    expect(leaks(everythingOf(new OracleError('the server failed', { status: 500 })))).toBe(false);
  });

  it('cannot send prompt and key elsewhere by a redirect', async () => {
    const server = servers.get('openai') as ModelServer;
    const before = server.fault;
    for (const status of [301, 302, 307, 308]) {
      server.fault = () => ({ kind: 'redirect', status });
      const error = await hasty
        .get('openai')
        ?.labelScores?.('x', ['a', 'b'])
        .catch((thrown: unknown) => thrown);
      expect(String(error)).toMatch(/redirect, which is not followed/u);
    }
    server.fault = before;
    expect(server.paths.get('/elsewhere')).toBeUndefined();
  });

  it('says how long to wait, in seconds or by a date', async () => {
    const model = hasty.get('openai') as OpenAICompatibleModel;
    const server = servers.get('openai') as ModelServer;
    const before = server.fault;
    const waitFor = async (retryAfter: string): Promise<number | undefined> => {
      server.fault = () => ({ kind: 'status', status: 429, retryAfter });
      return retryAfterMs(await model.labelScores?.('x', ['a', 'b']).catch((error: unknown) => error));
    };
    expect(await waitFor('7')).toBe(7000);
    const wait = await waitFor(new Date(Date.now() + 60_000).toUTCString());
    expect(wait).toBeGreaterThan(50_000);
    expect(wait).toBeLessThanOrEqual(60_000);
    expect(await waitFor('soon')).toBeUndefined();
    server.fault = before;
  });

  it('is asked again by the oracle after a 429, and a query that stays refused fails alone', async () => {
    const server = servers.get('vllm') as ModelServer;
    const languageModel = hasty.get('vllm') as OpenAICompatibleModel;
    const before = server.fault;
    const tries = new Map<string, number>();
    const [refused] = queries.slice(0, 1).map((query) => renderTable1({ catalog, ...query }).text);
    const refusedHash = await sha256Hex(refused as string);
    server.fault = ({ promptHash }) => {
      const n = (tries.get(promptHash) ?? 0) + 1;
      tries.set(promptHash, n);
      if (promptHash === refusedHash) return { kind: 'status', status: 400, code: 'context_length_exceeded' };
      return n === 1 ? { kind: 'status', status: 429, retryAfter: '0' } : undefined;
    };
    const oracle = new LlmOracle({ catalog, languageModel, shuffle: false, retryDelayMs: 1 });
    const got = await oracle.prefer(queries.slice(0, 5));
    server.fault = before;
    expect(got.map(({ kind }) => kind === 'failed')).toEqual([true, false, false, false, false]);
    expect([...tries.entries()].map(([hash, n]) => (hash === refusedHash ? n === 1 : n === 2))).not.toContain(false);
    const [failed] = got;
    if (failed?.kind !== 'failed') throw new Error('expected a failure');
    expect(failed.error.message).toContain('context_length_exceeded');
    expect(leaks(everythingOf(failed.error))).toBe(false);
  });

  it('does not make us read on when an answer is too long', async () => {
    const server = servers.get('openai') as ModelServer;
    const before = server.fault;
    let read = 0;
    let cancelled = false;
    const endless = async (url: string, init: RequestInit): Promise<Response> => {
      if (!url.endsWith('/completions')) return fetch(url, init);
      const body = new ReadableStream<Uint8Array>({
        pull: (stream) => {
          read += 65_536;
          stream.enqueue(new Uint8Array(65_536).fill(32));
        },
        cancel: () => {
          cancelled = true;
        },
      });
      return new Response(body, { headers: { 'content-type': 'application/json' } });
    };
    let isEndless = false;
    const model = await OpenAICompatibleModel.connect({
      url: server.url,
      model: 'test-model',
      apiKey: KEY,
      maxResponseBytes: 1_000_000,
      fetch: (url, init) => (isEndless ? endless(url, init) : fetch(url, init)),
    });
    isEndless = true;
    await expect(model.labelScores?.('x', ['a', 'b'])).rejects.toThrow(/more than maxResponseBytes = 1000000 bytes/u);
    expect(cancelled).toBe(true);
    expect(read).toBeLessThan(1_500_000);
    isEndless = false;
    server.fault = () => ({ kind: 'huge' });
    await expect(model.labelScores?.('x', ['a', 'b'])).rejects.toThrow(/more than maxResponseBytes/u);
    server.fault = before;
    await model.close();
  });

  it('cannot hold a call by a `fetch` that ignores its signal, nor leak by one that throws', async () => {
    const server = servers.get('openai') as ModelServer;
    let behave: typeof fetch = fetch;
    const model = await OpenAICompatibleModel.connect({
      url: server.url,
      model: 'test-model',
      apiKey: KEY,
      timeoutMs: TIMEOUT_MS,
      fetch: (url, init) => behave(url, init),
    });
    const hold: typeof fetch = () => new Promise(() => {});
    const throwing: typeof fetch = async (_url, init) => {
      throw Object.assign(new Error(`${String(init?.body)} ${KEY}`), { request: init });
    };
    const stuck: typeof fetch = async () =>
      new Response(new ReadableStream({ pull: () => new Promise(() => {}) }), {
        headers: { 'content-type': 'application/json' },
      });
    for (const way of [hold, throwing, stuck]) {
      behave = way;
      const error = await model.labelScores?.(CANARY, ['a', 'b']).catch((thrown: unknown) => thrown);
      expect(error).toBeInstanceOf(OracleError);
      expect(leaks(everythingOf(error))).toBe(false);
    }
    await model.close();
  });

  it('does not see a key that HTTP forbids, nor do we show it', async () => {
    const server = servers.get('openai') as ModelServer;
    for (const apiKey of [`${KEY}\n.`, () => `${KEY}\r\nx: y`, () => '', async () => Promise.reject(new Error(KEY))]) {
      const error = await OpenAICompatibleModel.connect({ url: server.url, model: 'test-model', apiKey }).catch(
        (e: unknown) => e,
      );
      expect(error).toBeInstanceOf(OracleError);
      expect(leaks(everythingOf(error))).toBe(false);
    }
  });
});

describe('a process that calls a broken server', () => {
  for (const kind of ['vllm'] as const) {
    it(`ends by itself, with ${kind}, without a timer left`, { timeout: 60_000 }, async () => {
      const server = await ModelServer.start({ kind });
      const script = fileURLToPath(new URL('../fixtures/model-server/fail-and-leave.ts', import.meta.url));
      const child = spawn(process.execPath, ['--import', 'tsx', script, server.url, kind], {
        stdio: ['ignore', 'pipe', 'pipe'],
      });
      let output = '';
      let errors = '';
      let printed = 0;
      child.stdout.on('data', (bytes: Buffer) => {
        output += bytes;
        printed = performance.now();
      });
      child.stderr.on('data', (bytes: Buffer) => {
        errors += bytes;
      });
      const code = await new Promise((resolve) => child.on('close', resolve));
      const lingered = performance.now() - printed;
      await server.close();
      expect(code, errors).toBe(0);
      const { outcomes, timers } = JSON.parse(output) as { outcomes: string[]; timers: number };
      expect(outcomes).toHaveLength(14);
      expect(outcomes.filter((outcome) => outcome.endsWith('fulfilled'))).toEqual([]);
      expect(timers).toBe(0);
      expect(lingered).toBeLessThan(3000);
    });
  }
});
