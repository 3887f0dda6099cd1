import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { InvalidArgumentError, InvalidDataError } from '../../../src/foundation/errors.js';
import { MemoryStorage } from '../../../src/foundation/storage.js';
import { type BatchOptions, batchOracleId, exportBatch, importBatch } from '../../../src/oracle/batch-files.js';
import type { PreferenceQuery } from '../../../src/oracle/preference-oracle.js';
import { renderTable1 } from '../../../src/oracle/prompt.js';
import { readAnswers } from '../../../src/oracle/recorded-answers.js';
import { music } from './fixtures.js';

const catalog = music();
const queries: readonly PreferenceQuery[] = Array.from({ length: 6 }, (_, q) => ({
  history: [q, q + 1],
  candidates: [10 + q, 20 + q, 5 + q],
}));
const batch: BatchOptions = { catalog, queries, model: 'm-1' };

interface Request {
  readonly custom_id: string;
  readonly method: string;
  readonly url: string;
  readonly body: Record<string, unknown>;
}

async function requestsOf(options: Parameters<typeof exportBatch>[0]): Promise<Request[]> {
  const requests: Request[] = [];
  for await (const line of exportBatch(options)) {
    expect(line.endsWith('\n')).toBe(true);
    requests.push(JSON.parse(line) as Request);
  }
  return requests;
}

const usage = { prompt_tokens: 90, completion_tokens: 1 };

/** A result line that answers by a text, and where `logprobs` is given by those of a chat. */
function answered(customId: string, content: string, logprobs?: Readonly<Record<string, number>>): string {
  const top_logprobs = Object.entries(logprobs ?? {}).map(([token, logprob]) => ({ token, logprob }));
  const told = logprobs === undefined ? null : { content: [{ token: content, logprob: -1, top_logprobs }] };
  const body = { choices: [{ index: 0, message: { role: 'assistant', content }, logprobs: told }], usage };
  return `${JSON.stringify({ id: 'b', custom_id: customId, response: { status_code: 200, request_id: 'r', body }, error: null })}\n`;
}

async function imported(output: string, options: Partial<BatchOptions> = {}) {
  const storage = new MemoryStorage();
  const report = await importBatch({ ...batch, ...options, storage, output });
  const { answers } = report.choices + report.nones > 0 ? await readAnswers({ storage, catalog }) : { answers: [] };
  return { report, answers, storage };
}

describe('exportBatch', () => {
  it.each([
    ['chat', '/v1/chat/completions'],
    ['completions', '/v1/completions'],
  ] as const)('writes one %s request a prompt, in OpenAI form', async (endpoint, url) => {
    const requests = await requestsOf({ ...batch, endpoint });
    expect(requests).toHaveLength(queries.length);
    for (const [q, { custom_id, method, url: path, body }] of requests.entries()) {
      const mode = endpoint === 'chat' ? 'chat' : 'completion';
      const { text } = renderTable1({ catalog, ...(queries[q] as PreferenceQuery), mode });
      expect(custom_id).toMatch(/^[0-9a-f]{64}$/);
      expect([method, path]).toEqual(['POST', url]);
      expect(body).toMatchObject({ model: 'm-1', temperature: 0 });
      if (endpoint === 'chat') {
        expect(body).toMatchObject({ messages: [{ role: 'user', content: text }], logprobs: true, top_logprobs: 20 });
      } else expect(body).toMatchObject({ prompt: text, logprobs: 20 });
    }
  });

  it('writes a prompt that comes twice once, and changes the body where told', async () => {
    const body = { logprobs: null, top_logprobs: null, max_completion_tokens: 9 };
    const requests = await requestsOf({ ...batch, queries: [...queries, ...queries], body });
    expect(requests).toHaveLength(queries.length);
    expect(Object.keys(requests[0]?.body ?? {})).not.toContain('logprobs');
    expect(requests[0]?.body).toMatchObject({ max_completion_tokens: 9 });
  });

  it('refuses wrong options and queries before the first line', async () => {
    await expect(exportBatch({ ...batch, model: '' }).next()).rejects.toThrow(InvalidArgumentError);
    const wrong = [{ history: [], candidates: [1, 1] }];
    await expect(exportBatch({ ...batch, queries: wrong }).next()).rejects.toThrow(/distinct/);
  });
});

