import { describe, expect, it } from 'vitest';
import { Catalog } from '../../../src/catalog/catalog.js';
import { InvalidArgumentError } from '../../../src/foundation/errors.js';
import { Rng } from '../../../src/foundation/rng.js';
import type { Preference, PreferenceQuery } from '../../../src/oracle/preference-oracle.js';
import { SimulatedOracle, type SimulatedOracleOptions } from '../../../src/oracle/simulated-oracle.js';
import { textOracleScore } from '../../../src/oracle/text-oracle-score.js';
import { shop } from './fixtures.js';

const CATEGORIES = 6;
const catalog = shop(60, CATEGORIES);

/** Histories of one category, and ten candidates of which exactly one is of it. */
function lists(n: number, seed = 1): { query: PreferenceQuery; truth: number }[] {
  const rng = new Rng(seed);
  return Array.from({ length: n }, () => {
    const category = rng.integer(CATEGORIES);
    const own = rng.shuffle(Array.from({ length: 10 }, (_, i) => category + CATEGORIES * i));
    const truth = own.pop() as number;
    const others = rng
      .shuffle(Array.from({ length: 60 }, (_, i) => i).filter((i) => i % CATEGORIES !== category))
      .slice(0, 9);
    return { query: { history: own.slice(0, 3), candidates: rng.shuffle([truth, ...others]) }, truth };
  });
}

async function hitRate(options: Partial<SimulatedOracleOptions>, n = 300): Promise<number> {
  const asked = lists(n);
  const answers = await new SimulatedOracle({ catalog, ...options }).prefer(asked.map((list) => list.query));
  return answers.filter((answer, i) => answer.kind === 'choice' && answer.choice === asked[i]?.truth).length / n;
}

const scoresOf = (answer: Preference | undefined): readonly number[] =>
  (answer?.kind === 'choice' || answer?.kind === 'none' ? answer.meta?.scores : undefined) ?? [];
const outcome = (answer: Preference): unknown => (answer.kind === 'choice' ? answer.choice : answer.kind);

describe('textOracleScore', () => {
  it('is 0.5 max cos + 0.5 decayed mean of cos, newest weighing most', () => {
    // Two disjoint words of equal idf, so the cosines are 1 and 0.
    const score = textOracleScore(['aa', 'bb']);
    // History oldest first: aa, bb. For aa: max 1; (0.8 * 1 + 1 * 0) / 1.8 = 0.4444. For bb: max 1; (0 + 1) / 1.8 = 0.5556.
    const [aa, bb, unknown] = score(['aa', 'bb'], ['aa', 'bb', 'cc'], undefined);
    expect(aa).toBeCloseTo(0.5 + 0.5 * (0.8 / 1.8), 12);
    expect(bb).toBeCloseTo(0.5 + 0.5 * (1 / 1.8), 12);
    expect(unknown).toBe(0);
  });

  it('has the TF-IDF cosine, by hand', () => {
    // N = 3. df: xx 2, yy 1, zz 1, ww 1. idf = ln(4 / (1 + df)) + 1.
    const x = Math.log(4 / 3) + 1;
    const rare = Math.log(4 / 2) + 1;
    const score = textOracleScore(['xx yy', 'xx zz', 'ww']);
    const cos = (x * x) / (Math.hypot(x, rare) * Math.hypot(x, rare));
    expect(score(['xx yy'], ['xx zz'], undefined)[0]).toBeCloseTo(cos, 12);
    // A text outside the fitted ones: 'xx xx' is (2 x) normalised = the unit vector of xx.
    expect(score(['xx yy'], ['xx xx qq'], undefined)[0]).toBeCloseTo(x / Math.hypot(x, rare), 12);
  });

  it('looks at the last ten items only, and knows nothing from an empty history', () => {
    const score = textOracleScore(['aa', 'bb']);
    expect(score(['aa', ...new Array<string>(10).fill('bb')], ['aa'], undefined)[0]).toBe(0);
    expect(score(['aa', ...new Array<string>(9).fill('bb')], ['aa'], undefined)[0]).toBeGreaterThan(0.5);
    expect(Array.from(score([], ['aa', 'bb'], undefined))).toEqual([0, 0]);
  });
});

