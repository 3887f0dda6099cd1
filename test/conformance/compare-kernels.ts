/** Two kernels over one model, held against each other: everything they answer, and every gradient. */
import { createHash } from 'node:crypto';
import type { HistoryBatch } from '../../src/compute/history-batch.js';
import type { Kernels, NextWant } from '../../src/compute/kernels.js';
import type { ParameterStore } from '../../src/compute/parameter-store.js';
import { Rng } from '../../src/foundation/rng.js';
import { globalNorm, relativeError } from './finite-differences.js';
import type { Trial } from './random-models.js';

/** Arrays by what they are. */
export type Named = Readonly<Record<string, Float32Array>>;

/** All that one kernels object gives in a trial. */
export interface Answers {
  readonly outputs: Named;
  readonly gradients: Named;
}

/** Where two answers differ most. */
export interface Difference {
  readonly error: number;
  readonly name: string;
}

/**
 * A float32 number is good to 6e-8 of the largest number it was summed from. An array of gradients that is small beside
 * all gradients together (the attention's of histories of one item are 0, by symmetry) may be made of numbers of their
 * size: below a thousandth of their norm the error is measured in that. It asks for 1e-7 of the norm still.
 */
const GRADIENT_FLOOR = 1e-3;
/** The same for outputs, which are sums of numbers of about 1: below 0.1 a number the error is absolute. */
const OUTPUT_FLOOR = 0.1;

/** Asks everything of a trial: two forwards, each with its backward, whose gradients add up. */
export function askTrial(kernels: Kernels, trial: Trial): Answers {
  const { store } = kernels;
  store.zeroGradients();
  const outputs: Record<string, Float32Array> = {};
  const { actor, critic } = trial.questions;
  const all = critic === undefined ? { actor } : { actor, critic };
  for (const [part, { want, cotangents }] of Object.entries(all)) {
    // A batch may be a live view of an environment that moves on before the gradient is asked for.
    const batch = copyOf(trial.batch);
    const next = copyOf(trial.next);
    const isWithNext = trial.options.mask?.excludeRows === undefined;
    const scores = isWithNext
      ? kernels.forward(batch, { ...want, next: nextWant(trial, next, part) }, trial.options)
      : kernels.forward(batch, want, trial.options);
    for (const live of [batch, next]) {
      live.items.fill(0);
      live.lengths.fill(0);
      live.context?.fill(7);
    }
    // Neither may what is asked in between.
    if (trial.choice.seed % 2 === 0) kernels.topK(trial.next, 1, trial.nextOptions);
    kernels.backward(cotangents);
    for (const [name, values] of Object.entries({ ...scores, next: undefined })) {
      if (values !== undefined) outputs[`${part} ${name}`] = values;
    }
    for (const [name, values] of Object.entries(scores.next ?? {})) outputs[`${part} next ${name}`] = values;
  }
  return { outputs, gradients: gradientsOf(store) };
}

function nextWant({ spec }: Trial, histories: HistoryBatch, part: string): NextWant {
  if (spec.critic === 'state') return { histories, value: true, maxScore: 'actor' };
  if (spec.critic === 'none') return { histories, maxScore: 'actor' };
  return part === 'actor' ? { histories, expectedScore: true } : { histories, maxScore: 'critic' };
}

function copyOf(batch: HistoryBatch): HistoryBatch {
  return {
    ...batch,
    items: batch.items.slice(),
    lengths: batch.lengths.slice(),
    ...(batch.context === undefined ? {} : { context: batch.context.slice() }),
  };
}

/** Copies of all gradients. */
export function gradientsOf(store: ParameterStore): Named {
  return Object.fromEntries(store.parameters().map(({ name, gradient }) => [name, gradient.slice()]));
}

/** Copies of all values. */
export function valuesOf(store: ParameterStore): Named {
  return Object.fromEntries(store.parameters().map(({ name, data }) => [name, data.slice()]));
}

