import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { InvalidArgumentError, OracleError } from '../../../src/foundation/errors.js';
import type { LanguageModel } from '../../../src/oracle/language-model.js';
import { LlmOracle, type LlmOracleOptions } from '../../../src/oracle/llm-oracle.js';
import type { Meta, Preference, PreferenceQuery } from '../../../src/oracle/preference-oracle.js';
import { decide, logSumExp } from '../../../src/oracle/score-decision.js';
import { scriptedModel } from '../../../src/testing/scripted-model.js';
import { music } from './fixtures.js';

const catalog = music();
const QUERY: PreferenceQuery = { history: [1, 2], candidates: [3, 4, 5, 6] };
const make = (languageModel: LanguageModel, options: Partial<LlmOracleOptions> = {}): LlmOracle =>
  new LlmOracle({ catalog, languageModel, retryDelayMs: 0, ...options });
const metaOf = (answer: Preference | undefined): Meta => (answer as { meta: Meta }).meta;

/** Likes a song by its number, wherever it stands: the logit of `Song n` is n / 2, None's is `none`. */
const byNumber = (none: number) =>
  scriptedModel({
    labels: (prompt, labels) =>
      labels.map((label, i) =>
        i === labels.length - 1 ? none : Number(new RegExp(`\\s?${label}\\. Song (\\d+);`).exec(prompt)?.[1]) / 2,
      ),
  });

