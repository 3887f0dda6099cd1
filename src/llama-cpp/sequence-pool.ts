import type { LlamaContextSequence, Token } from 'node-llama-cpp';
import { commonLength } from './continuation-tree.js';

/** One of the context's sequences, and what it held when it was last given back. */
export interface SequenceSlot {
  /** The library's sequence. */
  readonly sequence: LlamaContextSequence;
  /** Tokens whose keys and values it holds. */
  tokens: readonly Token[];
  /** Of those, the beginning that was evaluated as the prefix of the last call. */
  prefix: readonly Token[];
  /** Turn at which it was last taken: the smallest was idle for longest. */
  usedAt: number;
}

interface Waiting {
  readonly tokens: readonly Token[];
  readonly give: (slot: SequenceSlot) => void;
}

/**
 * Gives out sequences in the order of asking. Who asks gets, among the free ones, that which shares the longest beginning with its
 * tokens, if at least half of the prefix that it holds is shared, so that more is reused than lost; else that which was idle for
 * longest, so that the others keep what they hold.
 */
export class SequencePool {
  readonly #free: Set<SequenceSlot>;
  readonly #waiting: Waiting[] = [];
  readonly #size: number;
  #turn = 0;
  #onIdle: (() => void)[] = [];

  /** @param sequences - all empty. */
  constructor(sequences: readonly LlamaContextSequence[]) {
    this.#free = new Set(sequences.map((sequence) => ({ sequence, tokens: [], prefix: [], usedAt: 0 })));
    this.#size = sequences.length;
  }

  /**
   * @param tokens - what is going to be evaluated.
   * @param signal - gives up waiting.
   * @returns a sequence, to be given back by {@link SequencePool.release}.
   * @throws `signal.reason` on abort.
   */
  async take(tokens: readonly Token[], signal: AbortSignal): Promise<SequenceSlot> {
    signal.throwIfAborted();
    if (this.#free.size > 0) return this.#pick(tokens);
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
    let longestIdle: SequenceSlot | undefined;
    let alike: { readonly slot: SequenceSlot; readonly shared: number } | undefined;
    for (const slot of this.#free) {
      if (longestIdle === undefined || slot.usedAt < longestIdle.usedAt) longestIdle = slot;
      const shared = commonLength(slot.tokens, tokens);
      if (shared === 0 || shared < slot.prefix.length / 2) continue;
      const isBetter =
        alike === undefined || shared > alike.shared || (shared === alike.shared && slot.usedAt < alike.slot.usedAt);
      if (isBetter) alike = { slot, shared };
    }
    const slot = alike?.slot ?? (longestIdle as SequenceSlot);
    this.#free.delete(slot);
    slot.usedAt = ++this.#turn;
    return slot;
  }
}
