import { describe, expect, it } from 'vitest';
import {
  BudgetExceededError,
  InvalidArgumentError,
  InvalidDataError,
  OracleError,
} from '../../../src/foundation/errors.js';
import { MemoryStorage } from '../../../src/foundation/storage.js';
import type { LanguageModel } from '../../../src/oracle/language-model.js';
import { rateItems } from '../../../src/oracle/rate-items.js';
import { shop } from './fixtures.js';

const catalog = shop(40, 5);
/** What the models below think of an item, 0 to 1. */
const popularityOf = (text: string): number => (Number(/number(\d+)/.exec(text)?.[1] ?? Number.NaN) % 17) / 16;
const truth = Array.from({ length: 40 }, (_, i) => (i % 17) / 16);

interface Counted extends LanguageModel {
  readonly calls: { readonly prompt: string; readonly texts: readonly string[] }[];
}

function model(parts: (calls: Counted['calls']) => Partial<LanguageModel>): Counted {
  const calls: { readonly prompt: string; readonly texts: readonly string[] }[] = [];
  return { id: 'm', calls, ...parts(calls) };
}

const byLabels = (): Counted =>
  model((calls) => ({
    labelScores: async (prompt, labels) => {
      calls.push({ prompt, texts: labels });
      const level = 4 * popularityOf(prompt);
      return {
        logProbs: labels.map((_, i) => -2 - 3 * Math.abs(i - level)),
        usage: { inputTokens: 50, outputTokens: 1 },
      };
    },
  }));

const byText = (reply: (prompt: string) => string): Counted =>
  model((calls) => ({
    complete: async (prompt) => {
      calls.push({ prompt, texts: [] });
      return { text: reply(prompt), usage: { inputTokens: 50, outputTokens: 1 } };
    },
  }));

const byLikelihood = (): Counted =>
  model((calls) => ({
    continuationScores: async (prefix, texts) => {
      calls.push({ prompt: prefix, texts });
      const sign = prefix.startsWith('The most') ? 1 : -1;
      return {
        logLikelihoods: texts.map((text) => -30 - text.length + 5 * sign * popularityOf(text)),
        tokens: texts.map(() => 8),
        usage: { inputTokens: 20 + 8 * texts.length },
      };
    },
  }));

