import { describe, expect, it, test } from 'vitest';
import { isBatchEnv } from '../../../src/env/batch-env.js';
import { type Env, type EnvReset, type EnvStep, liftEnv } from '../../../src/env/env.js';
import { InvalidArgumentError, InvalidDataError, OracleError } from '../../../src/foundation/errors.js';
import { Rng } from '../../../src/foundation/rng.js';
import { envContract } from '../../../src/testing/env-contract.js';
import { IdentityUserEnv, identityTarget, tinyCatalog } from '../../../src/testing/tiny-envs.js';

const catalog = tinyCatalog(4);
const good: EnvStep = { reward: 1, terminated: false, truncated: false };

/** An environment that behaves except where told otherwise. */
function scripted(
  parts: { reset?: (seed: number) => unknown; step?: (item: string) => unknown } & Partial<
    Pick<Env, 'contextWidth' | 'maxEpisodeSteps' | 'noRepeat'>
  > = {},
): Env {
  const { reset = () => ({ history: [] }), step = () => good, ...fields } = parts;
  return { catalog, ...fields, reset: ({ seed }) => reset(seed) as EnvReset, step: (item) => step(item) as EnvStep };
}

async function errorOf(parts: Parameters<typeof scripted>[0]): Promise<InvalidDataError> {
  const env = liftEnv([scripted(), scripted(parts)], { name: 'mine' });
  try {
    await env.reset({ seed: 1 });
    await env.step(Int32Array.of(0, 1));
    await env.step(Int32Array.of(1, 2));
  } catch (error) {
    expect(error).toBeInstanceOf(InvalidDataError);
    return error as InvalidDataError;
  }
  throw new Error('nothing was refused');
}

for (const { name, run } of envContract(() => new IdentityUserEnv())) test(`IdentityUserEnv: ${name}`, run);

