import { beforeAll, describe, expect, it } from 'vitest';
import { ActorCritic } from '../../../src/agent/actor-critic.js';
import { MixturePolicy } from '../../../src/agent/mixture-policy.js';
import type { PolicyOptions } from '../../../src/agent/policy.js';
import { useBackend } from '../../../src/compute/backend.js';
import { historyBatch } from '../../../src/compute/history-batch.js';
import { mean } from '../../../src/encoder/mean-encoder.js';
import { CheckpointError, DisposedError, InvalidArgumentError } from '../../../src/foundation/errors.js';
import { Rng } from '../../../src/foundation/rng.js';
import { MemoryStorage } from '../../../src/foundation/storage.js';
import { tinyCatalog } from '../../../src/testing/tiny-envs.js';

const A = 6;
const catalog = tinyCatalog(A);

function scattered(seed: number): ActorCritic {
  const agent = new ActorCritic({
    catalog,
    encoder: mean({ width: 4, historyLength: 3 }),
    items: 'id',
    historyFeatures: false,
    seed,
  });
  const rng = new Rng(seed).fork('scatter');
  for (const { data } of agent.store.parameters())
    for (let i = 0; i < data.length; i++) data[i] = (data[i] as number) + 0.7 * rng.normal();
  agent.store.touch();
  return agent;
}

/** An agent whose policy is the given distribution, whatever the history. */
function fixed(probabilities: readonly number[]): ActorCritic {
  const agent = scattered(1);
  agent.store.get('actor/id').data.fill(0);
  agent.store.get('actor/bias').data.set(probabilities.map(Math.log));
  agent.store.touch();
  return agent;
}

const batch = historyBatch([[], [1], [0, 2, 1]]);
const none = new Float64Array(0);
const masks: readonly PolicyOptions[] = [
  {},
  { mask: { noRepeat: true }, temperature: 0.5 },
  { mask: { exclude: Int32Array.of(0), excludeRows: [[3], [], [4, 5]] } },
];

beforeAll(async () => {
  await useBackend('cpu');
});

