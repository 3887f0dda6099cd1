import * as tf from '@tensorflow/tfjs';
import { beforeAll, describe, expect, it } from 'vitest';
import { useBackend } from '../../../src/compute/backend.js';
import { DivergedError, InvalidArgumentError, OracleError } from '../../../src/foundation/errors.js';
import { EventEmitter } from '../../../src/foundation/events.js';
import { Rng } from '../../../src/foundation/rng.js';
import { constantSchedule, linearSchedule } from '../../../src/foundation/schedules.js';
import { MemoryStorage } from '../../../src/foundation/storage.js';
import type { PreferenceOracle, PreferenceQuery } from '../../../src/oracle/preference-oracle.js';
import type { RecordedAnswer } from '../../../src/oracle/recorded-answers.js';
import { ScriptedOracle } from '../../../src/oracle/scripted-oracle.js';
import { identityEnv } from '../../../src/testing/tiny-envs.js';
import { adapt } from '../../../src/train/adapt.js';
import { pretrain } from '../../../src/train/pretrain.js';
import type { TrainingEvents, TrainingProgress } from '../../../src/train/training-events.js';
import {
  adaptOptions,
  answerOf,
  catalog,
  pretrainOptions,
  scenarios,
  smallAgent,
  smallEnv,
  watched,
} from './small-runs.js';

beforeAll(async () => {
  await useBackend('wasm');
});

async function failure(run: Promise<unknown>): Promise<Error> {
  return run.then(
    () => {
      throw new Error('nothing was thrown');
    },
    (error: unknown) => error as Error,
  );
}

describe('a run that diverges', () => {
  const nanAfter = (n: number, bad: number) => {
    let steps = 0;
    return watched(
      smallEnv(),
      () => steps++,
      (reward) => (steps > n ? bad : reward),
    );
  };

  it.each([
    ['ppo', Number.NaN, 'fineTune'],
    ['ppo', Number.POSITIVE_INFINITY, 'mixture'],
    ['replay', Number.NaN, 'fineTune'],
    ['paper', Number.NEGATIVE_INFINITY, 'fineTune'],
  ] as const)(
    'stops %s with %s rewards, %s, naming the step, and leaves nothing half-done',
    async (name, bad, scheme) => {
      using agent = smallAgent();
      const before = await agent.sha256();
      const storage = new MemoryStorage();
      await adapt({ ...adaptOptions(agent), steps: 40, scheme }).then(({ policy }) => policy.dispose());
      const { numTensors } = tf.memory();
      const settings = name === 'ppo' ? {} : { batchSize: 64, updatesPerStep: 0.25, bufferSize: 40 };
      const error = await failure(
        adapt({
          ...adaptOptions(agent, { storage }),
          env: nanAfter(20, bad),
          scheme,
          algorithm: { name, ...settings },
        }),
      );
      expect(error).toBeInstanceOf(DivergedError);
      const { step } = error as DivergedError;
      expect(step).toBeGreaterThan(80);
      expect(step).toBeLessThan(212);
      expect(error.message).toContain(`step ${step}`);
      expect(await agent.sha256()).toBe(before);
      expect(tf.memory().numTensors).toBe(numTensors);
      // What was written before is sound: with a mended environment the run goes on from it.
      const { policy, steps, resumed } = await adapt({
        ...adaptOptions(agent, { storage }),
        env: smallEnv(),
        scheme,
        algorithm: { name, ...settings },
      });
      policy.dispose();
      expect({ steps, resumed }).toEqual({ steps: 212, resumed: true });
    },
  );

  it('counts a lone bad update, applies nothing of it, and goes on', async () => {
    // One NaN reward; the buffer of 8 transitions forgets it after two steps of four users.
    let steps = 0;
    using agent = smallAgent();
    const env = watched(
      smallEnv(),
      () => steps++,
      (reward) => (steps === 20 ? Number.NaN : reward),
    );
    const settings = { batchSize: 32, updatesPerStep: 0.25, bufferSize: 8 };
    const { policy, skipped, updates, learner } = await adapt({
      ...adaptOptions(agent),
      env,
      algorithm: { name: 'replay', ...settings },
    });
    using _policy = policy;
    expect(skipped).toBe(2);
    expect(updates).toBe(53 - 2);
    for (const { data } of learner.store.parameters()) expect(data.every(Number.isFinite)).toBe(true);
  });

  it('stops pre-training too, and gives the agent its weights back', async () => {
    using agent = smallAgent();
    // States overflow; candidates are drawn without the actor, which would refuse to act.
    agent.store.get('encoder/output/b').data.fill(3e38);
    agent.store.get('actor/id').data.fill(3e38);
    agent.store.touch();
    const before = await agent.sha256();
    const error = await failure(
      pretrain({ ...pretrainOptions(agent), actorShare: 0, algorithm: { name: 'list', passes: 200 } }),
    );
    expect(error).toBeInstanceOf(DivergedError);
    expect(await agent.sha256()).toBe(before);
  });
});

