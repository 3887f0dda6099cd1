import type { Head } from '../kernels.js';
import type { ModelSpec } from '../model.js';
import type { Engine } from './engine.js';
import type { EngineBuffers } from './engine-buffers.js';
import type { EngineStore } from './engine-store.js';
import type { FeatureMatrix } from './feature-matrix.js';
import { GROUP, HeadField, HeadOp, TILE } from './head-layout.js';
import { HeadStruct } from './head-struct.js';
import { type Asked, HistoryInputs, type HistorySource, textPlaneOf } from './history-inputs.js';
import type { ItemVectors } from './item-vectors.js';
import type { ListPlanes } from './sparse-text-planes.js';

/** Numbers of a row's statistics, in the order of HeadField.RowStats. */
const ROW_STATS = 5;
const CHUNK_STATS = 4;
/** Scores kept for `backward`: those of the first items that take so much. Where it is less than all, memory counts for more than time. */
const KEPT_BYTES = 16 * 2 ** 20;
/** Log of a sum of exponentials beside which every score is too small to count. */
const PAST_ALL = 1e37;
/** Coefficients of a row in the backward pass. */
const COEFFICIENTS = 5;

/** What a pass over all items shall give. */
export interface FullWant {
  /** Pointer to the item of each row whose log-probability is asked, `[R]`; 0 for none. */
  readonly picked: number;
  /** Whether probabilities are needed at all, or the largest score alone. */
  readonly mass: boolean;
  /** Which scores are kept: all, to read off items; for `backward` those that memory shall hold; or none. */
  readonly keep: 'all' | 'some' | 'none';
  /** Whether each tile's mass is kept, for `sample`. */
  readonly tiles: boolean;
  /** The critic's scores whose expectation is asked, pointer; 0 for none. */
  readonly expected: number;
}

/** Statistics of each row, `[stride]` each; views that the next allocation may end. */
export interface RowStats {
  /** Largest score over the temperature. */
  readonly top: Float32Array;
  /** Log of the sum of exponentials. */
  readonly logTotal: Float32Array;
  /** Entropy in nats. */
  readonly entropy: Float32Array;
  /** Expected score. */
  readonly expected: Float32Array;
  /** Log-probability of the picked or drawn item. */
  readonly logProb: Float32Array;
}

/** Slopes of a row's outputs, `[R]`; what was not asked for is absent. */
export interface FullCotangents {
  /** d loss / d log-probability of the picked item. */
  readonly logProb?: Float32Array | undefined;
  /** d loss / d entropy. */
  readonly entropy?: Float32Array | undefined;
  /** d loss / d expected score. */
  readonly expected?: Float32Array | undefined;
}

/** What heads are made of. */
export interface HeadParts {
  /** The engine. */
  readonly engine: Engine;
  /** The parameters. */
  readonly store: EngineStore;
  /** The model. */
  readonly spec: ModelSpec;
  /** Item features, if the head or its history features read any. */
  readonly features: FeatureMatrix | undefined;
  /** The head's item vectors. */
  readonly vectors: ItemVectors;
}

/**
 * One scoring of one batch by a head over items (`actor`, or the `critic` of actions): pack the states, then score all
 * items, or listed ones, and go back. The object is reused from call to call; what it holds of the last one stays until the
 * next `begin`.
 */
export class HeadCall {
  readonly #parts: HeadParts;
  readonly #head: Head;
  readonly #buffers: EngineBuffers;
  readonly #name: string;
  readonly #struct: HeadStruct;
  readonly #inputs: HistoryInputs;
  #rows = 0;
  #stride = 0;
  #rate = 1;
  #source: HistorySource | undefined;
  /** Text planes of the items last listed, where texts are sparse rows. */
  #listPlanes: ListPlanes | undefined;

