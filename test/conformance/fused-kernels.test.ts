/**
 * The fused kernels against the reference, on models drawn at random: every answer, every gradient, steps, draws and
 * rankings; and the same bits whatever the number of threads. Wrong kernels must be found out.
 */
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { currentBackend, useBackend } from '../../src/compute/backend.js';
import { createKernels } from '../../src/compute/create-kernels.js';
import { currentEngine, Engine } from '../../src/compute/fused/engine.js';
import { compileVariant } from '../../src/compute/fused/engine-variants.js';
import { FusedKernels } from '../../src/compute/fused/fused-kernels.js';
import type { HistoryBatch } from '../../src/compute/history-batch.js';
import { historyBatch } from '../../src/compute/history-batch.js';
import type { Kernels, ScoreOptions } from '../../src/compute/kernels.js';
import { initParameters, type ModelSpec } from '../../src/compute/model.js';
import { Adam } from '../../src/compute/optimiser.js';
import type { ParameterStore } from '../../src/compute/parameter-store.js';
import type { StateEncoder } from '../../src/compute/state-encoder.js';
import { mean } from '../../src/encoder/mean-encoder.js';
import { sasRec } from '../../src/encoder/sasrec.js';
import { InvalidArgumentError } from '../../src/foundation/errors.js';
import { Rng } from '../../src/foundation/rng.js';
import {
  askTrial,
  bitsOf,
  type Difference,
  differenceAround,
  differenceOf,
  gradientsOf,
  type Named,
  valuesOf,
  worstDifference,
  worstOf,
} from './compare-kernels.js';
import { buildTrial, type ModelChoice, modelChoices, type Trial } from './random-models.js';

/** Largest relative error by norm, per array. */
const TOLERANCE = 1e-4;
const CONFIGURATIONS = 200;
const GROUP = 25;

const choices = fc.sample(modelChoices, { numRuns: CONFIGURATIONS, seed: 20_26 });
const groups = Array.from({ length: CONFIGURATIONS / GROUP }, (_, group) => group * GROUP);
const groupOf = (first: number): ModelChoice[] => choices.slice(first, first + GROUP);

/** A configuration with everything in it, for what needs one of a kind. */
const everything: ModelChoice = {
  seed: 8,
  rows: 9,
  itemCount: 61,
  window: 6,
  width: 16,
  blocks: 2,
  heads: 1,
  feedForward: 3,
  dropout: 0,
  isDropping: false,
  items: 'id+text',
  featureWidth: 7,
  contextWidth: 3,
  historyFeatures: { repeats: 2, attributes: 1, text: true, prior: true },
  critic: 'action',
  valueEncoder: 'separate',
  valueHidden: 0,
  mask: 'noRepeat',
  temperature: 0.8,
  next: 'plusOne',
  extraColumns: 1,
  frozen: null,
};

/** The same in small, for what is asked many times. */
const small: ModelChoice = { ...everything, rows: 4, itemCount: 23, width: 8, window: 4, blocks: 1 };

const reference = (spec: ModelSpec) => (store: ParameterStore) => createKernels(spec, store, { kernels: 'reference' });
const fused = (spec: ModelSpec, store: ParameterStore) => createKernels(spec, store, { kernels: 'fused' });

await useBackend('wasm');
const whyNot = whyNotFused();
if (whyNot !== undefined) console.warn(`Not compared: ${whyNot}`);

function whyNotFused(): string | undefined {
  const { spec, makeStore } = buildTrial(everything);
  try {
    fused(spec, makeStore()).dispose();
    return undefined;
  } catch (error) {
    // Only its being absent: any other failure is one.
    if (error instanceof InvalidArgumentError && error.message.includes("`kernels: 'fused'`")) return error.message;
    throw error;
  }
}

beforeAll(async () => {
  await useBackend('wasm');
});

