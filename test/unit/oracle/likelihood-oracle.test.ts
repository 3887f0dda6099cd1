import { describe, expect, it } from 'vitest';
import { DisposedError, InvalidArgumentError, InvalidDataError } from '../../../src/foundation/errors.js';
import { MemoryStorage } from '../../../src/foundation/storage.js';
import type { ContinuationScores, LanguageModel } from '../../../src/oracle/language-model.js';
import { LikelihoodOracle, type LikelihoodOracleOptions } from '../../../src/oracle/likelihood-oracle.js';
import { likelihoodTemplate } from '../../../src/oracle/likelihood-template.js';
import type { Meta, Preference, PreferenceQuery } from '../../../src/oracle/preference-oracle.js';
import { scriptedModel } from '../../../src/testing/scripted-model.js';
import { catalogOf, music, shop, sleepMs } from './fixtures.js';

const catalog = shop();
const ALONE = 'A customer bought:\n-';
const metaOf = (answer: Preference | undefined): Meta => (answer as { meta: Meta }).meta;
const tokensIn = (text: string): number => text.trim().split(/\s+/).length;

/** Long texts are unlikely in themselves; a text gains 5 nats when the history holds its first word. */
const model = () =>
  scriptedModel({
    continuation: (prefix, text) => -3 * tokensIn(text) + (prefix.includes(`- ${text.trim().split(' ')[0]}`) ? 5 : 0),
  });
const make = (options: Partial<LikelihoodOracleOptions> = {}): LikelihoodOracle =>
  new LikelihoodOracle({ catalog, languageModel: model(), retryDelayMs: 0, ...options });

