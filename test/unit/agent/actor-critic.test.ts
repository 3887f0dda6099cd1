import { beforeAll, describe, expect, it } from 'vitest';
import { ActorCritic } from '../../../src/agent/actor-critic.js';
import type { ActorCriticOptions } from '../../../src/agent/agent-model.js';
import { Catalog } from '../../../src/catalog/catalog.js';
import { ItemFeatures } from '../../../src/catalog/item-features.js';
import { useBackend } from '../../../src/compute/backend.js';
import { historyBatch } from '../../../src/compute/history-batch.js';
import { mean } from '../../../src/encoder/mean-encoder.js';
import { BackendError, DisposedError, InvalidArgumentError } from '../../../src/foundation/errors.js';
import { Rng } from '../../../src/foundation/rng.js';

const catalog = Catalog.fromItems(
  ['blue coat', 'red coat', 'blue scarf', 'green hat', 'red hat', 'wool socks', 'rain boots'].map((title, i) => ({
    id: `thing-${i}`,
    title,
  })),
  { scenario: 'shop', itemNoun: 'thing', behavior: 'buying', attributes: ['title'] },
);

function makeAgent(options: Partial<ActorCriticOptions> = {}): ActorCritic {
  const agent = new ActorCritic({
    catalog,
    encoder: mean({ width: 6, historyLength: 4 }),
    historyFeatures: { repeats: 2 },
    seed: 4,
    ...options,
  });
  // Nothing accidentally zero, and a policy that is far from uniform.
  const rng = new Rng('scatter');
  for (const { name, data } of agent.store.parameters()) {
    const noise = rng.fork(name);
    for (let i = 0; i < data.length; i++) data[i] = (data[i] as number) + 0.5 * noise.normal();
  }
  agent.store.touch();
  return agent;
}

const batch = historyBatch([[], [1], [0, 2, 1], [6, 5, 4, 3, 2]]);
const none = new Float64Array(0);

function refused(run: () => unknown): InvalidArgumentError {
  try {
    run();
  } catch (error) {
    expect(error).toBeInstanceOf(InvalidArgumentError);
    return error as InvalidArgumentError;
  }
  throw new Error('nothing was thrown');
}

// First in the file: nobody has chosen a backend yet.
it('says what to call when no backend was chosen, and constructs, clones and hashes without one', async () => {
  const agent = makeAgent();
  expect(() => agent.recommend({ k: 1 })).toThrow(BackendError);
  expect(() => agent.recommend({ k: 1 })).toThrow("useBackend('auto')");
  expect(await agent.clone().sha256()).toBe(await agent.sha256());
});

