/**
 * The kernels against the float64 loop model: outputs, gradients of every parameter, draws, rankings and Adam, by the
 * reference on cpu and wasm and by the engine; wrong models must be found out; and nothing may leak.
 */
import * as tf from '@tensorflow/tfjs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { useBackend } from '../../src/compute/backend.js';
import { createKernels } from '../../src/compute/create-kernels.js';
import { currentEngine } from '../../src/compute/fused/engine.js';
import type { Cotangents, Kernels, Want } from '../../src/compute/kernels.js';
import { Adam } from '../../src/compute/optimiser.js';
import { Rng } from '../../src/foundation/rng.js';
import type { Case } from './cases.js';
import { buildCase, CASES, caseNamed, FUSED_CASES, optionsOf, weightsOf } from './cases.js';
import type { Arrays } from './finite-differences.js';
import { Float64Adam, finiteDifferences, globalNorm, slopeAlong, worstError } from './finite-differences.js';
import type { ModelDescription } from './float64-model.js';
import { scoreRows } from './float64-model.js';
import type { Answers, Questions } from './questions.js';
import { answer, askEverything } from './questions.js';

const TOLERANCE = 1e-4;

/** The sum of cotangents times answers, over all questions, as a function of the weights; Q inside E_pi[Q] is held. */
function objectiveOf(test: Case, weights: Arrays, questions: Questions, model: ModelDescription = test.model) {
  const heldQ = scoreRows(model, weights, test.rows).q;
  return (): number => {
    const scores = scoreRows(model, weights, test.rows);
    let total = 0;
    for (const { want, cotangents } of asked(questions)) {
      const answers = answer(test, scores, want, heldQ);
      for (const [name, cotangent] of Object.entries(cotangents as Record<string, Float32Array>)) {
        cotangent.forEach((factor, i) => {
          total += factor * (answers[name]?.[i] as number);
        });
      }
    }
    return total;
  };
}

/** Its gradient by finite differences. */
function modelGradients(test: Case, weights: Arrays, questions: Questions, model: ModelDescription = test.model) {
  return finiteDifferences(weights, objectiveOf(test, weights, questions, model));
}

function asked({ actor, critic }: Questions) {
  return critic === undefined ? [actor] : [actor, critic];
}

/** Forward and backward of all questions; gradients add up in the store. */
function runKernels(kernels: Kernels, test: Case, questions: Questions): Answers[] {
  return asked(questions).map(({ want, cotangents }) => {
    // A batch may be a live view of an environment that moves on before the gradient is asked for.
    const batch = { ...test.batch, items: test.batch.items.slice(), lengths: test.batch.lengths.slice() };
    const scores = kernels.forward(batch, want, optionsOf(test));
    batch.items.fill(0);
    batch.lengths.fill(0);
    kernels.probabilities(batch);
    kernels.backward(cotangents);
    return scores as Answers;
  });
}

function expectClose(
  got: Readonly<Record<string, ArrayLike<number>>>,
  wanted: Readonly<Record<string, ArrayLike<number>>>,
  floor = 0,
) {
  const { error, name } = worstError(got, wanted, floor);
  expect(error, `relative error of '${name}'`).toBeLessThan(TOLERANCE);
}

function gradientsOf(test: Case): Record<string, Float32Array> {
  return Object.fromEntries(test.store.parameters().map(({ name, gradient }) => [name, gradient]));
}

// The loop model does not depend on the backend: its gradients are computed once for both.
const remembered = new Map<string, { questions: Questions; gradients: Record<string, Float64Array> }>();
function expected(test: Case) {
  let known = remembered.get(test.name);
  if (known === undefined) {
    const questions = askEverything(test, new Rng('questions').fork(test.name));
    known = { questions, gradients: modelGradients(test, weightsOf(test), questions) };
    remembered.set(test.name, known);
  }
  return known;
}

const ADAM = { learningRate: 0.02, beta1: 0.8, beta2: 0.95, epsilon: 1e-6, clipNorm: 2 };
const ADAM_CASES = ['2 blocks, 2 heads, ids and text, Q on the shared encoder', '2 blocks, V with a hidden layer'];
const rememberedSteps = new Map<string, { steps: { questions: Questions; norm: number }[]; weights: Arrays }>();
/** Five Adam steps of the loop model, each on other questions. */
function expectedSteps(name: string) {
  let known = rememberedSteps.get(name);
  if (known === undefined) {
    const test = caseNamed(name);
    const weights = weightsOf(test);
    const adam = new Float64Adam(ADAM);
    const steps = Array.from({ length: 5 }, (_, step) => {
      const questions = askEverything(test, new Rng('adam').fork(name).fork(step));
      return { questions, norm: adam.step(weights, modelGradients(test, weights, questions)) };
    });
    known = { steps, weights };
    rememberedSteps.set(name, known);
  }
  return known;
}

