import type { LlamaContextSequence, Token } from 'node-llama-cpp';
import { commonLength } from './continuation-tree.js';

/** One of the context's sequences, and what it held when it was last given back. */
export interface SequenceSlot {
  /** The library's sequence. */
  readonly sequence: LlamaContextSequence;
  /** Tokens whose keys and values it holds. */
  tokens: readonly Token[];
  /** Of those, how many from the beginning were evaluated in whole chunks, and may be used again. */
  whole: number;
  /** Turn at which it was last taken: the smallest was idle for longest. */
  usedAt: number;
}

interface Waiting {
  readonly tokens: readonly Token[];
  readonly give: (slot: SequenceSlot) => void;
}

/**
 * Gives out sequences in the order of asking, a limited number at a time. Who asks gets, among the free ones: that whose whole chunks
 * are all a beginning of its tokens, the longest; else one that holds none; else that of which most can be used again, if that is at least as
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
   * @param chunk - a prefix is used again in multiples of so many tokens. @default 1
   */
  constructor(sequences: readonly LlamaContextSequence[], most = sequences.length, chunk = 1) {
    this.#free = new Set(sequences.map((sequence) => ({ sequence, tokens: [], whole: 0, usedAt: 0 })));
    this.#size = sequences.length;
    this.#most = most;
    this.#chunk = chunk;
  }

  /**
   * @param tokens - what is going to be evaluated.
   * @param signal - gives up waiting.
   * @returns a sequence, to be given back by {@link SequencePool.release}.
   * @throws `signal.reason` on abort.
   */
  async take(tokens: readonly Token[], signal: AbortSignal): Promise<SequenceSlot> {
    signal.throwIfAborted();
    if (this.#size - this.#free.size < this.#most) return this.#pick(tokens);
    return new Promise((resolve, reject) => {
      const waiting: Waiting = {
        tokens,
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

  /** Gives a sequence back; reads what it holds now. */
  release(slot: SequenceSlot): void {
    slot.tokens = slot.sequence.contextTokens;
    this.#free.add(slot);
    const next = this.#waiting.shift();
    if (next !== undefined) next.give(this.#pick(next.tokens));
    else if (this.#free.size === this.#size) for (const resolve of this.#onIdle.splice(0)) resolve();
  }

  /** Resolves when all sequences are free. */
  async idle(): Promise<void> {
    if (this.#free.size === this.#size) return;
    await new Promise<void>((resolve) => this.#onIdle.push(resolve));
  }

  #pick(tokens: readonly Token[]): SequenceSlot {
    const slots = [...this.#free].toSorted((one, other) => one.usedAt - other.usedAt);
    // How many of its tokens each would not evaluate, and how many that it holds would go.
    const uses = slots.map((slot) => {
      const used = reusable(slot, tokens, this.#chunk);
      return { slot, used, lost: slot.whole - used };
    });
    const mostUsed = (of: typeof uses) => of.toSorted((one, other) => other.used - one.used)[0];
    const { slot } = (mostUsed(uses.filter(({ used, lost }) => used > 0 && lost === 0)) ??
      uses.find(({ slot: { whole } }) => whole === 0) ??
      mostUsed(uses.filter(({ used, lost }) => used > 0 && used >= lost)) ??
      uses[0]) as (typeof uses)[number];
    this.#free.delete(slot);
    slot.usedAt = ++this.#turn;
    return slot;
  }
}

/** How many tokens of the beginning of `tokens` need not be evaluated again, in whole chunks. */
export function reusable({ tokens: held, whole }: SequenceSlot, tokens: readonly Token[], chunk: number): number {
  return Math.min(whole, Math.floor(commonLength(held, tokens) / chunk) * chunk);
}
