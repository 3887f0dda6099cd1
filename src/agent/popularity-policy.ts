import type { HistoryBatch } from '../compute/history-batch.js';
import { argumentError } from '../foundation/arguments.js';
import { InvalidArgumentError } from '../foundation/errors.js';
import type { ActOptions, Decision, Policy, PolicyOptions, Ranking } from './policy.js';
import type { RowScorer } from './row-scorer.js';
import { actByScore, probabilitiesByScore, topKByScore } from './row-scorer.js';

/**
 * Recommends what was chosen most: `argmax` the most popular allowed item, `sampled` in proportion to the counts (to
 * counts^(1 / temperature)). Where every allowed item has count 0 the draw is uniform.
 */
export class PopularityPolicy implements Policy {
  /** `popularity`. */
  readonly name = 'popularity';
  readonly #scorer: RowScorer;

  /**
   * @param counts - How often each item was chosen, `[A]`, finite and >= 0, such as `sequences.counts()`; copied.
   * @throws {InvalidArgumentError} naming the first count that is not such a number, or when there is none.
   */
  constructor(counts: ArrayLike<number>) {
    const scores = checkedItemValues('PopularityPolicy', 'counts', counts, 0);
    this.#scorer = {
      itemCount: scores.length,
      link: 'proportional',
      temperature: 1,
      scoreRow: (_batch, _row, into) => into.set(scores),
    };
  }

  /** See {@link Policy.act}. */
  act(batch: HistoryBatch, options: ActOptions): Decision {
    return actByScore(this.#scorer, batch, options);
  }

  /** See {@link Policy.probabilities}. */
  probabilities(batch: HistoryBatch, options?: PolicyOptions): Float32Array {
    return probabilitiesByScore(this.#scorer, batch, options);
  }

  /** See {@link Policy.topK}. */
  topK(batch: HistoryBatch, k: number, options?: PolicyOptions): Ranking {
    return topKByScore(this.#scorer, batch, k, options);
  }
}

/** A bound that no catalogue reaches. */
const MAX_ITEMS = 2 ** 27;

/**
 * One finite number for each item, copied.
 *
 * @throws {InvalidArgumentError} naming the first that is not finite or below `low`, or when there is none.
 */
export function checkedItemValues(
  where: string,
  argument: string,
  values: ArrayLike<number>,
  low: number,
): Float64Array {
  const length: unknown = (values as ArrayLike<number> | null | undefined)?.length;
  if (typeof values !== 'object' || !(Number.isSafeInteger(length) && (length as number) <= MAX_ITEMS)) {
    throw argumentError(where, argument, 'an array of numbers', values);
  }
  // Not `Float64Array.from`, which takes '1' and null for numbers.
  const checked = new Float64Array(length as number).map((_, i) => {
    const value: unknown = values[i];
    return typeof value === 'number' ? value : Number.NaN;
  });
  const wrong = checked.findIndex((value) => !(Number.isFinite(value) && value >= low));
  if (checked.length > 0 && wrong < 0) return checked;
  const wanted = `one finite number for each item${low === -Infinity ? '' : `, at least ${low}`}`;
  const got = wrong < 0 ? 'none' : `${checked[wrong]} for item ${wrong}`;
  throw new InvalidArgumentError(`${where}: expected \`${argument}\` to hold ${wanted}, got ${got}`, {
    argument,
    wanted,
    got,
  });
}
