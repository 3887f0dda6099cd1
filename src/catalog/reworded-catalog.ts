import { checkObject } from '../foundation/arguments.js';
import { Catalog, type Item, type ItemIndex } from './catalog.js';

/** What {@link rewordedCatalog} changes. */
export interface Rewording {
  /** Attributes that make an item's text, of those the catalogue has; the others become extra ones. @default as they are */
  readonly attributes?: readonly string[];
  /** Attributes of single items, in place of their own. @default none */
  readonly items?: ReadonlyMap<ItemIndex, Readonly<Record<string, string>>>;
}

/**
 * The same items by the same indices, with other texts: for a read-out that wants them short, or for an audit that hides one.
 *
 * @throws {InvalidArgumentError} for an attribute that the catalogue lacks.
 */
export function rewordedCatalog(catalog: Catalog, rewording: Rewording): Catalog {
  checkObject('rewordedCatalog', 'rewording', rewording);
  const { attributes = catalog.attributes, items } = rewording;
  const names = [...catalog.attributes, ...catalog.extraAttributes];
  const rows = catalog.ids().map((id, index): Item => {
    const own = Object.fromEntries(names.map((name) => [name, catalog.attribute(index, name)]));
    return { ...own, ...items?.get(index), id };
  });
  const { scenario, itemNoun, behavior } = catalog;
  return Catalog.fromItems(rows, {
    ...{ scenario, itemNoun, behavior, attributes },
    extraAttributes: names.filter((name) => !attributes.includes(name)),
  });
}
