import * as tf from '@tensorflow/tfjs';
import { beforeAll, describe, expect, it } from 'vitest';
import { useBackend } from '../../../src/compute/backend.js';
import { createKernels } from '../../../src/compute/create-kernels.js';
import { historyBatch } from '../../../src/compute/history-batch.js';
import type { Kernels, ScoreOptions, Want } from '../../../src/compute/kernels.js';
import { initParameters } from '../../../src/compute/model.js';
import { Adam } from '../../../src/compute/optimiser.js';
import { sasRec } from '../../../src/encoder/sasrec.js';
import { DisposedError, InvalidArgumentError } from '../../../src/foundation/errors.js';
import { Rng } from '../../../src/foundation/rng.js';
import { expectClose, mixedBatch, rampFeatures, randomKernels, smallSpec } from './models.js';

beforeAll(async () => {
  await useBackend('wasm');
});

const A = 11;
const rowOf = (all: Float32Array, row: number): number[] => [...all.slice(row * A, (row + 1) * A)];

/** All logits, read through the only door that lists raw scores. */
function logitsOf(kernels: Kernels, batch = mixedBatch()): Float32Array {
  const items = Int32Array.from({ length: batch.size * A }, (_, i) => i % A);
  return kernels.forward(batch, { scoresOf: { head: 'actor', items, width: A } }).scores;
}

describe('a new model', () => {
  it('starts near uniform', () => {
    using kernels = createKernels(
      smallSpec({ itemCount: 200, encoder: sasRec({ width: 32 }) }),
      initParameters(smallSpec({ itemCount: 200, encoder: sasRec({ width: 32 }) }), new Rng(3)),
      { kernels: 'reference' },
    );
    const { entropy } = kernels.forward(historyBatch([[1, 2, 3], []]), { entropy: true });
    for (const nats of entropy) expect(nats).toBeGreaterThan(0.98 * Math.log(200));
  });
});

describe('probabilities', () => {
  it('sum to 1 and are the softmax of the logits', () => {
    using kernels = randomKernels(smallSpec());
    const probabilities = kernels.probabilities(mixedBatch());
    const logits = logitsOf(kernels);
    for (let row = 0; row < 4; row++) {
      const masses = rowOf(logits, row).map(Math.exp);
      const total = masses.reduce((sum, mass) => sum + mass, 0);
      expectClose(
        rowOf(probabilities, row),
        masses.map((mass) => mass / total),
        5,
      );
    }
  });

  it('are exactly 0 where masked, and the rest is renormalised', () => {
    using kernels = randomKernels(smallSpec());
    const free = kernels.probabilities(mixedBatch());
    const excludeRows = [[0], [], Int32Array.of(1, 2), []];
    const masked = kernels.probabilities(mixedBatch(), {
      mask: { noRepeat: true, exclude: Int32Array.of(5), excludeRows },
    });
    const excluded = [[0, 1, 2, 3, 4, 5, 6], [5, 7, 8, 9, 10], [1, 2, 3, 5], [5]];
    for (let row = 0; row < 4; row++) {
      const before = rowOf(free, row);
      const left = before.reduce((sum, p, item) => sum + (excluded[row]?.includes(item) ? 0 : p), 0);
      rowOf(masked, row).forEach((p, item) => {
        if (excluded[row]?.includes(item)) expect(p).toBe(0);
        else expect(p).toBeCloseTo((before[item] as number) / left, 5);
      });
    }
  });

  it('follow the temperature', () => {
    using kernels = randomKernels(smallSpec());
    const cool = kernels.probabilities(mixedBatch(), { temperature: 0.5 });
    const squared = rowOf(kernels.probabilities(mixedBatch()), 0).map((p) => p * p);
    const total = squared.reduce((sum, p) => sum + p, 0);
    expectClose(
      rowOf(cool, 0),
      squared.map((p) => p / total),
      5,
    );
  });

  it('use the history features', () => {
    const kernels = randomKernels(smallSpec({ historyFeatures: rampFeatures(A) }));
    const weights = kernels.store.get('actor/history').data;
    weights.fill(0);
    kernels.store.touch();
    const without = logitsOf(kernels);
    weights.set([2, -1]);
    kernels.store.touch();
    const withThem = logitsOf(kernels);
    const planes = rampFeatures(A).planes(mixedBatch());
    withThem.forEach((score, i) => {
      const wanted = (without[i] as number) + 2 * (planes[i] as number) - (planes[4 * A + i] as number);
      expect(score).toBeCloseTo(wanted, 4);
    });
    kernels.dispose();
  });
});

