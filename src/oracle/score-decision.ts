/** log(sum of exp), without overflow; `-Infinity` of nothing. */
export function logSumExp(values: readonly number[]): number {
  const most = values.reduce((max, value) => Math.max(max, value), Number.NEGATIVE_INFINITY);
  if (most === Number.NEGATIVE_INFINITY) return most;
  return most + Math.log(values.reduce((sum, value) => sum + Math.exp(value - most), 0));
}

/** What is known of some scores: each lies from its `low` to its `high`, which are equal where it is exact. */
export interface ScoreRange {
  readonly low: readonly number[];
  readonly high: readonly number[];
}

/**
 * Scores as ranges.
 *
 * @param bounded - true where a score is only an upper bound. @default none is
 */
export function scoreRange(scores: readonly number[], bounded: readonly boolean[] = []): ScoreRange {
  return { low: scores.map((score, i) => (bounded[i] === true ? Number.NEGATIVE_INFINITY : score)), high: scores };
}

/** What score `i` is of the sum of all, in logs: `own[i]` itself, and the others as `others` has them. */
export function logShare(i: number, own: readonly number[], others: readonly number[]): number {
  const score = own[i] as number;
  if (score === Number.NEGATIVE_INFINITY) return score;
  return score - logSumExp(others.map((other, j) => (j === i ? score : other)));
}

/** What K + 1 scores say: a place 0..K-1, None, or nothing, because it hangs on a score that is only a bound. */
export type ScoreDecision = number | 'none' | 'undecided';

/**
 * Reads a decision out of K candidates' log-probabilities and None's (oracles.md 7).
 *
 * @param scores - K + 1 of them, None's last. Equal ones: the first wins.
 * @param noneThreshold - None when log p(None) - logsumexp p(candidates) is above it. @default plain arg-max over K + 1
 * @param bounded - `[K + 1]` true where a score is only an upper bound. @default none is
 */
export function decide(
  scores: readonly number[],
  noneThreshold: number | undefined,
  bounded: readonly boolean[] = [],
): ScoreDecision {
  return decideInRange(scoreRange(scores, bounded), noneThreshold);
}

/**
 * The decision that is the same wherever in their ranges the scores lie.
 *
 * @param scores - of K candidates and None.
 * @param weighed - `[K]` what decides among the candidates in place of their scores; the scores' sum, hence None's odds against them
 * all, stays. @default their scores
 */
export function decideInRange(
  { low, high }: ScoreRange,
  noneThreshold: number | undefined,
  weighed?: ScoreRange,
): ScoreDecision {
  const K = low.length - 1;
  if (noneThreshold === undefined && weighed === undefined) {
    const place = surelyHighest({ low, high });
    return place === K ? 'none' : (place ?? 'undecided');
  }
  const candidates = { low: low.slice(0, K), high: high.slice(0, K) };
  const among = weighed ?? candidates;
  const best = surelyHighest(among);
  const { least, most } =
    noneThreshold === undefined ? shareOfBest(among, best) : { least: noneThreshold, most: noneThreshold };
  // NaN, of two impossible sides, is no more a None than a choice.
  if ((low[K] as number) - logSumExp(candidates.high) > most) return 'none';
  if ((high[K] as number) - logSumExp(candidates.low) <= least) return best ?? 'undecided';
  return 'undecided';
}

/** The place that is highest wherever in their ranges the scores lie, the first of equals; undefined where that hangs on a bound. */
function surelyHighest({ low, high }: ScoreRange): number | undefined {
  const least = Math.max(...low);
  const best = low.indexOf(least);
  if (least === Number.NEGATIVE_INFINITY) return undefined;
  // An equal bound is no rival: what is only bounded by the same number is truly less likely.
  return high.every((most, i) => i === best || most <= least) ? best : undefined;
}

/** Which share of the candidates' sum the best has: above it None's odds make None the likeliest of K + 1. */
function shareOfBest(
  { low, high }: ScoreRange,
  best: number | undefined,
): { readonly least: number; readonly most: number } {
  return {
    least: best === undefined ? Number.NEGATIVE_INFINITY : logShare(best, low, high),
    most: Math.max(...high.map((_, i) => logShare(i, high, low))),
  };
}