describe.skipIf(whyNot !== undefined)('fused kernels', () => {
  describe(`on ${CONFIGURATIONS} configurations`, () => {
    let kinks = 0;

    it.each(groups)('give the answers and the gradients of the reference, from number %i on', async (first) => {
      for (const choice of groupOf(first)) {
        const trial = buildTrial(choice);
        using kernels = fused(trial.spec, trial.makeStore());
        expect(kernels.kind).toBe('fused');
        const found = differenceOf(askTrial(kernels, trial), trial, reference(trial.spec), TOLERANCE);
        expect(found.error, `'${found.name}' of ${JSON.stringify(choice)}`).toBeLessThan(TOLERANCE);
        if (found.isKink) kinks++;
        await nextTurn();
      }
    });

    it.each([
      ['plain SIMD', () => useBackend('wasm', { simd: 'plain', threads: 1 })],
      ['relaxed SIMD, where the platform has it', () => useBackend('wasm', { threads: 1 })],
    ] as const)('give them with %s', async (_, use) => {
      const { variant } = await use();
      for (const choice of choices.slice(0, GROUP)) {
        const trial = buildTrial(choice);
        using kernels = fused(trial.spec, trial.makeStore());
        expect(kernels.variant).toBe(variant);
        const found = differenceOf(askTrial(kernels, trial), trial, reference(trial.spec), TOLERANCE);
        expect(found.error, `'${found.name}' of ${JSON.stringify(choice)}`).toBeLessThan(TOLERANCE);
        await nextTurn();
      }
      await useBackend('wasm');
    });

    it('give them in memory that is not shared, where growth detaches all views', async () => {
      const engine = new Engine('simd', await compileVariant('simd', false), false);
      for (const choice of choices.slice(GROUP, 2 * GROUP)) {
        const trial = buildTrial(choice);
        using kernels = new FusedKernels(engine, trial.spec, trial.makeStore(), 'wasm');
        const found = differenceOf(askTrial(kernels, trial), trial, reference(trial.spec), TOLERANCE);
        expect(found.error, `'${found.name}' of ${JSON.stringify(choice)}`).toBeLessThan(TOLERANCE);
        await nextTurn();
      }
      expect(engine.bytesInUse).toBe(0);
    });

    it('lie at a kink of a rectifier rarely, so that this explains no mistake away', () => {
      console.log(`configurations at a kink: ${kinks} of ${CONFIGURATIONS}`);
      expect(kinks).toBeLessThan(0.03 * CONFIGURATIONS);
    });

    it.each(groups)('draw and rank as the reference does, from number %i on', async (first) => {
      for (const choice of groupOf(first)) {
        const trial = buildTrial(choice);
        using truth = reference(trial.spec)(trial.makeStore());
        using kernels = fused(trial.spec, trial.makeStore());
        compareDistributions(kernels, truth, trial);
        await nextTurn();
      }
    });

    it('have every kind of model among them', () => {
      const seen = (key: keyof ModelChoice) => new Set(choices.map((choice) => choice[key]));
      const counts = (is: (choice: ModelChoice) => boolean) => choices.filter(is).length;
      expect([...seen('width')].toSorted((a, b) => Number(a) - Number(b))).toEqual([4, 8, 12, 16, 32, 64]);
      expect([...seen('blocks')].toSorted()).toEqual([1, 2, 3]);
      expect([...seen('mask')].toSorted()).toEqual(['all', 'exclude', 'excludeRows', 'noRepeat', 'none']);
      for (const critic of ['none', 'state', 'action']) {
        for (const items of ['id', 'text', 'id+text']) {
          for (const valueEncoder of ['shared', 'separate']) {
            const name = `${critic}, ${items}, ${valueEncoder}`;
            const isIt = (c: ModelChoice) =>
              c.critic === critic && c.items === items && c.valueEncoder === valueEncoder;
            expect(counts(isIt), name).toBeGreaterThan(3);
          }
        }
      }
      expect(counts(({ window }) => window > 100)).toBeGreaterThan(3);
      expect(counts(({ dropout, isDropping }) => isDropping && dropout > 0)).toBeGreaterThan(30);
      expect(counts(({ frozen }) => frozen !== null)).toBeGreaterThan(30);
      expect(counts(({ contextWidth }) => contextWidth > 0)).toBeGreaterThan(50);
      expect(counts(({ historyFeatures }) => historyFeatures?.text === true)).toBeGreaterThan(20);
      expect(counts(({ historyFeatures }) => historyFeatures?.text === 'sparse')).toBeGreaterThan(20);
      expect(counts(({ historyFeatures }) => historyFeatures?.prior === true)).toBeGreaterThan(20);
    });

    it.each(groups.map((first) => first + 3))('take five Adam steps as the reference does: number %i', (number) => {
      for (const choice of choices.slice(number, number + 3)) {
        const trial = buildTrial(choice);
        using kernels = fused(trial.spec, trial.makeStore());
        const got = takeSteps(kernels, trial);
        const found = differenceAround(
          trial,
          (store) => {
            using truth = reference(trial.spec)(store);
            return differenceOfSteps(got, takeSteps(truth, trial));
          },
          1,
        );
        expect(found.error, `${found.name} of ${JSON.stringify(choice)}`).toBeLessThan(1);
      }
    });
  });

  it('leave frozen parameters out of gradient, norm and step', () => {
    for (const prefix of ['encoder/', 'item/id', 'actor/', 'critic/history', 'valueEncoder/block1', 'valueItem/']) {
      const trial = buildTrial({ ...everything, frozen: prefix });
      using kernels = fused(trial.spec, trial.makeStore());
      const before = valuesOf(kernels.store);
      const { gradients } = askTrial(kernels, trial);
      const { gradientNorm } = kernels.step(new Adam({ learningRate: 0.1 }));
      let squares = 0;
      for (const { name, data, frozen } of kernels.store.parameters()) {
        expect(frozen, name).toBe(name.startsWith(prefix));
        const size = (gradients[name] as Float32Array).reduce((sum, x) => sum + x * x, 0);
        squares += size;
        if (frozen) expect([size, data], name).toEqual([0, before[name]]);
        else if (size > 1e-6) expect(data, name).not.toEqual(before[name]);
      }
      expect(relative(gradientNorm, Math.sqrt(squares))).toBeLessThan(1e-5);
    }
  });

  it('add up the gradients of several backward passes, and start from zero after a step', () => {
    const trial = buildTrial(everything);
    using kernels = fused(trial.spec, trial.makeStore());
    const { want, cotangents } = trial.questions.actor;
    kernels.forward(trial.batch, want, trial.options);
    kernels.backward(cotangents);
    const once = gradientsOf(kernels.store);
    kernels.backward(cotangents);
    const twice = Object.fromEntries(Object.entries(once).map(([name, g]) => [name, g.map((x) => 2 * x)]));
    expect(worstOf(gradientsOf(kernels.store), twice, () => 1e-6).error).toBeLessThan(1e-5);
    kernels.step(new Adam());
    for (const { name, gradient } of kernels.store.parameters()) {
      expect(
        gradient.every((x) => x === 0),
        name,
      ).toBe(true);
    }
    expect(() => kernels.backward(cotangents)).toThrow(/changed since/);
  });

  it('draw by the probabilities (chi-square, 100,000 draws of one row), and not uniformly', () => {
    const trial = buildTrial({ ...everything, itemCount: 83, critic: 'state', mask: 'exclude' });
    using truth = reference(trial.spec)(trial.makeStore());
    using kernels = fused(trial.spec, trial.makeStore());
    const { itemCount } = trial.spec;
    const row = (size: number): HistoryBatch =>
      historyBatch(
        Array.from({ length: size }, () => [3, 1, 4, 1, 5]),
        { context: Array.from({ length: size }, () => [0.3, -1, 0.5]) },
      );
    const rows = 1000;
    const batch = row(rows);
    const rng = new Rng('chi-square');
    const counts = new Float64Array(itemCount);
    for (let round = 0; round < 100; round++) {
      for (const action of kernels.sample(batch, rng.uniforms(rows), trial.options).actions) {
        counts[action] = (counts[action] as number) + 1;
      }
    }
    const probabilities = truth.probabilities(row(1), trial.options);
    const left = probabilities.reduce((count, p) => count + (p > 0 ? 1 : 0), 0);
    const chiSquare = (share: (item: number) => number): number =>
      counts.reduce((sum, count, item) => {
        const wanted = 100_000 * share(item);
        // Items that are drawn less than five times tell nothing; the masked must not come at all.
        if (probabilities[item] === 0) expect(count).toBe(0);
        return wanted < 5 ? sum : sum + (count - wanted) ** 2 / wanted;
      }, 0);
    expect(chiSquare((item) => probabilities[item] as number)).toBeLessThan(exceededOnceIn1000(left - 1));
    expect(chiSquare((item) => (probabilities[item] === 0 ? 0 : 1 / left))).toBeGreaterThan(1000);
  });

  it('rank equal scores by the lower index, wherever they stand', () => {
    for (const [itemCount, width] of [
      [37, 4],
      [203, 32],
      [400, 12],
    ] as const) {
      const trial = buildTrial({ ...everything, itemCount, width, items: 'id', mask: 'none', historyFeatures: null });
      const store = trial.makeStore();
      const { data } = store.get('actor/id');
      const bias = store.get('actor/bias').data;
      const kinds = 5;
      for (let item = kinds; item < itemCount; item++) {
        data.copyWithin(item * width, (item % kinds) * width, ((item % kinds) + 1) * width);
        bias[item] = bias[item % kinds] as number;
      }
      store.touch();
      using kernels = fused(trial.spec, store);
      const k = Math.min(itemCount, 3 * Math.ceil(itemCount / kinds));
      for (const batch of [trial.batch, first(trial.batch)]) {
        const { items, logProb } = kernels.topK(batch, k, trial.options);
        for (let row = 0; row < batch.size; row++) {
          const ranked = [...items.subarray(row * k, (row + 1) * k)];
          const values = logProb.subarray(row * k, (row + 1) * k);
          for (let place = 1; place < k; place++) {
            expect(values[place]).toBeLessThanOrEqual(values[place - 1] as number);
            if (values[place] !== values[place - 1]) continue;
            expect(ranked[place], `place ${place} of row ${row}`).toBeGreaterThan(ranked[place - 1] as number);
          }
          // All items of the best kind come first, then all of the second.
          const sizeOf = (kind: number) => Math.floor((itemCount - 1 - kind) / kinds) + 1;
          const best = (ranked[0] as number) % kinds;
          expect(new Set(ranked.slice(0, sizeOf(best)).map((item) => item % kinds))).toEqual(new Set([best]));
        }
      }
    }
  });

  it('refuse to rank more than the mask leaves, in the words of the reference', () => {
    const trial = buildTrial(everything);
    const left = trial.allowed.map((row) => row.filter(Boolean).length);
    const k = Math.max(...left);
    expect(Math.min(...left)).toBeLessThan(k);
    expectSameError(trial, (kernels) => kernels.topK(trial.batch, k, trial.options), /at most .* row .*/);
  });

  describe('next', () => {
    const window = 6;
    const histories = [[], [], [7], [1, 2, 3], [1, 2, 3, 4, 5], [1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6, 7, 8], [9, 9]];
    const cases: readonly (readonly [string, readonly (readonly number[])[]])[] = [
      ['one item more in every row', histories.map((history, row) => [...history, 20 + row])],
      ['the same histories', histories],
      ['none at all', histories.map(() => [])],
      ['one item less', histories.map((history) => history.slice(0, -1))],
      ['one more, but another beginning', histories.map((history, row) => [30, ...history.slice(1), 20 + row])],
      ['two items more', histories.map((history, row) => [...history, 20 + row, 40])],
      [
        'one item more in every second row',
        histories.map((history, row) => (row % 2 === 0 ? [...history, 20 + row] : [40, 41])),
      ],
      ['the window moved on by one', histories.map((history, row) => [...history.slice(-window + 1), 20 + row])],
    ];
    for (const critic of ['state', 'action'] as const) {
      it.each(cases)(`is as a forward of its own, critic ${critic}: %s`, (_, next) => {
        const trial = buildTrial({
          ...everything,
          window,
          critic,
          valueEncoder: 'shared',
          valueHidden: 5,
          contextWidth: 0,
        });
        using truth = reference(trial.spec)(trial.makeStore());
        using kernels = fused(trial.spec, trial.makeStore());
        const batch = historyBatch(histories);
        const options = { mask: { noRepeat: true, exclude: Int32Array.of(50) }, temperature: 0.7 };
        const asked = critic === 'state' ? { value: true as const } : { expectedScore: true as const };
        const question = { ...asked, maxScore: 'actor' as const };
        const want = { entropy: true as const, ...asked };
        const { next: got, ...now } = kernels.forward(
          batch,
          { ...want, next: { histories: historyBatch(next), ...question } },
          options,
        );
        expectNear(named(got), named(truth.forward(historyBatch(next), question, options)));
        expectNear(named(now), named(truth.forward(batch, want, options)));
        const ones = new Float32Array(batch.size).fill(1);
        kernels.backward({ entropy: ones });
        truth.backward({ entropy: ones });
        expectNear(gradientsOf(kernels.store), gradientsOf(truth.store));
      });
    }

    it('is told from the wrong histories', () => {
      const trial = buildTrial({ ...everything, window, critic: 'state', contextWidth: 0 });
      using truth = reference(trial.spec)(trial.makeStore());
      const values = cases.map(([, next]) => truth.forward(historyBatch(next), { value: true }).value);
      // V reads the window alone, which the first and the last have in common.
      expect(values.pop()).toEqual(values[0]);
      for (const [i, some] of values.entries()) {
        for (const other of values.slice(i + 1)) {
          expect(worstOf({ value: some }, { value: other }, () => 0.1).error).toBeGreaterThan(100 * TOLERANCE);
        }
      }
    });
  });

  it('stay finite and right at logits of about 80 and -80, and at temperatures near 0', () => {
    for (const [scale, temperature] of [
      [1, 1],
      [1, 1e-6],
      [-1, 0.5],
    ] as const) {
      const trial = buildTrial({ ...everything, temperature });
      const scaled = (): ParameterStore => {
        const store = trial.makeStore();
        for (const name of ['actor/bias', 'critic/bias']) {
          store.get(name).data.forEach((value, item, data) => {
            data[item] = value + scale * (item % 3 === 0 ? 80 : -80);
          });
        }
        for (const name of ['actor/id', 'critic/id']) {
          const { data } = store.get(name);
          for (let i = 0; i < data.length; i++) data[i] = (data[i] as number) * 4;
        }
        store.touch();
        return store;
      };
      const loud: Trial = { ...trial, makeStore: scaled };
      using truth = reference(trial.spec)(scaled());
      using kernels = fused(trial.spec, scaled());
      const got = askTrial(kernels, loud);
      for (const [name, values] of [...Object.entries(got.outputs), ...Object.entries(got.gradients)]) {
        expect(values.every(Number.isFinite), name).toBe(true);
      }
      const logits = truth.forward(
        trial.batch,
        { scoresOf: { head: 'actor', items: everyItem(trial), width: trial.spec.itemCount } },
        trial.options,
      ).scores;
      expect(Math.max(...logits)).toBeGreaterThan(80);
      expect(Math.min(...logits)).toBeLessThan(-80);
      // At temperature 1e-6 a rounding error of a logit is multiplied by a million.
      if (temperature > 1e-3) {
        const found = differenceOf(got, loud, reference(trial.spec), TOLERANCE);
        expect(found.error, found.name).toBeLessThan(TOLERANCE);
      }
      const { actions, logProb } = kernels.sample(trial.batch, new Rng(1).uniforms(trial.batch.size), trial.options);
      expect(logProb.every((x) => Number.isFinite(x) && x <= 1e-6)).toBe(true);
      actions.forEach((item, row) => {
        expect(trial.allowed[row]?.[item]).toBe(true);
      });
    }
  });

  it('give NaN where the parameters do, and refuse to draw from it', () => {
    const trial = buildTrial({ ...everything, critic: 'state' });
    const store = trial.makeStore();
    store.get('actor/id').data[40] = Number.NaN;
    store.touch();
    using kernels = fused(trial.spec, store);
    const { entropy } = kernels.forward(trial.batch, { entropy: true }, { temperature: 0.5 });
    expect(entropy.every(Number.isNaN)).toBe(true);
    const { size } = trial.batch;
    for (const call of [
      () => kernels.sample(trial.batch, new Float64Array(size)),
      () => kernels.topK(trial.batch, 2),
      () => kernels.topK(first(trial.batch), 2),
      () => kernels.probabilities(trial.batch),
    ]) {
      expect(call).toThrow(InvalidArgumentError);
      expect(call).toThrow(/not finite/);
    }
  });

  it('refuse a row of which the mask leaves nothing, and a masked action, in the words of the reference', () => {
    const trial = buildTrial({ ...everything, mask: 'none' });
    const { batch, spec } = trial;
    const all = Array.from({ length: spec.itemCount }, (_, item) => item);
    const full: ScoreOptions = { mask: { excludeRows: all.slice(0, batch.size).map((row) => (row === 4 ? all : [])) } };
    const message = /excludes all 61 items of row 4/;
    expectSameError(trial, (kernels) => kernels.forward(batch, { entropy: true }, full), message);
    expectSameError(trial, (kernels) => kernels.sample(batch, new Float64Array(batch.size), full), message);
    expectSameError(trial, (kernels) => kernels.topK(batch, 1, full), message);
    expectSameError(trial, (kernels) => kernels.probabilities(batch, full), message);
    const actions = new Int32Array(batch.size).fill(17);
    const masked: ScoreOptions = { mask: { exclude: Int32Array.of(3, 17) } };
    expectSameError(trial, (kernels) => kernels.forward(batch, { logProbOf: actions }, masked), /got 17 in row 0/);
  });

  it('give the same bits on one thread and on two', async () => {
    const big: ModelChoice[] = [
      { ...everything, rows: 128, itemCount: 2_000, width: 32, window: 12, dropout: 0.2, isDropping: true },
      { ...everything, rows: 70, itemCount: 997, width: 64, blocks: 3, critic: 'state', valueHidden: 31, mask: 'all' },
      { ...everything, rows: 1, itemCount: 5_000, width: 16, historyFeatures: null },
    ];
    const tested = [...big, ...choices.slice(0, 12)].map(buildTrial);
    const before = currentBackend()?.backend;
    const run = async (threads: number): Promise<string[]> => {
      await useBackend('wasm', { threads });
      const bits: string[] = [];
      for (const trial of tested) {
        // Workers start while the event loop runs.
        await nextTurn();
        using kernels = fused(trial.spec, trial.makeStore());
        expect(kernels.threads).toBe(threads);
        const { size } = trial.batch;
        const adam = new Adam({ learningRate: 0.01 });
        const rounds = [0, 1, 2].map(() => {
          const answers = askTrial(kernels, trial);
          return [answers, kernels.step(adam)];
        });
        bits.push(
          bitsOf([
            rounds,
            kernels.sample(trial.batch, new Rng(2).uniforms(size), trial.options),
            kernels.topK(trial.batch, 3, trial.options),
            kernels.probabilities(trial.batch, trial.options),
            valuesOf(kernels.store),
          ]),
        );
      }
      expect(currentEngine()?.workers).toBe(threads - 1);
      return bits;
    };
    const two = await run(2);
    expect(new Set(two).size).toBe(tested.length);
    expect(await run(1)).toEqual(two);
    expect(await run(3)).toEqual(two);
    await useBackend('wasm');
    expect(currentBackend()?.backend).toBe(before);
  });
});

