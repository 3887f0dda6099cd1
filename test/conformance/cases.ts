/** The models and batches on which kernels and loop model must agree: each says twice what it is, once to either side. */
import type { HistoryBatch } from '../../src/compute/history-batch.js';
import type { HistoryFeatures } from '../../src/compute/history-features.js';
import type { Mask } from '../../src/compute/mask.js';
import type { ModelSpec } from '../../src/compute/model.js';
import { initParameters } from '../../src/compute/model.js';
import type { ParameterStore } from '../../src/compute/parameter-store.js';
import type { StateEncoder } from '../../src/compute/state-encoder.js';
import { mean } from '../../src/encoder/mean-encoder.js';
import { sasRec } from '../../src/encoder/sasrec.js';
import { Rng } from '../../src/foundation/rng.js';
import type { EncoderDescription, ModelDescription, Rows } from './float64-model.js';

const CONTEXT_WIDTH = 3;

/** One case; everything left out is at its plainest. */
export interface CaseOptions {
  readonly name: string;
  readonly encoder?: Partial<EncoderDescription>;
  readonly items?: ModelDescription['items'];
  readonly critic?: ModelDescription['critic'];
  readonly valueEncoder?: ModelDescription['valueEncoder'];
  readonly valueHidden?: number;
  readonly histories: readonly (readonly number[])[];
  readonly hasContext?: boolean;
  readonly hasPlanes?: boolean;
  readonly mask?: Mask;
  readonly temperature?: number;
  /** Columns of padding beyond the longest history. */
  readonly extraColumns?: number;
  /** What stands in the padding: must not matter. */
  readonly paddingItem?: number;
  /** Prime by default, so that a transposed reshape cannot pass. */
  readonly itemCount?: number;
  readonly featureWidth?: number;
  /** Width of the encoder's hidden layer. @default one more than its width, so that no other array has that size */
  readonly feedForward?: number;
  /** Parameters are uniform between minus and plus this. */
  readonly spread?: number;
}

/** A case as either side needs it. */
export interface Case {
  readonly name: string;
  readonly model: ModelDescription;
  readonly rows: Rows;
  readonly spec: ModelSpec;
  readonly store: ParameterStore;
  readonly batch: HistoryBatch;
  readonly mask: Mask | undefined;
  readonly temperature: number;
}

/** Rows of every kind: empty, one item, as long as the window, longer, with repeats. */
const MIXED: readonly (readonly number[])[] = [[], [3], [1, 10, 2, 4], [0, 5, 5, 7, 8, 2, 1], [6, 6]];

