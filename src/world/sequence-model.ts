import { z } from 'zod';
import { binaryCrossEntropy } from '../agent/losses/supervised-losses.js';
import { Sequences } from '../catalog/sequences.js';
import { ensureBackend } from '../compute/backend.js';
import { createKernels } from '../compute/create-kernels.js';
import { type HistoryBatch, selectRows } from '../compute/history-batch.js';
import type { Kernels } from '../compute/kernels.js';
import { initParameters, type ModelSpec } from '../compute/model.js';
import { Adam } from '../compute/optimiser.js';
import type { ParameterStore } from '../compute/parameter-store.js';
import { sasRec } from '../encoder/sasrec.js';
import type { LogitModel } from '../env/reward-model.js';
import { argumentError, checkObject } from '../foundation/arguments.js';
import { DisposedError, DivergedError, InvalidArgumentError } from '../foundation/errors.js';
import type { NamedArrays } from '../foundation/named-arrays.js';
import { checkOptions } from '../foundation/options.js';
import { Rng } from '../foundation/rng.js';
import { Turns } from '../foundation/turns.js';

/** What a click model of sequences is, and how it is fitted: plain JSON, every field there. */
export interface SequenceModelSettings {
  /** Width of item vectors and states, a multiple of `heads`. */
  readonly width: number;
  /** Attention blocks. */
  readonly blocks: number;
  /** Attention heads. */
  readonly heads: number;
  /** Dropout in training, in [0, 1). */
  readonly dropout: number;
  /** Models whose logits are averaged, each from a seed of its own. */
  readonly members: number;
  /** How the items that were not chosen are drawn: all alike, or by (1 + how often chosen)^0.75. */
  readonly negatives: 'uniform' | 'popularity';
  /** How many of them for each item that was. */
  readonly negativeCount: number;
  /** Adam's step size. */
  readonly learningRate: number;
  /** Prefixes an update. */
  readonly batchSize: number;
  /** Most epochs. */
  readonly maxEpochs: number;
  /** Epochs without a better held-out loss after which fitting stops. */
  readonly patience: number;
}

/** Schema of {@link SequenceModelSettings}. */
export const sequenceModelSchema = z
  .strictObject({
    width: z.int().min(1).max(1024),
    blocks: z.int().min(1).max(16),
    heads: z.int().min(1).max(64),
    dropout: z.number().min(0).lt(1),
    members: z.int().min(1).max(64),
    negatives: z.enum(['uniform', 'popularity']),
    negativeCount: z.int().min(1).max(1000),
    learningRate: z.number().positive(),
    batchSize: z.int().min(1).max(65_536),
    maxEpochs: z.int().min(1).max(10_000),
    patience: z.int().min(1).max(10_000),
  })
  .refine(({ width, heads }) => width % heads === 0, 'expected `width` to be a multiple of `heads`');

/**
 * The settings of environments.md section 3: an ensemble of three, BCE on the logit with four uniform negatives. The loss stands
 * still for some epochs at popularity before the order of items is learned: a patience of 3 stopped there for one seed of three.
 */
export const SEQUENCE_MODEL: SequenceModelSettings = {
  width: 32,
  blocks: 1,
  heads: 2,
  dropout: 0.2,
  members: 3,
  negatives: 'uniform',
  negativeCount: 4,
  learningRate: 1e-3,
  batchSize: 128,
  maxEpochs: 60,
  patience: 6,
};

/** What makes a {@link SequenceModel} out of parameters. */
export interface SequenceModelForm extends Pick<SequenceModelSettings, 'width' | 'blocks' | 'heads' | 'dropout'> {
  /** Number of items, A. */
  readonly itemCount: number;
  /** How many last items it sees. */
  readonly window: number;
}

/** Scores of this many rows of all items are asked for at once: what is scored and what comes back stay near the processor. */
const ROWS_AT_ONCE = 16;

/**
 * SASRec as a click model: state · item vector + bias. Its kernels are made at the first use and need a backend
 * (`await useBackend('auto')`); `dispose()` frees them. A row's bits are the same whatever other rows are scored with it.
 */
export class SequenceModel implements LogitModel {
  /** `SASRec`. */
  readonly name = 'SASRec';
  /** Number of items, A. */
  readonly itemCount: number;
  readonly #spec: ModelSpec;
  readonly #store: ParameterStore;
  readonly #everyItem: Int32Array;
  #kernels: Kernels | undefined;
  #isDisposed = false;

