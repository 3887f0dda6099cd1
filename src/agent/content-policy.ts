import { z } from 'zod';
import { ItemFeatures } from '../catalog/item-features.js';
import type { HistoryBatch } from '../compute/history-batch.js';
import { ItemCosines } from '../compute/item-cosines.js';
import { argumentError, checkObject } from '../foundation/arguments.js';
import { InvalidArgumentError } from '../foundation/errors.js';
import { checkOptions } from '../foundation/options.js';
import type { ActOptions, Decision, Policy, PolicyOptions, Ranking } from './policy.js';
import { checkedItemValues } from './popularity-policy.js';
import type { RowScorer } from './row-scorer.js';
import { actByScore, probabilitiesByScore, topKByScore } from './row-scorer.js';

/** Settings of {@link ContentPolicy}. */
export interface ContentPolicyOptions {
  /**
   * How many of the last items are compared with, >= 1.
   *
   * @default 10
   */
  readonly window?: number;
  /**
   * Weight of an item against that of the one after it, above 0 and up to 1.
   *
   * @default 0.8
   */
  readonly decay?: number;
  /**
   * Temperature of the softmax over scores (which lie from -1 to 1) when sampling, > 0; multiplies that of the call.
   *
   * @default 0.1, the noise of the simulated oracle
   */
  readonly temperature?: number;
  /**
   * Scores for users without a history, `[A]`, such as popularity scaled to 0..1. Default: zeros, so that sampling is
   * uniform.
   */
  readonly coldStart?: ArrayLike<number>;
}

const optionsSchema = z.strictObject({
  window: z.int().min(1).default(10),
  decay: z.number().positive().max(1).default(0.8),
  temperature: z.number().positive().default(0.1),
});

/**
 * Recommends what reads like the history, with no learning and no oracle call: score(i) = 0.5 max_j cos(i, h_j) + 0.5
 * Σ_j decay^age_j cos(i, h_j) / Σ_j decay^age_j over the last items h_j, the newest of age 0. It is the simulated text oracle
 * without its noise (learning.md 3), hence what any oracle that knows only text can teach. Where the features have exact `terms`, as
 * those of `ItemFeatures.tfidf` have, their cosines are meant, as in history features; else the products of the rows.
 */
export class ContentPolicy implements Policy {
  /** `content`. */
  readonly name = 'content';
  readonly #scorer: RowScorer;
  readonly #window: number;
  readonly #decay: number;
  readonly #coldStart: Float64Array;
  readonly #cosines: ItemCosines;

  /**
   * @param features - Rows of unit norm; borrowed.
   * @param options - See {@link ContentPolicyOptions}.
   * @throws {InvalidArgumentError} when an option is out of range, or `coldStart` has not one finite number for each item.
   */
  constructor(features: ItemFeatures, options: ContentPolicyOptions = {}) {
    if (!(features instanceof ItemFeatures)) throw argumentError('ContentPolicy', 'features', 'ItemFeatures', features);
    checkObject('ContentPolicy', 'options', options);
    const { coldStart, ...rest } = options;
    const { window, decay, temperature } = checkOptions(optionsSchema, rest, 'ContentPolicy');
    const { matrix, width, terms } = features;
    const itemCount = matrix.length / width;
    this.#cosines = new ItemCosines(terms ? { rows: terms } : { matrix, width }, itemCount, window);
    this.#window = window;
    this.#decay = decay;
    this.#coldStart =
      coldStart === undefined
        ? new Float64Array(itemCount)
        : checkedItemValues('ContentPolicy', 'coldStart', coldStart, -Infinity);
    if (this.#coldStart.length !== itemCount) {
      const [wanted, got] = [`${itemCount} numbers, one for each item`, this.#coldStart.length];
      throw new InvalidArgumentError(`ContentPolicy: expected \`coldStart\` to hold ${wanted}, got ${got}`, {
        argument: 'coldStart',
        wanted,
        got,
      });
    }
    this.#scorer = {
      itemCount,
      link: 'softmax',
      temperature,
      scoreRow: (batch, row, into) => this.#score(batch, row, into),
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

  #score(batch: HistoryBatch, row: number, scores: Float64Array): void {
    const length = batch.lengths[row] as number;
    const seen = Math.min(length, this.#window);
    if (seen === 0) {
      scores.set(this.#coldStart);
      return;
    }
    const A = scores.length;
    const best = new Float64Array(A).fill(-Infinity);
    scores.fill(0);
    let weight = 1;
    let total = 0;
    for (let age = 0; age < seen; age++) {
      const cosines = this.#cosines.of(batch.items[row * batch.length + length - 1 - age] as number);
      for (let item = 0; item < A; item++) {
        const cosine = cosines[item] as number;
        scores[item] = (scores[item] as number) + weight * cosine;
        if (cosine > (best[item] as number)) best[item] = cosine;
      }
      total += weight;
      weight *= this.#decay;
    }
    for (let item = 0; item < A; item++) {
      scores[item] = 0.5 * (best[item] as number) + (0.5 * (scores[item] as number)) / total;
    }
  }
}
