import { beforeAll, describe, expect, it } from 'vitest';
import { Catalog } from '../../../src/catalog/catalog.js';
import { Sequences } from '../../../src/catalog/sequences.js';
import { CheckpointError, InvalidArgumentError } from '../../../src/foundation/errors.js';
import { Rng } from '../../../src/foundation/rng.js';
import { MemoryStorage, type Storage } from '../../../src/foundation/storage.js';
import { worldCard } from '../../../src/world/card.js';
import { fitCoatModel } from '../../../src/world/coat-model.js';
import { customWorldSpec } from '../../../src/world/custom-world.js';
import type { SequenceWorldData } from '../../../src/world/sequence-world.js';
import { type StoredWorld, storedWorld } from '../../../src/world/stored-world.js';
import {
  buildWorldFolder,
  claimWorldFolder,
  openWorldCards,
  openWorldFolder,
  saveWorldCard,
  saveWorldFolder,
} from '../../../src/world/world-folder.js';
import { tinyCoat } from '../env/tiny-coat.js';

const data = tinyData();
const base = customWorldSpec(data, { category: 'kind' });
const spec = { ...base, rewardModel: { ...base.rewardModel, members: 2, maxEpochs: 3 } };

function tinyData(): SequenceWorldData {
  const catalog = Catalog.fromItems(
    Array.from({ length: 24 }, (_, i) => ({ id: `i${i}`, title: `é ${i}`, kind: i % 7 === 0 ? '' : `k${i % 4}` })),
    { scenario: 'shop', itemNoun: 'thing', behavior: 'buying', attributes: ['title'], extraAttributes: ['kind'] },
  );
  const rng = new Rng(5);
  const lists = Array.from({ length: 40 }, () => {
    const first = rng.integer(24);
    return [first, (first + 4) % 24, (first + 8) % 24, rng.integer(24)];
  });
  return { catalog, sequences: Sequences.from(lists, { itemCount: 24, users: lists.map((_, u) => `ü${u}`) }) };
}

const built = async (storage: Storage = new MemoryStorage()) => {
  await buildWorldFolder(storage, data, spec, { inputs: [{ file: 'log.csv', sha256: 'a'.repeat(64) }] });
  return storage;
};
const copyOf = async (storage: Storage) => {
  const copy = new MemoryStorage();
  for (const key of await storage.list()) await copy.put(key, (await storage.get(key)) as Uint8Array);
  return copy;
};
const bytesOf = async (storage: Storage) => {
  const keys = await storage.list();
  return Object.fromEntries(
    await Promise.all(keys.map(async (key) => [key, Buffer.from((await storage.get(key)) ?? []).toString('base64')])),
  ) as Record<string, string>;
};

/** Notes what is read, and fails at the n-th write. */
class WatchedStorage extends MemoryStorage {
  readonly reads: string[] = [];
  putsLeft = Number.POSITIVE_INFINITY;
  override get(key: string) {
    this.reads.push(key);
    return super.get(key);
  }
  override async put(key: string, bytes: Uint8Array) {
    if (this.putsLeft-- <= 0) throw new Error('killed');
    return super.put(key, bytes);
  }
}