  /**
   * @param parts - engine, parameters, model, features.
   * @param head - which head.
   * @param buffers - the caller's, disposed by the caller.
   * @param name - tells this call's buffers from those of others.
   */
  constructor(parts: HeadParts, head: Head, buffers: EngineBuffers, name: string) {
    this.#parts = parts;
    this.#head = head;
    this.#buffers = buffers;
    this.#name = name;
    this.#struct = new HeadStruct(parts.engine, buffers, `${name}/struct`);
    this.#inputs = new HistoryInputs(parts.engine, buffers, name);
  }

  /** Pointer to the scores of all items kept by {@link HeadCall.scoreAll}, `[A, stride]`. */
  get scores(): number {
    return this.#struct.get(HeadField.Scores) >>> 0;
  }

  /**
   * Takes up a batch.
   *
   * @param states - pointer to the states `[R, D]`.
   * @param source - histories and mask; its stride is the batch's.
   * @param temperature - divides the scores of all items.
   * @param asked - which items will be scored.
   */
  begin(states: number, source: HistorySource, temperature: number, asked: Asked): void {
    const { spec, store, features } = this.#parts;
    const { size } = source.batch;
    const { stride } = source;
    const { itemCount } = spec;
    const width = spec.encoder.stateWidth;
    const hasProjection = spec.items !== 'id';
    const readsFeatures = hasProjection || (source.form?.text !== undefined && source.sparse === undefined);
    const featureWidth = readsFeatures ? (features?.width ?? 0) : 0;
    this.#rows = size;
    this.#stride = stride;
    this.#rate = 1 / temperature;
    this.#source = source;
    const struct = this.#struct;
    struct.setSizes(size, stride, itemCount);
    struct.setFloat(HeadField.Rate, this.#rate);
    const values = (name: string): number => store.data + store.offsetOf(`${this.#head}/${name}`);
    const planes = spec.historyFeatures?.names.length ?? 0;
    struct.setAll([
      [HeadField.Width, width],
      [HeadField.FeatureWidth, featureWidth],
      [HeadField.ProjectionRows, hasProjection ? (features?.givenWidth ?? 0) : 0],
      [HeadField.Table, spec.items === 'text' ? 0 : values('id')],
      [HeadField.Features, readsFeatures ? (features?.pointer ?? 0) : 0],
      [HeadField.Projection, hasProjection ? values('projection') : 0],
      [HeadField.Bias, this.#biases(source.form?.prior)],
      [HeadField.History, planes > 0 ? values('history') : 0],
      [HeadField.Planes, planes],
      [HeadField.None, this.#head === 'actor' ? values('none') : 0],
      [HeadField.States, states],
      [HeadField.PackedStates, this.#reserve('packed', stride * width * 4)],
      [HeadField.StatesAcross, this.#reserve('across', stride * width * 4)],
      [HeadField.StatePanels, this.#reserve('panels', stride * width * 4)],
      [HeadField.Queries, asked.listed ? this.#reserve('queries', stride * featureWidth * 4) : 0],
      [HeadField.RowStats, this.#reserve('rowStats', ROW_STATS * stride * 4)],
    ]);
    if (asked.all) this.#parts.vectors.update(struct);
    this.#inputs.fill(struct, source, asked);
    const slots = struct.get(HeadField.Slots);
    struct.set(HeadField.AttributeScores, this.#reserve('attributeScores', slots * stride * 4));
    this.#runList(HeadOp.Pack, struct.rowChunks(stride));
  }

  /** Scores all items; see {@link HeadCall.stats}. */
  scoreAll({ picked, mass, keep, tiles, expected }: FullWant): void {
    const { itemCount } = this.#parts.spec;
    const struct = this.#struct;
    const stride = this.#stride;
    const chunks = struct.get(HeadField.Chunks);
    const fitting = Math.floor(KEPT_BYTES / (TILE * stride * 4)) * TILE;
    const kept = keep === 'none' ? 0 : keep === 'all' ? itemCount : Math.min(itemCount, fitting);
    struct.setAll([
      [HeadField.Scores, this.#reserve('scores', kept * stride * 4)],
      [HeadField.KeptItems, kept],
      [HeadField.Scratch, this.#reserve('scratch', chunks * (TILE + GROUP) * stride * 4)],
      [HeadField.Expected, expected],
      [HeadField.WantsMass, mass ? 1 : 0],
      [HeadField.ChunkStats, this.#reserve('chunkStats', chunks * CHUNK_STATS * stride * 4)],
      [HeadField.TileStats, tiles ? this.#reserve('tileStats', Math.ceil(itemCount / TILE) * 2 * stride * 4) : 0],
      [HeadField.Picked, picked],
    ]);
    struct.run(HeadOp.Score, chunks);
    struct.run(HeadOp.Finish, struct.rowChunks(this.#rows));
  }

  /** Statistics of the rows; those of {@link FullWant} that were not asked for are undefined numbers. */
  stats(): RowStats {
    const stride = this.#stride;
    const all = this.#parts.engine.f32(this.#struct.get(HeadField.RowStats) >>> 0, ROW_STATS * stride);
    const row = (place: number): Float32Array => all.subarray(place * stride, place * stride + this.#rows);
    return { top: row(0), logTotal: row(1), entropy: row(2), expected: row(3), logProb: row(4) };
  }

  /** Scores listed items `[R, width]`; the array is the caller's. */
  scoreList(items: Int32Array, width: number): Float32Array {
    const { engine } = this.#parts;
    const struct = this.#struct;
    const listAt = this.#reserve('list', items.length * 4);
    const scoresAt = this.#reserve('listScores', items.length * 4);
    engine.i32(listAt, items.length).set(items);
    struct.setAll([
      [HeadField.List, listAt],
      [HeadField.ListWidth, width],
      [HeadField.ListScores, scoresAt],
    ]);
    this.#runList(HeadOp.ListScores, struct.rowChunks(this.#rows));
    const scores = engine.f32(scoresAt, items.length).slice();
    // The batch may be a live view: planes that `backward` needs are made now.
    const { batch, form, sparse } = this.#source as HistorySource;
    this.#listPlanes = sparse?.ofList(batch, items, width);
    if (this.#listPlanes && form) {
      const weights = this.#historyWeights();
      for (const [i, plane] of this.#listPlanes.entries()) {
        const weight = weights[textPlaneOf(form) + i] as number;
        for (let at = 0; at < scores.length; at++) scores[at] = (scores[at] as number) + weight * (plane[at] as number);
      }
    }
    return scores;
  }

  /**
   * Draws an item a row after {@link HeadCall.scoreAll} with all kept, `mass` and `tiles`; their log-probabilities are then
   * in the statistics.
   */
  sample(uniforms: Float64Array): Int32Array {
    const { engine } = this.#parts;
    const struct = this.#struct;
    const uniformsAt = this.#reserve('uniforms', this.#rows * 8);
    const drawnAt = this.#reserve('drawn', this.#rows * 4);
    engine.f64(uniformsAt, this.#rows).set(uniforms);
    struct.setAll([
      [HeadField.Uniforms, uniformsAt],
      [HeadField.Drawn, drawnAt],
    ]);
    struct.run(HeadOp.Sample, struct.rowChunks(this.#rows));
    return engine.i32(drawnAt, this.#rows).slice();
  }

  /** The k best items of each row after {@link HeadCall.scoreAll} with all kept and `mass`: items and log-probabilities `[R, k]`. */
  topK(k: number): { items: Int32Array; logProb: Float32Array } {
    const { engine } = this.#parts;
    const struct = this.#struct;
    const rows = this.#rows;
    const chunks = struct.get(HeadField.Chunks);
    const ofChunk = Math.min(k, struct.get(HeadField.ChunkItems));
    const itemsAt = this.#reserve('bestItems', chunks * rows * ofChunk * 4);
    const scoresAt = this.#reserve('bestScores', chunks * rows * ofChunk * 4);
    struct.setAll([
      [HeadField.Best, ofChunk],
      [HeadField.BestItems, itemsAt],
      [HeadField.BestScores, scoresAt],
    ]);
    struct.run(HeadOp.TopK, chunks);
    const items = engine.i32(itemsAt, chunks * rows * ofChunk);
    const scores = engine.f32(scoresAt, chunks * rows * ofChunk);
    const { logTotal } = this.stats();
    const best = { items: new Int32Array(rows * k), logProb: new Float32Array(rows * k) };
    // Each chunk's list is sorted, and chunks are in the order of the items: of equal heads the earlier chunk's goes first.
    const heads = new Int32Array(chunks);
    for (let row = 0; row < rows; row++) {
      heads.fill(0);
      for (let place = 0; place < k; place++) {
        let from = -1;
        let top = Number.NEGATIVE_INFINITY;
        for (let chunk = 0; chunk < chunks; chunk++) {
          const head = heads[chunk] as number;
          if (head === ofChunk) continue;
          const score = scores[(chunk * rows + row) * ofChunk + head] as number;
          if (score > top) {
            top = score;
            from = chunk;
          }
        }
        if (from < 0) break;
        const at = (from * rows + row) * ofChunk + (heads[from] as number);
        best.items[row * k + place] = items[at] as number;
        best.logProb[row * k + place] = top - (logTotal[row] as number);
        (heads[from] as number)++;
      }
    }
    return best;
  }

  /** Probabilities of all items `[R, A]` after {@link HeadCall.scoreAll} with all kept and `mass`, written to `target`. */
  probabilities(target: Float32Array): void {
    const { engine, spec } = this.#parts;
    const count = this.#rows * spec.itemCount;
    const at = this.#reserve('probabilities', count * 4);
    this.#struct.set(HeadField.Probabilities, at);
    this.#struct.run(HeadOp.Probabilities, this.#struct.rowChunks(this.#rows));
    target.set(engine.f32(at, count));
  }

  /**
   * Adds the gradients of this call's outputs to those of the head's parameters, and to those of the states.
   *
   * @param cotangents - of the outputs over all items.
   * @param list - of the listed scores `[R, width]`, if any.
   * @param stateGradient - pointer to the gradient by the states `[R, D]`, added to.
   */
  backward(cotangents: FullCotangents, list: Float32Array | undefined, stateGradient: number): void {
    const { engine, spec } = this.#parts;
    const struct = this.#struct;
    const stride = this.#stride;
    const rows = this.#rows;
    const width = struct.get(HeadField.Width);
    const featureWidth = struct.get(HeadField.FeatureWidth);
    const planes = struct.get(HeadField.Planes);
    const chunks = struct.get(HeadField.Chunks);
    const rowChunks = struct.rowChunks(rows);
    const { logProb, entropy, expected } = cotangents;
    const isFull = logProb !== undefined || entropy !== undefined || expected !== undefined;
    const queryGradient = list === undefined ? 0 : this.#reserve('queryGradient', stride * featureWidth * 4);
    const historyChunks = chunks + rowChunks;
    const historyPartials = this.#reserve('historyPartials', historyChunks * (planes + 1) * 4);
    const prior = this.#source?.form?.prior;
    const biasGradient = prior ? this.#priorGradient() : this.#gradientOf('bias');
    if (queryGradient !== 0) engine.f32(queryGradient, stride * featureWidth).fill(0);
    engine.f32(historyPartials, historyChunks * (planes + 1)).fill(0);
    struct.setAll([
      [HeadField.TableGradient, spec.items === 'text' ? 0 : this.#gradientOf('id')],
      [HeadField.TableFlags, spec.items === 'text' ? 0 : this.#parts.store.flagsOf(`${this.#head}/id`)],
      [HeadField.BiasGradient, biasGradient],
      [HeadField.ProjectionGradient, spec.items === 'id' ? 0 : this.#gradientOf('projection')],
      [HeadField.HistoryGradient, planes === 0 ? 0 : this.#gradientOf('history')],
      [HeadField.NoneGradient, this.#head === 'actor' ? this.#gradientOf('none') : 0],
      [HeadField.HistoryPartials, historyPartials],
      [HeadField.HistoryChunks, historyChunks],
      [HeadField.StateGradient, stateGradient],
      [HeadField.QueryGradient, queryGradient],
      [HeadField.StatePartials, isFull ? this.#reserve('statePartials', chunks * stride * width * 4) : 0],
      [HeadField.ProjectionPartials, isFull ? this.#projectionPartials(chunks, width) : 0],
    ]);
    if (isFull) {
      this.#writeCoefficients(cotangents);
      struct.run(HeadOp.ScoreGradients, chunks);
    }
    if (list !== undefined) {
      const listAt = this.#reserve('listCotangents', list.length * 4);
      engine.f32(listAt, list.length).set(list);
      struct.set(HeadField.ListCotangents, listAt);
      this.#runList(HeadOp.ListGradientsByRow, rowChunks);
      struct.run(HeadOp.ListGradientsByItem, chunks);
    }
    struct.run(HeadOp.JoinStates, rowChunks);
    if (struct.get(HeadField.ProjectionGradient) !== 0) {
      struct.run(HeadOp.ProjectionGradient, struct.rowChunks(struct.get(HeadField.ProjectionRows)));
    }
    if (planes > 0 || list !== undefined) this.#runList(HeadOp.HistoryWeightGradients, 1);
    if (list !== undefined) this.#addListPlaneGradients(list);
    if (prior && biasGradient !== 0) this.#addPriorGradients(prior, biasGradient);
  }

  /**
   * Runs an operation that reads text planes for listed items alone. Where texts are sparse rows the host adds those planes, and
   * the engine must leave them out.
   */
  #runList(op: HeadOp, chunks: number): void {
    const struct = this.#struct;
    const plane = struct.get(HeadField.TextPlane);
    if (this.#source?.sparse) struct.set(HeadField.TextPlane, -1);
    struct.run(op, chunks);
    struct.set(HeadField.TextPlane, plane);
  }

  /**
   * Pointer to the biases. A prior adds weight x prior to each item's score whatever the history, as a bias does: so it goes with them,
   * and its gradient comes out of theirs.
   */
  #biases(prior: Float32Array | undefined): number {
    const { engine, spec, store } = this.#parts;
    const bias = store.data + store.offsetOf(`${this.#head}/bias`);
    if (!prior) return bias;
    const { itemCount } = spec;
    // Tiles are read in groups of 4 items.
    const at = this.#reserve('biases', (itemCount + 4) * 4);
    const sums = engine.f32(at, itemCount);
    const own = engine.f32(bias, itemCount);
    const weight = this.#historyWeights().at(-1) as number;
    for (let item = 0; item < itemCount; item++) {
      sums[item] = (own[item] as number) + weight * (prior[item] as number);
    }
    return at;
  }

  /** Room for the gradient by the sums of bias and prior, zeros; 0 where neither of them learns. */
  #priorGradient(): number {
    if (this.#gradientOf('bias') === 0 && this.#gradientOf('history') === 0) return 0;
    const { engine, spec } = this.#parts;
    const at = this.#reserve('biasGradient', spec.itemCount * 4);
    engine.f32(at, spec.itemCount).fill(0);
    return at;
  }

  /** Hands the gradient by the sums of bias and prior on to both. */
  #addPriorGradients(prior: Float32Array, from: number): void {
    const { engine, spec } = this.#parts;
    const { itemCount } = spec;
    const gradient = engine.f32(from, itemCount);
    const biasGradient = this.#gradientOf('bias');
    if (biasGradient !== 0) {
      const to = engine.f32(biasGradient, itemCount);
      for (let item = 0; item < itemCount; item++) to[item] = (to[item] as number) + (gradient[item] as number);
    }
    if (this.#gradientOf('history') === 0) return;
    let sum = 0;
    for (let item = 0; item < itemCount; item++) sum += (gradient[item] as number) * (prior[item] as number);
    this.#addHistoryGradient(this.#struct.get(HeadField.Planes) - 1, sum);
  }

  /** Gradients of the weights of the text planes that the host added to listed scores. */
  #addListPlaneGradients(cotangents: Float32Array): void {
    const form = this.#source?.form;
    if (!this.#listPlanes || !form || this.#gradientOf('history') === 0) return;
    for (const [i, plane] of this.#listPlanes.entries()) {
      let sum = 0;
      for (let at = 0; at < cotangents.length; at++) sum += (cotangents[at] as number) * (plane[at] as number);
      this.#addHistoryGradient(textPlaneOf(form) + i, sum);
    }
  }

  #addHistoryGradient(plane: number, value: number): void {
    const gradient = this.#parts.engine.f32(this.#gradientOf('history'), this.#struct.get(HeadField.Planes));
    gradient[plane] = (gradient[plane] as number) + value;
  }

  /** The weights of the planes. */
  #historyWeights(): Float32Array {
    const { engine, spec, store } = this.#parts;
    const at = store.data + store.offsetOf(`${this.#head}/history`);
    return engine.f32(at, spec.historyFeatures?.names.length ?? 0);
  }

  /** Coefficients of `assembly/head-gradients.ts`, from the statistics of the forward pass; 0 in the columns past the last row. */
  #writeCoefficients({ logProb, entropy, expected }: FullCotangents): void {
    const stride = this.#stride;
    const at = this.#reserve('coefficients', COEFFICIENTS * stride * 4);
    const stats = this.stats();
    const coefficients = this.#parts.engine.f32(at, COEFFICIENTS * stride).fill(0);
    // Columns past the last row have no probability anywhere, whatever stands there.
    coefficients.fill(PAST_ALL, 4 * stride + this.#rows, 5 * stride);
    for (let row = 0; row < this.#rows; row++) {
      const ofLogProb = logProb?.[row] ?? 0;
      const ofEntropy = entropy?.[row] ?? 0;
      const ofExpected = expected?.[row] ?? 0;
      const logTotal = stats.logTotal[row] as number;
      let factor = -ofLogProb;
      if (entropy !== undefined) factor += ofEntropy * (logTotal - (stats.entropy[row] as number));
      if (expected !== undefined) factor -= ofExpected * (stats.expected[row] as number);
      coefficients[row] = factor * this.#rate;
      coefficients[stride + row] = -ofEntropy * this.#rate;
      coefficients[2 * stride + row] = ofExpected * this.#rate;
      coefficients[3 * stride + row] = ofLogProb * this.#rate;
      coefficients[4 * stride + row] = logTotal;
    }
    this.#struct.set(HeadField.Coefficients, at);
  }

  /** Room for the chunks' gradients of the projection and for a group's gradients by the item vectors; 0 where it has none. */
  #projectionPartials(chunks: number, width: number): number {
    const struct = this.#struct;
    const rows = struct.get(HeadField.ProjectionRows);
    if (rows === 0 || this.#gradientOf('projection') === 0) return 0;
    struct.set(HeadField.VectorGradients, this.#reserve('vectorGradients', chunks * GROUP * width * 4));
    return this.#reserve('projectionPartials', chunks * rows * width * 4);
  }

  #gradientOf(name: string): number {
    const full = `${this.#head}/${name}`;
    const { store } = this.#parts;
    return store.isFrozen(full) ? 0 : store.gradient + store.offsetOf(full);
  }

  #reserve(name: string, bytes: number): number {
    return this.#buffers.reserve(`${this.#name}/${name}`, bytes);
  }
}
