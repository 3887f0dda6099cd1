import { beforeAll, describe, expect, it } from 'vitest';
import { useBackend } from '../../../src/compute/backend.js';
import { CheckpointError } from '../../../src/foundation/errors.js';
import { EventEmitter } from '../../../src/foundation/events.js';
import { Rng } from '../../../src/foundation/rng.js';
import { MemoryStorage, type Storage } from '../../../src/foundation/storage.js';
import { adapt } from '../../../src/train/adapt.js';
import { pretrain } from '../../../src/train/pretrain.js';
import type { TrainingEvents } from '../../../src/train/training-events.js';
import {
  adaptOptions,
  liftedEnv,
  type Outcome,
  pretrainOptions,
  scenarios,
  smallAgent,
  smallEnv,
} from './small-runs.js';

beforeAll(async () => {
  await useBackend('wasm');
});

const stopped = new Error('stopped by the test');

/** A storage whose n-th put fails, before or after the bytes are there. */
function failingStorage(inner: Storage, n: number, when: 'before' | 'after'): Storage {
  let puts = 0;
  return {
    get: (key) => inner.get(key),
    append: (key, bytes) => inner.append(key, bytes),
    list: (prefix) => inner.list(prefix),
    delete: (key) => inner.delete(key),
    async put(key, bytes) {
      const isLast = ++puts === n;
      if (isLast && when === 'before') throw stopped;
      await inner.put(key, bytes);
      if (isLast) throw stopped;
    },
  };
}

async function newestStep(storage: Storage): Promise<number> {
  const keys = await storage.list('checkpoint/');
  return Math.max(0, ...keys.map((key) => Number(/\d+/.exec(key)?.[0])));
}

describe.each(scenarios)('$name', ({ run, isSaved, steps }) => {
  let unbroken: Outcome;
  beforeAll(async () => {
    unbroken = await run({ storage: new MemoryStorage() });
  });

  it('gives the same weights for the same seed, others for another, and both unlike the initial ones', async () => {
    const again = await run({ storage: new MemoryStorage() });
    const other = await run({ storage: new MemoryStorage(), seed: 4 });
    expect(again).toEqual(unbroken);
    expect(other.hash).not.toBe(unbroken.hash);
    using agent = smallAgent();
    expect(new Set([unbroken.hash, other.hash, await agent.sha256()]).size).toBe(3);
    expect(unbroken.updates).toBeGreaterThan(5);
  });

  it('takes exactly the steps declared', () => {
    expect(unbroken.steps).toBe(steps);
  });

  it('ends bitwise the same when aborted at random steps again and again', async () => {
    const storage = new MemoryStorage();
    const rng = new Rng(`abort ${steps}`);
    const reasons: unknown[] = [];
    let steppedInAll = 0;
    let outcome: Outcome | undefined;
    for (let attempt = 0; attempt < 40 && !outcome; attempt++) {
      const controller = new AbortController();
      const reason = new Error(`abort ${attempt}`);
      const last = 1 + rng.integer(isSaved ? 9 : 30);
      let stepped = 0;
      const from = await newestStep(storage);
      try {
        outcome = await run({
          storage,
          signal: controller.signal,
          onStep: () => {
            if (++stepped >= last) controller.abort(reason);
          },
        });
      } catch (error) {
        expect(error).toBe(reason);
        reasons.push(error);
        // An abort writes a checkpoint; where episodes cannot be saved, at most an interval is repeated (40 steps, in rollouts of 32).
        const repeated = 4 * stepped - ((await newestStep(storage)) - from);
        expect(repeated).toBeLessThanOrEqual(isSaved ? 4 : 64);
      }
      steppedInAll += stepped;
    }
    expect(reasons.length).toBeGreaterThan(3);
    expect(outcome).toEqual(unbroken);
    expect(steppedInAll * 4).toBeGreaterThanOrEqual(steps);
  });

  it.each(['before', 'after'] as const)(
    'ends bitwise the same when any write of a checkpoint fails, %s its bytes are there',
    async (when) => {
      let boundaries = 0;
      for (let n = 1; ; n++) {
        const storage = new MemoryStorage();
        const first = await run({ storage: failingStorage(storage, n, when) }).then(
          () => 'ended',
          (error: unknown) => error,
        );
        if (first === 'ended') break;
        expect(first).toBe(stopped);
        boundaries++;
        expect(await run({ storage })).toEqual(unbroken);
      }
      expect(boundaries).toBeGreaterThanOrEqual(4);
    },
  );

  it('gives the finished run when it is run again', async () => {
    const storage = new MemoryStorage();
    await run({ storage });
    let stepped = 0;
    expect(await run({ storage, onStep: () => stepped++ })).toEqual(unbroken);
    expect(stepped).toBe(0);
  });

  it('goes on from the checkpoint before when the newest is damaged, and says so', async () => {
    const storage = new MemoryStorage();
    const controller = new AbortController();
    let stepped = 0;
    const abortLate = () => {
      if (++stepped === Math.floor(steps / 4) - 2) controller.abort(stopped);
    };
    await expect(run({ storage, signal: controller.signal, onStep: abortLate })).rejects.toBe(stopped);
    const keys = (await storage.list('checkpoint/')).toSorted();
    expect(keys.length).toBe(2);
    const newest = keys.at(-1) as string;
    const bytes = (await storage.get(newest)) as Uint8Array;
    bytes[bytes.length - 3] = (bytes[bytes.length - 3] as number) ^ 4;
    await storage.put(newest, bytes);
    const warnings: string[] = [];
    expect(await run({ storage, onWarning: (message) => warnings.push(message) })).toEqual(unbroken);
    expect(warnings).toEqual([expect.stringContaining(`${newest}: its SHA-256 does not match`)]);
    // With all of them damaged there is nothing to go on from, and a silent new start would be worse.
    for (const key of await storage.list('checkpoint/')) await storage.put(key, bytes.slice(0, 100));
    await expect(run({ storage })).rejects.toBeInstanceOf(CheckpointError);
  });
});