describe('the folder of a sequence world', () => {
  let storage: Storage;
  beforeAll(async () => {
    storage = await built();
  });

  it('holds what it is, its data, every model and the manifest, and nothing of the build', async () => {
    const models = ['test', 'train', 'validation'].flatMap((split) =>
      [1, 2].map((n) => `models/${split}-${n}.safetensors`),
    );
    expect(await storage.list()).toEqual(
      ['items.json', 'manifest.json', 'sequences.safetensors', 'world.json', ...models].sort(),
    );
    const world = JSON.parse(new TextDecoder().decode(await storage.get('world.json'))) as Record<string, unknown>;
    expect(world).toMatchObject({
      format: 'ialp-world/1',
      kind: 'sequence',
      counts: { items: 24, sequences: 40, interactions: 160 },
      inputs: [{ file: 'log.csv' }],
      spec: { splitSeed: 1, category: 'kind' },
    });
  });

  it('opens as the world that was built: same items, same users, same card, bit for bit', async () => {
    const direct = storedWorld(await buildWorldFolder(await copyOf(storage), data, spec));
    const opened = await openWorldFolder(storage);
    if (opened.kind !== 'sequence') throw new Error(opened.kind);
    expect(opened.built.data.sequences.users).toEqual(data.sequences.users);
    expect(await opened.built.data.catalog.fingerprint()).toBe(await data.catalog.fingerprint());
    const world = storedWorld(opened);
    const card = { episodes: 8, seeds: 2, policies: ['random', 'greedy', 'transfer'] } as const;
    expect(await worldCard(world, card)).toEqual(await worldCard(direct, card));
    expect(await world.fingerprint()).toBe(await direct.fingerprint());
  });

  it('reads no model of a split that is not asked for, and that split cannot be played then', async () => {
    const watched = new WatchedStorage();
    for (const key of await storage.list()) await watched.put(key, (await storage.get(key)) as Uint8Array);
    const world = storedWorld(await openWorldFolder(watched, { splits: ['train'] }));
    expect(watched.reads.filter((key) => key.startsWith('models/'))).toEqual([
      'models/train-1.safetensors',
      'models/train-2.safetensors',
    ]);
    world.batchEnv({ split: 'train', size: 1, seed: 1 });
    expect(() => world.batchEnv({ split: 'test', size: 1, seed: 1 })).toThrow(InvalidArgumentError);
  });

  it('is refused when any file is torn, edited or gone, naming the file', async () => {
    for (const key of await storage.list()) {
      for (const damage of [
        (bytes: Uint8Array) => bytes.subarray(0, bytes.length - 1),
        (bytes: Uint8Array) => bytes.map((byte, i) => (i === bytes.length >> 1 ? byte ^ 1 : byte)),
        () => undefined,
      ]) {
        const copy = await copyOf(storage);
        const bytes = damage((await copy.get(key)) as Uint8Array);
        if (bytes === undefined) await copy.delete(key);
        else await copy.put(key, bytes);
        const error: unknown = await openWorldFolder(copy).catch((thrown: unknown) => thrown);
        expect(error, key).toBeInstanceOf(CheckpointError);
        expect((error as CheckpointError).source).toBe(key);
      }
    }
    // The control: an untouched copy opens.
    await openWorldFolder(await copyOf(storage));
  });

  it('is refused when a file and its place in the manifest are edited together', async () => {
    const copy = await copyOf(storage);
    const manifest = JSON.parse(new TextDecoder().decode(await copy.get('manifest.json'))) as {
      files: Record<string, string>;
    };
    manifest.files['items.json'] = 'b'.repeat(64);
    await copy.put('manifest.json', new TextEncoder().encode(JSON.stringify(manifest)));
    await expect(openWorldFolder(copy)).rejects.toMatchObject({ code: 'CHECKPOINT', source: 'manifest.json' });
  });

  it('says what to do about an unknown version', async () => {
    const copy = await copyOf(storage);
    await copy.put('manifest.json', new TextEncoder().encode('{"format":"ialp-world/2","files":[]}'));
    const opening = openWorldFolder(copy);
    await expect(opening).rejects.toMatchObject({ code: 'CHECKPOINT', source: 'manifest.json', version: 2 });
    await expect(opening).rejects.toThrow(/expected format ialp-world\/1.*build the world again/);
  });

  it('is kept for its world: another one, or other files, are in the way', async () => {
    await expect(buildWorldFolder(storage, data, { ...spec, splitSeed: 2 })).rejects.toThrow(/another world is here/);
    await expect(saveWorldFolder(storage, { kind: 'synthetic', options: { items: 50 } })).rejects.toBeInstanceOf(
      CheckpointError,
    );
    const foreign = new MemoryStorage();
    await foreign.put('thesis.tex', new Uint8Array(3));
    await expect(built(foreign)).rejects.toMatchObject({ code: 'CHECKPOINT', source: 'thesis.tex' });
    await expect(openWorldFolder(foreign)).rejects.toThrow(/found no manifest/);
  });

  it('fits nothing when it is there already', async () => {
    const claims: string[] = [];
    await buildWorldFolder(storage, data, spec, {
      onClaim: (claim) => claims.push(claim),
      onProgress: () => expect.unreachable('nothing is fitted'),
    });
    expect(claims).toEqual(['finished']);
  });

  it('goes on after a stop, fits no model twice, and ends with the same bytes', async () => {
    const broken = new MemoryStorage();
    const controller = new AbortController();
    const fitted: string[] = [];
    const onProgress = ({ split, member }: { split: string; member: number }) => {
      const name = `${split}-${member}`;
      if (fitted.at(-1) !== name) fitted.push(name);
      if (name === 'validation-1') controller.abort(new Error('stopped by the test'));
    };
    const options = { onProgress, signal: controller.signal };
    const inputs = [{ file: 'log.csv', sha256: 'a'.repeat(64) }];
    await expect(buildWorldFolder(broken, data, spec, options)).rejects.toThrow('stopped by the test');
    await expect(openWorldFolder(broken)).rejects.toThrow(/was interrupted.*goes on/);
    await expect(buildWorldFolder(broken, data, { ...spec, splitSeed: 2 })).rejects.toThrow(/is being built here/);
    const claims: string[] = [];
    await buildWorldFolder(broken, data, spec, { inputs, onProgress, onClaim: (claim) => claims.push(claim) });
    expect(claims).toEqual(['resumed']);
    expect(fitted.filter((name) => name.startsWith('train'))).toEqual(['train-1', 'train-2']);
    expect(await bytesOf(broken)).toEqual(await bytesOf(storage));
  });

  it('killed at any write it is no world, and the same call ends it', async () => {
    const whole = await bytesOf(storage);
    const opened = await openWorldFolder(storage);
    const inputs = [{ file: 'log.csv', sha256: 'a'.repeat(64) }];
    for (let puts = 0; ; puts++) {
      const watched = new WatchedStorage();
      watched.putsLeft = puts;
      const isKilled = await saveWorldFolder(watched, opened, { inputs }).then(
        () => false,
        () => true,
      );
      if (!isKilled) {
        expect(puts).toBe(1 + Object.keys(whole).length);
        break;
      }
      await expect(openWorldFolder(watched)).rejects.toBeInstanceOf(CheckpointError);
      watched.putsLeft = Number.POSITIVE_INFINITY;
      await saveWorldFolder(watched, opened, { inputs });
      expect(await bytesOf(watched)).toEqual(whole);
    }
  });

  it('keeps cards by name, and is sound with them, without them, and after a kill in between', async () => {
    const copy = new WatchedStorage();
    for (const key of await storage.list()) await copy.put(key, (await storage.get(key)) as Uint8Array);
    expect(await openWorldCards(copy)).toEqual({});
    await saveWorldCard(copy, 'test', { rows: [1] });
    await saveWorldCard(copy, 'validation', { rows: [2] });
    expect(await openWorldCards(copy)).toEqual({ test: { rows: [1] }, validation: { rows: [2] } });
    for (const puts of [0, 1, 2]) {
      await saveWorldCard(copy, 'test', { rows: [puts] });
      copy.putsLeft = puts;
      await expect(saveWorldCard(copy, 'test', { rows: [7] })).rejects.toThrow('killed');
      copy.putsLeft = Number.POSITIVE_INFINITY;
      await openWorldFolder(copy);
      await openWorldCards(copy);
    }
    await saveWorldCard(copy, 'test', { rows: [1] });
    await copy.put('card.json', new TextEncoder().encode('{}'));
    await expect(openWorldCards(copy)).rejects.toMatchObject({ code: 'CHECKPOINT', source: 'card.json' });
    await openWorldFolder(copy);
    await expect(saveWorldCard(new MemoryStorage(), 'test', {})).rejects.toThrow(/found no manifest/);
  });
});

