import type { HistoryBatch } from '../history-batch.js';
import type { HistoryFeatureForm } from '../history-features.js';
import type { CosineSource, NewCosines } from './cosine-rows.js';
import type { Engine } from './engine.js';
import { EngineBuffers } from './engine-buffers.js';
import { HeadField, HeadOp, PlaneJob, TILE } from './head-layout.js';
import type { HeadStruct } from './head-struct.js';

/** Planes of histories that no batch needs now are kept up to so much memory. */
const KEPT_BYTES = 32 * 2 ** 20;
/** `text:last`, `text:recent`, `text:max`. */
const PLANES = 3;

/** A history whose planes are kept. */
interface Kept {
  /** Its last items that count, oldest first. */
  readonly items: Int32Array;
  /** Pointer to its planes. */
  readonly pointer: number;
  /** The call that last asked for it. */
  call: number;
  /** How many have it among the rows they were last given: as long as someone has, it stays. */
  holders: number;
  /** Whether another history of the same hash has taken its place. */
  isDisplaced: boolean;
}

/** Planes to be made: of which history, and of which history before it, if that is there. */
interface Made {
  readonly kept: Kept;
  readonly parent: Kept | undefined;
}

/**
 * The text planes of histories over all items, in engine memory: for a history `[tiles, 3, TILE]` floats. Training comes back
 * to a history as often as it has passes over its rollouts, and an environment to a history and one item more: planes are
 * kept by the items they are made of, and made from those of the history before where these are there. What is asked
 * for again has the same bits as what is made anew.
 */
export class TextPlanes {
  readonly #engine: Engine;
  readonly #cosines: CosineSource;
  readonly #buffers: EngineBuffers;
  readonly #recent: number;
  readonly #bytes: number;
  readonly #rates: number;
  /** By hash, least recently asked for first. */
  readonly #kept = new Map<number, Kept>();
  /** Planes without a history. */
  readonly #free: number[] = [];
  /** What each asker was given last. */
  readonly #held = new Map<string, Kept[]>();
  readonly #nothing: number;
  #call = 0;

