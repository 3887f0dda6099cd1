import { historyBatch } from '../src/compute/history-batch.js';
import type { Kernels } from '../src/compute/kernels.js';
import type { Adam } from '../src/compute/optimiser.js';
import { LENGTH } from './case-data.js';

const ROWS = 128;

/**
 * One update in which every item is in a history and, with a critic over items, scored: as late in a long run, every row
 * of the tables has moments from here on, so that Adam has none to pass over.
 */
export function touchEveryRow(kernels: Kernels, adam: Adam): void {
  const { itemCount, critic } = kernels.spec;
  const perPass = ROWS * LENGTH;
  for (let first = 0; first < itemCount; first += perPass) {
    const items = Int32Array.from({ length: perPass }, (_, i) => (first + i) % itemCount);
    const histories = historyBatch(
      Array.from({ length: ROWS }, (_, row) => items.subarray(row * LENGTH, (row + 1) * LENGTH)),
    );
    const slopes = (count: number): Float32Array => new Float32Array(count).fill(1e-6);
    if (critic === 'action') {
      kernels.forward(histories, { scoresOf: { head: 'critic', items, width: LENGTH } });
      kernels.backward({ scores: slopes(perPass) });
    } else {
      kernels.forward(histories, { value: true });
      kernels.backward({ value: slopes(ROWS) });
    }
  }
  kernels.step(adam);
}
