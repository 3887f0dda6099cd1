import fc from 'fast-check';
import {
  BudgetedOracle,
  batchOracleId,
  CachedOracle,
  DebiasedOracle,
  exportBatch,
  fitNoneThreshold,
  InvalidRateGuard,
  importBatch,
  type KeyValueStore,
  type LanguageModel,
  LikelihoodOracle,
  LimitedOracle,
  LlmOracle,
  likelihoodTemplate,
  MemoryStorage,
  type Preference,
  type PreferenceOracle,
  RecordingOracle,
  RetryingOracle,
  rateItems,
  readAnswers,
  SimulatedOracle,
} from '../../../src/index.js';
import { catalog, ITEMS, query, seed, sequences, within } from './fixtures.js';
import { type PublicCall, publicCall } from './public-call.js';

const simulated = new SimulatedOracle({ catalog });
const queries = fc.array(query, { minLength: 1, maxLength: 2 });
const asked = [{ history: [1], candidates: [2, 3] }];
const oracle = fc.constant<PreferenceOracle>(simulated);
const storage = fc.constant(null).map(() => new MemoryStorage());
const calls = {
  concurrency: fc.constantFrom(1, 4),
  retries: fc.constantFrom(0, 1),
  retryDelayMs: fc.constant(0),
  timeoutMs: fc.constant(100),
};

/** A model of letters, texts and likelihoods: the longer, the less likely. */
const model = fc.constant<LanguageModel>({
  id: 'm',
  labelScores: async (_, labels) => ({ logProbs: labels.map((_label, i) => -1 - i) }),
  continuationScores: async (prefix, texts) => ({
    logLikelihoods: texts.map((text) => -text.length - prefix.length / 100),
    tokens: texts.map((text) => text.length),
  }),
  complete: async () => 'b',
  countTokens: (text) => text.length,
});

/** An oracle that reads probabilities: of the items shown the one with the least index is likeliest, None is `none`. */
const scoring = (none = -2): PreferenceOracle => ({
  id: 'scoring',
  prefer: async (some) =>
    some.map(({ candidates }) => {
      const scores = [...candidates.map((index) => -1 - index / ITEMS), none];
      return { kind: 'choice', choice: candidates[0] as number, meta: { scores, labelMass: 0.9 } };
    }),
});

const caps = fc.constantFrom(
  { calls: 5 },
  { calls: 5, inputTokens: 1e5, outputTokens: 1e4 },
  { calls: 5, usd: 1, wallMs: 60_000 },
);
const prices = fc.constantFrom(
  { inputPerMillion: 1, outputPerMillion: 2 },
  { inputPerMillion: 1, outputPerMillion: 2, cachedInputPerMillion: 0.5 },
);
const spent = fc.constant({ calls: 1, inputTokens: 10, outputTokens: 1, usd: 0.1, wallMs: 5 });

const batch = {
  catalog: fc.constant(catalog),
  queries: fc.constant([{ history: [1], candidates: [2, 3], context: 'a user' }]),
  model: fc.constant('m'),
  endpoint: fc.constantFrom('chat' as const, 'completions' as const),
  quotes: fc.constantFrom('straight' as const, 'typographic' as const),
  maxAttributeLength: fc.constantFrom(5, 200),
  maxHistory: fc.constantFrom(1, 50),
};

async function requestsOf(options: Parameters<typeof exportBatch>[0]): Promise<string[]> {
  const lines: string[] = [];
  for await (const line of exportBatch(options)) lines.push(line);
  return lines;
}

const [request] = await requestsOf({ catalog, queries: asked, model: 'm' });
const { custom_id: customId } = JSON.parse(request as string) as { readonly custom_id: string };

/** JSON as a server would write it, whatever stands in it. */
const jsonOf = (value: unknown): string =>
  `${JSON.stringify(value, (_key, inner: unknown) => (typeof inner === 'bigint' ? '1n' : inner))}\n`;