  /**
   * @param form - what the model is.
   * @param parameters - of {@link trainSequenceModel}; copied.
   * @param source - what errors call them. @default 'SequenceModel'
   * @throws {CheckpointError} when the parameters are not of this form.
   */
  constructor(form: SequenceModelForm, parameters: NamedArrays, source = 'SequenceModel') {
    this.itemCount = form.itemCount;
    this.#spec = modelSpec(form);
    this.#store = initParameters(this.#spec, new Rng(0));
    this.#store.loadNamedArrays(parameters, source);
    this.#everyItem = Int32Array.from({ length: ROWS_AT_ONCE * form.itemCount }, (_, i) => i % form.itemCount);
  }

  /** One logit a row; rows at -1 keep what `out` holds. */
  score(histories: HistoryBatch, actions: Int32Array, out: Float32Array): Float32Array {
    const rows: number[] = [];
    for (let row = 0; row < actions.length; row++) if ((actions[row] as number) >= 0) rows.push(row);
    if (rows.length === 0) return out;
    const isWhole = rows.length === histories.size;
    const batch = isWhole ? histories : selectRows(histories, rows);
    const items = isWhole ? actions : Int32Array.from(rows, (row) => actions[row] as number);
    const { scores } = this.#forward(batch, items, 1);
    rows.forEach((row, i) => {
      out[row] = scores[i] as number;
    });
    return out;
  }

  /** Every item's logit in every row, `[B, A]`. */
  scoreAll(histories: HistoryBatch, out: Float32Array): Float32Array {
    const A = this.itemCount;
    for (let first = 0; first < histories.size; first += ROWS_AT_ONCE) {
      const batch = rowsFrom(histories, first, ROWS_AT_ONCE);
      out.set(this.#forward(batch, this.#everyItem.subarray(0, batch.size * A), A).scores, first * A);
    }
    return out;
  }

  /** Frees the kernels. Idempotent. */
  dispose(): void {
    this.#isDisposed = true;
    this.#kernels?.dispose();
    this.#kernels = undefined;
  }

  /** The same as `dispose()`, for `using`. */
  [Symbol.dispose](): void {
    this.dispose();
  }

  #forward(batch: HistoryBatch, items: Int32Array, width: number): { readonly scores: Float32Array } {
    if (this.#isDisposed) throw new DisposedError('SequenceModel');
    this.#kernels ??= createKernels(this.#spec, this.#store);
    return this.#kernels.forward(batch, { scoresOf: { head: 'actor', items, width } });
  }
}

function modelSpec(form: SequenceModelForm): ModelSpec {
  const { itemCount, width, blocks, heads, dropout, window } = form;
  return {
    itemCount,
    contextWidth: 0,
    encoder: sasRec({ width, blocks, heads, dropout, historyLength: window }),
    items: 'id',
    critic: 'none',
    valueEncoder: 'shared',
    valueHidden: 0,
  };
}

/** A view of at most `count` rows. */
function rowsFrom(histories: HistoryBatch, first: number, count: number): HistoryBatch {
  const { length, items, lengths } = histories;
  const size = Math.min(count, histories.size - first);
  return {
    size,
    length,
    items: items.subarray(first * length, (first + size) * length),
    lengths: lengths.subarray(first, first + size),
    contextWidth: 0,
  };
}

/** The mean of several models' logits. Single models of one world disagree much more than ensembles do (environments.md section 3). */
export class EnsembleModel implements LogitModel {
  /** Name and number of the members. */
  readonly name: string;
  /** Number of items, A. */
  readonly itemCount: number;
  readonly #members: readonly LogitModel[];
  #scratch = new Float32Array();

  /** Borrows the members. @throws {InvalidArgumentError} for none, or members of different numbers of items. */
  constructor(members: readonly LogitModel[]) {
    const [first] = members;
    if (first === undefined || members.some(({ itemCount }) => itemCount !== first.itemCount)) {
      const counts = members.map(({ itemCount }) => itemCount).join(', ');
      throw argumentError('EnsembleModel', 'members', 'at least one model, all of one number of items', `[${counts}]`);
    }
    this.name = members.length === 1 ? first.name : `${members.length} x ${first.name}`;
    this.itemCount = first.itemCount;
    this.#members = members;
  }

