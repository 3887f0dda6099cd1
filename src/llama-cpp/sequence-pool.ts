import type { LlamaContextSequence, Token } from 'node-llama-cpp';
import { commonLength } from './continuation-tree.js';

/** One of the context's sequences, and what of it can be used again. */
export interface SequenceSlot {
  /** The library's sequence. */
  readonly sequence: LlamaContextSequence;
  /** What it holds the keys and values of, from the beginning, evaluated in chunks; what follows is of no more use. */
  prefix: readonly Token[];
  /** Turn at which it was last taken: the smallest was idle for longest. */
  usedAt: number;
}

interface Waiting {
  readonly prefix: readonly Token[];
  readonly give: (slot: SequenceSlot) => void;
}

/**
 * Gives out sequences in the order of asking, a limited number at a time. Who asks gets, among the free ones: that whose prefix is
 * wholly used again, the longest; else one that holds none; else that of which most can be used again, if that is at least as
 * much as would be lost; else that which was idle for longest, so that the others keep what they hold.
 */
export class SequencePool {
  readonly #free: Set<SequenceSlot>;
  readonly #waiting: Waiting[] = [];
  readonly #size: number;
  readonly #most: number;
  readonly #chunk: number;
  #turn = 0;
  #onIdle: (() => void)[] = [];

  /**
   * @param sequences - all empty.
   * @param most - how many may be out at a time; the others hold what they hold. @default all
   * @param chunk - a prefix is used again in multiples of so many tokens, or wholly. @default 1
   */
  constructor(sequences: readonly LlamaContextSequence[], most = sequences.length, chunk = 1) {
    this.#free = new Set(sequences.map((sequence) => ({ sequence, prefix: [], usedAt: 0 })));
    this.#size = sequences.length;
    this.#most = most;
    this.#chunk = chunk;
  }

  /**
   * @param prefix - what is going to be evaluated first.
   * @param signal - gives up waiting.
   * @returns a sequence, to be given back by {@link SequencePool.release}.
   * @throws `signal.reason` on abort.
   */
  async take(prefix: readonly Token[], signal: AbortSignal): Promise<SequenceSlot> {
    signal.throwIfAborted();
    if (this.#size - this.#free.size < this.#most) return this.#pick(prefix);
    return new Promise((resolve, reject) => {
      const waiting: Waiting = {
        prefix,
        give: (slot) => {
          signal.removeEventListener('abort', onAbort);
          resolve(slot);
        },
      };
      const onAbort = (): void => {
        this.#waiting.splice(this.#waiting.indexOf(waiting), 1);
        reject(signal.reason);
      };
      signal.addEventListener('abort', onAbort, { once: true });
      this.#waiting.push(waiting);
    });
  }

  /** Gives a sequence back. */
  release(slot: SequenceSlot): void {
    this.#free.add(slot);
    const next = this.#waiting.shift();
    if (next !== undefined) next.give(this.#pick(next.prefix));
    else if (this.#free.size === this.#size) for (const resolve of this.#onIdle.splice(0)) resolve();
  }

  /** Resolves when all sequences are free. */
  async idle(): Promise<void> {
    if (this.#free.size === this.#size) return;
    await new Promise<void>((resolve) => this.#onIdle.push(resolve));
  }

  #pick(prefix: readonly Token[]): SequenceSlot {
    const slots = [...this.#free].toSorted((one, other) => one.usedAt - other.usedAt);
    // How many of its tokens each would not evaluate, and how many that it holds would go.
    const uses = slots.map((slot) => {
      const used = reusable(slot, prefix, this.#chunk);
      return { slot, used, lost: slot.prefix.length - used };
    });
    const mostUsed = (of: typeof uses) => of.toSorted((one, other) => other.used - one.used)[0];
    const { slot } = (mostUsed(uses.filter(({ used, lost }) => used > 0 && lost === 0)) ??
      uses.find(({ slot: { prefix: own } }) => own.length === 0) ??
      mostUsed(uses.filter(({ used, lost }) => used > 0 && used >= lost)) ??
      uses[0]) as (typeof uses)[number];
    this.#free.delete(slot);
    slot.usedAt = ++this.#turn;
    return slot;
  }
}

/** How many tokens of the beginning of `prefix` a sequence need not evaluate again: all that it holds, or whole chunks of it. */
export function reusable({ prefix: held }: SequenceSlot, prefix: readonly Token[], chunk: number): number {
  const common = commonLength(held, prefix);
  return common === held.length && common === prefix.length ? common : Math.floor(common / chunk) * chunk;
}
