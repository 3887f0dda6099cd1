import { describe, expect, it } from 'vitest';
import { OracleError } from '../../../src/foundation/errors.js';
import { dialects, type ModelSettings, type ServerName } from '../../../src/openai-compatible/servers.js';
import { MissingFieldError } from '../../../src/openai-compatible/wire.js';
import { isRetryable } from '../../../src/oracle/back-end-failure.js';

const settings: ModelSettings = { model: 'm', template: 'completion', maxTokens: 4, topN: 20, reasoning: false };

/** A server by a table of answers: by path, one for each call, the last again and again. */
function answering(answers: Readonly<Record<string, readonly unknown[]>>) {
  const used = new Map<string, number>();
  return async (path: string): Promise<unknown> => {
    const place = used.get(path) ?? 0;
    used.set(path, place + 1);
    const list = answers[path] ?? [];
    return list[Math.min(place, list.length - 1)];
  };
}

async function weigh(
  server: ServerName,
  answers: Readonly<Record<string, readonly unknown[]>>,
  prefix: string,
  text: string,
) {
  const scores = await dialects[server].likelihoods?.(answering(answers), settings, prefix, [text]);
  return [scores?.logLikelihoods[0], scores?.tokens[0]];
}

describe('echoed prompts (OpenAI)', () => {
  const echo = (
    tokens: readonly string[],
    token_logprobs: readonly (number | null)[],
    text_offset: readonly number[] = [],
  ) => ({
    '/v1/completions': [{ choices: [{ logprobs: { tokens, token_logprobs, text_offset } }] }],
  });

  it('count from the first token after the prefix', async () => {
    expect(await weigh('openai', echo(['A', ' b', ' c', ' d'], [null, -1, -2, -4]), 'A b', ' c d')).toEqual([-6, 2]);
  });

  it('may begin with a token that is no text of the prompt, and end with one that was generated', async () => {
    expect(await weigh('openai', echo(['<s>', 'A', ' b', ' c', '!'], [null, -1, -2, -4, -8]), 'A b', ' c')).toEqual([
      -4, 1,
    ]);
  });

  it('count the token that the boundary cuts', async () => {
    expect(await weigh('openai', echo(['A', ' bc', ' d'], [null, -2, -4]), 'A b', 'c d')).toEqual([-6, 2]);
  });

  it('go by offsets in code points where characters are split between tokens', async () => {
    const split = echo(['😀', ' ', 'bytes:\\xe2', 'bytes:\\x82\\xac'], [null, -1, -2, -4], [0, 1, 2, 2]);
    expect(await weigh('openai', split, '😀 ', '€')).toEqual([-4, 1]);
    const later = echo(['😀', ' ', 'bytes:\\xe2', 'bytes:\\x82\\xac', 'x'], [null, -1, -2, -4, -8], [0, 1, 2, 3, 3]);
    expect(await weigh('openai', later, '😀', ' €x')).toEqual([-15, 4]);
  });

  it('are refused where a number is missing', async () => {
    for (const broken of [
      echo([], []),
      echo(['A', ' b'], [null, null]),
      echo(['A', ' b'], [null]),
      echo(['zebra'], [-1]),
      echo(['A b'], [-1]),
      {},
    ])
      await expect(weigh('openai', broken, 'A', ' b')).rejects.toBeInstanceOf(MissingFieldError);
  });
});

describe('prompt log-probabilities (vLLM)', () => {
  const prompt = (prefix: readonly number[], rows: readonly unknown[], ids?: readonly number[]) => ({
    '/tokenize': [{ tokens: prefix }],
    '/v1/completions': [
      { choices: [{ prompt_logprobs: rows, ...(ids === undefined ? {} : { prompt_token_ids: ids }) }] },
    ],
  });
  const row = (id: number, logprob: number) => ({ [id]: { logprob } });

  it('count from where the tokens part', async () => {
    expect(await weigh('vllm', prompt([1, 7], [null, row(7, -1), row(8, -2), row(9, -4)]), 'A b', ' c d')).toEqual([
      -6, 2,
    ]);
  });

  it('count a last token of the prefix that the text melts with', async () => {
    expect(await weigh('vllm', prompt([1, 7, 5], [null, row(7, -1), row(6, -2)]), 'A b', 'c')).toEqual([-2, 1]);
  });

  it("take the prompt's own token, not the likeliest, where a row holds more", async () => {
    const both = { 3: { logprob: -0.1 }, 8: { logprob: -2 } };
    expect(await weigh('vllm', prompt([1, 7], [null, row(7, -1), both], [1, 7, 8]), 'A b', ' c')).toEqual([-2, 1]);
  });

  it('are refused where nothing can be told', async () => {
    for (const broken of [
      prompt([1, 7], []),
      prompt([1, 7], [null, row(7, -1)]),
      prompt([], [null, row(7, -1)]),
      prompt([1, 7], [null, row(7, -1), { 8: {} }]),
    ])
      await expect(weigh('vllm', broken, 'A b', ' c')).rejects.toBeInstanceOf(MissingFieldError);
  });
});