describe('sample', () => {
  it('is the inverse CDF of the probabilities', () => {
    using kernels = randomKernels(smallSpec());
    const probabilities = kernels.probabilities(mixedBatch());
    for (const u of [0, 0.1, 0.37, 0.5, 0.83, 0.999999]) {
      const { actions, logProb } = kernels.sample(mixedBatch(), new Float64Array(4).fill(u));
      for (let row = 0; row < 4; row++) {
        let cumulative = 0;
        const wanted = rowOf(probabilities, row).findIndex((p) => {
          cumulative += p;
          return cumulative > u;
        });
        expect(actions[row]).toBe(wanted);
        expect(logProb[row]).toBeCloseTo(Math.log(probabilities[row * A + wanted] as number), 5);
      }
    }
  });

  it('never draws a masked item, at neither end', () => {
    using kernels = randomKernels(smallSpec());
    const mask = { exclude: Int32Array.of(0, 1, 9, 10) };
    expect([...kernels.sample(mixedBatch(), new Float64Array(4).fill(0), { mask }).actions]).toEqual([2, 2, 2, 2]);
    const top = kernels.sample(mixedBatch(), new Float64Array(4).fill(1 - 2 ** -53), { mask });
    expect([...top.actions]).toEqual([8, 8, 8, 8]);
    // The control: without the mask the ends are drawn.
    expect([...kernels.sample(mixedBatch(), new Float64Array(4).fill(0)).actions]).toEqual([0, 0, 0, 0]);
  });

  it('draws by the probabilities (chi-square, 20,000 draws), and not uniformly', () => {
    using kernels = randomKernels(smallSpec());
    const rng = new Rng('draws');
    const rows = 2000;
    const batch = historyBatch(Array.from({ length: rows }, () => [1, 2, 3]));
    const counts = new Float64Array(A);
    for (let round = 0; round < 10; round++) {
      for (const action of kernels.sample(batch, rng.uniforms(rows)).actions)
        counts[action] = (counts[action] as number) + 1;
    }
    const probabilities = rowOf(kernels.probabilities(historyBatch([[1, 2, 3]])), 0);
    const chiSquare = (wanted: (item: number) => number): number =>
      counts.reduce((sum, count, item) => sum + (count - wanted(item)) ** 2 / wanted(item), 0);
    // 10 degrees of freedom: 29.6 is exceeded once in 1,000 seeds.
    expect(chiSquare((item) => 20_000 * (probabilities[item] as number))).toBeLessThan(29.6);
    expect(chiSquare(() => 20_000 / A)).toBeGreaterThan(100);
  });

  it('agrees with forward on the log-probability, under mask and temperature', () => {
    using kernels = randomKernels(smallSpec());
    const options = { mask: { noRepeat: true }, temperature: 0.7 };
    const { actions, logProb } = kernels.sample(mixedBatch(), new Rng(4).uniforms(4), options);
    const again = kernels.forward(mixedBatch(), { logProbOf: actions }, options).logProb;
    expectClose(again, logProb, 5);
  });
});

