import { describe, expect, it } from 'vitest';
import { Sequences } from '../../../src/catalog/sequences.js';
import { InvalidArgumentError } from '../../../src/foundation/errors.js';
import { evaluateOracle } from '../../../src/oracle/evaluate-oracle.js';
import { type EvaluationList, nextItemLists } from '../../../src/oracle/next-item-lists.js';
import type { OracleEvaluation, OracleRow } from '../../../src/oracle/oracle-evaluation.js';
import type { Preference, PreferenceQuery } from '../../../src/oracle/preference-oracle.js';
import { ScriptedOracle } from '../../../src/oracle/scripted-oracle.js';
import { SimulatedOracle } from '../../../src/oracle/simulated-oracle.js';
import { shop } from './fixtures.js';

const catalog = shop(60, 6);
/** Each user stays in one category: text tells the next item's category. */
const sequences = Sequences.from(
  Array.from({ length: 120 }, (_, user) => Array.from({ length: 5 }, (_, i) => (user % 6) + 6 * ((user + 3 * i) % 10))),
  { itemCount: 60 },
);
const lists: readonly EvaluationList[] = Array.from({ length: 100 }, (_, i) => ({
  history: [i % 30],
  candidates: [30, 31, 32, 33],
  truth: 30 + (i % 4),
}));

/** All but the wall time. */
function timeless(report: OracleEvaluation): unknown {
  return { ...report, secondsPerAnswer: 0, rows: report.rows.map((row) => ({ ...row, secondsPerAnswer: 0 })) };
}

/** Answers with scores that a function gives. */
function scoring(
  score: (query: PreferenceQuery, item: number) => number,
  none = Number.NEGATIVE_INFINITY,
): ScriptedOracle {
  return new ScriptedOracle((query): Preference => {
    const scores = query.candidates.map((item) => score(query, item));
    const best = Math.max(...scores);
    const meta = { scores: [...scores, none] };
    return best < none
      ? { kind: 'none', meta }
      : { kind: 'choice', choice: query.candidates[scores.indexOf(best)] as number, meta };
  });
}

function rowOf(report: OracleEvaluation, oracle: OracleRow['oracle']): OracleRow {
  return report.rows.find((row) => row.oracle === oracle) as OracleRow;
}

