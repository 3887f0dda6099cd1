import { z } from 'zod';
import type { Catalog, ItemId } from '../catalog/catalog.js';
import { historyBatch } from '../compute/history-batch.js';
import { InvalidArgumentError } from '../foundation/errors.js';
import { checkOptions } from '../foundation/options.js';
import type { Policy } from './policy.js';

/** What {@link ActorCritic.recommend} and {@link MixturePolicy.recommend} are asked. */
export interface RecommendOptions {
  /** The user's items, oldest first; empty for a user nobody knows. @default [] */
  readonly history?: readonly ItemId[];
  /** The user context, `contextWidth` numbers. @default zeros */
  readonly context?: readonly number[];
  /** How many items, 1 to the number left after exclusions. @default 10, or all that are left where there are fewer */
  readonly k?: number;
  /** Items never to be shown. @default [] */
  readonly exclude?: readonly ItemId[];
  /** Whether items of the history may be shown again. @default false */
  readonly allowRepeats?: boolean;
  /** What an id of the history does that is not in the catalogue, such as that of an item withdrawn since: `'skip'` reads the history without it. @default 'throw' */
  readonly unknown?: 'throw' | 'skip';
}

/** One recommended item. */
export interface Recommendation {
  /** The item. */
  readonly id: ItemId;
  /** Its probability under the policy, 0 to 1, exclusions counted. */
  readonly probability: number;
}

const DEFAULT_K = 10;

const schema = z.strictObject({
  history: z.array(z.string()).max(100_000).default([]),
  context: z.array(z.number()).optional(),
  k: z.int().min(1).optional(),
  exclude: z.array(z.string()).default([]),
  allowRepeats: z.boolean().default(false),
  unknown: z.enum(['throw', 'skip']).default('throw'),
});

/**
 * The k most probable items for one user, most probable first; none where nothing is left and `k` was not given.
 *
 * @param policy - whose probabilities.
 * @param model - its items, and how many numbers of context it reads.
 * @throws {InvalidArgumentError} for an unknown item id (with the nearest known one), a `k` beyond the items left, or a context of another width.
 */
export function recommend(
  policy: Required<Pick<Policy, 'topK'>>,
  { catalog, contextWidth }: { readonly catalog: Catalog; readonly contextWidth: number },
  options: RecommendOptions = {},
): Recommendation[] {
  const { history, context, k: wanted, exclude, allowRepeats, unknown } = checkOptions(schema, options, 'recommend');
  if (context !== undefined && context.length !== contextWidth) {
    throw new InvalidArgumentError(
      `recommend: expected \`context\` to have ${contextWidth} numbers, got ${context.length}`,
      { argument: 'context' },
    );
  }
  const known = unknown === 'skip' ? history.filter((id) => catalog.has(id)) : history;
  const shown = known.map((id) => catalog.indexOf(id));
  const excluded = Int32Array.from(new Set(exclude.map((id) => catalog.indexOf(id))));
  const left = catalog.size - new Set([...excluded, ...(allowRepeats ? [] : shown)]).size;
  const k = wanted ?? Math.min(DEFAULT_K, left);
  if (k > left) {
    throw new InvalidArgumentError(
      `recommend: expected \`k\` to be at most the ${left} items left after exclusions, got ${k}`,
      { argument: 'k' },
    );
  }
  if (k === 0) return [];
  const batch = historyBatch(
    [shown],
    contextWidth > 0 ? { context: [context ?? new Array<number>(contextWidth).fill(0)] } : {},
  );
  const { items, logProb } = policy.topK(batch, k, { mask: { noRepeat: !allowRepeats, exclude: excluded } });
  return Array.from(items, (item, rank) => ({
    id: catalog.id(item),
    probability: Math.exp(logProb[rank] as number),
  }));
}
