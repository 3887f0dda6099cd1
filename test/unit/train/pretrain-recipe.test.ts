/** The recipe of pre-training: what is held out, when it ends, at which temperature it serves, and what comes of answers by chance. */
import { beforeAll, describe, expect, it } from 'vitest';
import { ActorCritic } from '../../../src/agent/actor-critic.js';
import type { ActorCriticOptions } from '../../../src/agent/agent-model.js';
import { listDistillation } from '../../../src/agent/list-distillation.js';
import { ReplayBuffer } from '../../../src/agent/replay-buffer.js';
import { syntheticData } from '../../../src/catalog/synthetic.js';
import { useBackend } from '../../../src/compute/backend.js';
import { type HistoryBatch, historyBatch } from '../../../src/compute/history-batch.js';
import { mean } from '../../../src/encoder/mean-encoder.js';
import { sasRec } from '../../../src/encoder/sasrec.js';
import { EventEmitter } from '../../../src/foundation/events.js';
import { Rng } from '../../../src/foundation/rng.js';
import { MemoryStorage } from '../../../src/foundation/storage.js';
import type { RecordedAnswer } from '../../../src/oracle/recorded-answers.js';
import { SimulatedOracle } from '../../../src/oracle/simulated-oracle.js';
import { type PretrainOptions, pretrain } from '../../../src/train/pretrain.js';
import { heldOutStreams, type IndexedAnswer, RecordedSource } from '../../../src/train/recorded-source.js';
import { fitChoices, servingTemperature } from '../../../src/train/serving-temperature.js';
import type { TrainingEvents } from '../../../src/train/training-events.js';

const { catalog } = syntheticData({ items: 120, categories: 8, seed: 3 });
const ids = catalog.ids();

const textAgent = (options: Partial<ActorCriticOptions> = {}): ActorCritic =>
  new ActorCritic({
    catalog,
    encoder: mean({ width: 4, historyLength: 4 }),
    historyFeatures: { repeats: 2, attributes: ['category'] },
    valueHidden: 0,
    seed: 2,
    ...options,
  });

const oracleOf = (options: object = {}) => new SimulatedOracle({ catalog, seed: 1, ...options });

function optionsOf(agent: ActorCritic, options: Partial<PretrainOptions> = {}): PretrainOptions {
  return { agent, oracle: oracleOf(), budget: { calls: 400 }, lanes: 8, candidateCount: 6, seed: 5, ...options };
}

beforeAll(async () => {
  await useBackend('wasm', { threads: 1 });
});

describe('heldOutStreams', () => {
  const answer = (history: number[]): IndexedAnswer => ({ history, candidates: [90, 91], choice: 0, context: [] });

  it('holds out whole streams: histories that go on from each other are never on both sides', () => {
    // 40 users with 1 to 5 answers each, in any order.
    const rng = new Rng(4);
    const users = Array.from({ length: 40 }, (_, user) => {
      const items = Array.from({ length: 1 + rng.integer(5) }, (_, j) => 1000 * (user + 1) + j);
      return items.map((_, j) => items.slice(0, j + 1));
    });
    const answers = (rng.shuffle(users.flat()) as number[][]).map(answer);
    for (const share of [0.1, 0.3]) {
      const held = heldOutStreams(answers, share, new Rng(9));
      const sides = new Map<number, Set<number>>();
      for (const [i, { history }] of answers.entries()) {
        const user = Math.floor((history[0] as number) / 1000);
        sides.set(user, (sides.get(user) ?? new Set()).add(held[i] as number));
      }
      for (const side of sides.values()) expect(side.size).toBe(1);
      const count = held.reduce((sum, flag) => sum + flag, 0);
      expect(count / answers.length).toBeGreaterThan(share * 0.7);
      expect(count / answers.length).toBeLessThan(share * 1.6);
    }
    // Split by answer, users would be on both sides: the check above can fail.
    const mixed = answers.map((_, i) => i % 4 === 0);
    const ofFirst = users.findIndex((histories) => histories.length > 3) + 1;
    const own = answers.map(({ history }, i) => [Math.floor((history[0] as number) / 1000), mixed[i]] as const);
    expect(new Set(own.filter(([user]) => user === ofFirst).map(([, flag]) => flag)).size).toBe(2);
  });

  it('goes by answer where there are no streams to go by, and holds out nothing of very few', () => {
    const empty = Array.from({ length: 20 }, () => answer([]));
    expect(heldOutStreams(empty, 0.2, new Rng(1)).reduce((sum, flag) => sum + flag, 0)).toBe(4);
    const one = Array.from({ length: 20 }, (_, i) => answer(Array.from({ length: i + 1 }, (_, j) => j)));
    expect(heldOutStreams(one, 0.2, new Rng(1)).reduce((sum, flag) => sum + flag, 0)).toBe(4);
    expect(heldOutStreams(one.slice(0, 5), 0.1, new Rng(1)).includes(1)).toBe(false);
  });
});

