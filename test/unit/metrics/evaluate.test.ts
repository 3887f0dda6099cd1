import { beforeAll, describe, expect, it } from 'vitest';
import { ActorCritic } from '../../../src/agent/actor-critic.js';
import type { Policy } from '../../../src/agent/policy.js';
import { RandomPolicy } from '../../../src/agent/random-policy.js';
import { useBackend } from '../../../src/compute/backend.js';
import type { HistoryBatch } from '../../../src/compute/history-batch.js';
import { mean as meanEncoder } from '../../../src/encoder/mean-encoder.js';
import { type Env, liftEnv } from '../../../src/env/env.js';
import { InvalidArgumentError } from '../../../src/foundation/errors.js';
import { evaluate } from '../../../src/metrics/evaluate.js';
import { confidenceInterval, mean } from '../../../src/metrics/statistics.js';
import { chainEnv, IdentityUserEnv, identityEnv, identityTarget, tinyCatalog } from '../../../src/testing/tiny-envs.js';
import { syntheticWorld } from '../../../src/world/synthetic-world.js';

beforeAll(async () => {
  await useBackend('cpu');
});

/** Plays what `choose` says for each history. */
function scripted(choose: (history: readonly number[], b: number) => number): Policy {
  return {
    name: 'scripted',
    act: (batch: HistoryBatch) => ({
      actions: Int32Array.from({ length: batch.size }, (_, b) =>
        choose([...batch.items.subarray(b * batch.length, b * batch.length + (batch.lengths[b] as number))], b),
      ),
      logProb: new Float32Array(batch.size),
    }),
  };
}

const best = scripted((history) => identityTarget(history.at(-1) as number, 5));
const worst = scripted((history) => history.at(-1) as number);