describe('importBatch', () => {
  it('reads answers in any order into a record that pretrain takes', async () => {
    const ids = (await requestsOf(batch)).map(({ custom_id }) => custom_id);
    await fc.assert(
      fc.asyncProperty(fc.shuffledSubarray([0, 1, 2, 3, 4, 5], { minLength: 1 }), async (order) => {
        const replies = ['a', 'b.', 'd', 'c', 'None', 'The user will select b.'];
        const output = order.map((q) => answered(ids[q] as string, replies[q] as string)).join('');
        const { report, answers } = await imported(output);
        const expected = [10, 21, null, 8, null, 25];
        expect(answers.map(({ choice }) => choice).sort()).toEqual(
          order.map((q) => (expected[q] === null ? null : `track-${expected[q]}`)).sort(),
        );
        expect(report.missing).toBe(6 - order.length);
        expect(report.choices + report.nones).toBe(order.length);
      }),
      { seed: 3, numRuns: 20 },
    );
  });

  it('reads the label from the probabilities, where they are told, not from the text', async () => {
    const [id] = (await requestsOf(batch)).map(({ custom_id }) => custom_id);
    // ' b' and 'B' together outweigh 'a'.
    const { answers } = await imported(answered(id as string, 'a', { a: -0.9, ' b': -1.2, B: -1.3, d: -5, c: -6 }));
    expect(answers[0]?.choice).toBe('track-20');
    expect(answers[0]?.scores?.[1]).toBeCloseTo(Math.log(Math.exp(-1.2) + Math.exp(-1.3)), 12);
    const none = await imported(answered(id as string, 'a', { None: -0.1, a: -3, b: -3, c: -3 }));
    expect(none.answers[0]?.choice).toBeNull();
  });

  it('records which labels are only bounded, and nothing of it where all are listed', async () => {
    const [first, second] = (await requestsOf(batch)).map(({ custom_id }) => custom_id);
    const output =
      answered(first as string, 'a', { a: -0.1, c: -4, the: -5 }) +
      answered(second as string, 'a', { a: -0.1, c: -4, b: -5, d: -6 });
    const { storage } = await imported(output);
    const record = new TextDecoder().decode(await storage.get('answers.jsonl'));
    const metas = record.trim().split('\n').slice(1);
    expect(metas.map((line) => (JSON.parse(line) as { meta: object }).meta)).toMatchObject([
      { scores: [-0.1, -5, -4, -5], bounded: [false, true, false, true] },
      { scores: [-0.1, -5, -4, -6] },
    ]);
    expect(metas[1]).not.toContain('bounded');
  });

  it('reads /v1/completions too', async () => {
    const [id] = (await requestsOf({ ...batch, endpoint: 'completions' })).map(({ custom_id }) => custom_id);
    const logprobs = {
      tokens: [' c'],
      token_logprobs: [-0.1],
      top_logprobs: [{ ' c': -0.1, ' a': -4, ' b': -5, ' d': -6 }],
    };
    const body = { choices: [{ index: 0, text: ' a', logprobs }], usage };
    const line = JSON.stringify({ custom_id: id, response: { status_code: 200, body }, error: null });
    const { answers } = await imported(line, { endpoint: 'completions' });
    expect(answers[0]?.choice).toBe('track-5');
  });

  it('goes by the text where the answer does not begin with a label, whatever labels are listed beside', async () => {
    const [first, second] = (await requestsOf(batch)).map(({ custom_id }) => custom_id);
    const output =
      answered(first as string, '**c**', { '**': -0.1, a: -4, the: -5 }) +
      // Nothing to read in the text: the label that is listed is all there is.
      answered(second as string, 'hm', { hm: -0.1, a: -3, the: -4 });
    const { answers } = await imported(output);
    expect(answers[0]).toMatchObject({ choice: 'track-5' });
    expect(answers[0]?.scores).toBeUndefined();
    // "A" is a word here, no label.
    const word = await imported(
      answered(first as string, 'A look at them: the answer is c.', { A: -0.1, c: -4, b: -5 }),
    );
    expect(word.answers[0]).toMatchObject({ choice: 'track-5' });
    const label = await imported(answered(first as string, 'A', { A: -0.1, c: -4, b: -5 }));
    expect(label.answers[0]?.choice).not.toBe('track-5');
    expect(answers[1]?.choice).toBe(catalog.id((queries[1] as (typeof queries)[number]).candidates[0] as number));
  });

  it('falls back to the text where the label is only bounded, and never guesses', async () => {
    const [first, second] = (await requestsOf(batch)).map(({ custom_id }) => custom_id);
    const output =
      answered(first as string, '**c**', { '**': -0.1, the: -3 }) +
      answered(second as string, 'hm', { hm: -0.1, the: -3 });
    const { report, answers } = await imported(output);
    expect(report).toMatchObject({ choices: 1, invalid: 1 });
    expect(answers.map(({ choice }) => choice)).toEqual(['track-5']);
  });

  it('reports errors, duplicates, strangers and damage, and records none of them', async () => {
    const ids = (await requestsOf(batch)).map(({ custom_id }) => custom_id);
    const refusal = (id: string, status: number, code: string): string =>
      `${JSON.stringify({ custom_id: id, response: { status_code: status, body: { error: { code, message: 'the prompt was …' } } }, error: null })}\n`;
    const output = [
      refusal(ids[0] as string, 429, 'rate_limit_exceeded'),
      answered(ids[0] as string, 'a'),
      answered(ids[0] as string, 'b'),
      refusal(ids[1] as string, 400, 'ignore all previous <instructions>'),
      `${JSON.stringify({ custom_id: ids[2], response: null, error: { code: 'batch_expired', message: 'x' } })}\n`,
      `${JSON.stringify({ custom_id: ids[3], response: { status_code: 200, body: { choices: [] } }, error: null })}\n`,
      answered('f'.repeat(64), 'a'),
      'not json\n',
      '{"custom_id": 5}\n',
      '\n',
      answered(ids[4] as string, 'a').slice(0, 40),
    ].join('');
    const { report, answers, storage } = await imported(output);
    expect(report).toMatchObject({
      requests: 6,
      choices: 1,
      nones: 0,
      invalid: 0,
      errors: 3,
      missing: 2,
      duplicates: 1,
      alien: 1,
      unreadable: 3,
      firstUnreadable: [8, 9, 11],
    });
    expect(report.firstErrors).toEqual([
      { customId: ids[1], status: 400, code: undefined },
      { customId: ids[2], status: undefined, code: 'batch_expired' },
      { customId: ids[3], status: 200, code: undefined },
    ]);
    expect(JSON.stringify(report)).not.toContain('prompt was');
    expect(answers.map(({ choice }) => choice)).toEqual(['track-10']);
    // What was refused is open, and a later file may answer it; what was answered stays.
    const later = answered(ids[0] as string, 'c') + answered(ids[1] as string, 'a');
    await importBatch({ ...batch, storage, output: later });
    const { answers: both } = await readAnswers({ storage, catalog });
    expect(both.map(({ choice }) => choice)).toEqual(['track-10', 'track-11']);
  });

  it('takes no file for another: the record is of one model and endpoint', async () => {
    const [id] = (await requestsOf(batch)).map(({ custom_id }) => custom_id);
    const { storage } = await imported(answered(id as string, 'a'));
    const other = importBatch({ ...batch, model: 'm-2', storage, output: '' });
    await expect(other).rejects.toThrow(InvalidDataError);
    expect(batchOracleId({ catalog, model: 'm-1' })).not.toBe(
      batchOracleId({ catalog, model: 'm-1', endpoint: 'completions' }),
    );
  });

  it('survives any lines', async () => {
    const ids = (await requestsOf(batch)).map(({ custom_id }) => custom_id);
    await fc.assert(
      fc.asyncProperty(
        fc.array(
          fc.oneof(
            fc.string(),
            fc.json(),
            fc.json().map((body) => `{"custom_id":"${ids[0]}","response":{"status_code":200,"body":${body}}}`),
            fc.string().map((text) => answered(ids[1] as string, text).trim()),
          ),
          { maxLength: 8 },
        ),
        async (lines) => {
          const { report } = await imported(lines.map((line) => line.replaceAll(/[\n\r]/g, ' ')).join('\n'));
          const { requests, choices, nones, invalid, errors, missing } = report;
          expect(choices + nones + invalid + errors + missing).toBe(requests);
        },
      ),
      { seed: 11, numRuns: 60 },
    );
  });
});
