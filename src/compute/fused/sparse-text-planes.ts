import type { HistoryBatch } from '../history-batch.js';
import type { HistoryFeatureForm, SparseText } from '../history-features.js';
import { SparseCosines, type TermRows } from '../sparse-cosines.js';
import { CosineRows, type CosineSource } from './cosine-rows.js';
import type { Engine } from './engine.js';

/** `text:last`, `text:recent`, `text:max`. */
const PLANES = 3;

/** The text planes of listed items, `[3, R * width]`; 0 for None and for rows without a history. */
export type ListPlanes = readonly [last: Float32Array, recent: Float32Array, max: Float32Array];

/**
 * Text planes of sparse rows. The host makes the cosines: what two texts share is a handful of terms, too few for the engine to be
 * worth its while. Rows of cosines to all items are shared by all kernels that read the same rows.
 */
export class SparseTextPlanes implements CosineSource {
  readonly #engine: Engine;
  readonly #text: SparseText;
  readonly #cosines: SparseCosines;
  readonly #shared: SharedRows;
  readonly #itemCount: number;
  readonly #form: HistoryFeatureForm;

  /**
   * @param engine - gets rows of cosines to all items.
   * @param text - the sparse rows; borrowed.
   * @param form - decay, and how many items count.
   * @param itemCount - number of items A.
   */
  constructor(engine: Engine, text: SparseText, form: HistoryFeatureForm, itemCount: number) {
    this.#engine = engine;
    this.#text = text;
    this.#cosines = SparseCosines.of(text.rows);
    const ofEngine = sharedRows.get(engine) ?? new Map<TermRows, SharedRows>();
    sharedRows.set(engine, ofEngine);
    this.#shared = ofEngine.get(text.rows) ?? { rows: new CosineRows(engine, itemCount), users: 0 };
    ofEngine.set(text.rows, this.#shared);
    this.#shared.users++;
    this.#form = form;
    this.#itemCount = itemCount;
  }

  /** See {@link CosineSource.capacity}. */
  get capacity(): number {
    return this.#shared.rows.capacity;
  }

  /** See {@link CosineSource.cosines}; what is new is made at once. */
  cosines(item: number): number {
    return this.#shared.rows.row(item, (pointer) => {
      this.#cosines.fill(item, this.#engine.f32(pointer, this.#itemCount));
    });
  }

  /** The planes of the items listed for each row of a batch, `[R, width]`. */
  ofList(batch: HistoryBatch, items: Int32Array, width: number): ListPlanes {
    const planes = Array.from({ length: PLANES }, () => new Float32Array(items.length)) as unknown as ListPlanes;
    const [last, recent, max] = planes;
    const { decay, recent: most } = this.#form;
    for (let row = 0; row < batch.size; row++) {
      const length = batch.lengths[row] as number;
      const count = Math.min(most, length);
      if (count === 0) continue;
      const newest = row * batch.length + length - 1;
      let total = 0;
      for (let age = 0; age < count; age++) total += decay ** age;
      for (let at = row * width; at < (row + 1) * width; at++) {
        const item = items[at] as number;
        if (item >= this.#itemCount) continue;
        let best = -1;
        let mean = 0;
        let weight = 1 / total;
        for (let age = 0; age < count; age++) {
          const cosine = this.#cosines.between(item, batch.items[newest - age] as number);
          if (age === 0) last[at] = cosine;
          mean += weight * cosine;
          best = Math.max(best, cosine);
          weight *= decay;
        }
        recent[at] = mean;
        max[at] = best;
      }
    }
    return planes;
  }

  /** Gives the rows back; the last user's call frees them. */
  dispose(): void {
    this.#shared.users--;
    if (this.#shared.users > 0) return;
    this.#shared.rows.dispose();
    sharedRows.get(this.#engine)?.delete(this.#text.rows);
  }
}

interface SharedRows {
  readonly rows: CosineRows;
  /** How many have them. */
  users: number;
}

const sharedRows = new WeakMap<Engine, Map<TermRows, SharedRows>>();