describe('what the fused form lacks', () => {
  const own: StateEncoder = {
    ...sasRec({ width: 8, historyLength: 4, dropout: 0.3 }),
    name: 'mine',
  };
  const lacking: readonly (readonly [string, Partial<ModelSpec>])[] = [
    ['the mean encoder', { encoder: mean({ width: 8, historyLength: 4 }) }],
    ['an encoder of the user', { encoder: own }],
    ['an encoder of the user with a critic of its own', { encoder: own, valueEncoder: 'separate' }],
    ['a width that is no multiple of 4', { encoder: sasRec({ width: 6, heads: 3, historyLength: 4 }) }],
    ['a feed-forward width that is none', { encoder: sasRec({ width: 8, feedForward: 7, historyLength: 4 }) }],
    ['history features of the user', { historyFeatures: ownPlanes(small.itemCount) }],
  ];

  it.each(lacking)('is computed all the same, as the reference does: %s', (_, change) => {
    for (const critic of ['state', 'action'] as const) {
      const base = buildTrial({ ...small, critic, valueEncoder: 'shared', valueHidden: 5 });
      const spec: ModelSpec = { ...base.spec, ...change };
      const trial: Trial = {
        ...base,
        spec,
        options: { ...base.options, dropoutSeed: 5 },
        makeStore: () => scattered(spec),
      };
      using kernels = createKernels(spec, trial.makeStore());
      expect(kernels.kind).not.toBe('fused');
      const found = differenceOf(askTrial(kernels, trial), trial, reference(spec), TOLERANCE);
      expect(found.error, found.name).toBeLessThan(TOLERANCE);
      using truth = reference(spec)(trial.makeStore());
      compareDistributions(kernels, truth, trial);
    }
  });
});

