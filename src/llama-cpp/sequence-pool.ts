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
 * Gives out sequences in the order of asking. Who asks gets, among the free ones, that which shares the longest beginning with
 * its tokens; where none shares more than another, that which was idle for longest, so that the others keep what they hold.
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
    let best: { slot: SequenceSlot; shared: number } | undefined;
    for (const slot of this.#free) {
      const shared = commonLength(slot.tokens, tokens);
      const isBetter =
        best === undefined || shared > best.shared || (shared === best.shared && slot.usedAt < best.slot.usedAt);
      if (isBetter) best = { slot, shared };
    }
    const { slot } = best as { slot: SequenceSlot };
    this.#free.delete(slot);
    slot.usedAt = ++this.#turn;
    return slot;
  }
}