describe('MixturePolicy', () => {
  it.each([0, 0.25, 0.8, 1])(
    'at alpha %s gives rows of Eq. 14 that sum to 1, and log-probabilities to match',
    (alpha) => {
      using pretrained = scattered(1);
      using policy = new MixturePolicy({ pretrained, learner: scattered(2), alpha });
      for (const options of masks) {
        const rows = policy.probabilities(batch, options);
        const frozen = pretrained.probabilities(batch, options);
        const learned = policy.learner.probabilities(batch, options);
        for (let b = 0; b < 3; b++) {
          let sum = 0;
          for (let item = 0; item < A; item++) {
            const i = b * A + item;
            sum += rows[i] as number;
            expect(rows[i]).toBeCloseTo((1 - alpha) * (frozen[i] as number) + alpha * (learned[i] as number), 6);
            const actions = Int32Array.from({ length: 3 }, (_, row) => (row === b ? item : 1));
            if (rows[i] === 0 || [0, 1, 2].some((row) => rows[row * A + (actions[row] as number)] === 0)) continue;
            expect(Math.exp(policy.logProbOf(batch, actions, options)[b] as number)).toBeCloseTo(rows[i] as number, 5);
          }
          expect(sum).toBeCloseTo(1, 5);
        }
      }
    },
  );

  it('acts as the pretrained policy at alpha 0 and as the learner at alpha 1, draw for draw', () => {
    using pretrained = scattered(1);
    using policy = new MixturePolicy({ pretrained, learner: scattered(2), alpha: 0 });
    const rng = new Rng(3);
    for (let i = 0; i < 20; i++) {
      const uniforms = rng.uniforms(3);
      for (const mode of ['sampled', 'argmax'] as const) {
        for (const [alpha, arm] of [
          [0, pretrained],
          [1, policy.learner],
        ] as const) {
          policy.alpha = alpha;
          const { actions, logProb } = policy.act(batch, { mode, uniforms });
          const alone = arm.act(batch, { mode, uniforms });
          expect(actions).toEqual(alone.actions);
          for (let b = 0; b < 3; b++) expect(logProb[b]).toBeCloseTo(alone.logProb[b] as number, 5);
        }
      }
    }
  });

  it('draws with the frequencies of its rows (chi-square), with the mask of both arms, and tells what it drew with', () => {
    using pretrained = scattered(1);
    using policy = new MixturePolicy({ pretrained, learner: scattered(2), alpha: 0.35 });
    const draws = 6000;
    for (const options of masks) {
      const rows = policy.probabilities(batch, options);
      const counts = new Float64Array(3 * A);
      const rng = new Rng('draws');
      for (let n = 0; n < draws; n++) {
        const { actions, logProb, pretrainedLogProb, alpha } = policy.act(batch, {
          ...options,
          mode: 'sampled',
          uniforms: rng.uniforms(3),
        });
        for (let b = 0; b < 3; b++)
          counts[b * A + (actions[b] as number)] = (counts[b * A + (actions[b] as number)] as number) + 1;
        if (n % 500 > 0) continue;
        expect(alpha).toBe(0.35);
        for (let b = 0; b < 3; b++)
          expect(Math.exp(logProb[b] as number)).toBeCloseTo(rows[b * A + (actions[b] as number)] as number, 5);
        const frozen = pretrained.logProbOf(batch, actions, options);
        for (let b = 0; b < 3; b++) expect(pretrainedLogProb[b]).toBeCloseTo(frozen[b] as number, 6);
      }
      const chiSquare = (expected: Float32Array, b: number) => {
        let sum = 0;
        for (let item = 0; item < A; item++) {
          const wanted = draws * (expected[b * A + item] as number);
          const got = counts[b * A + item] as number;
          if (wanted === 0) expect(got).toBe(0);
          else sum += (got - wanted) ** 2 / wanted;
        }
        return sum;
      };
      for (let b = 0; b < 3; b++) {
        // 5 degrees of freedom at most: above 25.7 with probability 0.0001.
        expect(chiSquare(rows, b)).toBeLessThan(25.7);
        // The control: neither arm alone would have drawn so.
        expect(chiSquare(pretrained.probabilities(batch, options), b)).toBeGreaterThan(25.7);
      }
    }
  }, 60_000);

  it('takes the best item of the mixture, which may be the best of neither arm, and is certain of it', () => {
    using pretrained = fixed([0.5, 0.0001, 0.4, 0.05, 0.04, 0.0099]);
    using policy = new MixturePolicy({
      pretrained,
      learner: fixed([0.0001, 0.5, 0.4, 0.05, 0.04, 0.0099]),
      alpha: 0.5,
    });
    const one = historyBatch([[3]]);
    expect(pretrained.act(one, { mode: 'argmax', uniforms: none }).actions[0]).toBe(0);
    expect(policy.learner.act(one, { mode: 'argmax', uniforms: none }).actions[0]).toBe(1);
    const { actions, logProb, pretrainedLogProb } = policy.act(one, { mode: 'argmax', uniforms: none });
    expect([...actions]).toEqual([2]);
    expect([...logProb]).toEqual([0]);
    expect(Math.exp(pretrainedLogProb[0] as number)).toBeCloseTo(0.4, 5);
    // Masked, the next best of the mixture.
    expect([
      ...policy.act(one, { mode: 'argmax', uniforms: none, mask: { exclude: Int32Array.of(2) } }).actions,
    ]).not.toContain(2);
  });

  it.each([0, 0.4, 1])('ranks by the rows of Eq. 14 at alpha %s, masked items never', (alpha) => {
    using pretrained = scattered(1);
    using policy = new MixturePolicy({ pretrained, learner: scattered(2), alpha });
    for (const options of masks) {
      const rows = policy.probabilities(batch, options);
      const { items, logProb } = policy.topK(batch, 3, options);
      for (let b = 0; b < 3; b++) {
        const row = rows.subarray(b * A, (b + 1) * A);
        const best = [...row.keys()].sort((i, j) => (row[j] as number) - (row[i] as number)).slice(0, 3);
        expect([...items.subarray(b * 3, (b + 1) * 3)]).toEqual(best);
        for (const [rank, item] of best.entries())
          expect(Math.exp(logProb[b * 3 + rank] as number)).toBeCloseTo(row[item] as number, 6);
      }
    }
    // Three of the six were shown to the last row.
    expect(policy.topK(batch, 3, { mask: { noRepeat: true } }).items.length).toBe(9);
    expect(() => policy.topK(batch, 4, { mask: { noRepeat: true } })).toThrow(InvalidArgumentError);
  });

  it('recommends by the mixture, as neither arm would', () => {
    using pretrained = fixed([0.5, 0.0001, 0.4, 0.05, 0.04, 0.0099]);
    using policy = new MixturePolicy({
      pretrained,
      learner: fixed([0.0001, 0.5, 0.4, 0.05, 0.04, 0.0099]),
      alpha: 0.5,
    });
    const [first, ...others] = policy.recommend({ history: ['item-3', 'gone'], unknown: 'skip' });
    expect(first?.id).toBe('item-2');
    expect(first?.probability).toBeCloseTo(0.4 / 0.95, 5);
    expect(others.length).toBe(4);
    for (const arm of [pretrained, policy.learner])
      expect(arm.recommend({ history: ['item-3'], k: 1 })[0]?.id).not.toBe('item-2');
    expect(() => policy.recommend({ k: 7 })).toThrow('the 6 items left');
  });

  it('loads as it was saved, onto another catalogue by id, and then owns both arms', async () => {
    using pretrained = scattered(1);
    using policy = new MixturePolicy({ pretrained, learner: scattered(2), alpha: 0.3 });
    const storage = new MemoryStorage();
    await policy.save(storage);
    expect(await storage.list()).toEqual([
      'learner/policy.safetensors',
      'mixture.json',
      'pretrained/policy.safetensors',
    ]);
    const loaded = await MixturePolicy.load(storage, { catalog });
    expect(loaded.alpha).toBe(0.3);
    expect(loaded.probabilities(batch)).toEqual(policy.probabilities(batch));
    // The control: with the arms exchanged it would not be.
    using turned = new MixturePolicy({ pretrained: policy.learner, learner: pretrained.clone(), alpha: 0.3 });
    expect(turned.probabilities(batch)).not.toEqual(policy.probabilities(batch));
    loaded.dispose();
    loaded.dispose();
    expect(() => loaded.learner.probabilities(batch)).toThrow(DisposedError);
    expect(() => loaded.pretrained.probabilities(batch)).toThrow(DisposedError);
    expect(pretrained.probabilities(batch).length).toBe(3 * A);

    using fewer = await MixturePolicy.load(storage, { catalog: tinyCatalog(4) });
    expect(fewer.learner.catalogChange?.missing).toEqual(['item-4', 'item-5']);
    expect(fewer.recommend().length).toBe(4);
  });

  it('refuses to load what is missing, damaged, half saved or of another version', async () => {
    using pretrained = scattered(1);
    using policy = new MixturePolicy({ pretrained, learner: scattered(2), alpha: 0.3 });
    const load = (storage: MemoryStorage) => MixturePolicy.load(storage, { catalog });
    await expect(load(new MemoryStorage())).rejects.toThrow(/no mixture is stored here/);
    const text = (value: string) => new TextEncoder().encode(value);
    for (const [key, bytes] of [
      ['mixture.json', text('{"format":"ialp-mixture","version":1,"al')],
      ['mixture.json', text('{"format":"ialp-mixture","version":1,"alpha":1.5}')],
      ['mixture.json', text('{"format":"ialp-policy","version":1,"alpha":0.5}')],
      ['mixture.json', text('{"format":"ialp-mixture","version":2,"alpha":0.5}')],
      ['learner/policy.safetensors', undefined],
      ['pretrained/policy.safetensors', undefined],
      ['learner/policy.safetensors', text('nothing')],
    ] as const) {
      const storage = new MemoryStorage();
      await policy.save(storage);
      await load(storage).then((whole) => whole.dispose());
      if (bytes) await storage.put(key, bytes);
      else await storage.delete(key);
      await expect(load(storage), key).rejects.toThrow(CheckpointError);
    }
    await expect(
      (async () => {
        const storage = new MemoryStorage();
        await storage.put('mixture.json', text('{"format":"ialp-mixture","version":2,"alpha":0.5}'));
        return load(storage);
      })(),
    ).rejects.toMatchObject({ code: 'CHECKPOINT', version: 2 });

    // Cut off while another one is written over it: neither that nor a mixture of both is there.
    const storage = new MemoryStorage();
    await policy.save(storage);
    using other = new MixturePolicy({ pretrained, learner: scattered(3), alpha: 0.9 });
    const put = storage.put.bind(storage);
    storage.put = (key, bytes) => (key.startsWith('learner') ? Promise.reject(new Error('killed')) : put(key, bytes));
    await expect(other.save(storage)).rejects.toThrow('killed');
    await expect(load(storage)).rejects.toThrow(CheckpointError);
  });

  it('cannot be saved where the pretrained arm is no ActorCritic', async () => {
    using inner = scattered(1);
    using pretrained = new MixturePolicy({ pretrained: inner, learner: scattered(2), alpha: 0.5 });
    using policy = new MixturePolicy({ pretrained, learner: scattered(3), alpha: 0.5 });
    const storage = new MemoryStorage();
    await expect(policy.save(storage)).rejects.toThrow(/expected `pretrained` to be an ActorCritic, got MixturePolicy/);
    await expect(policy.save(storage)).rejects.toBeInstanceOf(InvalidArgumentError);
    expect(await storage.list()).toEqual([]);
  });

  it('refuses an alpha that is no share', () => {
    using pretrained = scattered(1);
    using learner = scattered(2);
    for (const alpha of [-0.1, 1.1, Number.NaN]) {
      expect(() => new MixturePolicy({ pretrained, learner, alpha })).toThrow(InvalidArgumentError);
    }
    using policy = new MixturePolicy({ pretrained, learner, alpha: 0.5 });
    expect(() => {
      policy.alpha = 2;
    }).toThrow(InvalidArgumentError);
    expect(policy.alpha).toBe(0.5);
  });

  it('owns its learner and borrows the pretrained policy', () => {
    using pretrained = scattered(1);
    const learner = scattered(2);
    const policy = new MixturePolicy({ pretrained, learner, alpha: 0.5 });
    policy.probabilities(batch);
    policy.dispose();
    policy.dispose();
    expect(() => policy.act(batch, { mode: 'argmax', uniforms: none })).toThrow(DisposedError);
    expect(() => policy.probabilities(batch)).toThrow(DisposedError);
    expect(() => policy.logProbOf(batch, new Int32Array(3))).toThrow(DisposedError);
    expect(() => policy.recommend()).toThrow(DisposedError);
    expect(() => learner.probabilities(batch)).toThrow(DisposedError);
    expect(pretrained.probabilities(batch).length).toBe(3 * A);
  });
});
