import { checkNumber } from '../../foundation/arguments.js';
import { DisposedError, InvalidArgumentError } from '../../foundation/errors.js';
import { checkCotangents, checkStore, checkUniforms } from '../door-checks.js';
import type { HistoryBatch } from '../history-batch.js';
import type {
  Cotangents,
  Head,
  Kernels,
  NextArrays,
  NextWant,
  Sampled,
  SampleOptions,
  ScoreArrays,
  ScoreOptions,
  Scores,
  TopItems,
  Want,
} from '../kernels.js';
import type { MaskLists } from '../mask.js';
import { checkModelSpec, type ModelSpec } from '../model.js';
import { Adam, type StepResult } from '../optimiser.js';
import type { ParameterStore } from '../parameter-store.js';
import { type CheckedCall, checkCall, checkNext, checkValue, checkWant } from '../scoring-call.js';
import type { TowerName } from '../tower.js';
import type { Engine } from './engine.js';
import { EngineBuffers } from './engine-buffers.js';
import { EngineStore } from './engine-store.js';
import { FeatureMatrix } from './feature-matrix.js';
import { type FullCotangents, HeadCall, type HeadParts } from './fused-head.js';
import type { Asked, AttributeCodes, HistorySource } from './history-inputs.js';
import { ItemVectors } from './item-vectors.js';
import { SparseTextPlanes } from './sparse-text-planes.js';
import { makeTower, type StateTower } from './state-tower.js';
import { TextPlanes } from './text-planes.js';
import { ValueCall } from './value-head.js';

/** A call that keeps no gradient works on so many rows at a time that their scores fit into so much memory. */
const SCORE_BYTES = 32 * 2 ** 20;
/** Rows are handled in groups of so many. */
const ROW_GROUP = 8;

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

interface LastForward {
  readonly call: CheckedCall;
  readonly want: Want;
  readonly version: number;
}

/** What the heads need of a batch, and the states that the towers made of it. */
interface Batch {
  readonly call: CheckedCall;
  readonly source: HistorySource;
  readonly states: (head: Head) => number;
}

/**
 * The model on the fused engine: encoder and heads as a few operations over engine memory, gradients by hand. With an
 * encoder of the user's own (`hybrid`) states are made by tfjs and the heads stay here. The parameters live in engine
 * memory as long as kernels like these use the store.
 */
export class FusedKernels implements Kernels {
  readonly kind: 'hybrid' | 'fused';
  readonly backend: string;
  readonly store: ParameterStore;
  readonly spec: ModelSpec;
  readonly #engine: Engine;
  readonly #parameters: EngineStore;
  readonly #buffers: EngineBuffers;
  readonly #features: FeatureMatrix | undefined;
  readonly #attributes: readonly AttributeCodes[];
  readonly #planes: TextPlanes | undefined;
  readonly #sparse: SparseTextPlanes | undefined;
  readonly #vectors: Readonly<Record<Head, ItemVectors>>;
  readonly #towers = new Map<TowerName, StateTower>();
  readonly #calls = new Map<string, HeadCall>();
  readonly #values = new Map<string, ValueCall>();
  #last: LastForward | undefined;
  #isDisposed = false;

