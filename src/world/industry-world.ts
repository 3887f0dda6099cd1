import { INDUSTRY_TEMPER, type TemperRule } from '../env/leave-rules.js';
import { SEQUENCE_WORLD_DEFAULTS, type SequenceWorldSpec } from './sequence-world.js';

/**
 * The leave rule of the Industry-like world: T0 11, and a price of 2 on a third product of one level-2 category. At
 * {@link INDUSTRY_TEMPER}'s 1.5 a list of the most popular products, told nothing, got two thirds of what a planner gets.
 */
export const INDUSTRY_WORLD_TEMPER: TemperRule = {
  ...INDUSTRY_TEMPER,
  diversity: { lookback: 4, repeats: 2, drop: 2 },
};

/**
 * The Industry-like world (environments.md section 3), for the Amazon data: T0 11, the second of the category names bores at a
 * drop of 2, uniform negatives, rewards of mean 0.21 and best 4.5. Not the paper's Industry, whose rule is not published.
 *
 * @param changes - fields to differ in.
 */
export function industryWorldSpec(changes: Partial<SequenceWorldSpec> = {}): SequenceWorldSpec {
  return {
    ...SEQUENCE_WORLD_DEFAULTS,
    name: 'industry',
    description:
      'Industry-like, on Amazon Industrial and Scientific: a user comes with one product; each product shown is appended and pays 0 to 5 by an ensemble of SASRec models; patience runs out, sooner with more of a kind. Not the paper’s Industry, whose rule is not published.',
    category: 'level2',
    rule: INDUSTRY_WORLD_TEMPER,
    meanReward: 0.21,
    bestReward: 4.5,
    ...changes,
  };
}