describe('prompt log-probabilities (SGLang)', () => {
  const generated = (input_token_logprobs: readonly unknown[]) => ({
    '/tokenize': [{ tokens: [1, 7] }, { tokens: [1, 7, 8, 9] }],
    '/generate': [[{ meta_info: { input_token_logprobs } }]],
  });

  it('are the same whether the list begins at the start or after it', async () => {
    for (const lead of [
      [],
      [[null, 7, null]],
      [
        [null, 1, null],
        [-1, 7, null],
      ],
    ])
      expect(await weigh('sglang', generated([...lead, [-2, 8, null], [-4, 9, null]]), 'A b', ' c d')).toEqual([-6, 2]);
  });

  it('are refused where they are those of other tokens', async () => {
    for (const rows of [
      [],
      [[-2, 8, null]],
      [
        [-2, 8, null],
        [-4, 5, null],
      ],
    ])
      await expect(weigh('sglang', generated(rows), 'A b', ' c d')).rejects.toBeInstanceOf(MissingFieldError);
  });
});

describe('forced tokens (llama.cpp)', () => {
  const forced = (completion_probabilities: readonly unknown[]) => ({
    '/tokenize': [{ tokens: [1, 7] }, { tokens: [1, 7, 8, 9] }],
    '/completion': [{ completion_probabilities }],
  });

  it('add up', async () => {
    const rows = [
      { id: 8, logprob: -2 },
      { id: 9, logprob: -3.4028234663852886e38 },
    ];
    expect(await weigh('llamacpp', forced(rows), 'A b', ' c d')).toEqual([-2 - 9999, 2]);
  });

  it('are refused where the server wrote others, for its grammar knows no token ids', async () => {
    for (const rows of [
      [],
      [{ id: 8, logprob: -2 }],
      [
        { id: 8, logprob: -2 },
        { id: 3, logprob: -1 },
      ],
      [{ id: 8 }, { id: 9 }],
    ])
      await expect(weigh('llamacpp', forced(rows), 'A b', ' c d')).rejects.toBeInstanceOf(MissingFieldError);
  });
});

describe('a list of texts that takes several requests', () => {
  it.each<[ServerName, number]>([
    ['vllm', 16],
    ['llamacpp', 1],
  ])(
    '%s: what was answered before a refusal is told as paid, and nothing where it may be billed as a whole',
    async (server, each) => {
      const failing = async (failure: object) => {
        let requests = 0;
        const ask = async (path: string, body: Readonly<Record<string, unknown>>): Promise<unknown> => {
          if (path === '/tokenize') return { tokens: String(body.content ?? body.prompt) === 'A' ? [1, 7] : [1, 7, 8] };
          if (++requests === 3) throw new OracleError('no', failure);
          const row = { 8: { logprob: -1 } };
          const choice = { prompt_token_ids: [1, 7, 8], prompt_logprobs: [null, { 7: { logprob: -1 } }, row] };
          const list = Array.isArray(body.prompt) ? body.prompt : [];
          return {
            choices: list.map(() => choice),
            usage: { prompt_tokens: 100, completion_tokens: 1 },
            completion_probabilities: [{ id: 8, logprob: -1 }],
            ...{ tokens_evaluated: 100, tokens_predicted: 1 },
          };
        };
        const texts = Array.from({ length: 4 * each }, () => ' b');
        const { likelihoods } = dialects[server];
        return likelihoods?.(ask, settings, 'A', texts).catch((error: OracleError) => error);
      };
      expect(await failing({ status: 503 })).toMatchObject({
        status: 503,
        paid: { inputTokens: 200, outputTokens: 2 },
      });
      expect(await failing({})).toMatchObject({ message: 'no', paid: undefined });
    },
  );
});

describe('a chat answer without text', () => {
  const chat = { ...settings, template: 'chat' } as const;
  const saying = (choice: object) =>
    dialects.openai.complete(
      answering({ '/v1/chat/completions': [{ choices: [choice], usage: { prompt_tokens: 9, completion_tokens: 4 } }] }),
      chat,
      'prompt',
      undefined,
    );

  it('is an empty one where the model refused, and names `maxTokens` where it thought to the end; neither is asked for again', async () => {
    expect(await saying({ finish_reason: 'stop', message: { content: null, refusal: 'no' } })).toEqual({
      text: '',
      usage: { inputTokens: 9, outputTokens: 4 },
    });
    const error = await saying({ finish_reason: 'length', message: { content: null } }).catch((thrown) => thrown);
    expect(error).toBeInstanceOf(OracleError);
    expect(error.message).toMatch(/4 tokens.*raise `maxTokens`/);
    expect(error).toMatchObject({ lost: 0, paid: { inputTokens: 9, outputTokens: 4 } });
    expect(isRetryable(error)).toBe(false);
  });

  it('control: one without the field is asked for again, for servers under load drop fields', async () => {
    const error = await saying({ finish_reason: 'stop', message: {} }).catch((thrown) => thrown);
    expect(error).toBeInstanceOf(MissingFieldError);
    expect(isRetryable(error)).toBe(true);
  });
});