describe('pretrain and its oracle', () => {
  it('asks exactly the budget, and no question twice over any number of resumes but those in flight', async () => {
    for (const scenario of scenarios.slice(0, 2)) {
      const storage = new MemoryStorage();
      const rng = new Rng(8);
      const asked = new Map<string, number>();
      let inFlight: string[] = [];
      let forgiven = 0;
      let isDone = false;
      let breaks = 0;
      while (!isDone) {
        const controller = new AbortController();
        let left = 1 + rng.integer(30);
        inFlight = [];
        try {
          await scenario.run({
            storage,
            signal: controller.signal,
            onStep: () => {
              inFlight = [];
            },
            onQuestion: (query) => {
              const key = JSON.stringify(query);
              asked.set(key, (asked.get(key) ?? 0) + 1);
              inFlight.push(key);
              // In the middle of a batch: what was answered before is on record, the one being answered is not.
              if (--left === 0) controller.abort(new Error('abort'));
            },
          });
          isDone = true;
        } catch {
          breaks++;
          forgiven++;
        }
      }
      expect(breaks).toBeGreaterThan(3);
      const questions = [...asked.values()].reduce((sum, times) => sum + times, 0);
      expect(questions - asked.size).toBeLessThanOrEqual(forgiven);
      // An unbroken run asks the same questions, each once.
      const unbroken = new Set<string>();
      let calls = 0;
      await scenario.run({
        storage: new MemoryStorage(),
        onQuestion: (query) => {
          calls++;
          unbroken.add(JSON.stringify(query));
        },
      });
      expect(new Set(asked.keys())).toEqual(unbroken);
      expect(calls).toBe(unbroken.size);
      expect(calls).toBeLessThanOrEqual(90);
      expect(calls).toBeGreaterThan(80);
    }
  });

  it('counts every question of the budget as a step, whatever the number of lanes', async () => {
    for (const lanes of [1, 7, 64]) {
      using agent = smallAgent();
      const oracle = new ScriptedOracle(answerOf);
      const { oracleCalls, steps, asked } = await pretrain({
        ...pretrainOptions(agent),
        oracle,
        lanes,
        budget: { calls: 50 },
      });
      expect({ oracleCalls, steps, asked }).toEqual({ oracleCalls: 50, steps: 50, asked: 50 });
      expect(oracle.queries.length).toBe(50);
    }
  });

  it('shows k distinct candidates, none of the history, and plays T steps from each start', async () => {
    using agent = smallAgent();
    const oracle = new ScriptedOracle(answerOf);
    const starts = [['item-3'], [], ['item-7', 'item-8']];
    const { episodes } = await pretrain({
      ...pretrainOptions(agent),
      oracle,
      budget: { calls: 10_000 },
      epochs: 4,
      starts,
    });
    // 4 epochs x 3 starts x T 4, in lanes of 4 users.
    expect(oracle.queries.length).toBe(48);
    expect(episodes).toBe(12);
    const beginnings: string[] = [];
    for (const { history, candidates } of oracle.queries) {
      expect(new Set(candidates).size).toBe(5);
      expect(candidates.some((item) => history.includes(item))).toBe(false);
      if (history.length === 0 || (history.length === 1 && history[0] === 3)) beginnings.push(String(history));
    }
    expect(beginnings.filter((history) => history === '').length).toBe(4);
  });

  it.each(['list', 'likelihood'] as const)(
    'moves the policy towards what the oracle prefers, and away from it with answers turned round: %s loss',
    async (loss) => {
      // The oracle always takes the lowest candidate; turned round, the highest.
      const shareOfLow = async (turned: boolean): Promise<number> => {
        using agent = smallAgent();
        const choose = ({ candidates }: PreferenceQuery) =>
          candidates.indexOf(turned ? Math.max(...candidates) : Math.min(...candidates));
        await pretrain({
          ...pretrainOptions(agent),
          oracle: new ScriptedOracle(choose),
          budget: { calls: 400 },
          algorithm: { name: 'list', loss, learningRate: 0.02 },
        });
        // A user such as those it was trained on: all began with an item.
        const top = agent.recommend({ history: [catalog.id(20)], k: 10 }).map(({ id }) => catalog.indexOf(id));
        return top.filter((item) => item < 20).length / 10;
      };
      expect(await shareOfLow(false)).toBeGreaterThanOrEqual(0.8);
      expect(await shareOfLow(true)).toBeLessThanOrEqual(0.2);
    },
  );

  it('learns nothing from answers that cannot be read, and stops where there are too many', async () => {
    using agent = smallAgent();
    const before = await agent.sha256();
    const error = await failure(pretrain({ ...pretrainOptions(agent), oracle: new ScriptedOracle(() => 'invalid') }));
    expect(error).toBeInstanceOf(OracleError);
    expect(error).toMatchObject({ answer: 'scripted: no label' });
    expect(error.message).toContain('maxInvalidRate');
    expect(await agent.sha256()).toBe(before);
    // One in fifty is borne; nothing of it is learned from.
    let n = 0;
    const rare = new ScriptedOracle((query) => (++n % 50 === 0 ? 'invalid' : answerOf(query)));
    const { steps } = await pretrain({ ...pretrainOptions(agent), oracle: rare });
    expect(steps).toBe(90);
    // All of them, allowed: no update, the same weights but for the hand-over's temperature.
    using untouched = smallAgent();
    const { updates } = await pretrain({
      ...pretrainOptions(untouched),
      oracle: new ScriptedOracle(() => 'invalid'),
      maxInvalidRate: 1,
      temperature: 1,
    });
    expect(updates).toBe(0);
    expect(await untouched.sha256()).toBe(before);
  });

  it('stops when a whole batch fails, keeps what was answered, and goes on later', async () => {
    const storage = new MemoryStorage();
    const unbroken = await scenarios[0]?.run({ storage: new MemoryStorage() });
    let n = 0;
    const down = new ScriptedOracle((query) => (++n > 30 ? 'failed' : answerOf(query)));
    {
      using agent = smallAgent();
      const error = await failure(
        pretrain({
          ...pretrainOptions(agent, { storage }),
          oracle: down,
          algorithm: { name: 'list', passes: 40, batchSize: 32 },
        }),
      );
      expect(error).toBeInstanceOf(OracleError);
      // The same agent, back at its first weights, goes on.
      const { steps, asked } = await pretrain({
        ...pretrainOptions(agent, { storage }),
        algorithm: { name: 'list', passes: 40, batchSize: 32 },
      });
      expect(steps).toBe(90);
      expect(asked).toBeLessThanOrEqual(90 - 28);
      expect(steps).toBe(unbroken?.steps);
    }
  });

  it('refuses an oracle that answers with what was not asked', async () => {
    using agent = smallAgent();
    const liar: PreferenceOracle = {
      id: 'liar',
      prefer: async (queries) => queries.map(({ history }) => ({ kind: 'choice', choice: history[0] ?? 0 })),
    };
    expect(await failure(pretrain({ ...pretrainOptions(agent), oracle: liar }))).toBeInstanceOf(OracleError);
    const lazy: PreferenceOracle = { id: 'lazy', prefer: async () => [] };
    expect(await failure(pretrain({ ...pretrainOptions(agent), oracle: lazy }))).toBeInstanceOf(OracleError);
  });

  it('learns from recorded answers, with contexts, and needs no larger catalogue than they do', async () => {
    using agent = smallAgent({ contextWidth: 2 });
    const answers = [
      { history: [], candidates: ['item-1', 'item-2'], choice: 'item-1', context: [1, 0] },
      { history: ['item-5'], candidates: ['item-2', 'item-3'], choice: null },
    ];
    const before = await agent.sha256();
    const { steps, oracleCalls, updates } = await pretrain({
      agent,
      answers,
      algorithm: { name: 'list', passes: 200 },
    });
    expect({ steps, oracleCalls }).toEqual({ steps: 2, oracleCalls: 0 });
    expect(updates).toBeGreaterThan(0);
    expect(await agent.sha256()).not.toBe(before);
    const short = failure(
      pretrain({ agent, answers: [{ history: [], candidates: ['item-1', 'item-2'], choice: null, context: [1] }] }),
    );
    expect(await short).toMatchObject({ code: 'INVALID_ARGUMENT', argument: 'answers[0].context' });
  });

  it('says what is wrong with recorded answers: of the first, and what it is', async () => {
    using agent = smallAgent();
    const refusal = (...answers: RecordedAnswer[]) => failure(pretrain({ agent, answers }));
    const [one, other] = ['item-1', 'item-2'];
    const good = { history: [], candidates: [one, other], choice: null };
    expect(await refusal(good, { ...good, choice: 'item-3' })).toMatchObject({
      argument: 'answers[1].choice',
      message: 'pretrain: expected `answers[1].choice` to be one of its candidates, or null for None, got "item-3"',
    });
    expect(await refusal({ ...good, candidates: [one, other, one] })).toMatchObject({
      argument: 'answers[0].candidates',
      message: 'pretrain: expected `answers[0].candidates` to be distinct, got "item-1" twice',
    });
    const lone = { ...good, candidates: [one] };
    expect((await refusal(good, ...Array<RecordedAnswer>(50).fill(lone))).message).toBe(
      'pretrain: expected `answers[1].candidates` to be at least 2 long, got ["item-1"]; and 49 more',
    );
  });
});

