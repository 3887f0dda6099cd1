import { beforeAll, describe, expect, it } from 'vitest';
import { ActorCritic } from '../../../src/agent/actor-critic.js';
import type { ActorCriticOptions } from '../../../src/agent/agent-model.js';
import { Catalog, type Item } from '../../../src/catalog/catalog.js';
import { ItemFeatures } from '../../../src/catalog/item-features.js';
import { syntheticData } from '../../../src/catalog/synthetic.js';
import { useBackend } from '../../../src/compute/backend.js';
import { historyBatch } from '../../../src/compute/history-batch.js';
import type { StateEncoder } from '../../../src/compute/state-encoder.js';
import { mean } from '../../../src/encoder/mean-encoder.js';
import { sasRec } from '../../../src/encoder/sasrec.js';
import { arrayDigest } from '../../../src/foundation/array-digest.js';
import { CheckpointError, InvalidArgumentError } from '../../../src/foundation/errors.js';
import { decodeNamedArrays, encodeNamedArrays, type NamedArray } from '../../../src/foundation/named-arrays.js';
import { Rng } from '../../../src/foundation/rng.js';
import { MemoryStorage, type Storage } from '../../../src/foundation/storage.js';

const source = syntheticData({ items: 60, categories: 6, seed: 2 }).catalog;
const items: Item[] = source.ids().map((id, i) => ({
  id,
  ...Object.fromEntries(
    [...source.attributes, ...source.extraAttributes].map((name) => [name, source.attribute(i, name)]),
  ),
}));
const shape = {
  scenario: source.scenario,
  itemNoun: source.itemNoun,
  behavior: source.behavior,
  attributes: [...source.attributes],
  extraAttributes: [...source.extraAttributes],
};
const catalogOf = (list: readonly Item[]): Catalog => Catalog.fromItems(list, shape);

const shuffled = catalogOf(new Rng(1).shuffle([...items]));
const shortened = catalogOf(items.filter((_, i) => i % 3 > 0));
const twin: Item = { ...(items[20] as Item), id: 'twin-of-20' };
const stranger: Item = { id: 'stranger', title: 'zyx wvu' };
const longer = catalogOf([twin, ...new Rng(2).shuffle([...items]), stranger]);

function makeAgent(options: Partial<ActorCriticOptions> = {}): ActorCritic {
  const agent = new ActorCritic({
    catalog: source,
    encoder: mean({ width: 8, historyLength: 4 }),
    historyFeatures: { repeats: 2, attributes: ['category'] },
    seed: 4,
    ...options,
  });
  const rng = new Rng('scatter');
  for (const { name, data } of agent.store.parameters()) {
    const noise = rng.fork(name);
    for (let i = 0; i < data.length; i++) data[i] = (data[i] as number) + 0.3 * noise.normal();
  }
  agent.store.touch();
  return agent;
}

async function saved(agent: ActorCritic): Promise<MemoryStorage> {
  const storage = new MemoryStorage();
  await agent.save(storage);
  return storage;
}

/** Probability by id of every item of the agent's catalogue. */
function byId(agent: ActorCritic, history: readonly string[]): Map<string, number> {
  const row = agent.probabilities(historyBatch([history.map((id) => agent.catalog.indexOf(id))]));
  return new Map([...row].map((p, item) => [agent.catalog.id(item), p]));
}

/** Kept items have the same probabilities but for one common factor. */
function expectSameShares(before: Map<string, number>, after: Map<string, number>): void {
  const kept = [...before.keys()].filter((id) => after.has(id));
  const total = (map: Map<string, number>) => kept.reduce((sum, id) => sum + (map.get(id) as number), 0);
  for (const id of kept) {
    expect((after.get(id) as number) / total(after)).toBeCloseTo((before.get(id) as number) / total(before), 5);
  }
}

beforeAll(async () => {
  await useBackend('cpu');
});

