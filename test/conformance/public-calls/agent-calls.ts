import fc from 'fast-check';
import {
  ActorCritic,
  ContentPolicy,
  CountingBanditPolicy,
  categorical,
  epsilonGreedy,
  greedy,
  ItemFeatures,
  linearSchedule,
  MemoryStorage,
  MixturePolicy,
  type Policy,
  PopularityPolicy,
  RandomPolicy,
  ReplayBuffer,
  Rng,
  RotationPolicy,
} from '../../../src/index.js';
import {
  agentOptions,
  batch,
  catalog,
  flags,
  floats,
  ITEMS,
  id,
  ids,
  item,
  seed,
  smallAgent,
  within,
} from './fixtures.js';
import { type PublicCall, publicCall } from './public-call.js';

const agent = smallAgent();
const withContext = smallAgent({ contextWidth: 2 });
const features = ItemFeatures.tfidf(catalog, { dimensions: 4 });
const mode = fc.constantFrom('sampled' as const, 'argmax' as const);
const uniforms = fc.constant(Float64Array.of(0.1, 0.5, 0.9));
const mask = fc.record({
  noRepeat: fc.boolean(),
  exclude: fc.constant(Int32Array.of(1)),
  excludeRows: fc.constant([[3], [], [4]]),
});
const act = fc.record({ mode, uniforms, mask, temperature: within(0.5, 2) });
const items = (length: number, most: number) =>
  fc.array(fc.nat(most), { minLength: length, maxLength: length }).map((list) => Int32Array.from(list));
const counts = fc.array(fc.nat(9), { minLength: ITEMS, maxLength: ITEMS });

const simple: Readonly<Record<string, Policy>> = {
  ContentPolicy: new ContentPolicy(features),
  CountingBanditPolicy: new CountingBanditPolicy({ itemCount: ITEMS, temperature: 1 }),
  PopularityPolicy: new PopularityPolicy(Array.from({ length: ITEMS }, (_, i) => i)),
  RandomPolicy: new RandomPolicy({ itemCount: ITEMS }),
  RotationPolicy: new RotationPolicy({ items: [1, 2, 3], itemCount: ITEMS }),
};

const replayStep = fc.record({
  histories: fc.record({
    size: fc.constant(2),
    length: fc.constant(2),
    items: items(4, ITEMS - 1),
    lengths: items(2, 2),
    contextWidth: fc.constant(1),
    context: floats(2),
  }),
  actions: items(2, ITEMS - 1),
  rewards: floats(2),
  terminated: flags(2),
  truncated: flags(2),
  logProb: floats(2, -3, 0),
  pretrainedLogProb: floats(2, -3, 0),
  alpha: within(0, 1),
  candidates: items(4, ITEMS - 1),
  choices: items(2, 2),
  rows: flags(2),
});