/** The cases that the kernels are checked on. */
export const CASES: readonly CaseOptions[] = [
  { name: '1 block, ids, actor alone', histories: MIXED },
  {
    name: '1 block, 2 heads, linear V on the shared encoder',
    encoder: { heads: 2 },
    critic: 'state',
    histories: MIXED,
  },
  {
    name: '2 blocks, V with a hidden layer',
    encoder: { blocks: 2 },
    critic: 'state',
    valueHidden: 5,
    histories: MIXED,
  },
  {
    name: '2 blocks, 2 heads, ids and text, Q on the shared encoder',
    encoder: { blocks: 2, heads: 2 },
    items: 'id+text',
    critic: 'action',
    histories: MIXED,
  },
  {
    name: 'text alone, V with an encoder of its own',
    items: 'text',
    critic: 'state',
    valueEncoder: 'separate',
    valueHidden: 6,
    histories: MIXED,
  },
  {
    name: 'ids, Q with an encoder of its own, history features',
    critic: 'action',
    valueEncoder: 'separate',
    hasPlanes: true,
    histories: MIXED,
  },
  { name: 'mean encoder, ids, linear V', encoder: { kind: 'mean' }, critic: 'state', histories: MIXED },
  {
    name: 'mean encoder, ids and text, context, Q of its own, no repeats',
    encoder: { kind: 'mean' },
    items: 'id+text',
    critic: 'action',
    valueEncoder: 'separate',
    hasContext: true,
    hasPlanes: true,
    mask: { noRepeat: true },
    histories: MIXED,
  },
  { name: 'context, temperature 0.6', hasContext: true, temperature: 0.6, critic: 'state', histories: MIXED },
  {
    name: 'no repeats over the whole history, beyond a window of 2',
    encoder: { historyLength: 2, blocks: 2 },
    critic: 'action',
    mask: { noRepeat: true },
    histories: MIXED,
  },
  {
    name: 'exclusions for all rows and for each, temperature 1.7',
    critic: 'state',
    mask: { exclude: Int32Array.of(0, 9, 9), excludeRows: [[], [1, 2], Int32Array.of(10), [3], [4, 9]] },
    temperature: 1.7,
    histories: MIXED,
  },
  { name: 'a single user with no history', critic: 'action', histories: [[]] },
  { name: 'nobody has a history, context', critic: 'state', hasContext: true, histories: [[], [], []] },
  {
    name: 'one item left',
    critic: 'action',
    mask: { exclude: Int32Array.of(0, 1, 2, 3, 4, 5, 6, 8, 9, 10) },
    histories: [[7], [2, 7]],
  },
  {
    name: 'padding holds items that must not matter',
    encoder: { blocks: 2 },
    extraColumns: 3,
    paddingItem: 9,
    hasPlanes: true,
    mask: { noRepeat: true },
    critic: 'action',
    histories: [[4], [], [8, 1]],
  },
  {
    name: 'scores far apart',
    spread: 2.5,
    critic: 'action',
    items: 'id+text',
    temperature: 0.3,
    hasPlanes: true,
    histories: MIXED,
  },
  {
    name: 'everything at once',
    encoder: { blocks: 2, heads: 3, width: 6 },
    items: 'id+text',
    critic: 'action',
    valueEncoder: 'separate',
    hasContext: true,
    hasPlanes: true,
    mask: { noRepeat: true, exclude: Int32Array.of(9), excludeRows: [[1], [], [3], [], [0]] },
    temperature: 0.8,
    extraColumns: 1,
    histories: MIXED,
  },
];

/**
 * The same cases as far as the fused kernels have a form of them (the mean encoder runs under fused heads): sizes are
 * multiples of 4, and there are no planes, for those of the tests have no description.
 */
export const FUSED_CASES: readonly CaseOptions[] = CASES.map((options) => ({
  ...options,
  name: `${options.name}, fused`,
  encoder: { ...options.encoder, width: options.encoder?.width === 6 ? 12 : 4 },
  feedForward: 8,
  hasPlanes: false,
}));

/** Planes of the tests: shown last, shown before last, and a number that no other plane repeats. */
const planeNames = ['shownLast', 'shownBeforeLast', 'wave'];
function planeValue(plane: number, history: readonly number[], item: number): number {
  if (plane === 2) return Math.sin(1 + 3 * item + 5 * history.reduce((sum, x) => sum + x, 0));
  return history[history.length - 1 - plane] === item ? 1 : 0;
}
const historyFeatures = (itemCount: number): HistoryFeatures => ({
  names: planeNames,
  planes({ size, length, items, lengths }) {
    const planes = new Float32Array(planeNames.length * size * itemCount);
    for (let f = 0; f < planeNames.length; f++) {
      for (let b = 0; b < size; b++) {
        const history = [...items.subarray(b * length, b * length + (lengths[b] as number))];
        for (let a = 0; a < itemCount; a++) planes[(f * size + b) * itemCount + a] = planeValue(f, history, a);
      }
    }
    return planes;
  },
});

