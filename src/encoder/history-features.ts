import { z } from 'zod';
import type { Catalog } from '../catalog/catalog.js';
import type { ItemFeatures } from '../catalog/item-features.js';
import type { DenseText, HistoryFeatureForm, HistoryFeatures, SparseText } from '../compute/history-features.js';
import { ItemCosines } from '../compute/item-cosines.js';
import { InvalidArgumentError } from '../foundation/errors.js';
import { checkOptions, describeValue } from '../foundation/options.js';

/** Options of {@link historyFeatures}. */
export interface HistoryFeatureOptions {
  /** The items; borrowed, read at construction only. */
  readonly catalog: Pick<Catalog, 'size' | 'attributes' | 'attributeCodes'>;
  /** Text features of the items, rows of unit norm or zero; needed when `text` is true. Where they have exact `terms`, those are compared. */
  readonly features?: Pick<ItemFeatures, 'matrix' | 'width'> & Partial<Pick<ItemFeatures, 'terms'>>;
  /** Number of planes "was shown j steps ago", j = 1..repeats; 0 for none. @default 8 */
  readonly repeats?: number;
  /** Attributes of the catalogue that make two planes each: same as the last item's, and its share among recent items. @default none */
  readonly attributes?: readonly string[];
  /** Three planes of text cosine: to the last item, recency-weighted, and the best match. @default true when features are given */
  readonly text?: boolean;
  /**
   * One plane with a number for every item, `[A]` by item index, the same for every history, the empty one too: how popular an item is
   * held to be, say (`rateItems()`, counts from logs, a guess of your own). Used as its z-score; only its order and shape matter.
   * @default none
   */
  readonly prior?: ArrayLike<number>;
  /** What makes the z-score of `prior`; a policy that was trained keeps its own. @default {@link priorScale} of `prior` */
  readonly priorScale?: PriorScale;
}

/** Mean and standard deviation of a prior. */
export interface PriorScale {
  /** Mean over the items. */
  readonly mean: number;
  /** Standard deviation over the items, >= 0; with 0 every z-score is 0. */
  readonly deviation: number;
}

const historyFeatureOptions = z.strictObject({
  catalog: z.custom<HistoryFeatureOptions['catalog']>((value) => typeof value === 'object' && value !== null, {
    error: 'a Catalog',
  }),
  features: z
    .custom<NonNullable<HistoryFeatureOptions['features']>>((value) => typeof value === 'object' && value !== null, {
      error: 'an ItemFeatures',
    })
    .optional(),
  repeats: z.int().min(0).max(64).default(8),
  attributes: z.array(z.string()).readonly().default([]),
  text: z.boolean().optional(),
  prior: z
    .custom<ArrayLike<number>>(
      (value) => Array.isArray(value) || value instanceof Float32Array || value instanceof Float64Array,
      { error: 'expected an array of numbers, one for each item' },
    )
    .optional(),
  priorScale: z.strictObject({ mean: z.number(), deviation: z.number().min(0) }).optional(),
});

/** Weight of an item relative to the next newer one in the recency-weighted planes. */
const RECENCY = 0.8;
/** The text planes and attribute shares look at so many last items: 0.8^32 is below 0.001. */
const RECENT = 32;

/**
 * Planes phi_f(history, item) that relate a history to every item; each gets one learned weight a head, starting at 0.
 * They tell nothing of an environment's rule, and decide much of what is learnable (`was shown j steps ago` above all).
 *
 * In this order, with h[-j] the j-th last item of the history (1 is the last) and age j - 1:
 * - `repeat<j>`, j = 1..repeats: 1 where `h[-j]` is the item, else 0;
 * - for each attribute: `<name>:last`, 1 where the item's value equals the last item's; `<name>:recent`, the sum of
 *   0.8^age over the last 32 items of equal value, divided by that over all of them (items without the attribute equal none);
 * - with text: `text:last`, cosine to the last item; `text:recent`, the mean cosine weighted by 0.8^age over the last
 *   32; `text:max`, the largest cosine to one of the last 32;
 * - with a prior: `prior`, its z-score over the items.
 *
 * An empty history gives 0 everywhere but in `prior`.
 *
 * @param options - see {@link HistoryFeatureOptions}.
 * @throws {InvalidArgumentError} for an unknown attribute, text without features, features of another size than the
 * catalogue's, a prior that has not a finite number for each item, or no plane at all.
 */
