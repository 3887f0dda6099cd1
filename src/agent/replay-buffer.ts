import { z } from 'zod';
import type { HistoryBatch } from '../compute/history-batch.js';
import { checkNumber, checkObject } from '../foundation/arguments.js';
import { InvalidArgumentError } from '../foundation/errors.js';
import type { NamedArray, NamedArrays } from '../foundation/named-arrays.js';
import { checkOptions, describeValue } from '../foundation/options.js';
import type { Rng } from '../foundation/rng.js';
import { gatherFlags, gatherFloats, gatherIntegers, gatherVectors } from './columns.js';
import { HistoryStreams } from './history-streams.js';
import { checkReplayArrays } from './replay-checkpoint.js';
import type { Rollout, TransitionBatch, TransitionColumns, TransitionStep } from './transitions.js';
import { checkTransitionStep } from './transitions.js';

export type { Rollout, TransitionBatch, TransitionColumns, TransitionStep } from './transitions.js';
export { nextValuesOf } from './transitions.js';

/** Shape of a {@link ReplayBuffer}. */
export interface ReplayBufferOptions {
  /** N, the parallel episodes that write, one lane each; >= 1. */
  readonly lanes: number;
  /** Transitions kept for each lane, >= 1; capacity is `lanes * stepsPerLane`. */
  readonly stepsPerLane: number;
  /**
   * C, width of the user context; 0: none.
   *
   * @default 0
   */
  readonly contextWidth?: number;
  /**
   * K, most candidates shown with an action; 0: none.
   *
   * @default 0
   */
  readonly candidateCount?: number;
  /**
   * Whether transitions can be held out: `sample` then leaves those flagged so alone, and `all('heldOut')` gives them.
   *
   * @default false
   */
  readonly holdsOut?: boolean;
  /**
   * Most history items kept for each lane, >= 2. Where the histories of `stepsPerLane` transitions need more, the oldest
   * transitions go first. Default: no limit of its own, which is what the histories need (about one item a step, and
   * the start history of each episode).
   */
  readonly maxItemsPerLane?: number;
}

const optionsSchema = z.strictObject({
  lanes: z.int().min(1),
  stepsPerLane: z.int().min(1),
  contextWidth: z.int().min(0).default(0),
  candidateCount: z.int().min(0).default(0),
  holdsOut: z.boolean().default(false),
  maxItemsPerLane: z.int().min(2).optional(),
});

/** Most transitions of one sample. */
const MAX_SAMPLE = 2 ** 26;
/** Most entries of one column: beyond it the memory of no machine would do. */
const MAX_ENTRIES = 2 ** 30;

/**
 * Transitions of N parallel episodes (D_LLM and D_online of the paper): a ring for each lane, in typed arrays.
 *
 * Histories are not copied step by step. Each lane keeps one stream of items; a history is a stretch of it, found by
 * comparing contents, so that a step that appends its action costs one item. The streams grow as the histories
 * need and are bounded by them (or by `maxItemsPerLane`); what no kept transition reads is overwritten.
 *
 * `sample(n)` serves replay, `lastRollout(T)` PPO. `toNamedArrays` and `load` carry it through a checkpoint, after which
 * it goes on bit for bit.
 */
export class ReplayBuffer {
  /** N. */
  readonly lanes: number;
  /** Transitions kept for each lane. */
  readonly stepsPerLane: number;
  /** C. */
  readonly contextWidth: number;
  /** K. */
  readonly candidateCount: number;
  readonly #maxItems: number;

  // One entry a lane. Steps and stream positions are absolute (they never wrap) and are reduced modulo the ring on access.
  readonly #counts: Float64Array;
  readonly #firsts: Float64Array;

  readonly #streams: HistoryStreams;

  // One entry a transition, `[N, stepsPerLane]`.
  readonly #starts: Float64Array;
  readonly #lengths: Int32Array;
  readonly #nextStarts: Float64Array;
  readonly #nextLengths: Int32Array;
  readonly #actions: Int32Array;
  readonly #rewards: Float32Array;
  readonly #terminated: Uint8Array;
  readonly #truncated: Uint8Array;
  readonly #logProb: Float32Array;
  readonly #pretrainedLogProb: Float32Array;
  readonly #alpha: Float32Array;
  readonly #choices: Int32Array;
  readonly #candidates: Int32Array;
  readonly #context: Float32Array;
  /** Undefined where nothing can be held out. */
  readonly #heldOut: Uint8Array | undefined;

