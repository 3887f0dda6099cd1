/**
 * The whole chain, once for each loss: scores of the float64 loop model go into a loss of `src/agent/losses`, whose
 * cotangents, carried back, must be the derivative of the loss as this folder writes it, by every parameter.
 */
import { beforeAll, describe, expect, it } from 'vitest';
import { a2cLoss } from '../../src/agent/losses/a2c.js';
import { actorLoss, allActionLoss, entropyBonus, reinforceLoss } from '../../src/agent/losses/actor-losses.js';
import { criticLoss, dqnLoss } from '../../src/agent/losses/critic-losses.js';
import { combineLosses } from '../../src/agent/losses/loss.js';
import { learnerCotangent, mixtureLogProb } from '../../src/agent/losses/mixture-log-prob.js';
import { ppoLoss } from '../../src/agent/losses/ppo.js';
import { binaryCrossEntropy, listLoss } from '../../src/agent/losses/supervised-losses.js';
import { useBackend } from '../../src/compute/backend.js';
import { createKernels } from '../../src/compute/create-kernels.js';
import type { Cotangents, Want } from '../../src/compute/kernels.js';
import type { Case } from './cases.js';
import { caseNamed, optionsOf, weightsOf } from './cases.js';
import type { Arrays } from './finite-differences.js';
import { finiteDifferences, globalNorm, relativeError, worstError } from './finite-differences.js';
import * as loops from './float64-losses.js';
import type { Float64Scores } from './float64-model.js';
import { scoreRows } from './float64-model.js';
import type { Answers } from './questions.js';
import { answer } from './questions.js';

const TOLERANCE = 1e-6;

/** One loss, said twice: by the library and by the loops of this folder. `held` is what counts as data. */
interface Chain {
  readonly name: string;
  /** The case it runs on. */
  readonly on: string;
  readonly want: Want;
  readonly library: (
    outputs: Outputs,
    held: Outputs,
  ) => { readonly loss: number; readonly cotangents: Partial<Outputs> };
  readonly loop: (outputs: Outputs, held: Outputs) => number;
}

type Name = 'logProb' | 'scores' | 'expectedScore' | 'entropy' | 'value';
type Outputs = Readonly<Record<Name, Float64Array>>;

// Data of the losses: five rows, as the cases have, and nothing that sits on a corner.
const actions = Int32Array.of(4, 6, 7, 4, 10);
const targets = Float64Array.of(0.9, -0.4, 2.3, 0.1, 1.2);
const advantages = Float64Array.of(1.3, -0.7, 0.4, -1.1, 0.9);
const weights = Float64Array.of(1, 0.6, 0.2, 0.9, 0.35);
const pretrained = Float64Array.of(-2.2, -0.4, -5, -1.1, -3.3);
const alphas = Float64Array.of(0, 0.3, 0.75, 0.05, 1);
// Ratios on both sides of PPO's clip and inside it: two of them hold back the gradient, two lie outside and let it pass.
const logRatios = Float64Array.of(-0.5, 0.5, -0.1, -0.5, 0.5);
const valueMoves = Float64Array.of(0.05, -0.3, 0.4, -0.02, -0.25);
const chosen = Int32Array.of(0, 3, 2, 3, 1);
// The last column of each row is None.
const candidates = Int32Array.from([1, 2, 3, 11, 4, 5, 6, 11, 0, 7, 9, 11, 10, 8, 1, 11, 2, 0, 5, 11]);
const candidateWeights = Float64Array.from([1, 2, 0.5, 1, 1, 0, 3, 1, 1, 1, 0.25, 1, 1, 4, 1, 1, 0, 1, 2, 0]);
const labels = Float64Array.of(1, 0, 0, 1, 0.5);

const STATE = '2 blocks, V with a hidden layer';
const ACTION = '2 blocks, 2 heads, ids and text, Q on the shared encoder';
const MASKED = 'exclusions for all rows and for each, temperature 1.7';
const WINDOWED = 'no repeats over the whole history, beyond a window of 2';
const TEXT = 'mean encoder, ids and text, context, Q of its own, no repeats';

const taken = (head: 'actor' | 'critic'): Want => ({ scoresOf: { head, items: actions, width: 1 } });
const minus = (xs: Float64Array, ys: Float64Array) => xs.map((x, b) => x - (ys[b] as number));

