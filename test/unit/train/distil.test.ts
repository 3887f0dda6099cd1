import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { PopularityPolicy } from '../../../src/agent/popularity-policy.js';
import { Catalog } from '../../../src/catalog/catalog.js';
import { Sequences } from '../../../src/catalog/sequences.js';
import { useBackend } from '../../../src/compute/backend.js';
import { BudgetExceededError, InvalidArgumentError, OracleError } from '../../../src/foundation/errors.js';
import { MemoryStorage } from '../../../src/foundation/storage.js';
import { CachedOracle } from '../../../src/oracle/cached-oracle.js';
import { LikelihoodOracle } from '../../../src/oracle/likelihood-oracle.js';
import type { PreferenceOracle, PreferenceQuery } from '../../../src/oracle/preference-oracle.js';
import { readAnswers } from '../../../src/oracle/recorded-answers.js';
import { RecordingOracle } from '../../../src/oracle/recording-oracle.js';
import { type Script, type ScriptedAnswer, ScriptedOracle } from '../../../src/oracle/scripted-oracle.js';
import { scriptedModel } from '../../../src/testing/scripted-model.js';
import { tinyCatalog } from '../../../src/testing/tiny-envs.js';
import { type DistilOptions, type DistilProgress, distil } from '../../../src/train/distil.js';
import { openQuestions, planDistil } from '../../../src/train/plan-distil.js';
import { pretrain } from '../../../src/train/pretrain.js';
import { QuestionPlan, type QuestionPlanOptions } from '../../../src/train/question-plan.js';
import { answerOf, smallAgent } from './small-runs.js';

const catalog = tinyCatalog(40);
const base = { catalog, count: 97, candidateCount: 5, seed: 3 } as const;

/** Answers by a rule of the question, and remembers what was asked. */
function oracleBy(rule: (query: PreferenceQuery, n: number) => ScriptedAnswer = answerOf, id = 'rule'): ScriptedOracle {
  return new ScriptedOracle(((query, n) => rule(query, n)) as Script, { id, itemCount: catalog.size });
}

const textOf = (query: PreferenceQuery): string => JSON.stringify(query);

/** The questions of a plan, each stream followed by a rule. */
function questionsOf(options: QuestionPlanOptions): PreferenceQuery[] {
  const plan = new QuestionPlan(options);
  const asked: PreferenceQuery[] = [];
  for (let s = 0; s < plan.streams; s++) {
    const stream = plan.stream(s);
    for (let query = stream.next; query !== undefined; query = stream.next) {
      asked.push(query);
      const answer = answerOf(query);
      stream.answer(
        answer === 'none' ? { kind: 'none' } : { kind: 'choice', choice: query.candidates[answer] as number },
      );
    }
  }
  return asked;
}

async function recordOf(storage: MemoryStorage): Promise<string[]> {
  const { answers } = await readAnswers({ storage, catalog });
  return answers.map(({ history, candidates, choice }) => JSON.stringify([history, candidates, choice])).sort();
}