  /**
   * @param options - See {@link ReplayBufferOptions}.
   * @throws {InvalidArgumentError} when an option is out of range.
   */
  constructor(options: ReplayBufferOptions) {
    const checked = checkOptions(optionsSchema, options, 'ReplayBuffer');
    const { lanes, stepsPerLane, contextWidth, candidateCount } = checked;
    const most = lanes * stepsPerLane * Math.max(1, contextWidth, candidateCount);
    checkNumber('ReplayBuffer', 'lanes x stepsPerLane x width', most, { low: 1, high: MAX_ENTRIES, integer: true });
    this.lanes = lanes;
    this.stepsPerLane = stepsPerLane;
    this.contextWidth = contextWidth;
    this.candidateCount = candidateCount;
    this.#maxItems = checked.maxItemsPerLane ?? Infinity;
    this.#counts = new Float64Array(lanes);
    this.#firsts = new Float64Array(lanes);
    this.#streams = new HistoryStreams(lanes, 2 * stepsPerLane + 32, this.#maxItems, {
      oldest: (lane) => (this.#stepsOf(lane) === 0 ? undefined : this.#starts[this.#index(lane, this.#firstOf(lane))]),
      evict: (lane) => {
        this.#firsts[lane] = this.#firstOf(lane) + 1;
      },
    });
    const capacity = lanes * stepsPerLane;
    this.#starts = new Float64Array(capacity);
    this.#lengths = new Int32Array(capacity);
    this.#nextStarts = new Float64Array(capacity);
    this.#nextLengths = new Int32Array(capacity);
    this.#actions = new Int32Array(capacity);
    this.#rewards = new Float32Array(capacity);
    this.#terminated = new Uint8Array(capacity);
    this.#truncated = new Uint8Array(capacity);
    this.#logProb = new Float32Array(capacity);
    this.#pretrainedLogProb = new Float32Array(capacity);
    this.#alpha = new Float32Array(capacity);
    this.#choices = new Int32Array(capacity);
    this.#candidates = new Int32Array(capacity * candidateCount);
    this.#context = new Float32Array(capacity * contextWidth);
    this.#heldOut = checked.holdsOut ? new Uint8Array(capacity) : undefined;
  }

  /** Transitions that can be sampled. */
  get size(): number {
    let size = 0;
    for (let lane = 0; lane < this.lanes; lane++) size += this.#stepsOf(lane);
    return size;
  }

  /** Transitions that fit. */
  get capacity(): number {
    return this.lanes * this.stepsPerLane;
  }

  /** Transitions that every lane can give, hence the longest rollout. */
  get rolloutLength(): number {
    let shortest = Infinity;
    for (let lane = 0; lane < this.lanes; lane++) shortest = Math.min(shortest, this.#stepsOf(lane));
    return shortest;
  }

  /** Memory of all its arrays, bytes. */
  get memoryBytes(): number {
    return Object.values(this.#columns()).reduce((bytes, { data }) => bytes + data.byteLength, 0);
  }

  /**
   * Adds one transition to each lane, or to those that `step.rows` flags. Nothing is added if anything is wrong.
   *
   * @throws {InvalidArgumentError} when a length does not fit, a context or candidates are missing or not expected, or a
   * history is longer than `maxItemsPerLane` can hold.
   */
  add(step: TransitionStep): void {
    checkTransitionStep(step, {
      lanes: this.lanes,
      contextWidth: this.contextWidth,
      candidateCount: this.candidateCount,
      maxItems: this.#maxItems,
    });
    const { histories, nextHistories, actions, pretrainedLogProb, alpha = 1, choices, rows, heldOut } = step;
    if (heldOut !== undefined && (this.#heldOut === undefined || heldOut.length !== this.lanes)) {
      throw new InvalidArgumentError(
        `ReplayBuffer.add: expected \`heldOut\` with \`holdsOut\` only, one flag for each of the ${this.lanes} lanes, got ${heldOut.length}`,
        { argument: 'heldOut', wanted: `${this.lanes} flags`, got: heldOut.length },
      );
    }
    const [C, K] = [this.contextWidth, this.candidateCount];
    const streams = this.#streams;
    const { heads } = streams;
    for (let lane = 0; lane < this.lanes; lane++) {
      if (rows !== undefined && rows[lane] === 0) continue;
      const count = this.#counts[lane] as number;
      if (this.#stepsOf(lane) === this.stepsPerLane) this.#firsts[lane] = this.#firstOf(lane) + 1;
      const at = this.#index(lane, count);

      const head = heads[lane] as number;
      // Starts never decrease along a lane, so that dropping the oldest transitions frees the oldest items.
      const floor = this.#stepsOf(lane) > 0 ? (this.#starts[this.#index(lane, count - 1)] as number) : head;
      const length = streams.read(histories, lane);
      const start = streams.place(lane, floor, head);
      const nextLength =
        nextHistories === undefined ? streams.extend(actions[lane] as number) : streams.read(nextHistories, lane);
      const nextStart = streams.place(lane, start, start);

      this.#starts[at] = start;
      this.#lengths[at] = length;
      this.#nextStarts[at] = nextStart;
      this.#nextLengths[at] = nextLength;
      this.#actions[at] = actions[lane] as number;
      this.#rewards[at] = step.rewards[lane] as number;
      this.#terminated[at] = step.terminated[lane] === 0 ? 0 : 1;
      this.#truncated[at] = step.truncated[lane] === 0 ? 0 : 1;
      this.#logProb[at] = step.logProb[lane] as number;
      this.#pretrainedLogProb[at] = pretrainedLogProb?.[lane] ?? 0;
      this.#alpha[at] = alpha;
      this.#choices[at] = choices?.[lane] ?? -1;
      if (this.#heldOut) this.#heldOut[at] = heldOut?.[lane] ? 1 : 0;
      for (let k = 0; k < K; k++) this.#candidates[at * K + k] = step.candidates?.[lane * K + k] as number;
      for (let c = 0; c < C; c++) this.#context[at * C + c] = histories.context?.[lane * C + c] as number;
      this.#counts[lane] = count + 1;
    }
  }

  /**
   * Draws transitions uniformly, with replacement, from all that are kept and not held out.
   *
   * @param n - How many, >= 1.
   * @param rng - One number is drawn from it for each.
   * @throws {InvalidArgumentError} when the buffer is empty or n is not a whole number >= 1.
   */
  sample(n: number, rng: Rng): TransitionBatch {
    const size = this.size;
    checkObject('ReplayBuffer.sample', 'rng', rng, ['integer'], 'an Rng');
    if (!(Number.isInteger(n) && n >= 1 && n <= MAX_SAMPLE) || size === 0) {
      throw new InvalidArgumentError(
        `ReplayBuffer.sample: expected \`n\` to be a whole number >= 1 and the buffer not to be empty, got n ${describeValue(n)} and ${size} transitions`,
        { argument: 'n', wanted: 'a whole number >= 1 of a buffer that is not empty', got: n },
      );
    }
    const rows = new Int32Array(n);
    const [counts, firsts] = [this.#counts, this.#firsts];
    if (this.#heldOut) {
      const kept = this.#rowsOf('learned');
      if (kept.length === 0) {
        throw new InvalidArgumentError('ReplayBuffer.sample: expected transitions that are not held out, got none', {
          argument: 'heldOut',
        });
      }
      for (let i = 0; i < n; i++) rows[i] = kept[rng.integer(kept.length)] as number;
    }
    for (let i = 0; i < n && !this.#heldOut; i++) {
      let offset = rng.integer(size);
      for (let lane = 0; ; lane++) {
        const first = firsts[lane] as number;
        const steps = (counts[lane] as number) - first;
        if (offset < steps) {
          rows[i] = this.#index(lane, first + offset);
          break;
        }
        offset -= steps;
      }
    }
    return {
      ...this.#gather(rows),
      nextHistories: this.#gatherHistories(rows, this.#nextStarts, this.#nextLengths),
    };
  }

  /**
   * All transitions that are held out, or all others, by lane, oldest first; in batches.
   *
   * @param part - `'learned'`: those that `sample` draws from.
   * @param batchSize - transitions of a batch at most, >= 1.
   */
  all(part: 'learned' | 'heldOut', batchSize: number): TransitionColumns[] {
    checkNumber('ReplayBuffer.all', 'batchSize', batchSize, { low: 1, integer: true });
    const rows = this.#rowsOf(part);
    const batches: TransitionColumns[] = [];
    for (let first = 0; first < rows.length; first += batchSize) {
      batches.push(this.#gather(rows.slice(first, first + batchSize)));
    }
    return batches;
  }

  /**
   * The last T transitions of every lane, oldest first.
   *
   * @param T - Steps, 1 to {@link ReplayBuffer.rolloutLength}.
   * @throws {InvalidArgumentError} when a lane has fewer.
   */
  lastRollout(T: number): Rollout {
    if (!(Number.isInteger(T) && T >= 1 && T <= this.rolloutLength)) {
      const wanted = `a whole number from 1 to ${this.rolloutLength}, the transitions that every lane has`;
      throw new InvalidArgumentError(
        `ReplayBuffer.lastRollout: expected \`T\` to be ${wanted}, got ${describeValue(T)}`,
        {
          argument: 'T',
          wanted,
          got: T,
        },
      );
    }
    const N = this.lanes;
    const rows = new Int32Array(T * N);
    for (let t = 0; t < T; t++) {
      for (let n = 0; n < N; n++) rows[t * N + n] = this.#index(n, (this.#counts[n] as number) - T + t);
    }
    const columns = this.#gather(rows);
    const ends = new Int32Array(T * N);
    let count = 0;
    for (let i = 0; i < T * N; i++) {
      if (columns.terminated[i] !== 0) continue;
      const isLast = i >= (T - 1) * N;
      if (!isLast && !this.#goesOn(rows[i] as number, rows[i + N] as number)) columns.truncated[i] = 1;
      if (isLast || columns.truncated[i] !== 0) ends[count++] = i;
    }
    if (count === 0) return { ...columns, T, N, bootstrap: undefined };
    const reached = ends.slice(0, count);
    const bootstrap = {
      rows: reached,
      histories: this.#gatherHistories(gatherIntegers(rows, reached), this.#nextStarts, this.#nextLengths),
    };
    return { ...columns, T, N, bootstrap };
  }

  /** Forgets every transition; memory is kept. */
  clear(): void {
    this.#firsts.set(this.#counts);
  }

  /** All state as arrays for a checkpoint; the arrays are live views, so encode them before the next `add`. */
  toNamedArrays(): NamedArrays {
    return this.#columns();
  }

  /**
   * Takes over the state that {@link ReplayBuffer.toNamedArrays} gave, bit for bit; nothing changes if it does not fit.
   *
   * @param arrays - Of a buffer with the same options; copied.
   * @param source - Where they come from, for messages.
   * @throws {CheckpointError} when an array is missing, has another shape or kind, or the counters contradict each other.
   */
  load(arrays: NamedArrays, source: string): void {
    const { lanes, stepsPerLane } = this;
    const room = checkReplayArrays(arrays, this.#columns(), { lanes, stepsPerLane, maxItems: this.#maxItems }, source);
    this.#streams.load(arrays.items?.data as Int32Array, room);
    for (const [name, { data }] of Object.entries(this.#columns())) data.set((arrays[name] as NamedArray).data);
  }

  /** Every array of the state, by name. */
  #columns(): Record<string, NamedArray> {
    const [N, S] = [this.lanes, this.stepsPerLane];
    const columns: Record<string, NamedArray> = {
      counts: { shape: [N], data: this.#counts },
      firsts: { shape: [N], data: this.#firsts },
      heads: { shape: [N], data: this.#streams.heads },
      items: { shape: [N, this.#streams.room], data: this.#streams.items },
      starts: { shape: [N, S], data: this.#starts },
      lengths: { shape: [N, S], data: this.#lengths },
      nextStarts: { shape: [N, S], data: this.#nextStarts },
      nextLengths: { shape: [N, S], data: this.#nextLengths },
      actions: { shape: [N, S], data: this.#actions },
      rewards: { shape: [N, S], data: this.#rewards },
      terminated: { shape: [N, S], data: this.#terminated },
      truncated: { shape: [N, S], data: this.#truncated },
      logProb: { shape: [N, S], data: this.#logProb },
      pretrainedLogProb: { shape: [N, S], data: this.#pretrainedLogProb },
      alpha: { shape: [N, S], data: this.#alpha },
      choices: { shape: [N, S], data: this.#choices },
    };
    if (this.candidateCount > 0) columns.candidates = { shape: [N, S, this.candidateCount], data: this.#candidates };
    if (this.#heldOut) columns.heldOut = { shape: [N, S], data: this.#heldOut };
    if (this.contextWidth > 0) columns.context = { shape: [N, S, this.contextWidth], data: this.#context };
    return columns;
  }

  /** Where the arrays keep the transitions that are held out, or those that are not. */
  #rowsOf(part: 'learned' | 'heldOut'): Int32Array {
    const wanted = part === 'heldOut' ? 1 : 0;
    const rows: number[] = [];
    for (let lane = 0; lane < this.lanes; lane++) {
      for (let step = this.#firstOf(lane); step < (this.#counts[lane] as number); step++) {
        const at = this.#index(lane, step);
        if ((this.#heldOut?.[at] ?? 0) === wanted) rows.push(at);
      }
    }
    return Int32Array.from(rows);
  }

  /** @returns how many transitions of the lane are kept. */
  #stepsOf(lane: number): number {
    return (this.#counts[lane] as number) - this.#firstOf(lane);
  }

  #firstOf(lane: number): number {
    return this.#firsts[lane] as number;
  }

  /** @returns where the arrays keep a step of a lane. */
  #index(lane: number, step: number): number {
    return lane * this.stepsPerLane + (step % this.stepsPerLane);
  }

  /** Whether the transition at `later`, the next of its lane, starts where the one at `earlier` arrived. */
  #goesOn(earlier: number, later: number): boolean {
    return (
      this.#nextStarts[earlier] === this.#starts[later] &&
      this.#nextLengths[earlier] === this.#lengths[later] &&
      this.#contextsAgree(earlier, later)
    );
  }

  #contextsAgree(one: number, other: number): boolean {
    const C = this.contextWidth;
    for (let c = 0; c < C; c++) {
      if (!Object.is(this.#context[one * C + c], this.#context[other * C + c])) return false;
    }
    return true;
  }

  #gather(rows: Int32Array): TransitionColumns {
    const [B, K] = [rows.length, this.candidateCount];
    return {
      size: B,
      histories: this.#gatherHistories(rows, this.#starts, this.#lengths),
      actions: gatherIntegers(this.#actions, rows),
      rewards: gatherFloats(this.#rewards, rows),
      terminated: gatherFlags(this.#terminated, rows),
      truncated: gatherFlags(this.#truncated, rows),
      logProb: gatherFloats(this.#logProb, rows),
      pretrainedLogProb: gatherFloats(this.#pretrainedLogProb, rows),
      alpha: gatherFloats(this.#alpha, rows),
      candidates: gatherVectors(this.#candidates, K, rows, new Int32Array(B * K)),
      candidateCount: K,
      choices: gatherIntegers(this.#choices, rows),
    };
  }

  #gatherHistories(rows: Int32Array, starts: Float64Array, lengths: Int32Array): HistoryBatch {
    const [B, C, S] = [rows.length, this.contextWidth, this.stepsPerLane];
    const rowLengths = gatherIntegers(lengths, rows);
    let L = 0;
    for (let b = 0; b < B; b++) L = Math.max(L, rowLengths[b] as number);
    const items = new Int32Array(B * L).fill(-1);
    for (let b = 0; b < B; b++) {
      const at = rows[b] as number;
      this.#streams.copy(Math.floor(at / S), starts[at] as number, rowLengths[b] as number, items, b * L);
    }
    const batch = { size: B, length: L, items, lengths: rowLengths, contextWidth: C };
    if (C === 0) return batch;
    return { ...batch, context: gatherVectors(this.#context, C, rows, new Float32Array(B * C)) };
  }
}