describe('adapt', () => {
  it('rounds the steps up to whole steps of all users, no further', async () => {
    using agent = smallAgent();
    const result = await adapt({ ...adaptOptions(agent), steps: 13 });
    using _policy = result.policy;
    expect(result.steps).toBe(16);
  });

  it('leaves the agent as it was, and its mixture borrows it', async () => {
    using agent = smallAgent();
    const before = await agent.sha256();
    const { policy, learner } = await adapt({ ...adaptOptions(agent), scheme: 'mixture' });
    expect(await agent.sha256()).toBe(before);
    expect(await learner.sha256()).not.toBe(before);
    policy.dispose();
    expect(agent.recommend({ k: 3 }).length).toBe(3);
  });

  it('follows the alpha schedule, and with alpha 0 throughout the learner stays where it began but for its critic', async () => {
    using agent = smallAgent();
    const events: number[] = [];
    const emitter = new EventEmitter<TrainingEvents>();
    emitter.on('updateEnd', ({ alpha }) => events.push(alpha));
    const alpha = linearSchedule({ from: 0.2, to: 1, steps: 100 });
    const moving = await adapt({ ...adaptOptions(agent, { events: emitter }), scheme: 'mixture', alpha });
    using _moving = moving.policy;
    expect(events[0]).toBeCloseTo(alpha.at(32), 12);
    expect(events.at(-1)).toBe(1);
    expect('alpha' in moving.policy && moving.policy.alpha).toBe(1);
    // No entropy bonus, no shared value gradient into what the actor reads: alpha 0 leaves nothing for the actor.
    const frozen = await adapt({
      ...adaptOptions(agent),
      scheme: 'mixture',
      alpha: constantSchedule(0),
      algorithm: { name: 'ppo', entropyWeight: 0 },
    });
    using _frozen = frozen.policy;
    for (const name of agent.store.names.filter((known) => known.startsWith('actor/'))) {
      expect(frozen.learner.store.get(name).data, name).toEqual(agent.store.get(name).data);
      if (name !== 'actor/none')
        expect(moving.learner.store.get(name).data, name).not.toEqual(agent.store.get(name).data);
    }
  });

  it('softens a sharp policy to the entropy asked for before it learns, with no backend chosen beforehand', async () => {
    using sharp = smallAgent();
    sharp.scaleLogits(200);
    const entropyOf = (agent: typeof sharp) => {
      const env = smallEnv();
      env.reset({ seed: 3 });
      const rows = agent.probabilities(env.histories());
      return rows.reduce((sum, p) => sum - (p > 0 ? p * Math.log(p) : 0), 0) / env.size;
    };
    expect(entropyOf(sharp)).toBeLessThan(1.5);
    const { policy, learner } = await adapt({
      ...adaptOptions(sharp),
      steps: 4,
      handoverEntropy: 3,
      algorithm: { name: 'ppo', learningRate: 1e-9 },
    });
    using _policy = policy;
    expect(entropyOf(learner)).toBeCloseTo(3, 1);
  });

  it('refuses options at odds', async () => {
    using agent = smallAgent();
    using actionCritic = smallAgent({ critic: 'action' });
    const options = adaptOptions(agent);
    const wrong: readonly (() => Promise<unknown>)[] = [
      () => adapt({ ...options, alpha: 0.5 }),
      () => adapt({ ...options, agent: actionCritic, freshCritic: false }),
      () => adapt({ ...options, env: identityEnv({ items: 7 }) }),
      () => adapt({ ...options, steps: 0 }),
      () => adapt({ ...options, algorithm: { name: 'ppo', clip: -1 } }),
      () => pretrain({ ...pretrainOptions(agent), answers: [] }),
      () => pretrain({ agent }),
      () => pretrain({ ...pretrainOptions(agent), candidateCount: 25, stepsPerEpisode: 30 }),
    ];
    for (const [i, run] of wrong.entries())
      expect(await failure(run()), String(i)).toBeInstanceOf(InvalidArgumentError);
  });
});

