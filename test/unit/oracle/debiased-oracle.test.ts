import { describe, expect, it } from 'vitest';
import { InvalidArgumentError, OracleError } from '../../../src/foundation/errors.js';
import { Rng } from '../../../src/foundation/rng.js';
import { MemoryStorage } from '../../../src/foundation/storage.js';
import { CachedOracle } from '../../../src/oracle/cached-oracle.js';
import { DebiasedOracle, type DebiasedOracleOptions, type DebiasMethod } from '../../../src/oracle/debiased-oracle.js';
import type { LabelScores } from '../../../src/oracle/language-model.js';
import { LimitedOracle } from '../../../src/oracle/limited-oracle.js';
import { LlmOracle } from '../../../src/oracle/llm-oracle.js';
import type { Meta, Preference, PreferenceOracle, PreferenceQuery } from '../../../src/oracle/preference-oracle.js';
import { logSumExp } from '../../../src/oracle/score-decision.js';
import { ScriptedOracle } from '../../../src/oracle/scripted-oracle.js';
import { scriptedModel } from '../../../src/testing/scripted-model.js';
import { music } from './fixtures.js';

const catalog = music();
const K = 5;
/** What letters weigh, whatever stands behind them: more than any song. */
const PRIOR = [3, 1, 0, -1, -2];
/** What the model thinks of a song; of None 1. */
const liking = (n: number): number => ((n * 7) % 11) / 10;

/** Logit of a label: the letter's weight and the song's; where there is "N/A", the letter's alone. */
const biased = scriptedModel({
  labels: (prompt, labels) =>
    labels.map((label, i) => {
      if (i === labels.length - 1) return 1;
      const song = new RegExp(`\\b${label}\\. Song (\\d+);`).exec(prompt)?.[1];
      return (PRIOR[i] as number) + (song === undefined ? 0 : liking(Number(song)));
    }),
});
const inner = (): LlmOracle => new LlmOracle({ catalog, languageModel: biased, shuffle: false });
const queries = Array.from({ length: 60 }, (_, n): PreferenceQuery => {
  const first = (n * 11) % 30;
  return { history: [n % 30], candidates: Array.from({ length: K }, (_, i) => (first + i * (1 + (n % 3))) % 30) };
});
const calibration = queries.slice(0, 3).map(({ candidates }) => ({ history: [29], candidates }));
const favourite = ({ candidates }: PreferenceQuery): number =>
  candidates.reduce((best, item) => (liking(item) > liking(best) ? item : best));
const hits = (
  answers: readonly Preference[],
  chosen = (answer: Preference, query: PreferenceQuery) => choiceOf(answer, query),
): number =>
  answers.filter(
    (answer, i) => chosen(answer, queries[i] as PreferenceQuery) === favourite(queries[i] as PreferenceQuery),
  ).length;
/** The likeliest candidate, None apart. */
function choiceOf(answer: Preference, query: PreferenceQuery): number {
  const scores = (answer as { meta: Meta }).meta.scores as readonly number[];
  const candidates = scores.slice(0, -1);
  return query.candidates[candidates.indexOf(Math.max(...candidates))] as number;
}
const make = (method: DebiasMethod, options: Partial<DebiasedOracleOptions> = {}): Promise<DebiasedOracle> =>
  DebiasedOracle.create({
    oracle: inner(),
    catalog,
    method,
    ...(method === 'pride' ? { calibration } : {}),
    ...options,
  });

/** Scores as a server tells them that lists only the likeliest: what it leaves out is bounded by the lowest that it lists. */
function listed(scores: readonly number[], count: number): LabelScores {
  const least = [...scores].sort((a, b) => b - a)[count - 1] as number;
  if (count >= scores.length) return { logProbs: scores };
  return { logProbs: scores.map((score) => Math.max(score, least)), bounded: scores.map((score) => score < least) };
}

const logSoftmax = (logits: readonly number[]): number[] => logits.map((logit) => logit - logSumExp(logits));
const choice = (answer: Preference): number | undefined => (answer as { choice?: number }).choice;

/** Tells scores, which depend on what is shown where; what it answers is not looked at. */
function telling(scoresOf: (candidates: readonly number[]) => LabelScores): PreferenceOracle {
  return {
    id: 'telling',
    prefer: async (asked) =>
      asked.map(({ candidates }) => {
        const { logProbs: scores, bounded } = scoresOf(candidates);
        return { kind: 'none', meta: { scores, ...(bounded === undefined ? {} : { bounded }) } };
      }),
  };
}