const history = [items[1]?.id, items[4]?.id, items[8]?.id] as string[];
const kinds: readonly Partial<ActorCriticOptions>[] = [
  { items: 'id' },
  { items: 'text' },
  { items: 'id+text' },
  { items: 'id+text', features: ItemFeatures.tfidf(source, { dimensions: 12 }) },
  { items: 'id', critic: 'action', valueEncoder: 'separate', historyFeatures: false },
  { items: 'text', encoder: sasRec({ width: 8, heads: 1, historyLength: 4 }), contextWidth: 0 },
];

describe.each(kinds.map((options, i) => ({ name: `${options.items}, ${i}`, options })))(
  'a saved policy ($name)',
  ({ options }) => {
    it('is the same policy when loaded', async () => {
      using agent = makeAgent(options);
      using loaded = await ActorCritic.load(await saved(agent), { catalog: source });
      expect(await loaded.sha256()).toBe(await agent.sha256());
      expect(loaded.settings).toEqual(agent.settings);
      expect(loaded.catalogChange).toBeUndefined();
      expect(byId(loaded, history)).toEqual(byId(agent, history));
      expect(loaded.recommend({ history, k: 5 })).toEqual(agent.recommend({ history, k: 5 }));
    });

    it('recommends the right ids with a shuffled, a shortened and a longer catalogue', async () => {
      using agent = makeAgent(options);
      const storage = await saved(agent);
      const before = byId(agent, history);
      for (const catalog of [shuffled, shortened, longer]) {
        using loaded = await ActorCritic.load(storage, { catalog });
        expect(loaded.catalog).toBe(catalog);
        const after = byId(loaded, history);
        expect(after.size).toBe(catalog.size);
        expectSameShares(before, after);
        if (options.critic !== 'action') continue;
        const scores = (of: ActorCritic) =>
          of.forward(historyBatch([history.map((id) => of.catalog.indexOf(id))]), {
            scoresOf: {
              head: 'critic',
              width: 2,
              items: Int32Array.of(of.catalog.indexOf('item-1'), of.catalog.indexOf('item-50')),
            },
          }).scores;
        if (catalog.has('item-1') && catalog.has('item-50')) {
          for (const [i, score] of scores(loaded).entries()) expect(score).toBeCloseTo(scores(agent)[i] as number, 5);
        }
      }
      // The control: indices taken as they stand would recommend something else.
      const wrong = byId(agent, history);
      expect([...wrong.values()].some((p, i) => Math.abs(p - (before.get(shuffled.id(i)) as number)) > 0.005)).toBe(
        true,
      );
    });

    it('reports how the catalogue changed', async () => {
      using agent = makeAgent(options);
      const storage = await saved(agent);
      const changes = [];
      for (const catalog of [shuffled, shortened, longer]) {
        using loaded = await ActorCritic.load(storage, { catalog });
        changes.push(loaded.catalogChange);
      }
      expect(changes).toEqual([
        { kept: 60, added: [], missing: [], reordered: true },
        { kept: 40, added: [], missing: items.filter((_, i) => i % 3 === 0).map(({ id }) => id), reordered: false },
        { kept: 60, added: ['twin-of-20', 'stranger'], missing: [], reordered: true },
      ]);
    });

    it('can be saved again from there, and lets a new item be recommended', async () => {
      using agent = makeAgent(options);
      using loaded = await ActorCritic.load(await saved(agent), { catalog: longer });
      using again = await ActorCritic.load(await saved(loaded), { catalog: longer });
      expect(byId(again, history)).toEqual(byId(loaded, history));
      expect(loaded.recommend({ history: ['twin-of-20'], k: 62 - 1 }).map(({ id }) => id)).toContain('stranger');
    });
  },
);

