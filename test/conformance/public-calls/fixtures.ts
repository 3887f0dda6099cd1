/** What many public calls need: small, made once, never changed. */
import fc from 'fast-check';
import type { ActorCriticOptions, HistoryBatch } from '../../../src/index.js';
import { ActorCritic, Catalog, historyBatch, mean, Sequences } from '../../../src/index.js';

/** Items of {@link catalog}. */
export const ITEMS = 14;

/** Words for titles, so that text says something. */
const WORDS = ['red', 'blue', 'green', 'wool', 'silk', 'coat', 'shirt'] as const;

/** A catalogue of {@link ITEMS} items. */
export const catalog = Catalog.fromItems(
  Array.from({ length: ITEMS }, (_, i) => ({
    id: `item-${i}`,
    title: `${WORDS[i % 7]} ${WORDS[(i * 3 + 1) % 7]} ${i}`,
    category: `kind ${i % 4}`,
  })),
  { scenario: 'shop', itemNoun: 'thing', behavior: 'buying', attributes: ['title', 'category'] },
);

/** Sequences of that catalogue. */
export const sequences = Sequences.from(
  Array.from({ length: 20 }, (_, u) => Array.from({ length: 3 + (u % 3) }, (_, t) => (u * 5 + t * 3) % ITEMS)),
  { itemCount: ITEMS, users: Array.from({ length: 20 }, (_, u) => `user-${u}`) },
);

/** Options of a small agent. */
export const agentOptions = {
  catalog,
  encoder: mean({ width: 4, historyLength: 3 }),
  items: 'id',
  historyFeatures: { repeats: 2, text: false },
  valueHidden: 4,
  seed: 5,
} as const satisfies ActorCriticOptions;

/** A small agent; the caller disposes. */
export const smallAgent = (options: Partial<ActorCriticOptions> = {}): ActorCritic =>
  new ActorCritic({ ...agentOptions, ...options });

/** An item of the catalogue. */
export const item = fc.nat(ITEMS - 1);
/** An id of the catalogue. */
export const id = item.map((i) => `item-${i}`);
/** A short history of ids, which may be empty. */
export const ids = fc.array(id, { maxLength: 3 });
/** A seed. */
export const seed = fc.nat(1000);
/** k distinct items. */
export const distinct = (min: number, max: number) => fc.uniqueArray(item, { minLength: min, maxLength: max });
/** A question. */
export const query = fc.record({ history: fc.array(item, { maxLength: 3 }), candidates: distinct(2, 4) });

/** Three histories as a plain batch, so that each of its fields can be changed. */
export const batch: fc.Arbitrary<HistoryBatch> = fc
  .array(fc.array(item, { minLength: 1, maxLength: 3 }), { minLength: 3, maxLength: 3 })
  .map((histories) => ({ ...historyBatch(histories) }));

/** Float32 numbers, not special ones. */
export const floats = (length: number, low = -3, high = 3): fc.Arbitrary<Float32Array> =>
  fc
    .array(fc.integer({ min: low * 16, max: high * 16 }), { minLength: length, maxLength: length })
    .map((values) => Float32Array.from(values, (value) => value / 16));

/** A number in a range, not a special one. */
export const within = (low: number, high: number): fc.Arbitrary<number> =>
  fc.nat(1000).map((step) => low + ((high - low) * step) / 1000);

/** Flags, 0 or 1. */
export const flags = (length: number): fc.Arbitrary<Uint8Array> =>
  fc.array(fc.nat(1), { minLength: length, maxLength: length }).map((values) => Uint8Array.from(values));
