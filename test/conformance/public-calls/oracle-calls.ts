import fc from 'fast-check';
import {
  evaluateOracle,
  LlmOracle,
  MemoryStorage,
  type Preference,
  type PreferenceOracle,
  parseAnswer,
  preferInBatches,
  RecordingOracle,
  ReplayOracle,
  renderTable1,
  ScriptedOracle,
  SimulatedOracle,
  textOracleScore,
} from '../../../src/index.js';
import { catalog, distinct, ITEMS, item, query, seed, sequences, within } from './fixtures.js';
import { type PublicCall, publicCall } from './public-call.js';

const queries = fc.array(query, { minLength: 1, maxLength: 2 });
const style = {
  mode: fc.constantFrom('completion' as const, 'chat' as const),
  quotes: fc.constantFrom('straight' as const, 'typographic' as const),
  maxAttributeLength: fc.constantFrom(5, 200),
  maxHistory: fc.constantFrom(1, 50),
};
const simulated = new SimulatedOracle({ catalog });
const letters = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j', 'k'];

/** An oracle that answers everything alike, whatever that is. */
const answering = (answer: unknown): PreferenceOracle => ({
  id: 'own',
  prefer: async (asked) => asked.map(() => answer as Preference),
});

/** Everything of `oracle/`. */
export const oracleCalls: readonly PublicCall[] = [
  publicCall('renderTable1', {
    covers: ['renderTable1'],
    runs: 200,
    arguments: {
      options: fc.record({
        ...style,
        catalog: fc.constant(catalog),
        history: fc.array(item, { maxLength: 3 }),
        candidates: distinct(2, 4),
        context: fc.constant('a user'),
        reminder: fc.boolean(),
      }),
    },
    call: ({ options }) => renderTable1(options),
  }),
  publicCall('parseAnswer', {
    covers: ['parseAnswer'],
    arguments: {
      text: fc.oneof(fc.constantFrom('b', 'The answer is c.', 'None', ''), fc.string()),
      labels: fc.constant(letters),
    },
    call: ({ text, labels }) => parseAnswer(text, labels),
  }),
  publicCall('textOracleScore', {
    covers: ['textOracleScore'],
    arguments: {
      texts: fc.constant(catalog.texts()),
      history: fc.constantFrom([], ['red coat']),
      candidates: fc.constant(['blue coat', 'silk']),
    },
    call: ({ texts, history, candidates }) => textOracleScore(texts)(history, candidates, undefined),
  }),
  publicCall('LlmOracle', {
    covers: ['LlmOracle'],
    runs: 200,
    arguments: {
      options: fc.record({
        ...style,
        catalog: fc.constant(catalog),
        complete: fc.constant(async () => 'b'),
        model: fc.constant('m'),
        concurrency: fc.constantFrom(1, 4),
        retries: fc.constant(0),
        retryDelayMs: fc.constant(0),
        timeoutMs: fc.constant(100),
        shuffle: fc.boolean(),
        seed,
      }),
    },
    call: ({ options }) => new LlmOracle(options).prefer([{ history: [1], candidates: [2, 3] }]),
  }),
  publicCall('LlmOracle, its answers', {
    covers: ['LlmOracle'],
    runs: 80,
    arguments: { completion: fc.constantFrom('b', 'gibberish').map((text) => ({ text, usage: { inputTokens: 3 } })) },
    call: ({ completion }) =>
      new LlmOracle({ catalog, complete: async () => completion, retries: 0 }).prefer([
        { history: [1], candidates: [2, 3] },
      ]),
    takesNaN: /inputTokens/,
  }),
  publicCall('prefer', {
    covers: ['LlmOracle', 'SimulatedOracle', 'ScriptedOracle'],
    runs: 200,
    arguments: {
      queries: fc.array(
        query.map((q) => ({ ...q, context: 'a user' })),
        { minLength: 1, maxLength: 2 },
      ),
      options: fc.constant({ onResult: () => {} }),
    },
    call: async ({ queries, options }) => {
      await simulated.prefer(queries, options);
      await new ScriptedOracle(() => 0, { itemCount: ITEMS }).prefer(queries, options);
      await new LlmOracle({ catalog, complete: async () => 'a', retries: 0 }).prefer(queries, options);
    },
  }),
  publicCall('ScriptedOracle', {
    covers: ['ScriptedOracle'],
    arguments: {
      script: fc.array(fc.constantFrom<number | 'none' | 'invalid' | 'failed'>(0, 1, 'none', 'invalid', 'failed'), {
        minLength: 1,
        maxLength: 3,
      }),
      options: fc.record({ id: fc.constant('s'), itemCount: fc.constant(ITEMS), maxBatch: fc.constant(2) }),
    },
    call: ({ script, options }) => new ScriptedOracle(script, options).prefer([{ history: [], candidates: [1, 2] }]),
    takesNaN: /^script\[/,
  }),
  publicCall('SimulatedOracle', {
    covers: ['SimulatedOracle'],
    runs: 200,
    arguments: {
      options: fc.record({
        catalog: fc.constant(catalog),
        noise: within(0, 1),
        noneBelow: within(-1, 1),
        popularity: fc.record({
          counts: fc.array(fc.nat(9), { minLength: ITEMS, maxLength: ITEMS }),
          weight: within(0, 1),
          belief: within(-1, 1),
        }),
        seed,
        shuffledText: seed,
      }),
    },
    call: ({ options }) => new SimulatedOracle(options).prefer([{ history: [1], candidates: [2, 3] }]),
  }),
  publicCall('SimulatedOracle, its score', {
    covers: ['SimulatedOracle'],
    runs: 80,
    arguments: { scores: fc.constant([0.1, 0.9]) },
    call: ({ scores }) =>
      new SimulatedOracle({ catalog, score: () => scores }).prefer([{ history: [1], candidates: [2, 3] }]),
    takesNaN: /^scores\[/,
  }),
  publicCall('RecordingOracle', {
    covers: ['RecordingOracle'],
    arguments: {
      options: fc
        .constant(null)
        .map(() => ({ oracle: simulated, catalog, storage: new MemoryStorage(), key: 'answers.jsonl' })),
      queries,
    },
    call: async ({ options, queries }) => {
      const oracle = await RecordingOracle.open(options);
      await oracle.prefer(queries);
      await oracle.close();
    },
  }),
  publicCall('RecordingOracle, the answers behind', {
    covers: ['RecordingOracle'],
    arguments: {
      answer: fc.constantFrom<Preference>(
        { kind: 'choice', choice: 2, meta: { labelMass: 0.5, scores: [0.1, 0.9] } },
        { kind: 'none' },
        { kind: 'invalid', raw: 'eh' },
      ),
    },
    call: async ({ answer }) => {
      const oracle = await RecordingOracle.open({ oracle: answering(answer), catalog, storage: new MemoryStorage() });
      return oracle.prefer([{ history: [1], candidates: [2, 3] }]);
    },
    takesNaN: /^answer/,
  }),
  publicCall('ReplayOracle', {
    covers: ['ReplayOracle', 'RecordingOracle'],
    arguments: {
      options: fc.record({
        key: fc.constant('answers.jsonl'),
        oracleId: fc.constant(simulated.id),
        unknown: fc.constantFrom('failed' as const),
      }),
      queries,
    },
    call: async ({ options, queries }) => {
      const storage = new MemoryStorage();
      await (await RecordingOracle.open({ oracle: simulated, catalog, storage })).prefer([
        { history: [1], candidates: [2, 3] },
      ]);
      return (await ReplayOracle.open({ catalog, storage, ...(options as object) })).prefer(queries);
    },
  }),
  publicCall('ReplayOracle, its record', {
    covers: ['ReplayOracle'],
    arguments: {
      record: fc.constant({
        kind: 'choice',
        key: 'f'.repeat(64),
        choice: 'item-3',
        meta: { labelMass: 0.5, scores: [1, 2], usage: { ms: 3 } },
      }),
      header: fc.constant({ format: 'ialp-answers@1', template: 'table1@1', oracle: simulated.id }),
    },
    call: async ({ record, header }) => {
      const storage = new MemoryStorage();
      await RecordingOracle.open({ oracle: simulated, catalog, storage });
      const kept = JSON.parse(new TextDecoder().decode(await storage.get('answers.jsonl'))) as { catalog: string };
      const first = typeof header === 'object' && header !== null ? { catalog: kept.catalog, ...header } : header;
      const text = [first, record].map((line) =>
        JSON.stringify(line, (_key, inner: unknown) => (typeof inner === 'bigint' ? '1n' : inner)),
      );
      await storage.put('answers.jsonl', new TextEncoder().encode(`${text.join('\n')}\n`));
      return ReplayOracle.open({ catalog, storage });
    },
    // JSON has no NaN: it becomes null on the way.
    takesNaN: /./,
  }),
  publicCall('preferInBatches', {
    covers: ['preferInBatches'],
    arguments: {
      oracle: fc
        .constantFrom(1, 2)
        .map((maxBatch) => ({ id: 'own', maxBatch, prefer: simulated.prefer.bind(simulated) })),
      queries,
      options: fc.constant({ onResult: () => {} }),
    },
    call: ({ oracle, queries, options }) => preferInBatches(oracle, queries, options),
  }),
  publicCall('evaluateOracle', {
    covers: ['evaluateOracle'],
    runs: 160,
    arguments: {
      options: fc.record({
        oracle: fc.constant(simulated),
        sequences: fc.constant(sequences),
        candidateCount: fc.constantFrom(2, 3),
        historyLength: fc.constantFrom(1, 5),
        limit: fc.constantFrom(2, 50),
        seed,
      }),
    },
    call: ({ options }, { signal }) =>
      evaluateOracle(typeof options === 'object' && options !== null ? { ...options, signal } : options),
  }),
  publicCall('evaluateOracle, lists and answers', {
    covers: ['evaluateOracle'],
    arguments: {
      lists: fc.constant([{ history: [1], candidates: [2, 3], truth: 2 }]),
      answer: fc.constant({ kind: 'choice', choice: 2, meta: { labelMass: 0.5 } }),
    },
    call: ({ lists, answer }) => evaluateOracle({ oracle: answering(answer), lists }),
    takesNaN: /^answer/,
  }),
];