describe('evaluateOracle', () => {
  it('gives a perfect oracle hit@1 of 1, no flips and no spread', async () => {
    const truths = new Map(lists.map((list) => [list.history[0], list.truth]));
    const unique = lists.slice(0, 30);
    const perfect = new ScriptedOracle((query) => query.candidates.indexOf(truths.get(query.history[0]) as number));
    const oneTruth = unique.map((list) => ({ ...list, truth: truths.get(list.history[0]) as number }));
    const report = await evaluateOracle({ oracle: perfect, lists: oneTruth });
    expect(report).toMatchObject({
      lists: 30,
      chance: 0.25,
      hitAt1: 1,
      noneRate: 0,
      invalidRate: 0,
      failedRate: 0,
      recallSpread: 0,
      flipRate: 0,
    });
    expect(report.hitAt1Low).toBeLessThan(1);
    expect(report.hitAt1High).toBeCloseTo(1, 12);
  });

  it('shows an oracle that always takes the first place: recall 1 there and 0 elsewhere, every shift a flip', async () => {
    const report = await evaluateOracle({ oracle: new ScriptedOracle(() => 0), lists });
    expect(report.recallByPosition).toEqual([1, 0, 0, 0]);
    // Values 1, 0, 0, 0: mean 1/4, variance (9 + 1 + 1 + 1) / 16 / 4 = 3/16.
    expect(report.recallSpread).toBeCloseTo(Math.sqrt(3) / 4, 12);
    expect(report.flipRate).toBe(1);
    // The truth stands anywhere equally often: chance, within the interval.
    expect(report.hitAt1Low).toBeLessThan(0.25);
    expect(report.hitAt1High).toBeGreaterThan(0.25);
  });

  it('counts None, invalid and failed apart; failed ones are not answered', async () => {
    const kinds = ['none', 'invalid', 'failed', 0] as const;
    const oracle = new ScriptedOracle((_, n) => kinds[n % 4] as 'none');
    const report = await evaluateOracle({ oracle, lists });
    expect(report).toMatchObject({ noneRate: 25 / 75, invalidRate: 25 / 75, failedRate: 0.25 });
  });

  it('has the Wilson interval, by hand', async () => {
    let n = 0;
    const oracle = new ScriptedOracle((query) => (n++ % 2 === 0 ? query.candidates.indexOf(30) : 'none'));
    const ten = Array.from({ length: 10 }, () => ({ history: [1], candidates: [30, 31], truth: 30 }));
    const report = await evaluateOracle({ oracle, lists: ten });
    expect(report.hitAt1).toBe(0.5);
    expect(report.hitWhenChosen).toBe(1);
    // 5 of 10: 0.2366 to 0.7634 (standard tables).
    expect(report.hitAt1Low).toBeCloseTo(0.2366, 4);
    expect(report.hitAt1High).toBeCloseTo(0.7634, 4);
  });

  it('tells a text oracle from its negative controls on held-out sequences', async () => {
    const options = { sequences, candidateCount: 5, seed: 2 };
    const text = await evaluateOracle({ oracle: new SimulatedOracle({ catalog }), ...options });
    const shuffled = await evaluateOracle({ oracle: new SimulatedOracle({ catalog, shuffledText: 3 }), ...options });
    const random = await evaluateOracle({ oracle: new SimulatedOracle({ catalog, control: 'random' }), ...options });
    const none = await evaluateOracle({ oracle: new SimulatedOracle({ catalog, control: 'alwaysNone' }), ...options });
    expect(text.lists).toBe(120);
    expect(text.hitAt1Low).toBeGreaterThan(0.5);
    expect(shuffled.hitAt1High).toBeLessThan(text.hitAt1Low);
    expect(random.hitAt1High).toBeLessThan(text.hitAt1Low);
    expect(none).toMatchObject({ noneRate: 1, hitAt1: 0 });
    // Its noise does not look at places.
    expect(text.flipRate).toBe(0);
  });

  it('is a function of its seed, asks at most `limit` lists, and honours maxBatch', async () => {
    const oracle = (): ScriptedOracle =>
      new ScriptedOracle((query) => (query.candidates[0] as number) % 3, { maxBatch: 7 });
    const first = await evaluateOracle({ oracle: oracle(), sequences, limit: 40, seed: 1 });
    expect(first.lists).toBe(40);
    const again = await evaluateOracle({ oracle: oracle(), sequences, limit: 40, seed: 1 });
    const other = await evaluateOracle({ oracle: oracle(), sequences, limit: 40, seed: 2 });
    expect(timeless(again)).toEqual(timeless(first));
    expect(timeless(other)).not.toEqual(timeless(first));
  });

  it('never puts an item of the sequence among the negatives', async () => {
    const asked = new ScriptedOracle(() => 0);
    await evaluateOracle({ oracle: asked, sequences, candidateCount: 10 });
    for (const query of asked.queries) {
      expect(new Set(query.candidates).size).toBe(10);
      expect(query.candidates.filter((item) => query.history.includes(item))).toEqual([]);
    }
  });

  it('rejects with the reason on abort', async () => {
    const running = evaluateOracle({ oracle: new ScriptedOracle(() => 0), lists, signal: AbortSignal.abort('stop') });
    await expect(running).rejects.toBe('stop');
  });

  it.each([
    ['neither lists nor sequences', {}],
    ['both', { lists, sequences }],
    ['a list without its truth', { lists: [{ history: [], candidates: [1, 2], truth: 3 }] }],
    ['no list', { lists: [] }],
    ['more candidates than items', { sequences, candidateCount: 59 }],
    ['one candidate', { sequences, candidateCount: 1 }],
    ['no oracle', { oracle: undefined, lists }],
  ])('refuses %s', async (_, options) => {
    const running = evaluateOracle({ oracle: new ScriptedOracle(() => 0), ...options } as never);
    await expect(running).rejects.toBeInstanceOf(InvalidArgumentError);
  });
});

