import { Catalog, type Item } from '../../../src/catalog/catalog.js';

/** 30 tracks, the words of the golden prompts. */
export function music(): Catalog {
  const items = Array.from({ length: 30 }, (_, n) => ({
    id: `track-${n}`,
    title: `Song ${n}`,
    album: `Album ${n % 4}`,
    artist: `Artist ${n % 7}`,
  }));
  return catalogOf(items, ['title', 'album', 'artist']);
}

/** Products in `categories` groups whose items share words: text tells which group an item is of. */
export function shop(size = 60, categories = 6): Catalog {
  const words = ['drill', 'solder', 'beaker', 'gasket', 'printer', 'ladder', 'sensor', 'magnet'];
  const items = Array.from({ length: size }, (_, n) => {
    const word = words[n % categories] as string;
    return { id: `p${n}`, title: `${word} number${n}`, category: `${word} department`, brand: `brand${n % 11}` };
  });
  return catalogOf(items, ['title', 'category', 'brand'], 'product', 'shopping', 'purchase');
}

export function catalogOf(
  items: readonly Item[],
  attributes: readonly string[],
  itemNoun = 'track',
  scenario = 'music',
  behavior = 'listening',
): Catalog {
  return Catalog.fromItems(items, { scenario, itemNoun, behavior, attributes });
}

export function sleepMs(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
