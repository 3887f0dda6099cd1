/** Models, batches and options drawn at random: what two kernels are compared on. */
import fc from 'fast-check';
import type { HistoryBatch } from '../../src/compute/history-batch.js';
import { historyBatch } from '../../src/compute/history-batch.js';
import type { HistoryFeatures } from '../../src/compute/history-features.js';
import type { ScoreOptions } from '../../src/compute/kernels.js';
import type { Mask } from '../../src/compute/mask.js';
import { initParameters, type ModelSpec } from '../../src/compute/model.js';
import type { ParameterStore } from '../../src/compute/parameter-store.js';
import type { TermRows } from '../../src/compute/sparse-cosines.js';
import { historyFeatures } from '../../src/encoder/history-features.js';
import { sasRec } from '../../src/encoder/sasrec.js';
import { Rng } from '../../src/foundation/rng.js';
import { askEverything, type Questions } from './questions.js';

/** A configuration as fast-check draws it and prints it. */
export interface ModelChoice {
  readonly seed: number;
  readonly rows: number;
  readonly itemCount: number;
  /** The encoder's window. */
  readonly window: number;
  readonly width: number;
  readonly blocks: number;
  /** Picks one of the divisors of the width. */
  readonly heads: number;
  /** In quarters: the layer is four times as wide. */
  readonly feedForward: number;
  readonly dropout: number;
  readonly isDropping: boolean;
  readonly items: ModelSpec['items'];
  readonly featureWidth: number;
  readonly contextWidth: number;
  readonly historyFeatures: {
    readonly repeats: number;
    readonly attributes: number;
    /** Dense features, sparse rows beside them, or no text planes. */
    readonly text: boolean | 'sparse';
    readonly prior: boolean;
  } | null;
  readonly critic: ModelSpec['critic'];
  readonly valueEncoder: ModelSpec['valueEncoder'];
  readonly valueHidden: number;
  readonly mask: 'none' | 'noRepeat' | 'exclude' | 'excludeRows' | 'all';
  readonly temperature: number;
  /** How next histories come about. `unrelated` shares nothing with the histories. */
  readonly next: 'plusOne' | 'unrelated';
  readonly extraColumns: number;
  /** Frozen: every parameter that starts so. */
  readonly frozen: string | null;
}

/** The configurations of issue 4. Small ones are tried first when fast-check looks for the smallest that fails. */
export const modelChoices: fc.Arbitrary<ModelChoice> = fc
  .record({
    seed: fc.nat(2 ** 31 - 1),
    rows: fc.integer({ min: 1, max: 40 }),
    itemCount: fc.integer({ min: 5, max: 400 }),
    window: fc.oneof(
      { weight: 9, arbitrary: fc.integer({ min: 2, max: 32 }) },
      { weight: 1, arbitrary: fc.integer({ min: 33, max: 200 }) },
    ),
    width: fc.constantFrom(4, 8, 12, 16, 32, 64),
    blocks: fc.integer({ min: 1, max: 3 }),
    heads: fc.nat(100),
    feedForward: fc.integer({ min: 1, max: 24 }),
    dropout: fc.constantFrom(0, 0.1, 0.35, 0.6),
    isDropping: fc.boolean(),
    items: fc.constantFrom('id', 'text', 'id+text'),
    featureWidth: fc.integer({ min: 1, max: 24 }),
    contextWidth: fc.constantFrom(0, 0, 1, 3, 6),
    historyFeatures: fc.oneof(
      { weight: 1, arbitrary: fc.constant(null) },
      {
        weight: 2,
        arbitrary: fc
          .record({
            repeats: fc.integer({ min: 0, max: 9 }),
            attributes: fc.integer({ min: 0, max: 3 }),
            text: fc.boolean(),
          })
          .filter(({ repeats, attributes, text }) => repeats > 0 || attributes > 0 || text),
      },
    ),
    critic: fc.constantFrom('none', 'state', 'action'),
    valueEncoder: fc.constantFrom('shared', 'separate'),
    valueHidden: fc.constantFrom(0, 1, 5, 8, 31, 64),
    mask: fc.constantFrom('none', 'noRepeat', 'exclude', 'excludeRows', 'all'),
    temperature: fc.constantFrom(1, 1, 0.4, 2.5),
    next: fc.constantFrom('plusOne', 'plusOne', 'unrelated'),
    extraColumns: fc.constantFrom(0, 0, 3),
    frozen: fc.constantFrom(
      null,
      null,
      null,
      null,
      'encoder/',
      'item/',
      'actor/',
      'actor/history',
      'encoder/block0/query',
      '',
    ),
  })
  .map((choice) => ({
    ...choice,
    historyFeatures: choice.historyFeatures && refined(choice.historyFeatures, choice.seed),
  }));