describe('a wrong kernel is found out', () => {
  it('by any of its parameters', () => {
    for (const critic of ['state', 'action'] as const) {
      const trial = buildTrial({ ...small, critic, valueHidden: 5 });
      const answersAt = (store: ParameterStore) => {
        using kernels = createKernels(trial.spec, store);
        return askTrial(kernels, trial);
      };
      const right = answersAt(trial.makeStore());
      expect(worstDifference(answersAt(trial.makeStore()), right).error).toBeLessThan(TOLERANCE);
      for (const name of trial.makeStore().names) {
        const store = trial.makeStore();
        const noise = new Rng('perturbed').fork(name);
        const { data } = store.get(name);
        for (let i = 0; i < data.length; i++) data[i] = (data[i] as number) + 0.01 * noise.normal();
        store.touch();
        expect(worstDifference(answersAt(store), right).error, name).toBeGreaterThan(5 * TOLERANCE);
      }
    }
  });

  it('by another dropout, another mask, another temperature, other cotangents, other next histories', () => {
    const trial = buildTrial({ ...small, dropout: 0.35, isDropping: true });
    const errorOf = (change: Partial<Trial>): number => {
      using kernels = createKernels(trial.spec, trial.makeStore());
      const got = askTrial(kernels, { ...trial, ...change });
      return differenceOf(got, trial, reference(trial.spec), TOLERANCE).error;
    };
    expect(errorOf({})).toBeLessThan(TOLERANCE);
    const { actor, critic } = trial.questions;
    const wrong: readonly Partial<Trial>[] = [
      { options: { ...trial.options, dropoutSeed: (trial.options.dropoutSeed as number) + 1 } },
      { options: { ...trial.options, temperature: 0.81 } },
      { options: { ...trial.options, mask: { noRepeat: true, exclude: Int32Array.of(unusedItem(trial)) } } },
      { next: { ...trial.next, lengths: trial.next.lengths.map((length) => Math.max(0, length - 1)) } },
      {
        questions: {
          actor: { ...actor, cotangents: { ...actor.cotangents, entropy: new Float32Array(trial.batch.size) } },
          ...(critic === undefined ? {} : { critic }),
        },
      },
    ];
    for (const change of wrong) {
      expect(errorOf(change), Object.keys(change)[0]).toBeGreaterThan(5 * TOLERANCE);
    }
  });
});

