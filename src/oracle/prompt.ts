import { z } from 'zod';
import type { Catalog, ItemIndex } from '../catalog/catalog.js';
import { checkOptions } from '../foundation/options.js';
import { checkQueries } from './check-query.js';
import { itemText, sanitiseText } from './item-text.js';
import { catalogSchema } from './option-schemas.js';

/** Version of the template's bytes; part of every `LlmOracle.id`, hence of every cache key. Any change of a byte raises it. */
export const TEMPLATE_VERSION = 'table1@1';

/** What stands in the place of an empty history. Not "none": that word is an answer. */
const EMPTY_HISTORY = '(empty)';

/** Most characters of a query's context line. */
export const MAX_CONTEXT_LENGTH = 500;

/** What a content-free prompt says in the place of items. */
const CONTENT_FREE = 'N/A';

/** How Table 1 is written; what of it the paper leaves open. */
export interface Table1Style {
  /**
   * `completion`: to the letter, ending in the answer's prefix "…the user will select", so that the label is the next token.
   * `chat`: for endpoints that cannot prefill an answer, the last line asks for the label instead. @default 'completion'
   */
  readonly mode?: 'completion' | 'chat';
  /** `straight` ' and "; `typographic` as printed: ’ for the apostrophe and ” on both sides of None. @default 'straight' */
  readonly quotes?: 'straight' | 'typographic';
  /** Most characters (Unicode code points) of one attribute of one item. @default 200 */
  readonly maxAttributeLength?: number;
  /** Most items of the history shown, the latest ones. @default 50 */
  readonly maxHistory?: number;
}

/** Options of {@link renderTable1}. */
export interface Table1Options extends Table1Style {
  /** Whose item texts, scenario, item noun and behaviour are written. */
  readonly catalog: Catalog;
  /** x₁:ₜ, oldest first; may be empty. */
  readonly history: readonly ItemIndex[];
  /** 2 to 25 distinct items, in the order in which they get the labels a, b, … */
  readonly candidates: readonly ItemIndex[];
  /** One line about the user, put before the history ("User: …"); the paper has none. @default absent */
  readonly context?: string;
  /** Asks again after an answer that named no label: the last line says "one letter from a to k". @default false */
  readonly reminder?: boolean;
}

/** A rendered prompt and the labels it offers. */
export interface Table1Prompt {
  /** Five lines joined by single newlines; never ends with a space or newline. */
  readonly text: string;
  /** K + 1 letters: one per candidate in the order given, then None's. */
  readonly labels: readonly string[];
}

/** Schema of {@link Table1Style}. */
export const table1StyleShape = {
  mode: z.enum(['completion', 'chat']).default('completion'),
  quotes: z.enum(['straight', 'typographic']).default('straight'),
  maxAttributeLength: z.int().min(1).max(10_000).default(200),
  maxHistory: z.int().min(1).max(10_000).default(50),
};

const table1Schema = z.strictObject({
  ...table1StyleShape,
  catalog: catalogSchema,
  history: z.array(z.int()),
  candidates: z.array(z.int()),
  context: z.string().optional(),
  reminder: z.boolean().default(false),
});

/**
 * The labels of K candidates and of None: the letters a, b, … (K + 1 of them, the last is None's).
 *
 * @param candidateCount - K, 2 to 25.
 */
export function table1Labels(candidateCount: number): readonly string[] {
  return Array.from({ length: candidateCount + 1 }, (_, i) => String.fromCharCode(97 + i));
}

/**
 * The paper's Table 1, to the letter, for any K from 2 to 25: the one renderer behind `LlmOracle` and the fine-tuning exporter.
 *
 * Fixed here because the paper is silent: lines are joined by single newlines; the history by ', '; candidates and None by one
 * space, on one line; an empty history reads "(empty)"; a missing attribute is left out. Item text is made safe:
 * NFKC, one line, invisible characters out, control tokens broken, no label but ours. The history stands before the candidates,
 * so permutations of one list share their prefix.
 *
 * @throws {InvalidArgumentError} for a wrong option, an index outside the catalogue, or a repeated candidate.
 */