describe('a new item', () => {
  it('scores by its text: as its twin where text is all there is, near it beside ids, and not by chance', async () => {
    for (const dimensions of [12, 4096]) {
      using agent = makeAgent({
        items: 'text',
        features: ItemFeatures.tfidf(source, { dimensions }),
        historyFeatures: false,
      });
      agent.store.get('actor/bias').data.fill(0);
      agent.store.touch();
      using loaded = await ActorCritic.load(await saved(agent), { catalog: longer });
      const after = byId(loaded, history);
      // Reduced, a projected row differs from a fitted one by what the other terms lost.
      expect((after.get('twin-of-20') as number) / (after.get(twinId) as number)).toBeCloseTo(
        1,
        dimensions === 12 ? 1 : 4,
      );
      const { features } = loaded;
      const cosines = longer.ids().map((_, i) => features?.cosine(0, i) as number);
      expect(cosines[longer.indexOf(twinId)]).toBeGreaterThan(0.99);
      const strangers = cosines.filter((cosine) => cosine < 0.9).length;
      expect(strangers).toBeGreaterThan(40);
      // Words that nobody had: a row of zeros, so the score of an average item.
      expect(features?.row(longer.indexOf('stranger')).every((x) => x === 0)).toBe(true);
    }
  });

  it('scores as the average item where the policy reads ids alone', async () => {
    using agent = makeAgent({ items: 'id', historyFeatures: false });
    using loaded = await ActorCritic.load(await saved(agent), { catalog: longer });
    const { data } = loaded.store.get('actor/bias');
    const before = agent.store.get('actor/bias').data;
    expect(data[0]).toBeCloseTo(before.reduce((sum, x) => sum + x, 0) / 60, 5);
    expect(data[0]).toBe(data[61]);
  });

  it('needs features for the whole catalogue where they were not made from text', async () => {
    const rng = new Rng(5);
    const rows = new Map(longer.ids().map((id) => [id, Array.from({ length: 3 }, () => rng.normal())]));
    const featuresOf = (catalog: Catalog) =>
      ItemFeatures.fromMatrix(
        catalog.ids().flatMap((id) => rows.get(id) as number[]),
        { width: 3, name: 'bge' },
      );
    using agent = makeAgent({ items: 'text', features: featuresOf(source) });
    const storage = await saved(agent);
    using short = await ActorCritic.load(storage, { catalog: shortened });
    expectSameShares(byId(agent, history), byId(short, history));
    const error = await ActorCritic.load(storage, { catalog: longer }).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(CheckpointError);
    expect((error as Error).message).toContain('pass `features`');
    using given = await ActorCritic.load(storage, { catalog: longer, features: featuresOf(longer) });
    expectSameShares(byId(agent, history), byId(given, history));
    // Features of another space, of the same width or not, are not taken silently.
    const other = ItemFeatures.fromMatrix(
      Array.from({ length: 62 * 3 }, () => rng.normal()),
      { width: 3, name: 'bge' },
    );
    await expect(ActorCritic.load(storage, { catalog: longer, features: other })).rejects.toThrow(InvalidArgumentError);
    const wider = ItemFeatures.fromMatrix(
      Array.from({ length: 62 * 4 }, () => rng.normal()),
      { width: 4, name: 'bge' },
    );
    await expect(ActorCritic.load(storage, { catalog: longer, features: wider })).rejects.toThrow('width 3');
  });
});

const twinId = items[20]?.id as string;

