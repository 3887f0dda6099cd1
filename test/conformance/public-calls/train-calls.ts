import fc from 'fast-check';
import {
  ActorCritic,
  adapt,
  confidenceInterval,
  distil,
  EventEmitter,
  evaluate,
  linearSchedule,
  llmOnline,
  MemoryStorage,
  openQuestions,
  type Policy,
  planDistil,
  pretrain,
  RandomPolicy,
  ScriptedOracle,
  SimulatedOracle,
  type TrainingEvents,
} from '../../../src/index.js';
import { catalog, ITEMS, ids, seed, sequences, smallAgent, within } from './fixtures.js';
import { type PublicCall, publicCall } from './public-call.js';

/** Users who stay for three steps and like whatever follows what they saw. */
const userEnv = () => {
  let last = 0;
  let steps = 0;
  return {
    catalog,
    maxEpisodeSteps: 3,
    reset: ({ seed }: { readonly seed: number }) => {
      last = seed % ITEMS;
      steps = 0;
      return { history: [catalog.id(last)] };
    },
    step: (item: string) => {
      const index = catalog.indexOf(item);
      const reward = index === (last + 1) % ITEMS ? 1 : 0;
      last = index;
      steps++;
      return { reward, terminated: steps >= 3, truncated: false };
    },
  };
};

const agents = { state: smallAgent(), action: smallAgent({ critic: 'action' }) };
const events = new EventEmitter<TrainingEvents>();
const hooks = {
  stepsPerEpoch: fc.constant(4),
  checkpointEvery: fc.constant(4),
  events: fc.constant(events),
  onProgress: fc.constant(() => {}),
  afterEpoch: fc.constant(() => {}),
  onWarning: fc.constant(() => {}),
};
const recorded = fc.constant([
  {
    history: ['item-1'],
    candidates: ['item-2', 'item-3', 'item-4'],
    choice: 'item-3' as string | null,
    scores: [-1, -0.5, Number.NEGATIVE_INFINITY, -2],
    text: 'a user',
  },
  { history: [], candidates: ['item-5', 'item-6', 'item-7'], choice: null },
]);

/** Stands for the first candidate, whichever that is. */
const CHOSEN = { kind: 'choice', choice: 0 };

/** `signal` where the options are still an object. */
const stoppable = <O>(options: O, signal: AbortSignal): O =>
  typeof options === 'object' && options !== null && !Array.isArray(options) ? { ...options, signal } : options;

const simulated = new SimulatedOracle({ catalog });
/** What every plan of questions is made of. */
const plan = {
  catalog: fc.constant(catalog),
  count: fc.constantFrom(3, 5),
  candidateCount: fc.constantFrom(2, 3),
  emptyShare: within(0, 1),
  historyLength: fc.constantFrom(1, 3),
  stepsPerEpisode: fc.constantFrom(1, 2),
  policy: fc.constant<Policy>(new RandomPolicy({ itemCount: ITEMS })),
  policyShare: within(0, 1),
  seed,
};