describe('evaluate', () => {
  it('gives the known return, length, average reward and coverage of policies that can be worked out', async () => {
    const rows = await evaluate({
      policies: { best, worst },
      env: identityEnv({ size: 4 }),
      episodes: 30,
      seeds: 2,
      modes: ['sampled'],
    });
    expect(rows).toMatchObject([
      {
        policy: 'best',
        mode: 'sampled',
        return: 5,
        returnLow: 5,
        returnHigh: 5,
        length: 5,
        averageReward: 1,
        coverage: 1,
        episodes: 60,
        perSeed: [5, 5],
      },
      { policy: 'worst', return: 0, length: 5, averageReward: 0, episodes: 60, perSeed: [0, 0] },
    ]);
    const [one] = await evaluate({
      policies: { one: scripted(() => 2) },
      env: identityEnv({ size: 4 }),
      episodes: 30,
      modes: ['argmax'],
    });
    expect(one?.coverage).toBe(1 / 5);
  });

  it('plays exactly the episodes asked for, however many lanes, and every seed on its own', async () => {
    for (const size of [1, 3, 64]) {
      const [row] = await evaluate({
        policies: { random: new RandomPolicy({ itemCount: 5 }) },
        env: identityEnv({ size }),
        episodes: 10,
        seeds: [7, 8, 9],
        modes: ['sampled'],
      });
      expect(row?.episodes).toBe(30);
      expect(row?.perSeed.length).toBe(3);
      expect(new Set(row?.perSeed).size).toBeGreaterThan(1);
      expect(mean(row?.perSeed as number[])).toBeCloseTo(row?.return as number, 10);
    }
  });

  it('does not favour short episodes: each lane is played to its end', async () => {
    // Worth more the longer it lasts; a fixed number of *steps* would see mostly the short ones.
    const world = syntheticWorld({ items: 60, categories: 6 });
    const env = world.batchEnv({ split: 'test', size: 16, seed: 1 });
    const policies = { random: new RandomPolicy({ itemCount: 60 }) };
    const [wide] = await evaluate({ policies, env, episodes: 480, seeds: 4, modes: ['sampled'] });
    const [narrow] = await evaluate({
      policies,
      env: world.batchEnv({ split: 'test', size: 2, seed: 1 }),
      episodes: 480,
      seeds: 4,
      modes: ['sampled'],
    });
    expect(wide?.length).toBeGreaterThan(1.5);
    expect(Math.abs((wide?.length as number) - (narrow?.length as number))).toBeLessThan(
      0.05 * (wide?.length as number),
    );
    expect(wide?.averageReward).toBeCloseTo((wide?.return as number) / (wide?.length as number), 10);
  });

  it('gives intervals over seeds that hold the truth about as often as they say, and narrow with more seeds', async () => {
    const policies = { random: new RandomPolicy({ itemCount: 5 }) };
    const truth = 1;
    let held = 0;
    for (let trial = 0; trial < 60; trial++) {
      const seeds = Array.from({ length: 5 }, (_, i) => 1000 + trial * 5 + i);
      const [row] = await evaluate({
        policies,
        env: identityEnv({ size: 20 }),
        episodes: 40,
        seeds,
        modes: ['sampled'],
      });
      if ((row?.returnLow as number) <= truth && truth <= (row?.returnHigh as number)) held++;
      expect(row).toMatchObject(confidenceIntervalOf(row?.perSeed as number[]));
    }
    // 60 trials at 95 %: below 51 with probability 0.001.
    expect(held).toBeGreaterThanOrEqual(51);
  });

  it('gives the interval over episodes where there is one seed', async () => {
    const [row] = await evaluate({
      policies: { random: new RandomPolicy({ itemCount: 5 }) },
      env: identityEnv({ size: 20 }),
      episodes: 100,
      modes: ['sampled'],
    });
    expect(row?.returnHigh).toBeGreaterThan(row?.returnLow as number);
    expect((row?.returnHigh as number) - (row?.returnLow as number)).toBeLessThan(1);
    expect(row?.lengthLow).toBe(5);
  });

  it('shows every policy the same episodes, so that the order of policies changes no row, and repeats itself', async () => {
    const random = new RandomPolicy({ itemCount: 5 });
    const run = (policies: Record<string, Policy>) =>
      evaluate({ policies, env: identityEnv({ size: 4 }), episodes: 20, seeds: 2 });
    const rows = await run({ random, best });
    expect(await run({ random, best })).toEqual(rows);
    const turned = await run({ best, random });
    expect(turned.filter(({ policy }) => policy === 'random')).toEqual(
      rows.filter(({ policy }) => policy === 'random'),
    );
    expect(rows.map(({ policy, mode }) => `${policy} ${mode}`)).toEqual([
      'random sampled',
      'random argmax',
      'best sampled',
      'best argmax',
    ]);
    const starts: number[][] = [];
    const spy = () =>
      scripted((history, b) => {
        if (history.length === 1) starts.push([b, history[0] as number]);
        return history.length % 5;
      });
    await run({ one: spy() });
    const first = starts.splice(0);
    await run({ other: spy() });
    expect(starts).toEqual(first);
  });

  it('acts under the environment’s rule, with the temperature given', async () => {
    const world = syntheticWorld({ items: 60, categories: 6 });
    using agent = new ActorCritic({
      catalog: world.catalog,
      encoder: meanEncoder({ width: 4 }),
      items: 'id',
      historyFeatures: false,
      seed: 1,
    });
    agent.scaleLogits(30);
    // The environment refuses repeats: without the mask the first one would throw.
    const at = async (temperature: number) =>
      (
        await evaluate({
          policies: { agent },
          env: world.batchEnv({ split: 'test', size: 8, seed: 1 }),
          episodes: 24,
          modes: ['sampled'],
          temperature,
        })
      )[0]?.coverage as number;
    expect(await at(100)).toBeGreaterThan(await at(0.1));
  });

  it('plays an Env of the user, and tells leaving from cutting off by nothing but the count', async () => {
    const [user] = await evaluate({ policies: { best }, env: new IdentityUserEnv(), episodes: 6, modes: ['sampled'] });
    expect(user).toMatchObject({ return: 5, length: 5, episodes: 6 });
    for (const ends of ['terminated', 'truncated'] as const) {
      const [row] = await evaluate({
        policies: { one: scripted(() => 1) },
        env: chainEnv({ steps: 3, ends, size: 2 }),
        episodes: 6,
        modes: ['sampled'],
      });
      expect(row).toMatchObject({ return: 3, length: 3 });
    }
  });

  it('asks an ended lane for nothing', async () => {
    const env = syntheticWorld({ items: 60, categories: 6 }).batchEnv({ split: 'test', size: 6, seed: 1 });
    const step = env.step.bind(env);
    let idle = 0;
    let wrong = 0;
    env.step = (actions) => {
      for (const [lane, action] of actions.entries()) {
        if (action < 0) idle++;
        if (action < 0 !== (env.ended[lane] === 1)) wrong++;
      }
      return step(actions);
    };
    await evaluate({
      policies: { random: new RandomPolicy({ itemCount: 60 }) },
      env,
      episodes: 12,
      modes: ['sampled'],
    });
    expect(idle).toBeGreaterThan(0);
    expect(wrong).toBe(0);
  });

  it('plays episodes that use a catalogue up while others wait, with the uniforms of their lanes', async () => {
    // Users who begin with n items have seen the whole catalogue after 4 - n more.
    const items = 4;
    const user = (begin: number): Env => ({
      catalog: tinyCatalog(items),
      noRepeat: true,
      reset: () => ({ history: Array.from({ length: begin }, (_, i) => `item-${i}`) }),
      step: () => ({ reward: 1, terminated: false, truncated: false }),
    });
    const random = new RandomPolicy({ itemCount: items });
    const asked: number[][] = [];
    const spy: Policy = {
      name: 'spy',
      act: (batch, options) => {
        asked.push([...options.uniforms]);
        expect(options.uniforms.length).toBe(batch.size);
        return random.act(batch, options);
      },
    };
    const play = (policy: Policy, begins: readonly number[]) =>
      evaluate({ policies: { policy }, env: liftEnv(begins.map(user)), episodes: 8, modes: ['sampled'] });
    const [row] = await play(spy, [0, 2, 0, 3]);
    expect(row).toMatchObject({ return: (4 + 2 + 4 + 1) / 4, length: 11 / 4, episodes: 8 });
    // Lane by lane the numbers of a world where all go on as long: drawn for all lanes, whoever has ended.
    const part = asked.splice(0);
    await play(spy, [0, 0, 0, 0]);
    const live = [
      [0, 1, 2, 3],
      [0, 1, 2],
      [0, 2],
      [0, 2],
    ];
    expect(part).toEqual(asked.map((uniforms, step) => (live[step % 4] as number[]).map((lane) => uniforms[lane])));
  });

  it('stops for a signal, also one that a timer raises', async () => {
    const reason = new Error('enough');
    const policies = { random: new RandomPolicy({ itemCount: 5 }) };
    await expect(evaluate({ policies, env: identityEnv(), signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    const controller = new AbortController();
    setTimeout(() => controller.abort(reason), 100);
    await expect(
      evaluate({ policies, env: identityEnv(), episodes: 10_000_000, signal: controller.signal }),
    ).rejects.toBe(reason);
  });

  it('refuses what it cannot do', async () => {
    const policies = { best };
    const env = identityEnv();
    for (const wrong of [
      { policies: {}, env },
      { policies, env, episodes: 0 },
      { policies, env, seeds: [] },
      { policies, env, modes: [] },
      { policies, env, temperature: 0 },
      { policies, env: {} },
      { policies: { best: {} }, env },
      { policies, env, episods: 3 },
    ]) {
      await expect(evaluate(wrong as never), JSON.stringify(Object.keys(wrong))).rejects.toThrow(InvalidArgumentError);
    }
  });
});

function confidenceIntervalOf(perSeed: readonly number[]) {
  const { low, high } = confidenceInterval(perSeed);
  return { returnLow: low, returnHigh: high };
}
