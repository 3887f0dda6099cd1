/** Standard normal quantile of 97.5 %. */
const Z = 1.959963984540054;

/** A share with its 95 % interval. */
export interface ShareInterval {
  /** Hits over trials; NaN without trials. */
  readonly share: number;
  /** Lower end. */
  readonly low: number;
  /** Upper end. */
  readonly high: number;
}

/** A share of n trials with its 95 % Wilson score interval, which stays in 0..1 and is never empty. */
export function wilson(hits: number, n: number): ShareInterval {
  if (n === 0) return { share: Number.NaN, low: Number.NaN, high: Number.NaN };
  const share = hits / n;
  const centre = (share + (Z * Z) / (2 * n)) / (1 + (Z * Z) / n);
  const half = (Z / (1 + (Z * Z) / n)) * Math.sqrt((share * (1 - share)) / n + (Z * Z) / (4 * n * n));
  return { share, low: Math.max(0, centre - half), high: Math.min(1, centre + half) };
}

/**
 * How much more often the other hits than the base on the same trials, with a 95 % interval: the score interval for paired
 * proportions would need a root search; this is the adjusted Wald interval of Agresti and Min (0.5 added to each of the four
 * cells), which is near it and never empty.
 */
export function pairedGain(
  base: readonly boolean[],
  other: readonly boolean[],
): { readonly gain: number; readonly low: number; readonly high: number } {
  const n = base.length;
  if (n === 0) return { gain: Number.NaN, low: Number.NaN, high: Number.NaN };
  let won = 0;
  let lost = 0;
  for (let i = 0; i < n; i++) {
    if (other[i] && !base[i]) won++;
    else if (base[i] && !other[i]) lost++;
  }
  const [b, c, N] = [won + 0.5, lost + 0.5, n + 2];
  const centre = (b - c) / N;
  const half = (Z * Math.sqrt(b + c - (b - c) ** 2 / N)) / N;
  return { gain: (won - lost) / n, low: Math.max(-1, centre - half), high: Math.min(1, centre + half) };
}

/** Mean; NaN of nothing. */
export function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** Population standard deviation; NaN of nothing. */
export function deviation(values: readonly number[]): number {
  const centre = mean(values);
  return Math.sqrt(mean(values.map((value) => (value - centre) ** 2)));
}