describe('sample with the value', () => {
  it.each(['shared', 'separate'] as const)('gives what forward gives, and the same draws: %s', (valueEncoder) => {
    using kernels = randomKernels(smallSpec({ valueEncoder, historyFeatures: rampFeatures(A) }));
    const uniforms = new Rng(6).uniforms(4);
    const options = { mask: { noRepeat: true }, temperature: 0.7 };
    const plain = kernels.sample(mixedBatch(), uniforms, options);
    expect(plain).not.toHaveProperty('value');
    const { value, ...draws } = kernels.sample(mixedBatch(), uniforms, { ...options, value: true });
    expect(draws).toEqual(plain);
    expect(value).toEqual(kernels.forward(mixedBatch(), { value: true }).value);
    expect(new Set(value).size).toBe(4);
  });

  it('gives both under the dropout of the seed', () => {
    using kernels = randomKernels(smallSpec({ encoder: sasRec({ width: 8, historyLength: 4, dropout: 0.5 }) }));
    const uniforms = new Rng(6).uniforms(4);
    const { value } = kernels.sample(mixedBatch(), uniforms, { dropoutSeed: 4, value: true });
    expect(value).toEqual(kernels.forward(mixedBatch(), { value: true }, { dropoutSeed: 4 }).value);
    expect(value).not.toEqual(kernels.forward(mixedBatch(), { value: true }).value);
  });
});

describe('topK', () => {
  it('equals a sort, among the unmasked', () => {
    using kernels = randomKernels(smallSpec());
    const mask = { exclude: Int32Array.of(3, 4) };
    const { items, logProb } = kernels.topK(mixedBatch(), 5, { mask });
    const probabilities = kernels.probabilities(mixedBatch(), { mask });
    for (let row = 0; row < 4; row++) {
      const p = rowOf(probabilities, row);
      const sorted = p.map((_, item) => item).sort((a, b) => (p[b] as number) - (p[a] as number));
      expect([...items.slice(row * 5, row * 5 + 5)]).toEqual(sorted.slice(0, 5));
      for (let place = 0; place < 5; place++) {
        expect(logProb[row * 5 + place]).toBeCloseTo(Math.log(p[sorted[place] as number] as number), 5);
      }
    }
  });

  it('breaks ties by the lower index', () => {
    using kernels = randomKernels(smallSpec());
    for (const { name, data } of kernels.store.parameters()) if (name.startsWith('actor/')) data.fill(0);
    kernels.store.touch();
    expect([...kernels.topK(historyBatch([[1]]), 3).items]).toEqual([0, 1, 2]);
  });

  it('refuses more than the mask leaves', () => {
    using kernels = randomKernels(smallSpec());
    expect(() => kernels.topK(mixedBatch(), 6, { mask: { noRepeat: true } })).toThrow(/at most 5.*row 0.*got 6/);
  });
});