/** Lets what waits for the event loop run: the reports of the tests, above all. */
const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

const relative = (got: number, wanted: number): number => Math.abs(got - wanted) / Math.max(Math.abs(wanted), 1e-9);

const named = (arrays: object) => arrays as Readonly<Record<string, Float32Array>>;

function expectNear(got: Readonly<Record<string, Float32Array>>, wanted: Readonly<Record<string, Float32Array>>): void {
  const { error, name } = worstOf(got, wanted, (values) => 0.01 * Math.sqrt(values.length));
  expect(error, name).toBeLessThan(TOLERANCE);
}

function first(batch: HistoryBatch): HistoryBatch {
  return { ...batch, size: 1 };
}

function everyItem({ batch, spec }: Trial): Int32Array {
  return Int32Array.from({ length: batch.size * spec.itemCount }, (_, i) => i % spec.itemCount);
}

/** An item that no question is about and that no row excludes. */
function unusedItem({ allowed, spec, questions }: Trial): number {
  const asked = new Set(questions.actor.want.logProbOf);
  for (let item = 0; item < spec.itemCount; item++) {
    if (!asked.has(item) && allowed.every((row) => row[item] === true)) return item;
  }
  throw new Error('Every item is used');
}

/** Parameters of a model, all random. */
function scattered(spec: ModelSpec): ParameterStore {
  const store = initParameters(spec, new Rng('scattered'));
  const noise = new Rng('scatter');
  for (const { data } of store.parameters()) {
    for (let i = 0; i < data.length; i++) data[i] = (data[i] as number) + 0.25 * noise.normal();
  }
  store.touch();
  return store;
}