  /**
   * @param engine - where they are.
   * @param cosines - what they are made of; borrowed.
   * @param form - decay, and how many items count.
   * @param itemCount - number of items A.
   */
  constructor(engine: Engine, cosines: CosineSource, { decay, recent }: HistoryFeatureForm, itemCount: number) {
    this.#engine = engine;
    this.#cosines = cosines;
    this.#buffers = new EngineBuffers(engine);
    this.#recent = recent;
    this.#bytes = Math.ceil(itemCount / TILE) * PLANES * TILE * 4;
    this.#nothing = this.#buffers.reserve('nothing', this.#bytes);
    engine.f32(this.#nothing, this.#bytes / 4).fill(0);
    this.#rates = this.#buffers.reserve('rates', (recent + 1) * 8);
    const rates = engine.f32(this.#rates, (recent + 1) * 2).fill(0);
    for (let n = 1, total = 0; n <= recent; n++) {
      const before = total * decay;
      total = 1 + before;
      rates[2 * n] = 1 / total;
      rates[2 * n + 1] = before / total;
    }
  }

  /**
   * Pointers to the planes of a batch's histories, made where they are not there; of columns past the last row and of empty
   * histories to planes of zeros. Good until the same asker's next call, whatever others ask for in between.
   *
   * @param asker - who asks: a head and its use.
   * @param batch - whole histories.
   * @param stride - how many pointers, at least the batch's rows.
   * @param struct - a structure with sizes, features and TextItems set; it is run.
   */
  rows(asker: string, batch: HistoryBatch, stride: number, struct: HeadStruct): Int32Array {
    this.#call++;
    this.#release(asker);
    const held: Kept[] = [];
    this.#held.set(asker, held);
    const rows = new Int32Array(stride).fill(this.#nothing);
    const made: Made[] = [];
    for (let row = 0; row < batch.size; row++) {
      const length = batch.lengths[row] as number;
      if (length === 0) continue;
      const end = row * batch.length + length;
      const first = end - Math.min(this.#recent, length);
      const hashBefore = hashOf(batch.items, first, end - 1);
      const hash = nextHash(hashBefore, batch.items[end - 1] as number);
      let kept = this.#find(hash, batch.items, first, end, held);
      if (kept === undefined) {
        const parent = this.#find(hashBefore, batch.items, first, end - 1, held);
        const items = batch.items.slice(first, end);
        kept = { items, pointer: this.#take(), call: this.#call, holders: 1, isDisplaced: false };
        held.push(kept);
        this.#displace(hash);
        this.#kept.set(hash, kept);
        made.push({ kept, parent });
      }
      rows[row] = kept.pointer;
    }
    this.#make(made, struct);
    return rows;
  }

  /** Frees all. */
  dispose(): void {
    for (const asker of this.#held.keys()) this.#release(asker);
    for (const { pointer } of this.#kept.values()) this.#engine.free(pointer);
    for (const pointer of this.#free) this.#engine.free(pointer);
    this.#kept.clear();
    this.#free.length = 0;
    this.#buffers.dispose();
  }

  /** What an asker was given may go. */
  #release(asker: string): void {
    for (const kept of this.#held.get(asker) ?? []) {
      kept.holders--;
      if (kept.isDisplaced && kept.holders === 0) this.#free.push(kept.pointer);
    }
    this.#held.delete(asker);
  }

  /** Another history of the same hash has to make room. */
  #displace(hash: number): void {
    const kept = this.#kept.get(hash);
    if (kept === undefined) return;
    this.#kept.delete(hash);
    kept.isDisplaced = true;
    if (kept.holders === 0) this.#free.push(kept.pointer);
  }

  /** Of the history of items `first` to `end - 1`. */
  #find(hash: number, items: Int32Array, first: number, end: number, held: Kept[]): Kept | undefined {
    const kept = this.#kept.get(hash);
    if (kept === undefined || !isSame(kept.items, items, first, end)) return undefined;
    if (kept.call !== this.#call) {
      kept.call = this.#call;
      kept.holders++;
      held.push(kept);
      this.#kept.delete(hash);
      this.#kept.set(hash, kept);
    }
    return kept;
  }

  /** Room for a history's planes: what is free, or what nobody has and was not asked for longest, or new. */
  #take(): number {
    const free = this.#free.pop();
    if (free !== undefined) return free;
    if (this.#kept.size * this.#bytes >= KEPT_BYTES) {
      for (const [hash, { pointer, holders }] of this.#kept) {
        if (holders > 0) continue;
        this.#kept.delete(hash);
        return pointer;
      }
    }
    return this.#engine.allocate(this.#bytes);
  }

  /** Makes planes, as many at a time as have their cosines in memory together. */
  #make(made: readonly Made[], struct: HeadStruct): void {
    const words = PlaneJob.Count + this.#recent;
    const jobs = new Int32Array(made.length * words);
    const cosines = new Set<number>();
    for (let first = 0; first < made.length; ) {
      const toMake: NewCosines[] = [];
      cosines.clear();
      let last = first;
      for (; last < made.length; last++) {
        const { kept, parent } = made[last] as Made;
        const { items } = kept;
        const needed = parent === undefined ? items : items.subarray(-1);
        // Any of them may be new: only near the limit would it be worth to count exactly.
        if (last > first && cosines.size + needed.length > this.#cosines.capacity) break;
        const job = jobs.subarray((last - first) * words, (last - first + 1) * words);
        job[PlaneJob.Planes] = kept.pointer;
        job[PlaneJob.Parent] = parent?.pointer ?? 0;
        job[PlaneJob.Items] = items.length;
        for (const [j, item] of needed.entries()) {
          cosines.add(item);
          job[PlaneJob.Count + j] = this.#cosines.cosines(item, toMake);
        }
      }
      this.#makeCosines(toMake, struct);
      const jobsAt = this.#buffers.reserve('jobs', jobs.length * 4);
      this.#engine.i32(jobsAt, jobs.length).set(jobs);
      struct.set(HeadField.PlaneJobs, jobsAt);
      struct.set(HeadField.PlaneJobCount, last - first);
      struct.set(HeadField.PlaneRates, this.#rates);
      struct.run(HeadOp.TextPlanes, struct.get(HeadField.Chunks));
      first = last;
    }
  }

  #makeCosines(toMake: readonly NewCosines[], struct: HeadStruct): void {
    if (toMake.length === 0) return;
    const wantedAt = this.#buffers.reserve('newCosines', toMake.length * 8);
    const wanted = this.#engine.i32(wantedAt, toMake.length * 2);
    for (const [i, { item, pointer }] of toMake.entries()) {
      wanted[2 * i] = item;
      wanted[2 * i + 1] = pointer;
    }
    struct.set(HeadField.CosineItems, wantedAt);
    struct.set(HeadField.NewCosines, toMake.length);
    struct.run(HeadOp.Cosines, struct.get(HeadField.Chunks));
  }
}

/** Where the hash of no items begins (FNV's basis), and what it is multiplied by (2^32 over the golden ratio). */
const BASIS = 0x811c9dc5;
const FACTOR = 0x9e3779b1;

/** The hash of items that are followed by one more. */
function nextHash(hash: number, item: number): number {
  const mixed = Math.imul(hash ^ item, FACTOR);
  return mixed ^ (mixed >>> 15);
}

/** The hash that the planes of items `first` to `end - 1` are found by. */
export function hashOf(items: Int32Array, first: number, end: number): number {
  let hash = BASIS;
  for (let i = first; i < end; i++) hash = nextHash(hash, items[i] as number);
  return hash;
}

function isSame(kept: Int32Array, items: Int32Array, first: number, end: number): boolean {
  if (kept.length !== end - first) return false;
  for (let i = first; i < end; i++) if (kept[i - first] !== items[i]) return false;
  return true;
}