describe('lists of different lengths', () => {
  /** Answers of two lengths by an oracle that reads text. */
  async function answersOf(lengths: readonly number[], count: number): Promise<RecordedAnswer[]> {
    const rng = new Rng(11);
    const queries = Array.from({ length: count }, (_, i) => {
      const items = rng.sample(catalog.size, 2 + (lengths[i % lengths.length] as number));
      return { history: [...items.subarray(0, 2)], candidates: [...items.subarray(2)] };
    });
    const answers = await oracleOf().prefer(queries);
    const idsOf = (items: readonly number[]) => items.map((item) => ids[item] as string);
    return queries.map(({ history, candidates }, i) => {
      const answer = answers[i];
      const choice = answer?.kind === 'choice' ? (ids[answer.choice] as string) : null;
      return { history: idsOf(history), candidates: idsOf(candidates), choice };
    });
  }

  it.each(['auto', 'reference'] as const)(
    'leave the short ones what they are, to the bit: %s kernels',
    async (kernels) => {
      await useBackend('wasm', { threads: 1, kernels });
      const short = await answersOf([5], 80);
      const learned = async (candidateCount: number) => {
        using agent = textAgent({ encoder: sasRec({ width: 8, historyLength: 4 }) });
        const buffer = new ReplayBuffer({ lanes: 80, stepsPerLane: 1, candidateCount, holdsOut: true });
        const indexOf = (id: string) => catalog.indexOf(id) as number;
        const source = new RecordedSource({
          answers: short.map(({ history, candidates, choice }) => ({
            history: history.map(indexOf),
            candidates: candidates.map(indexOf),
            choice: choice === null ? candidates.length : candidates.indexOf(choice),
            context: [],
          })),
          ...{ lanes: 80, heldOutShare: 0.2, seed: 3 },
        });
        await source.step({ buffer, rng: new Rng(1), steps: 0 });
        const algorithm = listDistillation({ learns: 'all', passes: 40 });
        const [steps, totalSteps] = [80, 80];
        const { loss } = algorithm.update({
          ...{ learner: agent, buffer, mask: source.mask, rng: new Rng(2) },
          ...{ progress: 1, steps, totalSteps, newSteps: 80, attempted: 0 },
        });
        const heldOut = buffer.all('heldOut', 100);
        const judged = algorithm.heldOutLoss(agent, heldOut);
        return { weights: await agent.sha256(), loss, judged, fit: fitChoices(agent, heldOut) };
      };
      const alone = await learned(5);
      expect(alone.judged).toBeGreaterThan(0);
      expect(alone.fit.answers).toBeGreaterThan(8);
      expect(await learned(31)).toEqual(alone);
      await useBackend('wasm', { threads: 1 });
    },
  );

  it('are learned from together, more than 25 candidates too, the same with either kernels', async () => {
    const answers = await answersOf([6, 40, 2], 600);
    const learn = async (kernels: 'auto' | 'reference') => {
      await useBackend('wasm', { threads: 1, kernels });
      const agent = textAgent({ encoder: sasRec({ width: 8, historyLength: 4 }) });
      const { isBetterThanChance, heldOut } = await pretrain({ agent, answers, lanes: 8, passes: 6, seed: 5 });
      expect(isBetterThanChance).toBe(true);
      expect(agent.kernels.kind).toBe(kernels === 'auto' ? 'fused' : 'reference');
      return { agent, heldOut };
    };
    const [fused, again, reference] = [await learn('auto'), await learn('auto'), await learn('reference')];
    expect(await again.agent.sha256()).toBe(await fused.agent.sha256());
    expect(reference.heldOut?.gain).toBeCloseTo(fused.heldOut?.gain as number, 3);
    const name = 'actor/history';
    for (const [i, weight] of reference.agent.store.get(name).data.entries())
      expect(weight).toBeCloseTo(fused.agent.store.get(name).data[i] as number, 2);
    for (const { agent } of [fused, again, reference]) agent.dispose();
    await useBackend('wasm', { threads: 1 });
  });
});