/** Which kernels are checked, on which cases. */
const SETUPS = [
  { title: 'reference kernels on cpu', backend: 'cpu', kernels: 'reference', suffix: '', cases: CASES },
  { title: 'reference kernels on wasm', backend: 'wasm', kernels: 'reference', suffix: '', cases: CASES },
  { title: 'fused kernels', backend: 'wasm', kernels: 'fused', suffix: ', fused', cases: FUSED_CASES },
] as const;

await useBackend('wasm');
const hasEngine = currentEngine() !== undefined;
if (!hasEngine) console.warn('Not checked: fused kernels, for this platform has no engine');

for (const { title, backend, kernels: kind, suffix, cases } of SETUPS) {
  describe.skipIf(kind === 'fused' && !hasEngine)(title, () => {
    beforeAll(async () => {
      expect((await useBackend(backend)).backend).toBe(backend);
    });
    const kernelsOf = (test: Case): Kernels => createKernels(test.spec, test.store, { kernels: kind });

    describe.each(cases)('$name', (options) => {
      const test = buildCase(options);
      const weights = weightsOf(test);
      let kernels: Kernels;
      beforeAll(() => {
        kernels = kernelsOf(test);
        expect(kernels.backend).toBe(backend);
        expect(kernels.kind).toBe(kind === 'fused' && test.spec.encoder.form === undefined ? 'hybrid' : kind);
      });
      afterAll(() => kernels.dispose());

      it('gives the scores and the gradient of every parameter', () => {
        const { questions, gradients } = expected(test);
        const [actor, critic] = runKernels(kernels, test, questions);
        const truth = scoreRows(test.model, weights, test.rows);
        expectClose(actor as Answers, answer(test, truth, questions.actor.want));
        if (questions.critic) expectClose(critic as Answers, answer(test, truth, questions.critic.want));
        expectClose(gradientsOf(test), gradients, 1e-5 * globalNorm(gradients));
      });

      it('gives the probabilities, draws from them and ranks by them', () => {
        const { probability, logProb } = scoreRows(test.model, weights, test.rows);
        const rows = kernels.probabilities(test.batch, optionsOf(test));
        expectClose({ rows }, { rows: probability.flat() });
        probability.flat().forEach((p, i) => {
          if (p === 0) expect(rows[i]).toBe(0);
        });
        for (const u of [0, 0.07, 0.31, 0.5, 0.77, 0.93, 1 - 2 ** -53]) {
          const drawn = kernels.sample(test.batch, new Float64Array(test.batch.size).fill(u), optionsOf(test));
          probability.forEach((row, b) => {
            const action = drawn.actions[b] as number;
            expect(row[action]).toBeGreaterThan(0);
            // The draw's interval of cumulative mass holds u, to float32's digits.
            const before = row.slice(0, action).reduce((sum, p) => sum + p, 0);
            expect(before).toBeLessThan(u + 1e-5);
            expect(before + (row[action] as number)).toBeGreaterThan(u - 1e-5);
            expect(drawn.logProb[b]).toBeCloseTo(logProb[b]?.[action] as number, 4);
          });
        }
        const k = Math.min(3, ...test.rows.allowed.map((row) => row.filter(Boolean).length));
        const top = kernels.topK(test.batch, k, optionsOf(test));
        logProb.forEach((row, b) => {
          const best = row.map((_, a) => a).toSorted((a, c) => (row[c] as number) - (row[a] as number));
          expect([...top.items.subarray(b * k, b * k + k)]).toEqual(best.slice(0, k));
          best.slice(0, k).forEach((a, j) => {
            expect(top.logProb[b * k + j]).toBeCloseTo(row[a] as number, 4);
          });
        });
      });
    });

    it.each(ADAM_CASES)('takes five Adam steps as the loop model does: %s', (name) => {
      const test = caseNamed(`${name}${suffix}`);
      const start = weightsOf(test);
      const { steps, weights } = expectedSteps(`${name}${suffix}`);
      const adam = new Adam(ADAM);
      const kernels = kernelsOf(test);
      for (const { questions, norm } of steps) {
        runKernels(kernels, test, questions);
        const { gradientNorm, applied } = kernels.step(adam);
        expect(applied).toBe(true);
        expect(gradientNorm / norm).toBeCloseTo(1, 4);
        expect(norm, 'the clip must have work to do').toBeGreaterThan(ADAM.clipNorm);
      }
      kernels.dispose();
      expect(adam.updates).toBe(5);
      const moves = (now: Readonly<Record<string, ArrayLike<number>>>) =>
        Object.fromEntries(
          Object.entries(start).map(([key, before]) => [key, before.map((x, i) => (now[key]?.[i] as number) - x)]),
        );
      const stored = Object.fromEntries(test.store.parameters().map(({ name: key, data }) => [key, data]));
      expectClose(stored, weights);
      expectClose(moves(stored), moves(weights), 1e-3);
    });

    it.each(['encoder/', 'item/', 'actor/', 'value/'])('leaves frozen %s out of gradient, clip and step', (prefix) => {
      const test = caseNamed(`2 blocks, V with a hidden layer${suffix}`);
      const { questions, gradients } = expected(test);
      const before = weightsOf(test);
      test.store.freeze(prefix);
      const kernels = kernelsOf(test);
      runKernels(kernels, test, questions);
      const isMoving = ([name]: [string, unknown]) => !name.startsWith(prefix);
      const moving = Object.fromEntries(Object.entries(gradients).filter(isMoving));
      expectClose(
        Object.fromEntries(Object.entries(gradientsOf(test)).filter(isMoving)),
        moving,
        1e-5 * globalNorm(moving),
      );
      const { gradientNorm } = kernels.step(new Adam({ learningRate: 0.1 }));
      kernels.dispose();
      expect(gradientNorm / globalNorm(moving)).toBeCloseTo(1, 4);
      for (const { name, data, frozen } of test.store.parameters()) {
        expect(frozen).toBe(name.startsWith(prefix));
        if (frozen) expect([...data], name).toEqual([...(before[name] as Float64Array)]);
        else if (globalNorm({ gradient: gradients[name] as Float64Array }) > 1e-3) {
          expect([...data], name).not.toEqual([...(before[name] as Float64Array)]);
        }
      }
    });

    it('agrees at sizes beyond one block of the matrix kernels, along the gradient and two random directions', () => {
      const rng = new Rng('large');
      const test = buildCase({
        name: 'large',
        encoder: { width: 36, heads: 3, blocks: 2, historyLength: 9 },
        items: 'id+text',
        itemCount: 67,
        featureWidth: 41,
        critic: 'action',
        hasContext: true,
        ...(kind === 'fused' ? { feedForward: 40 } : { hasPlanes: true }),
        mask: { noRepeat: true },
        spread: 0.15,
        histories: Array.from({ length: 19 }, (_, b) => Array.from({ length: b % 13 }, () => rng.integer(67))),
      });
      const questions = askEverything(test, rng);
      const kernels = kernelsOf(test);
      const [actor, critic] = runKernels(kernels, test, questions);
      kernels.dispose();
      const weights = weightsOf(test);
      const truth = scoreRows(test.model, weights, test.rows);
      expectClose(actor as Answers, answer(test, truth, questions.actor.want));
      expectClose(critic as Answers, answer(test, truth, (questions.critic as Questions['actor']).want));
      const objective = objectiveOf(test, weights, questions);
      for (const { name, gradient } of test.store.parameters()) {
        const size = globalNorm({ gradient: Float64Array.from(gradient) });
        expect(size, name).toBeGreaterThan(0);
        const random = () => Float64Array.from(gradient, () => rng.normal() / Math.sqrt(gradient.length));
        for (const direction of [Float64Array.from(gradient, (x) => x / size), random(), random()]) {
          const slope = slopeAlong(weights[name] as Float64Array, direction, objective);
          const claimed = gradient.reduce((sum, x, i) => sum + x * (direction[i] as number), 0);
          expect(Math.abs(claimed - slope), name).toBeLessThan(TOLERANCE * size);
        }
      }
    });

    it('stays finite beside a mask at temperatures near 0', () => {
      const test = caseNamed(`no repeats over the whole history, beyond a window of 2${suffix}`);
      const kernels = kernelsOf(test);
      const options = { ...optionsOf(test), temperature: 1e-12 };
      const { items } = kernels.topK(test.batch, 1, options);
      const scores = kernels.forward(test.batch, { logProbOf: items, entropy: true, expectedScore: true }, options);
      const ones = new Float32Array(test.batch.size).fill(1);
      kernels.backward({ logProb: ones, entropy: ones, expectedScore: ones });
      kernels.dispose();
      const q = scoreRows(test.model, weightsOf(test), test.rows).q;
      items.forEach((item, b) => {
        expect(scores.logProb[b]).toBeCloseTo(0, 6);
        expect(scores.entropy[b]).toBeCloseTo(0, 6);
        expect(scores.expectedScore[b]).toBeCloseTo(q[b]?.[item] as number, 4);
      });
      for (const { name, gradient } of test.store.parameters())
        expect(gradient.every(Number.isFinite), name).toBe(true);
    });

    it('differentiates a training forward under the dropout it drew', () => {
      const test = caseNamed(`2 blocks, 2 heads, ids and text, Q on the shared encoder${suffix}`);
      const { want, cotangents } = askEverything(test, new Rng('dropout')).actor;
      const { expectedScore: _, ...asking } = want;
      const { expectedScore: __, ...sent } = cotangents;
      const kernels = kernelsOf(test);
      const objective = (dropoutSeed?: number): number => {
        const scores = kernels.forward(test.batch, asking, dropoutSeed === undefined ? {} : { dropoutSeed }) as Answers;
        return Object.entries(sent as Answers).reduce(
          (total, [name, cotangent]) =>
            total + Array.from(cotangent).reduce((sum, x, i) => sum + x * (scores[name]?.[i] as number), 0),
          0,
        );
      };
      expect(objective(3)).toBe(objective(3));
      expect(objective(3)).not.toBeCloseTo(objective(4), 2);
      expect(objective(3)).not.toBeCloseTo(objective(), 2);
      objective(3);
      kernels.backward(sent);
      const slope = (seed: number) => {
        const weight = test.store.get('item/projection');
        const direction = weight.gradient.map((x) => x / globalNorm({ x: Float64Array.from(weight.gradient) }));
        const start = weight.data.slice();
        const at = (h: number): number => {
          weight.data.forEach((_, i) => {
            weight.data[i] = (start[i] as number) + h * (direction[i] as number);
          });
          test.store.touch();
          return objective(seed);
        };
        // Float32 kernels: a step of 1e-2 keeps the digits, three figures are what it can show.
        const result = (at(1e-2) - at(-1e-2)) / 2e-2;
        weight.data.set(start);
        return result / globalNorm({ x: Float64Array.from(weight.gradient) });
      };
      expect(slope(3)).toBeCloseTo(1, 2);
      expect(Math.abs(slope(4) - 1)).toBeGreaterThan(0.05);
      kernels.dispose();
    });
  });
}

