import { describe, expect, it, vi } from 'vitest';
import { DisposedError, InvalidArgumentError, OracleError } from '../../../src/foundation/errors.js';
import type { Complete } from '../../../src/oracle/language-model.js';
import { LlmOracle, type LlmOracleOptions } from '../../../src/oracle/llm-oracle.js';
import type { Preference, PreferenceQuery } from '../../../src/oracle/preference-oracle.js';
import { renderTable1 } from '../../../src/oracle/prompt.js';
import { scriptedModel } from '../../../src/testing/scripted-model.js';
import { music, sleepMs } from './fixtures.js';

const catalog = music();
const QUERY: PreferenceQuery = { history: [1, 2], candidates: [3, 4, 5, 6] };

function make(complete: Complete, options: Partial<LlmOracleOptions> = {}): LlmOracle {
  return new LlmOracle({ catalog, complete, retryDelayMs: 0, ...options });
}

/** Queries that are told apart by their history. */
function many(n: number): PreferenceQuery[] {
  return Array.from({ length: n }, (_, i) => ({ history: [i % 30, Math.floor(i / 30)], candidates: [0, 1, 2, 3] }));
}

/** Answers with the label under which a text stands in the prompt: a model that knows what it wants. */
function wanting(text: string): Complete {
  return async (prompt) => {
    const match = new RegExp(`(?:^|\\s)([a-y])\\. ${text};`, 'mu').exec(prompt);
    return match === null ? ' None' : ` ${match[1]}`;
  };
}

const httpError = (status: number, extra: object = {}): Error =>
  Object.assign(new Error(`HTTP ${status}`), { status, ...extra });