function ownPlanes(itemCount: number): NonNullable<ModelSpec['historyFeatures']> {
  return {
    names: ['wave'],
    planes: ({ size, lengths }) =>
      Float32Array.from({ length: size * itemCount }, (_, i) =>
        Math.sin((lengths[Math.floor(i / itemCount)] as number) + (i % itemCount)),
      ),
  };
}

/** The error of the reference, and that of the kernels: the same words. */
function expectSameError(trial: Trial, call: (kernels: Kernels) => unknown, message: RegExp): void {
  const errors = [reference(trial.spec)(trial.makeStore()), fused(trial.spec, trial.makeStore())].map((kernels) => {
    try {
      call(kernels);
    } catch (error) {
      return error;
    } finally {
      kernels.dispose();
    }
    return undefined;
  });
  for (const error of errors) expect(error).toBeInstanceOf(InvalidArgumentError);
  expect((errors[0] as Error).message).toMatch(message);
  expect((errors[1] as Error).message).toBe((errors[0] as Error).message);
}

/** The value that a chi-square of so many degrees of freedom exceeds once in 1,000 (Wilson and Hilferty 1931). */
function exceededOnceIn1000(degrees: number): number {
  const spread = 2 / (9 * degrees);
  return degrees * (1 - spread + 3.0902 * Math.sqrt(spread)) ** 3;
}

