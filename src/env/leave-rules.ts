import { z } from 'zod';

/** Boredom with more of the same kind. */
export interface DiversityRule {
  /** How many of the items shown before the new one are looked at, >= 1. */
  readonly lookback: number;
  /** How many of them of the new item's category make the user impatient, >= 1. */
  readonly repeats: number;
  /** The temper such a step costs at least. */
  readonly drop: number;
}

/** Weariness with more of the same kind that shows in the reward. */
export interface FatigueRule {
  /** How many of the latest items of the history are looked at, start items included, >= 1. */
  readonly lookback: number;
  /** What each of them of the new item's category multiplies its reward by, from 0 to 1. */
  readonly factor: number;
}

/** Leaving by chance instead of at a mark. */
export interface StochasticRule {
  /**
   * After each item the user leaves with probability sigmoid((leaveBelow - temper) / scale): even odds at the mark, > 0. The
   * smaller, the closer to leaving at the mark.
   */
  readonly scale: number;
}

/**
 * A user's patience (environments.md section 3, after HAC): temper starts at `start`, falls with every item, less with one that
 * pleases, and the user leaves once it is below `leaveBelow`.
 */
export interface TemperRule {
  /** Temper T0 at the start of an episode. */
  readonly start: number;
  /** An item pleases when its reward is at least this. */
  readonly likedFrom: number;
  /** What an item that pleases costs. */
  readonly likedDrop: number;
  /** What any other item costs. */
  readonly otherDrop: number;
  /** The user leaves when temper is below this. */
  readonly leaveBelow: number;
  /** Boredom, where the world has it. */
  readonly diversity?: DiversityRule;
  /** Weariness in the reward, where the world has it. Temper follows the wearied reward. */
  readonly fatigue?: FatigueRule;
  /** Leaving by chance, where the world has it: drawn from the episode's own seed. Planners that know the rule take the mark for it. */
  readonly stochastic?: StochasticRule;
}

/** Schema of a {@link TemperRule}. */
export const temperRuleSchema = z.strictObject({
  start: z.number().positive(),
  likedFrom: z.number(),
  likedDrop: z.number().positive(),
  otherDrop: z.number().positive(),
  leaveBelow: z.number(),
  diversity: z
    .strictObject({ lookback: z.int().min(1).max(64), repeats: z.int().min(1), drop: z.number().positive() })
    .refine(({ lookback, repeats }) => repeats <= lookback, 'expected `repeats` to be at most `lookback`')
    .optional(),
  fatigue: z.strictObject({ lookback: z.int().min(1).max(64), factor: z.number().min(0).max(1) }).optional(),
  stochastic: z.strictObject({ scale: z.number().positive().max(1000) }).optional(),
});

/**
 * The calibration of environments.md section 3: T0 11, -0.9 or -2.1 around r = 0.5, leave below 1; an item of whose category two
 * or more of the last four items were costs at least 1.5. That the four are those *before* the new item is our reading: the
 * other one (the new item among the four) ends a greedy planner's episodes well before the lengths given there.
 */
export const INDUSTRY_TEMPER: TemperRule = {
  start: 11,
  likedFrom: 0.5,
  likedDrop: 0.9,
  otherDrop: 2.1,
  leaveBelow: 1,
  diversity: { lookback: 4, repeats: 2, drop: 1.5 },
};

/** {@link INDUSTRY_TEMPER} without boredom: parity with simulators that have no such rule. */
export const PLAIN_TEMPER: TemperRule = { start: 11, likedFrom: 0.5, likedDrop: 0.9, otherDrop: 2.1, leaveBelow: 1 };

/** {@link INDUSTRY_TEMPER} with a hard price of 3 on a third of a kind: the rule of the embedded synthetic world. */
export const SYNTHETIC_TEMPER: TemperRule = { ...INDUSTRY_TEMPER, diversity: { lookback: 4, repeats: 2, drop: 3 } };

/**
 * How many of the latest items are of the new item's category.
 *
 * @param codes - category of each item, `[A]`; -1 = missing, which matches nothing, not even another -1.
 * @param item - the new item.
 * @param shown - holds the items shown before it, newest last.
 * @param end - where they end in `shown`.
 * @param count - how many of them, from the end, are looked at: {@link temperLookback}.
 */
export function sameCategory(codes: Int32Array, item: number, shown: Int32Array, end: number, count: number): number {
  const code = codes[item] as number;
  if (code < 0) return 0;
  let same = 0;
  for (let i = end - count; i < end; i++) if (codes[shown[i] as number] === code) same++;
  return same;
}

/**
 * What one item costs the user's temper.
 *
 * @param rule - the rule.
 * @param reward - the item's reward.
 * @param same - what {@link sameCategory} counted.
 */
export function temperDrop(rule: TemperRule, reward: number, same: number): number {
  const drop = reward >= rule.likedFrom ? rule.likedDrop : rule.otherDrop;
  const { diversity } = rule;
  return diversity !== undefined && same >= diversity.repeats ? Math.max(drop, diversity.drop) : drop;
}

/** How many of the items before the new one {@link sameCategory} looks at, when `step` items of the episode have been shown: start items count for nothing. */
export function temperLookback(rule: TemperRule, step: number): number {
  return rule.diversity === undefined ? 0 : Math.min(step, rule.diversity.lookback);
}

/**
 * What weariness leaves of an item's reward: factor^same, same being what {@link sameCategory} counts among the latest items.
 *
 * @param shown - holds the history, newest last, from `begin` to `end`.
 */
export function fatigueShare(
  rule: FatigueRule,
  codes: Int32Array,
  item: number,
  shown: Int32Array,
  begin: number,
  end: number,
): number {
  const same = sameCategory(codes, item, shown, end, Math.min(rule.lookback, end - begin));
  return same === 0 ? 1 : rule.factor ** same;
}

/** Whether the user leaves at this temper. @param uniform - in [0, 1); read only where leaving is by chance. */
export function temperLeaves(rule: TemperRule, temper: number, uniform: number): boolean {
  const { stochastic, leaveBelow } = rule;
  if (stochastic === undefined) return temper < leaveBelow;
  return uniform < 1 / (1 + Math.exp((temper - leaveBelow) / stochastic.scale));
}