describe('the folder of Coat and of the synthetic world', () => {
  const coat = tinyCoat();
  const roundTrip = async (stored: StoredWorld) => {
    const storage = new MemoryStorage();
    await saveWorldFolder(storage, stored);
    return { storage, world: storedWorld(await openWorldFolder(storage)), direct: storedWorld(stored) };
  };

  it.each<readonly [string, StoredWorld]>([
    ['synthetic', { kind: 'synthetic', options: { items: 60, categories: 4, seed: 3, noRepeat: false } }],
    [
      'coat by the truth',
      { kind: 'coat', options: { data: coat, window: 'legacy', evaluation: 'NX_0', splitSeed: 4 } },
    ],
  ])('%s: opens as it was', async (_name, stored) => {
    const { world, direct } = await roundTrip(stored);
    expect(await world.fingerprint()).toBe(await direct.fingerprint());
    expect(world.facts).toEqual(direct.facts);
    const card = { episodes: 6, seeds: 1, policies: ['random'] } as const;
    expect(await worldCard(world, card)).toEqual(await worldCard(direct, card));
  });

  it('coat by a model: keeps what the model has seen, and refuses one that has seen the truth', async () => {
    const model = await fitCoatModel({ data: coat, members: 1, epochs: 1, heldOut: 0 });
    const { world, direct } = await roundTrip({ kind: 'coat', options: { data: coat, reward: model } });
    expect(world.reward).toBe('model');
    expect(world.facts).toEqual(direct.facts);
    expect(await world.fingerprint()).toBe(await direct.fingerprint());
    const storage = new MemoryStorage();
    const leaking: StoredWorld = { kind: 'coat', options: { data: coat, reward: { ...model, rewards: coat.truth } } };
    await expect(saveWorldFolder(storage, leaking)).rejects.toBeInstanceOf(InvalidArgumentError);
    expect(await storage.list()).toEqual([]);
  });

  it('tells worlds apart by every option, and the same world not', async () => {
    const storage = new MemoryStorage();
    const stored = (seed: number): StoredWorld => ({ kind: 'synthetic', options: { items: 60, seed } });
    expect(await claimWorldFolder(storage, stored(1))).toBe('new');
    expect(await claimWorldFolder(storage, stored(1))).toBe('resumed');
    await expect(claimWorldFolder(storage, stored(2))).rejects.toThrow(/is being built here/);
    await saveWorldFolder(storage, stored(1));
    expect(await claimWorldFolder(storage, stored(1))).toBe('finished');
  });
});