  /**
   * @param engine - the process's engine.
   * @param spec - what the model is; {@link whyNotFused} must have no objection.
   * @param store - its parameters; borrowed.
   * @param backend - the tfjs backend in use.
   * @throws {InvalidArgumentError} when the spec is not consistent or the store is not of this model.
   * @throws {BackendError} when there is not memory enough.
   */
  constructor(engine: Engine, spec: ModelSpec, store: ParameterStore, backend: string) {
    checkModelSpec(spec, 'createKernels');
    checkStore(spec, store);
    this.kind = spec.encoder.form === undefined ? 'hybrid' : 'fused';
    this.backend = backend;
    this.spec = spec;
    this.store = store;
    this.#engine = engine;
    this.#parameters = EngineStore.acquire(engine, store);
    this.#buffers = new EngineBuffers(engine);
    const matrix = featuresOf(spec);
    this.#features = matrix && FeatureMatrix.acquire(engine, matrix, spec.itemCount);
    const form = spec.historyFeatures?.form;
    const text = form?.text;
    this.#sparse = text && 'rows' in text ? new SparseTextPlanes(engine, text, form, spec.itemCount) : undefined;
    const cosines = this.#sparse ?? (text && this.#features);
    this.#planes = cosines && form && new TextPlanes(engine, cosines, form, spec.itemCount);
    const vectors = (head: Head): ItemVectors => new ItemVectors(store, this.#buffers, `vectors/${head}`);
    this.#vectors = { actor: vectors('actor'), critic: vectors('critic') };
    this.#attributes = (form?.attributes ?? []).map((values, i) => {
      const pointer = this.#buffers.reserve(`codes${i}`, values.length * 4);
      engine.i32(pointer, values.length).set(values);
      return { values, pointer, count: values.reduce((most, code) => Math.max(most, code + 1), 0) };
    });
  }

  get variant(): string {
    return this.#engine.variant;
  }

  get threads(): number {
    return this.#engine.threads;
  }

  forward<W extends Want>(batch: HistoryBatch, want: W, options: ScoreOptions = {}): Scores<W> {
    this.#checkAlive();
    const call = checkCall(this.spec, batch, options);
    const checked = checkWant(this.spec, call, want);
    const next = want.next === undefined ? undefined : checkNext(this.spec, call, want.next, options.mask);
    // A batch may be a live view of an environment: from here on all that is needed later has been copied or written.
    const towers = this.#encode('train', call, checked, next, want.next);
    const rows = call.size;
    const width = this.spec.encoder.stateWidth;
    const now: Batch = { call, source: this.#source(batch, call.mask, false), states: (head) => towers(head, 0) };
    const scores: Partial<Mutable<ScoreArrays>> & { next?: Partial<Mutable<NextArrays>> } = {};
    this.#scoreFull('train', now, checked, scores);
    this.#scoreLists(now, checked, scores);
    if (checked.value) scores.value = this.#value('train').forward(now.states('critic'), rows);
    if (next !== undefined && want.next !== undefined) {
      const { histories } = want.next;
      const source = this.#source(histories, next.mask, false);
      const later: Batch = { call: next, source, states: (head) => towers(head, rows * width * 4) };
      const { histories: _, ...asked } = want.next;
      scores.next = {};
      this.#scoreFull('next', later, asked, scores.next);
      if (asked.value) scores.next.value = this.#value('next').forward(later.states('critic'), rows);
    }
    this.#last = { call, want: checked, version: this.store.version };
    return scores as Scores<W>;
  }

  backward(cotangents: Cotangents): void {
    this.#checkAlive();
    const last = this.#last;
    if (last === undefined) throw new InvalidArgumentError('backward: expected a forward before it, there was none');
    if (last.version !== this.store.version) {
      throw new InvalidArgumentError('backward: the parameters changed since the last forward; run forward again');
    }
    const { call, want } = last;
    checkCotangents(cotangents, call, want);
    const { logProb, entropy, expectedScore: expected, scores, value } = cotangents;
    const rows = call.size;
    const gradients = new Map<TowerName, number>();
    const gradientOf = (head: Head): number => {
      const tower = this.#towerOf(head);
      let pointer = gradients.get(tower);
      if (pointer === undefined) {
        const count = rows * this.spec.encoder.stateWidth;
        pointer = this.#buffers.reserve(`stateGradient/${tower}`, count * 4);
        this.#engine.f32(pointer, count).fill(0);
        gradients.set(tower, pointer);
      }
      return pointer;
    };
    const full: FullCotangents = { logProb, entropy, expected };
    const isFull = logProb !== undefined || entropy !== undefined || expected !== undefined;
    const listHead = scores === undefined ? undefined : want.scoresOf?.head;
    if (isFull || listHead === 'actor') {
      this.#call('actor', 'train').backward(full, listHead === 'actor' ? scores : undefined, gradientOf('actor'));
    }
    if (listHead === 'critic') this.#call('critic', 'train').backward({}, scores, gradientOf('critic'));
    if (value !== undefined) this.#value('train').backward(value, gradientOf('critic'));
    for (const [tower, pointer] of gradients) this.#tower(tower).backward(pointer, rows);
  }

  sample<O extends SampleOptions>(batch: HistoryBatch, uniforms: Float64Array, options?: O): Sampled<O> {
    const wantsValue = options?.value !== undefined;
    const call = this.#checkAct(batch, options, ['value']);
    if (wantsValue) checkValue(this.spec, options?.value, 'options.value');
    checkUniforms(uniforms, call.size);
    const actions = new Int32Array(call.size);
    const logProb = new Float32Array(call.size);
    const towers = this.#actTowers(call, wantsValue);
    this.#inRowGroups(batch, call, towers('actor', 0), { tiles: true }, (head, first, count) => {
      actions.set(head.sample(uniforms.subarray(first, first + count)), first);
      logProb.set(head.stats().logProb, first);
    });
    if (!wantsValue) return { actions, logProb } as Sampled<O>;
    return { actions, logProb, value: this.#value('act').forward(towers('critic', 0), call.size) } as Sampled<O>;
  }

  topK(batch: HistoryBatch, k: number, options: ScoreOptions = {}): TopItems {
    checkNumber('topK', 'k', k, { low: 1, high: this.spec.itemCount, integer: true });
    const call = this.#checkAct(batch, options);
    checkItemsLeft(call, k, this.spec.itemCount);
    const best = { items: new Int32Array(call.size * k), logProb: new Float32Array(call.size * k) };
    const towers = this.#actTowers(call, false);
    this.#inRowGroups(batch, call, towers('actor', 0), {}, (head, first) => {
      const { items, logProb } = head.topK(k);
      best.items.set(items, first * k);
      best.logProb.set(logProb, first * k);
    });
    return best;
  }

  probabilities(batch: HistoryBatch, options: ScoreOptions = {}): Float32Array {
    const call = this.#checkAct(batch, options);
    const { itemCount } = this.spec;
    const all = new Float32Array(call.size * itemCount);
    const towers = this.#actTowers(call, false);
    this.#inRowGroups(batch, call, towers('actor', 0), {}, (head, first, count) => {
      head.probabilities(all.subarray(first * itemCount, (first + count) * itemCount));
    });
    return all;
  }

  step(optimiser: Adam): StepResult {
    this.#checkAlive();
    if (!(optimiser instanceof Adam)) {
      throw new InvalidArgumentError('step: expected `optimiser` to be an Adam', {
        argument: 'optimiser',
        got: optimiser,
      });
    }
    return this.#parameters.step(optimiser);
  }

  dispose(): void {
    if (this.#isDisposed) return;
    this.#isDisposed = true;
    this.#last = undefined;
    for (const tower of this.#towers.values()) tower.dispose();
    this.#buffers.dispose();
    this.#planes?.dispose();
    this.#sparse?.dispose();
    this.#features?.release();
    this.#parameters.release();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #checkAlive(): void {
    if (this.#isDisposed) throw new DisposedError('Kernels');
  }

  #checkAct(batch: HistoryBatch, options: ScoreOptions = {}, known: readonly string[] = []): CheckedCall {
    this.#checkAlive();
    return checkCall(this.spec, batch, options, known);
  }

  #towerOf(head: Head): TowerName {
    return head === 'critic' && this.spec.valueEncoder === 'separate' ? 'value' : 'policy';
  }

  #tower(name: TowerName): StateTower {
    let tower = this.#towers.get(name);
    if (tower === undefined) {
      tower = makeTower(name, {
        engine: this.#engine,
        parameters: this.#parameters,
        spec: this.spec,
        store: this.store,
        features: this.spec.items === 'id' ? undefined : this.#features,
      });
      this.#towers.set(name, tower);
    }
    return tower;
  }

  #call(head: Head, use: 'train' | 'next' | 'act'): HeadCall {
    const name = `${head}/${use}`;
    let call = this.#calls.get(name);
    if (call === undefined) {
      const parts: HeadParts = {
        engine: this.#engine,
        store: this.#parameters,
        spec: this.spec,
        features: this.#features,
        vectors: this.#vectors[head],
      };
      call = new HeadCall(parts, head, this.#buffers, name);
      this.#calls.set(name, call);
    }
    return call;
  }

  #value(use: 'train' | 'next' | 'act'): ValueCall {
    let call = this.#values.get(use);
    if (call === undefined) {
      const parts = { engine: this.#engine, store: this.#parameters, spec: this.spec };
      call = new ValueCall(parts, this.#buffers, `value/${use}`);
      this.#values.set(use, call);
    }
    return call;
  }

  #source(batch: HistoryBatch, mask: MaskLists | undefined, isSingle: boolean): HistorySource {
    return {
      batch,
      mask,
      itemCount: this.spec.itemCount,
      stride: isSingle ? 1 : Math.ceil(batch.size / ROW_GROUP) * ROW_GROUP,
      form: this.spec.historyFeatures?.form,
      attributes: this.#attributes,
      features: this.#features,
      planes: this.#planes,
      sparse: this.#sparse,
    };
  }

  /** Runs the towers that are read, for the histories, the next histories or both; gives where a head's states are. */
  #encode(
    use: 'train',
    call: CheckedCall,
    want: Want,
    next: CheckedCall | undefined,
    nextWant: NextWant | undefined,
  ): (head: Head, offset: number) => number {
    const reads = (question: Want | NextWant, head: Head): boolean => {
      const { maxScore, expectedScore, value } = question;
      const { logProbOf, entropy, scoresOf } = question as Want;
      if (maxScore === head || scoresOf?.head === head || expectedScore) return true;
      return head === 'actor' ? logProbOf !== undefined || entropy !== undefined : value !== undefined;
    };
    const pointers = new Map<TowerName, number>();
    const isShared = this.#towerOf('critic') === this.#towerOf('actor');
    for (const head of ['actor', 'critic'] as const) {
      const name = this.#towerOf(head);
      if (pointers.has(name)) continue;
      const heads: readonly Head[] = isShared ? ['actor', 'critic'] : [head];
      const isNow = heads.some((h) => reads(want, h));
      const isNext = nextWant !== undefined && heads.some((h) => reads(nextWant, h));
      if (!isNow && !isNext) continue;
      // Rows of states that follow the batch's own are those of the next histories, even where only they are read.
      pointers.set(name, this.#tower(name).forward(use, call, isNext ? next : undefined));
    }
    return (head, offset) => (pointers.get(this.#towerOf(head)) as number) + offset;
  }

  #actTowers(call: CheckedCall, wantsValue: boolean): (head: Head, offset: number) => number {
    const pointers = new Map<TowerName, number>();
    for (const head of wantsValue ? (['actor', 'critic'] as const) : (['actor'] as const)) {
      const name = this.#towerOf(head);
      if (!pointers.has(name)) pointers.set(name, this.#tower(name).forward('act', call, undefined));
    }
    return (head, offset) => (pointers.get(this.#towerOf(head)) as number) + offset;
  }

  #scoreFull(
    use: 'train' | 'next',
    { call, source, states }: Batch,
    want: Want | Omit<NextWant, 'histories'>,
    scores: Partial<Mutable<ScoreArrays>>,
  ): void {
    const { maxScore, expectedScore } = want;
    const { logProbOf, entropy, scoresOf } = want as Want;
    const rows = call.size;
    const asked = (head: Head): Asked => ({ all: true, listed: scoresOf?.head === head });
    let expected = 0;
    if (expectedScore || maxScore === 'critic') {
      const critic = this.#call('critic', use);
      critic.begin(states('critic'), source, 1, asked('critic'));
      critic.scoreAll({ picked: 0, mass: false, keep: expectedScore ? 'all' : 'none', tiles: false, expected: 0 });
      if (maxScore === 'critic') scores.maxScore = critic.stats().top.slice();
      if (expectedScore) expected = critic.scores;
    }
    const needsMass = logProbOf !== undefined || entropy !== undefined || expectedScore !== undefined;
    if (!needsMass && maxScore !== 'actor') return;
    const actor = this.#call('actor', use);
    actor.begin(states('actor'), source, call.temperature, asked('actor'));
    let picked = 0;
    if (logProbOf !== undefined) {
      picked = this.#buffers.reserve('picked', rows * 4);
      this.#engine.i32(picked, rows).set(logProbOf);
    }
    actor.scoreAll({
      picked,
      mass: needsMass,
      keep: needsMass && use === 'train' ? 'some' : 'none',
      tiles: false,
      expected,
    });
    const stats = actor.stats();
    if (logProbOf !== undefined) scores.logProb = stats.logProb.slice();
    if (entropy) scores.entropy = stats.entropy.slice();
    if (expectedScore) scores.expectedScore = stats.expected.slice();
    if (maxScore === 'actor') scores.maxScore = Float32Array.from(stats.top, (top) => top * call.temperature);
  }

  #scoreLists({ call, source, states }: Batch, want: Want, scores: Partial<Mutable<ScoreArrays>>): void {
    const { scoresOf } = want;
    if (scoresOf === undefined) return;
    const head = this.#call(scoresOf.head, 'train');
    const wasBegun =
      scoresOf.head === 'critic'
        ? want.expectedScore !== undefined || want.maxScore === 'critic'
        : want.logProbOf !== undefined ||
          want.entropy !== undefined ||
          want.expectedScore !== undefined ||
          want.maxScore === 'actor';
    if (!wasBegun) head.begin(states(scoresOf.head), source, call.temperature, { all: false, listed: true });
    scores.scores = head.scoreList(scoresOf.items, scoresOf.width);
  }

  /** Scores all items by the actor for as many rows at a time as memory shall hold, and lets `read` have each group. */
  #inRowGroups(
    batch: HistoryBatch,
    call: CheckedCall,
    states: number,
    { tiles = false }: { readonly tiles?: boolean },
    read: (head: HeadCall, first: number, count: number) => void,
  ): void {
    const { spec } = this;
    const atOnce = Math.max(1, Math.floor(SCORE_BYTES / (4 * spec.itemCount * ROW_GROUP))) * ROW_GROUP;
    const head = this.#call('actor', 'act');
    for (let first = 0; first < call.size; first += atOnce) {
      const count = Math.min(atOnce, call.size - first);
      const source = this.#source(rowsOf(batch, first, count), maskOf(call.mask, first, count), count === 1);
      head.begin(states + first * spec.encoder.stateWidth * 4, source, call.temperature, { all: true, listed: false });
      head.scoreAll({ picked: 0, mass: true, keep: 'all', tiles, expected: 0 });
      checkFinite(head, first);
      read(head, first, count);
    }
  }
}

/** Rows `first` to `first + count - 1`, as views. */
function rowsOf(batch: HistoryBatch, first: number, count: number): HistoryBatch {
  if (first === 0 && count === batch.size) return batch;
  const { length, items, lengths, contextWidth } = batch;
  return {
    size: count,
    length,
    items: items.subarray(first * length, (first + count) * length),
    lengths: lengths.subarray(first, first + count),
    contextWidth,
  };
}

function maskOf(mask: MaskLists | undefined, first: number, count: number): MaskLists | undefined {
  return mask && { ...mask, rowStart: mask.rowStart.subarray(first, first + count + 1) };
}

/** @throws {InvalidArgumentError} when logits are not finite. */
function checkFinite(head: HeadCall, first: number): void {
  const { top, logTotal } = head.stats();
  for (let row = 0; row < top.length; row++) {
    if (Number.isFinite(top[row]) && Number.isFinite(logTotal[row])) continue;
    throw new InvalidArgumentError(`The logits are not finite (row ${first + row}): the parameters have diverged`, {
      argument: 'batch',
      wanted: 'finite logits',
      got: top[row],
    });
  }
}

/** @throws {InvalidArgumentError} when a row has fewer than k items left. */
function checkItemsLeft({ mask, size }: CheckedCall, k: number, itemCount: number): void {
  if (mask === undefined) return;
  const { everywhere, rowStart, rowItems } = mask;
  for (let row = 0; row < size; row++) {
    const start = rowStart[row] as number;
    const end = rowStart[row + 1] as number;
    if (itemCount - everywhere.length - (end - start) >= k) continue;
    const left = itemCount - new Set([...everywhere, ...rowItems.subarray(start, end)]).size;
    if (left >= k) continue;
    throw new InvalidArgumentError(
      `Expected \`k\` to be at most ${left}, the number of items the mask leaves in row ${row}, got ${k}`,
      { argument: 'k', wanted: `at most ${left}`, got: k },
    );
  }
}

/** The one matrix of item features that the engine reads for a model. */
function featuresOf(spec: ModelSpec): Float32Array | undefined {
  if (spec.items !== 'id') return spec.itemFeatures;
  const text = spec.historyFeatures?.form?.text;
  return text && 'matrix' in text ? text.matrix : undefined;
}

/**
 * Why the engine cannot compute a model; undefined when it can.
 *
 * @param spec - a checked spec.
 */
export function whyNotFused(spec: ModelSpec): string | undefined {
  const { encoder, historyFeatures, items, itemFeatures } = spec;
  if (encoder.stateWidth % 4 !== 0 || encoder.itemWidth % 4 !== 0) return 'widths that are no multiples of 4';
  if (encoder.form !== undefined && encoder.form.feedForward % 4 !== 0) {
    return 'a feed-forward width that is no multiple of 4';
  }
  if (historyFeatures !== undefined && historyFeatures.form === undefined) return 'history features without a `form`';
  const text = historyFeatures?.form?.text;
  if (text !== undefined && 'matrix' in text && items !== 'id' && text.matrix !== itemFeatures) {
    return 'history features of another text matrix than the items';
  }
  return undefined;
}