describe('LlmOracle', () => {
  it('gives the item under the label that the model names, wherever it was shown', async () => {
    for (const shuffle of [true, false]) {
      const oracle = make(wanting('Song 5'), { shuffle });
      const [answer] = await oracle.prefer([QUERY]);
      expect(answer).toMatchObject({ kind: 'choice', choice: 5 });
    }
  });

  it('sends the bytes of renderTable1 when it does not shuffle', async () => {
    const prompts: string[] = [];
    const oracle = make(
      async (prompt) => {
        prompts.push(prompt);
        return 'a';
      },
      {
        shuffle: false,
        mode: 'chat',
        quotes: 'typographic',
      },
    );
    await oracle.prefer([{ ...QUERY, context: 'a user' }]);
    const wanted = renderTable1({ catalog, ...QUERY, context: 'a user', mode: 'chat', quotes: 'typographic' });
    expect(prompts).toEqual([wanted.text]);
  });

  it('writes Table 1 as the model takes it; without a word from the model or the user, to be continued', async () => {
    for (const [template, mode, wanted] of [
      [undefined, undefined, 'completion'],
      ['completion', undefined, 'completion'],
      ['chat', undefined, 'chat'],
      ['chat', 'completion', 'completion'],
      [undefined, 'chat', 'chat'],
    ] as const) {
      const model = {
        ...scriptedModel({ complete: async () => 'a' }),
        ...(template === undefined ? {} : { template }),
      };
      const given = mode === undefined ? {} : { mode };
      const oracle = new LlmOracle({ catalog, languageModel: model, shuffle: false, ...given });
      await oracle.prefer([QUERY]);
      expect(model.prompts).toEqual([renderTable1({ catalog, ...QUERY, mode: wanted }).text]);
      expect(oracle.id).toContain(`|label|${wanted}|`);
    }
    const languageModel = { ...scriptedModel({ complete: async () => 'a' }), template: 'talk' as 'chat' };
    expect(() => new LlmOracle({ catalog, languageModel })).toThrow(InvalidArgumentError);
  });

  it('answers None as none, and says what it cost', async () => {
    const oracle = make(async () => ({ text: 'None', usage: { inputTokens: 300, outputTokens: 1 } }));
    const [answer] = await oracle.prefer([QUERY]);
    expect(answer).toMatchObject({ kind: 'none', meta: { usage: { inputTokens: 300, outputTokens: 1 } } });
    expect((answer as { meta: { promptHash: string } }).meta.promptHash).toMatch(/^[0-9a-f]{64}$/);
  });

  it('returns results in query order although the answers come in another', async () => {
    const queries = many(20);
    const order: number[] = [];
    const oracle = make(
      async (prompt) => {
        const n = Number(/History: Song (\d+)/.exec(prompt)?.[1]);
        await sleepMs(20 - n);
        return n % 2 === 0 ? 'a' : 'None';
      },
      { concurrency: 20, shuffle: false },
    );
    const results = await oracle.prefer(queries, { onResult: (i) => order.push(i) });
    expect(results.map((result) => result.kind)).toEqual(queries.map((_, i) => (i % 2 === 0 ? 'choice' : 'none')));
    expect(order).toHaveLength(20);
    expect(order).not.toEqual([...order].sort((a, b) => a - b));
  });

  it('keeps to its concurrency over overlapping calls, and uses it', async () => {
    let running = 0;
    let most = 0;
    const oracle = make(
      async () => {
        most = Math.max(most, ++running);
        await sleepMs(2);
        running--;
        return 'a';
      },
      { concurrency: 3 },
    );
    await Promise.all([oracle.prefer(many(10)), oracle.prefer(many(10))]);
    expect(most).toBe(3);
  });

  describe('shuffling', () => {
    const promptsOf = async (
      queries: readonly PreferenceQuery[],
      options: Partial<LlmOracleOptions>,
    ): Promise<string[]> => {
      const seen: string[] = [];
      const oracle = make(async (prompt) => {
        seen.push(prompt);
        return 'a';
      }, options);
      for (const query of queries) await oracle.prefer([query]);
      return seen;
    };

    it('is a function of seed and query, not of the order of calls', async () => {
      const queries = many(20);
      const forwards = await promptsOf(queries, { seed: 3 });
      expect((await promptsOf([...queries].reverse(), { seed: 3 })).reverse()).toEqual(forwards);
      expect(await promptsOf(queries, { seed: 4 })).not.toEqual(forwards);
      expect(await promptsOf(queries, { shuffle: false })).not.toEqual(forwards);
    });

    it('makes a model that always says "a" choose every candidate equally often; without it, always the first', async () => {
      const queries = many(800);
      const share = async (shuffle: boolean): Promise<number[]> => {
        const counts = [0, 0, 0, 0];
        const results = await make(async () => 'a', { shuffle, concurrency: 64 }).prefer(queries);
        for (const result of results)
          if (result.kind === 'choice') counts[result.choice] = (counts[result.choice] as number) + 1;
        return counts;
      };
      // 800 draws at 1/4: mean 200, sd 12.2; five of them.
      for (const count of await share(true)) expect(Math.abs(count - 200)).toBeLessThan(62);
      expect(await share(false)).toEqual([800, 0, 0, 0]);
    });

    it('leaves None last', async () => {
      for (const prompt of await promptsOf(many(30), {})) expect(prompt.split('\n')[3]).toMatch(/ e\. None$/);
    });
  });

  describe('answers that name nothing', () => {
    it('are asked for once more with a stricter last line, and a constrained back-end is told', async () => {
      const calls: { prompt: string; constrained: boolean; labels: readonly string[] }[] = [];
      const oracle = make(async (prompt, { constrained, labels }) => {
        calls.push({ prompt, constrained, labels });
        return constrained ? 'b' : 'A rock song';
      });
      const [answer] = await oracle.prefer([QUERY]);
      expect(answer?.kind).toBe('choice');
      expect(calls.map((call) => call.constrained)).toEqual([false, true]);
      expect(calls[1]?.prompt).toMatch(/answering with one letter from a to e only, the user will select$/);
      expect(calls[1]?.labels).toEqual(['a', 'b', 'c', 'd', 'e']);
      expect(oracle.counts).toEqual({
        calls: 2,
        retries: 0,
        reminders: 1,
        choices: 1,
        nones: 0,
        invalids: 0,
        failures: 0,
      });
    });

    it('become invalid after that, never None, with the start of the text', async () => {
      const oracle = make(async () => ({
        text: `The user will select a rock song ${'x'.repeat(5_000)}`,
        usage: { outputTokens: 7 },
      }));
      const [answer] = await oracle.prefer([QUERY]);
      expect(answer).toMatchObject({ kind: 'invalid', meta: { usage: { outputTokens: 14 } } });
      expect((answer as { raw: string }).raw).toHaveLength(500);
      expect(oracle.counts).toMatchObject({ calls: 2, invalids: 1, nones: 0 });
    });

    it.each([
      ['undefined', undefined],
      ['null', null],
      ['a number', 1],
      ['an object without text', { answer: 'a' }],
    ])('that are %s fail in their slot, without a retry', async (_, lie) => {
      const oracle = make(async () => lie as unknown as string);
      const [answer] = await oracle.prefer([QUERY]);
      expect(answer?.kind).toBe('failed');
      expect((answer as { error: OracleError }).error).toBeInstanceOf(OracleError);
      expect((answer as { error: OracleError }).error.message).toContain('expected `complete` to resolve to a string');
      expect(oracle.counts.calls).toBe(1);
    });
  });

  describe('failures', () => {
    it.each([408, 409, 429, 500, 503])('of status %d are tried again', async (status) => {
      let calls = 0;
      const oracle = make(async () => {
        if (++calls < 3) throw httpError(status);
        return 'a';
      });
      expect((await oracle.prefer([QUERY]))[0]?.kind).toBe('choice');
      expect(oracle.counts).toMatchObject({ calls: 3, retries: 2 });
    });

    it('of the network are tried again: a TypeError, as fetch throws it', async () => {
      let calls = 0;
      const oracle = make(async () => {
        if (++calls < 2) throw new TypeError('fetch failed');
        return 'a';
      });
      expect((await oracle.prefer([QUERY]))[0]?.kind).toBe('choice');
    });

    it.each([400, 401, 403, 404])('of status %d are not', async (status) => {
      const oracle = make(async () => {
        throw Object.assign(new Error('refused'), { statusCode: status });
      });
      const [answer] = await oracle.prefer([QUERY]);
      expect(answer).toMatchObject({ kind: 'failed', error: { status, attempts: 1 } });
      expect(oracle.counts.calls).toBe(1);
    });

    it('end after the retries as `failed` in their own slot; the others are answered', async () => {
      const oracle = make(
        async (prompt) => {
          if (prompt.includes('History: Song 1;')) throw httpError(500);
          return 'a';
        },
        { retries: 2 },
      );
      const results = await oracle.prefer(many(3));
      expect(results.map((result) => result.kind)).toEqual(['choice', 'failed', 'choice']);
      expect((results[1] as { error: OracleError }).error).toMatchObject({ code: 'ORACLE', attempts: 3, status: 500 });
      expect(oracle.counts).toMatchObject({ calls: 5, retries: 2, failures: 1 });
    });

    it('carry neither prompt nor request: no key leaks by message, field or cause', async () => {
      const oracle = make(
        async (prompt) => {
          throw Object.assign(new Error(`bad request: ${prompt}`), {
            status: 400,
            requestBodyValues: { prompt },
            responseHeaders: { authorization: 'Bearer SECRET' },
          });
        },
        { shuffle: false },
      );
      const [answer] = await oracle.prefer([QUERY]);
      const { error } = answer as { error: OracleError };
      const seen: string[] = [];
      for (let e: unknown = error; e instanceof Error; e = e.cause)
        seen.push(String(e.stack), JSON.stringify(e), JSON.stringify({ ...e }));
      expect(seen.join()).not.toMatch(/SECRET|Song 3|Below is an instruction/);
      expect(error.message).toContain('[prompt]');
    });

    it('that are thrown synchronously, or are no errors, are failures too', async () => {
      for (const thrown of ['a string', 42, null, undefined, httpError(500)]) {
        const oracle = make(
          () => {
            throw thrown;
          },
          { retries: 1 },
        );
        expect((await oracle.prefer([QUERY]))[0]?.kind).toBe('failed');
        expect(oracle.counts.calls).toBe(2);
      }
    });

    it('with Retry-After wait as long as the server asked', async () => {
      for (const headers of [{ 'retry-after': '0.08' }, new Headers({ 'Retry-After': '0.08' })]) {
        let calls = 0;
        const oracle = make(async () => {
          if (++calls < 2) throw httpError(429, { headers });
          return 'a';
        });
        const started = performance.now();
        await oracle.prefer([QUERY]);
        expect(performance.now() - started).toBeGreaterThanOrEqual(75);
      }
    });

    it('by time-out end although `complete` ignores its signal, and the signal is aborted', async () => {
      const signals: AbortSignal[] = [];
      const oracle = make(
        (_, { signal }) => {
          signals.push(signal);
          return new Promise<string>(() => {});
        },
        { timeoutMs: 15, retries: 1 },
      );
      const [answer] = await oracle.prefer([QUERY]);
      expect(answer?.kind).toBe('failed');
      expect((answer as { error: OracleError }).error.message).toContain('timeoutMs = 15');
      expect(signals.map((signal) => signal.aborted)).toEqual([true, true]);
    });
  });

  describe('abort', () => {
    it('rejects with the very reason, at once, and starts nothing more', async () => {
      const reason = { why: 'enough' };
      const controller = new AbortController();
      const told: number[] = [];
      let calls = 0;
      const oracle = make(
        () => {
          calls++;
          return new Promise<string>((resolve) => setTimeout(() => resolve('a'), 300));
        },
        { concurrency: 2 },
      );
      const running = oracle.prefer(many(10), { signal: controller.signal, onResult: (i) => told.push(i) });
      await sleepMs(5);
      const started = performance.now();
      controller.abort(reason);
      await expect(running).rejects.toBe(reason);
      expect(performance.now() - started).toBeLessThan(250);
      await sleepMs(350);
      expect(calls).toBe(2);
      expect(told).toEqual([]);
      // The queue is not stuck.
      expect((await oracle.prefer([QUERY]))[0]?.kind).toBe('choice');
    });

    it('ends a wait between retries', async () => {
      const controller = new AbortController();
      const oracle = make(
        async () => {
          throw httpError(500);
        },
        { retryDelayMs: 60_000 },
      );
      const running = oracle.prefer([QUERY], { signal: controller.signal });
      await sleepMs(5);
      controller.abort('stop');
      await expect(running).rejects.toBe('stop');
    });

    it('passes on to the signal that `complete` got', async () => {
      const controller = new AbortController();
      let seen: unknown;
      const oracle = make(
        (_, { signal }) =>
          new Promise<string>((_resolve, reject) => {
            signal.addEventListener('abort', () => {
              seen = signal.reason;
              reject(signal.reason);
            });
          }),
      );
      const running = oracle.prefer([QUERY], { signal: controller.signal });
      await sleepMs(2);
      controller.abort('why');
      await expect(running).rejects.toBe('why');
      expect(seen).toBe('why');
    });

    it('of one call leaves another alone', async () => {
      const controller = new AbortController();
      const oracle = make(
        async () => {
          await sleepMs(10);
          return 'a';
        },
        { concurrency: 1 },
      );
      const aborted = oracle.prefer(many(3), { signal: controller.signal });
      const other = oracle.prefer([QUERY]);
      controller.abort('stop');
      await expect(aborted).rejects.toBe('stop');
      expect((await other)[0]?.kind).toBe('choice');
    });

    it('prints no warning of listeners with 64 calls at a time', async () => {
      const warned = vi.spyOn(process, 'emitWarning');
      const controller = new AbortController();
      let failures = 64;
      const oracle = make(
        async () => {
          await sleepMs(1);
          if (failures-- > 0) {
            throw httpError(500);
          }
          return 'a';
        },
        { concurrency: 64, retryDelayMs: 1 },
      );
      await Promise.all([1, 2, 3].map(() => oracle.prefer(many(64), { signal: controller.signal })));
      expect(warned).not.toHaveBeenCalled();
      warned.mockRestore();
    });
  });

  it('rejects when onResult throws, with what it threw', async () => {
    const oops = new Error('mine');
    const oracle = make(async () => 'a');
    await expect(
      oracle.prefer(many(4), {
        onResult: () => {
          throw oops;
        },
      }),
    ).rejects.toBe(oops);
  });

  it('refuses to work after close, and ends what is in flight', async () => {
    const oracle = make(() => new Promise<string>(() => {}));
    const running = oracle.prefer([QUERY]);
    running.catch(() => {});
    await sleepMs(2);
    await oracle.close();
    await oracle.close();
    await expect(running).rejects.toBeInstanceOf(DisposedError);
    await expect(oracle.prefer([QUERY])).rejects.toBeInstanceOf(DisposedError);
  });

  it('has an id of everything that changes an answer, and of nothing else', () => {
    const complete: Complete = async () => 'a';
    const id = (options: Partial<LlmOracleOptions> = {}): string => make(complete, options).id;
    expect(id({ concurrency: 9, retries: 1, timeoutMs: 5 })).toBe(id());
    const changes: Partial<LlmOracleOptions>[] = [
      { model: 'm' },
      { mode: 'chat' },
      { quotes: 'typographic' },
      { maxAttributeLength: 9 },
      { maxHistory: 9 },
      { shuffle: false },
      { seed: 1 },
    ];
    expect(new Set([id(), ...changes.map(id)]).size).toBe(changes.length + 1);
    expect(id()).toContain('table1@1');
  });

  it.each([
    ['no catalogue', { catalog: undefined }],
    ['no completion', { complete: 'gpt' }],
    ['no concurrency', { concurrency: 0 }],
    ['a time-out of 0', { timeoutMs: 0 }],
    ['negative retries', { retries: -1 }],
    ['a fractional seed', { seed: 0.5 }],
    ['an unknown option', { temperature: 1 }],
  ])('refuses %s', (_, change) => {
    expect(() => new LlmOracle({ catalog, complete: async () => 'a', ...change } as never)).toThrow(
      InvalidArgumentError,
    );
  });

  it('gives well-formed results for any text a model may write', async () => {
    const texts = ['a', 'None', '', '\n\n', 'e', 'f', 'The user will select a song', '\u0000', 'c.', '```b```', 'k'];
    let n = 0;
    const oracle = make(async () => texts[n++ % texts.length] as string);
    const results: readonly Preference[] = await oracle.prefer(many(60));
    for (const result of results) {
      if (result.kind === 'choice') expect([0, 1, 2, 3]).toContain(result.choice);
      else expect(['none', 'invalid']).toContain(result.kind);
    }
  });
});