/** Half of the texts as sparse rows, and an item prior for every third: by the seed, so that other draws stay as they are. */
function refined(
  features: { readonly repeats: number; readonly attributes: number; readonly text: boolean },
  seed: number,
): ModelChoice['historyFeatures'] {
  return { ...features, text: features.text && seed % 2 === 1 ? 'sparse' : features.text, prior: seed % 3 === 0 };
}

/** A configuration built. */
export interface Trial {
  readonly choice: ModelChoice;
  readonly spec: ModelSpec;
  readonly batch: HistoryBatch;
  readonly next: HistoryBatch;
  readonly options: ScoreOptions;
  /** The same, but for what `next` may not be given together with. */
  readonly nextOptions: ScoreOptions;
  readonly questions: Questions;
  /** `[row][item]`, false where the mask excludes. */
  readonly allowed: readonly (readonly boolean[])[];
  /** A store of its own, the same numbers each time. */
  makeStore(): ParameterStore;
}

/** So many numbers may stand in the arrays of the reference's attention; larger batches lose rows. */
const ATTENTION_NUMBERS = 600_000;
/** Items that no mask and no history touches, so that every row has something left. */
const RESERVED = 3;

/** Builds a configuration; everything depends on its numbers alone. */
export function buildTrial(choice: ModelChoice): Trial {
  const rng = new Rng('trial').fork(choice.seed);
  const { itemCount, width, window, contextWidth, critic } = choice;
  const divisors = Array.from({ length: width }, (_, i) => i + 1).filter((heads) => width % heads === 0);
  const heads = divisors[choice.heads % divisors.length] as number;
  const perRow = window * heads * (width + window);
  const size = Math.max(1, Math.min(choice.rows, Math.floor(ATTENTION_NUMBERS / perRow)));
  const hasFeatures = choice.items !== 'id';
  const features = {
    matrix: unitRows(rng.fork('features'), itemCount, choice.featureWidth),
    width: choice.featureWidth,
  };
  const spec: ModelSpec = {
    itemCount,
    contextWidth,
    encoder: sasRec({
      width,
      blocks: choice.blocks,
      heads,
      historyLength: window,
      dropout: choice.dropout,
      feedForward: 4 * choice.feedForward,
    }),
    items: choice.items,
    ...(hasFeatures ? { itemFeatures: features.matrix, itemFeatureWidth: features.width } : {}),
    ...(choice.historyFeatures === null
      ? {}
      : { historyFeatures: drawHistoryFeatures(rng.fork('planes'), itemCount, features, choice.historyFeatures) }),
    critic,
    valueEncoder: choice.valueEncoder,
    valueHidden: choice.valueHidden,
  };
  const order = rng.fork('reserved').shuffle(Int32Array.from({ length: itemCount }, (_, item) => item));
  const others = order.slice(RESERVED);
  const isShown = choice.mask === 'none' || choice.mask === 'excludeRows';
  const rowRng = rng.fork('histories');
  const drawItem = (): number => {
    const pool = isShown ? order : others;
    return pool[rowRng.integer(pool.length)] as number;
  };
  const histories = Array.from({ length: size }, () => Array.from({ length: drawLength(rowRng, window) }, drawItem));
  const nextHistories = histories.map((history) =>
    choice.next === 'plusOne' ? [...history, drawItem()] : Array.from({ length: drawLength(rowRng, window) }, drawItem),
  );
  const contextRng = rng.fork('context');
  const pack = (lists: readonly number[][]): HistoryBatch =>
    padded(
      historyBatch(
        lists,
        contextWidth === 0
          ? {}
          : { context: lists.map(() => Array.from({ length: contextWidth }, () => contextRng.normal())) },
      ),
      choice.extraColumns,
      itemCount - 1,
    );
  const batch = pack(histories);
  const packedNext = pack(nextHistories);
  // One causal pass for both means one user: the same context.
  const next = batch.context === undefined ? packedNext : { ...packedNext, context: batch.context };
  const mask = drawMask(rng.fork('mask'), choice.mask, size, others);
  const options: ScoreOptions = {
    ...(mask === undefined ? {} : { mask }),
    temperature: choice.temperature,
    ...(choice.isDropping ? { dropoutSeed: rng.fork('dropout').nonZeroSeed() } : {}),
  };
  const { excludeRows: _, ...sharedMask } = mask ?? {};
  const allowed = histories.map((history, row) => {
    const excluded = new Set([
      ...(mask?.exclude ?? []),
      ...(mask?.noRepeat === true ? history : []),
      ...(mask?.excludeRows?.[row] ?? []),
    ]);
    return Array.from({ length: itemCount }, (_, item) => !excluded.has(item));
  });
  return {
    choice,
    spec,
    batch,
    next,
    options,
    nextOptions: { ...options, mask: sharedMask },
    questions: askEverything(
      { batch: { size }, model: { critic, itemCount }, rows: { allowed } },
      rng.fork('questions'),
    ),
    allowed,
    makeStore: () => {
      const store = initParameters(spec, rng.fork('init'));
      const noise = rng.fork('noise');
      for (const { name, data } of store.parameters()) {
        const own = noise.fork(name);
        for (let i = 0; i < data.length; i++) data[i] = (data[i] as number) + 0.25 * own.normal();
      }
      store.touch();
      const { frozen } = choice;
      if (frozen !== null && store.names.some((name) => name.startsWith(frozen))) store.freeze(frozen);
      return store;
    },
  };
}

