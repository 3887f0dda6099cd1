import { describe, expect, it } from 'vitest';
import { ActorCritic } from '../../../src/agent/actor-critic.js';
import { mean } from '../../../src/encoder/mean-encoder.js';
import { InvalidArgumentError, InvalidDataError } from '../../../src/foundation/errors.js';
import { MemoryStorage } from '../../../src/foundation/storage.js';
import type { PreferenceQuery } from '../../../src/oracle/preference-oracle.js';
import { readAnswers } from '../../../src/oracle/recorded-answers.js';
import { RecordingOracle, type RecordingOracleOptions } from '../../../src/oracle/recording-oracle.js';
import { type ScriptedAnswer, ScriptedOracle } from '../../../src/oracle/scripted-oracle.js';
import { pretrain } from '../../../src/train/pretrain.js';
import { music, shop } from './fixtures.js';

const catalog = music();
const QUERIES: PreferenceQuery[] = [
  { history: [], candidates: [1, 2, 3] },
  { history: [4, 5], candidates: [6, 7, 8], context: 'a user' },
  { history: [6], candidates: [9, 1, 2] },
  { history: [7], candidates: [9, 1, 2] },
];
const SCORES = [-1, -0.5, Number.NEGATIVE_INFINITY, -3];
const ANSWERS: ScriptedAnswer[] = [
  1,
  { kind: 'choice', choice: 7, meta: { scores: SCORES } },
  { kind: 'invalid', raw: 'hm' },
  'none',
];
const record = async (storage: MemoryStorage, options: Partial<RecordingOracleOptions>): Promise<void> => {
  const oracle = await RecordingOracle.open({ oracle: new ScriptedOracle(ANSWERS), catalog, storage, ...options });
  await oracle.prefer(QUERIES);
};
const text = async (storage: MemoryStorage): Promise<string> =>
  new TextDecoder().decode((await storage.get('answers.jsonl')) ?? new Uint8Array(0));

describe('readAnswers', () => {
  it('gives back questions and answers by id, in order, with scores; contexts only where they were kept', async () => {
    const storage = new MemoryStorage();
    await record(storage, { keepQueries: true });
    const wanted = [
      { history: [], candidates: ['track-1', 'track-2', 'track-3'], choice: 'track-2' },
      {
        history: ['track-4', 'track-5'],
        candidates: ['track-6', 'track-7', 'track-8'],
        choice: 'track-7',
        scores: SCORES,
      },
      { history: ['track-7'], candidates: ['track-9', 'track-1', 'track-2'], choice: null },
    ];
    expect(await readAnswers({ storage, catalog })).toEqual({ oracleId: 'scripted', answers: wanted, invalid: 1 });
    expect(await text(storage)).not.toContain('a user');
    const told = new MemoryStorage();
    await record(told, { keepQueries: true, keepContext: true });
    expect((await readAnswers({ storage: told, catalog })).answers[1]?.text).toBe('a user');
  });

  it('trains a policy', async () => {
    const storage = new MemoryStorage();
    await record(storage, { keepQueries: true, keepContext: true });
    const { answers } = await readAnswers({ storage, catalog });
    const agent = new ActorCritic({ catalog, encoder: mean({ width: 4 }), seed: 1 });
    const { oracleCalls } = await pretrain({ agent, answers, seed: 1 });
    expect(oracleCalls).toBe(0);
    agent.dispose();
  });

  it('refuses a record by hashes alone, which still replays', async () => {
    const storage = new MemoryStorage();
    await record(storage, {});
    expect(await text(storage)).not.toMatch(/candidates|history/);
    await expect(readAnswers({ storage, catalog })).rejects.toThrow(InvalidDataError);
    await expect(readAnswers({ storage, catalog })).rejects.toThrow(/keepQueries: true/);
    const inner = new ScriptedOracle([]);
    const replay = await RecordingOracle.open({ oracle: inner, catalog, storage, keepQueries: true });
    expect((await replay.prefer(QUERIES)).map(({ kind }) => kind)).toEqual(['choice', 'choice', 'invalid', 'none']);
    expect(inner.queries).toEqual([]);
  });

  it('resumes a record with questions as one without: nothing is asked twice', async () => {
    const storage = new MemoryStorage();
    await record(storage, { keepQueries: true });
    const inner = new ScriptedOracle([]);
    const again = await RecordingOracle.open({ oracle: inner, catalog, storage });
    const answers = await again.prefer(QUERIES);
    expect(answers[1]).toEqual({ kind: 'choice', choice: 7, meta: { scores: SCORES, cached: true } });
    expect(inner.queries).toEqual([]);
  });

  it.each<[string, (log: string) => string, RegExp]>([
    [
      'an item that is not in the catalogue',
      (log) => log.replace('"track-4"', '"track-x"'),
      /expected items of the catalogue/,
    ],
    [
      'a choice that was not shown',
      (log) => log.replace('["track-6","track-7"', '["track-6","track-1"'),
      /among the candidates/,
    ],
    ['a history that is none', (log) => log.replace('["track-4","track-5"]', '7'), /answers\.jsonl:3: .*history/],
  ])('refuses a record with %s', async (_, change, message) => {
    const storage = new MemoryStorage();
    await record(storage, { keepQueries: true });
    await storage.put('answers.jsonl', new TextEncoder().encode(change(await text(storage))));
    await expect(readAnswers({ storage, catalog })).rejects.toThrow(message);
  });

  it('refuses no record, another catalogue, and a context without its question', async () => {
    const storage = new MemoryStorage();
    await expect(readAnswers({ storage, catalog })).rejects.toThrow(InvalidDataError);
    await record(storage, { keepQueries: true });
    await expect(readAnswers({ storage, catalog: shop() })).rejects.toThrow(/catalog/);
    await expect(record(new MemoryStorage(), { keepContext: true })).rejects.toThrow(InvalidArgumentError);
  });
});
