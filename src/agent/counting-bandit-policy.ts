import { z } from 'zod';
import type { HistoryBatch } from '../compute/history-batch.js';
import { argumentError, checkNumber, checkObject } from '../foundation/arguments.js';
import { CheckpointError, InvalidArgumentError } from '../foundation/errors.js';
import type { NamedArrays } from '../foundation/named-arrays.js';
import { checkOptions } from '../foundation/options.js';
import type { ActOptions, Decision, Feedback, Policy, PolicyOptions, Ranking } from './policy.js';
import type { RowScorer } from './row-scorer.js';
import { actByScore, probabilitiesByScore, topKByScore } from './row-scorer.js';

/** Settings of {@link CountingBanditPolicy}. */
export interface CountingBanditOptions {
  /** A, >= 1. */
  readonly itemCount: number;
  /**
   * What an item is taken to be worth before it was shown, reward units. Above the mean reward it makes the bandit try
   * every item in turn.
   *
   * @default 1.5, the optimistic start of learning.md 2
   */
  readonly prior?: number;
  /**
   * How many observations the prior counts as, > 0.
   *
   * @default 1
   */
  readonly priorCount?: number;
  /**
   * Temperature of a softmax over the values, reward units, > 0; it then samples. Default: none, it always takes the best.
   */
  readonly temperature?: number;
}

const optionsSchema = z.strictObject({
  itemCount: z
    .int()
    .min(1)
    .max(2 ** 27),
  prior: z.number().default(1.5),
  priorCount: z.number().positive().default(1),
  temperature: z.number().positive().optional(),
});

/**
 * One list for all users, kept by counting: value(i) = (sum of i's rewards + priorCount · prior) / (times shown +
 * priorCount). No text, no history, no gradient: the row that every learner must beat.
 */
export class CountingBanditPolicy implements Policy {
  /** `countingBandit`. */
  readonly name = 'countingBandit';
  readonly #scorer: RowScorer;
  readonly #sums: Float64Array;
  readonly #counts: Float64Array;
  readonly #prior: number;
  readonly #priorCount: number;

  /**
   * @param options - See {@link CountingBanditOptions}.
   * @throws {InvalidArgumentError} when an option is out of range.
   */
  constructor(options: CountingBanditOptions) {
    const { itemCount, prior, priorCount, temperature } = checkOptions(optionsSchema, options, 'CountingBanditPolicy');
    this.#sums = new Float64Array(itemCount);
    this.#counts = new Float64Array(itemCount);
    this.#prior = prior;
    this.#priorCount = priorCount;
    this.#scorer = {
      itemCount,
      link: temperature === undefined ? 'best' : 'softmax',
      temperature: temperature ?? 1,
      scoreRow: (_batch, _row, into) => {
        for (let item = 0; item < itemCount; item++) into[item] = this.#value(item);
      },
    };
  }

  /**
   * @param item - Index, 0 to A - 1.
   * @returns what the item is taken to be worth, reward units.
   * @throws {InvalidArgumentError} for an item outside the catalogue.
   */
  value(item: number): number {
    checkNumber('CountingBanditPolicy.value', 'item', item, { low: 0, high: this.#sums.length - 1, integer: true });
    return this.#value(item);
  }

  #value(item: number): number {
    const weight = this.#priorCount;
    return ((this.#sums[item] as number) + weight * this.#prior) / ((this.#counts[item] as number) + weight);
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

  /**
   * Counts rewards; those of a batch count together, whatever their order.
   *
   * @throws {InvalidArgumentError} for an item outside the catalogue or a reward that is not finite; nothing is counted then.
   */
  observe(feedback: Pick<Feedback, 'actions' | 'rewards'>): void {
    checkObject('CountingBanditPolicy.observe', 'feedback', feedback);
    const { actions, rewards } = feedback;
    for (const [name, array] of Object.entries({ actions, rewards })) {
      if (ArrayBuffer.isView(array)) continue;
      throw argumentError('CountingBanditPolicy.observe', name, 'a typed array', array);
    }
    const A = this.#scorer.itemCount;
    const isSound = actions.length === rewards.length && actions.every((item) => item >= 0 && item < A);
    if (!isSound || !rewards.every(Number.isFinite)) {
      throw new InvalidArgumentError(
        `CountingBanditPolicy.observe: expected items below ${A}, each with a finite reward, got ${actions.length} items and ${rewards.length} rewards`,
        { argument: 'actions', wanted: `items below ${A} with a finite reward each`, got: [...actions] },
      );
    }
    actions.forEach((item, row) => {
      this.#sums[item] = (this.#sums[item] as number) + (rewards[row] as number);
      this.#counts[item] = (this.#counts[item] as number) + 1;
    });
  }

  /** Its state for a checkpoint: live views of `sums` and `counts`, `[A]`. */
  toNamedArrays(): NamedArrays {
    const shape = [this.#scorer.itemCount];
    return { sums: { shape, data: this.#sums }, counts: { shape, data: this.#counts } };
  }

  /**
   * Takes over the state that {@link CountingBanditPolicy.toNamedArrays} gave, bit for bit.
   *
   * @param source - Where the arrays come from, for messages.
   * @throws {CheckpointError} when an array is missing, of another size or kind, or impossible.
   */
  load(arrays: NamedArrays, source: string): void {
    const A = this.#scorer.itemCount;
    const [sums, counts] = [arrays.sums?.data, arrays.counts?.data];
    const fits =
      sums instanceof Float64Array && counts instanceof Float64Array && sums.length === A && counts.length === A;
    if (!fits || !sums.every(Number.isFinite) || !counts.every((count) => Number.isInteger(count) && count >= 0)) {
      throw new CheckpointError(`${source}: expected the sums and counts of a counting bandit over ${A} items`, {
        source,
      });
    }
    this.#sums.set(sums);
    this.#counts.set(counts);
  }
}