/** The read-outs of language models, what may stand around an oracle, records, ratings and batches. */
export const readOutCalls: readonly PublicCall[] = [
  publicCall('likelihoodTemplate', {
    covers: ['likelihoodTemplate'],
    runs: 60,
    arguments: { catalog: fc.constant(catalog) },
    call: ({ catalog }) => likelihoodTemplate(catalog),
  }),
  publicCall('LikelihoodOracle', {
    covers: ['LikelihoodOracle'],
    runs: 160,
    arguments: {
      options: fc.record({
        ...calls,
        catalog: fc.constant(catalog),
        languageModel: model,
        noneBelow: within(-5, 5),
        perToken: fc.boolean(),
        ownWeight: fc.constantFrom(0.25, 1),
        baselineHistories: fc.constantFrom(0, 2),
        template: fc.constant({ ...likelihoodTemplate(catalog) }),
        attributes: fc.constantFrom(['title'], ['title', 'category']),
        maxAttributeLength: fc.constantFrom(5, 200),
        maxHistory: fc.constantFrom(1, 50),
        storage,
        key: fc.constant('likelihoods.jsonl'),
      }),
      queries,
    },
    call: async ({ options, queries }) => {
      const reading = new LikelihoodOracle(options);
      await reading.estimate(queries);
      await reading.prefer(queries);
      await reading.close();
    },
  }),
  publicCall('LikelihoodOracle, what the model says', {
    covers: ['LikelihoodOracle'],
    runs: 100,
    arguments: {
      scores: fc.constant({ logLikelihoods: [-1, -2], tokens: [1, 2], usage: { inputTokens: 5 } }),
    },
    call: ({ scores }) =>
      new LikelihoodOracle({
        ...{ catalog, retries: 0 },
        languageModel: { id: 'm', continuationScores: async () => scores },
      }).prefer(asked),
    takesNaN: /^scores/,
  }),
  publicCall('LikelihoodOracle, what the model counts', {
    covers: ['LikelihoodOracle'],
    runs: 60,
    arguments: { counted: fc.constantFrom(0, 7) },
    call: async ({ counted }) => {
      const languageModel: LanguageModel = {
        id: 'm',
        continuationScores: async () => ({ logLikelihoods: [-1, -2], tokens: [1, 2] }),
        countTokens: () => counted,
      };
      const [usage] = await new LikelihoodOracle({ catalog, languageModel }).estimate(asked);
      if (!Number.isFinite(usage?.inputTokens)) throw new Error(`an estimate of ${usage?.inputTokens} tokens`);
    },
    // What is no number is not believed: a quarter of the characters stands for it.
    takesNaN: /counted/,
  }),
  publicCall('LlmOracle, probabilities', {
    covers: ['LlmOracle'],
    runs: 160,
    arguments: {
      options: fc.record({
        ...calls,
        catalog: fc.constant(catalog),
        languageModel: model,
        noneThreshold: within(-5, 5),
        shuffle: fc.boolean(),
        seed,
      }),
      queries,
    },
    call: async ({ options, queries }) => {
      const reading = new LlmOracle(options);
      await reading.estimate(queries);
      await reading.prefer(queries);
      await reading.close();
    },
  }),
  publicCall('LlmOracle, what the model says', {
    covers: ['LlmOracle'],
    runs: 100,
    arguments: {
      scores: fc.constant({ logProbs: [-1, -2, -3], bounded: [false, false, true], usage: { inputTokens: 5 } }),
    },
    call: ({ scores }) =>
      new LlmOracle({
        ...{ catalog, retries: 0 },
        languageModel: { id: 'm', labelScores: async () => scores },
      }).prefer(asked),
    takesNaN: /^scores/,
  }),
  publicCall('CachedOracle', {
    covers: ['CachedOracle'],
    arguments: {
      options: fc
        .record({
          catalog: fc.constant(catalog),
          oracle,
          maxEntries: fc.constantFrom(1, 100),
          cacheInvalid: fc.boolean(),
          key: fc.constant('cache.jsonl'),
        })
        .chain((base) =>
          fc.constantFrom<'storage' | 'store' | 'neither'>('storage', 'store', 'neither').map((where) => ({
            ...base,
            ...(where === 'storage' ? { storage: new MemoryStorage() } : {}),
            ...(where === 'store' ? { store: { get: () => undefined, set: () => {} } } : {}),
          })),
        ),
      queries,
    },
    call: async ({ options, queries }) => {
      const cached = await CachedOracle.open(options);
      await cached.prefer(queries);
      await cached.prefer(queries);
      await cached.close();
    },
  }),
  publicCall('CachedOracle, what the store holds', {
    covers: ['CachedOracle'],
    arguments: {
      text: fc.constantFrom('{"kind":"choice","place":1,"meta":{"scores":[-1,null,-2]}}', '{"kind":"none"}'),
    },
    call: async ({ text }) => {
      const store: KeyValueStore = { get: async () => text, set: () => {} };
      return (await CachedOracle.open({ oracle: simulated, catalog, store })).prefer(asked);
    },
  }),
  publicCall('LimitedOracle', {
    covers: ['LimitedOracle'],
    arguments: {
      options: fc.constantFrom(
        { oracle: simulated, concurrency: 2 },
        { oracle: simulated, concurrency: 1, intervalMs: 20, intervalCap: 50 },
      ),
      queries,
    },
    call: async ({ options, queries }) => {
      const limited = new LimitedOracle(options);
      await limited.prefer(queries);
      await limited.close();
    },
  }),
  publicCall('RetryingOracle', {
    covers: ['RetryingOracle'],
    arguments: {
      options: fc.record({ oracle, retries: fc.constantFrom(0, 2), retryDelayMs: fc.constantFrom(0, 5) }),
      queries,
    },
    call: async ({ options, queries }) => {
      const retrying = new RetryingOracle(options);
      await retrying.prefer(queries);
      await retrying.close();
    },
  }),
  publicCall('BudgetedOracle', {
    covers: ['BudgetedOracle'],
    runs: 160,
    arguments: {
      options: fc.record({
        oracle,
        caps,
        prices,
        spent,
        perQuestion: fc.constant({ inputTokens: 100, outputTokens: 1 }),
        concurrency: fc.constantFrom(1, 4),
        onWarning: fc.constant(() => {}),
      }),
      queries,
    },
    call: async ({ options, queries }) => {
      const budgeted = new BudgetedOracle(options);
      await budgeted.prefer(queries);
      await budgeted.close();
    },
  }),
  publicCall('DebiasedOracle', {
    covers: ['DebiasedOracle'],
    runs: 200,
    arguments: {
      options: fc
        .record({ oracle: fc.constant(scoring()), catalog: fc.constant(catalog), seed, noneThreshold: within(-1, 1) })
        .chain(({ noneThreshold, ...base }) =>
          fc.constantFrom(
            { ...base, method: 'shuffle' as const },
            { ...base, method: 'cyclic' as const, permutations: 2, noneThreshold },
            { ...base, method: 'pride' as const, calibration: asked, noneThreshold },
            {
              ...base,
              method: 'contextual' as const,
              contentFree: {
                contentFreeScores: async (K: number) => ({
                  logProbs: Array.from({ length: K + 1 }, (_, i) => -1 - i),
                }),
              },
            },
          ),
        ),
      queries: fc.constant(asked),
    },
    call: async ({ options, queries }) => {
      const debiased = await DebiasedOracle.create(options);
      await debiased.prefer(queries);
      await debiased.close();
    },
  }),
  publicCall('DebiasedOracle, what the model says of nothing', {
    covers: ['DebiasedOracle'],
    runs: 80,
    arguments: { prior: fc.constant({ logProbs: [-1, -2, -3], bounded: [false, true, false] }) },
    call: async ({ prior }) => {
      const contentFree = { contentFreeScores: async () => prior };
      const debiased = await DebiasedOracle.create({ oracle: scoring(), catalog, method: 'contextual', contentFree });
      return debiased.prefer(asked);
    },
  }),
  publicCall('InvalidRateGuard', {
    covers: ['InvalidRateGuard'],
    arguments: {
      options: fc.record({ oracleId: fc.constant('o'), maxInvalidRate: within(0, 1), advice: fc.constant('look') }),
      answers: fc.constant<Preference[]>([{ kind: 'none' }, { kind: 'choice', choice: 1 }]),
    },
    call: ({ options, answers }) => {
      const guard = new InvalidRateGuard(options);
      guard.add(answers);
      guard.forget();
    },
    // Which item was chosen is not looked at.
    takesNaN: /^answers/,
  }),
  publicCall('fitNoneThreshold', {
    covers: ['fitNoneThreshold'],
    arguments: {
      options: fc.record({
        oracle: fc.constant(scoring()),
        readout: fc.constantFrom('label' as const, 'likelihood' as const),
        lists: fc.constant([
          { history: [1], candidates: [2, 3], truth: 2 },
          { history: [1], candidates: [4, 5], truth: 2 },
        ]),
      }),
    },
    call: ({ options }, { signal }) =>
      fitNoneThreshold(typeof options === 'object' && options !== null ? { ...options, signal } : options),
  }),
  publicCall('rateItems', {
    covers: ['rateItems'],
    runs: 120,
    arguments: {
      options: fc.record({
        ...calls,
        catalog: fc.constant(catalog),
        languageModel: model,
        method: fc.constantFrom('levels' as const, 'contrast' as const),
        users: fc.constant('hobby machinists'),
        mode: fc.constantFrom('completion' as const, 'chat' as const),
        counts: fc.constant(Array.from(sequences.counts())),
        storage,
        key: fc.constant('ratings.jsonl'),
        budget: fc.constantFrom({ calls: 50 }, { calls: 50, usd: 1 }),
        prices,
        onProgress: fc.constant(() => {}),
      }),
    },
    call: ({ options }, { signal }) =>
      rateItems(typeof options === 'object' && options !== null ? { ...options, signal } : options),
  }),
  publicCall('rateItems, what the model says', {
    covers: ['rateItems'],
    runs: 60,
    arguments: { scores: fc.constant({ logProbs: [-1, -2, -3, -4, -5], usage: { inputTokens: 5 } }) },
    call: ({ scores }) =>
      rateItems({
        ...{ catalog, method: 'levels', retries: 0, storage: new MemoryStorage() },
        languageModel: { id: 'm', labelScores: async () => scores },
      }),
    takesNaN: /usage/,
  }),
  publicCall('readAnswers', {
    covers: ['readAnswers', 'RecordingOracle'],
    arguments: {
      options: fc.record({ key: fc.constant('answers.jsonl'), catalog: fc.constant(catalog) }),
      keep: fc.record({ keepQueries: fc.constant(true), keepContext: fc.boolean() }),
      queries,
    },
    call: async ({ options, keep, queries }) => {
      const storage = new MemoryStorage();
      await (await RecordingOracle.open({ oracle: simulated, catalog, storage, ...keep })).prefer(queries);
      return readAnswers(typeof options === 'object' && options !== null ? { storage, ...options } : options);
    },
  }),
  publicCall('readAnswers, the record', {
    covers: ['readAnswers'],
    arguments: {
      record: fc.constant({
        kind: 'choice',
        key: 'f'.repeat(64),
        choice: 'item-3',
        history: ['item-1'],
        candidates: ['item-2', 'item-3'],
        context: 'a user',
        meta: { labelMass: 0.5, scores: [1, 2, null] },
      }),
    },
    call: async ({ record }) => {
      const storage = new MemoryStorage();
      await RecordingOracle.open({ oracle: simulated, catalog, storage });
      await storage.append('answers.jsonl', new TextEncoder().encode(jsonOf(record)));
      return readAnswers({ catalog, storage });
    },
    // JSON has no NaN: it becomes null on the way.
    takesNaN: /./,
  }),
  publicCall('exportBatch', {
    covers: ['exportBatch'],
    arguments: {
      options: fc.record({ ...batch, body: fc.constantFrom({}, { logprobs: null, temperature: 1, extra: [1] }) }),
    },
    call: ({ options }) => requestsOf(options),
  }),
  publicCall('batchOracleId', {
    covers: ['batchOracleId'],
    runs: 80,
    arguments: { options: fc.record(batch).map(({ queries: _, ...rest }) => rest) },
    call: ({ options }) => batchOracleId(options),
  }),
  publicCall('importBatch', {
    covers: ['importBatch'],
    runs: 160,
    arguments: {
      options: fc.record({
        ...batch,
        output: fc.constantFrom('', '{"custom_id":"x"}\n', ['{"custom_id', '":"x"}\n{}\n']),
        source: fc.constant('the output'),
        storage,
        key: fc.constant('answers.jsonl'),
      }),
    },
    call: ({ options }) => importBatch(options),
  }),
  publicCall('importBatch, a line', {
    covers: ['importBatch'],
    runs: 200,
    arguments: {
      line: fc.constantFrom(
        {
          custom_id: customId,
          response: {
            status_code: 200,
            body: {
              choices: [
                {
                  message: { content: 'b' },
                  logprobs: { content: [{ top_logprobs: [{ token: ' b', logprob: -0.1 }] }] },
                },
              ],
              usage: { prompt_tokens: 20, completion_tokens: 1 },
            },
          },
          error: null,
        },
        { custom_id: customId, response: { status_code: 429, body: { error: { code: 'busy' } } } },
      ),
    },
    call: ({ line }) => {
      const output = jsonOf(line);
      return importBatch({ catalog, queries: asked, model: 'm', output, storage: new MemoryStorage() });
    },
    // JSON has no NaN: it becomes null on the way.
    takesNaN: /./,
  }),
];
