import { z } from 'zod';
import { Catalog } from '../catalog/catalog.js';
import { argumentError } from '../foundation/arguments.js';
import { sanitiseText } from './item-text.js';

/**
 * The words around the items in the `likelihood` read-out. With a history the prompt reads `intro`, an empty line, `- item` lines,
 * `next`, `-`; without one, `alone`, `-`. The candidate's text follows.
 */
export interface LikelihoodTemplate {
  /** Name and version of the wording, for people; the words themselves are part of the oracle's id too. */
  readonly version: string;
  /** Line before the history, e.g. "A customer bought these products, in order:". */
  readonly intro: string;
  /** Line before the candidate, e.g. "The next product the customer bought:". */
  readonly next: string;
  /** Line before the candidate where nothing is known of the user, e.g. "A customer bought:". */
  readonly alone: string;
  /** Before a query's context line, on a line above all else, e.g. "About the customer:"; '' leaves contexts out. */
  readonly about: string;
}

const line = z.string().min(1).max(1_000);

/** Schema of {@link LikelihoodTemplate}. */
export const likelihoodTemplateSchema = z.strictObject({
  version: z.string().min(1).max(100),
  intro: line,
  next: line,
  alone: line,
  about: z.string().max(1_000),
});

/** Version of the default wordings; any change of a byte raises it. */
const VERSION = 'next-item@1';

const MAX_NOUN_LENGTH = 100;

/** Who does what to items, by the catalogue's `behavior`. What is bought is called a product whatever it is: so it was measured. */
const WORDS: readonly {
  readonly behavior: RegExp;
  readonly who: string;
  readonly did: string;
  readonly noun?: string;
}[] = [
  { behavior: /\b(?:purchas|buy|shop|order)/iu, who: 'customer', did: 'bought', noun: 'product' },
  { behavior: /\blisten/iu, who: 'listener', did: 'listened to' },
  { behavior: /\b(?:watch|view)/iu, who: 'viewer', did: 'watched' },
  { behavior: /\bread/iu, who: 'reader', did: 'read' },
  { behavior: /\b(?:play|gaming)/iu, who: 'player', did: 'played' },
  { behavior: /\bvisit/iu, who: 'visitor', did: 'visited' },
];

/**
 * The wording for a catalogue, made of its `behavior` and `itemNoun`; of purchases to the letter the one that was measured
 * (oracles.md 10).
 *
 * @throws {InvalidArgumentError} for something else than a catalogue.
 */
export function likelihoodTemplate(catalog: Catalog): LikelihoodTemplate {
  if (!(catalog instanceof Catalog)) throw argumentError('likelihoodTemplate', 'catalog', 'a Catalog', catalog);
  const words = WORDS.find(({ behavior }) => behavior.test(catalog.behavior));
  const { who, did } = words ?? { who: 'user', did: 'chose' };
  const noun = words?.noun ?? (sanitiseText(catalog.itemNoun, MAX_NOUN_LENGTH) || 'item');
  return {
    version: VERSION,
    intro: `A ${who} ${did} these ${plural(noun)}, in order:`,
    next: `The next ${noun} the ${who} ${did}:`,
    alone: `A ${who} ${did}:`,
    about: `About the ${who}:`,
  };
}

function plural(noun: string): string {
  if (/(?:s|x|z|ch|sh)$/iu.test(noun)) return `${noun}es`;
  return /[^aeiou]y$/iu.test(noun) ? `${noun.slice(0, -1)}ies` : `${noun}s`;
}

/**
 * What stands before a candidate's text (which begins with a space).
 *
 * @param items - texts of the history, oldest first, sanitised; none: what stands before a candidate of an unknown user.
 * @param about - a context line, sanitised; '' for none.
 */
export function likelihoodPrefix(template: LikelihoodTemplate, items: readonly string[], about = ''): string {
  const told = about === '' ? '' : `${template.about} ${about}\n\n`;
  if (items.length === 0) return `${told}${template.alone}\n-`;
  return `${told}${template.intro}\n\n${items.map((text) => `- ${text}`).join('\n')}\n${template.next}\n-`;
}