describe('the plan of questions', () => {
  it('asks so many questions as wanted, of distinct candidates that the history does not hold', () =>
    fc.assert(
      fc.property(
        fc.record({
          count: fc.integer({ min: 1, max: 60 }),
          candidateCount: fc.integer({ min: 2, max: 8 }),
          stepsPerEpisode: fc.integer({ min: 1, max: 12 }),
          emptyShare: fc.constantFrom(0, 0.3, 1),
          seed: fc.integer(),
        }),
        (options) => {
          const questions = questionsOf({ catalog, ...options });
          expect(questions).toHaveLength(options.count);
          for (const { history, candidates } of questions) {
            expect(new Set(candidates).size).toBe(options.candidateCount);
            expect(candidates.some((item) => history.includes(item))).toBe(false);
            expect([...history, ...candidates].every((item) => item >= 0 && item < catalog.size)).toBe(true);
          }
        },
      ),
      { seed: 7, numRuns: 60 },
    ));

  it('is a function of the seed, and more of it begins with what there was', () => {
    const some = questionsOf({ ...base, count: 30 }).map(textOf);
    expect(questionsOf({ ...base, count: 30 }).map(textOf)).toEqual(some);
    expect(questionsOf({ ...base, count: 80 }).map(textOf)).toEqual(expect.arrayContaining(some));
    const others = questionsOf({ ...base, count: 30, seed: 4 }).map(textOf);
    expect(others.filter((question) => some.includes(question))).toEqual([]);
  });

  it('makes the choice the next item of the history, and for None one of the candidates', () => {
    const plan = new QuestionPlan({ ...base, emptyShare: 0 });
    const stream = plan.stream(0);
    const first = stream.next as PreferenceQuery;
    stream.answer({ kind: 'choice', choice: first.candidates[2] as number });
    const second = stream.next as PreferenceQuery;
    expect(second.history).toEqual([...first.history, first.candidates[2]]);
    stream.answer({ kind: 'none' });
    const third = stream.next as PreferenceQuery;
    expect(third.history.slice(0, -1)).toEqual(second.history);
    expect(second.candidates).toContain(third.history.at(-1));
    stream.answer({ kind: 'invalid', raw: '?' });
    expect(stream.next?.history).toEqual(third.history);
    expect(stream.next?.candidates).not.toEqual(third.candidates);
  });

  it('takes prefixes of logs, never whole ones, at most historyLength long', () => {
    const lists = Array.from({ length: 9 }, (_, s) => Array.from({ length: 8 }, (_, t) => (s * 4 + t) % 40));
    const histories = Sequences.from(lists, { itemCount: 40 });
    const questions = questionsOf({ ...base, count: 300, histories, historyLength: 3, emptyShare: 0.2 });
    const empty = questions.filter(({ history }) => history.length === 0).length;
    expect(empty / 300).toBeGreaterThan(0.1);
    expect(empty / 300).toBeLessThan(0.3);
    for (const { history } of questions.filter(({ history: items }) => items.length > 0)) {
      expect(history.length).toBeLessThanOrEqual(3);
      const found = lists.some((list) => {
        const end = list.indexOf(history.at(-1) as number);
        return end < 7 && JSON.stringify(list.slice(end + 1 - history.length, end + 1)) === JSON.stringify(history);
      });
      expect(found).toBe(true);
    }
  });

  it('lets a policy draw its share of the candidates', () => {
    const counts = Float32Array.from({ length: 40 }, (_, item) => (item < 4 ? 1e6 : 1e-6));
    const policy = new PopularityPolicy(counts);
    const options = { ...base, count: 40, candidateCount: 4, stepsPerEpisode: 1, emptyShare: 1 };
    const popular = (questions: readonly PreferenceQuery[]): number =>
      questions.flatMap(({ candidates }) => candidates).filter((item) => item < 4).length / (4 * 40);
    expect(popular(questionsOf({ ...options, policy, policyShare: 1 }))).toBe(1);
    expect(popular(questionsOf({ ...options, policy }))).toBeGreaterThanOrEqual(0.5);
    expect(popular(questionsOf(options))).toBeLessThan(0.3);
  });

  it.each([
    [{ histories: Sequences.from([[1, 2]], { itemCount: 40 }), starts: [[]] }, /at most one of/],
    [{ histories: Sequences.from([[1, 2]], { itemCount: 41 }) }, /of the catalogue's 40 items/],
    [{ candidateCount: 32 }, /at least 42 items/],
    [{ starts: [['nobody']] }, /nobody/],
    [{ count: 0 }, /count/],
  ])('refuses %o', (wrong, message) => {
    expect(() => new QuestionPlan({ ...base, ...wrong })).toThrow(InvalidArgumentError);
    expect(() => new QuestionPlan({ ...base, ...wrong })).toThrow(message);
  });
});

describe('distil', () => {
  it('asks every question of the plan once, whatever the concurrency', async () => {
    const whole = questionsOf(base).map(textOf).sort();
    const records: string[][] = [];
    for (const concurrency of [1, 7, 500]) {
      const storage = new MemoryStorage();
      const oracle = oracleBy();
      const result = await distil({ ...base, oracle, storage, concurrency });
      expect(oracle.queries.map(textOf).sort()).toEqual(whole);
      expect(result).toMatchObject({ total: 97, answered: 97, asked: 97, invalid: 0, failed: 0 });
      expect(result.choices + result.nones).toBe(97);
      records.push(await recordOf(storage));
    }
    expect(records[1]).toEqual(records[0]);
    expect(records[2]).toEqual(records[0]);
  });

  it('goes on after an abort at any moment, and asks nothing twice', async () => {
    const whole = questionsOf(base).map(textOf).sort();
    await fc.assert(
      fc.asyncProperty(fc.array(fc.integer({ min: 0, max: 40 }), { maxLength: 4 }), async (stops) => {
        const storage = new MemoryStorage();
        const asked: string[] = [];
        for (const stop of [...stops, Number.POSITIVE_INFINITY]) {
          const controller = new AbortController();
          const oracle = oracleBy((query, n) => {
            if (n === stop) controller.abort(new Error('enough'));
            else asked.push(textOf(query));
            return answerOf(query);
          });
          const running = distil({ ...base, oracle, storage, concurrency: 4, signal: controller.signal });
          // A run may be over before its stop comes.
          const error = await running.then(
            () => undefined,
            (reason: Error) => reason.message,
          );
          expect(error === undefined || error === 'enough').toBe(true);
        }
        // In flight at an abort: at most the concurrency's questions are asked again.
        const again = asked.length - new Set(asked).size;
        expect(again).toBeLessThanOrEqual(4 * stops.length);
        expect([...new Set(asked)].sort()).toEqual(expect.arrayContaining(whole));
        expect(await recordOf(storage)).toHaveLength(97);
      }),
      { seed: 5, numRuns: 12 },
    );
  });

  it('begins again where a kill left no whole header', async () => {
    for (const torn of ['', '{"format":"ialp-ans']) {
      const storage = new MemoryStorage();
      await storage.put('answers.jsonl', new TextEncoder().encode(torn));
      expect(await planDistil({ ...base, oracle: oracleBy(), storage })).toMatchObject({ recorded: 0 });
      expect(await distil({ ...base, oracle: oracleBy(), storage })).toMatchObject({ answered: 97, asked: 97 });
    }
  });

  it('without the record, the negative control, asks all again', async () => {
    const oracle = oracleBy();
    await distil({ ...base, oracle, storage: new MemoryStorage() });
    await distil({ ...base, oracle, storage: new MemoryStorage() });
    expect(oracle.queries).toHaveLength(2 * 97);
    expect(new Set(oracle.queries.map(textOf)).size).toBe(97);
  });

  it('extends a set, and asks only what is new', async () => {
    const storage = new MemoryStorage();
    await distil({ ...base, count: 40, oracle: oracleBy(), storage });
    const oracle = oracleBy();
    expect(await distil({ ...base, oracle, storage })).toMatchObject({ asked: 57, answered: 97 });
    const once = new MemoryStorage();
    await distil({ ...base, oracle: oracleBy(), storage: once });
    expect(await recordOf(storage)).toEqual(await recordOf(once));
  });

  it('says when a set is extended by another plan', async () => {
    const storage = new MemoryStorage();
    const warnings: string[] = [];
    const onWarning = (message: string): number => warnings.push(message);
    await distil({ ...base, count: 20, oracle: oracleBy(), storage, onWarning });
    await distil({ ...base, count: 30, oracle: oracleBy(), storage, onWarning });
    expect(warnings).toEqual([]);
    await distil({ ...base, count: 20, seed: 8, oracle: oracleBy(), storage, onWarning });
    expect(warnings).toEqual([expect.stringMatching(/other questions \(seed differed\)/)]);
    expect(await recordOf(storage)).toHaveLength(50);
  });

  it('extends a set by longer questions, and all of it can be learned from', async () => {
    await useBackend('wasm', { threads: 1 });
    const storage = new MemoryStorage();
    const other = { ...base, count: 20, candidateCount: 30, stepsPerEpisode: 1 };
    await distil({ ...base, count: 20, oracle: oracleBy(), storage });
    await distil({ ...other, oracle: oracleBy(), storage });
    const { answers } = await readAnswers({ storage, catalog });
    expect(new Set(answers.map(({ candidates }) => candidates.length))).toEqual(new Set([5, 30]));
    using agent = smallAgent();
    expect(await pretrain({ agent, answers, lanes: 4 })).toMatchObject({ steps: 40 });
  });

  it('leaves questions that fail for the next run', async () => {
    const storage = new MemoryStorage();
    const flaky = oracleBy((query, n) => (n % 10 === 3 ? 'failed' : answerOf(query)));
    const first = await distil({ ...base, oracle: flaky, storage, maxInvalidRate: 1 });
    expect(first.failed).toBeGreaterThan(0);
    expect(first.answered).toBeLessThan(97);
    expect(first.failure).toBeTypeOf('string');
    const second = await distil({ ...base, oracle: oracleBy(), storage });
    expect(second).toMatchObject({ answered: 97, failed: 0, asked: 97 - first.answered });
    const once = new MemoryStorage();
    await distil({ ...base, oracle: oracleBy(), storage: once });
    expect(await recordOf(storage)).toEqual(await recordOf(once));
  });

  it('stops when too many answers cannot be read, with advice, and goes on once the oracle is mended', async () => {
    const storage = new MemoryStorage();
    const babbling = oracleBy((query, n) => (n > 30 ? 'invalid' : answerOf(query)));
    const run = distil({ ...base, count: 400, oracle: babbling, storage, concurrency: 4 });
    await expect(run).rejects.toThrow(/could not be used, more than `maxInvalidRate` 0.05; .*retryInvalid/);
    expect(babbling.queries.length).toBeLessThan(100);
    const mended = oracleBy();
    const result = await distil({ ...base, count: 400, oracle: mended, storage, retryInvalid: true });
    expect(result).toMatchObject({ answered: 400, invalid: 0 });
    // What could not be read was paid for as well, also in the eyes of a later run.
    const again = await distil({ ...base, count: 400, oracle: oracleBy(), storage });
    expect(again).toMatchObject({ asked: 0, answered: 400 });
    expect(again.spent.calls).toBe(babbling.queries.length + mended.queries.length);
    expect(again.spent.calls).toBeGreaterThan(400);
  });

  /** Cannot read about every sixth question; they are in the midst of episodes. */
  const isHard = ({ candidates }: PreferenceQuery): boolean => candidates.reduce((a, b) => a + b, 0) % 6 === 0;
  const halfBlind = (): ScriptedOracle => oracleBy((query) => (isHard(query) ? 'invalid' : answerOf(query)));

  it('asks again what could not be read, and nothing that followed: no answer is lost, and the dry run says so', async () => {
    const storage = new MemoryStorage();
    const blind = halfBlind();
    const first = await distil({ ...base, oracle: blind, storage, maxInvalidRate: 1 });
    const hard = blind.queries.filter(isHard).map(textOf).sort();
    const before = await recordOf(storage);
    expect(first).toMatchObject({ answered: 97, invalid: hard.length });
    expect(hard.length).toBeGreaterThan(8);
    expect(before).toHaveLength(97 - hard.length);
    const priced = (): PreferenceOracle =>
      Object.assign(oracleBy(), {
        estimate: async (queries: readonly PreferenceQuery[]) =>
          queries.map(({ candidates }) => ({ calls: 1, inputTokens: candidates.reduce((a, b) => a + b, 0) })),
      });
    const tokens = blind.queries.filter(isHard).flatMap(({ candidates }) => candidates);
    const inputTokens = tokens.reduce((a, b) => a + b, 0);
    expect(await planDistil({ ...base, oracle: priced(), storage, retryInvalid: true })).toMatchObject({
      ...{ total: 97, recorded: 97 - hard.length, sampled: hard.length },
      toCome: { questions: hard.length, calls: hard.length, inputTokens },
    });
    expect(await planDistil({ ...base, oracle: priced(), storage })).toMatchObject({ recorded: 97 });

    const mended = oracleBy();
    const second = await distil({ ...base, oracle: mended, storage, retryInvalid: true });
    expect(mended.queries.map(textOf).sort()).toEqual(hard);
    expect(second).toMatchObject({ answered: 97, asked: hard.length, invalid: 0 });
    const after = await recordOf(storage);
    expect(after).toHaveLength(97);
    expect(after).toEqual(expect.arrayContaining(before));
    // Nothing is open, whether it is asked for again or not, and an extension asks only what is new.
    for (const retryInvalid of [false, true]) {
      expect(await planDistil({ ...base, oracle: oracleBy(), storage, retryInvalid })).toMatchObject({ recorded: 97 });
      expect(await distil({ ...base, oracle: oracleBy(), storage, retryInvalid })).toMatchObject({ asked: 0 });
    }
    expect(await openQuestions({ ...base, oracleId: 'rule', storage })).toEqual([]);
    const more = await distil({ ...base, count: 120, oracle: oracleBy(), storage });
    expect(more).toMatchObject({ answered: 120, asked: 23 });
  });

  it('asks again in a set that is not complete, killed at any moment, nothing twice but what was in flight', async () => {
    const unbroken = new MemoryStorage();
    const begin = (storage: MemoryStorage) =>
      distil({ ...base, oracle: halfBlind(), storage, maxInvalidRate: 1, budget: { calls: 50 }, concurrency: 1 });
    await expect(begin(unbroken)).rejects.toThrow(BudgetExceededError);
    await distil({ ...base, oracle: oracleBy(), storage: unbroken, retryInvalid: true });
    const wanted = await recordOf(unbroken);
    expect(wanted).toHaveLength(97);
    await fc.assert(
      fc.asyncProperty(fc.array(fc.integer({ min: 0, max: 30 }), { minLength: 1, maxLength: 4 }), async (stops) => {
        const storage = new MemoryStorage();
        await expect(begin(storage)).rejects.toThrow(BudgetExceededError);
        const asked: string[] = [];
        for (const stop of [...stops, Number.POSITIVE_INFINITY]) {
          const controller = new AbortController();
          const oracle = oracleBy((query, n) => {
            if (n === stop) controller.abort(new Error('enough'));
            else asked.push(textOf(query));
            return answerOf(query);
          });
          const options = { ...base, oracle, storage, concurrency: 4, retryInvalid: true, signal: controller.signal };
          await distil(options).catch((error: Error) => expect(error.message).toBe('enough'));
        }
        expect(asked.length - new Set(asked).size).toBeLessThanOrEqual(4 * stops.length);
        expect(await recordOf(storage)).toEqual(wanted);
      }),
      { seed: 5, numRuns: 12 },
    );
  });

  it('stops when nobody answers', async () => {
    const down = oracleBy(() => 'failed');
    const run = distil({ ...base, count: 400, oracle: down, storage: new MemoryStorage(), concurrency: 2 });
    await expect(run).rejects.toThrow(OracleError);
    expect(down.queries.length).toBeLessThan(30);
    const few = distil({ ...base, count: 3, stepsPerEpisode: 1, oracle: down, storage: new MemoryStorage() });
    await expect(few).rejects.toThrow(/all 3 questions/);
  });

  it('tells progress, and what was spent and is to come, over several runs', async () => {
    const storage = new MemoryStorage();
    const billed: PreferenceOracle = {
      id: 'billed',
      prefer: async (queries) =>
        queries.map(({ candidates }) => ({
          kind: 'choice',
          choice: candidates[0] as number,
          meta: { usage: { calls: 2, inputTokens: 100, outputTokens: 1 } },
        })),
    };
    const prices = { inputPerMillion: 1, outputPerMillion: 10 };
    const told: DistilProgress[] = [];
    const options: DistilOptions = { ...base, oracle: billed, storage, prices, onProgress: (p) => told.push(p) };
    await distil({ ...options, count: 50 });
    expect(told.at(-1)).toMatchObject({ total: 50, done: 50, asked: 50, invalid: 0, failed: 0 });
    const result = await distil({ ...options, count: 80 });
    const last = told.at(-1) as DistilProgress;
    expect(last).toMatchObject({ total: 80, done: 80, asked: 30, etaSeconds: 0 });
    expect(last.spent).toMatchObject({ questions: 80, calls: 160, inputTokens: 8000, outputTokens: 80 });
    expect(last.spent.costUsd).toBeCloseTo(80 * 110e-6, 9);
    expect(last.toCome).toMatchObject({ questions: 0, costUsd: 0 });
    expect(result.spent).toEqual(last.spent);
    const resumed = told.find(({ total, done }) => total === 80 && done < 80) as DistilProgress;
    expect(resumed.toCome?.costUsd).toBeCloseTo((80 - resumed.done) * 110e-6, 9);
  });

  it('passes no cap, tells which one, and goes on with a higher one', async () => {
    const storage = new MemoryStorage();
    const oracle = oracleBy();
    const run = (calls: number) => distil({ ...base, oracle, storage, budget: { calls }, concurrency: 8 });
    const error = await run(30).then(
      () => undefined,
      (reason: unknown) => reason,
    );
    expect(error).toBeInstanceOf(BudgetExceededError);
    expect(error).toMatchObject({ cap: 'calls', limit: 30 });
    expect(oracle.queries).toHaveLength(30);
    // The budget is of the set, not of the run.
    await expect(run(30)).rejects.toThrow(BudgetExceededError);
    await expect(run(50)).rejects.toThrow(BudgetExceededError);
    expect(oracle.queries).toHaveLength(50);
    expect(await run(97)).toMatchObject({ answered: 97, asked: 47 });
    expect(new Set(oracle.queries.map(textOf)).size).toBe(97);
  });

  it('counts what came to nothing in earlier runs against the budget', async () => {
    const storage = new MemoryStorage();
    const flaky = oracleBy((query, n) => (n % 2 === 0 ? 'failed' : answerOf(query)));
    const options = { ...base, stepsPerEpisode: 1, storage, budget: { calls: 20 } };
    await expect(distil({ ...options, oracle: flaky, maxInvalidRate: 1 })).rejects.toThrow(BudgetExceededError);
    const again = oracleBy();
    await expect(distil({ ...options, oracle: again })).rejects.toThrow(BudgetExceededError);
    expect(again.queries).toHaveLength(0);
  });
});

describe('planDistil', () => {
  const perPrompt = ({ history }: PreferenceQuery) => ({
    calls: 1,
    inputTokens: 100 + 10 * history.length,
    outputTokens: 1,
  });
  const priced = (answers: boolean): PreferenceOracle => ({
    id: 'priced',
    prefer: async (queries) => {
      if (!answers) throw new Error('a dry run asks nobody');
      return queries.map((query) => {
        const { candidates } = query;
        return { kind: 'choice', choice: candidates[0] as number, meta: { usage: perPrompt(query) } };
      });
    },
    estimate: async (queries) => queries.map(perPrompt),
  });

  it.each([50, 200, 5000])('prices a job from a sample of %i, and asks nobody', async (sample) => {
    const options = { ...base, count: 1000 };
    const prices = { inputPerMillion: 2, outputPerMillion: 8 };
    const dry = await planDistil({ ...options, oracle: priced(false), sample, prices });
    expect(dry).toMatchObject({ total: 1000, recorded: 0, sampled: Math.min(sample, 1000) });
    const { spent } = await distil({ ...options, oracle: priced(true), storage: new MemoryStorage(), prices });
    for (const unit of ['calls', 'inputTokens', 'outputTokens', 'costUsd'] as const) {
      expect((dry.toCome?.[unit] as number) / spent[unit]).toBeGreaterThan(0.98);
      expect((dry.toCome?.[unit] as number) / spent[unit]).toBeLessThan(1.02);
    }
  });

  it.each([0, 2])(
    'counts what is paid once an item once, however small the sample, with %i baselines',
    async (baselines) => {
      const oracle = (): LikelihoodOracle =>
        new LikelihoodOracle({
          ...{ catalog, baselineHistories: baselines },
          languageModel: scriptedModel({ continuation: (prefix, text) => -text.length - prefix.length / 100 }),
        });
      const options = { ...base, count: 1000, emptyShare: 0.2 };
      const dry = await planDistil({ ...options, oracle: oracle(), sample: 20 });
      expect(dry).toMatchObject({ total: 1000, sampled: 1000 });
      const { spent } = await distil({ ...options, oracle: oracle(), storage: new MemoryStorage() });
      for (const unit of ['calls', 'inputTokens'] as const) {
        expect((dry.toCome?.[unit] as number) / spent[unit]).toBeGreaterThan(0.9);
        expect((dry.toCome?.[unit] as number) / spent[unit]).toBeLessThan(1.1);
      }
      // The negative control: twenty questions, each paying for its own items, times fifty.
      const few = questionsOf(options).slice(0, 20);
      const calls = (await oracle().estimate(few)).reduce((sum, usage) => sum + (usage.calls as number), 0);
      expect((calls * 50) / spent.calls).toBeGreaterThan(1.3);
    },
  );

  it('counts a text once that many items have, where likelihoods are kept', async () => {
    const alike = Catalog.fromItems(
      Array.from({ length: 40 }, (_, i) => ({ id: `${i}`, title: `kind ${i % 8}` })),
      { scenario: 'shop', itemNoun: 'thing', behavior: 'purchase', attributes: ['title'] },
    );
    const languageModel = scriptedModel({ continuation: (_prefix, text) => -text.length });
    const oracle = (): LikelihoodOracle =>
      new LikelihoodOracle({ catalog: alike, languageModel, storage: new MemoryStorage() });
    const options = { ...base, catalog: alike, count: 60 };
    const dry = await planDistil({ ...options, oracle: oracle(), sample: 20 });
    const { spent } = await distil({ ...options, oracle: oracle(), storage: new MemoryStorage(), concurrency: 1 });
    for (const unit of ['calls', 'inputTokens'] as const) {
      expect((dry.toCome?.[unit] as number) / spent[unit]).toBeGreaterThan(0.95);
      expect((dry.toCome?.[unit] as number) / spent[unit]).toBeLessThan(1.05);
    }
  });

  it('leaves open what a sample cannot say when it is not to count all', async () => {
    const languageModel = scriptedModel({ continuation: (_prefix, text) => -text.length });
    const oracle = new LikelihoodOracle({ catalog, languageModel });
    const dry = await planDistil({ ...base, count: 1000, oracle, sample: 20, countAll: false });
    expect(dry).toEqual({ total: 1000, recorded: 0, sampled: 0, toCome: undefined });
  });

  it('takes a sample of an oracle with a memory, which answers a question twice for one price', async () => {
    const oracle = await CachedOracle.open({ oracle: priced(false), catalog });
    expect(await planDistil({ ...base, count: 1000, oracle, sample: 20 })).toMatchObject({ sampled: 20 });
    await oracle.close();
  });

  it('leaves out what is on record', async () => {
    const storage = new MemoryStorage();
    await distil({ ...base, count: 300, oracle: priced(true), storage });
    const dry = await planDistil({ ...base, count: 400, oracle: priced(false), storage });
    expect(dry).toMatchObject({ total: 400, recorded: 300, toCome: { questions: 100, calls: 100 } });
    const all = await planDistil({ ...base, count: 300, oracle: priced(false), storage });
    expect(all).toMatchObject({ recorded: 300, sampled: 0, toCome: { questions: 0, calls: 0, costUsd: 0 } });
  });

  it('says nothing of the cost where the oracle cannot tell', async () => {
    expect((await planDistil({ ...base, oracle: oracleBy() })).toCome).toBeUndefined();
  });
});

describe('openQuestions', () => {
  it('are the first open one of each episode, round after round', async () => {
    const storage = new MemoryStorage();
    const whole = questionsOf({ ...base, count: 25 })
      .map(textOf)
      .sort();
    const asked: string[] = [];
    for (let round = 0; round < 12; round++) {
      const questions = await openQuestions({ ...base, count: 25, oracleId: 'rule', storage });
      if (questions.length === 0) break;
      expect(questions.length).toBeLessThanOrEqual(3);
      asked.push(...questions.map(textOf));
      const recording = await RecordingOracle.open({ oracle: oracleBy(), catalog, storage, keepQueries: true });
      await recording.prefer(questions);
    }
    expect(asked.sort()).toEqual(whole);
  });
});