describe('forward and backward', () => {
  it('give only what is asked for', () => {
    using kernels = randomKernels(smallSpec());
    expect(Object.keys(kernels.forward(mixedBatch(), { value: true }))).toEqual(['value']);
    expect(Object.keys(kernels.forward(mixedBatch(), { logProbOf: new Int32Array(4), entropy: true })).sort()).toEqual([
      'entropy',
      'logProb',
    ]);
  });

  it('scores None by its own scalar', () => {
    using kernels = randomKernels(smallSpec());
    kernels.store.get('actor/none').data[0] = 1.25;
    kernels.store.touch();
    const scoresOf = { head: 'actor' as const, items: Int32Array.of(A, 2, A, 3, A, 4, A, 5), width: 2 };
    const { scores } = kernels.forward(mixedBatch(), { scoresOf });
    expect([scores[0], scores[2], scores[4], scores[6]]).toEqual([1.25, 1.25, 1.25, 1.25]);
    kernels.backward({ scores: Float32Array.of(1, 0, 2, 0, 3, 0, 4, 0) });
    expect(kernels.store.get('actor/none').gradient[0]).toBe(10);
    expect(kernels.store.get('actor/id').gradient.every((g) => g === 0)).toBe(true);
  });

  it('adds up the gradients of several backward passes', () => {
    using kernels = randomKernels(smallSpec());
    const one = Float32Array.of(1, -1, 0.5, 2);
    kernels.forward(mixedBatch(), { value: true });
    kernels.backward({ value: one });
    const once = kernels.store.get('value/w1').gradient.slice();
    kernels.backward({ value: one });
    expectClose(
      kernels.store.get('value/w1').gradient,
      once.map((g) => 2 * g),
      5,
    );
  });

  it('sends the cotangent of expectedScore into the actor only', () => {
    const spec = smallSpec({ critic: 'action', valueEncoder: 'separate' });
    using kernels = randomKernels(spec);
    kernels.forward(mixedBatch(), { expectedScore: true });
    kernels.backward({ expectedScore: Float32Array.of(1, 1, 1, 1) });
    for (const { name, gradient } of kernels.store.parameters()) {
      const isReached = gradient.some((g) => g !== 0);
      expect([name, isReached]).toEqual([name, /^(item|encoder|actor)\/(?!none)/.test(name)]);
    }
  });

  it('keeps what it needs of a live batch', () => {
    using kernels = randomKernels(smallSpec({ historyFeatures: rampFeatures(A) }));
    const gradientAfter = (disturb: boolean): Float32Array => {
      const batch = mixedBatch();
      const actions = Int32Array.of(0, 1, 2, 3);
      kernels.store.zeroGradients();
      kernels.forward(batch, { logProbOf: actions }, { mask: { exclude: Int32Array.of(7) } });
      if (disturb) {
        batch.items.fill(9);
        batch.lengths.fill(1);
        actions.fill(10);
      }
      kernels.backward({ logProb: new Float32Array(4).fill(1) });
      return kernels.store.get('item/id').gradient.slice();
    };
    expect(gradientAfter(true)).toEqual(gradientAfter(false));
  });

  it('gives frozen parameters no gradient and leaves them as they are', () => {
    using kernels = randomKernels(smallSpec());
    kernels.store.freeze('encoder/');
    kernels.store.freeze('item/');
    const frozen = kernels.store.get('encoder/block0/feed1/w').data.slice();
    kernels.forward(mixedBatch(), { logProbOf: Int32Array.of(0, 1, 2, 3) });
    kernels.backward({ logProb: new Float32Array(4).fill(1) });
    expect(kernels.store.get('item/id').gradient.every((g) => g === 0)).toBe(true);
    expect(kernels.store.get('actor/id').gradient.some((g) => g !== 0)).toBe(true);
    expect(kernels.step(new Adam()).applied).toBe(true);
    expect(kernels.store.get('encoder/block0/feed1/w').data).toEqual(frozen);
  });

  it('draws the same dropout in backward, other dropout for another seed, none without a seed', () => {
    using kernels = randomKernels(smallSpec({ encoder: sasRec({ width: 8, historyLength: 4, dropout: 0.5 }) }));
    const value = (dropoutSeed?: number): Float32Array =>
      kernels.forward(mixedBatch(), { value: true }, dropoutSeed === undefined ? {} : { dropoutSeed }).value;
    expect(value(3)).toEqual(value(3));
    expect(value(3)).not.toEqual(value(4));
    expect(value(3)).not.toEqual(value());
    // The gradient is that of the dropped network: a small step along it raises the value of the same seed as predicted.
    const before = value(3);
    kernels.backward({ value: Float32Array.of(1, 0, 0, 0) });
    const { data, gradient } = kernels.store.get('encoder/block0/feed2/w');
    const norm = gradient.reduce((sum, g) => sum + g * g, 0);
    data.forEach((x, i) => {
      data[i] = x + (1e-2 / Math.sqrt(norm)) * (gradient[i] as number);
    });
    kernels.store.touch();
    const rise = ((value(3)[0] as number) - (before[0] as number)) / (1e-2 * Math.sqrt(norm));
    expect(rise).toBeGreaterThan(0.9);
    expect(rise).toBeLessThan(1.1);
  });

  it('returns NaN rather than throwing when the parameters have diverged; sample refuses', () => {
    using kernels = randomKernels(smallSpec());
    kernels.store.get('encoder/start').data[0] = Number.NaN;
    kernels.store.touch();
    expect(kernels.forward(historyBatch([[]]), { value: true }).value[0]).toBeNaN();
    expect(() => kernels.sample(historyBatch([[]]), Float64Array.of(0.5))).toThrow(/logits are not finite/);
  });

  it('gives the same weights for the same seed after twenty updates, others for another', async () => {
    const train = async (seed: number): Promise<string> => {
      using kernels = randomKernels(smallSpec({ critic: 'action', historyFeatures: rampFeatures(A) }), seed);
      const adam = new Adam();
      for (let i = 0; i < 20; i++) {
        kernels.forward(mixedBatch(), { logProbOf: Int32Array.of(0, 1, 2, i % A), entropy: true });
        kernels.backward({ logProb: Float32Array.of(-1, 1, -1, 1), entropy: new Float32Array(4).fill(0.1) });
        kernels.step(adam);
      }
      return kernels.store.sha256();
    };
    const initial = await randomKernels(
      smallSpec({ critic: 'action', historyFeatures: rampFeatures(A) }),
      1,
    ).store.sha256();
    const first = await train(1);
    expect(await train(1)).toBe(first);
    expect(await train(2)).not.toBe(first);
    expect(first).not.toBe(initial);
  });
});