describe('ActorCritic', () => {
  beforeAll(async () => {
    await useBackend('cpu');
  });

  it('recommends to a user nobody knows: the most probable items of the empty history', () => {
    using agent = makeAgent();
    const list = agent.recommend({ k: 7 });
    const row = agent.probabilities(historyBatch([[]]));
    expect(list.map(({ id }) => id)).toEqual(
      [...row.keys()].sort((a, b) => (row[b] as number) - (row[a] as number)).map((item) => catalog.id(item)),
    );
    expect(list.reduce((sum, { probability }) => sum + probability, 0)).toBeCloseTo(1, 5);
    expect(agent.recommend({ history: [], k: 7 })).toEqual(list);
    expect(agent.recommend({ history: ['thing-1'], k: 6 })).not.toEqual(list.slice(0, 6));
  });

  it('leaves out what was shown and what is excluded, and shares their probability out', () => {
    using agent = makeAgent();
    const history = ['thing-1', 'thing-4'];
    const list = agent.recommend({ history, k: 4, exclude: ['thing-0', 'thing-0', 'thing-1'] });
    expect(list.map(({ id }) => id).toSorted()).toEqual(['thing-2', 'thing-3', 'thing-5', 'thing-6']);
    expect(list.reduce((sum, { probability }) => sum + probability, 0)).toBeCloseTo(1, 5);
    const repeats = agent.recommend({ history, k: 7, allowRepeats: true });
    expect(repeats.map(({ id }) => id)).toContain('thing-1');
    const share = (id: string) => repeats.find((item) => item.id === id)?.probability as number;
    expect((list[0]?.probability as number) / (list[1]?.probability as number)).toBeCloseTo(
      share(list[0]?.id as string) / share(list[1]?.id as string),
      4,
    );
  });

  it('refuses bad questions, saying what is wrong', () => {
    using agent = makeAgent();
    expect(refused(() => agent.recommend({ history: ['thing-11'] })).message).toMatch(/did you mean "thing-\d"/);
    expect(refused(() => agent.recommend({ exclude: ['thng-3'] })).message).toContain('did you mean "thing-3"');
    expect(refused(() => agent.recommend({ k: 8 })).message).toContain('at most the 7 items left');
    expect(
      refused(() => agent.recommend({ history: ['thing-1'], exclude: ['thing-1', 'thing-2'], k: 6 })).message,
    ).toContain('the 5 items left');
    expect(refused(() => agent.recommend({ k: 0 })).argument).toBe('k');
    expect(refused(() => agent.recommend({ context: [1] })).argument).toBe('context');
    expect(refused(() => agent.recommend({ hystory: [] } as never)).message).toContain('did you mean');
    using informed = makeAgent({ contextWidth: 2 });
    expect(refused(() => informed.recommend({ k: 1, context: [1] })).message).toContain('2 numbers');
    expect(refused(() => informed.recommend({ k: 1, context: [1, Number.NaN] }))).toBeInstanceOf(InvalidArgumentError);
    expect(informed.recommend({ k: 3 })).toEqual(informed.recommend({ k: 3, context: [0, 0] }));
    expect(informed.recommend({ k: 3, context: [3, -1] })).not.toEqual(informed.recommend({ k: 3 }));
  });

  it('lists what is left where k is not given and fewer than ten are left; a k that was given still counts', () => {
    using agent = makeAgent();
    const ids = catalog.ids();
    expect(agent.recommend().length).toBe(7);
    expect(agent.recommend({ history: ['thing-1'], exclude: ['thing-1', 'thing-2'] }).length).toBe(5);
    expect(agent.recommend({ history: ids, allowRepeats: true }).length).toBe(7);
    expect(agent.recommend({ history: ids })).toEqual([]);
    expect(refused(() => agent.recommend({ history: ids, k: 1 })).message).toContain('the 0 items left');
  });

  it('reads a history without the ids that are gone where it is told to, and nowhere else', () => {
    using agent = makeAgent();
    const history = ['withdrawn-1', 'thing-1', 'withdrawn-2', 'thing-4'];
    expect(refused(() => agent.recommend({ history })).message).toContain('withdrawn-1');
    expect(refused(() => agent.recommend({ history, unknown: 'throw' })).message).toContain('withdrawn-1');
    expect(agent.recommend({ history, unknown: 'skip' })).toEqual(agent.recommend({ history: ['thing-1', 'thing-4'] }));
    expect(agent.recommend({ history: ['withdrawn-1'], unknown: 'skip' })).toEqual(agent.recommend());
    // An item that must not be shown is no place for a mistyped id.
    expect(refused(() => agent.recommend({ exclude: ['thng-3'], unknown: 'skip' })).message).toContain('did you mean');
    expect(refused(() => agent.recommend({ unknown: 'ignore' as never })).argument).toBe('unknown');
  });

  it('refuses options at odds', () => {
    const features = ItemFeatures.fromMatrix([1, 0], { width: 2 });
    expect(refused(() => makeAgent({ features })).argument).toBe('features');
    expect(refused(() => makeAgent({ items: 'names' as never })).argument).toBe('items');
    expect(refused(() => makeAgent({ historyFeatures: { attributes: ['colour'] } })).argument).toBe('attributes');
    expect(refused(() => makeAgent({ seed: 0.5 })).argument).toBe('seed');
    expect(refused(() => new ActorCritic({ catalog } as never)).argument).toBe('encoder');
  });

  it('draws with the frequencies of its probabilities, and tells the log-probability it drew with', () => {
    using agent = makeAgent();
    const rows = agent.probabilities(batch);
    const grid = 5000;
    const counts = new Float64Array(7);
    const one = historyBatch([[0, 2, 1]]);
    for (let i = 0; i < grid; i += 50) {
      const wide = historyBatch(Array.from({ length: 50 }, () => [0, 2, 1]));
      const uniforms = Float64Array.from({ length: 50 }, (_, j) => (i + j + 0.5) / grid);
      const { actions, logProb } = agent.act(wide, { mode: 'sampled', uniforms });
      for (const [j, action] of actions.entries()) {
        counts[action] = (counts[action] as number) + 1;
        expect(Math.exp(logProb[j] as number)).toBeCloseTo(rows[2 * 7 + action] as number, 5);
      }
    }
    for (let item = 0; item < 7; item++)
      expect((counts[item] as number) / grid).toBeCloseTo(rows[2 * 7 + item] as number, 3);
    const best = agent.act(one, { mode: 'argmax', uniforms: none });
    expect(best.actions[0]).toBe(counts.indexOf(Math.max(...counts)));
    // A certain choice.
    expect([...best.logProb]).toEqual([0]);
    expect(agent.logProbOf(one, best.actions)[0]).toBeCloseTo(
      Math.log(rows[14 + (best.actions[0] as number)] as number),
      5,
    );
  });

  it('scales its logits exactly as a temperature does', () => {
    using agent = makeAgent();
    const flat = agent.probabilities(batch, { temperature: 4 });
    const sharp = agent.probabilities(batch, { temperature: 1 / 3 });
    using other = agent.clone();
    // A power of two loses no bit, so neither do the probabilities.
    other.scaleLogits(1 / 4);
    expect(other.probabilities(batch)).toEqual(flat);
    other.scaleLogits(12);
    for (const [i, p] of other.probabilities(batch).entries()) expect(p).toBeCloseTo(sharp[i] as number, 5);
    const none = other.store.get('actor/none').data[0] as number;
    expect(none).toBeCloseTo(3 * (agent.store.get('actor/none').data[0] as number), 5);
    for (const factor of [0, -1, Number.NaN, Number.POSITIVE_INFINITY])
      expect(refused(() => other.scaleLogits(factor)).argument).toBe('factor');
  });

  it.each([
    { critic: 'state', valueEncoder: 'shared' },
    { critic: 'state', valueEncoder: 'separate' },
    { critic: 'action', valueEncoder: 'separate' },
  ] as const)(
    'draws a new critic ($critic, $valueEncoder) and touches nothing of the actor, and the other way round',
    (options) => {
      using agent = makeAgent(options);
      const before = agent.store.clone();
      const isCritic = (name: string) => /^(critic|value)/.test(name);
      const changed = () =>
        agent.store.names.filter((name) => agent.store.get(name).data.some((x, i) => x !== before.get(name).data[i]));
      const policy = agent.probabilities(batch);
      agent.resetCritic(new Rng(9));
      expect(changed().toSorted()).toEqual(agent.store.names.filter(isCritic).toSorted());
      expect(agent.probabilities(batch)).toEqual(policy);
      agent.store.copyFrom(before);
      agent.resetActor(new Rng(9));
      expect(changed().toSorted()).toEqual(agent.store.names.filter((name) => name.startsWith('actor/')).toSorted());
      expect(agent.probabilities(batch)).not.toEqual(policy);
    },
  );

  it('clones to an agent that shares nothing', async () => {
    using agent = makeAgent({ contextWidth: 1, algorithm: 'replay', critic: 'action' });
    const copy = agent.clone();
    expect(copy.settings).toEqual(agent.settings);
    expect(await copy.sha256()).toBe(await agent.sha256());
    const hash = await agent.sha256();
    copy.scaleLogits(3);
    copy.resetCritic(new Rng(1));
    expect(await agent.sha256()).toBe(hash);
    expect(await copy.sha256()).not.toBe(hash);
    copy.dispose();
    expect(agent.recommend({ k: 2 }).length).toBe(2);
  });

  it('has weights that its seed decides', async () => {
    const hashes = await Promise.all(
      [1, 1, 2].map((seed) => new ActorCritic({ catalog, encoder: mean({ width: 4 }), seed }).sha256()),
    );
    expect(hashes[0]).toBe(hashes[1]);
    expect(hashes[0]).not.toBe(hashes[2]);
  });

  it('can be disposed twice, and refuses to work afterwards', async () => {
    const agent = makeAgent();
    agent.recommend({ k: 1 });
    agent.dispose();
    agent.dispose();
    for (const use of [
      () => agent.recommend({ k: 1 }),
      () => agent.probabilities(batch),
      () => agent.act(batch, { mode: 'argmax', uniforms: none }),
      () => agent.forward(batch, { entropy: true }),
    ]) {
      expect(use).toThrow(DisposedError);
    }
  });
});
