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
