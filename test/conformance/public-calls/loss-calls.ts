import fc from 'fast-check';
import {
  a2cLoss,
  actorLoss,
  allActionLoss,
  binaryCrossEntropy,
  clippedImportanceWeights,
  combineLosses,
  criticLoss,
  discountedReturns,
  discountsOf,
  dqnLoss,
  entropyBonus,
  gae,
  learnerCotangent,
  listLoss,
  mixtureLogProb,
  nextValuesOf,
  normaliseAdvantages,
  ppoLoss,
  reinforceLoss,
  tdAdvantage,
  tdTarget,
} from '../../../src/index.js';
import { flags, floats, within } from './fixtures.js';
import { type PublicCall, publicCall } from './public-call.js';

const B = 4;
const data = floats(B);
const logProb = floats(B, -3, 0);
const weights = floats(B, 0, 2);
const critic = fc.constantFrom('state' as const, 'action' as const);
const rollout = {
  rewards: data,
  nextValues: data,
  terminated: flags(B),
  truncated: flags(B),
  gamma: within(0, 1),
  T: fc.constant(2),
  N: fc.constant(2),
};

/** Losses and returns: pure functions of arrays. Their settings are checked, their arrays by kind and length. */
export const lossCalls: readonly PublicCall[] = [
  publicCall('actorLoss', {
    covers: ['actorLoss'],
    arguments: { logProb, advantages: data, weights },
    call: ({ logProb, advantages, weights }) => actorLoss(logProb, advantages, weights),
  }),
  publicCall('reinforceLoss', {
    covers: ['reinforceLoss'],
    arguments: { logProb, returns: data, baseline: fc.oneof(within(-1, 1), data) },
    call: ({ logProb, returns, baseline }) => reinforceLoss(logProb, returns, baseline),
  }),
  publicCall('allActionLoss', {
    covers: ['allActionLoss'],
    arguments: { expectedScore: data, weights },
    call: ({ expectedScore, weights }) => allActionLoss(expectedScore, weights),
  }),
  publicCall('entropyBonus', {
    covers: ['entropyBonus'],
    arguments: { entropy: weights, weight: within(0, 1) },
    call: ({ entropy, weight }) => entropyBonus(entropy, weight),
  }),
  publicCall('clippedImportanceWeights', {
    covers: ['clippedImportanceWeights'],
    arguments: { logProb, behaviourLogProb: logProb, cap: within(0.1, 2) },
    call: ({ logProb, behaviourLogProb, cap }) => clippedImportanceWeights(logProb, behaviourLogProb, cap),
  }),
  publicCall('criticLoss', {
    covers: ['criticLoss'],
    arguments: { input: fc.record({ critic, predictions: data, targets: data, weights }) },
    call: ({ input }) => criticLoss(input),
  }),
  publicCall('discountsOf', {
    covers: ['discountsOf'],
    arguments: { terminated: flags(B), gamma: within(0, 1) },
    call: ({ terminated, gamma }) => discountsOf(terminated, gamma),
  }),
  publicCall('dqnLoss', {
    covers: ['dqnLoss'],
    arguments: { input: fc.record({ scores: data, targets: data, delta: within(0.1, 2), weights }) },
    call: ({ input }) => dqnLoss(input),
  }),
  publicCall('tdTarget', {
    covers: ['tdTarget'],
    arguments: { input: fc.record({ rewards: data, discounts: weights, nextValues: data }) },
    call: ({ input }) => tdTarget(input),
  }),
  publicCall('tdAdvantage', {
    covers: ['tdAdvantage'],
    arguments: { targets: data, predictions: data },
    call: ({ targets, predictions }) => tdAdvantage(targets, predictions),
  }),
  publicCall('a2cLoss', {
    covers: ['a2cLoss'],
    arguments: {
      input: fc.record({ critic, logProb, predictions: data, targets: data, weights, valueWeight: within(0, 1) }),
    },
    call: ({ input }) => a2cLoss(input),
  }),
  publicCall('ppoLoss', {
    covers: ['ppoLoss'],
    runs: 200,
    arguments: {
      input: fc.record({
        logProb,
        oldLogProb: logProb,
        advantages: data,
        value: data,
        returns: data,
        entropy: weights,
        clip: within(0.1, 0.3),
        valueWeight: within(0, 1),
        valueClip: within(0.1, 1),
        oldValue: data,
        entropyWeight: within(0.01, 1),
      }),
    },
    call: ({ input }) => ppoLoss(input),
  }),
  publicCall('gae', {
    covers: ['gae'],
    runs: 200,
    arguments: { input: fc.record({ ...rollout, values: data, lambda: within(0, 1) }) },
    call: ({ input }) => gae(input),
  }),
  publicCall('discountedReturns', {
    covers: ['discountedReturns'],
    arguments: { input: fc.record(rollout) },
    call: ({ input }) => discountedReturns(input),
  }),
  publicCall('normaliseAdvantages', {
    covers: ['normaliseAdvantages'],
    runs: 60,
    arguments: { advantages: data },
    call: ({ advantages }) => normaliseAdvantages(advantages),
  }),
  publicCall('listLoss', {
    covers: ['listLoss'],
    arguments: {
      input: fc.record({
        scores: floats(B * 3),
        width: fc.constant(3),
        targets: fc.array(fc.nat(2), { minLength: B, maxLength: B }).map((list) => Int32Array.from(list)),
        weights,
        candidateWeights: floats(B * 3, 1, 2),
      }),
    },
    call: ({ input }) => listLoss(input),
  }),
  publicCall('binaryCrossEntropy', {
    covers: ['binaryCrossEntropy'],
    arguments: { input: fc.record({ scores: data, labels: floats(B, 0, 1), weights }) },
    call: ({ input }) => binaryCrossEntropy(input),
  }),
  publicCall('combineLosses', {
    covers: ['combineLosses'],
    arguments: {
      losses: fc.tuple(data, data).map(([one, other]) => [
        { loss: 1, cotangents: { logProb: one } },
        { loss: 2, cotangents: { logProb: other, value: other } },
      ]),
      weights: fc.constant([1, 0.5]),
    },
    call: ({ losses, weights }) => combineLosses(losses, weights),
    takesNaN: /\.loss$/,
  }),
  publicCall('mixtureLogProb', {
    covers: ['mixtureLogProb'],
    arguments: { logBeta: logProb, logTheta: logProb, alpha: fc.oneof(within(0, 1), floats(B, 0, 1)) },
    call: ({ logBeta, logTheta, alpha }) => mixtureLogProb(logBeta, logTheta, alpha),
  }),
  publicCall('learnerCotangent', {
    covers: ['learnerCotangent'],
    arguments: { cotangent: data, share: floats(B, 0, 1) },
    call: ({ cotangent, share }) => learnerCotangent(cotangent, share),
  }),
  publicCall('nextValuesOf', {
    covers: ['nextValuesOf'],
    arguments: {
      rollout: fc.record({
        T: fc.constant(2),
        N: fc.constant(2),
        terminated: flags(B),
        bootstrap: fc.constant(undefined),
      }),
      values: data,
      bootstrapValues: floats(0),
    },
    call: ({ rollout, values, bootstrapValues }) => nextValuesOf(rollout, values, bootstrapValues),
  }),
];