describe('liftEnv', () => {
  it('gives a BatchEnv; an Env is none', () => {
    expect(isBatchEnv(liftEnv(new IdentityUserEnv()))).toBe(true);
    expect([new IdentityUserEnv(), null, {}, 3].some(isBatchEnv)).toBe(false);
  });

  it("plays a user's environment as it is, lane by lane", async () => {
    const env = liftEnv(() => new IdentityUserEnv({ items: 5, steps: 3 }), { size: 2 });
    await env.reset({ seed: 9 });
    const seeds = [0, 1].map((lane) => new Rng(9).fork(`lane/${lane}/episode/0`).nonZeroSeed());
    expect([...env.histories().lengths]).toEqual([1, 1]);
    let last = seeds.map((seed) => seed % 5);
    for (let t = 1; t <= 3; t++) {
      const right = identityTarget(last[0] as number, 5);
      const wrong = last[1] as number;
      const { rewards, terminated, truncated } = await env.step(Int32Array.of(right, wrong));
      expect([[...rewards], [...terminated], [...truncated]]).toEqual([[1, 0], [0, 0], t === 3 ? [1, 1] : [0, 0]]);
      last = [right, wrong];
    }
  });

  it('awaits promises and steps the lanes at once', async () => {
    let running = 0;
    let most = 0;
    const slow = (): Env =>
      scripted({
        step: async () => {
          most = Math.max(most, ++running);
          await new Promise((resolve) => setTimeout(resolve, 5));
          running--;
          return good;
        },
      });
    const env = liftEnv(slow, { size: 4 });
    await env.reset();
    await env.step(Int32Array.of(0, 1, 2, 3));
    expect(most).toBe(4);
  });

  it('truncates at maxEpisodeSteps where the environment does not end by itself', async () => {
    const env = liftEnv(scripted({ maxEpisodeSteps: 2 }));
    await env.reset();
    expect((await env.step(Int32Array.of(0))).truncated[0]).toBe(0);
    expect((await env.step(Int32Array.of(0))).truncated[0]).toBe(1);
    expect(liftEnv(scripted({ maxEpisodeSteps: 2 }), { maxEpisodeSteps: 7 }).maxEpisodeSteps).toBe(7);
  });

  it('truncates an episode that has shown every item where none may be shown twice', async () => {
    const start = () => ({ history: ['item-2', 'item-2', 'item-0'] });
    const flags = async (parts: Parameters<typeof scripted>[0]) => {
      const env = liftEnv(scripted({ reset: start, ...parts }));
      await env.reset();
      const before = (await env.step(Int32Array.of(1))).truncated[0];
      const { terminated, truncated } = await env.step(Int32Array.of(3));
      return [before, terminated[0], truncated[0]];
    };
    expect(await flags({ noRepeat: true })).toEqual([0, 0, 1]);
    // The controls: with repeats there is always an item left, and a user who left, left.
    expect(await flags({ noRepeat: false })).toEqual([0, 0, 0]);
    const leaves = (item: string) => ({ ...good, terminated: item === 'item-3' });
    expect(await flags({ noRepeat: true, step: leaves })).toEqual([0, 1, 0]);
    // An environment that clears its history goes on.
    expect(await flags({ noRepeat: true, step: () => ({ ...good, history: [] }) })).toEqual([0, 0, 0]);
    const full = liftEnv(scripted({ noRepeat: true, reset: () => ({ history: catalog.ids() }) }));
    await expect(full.reset()).rejects.toMatchObject({ code: 'INVALID_DATA', field: 'history' });
  });

  it('lets terminated win over truncated', async () => {
    const env = liftEnv(scripted({ step: () => ({ reward: 0, terminated: true, truncated: true }) }));
    await env.reset();
    const { terminated, truncated } = await env.step(Int32Array.of(0));
    expect([terminated[0], truncated[0]]).toEqual([1, 0]);
  });

  it('takes the history an environment gives instead of the item appended', async () => {
    const env = liftEnv(scripted({ step: (item) => ({ ...good, history: ['item-3', item] }) }));
    await env.reset();
    await env.step(Int32Array.of(1));
    expect([...env.histories().items.slice(0, 3)]).toEqual([3, 1, -1]);
  });

  it('hands over contexts', async () => {
    const env = liftEnv(scripted({ contextWidth: 2, reset: () => ({ history: [], context: [0.5, -2] }) }));
    await env.reset();
    expect([...(env.histories().context ?? [])]).toEqual([0.5, -2]);
  });

  it('refuses a repeat where the environment says noRepeat', async () => {
    const env = liftEnv(scripted({ noRepeat: true, reset: () => ({ history: ['item-2'] }) }));
    await env.reset();
    await expect(env.step(Int32Array.of(2))).rejects.toThrow(InvalidArgumentError);
    await env.step(Int32Array.of(1));
  });

  const bad: [string, string, Parameters<typeof scripted>[0]][] = [
    ['a NaN reward', 'reward', { step: () => ({ ...good, reward: Number.NaN }) }],
    ['an infinite reward', 'reward', { step: () => ({ ...good, reward: Number.POSITIVE_INFINITY }) }],
    ['a reward that is text', 'reward', { step: () => ({ ...good, reward: '1' }) }],
    ['no reward', 'reward', { step: () => ({ terminated: false, truncated: false }) }],
    ['no terminated', 'terminated', { step: () => ({ reward: 1, truncated: false }) }],
    ['terminated 1', 'terminated', { step: () => ({ ...good, terminated: 1 }) }],
    ['no truncated', 'truncated', { step: () => ({ reward: 1, terminated: false }) }],
    ['nothing from step', 'step', { step: () => undefined }],
    ['a promise of nothing', 'step', { step: async () => null }],
    ['an unknown id in the history', 'history[1]', { step: () => ({ ...good, history: ['item-1', 'item-9'] }) }],
    ['an index for an id', 'history[0]', { step: () => ({ ...good, history: [1] }) }],
    ['a history that is none', 'history', { step: () => ({ ...good, history: 'item-1' }) }],
    ['nothing from reset', 'reset', { reset: () => 3 }],
    ['no start history', 'history', { reset: () => ({}) }],
    ['an unknown start item', 'history[0]', { reset: () => ({ history: ['__proto__'] }) }],
    ['a start history that is too long', 'history', { reset: () => ({ history: Array(2000).fill('item-1') }) }],
    ['a context without contextWidth', 'context', { reset: () => ({ history: [], context: [1] }) }],
  ];
  for (const [what, field, parts] of bad) {
    it(`refuses ${what}, naming the place`, async () => {
      const error = await errorOf(parts);
      expect(error.field).toBe(field);
      expect(error.source).toBe('mine, lane 1, episode 0, step 0');
      expect(error.message.startsWith('mine, lane 1, episode 0, step 0: ')).toBe(true);
    });
  }

  it('refuses contexts of another length or not finite', async () => {
    for (const [context, field] of [
      [[1], 'context'],
      [[1, Number.NaN], 'context[1]'],
      [undefined, 'context'],
      ['ab', 'context'],
    ] as const) {
      const env = liftEnv(scripted({ contextWidth: 2, reset: () => ({ history: [], context }) }));
      await expect(env.reset()).rejects.toMatchObject({ code: 'INVALID_DATA', field });
    }
  });

  it('names the step and the episode of a later failure', async () => {
    let steps = 0;
    const env = liftEnv(
      scripted({
        step: () => (++steps === 4 ? { ...good, reward: Number.NaN } : { ...good, terminated: steps === 2 }),
      }),
    );
    await env.reset();
    await env.step(Int32Array.of(0));
    await env.step(Int32Array.of(0));
    await env.reset({ rows: Uint8Array.of(1) });
    await env.step(Int32Array.of(0));
    await expect(env.step(Int32Array.of(0))).rejects.toThrow(
      'env, lane 0, episode 1, step 1: expected `reward` to be a finite number, got NaN',
    );
  });

  it("keeps what a user's code threw as the cause, and wants a reset then", async () => {
    const cause = new TypeError('no such table');
    const env = liftEnv(
      scripted({
        step: () => {
          throw cause;
        },
      }),
    );
    await env.reset();
    await expect(env.step(Int32Array.of(0))).rejects.toMatchObject({
      code: 'INVALID_DATA',
      cause,
      field: 'step',
      message: expect.stringContaining('no such table'),
    });
    await expect(env.step(Int32Array.of(0))).rejects.toThrow(/reset/);
    await env.reset();
  });

  it("passes the library's own errors unchanged", async () => {
    const error = new OracleError('over budget');
    const env = liftEnv(scripted({ reset: () => Promise.reject(error) }));
    await expect(env.reset()).rejects.toBe(error);
  });

  it('refuses a call before the last one was awaited', async () => {
    const env = liftEnv(scripted({ step: async () => good }));
    await env.reset();
    const first = env.step(Int32Array.of(0));
    await expect(env.step(Int32Array.of(0))).rejects.toThrow(/awaited/);
    await first;
  });

  it('refuses wrong sets of environments', () => {
    const one = scripted();
    expect(() => liftEnv(one, { size: 2 })).toThrow(/one episode at a time/);
    expect(() => liftEnv([])).toThrow(InvalidArgumentError);
    expect(() => liftEnv([one, one])).toThrow(/separate/);
    expect(() => liftEnv([scripted(), scripted({ maxEpisodeSteps: 3 })])).toThrow(/maxEpisodeSteps/);
    expect(() => liftEnv([scripted(), { ...scripted(), catalog: tinyCatalog(5) }])).toThrow(/catalogue/);
    expect(() => liftEnv({ catalog } as Env)).toThrow(/`step`/);
    expect(() => liftEnv([null as unknown as Env])).toThrow(InvalidArgumentError);
    expect(() => liftEnv(scripted(), { sed: 1 } as never)).toThrow(/seed/);
    expect(() => liftEnv(scripted({ maxEpisodeSteps: 0 }))).toThrow(/maxEpisodeSteps/);
    expect(() => liftEnv(scripted({ contextWidth: -1 }))).toThrow(/contextWidth/);
    // Equal catalogues need not be the same object.
    expect(liftEnv([scripted(), { ...scripted(), catalog: tinyCatalog(4) }]).size).toBe(2);
  });
});