export function renderTable1(options: Table1Options): Table1Prompt {
  const checked = checkOptions(table1Schema, options, 'renderTable1');
  const { catalog, history, candidates, context, maxAttributeLength, maxHistory, reminder } = checked;
  checkQueries([{ history, candidates }], { itemCount: catalog.size }, 'renderTable1');
  const text = (item: ItemIndex): string => itemText(catalog, item, maxAttributeLength);
  return writeTable1(checked, {
    history: history.slice(-maxHistory).map(text).join(', ') || EMPTY_HISTORY,
    candidates: candidates.map(text),
    user: context === undefined ? '' : sanitiseText(context, MAX_CONTEXT_LENGTH),
    reminder,
  });
}

/**
 * Table 1 with "N/A" in the place of the history and of every candidate: what a model answers to it tells its prior on the labels
 * (contextual calibration, 2102.09690).
 *
 * @param candidateCount - K, 2 to 25.
 * @param style - checked, with the catalogue whose words are written.
 */
export function renderContentFree(candidateCount: number, style: CheckedStyle): Table1Prompt {
  const candidates = new Array<string>(candidateCount).fill(CONTENT_FREE);
  return writeTable1(style, { history: CONTENT_FREE, candidates, user: '', reminder: false });
}

/** A checked {@link Table1Style} and the catalogue whose words are written. */
interface CheckedStyle {
  readonly catalog: Catalog;
  readonly mode: 'completion' | 'chat';
  readonly quotes: 'straight' | 'typographic';
  readonly maxAttributeLength: number;
}

/** Writes Table 1 around texts that are safe already. */
function writeTable1(
  { catalog, mode, quotes, maxAttributeLength }: CheckedStyle,
  {
    history: shown,
    candidates,
    user,
    reminder,
  }: {
    readonly history: string;
    readonly candidates: readonly string[];
    readonly user: string;
    readonly reminder: boolean;
  },
): Table1Prompt {
  const labels = table1Labels(candidates.length);
  const last = labels[candidates.length] as string;
  const apostrophe = quotes === 'straight' ? "'" : '’';
  const quote = quotes === 'straight' ? '"' : '”';
  const word = (own: string): string => sanitiseText(own, maxAttributeLength);

  const item = word(catalog.itemNoun);
  const attributes = catalog.attributes.map(word).join('; ');
  const choices = [...candidates, 'None'].map((option, i) => `${labels[i]}. ${option}`).join(' ');

  const lines = [
    'Below is an instruction that describes a task, paired with an input that provides further context. Write a response that appropriately completes the request.',
    `Instruction: You are a user in a ${word(catalog.scenario)} platform now. The ${item} is in the form of ${attributes}. ` +
      `Given a user${apostrophe}s ${word(catalog.behavior)} history of ${item}, and candidate ${item} labelled by lowercase letter to be decided to recommend to the user, ` +
      `identify which ${item} the user will mostly prefer to at next timestamp. ` +
      `Please judge by the user${apostrophe}s preference on ${attributes}; ` +
      `if you think that none of the candidates will be selected by the user, please answer ${quote}None${quote}`,
    `Input: ${user === '' ? '' : `User: ${user}. `}History: ${shown}. Which one the user will mostly like at next timestamp in the following candidates?`,
    choices,
    `Response: ${responseLine(mode, reminder, apostrophe, last)}`,
  ];
  return { text: lines.join('\n'), labels };
}

function responseLine(mode: 'completion' | 'chat', reminder: boolean, apostrophe: string, last: string): string {
  if (mode === 'chat') {
    return reminder
      ? `Write exactly one lowercase letter from a to ${last}, without any other word or sign.`
      : `Answer with the label only: one lowercase letter from a to ${last}.`;
  }
  const prefix = `By analysing the user${apostrophe}s preference, `;
  return reminder
    ? `${prefix}answering with one letter from a to ${last} only, the user will select`
    : `${prefix}the user will select`;
}
