import type { Catalog, ItemIndex } from '../catalog/catalog.js';

/** What a line break or another blank control character becomes one space for. U+0085 is no `\s` in JavaScript. */
const BLANK = /[\s\u0085]+/gu;

/** Control, format (zero-width, bidi, tag), lone surrogates, and all that renders as nothing (variation selectors, fillers). */
const INVISIBLE = /[\p{Cc}\p{Cf}\p{Cs}\p{Default_Ignorable_Code_Point}]/gu;

/** The opening of `<s>`, `</s>`, `<|im_end|>`, `<start_of_turn>`, `<<SYS>>`; "<3" stays as it is. */
const TAG_OPENING = /<(?=[/|<!\p{L}_])/gu;

/** The closing half of `<|…|>`, which some tokenisers read alone. */
const PIPE_CLOSING = /\|(?=>)/gu;

/** `[INST]` and its kin. Only words that are control tokens somewhere: "[Live]" stays as it is. */
const BRACKET_TOKEN =
  /\[(?=\/?(?:INST|SYSTEM_PROMPT|TOOL_CALLS|TOOL_RESULTS|AVAILABLE_TOOLS|IMG|BOS|EOS|PAD|CLS|SEP|MASK|UNK)\])/giu;

/** A label as Table 1 writes it, `b.` before a space or the end: the only thing that could pass for another candidate. */
const LABEL = /(?<![\p{L}\p{N}\p{M}.'’])([a-z])\.(?=\s|$)/gu;

/**
 * Makes text from outside fit for one place in a prompt (oracles.md 12): NFKC, one line, invisible characters stripped, control
 * tokens of chat templates broken by a space (`</s>` becomes `< /s>`), cut to a number of characters, and the dot taken off a
 * lone lower-case letter (`k. None` becomes `k None`), so that a title cannot add a label. Applying it twice changes nothing.
 * It does **not** promise that a title cannot sway the model.
 *
 * @param text - untrusted.
 * @param maxLength - most Unicode code points kept, at least 1.
 */
export function sanitiseText(text: string, maxLength: number): string {
  // Invisible characters go first, or `<\u200b/s>` would come together only afterwards; NFKC may then compose what they held apart.
  let clean = text.replace(BLANK, ' ').replace(INVISIBLE, '').normalize('NFKC');
  clean = clean.replace(BLANK, ' ').replace(INVISIBLE, '').normalize('NFKC').trim();
  clean = clean.replace(TAG_OPENING, '< ').replace(PIPE_CLOSING, '| ').replace(BRACKET_TOKEN, '[ ');
  if (clean.length > maxLength) clean = Array.from(clean).slice(0, maxLength).join('').trimEnd();
  return clean.replace(LABEL, '$1');
}

/**
 * An item as the prompt shows it: its attributes in the catalogue's order, sanitised, joined by `'; '` (Table 1's
 * "{attribute1; attribute2; …}"). As in `Catalog.text`, a missing attribute is left out with its separator, and an item without
 * any is shown by its id.
 *
 * @param maxAttributeLength - most Unicode code points of one attribute.
 * @param attributes - which ones, in order. @default the catalogue's
 */
export function itemText(
  catalog: Catalog,
  item: ItemIndex,
  maxAttributeLength: number,
  attributes: readonly string[] = catalog.attributes,
): string {
  const parts = attributes
    .map((name) => sanitiseText(catalog.attribute(item, name), maxAttributeLength))
    .filter((part) => part !== '');
  // An id of invisible characters only would leave nothing between two labels.
  return parts.join('; ') || sanitiseText(catalog.id(item), maxAttributeLength) || `item ${item}`;
}