describe('forward with next', () => {
  const actions = Int32Array.of(9, 1, 7, 2);
  const next = () => historyBatch([[1, 2, 3, 4, 5, 6, 9], [7, 8, 9, 10, 1], [3, 3, 7], [2]]);
  const dropping = sasRec({ width: 8, heads: 2, historyLength: 4, dropout: 0.5 });
  const fullModels = (['shared', 'separate'] as const).flatMap((valueEncoder) =>
    (['state', 'action'] as const).map((critic) => [critic, valueEncoder] as const),
  );

  it.each(fullModels)(
    'is a forward of its own on the next histories: critic %s, encoder %s',
    (critic, valueEncoder) => {
      const spec = smallSpec({ critic, valueEncoder, historyFeatures: rampFeatures(A), encoder: dropping });
      using kernels = randomKernels(spec);
      // Under this mask and temperature each part of the answer depends on the next histories themselves.
      const options = { mask: { noRepeat: true, exclude: Int32Array.of(0, 0) }, temperature: 0.6 };
      const asked: Want[] =
        critic === 'state'
          ? [{ value: true }, { maxScore: 'actor' }, { value: true, maxScore: 'actor' }]
          : [{ maxScore: 'critic' }, { expectedScore: true }, { expectedScore: true, maxScore: 'actor' }];
      for (const want of asked) {
        const alone = kernels.forward(next(), want, options);
        // With dropout on: it is for the batch, never for what follows.
        const own: Want = { logProbOf: actions, entropy: true };
        const { next: got, ...rest } = kernels.forward(
          mixedBatch(),
          { ...own, next: { histories: next(), ...want } as NonNullable<Want['next']> },
          { ...options, dropoutSeed: 3 },
        );
        expect(got).toEqual(alone);
        expect(rest).toEqual(kernels.forward(mixedBatch(), own, { ...options, dropoutSeed: 3 }));
        expect(alone).not.toEqual(kernels.forward(next(), want, { ...options, dropoutSeed: 3 }));
      }
    },
  );

  it('leaves backward as it is', () => {
    using kernels = randomKernels(smallSpec({ encoder: dropping }));
    const gradientsAfter = (want: Want): Float32Array[] => {
      kernels.store.zeroGradients();
      kernels.forward(mixedBatch(), { logProbOf: actions, value: true, ...want }, { dropoutSeed: 5 });
      kernels.backward({ logProb: Float32Array.of(1, 2, 3, 4), value: Float32Array.of(-1, 1, -1, 1) });
      return kernels.store.parameters().map(({ gradient }) => gradient.slice());
    };
    const plain = gradientsAfter({});
    expect(gradientsAfter({ next: { histories: next(), value: true, maxScore: 'actor' } })).toEqual(plain);
    expect(plain.some((gradient) => gradient.some((g) => g !== 0))).toBe(true);
  });

  it('may be all that is asked, and is then no forward to go back from', () => {
    using kernels = randomKernels(smallSpec());
    const asked = kernels.forward(mixedBatch(), { next: { histories: next(), value: true } });
    expect(asked).toEqual({ next: kernels.forward(next(), { value: true }) });
    kernels.forward(mixedBatch(), { next: { histories: next(), value: true } });
    expect(() => kernels.backward({ value: new Float32Array(4) })).toThrow(/value/);
  });

  it('gives the value of a state with nothing left to show, whose best score it refuses', () => {
    using kernels = randomKernels(smallSpec());
    const all = Array.from({ length: A }, (_, item) => item);
    const histories = historyBatch([[1], all, [2], []]);
    const options = { mask: { noRepeat: true } };
    const { value } = kernels.forward(mixedBatch(), { next: { histories, value: true } }, options).next;
    expect(value).toEqual(kernels.forward(histories, { value: true }).value);
    expect(() => kernels.forward(mixedBatch(), { next: { histories, maxScore: 'actor' } }, options)).toThrow(
      /excludes all 11 items of row 1 of `want\.next\.histories`/,
    );
  });

  it('is typed by what is asked', () => {
    using kernels = randomKernels(smallSpec());
    const scores = kernels.forward(mixedBatch(), { entropy: true, next: { histories: next(), value: true } });
    const value: Float32Array = scores.next.value;
    const maxScore: Float32Array | undefined = scores.next.maxScore;
    expect([value.length, maxScore]).toEqual([4, undefined]);
  });

  const cases: readonly (readonly [string, unknown, ScoreOptions, RegExp])[] = [
    ['nothing asked', { histories: next() }, {}, /want\.next.*ask for something/],
    ['an unknown question', { histories: next(), entropy: true }, {}, /Unknown key `entropy` in `want\.next`/],
    ['no histories', { value: true }, {}, /want\.next\.histories/],
    ['other rows', { histories: historyBatch([[1]]), value: true }, {}, /each of the 4 rows.*got 1/],
    ['an item out of range', { histories: historyBatch([[], [11], [], []]), value: true }, {}, /next.*got 11/],
    [
      'another context',
      { histories: historyBatch([[], [], [], []], { context: [[1], [1], [1], [1]] }), value: true },
      {},
      /want\.next\.histories\.contextWidth/,
    ],
    ['Q of a state critic', { histories: next(), maxScore: 'critic' }, {}, /want\.next\.maxScore/],
    ['E_pi[Q] of a state critic', { histories: next(), expectedScore: true }, {}, /want\.next\.expectedScore/],
    ['a flag that is none', { histories: next(), value: 1 }, {}, /want\.next\.value.*true/],
    [
      'exclusions of single rows',
      { histories: next(), value: true },
      { mask: { excludeRows: [[], [], [], []] } },
      /want\.next.*excludeRows/,
    ],
  ];
  it.each(cases)('refuses %s', (_, question, options, message) => {
    using kernels = randomKernels(smallSpec());
    const call = () => kernels.forward(mixedBatch(), { value: true, next: question } as Want, options);
    expect(call).toThrow(InvalidArgumentError);
    expect(call).toThrow(message);
  });
});