/** `pretrain`, `distil`, `adapt`, `llmOnline` and `evaluate`. */
export const trainCalls: readonly PublicCall[] = [
  publicCall('pretrain', {
    covers: ['pretrain'],
    runs: 300,
    arguments: {
      options: fc.record({
        agent: fc.constant(null).map(() => smallAgent()),
        oracle: fc.constant(null).map(() => new ScriptedOracle(({ candidates }, n) => n % candidates.length)),
        budget: fc.record({ calls: fc.constantFrom(4, 6) }),
        epochs: fc.constantFrom(1, 2),
        starts: fc.array(fc.oneof(ids, fc.record({ history: ids, text: fc.constant('a user') })), {
          minLength: 1,
          maxLength: 2,
        }),
        stepsPerEpisode: fc.constantFrom(1, 2),
        candidateCount: fc.constantFrom(2, 3),
        actorShare: within(0, 1),
        candidateDraw: fc.constantFrom('sample' as const, 'topK' as const),
        uniformShare: within(0, 1),
        algorithm: fc.record({
          name: fc.constant('list' as const),
          passes: fc.constant(1),
          batchSize: fc.constant(4),
          learningRate: within(0.001, 0.01),
        }),
        heldOutShare: within(0, 0.5),
        temperature: fc.oneof(within(0.5, 1.5), fc.constant('fitted' as const)),
        retryInvalid: fc.boolean(),
        lanes: fc.constantFrom(1, 2),
        maxInvalidRate: within(0, 1),
        seed,
        ...hooks,
      }),
    },
    call: async ({ options }, { signal }) => {
      const { agent } = (options ?? {}) as { readonly agent?: unknown };
      try {
        return await pretrain(stoppable(options, signal));
      } finally {
        if (agent instanceof ActorCritic) agent.dispose();
      }
    },
  }),
  publicCall('pretrain, recorded answers and a storage', {
    covers: ['pretrain'],
    runs: 130,
    arguments: {
      options: fc.record({
        answers: recorded,
        passes: fc.constantFrom(0.5, 2),
        heldOutShare: within(0, 0.5),
        temperature: fc.constantFrom(1, 'fitted' as const),
        lanes: fc.constantFrom(1, 2),
        seed,
        storage: fc.constant(null).map(() => new MemoryStorage()),
      }),
    },
    call: async ({ options }, { signal }) => {
      using agent = smallAgent();
      return await pretrain(
        stoppable(typeof options === 'object' && options !== null ? { agent, ...options } : options, signal) as never,
      );
    },
    // The oracle's scores are carried along, and not learned from.
    takesNaN: /scores/,
  }),
  publicCall("pretrain, the oracle's answers", {
    covers: ['pretrain'],
    runs: 150,
    arguments: {
      answer: fc.constantFrom({ kind: 'none' }, { kind: 'invalid', raw: 'eh' }, CHOSEN),
    },
    call: async ({ answer }, { signal }) => {
      using agent = smallAgent();
      const prefer: (queries: readonly { readonly candidates: readonly number[] }[]) => Promise<never> = async (
        queries,
      ) =>
        queries.map(({ candidates }) =>
          answer === CHOSEN ? { kind: 'choice', choice: candidates[0] } : answer,
        ) as never;
      return await pretrain({
        agent,
        oracle: { id: 'own', prefer },
        budget: { calls: 2 },
        candidateCount: 2,
        stepsPerEpisode: 1,
        lanes: 1,
        algorithm: { name: 'list', passes: 1, batchSize: 2 },
        signal,
      });
    },
    takesNaN: /./,
  }),
  publicCall('pretrain, the paper', {
    covers: ['pretrain'],
    runs: 120,
    arguments: {
      algorithm: fc.record({
        name: fc.constant('paper' as const),
        batchSize: fc.constant(4),
        updatesPerStep: fc.constantFrom(0.5, 1),
        learningRate: within(0.001, 0.01),
        gamma: within(0, 1),
      }),
    },
    call: async ({ algorithm }, { signal }) => {
      using agent = smallAgent({ critic: 'action' });
      return await pretrain({
        agent,
        oracle: new ScriptedOracle(() => 0),
        budget: { calls: 4 },
        candidateCount: 2,
        stepsPerEpisode: 2,
        lanes: 2,
        algorithm,
        signal,
      });
    },
  }),
  publicCall('distil', {
    covers: ['distil'],
    runs: 200,
    arguments: {
      options: fc.record({
        ...plan,
        oracle: fc.constant(simulated),
        storage: fc.constant(null).map(() => new MemoryStorage()),
        key: fc.constant('answers.jsonl'),
        concurrency: fc.constantFrom(1, 3),
        maxInvalidRate: within(0, 1),
        retryInvalid: fc.boolean(),
        budget: fc.constantFrom({ calls: 50 }, { calls: 50, usd: 1, wallMs: 60_000 }),
        prices: fc.constant({ inputPerMillion: 1, outputPerMillion: 2 }),
        onProgress: fc.constant(() => {}),
        onWarning: fc.constant(() => {}),
      }),
    },
    call: ({ options }, { signal }) => distil(stoppable(options, signal)),
  }),
  publicCall('distil, where users begin', {
    covers: ['distil'],
    runs: 100,
    arguments: {
      where: fc.constantFrom(
        { histories: sequences, historyLength: 3 },
        { starts: [['item-1'], { history: ['item-2'], text: 'a user' }] },
      ),
    },
    call: ({ where }, { signal }) =>
      distil({
        ...{
          catalog,
          count: 4,
          candidateCount: 3,
          stepsPerEpisode: 2,
          oracle: simulated,
          storage: new MemoryStorage(),
        },
        ...where,
        signal,
      }),
  }),
  publicCall('planDistil', {
    covers: ['planDistil'],
    runs: 130,
    arguments: {
      options: fc.record({
        ...plan,
        oracle: fc.constant({
          id: 'o',
          prefer: async () => [],
          estimate: async (some: readonly unknown[]) => some.map(() => ({ calls: 1, inputTokens: 9 })),
        }),
        storage: fc.constant(null).map(() => new MemoryStorage()),
        key: fc.constant('answers.jsonl'),
        sample: fc.constantFrom(1, 5),
        retryInvalid: fc.boolean(),
        prices: fc.constant({ inputPerMillion: 1, outputPerMillion: 2, cachedInputPerMillion: 1 }),
      }),
    },
    call: ({ options }) => planDistil(options),
  }),
  publicCall('planDistil, what the oracle expects', {
    covers: ['planDistil'],
    runs: 60,
    arguments: {
      estimates: fc.constant(Array.from({ length: 3 }, () => ({ calls: 1, inputTokens: 9, costUsd: 0.1 }))),
    },
    call: async ({ estimates }) => {
      const oracle = {
        id: 'o',
        prefer: async () => [],
        estimate: async () => estimates,
      };
      const { toCome } = await planDistil({ catalog, count: 3, candidateCount: 3, stepsPerEpisode: 2, oracle });
      if (!Object.values(toCome ?? {}).every(Number.isFinite)) throw new Error('a cost that is no number');
    },
    // What is no number is taken for not told.
    takesNaN: /estimates/,
  }),
  publicCall('openQuestions', {
    covers: ['openQuestions'],
    runs: 130,
    arguments: {
      options: fc.record({
        ...plan,
        oracleId: fc.constant('o'),
        storage: fc.constant(null).map(() => new MemoryStorage()),
        key: fc.constant('answers.jsonl'),
      }),
    },
    call: ({ options }) => openQuestions(options),
  }),
  publicCall('llmOnline', {
    covers: ['llmOnline'],
    runs: 160,
    arguments: {
      options: fc.record({
        agent: fc.constant(agents.state),
        env: fc.constant(null).map(userEnv),
        oracle: fc.constant(null).map(() => new ScriptedOracle(({ candidates }, n) => n % candidates.length)),
        candidateCount: fc.constantFrom(2, 3),
        candidateDraw: fc.constantFrom('sample' as const, 'topK' as const),
        describeUser: fc.constant(() => 'a user'),
        steps: fc.constantFrom(3, 5),
        algorithm: fc.record({
          name: fc.constant('ppo' as const),
          rolloutSteps: fc.constant(2),
          epochs: fc.constant(1),
        }),
        maxInvalidRate: within(0, 1),
        retryInvalid: fc.boolean(),
        seed,
        ...hooks,
      }),
    },
    call: async ({ options }, { signal }) => (await llmOnline(stoppable(options, signal))).policy.dispose(),
  }),
  publicCall('llmOnline, what the oracle and its describer say', {
    covers: ['llmOnline'],
    runs: 80,
    arguments: {
      answer: fc.constantFrom({ kind: 'none' }, { kind: 'invalid', raw: 'eh' }, CHOSEN),
      text: fc.constantFrom('a user', undefined),
    },
    call: async ({ answer, text }, { signal }) => {
      const prefer = async (queries: readonly { readonly candidates: readonly number[] }[]): Promise<never> =>
        queries.map(({ candidates }) =>
          answer === CHOSEN ? { kind: 'choice', choice: candidates[0] } : answer,
        ) as never;
      const { policy } = await llmOnline({
        ...{ agent: agents.state, env: userEnv(), candidateCount: 2, steps: 3, signal },
        oracle: { id: 'own', prefer },
        describeUser: () => text,
        algorithm: { name: 'ppo', rolloutSteps: 2, epochs: 1 },
      });
      policy.dispose();
    },
    takesNaN: /./,
  }),
  publicCall('adapt', {
    covers: ['adapt'],
    runs: 300,
    arguments: {
      options: fc.record({
        agent: fc.constant(agents.state),
        env: fc.constant(null).map(userEnv),
        scheme: fc.constant('mixture' as const),
        alpha: fc.oneof(within(0.1, 1), fc.constant(linearSchedule({ from: 0.1, to: 1, steps: 4 }))),
        steps: fc.constantFrom(3, 5),
        algorithm: fc.record({
          name: fc.constant('ppo' as const),
          rolloutSteps: fc.constant(2),
          epochs: fc.constant(1),
          gamma: within(0, 1),
          lambda: within(0, 1),
          clip: within(0.1, 0.3),
          learningRate: within(0.001, 0.01),
        }),
        learnerInit: fc.constantFrom('copy' as const, 'random' as const),
        freshCritic: fc.boolean(),
        handoverEntropy: within(0.1, 1),
        seed,
        ...hooks,
      }),
    },
    call: async ({ options }, { signal }) => (await adapt(stoppable(options, signal))).policy.dispose(),
  }),
  publicCall('adapt, replay', {
    covers: ['adapt'],
    runs: 200,
    arguments: {
      algorithm: fc.record({
        name: fc.constantFrom('replay' as const),
        batchSize: fc.constant(3),
        updatesPerStep: fc.constant(1),
        learningRate: within(0.001, 0.01),
        gamma: within(0, 1),
      }),
      steps: fc.constantFrom(3, 4),
      storage: fc.constant<'new' | MemoryStorage>('new'),
    },
    call: async ({ algorithm, steps, storage }, { signal }) =>
      (
        await adapt({
          agent: agents.state,
          env: userEnv(),
          steps,
          algorithm,
          storage: storage === 'new' ? new MemoryStorage() : storage,
          signal,
        })
      ).policy.dispose(),
  }),
  publicCall('adapt, what the environment says', {
    covers: ['adapt', 'liftEnv'],
    runs: 100,
    arguments: { step: fc.record({ reward: within(0, 1), terminated: fc.boolean(), truncated: fc.boolean() }) },
    call: async ({ step }, { signal }) =>
      (
        await adapt({
          agent: agents.state,
          env: { ...userEnv(), step: () => step },
          steps: 3,
          algorithm: { name: 'ppo', rolloutSteps: 2, epochs: 1 },
          signal,
        })
      ).policy.dispose(),
  }),
  publicCall('evaluate', {
    covers: ['evaluate'],
    runs: 320,
    arguments: {
      options: fc.record({
        policies: fc.constantFrom(
          { random: new RandomPolicy({ itemCount: ITEMS }) },
          { agent: agents.state, random: new RandomPolicy({ itemCount: ITEMS }) },
        ),
        env: fc.constant(null).map(userEnv),
        episodes: fc.constantFrom(1, 2),
        seeds: fc.constantFrom<number | number[]>(1, 2, [5, 6]),
        modes: fc.constantFrom(['sampled' as const], ['argmax' as const, 'sampled' as const]),
        temperature: within(0.5, 2),
      }),
    },
    call: ({ options }, { signal }) => evaluate(stoppable(options, signal)),
  }),
  publicCall('evaluate, what the policy does', {
    covers: ['evaluate'],
    runs: 100,
    arguments: { decision: fc.constant(null).map(() => ({ actions: Int32Array.of(3), logProb: Float32Array.of(0) })) },
    call: ({ decision }, { signal }) =>
      evaluate({
        policies: { own: { name: 'own', act: () => decision } },
        env: userEnv(),
        episodes: 2,
        modes: ['argmax'],
        signal,
      }),
  }),
  publicCall('confidenceInterval', {
    covers: ['confidenceInterval'],
    arguments: { values: fc.array(within(0, 5), { minLength: 1, maxLength: 4 }) },
    call: ({ values }) => confidenceInterval(values),
  }),
];
