import { describe, expect, it, test } from 'vitest';
import { COAT_CAP, type CoatWindow, coatCloseness, coatEnv, coatLookback } from '../../../src/env/coat-env.js';
import { type Env, type EnvReset, type EnvStep, liftEnv } from '../../../src/env/env.js';
import { InvalidArgumentError } from '../../../src/foundation/errors.js';
import { Rng } from '../../../src/foundation/rng.js';
import { batchEnvContract } from '../../../src/testing/env-contract.js';
import { coatWorld } from '../../../src/world/coat-world.js';
import { TINY, tinyCoat } from './tiny-coat.js';

const data = tinyCoat();
const far = [1, 2, 3, 4, 5, 6, 7, 8, 9];

// How far back a repeat is noticed after t items, by hand from environments.md: Python's shown[t - 7 : t].
const LEGACY = [0, 1, 2, 3, 3, 2, 1, 7, 7];
const CORRECT = [0, 1, 2, 3, 4, 5, 6, 7, 7];

/** Shows t different coats, then again the one shown `lag` steps ago; whether the shopper left. */
function leavesAtRepeat(window: CoatWindow, t: number, lag: number): boolean {
  const env = coatEnv({ data, window });
  env.reset({ seed: 5 });
  for (let i = 0; i < t; i++) expect(env.step(Int32Array.of(far[i] as number)).terminated[0]).toBe(0);
  return env.step(Int32Array.of(far[t - lag] as number)).terminated[0] === 1;
}

describe('coatEnv leave rule', () => {
  for (const [window, table] of [
    ['legacy', LEGACY],
    ['correct', CORRECT],
  ] as const) {
    it(`looks back over the hand-made ${window} window at t = 1..8`, () => {
      for (let t = 1; t <= 8; t++) {
        expect(coatLookback(window, t)).toBe(table[t]);
        for (let lag = 1; lag <= t; lag++) {
          expect([t, lag, leavesAtRepeat(window, t, lag)]).toEqual([t, lag, lag <= (table[t] as number)]);
        }
      }
    });
  }

  it('differs between the windows exactly at t = 4, 5, 6', () => {
    const differing = [1, 2, 3, 4, 5, 6, 7, 8].filter(
      (t) => leavesAtRepeat('legacy', t, Math.min(t, 7)) !== leavesAtRepeat('correct', t, Math.min(t, 7)),
    );
    expect(differing).toEqual([4, 5, 6]);
  });

  it('never leaves without a window', () => {
    const env = coatEnv({ data, window: 'none' });
    env.reset({ seed: 1 });
    for (let t = 1; t <= COAT_CAP; t++) {
      const { terminated, truncated } = env.step(Int32Array.of(3));
      expect([terminated[0], truncated[0]]).toEqual([0, t === COAT_CAP ? 1 : 0]);
    }
  });

  it('takes two coats for the same below distance 6, not at 6', () => {
    const close = coatCloseness(data);
    expect([
      close[0 * TINY.items + 14],
      close[14 * TINY.items + 0],
      close[0 * TINY.items + 15],
      close[1 * TINY.items + 2],
      close[3 * TINY.items + 3],
    ]).toEqual([1, 1, 0, 0, 1]);
    const env = coatEnv({ data });
    env.reset({ seed: 1 });
    env.step(Int32Array.of(0));
    expect(env.step(Int32Array.of(15)).terminated[0]).toBe(0);
    expect(env.step(Int32Array.of(14)).terminated[0]).toBe(1);
  });

  it('has no start item in the window, nor a rule at the first step', () => {
    const env = coatEnv({ data });
    env.reset({ seed: 2 });
    const start = env.histories().items[0] as number;
    expect(env.step(Int32Array.of(start)).terminated[0]).toBe(0);
    env.reset({ seed: 2 });
    env.step(Int32Array.of(start === 5 ? 6 : 5));
    expect(env.step(Int32Array.of(start)).terminated[0]).toBe(0);
  });

  it('counts reward and length of the leaving step', () => {
    const env = coatEnv({ data });
    env.reset({ seed: 3 });
    const user = env.rules.users[0] as number;
    env.step(Int32Array.of(7));
    const { rewards, terminated } = env.step(Int32Array.of(7));
    expect([terminated[0], rewards[0], env.steps[0]]).toEqual([1, data.truth[user * TINY.items + 7], 2]);
    expect(env.histories().lengths[0]).toBe(3);
  });
});