/** Builds both sides of a case; all parameters are random, those that start at 0 included. */
export function buildCase(options: CaseOptions): Case {
  const { name, histories, mask, temperature = 1, hasContext = false, hasPlanes = false } = options;
  const { itemCount = 11, featureWidth = 5, spread = 0.7 } = options;
  const rng = new Rng('conformance').fork(name);
  const between = (low: number, high: number): number => Math.fround(low + (high - low) * rng.uniform());
  const encoder: EncoderDescription = {
    kind: 'sasRec',
    width: 4,
    blocks: 1,
    heads: 1,
    historyLength: 4,
    decay: 0.7,
    ...options.encoder,
  };
  const features = Array.from({ length: itemCount }, () => Array.from({ length: featureWidth }, () => between(-1, 1)));
  const model: ModelDescription = {
    itemCount,
    encoder,
    items: options.items ?? 'id',
    itemFeatures: features,
    critic: options.critic ?? 'none',
    valueEncoder: options.valueEncoder ?? 'shared',
    valueHidden: options.valueHidden ?? 0,
  };
  const contexts = histories.map(() => (hasContext ? Array.from({ length: CONTEXT_WIDTH }, () => between(-1, 1)) : []));
  const rows: Rows = {
    histories,
    contexts,
    planes: histories.map((history) =>
      (hasPlanes ? planeNames : []).map((_, f) =>
        Array.from({ length: itemCount }, (_, a) => Math.fround(planeValue(f, history, a))),
      ),
    ),
    allowed: histories.map((history, b) =>
      Array.from(
        { length: itemCount },
        (_, a) =>
          !(mask?.noRepeat === true && history.includes(a)) &&
          !(mask?.exclude?.includes(a) ?? false) &&
          !([...(mask?.excludeRows?.[b] ?? [])].includes(a) ?? false),
      ),
    ),
    temperature,
  };
  const spec: ModelSpec = {
    itemCount,
    contextWidth: hasContext ? CONTEXT_WIDTH : 0,
    encoder: encoderOf(encoder, options.feedForward),
    items: model.items,
    ...(model.items === 'id'
      ? {}
      : { itemFeatures: Float32Array.from(features.flat()), itemFeatureWidth: featureWidth }),
    ...(hasPlanes ? { historyFeatures: historyFeatures(itemCount) } : {}),
    critic: model.critic,
    valueEncoder: model.valueEncoder,
    valueHidden: model.valueHidden,
  };
  const store = initParameters(spec, rng.fork('init'));
  for (const { data } of store.parameters()) for (let i = 0; i < data.length; i++) data[i] = between(-spread, spread);
  store.touch();
  return { name, model, rows, spec, store, batch: packed(options, contexts), mask, temperature };
}

function encoderOf(description: EncoderDescription, feedForward = description.width + 1): StateEncoder {
  const { kind, width, blocks, heads, historyLength, decay } = description;
  // Dropout is at work only in the leak test: the loop model has none.
  return kind === 'mean'
    ? mean({ width, historyLength, decay })
    : sasRec({ width, blocks, heads, historyLength, dropout: 0.2, feedForward });
}

/** The batch by hand, so that the padding can hold what it likes. */
function packed(options: CaseOptions, contexts: readonly (readonly number[])[]): HistoryBatch {
  const { histories, extraColumns = 0, paddingItem = -1 } = options;
  const size = histories.length;
  const length = Math.max(...histories.map((history) => history.length)) + extraColumns;
  const items = new Int32Array(size * length).fill(paddingItem);
  histories.forEach((history, b) => {
    items.set(history, b * length);
  });
  const lengths = Int32Array.from(histories, (history) => history.length);
  const contextWidth = contexts[0]?.length ?? 0;
  return {
    size,
    length,
    items,
    lengths,
    contextWidth,
    ...(contextWidth === 0 ? {} : { context: Float32Array.from(contexts.flat()) }),
  };
}

/** The case of that name. */
export function caseNamed(name: string): Case {
  const options = [...CASES, ...FUSED_CASES].find((entry) => entry.name === name);
  if (options === undefined) throw new Error(`No case ${name}`);
  return buildCase(options);
}

/** The parameters of a case as float64 numbers: the model's own copy. */
export function weightsOf(test: Case): Record<string, Float64Array> {
  return Object.fromEntries(test.store.parameters().map(({ name, data }) => [name, Float64Array.from(data)]));
}

/** The kernels' options of a case. */
export function optionsOf({ mask, temperature }: Case) {
  return { temperature, ...(mask === undefined ? {} : { mask }) };
}