describe('a wrong model is found out', () => {
  const faults: readonly { fault: NonNullable<ModelDescription['fault']>; on: string }[] = [
    { fault: 'acausal', on: '2 blocks, V with a hidden layer' },
    { fault: 'firstPosition', on: '1 block, ids, actor alone' },
    { fault: 'mixedHeads', on: '1 block, 2 heads, linear V on the shared encoder' },
    { fault: 'droppedPlane', on: 'ids, Q with an encoder of its own, history features' },
    { fault: 'noTemperature', on: 'context, temperature 0.6' },
    { fault: 'noMask', on: 'no repeats over the whole history, beyond a window of 2' },
    { fault: 'sharedValueEncoder', on: 'ids, Q with an encoder of its own, history features' },
  ];
  beforeAll(async () => {
    await useBackend('wasm');
  });

  it.each(faults)('$fault', ({ fault, on }) => {
    const test = caseNamed(on);
    const { questions } = expected(test);
    const kernels = createKernels(test.spec, test.store);
    const [actor, critic] = runKernels(kernels, test, questions);
    kernels.dispose();
    const weights = weightsOf(test);
    const wrong: ModelDescription = { ...test.model, fault };
    const truth = scoreRows(wrong, weights, test.rows);
    const errors = [worstError(actor as Answers, answer(test, truth, questions.actor.want)).error];
    if (questions.critic) errors.push(worstError(critic as Answers, answer(test, truth, questions.critic.want)).error);
    expect(Math.max(...errors)).toBeGreaterThan(10 * TOLERANCE);
    const gradients = modelGradients(test, weights, questions, wrong);
    expect(worstError(gradientsOf(test), gradients, 1e-5 * globalNorm(gradients)).error).toBeGreaterThan(
      100 * TOLERANCE,
    );
  });

  it.each(['logProb', 'scores', 'entropy', 'expectedScore'] as const)('a flipped cotangent of %s', (name) => {
    const test = caseNamed('everything at once');
    const { questions, gradients } = expected(test);
    const kernels = createKernels(test.spec, test.store);
    kernels.forward(test.batch, questions.actor.want, optionsOf(test));
    const { actor } = questions;
    kernels.backward({ ...actor.cotangents, [name]: actor.cotangents[name]?.map((x) => -x) as Float32Array });
    kernels.forward(test.batch, questions.critic?.want as Want, optionsOf(test));
    kernels.backward(questions.critic?.cotangents as Cotangents);
    kernels.dispose();
    const { error } = worstError(gradientsOf(test), gradients, 1e-5 * globalNorm(gradients));
    expect(error).toBeGreaterThan(10 * TOLERANCE);
  });

  it('a Q that lets the gradient of E_pi[Q] through', () => {
    const test = caseNamed('2 blocks, 2 heads, ids and text, Q on the shared encoder');
    const { questions } = expected(test);
    const { expectedScore } = questions.actor.cotangents;
    const kernels = createKernels(test.spec, test.store);
    kernels.forward(test.batch, { expectedScore: true });
    kernels.backward({ expectedScore: expectedScore as Float32Array });
    kernels.dispose();
    for (const { name, gradient } of test.store.parameters()) {
      if (name.startsWith('critic/')) expect(gradient.every((x) => x === 0)).toBe(true);
    }
    const weights = weightsOf(test);
    const through = finiteDifferences({ 'critic/id': weights['critic/id'] as Float64Array }, () => {
      const answers = answer(test, scoreRows(test.model, weights, test.rows), { expectedScore: true });
      return (answers.expectedScore as number[]).reduce((sum, x, b) => sum + x * (expectedScore?.[b] as number), 0);
    });
    expect(globalNorm(through)).toBeGreaterThan(0.01);
  });
});

