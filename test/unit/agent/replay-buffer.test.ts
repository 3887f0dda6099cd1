import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { TransitionColumns, TransitionStep } from '../../../src/agent/replay-buffer.js';
import { nextValuesOf, ReplayBuffer } from '../../../src/agent/replay-buffer.js';
import type { HistoryBatch } from '../../../src/compute/history-batch.js';
import { historyBatch } from '../../../src/compute/history-batch.js';
import { CheckpointError, InvalidArgumentError } from '../../../src/foundation/errors.js';
import { decodeNamedArrays, encodeNamedArrays } from '../../../src/foundation/named-arrays.js';
import { Rng } from '../../../src/foundation/rng.js';

/** A transition as anyone would write it down. */
interface Plain {
  readonly history: readonly number[];
  readonly next: readonly number[];
  readonly context: readonly number[];
  readonly action: number;
  readonly reward: number;
  readonly terminated: number;
  readonly truncated: number;
  readonly logProb: number;
  readonly pretrainedLogProb: number;
  readonly alpha: number;
  readonly candidates: readonly number[];
  readonly choice: number;
}

/** The naive buffer: a list of objects for each lane, each with a whole copy of both histories. */
class PlainBuffer {
  readonly lanes: Plain[][];
  constructor(
    lanes: number,
    readonly stepsPerLane: number,
  ) {
    this.lanes = Array.from({ length: lanes }, () => []);
  }
  add(lane: number, transition: Plain): void {
    const list = this.lanes[lane] as Plain[];
    list.push(transition);
    if (list.length > this.stepsPerLane) list.shift();
  }
  sample(n: number, rng: Rng): Plain[] {
    const all = this.lanes.flat();
    return Array.from({ length: n }, () => all[rng.integer(all.length)] as Plain);
  }
  rollout(T: number): Plain[] {
    return Array.from({ length: T }, (_, t) => this.lanes.map((list) => list[list.length - T + t] as Plain)).flat();
  }
}

function rowOf(batch: HistoryBatch, row: number): number[] {
  return [...batch.items.subarray(row * batch.length, row * batch.length + (batch.lengths[row] as number))];
}

function contextOf(batch: HistoryBatch, row: number): number[] {
  return [...(batch.context ?? []).slice(row * batch.contextWidth, (row + 1) * batch.contextWidth)];
}

function expectColumns(
  got: TransitionColumns,
  wanted: readonly Plain[],
  truncated = wanted.map((w) => w.truncated),
): void {
  const K = got.candidateCount;
  expect(got.size).toBe(wanted.length);
  wanted.forEach((plain, row) => {
    expect(rowOf(got.histories, row)).toEqual(plain.history);
    expect(contextOf(got.histories, row)).toEqual(plain.context);
    expect([...got.candidates.subarray(row * K, (row + 1) * K)]).toEqual(plain.candidates);
  });
  expect([...got.actions]).toEqual(wanted.map((w) => w.action));
  expect([...got.rewards]).toEqual(wanted.map((w) => w.reward));
  expect([...got.terminated]).toEqual(wanted.map((w) => w.terminated));
  expect([...got.truncated]).toEqual(truncated);
  expect([...got.logProb]).toEqual(wanted.map((w) => w.logProb));
  expect([...got.pretrainedLogProb]).toEqual(wanted.map((w) => w.pretrainedLogProb));
  expect([...got.alpha]).toEqual(wanted.map((w) => w.alpha));
  expect([...got.choices]).toEqual(wanted.map((w) => w.choice));
  for (const batch of [got.histories]) {
    for (let row = 0; row < batch.size; row++) {
      const rest = batch.items.subarray(row * batch.length + (batch.lengths[row] as number), (row + 1) * batch.length);
      expect(rest.every((item) => item === -1)).toBe(true);
    }
  }
}