/** Excludes some of `others` only: reserved items stay out of every mask. */
function drawMask(rng: Rng, kind: ModelChoice['mask'], rows: number, others: Int32Array): Mask | undefined {
  if (kind === 'none') return undefined;
  const some = (most: number): number[] =>
    Array.from({ length: rng.integer(most + 1) }, () => others[rng.integer(others.length)] as number);
  const hasAll = kind === 'all';
  return {
    ...(hasAll || kind === 'noRepeat' ? { noRepeat: true } : {}),
    ...(hasAll || kind === 'exclude' ? { exclude: Int32Array.from(some(others.length)) } : {}),
    ...(hasAll || kind === 'excludeRows'
      ? {
          excludeRows: Array.from({ length: rows }, (_, row) =>
            row % 3 === 0 ? Int32Array.from(some(others.length)) : some(8),
          ),
        }
      : {}),
  };
}

/** Empty, short, full and sliding histories, a quarter each. */
function drawLength(rng: Rng, window: number): number {
  switch (rng.integer(4)) {
    case 0:
      return 0;
    case 1:
      return 1 + rng.integer(window);
    case 2:
      return window;
    default:
      return window + 1 + rng.integer(window);
  }
}

function drawHistoryFeatures(
  rng: Rng,
  itemCount: number,
  features: { readonly matrix: Float32Array; readonly width: number },
  choice: NonNullable<ModelChoice['historyFeatures']>,
): HistoryFeatures {
  const priorRng = rng.fork('prior');
  const codes = Array.from({ length: choice.attributes }, (_, attribute) =>
    Int32Array.from({ length: itemCount }, () => rng.integer(3 + 5 * attribute) - 1),
  );
  const names = codes.map((_, attribute) => `attribute${attribute}`);
  return historyFeatures({
    catalog: {
      size: itemCount,
      attributes: names,
      attributeCodes: (name) => codes[names.indexOf(name)] as Int32Array,
    },
    repeats: choice.repeats,
    attributes: names,
    ...(choice.text === false ? {} : { features }),
    ...(choice.text === 'sparse' ? { features: { ...features, terms: sparseRows(rng.fork('terms'), itemCount) } } : {}),
    text: choice.text !== false,
    ...(choice.prior ? { prior: Float32Array.from({ length: itemCount }, () => priorRng.normal()) } : {}),
  });
}

/**
 * Sparse rows of unit length over few terms, so that most items share some; every fifth is empty. Of either sign, as no TF-IDF is: where
 * all cosines are positive, float32 sums of gradients that add up to zero tell nothing at the tolerance here.
 */
function sparseRows(rng: Rng, itemCount: number): TermRows {
  const termCount = 17;
  const offsets = new Int32Array(itemCount + 1);
  const terms: number[] = [];
  const weights: number[] = [];
  for (let item = 0; item < itemCount; item++) {
    const own = Array.from({ length: termCount }, (_, term) => term).filter(
      () => item % 5 !== 4 && rng.uniform() < 0.25,
    );
    const row = own.map(() => rng.normal());
    const norm = Math.hypot(...row);
    terms.push(...own);
    weights.push(...row.map((weight) => weight / norm));
    offsets[item + 1] = terms.length;
  }
  return { offsets, terms: Int32Array.from(terms), weights: Float32Array.from(weights), termCount };
}

/** Rows of unit length; every seventh is zero, as those of items without text are. */
function unitRows(rng: Rng, count: number, width: number): Float32Array {
  const rows = new Float32Array(count * width);
  for (let item = 0; item < count; item++) {
    if (item % 7 === 6) continue;
    const row = Array.from({ length: width }, () => rng.normal());
    const norm = Math.hypot(...row);
    for (let i = 0; i < width; i++) rows[item * width + i] = (row[i] as number) / norm;
  }
  return rows;
}

/** The batch with more columns, and an item in the padding, which must not matter. */
function padded(batch: HistoryBatch, extraColumns: number, paddingItem: number): HistoryBatch {
  if (extraColumns === 0) return batch;
  const length = batch.length + extraColumns;
  const items = new Int32Array(batch.size * length).fill(paddingItem);
  for (let row = 0; row < batch.size; row++) {
    const start = row * batch.length;
    items.set(batch.items.subarray(start, start + (batch.lengths[row] as number)), row * length);
  }
  return { ...batch, length, items };
}
