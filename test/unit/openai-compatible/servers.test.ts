import { describe, expect, it } from 'vitest';
import { dialects, type ModelSettings, type ServerName } from '../../../src/openai-compatible/servers.js';
import { MissingFieldError } from '../../../src/openai-compatible/wire.js';

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