describe('the serving temperature', () => {
  /** Answers that draw from the agent's own softmax over the candidates at a temperature. */
  function answersOf(agent: ActorCritic, temperature: number, count: number): ReplayBuffer {
    const K = 6;
    const rng = new Rng(7);
    const buffer = new ReplayBuffer({ lanes: 1, stepsPerLane: count, candidateCount: K, holdsOut: true });
    for (let i = 0; i < count; i++) {
      const histories = historyBatch([Array.from({ length: 1 + rng.integer(3) }, () => rng.integer(catalog.size))]);
      const candidates = Int32Array.from({ length: K }, () => rng.integer(catalog.size));
      const { scores } = agent.kernels.forward(histories, { scoresOf: { head: 'actor', items: candidates, width: K } });
      const weights = Array.from(scores, (score) => Math.exp(score / temperature));
      const aim = rng.uniform() * weights.reduce((sum, weight) => sum + weight, 0);
      let [choice, below] = [0, weights[0] as number];
      while (below < aim && choice < K - 1) below += weights[++choice] as number;
      buffer.add({
        histories,
        actions: Int32Array.of(candidates[choice] as number),
        rewards: Float32Array.of(1),
        terminated: new Uint8Array(1),
        truncated: Uint8Array.of(1),
        logProb: new Float32Array(1),
        candidates,
        choices: Int32Array.of(choice),
        heldOut: Uint8Array.of(1),
      });
    }
    return buffer;
  }

  function tasteful(): ActorCritic {
    const agent = textAgent();
    const { names } = agent.spec.historyFeatures as NonNullable<ActorCritic['spec']['historyFeatures']>;
    agent.store.get('actor/history').data.set(names.map((name) => (name.startsWith('text:') ? 2 : 0)));
    agent.store.touch();
    return agent;
  }

  it('finds the one that made the choices', () => {
    using agent = tasteful();
    for (const temperature of [0.4, 1.5]) {
      const fit = fitChoices(agent, answersOf(agent, temperature, 600).all('heldOut', 100));
      expect(fit.answers).toBe(600);
      expect(fit.temperature / temperature).toBeGreaterThan(0.75);
      expect(fit.temperature / temperature).toBeLessThan(1.33);
      expect(fit.standardErrors).toBeGreaterThan(8);
    }
  });

  it('tells choices from a blind guess, and from the opposite of the policy', () => {
    using agent = tasteful();
    const blind = fitChoices(agent, answersOf(agent, 1e6, 600).all('heldOut', 100));
    expect(blind.standardErrors).toBeLessThan(4);
    const opposite = fitChoices(agent, answersOf(agent, -0.4, 600).all('heldOut', 100));
    expect(opposite.standardErrors).toBeLessThan(1);
  });

  /** How far what is drawn falls short of the best, in logits, by a plain loop over the probabilities. */
  function shortfallOf(agent: ActorCritic, histories: HistoryBatch, temperature: number): number {
    const A = catalog.size;
    const items = Int32Array.from({ length: histories.size * A }, (_, i) => i % A);
    const { scores } = agent.kernels.forward(histories, { scoresOf: { head: 'actor', items, width: A } });
    const probabilities = agent.probabilities(histories, { mask: { noRepeat: true }, temperature });
    let sum = 0;
    for (let row = 0; row < histories.size; row++) {
      const allowed = Array.from({ length: A }, (_, i) => row * A + i).filter((i) => (probabilities[i] as number) > 0);
      const best = Math.max(...allowed.map((i) => scores[i] as number));
      sum += allowed.reduce((total, i) => total + (probabilities[i] as number) * (best - (scores[i] as number)), 0);
    }
    return sum / histories.size;
  }

  it('lets what is drawn from all items fall as little short of the best as the choices among the candidates did', () => {
    using agent = tasteful();
    const batches = answersOf(agent, 0.4, 200).all('heldOut', 200);
    const fit = fitChoices(agent, batches);
    const temperature = servingTemperature(agent, fit, batches);
    const { histories } = batches[0] as (typeof batches)[number];
    expect(shortfallOf(agent, histories, temperature) / fit.shortfall).toBeCloseTo(1, 2);
    expect(temperature).toBeLessThan(0.9 * fit.temperature);
    expect(shortfallOf(agent, histories, fit.temperature)).toBeGreaterThan(1.2 * fit.shortfall);
  });

  it('leaves items that are equally good equally likely', () => {
    using agent = tasteful();
    for (const name of agent.store.names) if (/^actor\/(id|projection)$/.test(name)) agent.store.get(name).data.fill(0);
    const history = agent.store.get('actor/history').data.fill(0);
    // All that counts is the category of the last item.
    history[agent.spec.historyFeatures?.names.indexOf('category:last') as number] = 4;
    agent.store.touch();
    const batches = answersOf(agent, 1, 200).all('heldOut', 200);
    const fit = fitChoices(agent, batches);
    const temperature = servingTemperature(agent, fit, batches);
    // To be as decided as among six candidates would take a choice between equals, which no temperature makes.
    expect(temperature).toBeGreaterThan(0.3 * fit.temperature);
  });
});

