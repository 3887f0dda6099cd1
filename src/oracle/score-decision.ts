/** log(sum of exp), without overflow; `-Infinity` of nothing. */
export function logSumExp(values: readonly number[]): number {
  const most = values.reduce((max, value) => Math.max(max, value), Number.NEGATIVE_INFINITY);
  if (most === Number.NEGATIVE_INFINITY) return most;
  return most + Math.log(values.reduce((sum, value) => sum + Math.exp(value - most), 0));
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
  const K = scores.length - 1;
  const most = Math.max(...scores.slice(0, K));
  // Of equals an exact one wins: what is only bounded by the same number is truly less likely.
  const exact = scores.findIndex((score, i) => i < K && score === most && bounded[i] !== true);
  const best = exact >= 0 ? exact : scores.indexOf(most);
  const none = scores[K] as number;
  const bestIsExact = bounded[best] !== true && most > Number.NEGATIVE_INFINITY;
  if (noneThreshold === undefined) {
    if (none > most || (none === most && !bestIsExact)) {
      return bounded[K] === true || none === Number.NEGATIVE_INFINITY ? 'undecided' : 'none';
    }
    return bestIsExact ? best : 'undecided';
  }
  const candidates = scores.slice(0, K);
  const surely = (bounded[K] === true ? Number.NEGATIVE_INFINITY : none) - logSumExp(candidates);
  if (surely > noneThreshold) return 'none';
  const atMost = none - logSumExp(candidates.filter((_, i) => bounded[i] !== true));
  // NaN, of two impossible sides, is no more a None than a choice.
  if (atMost <= noneThreshold) return bestIsExact ? best : 'undecided';
  return 'undecided';
}
