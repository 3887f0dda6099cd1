/** Wrong records, environments that lie, oracles that talk nonsense. */
import {
  InvalidDataError,
  LlmOracle,
  liftEnv,
  MemoryStorage,
  OracleError,
  type PreferenceOracle,
  pretrain,
  RecordingOracle,
  ReplayOracle,
  ScriptedOracle,
} from '../../../src/index.js';
import { catalog, smallAgent } from '../public-calls/fixtures.js';
import { any, badInputs } from './case.js';

const agent = smallAgent();
const scripted = new ScriptedOracle(() => 0);
const options = { agent, oracle: scripted, budget: { calls: 4 }, candidateCount: 2, stepsPerEpisode: 1, lanes: 1 };

const recordOf = async (change: (lines: string[]) => string[]) => {
  const storage = new MemoryStorage();
  const recording = await RecordingOracle.open({ oracle: scripted, catalog, storage });
  await recording.prefer([{ history: [1], candidates: [2, 3] }]);
  const lines = new TextDecoder()
    .decode(await storage.get('answers.jsonl'))
    .trimEnd()
    .split('\n');
  await storage.put('answers.jsonl', new TextEncoder().encode(`${change(lines).join('\n')}\n`));
  return ReplayOracle.open({ catalog, storage });
};
const [record, lying] = ['answers.jsonl', 'own, lane 0, episode 0, step 0'];
const lie = async (reset: unknown, step: unknown) => {
  const env = liftEnv({ catalog, contextWidth: 0, reset: () => any(reset), step: () => any(step) }, { name: 'own' });
  await env.reset({ seed: 1 });
  await env.step(Int32Array.of(1));
};
const fine = { history: [] };

/** Wrong records, and environments that lie. */
export const outside = badInputs(InvalidDataError, [
  [
    'record: none',
    () => ReplayOracle.open({ catalog, storage: new MemoryStorage() }),
    { source: record },
    /expected recorded answers, got nothing/,
  ],
  [
    'record: a header of something else',
    () => recordOf(() => ['{"format":"other"}']),
    { source: record, line: 1, field: 'format' },
    /a header of recorded answers/,
  ],
  [
    'record: a line that is no JSON',
    () => recordOf(([header, answer]) => [header as string, 'garbage', answer as string]),
    { source: record, line: 2 },
    /one JSON value on the line/,
  ],
  [
    'record: an answer of no kind',
    () => recordOf(([header]) => [header as string, '{"kind":"maybe"}']),
    { source: record, line: 2, field: 'kind' },
    /a recorded answer/,
  ],
  [
    'record: an item that is not there',
    () => recordOf(([header, answer]) => [header as string, (answer as string).replace('item-2', 'item-99')]),
    { source: record, line: 2, field: 'choice' },
    /got "item-99"/,
  ],
  [
    'record: of another oracle',
    () => {
      const storage = new MemoryStorage();
      return RecordingOracle.open({ oracle: scripted, catalog, storage }).then(() =>
        RecordingOracle.open({ oracle: new ScriptedOracle([], { id: 'other' }), catalog, storage }),
      );
    },
    { source: record, line: 1, field: 'oracle' },
    /"other", got "scripted"/,
  ],
  [
    'env: a NaN reward',
    () => lie(fine, { reward: Number.NaN, terminated: false, truncated: false }),
    { source: lying, field: 'reward' },
    /a finite number, got NaN/,
  ],
  [
    'env: a flag missing',
    () => lie(fine, { reward: 1, terminated: false }),
    { source: lying, field: 'truncated' },
    /a boolean, got undefined/,
  ],
  [
    'env: an unknown item',
    () => lie({ history: ['item-99'] }, {}),
    { source: lying, field: 'history[0]' },
    /the id of an item/,
  ],
  ['env: reset gives nothing', () => lie(undefined, {}), { source: lying, field: 'reset' }, /to give an object/],
  [
    'env: a context nobody declared',
    () => lie({ history: [], context: [1] }, {}),
    { source: lying, field: 'context' },
    /0 finite numbers/,
  ],
  [
    'env: it throws',
    () => {
      const env = liftEnv({
        catalog,
        reset: () => {
          throw new TypeError('boom');
        },
        step: () => any({}),
      });
      return env.reset({ seed: 1 });
    },
    { field: 'reset' },
    /reset\(\) threw: TypeError: boom/,
  ],
]);

const answering = (answers: (count: number) => unknown): PreferenceOracle => ({
  id: 'own',
  prefer: async (queries) => any(answers(queries.length)),
});
const learn = (oracle: PreferenceOracle) => pretrain({ ...options, oracle });
const each = (answer: unknown) => answering((count) => Array.from({ length: count }, () => answer));

/** Wrong answers of oracles, where one alone must end the run. */
export const answers = badInputs(OracleError, [
  [
    'oracle: an item that was not shown',
    () => learn(each({ kind: 'choice', choice: 99 })),
    {},
    /own chose item 99, which is not among the candidates/,
  ],
  ['oracle: too few answers', () => learn(answering(() => [])), {}, /expected 1 answers.*got 0/],
  ['oracle: no array', () => learn(answering(() => 'b')), {}, /expected 1 answers.*got "b"/],
  ['oracle: an answer of no kind', () => learn(each({ kind: 'maybe' })), {}, /gave no preference/],
  ['oracle: null', () => learn(each(null)), {}, /gave no preference/],
  [
    'oracle: __proto__ as kind',
    () => learn(each(JSON.parse('{"__proto__":{"kind":"none"}}'))),
    {},
    /gave no preference/,
  ],
  [
    'oracle: all failed',
    () => learn(each({ kind: 'failed', error: new OracleError('down') })),
    {},
    /all 1 questions of a batch failed: down/,
  ],
  [
    'oracle: nothing but gibberish',
    () =>
      pretrain({
        ...options,
        budget: { calls: 90 },
        oracle: new LlmOracle({ catalog, complete: async () => 'as an AI model I', retries: 0 }),
      }),
    { answer: 'as an AI model I' },
    /could not be used/,
  ],
  [
    'oracle: a record without the answer',
    async () => {
      const storage = new MemoryStorage();
      await RecordingOracle.open({ oracle: scripted, catalog, storage });
      await (await ReplayOracle.open({ catalog, storage, unknown: 'throw' })).prefer([
        { history: [], candidates: [1, 2] },
      ]);
    },
    {},
    /no recorded answer to queries\[0\]/,
  ],
]);
