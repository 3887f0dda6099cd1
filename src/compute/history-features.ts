import type { HistoryBatch } from './history-batch.js';

/**
 * Planes phi_f(history, item): numbers that relate a history to every item, each with one learned weight that starts at
 * 0 in each head (`actor/history`, `critic/history`). They are data; nothing flows through them. `historyFeatures()` in
 * `encoder/` makes the usual ones (was shown j steps ago, same attribute as the last item, text cosine).
 */
export interface HistoryFeatures {
  /** One name for each of the F planes. */
  readonly names: readonly string[];
  /**
   * Computes all planes of a batch from the whole histories (not only the encoder's window).
   *
   * @returns `[F, B * A]`, row-major: the value of plane f for row b and item a is at `(f * B + b) * A + a`. The array
   * belongs to the caller.
   */
  planes(batch: HistoryBatch): Float32Array;
}
