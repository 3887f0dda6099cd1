import type { ItemIndex } from '../catalog/catalog.js';
import type { LikelihoodLog, TextLikelihood } from './likelihood-log.js';
import type { Usage } from './preference-oracle.js';
import type { QueryBatch } from './query-queue.js';
import { addUsage } from './usage.js';

/** What the model said of some texts. */
export interface WeighedTexts {
  /** One a text. */
  readonly texts: readonly TextLikelihood[];
  /** What it cost. */
  readonly usage: Usage;
}

/** How {@link ItemLikelihoods} asks and keeps. */
interface ItemLikelihoodsOptions {
  /** Items of the history in the prefix: their own likelihood would be that of a copy. */
  readonly history: readonly ItemIndex[];
  /** What stands before each item's text. */
  readonly prefix: string;
  /** An item as it follows the prefix. */
  readonly textOf: (item: ItemIndex) => string;
  /** Key of a text after the prefix in the log. */
  readonly keyOf: (text: string) => Promise<string>;
  /** Asks the model how likely texts are after a prefix. */
  readonly ask: (prefix: string, texts: readonly string[], batch: QueryBatch) => Promise<WeighedTexts>;
  /** Where they are kept; borrowed. */
  readonly log: LikelihoodLog | undefined;
}

/** How likely the items of a catalogue are after one prefix that no query changes: asked once an item, whoever needs it first. */
export class ItemLikelihoods {
  /** What stands before each item's text. */
  readonly prefix: string;
  readonly #options: ItemLikelihoodsOptions;
  readonly #known = new Map<ItemIndex, TextLikelihood>();
  readonly #inFlight = new Map<ItemIndex, Promise<unknown>>();
  #asked = 0;

  /** @param options - prefix, model and log. */
  constructor(options: ItemLikelihoodsOptions) {
    this.prefix = options.prefix;
    this.#options = options;
  }

  /** Items that the model was asked for. */
  get asked(): number {
    return this.#asked;
  }

  /** Whether an item stands in the prefix itself. */
  holds(item: ItemIndex): boolean {
    return this.#options.history.includes(item);
  }

  /** Likelihood of an item that was learned. */
  of(item: ItemIndex): TextLikelihood {
    return this.#known.get(item) as TextLikelihood;
  }

  /** Whether nobody need be asked for an item. */
  async isKnown(item: ItemIndex): Promise<boolean> {
    if (this.#known.has(item)) return true;
    const { log, keyOf, textOf } = this.#options;
    return log !== undefined && (await log.find(await keyOf(textOf(item)))) !== undefined;
  }

  /**
   * Sees to it that items are known: by memory, by the log, by another query that is asking, or by asking.
   *
   * @returns what it cost; undefined when nobody was asked.
   */
  async learn(items: readonly ItemIndex[], batch: QueryBatch): Promise<Usage | undefined> {
    let usage: Usage | undefined;
    for (;;) {
      const missing = items.filter((item) => !this.#known.has(item));
      if (missing.length === 0) return usage;
      const mine = missing.filter((item) => !this.#inFlight.has(item));
      if (mine.length === 0) {
        // Whether they succeed or not is looked at in the next round, which then asks itself.
        const others = Promise.allSettled(missing.map((item) => this.#inFlight.get(item)));
        await Promise.race([others, batch.stopped]);
        continue;
      }
      const asking = this.#ask(mine, batch);
      for (const item of mine) this.#inFlight.set(item, asking);
      try {
        usage = addUsage(usage, await asking);
      } finally {
        for (const item of mine) this.#inFlight.delete(item);
      }
    }
  }

  async #ask(items: readonly ItemIndex[], batch: QueryBatch): Promise<Usage | undefined> {
    const { log, keyOf, textOf, ask } = this.#options;
    const open: { readonly item: ItemIndex; readonly text: string; readonly key: string }[] = [];
    for (const item of items) {
      const text = textOf(item);
      const key = log === undefined ? '' : await keyOf(text);
      const known = await log?.find(key);
      if (known === undefined) open.push({ item, text, key });
      else this.#known.set(item, known);
    }
    if (open.length === 0) return undefined;
    batch.throwIfStopped();
    const { texts, usage } = await ask(
      this.prefix,
      open.map(({ text }) => text),
      batch,
    );
    this.#asked += open.length;
    await log?.keep(open.map(({ key }, i) => ({ key, ...(texts[i] as TextLikelihood) })));
    for (const [i, { item }] of open.entries()) this.#known.set(item, texts[i] as TextLikelihood);
    return usage;
  }
}
