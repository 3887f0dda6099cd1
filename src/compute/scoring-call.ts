import { InvalidArgumentError } from '../foundation/errors.js';
import { describeValue } from '../foundation/options.js';
import { checkHistoryBatch, type HistoryBatch } from './history-batch.js';
import type { Head, NextWant, ScoreOptions, Want } from './kernels.js';
import { excludedFlags, isExcluded, type Mask, type MaskLists, maskLists } from './mask.js';
import type { ModelSpec } from './model.js';

/** The last items of each history, as the encoder sees them. */
export interface Window {
  /** Columns: the longest of the batch after cutting to the encoder's window, at least 1. */
  readonly length: number;
  /** Item indices `[B, length]`, left-aligned; 0 at padding, which `lengths` tells. */
  readonly items: Int32Array;
  /** `[B]`, each 0..length. */
  readonly lengths: Int32Array;
}

/**
 * One scoring call, checked, with copies of all that is needed later: a batch may be a live view of an environment that
 * has moved on when `backward` runs. Nothing in it is as long as the list of items.
 */
export interface CheckedCall {
  /** Number of rows B. */
  readonly size: number;
  /** What the encoder sees. */
  readonly window: Window;
  /** User context `[B, C]`. */
  readonly context: Float32Array | undefined;
  /** What the mask excludes; undefined when it excludes nothing. */
  readonly mask: MaskLists | undefined;
  /** Divides the actor's logits. */
  readonly temperature: number;
  /** Seed of the dropout, or undefined for none. */
  readonly dropoutSeed: number | undefined;
}

/** A {@link CheckedCall} with the arrays over all items that plain tfjs ops need. */
export interface ScoringCall extends CheckedCall {
  /** `[B, A]`, 1 where the mask excludes; undefined when nothing is excluded. */
  readonly excluded: Uint8Array | undefined;
  /** History features `[F, B * A]`; undefined when the model has none, or none is needed. */
  readonly planes: Float32Array | undefined;
}

const SCORE_OPTIONS = ['mask', 'temperature', 'dropoutSeed'];
const MASK_OPTIONS = ['noRepeat', 'exclude', 'excludeRows'];

/**
 * Checks a call and copies what it needs, in time that does not grow with rows times items.
 *
 * @param spec - the model.
 * @param batch - the histories.
 * @param options - mask, temperature and dropout.
 * @param known - names of further options that the caller checks itself. @default none
 * @throws {InvalidArgumentError} naming what is wrong.
 */
export function checkCall(
  spec: ModelSpec,
  batch: HistoryBatch,
  options: ScoreOptions,
  known: readonly string[] = [],
): CheckedCall {
  checkHistoryBatch(batch, spec);
  checkKeys(options, [...SCORE_OPTIONS, ...known], 'options');
  if (options.mask !== undefined) checkKeys(options.mask, MASK_OPTIONS, 'mask');
  const { temperature = 1, dropoutSeed } = options;
  if (!(Number.isFinite(temperature) && temperature > 0)) {
    throw new InvalidArgumentError(
      `Expected \`temperature\` to be a finite number greater than 0, got ${describeValue(temperature)}`,
      {
        argument: 'temperature',
        wanted: 'a finite number > 0',
        got: temperature,
      },
    );
  }
  if (dropoutSeed !== undefined && !(Number.isSafeInteger(dropoutSeed) && dropoutSeed >= 0)) {
    throw new InvalidArgumentError(
      `Expected \`dropoutSeed\` to be a whole number of at least 0, got ${describeValue(dropoutSeed)}`,
      {
        argument: 'dropoutSeed',
        wanted: 'a whole number >= 0',
        got: dropoutSeed,
      },
    );
  }
  return {
    ...partsOf(spec, batch),
    mask: maskLists(options.mask, batch, spec.itemCount),
    temperature,
    dropoutSeed,
  };
}

/**
 * The call of {@link Want.next}: the next histories under the mask and the temperature of the batch, without dropout.
 *
 * @param spec - the model.
 * @param call - the checked call of the batch.
 * @param next - what is asked for, and of which histories.
 * @param mask - the mask of the call.
 * @throws {InvalidArgumentError} naming what is wrong.
 */