const CHAINS: readonly Chain[] = [
  {
    name: 'A2C on V(s), weighted (Eqs. 8-10)',
    on: STATE,
    want: { logProbOf: actions, value: true },
    library: ({ logProb, value }) => a2cLoss({ critic: 'state', logProb, predictions: value, targets, weights }),
    loop: ({ logProb, value }, held) =>
      loops.policyGradient(logProb, minus(targets, held.value), weights) +
      loops.squaredTdError(value, targets, weights),
  },
  {
    name: 'A2C on Q(s, a), as printed',
    on: ACTION,
    want: { logProbOf: actions, ...taken('critic') },
    library: ({ logProb, scores }) => a2cLoss({ critic: 'action', logProb, predictions: scores, targets }),
    loop: ({ logProb, scores }, held) =>
      loops.policyGradient(logProb, minus(targets, held.scores)) + loops.squaredTdError(scores, targets),
  },
  {
    name: 'PPO with clip, value clip and entropy',
    on: MASKED,
    want: { logProbOf: actions, value: true, entropy: true },
    library: ({ logProb, value, entropy }, held) =>
      ppoLoss({
        logProb,
        value,
        entropy,
        oldLogProb: minus(held.logProb, logRatios),
        advantages,
        returns: targets,
        clip: 0.2,
        valueWeight: 0.5,
        valueClip: 0.1,
        oldValue: minus(held.value, valueMoves),
        entropyWeight: 0.03,
      }),
    loop: ({ logProb, value, entropy }, held) =>
      loops.clippedSurrogate(logProb, minus(held.logProb, logRatios), advantages, 0.2) +
      0.5 * loops.clippedValueError(value, minus(held.value, valueMoves), targets, 0.1) -
      0.03 * loops.average(entropy),
  },
  {
    name: 'A2C on the mixture (Eq. 15)',
    on: WINDOWED,
    want: { logProbOf: actions },
    library: ({ logProb }) => {
      const { logMixture, share } = mixtureLogProb(logProb, pretrained, alphas);
      const { loss, cotangents } = actorLoss(logMixture, advantages, weights);
      return { loss, cotangents: { logProb: learnerCotangent(cotangents.logProb, share) } };
    },
    loop: ({ logProb }) => loops.policyGradient(loops.mixtureLogProb(logProb, pretrained, alphas), advantages, weights),
  },
  {
    name: 'list loss with None',
    on: TEXT,
    want: { scoresOf: { head: 'actor', items: candidates, width: 4 } },
    library: ({ scores }) => listLoss({ scores, width: 4, targets: chosen }),
    loop: ({ scores }) => loops.listCrossEntropy(scores, 4, chosen),
  },
  {
    name: 'list loss with weights of answers and candidates',
    on: ACTION,
    want: { scoresOf: { head: 'actor', items: candidates, width: 4 } },
    library: ({ scores }) => listLoss({ scores, width: 4, targets: chosen, weights, candidateWeights }),
    loop: ({ scores }) => loops.listCrossEntropy(scores, 4, chosen, weights, candidateWeights),
  },
  {
    name: 'DQN, Huber',
    on: TEXT,
    want: taken('critic'),
    library: ({ scores }) => dqnLoss({ scores, targets, delta: 0.7 }),
    loop: ({ scores }) => loops.huber(scores, targets, 0.7),
  },
  {
    name: 'squared TD error of Q alone (Eq. 12)',
    on: ACTION,
    want: taken('critic'),
    library: ({ scores }) => criticLoss({ critic: 'action', predictions: scores, targets, weights }),
    loop: ({ scores }) => loops.squaredTdError(scores, targets, weights),
  },
  {
    name: 'REINFORCE with V(s) as baseline',
    on: STATE,
    want: { logProbOf: actions, value: true },
    library: ({ logProb }, held) => reinforceLoss(logProb, targets, held.value),
    loop: ({ logProb }, held) => loops.policyGradient(logProb, minus(targets, held.value)),
  },
  {
    name: 'binary cross-entropy of Q',
    on: ACTION,
    want: taken('critic'),
    library: ({ scores }) => binaryCrossEntropy({ scores, labels }),
    loop: ({ scores }) => loops.binaryCrossEntropy(scores, labels),
  },
  {
    name: 'all-action actor with entropy',
    on: TEXT,
    want: { expectedScore: true, entropy: true },
    library: ({ expectedScore, entropy }) =>
      combineLosses([allActionLoss(expectedScore, weights), entropyBonus(entropy, 0.2)] as const),
    loop: ({ expectedScore, entropy }) =>
      -loops.average(expectedScore.map((x, b) => x * (weights[b] as number))) - 0.2 * loops.average(entropy),
  },
];