describe('leaks', () => {
  it('holds as many tensors after 1,000 updates as after the first, and none once disposed', async () => {
    await useBackend('wasm');
    // The backend's own count too: the matrix patch makes outputs that tfjs's engine never sees.
    const held = () => `${tf.memory().numTensors} ${tf.memory().numDataBuffers} ${tf.backend().numDataIds()}`;
    const before = held();
    const test = caseNamed('everything at once');
    const { actor, critic } = askEverything(test, new Rng('leak'));
    const kernels = createKernels(test.spec, test.store);
    const adam = new Adam({ learningRate: 1e-4 });
    const uniforms = new Float64Array(test.batch.size).fill(0.5);
    const update = (n: number): void => {
      // Every option that makes its own tensors takes its turn.
      const options = { mask: { noRepeat: n % 2 === 0 }, ...(n % 3 === 0 ? { dropoutSeed: n } : {}) };
      const { logProbOf: _, ...want } = actor.want;
      const { logProb: __, ...cotangents } = actor.cotangents;
      if (n % 5 === 4) {
        kernels.forward(test.batch, (critic as NonNullable<typeof critic>).want, options);
        kernels.backward((critic as NonNullable<typeof critic>).cotangents);
      } else {
        kernels.forward(test.batch, want, options);
        if (n % 7 !== 6) kernels.backward(cotangents);
      }
      if (n % 10 === 9) {
        kernels.sample(test.batch, uniforms, options);
        kernels.topK(test.batch, 2, options);
        kernels.probabilities(test.batch, options);
        expect(() => kernels.forward(test.batch, { value: true })).toThrow();
      }
      kernels.step(adam);
    };
    const seen: string[] = [];
    for (let n = 0; n < 1_000; n++) {
      update(n);
      // Sampled at the same point of the cycle of options (2 · 3 · 5 · 7 = 210 updates).
      if (n % 210 === 0) seen.push(held());
    }
    update(1_050);
    seen.push(held());
    expect(new Set(seen).size, `held: ${seen}`).toBe(1);
    kernels.dispose();
    kernels.dispose();
    expect(held()).toBe(before);
  }, 180_000);
});