describe('a critic of the other reading', () => {
  it('is drawn anew in the reading the algorithm needs; actor and encoder are kept, and the agent stays as it was', async () => {
    using agent = smallAgent({ critic: 'action' });
    const before = await agent.sha256();
    const { policy, learner } = await adapt({
      ...adaptOptions(agent),
      steps: 1,
      algorithm: { name: 'ppo', learningRate: 1e-12 },
    });
    expect(learner.settings.critic).toBe('state');
    expect(await agent.sha256()).toBe(before);
    const own = agent.store.get('item/id').data;
    expect(learner.store.get('item/id').data.every((value, i) => Math.abs(value - (own[i] as number)) < 1e-6)).toBe(
      true,
    );
    expect(learner.store.names.some((name) => name.startsWith('critic/'))).toBe(false);
    policy.dispose();
  });
});

describe('events and hooks', () => {
  it('come in order: the start, then updates and checkpoints with growing counts, the end last', async () => {
    for (const phase of ['pretrain', 'adapt'] as const) {
      const events = new EventEmitter<TrainingEvents>();
      const seen: { name: string; step: number; phase: string }[] = [];
      const names = [
        'runStart',
        'episodeEnd',
        'updateEnd',
        'epochEnd',
        'oracleAnswer',
        'checkpointEnd',
        'runEnd',
      ] as const;
      for (const name of names)
        events.on(name, (payload: { step: number; phase: string }) => seen.push({ name, ...payload }));
      using agent = smallAgent();
      const storage = new MemoryStorage();
      const epochs: number[] = [];
      const progress: TrainingProgress[] = [];
      const hooks = {
        stepsPerEpoch: 40,
        afterEpoch: async ({ epoch }: { epoch: number }) => {
          // Awaited: nothing may happen meanwhile.
          const count = seen.length;
          await new Promise((resolve) => setTimeout(resolve, 5));
          expect(seen.length).toBe(count);
          epochs.push(epoch);
        },
        onProgress: (at: TrainingProgress) => progress.push(at),
      };
      const result =
        phase === 'pretrain'
          ? await pretrain({ ...pretrainOptions(agent, { events, storage }), ...hooks })
          : await adapt({ ...adaptOptions(agent, { events, storage }), ...hooks });
      if ('policy' in result) result.policy.dispose();
      const order = seen.map(({ name }) => name);
      expect(order[0]).toBe('runStart');
      expect(order.at(-1)).toBe('runEnd');
      expect(order.filter((name) => name === 'runStart' || name === 'runEnd').length).toBe(2);
      expect(seen.every((event, i) => event.phase === phase && event.step >= (seen[i - 1]?.step ?? 0))).toBe(true);
      expect(epochs).toEqual(Array.from({ length: Math.floor(result.steps / 40) }, (_, i) => i + 1));
      expect(order.filter((name) => name === 'epochEnd').length).toBe(epochs.length);
      expect(order.filter((name) => name === 'episodeEnd').length).toBe(result.episodes);
      expect(order.includes('oracleAnswer')).toBe(phase === 'pretrain');
      // A checkpoint of the last step, after its update.
      expect(order.at(-2)).toBe('checkpointEnd');
      expect(progress.at(-1)).toMatchObject({
        phase,
        steps: result.steps,
        totalSteps: phase === 'pretrain' ? 90 : 212,
      });
    }
  });

  it('lets timers in: a signal raised by one stops a run of a synchronous environment at once', async () => {
    using agent = smallAgent();
    const controller = new AbortController();
    const reason = new Error('enough');
    const began = Date.now();
    setTimeout(() => controller.abort(reason), 150);
    expect(await failure(adapt({ ...adaptOptions(agent, { signal: controller.signal }), steps: 10_000_000 }))).toBe(
      reason,
    );
    expect(Date.now() - began).toBeLessThan(5000);
  });

  it('reject at once for a signal that is raised already', async () => {
    using agent = smallAgent();
    const signal = AbortSignal.abort(new Error('before'));
    expect((await failure(adapt(adaptOptions(agent, { signal })))).message).toBe('before');
    expect((await failure(pretrain(pretrainOptions(agent, { signal })))).message).toBe('before');
  });
});

describe('resources', () => {
  it('leaves no tensor, no backend memory and no timer behind after pretrain, adapt and dispose', async () => {
    const round = async (): Promise<void> => {
      for (const { run } of scenarios) await run({ storage: new MemoryStorage() });
      using agent = smallAgent();
      await failure(adapt({ ...adaptOptions(agent), scheme: 'mixture', signal: AbortSignal.abort(new Error('stop')) }));
    };
    const held = () => ({
      tensors: tf.memory().numTensors,
      buffers: tf.memory().numDataBuffers,
      ids: tf.backend().numDataIds(),
    });
    await round();
    const before = held();
    const running = process.getActiveResourcesInfo().length;
    await round();
    expect(held()).toEqual(before);
    expect(process.getActiveResourcesInfo().length).toBeLessThanOrEqual(running);
  });
});
