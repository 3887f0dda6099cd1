import type { HistoryBatch } from './history-batch.js';
import type { TermRows } from './sparse-cosines.js';

/** Text features as dense rows. */
export interface DenseText {
  /** The features, `[A, width]`. */
  readonly matrix: Float32Array;
  /** Width of a row. */
  readonly width: number;
}

/** Text features as sparse rows. */
export interface SparseText {
  /** The rows of all items. */
  readonly rows: TermRows;
}

/**
 * What the planes of `historyFeatures()` are made of, so that kernels can compute them item by item without arrays over
 * all items. The planes come in this order: `repeats` planes, then two for each attribute (last, recent), then three of
 * text (last, recent, max), then the item prior, as `historyFeatures()` documents them.
 */
export interface HistoryFeatureForm {
  /** Number of planes "was shown j steps ago", j = 1..repeats; may be 0. */
  readonly repeats: number;
  /** For each attribute the value of every item as a code `[A]`; -1 where an item has none. Borrowed, never changed. */
  readonly attributes: readonly Int32Array[];
  /**
   * What the cosines of the text planes are products of: dense features `[A, width]`, row-major, or sparse rows. Borrowed, never changed.
   * Absent without text planes.
   */
  readonly text?: DenseText | SparseText;
  /** A number for every item `[A]`, the same for every history: the last plane. Borrowed, never changed. Absent without one. */
  readonly prior?: Float32Array;
  /** Weight of an item relative to the next newer one in the recency-weighted planes, in (0, 1]. */
  readonly decay: number;
  /** The attribute and text planes look at so many last items. */
  readonly recent: number;
}

/**
 * Planes phi_f(history, item): numbers that relate a history to every item, or are the item's own, each with one learned weight that starts at
 * 0 in each head (`actor/history`, `critic/history`). They are data; nothing flows through them. `historyFeatures()` in
 * `encoder/` makes the usual ones (was shown j steps ago, same attribute as the last item, text cosine).
 */
export interface HistoryFeatures {
  /** One name for each of the F planes. */
  readonly names: readonly string[];
  /**
   * The same planes as a description, for kernels that compute them themselves; it must say exactly what
   * {@link HistoryFeatures.planes} gives. Planes of one's own have none: kernels then ask for the arrays.
   */
  readonly form?: HistoryFeatureForm;
  /**
   * Computes all planes of a batch from the whole histories (not only the encoder's window).
   *
   * @returns `[F, B * A]`, row-major: the value of plane f for row b and item a is at `(f * B + b) * A + a`. The array
   * belongs to the caller.
   */
  planes(batch: HistoryBatch): Float32Array;
}