describe('SimulatedOracle', () => {
  it('finds the item of the same category, far above chance, and less so with more noise', async () => {
    const quiet = await hitRate({ noise: 0 });
    const usual = await hitRate({});
    const loud = await hitRate({ noise: 2 });
    expect(quiet).toBe(1);
    expect(usual).toBeGreaterThan(0.8);
    expect(loud).toBeLessThan(0.4);
  });

  it("loses it all when it reads other items' texts, or answers at random, or always None", async () => {
    // Chance is 0.1; 300 lists, sd 0.017.
    expect(await hitRate({ shuffledText: 1 })).toBeLessThan(0.2);
    expect(await hitRate({ shuffledText: 2, noise: 0 })).toBeLessThan(0.2);
    expect(Math.abs((await hitRate({ control: 'random' })) - 0.1)).toBeLessThan(0.07);
    expect(await hitRate({ control: 'alwaysNone' })).toBe(0);
  });

  it('answers the same in any order of calls, of batches and of candidates', async () => {
    const queries = lists(40).map((list) => list.query);
    const first = await new SimulatedOracle({ catalog, noise: 0.5, seed: 5 }).prefer(queries);
    const oracle = new SimulatedOracle({ catalog, noise: 0.5, seed: 5 });
    for (let i = queries.length - 1; i >= 0; i--) {
      const query = queries[i] as PreferenceQuery;
      const [answer] = await oracle.prefer([{ ...query, candidates: [...query.candidates].reverse() }]);
      expect(outcome(answer as Preference)).toBe(outcome(first[i] as Preference));
    }
    const other = await new SimulatedOracle({ catalog, noise: 0.5, seed: 6 }).prefer(queries);
    expect(other.map(outcome)).not.toEqual(first.map(outcome));
  });

  it('answers by item ids: a reordered catalogue changes nothing', async () => {
    const order = new Rng(9).shuffle(Array.from({ length: 60 }, (_, i) => i));
    const moved: Catalog = Catalog.fromItems(
      order.map((i) => ({ id: catalog.id(i), title: catalog.attribute(i, 'title') })),
      { scenario: 's', itemNoun: 'i', behavior: 'b', attributes: ['title'] },
    );
    const same: Catalog = Catalog.fromItems(
      Array.from({ length: 60 }, (_, i) => ({ id: catalog.id(i), title: catalog.attribute(i, 'title') })),
      { scenario: 's', itemNoun: 'i', behavior: 'b', attributes: ['title'] },
    );
    const place = (i: number): number => order.indexOf(i);
    for (const { query } of lists(20)) {
      const [a] = await new SimulatedOracle({ catalog: same, noise: 0.5 }).prefer([query]);
      const [b] = await new SimulatedOracle({ catalog: moved, noise: 0.5 }).prefer([
        { history: query.history.map(place), candidates: query.candidates.map(place) },
      ]);
      expect(b?.kind).toBe(a?.kind);
      if (a?.kind === 'choice' && b?.kind === 'choice') expect(moved.id(b.choice)).toBe(same.id(a.choice));
    }
  });

  it("gives scores in query order, and None's last", async () => {
    const query = { history: [0, 6], candidates: [1, 12, 2] };
    const [answer] = await new SimulatedOracle({ catalog, noise: 0 }).prefer([query]);
    const scores = scoresOf(answer);
    expect(scores).toHaveLength(4);
    expect(scores[1]).toBeGreaterThan(Math.max(scores[0] as number, scores[2] as number));
    expect(scores[3]).toBe(0.2);
  });

  it('answers None below the threshold, never with -Infinity', async () => {
    const strangers = { history: [0], candidates: [1, 2, 3] };
    expect((await new SimulatedOracle({ catalog, noise: 0 }).prefer([strangers]))[0]?.kind).toBe('none');
    const never = new SimulatedOracle({ catalog, noise: 0, noneBelow: Number.NEGATIVE_INFINITY });
    expect((await never.prefer([strangers]))[0]?.kind).toBe('choice');
    // An empty history tells a text oracle nothing.
    expect((await new SimulatedOracle({ catalog, noise: 0 }).prefer([{ ...strangers, history: [] }]))[0]?.kind).toBe(
      'none',
    );
  });

  it('noise has the standard deviation asked for', async () => {
    const flat = (_: readonly string[], candidates: readonly string[]): number[] => candidates.map(() => 0);
    const oracle = new SimulatedOracle({ catalog, score: flat, noise: 0.1 });
    const answers = await oracle.prefer(lists(400).map((list) => list.query));
    const draws = answers.flatMap((answer) => scoresOf(answer).slice(0, -1));
    const mean = draws.reduce((sum, x) => sum + x, 0) / draws.length;
    const sd = Math.sqrt(draws.reduce((sum, x) => sum + (x - mean) ** 2, 0) / draws.length);
    expect(Math.abs(mean)).toBeLessThan(0.006);
    expect(Math.abs(sd - 0.1)).toBeLessThan(0.005);
  });

  describe('popularity', () => {
    const counts = Int32Array.from({ length: 60 }, (_, i) => (i % 10 === 0 ? 1000 : 1));
    const meanCount = async (options: Partial<SimulatedOracleOptions>): Promise<number> => {
      const answers = await new SimulatedOracle({ catalog, noneBelow: Number.NEGATIVE_INFINITY, ...options }).prefer(
        lists(300, 4).map((list) => list.query),
      );
      return (
        answers.reduce((sum, answer) => sum + (counts[(answer as { choice: number }).choice] as number), 0) /
        answers.length
      );
    };

    it('raises how popular the chosen items are, the more the greater its weight', async () => {
      const none = await meanCount({});
      const some = await meanCount({ popularity: { counts, weight: 0.1 } });
      const much = await meanCount({ popularity: { counts, weight: 1 } });
      expect(some).toBeGreaterThan(none);
      expect(much).toBeGreaterThan(2 * none);
    });

    it('adds c times the z-score of log(1 + count), by hand', async () => {
      const two = shop(4, 4);
      // log1p: 0, 0, 0, ln 4; mean ln4 / 4, sd = ln4 * sqrt(3) / 4; z of the last = sqrt(3), of the others -1 / sqrt(3).
      const oracle = new SimulatedOracle({ catalog: two, noise: 0, popularity: { counts: [0, 0, 0, 3], weight: 0.5 } });
      const [answer] = await oracle.prefer([{ history: [], candidates: [0, 3] }]);
      const scores = scoresOf(answer);
      expect(scores[0]).toBeCloseTo(-0.5 / Math.sqrt(3), 12);
      expect(scores[1]).toBeCloseTo(0.5 * Math.sqrt(3), 12);
    });

    it('a belief of 0 knows nothing, of -1 the opposite', async () => {
      const none = await meanCount({});
      const truth = await meanCount({ popularity: { counts, weight: 1 } });
      const blind = await meanCount({ popularity: { counts, weight: 1, belief: 0 } });
      expect(Math.abs(blind - none)).toBeLessThan(Math.abs(truth - none) / 2);
      expect(await meanCount({ popularity: { counts, weight: 1, belief: -1 } })).toBeLessThan(none);
    });
  });

  it('fails in the slot when a score is not finite or too few', async () => {
    for (const score of [() => [1], () => [Number.NaN, 1, 1], () => undefined as unknown as number[]]) {
      const [answer] = await new SimulatedOracle({ catalog, score }).prefer([{ history: [], candidates: [1, 2, 3] }]);
      expect(answer?.kind).toBe('failed');
    }
  });

  it('has an id of every option', () => {
    const id = (options: Partial<SimulatedOracleOptions>): string => new SimulatedOracle({ catalog, ...options }).id;
    const counts = new Array<number>(60).fill(1);
    const changes: Partial<SimulatedOracleOptions>[] = [
      {},
      { noise: 0 },
      { noneBelow: 0 },
      { seed: 1 },
      { shuffledText: 1 },
      { shuffledText: 2 },
      { control: 'random' },
      { control: 'alwaysNone' },
      { score: () => [] },
      { score: () => [], scoreName: 'mine' },
      { popularity: { counts, weight: 1 } },
      { popularity: { counts: [2, ...counts.slice(1)], weight: 1 } },
      { popularity: { counts, weight: 1, belief: 0.5 } },
    ];
    expect(new Set(changes.map(id)).size).toBe(changes.length);
    expect(id({})).toBe(id({}));
  });

  it.each([
    ['negative noise', { noise: -1 }],
    ['contradictory controls', { control: 'random', shuffledText: 1 }],
    ['an unknown control', { control: 'wrong' }],
    ['counts of another length', { popularity: { counts: [1, 2], weight: 1 } }],
    ['negative counts', { popularity: { counts: new Array<number>(60).fill(-2), weight: 1 } }],
    ['a belief above 1', { popularity: { counts: new Array<number>(60).fill(1), weight: 1, belief: 2 } }],
    ['NaN as threshold', { noneBelow: Number.NaN }],
  ])('refuses %s', (_, options) => {
    expect(() => new SimulatedOracle({ catalog, ...options } as never)).toThrow(InvalidArgumentError);
  });
});
