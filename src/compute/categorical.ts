import { InvalidArgumentError } from '../foundation/errors.js';

/**
 * The policy's distribution from its logits, row by row, in float64 plain loops: softmax over the items that are not
 * excluded, inverse CDF, top-k. One download of the logits and no further kernel.
 */
export class Categorical {
  readonly #size: number;
  readonly #itemCount: number;
  readonly #logits: Float32Array;
  readonly #excluded: Uint8Array | undefined;
  readonly #temperature: number;
  readonly #mass: Float64Array;

  /**
   * @param logits - `[B, A]`, without mask and temperature.
   * @param options - `itemCount` A; `excluded` `[B, A]`, 1 where an item may not be chosen (at least one per row may); `temperature` > 0.
   * @throws {InvalidArgumentError} when a logit that is not excluded is not finite.
   */
  constructor(
    logits: Float32Array,
    options: { readonly itemCount: number; readonly excluded: Uint8Array | undefined; readonly temperature: number },
  ) {
    this.#itemCount = options.itemCount;
    this.#size = logits.length / options.itemCount;
    this.#logits = logits;
    this.#excluded = options.excluded;
    this.#temperature = options.temperature;
    this.#mass = new Float64Array(options.itemCount);
  }

  /** Draws one item for each row: the first whose cumulative mass exceeds u times the total. */
  sample(uniforms: Float64Array): { actions: Int32Array; logProb: Float32Array } {
    const actions = new Int32Array(this.#size);
    const logProb = new Float32Array(this.#size);
    for (let row = 0; row < this.#size; row++) {
      const { top, total } = this.#fill(row);
      const goal = (uniforms[row] as number) * total;
      let cumulative = 0;
      let chosen = -1;
      // Ends at the last item that has any mass, should rounding keep the sum from exceeding the goal.
      for (let item = 0; item < this.#itemCount; item++) {
        const mass = this.#mass[item] as number;
        if (mass === 0) continue;
        chosen = item;
        cumulative += mass;
        if (cumulative > goal) break;
      }
      actions[row] = chosen;
      logProb[row] = this.#logProb(row, chosen, top, total);
    }
    return { actions, logProb };
  }

  /** The k best items of each row, best first, ties by lower index. */
  topK(k: number): { items: Int32Array; logProb: Float32Array } {
    const items = new Int32Array(this.#size * k);
    const logProb = new Float32Array(this.#size * k);
    for (let row = 0; row < this.#size; row++) {
      const { top, total } = this.#fill(row);
      const best = this.#best(row, k);
      if (best.length < k) {
        throw new InvalidArgumentError(
          `Expected \`k\` to be at most ${best.length}, the number of items the mask leaves in row ${row}, got ${k}`,
          {
            argument: 'k',
            wanted: `at most ${best.length}`,
            got: k,
          },
        );
      }
      for (const [place, item] of best.entries()) {
        items[row * k + place] = item;
        logProb[row * k + place] = this.#logProb(row, item, top, total);
      }
    }
    return { items, logProb };
  }

  /** All probabilities, `[B, A]`; exactly 0 where excluded. */
  probabilities(): Float32Array {
    const probabilities = new Float32Array(this.#size * this.#itemCount);
    for (let row = 0; row < this.#size; row++) {
      const { total } = this.#fill(row);
      const offset = row * this.#itemCount;
      for (let item = 0; item < this.#itemCount; item++)
        probabilities[offset + item] = (this.#mass[item] as number) / total;
    }
    return probabilities;
  }

  /** Fills the masses exp((logit - top) / temperature) of a row, 0 where excluded. */
  #fill(row: number): { top: number; total: number } {
    const offset = row * this.#itemCount;
    let top = Number.NEGATIVE_INFINITY;
    for (let item = 0; item < this.#itemCount; item++) {
      if (this.#excluded?.[offset + item] === 1) continue;
      const logit = this.#logits[offset + item] as number;
      if (!Number.isFinite(logit)) {
        throw new InvalidArgumentError(
          `The logits are not finite (${logit} for item ${item} in row ${row}): the parameters have diverged`,
          {
            argument: 'batch',
            wanted: 'finite logits',
            got: logit,
          },
        );
      }
      if (logit > top) top = logit;
    }
    let total = 0;
    for (let item = 0; item < this.#itemCount; item++) {
      const isExcluded = this.#excluded?.[offset + item] === 1;
      const mass = isExcluded ? 0 : Math.exp(((this.#logits[offset + item] as number) - top) / this.#temperature);
      this.#mass[item] = mass;
      total += mass;
    }
    return { top, total };
  }

  #logProb(row: number, item: number, top: number, total: number): number {
    return ((this.#logits[row * this.#itemCount + item] as number) - top) / this.#temperature - Math.log(total);
  }

  /** A sorted list of the best so far; each item is compared with its end first, so most cost one comparison. */
  #best(row: number, k: number): number[] {
    const offset = row * this.#itemCount;
    const best: number[] = [];
    const logitOf = (item: number): number => this.#logits[offset + item] as number;
    for (let item = 0; item < this.#itemCount; item++) {
      if (this.#excluded?.[offset + item] === 1) continue;
      const logit = logitOf(item);
      if (best.length === k && logit <= logitOf(best[k - 1] as number)) continue;
      let low = 0;
      let high = best.length;
      while (low < high) {
        const middle = (low + high) >> 1;
        if (logitOf(best[middle] as number) >= logit) low = middle + 1;
        else high = middle;
      }
      best.splice(low, 0, item);
      if (best.length > k) best.pop();
    }
    return best;
  }
}
