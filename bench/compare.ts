import type { CaseName, Contestant } from './cases.js';
import type { CaseResult } from './measure.js';

/** All rounds of one contestant of one case, in numbers. */
export interface Row {
  readonly case: CaseName;
  readonly contestant: Contestant;
  /** Median over the rounds of the median of each, milliseconds. */
  readonly medianMs: number;
  /** The fastest single call. */
  readonly bestMs: number;
  /** The largest of the rounds. */
  readonly peakRssMb: number;
  /** How it ran; of the last round. */
  readonly facts: CaseResult['facts'];
  /** `ppo-*`, `env-*`: environment steps a second, by the median. */
  readonly stepsPerSecond?: number;
}

/** What another contestant takes, as a multiple of what this library takes. */
export interface Ratio {
  readonly case: CaseName;
  readonly against: Contestant;
  /** Its median time divided by ours. */
  readonly time: number;
  /** Its peak memory divided by ours. */
  readonly memory: number;
}

/** How far losses may lie apart. */
const TOLERANCE = 1e-3;

/**
 * Refuses to compare contestants that do not compute the same: the first loss, the last that both have, the top items.
 *
 * @throws {Error} naming the contestant and what it computed.
 */
export function checkSameMaths(name: CaseName, results: ReadonlyMap<Contestant, readonly CaseResult[]>): void {
  const ours = results.get('ialp')?.[0];
  for (const [contestant, [theirs]] of results) {
    const refuse = (what: string, got: unknown, wanted: unknown): never => {
      throw new Error(`${name}: ${contestant} does not compute the same: ${what} ${got} in place of ${wanted}`);
    };
    const items = theirs?.items?.toSorted().join();
    if (items !== ours?.items?.toSorted().join()) refuse('top items', theirs?.items, ours?.items);
    if (ours?.losses === undefined) continue;
    const losses = theirs?.losses ?? [];
    const last = Math.min(losses.length, ours.losses.length) - 1;
    for (const at of [0, last]) {
      const [got, wanted] = [losses[at] as number, ours.losses[at] as number];
      if (!(Math.abs(got - wanted) <= TOLERANCE * Math.abs(wanted))) refuse(`loss ${at + 1}`, got, wanted);
    }
  }
}

/** The median; of an even number the mean of the two in the middle. */
function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] as number;
  return sorted.length % 2 === 1 ? upper : (upper + (sorted[middle - 1] as number)) / 2;
}

/** Sums up all rounds of a contestant. */
export function rowOf(name: CaseName, contestant: Contestant, rounds: readonly CaseResult[]): Row {
  const medianMs = median(rounds.map(({ ms }) => median(ms)));
  return {
    case: name,
    contestant,
    medianMs,
    bestMs: Math.min(...rounds.flatMap(({ ms }) => ms)),
    peakRssMb: Math.max(...rounds.map(({ peakRssMb }) => peakRssMb)),
    facts: (rounds.at(-1) as CaseResult).facts,
    // Its milliseconds are those of 1,000 steps.
    ...(/^(ppo|env)-/.test(name) ? { stepsPerSecond: 1e6 / medianMs } : {}),
  };
}

/** Everyone's time and memory against ours; `rows` are those of one case. */
export function ratiosOf(rows: readonly Row[]): Ratio[] {
  const ours = rows.find(({ contestant }) => contestant === 'ialp');
  if (ours === undefined) return [];
  return rows
    .filter((row) => row !== ours)
    .map((row) => ({
      case: row.case,
      against: row.contestant,
      time: row.medianMs / ours.medianMs,
      memory: row.peakRssMb / ours.peakRssMb,
    }));
}

/**
 * How an update's time grows with the number of items: the slope of log(time) over log(items) by least squares.
 *
 * @param points - items and milliseconds.
 * @returns undefined for fewer than two points.
 */
export function logLogSlope(points: readonly (readonly [items: number, ms: number])[]): number | undefined {
  if (points.length < 2) return undefined;
  const xs = points.map(([items]) => Math.log(items));
  const ys = points.map(([, ms]) => Math.log(ms));
  const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
  const [x0, y0] = [mean(xs), mean(ys)];
  const covariance = xs.reduce((sum, x, i) => sum + (x - x0) * ((ys[i] as number) - y0), 0);
  return covariance / xs.reduce((sum, x) => sum + (x - x0) ** 2, 0);
}