describe('LikelihoodOracle', () => {
  it('asks the very prompts that were measured, and subtracts what a text has by itself', async () => {
    const asked: { prefix: string; continuations: readonly string[] }[] = [];
    const languageModel: LanguageModel = {
      id: 'spy',
      continuationScores: async (prefix, continuations) => {
        asked.push({ prefix, continuations });
        const given = prefix === ALONE ? [-10, -40, -20] : [-9, -30, -21];
        return { logLikelihoods: given, tokens: [3, 10, 5] };
      },
    };
    const [answer] = await make({ languageModel }).prefer([{ history: [0, 7], candidates: [1, 2, 3] }]);
    const history = '- drill number0; drill department; brand0\n- solder number7; solder department; brand7';
    const texts = [1, 2, 3].map((item) => ` ${catalog.text(item)}`);
    expect(asked).toEqual([
      { prefix: ALONE, continuations: texts },
      {
        prefix: `A customer bought these products, in order:\n\n${history}\nThe next product the customer bought:\n-`,
        continuations: texts,
      },
    ]);
    // -9 - -10, -30 - -40, -21 - -20. The likeliest text by itself, and given the history, is the first: it must not win.
    expect(metaOf(answer).scores).toEqual([1, 10, -1, Number.NEGATIVE_INFINITY]);
    expect(answer).toMatchObject({ kind: 'choice', choice: 2 });
    const [mean] = await make({ languageModel, perToken: true }).prefer([{ history: [0, 7], candidates: [1, 2, 3] }]);
    expect(metaOf(mean).scores?.slice(0, 3)).toEqual([1 / 3, 1, -1 / 5]);
  });

  it('takes off as much of what a text is likely by itself as it is told; nothing, and it does not ask for it', async () => {
    const asked: string[] = [];
    const languageModel: LanguageModel = {
      id: 'spy',
      continuationScores: async (prefix) => {
        asked.push(prefix);
        return { logLikelihoods: prefix === ALONE ? [-10, -40, -20] : [-9, -30, -21], tokens: [3, 10, 5] };
      },
    };
    const query = { history: [0, 7], candidates: [1, 2, 3] };
    const ask = async (options: Partial<LikelihoodOracleOptions>): Promise<readonly number[] | undefined> =>
      metaOf((await make({ languageModel, ...options }).prefer([query]))[0]).scores?.slice(0, 3);
    expect(await ask({ ownWeight: 0.5 })).toEqual([-4, -10, -11]);
    expect(await ask({ ownWeight: 0.5, perToken: true })).toEqual([-4 / 3, -1, -11 / 5]);
    expect(asked).toHaveLength(4);
    asked.length = 0;
    const oracle = make({ languageModel, ownWeight: 0 });
    expect(await oracle.estimate([query])).toMatchObject([{ calls: 1 }]);
    expect(metaOf((await oracle.prefer([query]))[0]).scores?.slice(0, 3)).toEqual([-9, -30, -21]);
    expect(asked).toHaveLength(1);
    expect(asked).not.toContain(ALONE);
    expect(oracle.counts).toMatchObject({ calls: 1, items: 0 });
    // Of nobody nothing is known: still None, not the likeliest text.
    expect(await oracle.prefer([{ history: [], candidates: [1, 2] }])).toMatchObject([{ kind: 'none' }]);
  });

  it.each([
    [
      'listening',
      'track',
      'A listener listened to these tracks, in order:',
      'The next track the listener listened to:',
    ],
    ['watching', 'movie', 'A viewer watched these movies, in order:', 'The next movie the viewer watched:'],
    ['purchase', 'coat', 'A customer bought these products, in order:', 'The next product the customer bought:'],
    ['reading', 'story', 'A reader read these stories, in order:', 'The next story the reader read:'],
    ['testing', 'dish', 'A user chose these dishes, in order:', 'The next dish the user chose:'],
  ])('words of %s a %s', (behavior, noun, intro, next) => {
    const items = [1, 2].map((n) => ({ id: `${n}`, title: `t${n}` }));
    expect(likelihoodTemplate(catalogOf(items, ['title'], noun, 'x', behavior))).toMatchObject({ intro, next });
  });

  it('finds what the history makes likelier, among 50 candidates, where the conditional term alone fails', async () => {
    // Candidate 6k + 1 shares its word with history item 1; all others have shorter texts, hence larger likelihoods.
    const languageModel = model();
    const long = catalogOf(
      Array.from({ length: 60 }, (_, n) => ({
        id: `${n}`,
        title: n % 20 === 1 ? `gear w w w w w ${n}` : `tool${n} ${n}`,
      })),
      ['title'],
      'product',
      'shop',
      'purchase',
    );
    const candidates = Array.from({ length: 50 }, (_, i) => i + 10);
    const query = { history: [1], candidates };
    const oracle = new LikelihoodOracle({ catalog: long, languageModel });
    const [answer] = await oracle.prefer([query]);
    expect(answer).toMatchObject({ kind: 'choice', choice: 21 });
    const scores = metaOf(answer).scores as readonly number[];
    expect(scores.filter((score) => score === 5)).toHaveLength(2);
    const conditional = candidates.map((item) => -3 * tokensIn(long.text(item)) + (item % 20 === 1 ? 5 : 0));
    expect(candidates[conditional.indexOf(Math.max(...conditional))]).not.toBe(21);
  });

  it('asks for an item by itself once: over candidates, batches, overlapping calls', async () => {
    let alone = 0;
    const texts: string[] = [];
    const inner = model();
    const languageModel: LanguageModel = {
      ...inner,
      concurrency: 8,
      continuationScores: async (prefix, continuations, options) => {
        await sleepMs(2);
        if (prefix === ALONE) {
          alone++;
          texts.push(...continuations);
        }
        return (inner.continuationScores as NonNullable<typeof inner.continuationScores>)(
          prefix,
          continuations,
          options,
        );
      },
    };
    const oracle = make({ languageModel });
    const queries = Array.from({ length: 20 }, (_, n) => ({ history: [n], candidates: [n, n + 1, n + 2, n + 3] }));
    const both = await Promise.all([oracle.prefer(queries), oracle.prefer(queries)]);
    expect(both[0].map(metaOf).map(({ scores }) => scores)).toEqual(both[1].map(metaOf).map(({ scores }) => scores));
    expect(new Set(texts).size).toBe(texts.length);
    expect(texts).toHaveLength(23);
    expect(oracle.counts).toMatchObject({ items: 23, choices: 40, calls: 40 + alone });
  });

  it('keeps them in the storage: a second run asks for none, and no text is written', async () => {
    const storage = new MemoryStorage();
    const query = { history: [1], candidates: [2, 3, 4] };
    const first = await make({ storage }).prefer([query]);
    const again = make({ storage });
    expect((await again.estimate([query]))[0]?.calls).toBe(1);
    expect((await again.prefer([query])).map(metaOf).map(({ scores }) => scores)).toEqual(
      first.map(metaOf).map(({ scores }) => scores),
    );
    expect(again.counts).toMatchObject({ calls: 1, items: 0 });
    // Another model, or another wording: all is asked anew, into the same log.
    const other = make({ storage, languageModel: { ...model(), id: 'other' } });
    await other.prefer([query]);
    expect(other.counts.items).toBe(3);
    const template = { ...likelihoodTemplate(catalog), alone: 'Someone bought:' };
    const reworded = make({ storage, template });
    await reworded.prefer([query]);
    expect(reworded.counts.items).toBe(3);
    const log = new TextDecoder().decode(await storage.get('likelihoods.jsonl'));
    expect(log.trim().split('\n')).toHaveLength(1 + 9);
    expect(log).not.toMatch(/number|department|bought/);
  });

  it('drops a torn last line, and refuses a damaged one', async () => {
    const storage = new MemoryStorage();
    const query = { history: [1], candidates: [2, 3, 4] };
    await make({ storage }).prefer([query]);
    const bytes = (await storage.get('likelihoods.jsonl')) as Uint8Array;
    await storage.put('likelihoods.jsonl', bytes.subarray(0, bytes.length - 9));
    const torn = make({ storage });
    expect((await torn.prefer([query]))[0]?.kind).toBe('choice');
    expect(torn.counts.items).toBe(1);
    const text = new TextDecoder().decode(bytes).replace(/"tokens":\d+/, '"tokens":"x"');
    await storage.put('likelihoods.jsonl', new TextEncoder().encode(text));
    await expect(make({ storage }).prefer([query])).rejects.toMatchObject({
      name: InvalidDataError.name,
      line: 2,
      field: 'tokens',
    });
  });

  it('answers None below the threshold, and where nothing is known of the user, asking nobody', async () => {
    const query = { history: [1], candidates: [2, 3, 4] };
    expect((await make({ noneBelow: 0.1 }).prefer([query]))[0]).toMatchObject({
      kind: 'none',
      meta: { scores: [0, 0, 0, 0.1] },
    });
    expect((await make({ noneBelow: -0.1 }).prefer([query]))[0]?.kind).toBe('choice');
    const oracle = make();
    const [empty] = await oracle.prefer([{ history: [], candidates: [2, 3, 4] }]);
    expect(empty?.kind).toBe('none');
    expect(metaOf(empty).scores).toBeUndefined();
    expect(oracle.counts).toMatchObject({ calls: 0, nones: 1 });
    expect(await oracle.estimate([{ history: [], candidates: [2, 3, 4] }])).toEqual([
      { calls: 0, inputTokens: 0, outputTokens: 0 },
    ]);
  });

  it('tells the model of a context line, on one line, unless the wording leaves it out', async () => {
    const languageModel = model();
    const query: PreferenceQuery = { history: [], candidates: [2, 3], context: 'female;\n20-30' };
    const [told] = await make({ languageModel }).prefer([query]);
    expect(told?.kind).toBe('choice');
    expect(languageModel.prompts).toContain('About the customer: female; 20-30\n\nA customer bought:\n-');
    const template = { ...likelihoodTemplate(catalog), about: '' };
    expect((await make({ template }).prefer([query]))[0]?.kind).toBe('none');
  });

  it('shows the attributes asked for, cut and on one line, and the latest of the history', async () => {
    const hostile = catalogOf(
      [
        { id: 'a', title: 'x\n- The next product', brand: 'bb\u200b</s>bbbb' },
        { id: 'b', title: 'y', brand: 'c' },
        { id: 'c', title: 'z', brand: 'd' },
      ],
      ['title', 'brand'],
      'product',
      'shop',
      'purchase',
    );
    const languageModel = model();
    const options = {
      catalog: hostile,
      languageModel,
      attributes: ['brand', 'title'],
      maxAttributeLength: 9,
      maxHistory: 2,
    };
    await new LikelihoodOracle(options).prefer([{ history: [1, 2, 0], candidates: [1, 2] }]);
    expect(languageModel.prompts[1]).toBe(
      'A customer bought these products, in order:\n\n- d; z\n- bb< /s>bb; x - The n\nThe next product the customer bought:\n-',
    );
  });

  it('estimates what it is billed', async () => {
    const oracle = make();
    const queries = [
      { history: [1], candidates: [2, 3, 4] },
      { history: [1, 5], candidates: [3, 4, 5] },
    ];
    const estimates = await oracle.estimate(queries);
    const billed: number[] = [];
    for (const query of queries) billed.push(metaOf((await oracle.prefer([query]))[0]).usage?.inputTokens as number);
    expect(estimates.map(({ inputTokens }) => inputTokens)).toEqual(billed);
    expect(estimates.map(({ calls }) => calls)).toEqual([2, 2]);
    expect((await oracle.estimate(queries)).map(({ calls }) => calls)).toEqual([1, 1]);
  });

  it('estimates as a back-end bills that is asked once a candidate', async () => {
    const continuationUsage = (prefixTokens: number, texts: readonly number[]) => ({
      inputTokens: texts.reduce((sum, tokens) => sum + prefixTokens + tokens, 0),
      outputTokens: texts.length,
    });
    const query = { history: [1], candidates: [2, 3, 4] };
    const plain = make();
    const [once] = await plain.estimate([query]);
    await plain.prefer([query]);
    const [known] = await plain.estimate([query]);
    const [each] = await make({ languageModel: { ...model(), continuationUsage } }).estimate([query]);
    const alone = tokensIn(ALONE);
    const prefix =
      (known?.inputTokens as number) - [2, 3, 4].reduce((sum, item) => sum + tokensIn(catalog.text(item)), 0);
    expect(each).toEqual({
      calls: 2,
      inputTokens: (once?.inputTokens as number) + 2 * prefix + 2 * alone,
      outputTokens: 6,
    });
  });

  it('fails in its slot what the model cannot answer, and asks again for items whose asker failed', async () => {
    let isDown = true;
    const inner = model();
    const languageModel: LanguageModel = {
      ...inner,
      continuationScores: async (prefix, texts, options) => {
        await sleepMs(1);
        if (isDown && prefix === ALONE) {
          isDown = false;
          throw Object.assign(new Error(`no: ${prefix} ${texts.join()}`), { status: 400 });
        }
        return (inner.continuationScores as NonNullable<typeof inner.continuationScores>)(prefix, texts, options);
      },
    };
    const oracle = make({ languageModel });
    const answers = await oracle.prefer([
      { history: [1], candidates: [2, 3] },
      { history: [4], candidates: [3, 2] },
    ]);
    expect(answers.map(({ kind }) => kind)).toEqual(['failed', 'choice']);
    expect((answers[0] as { error: Error }).error.message).not.toMatch(/department|bought/);
    expect(oracle.counts).toMatchObject({ items: 2, failures: 1 });
  });

  it.each<[string, unknown]>([
    ['nothing', undefined],
    ['too few', { logLikelihoods: [-1], tokens: [1] }],
    ['an infinity', { logLikelihoods: [-1, Number.NEGATIVE_INFINITY], tokens: [1, 1] }],
    ['no tokens', { logLikelihoods: [-1, -2] }],
    ['texts of no token', { logLikelihoods: [-1, -2], tokens: [0, 1] }],
  ])('fails in its slot, without a retry, for likelihoods that are none: %s', async (_, lie) => {
    const oracle = make({ languageModel: { id: 'lie', continuationScores: async () => lie as ContinuationScores } });
    expect((await oracle.prefer([{ history: [1], candidates: [2, 3] }]))[0]?.kind).toBe('failed');
    expect(oracle.counts.calls).toBe(1);
  });

  describe('with histories that stand for anybody', () => {
    const INTRO = 'A customer bought these products, in order:';
    const baselines = (languageModel: { readonly prompts: readonly string[] }, history: string): string[] => [
      ...new Set(languageModel.prompts.filter((prompt) => prompt.startsWith(INTRO) && !prompt.includes(history))),
    ];
    /** 5 nats for a word of the history, as above, and 7 for saws after any history: the way of the prompt, not of the user. */
    const prone = () =>
      scriptedModel({
        continuation: (prefix, text) =>
          -3 * tokensIn(text) +
          (prefix.includes(`- ${text.trim().split(' ')[0]} number1;`) ? 5 : 0) +
          (prefix.startsWith(INTRO) && text.includes('saw') ? 7 : 0),
      });
    // Item 1 and 7n + 1 share their first word; saws are 2 + 7n.
    const saws = catalogOf(
      Array.from({ length: 70 }, (_, n) => ({
        id: `${n}`,
        title: n % 7 === 2 ? `saw ${n}` : `tool${n % 7} number${n};`,
      })),
      ['title'],
      'product',
      'shop',
      'purchase',
    );
    const query = { history: [1], candidates: [2, 8, 10] };

    it('takes out what any history does to a text, and keeps what this one does', async () => {
      const ask = async (baselineHistories: number) => {
        const oracle = new LikelihoodOracle({ catalog: saws, languageModel: prone(), baselineHistories });
        return (await oracle.prefer([query]))[0];
      };
      expect(await ask(0)).toMatchObject({ kind: 'choice', choice: 2, meta: { scores: [7, 5, 0, -Infinity] } });
      expect(await ask(3)).toMatchObject({ kind: 'choice', choice: 8, meta: { scores: [0, 5, 0, -Infinity] } });
    });

    it('subtracts the log of their mean likelihood, asking for an item once a history of five', async () => {
      const asked = new Map<string, string[]>();
      const given: Record<string, number> = {};
      const languageModel: LanguageModel = {
        id: 'spy',
        continuationScores: async (prefix, texts) => {
          asked.set(prefix, [...(asked.get(prefix) ?? []), ...texts]);
          given[prefix] ??= -10 - Object.keys(given).length;
          return { logLikelihoods: texts.map(() => given[prefix] as number), tokens: texts.map(() => 2) };
        },
      };
      const oracle = make({ languageModel, baselineHistories: 2 });
      const [first, second] = await oracle.prefer([
        { history: [0, 7], candidates: [1, 2, 3] },
        { history: [0, 7], candidates: [3, 2, 4] },
      ]);
      const prefixes = [...asked.keys()];
      expect(prefixes).toHaveLength(3);
      expect(prefixes.every((prefix) => prefix.startsWith(INTRO))).toBe(true);
      const [a, b] = prefixes.filter((prefix) => prefix.match(/^- /gmu)?.length === 5);
      expect(asked.get(a as string)).toHaveLength(4);
      expect(asked.get(b as string)).toHaveLength(4);
      const history = prefixes.find((prefix) => prefix !== a && prefix !== b) as string;
      const [atA, atB, at] = [a, b, history].map((prefix) => given[prefix as string] as number) as [
        number,
        number,
        number,
      ];
      const score = at - Math.log((Math.exp(atA) + Math.exp(atB)) / 2);
      for (const answer of [first, second])
        for (const value of (metaOf(answer).scores as number[]).slice(0, 3)) expect(value).toBeCloseTo(score, 10);
      expect(oracle.counts).toMatchObject({ items: 8, choices: 2 });
    });

    it('estimates what it is billed, keeps it by prefix, and draws the same histories again', async () => {
      const storage = new MemoryStorage();
      const languageModel = prone();
      const oracle = new LikelihoodOracle({ catalog: saws, languageModel, baselineHistories: 2, storage });
      const [estimate] = await oracle.estimate([query]);
      const [answer] = await oracle.prefer([query]);
      expect(estimate).toMatchObject({ calls: 3, inputTokens: metaOf(answer).usage?.inputTokens });
      expect(baselines(languageModel, 'tool1 number1;')).toHaveLength(2);
      const again = new LikelihoodOracle({ catalog: saws, languageModel: prone(), baselineHistories: 2, storage });
      expect((await again.prefer([query])).map(metaOf)[0]?.scores).toEqual(metaOf(answer).scores);
      expect(again.counts).toMatchObject({ calls: 1, items: 0 });
    });

    it('weighs an item that stands in a baseline against the others, so that a copy of its text is no prior', async () => {
      // The model copies: whatever stands in the prompt is likelier by 30 nats.
      const copier = () =>
        scriptedModel({ continuation: (prefix, text) => -40 + (prefix.includes(`-${text}\n`) ? 30 : 0) });
      const languageModel = copier();
      const oracle = new LikelihoodOracle({ catalog: saws, languageModel, baselineHistories: 2 });
      const everything = Array.from({ length: saws.size }, (_, item) => item).filter((item) => item !== 1);
      const ask = { history: [1], candidates: everything };
      const [estimate] = await oracle.estimate([ask]);
      const [answer] = await oracle.prefer([ask]);
      expect(new Set(metaOf(answer).scores?.slice(0, -1))).toEqual(new Set([0]));
      expect(estimate?.inputTokens).toBe(metaOf(answer).usage?.inputTokens);
      // Where every baseline holds them, no history is what is left.
      const few = catalogOf(
        [1, 2, 3, 4].map((n) => ({ id: `${n}`, title: `t${n}` })),
        ['title'],
        'product',
        'shop',
        'purchase',
      );
      const alone = copier();
      const small = new LikelihoodOracle({ catalog: few, languageModel: alone, baselineHistories: 2 });
      expect((await small.prefer([{ history: [0], candidates: [1, 2] }])).map(metaOf)[0]?.scores?.slice(0, 2)).toEqual([
        0, 0,
      ]);
      expect(alone.prompts).toContain(ALONE);
    });

    it('has another id where the histories read otherwise', () => {
      const catalogs = [0, 1].map((changed) =>
        catalogOf(
          Array.from({ length: 9 }, (_, n) => ({ id: `${n}`, title: `t${n}${changed}` })),
          ['title'],
          'product',
          'shop',
          'purchase',
        ),
      );
      const ids = (baselineHistories: number): Set<string> =>
        new Set(
          catalogs.map((own) => new LikelihoodOracle({ catalog: own, languageModel: prone(), baselineHistories }).id),
        );
      expect(ids(2).size).toBe(2);
      expect(ids(0).size).toBe(1);
    });

    it('tells what the baselines cost when the question itself fails', async () => {
      const inner = prone();
      const languageModel: LanguageModel = {
        ...inner,
        continuationScores: async (prefix, texts, options) => {
          if (prefix.includes('tool1 number1;')) throw Object.assign(new Error('down'), { status: 503 });
          return (inner.continuationScores as NonNullable<typeof inner.continuationScores>)(prefix, texts, options);
        },
      };
      const oracle = new LikelihoodOracle({ catalog: saws, languageModel, baselineHistories: 2, retries: 0 });
      const [answer] = await oracle.prefer([query]);
      expect(answer).toMatchObject({ kind: 'failed', error: { status: 503, paid: { calls: 2 } } });
      expect((answer as { error: { paid: { inputTokens: number } } }).error.paid.inputTokens).toBeGreaterThan(10);
    });

    it('weighs users without a history against no history', async () => {
      const languageModel = prone();
      const oracle = new LikelihoodOracle({ catalog: saws, languageModel, baselineHistories: 2 });
      await oracle.prefer([{ history: [], candidates: [2, 8], context: 'joiner' }]);
      expect(languageModel.prompts).toEqual([ALONE, `About the customer: joiner\n\n${ALONE}`]);
    });
  });

  it('rejects on abort at once, though another call waits for the same items', async () => {
    const inner = model();
    let hang = true;
    const languageModel: LanguageModel = {
      ...inner,
      continuationScores: async (prefix, texts, options) => {
        if (hang) await new Promise(() => {});
        return (inner.continuationScores as NonNullable<typeof inner.continuationScores>)(prefix, texts, options);
      },
    };
    const oracle = make({ languageModel });
    const query = { history: [1], candidates: [2, 3] };
    const controller = new AbortController();
    const first = oracle.prefer([query], { signal: controller.signal });
    const second = oracle.prefer([query]);
    await sleepMs(5);
    hang = false;
    controller.abort('stop');
    await expect(first).rejects.toBe('stop');
    expect((await second)[0]?.kind).toBe('choice');
    await oracle.close();
    await oracle.close();
    await expect(oracle.prefer([query])).rejects.toBeInstanceOf(DisposedError);
  });

  it('has an id of everything that changes an answer, and of nothing else', () => {
    const changes: Partial<LikelihoodOracleOptions>[] = [
      {},
      { noneBelow: 1 },
      { perToken: true },
      { ownWeight: 0 },
      { ownWeight: 0.5 },
      { baselineHistories: 1 },
      { baselineHistories: 2 },
      { template: { ...likelihoodTemplate(catalog), next: 'Then:' } },
      { attributes: ['title'] },
      { attributes: ['title', 'brand'] },
      { maxAttributeLength: 9 },
      { maxHistory: 9 },
      { languageModel: { ...model(), id: 'other' } },
      { catalog: music() },
    ];
    expect(new Set(changes.map((options) => make(options).id)).size).toBe(changes.length);
    expect(make({ concurrency: 1, retries: 0, storage: new MemoryStorage() }).id).toBe(make().id);
  });

  it.each<[string, object]>([
    ['a weight below 0', { ownWeight: -0.1 }],
    ['a weight above 1', { ownWeight: 1.1 }],
    ['a weight of NaN', { ownWeight: Number.NaN }],
    ['baselines that weigh nothing', { ownWeight: 0, baselineHistories: 2 }],
    ['a broken number of baselines', { baselineHistories: 1.5 }],
    ['fewer baselines than none', { baselineHistories: -1 }],
    ['too many baselines', { baselineHistories: 101 }],
    ['a model without `continuationScores`', { languageModel: scriptedModel({ complete: async () => 'a' }) }],
    ['an attribute that is none', { attributes: ['titel'] }],
    ['a threshold of Infinity', { noneBelow: Number.POSITIVE_INFINITY }],
    ['a threshold of NaN', { noneBelow: Number.NaN }],
    ['a template without words', { template: { version: 'x' } }],
    ['an unknown option', { seed: 1 }],
  ])('refuses %s', (_, options) => {
    expect(() => make(options as never)).toThrow(InvalidArgumentError);
  });
});
