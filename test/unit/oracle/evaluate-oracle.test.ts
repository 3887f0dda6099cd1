import { describe, expect, it } from 'vitest';
import { Sequences } from '../../../src/catalog/sequences.js';
import { InvalidArgumentError } from '../../../src/foundation/errors.js';
import { type EvaluationList, evaluateOracle } from '../../../src/oracle/evaluate-oracle.js';
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
    expect(await evaluateOracle({ oracle: oracle(), sequences, limit: 40, seed: 1 })).toEqual(first);
    expect(await evaluateOracle({ oracle: oracle(), sequences, limit: 40, seed: 2 })).not.toEqual(first);
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