describe('LlmOracle of a model that tells label probabilities', () => {
  it('chooses the likeliest, and tells scores in query order, None last, whatever the order shown', async () => {
    const wanted = [1.5, 2, 2.5, 3, 0];
    const total = logSumExp(wanted);
    for (const shuffle of [true, false]) {
      const oracle = make(byNumber(0), { shuffle, seed: 4 });
      const [answer] = await oracle.prefer([QUERY]);
      expect(answer).toMatchObject({ kind: 'choice', choice: 6 });
      const { scores, labelMass, usage } = metaOf(answer);
      for (const [i, score] of (scores ?? []).entries()) expect(score).toBeCloseTo((wanted[i] as number) - total, 12);
      expect(scores).toHaveLength(5);
      expect(labelMass).toBeCloseTo(1, 12);
      expect(usage).toMatchObject({ calls: 1, outputTokens: 1 });
    }
  });

  it('shuffles: shown in query order a label keeps its place, shuffled it does not', async () => {
    const always = (place: number) =>
      scriptedModel({ labels: (_, labels) => labels.map((_label, i) => (i === place ? 5 : 0)) });
    const queries = Array.from({ length: 40 }, (_, i) => ({ history: [i % 30], candidates: [0, 1, 2, 3] }));
    const choices = async (shuffle: boolean) =>
      new Set(
        (await make(always(0), { shuffle }).prefer(queries)).map((answer) => (answer as { choice: number }).choice),
      );
    expect(await choices(false)).toEqual(new Set([0]));
    expect(await choices(true)).toEqual(new Set([0, 1, 2, 3]));
  });

  it('answers None by arg-max, or by the threshold on log p(None) - logsumexp p(candidates)', async () => {
    const ask = async (none: number, noneThreshold?: number): Promise<string | undefined> =>
      (await make(byNumber(none), noneThreshold === undefined ? {} : { noneThreshold }).prefer([QUERY]))[0]?.kind;
    const odds = 2.9 - logSumExp([1.5, 2, 2.5, 3]);
    expect(await ask(2.9)).toBe('choice');
    expect(await ask(3.1)).toBe('none');
    expect(await ask(2.9, odds - 1e-6)).toBe('none');
    expect(await ask(2.9, odds + 1e-6)).toBe('choice');
    expect(await ask(3.1, 50)).toBe('choice');
  });

  it('counts an answer with too little mass on the labels as invalid, if asked to', async () => {
    const model = scriptedModel({ labels: (_, labels) => labels.map((_label, i) => i), labelMass: 0.2 });
    const [lenient] = await make(model).prefer([QUERY]);
    expect(lenient?.kind).toBe('none');
    expect(metaOf(lenient).labelMass).toBeCloseTo(0.2, 12);
    const oracle = make(model, { minLabelMass: 0.25 });
    const [strict] = await oracle.prefer([QUERY]);
    expect(strict).toMatchObject({ kind: 'invalid', raw: 'label mass 0.200, less than minLabelMass 0.25' });
    expect(oracle.counts).toMatchObject({ calls: 1, invalids: 1 });
  });

  it('reads the text where an answer begins with another word, and tells the scores beside it', async () => {
    const written: string[] = [];
    const hesitating = (beginsOtherwise: boolean, text: string): LanguageModel => ({
      id: 'hesitating',
      labelScores: async (_, labels) => ({
        logProbs: labels.map((_label, i) => i - 6),
        beginsOtherwise,
        usage: { inputTokens: 40, outputTokens: 1 },
      }),
      complete: async (prompt) => {
        written.push(prompt);
        return { text, usage: { inputTokens: 40, outputTokens: 9 } };
      },
    });
    const ask = async (languageModel: LanguageModel) =>
      (await make(languageModel, { mode: 'chat', shuffle: false }).prefer([QUERY]))[0] as Preference;
    const answer = await ask(hesitating(true, 'I think b is best: the answer is b.'));
    expect(answer).toMatchObject({ kind: 'choice', choice: QUERY.candidates[1] });
    expect(metaOf(answer)).toMatchObject({
      scores: [-6, -5, -4, -3, -2],
      usage: { calls: 2, inputTokens: 80, outputTokens: 10 },
    });
    expect(written).toHaveLength(1);
    // Controls: an answer that begins with a label, and a model that cannot write.
    expect((await ask(hesitating(false, 'b'))).kind).toBe('none');
    const { complete: _, ...mute } = hesitating(true, 'b');
    expect((await ask(mute)).kind).toBe('none');
    expect(written).toHaveLength(1);
    expect((await ask(hesitating(true, 'I cannot say'))).kind).toBe('invalid');
  });

  it('takes no bound for an answer: a winner that the server did not list is invalid, a loser is not', async () => {
    const bounded = (logProbs: readonly number[], which: readonly number[]): LanguageModel => ({
      id: 'top',
      labelScores: async () => ({ logProbs, bounded: logProbs.map((_, i) => which.includes(i)) }),
    });
    const ask = async (logProbs: readonly number[], which: readonly number[]): Promise<string | undefined> =>
      (await make(bounded(logProbs, which), { shuffle: false }).prefer([QUERY]))[0]?.kind;
    expect(await ask([-1, -4, -4, -4, -4], [1, 2, 3, 4])).toBe('choice');
    expect(await ask([-4, -4, -4, -4, -1], [0, 1, 2, 3])).toBe('none');
    // Of equals the exact one wins.
    expect(await ask([-4, -4, -4, -4, -4], [0, 1, 3, 4])).toBe('choice');
    expect(await ask([-4, -4, -4, -4, -4], [0, 1, 2, 3, 4])).toBe('invalid');
    for (const shuffle of [false, true]) {
      const [answer] = await make(bounded([-1, -4, -4, -2, -4], [1, 2, 4]), { shuffle }).prefer([QUERY]);
      const { scores, labelMass, bounded: which } = metaOf(answer);
      expect(labelMass).toBeCloseTo(Math.exp(-1) + Math.exp(-2), 12);
      expect(which).toEqual(scores?.map((score) => score === -4));
    }
    const [exact] = await make(bounded([-1, -4, -4, -2, -4], [])).prefer([QUERY]);
    expect(metaOf(exact)).not.toHaveProperty('bounded');
  });

  it('tells which of its content-free scores are bounds', async () => {
    const logProbs = [-1, -4, -4, -4, -2];
    const bounded = [false, true, true, true, false];
    const scores = await make({ id: 'top', labelScores: async () => ({ logProbs, bounded }) }).contentFreeScores(4);
    expect(scores).toEqual({ logProbs, bounded });
  });

  it.each<[string, unknown]>([
    ['nothing', undefined],
    ['too few', { logProbs: [-1, -2] }],
    ['NaN', { logProbs: [-1, -2, Number.NaN, -1, -2] }],
    ['probabilities', { logProbs: [0.5, 0.1, 0.1, 0.1, 0.2] }],
  ])('fails in its slot, without a retry, for scores that are none: %s', async (_, lie) => {
    const oracle = make({ id: 'lie', labelScores: async () => lie as never });
    const [answer] = await oracle.prefer([QUERY]);
    expect(answer?.kind).toBe('failed');
    expect(oracle.counts).toMatchObject({ calls: 1, failures: 1 });
  });

  it('tries again after a failure that may pass, and carries no prompt in the error', async () => {
    let calls = 0;
    const oracle = make({
      id: 'flaky',
      labelScores: async (prompt, labels) => {
        if (++calls === 1) throw Object.assign(new Error(`overloaded: ${JSON.stringify({ prompt })}`), { status: 503 });
        return { logProbs: labels.map(() => -2) };
      },
    });
    const [answer] = await oracle.prefer([QUERY]);
    expect(metaOf(answer).usage?.calls).toBe(2);
    calls = -10;
    const refused = make({
      id: 'refuses',
      labelScores: async (prompt) => {
        throw Object.assign(new Error(`bad request: ${JSON.stringify({ prompt })}`), { status: 400 });
      },
    });
    const [failed] = await refused.prefer([QUERY]);
    expect(failed).toMatchObject({ kind: 'failed', error: { status: 400 } });
    expect(String((failed as { error: Error }).error.message)).not.toMatch(/Song|Below is/);
  });

  it('falls back to the text of a model without probabilities', async () => {
    const [answer] = await make(scriptedModel({ complete: async () => ' b' }), { shuffle: false }).prefer([QUERY]);
    expect(answer).toMatchObject({ kind: 'choice', choice: 4 });
    expect(metaOf(answer).scores).toBeUndefined();
  });

  it('estimates by the tokens of the very prompts that it sends', async () => {
    const model = byNumber(0);
    const oracle = make(model);
    const queries = [QUERY, { history: [], candidates: [1, 2] }];
    const estimates = await oracle.estimate(queries);
    const answers = await oracle.prefer(queries);
    for (const [i, answer] of answers.entries()) {
      expect(metaOf(answer).usage?.inputTokens).toBe(estimates[i]?.inputTokens);
      expect(estimates[i]).toMatchObject({ calls: 1, outputTokens: 1 });
    }
    expect(estimates[0]?.inputTokens).toBeGreaterThan(estimates[1]?.inputTokens as number);
    const blind = new LlmOracle({ catalog, complete: async () => 'a' });
    expect((await blind.estimate([QUERY]))[0]?.inputTokens).toBeGreaterThan(200);
    expect(blind.counts.calls).toBe(0);
  });

  it('estimates by characters where the tokeniser fails this once, and not where it will fail always', async () => {
    const counting = (status: number): LanguageModel => ({
      ...byNumber(0),
      countTokens: () => Promise.reject(new OracleError('busy', { status })),
    });
    const [estimate] = await make(counting(503)).estimate([QUERY]);
    expect(estimate?.inputTokens).toBeGreaterThan(200);
    await expect(make(counting(404)).estimate([QUERY])).rejects.toThrow('busy');
  });

  it('tells its content-free scores, from a prompt that holds no item', async () => {
    const model = scriptedModel({ labels: (_, labels) => labels.map((_label, i) => -i) });
    const { logProbs: scores } = await make(model).contentFreeScores(4);
    expect(scores).toHaveLength(5);
    expect((scores[0] as number) - (scores[4] as number)).toBeCloseTo(4, 12);
    expect(model.prompts).toHaveLength(1);
    expect(model.prompts[0]).toContain('History: N/A.');
    expect(model.prompts[0]).toContain('a. N/A b. N/A c. N/A d. N/A e. None');
    await expect(make(model).contentFreeScores(26)).rejects.toBeInstanceOf(InvalidArgumentError);
    const blind = make(scriptedModel({ complete: async () => 'a' }));
    await expect(blind.contentFreeScores(4)).rejects.toBeInstanceOf(OracleError);
  });

  it('runs as many calls at a time as the back-end takes, not more', async () => {
    let running = 0;
    let most = 0;
    const model: LanguageModel = {
      id: 'narrow',
      concurrency: 2,
      labelScores: async (_, labels) => {
        most = Math.max(most, ++running);
        await new Promise((resolve) => setTimeout(resolve, 1));
        running--;
        return { logProbs: labels.map(() => -3) };
      },
    };
    const queries = Array.from({ length: 12 }, (_, i) => ({ history: [i], candidates: [0, 1] }));
    await make(model).prefer(queries);
    expect(most).toBe(2);
    most = 0;
    await make(model, { concurrency: 50 }).prefer(queries);
    expect(most).toBe(2);
    most = 0;
    await make(model, { concurrency: 1 }).prefer(queries);
    expect(most).toBe(1);
  });

  it('has the model, the way of reading and its thresholds in its id', () => {
    const text = make(scriptedModel({ complete: async () => 'a' }, 'm@1'));
    const scored = make(scriptedModel({ labels: () => [] }, 'm@1'));
    const ids = [
      text.id,
      scored.id,
      make(scriptedModel({ labels: () => [] }, 'm@2')).id,
      make(scriptedModel({ labels: () => [] }, 'm@1'), { noneThreshold: 1 }).id,
      make(scriptedModel({ labels: () => [] }, 'm@1'), { minLabelMass: 0.1 }).id,
    ];
    expect(new Set(ids).size).toBe(ids.length);
    expect(scored.id).toMatch(/^llm:m@1\|table1@1\|label\|/);
  });

  it.each<[string, object, RegExp]>([
    ['neither `complete` nor `languageModel`', {}, /exactly one .* got neither/],
    ['both', { complete: async () => 'a', languageModel: byNumber(0) }, /exactly one .* got both/],
    ['a model that answers nothing', { languageModel: { id: 'mute' } }, /neither `labelScores` nor `complete`/],
    ['a name beside a model', { languageModel: byNumber(0), model: 'x' }, /has an `id` of its own/],
    ['a threshold without probabilities', { complete: async () => 'a', noneThreshold: 0 }, /need a `languageModel`/],
    ['a threshold that is none', { languageModel: byNumber(0), noneThreshold: Number.NaN }, /noneThreshold/],
    ['a mass above 1', { languageModel: byNumber(0), minLabelMass: 1.5 }, /minLabelMass/],
  ])('refuses %s', (_, options, message) => {
    const act = (): unknown => new LlmOracle({ catalog, ...options } as LlmOracleOptions);
    expect(act).toThrow(InvalidArgumentError);
    expect(act).toThrow(message);
  });
});