describe('step', () => {
  it('zeroes the gradients, and changes nothing when they are not finite', async () => {
    using kernels = randomKernels(smallSpec());
    const before = await kernels.store.sha256();
    kernels.store.get('value/b1').gradient[0] = Number.NaN;
    expect(kernels.step(new Adam()).applied).toBe(false);
    expect(await kernels.store.sha256()).toBe(before);
    expect(kernels.store.get('value/b1').gradient[0]).toBe(0);
  });
});

describe('memory', () => {
  it('holds no more tensors after 50 rounds of every call, and none once disposed', () => {
    const outside = tf.memory().numTensors;
    const features = Float32Array.from({ length: A * 3 }, (_, i) => Math.sin(i));
    const kernels = randomKernels(
      smallSpec({
        critic: 'action',
        valueEncoder: 'separate',
        items: 'id+text',
        itemFeatures: features,
        itemFeatureWidth: 3,
        historyFeatures: rampFeatures(A),
      }),
    );
    const adam = new Adam();
    const round = (): void => {
      const batch = mixedBatch();
      kernels.sample(batch, new Float64Array(4));
      kernels.topK(batch, 2);
      kernels.probabilities(batch, { mask: { noRepeat: true } });
      const scoresOf = { head: 'critic' as const, items: new Int32Array(8), width: 2 };
      kernels.forward(batch, {
        logProbOf: Int32Array.of(0, 1, 2, 3),
        entropy: true,
        expectedScore: true,
        maxScore: 'critic',
        scoresOf,
      });
      const row = new Float32Array(4).fill(1);
      kernels.backward({ logProb: row, entropy: row, expectedScore: row, scores: new Float32Array(8).fill(1) });
      kernels.forward(batch, { next: { histories: batch, maxScore: 'critic', expectedScore: true } });
      kernels.step(adam);
    };
    round();
    const { numTensors, numDataBuffers } = tf.memory();
    for (let i = 0; i < 50; i++) round();
    expect(tf.memory()).toMatchObject({ numTensors, numDataBuffers });
    kernels.dispose();
    kernels.dispose();
    expect(tf.memory().numTensors).toBe(outside);
  });

  it('says so when it is used after dispose', () => {
    const kernels = randomKernels(smallSpec());
    kernels.dispose();
    expect(() => kernels.forward(mixedBatch(), { value: true })).toThrow(DisposedError);
    expect(() => kernels.backward({})).toThrow(DisposedError);
    expect(() => kernels.sample(mixedBatch(), new Float64Array(4))).toThrow(DisposedError);
    expect(() => kernels.topK(mixedBatch(), 1)).toThrow(DisposedError);
    expect(() => kernels.step(new Adam())).toThrow(DisposedError);
  });
});