/** Episodes in every lane, of all the kinds that environments make. Few items, so that histories coincide by chance. */
class Episodes {
  histories: number[][];
  contexts: number[][];
  readonly #rng: Rng;
  readonly #K: number;
  readonly #C: number;
  constructor(seed: number, lanes: number, K: number, C: number) {
    this.#rng = new Rng(seed);
    this.#K = K;
    this.#C = C;
    this.histories = [];
    this.contexts = [];
    for (let lane = 0; lane < lanes; lane++) this.reset(lane);
  }
  reset(lane: number): void {
    this.histories[lane] = Array.from({ length: this.#rng.integer(4) }, () => this.#rng.integer(3));
    this.contexts[lane] = Array.from({ length: this.#C }, () => this.#rng.integer(2));
  }
  /** One step of every lane; `wayward` lets the environment do other things than append. */
  step(wayward: boolean, some: boolean): { step: TransitionStep; plain: (Plain | undefined)[] } {
    const rng = this.#rng;
    const N = this.histories.length;
    const alpha = Math.fround(rng.uniform());
    const plain = this.histories.map((history, lane): Plain => {
      const action = rng.integer(3);
      const way = wayward ? rng.integer(4) : 0;
      const appended = [...history, action];
      const next = [appended, appended.slice(-3), history, [2, 2, ...appended]][way] as number[];
      const end = rng.uniform();
      return {
        history,
        next,
        context: this.contexts[lane] as number[],
        action,
        reward: Math.fround(rng.normal()),
        terminated: end < 0.15 ? 1 : 0,
        truncated: end > 0.1 && end < 0.3 ? 1 : 0,
        logProb: Math.fround(-rng.uniform()),
        pretrainedLogProb: Math.fround(-rng.uniform()),
        alpha,
        candidates: Array.from({ length: this.#K }, () => rng.integer(3)),
        choice: rng.integer(this.#K + 2) - 1,
      };
    });
    const rows = Uint8Array.from(plain, () => (some && rng.uniform() < 0.3 ? 0 : 1));
    const pack = (lists: number[][]): HistoryBatch =>
      historyBatch(lists, this.#C > 0 ? { context: this.contexts } : {});
    const step: TransitionStep = {
      histories: pack(this.histories),
      ...(wayward ? { nextHistories: pack(plain.map((p) => [...p.next])) } : {}),
      actions: Int32Array.from(plain, (p) => p.action),
      rewards: Float32Array.from(plain, (p) => p.reward),
      terminated: Uint8Array.from(plain, (p) => p.terminated),
      truncated: Uint8Array.from(plain, (p) => p.truncated),
      logProb: Float32Array.from(plain, (p) => p.logProb),
      pretrainedLogProb: Float32Array.from(plain, (p) => p.pretrainedLogProb),
      alpha,
      ...(this.#K > 0 ? { candidates: Int32Array.from(plain.flatMap((p) => [...p.candidates])) } : {}),
      choices: Int32Array.from(plain, (p) => p.choice),
      ...(some ? { rows } : {}),
    };
    for (let lane = 0; lane < N; lane++) {
      const { terminated, truncated, next } = plain[lane] as Plain;
      if (terminated || truncated || next.length > 12 || rng.uniform() < 0.03) this.reset(lane);
      else this.histories[lane] = [...next];
    }
    return { step, plain: plain.map((p, lane) => (rows[lane] === 0 ? undefined : p)) };
  }
}

/** Saves and loads through the file format. */
function reloaded(buffer: ReplayBuffer, fresh: ReplayBuffer): ReplayBuffer {
  const bytes = encodeNamedArrays(buffer.toNamedArrays());
  fresh.load(decodeNamedArrays(bytes, 'test').arrays, 'test');
  expect(encodeNamedArrays(fresh.toNamedArrays())).toEqual(bytes);
  return fresh;
}

describe('ReplayBuffer against a list of objects', () => {
  const shapes = fc.record({
    seed: fc.integer({ min: 0, max: 1e6 }),
    lanes: fc.integer({ min: 1, max: 4 }),
    stepsPerLane: fc.integer({ min: 1, max: 12 }),
    candidateCount: fc.integer({ min: 0, max: 3 }),
    contextWidth: fc.integer({ min: 0, max: 2 }),
    wayward: fc.boolean(),
    some: fc.boolean(),
    ops: fc.array(fc.constantFrom('add', 'add', 'add', 'add', 'sample', 'rollout', 'reload', 'clear'), {
      minLength: 40,
      maxLength: 120,
    }),
  });

  it('gives the same transitions after any operations', () => {
    let done = 0;
    fc.assert(
      fc.property(shapes, ({ seed, lanes, stepsPerLane, candidateCount, contextWidth, wayward, some, ops }) => {
        const options = { lanes, stepsPerLane, candidateCount, contextWidth };
        let buffer = new ReplayBuffer(options);
        const plain = new PlainBuffer(lanes, stepsPerLane);
        const episodes = new Episodes(seed, lanes, candidateCount, contextWidth);
        ops.forEach((op, i) => {
          done++;
          if (op === 'add') {
            const { step, plain: transitions } = episodes.step(wayward, some);
            buffer.add(step);
            transitions.forEach((transition, lane) => {
              if (transition !== undefined) plain.add(lane, transition);
            });
          } else if (op === 'clear' && i % 3 === 0) {
            buffer.clear();
            for (const list of plain.lanes) list.length = 0;
          } else if (op === 'reload') {
            buffer = reloaded(buffer, new ReplayBuffer(options));
          }
          const size = plain.lanes.flat().length;
          expect(buffer.size).toBe(size);
          expect(buffer.rolloutLength).toBe(Math.min(...plain.lanes.map((list) => list.length)));
          if (op === 'sample' && size > 0) {
            const batch = buffer.sample(9, new Rng(i));
            const wanted = plain.sample(9, new Rng(i));
            expectColumns(batch, wanted);
            wanted.forEach(({ next, context }, row) => {
              expect(rowOf(batch.nextHistories, row)).toEqual(next);
              expect(contextOf(batch.nextHistories, row)).toEqual(context);
            });
          }
          if (op === 'rollout' && buffer.rolloutLength > 0) {
            const T = 1 + (i % buffer.rolloutLength);
            const rollout = buffer.lastRollout(T);
            const wanted = plain.rollout(T);
            // A step also ends its stretch where the next one of its lane is not at the state it reached.
            const isCut = (row: number): boolean => {
              const [now, later] = [wanted[row] as Plain, wanted[row + lanes]];
              if (now.terminated || later === undefined) return false;
              const [reached, seen] = [
                [now.next, now.context],
                [later.history, later.context],
              ];
              return JSON.stringify(reached) !== JSON.stringify(seen);
            };
            const truncated = wanted.map((w, row) => (w.truncated || isCut(row) ? 1 : 0));
            expectColumns(rollout, wanted, truncated);
            const ends = wanted.flatMap((w, row) =>
              !w.terminated && (truncated[row] === 1 || row >= (T - 1) * lanes) ? [row] : [],
            );
            expect([...(rollout.bootstrap?.rows ?? [])]).toEqual(ends);
            ends.forEach((row, place) => {
              const { histories } = rollout.bootstrap as NonNullable<typeof rollout.bootstrap>;
              expect(rowOf(histories, place)).toEqual((wanted[row] as Plain).next);
            });
          }
        });
      }),
      { seed: 11, numRuns: 30 },
    );
    expect(done).toBeGreaterThan(1000);
  });

  it('with a cap on items keeps a suffix of it, intact, and stays within the cap', () => {
    const seeds = fc.tuple(fc.integer({ min: 0, max: 1e6 }), fc.integer({ min: 40, max: 60 }), fc.boolean());
    let evicted = 0;
    fc.assert(
      fc.property(seeds, ([seed, maxItemsPerLane, wayward]) => {
        let buffer = new ReplayBuffer({ lanes: 1, stepsPerLane: 40, maxItemsPerLane });
        const plain = new PlainBuffer(1, 40);
        const episodes = new Episodes(seed, 1, 0, 0);
        for (let i = 0; i < 150; i++) {
          const { step, plain: transitions } = episodes.step(wayward, false);
          buffer.add(step);
          plain.add(0, transitions[0] as Plain);
          const list = plain.lanes[0] as Plain[];
          expect(buffer.size).toBeGreaterThan(0);
          expect(buffer.size).toBeLessThanOrEqual(list.length);
          evicted += list.length - buffer.size;
          const rollout = buffer.lastRollout(buffer.size);
          const kept = list.slice(-buffer.size);
          kept.forEach((transition, row) => {
            expect(rowOf(rollout.histories, row)).toEqual(transition.history);
          });
          const batch = buffer.sample(5, new Rng(i));
          const rng = new Rng(i);
          for (let row = 0; row < 5; row++) {
            const wanted = kept[rng.integer(kept.length)] as Plain;
            expect(rowOf(batch.histories, row)).toEqual(wanted.history);
            expect(rowOf(batch.nextHistories, row)).toEqual(wanted.next);
          }
          expect(buffer.toNamedArrays().items?.shape[1]).toBeLessThanOrEqual(maxItemsPerLane);
          if (i % 37 === 0) {
            buffer = reloaded(buffer, new ReplayBuffer({ lanes: 1, stepsPerLane: 40, maxItemsPerLane }));
          }
        }
      }),
      { seed: 5, numRuns: 12 },
    );
    expect(evicted).toBeGreaterThan(0);
  });
});

/** A step of one lane whose history is given. */
function stepOf(
  history: number[],
  action: number,
  flags: { terminated?: number; truncated?: number } = {},
): TransitionStep {
  return {
    histories: historyBatch([history]),
    actions: Int32Array.of(action),
    rewards: Float32Array.of(action),
    terminated: Uint8Array.of(flags.terminated ?? 0),
    truncated: Uint8Array.of(flags.truncated ?? 0),
    logProb: Float32Array.of(-1),
  };
}

describe('ReplayBuffer', () => {
  it('fills in what a step leaves out', () => {
    const buffer = new ReplayBuffer({ lanes: 1, stepsPerLane: 4 });
    buffer.add(stepOf([], 7));
    const { pretrainedLogProb, alpha, choices, candidates, histories, nextHistories } = buffer.sample(1, new Rng(1));
    expect([...pretrainedLogProb, ...alpha, ...choices]).toEqual([0, 1, -1]);
    expect(candidates.length).toBe(0);
    expect(histories.lengths[0]).toBe(0);
    expect([...nextHistories.items]).toEqual([7]);
  });

  it('keeps about one item a step, not a history a step', () => {
    const buffer = new ReplayBuffer({ lanes: 1, stepsPerLane: 1000 });
    const history: number[] = [];
    for (let i = 0; i < 1000; i++) {
      buffer.add(stepOf(history, i));
      history.push(i);
    }
    expect(buffer.size).toBe(1000);
    expect(buffer.memoryBytes).toBeLessThan(80 * 1000);
    expect(rowOf(buffer.lastRollout(1).histories, 0)).toEqual(history.slice(0, 999));
    // A copy of each history would take 4 * (0 + 1 + ... + 999) bytes, two megabytes.
    const wrapped = buffer.memoryBytes;
    for (let i = 1000; i < 2500; i++) {
      buffer.add(stepOf(history, i % 7));
      history.push(i % 7);
      if (history.length > 1200) history.splice(0, history.length);
    }
    expect(buffer.size).toBe(1000);
    expect(buffer.memoryBytes).toBeLessThan(3 * wrapped);
  });

  it('samples every transition about equally often', () => {
    const buffer = new ReplayBuffer({ lanes: 2, stepsPerLane: 8 });
    for (let i = 0; i < 11; i++) {
      buffer.add({
        histories: historyBatch([[], []]),
        actions: Int32Array.of(i, 100 + i),
        rewards: new Float32Array(2),
        terminated: new Uint8Array(2),
        truncated: new Uint8Array(2),
        logProb: new Float32Array(2),
        ...(i > 4 ? { rows: Uint8Array.of(1, 0) } : {}),
      });
    }
    // Lane 0 holds steps 3..10, lane 1 steps 0..4: thirteen transitions.
    expect(buffer.size).toBe(13);
    const counts = new Map<number, number>();
    for (const action of buffer.sample(13_000, new Rng(2)).actions) counts.set(action, (counts.get(action) ?? 0) + 1);
    expect([...counts.keys()].sort((a, b) => a - b)).toEqual([3, 4, 5, 6, 7, 8, 9, 10, 100, 101, 102, 103, 104]);
    for (const count of counts.values()) expect(Math.abs(count - 1000)).toBeLessThan(5 * Math.sqrt(1000));
  });

  it('gives the next values of a rollout: the following row, the final state where cut off, nothing where terminated', () => {
    const buffer = new ReplayBuffer({ lanes: 1, stepsPerLane: 8 });
    buffer.add(stepOf([1], 2));
    buffer.add(stepOf([1, 2], 3, { truncated: 1 }));
    buffer.add(stepOf([5], 6, { terminated: 1 }));
    buffer.add(stepOf([8], 9));
    const rollout = buffer.lastRollout(4);
    const { rows, histories } = rollout.bootstrap as NonNullable<typeof rollout.bootstrap>;
    expect([...rows]).toEqual([1, 3]);
    expect([rowOf(histories, 0), rowOf(histories, 1)]).toEqual([
      [1, 2, 3],
      [8, 9],
    ]);
    const next = nextValuesOf(rollout, Float32Array.of(10, 20, 30, 40), Float32Array.of(100, 200));
    expect([...next]).toEqual([20, 100, 0, 200]);
    expect(() => nextValuesOf(rollout, Float32Array.of(10, 20, 30, 40))).toThrow(/`bootstrapValues` to be of length 2/);
  });

  it('treats a lane that was reset without a flag as cut off', () => {
    const buffer = new ReplayBuffer({ lanes: 1, stepsPerLane: 8 });
    buffer.add(stepOf([1], 2));
    buffer.add(stepOf([4], 5, { terminated: 1 }));
    const rollout = buffer.lastRollout(2);
    expect([...rollout.truncated]).toEqual([1, 0]);
    expect([...(rollout.bootstrap?.rows ?? [])]).toEqual([0]);
    // The stored flag stays what the environment said.
    expect([...(buffer.toNamedArrays().truncated?.data.slice(0, 2) ?? [])]).toEqual([0, 0]);
  });

  it('does not take another user with the same history for the same episode', () => {
    const buffer = new ReplayBuffer({ lanes: 1, stepsPerLane: 8, contextWidth: 1 });
    const add = (history: number[], user: number): void => {
      buffer.add({ ...stepOf(history, 2), histories: historyBatch([history], { context: [[user]] }) });
    };
    add([1], 0);
    add([1, 2], 0);
    add([1, 2, 2], 1);
    expect([...buffer.lastRollout(3).truncated]).toEqual([0, 1, 0]);
  });

  it('has no bootstrap where every lane terminated', () => {
    const buffer = new ReplayBuffer({ lanes: 1, stepsPerLane: 2 });
    buffer.add(stepOf([1], 2, { terminated: 1 }));
    const rollout = buffer.lastRollout(1);
    expect(rollout.bootstrap).toBeUndefined();
    expect([...nextValuesOf(rollout, Float32Array.of(3))]).toEqual([0]);
  });

  it('goes on bit for bit after a save and a load', () => {
    const options = { lanes: 3, stepsPerLane: 7, candidateCount: 2, contextWidth: 1 };
    const one = new ReplayBuffer(options);
    const episodes = new Episodes(9, 3, 2, 1);
    for (let i = 0; i < 20; i++) one.add(episodes.step(i % 2 === 0, false).step);
    const two = reloaded(one, new ReplayBuffer(options));
    for (let i = 0; i < 20; i++) {
      const { step } = episodes.step(i % 2 === 0, false);
      one.add(step);
      two.add(step);
    }
    expect(encodeNamedArrays(two.toNamedArrays())).toEqual(encodeNamedArrays(one.toNamedArrays()));
    expect(two.sample(50, new Rng(4))).toEqual(one.sample(50, new Rng(4)));
    expect(two.lastRollout(5)).toEqual(one.lastRollout(5));
  });

  it('refuses a checkpoint that does not fit, and is then unchanged', () => {
    const buffer = new ReplayBuffer({ lanes: 1, stepsPerLane: 4 });
    for (let i = 0; i < 6; i++) buffer.add(stepOf([i], i));
    const before = encodeNamedArrays(buffer.toNamedArrays());
    const { arrays } = decodeNamedArrays(before, 'test');
    const { actions: _, ...missing } = arrays;
    const changed = (name: string, index: number, value: number): typeof arrays => {
      const array = arrays[name] as (typeof arrays)[string];
      const data = array.data.slice();
      data[index] = value;
      return { ...arrays, [name]: { ...array, data } };
    };
    const wrong: [string, typeof arrays][] = [
      ['missing', missing],
      ['shape', new ReplayBuffer({ lanes: 1, stepsPerLane: 5 }).toNamedArrays()],
      ['kind', { ...arrays, rewards: { shape: [1, 4], data: new Float64Array(4) } }],
      ['rank', { ...arrays, rewards: { shape: [4], data: new Float32Array(4) } }],
      ['room', { ...arrays, items: { shape: [1, 0], data: new Int32Array(0) } }],
      ['first past count', changed('firsts', 0, 7)],
      ['more than fits', changed('firsts', 0, 1)],
      ['fraction', changed('heads', 0, 2.5)],
      ['not a number', changed('counts', 0, Number.NaN)],
      ['start before the ring', changed('heads', 0, 1e6)],
      ['end past the head', changed('lengths', 3, 1000)],
      ['negative length', changed('nextLengths', 3, -1)],
      ['order', changed('starts', 3, 1e5)],
    ];
    for (const [what, arrays] of wrong) {
      expect(() => buffer.load(arrays, 'run/buffer'), what).toThrow(CheckpointError);
      expect(() => buffer.load(arrays, 'run/buffer'), what).toThrow(/^run\/buffer: /);
      expect(encodeNamedArrays(buffer.toNamedArrays())).toEqual(before);
    }
    buffer.load(arrays, 'run/buffer');
  });

  it('refuses a bad step whole, naming what is wrong', () => {
    const buffer = new ReplayBuffer({
      lanes: 2,
      stepsPerLane: 4,
      candidateCount: 2,
      contextWidth: 1,
      maxItemsPerLane: 6,
    });
    const good: TransitionStep = {
      histories: historyBatch([[1], [2]], { context: [[0], [1]] }),
      actions: Int32Array.of(1, 2),
      rewards: Float32Array.of(1, 2),
      terminated: new Uint8Array(2),
      truncated: new Uint8Array(2),
      logProb: Float32Array.of(-1, -1),
      candidates: Int32Array.of(1, 2, 3, 4),
    };
    const wrong: [RegExp, Partial<TransitionStep>][] = [
      [/histories\.size/, { histories: historyBatch([[1]], { context: [[0]] }) }],
      [/contextWidth/, { histories: historyBatch([[1], [2]]) }],
      [/`actions` to be of length 2, got 1/, { actions: Int32Array.of(1) }],
      [/`rewards`/, { rewards: new Float32Array(3) }],
      [/`terminated`/, { terminated: new Uint8Array(1) }],
      [/`truncated`/, { truncated: new Uint8Array(1) }],
      [/`logProb`/, { logProb: new Float32Array(1) }],
      [/`pretrainedLogProb`/, { pretrainedLogProb: new Float32Array(1) }],
      [/`candidates` to be of length 4, got 2/, { candidates: Int32Array.of(1, 2) }],
      [/`choices\[1\]` to be -1 to 2, got 3/, { choices: Int32Array.of(0, 3) }],
      [/`alpha`/, { alpha: 1.5 }],
      [/`rows`/, { rows: new Uint8Array(1) }],
      [/histories\.lengths\[0\]/, { histories: { ...good.histories, lengths: Int32Array.of(9, 1) } }],
      [/maxItemsPerLane/, { histories: historyBatch([[1, 2, 3, 4, 5, 6], [2]], { context: [[0], [1]] }) }],
      [/nextHistories\.size/, { nextHistories: historyBatch([[1]]) }],
    ];
    for (const [message, change] of wrong) {
      expect(() => buffer.add({ ...good, ...change })).toThrow(message);
      expect(() => buffer.add({ ...good, ...change })).toThrow(InvalidArgumentError);
    }
    expect(buffer.size).toBe(0);
    buffer.add(good);
    expect(buffer.size).toBe(2);
  });

  it('refuses what it cannot give', () => {
    const buffer = new ReplayBuffer({ lanes: 1, stepsPerLane: 2 });
    expect(() => buffer.sample(1, new Rng(1))).toThrow(InvalidArgumentError);
    buffer.add(stepOf([1], 2));
    expect(() => buffer.sample(0, new Rng(1))).toThrow(InvalidArgumentError);
    expect(() => buffer.lastRollout(2)).toThrow(/from 1 to 1/);
    expect(() => buffer.lastRollout(0)).toThrow(InvalidArgumentError);
    expect(() => new ReplayBuffer({ lanes: 0, stepsPerLane: 1 })).toThrow(InvalidArgumentError);
    expect(buffer.capacity).toBe(2);
  });
});

describe('transitions held out', () => {
  const add = (buffer: ReplayBuffer, step: number, heldOut?: Uint8Array): void =>
    buffer.add({
      histories: historyBatch([[step], [step]]),
      actions: Int32Array.of(2 * step, 2 * step + 1),
      rewards: new Float32Array(2),
      terminated: new Uint8Array(2),
      truncated: Uint8Array.of(1, 1),
      logProb: new Float32Array(2),
      ...(heldOut ? { heldOut } : {}),
    });
  const actionsOf = (batches: readonly TransitionColumns[]) =>
    batches.flatMap(({ actions }) => [...actions]).toSorted((a, b) => a - b);

  it('are never sampled, are given apart, and come through a checkpoint', () => {
    const buffer = new ReplayBuffer({ lanes: 2, stepsPerLane: 8, holdsOut: true });
    for (let step = 0; step < 8; step++) add(buffer, step, Uint8Array.of(step % 2, step === 5 ? 1 : 0));
    const held = [2, 6, 10, 11, 14];
    const others = Array.from({ length: 16 }, (_, i) => i).filter((i) => !held.includes(i));
    const copy = new ReplayBuffer({ lanes: 2, stepsPerLane: 8, holdsOut: true });
    copy.load(decodeNamedArrays(encodeNamedArrays(buffer.toNamedArrays(), {}), 'test').arrays, 'test');
    for (const one of [buffer, copy]) {
      expect(actionsOf(one.all('heldOut', 2))).toEqual(held);
      expect(one.all('heldOut', 2).map(({ size }) => size)).toEqual([2, 2, 1]);
      expect(actionsOf(one.all('learned', 100))).toEqual(others);
      expect(new Set(one.sample(500, new Rng(1)).actions)).toEqual(new Set(others));
    }
  });

  it('leave nothing to sample where all are, and are refused where the buffer holds none out', () => {
    const buffer = new ReplayBuffer({ lanes: 2, stepsPerLane: 2, holdsOut: true });
    add(buffer, 0, Uint8Array.of(1, 1));
    expect(() => buffer.sample(1, new Rng(1))).toThrow(InvalidArgumentError);
    const plain = new ReplayBuffer({ lanes: 2, stepsPerLane: 2 });
    expect(() => add(plain, 0, Uint8Array.of(0, 1))).toThrow(InvalidArgumentError);
    add(plain, 0);
    expect(plain.all('heldOut', 4)).toEqual([]);
    expect(actionsOf(plain.all('learned', 4))).toEqual([0, 1]);
  });
});