/** Draws, rankings, probabilities and values of two kernels. */
function compareDistributions(kernels: Kernels, truth: Kernels, trial: Trial): void {
  const { batch, allowed, options, spec } = trial;
  const { itemCount } = spec;
  const about = JSON.stringify(trial.choice);
  const wanted = truth.probabilities(batch, options);
  const got = kernels.probabilities(batch, options);
  for (let i = 0; i < wanted.length; i++) {
    if (Math.abs((got[i] as number) - (wanted[i] as number)) > 1e-5 || (wanted[i] === 0 && got[i] !== 0)) {
      expect(got[i], `probability ${i} of ${about}`).toBe(wanted[i]);
    }
  }

  const uniforms = new Rng('uniforms').fork(trial.choice.seed).uniforms(batch.size);
  for (const edge of [undefined, 0, 1 - 2 ** -53]) {
    const drawn = edge === undefined ? uniforms : uniforms.map(() => edge);
    const withValue = spec.critic === 'state' ? { ...options, value: true as const } : options;
    const ours = kernels.sample(batch, drawn, withValue);
    const theirs = truth.sample(batch, drawn, withValue);
    expect(Object.keys(ours).toSorted()).toEqual(Object.keys(theirs).toSorted());
    for (let row = 0; row < batch.size; row++) {
      const action = ours.actions[row] as number;
      const u = drawn[row] as number;
      expect(allowed[row]?.[action], `row ${row} of ${about}`).toBe(true);
      if (action !== theirs.actions[row]) {
        // Only where u lies at a boundary of the cumulative masses: within 1e-5 of the interval of the item drawn.
        const mass = wanted.subarray(row * itemCount, (row + 1) * itemCount);
        const before = mass.subarray(0, action).reduce((sum, p) => sum + p, 0);
        const after = before + (mass[action] as number);
        expect(u, `row ${row} of ${about}`).toBeGreaterThan(before - 1e-5);
        expect(u, `row ${row} of ${about}`).toBeLessThan(after + 1e-5);
      }
    }
    const { logProb } = truth.forward(batch, { logProbOf: ours.actions }, options);
    expectNear({ logProb: ours.logProb }, { logProb });
    if (ours.value !== undefined) expectNear({ value: ours.value }, { value: theirs.value as Float32Array });
  }

  const most = Math.min(...allowed.map((row) => row.filter(Boolean).length));
  const k = Math.max(1, Math.min(most, 1 + (trial.choice.seed % 12)));
  const ours = kernels.topK(batch, k, options);
  const theirs = truth.topK(batch, k, options);
  expectNear({ logProb: ours.logProb }, { logProb: theirs.logProb });
  for (let at = 0; at < ours.items.length; at++) {
    const [item, other] = [ours.items[at] as number, theirs.items[at] as number];
    if (item === other) continue;
    // Another item only where the two are equally good but for rounding.
    const row = Math.floor(at / k) * itemCount;
    const [p, q] = [wanted[row + item] as number, wanted[row + other] as number];
    expect(Math.abs(Math.log(p / q)), `place ${at} of ${about}`).toBeLessThan(1e-4);
  }
  const alone = kernels.topK(first(batch), k, options.mask?.excludeRows ? {} : options);
  const aloneTruth = truth.topK(first(batch), k, options.mask?.excludeRows ? {} : options);
  expectNear({ logProb: alone.logProb }, { logProb: aloneTruth.logProb });
}

