/**
 * The whole scorer of design.md section 5 once more, as plain loops over float64 numbers: item tower, encoders, heads,
 * masks, temperature, critics. Nothing here is shared with `src/`: it is written from the formulas, slowly and in the
 * open, so that the kernels have something to be equal to.
 */
import type { Arrays } from './finite-differences.js';

/** A list of numbers, such as a state; a list of lists is a matrix by rows. */
export type Vector = readonly number[];

/** Which encoder, and its sizes. */
export interface EncoderDescription {
  readonly kind: 'sasRec' | 'mean';
  readonly width: number;
  readonly blocks: number;
  readonly heads: number;
  readonly historyLength: number;
  /** Weight of an item relative to the next newer one; the mean encoder's. */
  readonly decay: number;
}

/** What the model is. */
export interface ModelDescription {
  readonly itemCount: number;
  readonly encoder: EncoderDescription;
  readonly items: 'id' | 'text' | 'id+text';
  /** f_a, one row for each item; empty rows without text. */
  readonly itemFeatures: readonly Vector[];
  readonly critic: 'none' | 'state' | 'action';
  readonly valueEncoder: 'shared' | 'separate';
  readonly valueHidden: number;
  /** A mistake on purpose, for negative controls. */
  readonly fault?:
    | 'acausal'
    | 'firstPosition'
    | 'mixedHeads'
    | 'droppedPlane'
    | 'noTemperature'
    | 'noMask'
    | 'sharedValueEncoder';
}

/** What is scored: one entry of each list for each user. */
export interface Rows {
  readonly histories: readonly Vector[];
  readonly contexts: readonly Vector[];
  /** phi_f(b, a) as `[row][plane][item]`. */
  readonly planes: readonly (readonly Vector[])[];
  /** `[row][item]`, false where the item may not be chosen. */
  readonly allowed: readonly (readonly boolean[])[];
  readonly temperature: number;
}

/** Everything the model can say about the rows; masked items have log-probability -Infinity. */
export interface Float64Scores {
  /** Raw actor scores `[row][item]`. */
  readonly logits: readonly Vector[];
  /** The score of None, the same for every row. */
  readonly noneLogit: number;
  /** log pi under mask and temperature, `[row][item]`. */
  readonly logProb: readonly Vector[];
  /** pi, `[row][item]`. */
  readonly probability: readonly Vector[];
  /** Nats, `[row]`. */
  readonly entropy: Vector;
  /** Q(s, a) `[row][item]`; empty without a critic over actions. */
  readonly q: readonly Vector[];
  /** V(s) `[row]`; empty without a critic of states. */
  readonly value: Vector;
}

/** Scores all rows. */
export function scoreRows(model: ModelDescription, weights: Arrays, rows: Rows): Float64Scores {
  const temperature = model.fault === 'noTemperature' ? 1 : rows.temperature;
  const states = statesOf(model, weights, 'encoder/', 'item/', rows);
  const logits = headScores(model, weights, 'actor/', states, rows);
  const logProb = logits.map((scores, b) => {
    const allowed = scores.map((_, a) => model.fault === 'noMask' || (rows.allowed[b]?.[a] ?? true));
    return logSoftmax(
      scores.map((score) => score / temperature),
      allowed,
    );
  });
  const isShared = model.valueEncoder === 'shared' || model.fault === 'sharedValueEncoder';
  const seen =
    model.critic === 'none' || isShared ? states : statesOf(model, weights, 'valueEncoder/', 'valueItem/', rows);
  return {
    logits,
    noneLogit: array(weights, 'actor/none')[0] as number,
    logProb,
    probability: logProb.map((row) => row.map((x) => Math.exp(x))),
    entropy: logProb.map((row) => -sum(row.map((x) => (x === Number.NEGATIVE_INFINITY ? 0 : Math.exp(x) * x)))),
    q: model.critic === 'action' ? headScores(model, weights, 'critic/', seen, rows) : [],
    value: model.critic === 'state' ? seen.map((state) => stateValue(model, weights, state)) : [],
  };
}

