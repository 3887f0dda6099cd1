import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Sequences } from '../../../src/catalog/sequences.js';
import { type CoatEvaluation, type CoatWindow, coatEnv } from '../../../src/env/coat-env.js';
import type { LaneEnv } from '../../../src/env/lane-env.js';
import { PLAIN_TEMPER, type TemperRule } from '../../../src/env/leave-rules.js';
import type { RewardModel } from '../../../src/env/reward-model.js';
import { sequenceEnv } from '../../../src/env/sequence-env.js';
import type { JsonValue } from '../../../src/foundation/json.js';
import { Rng } from '../../../src/foundation/rng.js';
import { tinyCatalog } from '../../../src/testing/tiny-envs.js';
import { TINY, tinyCoat } from './tiny-coat.js';

/** One step as anyone sees it. */
type Seen = readonly [reward: number, terminated: number, truncated: number];

/** What a slow loop needs to know of an episode: who came, with what, and the seed path of its draws. */
interface Episode {
  readonly user: number;
  readonly start: number;
  readonly rng: Rng;
}

const coat = tinyCoat();

/** The Coat rule written down: lists, slices, distances. */
function slowCoat(
  options: { window: CoatWindow; evaluation: CoatEvaluation },
  { user }: Episode,
  items: readonly number[],
): Seen[] {
  const column = (item: number): number[] =>
    Array.from({ length: TINY.users }, (_, u) => coat.truth[u * TINY.items + item] as number);
  const distance = (a: number, b: number): number =>
    Math.sqrt(column(a).reduce((sum, x, u) => sum + (x - (column(b)[u] as number)) ** 2, 0));
  const cap = { FB: 30, NX_0: Math.min(30, TINY.items - 1), NX_10: 10 }[options.evaluation];
  const shown: number[] = [];
  const seen: Seen[] = [];
  for (const item of items) {
    const t = shown.length;
    const from = options.window === 'legacy' ? t - 7 : Math.max(0, t - 7);
    const window = options.window === 'none' || options.evaluation === 'NX_10' ? [] : shown.slice(from, t);
    const leaves = window.some((other) => distance(item, other) < 6);
    shown.push(item);
    const isCut = !leaves && shown.length === cap;
    seen.push([coat.truth[user * TINY.items + item] as number, leaves ? 1 : 0, isCut ? 1 : 0]);
    if (leaves || isCut) break;
  }
  return seen;
}

const A = 24;
const catalog = tinyCatalog(A);
const firsts = [0, 7, 13, 22];
// Two categories of eight, one of six; the last two items have none.
const codes = Int32Array.from({ length: A }, (_, item) => (item < 22 ? Math.floor(item / 8) : -1));
/** A small table: what an item pays after the last one, 0 to 5. */
const pays = (last: number, item: number): number => Math.fround(((last * 7 + item * 11) % 26) / 5);
const model: RewardModel = {
  name: 'table',
  itemCount: A,
  maxReward: 5,
  score({ items, lengths, length }, actions, out) {
    actions.forEach((item, row) => {
      if (item >= 0) out[row] = pays(items[row * length + (lengths[row] as number) - 1] as number, item);
    });
    return out;
  },
  scoreAll({ items, lengths, length, size }, out) {
    for (let n = 0; n < size * A; n++) {
      const row = Math.floor(n / A);
      out[n] = pays(items[row * length + (lengths[row] as number) - 1] as number, n % A);
    }
    return out;
  },
};