describe('a storage', () => {
  it('with a checkpoint of other kernels is gone on with, and that is said with the build of the engine', async () => {
    const storage = new MemoryStorage();
    const run = async (onWarning?: (message: string) => void) => {
      using agent = smallAgent();
      const { policy } = await adapt(adaptOptions(agent, { storage, ...(onWarning ? { onWarning } : {}) }));
      policy.dispose();
    };
    await useBackend('wasm', { kernels: 'reference' });
    try {
      await run();
    } finally {
      await useBackend('wasm', { simd: 'plain' });
    }
    const warnings: string[] = [];
    await run((message) => warnings.push(message));
    await useBackend('wasm');
    expect(warnings).toEqual([
      expect.stringMatching(/made by reference kernels on wasm, this run uses hybrid \(simd\) on wasm/),
    ]);
  });

  it('makes no difference where episodes can be saved', async () => {
    for (const scenario of scenarios.slice(0, 5)) {
      expect(await scenario.run()).toEqual(await scenario.run({ storage: new MemoryStorage() }));
    }
  });

  it('with the checkpoint of another run is refused, naming the field', async () => {
    const storage = new MemoryStorage();
    using agent = smallAgent();
    const first = await adapt(adaptOptions(agent, { storage }));
    first.policy.dispose();
    using other = smallAgent({ seed: 6 });
    const refusals: readonly [field: string, again: () => Promise<unknown>][] = [
      ['seed', () => adapt(adaptOptions(agent, { storage, seed: 9 }))],
      ['steps', () => adapt({ ...adaptOptions(agent, { storage }), steps: 400 })],
      ['algorithm.clip', () => adapt({ ...adaptOptions(agent, { storage }), algorithm: { name: 'ppo', clip: 0.3 } })],
      ['scheme', () => adapt({ ...adaptOptions(agent, { storage }), scheme: 'mixture' })],
      ['initial', () => adapt({ ...adaptOptions(agent, { storage }), freshCritic: false })],
      ['pretrained', () => adapt(adaptOptions(other, { storage }))],
      ['phase', () => pretrain({ ...pretrainOptions(agent, { storage }) })],
    ];
    for (const [field, again] of refusals) {
      const error = await again().then(
        () => undefined,
        (reason: unknown) => reason,
      );
      expect(error, field).toBeInstanceOf(CheckpointError);
      expect((error as Error).message, field).toContain(`\`${field}\``);
    }
    // The refusals left it as it was.
    const again = await adapt(adaptOptions(agent, { storage }));
    again.policy.dispose();
    expect(await again.learner.sha256()).toBe(await first.learner.sha256());
  });

  it('is refused for other starts and other recorded answers', async () => {
    const storage = new MemoryStorage();
    const starts = [['item-1'], ['item-2']];
    {
      using agent = smallAgent();
      await pretrain({ ...pretrainOptions(agent, { storage }), starts });
    }
    using agent = smallAgent();
    await expect(
      pretrain({ ...pretrainOptions(agent, { storage }), starts: [['item-1'], ['item-3']] }),
    ).rejects.toThrow('`starts`');
    const answers = Array.from({ length: 12 }, (_, i) => ({
      history: [`item-${i}`],
      candidates: [`item-${i + 1}`, `item-${i + 2}`],
      choice: i % 3 === 0 ? null : `item-${i + 1}`,
    }));
    const recorded = new MemoryStorage();
    {
      using learner = smallAgent();
      expect((await pretrain({ agent: learner, answers, storage: recorded })).steps).toBe(12);
    }
    await expect(pretrain({ agent, answers: answers.toReversed(), storage: recorded })).rejects.toThrow('`answers`');
  });

  it('restarts a run whose episodes cannot be saved on the same beat only', async () => {
    const { run } = scenarios[5] as (typeof scenarios)[number];
    const storage = new MemoryStorage();
    await run({ storage });
    using agent = smallAgent();
    const again = { ...adaptOptions(agent, { storage }), env: liftedEnv() };
    await expect(adapt({ ...again, checkpointEvery: 41 })).rejects.toThrow('`checkpointEvery`');
  });

  it('carries the episodes under way: their returns and lengths are reported whole', async () => {
    const seen = async (breakAt: number | undefined): Promise<string[]> => {
      const storage = new MemoryStorage();
      const episodes: string[] = [];
      const events = new EventEmitter<TrainingEvents>();
      events.on('episodeEnd', ({ step, lane, return: total, length }) =>
        episodes.push([step, lane, total, length].join(' ')),
      );
      const { run } = scenarios[2] as (typeof scenarios)[number];
      const controller = new AbortController();
      let stepped = 0;
      const onStep = () => {
        if (++stepped === breakAt) controller.abort(stopped);
      };
      if (breakAt !== undefined)
        await expect(run({ storage, events, signal: controller.signal, onStep })).rejects.toBe(stopped);
      await run({ storage, events });
      return episodes;
    };
    const unbroken = await seen(undefined);
    expect(unbroken.length).toBe(4 * Math.floor(53 / 5));
    expect(unbroken.every((line) => line.endsWith(' 5'))).toBe(true);
    // Episodes have five steps: the third of one, and the last.
    for (const breakAt of [13, 25]) expect(await seen(breakAt)).toEqual(unbroken);
  });

  it('is not written to half-way when an environment throws in the middle of a step', async () => {
    // The reset after a step fails: the transition is in the buffer, the counters do not know it.
    const { run } = scenarios[2] as (typeof scenarios)[number];
    const unbroken = await run();
    const storage = new MemoryStorage();
    const broken = smallEnv();
    const reset = broken.reset.bind(broken);
    let resets = 0;
    broken.reset = (options) => {
      if (options?.rows && ++resets === 4) throw stopped;
      return reset(options);
    };
    using agent = smallAgent();
    await expect(adapt({ ...adaptOptions(agent, { storage }), env: broken })).rejects.toBe(stopped);
    expect(await run({ storage })).toEqual(unbroken);
  });
});
