import type { CaseName, Contestant } from './cases.js';
import type { Ratio } from './compare.js';

/** Ratios wobble from run to run: a gate closes only this far below the floor that is wanted. */
const SLACK = 0.85;

/** How many times slower others are to be than this library, at least. */
const TIME_FLOORS: readonly (readonly [CaseName, Contestant, number])[] = [
  ['update-32-290', 'torchNaive', 2],
  ['update-128-5814', 'torchNaive', 1.2],
  ['update-128-18297', 'torchNaive', 1.1],
  ['update-128-100000', 'torchNaive', 1.05],
  ['trained-32-290', 'torchNaive', 1.5],
  ['trained-128-5814', 'torchNaive', 1.1],
  ['trained-128-18297', 'torchNaive', 1],
  ['trained-128-100000', 'torchNaive', 0.9],
  ['update-32-290', 'tfjs', 12],
  ['update-128-18297', 'tfjs', 25],
  ['top10-5814', 'torchNaive', 1],
  ['top10-18297', 'torchNaive', 1],
  ['top10-100000', 'torchNaive', 1],
  ['top10-5814', 'torchSameMaths', 1],
  ['top10-18297', 'torchSameMaths', 1],
  ['top10-100000', 'torchSameMaths', 1],
];

/** Peak memory of an update is to be at most this share of that of PyTorch as the paper writes it. */
const MEMORY_SHARE = 0.35;
/** Time is to grow with the items at most like this power of their number, above 10,000 items. */
const SLOPE = 1;

/**
 * What falls short; ratios only, for milliseconds depend on the machine.
 *
 * @param ratios - of all cases that ran.
 * @param slope - of our update's time above 10,000 items, where it was measured.
 * @returns a sentence for each shortfall.
 */
export function shortfalls(ratios: readonly Ratio[], slope: number | undefined): string[] {
  const found: string[] = [];
  for (const { case: name, against, time, memory } of ratios) {
    const floor = TIME_FLOORS.find(([of, contestant]) => of === name && contestant === against)?.[2];
    if (floor !== undefined && time < floor * SLACK) {
      found.push(`${name}: wanted ${against} to take ${floor} times our time, it takes ${time.toFixed(2)}`);
    }
    if (against === 'torchNaive' && !name.startsWith('top10') && memory < SLACK / MEMORY_SHARE) {
      found.push(
        `${name}: wanted at most ${MEMORY_SHARE} of the memory of ${against}, we take ${(1 / memory).toFixed(2)}`,
      );
    }
  }
  if (slope !== undefined && slope > SLOPE / SLACK) {
    found.push(`update: wanted time to grow with the items to the power ${SLOPE} at most, got ${slope.toFixed(2)}`);
  }
  return found;
}