/** The temper rule with all its options, written down. */
function slowTemper(rule: TemperRule, cap: number, { start, rng }: Episode, items: readonly number[]): Seen[] {
  const chance = rng.fork('leave');
  const alike = (a: number, b: number): boolean => codes[a] !== -1 && codes[a] === codes[b];
  let temper = rule.start;
  const shown: number[] = [];
  const seen: Seen[] = [];
  for (const item of items) {
    const history = [start, ...shown];
    let reward = pays(history.at(-1) as number, item);
    if (rule.fatigue !== undefined) {
      const same = history.slice(-rule.fatigue.lookback).filter((other) => alike(other, item)).length;
      reward = Math.fround(reward * rule.fatigue.factor ** same);
    }
    let drop = reward >= rule.likedFrom ? rule.likedDrop : rule.otherDrop;
    if (rule.diversity !== undefined) {
      const same = shown.slice(-rule.diversity.lookback).filter((other) => alike(other, item)).length;
      if (same >= rule.diversity.repeats && rule.diversity.drop > drop) drop = rule.diversity.drop;
    }
    temper -= drop;
    let leaves = temper < rule.leaveBelow;
    if (rule.stochastic !== undefined)
      leaves = chance.uniform() < 1 / (1 + Math.exp((temper - rule.leaveBelow) / rule.stochastic.scale));
    shown.push(item);
    const isCut = !leaves && shown.length === cap;
    seen.push([reward, leaves ? 1 : 0, isCut ? 1 : 0]);
    if (leaves || isCut) break;
  }
  return seen;
}

/** A rule as the fast environment plays it and as a slow loop does. */
interface Case {
  readonly make: (size: number, seed: number) => LaneEnv;
  readonly slow: (episode: Episode, items: readonly number[]) => Seen[];
  readonly userOf: (env: LaneEnv, lane: number) => number;
}

const cases = fc.oneof(
  fc
    .record({
      window: fc.constantFrom<CoatWindow>('legacy', 'correct', 'none'),
      evaluation: fc.constantFrom<CoatEvaluation>('FB', 'NX_0', 'NX_10'),
    })
    .map(
      (options): Case => ({
        make: (size, seed) => coatEnv({ data: coat, ...options, size, seed }),
        slow: (episode, items) => slowCoat(options, episode, items),
        userOf: (env, lane) => (env.rules as unknown as { users: Int32Array }).users[lane] as number,
      }),
    ),
  fc
    .record({
      rule: fc
        .record({
          diversity: fc.option(
            fc.constantFrom(
              { lookback: 4, repeats: 2, drop: 1.5 },
              { lookback: 4, repeats: 2, drop: 3 },
              { lookback: 2, repeats: 1, drop: 4 },
            ),
            { nil: undefined },
          ),
          fatigue: fc.option(fc.constantFrom({ lookback: 4, factor: 0.5 }, { lookback: 1, factor: 0 }), {
            nil: undefined,
          }),
          stochastic: fc.option(fc.constantFrom({ scale: 0.5 }, { scale: 3 }), { nil: undefined }),
          start: fc.constantFrom(11, 6, 100),
        })
        .map(
          ({ diversity, fatigue, stochastic, start }): TemperRule => ({
            ...PLAIN_TEMPER,
            likedFrom: 2.5,
            start,
            ...(diversity === undefined ? {} : { diversity }),
            ...(fatigue === undefined ? {} : { fatigue }),
            ...(stochastic === undefined ? {} : { stochastic }),
          }),
        ),
      noRepeat: fc.boolean(),
      cap: fc.constantFrom(3, 20),
    })
    .map(
      ({ rule, noRepeat, cap }): Case => ({
        make: (size, seed) =>
          sequenceEnv({
            catalog,
            sequences: Sequences.from(
              firsts.map((first) => [first, 1]),
              { itemCount: A },
            ),
            rewardModel: model,
            codes,
            rule,
            noRepeat,
            maxEpisodeSteps: cap,
            size,
            seed,
          }),
        slow: (episode, items) => slowTemper(rule, cap, episode, items),
        userOf: () => 0,
      }),
    ),
);

const LANES = 3;
/** Every step of every lane's episodes, lanes being reset as they end. */
interface Trace {
  readonly lane: number;
  readonly number: number;
  readonly user: number;
  readonly start: number;
  readonly items: number[];
  readonly seen: Seen[];
}