/** The largest error over all arrays, each by its norm; an array that one side lacks is infinitely wrong. */
export function worstDifference(got: Answers, wanted: Answers): Difference {
  const norm = globalNorm(
    Object.fromEntries(Object.entries(wanted.gradients).map(([name, g]) => [name, Float64Array.from(g)])),
  );
  return worse(
    worstOf(got.outputs, wanted.outputs, (values) => OUTPUT_FLOOR * Math.sqrt(values.length)),
    worstOf(got.gradients, wanted.gradients, () => GRADIENT_FLOOR * norm),
  );
}

/** The largest error over arrays of the same names. */
export function worstOf(got: Named, wanted: Named, floor: (values: Float32Array) => number): Difference {
  let worst: Difference = { error: 0, name: '' };
  for (const name of new Set([...Object.keys(wanted), ...Object.keys(got)])) {
    const values = wanted[name] ?? new Float32Array(0);
    worst = worse(worst, { name, error: relativeError(got[name] ?? new Float32Array(0), values, floor(values)) });
  }
  return worst;
}

function worse(a: Difference, b: Difference): Difference {
  return b.error > a.error ? b : a;
}

/** How far a parameter may be off, relatively, for the answers to be called equal up to rounding. */
const ROUNDING = 2e-6;
const NEIGHBOURS = 16;
/** One unit of one token on the wrong side does not change an array by more than this. */
const KINK_ERROR = 0.05;

/**
 * The difference of some kernels from the reference in a trial. A hidden unit whose input lies within rounding of the
 * rectifier's kink counts on one side and not on the other, and both gradients are right; so what differs by more than
 * `tolerance` is compared once more with the reference at parameters within 2e-6 of its own, some of which have the unit
 * on the other side. A wrong formula is wrong there too.
 *
 * @param trial - where the parameters come from.
 * @param compare - compares with the reference over the given store.
 * @returns the first difference, or the first that is within the tolerance; `isKink` says that it took a neighbour.
 */
export function differenceAround(
  trial: Trial,
  compare: (store: ParameterStore) => Difference,
  tolerance: number,
): Difference & { readonly isKink: boolean } {
  const first = compare(trial.makeStore());
  if (first.error <= tolerance || first.error > KINK_ERROR) return { ...first, isKink: false };
  const rng = new Rng('neighbours').fork(trial.choice.seed);
  for (let neighbour = 0; neighbour < NEIGHBOURS; neighbour++) {
    const store = trial.makeStore();
    for (const { data } of store.parameters()) {
      for (let i = 0; i < data.length; i++) data[i] = (data[i] as number) * (1 + ROUNDING * rng.normal());
    }
    store.touch();
    const difference = compare(store);
    if (difference.error <= tolerance) return { ...difference, isKink: true };
  }
  return { ...first, isKink: false };
}

/** The difference of given answers from those of the reference; see {@link differenceAround}. */
export function differenceOf(
  got: Answers,
  trial: Trial,
  reference: (store: ParameterStore) => Kernels,
  tolerance: number,
): Difference & { readonly isKink: boolean } {
  return differenceAround(
    trial,
    (store) => {
      using kernels = reference(store);
      return worstDifference(got, askTrial(kernels, trial));
    },
    tolerance,
  );
}

/** SHA-256 over all numbers in some results, in their order: equal for equal bits. */
export function bitsOf(results: unknown): string {
  const hash = createHash('sha256');
  const add = (value: unknown): void => {
    if (ArrayBuffer.isView(value))
      hash.update(new Uint8Array(value.buffer, value.byteOffset, value.byteLength).slice());
    else if (typeof value === 'object' && value !== null) {
      for (const [key, part] of Object.entries(value)) {
        hash.update(key);
        add(part);
      }
    } else hash.update(Float64Array.of(Number(value)));
  };
  add(results);
  return hash.digest('hex');
}