interface Steps {
  readonly norms: Float32Array;
  readonly values: Named;
  readonly moves: Named;
}

/** Five steps of Adam, each at another learning rate, on the questions of the trial. */
function takeSteps(kernels: Kernels, trial: Trial): Steps {
  const start = valuesOf(kernels.store);
  const adam = new Adam({ epsilon: 1e-4, clipNorm: 0.7, multipliers: { 'actor/history': 5, 'item/': 0.5 } });
  const norms = Float32Array.from([0.004, 0.01, 0.002, 0, 0.005], (learningRate) => {
    askTrial(kernels, trial);
    adam.learningRate = learningRate;
    const { gradientNorm, applied } = kernels.step(adam);
    expect(applied).toBe(true);
    return gradientNorm;
  });
  const values = valuesOf(kernels.store);
  const moves = Object.fromEntries(
    Object.entries(values).map(([name, now]) => [name, now.map((x, i) => x - (start[name]?.[i] as number))]),
  );
  return { norms, values, moves };
}

/**
 * How far two walks are apart, in tolerances: values by 1e-4; norms by 1e-4; moves by 1e-2, for Adam divides the numbers of
 * a gradient by their own size, rounding errors included (below 1e-4 a step, nothing is asked of them).
 */
function differenceOfSteps(got: Steps, wanted: Steps): Difference {
  const parts = [
    { ...worstOf({ norms: got.norms }, { norms: wanted.norms }, () => 0), tolerance: TOLERANCE },
    { ...worstOf(got.values, wanted.values, () => 0), tolerance: TOLERANCE },
    { ...worstOf(got.moves, wanted.moves, (move) => 1e-4 * Math.sqrt(move.length)), tolerance: 1e-2 },
  ];
  const errors = parts.map(({ error, name, tolerance }) => ({ error: error / tolerance, name }));
  return errors.reduce((worst, error) => (error.error > worst.error ? error : worst));
}