export function checkNext(spec: ModelSpec, call: CheckedCall, next: NextWant, mask: Mask | undefined): CheckedCall {
  checkKeys(next, NEXT_KEYS, 'want.next');
  const { histories, maxScore, value, expectedScore } = next;
  if (maxScore === undefined && value === undefined && expectedScore === undefined) {
    throw new InvalidArgumentError(
      'Expected `want.next` to ask for something (maxScore, value, expectedScore), got nothing',
      { argument: 'want.next' },
    );
  }
  checkHistoryBatch(histories, spec, 'want.next.histories');
  if (histories.size !== call.size) {
    throw new InvalidArgumentError(
      `Expected \`want.next.histories\` to hold one row for each of the ${call.size} rows of the batch, got ${histories.size}`,
      { argument: 'want.next.histories', wanted: `${call.size} rows`, got: histories.size },
    );
  }
  if (mask?.excludeRows !== undefined) {
    throw new InvalidArgumentError(
      '`want.next` and `mask.excludeRows` exclude each other: score the next histories by a forward of their own',
      { argument: 'mask.excludeRows', wanted: 'no excludeRows beside want.next' },
    );
  }
  if (maxScore !== undefined) checkHead(spec, maxScore, 'want.next.maxScore');
  if (expectedScore !== undefined) {
    checkTrue(expectedScore, 'want.next.expectedScore');
    checkHead(spec, 'critic', 'want.next.expectedScore');
  }
  if (value !== undefined) checkValue(spec, value, 'want.next.value');
  const isMaskRead = maxScore !== undefined || expectedScore !== undefined;
  return {
    ...partsOf(spec, histories),
    mask: isMaskRead ? maskLists(mask, histories, spec.itemCount, 'want.next.histories') : undefined,
    temperature: call.temperature,
    dropoutSeed: undefined,
  };
}

/**
 * Adds to a checked call what plain tfjs ops need.
 *
 * @param spec - the model.
 * @param call - the checked call.
 * @param batch - the histories of it.
 * @param needsItems - whether a head over items will be scored (a state value reads neither mask nor history features).
 * @throws {InvalidArgumentError} when the model's history features give planes of the wrong size.
 */
export function denseCall(spec: ModelSpec, call: CheckedCall, batch: HistoryBatch, needsItems: boolean): ScoringCall {
  return {
    ...call,
    excluded: needsItems && call.mask !== undefined ? excludedFlags(call.mask, spec.itemCount) : undefined,
    planes: needsItems ? planesOf(spec, batch) : undefined,
  };
}

function partsOf(spec: ModelSpec, batch: HistoryBatch): Pick<CheckedCall, 'size' | 'window' | 'context'> {
  return {
    size: batch.size,
    window: lastItems(batch, spec.encoder.historyLength),
    context: spec.contextWidth > 0 ? batch.context?.slice(0, batch.size * spec.contextWidth) : undefined,
  };
}

function checkKeys(value: object, known: readonly string[], argument: string): void {
  if (typeof value !== 'object' || value === null) {
    throw new InvalidArgumentError(`Expected \`${argument}\` to be an object, got ${describeValue(value)}`, {
      argument,
      got: value,
    });
  }
  for (const key of Object.keys(value)) {
    if (known.includes(key)) continue;
    throw new InvalidArgumentError(`Unknown key \`${key}\` in \`${argument}\`; known are ${known.join(', ')}`, {
      argument: `${argument}.${key}`,
      wanted: known.join(', '),
      got: key,
    });
  }
}

/**
 * Copies the last items of each history.
 *
 * @param batch - a checked batch.
 * @param historyLength - how many of each at most.
 */
export function lastItems(batch: HistoryBatch, historyLength: number): Window {
  const lengths = new Int32Array(batch.size);
  let length = 1;
  for (let row = 0; row < batch.size; row++) {
    const seen = Math.min(batch.lengths[row] as number, historyLength);
    lengths[row] = seen;
    if (seen > length) length = seen;
  }
  const items = new Int32Array(batch.size * length);
  for (let row = 0; row < batch.size; row++) {
    const seen = lengths[row] as number;
    const end = row * batch.length + (batch.lengths[row] as number);
    for (let column = 0; column < seen; column++)
      items[row * length + column] = batch.items[end - seen + column] as number;
  }
  return { length, items, lengths };
}

/**
 * The history features of a batch as arrays over all items.
 *
 * @returns `[F, B * A]`; undefined when the model has none.
 * @throws {InvalidArgumentError} when they are of the wrong size.
 */
function planesOf(spec: ModelSpec, batch: HistoryBatch): Float32Array | undefined {
  const { historyFeatures, itemCount } = spec;
  if (historyFeatures === undefined) return undefined;
  const planes = historyFeatures.planes(batch);
  const wanted = historyFeatures.names.length * batch.size * itemCount;
  if (planes.length !== wanted) {
    throw new InvalidArgumentError(
      `Expected \`historyFeatures.planes\` to give ${historyFeatures.names.length} planes of ${batch.size} by ${itemCount}, ${wanted} values, got ${planes.length}`,
      { argument: 'historyFeatures', wanted: `${wanted} values`, got: planes.length },
    );
  }
  return planes;
}

const SCORES_OF_KEYS = ['head', 'items', 'width'];
const WANT_KEYS = ['logProbOf', 'scoresOf', 'maxScore', 'expectedScore', 'entropy', 'value', 'next'];
const NEXT_KEYS = ['histories', 'maxScore', 'value', 'expectedScore'];

/**
 * Checks what a forward pass is asked for (but for `next`, see {@link checkNext}) and copies its arrays.
 *
 * @param spec - the model.
 * @param call - the checked call.
 * @param want - what is asked for.
 * @throws {InvalidArgumentError} naming what is wrong: an item out of range, a masked action, a head the model lacks.
 */
