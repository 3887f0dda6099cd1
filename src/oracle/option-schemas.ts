import { z } from 'zod';
import { Catalog } from '../catalog/catalog.js';
import { describeValue } from '../foundation/options.js';
import type { Storage } from '../foundation/storage.js';
import type { LanguageModel } from './language-model.js';
import type { PreferenceOracle } from './preference-oracle.js';

/** A `Catalog`; its constructor is private, so `z.instanceof` does not take it. */
export const catalogSchema = z.custom<Catalog>((value) => value instanceof Catalog, 'expected a Catalog');

/** Counts of items, or ratings: finite numbers from 0. */
export const countsSchema = z.custom<ArrayLike<number>>(
  (value) =>
    (Array.isArray(value) || (ArrayBuffer.isView(value) && 'length' in value)) &&
    Array.from(value as ArrayLike<unknown>).every((count) => Number.isFinite(count) && (count as number) >= 0),
  'expected an array of numbers from 0, one per item',
);

/** Anything with the methods of a `PreferenceOracle`. */
export const oracleSchema = z.custom<PreferenceOracle>(
  (value) =>
    has(value, 'prefer') &&
    typeof (value as PreferenceOracle).id === 'string' &&
    (['estimate', 'close'] as const).every(
      (name) => (value as PreferenceOracle)[name] === undefined || has(value, name),
    ),
  'expected a PreferenceOracle: an object with `id` and `prefer`',
);

const MODEL_METHODS = [
  'labelScores',
  'continuationScores',
  'continuationUsage',
  'complete',
  'countTokens',
  'close',
] as const satisfies readonly (keyof LanguageModel)[];

/** Anything with an `id` whose methods, where it has them, are some; which questions it takes is looked at by the read-out. */
export const languageModelSchema = z.custom<LanguageModel>(
  (value) =>
    typeof value === 'object' &&
    value !== null &&
    typeof (value as LanguageModel).id === 'string' &&
    ['undefined', 'number'].includes(typeof (value as LanguageModel).concurrency) &&
    [undefined, 'completion', 'chat'].includes((value as LanguageModel).template) &&
    MODEL_METHODS.every((name) => (value as LanguageModel)[name] === undefined || has(value, name)),
  'expected a LanguageModel: an object with `id` and at least one of the methods `labelScores`, `continuationScores` and `complete`',
);

/** Anything with the methods of a `Storage`. */
export const storageSchema = z.custom<Storage>(
  (value) => has(value, 'get') && has(value, 'put') && has(value, 'append'),
  'expected a Storage: an object with `get`, `put`, `append`, `list` and `delete`',
);

/** Options that say what makes an item's text. */
export const itemTextShape = {
  attributes: z.array(z.string()).min(1).max(32).optional(),
  maxAttributeLength: z.int().min(1).max(10_000).default(200),
} as const;

/** For `superRefine`: reports each of `attributes` that is none of the catalogue's. */
export function checkAttributes(
  { catalog, attributes = [] }: { readonly catalog: Catalog; readonly attributes?: readonly string[] | undefined },
  context: z.RefinementCtx,
): void {
  const known = [...catalog.attributes, ...catalog.extraAttributes];
  for (const [i, name] of attributes.entries()) {
    if (known.includes(name)) continue;
    const message = `\`attributes[${i}]\` is not in the catalogue: ${describeValue(name)}; known are ${known.join(', ')}`;
    context.addIssue({ code: 'custom', path: ['attributes', i], message });
  }
}

function has(value: unknown, method: string): boolean {
  return (
    typeof value === 'object' && value !== null && typeof (value as Record<string, unknown>)[method] === 'function'
  );
}
