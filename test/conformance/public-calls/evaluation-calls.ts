import fc from 'fast-check';
import {
  buildSftDataset,
  evaluateOracle,
  injectionAudit,
  judgeOracle,
  nextItemLists,
  type OracleEvaluation,
  type PreferenceOracle,
  ratedLists,
  SimulatedOracle,
  splitUsers,
} from '../../../src/index.js';
import { catalog, ITEMS, item, seed, sequences } from './fixtures.js';
import { type PublicCall, publicCall } from './public-call.js';

const simulated = new SimulatedOracle({ catalog });
const counts = Array.from(sequences.counts());
const evaluated: OracleEvaluation = await evaluateOracle({ oracle: simulated, sequences, candidateCount: 3, catalog });

/** Knowing an oracle, and what is learned from logs: lists, verdict, fine-tuning data, audit. */
export const evaluationCalls: readonly PublicCall[] = [
  publicCall('evaluateOracle, beside others', {
    covers: ['evaluateOracle'],
    arguments: {
      options: fc.record({
        oracle: fc.constant(simulated),
        sequences: fc.constant(sequences),
        candidateCount: fc.constantFrom(2, 3),
        negatives: fc.constantFrom('uniform' as const, 'popularity' as const),
        counts: fc.constant(counts),
        catalog: fc.constant(catalog),
        readout: fc.constantFrom('label' as const, 'likelihood' as const),
        secondOrders: fc.constantFrom(0, 5),
        noneLists: fc.constantFrom(0, 5),
        onProgress: fc.constant(() => {}),
        seed,
      }),
    },
    call: ({ options }, { signal }) =>
      evaluateOracle(typeof options === 'object' && options !== null ? { ...options, signal } : options),
  }),
  publicCall('judgeOracle', {
    covers: ['judgeOracle'],
    arguments: { evaluations: fc.constant([evaluated]) },
    call: ({ evaluations }) => judgeOracle(evaluations),
    // What evaluateOracle gave, and nothing that a user writes.
    unchecked: /^evaluations\[/,
    takesNaN: /^evaluations\[/,
  }),
  publicCall('nextItemLists', {
    covers: ['nextItemLists'],
    arguments: {
      options: fc.record({
        sequences: fc.constant(sequences),
        candidateCount: fc.constantFrom(2, 4),
        historyLength: fc.constantFrom(1, 3),
        negatives: fc.constantFrom('uniform' as const, 'popularity' as const),
        counts: fc.constant(counts),
        targets: fc.constantFrom('last' as const, 'any' as const),
        limit: fc.constantFrom(1, 5),
        seed,
      }),
    },
    call: ({ options }) => nextItemLists(options),
  }),
  publicCall('splitUsers', {
    covers: ['splitUsers'],
    arguments: { sequences: fc.constant(sequences), options: fc.record({ seed }) },
    call: ({ sequences, options }) => splitUsers(sequences, options),
  }),
  publicCall('ratedLists', {
    covers: ['ratedLists'],
    arguments: {
      options: fc.record({
        ratings: fc.constant([5, 5, 1, 2, 4, 4, 1, 5]),
        itemCount: fc.constant(4),
        users: fc.constantFrom([0], [0, 1]),
        likedFrom: fc.constantFrom(3, 4),
        dislikedUpTo: fc.constantFrom(1, 2),
        candidateCount: fc.constantFrom(2, 3),
        limit: fc.constantFrom(1, 5),
        seed,
      }),
    },
    call: ({ options }) => ratedLists(options),
  }),
  publicCall('buildSftDataset', {
    covers: ['buildSftDataset'],
    arguments: {
      options: fc.record({
        catalog: fc.constant(catalog),
        sequences: fc.constant(sequences),
        n: fc.constantFrom(1, 10),
        k: fc.constantFrom(2, 3),
        noneRate: fc.constantFrom(0, 0.5),
        historyLength: fc.constantFrom(1, 5),
        negatives: fc.constantFrom('uniform' as const, 'popularity' as const),
        splitSeed: seed,
        seed,
        forms: fc.constantFrom(['label' as const], ['label' as const, 'likelihood' as const]),
        formats: fc.constantFrom(['alpaca' as const], ['prompt-completion' as const, 'sharegpt' as const]),
        quotes: fc.constantFrom('straight' as const, 'typographic' as const),
        maxAttributeLength: fc.constantFrom(5, 200),
        maxHistory: fc.constantFrom(1, 50),
      }),
    },
    call: ({ options }) => buildSftDataset(options),
  }),
  publicCall('buildSftDataset, lists', {
    covers: ['buildSftDataset'],
    arguments: {
      lists: fc.constant([{ history: [1], candidates: [2, 3, 4], truth: 2, replacement: 5, user: 'a' }]),
      evaluationUsers: fc.constantFrom([], ['b']),
    },
    call: ({ lists, evaluationUsers }) => buildSftDataset({ catalog, lists, evaluationUsers }),
  }),
  publicCall('injectionAudit', {
    covers: ['injectionAudit'],
    runs: 60,
    arguments: {
      options: fc.record({
        oracle: fc.constant((): PreferenceOracle => simulated),
        catalog: fc.constant(catalog),
        suspects: fc.uniqueArray(item, { minLength: 1, maxLength: 2 }),
        queries: fc.constantFrom(1, 3),
        candidateCount: fc.constantFrom(2, 4),
        historyLength: fc.constantFrom(0, 3),
        neutral: fc.constant(() => ({ title: 'a thing' })),
        seed,
      }),
    },
    call: ({ options }, { signal }) =>
      injectionAudit(typeof options === 'object' && options !== null ? { ...options, signal } : options),
  }),
  publicCall('injectionAudit, questions', {
    covers: ['injectionAudit'],
    arguments: { queries: fc.constant([{ history: [1], candidates: [2, ITEMS - 1], context: 'a user' }]) },
    call: ({ queries }, { signal }) =>
      injectionAudit({ oracle: () => simulated, catalog, suspects: [2], queries, signal }),
  }),
];