describe('rateItems', () => {
  it('levels: the expected level, 1 to 5, in the order of what the model thinks', async () => {
    const languageModel = byLabels();
    const { ratings, method, rankCorrelation, asked, unreadable, usage } = await rateItems({
      ...{ catalog, languageModel, storage: new MemoryStorage(), counts: truth },
    });
    expect({ method, asked, unreadable }).toEqual({ method: 'levels', asked: 40, unreadable: 0 });
    expect(Math.min(...ratings)).toBeGreaterThan(1);
    expect(Math.max(...ratings)).toBeLessThan(5);
    expect(rankCorrelation).toBeCloseTo(1, 9);
    expect(usage).toMatchObject({ calls: 40, inputTokens: 2000 });
    expect(languageModel.calls[0]?.texts).toEqual(['a', 'b', 'c', 'd', 'e']);
    expect(languageModel.calls.every(({ prompt }) => !/\s$/.test(prompt))).toBe(true);
  });

  it('contrast: how much likelier among the popular, a chunk a call, whatever the length of the text', async () => {
    const languageModel = byLikelihood();
    const result = await rateItems({ catalog, languageModel, storage: new MemoryStorage(), counts: truth });
    expect(result.method).toBe('contrast');
    for (const [i, rating] of result.ratings.entries()) expect(rating).toBeCloseTo(10 * (truth[i] as number), 5);
    expect(result.rankCorrelation).toBeCloseTo(1, 9);
    // 40 items in five chunks, each under two prefixes.
    expect(languageModel.calls).toHaveLength(10);
    expect(result.usage.calls).toBeCloseTo(10, 9);
    expect(result.usage.inputTokens).toBeCloseTo(2 * (5 * 20 + 40 * 8), 6);
  });

  it('shows the attributes that are asked for, cut to a length, and asks anew when they change', async () => {
    const [name] = catalog.attributes;
    const storage = new MemoryStorage();
    for (const [method, make] of [
      ['levels', byLabels],
      ['contrast', byLikelihood],
    ] as const) {
      const languageModel = make();
      const key = `${method}.jsonl`;
      // Enough for the first digit of each number, which the models read.
      await rateItems({ catalog, languageModel, storage, key, attributes: [name as string], maxAttributeLength: 15 });
      const [call] = languageModel.calls;
      const shown = catalog.attribute(0, name as string).slice(0, 15);
      if (method === 'contrast') expect(call?.texts.every((text) => text.length <= 16)).toBe(true);
      else expect(languageModel.calls.some(({ prompt }) => prompt.includes(`Input: ${shown}. How`))).toBe(true);
      await expect(rateItems({ catalog, languageModel, storage, key })).rejects.toThrow(InvalidDataError);
    }
    await expect(
      rateItems({ catalog, languageModel: byLabels(), storage, key: 'x', attributes: ['colour'] }),
    ).rejects.toThrow(/attributes\[0\].*not in the catalogue/);
  });

  it('a text: reads the label, and gives the mean to what cannot be read', async () => {
    const languageModel = byText((prompt) =>
      popularityOf(prompt) > 0.9 ? 'hard to say' : popularityOf(prompt) > 0.5 ? 'e' : 'a.',
    );
    const { ratings, unreadable } = await rateItems({
      catalog,
      languageModel,
      mode: 'chat',
      storage: new MemoryStorage(),
    });
    const hard = truth.filter((value) => value > 0.9).length;
    expect(unreadable).toBe(hard);
    const read = truth.filter((value) => value <= 0.9).map((value): number => (value > 0.5 ? 5 : 1));
    const mean = read.reduce((sum, value) => sum + value, 0) / read.length;
    for (const [i, value] of truth.entries())
      expect(ratings[i]).toBeCloseTo(value > 0.9 ? mean : value > 0.5 ? 5 : 1, 5);
    expect(languageModel.calls[0]?.prompt).toMatch(/one lowercase letter from a to e\.$/);
  });

  it('asks in the form that the model takes; without a word from the model or the user, to be continued', async () => {
    for (const [template, mode, last] of [
      [undefined, undefined, /the popularity is$/],
      ['chat', undefined, /one lowercase letter from a to e\.$/],
      ['chat', 'completion', /the popularity is$/],
    ] as const) {
      const languageModel = { ...byText(() => 'a'), ...(template === undefined ? {} : { template }) };
      const given = mode === undefined ? {} : { mode };
      await rateItems({ catalog, languageModel, storage: new MemoryStorage(), ...given });
      for (const { prompt } of languageModel.calls) expect(prompt).toMatch(last);
    }
  });

  it('negative control: a model that knows nothing correlates with nothing', async () => {
    const blind = model(() => ({ labelScores: async (_, labels) => ({ logProbs: labels.map(() => -2) }) }));
    const result = await rateItems({ catalog, languageModel: blind, storage: new MemoryStorage(), counts: truth });
    expect(result.rankCorrelation).toBeUndefined();
    expect(new Set(result.ratings)).toEqual(new Set([3]));
    const turned = truth.map((value) => -value);
    const other = await rateItems({ catalog, languageModel: byLabels(), storage: new MemoryStorage(), counts: turned });
    expect(other.rankCorrelation).toBeCloseTo(-1, 9);
  });

  it.each([
    ['levels', byLabels],
    ['contrast', byLikelihood],
  ] as const)('%s: goes on where a run was stopped, and asks nothing twice', async (method, make) => {
    const whole = await rateItems({ catalog, languageModel: make(), storage: new MemoryStorage() });
    const storage = new MemoryStorage();
    const failing = make();
    let calls = 0;
    const broken: LanguageModel = {
      ...failing,
      ...(failing.labelScores && {
        labelScores: (...args) =>
          (++calls > 15 ? Promise.reject(new Error('down')) : failing.labelScores?.(...args)) as never,
      }),
      ...(failing.continuationScores && {
        continuationScores: (...args) =>
          (++calls > 3 ? Promise.reject(new Error('down')) : failing.continuationScores?.(...args)) as never,
      }),
    };
    const options = { catalog, method, storage, retries: 0, concurrency: 1 };
    await expect(rateItems({ ...options, languageModel: broken })).rejects.toThrow(OracleError);
    const mended = make();
    const result = await rateItems({ ...options, languageModel: mended });
    expect(result.ratings).toEqual(whole.ratings);
    expect(result.asked).toBeLessThan(40);
    const again = make();
    expect((await rateItems({ ...options, languageModel: again })).asked).toBe(0);
    expect(again.calls).toHaveLength(0);
  });

  it('stops at a budget and goes on with a higher one', async () => {
    const storage = new MemoryStorage();
    const languageModel = byLabels();
    const options = { catalog, languageModel, storage };
    await expect(rateItems({ ...options, budget: { calls: 10 } })).rejects.toThrow(BudgetExceededError);
    expect(languageModel.calls).toHaveLength(10);
    expect(await rateItems({ ...options, budget: { calls: 100 } })).toMatchObject({ asked: 30 });
    expect(languageModel.calls).toHaveLength(40);
  });

  it.each<[string, () => Partial<LanguageModel>]>([
    ['tells no tokens', () => ({ complete: async () => 'a' })],
    ['fails after it was asked', () => ({ complete: async () => Promise.reject(new Error('timed out')) })],
  ])('one budget is one budget over all runs, though the model %s', async (_, parts) => {
    const storage = new MemoryStorage();
    let calls = 0;
    const rate = async (): Promise<unknown> => {
      const languageModel = model(() => {
        const { complete } = parts();
        return {
          complete: (...args) => {
            calls++;
            return complete?.(...args) as never;
          },
        };
      });
      const options = { catalog, languageModel, storage, retries: 0, concurrency: 1 };
      return rateItems({ ...options, budget: { inputTokens: 700 } }).catch((error: unknown) => error);
    };
    let error: unknown;
    for (let runs = 0; runs < 40 && !(error instanceof BudgetExceededError); runs++) error = await rate();
    expect(error).toBeInstanceOf(BudgetExceededError);
    const spent = calls;
    expect(spent).toBeGreaterThan(0);
    for (let runs = 0; runs < 3; runs++) expect(await rate()).toBeInstanceOf(BudgetExceededError);
    // Nothing more is bought with the same budget.
    expect(calls).toBe(spent);
  });

  it('contrast: a second call that is refused leaves the first in the books', async () => {
    const storage = new MemoryStorage();
    const whole = byLikelihood();
    const languageModel: LanguageModel = {
      ...whole,
      continuationScores: async (prefix, texts, ...rest) =>
        prefix.startsWith('The most')
          ? (whole.continuationScores?.(prefix, texts, ...rest) as never)
          : Promise.reject(Object.assign(new Error('no'), { status: 400 })),
    };
    const options = { catalog, languageModel, storage, concurrency: 1, budget: { calls: 100 } };
    await expect(rateItems(options)).rejects.toThrow(OracleError);
    const spent = JSON.parse(new TextDecoder().decode(await storage.get('ratings.spent.json')));
    // A chunk of eight: 20 tokens before them and 8 each; two calls in all.
    expect(spent).toMatchObject({ calls: 2, inputTokens: 20 + 8 * 8 });
  });

  it('contrast: a lost call of a chunk is in the books as a whole, and another model begins with an empty budget', async () => {
    const storage = new MemoryStorage();
    const languageModel: LanguageModel = {
      ...byLikelihood(),
      continuationScores: async () => Promise.reject(new Error('timed out')),
    };
    const options = { catalog, storage, retries: 0, concurrency: 1, budget: { calls: 40, inputTokens: 10_000 } };
    await expect(rateItems({ ...options, languageModel })).rejects.toThrow(OracleError);
    const spent = JSON.parse(new TextDecoder().decode(await storage.get('ratings.spent.json')));
    // Prompts of eight items, a quarter of their characters each; an item alone has less than a fifth of it.
    const item = catalog.attributes.map((name) => catalog.attribute(39, name)).join('; ').length / 4;
    expect(spent.calls).toBe(1);
    expect(spent.inputTokens).toBeGreaterThan(8 * item);
    await storage.delete('ratings.jsonl');
    await expect(rateItems({ ...options, languageModel: byLabels() })).resolves.toMatchObject({ asked: 40 });
  });

  it('tells dollars by a price table', async () => {
    const options = { catalog, languageModel: byLabels(), storage: new MemoryStorage() };
    const prices = { inputPerMillion: 3, outputPerMillion: 15 };
    const { usage } = await rateItems({ ...options, prices });
    expect(usage.costUsd).toBeCloseTo((40 * (50 * 3 + 15)) / 1e6, 12);
    const free = await rateItems({ ...options, languageModel: byLabels(), storage: new MemoryStorage() });
    expect(free.usage.costUsd).toBeUndefined();
    const silent: LanguageModel = { id: 'silent', complete: async () => 'a' };
    const unknown = await rateItems({ ...options, languageModel: silent, storage: new MemoryStorage(), prices });
    expect(unknown.usage.costUsd).toBeUndefined();
  });

  it('refuses a method that the model cannot answer, counts of another length, and a record of another method', async () => {
    const storage = new MemoryStorage();
    const levels = { catalog, languageModel: byLabels(), storage };
    await expect(rateItems({ ...levels, method: 'contrast' })).rejects.toThrow(/continuationScores/);
    await expect(rateItems({ ...levels, counts: [1, 2] })).rejects.toThrow(InvalidArgumentError);
    await rateItems(levels);
    await expect(rateItems({ catalog, languageModel: byLikelihood(), storage })).rejects.toThrow(InvalidDataError);
  });
});