describe('coatEnv', () => {
  it('pays the reward matrix it is given and keeps the truth for distances', () => {
    const reward = Float32Array.from({ length: TINY.users * TINY.items }, (_, cell) => cell / 100);
    const env = coatEnv({ data, reward });
    env.reset({ seed: 4 });
    const user = env.rules.users[0] as number;
    expect(env.step(Int32Array.of(0)).rewards[0]).toBe(reward[user * TINY.items]);
    expect(env.step(Int32Array.of(14)).terminated[0]).toBe(1);
  });

  it('lets only the users given come, each with their attributes as context', () => {
    const env = coatEnv({ data, users: Int32Array.of(3, 8), size: 40 });
    env.reset({ seed: 1 });
    expect([...new Set(env.rules.users)].sort()).toEqual([3, 8]);
    const { context, contextWidth } = env.histories();
    expect(contextWidth).toBe(2);
    env.rules.users.forEach((user, lane) => {
      expect(Array.from((context as Float32Array).subarray(lane * 2, lane * 2 + 2))).toEqual(
        user === 8 ? [1, 0] : [0, 1],
      );
    });
  });

  it('draws users and start items evenly', () => {
    const env = coatEnv({ data, size: 1600 });
    env.reset({ seed: 1 });
    const counts = new Int32Array(TINY.users);
    for (const user of env.rules.users) counts[user] = (counts[user] as number) + 1;
    // 100 expected, sd 9.7.
    expect(Math.min(...counts)).toBeGreaterThan(60);
    expect(Math.max(...counts)).toBeLessThan(140);
  });

  it('refuses rewards of another shape, strangers and no users', () => {
    expect(() => coatEnv({ data, reward: new Float32Array(3) })).toThrow(InvalidArgumentError);
    expect(() => coatEnv({ data, users: Int32Array.of(16) })).toThrow(/users/);
    expect(() => coatEnv({ data, users: new Int32Array(0) })).toThrow(/users/);
    expect(() => coatEnv({ data, window: 'legcy' as 'legacy' })).toThrow(/window/);
    expect(() => coatEnv({ data, sise: 3 } as never)).toThrow(/size/);
  });
});

describe('evaluation modes', () => {
  it('FB lets a coat come again, NX_0 and NX_10 refuse it, the start item too', () => {
    for (const [evaluation, refuses] of [
      ['FB', false],
      ['NX_0', true],
      ['NX_10', true],
    ] as const) {
      const env = coatEnv({ data, evaluation });
      env.reset({ seed: 2 });
      const start = env.histories().items[0] as number;
      const show = (): unknown => env.step(Int32Array.of(start));
      if (refuses) expect(show).toThrow(/never repeats/);
      else expect(show).not.toThrow();
    }
  });

  it('NX_0 lets shoppers leave, NX_10 keeps them for exactly ten steps', () => {
    // Coats 0 and 14 are the same to a shopper, so 14 after 0 makes them leave.
    const others = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11];
    for (const [evaluation, length, leaves] of [
      ['FB', 2, 1],
      ['NX_0', 2, 1],
      ['NX_10', 10, 0],
    ] as const) {
      const env = coatEnv({ data, evaluation });
      let seed = 1;
      do env.reset({ seed: seed++ });
      while ([0, 14, ...others].includes(env.histories().items[0] as number));
      const flags = [];
      for (const item of [0, 14, ...others]) {
        const { terminated, truncated } = env.step(Int32Array.of(item));
        flags.push([terminated[0], truncated[0]]);
        if (env.ended[0] === 1) break;
      }
      expect([flags.length, flags.at(-1)]).toEqual([length, [leaves, 1 - leaves]]);
    }
  });

  it('has planners that play them without a repeat and to the end', () => {
    for (const evaluation of ['NX_0', 'NX_10'] as const) {
      const world = coatWorld({ data, evaluation });
      for (const policy of world.policies) {
        const { env, planner } = world.planned(policy, { split: 'all', size: 8, seed: 3 });
        env.reset();
        const rng = new Rng(1);
        while (env.ended.includes(0)) env.step(planner.act(rng.uniforms(8)));
        if (evaluation === 'NX_10') expect([policy, ...env.steps]).toEqual([policy, ...Array(8).fill(10)]);
      }
    }
  });

  for (const evaluation of ['NX_0', 'NX_10'] as const) {
    for (const { name, run } of batchEnvContract(({ size, seed }) => coatEnv({ data, evaluation, size, seed }), {
      rewards: { low: 1, high: 5 },
    }))
      test(`${evaluation}: ${name}`, run);
  }
});