describe('an item prior', () => {
  const priorOf = (catalog: Catalog) =>
    catalog.ids().map((id) => id.length + [...id].reduce((sum, c) => sum + c.charCodeAt(0), 0));

  it('is saved by item id with its scale, and tells nothing of a new item', async () => {
    const storage = new MemoryStorage();
    // Few dimensions, so that texts are compared by their exact terms.
    const features = ItemFeatures.tfidf(source, { dimensions: 12 });
    expect(features.terms).toBeDefined();
    const prior = priorOf(source);
    using agent = makeAgent({ features, historyFeatures: { repeats: 2, attributes: ['category'], prior } });
    await agent.save(storage);
    const history = [items[7], items[31]].map((item) => (item as Item).id);
    const scoresOf = (one: ActorCritic, ids: readonly string[]) => {
      const batch = historyBatch([history.map((id) => one.catalog.indexOf(id))]);
      const list = Int32Array.from(ids, (id) => one.catalog.indexOf(id));
      return [...one.kernels.forward(batch, { scoresOf: { head: 'actor', items: list, width: list.length } }).scores];
    };
    const kept = shortened.ids();
    const wanted = scoresOf(agent, kept);
    for (const catalog of [source, shuffled, shortened, longer]) {
      using loaded = await ActorCritic.load(storage, { catalog });
      expect(loaded.settings).toEqual(agent.settings);
      for (const [i, score] of scoresOf(loaded, kept).entries()) expect(score).toBeCloseTo(wanted[i] as number, 4);
      using copy = loaded.clone();
      expect(copy.probabilities(historyBatch([[]]))).toEqual(loaded.probabilities(historyBatch([[]])));
    }
    using loaded = await ActorCritic.load(storage, { catalog: longer });
    const mean = prior.reduce((sum, value) => sum + value, 0) / prior.length;
    expect(loaded.prior?.[longer.indexOf('stranger')]).toBeCloseTo(mean, 9);
    // Without the prior the same weights say something else.
    using blind = makeAgent({
      features,
      historyFeatures: { repeats: 2, attributes: ['category'], prior: prior.map(() => 1) },
    });
    expect(
      Math.max(...scoresOf(blind, kept).map((score, i) => Math.abs(score - (wanted[i] as number)))),
    ).toBeGreaterThan(0.05);
  });
});

describe('an encoder', () => {
  const own: StateEncoder = { ...mean({ width: 8, historyLength: 4 }), name: 'mine' };

  it("of the user's own must be passed in", async () => {
    using agent = makeAgent({ encoder: own });
    const storage = await saved(agent);
    const error = await ActorCritic.load(storage, { catalog: source }).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(CheckpointError);
    expect((error as Error).message).toContain('pass it as `encoder`');
    using loaded = await ActorCritic.load(storage, { catalog: source, encoder: own });
    expect(await loaded.sha256()).toBe(await agent.sha256());
  });

  it('other than the one it was made with is refused, though every array fits', async () => {
    using agent = makeAgent();
    const storage = await saved(agent);
    const encoder = mean({ width: 8, historyLength: 4, decay: 0.5 });
    await expect(ActorCritic.load(storage, { catalog: source, encoder })).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      argument: 'encoder',
    });
    // The same name with other arrays.
    const fake: StateEncoder = { ...mean({ width: 6, historyLength: 4 }), name: agent.encoder.name };
    await expect(ActorCritic.load(storage, { catalog: source, encoder: fake })).rejects.toThrow(CheckpointError);
  });
});