/** Everything of `agent/`. */
export const agentCalls: readonly PublicCall[] = [
  publicCall('new ActorCritic', {
    covers: ['ActorCritic'],
    runs: 300,
    arguments: {
      options: fc.record({
        catalog: fc.constant(catalog),
        encoder: fc.constant(agentOptions.encoder),
        items: fc.constantFrom('id' as const, 'text' as const, 'id+text' as const),
        features: fc.constant(features),
        historyFeatures: fc.record({ repeats: fc.nat(2), attributes: fc.constant(['category']), text: fc.boolean() }),
        algorithm: fc.constantFrom('ppo' as const, 'replay' as const, 'paper' as const),
        critic: fc.constantFrom('state' as const, 'action' as const),
        valueEncoder: fc.constantFrom('shared' as const, 'separate' as const),
        valueHidden: fc.nat(4),
        contextWidth: fc.nat(2),
        seed,
      }),
    },
    call: ({ options }) => new ActorCritic(options).dispose(),
  }),
  publicCall('recommend', {
    covers: ['ActorCritic'],
    runs: 320,
    arguments: {
      options: fc.record({
        history: ids,
        context: fc.constant([0.5, 1]),
        k: fc.integer({ min: 1, max: 5 }),
        exclude: fc.array(id, { maxLength: 3 }),
        allowRepeats: fc.boolean(),
      }),
    },
    call: ({ options }) => withContext.recommend(options),
  }),
  publicCall('ActorCritic.act', {
    covers: ['ActorCritic'],
    runs: 200,
    arguments: { batch, options: act },
    call: ({ batch, options }) => agent.act(batch, options),
  }),
  publicCall('ActorCritic scores', {
    covers: ['ActorCritic'],
    runs: 160,
    arguments: {
      batch,
      k: fc.integer({ min: 1, max: 5 }),
      actions: fc.constant(Int32Array.of(5, 6, 7)),
      options: fc.record({ temperature: within(0.5, 2) }),
    },
    call: ({ batch, k, actions, options }) => [
      agent.probabilities(batch, options),
      agent.topK(batch, k, options),
      agent.logProbOf(batch, actions, options),
    ],
  }),
  publicCall('ActorCritic changes', {
    covers: ['ActorCritic'],
    runs: 80,
    arguments: { factor: within(0.5, 2), rng: fc.constant(new Rng(1)) },
    call: ({ factor, rng }) => {
      using copy = agent.clone();
      copy.scaleLogits(factor);
      copy.resetActor(rng);
      copy.resetCritic(rng);
    },
  }),
  publicCall('ActorCritic.save', {
    covers: ['ActorCritic'],
    runs: 100,
    arguments: { storage: fc.constant(null).map(() => new MemoryStorage()) },
    call: ({ storage }) => agent.save(storage),
  }),
  publicCall('ActorCritic.load', {
    covers: ['ActorCritic'],
    runs: 200,
    arguments: {
      options: fc.record({
        catalog: fc.constant(catalog),
        encoder: fc.constant(agentOptions.encoder),
        features: fc.constant(features),
      }),
      text: fc.boolean(),
    },
    call: async ({ options, text }) => {
      const storage = new MemoryStorage();
      using saved = smallAgent(text === true ? { items: 'text', features } : {});
      await saved.save(storage);
      (await ActorCritic.load(storage, options)).dispose();
    },
  }),
  publicCall('ActorCritic.load, the bytes', {
    covers: ['ActorCritic'],
    runs: 300,
    arguments: { at: fc.nat(100_000), bit: fc.nat(7), key: fc.constant('policy.safetensors') },
    call: async ({ at, bit, key }) => {
      const storage = new MemoryStorage();
      await agent.save(storage);
      if (at !== 0) {
        const bytes = (await storage.get('policy.safetensors')) as Uint8Array;
        const place = Number.isInteger(at) ? Math.abs(at as number) % bytes.length : 3;
        bytes[place] = (bytes[place] as number) ^ (1 << (Number.isInteger(bit) ? (bit as number) & 7 : 0));
        await storage.put(key, bytes);
        const loaded = await ActorCritic.load(storage, { catalog }).then(
          (policy) => policy,
          (error: unknown) => error,
        );
        if (loaded instanceof ActorCritic) {
          loaded.dispose();
          // Under another key nothing was changed.
          if (key === 'policy.safetensors') throw new Error(`a flipped bit at ${place} was accepted`);
        } else if ((loaded as { code?: unknown }).code !== 'CHECKPOINT') throw loaded;
      }
    },
    takesNaN: /^(at|bit)$/,
  }),
  publicCall('MixturePolicy', {
    covers: ['MixturePolicy'],
    runs: 160,
    arguments: {
      pretrained: fc.constant(agent),
      learner: fc.constant(null).map(() => smallAgent()),
      alpha: within(0, 1),
      batch,
      options: act,
    },
    call: ({ pretrained, learner, alpha, batch, options }) => {
      using mixture = new MixturePolicy({ pretrained, learner, alpha });
      mixture.act(batch, options);
      mixture.alpha = alpha;
      return mixture.probabilities(batch, options);
    },
  }),
  ...Object.entries(simple).map(([name, policy]) =>
    publicCall(`${name}, acting`, {
      covers: [name],
      arguments: { batch, options: act, k: fc.integer({ min: 1, max: 3 }) },
      call: ({ batch, options, k }) => [
        policy.act(batch, options),
        policy.probabilities?.(batch, options),
        policy.topK?.(batch, k, options),
      ],
    }),
  ),
  publicCall('new ContentPolicy', {
    covers: ['ContentPolicy'],
    arguments: {
      features: fc.constant(features),
      options: fc.record({
        window: fc.constantFrom(1, 5),
        decay: within(0.1, 1),
        temperature: within(0.1, 1),
        coldStart: counts,
      }),
    },
    call: ({ features, options }) => new ContentPolicy(features, options),
  }),
  publicCall('CountingBanditPolicy', {
    covers: ['CountingBanditPolicy'],
    arguments: {
      options: fc.record({
        itemCount: fc.constant(ITEMS),
        prior: within(0, 2),
        priorCount: within(0.1, 2),
        temperature: within(0.1, 2),
      }),
      feedback: fc.record({ actions: items(2, ITEMS - 1), rewards: floats(2) }),
      item,
    },
    call: ({ options, feedback, item }) => {
      const bandit = new CountingBanditPolicy(options);
      bandit.observe(feedback);
      new CountingBanditPolicy(options).load(bandit.toNamedArrays(), 'file');
      return bandit.value(item);
    },
  }),
  publicCall('new PopularityPolicy', {
    covers: ['PopularityPolicy'],
    arguments: { counts },
    call: ({ counts }) => new PopularityPolicy(counts),
  }),
  publicCall('new RandomPolicy', {
    covers: ['RandomPolicy'],
    runs: 60,
    arguments: { options: fc.record({ itemCount: fc.constant(ITEMS) }) },
    call: ({ options }) => new RandomPolicy(options),
  }),
  publicCall('new RotationPolicy', {
    covers: ['RotationPolicy'],
    arguments: {
      options: fc.record({ items: fc.constantFrom([1], [2, 3]), itemCount: fc.constant(ITEMS) }),
      name: fc.constant('rotationTrain'),
    },
    call: ({ options, name }) => new RotationPolicy(options, name),
  }),
  publicCall('exploration', {
    covers: ['epsilonGreedy', 'categorical', 'greedy'],
    runs: 200,
    arguments: {
      options: fc.record({
        epsilon: fc.oneof(within(0, 1), fc.constant(linearSchedule({ from: 1, to: 0, steps: 3 }))),
        itemCount: fc.constant(ITEMS),
      }),
      temperature: fc.oneof(within(0.1, 2), fc.constant(linearSchedule({ from: 1, to: 2, steps: 3 }))),
      policy: fc.constant(simple.RandomPolicy as Policy),
      step: fc.nat(5),
      batch,
      act,
    },
    call: ({ options, temperature, policy, step, batch, act }) =>
      [epsilonGreedy(options), categorical(temperature), greedy()].map((rule) => {
        const exploring = rule.at(policy, step);
        rule.toJSON();
        return [exploring.act(batch, act), exploring.probabilities?.(batch, act)];
      }),
  }),
  publicCall('new ReplayBuffer', {
    covers: ['ReplayBuffer'],
    runs: 160,
    arguments: {
      options: fc.record({
        lanes: fc.constantFrom(1, 2),
        stepsPerLane: fc.constantFrom(1, 4),
        contextWidth: fc.nat(2),
        candidateCount: fc.nat(2),
        maxItemsPerLane: fc.constantFrom(8, 20),
      }),
    },
    call: ({ options }) => new ReplayBuffer(options).memoryBytes,
  }),
  publicCall('ReplayBuffer.add', {
    covers: ['ReplayBuffer'],
    runs: 320,
    arguments: { step: replayStep },
    call: ({ step }) => new ReplayBuffer({ lanes: 2, stepsPerLane: 4, contextWidth: 1, candidateCount: 2 }).add(step),
  }),
  publicCall('ReplayBuffer reads', {
    covers: ['ReplayBuffer'],
    arguments: {
      step: replayStep.map((step) => ({ ...step, rows: Uint8Array.of(1, 1) })),
      n: fc.constantFrom(1, 3),
      T: fc.constant(1),
      rng: fc.constant(new Rng(1)),
    },
    call: ({ step, n, T, rng }) => {
      const shape = { lanes: 2, stepsPerLane: 4, contextWidth: 1, candidateCount: 2 };
      const buffer = new ReplayBuffer(shape);
      buffer.add(step);
      new ReplayBuffer(shape).load(buffer.toNamedArrays(), 'file');
      return [buffer.sample(n, rng), buffer.lastRollout(T)];
    },
  }),
  publicCall('ReplayBuffer.load', {
    covers: ['ReplayBuffer'],
    runs: 200,
    arguments: {
      arrays: replayStep.map((step) => {
        const buffer = new ReplayBuffer({ lanes: 2, stepsPerLane: 4, contextWidth: 1, candidateCount: 2 });
        buffer.add({ ...step, rows: Uint8Array.of(1, 1) });
        return Object.fromEntries(
          Object.entries(buffer.toNamedArrays()).map(([name, { shape, data }]) => [
            name,
            { shape: [...shape], data: data.slice() },
          ]),
        );
      }),
      source: fc.constant('file'),
    },
    call: ({ arrays, source }) => {
      const buffer = new ReplayBuffer({ lanes: 2, stepsPerLane: 4, contextWidth: 1, candidateCount: 2 });
      buffer.load(arrays, source);
      return [buffer.sample(3, new Rng(1)), buffer.lastRollout(1)];
    },
  }),
];
