/**
 * Models and data of the cases, made from one seed: equal in every process. What torch reads is the same, as a
 * safetensors file.
 */
import { type HistoryBatch, historyBatch } from '../src/compute/history-batch.js';
import { initParameters, type ModelSpec } from '../src/compute/model.js';
import type { ParameterStore } from '../src/compute/parameter-store.js';
import { historyFeatures } from '../src/encoder/history-features.js';
import { sasRec } from '../src/encoder/sasrec.js';
import type { NamedArray, NamedArrays } from '../src/foundation/named-arrays.js';
import { Rng } from '../src/foundation/rng.js';
import { COMPARED, TOP, type TopCase, type TrainedCase, type UpdateCase } from './cases.js';

/** Architecture of all models: SASRec, untied tables. */
export const MODEL = { width: 64, blocks: 2, heads: 2 } as const;
/** Items of s; s' has one more and still fits the window. */
export const LENGTH = 20;
/** History window of the trained cases. */
const WINDOW = 10;
/** Values of their attribute. */
const ATTRIBUTE_VALUES = 100;
const REPEATS = 8;

/** A model with its initial parameters. */
export interface Model {
  readonly spec: ModelSpec;
  readonly store: ParameterStore;
}

/** Experience of one A2C update. */
export interface UpdateBatch {
  /** s, B full histories of {@link LENGTH} items. */
  readonly before: HistoryBatch;
  /** s': s with the action appended. */
  readonly after: HistoryBatch;
  /** `[B]`. */
  readonly actions: Int32Array;
  /** `[B]`, 0 to 1. */
  readonly rewards: Float32Array;
}

/** Experience of one PPO update. */
export interface TrainedBatch {
  /** Histories of 10 to 20 items, in one row of four of 0 to 9. */
  readonly histories: HistoryBatch;
  /** `[B]`, none of its row's history. */
  readonly actions: Int32Array;
  /** log pi(a|s) when the action was taken, `[B]`: near that of the uniform policy. */
  readonly oldLogProb: Float32Array;
  /** `[B]`, standard normal. */
  readonly advantages: Float32Array;
  /** Targets of V(s), `[B]`, standard normal. */
  readonly returns: Float32Array;
}

function rngOf(part: string): Rng {
  return new Rng('bench').fork(part);
}

function model(spec: ModelSpec): Model {
  return { spec, store: initParameters(spec, rngOf('init')) };
}

/** The model of the `update-*` and `top10-*` cases: two heads over all items. */
export function updateModel({ items }: UpdateCase | TopCase): Model {
  return model({
    itemCount: items,
    contextWidth: 0,
    encoder: sasRec({ ...MODEL, historyLength: LENGTH + 1 }),
    items: 'id',
    critic: 'action',
    valueEncoder: 'shared',
    valueHidden: 0,
  });
}

/** The model of the `trained-*` cases: V(s), history features, dropout. */
export function trainedModel({ items }: TrainedCase): Model {
  const catalog = { size: items, attributes: ['group'], attributeCodes: () => attributeCodes(items) };
  return model({
    itemCount: items,
    contextWidth: 0,
    encoder: sasRec({ ...MODEL, historyLength: WINDOW, dropout: 0.1 }),
    items: 'id',
    historyFeatures: historyFeatures({ catalog, repeats: REPEATS, attributes: ['group'] }),
    critic: 'state',
    valueEncoder: 'shared',
    valueHidden: 64,
  });
}

function attributeCodes(items: number): Int32Array {
  const rng = rngOf('attribute');
  return Int32Array.from({ length: items }, () => rng.integer(ATTRIBUTE_VALUES));
}

/** A fresh batch for every update, compared and measured. */
export function updateBatches({ batch: B, items: A, updates }: UpdateCase): UpdateBatch[] {
  const rng = rngOf('batches');
  return Array.from({ length: COMPARED + updates }, () => {
    const before = Array.from({ length: B }, () => Int32Array.from({ length: LENGTH }, () => rng.integer(A)));
    const actions = Int32Array.from({ length: B }, () => rng.integer(A));
    const after = before.map((items, row) => Int32Array.of(...items, actions[row] as number));
    const rewards = Float32Array.from(rng.uniforms(B));
    return { before: historyBatch(before), after: historyBatch(after), actions, rewards };
  });
}