describe('decide', () => {
  const score = fc.oneof(fc.double({ min: -30, max: 0, noNaN: true }), fc.constant(Number.NEGATIVE_INFINITY));

  it('never lets a bound decide: whatever the bounded labels truly have, the answer stands', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(score, fc.boolean(), fc.double({ min: 0, max: 20, noNaN: true })), {
          minLength: 3,
          maxLength: 8,
        }),
        fc.option(fc.double({ min: -5, max: 5, noNaN: true }), { nil: undefined }),
        (labels, threshold) => {
          // As a server does it: what it did not list is bounded by the lowest that it did.
          const listed = labels.filter(([, isBounded]) => !isBounded).map(([value]) => value);
          if (listed.length === 0) return;
          const bound = Math.min(...listed);
          const scores = labels.map(([value, isBounded]) => (isBounded ? bound : value));
          const bounded = labels.map(([, isBounded]) => isBounded);
          const truth = labels.map(([value, isBounded, less]) => (isBounded ? bound - less - 1e-9 : value));
          const given = decide(scores, threshold, bounded);
          if (given !== 'undecided') expect(decide(truth, threshold)).toBe(given);
        },
      ),
      { seed: 11, numRuns: 2_000 },
    );
  });

  it('is plain arg-max without threshold and bounds, first of equals, and undecided when nothing is possible', () => {
    expect(decide([-1, -2, -3], undefined)).toBe(0);
    expect(decide([-2, -2, -3], undefined)).toBe(0);
    expect(decide([-2, -1, -1], undefined)).toBe(1);
    expect(decide([-2, -3, -1], undefined)).toBe('none');
    const never = Number.NEGATIVE_INFINITY;
    expect(decide([never, never, never], undefined)).toBe('undecided');
    expect(decide([never, never, never], 0)).toBe('undecided');
    expect(decide([never, never, -1], 100)).toBe('none');
  });
});