/** An item for a lane's n-th step of its m-th episode: whoever steps it, and with whom. */
function itemFor(env: LaneEnv, lane: number, number: number, step: number, salt: number): number {
  const { items, lengths, length } = env.histories();
  const shown = items.subarray(lane * length, lane * length + (lengths[lane] as number));
  // Often the same few, so that rules about likeness are met.
  let item = (salt * 31 + lane * 17 + number * 13 + step * step * (1 + (salt % 5))) % env.catalog.size;
  while (env.noRepeat && shown.includes(item)) item = (item + 1) % env.catalog.size;
  return item;
}

/** Plays until each lane has taken `steps` steps; all together or one lane after the other; saved before one of them and restored in another environment. */
function play(
  { make, userOf }: Case,
  options: { seed: number; salt: number; steps: number; together?: boolean; restoreAt?: number },
): Trace[] {
  const { seed, salt, steps, together = true, restoreAt } = options;
  let env = make(LANES, seed);
  env.reset();
  const traces: Trace[] = [];
  const current: Trace[] = [];
  const numbers = new Int32Array(LANES);
  const begin = (lane: number): void => {
    const { items, length } = env.histories();
    current[lane] = {
      lane,
      number: numbers[lane] as number,
      user: userOf(env, lane),
      start: items[lane * length] as number,
      items: [],
      seen: [],
    };
    traces.push(current[lane] as Trace);
  };
  for (let lane = 0; lane < LANES; lane++) begin(lane);
  const stepLanes = (lanes: readonly number[]): void => {
    const actions = new Int32Array(LANES).fill(-1);
    for (const lane of lanes) {
      const trace = current[lane] as Trace;
      actions[lane] = itemFor(env, lane, trace.number, trace.items.length, salt);
    }
    const { rewards, terminated, truncated } = env.step(actions);
    const rows = new Uint8Array(LANES);
    for (const lane of lanes) {
      const trace = current[lane] as Trace;
      trace.items.push(actions[lane] as number);
      trace.seen.push([rewards[lane] as number, terminated[lane] as number, truncated[lane] as number]);
      rows[lane] = (terminated[lane] as number) | (truncated[lane] as number);
    }
    if (!rows.includes(1)) return;
    env.reset({ rows });
    rows.forEach((flag, lane) => {
      if (flag === 0) return;
      numbers[lane] = (numbers[lane] as number) + 1;
      begin(lane);
    });
  };
  const restore = (): void => {
    const state = JSON.parse(JSON.stringify(env.saveState())) as JsonValue;
    env = make(LANES, seed + 1);
    env.reset();
    env.step(Int32Array.from({ length: LANES }, (_, lane) => itemFor(env, lane, 0, 0, salt + 1)));
    env.restoreState(state);
  };
  if (together) {
    for (let t = 0; t < steps; t++) {
      if (t === restoreAt) restore();
      stepLanes([0, 1, 2]);
    }
  } else {
    for (const lane of [2, 0, 1]) {
      // The others wait as lanes that have ended do.
      for (let other = 0; other < LANES; other++) env.ended[other] = other === lane ? 0 : 1;
      for (let t = 0; t < steps; t++) {
        stepLanes([lane]);
      }
    }
  }
  return traces.sort((a, b) => a.lane - b.lane || a.number - b.number);
}

function episodeOf({ user, start, lane, number }: Trace, seed: number): Episode {
  return { user, start, rng: new Rng(seed).fork(`lane/${lane}/episode/${number}`) };
}

const runs = { seed: 5, salt: 7 };
const inputs = { seed: fc.nat(1_000_000), salt: fc.nat(1_000_000), steps: fc.integer({ min: 1, max: 24 }) };
/** Episodes that agree with the slow loop, counted; throws at the first that does not. */
function checkAgainst(slow: Case['slow'], traces: readonly Trace[], seed: number): number {
  for (const trace of traces) expect(trace.seen).toEqual(slow(episodeOf(trace, seed), trace.items));
  return traces.length;
}