describe('bad input', () => {
  const actions = Int32Array.of(0, 1, 2, 3);
  const cases: readonly (readonly [string, (kernels: Kernels) => unknown, RegExp])[] = [
    ['an item out of range', (k) => k.forward(historyBatch([[11]]), { value: true }), /items\[0, 0\].*0 to 10.*got 11/],
    [
      'a context that the model has not',
      (k) => k.probabilities(historyBatch([[]], { context: [[1]] })),
      /contextWidth/,
    ],
    ['an empty want', (k) => k.forward(mixedBatch(), {}), /asks? for something/],
    ['an unknown want', (k) => k.forward(mixedBatch(), { values: true } as Want), /Unknown key `values`/],
    [
      'an action out of range',
      (k) => k.forward(mixedBatch(), { logProbOf: Int32Array.of(0, 0, 0, 11) }),
      /got 11 at 3/,
    ],
    ['too few actions', (k) => k.forward(mixedBatch(), { logProbOf: Int32Array.of(0) }), /Int32Array of 4/],
    [
      'a masked action',
      (k) => k.forward(mixedBatch(), { logProbOf: actions }, { mask: { exclude: Int32Array.of(2) } }),
      /got 2 in row 2/,
    ],
    [
      'None of the critic',
      (k) => k.forward(mixedBatch(), { scoresOf: { head: 'critic', items: actions, width: 1 } }),
      /critic: 'action'/,
    ],
    [
      'None beyond A',
      (k) => k.forward(mixedBatch(), { scoresOf: { head: 'actor', items: Int32Array.of(12, 0, 0, 0), width: 1 } }),
      /0 to 11.*got 12/,
    ],
    [
      'a width of 0',
      (k) => k.forward(mixedBatch(), { scoresOf: { head: 'actor', items: new Int32Array(0), width: 0 } }),
      /width/,
    ],
    ['Q of a state critic', (k) => k.forward(mixedBatch(), { expectedScore: true }), /critic: 'action'/],
    ['a temperature of 0', (k) => k.probabilities(mixedBatch(), { temperature: 0 }), /temperature.*got 0/],
    ['an unknown option', (k) => k.probabilities(mixedBatch(), { temprature: 1 } as never), /Unknown key `temprature`/],
    ['a seed that is none', (k) => k.forward(mixedBatch(), { value: true }, { dropoutSeed: 1.5 }), /dropoutSeed/],
    [
      'a mask item out of range',
      (k) => k.probabilities(mixedBatch(), { mask: { exclude: Int32Array.of(11) } }),
      /got 11/,
    ],
    [
      'mask rows of another batch',
      (k) => k.probabilities(mixedBatch(), { mask: { excludeRows: [[1]] } }),
      /4 rows, got 1/,
    ],
    [
      'a row with nothing left',
      (k) =>
        k.probabilities(mixedBatch(), { mask: { excludeRows: [[], [], Array.from({ length: 11 }, (_, i) => i), []] } }),
      /row 2/,
    ],
    ['uniforms of another size', (k) => k.sample(mixedBatch(), new Float64Array(3)), /Float64Array of 4/],
    ['a uniform of 1', (k) => k.sample(mixedBatch(), Float64Array.of(0, 1, 0, 0)), /\[0, 1\).*row 1/],
    [
      'a value that is no flag',
      (k) => k.sample(mixedBatch(), new Float64Array(4), { value: 1 } as never),
      /options\.value/,
    ],
    ['a value of topK', (k) => k.topK(mixedBatch(), 1, { value: true } as never), /Unknown key `value`/],
    ['an entropy that is no flag', (k) => k.forward(mixedBatch(), { entropy: 1 } as never), /want\.entropy/],
    ['k of 0', (k) => k.topK(mixedBatch(), 0), /`k`/],
    ['backward without forward', (k) => k.backward({ value: new Float32Array(4) }), /no.*forward|forward before/],
    ['an optimiser that is none', (k) => k.step({} as Adam), /Adam/],
  ];
  it.each(cases)('refuses %s', (_, call, message) => {
    using kernels = randomKernels(smallSpec());
    expect(() => call(kernels)).toThrow(InvalidArgumentError);
    expect(() => call(kernels)).toThrow(message);
  });

  it('refuses cotangents that do not fit the last forward', () => {
    using kernels = randomKernels(smallSpec());
    kernels.forward(mixedBatch(), { value: true });
    expect(() => kernels.backward({ entropy: new Float32Array(4) })).toThrow(/entropy/);
    expect(() => kernels.backward({ value: new Float32Array(3) })).toThrow(/Float32Array of 4/);
    kernels.store.touch();
    expect(() => kernels.backward({ value: new Float32Array(4) })).toThrow(/changed since/);
  });

  it('refuses the value of a model that has none', () => {
    using kernels = randomKernels(smallSpec({ critic: 'action' }));
    const call = () => kernels.sample(mixedBatch(), new Float64Array(4), { value: true });
    expect(call).toThrow(InvalidArgumentError);
    expect(call).toThrow(/`options\.value` needs a model with `critic: 'state'`/);
  });

  it('refuses kernels of an unknown kind', () => {
    const store = initParameters(smallSpec(), new Rng(1));
    expect(() => createKernels(smallSpec(), store, { kernels: 'fast' as never })).toThrow(InvalidArgumentError);
    expect(() => createKernels(smallSpec(), store, { kernel: 'fused' } as never)).toThrow(InvalidArgumentError);
  });

  it('refuses a store of another model', () => {
    const store = initParameters(smallSpec(), new Rng(1));
    expect(() => createKernels(smallSpec({ itemCount: 12 }), store)).toThrow(/\[12\]|\[12,8\]/);
    expect(() => createKernels(smallSpec({ critic: 'action' }), store)).toThrow(InvalidArgumentError);
  });
});