for (const window of ['legacy', 'correct', 'none'] as const) {
  for (const { name, run } of batchEnvContract(({ size, seed }) => coatEnv({ data, window, size, seed })))
    test(`coatEnv ${window}: ${name}`, run);
}

/** The rule as a user would write it, with lists and slices; user and start item are dealt by the native environment. */
class NaiveCoat implements Env {
  readonly catalog = data.catalog;
  readonly contextWidth = 2;
  readonly #deal: () => { user: number; start: number };
  readonly #from: (t: number) => number;
  #user = 0;
  #shown: number[] = [];

  constructor(deal: () => { user: number; start: number }, from: (t: number) => number) {
    this.#deal = deal;
    this.#from = from;
  }

  reset(): EnvReset {
    const { user, start } = this.#deal();
    this.#user = user;
    this.#shown = [];
    return { history: [data.catalog.id(start)], context: user % 2 === 0 ? [1, 0] : [0, 1] };
  }

  async step(id: string): Promise<EnvStep> {
    const item = data.catalog.indexOf(id);
    const t = this.#shown.length;
    const distance = (a: number, b: number): number =>
      Math.hypot(
        ...Array.from(
          { length: TINY.users },
          (_, u) => (data.truth[u * TINY.items + a] as number) - (data.truth[u * TINY.items + b] as number),
        ),
      );
    const terminated = t > 0 && this.#shown.slice(this.#from(t), t).some((other) => distance(item, other) < 6);
    this.#shown.push(item);
    return {
      reward: data.truth[this.#user * TINY.items + item] as number,
      terminated,
      truncated: !terminated && t + 1 === 30,
    };
  }
}

/** Plays native and lifted side by side; the step at which they first differ, or -1. */
async function firstDifference(window: CoatWindow, from: (t: number) => number): Promise<number> {
  const size = 4;
  const native = coatEnv({ data, window, size });
  native.reset({ seed: 1 });
  const { items, length } = native.histories();
  const lifted = liftEnv(
    Array.from(
      { length: size },
      (_, lane) =>
        new NaiveCoat(
          () => ({ user: native.rules.users[lane] as number, start: items[lane * length] as number }),
          from,
        ),
    ),
  );
  await lifted.reset({ seed: 1 });
  const rng = new Rng(3);
  for (let t = 0; t < 400; t++) {
    const actions = Int32Array.from({ length: size }, () => rng.integer(TINY.items));
    const a = native.step(actions);
    const b = await lifted.step(actions);
    const ours = [
      ...a.rewards,
      ...a.terminated,
      ...a.truncated,
      ...native.histories().lengths,
      ...(native.histories().context ?? []),
    ];
    const theirs = [
      ...b.rewards,
      ...b.terminated,
      ...b.truncated,
      ...lifted.histories().lengths,
      ...(lifted.histories().context ?? []),
    ];
    if (ours.join() !== theirs.join()) return t;
    const rows = a.terminated.map((flag, lane) => flag | (a.truncated[lane] as number));
    native.reset({ rows });
    await lifted.reset({ rows });
  }
  return -1;
}

describe('a lifted Env with the same rule', () => {
  it('equals the native one step by step, in both windows', async () => {
    // JavaScript's slice takes a negative start from the end, as Python's does.
    expect(await firstDifference('legacy', (t) => t - 7)).toBe(-1);
    expect(await firstDifference('correct', (t) => Math.max(0, t - 7))).toBe(-1);
  });

  it('does not when its window is one item short, or the other one', async () => {
    expect(await firstDifference('correct', (t) => Math.max(0, t - 6))).toBeGreaterThan(0);
    expect(await firstDifference('legacy', (t) => Math.max(0, t - 7))).toBeGreaterThan(0);
  });
});