describe('rules written as a slow loop', () => {
  it('are obeyed by 10,000 traces, Coat and temper, with every option', () => {
    let count = 0;
    let left = 0;
    let cut = 0;
    fc.assert(
      fc.property(cases, fc.record(inputs), (each, { seed, salt, steps }) => {
        const traces = play(each, { seed, salt, steps });
        count += checkAgainst(each.slow, traces, seed);
        left += traces.filter(({ seen }) => seen.at(-1)?.[1] === 1).length;
        cut += traces.filter(({ seen }) => seen.at(-1)?.[2] === 1).length;
      }),
      { seed: 7, numRuns: 3000 },
    );
    expect(count).toBeGreaterThan(10_000);
    // Both ends are met often: the check is not empty.
    expect(left).toBeGreaterThan(1000);
    expect(cut).toBeGreaterThan(500);
  });

  it('give the same traces whether lanes step one by one or together', () => {
    fc.assert(
      fc.property(cases, fc.record(inputs), (each, options) => {
        expect(play(each, { ...options, together: false })).toEqual(play(each, options));
      }),
      { seed: 8, numRuns: 300 },
    );
  });

  it('give the same rest after saving and restoring anywhere', () => {
    fc.assert(
      fc.property(cases, fc.record(inputs), fc.nat(23), (each, options, at) => {
        expect(play(each, { ...options, restoreAt: at % options.steps })).toEqual(play(each, options));
      }),
      { seed: 9, numRuns: 300 },
    );
  });

  // Negative controls: the same check with one thing about the rule changed.
  const first = (each: Case): Trace[] =>
    Array.from({ length: 40 }, (_, n) => play(each, { ...runs, salt: n, steps: 24 })).flat();
  const sequence =
    (rule: TemperRule): Case['make'] =>
    (size, seed) =>
      sequenceEnv({
        catalog,
        sequences: Sequences.from(
          firsts.map((item) => [item, 1]),
          { itemCount: A },
        ),
        rewardModel: model,
        codes,
        rule,
        noRepeat: false,
        size,
        seed,
      });
  const whole: TemperRule = {
    ...PLAIN_TEMPER,
    likedFrom: 2.5,
    diversity: { lookback: 4, repeats: 2, drop: 3 },
    fatigue: { lookback: 4, factor: 0.5 },
    stochastic: { scale: 1 },
  };
  const { stochastic: _, ...certain } = whole;
  const { fatigue: __, ...fresh } = certain;
  const altered: readonly (readonly [string, TemperRule, TemperRule])[] = [
    ['a lookback of 3', certain, { ...certain, diversity: { lookback: 3, repeats: 2, drop: 3 } }],
    ['no boredom', fresh, { ...PLAIN_TEMPER, likedFrom: 2.5 }],
    ['no fatigue', certain, fresh],
    ['fatigue that looks one item less back', certain, { ...certain, fatigue: { lookback: 3, factor: 0.5 } }],
    ['another scale of chance', whole, { ...whole, stochastic: { scale: 2 } }],
    ['leaving at the mark', whole, certain],
  ];
  for (const [what, played, written] of altered) {
    it(`notice ${what}`, () => {
      const each: Case = {
        make: sequence(played),
        slow: (e, items) => slowTemper(played, 20, e, items),
        userOf: () => 0,
      };
      const traces = first(each);
      expect(checkAgainst(each.slow, traces, runs.seed)).toBe(traces.length);
      expect(() => checkAgainst((e, items) => slowTemper(written, 20, e, items), traces, runs.seed)).toThrow();
    });
  }
  for (const [played, written] of [
    ['legacy', 'correct'],
    ['correct', 'legacy'],
    ['correct', 'none'],
  ] as const) {
    it(`notice a ${played} window taken for ${written}`, () => {
      const slow = (window: CoatWindow) => (e: Episode, items: readonly number[]) =>
        slowCoat({ window, evaluation: 'FB' }, e, items);
      const each: Case = {
        make: (size, seed) => coatEnv({ data: coat, window: played, size, seed }),
        slow: slow(played),
        userOf: (env, lane) => (env.rules as unknown as { users: Int32Array }).users[lane] as number,
      };
      const traces = first(each);
      expect(checkAgainst(each.slow, traces, runs.seed)).toBe(traces.length);
      expect(() => checkAgainst(slow(written), traces, runs.seed)).toThrow();
    });
  }
});