export function historyFeatures(options: HistoryFeatureOptions): HistoryFeatures {
  const { catalog, features, repeats, attributes, text, prior, ...rest } = checkOptions(
    historyFeatureOptions,
    options,
    'historyFeatures',
  );
  const hasText = text ?? features !== undefined;
  for (const name of attributes) {
    if (catalog.attributes.includes(name)) continue;
    throw new InvalidArgumentError(
      `historyFeatures: expected \`attributes\` to be among the catalogue's (${catalog.attributes.join(', ')}), got '${name}'`,
      { argument: 'attributes', wanted: catalog.attributes.join(', '), got: name },
    );
  }
  if (hasText && (features === undefined || features.matrix.length !== catalog.size * features.width)) {
    throw new InvalidArgumentError(
      `historyFeatures: expected \`features\` to hold a row for each of the ${catalog.size} items because \`text\` is on, got ${features === undefined ? 'none' : `${features.matrix.length} values of width ${features.width}`}`,
      { argument: 'features', wanted: `features of ${catalog.size} items`, got: features?.matrix.length },
    );
  }
  const names = [
    ...Array.from({ length: repeats }, (_, j) => `repeat${j + 1}`),
    ...attributes.flatMap((name) => [`${name}:last`, `${name}:recent`]),
    ...(hasText ? ['text:last', 'text:recent', 'text:max'] : []),
    ...(prior ? ['prior'] : []),
  ];
  if (names.length === 0) {
    throw new InvalidArgumentError(
      'historyFeatures: expected at least one plane: give `repeats`, `attributes`, `features` or `prior`',
      {
        argument: 'repeats',
      },
    );
  }
  const codes = attributes.map((name) => catalog.attributeCodes(name));
  const itemCount = catalog.size;
  const priorValues = prior && checkedPrior(prior, itemCount);
  const standardised = priorValues && zScores(priorValues, rest.priorScale ?? priorScale(priorValues));
  const textForm = hasText && features ? textOf(features) : undefined;
  const textPlanes = textForm && new TextPlanes(new ItemCosines(textForm, itemCount), itemCount);
  const made: HistoryFeatures = {
    names,
    planes(batch) {
      const planeSize = batch.size * itemCount;
      const values = new Float32Array(names.length * planeSize);
      if (standardised) {
        const first = (names.length - 1) * planeSize;
        for (let row = 0; row < batch.size; row++) values.set(standardised, first + row * itemCount);
      }
      for (let row = 0; row < batch.size; row++) {
        const end = row * batch.length + (batch.lengths[row] as number);
        const start = row * batch.length;
        if (end === start) continue;
        const offset = row * itemCount;
        for (let j = 1; j <= repeats && end - j >= start; j++) {
          values[(j - 1) * planeSize + offset + (batch.items[end - j] as number)] = 1;
        }
        const recent = batch.items.subarray(Math.max(start, end - RECENT), end);
        let plane = repeats;
        for (const code of codes) {
          const last = values.subarray(plane * planeSize + offset, plane * planeSize + offset + itemCount);
          const share = values.subarray((plane + 1) * planeSize + offset, (plane + 1) * planeSize + offset + itemCount);
          fillAttribute(code, recent, last, share);
          plane += 2;
        }
        textPlanes?.fill(recent, values, plane * planeSize + offset, planeSize);
      }
      return values;
    },
  };
  const form: HistoryFeatureForm = {
    repeats,
    attributes: codes,
    ...(textForm ? { text: textForm } : {}),
    ...(standardised ? { prior: standardised } : {}),
    decay: RECENCY,
    recent: RECENT,
  };
  // Not enumerable: whoever spreads features to give them other planes does not take the description along.
  return Object.defineProperty(made, 'form', { value: form });
}