/** The loop model's outputs; Q inside E_pi[Q] is data. */
function outputsOf(test: Case, parameters: Arrays, want: Want, heldQ: Float64Scores['q']): Outputs {
  const answers = answer(test, scoreRows(test.model, parameters, test.rows), want, heldQ);
  return Object.fromEntries(
    Object.entries(answers).map(([name, values]) => [name, Float64Array.from(values)]),
  ) as unknown as Outputs;
}

/** The sum of cotangents times outputs, whose gradient is the one that is carried back. */
function carried(outputs: Arrays, cotangents: Arrays): number {
  let total = 0;
  for (const [name, cotangent] of Object.entries(cotangents)) {
    cotangent.forEach((factor, i) => {
      total += factor * (outputs[name]?.[i] as number);
    });
  }
  return total;
}

/** Everything about one chain that does not need kernels. */
function follow({ on, want, library, loop }: Chain) {
  const test = caseNamed(on);
  const parameters = weightsOf(test);
  const heldQ = scoreRows(test.model, parameters, test.rows).q;
  const held = outputsOf(test, parameters, want, heldQ);
  const { loss, cotangents } = library(held, held);
  const direct = finiteDifferences(parameters, () => loop(outputsOf(test, parameters, want, heldQ), held));
  return { test, parameters, heldQ, held, loss, cotangents: cotangents as Arrays, direct };
}

beforeAll(async () => {
  await useBackend('wasm');
});

describe.each(CHAINS)('$name', (chain) => {
  const { test, parameters, heldQ, held, loss, cotangents, direct } = follow(chain);
  const { want, loop } = chain;
  const floor = 1e-3 * globalNorm(direct);

  it('is the loss that the loops write', () => {
    expect(loss).toBeCloseTo(loop(held, held), 12);
  });

  it('gives the derivative by each output', () => {
    const asked = Object.fromEntries(
      Object.keys(cotangents).map((name) => [name, (held as Arrays)[name]?.slice()]),
    ) as Outputs;
    const differences = finiteDifferences(asked, () => loop({ ...held, ...asked }, held), 1e-6);
    for (const [name, wanted] of Object.entries(differences)) {
      expect(relativeError(cotangents[name] as Float64Array, wanted), name).toBeLessThan(TOLERANCE);
    }
  });

  it('gives, carried back through the loop model, the derivative by each parameter, and none with a sign flipped', () => {
    // What each cotangent contributes, apart, so that the flipped sign costs no second run.
    const parts = Object.entries(cotangents).map(([name, cotangent]) => ({
      name,
      back: finiteDifferences(parameters, () =>
        carried(outputsOf(test, parameters, want, heldQ), { [name]: cotangent }),
      ),
    }));
    const total = (flipped?: string): Arrays =>
      Object.fromEntries(
        Object.keys(direct).map((key) => [
          key,
          (direct[key] as Float64Array).map((_, i) =>
            parts.reduce((sum, { name, back }) => sum + (name === flipped ? -1 : 1) * (back[key]?.[i] as number), 0),
          ),
        ]),
      );
    const { error, name } = worstError(total(), direct, floor);
    expect(error, `relative error of '${name}'`).toBeLessThan(TOLERANCE);
    expect(globalNorm(direct)).toBeGreaterThan(0.01);
    for (const part of parts) {
      expect(worstError(total(part.name), direct, floor).error, part.name).toBeGreaterThan(1000 * TOLERANCE);
    }
  });

  it('gives the same derivative through the kernels, to float32', () => {
    test.store.zeroGradients();
    const kernels = createKernels(test.spec, test.store);
    const scores = kernels.forward(test.batch, want, optionsOf(test));
    const outputs = Object.fromEntries(
      Object.entries(scores as Answers).map(([name, values]) => [name, Float64Array.from(values)]),
    ) as unknown as Outputs;
    const result = chain.library(outputs, held);
    kernels.backward(
      Object.fromEntries(
        Object.entries(result.cotangents).map(([name, values]) => [name, Float32Array.from(values)]),
      ) as Cotangents,
    );
    kernels.dispose();
    const gradients = Object.fromEntries(test.store.parameters().map(({ name, gradient }) => [name, gradient]));
    const { error, name } = worstError(gradients, direct, 1e-3 * globalNorm(direct));
    expect(error, `relative error of '${name}'`).toBeLessThan(1e-4);
  });
});
