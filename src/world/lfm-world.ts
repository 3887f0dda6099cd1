import { INDUSTRY_TEMPER, type TemperRule } from '../env/leave-rules.js';
import { SEQUENCE_MODEL } from './sequence-model.js';
import { SEQUENCE_WORLD_DEFAULTS, type SequenceWorldSpec } from './sequence-world.js';

/** The leave rule of the LFM-like world: T0 10, and a hard price of 3 on a third artist of one tag. */
export const LFM_TEMPER: TemperRule = {
  ...INDUSTRY_TEMPER,
  start: 10,
  diversity: { lookback: 4, repeats: 2, drop: 3 },
};

/**
 * The LFM-like world (environments.md section 3), for the Last.fm artists: T0 10, the most given tag bores at a drop of 3,
 * negatives by popularity, rewards of mean 0.34 and best 4.3. Not the paper's LFM, which is of tracks and has no published rule.
 *
 * @param changes - fields to differ in.
 */
export function lfmWorldSpec(changes: Partial<SequenceWorldSpec> = {}): SequenceWorldSpec {
  return {
    ...SEQUENCE_WORLD_DEFAULTS,
    name: 'lfm',
    description:
      'LFM-like, on artists of Last.fm: a user comes with one artist; each artist shown is appended and pays 0 to 5 by an ensemble of SASRec models; patience runs out, fast with more of one tag. Not the paper’s LFM, which is of tracks and has no published rule.',
    category: 'tag',
    rule: LFM_TEMPER,
    rewardModel: { ...SEQUENCE_MODEL, negatives: 'popularity' },
    meanReward: 0.34,
    bestReward: 4.3,
    ...changes,
  };
}