describe('DebiasedOracle', () => {
  it('control: without it the letters decide', async () => {
    const answers = await inner().prefer(queries);
    expect(hits(answers)).toBeLessThan(queries.length / 2);
    expect(
      answers.filter((answer, i) => choiceOf(answer, queries[i] as PreferenceQuery) === queries[i]?.candidates[0])
        .length,
    ).toBeGreaterThan(50);
  });

  it.each<[DebiasMethod]>([['cyclic'], ['contextual'], ['pride']])(
    '%s finds the unbiased choice every time',
    async (method) => {
      expect(hits(await (await make(method)).prefer(queries))).toBe(queries.length);
    },
  );

  it('shuffle does so on average only: every item is favoured equally often', async () => {
    const answers: Preference[] = [];
    const [query] = queries as [PreferenceQuery];
    const favoured = new Map<number, number>();
    for (let seed = 0; seed < 150; seed++) {
      const [answer] = await (await make('shuffle', { seed })).prefer([query]);
      answers.push(answer as Preference);
      const item = choiceOf(answer as Preference, query);
      favoured.set(item, (favoured.get(item) ?? 0) + 1);
    }
    // The letter's head start of 2 beats every liking: each of the 5 items stands first in 30 of 150 orders, sd 4.9.
    for (const item of query.candidates) expect(Math.abs((favoured.get(item) ?? 0) - 30)).toBeLessThan(25);
  });

  it('fewer shifts take out less: of 2 some bias is left, of all none', async () => {
    const two = hits(await (await make('cyclic', { permutations: 2 })).prefer(queries));
    const all = hits(await (await make('cyclic', { permutations: 25 })).prefer(queries));
    expect(all).toBe(queries.length);
    expect(two).toBeLessThan(all);
  });

  it('tells scores in query order, and leaves None its odds against all candidates', async () => {
    const [query] = queries as [PreferenceQuery];
    for (const method of ['contextual', 'pride'] as const) {
      const oracle = await make(method);
      const [answer] = await oracle.prefer([query]);
      const { scores = [] } = (answer as { meta: Meta }).meta;
      const wanted = query.candidates.map(liking);
      for (let i = 1; i < K; i++)
        expect((scores[i] as number) - (scores[0] as number)).toBeCloseTo(
          (wanted[i] as number) - (wanted[0] as number),
          9,
        );
      // p(None) is what the model said of the list shown, letters' weights and all.
      expect(Math.exp(logSumExp(scores))).toBeCloseTo(1, 9);
      expect((answer as { meta: Meta }).meta.labelMass).toBeCloseTo(1, 9);
    }
  });

  it('decides on None by its own threshold', async () => {
    const kinds = async (noneThreshold?: number): Promise<Set<string>> => {
      const oracle = await make('cyclic', noneThreshold === undefined ? {} : { noneThreshold });
      return new Set((await oracle.prefer(queries)).map(({ kind }) => kind));
    };
    expect(await kinds(-50)).toEqual(new Set(['none']));
    expect(await kinds(50)).toEqual(new Set(['choice']));
  });

  it('asks as often as it says, adds up what that costs, and tells each result as soon as it is complete', async () => {
    const llm = inner();
    const oracle = await DebiasedOracle.create({ oracle: llm, catalog, method: 'cyclic', permutations: 3 });
    const told: number[] = [];
    const part = queries.slice(0, 4);
    const estimates = await oracle.estimate?.(part);
    const answers = await oracle.prefer(part, { onResult: (i) => told.push(i) });
    expect(llm.counts.calls).toBe(12);
    expect(told.sort()).toEqual([0, 1, 2, 3]);
    for (const [i, answer] of answers.entries()) {
      const usage = (answer as { meta: Meta }).meta.usage;
      expect(usage).toMatchObject({ calls: 3, inputTokens: estimates?.[i]?.inputTokens });
      expect(estimates?.[i]).toMatchObject({ calls: 3, outputTokens: 3 });
    }
    const calm = inner();
    const contextual = await DebiasedOracle.create({ oracle: calm, catalog, method: 'contextual' });
    await contextual.prefer(queries);
    await contextual.prefer(queries.slice(0, 5));
    // One for K, whatever is asked.
    expect(calm.counts.calls).toBe(queries.length + 5 + 1);
    const calibrated = inner();
    await DebiasedOracle.create({ oracle: calibrated, catalog, method: 'pride', calibration });
    expect(calibrated.counts.calls).toBe(calibration.length * K);
  });

  it('uncalibrated, for a dry run, asks nobody, estimates as one that is, and cannot be asked', async () => {
    const silent = inner();
    const dry = await DebiasedOracle.create({
      oracle: silent,
      catalog,
      method: 'pride',
      calibration,
      calibrate: false,
    });
    const real = await make('pride');
    expect(dry.id).toBe(real.id);
    expect(await dry.estimate?.(queries)).toEqual(await real.estimate?.(queries));
    expect(await dry.estimateCalibration()).toMatchObject({ calls: calibration.length * K });
    await expect(dry.prefer(queries)).rejects.toThrow(/calibrate: false/);
    expect(silent.counts.calls).toBe(0);
  });

  it('without scores cyclic goes by majority, and the others refuse', async () => {
    // A model that takes the first letter unless its favourite stands on one of the first three.
    const textual = (): PreferenceOracle =>
      new ScriptedOracle((query) => Math.max(0, query.candidates.slice(0, 3).indexOf(favourite(query))), {
        itemCount: 30,
      });
    const control = (await textual().prefer(queries)).filter(
      (answer, i) => (answer as { choice: number }).choice === favourite(queries[i] as PreferenceQuery),
    );
    const cyclic = await DebiasedOracle.create({ oracle: textual(), catalog, method: 'cyclic' });
    const voted = (await cyclic.prefer(queries)).filter(
      (answer, i) => (answer as { choice: number }).choice === favourite(queries[i] as PreferenceQuery),
    );
    expect(control.length).toBeLessThan(queries.length);
    expect(voted).toHaveLength(queries.length);
    const contextual = await DebiasedOracle.create({
      oracle: textual(),
      catalog,
      method: 'contextual',
      contentFree: inner(),
    });
    await expect(contextual.prefer(queries)).rejects.toThrow(OracleError);
    await expect(DebiasedOracle.create({ oracle: textual(), catalog, method: 'pride', calibration })).rejects.toThrow(
      /no scores/,
    );
    const shuffled = await DebiasedOracle.create({ oracle: textual(), catalog, method: 'shuffle' });
    expect((await shuffled.prefer(queries))[0]?.kind).toBe('choice');
  });

  it('takes its prior through decorators, when it is told where from', async () => {
    const limited = new LimitedOracle({ oracle: inner(), concurrency: 4 });
    await expect(DebiasedOracle.create({ oracle: limited, catalog, method: 'contextual' })).rejects.toThrow(
      /contentFreeScores/,
    );
    const oracle = await DebiasedOracle.create({
      oracle: limited,
      catalog,
      method: 'contextual',
      contentFree: inner(),
    });
    expect(hits(await oracle.prefer(queries))).toBe(queries.length);
  });

  it('is failed where one of its calls is, and invalid only where all are', async () => {
    const script = (bad: Preference): ScriptedOracle =>
      new ScriptedOracle((query) => (query.candidates[0] === 0 ? bad : { kind: 'choice', choice: 2 }), {
        itemCount: 30,
      });
    const query = { history: [], candidates: [0, 1, 2] };
    const ask = async (bad: Preference): Promise<Preference | undefined> =>
      (await (await DebiasedOracle.create({ oracle: script(bad), catalog, method: 'cyclic' })).prefer([query]))[0];
    expect((await ask({ kind: 'failed', error: new OracleError('down') }))?.kind).toBe('failed');
    expect(await ask({ kind: 'invalid', raw: 'hm' })).toMatchObject({ kind: 'choice', choice: 2 });
    const mute = await DebiasedOracle.create({
      oracle: new ScriptedOracle(() => 'invalid', { itemCount: 30 }),
      catalog,
      method: 'cyclic',
    });
    expect((await mute.prefer([query]))[0]?.kind).toBe('invalid');
  });

  it.each<[string, DebiasMethod]>([
    ['all', 'cyclic'],
    ['the only one', 'contextual'],
    ['the only one', 'shuffle'],
  ])('bills every call where %s of %s could not be read', async (_, method) => {
    const candidates = [0, 1, 2];
    const usage = { calls: 2, inputTokens: 200 };
    const ask = async (readable: readonly number[]): Promise<Preference | undefined> => {
      const oracle: PreferenceOracle = {
        id: 'mumbling',
        prefer: async (asked) =>
          asked.map(({ candidates: [first] }) =>
            readable.includes(first as number)
              ? { kind: 'choice', choice: 1, meta: { usage, scores: [-2, -2, -2, -2] } }
              : { kind: 'invalid', raw: 'hm', meta: { usage } },
          ),
      };
      const prior = { contentFreeScores: async () => ({ logProbs: [-1, -1, -1, -1] }) };
      const debiased = await DebiasedOracle.create({
        ...{ oracle, catalog, method },
        ...(method === 'contextual' ? { contentFree: prior } : {}),
      });
      return (await debiased.prefer([{ history: [], candidates }]))[0];
    };
    const calls = method === 'cyclic' ? 3 : 1;
    const paid = { calls: 2 * calls, inputTokens: 200 * calls };
    expect(await ask([])).toMatchObject({ kind: 'invalid', raw: 'hm', meta: { usage: paid } });
    // Control: those that can be read are billed as ever.
    expect(await ask(candidates)).toMatchObject({ kind: 'choice', meta: { usage: paid } });
  });

  const unknown = /not listed/;
  it.each<[string, readonly number[], number, readonly number[], number, string | RegExp]>([
    ['nothing is bounded', [-0.01, -9, -12, -8], 4, [-1, -1.2, -17, -2], 4, 'c'],
    ['the score of the one that the prior lifts is', [-0.01, -9, -14, -12], 3, [-1, -1.2, -17, -2], 4, unknown],
    ['the score of one that the prior does not lift is', [-0.01, -9, -14, -12], 3, [-1, -1.2, -3, -2], 4, 'a'],
    ['only a prior is, and leaves its label the best', [-0.1, -9, -3, -8], 4, [-1, -6, -9, -2], 3, 'c'],
    ['only a prior is, and its label might be the best', [-0.01, -9, -12, -8], 4, [-1, -11, -17, -2], 3, unknown],
    ['only the prior of a label that cannot be is', [-0.01, -13, -45, -8], 4, [-1, -11, -17, -2], 3, 'a'],
    ['both are', [-0.01, -9, -14, -12], 3, [-1, -6, -9, -2], 3, unknown],
    ['None is, below the best', [-0.01, -9, -12, -14], 3, [-1, -1.2, -3, -2], 4, 'a'],
    ['None is exact and above all', [-3, -9, -12, -0.01], 3, [-1, -1.2, -3, -2], 4, 'none'],
  ])('contextual, where %s: decides what no bound can change', async (_, scores, tells, prior, told, wanted) => {
    let shown: readonly number[] = [];
    const oracle = telling((candidates) => {
      shown = candidates;
      return listed(scores, tells);
    });
    const contentFree = { contentFreeScores: async () => listed(prior, told) };
    const debiased = await DebiasedOracle.create({ oracle, catalog, method: 'contextual', contentFree });
    const [answer] = await debiased.prefer([{ history: [1], candidates: [4, 5, 6] }]);
    if (wanted instanceof RegExp) {
      expect(answer).toMatchObject({ kind: 'invalid', raw: expect.stringMatching(wanted) });
    } else if (wanted === 'none') expect(answer?.kind).toBe('none');
    else expect(answer).toMatchObject({ kind: 'choice', choice: shown['abc'.indexOf(wanted)] });
    const isBounded = Math.min(tells, told) < 4;
    expect((answer as { meta: Meta }).meta.bounded?.includes(true)).toBe(isBounded ? true : undefined);
  });

  it.each<[DebiasMethod, number | undefined]>([
    ['cyclic', undefined],
    ['cyclic', -0.5],
    ['contextual', undefined],
    ['contextual', -0.5],
    ['pride', undefined],
    ['pride', -0.5],
  ])(
    '%s with threshold %s answers as it would if the server listed everything, or not at all',
    async (method, noneThreshold) => {
      const query = { history: [], candidates: [3, 7, 11, 19] };
      const sample = [{ history: [1], candidates: [7, 3, 19, 2] }];
      let given = 0;
      for (let world = 0; world < 150; world++) {
        const rng = new Rng(world);
        const weight = [...rng.uniforms(5)].map((u) => -6 * u);
        const likes = [...rng.uniforms(catalog.size)].map((u) => -3 * u);
        const none = -6 * rng.uniform();
        const logits = (candidates: readonly number[]): number[] => [
          ...candidates.map(
            (item, j) => (weight[j] as number) + (likes[item] as number) + rng.fork(`${j} ${item}`).uniform(),
          ),
          none,
        ];
        const ask = async (count: number): Promise<Preference> => {
          const oracle = telling((candidates) => listed(logSoftmax(logits(candidates)), count));
          const contentFree = { contentFreeScores: async () => listed(logSoftmax(weight), count) };
          const debiased = await DebiasedOracle.create({
            ...{ oracle, catalog, method },
            ...(noneThreshold === undefined ? {} : { noneThreshold }),
            ...(method === 'contextual' ? { contentFree } : {}),
            ...(method === 'pride' ? { calibration: sample } : {}),
          });
          return (await debiased.prefer([query]))[0] as Preference;
        };
        const truth = await ask(5);
        expect(truth.kind).not.toBe('invalid');
        expect((truth as { meta: Meta }).meta).not.toHaveProperty('bounded');
        for (const count of [4, 3]) {
          const answer = await ask(count);
          if (answer.kind === 'invalid') continue;
          given++;
          expect([world, count, answer.kind, choice(answer)]).toEqual([world, count, truth.kind, choice(truth)]);
        }
      }
      expect(given).toBeGreaterThan(50);
    },
  );

  it('knows bounds through a cache, and in whatever order it shows the items', async () => {
    const model = {
      id: 'top',
      // Whatever stands there: a is the likeliest, c and None are not listed.
      labelScores: async () => listed([-0.01, -9, -14, -12], 2),
    };
    const llm = new LlmOracle({ catalog, languageModel: model, shuffle: false });
    const storage = new MemoryStorage();
    for (const replay of [false, true]) {
      const cached = await CachedOracle.open({ oracle: llm, catalog, storage });
      for (const [seed, candidates] of [
        [0, [4, 5, 6]],
        [1, [6, 5, 4]],
      ] as const) {
        const query = { history: [], candidates };
        const shuffle = await DebiasedOracle.create({ oracle: cached, catalog, method: 'shuffle', seed });
        const [answer] = (await shuffle.prefer([query])) as [Extract<Preference, { kind: 'choice' }>];
        const { scores = [], bounded = [], cached: isCached = false } = answer.meta ?? {};
        expect(isCached).toBe(replay);
        expect(answer.choice).toBe(candidates[scores.indexOf(-0.01)]);
        expect(scores.filter((_, i) => bounded[i] !== true).sort()).toEqual([-0.01, -9]);
        expect(bounded[3]).toBe(true);
        const contentFree = { contentFreeScores: async () => ({ logProbs: [-1, -1, -17, -1] }) };
        const contextual = await DebiasedOracle.create({
          ...{ oracle: cached, catalog, method: 'contextual', contentFree, seed },
        });
        expect((await contextual.prefer([query]))[0]?.kind).toBe('invalid');
      }
    }
    expect(llm.counts.calls).toBe(2);
  });

  it('refuses a K that it was not calibrated for, before anything is asked', async () => {
    const oracle = await make('pride');
    await expect(oracle.prefer([{ history: [], candidates: [1, 2, 3] }])).rejects.toThrow(InvalidArgumentError);
  });

  it('asks for the prior again when that failed', async () => {
    let isDown = true;
    const contentFree = {
      contentFreeScores: async (count: number) => {
        if (isDown) throw new OracleError('down');
        return inner().contentFreeScores(count);
      },
    };
    const oracle = await make('contextual', { contentFree });
    await expect(oracle.prefer(queries)).rejects.toThrow('down');
    isDown = false;
    expect(hits(await oracle.prefer(queries))).toBe(queries.length);
  });

  it('has method and settings in its id', async () => {
    const ids = await Promise.all([
      make('shuffle'),
      make('shuffle', { seed: 1 }),
      make('cyclic'),
      make('cyclic', { permutations: 3 }),
      make('cyclic', { noneThreshold: 0 }),
      make('contextual'),
      make('pride'),
      make('pride', { calibration: calibration.slice(1) }),
    ]);
    expect(new Set(ids.map(({ id }) => id)).size).toBe(ids.length);
    expect(ids[0]?.id.startsWith(inner().id)).toBe(true);
  });

  it.each<[string, () => Promise<unknown>, RegExp]>([
    [
      'an oracle that shuffles itself',
      () => make('pride', { oracle: new LlmOracle({ catalog, languageModel: biased }) }),
      /shuffle: false/,
    ],
    ['permutations of another method', () => make('pride', { permutations: 3 }), /is of 'cyclic'/],
    ['a single permutation', () => make('cyclic', { permutations: 1 }), /permutations/],
    [
      'pride without calibration',
      () => DebiasedOracle.create({ oracle: inner(), catalog, method: 'pride' }),
      /calibration/,
    ],
    [
      'a calibration question that is none',
      () => make('pride', { calibration: [{ history: [], candidates: [1, 1] }] }),
      /distinct/,
    ],
    ['a threshold with shuffle', () => make('shuffle', { noneThreshold: 1 }), /oracle behind decides/],
    ['an unknown method', () => make('batch' as never), /method/],
  ])('refuses %s', async (_, act, message) => {
    await expect(act()).rejects.toThrow(InvalidArgumentError);
    await expect(act()).rejects.toThrow(message);
  });
});
