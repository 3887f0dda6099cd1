import { z } from 'zod';
import type { HistoryBatch } from '../compute/history-batch.js';
import { checkOptions } from '../foundation/options.js';
import type { ActOptions, Decision, Policy, PolicyOptions, Ranking } from './policy.js';
import type { RowScorer } from './row-scorer.js';
import { actByScore, probabilitiesByScore, topKByScore } from './row-scorer.js';

const optionsSchema = z.strictObject({
  itemCount: z
    .int()
    .min(1)
    .max(2 ** 27),
});

/**
 * Every allowed item with the same probability. It has no best item: `argmax` is the allowed item of the lowest index,
 * so use it `sampled`.
 */
export class RandomPolicy implements Policy {
  /** `random`. */
  readonly name = 'random';
  readonly #scorer: RowScorer;

  /**
   * @param options.itemCount - A, >= 1.
   * @throws {InvalidArgumentError} when it is not.
   */
  constructor(options: { readonly itemCount: number }) {
    const { itemCount } = checkOptions(optionsSchema, options, 'RandomPolicy');
    this.#scorer = { itemCount, link: 'proportional', temperature: 1, scoreRow: (_batch, _row, into) => into.fill(1) };
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