describe('evaluateOracle, beside those who need no model', () => {
  const counts = sequences.counts();
  const known = { sequences, counts, catalog, candidateCount: 8, seed: 3 } as const;
  /** Which item is the truth is a secret of one digit that no text holds: (history + item) mod 7. */
  const secret = (query: PreferenceQuery, item: number): number =>
    ((query.history.at(-1) as number) + item) % 7 === 0 ? 1 : 0;
  const lists7 = nextItemLists({ sequences, candidateCount: 8, seed: 3 }).map((list): EvaluationList => {
    const candidates = list.candidates.filter((item) => item === list.truth || secret({ ...list }, item) === 0);
    return { ...list, candidates };
  });

  it('judges random, popularity, text and both on the same lists', async () => {
    const report = await evaluateOracle({ oracle: new SimulatedOracle({ catalog, noise: 0.3 }), ...known });
    expect(report.rows.map(({ oracle }) => oracle)).toEqual(['model', 'random', 'popularity', 'text', 'textPlusModel']);
    for (const row of report.rows) {
      expect(row).toMatchObject({ lists: 120, chance: 0.125, readout: 'label', negatives: 'uniform' });
      expect(row.hitAt1Low as number).toBeLessThanOrEqual(row.hitAt1 as number);
      expect(row.hitAt1High as number).toBeGreaterThanOrEqual(row.hitAt1 as number);
    }
    const random = rowOf(report, 'random');
    expect(random.hitAt1Low as number).toBeLessThan(0.125);
    expect(random.hitAt1High as number).toBeGreaterThan(0.125);
    // The text of this shop tells the category: far above chance, and the noisy reader of texts below the exact one.
    expect(rowOf(report, 'text').hitAt1Low as number).toBeGreaterThan(0.4);
    expect(rowOf(report, 'model').gain as number).toBeLessThanOrEqual(0);
  });

  it('finds what an oracle adds to text, and nothing where there is nothing', async () => {
    // Knows the truth in two lists of three, by a hash that no text holds, and is silent in the third.
    const truths = new Map(lists7.map((list) => [JSON.stringify(list.history), list.truth]));
    const informed = scoring((query, item) => {
      const truth = truths.get(JSON.stringify(query.history)) as number;
      return truth % 3 === 0 ? 0 : item === truth ? 1 : 0;
    });
    const noise = scoring((query, item) => ((query.history[0] as number) * 31 + item * 17) % 101);
    const adds = rowOf(await evaluateOracle({ oracle: informed, lists: lists7, catalog }), 'textPlusModel');
    const not = rowOf(await evaluateOracle({ oracle: noise, lists: lists7, catalog }), 'textPlusModel');
    expect(adds.gainLow as number).toBeGreaterThan(0);
    // Negative control: noise adds nothing certain.
    expect(not.gainLow as number).toBeLessThanOrEqual(0);
    expect(not.gain as number).toBeLessThan(adds.gain as number);
  });

  it('weighs a bare choice where there are no scores', async () => {
    const truths = new Map(lists7.map((list) => [JSON.stringify(list.history), list.truth]));
    const silent = new ScriptedOracle((query) =>
      query.candidates.indexOf(truths.get(JSON.stringify(query.history)) as number),
    );
    const report = await evaluateOracle({ oracle: silent, lists: lists7, catalog });
    expect(report.hitForced).toBeUndefined();
    expect(rowOf(report, 'textPlusModel').hitAt1).toBeGreaterThan(0.95);
  });

  it('keeps the lists of one user in one half: lists of a user do not teach how to judge that user', async () => {
    // Two users, whose oracle tells the truth of one and the opposite of the other: each half is judged by the other's weights.
    const both = Array.from({ length: 40 }, (_, i): EvaluationList => {
      return { history: [i % 2], candidates: [10, 11, 12, 13], truth: 10 + (i % 4), user: `${i % 2}` };
    });
    const liar = scoring((query, item) => (query.history[0] === 0 ? 1 : -1) * (item % 4 === 0 ? 1 : 0));
    const truthful = both.map((list) => ({ ...list, truth: 12 }));
    const report = await evaluateOracle({ oracle: liar, lists: truthful, catalog });
    // Users 0 and 1 have opposite weights, so judged by each other both always miss.
    expect(rowOf(report, 'textPlusModel').hitAt1).toBe(0);
  });

  it('tells hitForced apart from hit@1 where None hides what is known', async () => {
    const truths = new Map(lists7.map((list) => [JSON.stringify(list.history), list.truth]));
    const shy = scoring((query, item) => (item === truths.get(JSON.stringify(query.history)) ? 1 : 0), 2);
    const report = await evaluateOracle({ oracle: shy, lists: lists7 });
    expect(report).toMatchObject({ hitAt1: 0, hitForced: 1, noneRate: 1 });
  });

  it('asks lists without their truth, and measures what a None is worth', async () => {
    const truths = new Set(lists7.map((list) => `${list.history}>${list.truth}`));
    const knows = scoring((query, item) => (truths.has(`${query.history}>${item}`) ? 2 : 0), 1);
    const report = await evaluateOracle({
      oracle: knows,
      lists: lists7,
      readout: 'likelihood',
      noneLists: 50,
      secondOrders: 0,
    });
    expect(report).toMatchObject({ noneRate: 0, noneHit: 1, noneAuc: 1, hitAt1: 1 });
    expect(report.noneThreshold).toMatchObject({ option: 'noneBelow', value: 1, noneRate: 0, noneHit: 1 });
    // 120 lists and 50 without, no second order.
    expect(knows.queries).toHaveLength(170);
    expect(Number.isNaN(report.flipRate)).toBe(true);
    // Control: an oracle that knows nothing tells them apart no better than chance.
    const blind = await evaluateOracle({
      oracle: scoring((query, item) => ((query.history[0] as number) * 13 + item * 29) % 97),
      ...{ lists: lists7, readout: 'likelihood' as const, noneLists: 120, secondOrders: 0 },
    });
    expect(Math.abs(blind.noneAuc - 0.5)).toBeLessThan(0.12);
  });

  it('never shows the truth in a list without it', async () => {
    const asked = new ScriptedOracle(() => 0);
    await evaluateOracle({ oracle: asked, ...known, secondOrders: 0, noneLists: 1_000 });
    const [first, without] = [asked.queries.slice(0, 120), asked.queries.slice(120)];
    const truths = new Map(
      nextItemLists({ sequences, candidateCount: 8, seed: 3, counts }).map((list) => [
        JSON.stringify(list.history),
        list.truth,
      ]),
    );
    expect(without).toHaveLength(120);
    for (const query of first) expect(query.candidates).toContain(truths.get(JSON.stringify(query.history)));
    for (const query of without) {
      expect(query.candidates).toHaveLength(8);
      expect(query.candidates).not.toContain(truths.get(JSON.stringify(query.history)));
    }
  });

  it('counts tokens, time and money of what was not on record', async () => {
    const usage = { inputTokens: 90, outputTokens: 10, costUsd: 0.5 };
    const answer = (cached: boolean): Preference => ({ kind: 'none', meta: cached ? { cached, usage } : { usage } });
    const half = await evaluateOracle({
      oracle: new ScriptedOracle((_, n) => answer(n % 2 === 0)),
      lists,
      secondOrders: 0,
    });
    expect(half).toMatchObject({ tokensPerAnswer: 100, costUsd: 25 });
    expect(half.secondsPerAnswer).toBeGreaterThan(0);
    const told: Preference = { kind: 'none', meta: { usage: { inputTokens: 90, outputTokens: 10 } } };
    const prices = { inputPerMillion: 1, outputPerMillion: 5 };
    const priced = { oracle: new ScriptedOracle(() => told), lists, secondOrders: 0 };
    expect((await evaluateOracle({ ...priced, prices })).costUsd).toBeCloseTo((lists.length * 140) / 1e6, 12);
    expect((await evaluateOracle(priced)).costUsd).toBeUndefined();
    const all = await evaluateOracle({ oracle: new ScriptedOracle(() => answer(true)), lists });
    expect(all).toMatchObject({ tokensPerAnswer: undefined, secondsPerAnswer: undefined, costUsd: undefined });
  });

  it('tells where it stands', async () => {
    const seen: number[] = [];
    const oracle = new ScriptedOracle(() => 0);
    await evaluateOracle({ oracle, lists, onProgress: ({ done, total }) => seen.push(done / total) });
    expect(seen).toHaveLength(200);
    expect(seen.at(-1)).toBe(1);
  });

  it.each([
    ['a replacement among the candidates', { lists: [{ history: [], candidates: [1, 2], truth: 1, replacement: 2 }] }],
    ['an item outside the catalogue', { lists: [{ history: [60], candidates: [1, 2], truth: 1 }], catalog }],
    ['popularity negatives without counts', { sequences, negatives: 'popularity' }],
    ['counts of another catalogue', { sequences, counts: [1, 2] }],
    ['an unknown read-out', { lists, readout: 'letters' }],
  ])('refuses %s', async (_, options) => {
    const running = evaluateOracle({ oracle: new ScriptedOracle(() => 0), ...options } as never);
    await expect(running).rejects.toBeInstanceOf(InvalidArgumentError);
  });
});
