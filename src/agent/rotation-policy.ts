import { z } from 'zod';
import type { HistoryBatch } from '../compute/history-batch.js';
import { argumentError, checkObject } from '../foundation/arguments.js';
import { InvalidArgumentError } from '../foundation/errors.js';
import { checkOptions } from '../foundation/options.js';
import type { ActOptions, Decision, Policy, PolicyOptions, Ranking } from './policy.js';
import type { RowScorer } from './row-scorer.js';
import { actByScore, probabilitiesByScore, topKByScore } from './row-scorer.js';

const optionsSchema = z.strictObject({
  items: z.array(z.int().min(0)).min(1),
  itemCount: z
    .int()
    .min(1)
    .max(2 ** 27),
});

/**
 * Shows a fixed list again and again: a history of n items gets place n of the cycle. Where the mask excludes that item
 * it takes the next of the cycle that is allowed, and where it excludes the whole list the allowed item of lowest index. It
 * does not sample: both modes do the same.
 */
export class RotationPolicy implements Policy {
  /** `rotation`, or the name given. */
  readonly name: string;
  readonly #scorer: RowScorer;

  /**
   * @param options.items - The list, distinct item indices in the order shown.
   * @param options.itemCount - A.
   * @param name - For tables, such as `rotationTrain`. @default 'rotation'
   * @throws {InvalidArgumentError} when the list is empty, repeats an item or names one outside the catalogue.
   */
  constructor(options: { readonly items: ArrayLike<number>; readonly itemCount: number }, name = 'rotation') {
    checkObject('RotationPolicy', 'options', options);
    if (typeof name !== 'string') throw argumentError('RotationPolicy', 'name', 'a string', name);
    const given = ArrayBuffer.isView(options.items) ? Array.from(options.items as ArrayLike<number>) : options.items;
    const { items, itemCount } = checkOptions(optionsSchema, { ...options, items: given }, 'RotationPolicy');
    const wrong = items.findIndex((item, place) => item >= itemCount || items.indexOf(item) !== place);
    if (wrong >= 0) {
      throw new InvalidArgumentError(
        `RotationPolicy: expected \`items\` to be distinct and below ${itemCount}, got ${items[wrong]} in place ${wrong}`,
        { argument: 'items', wanted: `distinct items below ${itemCount}`, got: items[wrong] },
      );
    }
    this.name = name;
    this.#scorer = {
      itemCount,
      link: 'best',
      temperature: 1,
      scoreRow(batch, row, into) {
        into.fill(0);
        const now = batch.lengths[row] as number;
        // The item whose turn it is scores highest, the one just shown lowest.
        items.forEach((item, place) => {
          into[item] = items.length - ((((place - now) % items.length) + items.length) % items.length);
        });
      },
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
