/** Ended episodes, one entry in each of three columns: an episode makes no object. */
export class EpisodeColumns {
  #count = 0;
  #at = new Float64Array(64);
  #returns = new Float64Array(64);
  #lengths = new Int32Array(64);

  /** Episodes held. */
  get count(): number {
    return this.#count;
  }

  /** Appends an episode; `at` is its lane or the step at its end, as the owner says. */
  push(at: number, episodeReturn: number, length: number): void {
    const i = this.#count++;
    if (i === this.#at.length) this.#grow();
    this.#at[i] = at;
    this.#returns[i] = episodeReturn;
    this.#lengths[i] = length;
  }

  /** Forgets all; memory is kept. */
  clear(): void {
    this.#count = 0;
  }

  /** Lane or step of episode i. */
  at(i: number): number {
    return this.#at[i] as number;
  }

  /** Undiscounted sum of rewards of episode i. */
  return(i: number): number {
    return this.#returns[i] as number;
  }

  /** Steps of episode i. */
  length(i: number): number {
    return this.#lengths[i] as number;
  }

  #grow(): void {
    const room = 2 * this.#at.length;
    const [at, returns, lengths] = [this.#at, this.#returns, this.#lengths];
    this.#at = new Float64Array(room);
    this.#returns = new Float64Array(room);
    this.#lengths = new Int32Array(room);
    this.#at.set(at);
    this.#returns.set(returns);
    this.#lengths.set(lengths);
  }
}