/** Log-probabilities over the allowed items. */
function logSoftmax(scores: Vector, allowed: readonly boolean[]): number[] {
  let largest = Number.NEGATIVE_INFINITY;
  scores.forEach((score, a) => {
    if (allowed[a] === true && score > largest) largest = score;
  });
  let mass = 0;
  scores.forEach((score, a) => {
    if (allowed[a] === true) mass += Math.exp(score - largest);
  });
  return scores.map((score, a) => (allowed[a] === true ? score - largest - Math.log(mass) : Number.NEGATIVE_INFINITY));
}

/** s · (id row + features times projection) + bias + the weighted planes, for every row and item. */
function headScores(
  model: ModelDescription,
  weights: Arrays,
  head: 'actor/' | 'critic/',
  states: readonly Vector[],
  rows: Rows,
): number[][] {
  const vectors = itemVectors(model, weights, head);
  const bias = array(weights, `${head}bias`);
  return states.map((state, b) =>
    vectors.map((vector, a) => {
      let score = dot(state, vector) + (bias[a] as number);
      rows.planes[b]?.forEach((plane, f) => {
        if (model.fault === 'droppedPlane' && f === 0) return;
        score += (array(weights, `${head}history`)[f] as number) * (plane[a] as number);
      });
      return score;
    }),
  );
}

/** All rows of an item tower: the id's own vector, the projected features, or their sum. */
function itemVectors(model: ModelDescription, weights: Arrays, prefix: string): Vector[] {
  const { width } = model.encoder;
  return model.itemFeatures.map((features, item) => {
    const own = model.items === 'text' ? undefined : array(weights, `${prefix}id`);
    const vector = Array.from({ length: width }, (_, d) => own?.[item * width + d] ?? 0);
    return model.items === 'id' ? vector : plus(vector, linear(weights, `${prefix}projection`, features, width));
  });
}

/** V(s): a layer of rectified units, or none. */
function stateValue(model: ModelDescription, weights: Arrays, state: Vector): number {
  const hidden =
    model.valueHidden === 0
      ? state
      : plus(linear(weights, 'value/w1', state, model.valueHidden), array(weights, 'value/b1')).map((x) =>
          Math.max(0, x),
        );
  return dot(hidden, array(weights, 'value/w2')) + (array(weights, 'value/b2')[0] as number);
}

/** One encoder's vector for each row: it sees the last `historyLength` items. */
function statesOf(model: ModelDescription, weights: Arrays, encoder: string, items: string, rows: Rows): Vector[] {
  const vectors = itemVectors(model, weights, items);
  const { kind, historyLength, width } = model.encoder;
  return rows.histories.map((history, b) => {
    const window = history.slice(Math.max(0, history.length - historyLength)).map((item) => vectors[item] as Vector);
    const state = (kind === 'sasRec' ? sasRecState : meanState)(model, weights, encoder, window);
    const context = rows.contexts[b] ?? [];
    return context.length === 0 ? state : plus(state, linear(weights, `${encoder}context`, context, width));
  });
}