export function checkWant(spec: ModelSpec, call: CheckedCall, want: Want): Want {
  checkKeys(want, WANT_KEYS, 'want');
  const { itemCount } = spec;
  const { logProbOf, scoresOf } = want;
  if (Object.values(want).every((part) => part === undefined)) {
    throw new InvalidArgumentError(`Expected \`want\` to ask for something (${WANT_KEYS.join(', ')}), got nothing`, {
      argument: 'want',
    });
  }
  if (want.maxScore !== undefined) checkHead(spec, want.maxScore, 'want.maxScore');
  if (want.entropy !== undefined) checkTrue(want.entropy, 'want.entropy');
  if (want.expectedScore !== undefined) {
    checkTrue(want.expectedScore, 'want.expectedScore');
    checkHead(spec, 'critic', 'want.expectedScore');
  }
  if (want.value !== undefined) checkValue(spec, want.value, 'want.value');
  if (logProbOf !== undefined) {
    checkItems(logProbOf, call.size, itemCount - 1, 'want.logProbOf');
    for (let row = 0; row < call.size; row++) {
      const item = logProbOf[row] as number;
      if (call.mask === undefined || !isExcluded(call.mask, row, item)) continue;
      throw new InvalidArgumentError(
        `Expected \`want.logProbOf\` to be an item that the mask leaves, got ${item} in row ${row}, which it excludes`,
        {
          argument: `want.logProbOf[${row}]`,
          wanted: 'an item that is not masked',
          got: item,
        },
      );
    }
  }
  if (scoresOf !== undefined) {
    checkKeys(scoresOf, SCORES_OF_KEYS, 'want.scoresOf');
    checkHead(spec, scoresOf.head, 'want.scoresOf.head');
    if (!Number.isInteger(scoresOf.width) || scoresOf.width < 1) {
      throw new InvalidArgumentError(
        `Expected \`want.scoresOf.width\` to be a whole number of at least 1, got ${describeValue(scoresOf.width)}`,
        {
          argument: 'want.scoresOf.width',
          wanted: 'a whole number >= 1',
          got: scoresOf.width,
        },
      );
    }
    const last = scoresOf.head === 'actor' ? itemCount : itemCount - 1;
    checkItems(scoresOf.items, call.size * scoresOf.width, last, 'want.scoresOf.items');
  }
  const { next: _, ...own } = want;
  return {
    ...own,
    ...(logProbOf === undefined ? {} : { logProbOf: logProbOf.slice() }),
    ...(scoresOf === undefined ? {} : { scoresOf: { ...scoresOf, items: scoresOf.items.slice() } }),
  };
}

/**
 * Asserts that V(s) is asked by `true`, of a model that has one.
 *
 * @throws {InvalidArgumentError} otherwise.
 */
export function checkValue(spec: ModelSpec, asked: unknown, argument: string): void {
  checkTrue(asked, argument);
  if (spec.critic === 'state') return;
  throw new InvalidArgumentError(
    `\`${argument}\` needs a model with \`critic: 'state'\`, this one has '${spec.critic}'`,
    {
      argument,
      wanted: "critic: 'state'",
      got: spec.critic,
    },
  );
}

function checkTrue(asked: unknown, argument: string): void {
  if (asked === true) return;
  throw new InvalidArgumentError(`Expected \`${argument}\` to be true or absent, got ${describeValue(asked)}`, {
    argument,
    wanted: 'true',
    got: asked,
  });
}

function checkHead(spec: ModelSpec, head: Head, argument: string): void {
  if (head === 'actor' || (head === 'critic' && spec.critic === 'action')) return;
  if (head !== 'critic') {
    throw new InvalidArgumentError(`Expected \`${argument}\` to be 'actor' or 'critic', got ${describeValue(head)}`, {
      argument,
      wanted: "'actor' or 'critic'",
      got: head,
    });
  }
  throw new InvalidArgumentError(
    `\`${argument}\` needs a model with \`critic: 'action'\`, this one has '${spec.critic}'`,
    {
      argument,
      wanted: "critic: 'action'",
      got: spec.critic,
    },
  );
}

function checkItems(items: Int32Array, count: number, last: number, argument: string): void {
  if (!(items instanceof Int32Array) || items.length !== count) {
    throw new InvalidArgumentError(
      `Expected \`${argument}\` to be an Int32Array of ${count} items, got ${describeValue(items)}`,
      {
        argument,
        wanted: `an Int32Array of ${count}`,
        got: items?.length,
      },
    );
  }
  for (let at = 0; at < count; at++) {
    const item = items[at] as number;
    if (item >= 0 && item <= last) continue;
    throw new InvalidArgumentError(
      `Expected \`${argument}\` to hold item indices from 0 to ${last}, got ${item} at ${at}`,
      {
        argument: `${argument}[${at}]`,
        wanted: `0..${last}`,
        got: item,
      },
    );
  }
}