/** `last` and `share` are rows of zeros over all items. */
function fillAttribute(codes: Int32Array, recent: Int32Array, last: Float32Array, share: Float32Array): void {
  const shares = new Map<number, number>();
  let total = 0;
  let weight = 1;
  for (let at = recent.length - 1; at >= 0; at--) {
    const code = codes[recent[at] as number] as number;
    total += weight;
    if (code >= 0) shares.set(code, (shares.get(code) ?? 0) + weight);
    weight *= RECENCY;
  }
  if (shares.size === 0) return;
  const lastCode = codes[recent[recent.length - 1] as number] as number;
  for (const [code, sum] of shares) shares.set(code, sum / total);
  // A short list of codes is searched faster than a map, item by item.
  const known = Int32Array.from(shares.keys());
  const parts = Float64Array.from(shares.values());
  for (let item = 0; item < codes.length; item++) {
    const code = codes[item] as number;
    if (code < 0) continue;
    if (code === lastCode) last[item] = 1;
    for (let i = 0; i < known.length; i++) {
      if (known[i] !== code) continue;
      share[item] = parts[i] as number;
      break;
    }
  }
}

/**
 * Mean and standard deviation of a prior over its items; a deviation that is rounding alone counts as 0.
 *
 * @param prior - finite numbers, at least one.
 */
export function priorScale(prior: ArrayLike<number>): PriorScale {
  const values = Array.from(prior);
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const deviation = Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length);
  return { mean, deviation: deviation <= 1e-12 * Math.max(1, Math.abs(mean)) ? 0 : deviation };
}

function checkedPrior(prior: ArrayLike<number>, itemCount: number): ArrayLike<number> {
  const values: readonly unknown[] = Array.from(prior);
  const bad = values.findIndex((value) => typeof value !== 'number' || !Number.isFinite(value));
  if (values.length === itemCount && bad < 0) return prior;
  const got = bad < 0 ? `${values.length} numbers` : `${describeValue(values[bad])} for item ${bad}`;
  throw new InvalidArgumentError(
    `historyFeatures: expected \`prior\` to hold a finite number for each of the ${itemCount} items, by item index, got ${got}`,
    { argument: 'prior', wanted: `${itemCount} finite numbers`, got: bad < 0 ? values.length : values[bad] },
  );
}

function zScores(prior: ArrayLike<number>, { mean, deviation }: PriorScale): Float32Array {
  return Float32Array.from(prior, (value) => (deviation === 0 ? 0 : (value - mean) / deviation));
}

function textOf(features: NonNullable<HistoryFeatureOptions['features']>): DenseText | SparseText {
  const { matrix, width, terms } = features;
  return terms ? { rows: terms } : { matrix, width };
}

/** The planes of text: cosines to the last item, recency-weighted, and the best match. */
class TextPlanes {
  constructor(
    private readonly cosines: ItemCosines,
    private readonly itemCount: number,
  ) {}

  fill(recent: Int32Array, values: Float32Array, offset: number, planeSize: number): void {
    const { itemCount } = this;
    const last = values.subarray(offset, offset + itemCount);
    const mean = values.subarray(offset + planeSize, offset + planeSize + itemCount);
    const best = values.subarray(offset + 2 * planeSize, offset + 2 * planeSize + itemCount);
    last.set(this.cosines.of(recent[recent.length - 1] as number));
    best.fill(-1);
    let total = 0;
    for (let age = 0; age < recent.length; age++) total += RECENCY ** age;
    for (let age = 0; age < recent.length; age++) {
      const cosines = this.cosines.of(recent[recent.length - 1 - age] as number);
      const weight = RECENCY ** age / total;
      for (let item = 0; item < itemCount; item++) {
        const cosine = cosines[item] as number;
        mean[item] = (mean[item] as number) + weight * cosine;
        if (cosine > (best[item] as number)) best[item] = cosine;
      }
    }
  }
}