/** SASRec with pre-normalisation, as written at the head of src/encoder/sasrec.ts; no dropout. */
function sasRecState(model: ModelDescription, weights: Arrays, prefix: string, window: readonly Vector[]): Vector {
  const { width, blocks, heads } = model.encoder;
  const headWidth = width / heads;
  const position = array(weights, `${prefix}position`);
  const sequence: readonly Numbers[] = window.length === 0 ? [array(weights, `${prefix}start`)] : window;
  let rows = sequence.map((vector, i) => plus(vector, position.subarray(i * width, (i + 1) * width)));
  for (let block = 0; block < blocks; block++) {
    const name = `${prefix}block${block}`;
    const normed = rows.map(normalised);
    const queries = normed.map((z) =>
      plus(linear(weights, `${name}/query/w`, z, width), array(weights, `${name}/query/b`)),
    );
    const keyValues = normed.map((z) => linear(weights, `${name}/keyValue/w`, z, 2 * width));
    rows = rows.map((x, i) => {
      const mixed: number[] = [];
      for (let head = 0; head < heads; head++) {
        const first = (model.fault === 'mixedHeads' ? heads - 1 - head : head) * headWidth;
        const query = (queries[i] as Vector).slice(first, first + headWidth);
        const visible = model.fault === 'acausal' ? keyValues : keyValues.slice(0, i + 1);
        const masses = visible.map((kv) =>
          Math.exp(dot(query, kv.slice(first, first + headWidth)) / Math.sqrt(headWidth)),
        );
        const mass = sum(masses);
        for (let d = 0; d < headWidth; d++) {
          mixed.push(sum(visible.map((kv, j) => ((masses[j] as number) / mass) * (kv[width + first + d] as number))));
        }
      }
      return plus(x, plus(linear(weights, `${name}/output/w`, mixed, width), array(weights, `${name}/output/b`)));
    });
    rows = rows.map((x) => {
      const bias = array(weights, `${name}/feed1/b`);
      const hidden = plus(linear(weights, `${name}/feed1/w`, normalised(x), bias.length), bias).map((y) =>
        Math.max(0, y),
      );
      return plus(x, plus(linear(weights, `${name}/feed2/w`, hidden, width), array(weights, `${name}/feed2/b`)));
    });
  }
  return normalised(rows[model.fault === 'firstPosition' ? 0 : rows.length - 1] as Vector);
}

/** The mean of the item vectors, newer ones heavier, through one linear map; see src/encoder/mean-encoder.ts. */
function meanState(model: ModelDescription, weights: Arrays, prefix: string, window: readonly Vector[]): Vector {
  const { width, decay } = model.encoder;
  const shares = window.map((_, i) => decay ** (window.length - 1 - i));
  const pooled =
    window.length === 0
      ? [...array(weights, `${prefix}start`)]
      : Array.from(
          { length: width },
          (_, d) =>
            dot(
              shares,
              window.map((vector) => vector[d] as number),
            ) / sum(shares),
        );
  return plus(linear(weights, `${prefix}output/w`, pooled, width), array(weights, `${prefix}output/b`));
}

/** To mean 0 and variance 1 over its entries. */
function normalised(v: Vector): number[] {
  const mean = sum(v) / v.length;
  const variance = sum(v.map((x) => (x - mean) ** 2)) / v.length;
  return v.map((x) => (x - mean) / Math.sqrt(variance + 1e-5));
}

// ---- helpers ----

type Numbers = Vector | Float64Array;

function array(weights: Arrays, name: string): Float64Array {
  const found = weights[name];
  if (found === undefined) throw new Error(`The model has no parameter ${name}`);
  return found;
}

/** The row vector x times the matrix of that name, which has `width` columns. */
function linear(weights: Arrays, name: string, x: Vector, width: number): number[] {
  const matrix = array(weights, name);
  if (matrix.length !== x.length * width) throw new Error(`${name} is not [${x.length}, ${width}]`);
  const product: number[] = [];
  for (let j = 0; j < width; j++) {
    let total = 0;
    for (let i = 0; i < x.length; i++) total += (x[i] as number) * (matrix[i * width + j] as number);
    product.push(total);
  }
  return product;
}

function sum(xs: Vector): number {
  let total = 0;
  for (const x of xs) total += x;
  return total;
}

function dot(xs: Vector, ys: Numbers): number {
  let total = 0;
  for (let i = 0; i < xs.length; i++) total += (xs[i] as number) * (ys[i] as number);
  return total;
}

function plus(xs: Numbers, ys: Numbers): number[] {
  return Array.from(xs, (x, i) => x + (ys[i] as number));
}
