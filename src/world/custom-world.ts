import { Catalog } from '../catalog/catalog.js';
import { Sequences } from '../catalog/sequences.js';
import { INDUSTRY_TEMPER } from '../env/leave-rules.js';
import { argumentError, checkObject } from '../foundation/arguments.js';
import { checkOptions } from '../foundation/options.js';
import { LFM_TEMPER } from './lfm-world.js';
import { SEQUENCE_MODEL } from './sequence-model.js';
import {
  SEQUENCE_WORLD_DEFAULTS,
  type SequenceWorldData,
  type SequenceWorldSpec,
  sequenceWorldSpecSchema,
} from './sequence-world.js';

/** Interactions from which on the settings of the published worlds fit. */
const ENOUGH = 10_000;
/** Interactions below which little can be learned at all. */
const TINY = 1000;
/** The best item of a state is among those whose mean is calibrated: with few items the mean cannot be low. */
const LOWEST_MEAN = 5;

/**
 * A sequence world for anyone's items and logs, with numbers that fit their size:
 *
 * - `bestReward` 4.5 (below 1,000 interactions: 4); `meanReward` 0.21, or 5 x `bestReward` / A where that is more, since the best item alone gives
 *   `bestReward` / A: what is fitted to a few users tells their states badly apart;
 * - `maxEpisodeSteps` 20, or half the items where those are fewer;
 * - below 10,000 interactions a reward model of width 16 (below 1,000: 8) without dropout, smaller batches, larger steps and more
 *   epochs, so that a tiny world is fitted in seconds;
 * - the rule of the Industry-like world, without boredom where no category is given.
 *
 * @param data - items and sequences; at least 10 sequences.
 * @param changes - fields to differ in; a `category` brings its boredom with it, unless a `rule` is given.
 * @throws {InvalidArgumentError} for fields out of range, or data that are none.
 */
export function customWorldSpec(data: SequenceWorldData, changes: Partial<SequenceWorldSpec> = {}): SequenceWorldSpec {
  checkObject('customWorldSpec', 'data', data, [], 'items and sequences');
  checkObject('customWorldSpec', 'changes', changes);
  const { catalog, sequences } = data;
  if (!(catalog instanceof Catalog)) throw argumentError('customWorldSpec', 'data.catalog', 'a Catalog', catalog);
  if (!(sequences instanceof Sequences))
    throw argumentError('customWorldSpec', 'data.sequences', 'Sequences', sequences);
  const interactions = sequences.items.length;
  const { bestReward = interactions < TINY ? 4 : 4.5, category = null } = changes;
  const isSmall = interactions < ENOUGH;
  const smaller = {
    width: interactions < TINY ? 8 : 16,
    dropout: 0,
    batchSize: 32,
    learningRate: 5e-3,
    maxEpochs: 200,
  };
  return checkSpec('customWorldSpec', {
    ...SEQUENCE_WORLD_DEFAULTS,
    name: 'custom',
    description: `${catalog.size} items and ${sequences.count} sequences of your own: a user comes with one ${catalog.itemNoun}; each one shown is appended and pays 0 to 5 by an ensemble of SASRec models fitted to the log; patience runs out${category === null ? '' : `, sooner with more of one ${category}`}.`,
    category,
    rule: category === null ? WITHOUT_BOREDOM : INDUSTRY_TEMPER,
    maxEpisodeSteps: Math.min(SEQUENCE_WORLD_DEFAULTS.maxEpisodeSteps, Math.max(1, Math.floor(catalog.size / 2))),
    rewardModel: isSmall ? { ...SEQUENCE_MODEL, ...smaller } : SEQUENCE_MODEL,
    meanReward: Math.min(bestReward / 2, Math.max(0.21, (LOWEST_MEAN * bestReward) / catalog.size)),
    bestReward,
    ...changes,
  });
}

const { diversity: _, ...WITHOUT_BOREDOM } = INDUSTRY_TEMPER;

/**
 * The MovieLens world: films that a user watched in order of rating, the first genre bores at a drop of 1.5, negatives by popularity (a short
 * head of films is in most sequences), the other numbers of the Industry-like world. Ours; no paper's.
 *
 * @param changes - fields to differ in.
 * @throws {InvalidArgumentError} for fields out of range.
 */
export function movielensWorldSpec(changes: Partial<SequenceWorldSpec> = {}): SequenceWorldSpec {
  return checkSpec('movielensWorldSpec', {
    ...SEQUENCE_WORLD_DEFAULTS,
    name: 'movielens',
    description:
      'MovieLens: a user comes with one film; each film shown is appended and pays 0 to 5 by an ensemble of SASRec models fitted to what users rated, in order; patience runs out, sooner with more of one genre.',
    category: 'genre',
    rule: INDUSTRY_TEMPER,
    rewardModel: { ...SEQUENCE_MODEL, negatives: 'popularity' },
    meanReward: 0.21,
    bestReward: 4.5,
    ...changes,
  });
}

/**
 * The tracks world: real track text, **synthetic** sequences (`trackSequences`); the rule and numbers of the LFM-like world. It has the
 * size of the paper's LFM and nothing else of it.
 *
 * @param changes - fields to differ in.
 * @throws {InvalidArgumentError} for fields out of range.
 */
export function tracksWorldSpec(changes: Partial<SequenceWorldSpec> = {}): SequenceWorldSpec {
  return checkSpec('tracksWorldSpec', {
    ...SEQUENCE_WORLD_DEFAULTS,
    name: 'tracks',
    description:
      'Real track text (Yes.com), synthetic sequences made by seeded walks over shared artists and tags: a user comes with one track; each track shown is appended and pays 0 to 5 by an ensemble of SASRec models fitted to the walks; patience runs out, fast with more of one tag. It says nothing of real listeners.',
    category: 'tag',
    rule: LFM_TEMPER,
    rewardModel: { ...SEQUENCE_MODEL, negatives: 'popularity' },
    meanReward: 0.34,
    bestReward: 4.3,
    ...changes,
  });
}

function checkSpec(where: string, spec: SequenceWorldSpec): SequenceWorldSpec {
  return checkOptions(sequenceWorldSpecSchema, spec, where) as SequenceWorldSpec;
}