describe('a damaged policy', () => {
  const load = (storage: Storage) =>
    ActorCritic.load(storage, { catalog: source }).then(
      () => 'loaded',
      (error: unknown) => error,
    );

  it('is refused wherever a byte is changed or missing', async () => {
    using agent = makeAgent({ items: 'id+text' });
    const storage = await saved(agent);
    const bytes = (await storage.get('policy.safetensors')) as Uint8Array;
    const rng = new Rng('damage');
    for (let n = 0; n < 60; n++) {
      const damaged = n % 6 === 0 ? bytes.slice(0, rng.integer(bytes.length)) : bytes.slice();
      // Two in three hit the header, whose bytes are few.
      const at = rng.integer(n % 3 === 0 ? damaged.length || 1 : 3000);
      if (n % 6 !== 0) damaged[at] = (damaged[at] as number) ^ (1 << rng.integer(8));
      await storage.put('policy.safetensors', damaged);
      const error = await load(storage);
      expect(error, `byte ${at}`).toBeInstanceOf(CheckpointError);
      expect((error as Error).message).toContain('policy.safetensors');
    }
  });

  it('is refused when there is none, when it is another file, and when its parts do not fit each other', async () => {
    expect(await load(new MemoryStorage())).toMatchObject({ code: 'CHECKPOINT' });
    using agent = makeAgent({ items: 'id+text' });
    const storage = await saved(agent);
    const { arrays, metadata } = decodeNamedArrays((await storage.get('policy.safetensors')) as Uint8Array, 'test');
    const forge = async (change: {
      arrays?: Record<string, NamedArray | undefined>;
      metadata?: Record<string, string>;
      policy?: (policy: Record<string, unknown>) => void;
    }) => {
      const all = Object.fromEntries(
        Object.entries({ ...arrays, ...change.arrays }).filter(
          (entry): entry is [string, NamedArray] => entry[1] !== undefined,
        ),
      );
      const policy = JSON.parse(metadata.policy as string) as Record<string, unknown>;
      change.policy?.(policy);
      const { digest: _, ...rest } = metadata;
      const signed: Record<string, string> = { ...rest, policy: JSON.stringify(policy), ...change.metadata };
      const forged = new MemoryStorage();
      await forged.put(
        'policy.safetensors',
        encodeNamedArrays(all, { ...signed, digest: await arrayDigest(all, signed) }),
      );
      return load(forged);
    };
    expect(await forge({})).toBe('loaded');
    const bias = arrays['weights/actor/bias'] as NamedArray;
    const matrix = arrays['features/matrix'] as NamedArray;
    const refusals = [
      forge({ metadata: { format: 'something-else' } }),
      forge({ metadata: { version: '99' } }),
      forge({ metadata: { policy: '{' } }),
      forge({ metadata: { policy: '[]' } }),
      forge({ policy: (policy) => delete policy.ids }),
      forge({ policy: (policy) => Object.assign(policy, { ids: (policy.ids as string[]).slice(1) }) }),
      forge({ policy: (policy) => Object.assign(policy, { encoder: 'sasRec(width=8)' }) }),
      forge({ policy: (policy) => Object.assign(policy.features as object, { vocabulary: ['one'] }) }),
      forge({ policy: (policy) => Object.assign(policy.features as object, { attributes: null }) }),
      forge({ arrays: { 'weights/actor/bias': undefined } }),
      forge({ arrays: { 'weights/other': bias } }),
      forge({ arrays: { 'weights/actor/bias': { shape: bias.shape, data: new Float32Array(60).fill(Number.NaN) } } }),
      forge({
        arrays: { 'features/matrix': { shape: matrix.shape, data: new Float32Array(matrix.data.length).fill(2) } },
      }),
      forge({ arrays: { 'features/idf': undefined } }),
      forge({ arrays: { 'features/matrix': undefined } }),
    ];
    for (const [i, error] of (await Promise.all(refusals)).entries())
      expect(error, String(i)).toBeInstanceOf(CheckpointError);
  });
});

describe('ItemFeatures.transform', () => {
  it('keeps rows to the bit, projects a copy onto its original, and refuses an origin that does not fit', () => {
    const exact = ItemFeatures.tfidf(source, { dimensions: 4096 });
    const after = exact.transform(
      longer,
      Int32Array.from(longer.ids(), (id) => (source.has(id) ? source.indexOf(id) : -1)),
    ) as ItemFeatures;
    for (const [i, id] of longer.ids().entries()) {
      if (source.has(id)) expect(after.row(i)).toEqual(exact.row(source.indexOf(id)));
    }
    expect(after.cosine(0, longer.indexOf(twinId))).toBeCloseTo(1, 6);
    expect(() => exact.transform(longer, new Int32Array(3))).toThrow(InvalidArgumentError);
    expect(() => exact.transform(longer, new Int32Array(62).fill(60))).toThrow(InvalidArgumentError);
    const matrix = ItemFeatures.fromMatrix(new Float32Array(60).fill(1), { width: 1 });
    expect(matrix.transform(longer, new Int32Array(62).fill(-1))).toBeUndefined();
    expect(matrix.transform(shortened, new Int32Array(40))?.itemCount).toBe(40);
  });
});