describe('pretrain, by default', () => {
  it('learns the weights of the history features and of None, and nothing else, from an agent that reads text', async () => {
    using agent = textAgent();
    using before = agent.clone();
    const { heldOut, temperature, isBetterThanChance } = await pretrain(optionsOf(agent));
    expect(isBetterThanChance).toBe(true);
    expect(heldOut?.standardErrors).toBeGreaterThan(4);
    expect(temperature).toBeLessThan(heldOut?.temperature as number);
    for (const name of agent.store.names) {
      const [now, then] = [agent.store.get(name), before.store.get(name)];
      expect(now.frozen, name).toBe(false);
      if (/^actor\/(history|none)$/.test(name)) expect(now.data, name).not.toEqual(then.data);
      // The hand-over's temperature scales the actor's logits.
      else if (name.startsWith('actor/')) {
        now.data.forEach((value, i) => {
          if (Math.abs(value * temperature - (then.data[i] as number)) > 1e-5) expect(value, name).toBe(then.data[i]);
        });
      } else expect(now.data, name).toEqual(then.data);
    }
    // All of it learns where that is asked for.
    using whole = textAgent();
    await pretrain(optionsOf(whole, { algorithm: { name: 'list', learns: 'all' } }));
    expect(whole.store.get('item/id').data).not.toEqual(before.store.get('item/id').data);
  });

  it('chooses what learns, and the loss, by what the agent knows items by', () => {
    const settingsOf = (options: Partial<ActorCriticOptions>) => {
      using agent = textAgent(options);
      const { learns, loss } = listDistillation({}, agent).toJSON() as Record<string, unknown>;
      return { learns, loss };
    };
    const prior = new Array<number>(catalog.size).fill(0).map((_, i) => i);
    expect(settingsOf({})).toEqual({ learns: 'historyFeatures', loss: 'list' });
    expect(settingsOf({ items: 'id', historyFeatures: { prior } })).toEqual({
      learns: 'historyFeatures',
      loss: 'list',
    });
    expect(settingsOf({ items: 'id', historyFeatures: { attributes: ['category'] } })).toEqual({
      learns: 'all',
      loss: 'list',
    });
    expect(settingsOf({ items: 'id', historyFeatures: {} })).toEqual({ learns: 'all', loss: 'likelihood' });
    expect(settingsOf({ items: 'id', historyFeatures: false })).toEqual({ learns: 'all', loss: 'likelihood' });
  });

  it('hands the policy over as it was given where the answers are given by chance, and says so', async () => {
    for (const control of [{ control: 'random' }, { shuffledText: 4 }] as const) {
      using agent = textAgent();
      const before = await agent.sha256();
      const warnings: string[] = [];
      const options = { oracle: oracleOf(control), onWarning: (message: string) => warnings.push(message) };
      const { isBetterThanChance, heldOut } = await pretrain(optionsOf(agent, options));
      expect(heldOut?.standardErrors).toBeLessThan(4);
      expect(isBetterThanChance).toBe(false);
      expect(await agent.sha256()).toBe(before);
      expect(warnings.join()).toContain('no better than a blind guess');
    }
  });

  it('ends when the answers held out say so, with the weights of their lowest loss', async () => {
    const updatesOf = async (patience: number) => {
      using agent = textAgent();
      const list = { name: 'list', learns: 'all', learningRate: 0.05, passes: 40, patience } as const;
      const { updates } = await pretrain(optionsOf(agent, { algorithm: list, temperature: 1 }));
      return updates;
    };
    // The whole policy at a high rate fits the answers and soon nothing else.
    expect(await updatesOf(Number.POSITIVE_INFINITY)).toBe((400 * 40) / 32);
    expect(await updatesOf(2)).toBeLessThan(0.9 * ((400 * 40) / 32));
  });

  it('serves at the temperature that is given', async () => {
    using fitted = textAgent();
    const { temperature } = await pretrain(optionsOf(fitted));
    using given = textAgent();
    expect((await pretrain(optionsOf(given, { temperature: 2 }))).temperature).toBe(2);
    const factor = 2 / temperature;
    const [a, b] = [fitted.store.get('actor/history').data, given.store.get('actor/history').data];
    for (const [i, value] of a.entries()) expect(value).toBeCloseTo((b[i] as number) * factor, 4);
  });

  it('ends with the same weights when it is broken off, while it asks and while it learns on', async () => {
    using unbroken = textAgent();
    const whole = await pretrain(optionsOf(unbroken, { storage: new MemoryStorage() }));
    const wanted = await unbroken.sha256();
    for (const breakAt of [3, 20, whole.updates / 2 + 20, whole.updates - 20]) {
      const storage = new MemoryStorage();
      const events = new EventEmitter<TrainingEvents>();
      const stop = new AbortController();
      events.on('updateEnd', ({ updates }) => {
        if (updates >= breakAt) stop.abort(new Error('broken off'));
      });
      using broken = textAgent();
      const run = (more: Partial<PretrainOptions>) =>
        pretrain(optionsOf(broken, { storage, checkpointEvery: 64, ...more }));
      await expect(run({ events, signal: stop.signal })).rejects.toThrow('broken off');
      const resumed = await run({});
      expect(await broken.sha256(), `after ${breakAt} updates`).toBe(wanted);
      expect(resumed.temperature).toBe(whole.temperature);
      expect(resumed.heldOut).toEqual(whole.heldOut);
    }
  });

  it('learns what a prior is worth, users without a history included', async () => {
    // The oracle takes the candidate of the highest number, whoever asks.
    const prior = Float32Array.from({ length: catalog.size }, (_, i) => (37 * i) % catalog.size);
    const oracle = oracleOf({
      score: (_: readonly string[], candidates: readonly string[]) => candidates.map(numberOf),
      scoreName: 'numbers@1',
      noneBelow: Number.NEGATIVE_INFINITY,
    });
    const numbers = new Map(catalog.texts().map((text, i) => [text, (prior[i] as number) / catalog.size]));
    function numberOf(text: string): number {
      return numbers.get(text) ?? 0;
    }
    const topOf = async (historyFeatures: ActorCriticOptions['historyFeatures']) => {
      using agent = textAgent({ ...(historyFeatures === undefined ? {} : { historyFeatures }) });
      const starts = [[], [ids[3] as string], [ids[9] as string]];
      await pretrain(optionsOf(agent, { oracle, starts }));
      const top = agent.recommend({ k: 10 }).map(({ id }) => prior[catalog.indexOf(id)] as number);
      return top.reduce((sum, value) => sum + value, 0) / 10 / catalog.size;
    };
    expect(await topOf({ repeats: 2, prior })).toBeGreaterThan(0.9);
    expect(await topOf({ repeats: 2 })).toBeLessThan(0.8);
  });
});