/** A fresh batch for every update, compared and measured. */
export function trainedBatches({ batch: B, items: A, updates }: TrainedCase): TrainedBatch[] {
  const rng = rngOf('batches');
  const normals = (scale: number): Float32Array => Float32Array.from({ length: B }, () => scale * rng.normal());
  return Array.from({ length: COMPARED + updates }, () => {
    // The first of the short ones is empty.
    const lengths = Array.from({ length: B }, (_, row) => {
      if (row % 4 === 0) return row === 0 ? 0 : rng.integer(WINDOW);
      return WINDOW + rng.integer(LENGTH - WINDOW + 1);
    });
    const drawn = lengths.map((length) => rng.sample(A, length + 1));
    const histories = historyBatch(
      drawn.map((items) => items.subarray(1)),
      { length: LENGTH },
    );
    const actions = Int32Array.from(drawn, (items) => items[0] as number);
    const oldLogProb = normals(0.1).map((noise, row) => noise - Math.log(A - (lengths[row] as number)));
    return { histories, actions, oldLogProb, advantages: normals(1), returns: normals(1) };
  });
}

/** One full history for each call of `top10-*`. */
export function topHistories({ items }: TopCase): HistoryBatch[] {
  const rng = rngOf('batches');
  const count = TOP.warmUp + TOP.calls;
  return Array.from({ length: count }, () => historyBatch([Array.from({ length: LENGTH }, () => rng.integer(items))]));
}

/** What torch needs of a case: parameters by their names, and data of all updates, `[updates, B, …]`, as `data/…`. */
export function torchArrays(benchCase: UpdateCase | TrainedCase | TopCase): NamedArrays {
  if (benchCase.kind === 'update') {
    const batches = updateBatches(benchCase);
    return {
      ...updateModel(benchCase).store.toNamedArrays(),
      'data/histories': stack(
        batches.map(({ before }) => before.items),
        [benchCase.batch, LENGTH],
      ),
      'data/actions': stack(
        batches.map(({ actions }) => actions),
        [benchCase.batch],
      ),
      'data/rewards': stack(
        batches.map(({ rewards }) => rewards),
        [benchCase.batch],
      ),
    };
  }
  if (benchCase.kind === 'top10') {
    const { store } = updateModel(benchCase);
    return {
      ...store.toNamedArrays(),
      'data/histories': stack(
        topHistories(benchCase).map(({ items }) => items),
        [LENGTH],
      ),
    };
  }
  const batches = trainedBatches(benchCase);
  const column = (of: (batch: TrainedBatch) => Int32Array | Float32Array): NamedArray =>
    stack(batches.map(of), [benchCase.batch]);
  return {
    ...trainedModel(benchCase).store.toNamedArrays(),
    'data/attributeCodes': { shape: [benchCase.items], data: attributeCodes(benchCase.items) },
    'data/histories': stack(
      batches.map(({ histories }) => histories.items),
      [benchCase.batch, LENGTH],
    ),
    'data/lengths': column(({ histories }) => histories.lengths),
    'data/actions': column(({ actions }) => actions),
    'data/oldLogProb': column(({ oldLogProb }) => oldLogProb),
    'data/advantages': column(({ advantages }) => advantages),
    'data/returns': column(({ returns }) => returns),
  };
}

function stack(parts: readonly (Int32Array | Float32Array)[], shape: readonly number[]): NamedArray {
  const [first] = parts as readonly [Int32Array | Float32Array];
  const size = first.length;
  const data =
    first instanceof Int32Array ? new Int32Array(parts.length * size) : new Float32Array(parts.length * size);
  for (const [i, part] of parts.entries()) data.set(part, i * size);
  return { shape: [parts.length, ...shape], data };
}
