import { InvalidArgumentError } from '../foundation/errors.js';
import type { OracleEvaluation, OracleRow } from './oracle-evaluation.js';
import { wilson } from './shares.js';

/** Whether an oracle is worth using. */
export interface OracleVerdict {
  /** The answer. */
  readonly isWorthUsing: boolean;
  /** The answer and why, one sentence. */
  readonly sentence: string;
}

/** Most answers, as a share, that may name nothing or never come. */
const MAX_UNUSABLE = 0.05;
/** Share of answers changed by the order of candidates from which on position is said to decide. */
const MANY_FLIPS = 0.3;
/** Lists below which a remark on orders or None would be a remark on chance. */
const FEW_LISTS = 20;
/** Area under the curve from which on None tells something: a little above the 0.5 of chance, for 0.55 is within noise at 100 lists. */
const TELLING_NONE = 0.6;

/**
 * One sentence on what evaluations of one oracle say together, by fixed rules, the first that fits:
 *
 * 1. more than 5 % of the answers are unusable or missing: not worth it;
 * 2. on some kind of lists the interval of hit@1 reaches down to chance: not worth it;
 * 3. on some kind of lists text similarity and the oracle together hit more often than similarity alone, the interval of the gain
 *    above 0, or the oracle alone does: worth it;
 * 4. similarity was not compared: worth it, as far as told;
 * 5. otherwise it knows no more than text similarity, which costs nothing: not worth it.
 *
 * Where orders flip 30 % of the answers, or None tells nothing (area under the curve below 0.6), the sentence says so; each is looked at
 * from 20 lists on that were asked in a second order, or without their truth.
 *
 * @param evaluations - of the same oracle: one with uniform and one with popularity negatives, say. At least one.
 * @throws {InvalidArgumentError} when there is none.
 */
export function judgeOracle(evaluations: readonly OracleEvaluation[]): OracleVerdict {
  if (!Array.isArray(evaluations) || evaluations.length === 0) {
    throw new InvalidArgumentError('judgeOracle: expected `evaluations` to hold at least one, got none', {
      argument: 'evaluations',
      wanted: 'at least one evaluation',
    });
  }
  const { isWorthUsing, because } = decided(evaluations);
  const remarks = [because, ...caveats(evaluations)];
  const head = isWorthUsing ? 'Worth using' : 'Not worth using';
  return { isWorthUsing, sentence: `${head}: ${remarks.join('; ')}.` };
}

interface Decision {
  readonly isWorthUsing: boolean;
  readonly because: string;
}

function decided(evaluations: readonly OracleEvaluation[]): Decision {
  const no = (because: string): Decision => ({ isWorthUsing: false, because });
  const yes = (because: string): Decision => ({ isWorthUsing: true, because });
  for (const { invalidRate, failedRate } of evaluations) {
    if (failedRate > MAX_UNUSABLE) return no(`${percent(failedRate)} of the lists got no answer`);
    if (invalidRate > MAX_UNUSABLE) return no(`${percent(invalidRate)} of the answers name no candidate`);
  }
  for (const { hitAt1Low, hitAt1High, hitAt1, hitForced, chance, negatives, rows } of evaluations) {
    const { low, high, share } = knowledge({ hitAt1, hitAt1Low, hitAt1High, hitForced, rows });
    if (!(low > chance)) {
      const where = evaluations.length === 1 ? '' : ` with ${negatives} negatives`;
      return no(
        `hit@1 ${share.toFixed(2)} [${low.toFixed(2)}, ${high.toFixed(2)}]${where} is not above the ${chance.toFixed(2)} of chance`,
      );
    }
  }
  const gains = evaluations.flatMap(({ rows, negatives }) =>
    rows.flatMap(({ oracle, gain, gainLow, gainHigh }) =>
      gain === null || gainLow === null || gainHigh === null ? [] : [{ oracle, negatives, gain, gainLow, gainHigh }],
    ),
  );
  if (gains.length === 0) {
    return yes('hit@1 is above chance; whether it knows more than text similarity was not compared');
  }
  const best = gains.reduce((a, b) => (b.gainLow > a.gainLow ? b : a));
  const gain = `${signed(best.gain)} [${signed(best.gainLow)}, ${signed(best.gainHigh)}] hit@1 with ${best.negatives} negatives`;
  if (best.gainLow > 0) {
    return yes(
      best.oracle === 'model'
        ? `it knows more than text similarity, ${gain}`
        : `it adds to text similarity, ${gain} where both are weighed together`,
    );
  }
  return no(`above chance, but it adds nothing certain to text similarity, which costs nothing (at best ${gain})`);
}

/** hit@1 with None left out where scores allow it: a threshold for None is not knowledge of items. */
function knowledge({
  hitAt1,
  hitAt1Low,
  hitAt1High,
  hitForced,
  rows,
}: Pick<OracleEvaluation, 'hitAt1' | 'hitAt1Low' | 'hitAt1High' | 'hitForced' | 'rows'>): {
  readonly share: number;
  readonly low: number;
  readonly high: number;
} {
  const model = rows.find((row: OracleRow) => row.oracle === 'model');
  if (hitForced === undefined || model === undefined) return { share: hitAt1, low: hitAt1Low, high: hitAt1High };
  return wilson(Math.round(hitForced * model.lists), model.lists);
}

function caveats(evaluations: readonly OracleEvaluation[]): string[] {
  const said: string[] = [];
  const flips = Math.max(...evaluations.map(({ flipRate, secondOrders }) => (secondOrders < FEW_LISTS ? 0 : flipRate)));
  if (flips >= MANY_FLIPS) said.push(`the order of candidates changes ${percent(flips)} of its answers`);
  const areas = evaluations.flatMap(({ noneAuc, noneLists }) => (noneLists < FEW_LISTS ? [] : [noneAuc]));
  if (areas.length > 0 && Math.max(...areas) < TELLING_NONE) said.push('its None tells nothing');
  return said;
}

function percent(share: number): string {
  return `${Math.round(100 * share)} %`;
}

function signed(value: number): string {
  return `${value < 0 ? '-' : '+'}${Math.abs(value).toFixed(2)}`;
}