  /** One mean logit a row; rows at -1 keep what `out` holds. */
  score(histories: HistoryBatch, actions: Int32Array, out: Float32Array): Float32Array {
    return this.#mean(out, actions.length, actions, (model, scores) => model.score(histories, actions, scores));
  }

  /** Every item's mean logit in every row, `[B, A]`. */
  scoreAll(histories: HistoryBatch, out: Float32Array): Float32Array {
    const count = histories.size * this.itemCount;
    return this.#mean(out, count, undefined, (model, scores) => model.scoreAll(histories, scores));
  }

  #mean(
    out: Float32Array,
    count: number,
    actions: Int32Array | undefined,
    score: (model: LogitModel, scores: Float32Array) => void,
  ): Float32Array {
    const [first, ...others] = this.#members;
    score(first as LogitModel, out);
    if (others.length === 0) return out;
    if (this.#scratch.length < count) this.#scratch = new Float32Array(count);
    const scratch = this.#scratch;
    const share = 1 / this.#members.length;
    for (const [n, model] of others.entries()) {
      score(model, scratch);
      const scale = n === others.length - 1 ? share : 1;
      for (let i = 0; i < count; i++) {
        if (actions !== undefined && (actions[i] as number) < 0) continue;
        out[i] = ((out[i] as number) + (scratch[i] as number)) * scale;
      }
    }
    return out;
  }
}

/** What {@link trainSequenceModel} tells after each epoch. */
export interface SequenceModelProgress {
  /** Epochs done. */
  readonly epoch: number;
  /** Mean loss of the epoch's updates. */
  readonly loss: number;
  /** Loss on the part that decides when to stop. */
  readonly heldOutLoss: number;
}

/** Options of {@link trainSequenceModel}. */
export interface TrainSequenceModelOptions {
  /** What is fitted, and how; `members` is not read. */
  readonly settings: SequenceModelSettings;
  /** How many last items the model sees, >= 1. */
  readonly window: number;
  /** Seed of the weights, the order, the negatives and the dropout. */
  readonly seed: number | string;
  /** Stops between updates; the call rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
  /** Called after each epoch. */
  readonly onProgress?: ((progress: SequenceModelProgress) => void) | undefined;
}

/** A fitted model. */
export interface TrainedSequenceModel {
  /** The parameters of the best epoch. */
  readonly parameters: NamedArrays;
  /** The epoch they are of, from 1. */
  readonly epoch: number;
  /** Its loss on the part that decided when to stop. */
  readonly heldOutLoss: number;
}

/**
 * Fits a {@link SequenceModel}: after every prefix of every sequence the next item is told from a few others, by binary
 * cross-entropy on the logit. It stops when the loss on `heldOut` has not fallen for some epochs, and keeps the best
 * parameters. The same seed gives the same bits.
 *
 * @param fitOn - sequences whose transitions are learned.
 * @param heldOut - others, that decide when to stop.
 * @throws {InvalidArgumentError} for options out of range, or sequences without a transition.
 * @throws {DivergedError} when the loss is no number any more.
 */
export async function trainSequenceModel(
  fitOn: Sequences,
  heldOut: Sequences,
  options: TrainSequenceModelOptions,
): Promise<TrainedSequenceModel> {
  const where = 'trainSequenceModel';
  checkObject(where, 'options', options);
  const settings = checkOptions(sequenceModelSchema, options.settings, where);
  const { window, seed, signal, onProgress } = options;
  const prefixes = prefixesOf(fitOn, 'fitOn');
  const judged = prefixesOf(heldOut, 'heldOut');
  if (fitOn.catalogSize !== heldOut.catalogSize)
    throw argumentError(where, 'heldOut', `sequences of ${fitOn.catalogSize} items`, heldOut.catalogSize);
  signal?.throwIfAborted();
  await ensureBackend();
  const rng = new Rng(seed).fork('sequence-model');
  const spec = modelSpec({ ...settings, itemCount: fitOn.catalogSize, window });
  const store = initParameters(spec, rng.fork('init'));
  const kernels = createKernels(spec, store);
  try {
    const optimiser = new Adam({ learningRate: settings.learningRate });
    const drawn = negativeSampler(fitOn, settings.negatives);
    const questions = (from: Prefixes, order: Int32Array, first: number, negatives: Rng): Questions =>
      ask(from, order.subarray(first, first + settings.batchSize), {
        window,
        width: 1 + settings.negativeCount,
        draw: () => drawn(negatives.uniform()),
      });
    const order = Int32Array.from({ length: prefixes.count }, (_, i) => i);
    const inOrder = Int32Array.from({ length: judged.count }, (_, i) => i);
    const turns = new Turns();
    let best: TrainedSequenceModel | undefined;
    for (let epoch = 1; epoch <= settings.maxEpochs; epoch++) {
      const epochRng = rng.fork(`epoch/${epoch}`);
      epochRng.fork('order').shuffle(order);
      const negatives = epochRng.fork('negatives');
      const dropout = epochRng.fork('dropout');
      let sum = 0;
      for (let first = 0; first < order.length; first += settings.batchSize) {
        await turns.give();
        signal?.throwIfAborted();
        const { histories, ...question } = questions(prefixes, order, first, negatives);
        const { scores } = kernels.forward(
          histories,
          { scoresOf: { head: 'actor', items: question.items, width: question.width } },
          { dropoutSeed: dropout.nonZeroSeed() },
        );
        const { loss, cotangents } = binaryCrossEntropy({ scores, labels: question.labels });
        if (!Number.isFinite(loss)) {
          throw new DivergedError(`${where}: the loss is ${loss} in epoch ${epoch}: lower \`learningRate\``, {
            step: epoch,
            loss,
          });
        }
        kernels.backward(cotangents);
        kernels.step(optimiser);
        sum += loss * histories.size;
      }
      // The same questions after every epoch, so that losses compare.
      const fixed = rng.fork('held-out');
      let heldOutSum = 0;
      for (let first = 0; first < judged.count; first += settings.batchSize) {
        await turns.give();
        const { histories, items, labels, width } = questions(judged, inOrder, first, fixed);
        const { scores } = kernels.forward(histories, { scoresOf: { head: 'actor', items, width } });
        heldOutSum += binaryCrossEntropy({ scores, labels }).loss * histories.size;
      }
      const heldOutLoss = heldOutSum / judged.count;
      onProgress?.({ epoch, loss: sum / prefixes.count, heldOutLoss });
      if (best === undefined || heldOutLoss < best.heldOutLoss)
        best = { parameters: store.toNamedArrays(), epoch, heldOutLoss };
      else if (epoch - best.epoch >= settings.patience) break;
    }
    return best as TrainedSequenceModel;
  } finally {
    kernels.dispose();
  }
}

/** How well a model foretells what comes next. */
export interface SequenceModelQuality {
  /** Share of the items not yet shown that score below the one that came, mean over prefixes; equal scores count half. */
  readonly auc: number;
  /** How often the one that came is among the ten best of those. */
  readonly hitRate10: number;
  /** Prefixes looked at. */
  readonly count: number;
}

/** Prefixes that {@link judgeSequenceModel} looks at, at most: enough for a standard error below 0.01. */
const JUDGED = 4096;

/**
 * Measures a model on sequences: after each prefix, where does the item that came rank among all that were not shown?
 * Against all items, so that nothing is drawn. Items that came again count for nothing.
 *
 * @param model - any model; borrowed.
 * @param sequences - which it has not seen.
 */
export async function judgeSequenceModel(model: LogitModel, sequences: Sequences): Promise<SequenceModelQuality> {
  const prefixes = prefixesOf(sequences, 'sequences');
  const A = sequences.catalogSize;
  const rows = Int32Array.from({ length: prefixes.count }, (_, i) => i);
  // Every n-th, where there are too many.
  const stride = Math.max(1, prefixes.count / JUDGED);
  const chosen = rows.filter((i) => Math.floor(i / stride) !== Math.floor((i - 1) / stride));
  const scores = new Float32Array(ROWS_AT_ONCE * A);
  const turns = new Turns();
  let below = 0;
  let hits = 0;
  let count = 0;
  for (let first = 0; first < chosen.length; first += ROWS_AT_ONCE) {
    await turns.give();
    const group = chosen.subarray(first, first + ROWS_AT_ONCE);
    const { histories, items } = ask(prefixes, group, { window: prefixes.longest, width: 1, draw: () => -1 });
    model.scoreAll(histories, scores);
    for (let row = 0; row < group.length; row++) {
      const next = items[row] as number;
      const from = row * histories.length;
      const shown = new Set(histories.items.subarray(from, from + (histories.lengths[row] as number)));
      if (shown.has(next)) continue;
      const own = scores[row * A + next] as number;
      let lower = 0;
      let others = 0;
      for (let item = 0; item < A; item++) {
        if (item === next || shown.has(item)) continue;
        const score = scores[row * A + item] as number;
        others++;
        lower += score < own ? 1 : score === own ? 0.5 : 0;
      }
      if (others === 0) continue;
      count++;
      below += lower / others;
      if (others - lower < 10) hits++;
    }
  }
  if (count === 0) throw argumentError('judgeSequenceModel', 'sequences', 'sequences with an item not seen before', 0);
  return { auc: below / count, hitRate10: hits / count, count };
}

/** Every place of some sequences that has an item before it. */
interface Prefixes {
  readonly sequences: Sequences;
  readonly count: number;
  /** Place of the next item in `sequences.items`, `[count]`. */
  readonly next: Int32Array;
  /** Where its sequence begins, `[count]`. */
  readonly start: Int32Array;
  /** The longest prefix. */
  readonly longest: number;
}

function prefixesOf(sequences: Sequences, argument: string): Prefixes {
  if (!(sequences instanceof Sequences)) throw argumentError('sequence model', argument, 'Sequences', sequences);
  const count = sequences.items.length - sequences.count;
  if (count < 1) {
    throw new InvalidArgumentError(
      `sequence model: expected \`${argument}\` to hold a sequence of at least 2 items, got ${sequences.count} of 1 item`,
      { argument },
    );
  }
  const next = new Int32Array(count);
  const start = new Int32Array(count);
  let n = 0;
  let longest = 0;
  for (let s = 0; s < sequences.count; s++) {
    const from = sequences.offsets[s] as number;
    const end = sequences.offsets[s + 1] as number;
    longest = Math.max(longest, end - from - 1);
    for (let at = from + 1; at < end; at++, n++) {
      next[n] = at;
      start[n] = from;
    }
  }
  return { sequences, count, next, start, longest };
}

/** A batch of histories, and for each the item that came and others, `[B, width]`. */
interface Questions {
  readonly histories: HistoryBatch;
  readonly items: Int32Array;
  readonly labels: Float32Array;
  readonly width: number;
}

/** How often an item of the sequence itself is drawn again before it is let pass: a sequence may hold the whole catalogue. */
const REDRAWS = 100;

function ask(
  prefixes: Prefixes,
  chosen: Int32Array,
  { window, width, draw }: { readonly window: number; readonly width: number; readonly draw: () => number },
): Questions {
  const { items: all } = prefixes.sequences;
  const size = chosen.length;
  const histories = {
    size,
    length: window,
    items: new Int32Array(size * window).fill(-1),
    lengths: new Int32Array(size),
    contextWidth: 0,
  };
  const items = new Int32Array(size * width);
  const labels = new Float32Array(size * width);
  for (let row = 0; row < size; row++) {
    const next = prefixes.next[chosen[row] as number] as number;
    const start = prefixes.start[chosen[row] as number] as number;
    const prefix = all.subarray(Math.max(start, next - window), next);
    histories.items.set(prefix, row * window);
    histories.lengths[row] = prefix.length;
    items[row * width] = all[next] as number;
    labels[row * width] = 1;
    const known = all.subarray(start, next + 1);
    for (let n = 1; n < width; n++) {
      let item = draw();
      for (let again = 0; again < REDRAWS && known.includes(item); again++) item = draw();
      items[row * width + n] = item;
    }
  }
  return { histories, items, labels, width };
}

/** Items by inverse CDF. */
function negativeSampler(fitOn: Sequences, kind: SequenceModelSettings['negatives']): (uniform: number) => number {
  const A = fitOn.catalogSize;
  if (kind === 'uniform') return (uniform) => Math.floor(uniform * A);
  let sum = 0;
  const cumulative = Float64Array.from(fitOn.counts(), (count) => {
    // One more than counted: an item that is never a negative would keep the logit it began with, and pay most.
    sum += (count + 1) ** 0.75;
    return sum;
  });
  return (uniform) => {
    const aim = uniform * sum;
    let low = 0;
    let high = A - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((cumulative[middle] as number) > aim) high = middle;
      else low = middle + 1;
    }
    return low;
  };
}
