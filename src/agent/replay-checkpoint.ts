/** What a saved replay buffer must satisfy before any of it is taken over. */
import { CheckpointError } from '../foundation/errors.js';
import type { NamedArray, NamedArrays } from '../foundation/named-arrays.js';
import { describeValue } from '../foundation/options.js';

/** The buffer that is to be loaded. */
export interface ReplayShape {
  /** N. */
  readonly lanes: number;
  /** Transitions kept for each lane. */
  readonly stepsPerLane: number;
  /** Most history items kept for each lane. */
  readonly maxItems: number;
}

/**
 * Checks saved arrays against those of the buffer: names, kinds and shapes (the rings of items may have another width),
 * and that the counters make sense, without which the rings would be read at random.
 *
 * @param arrays - What was saved.
 * @param own - The buffer's own arrays.
 * @returns the width of the saved rings.
 * @throws {CheckpointError} naming the source and the first array that does not fit.
 */
export function checkReplayArrays(arrays: NamedArrays, own: NamedArrays, shape: ReplayShape, source: string): number {
  const given: unknown = arrays?.items?.shape?.[1] ?? 0;
  const room = typeof given === 'number' ? given : 0;
  if (!(Number.isInteger(room) && room >= 1 && room <= shape.maxItems)) {
    throw new CheckpointError(
      `${source}: expected \`items\` of a replay buffer to have 1 to ${shape.maxItems} columns, got ${describeValue(given)}`,
      { source },
    );
  }
  for (const [name, { shape: ownShape, data }] of Object.entries(own)) {
    const wanted = name === 'items' ? [shape.lanes, room] : ownShape;
    const array = arrays[name];
    const fits =
      array?.data?.constructor === data.constructor &&
      Array.isArray(array.shape) &&
      array.data.length === wanted.reduce((product, size) => product * size, 1) &&
      array.shape.length === wanted.length &&
      array.shape.every((size, i) => size === wanted[i]);
    if (fits) continue;
    const got = array === undefined ? 'none' : `${describeValue(array?.data)} ${describeValue(array?.shape)}`;
    throw new CheckpointError(
      `${source}: expected \`${name}\` of a replay buffer to be a ${data.constructor.name} [${wanted}], got ${got}`,
      { source },
    );
  }
  const columnsOf = (name: string): NamedArray['data'] => (arrays[name] as NamedArray).data;
  const columns = {
    counts: columnsOf('counts'),
    firsts: columnsOf('firsts'),
    heads: columnsOf('heads'),
    starts: columnsOf('starts'),
    lengths: columnsOf('lengths'),
    nextStarts: columnsOf('nextStarts'),
    nextLengths: columnsOf('nextLengths'),
  };
  for (let lane = 0; lane < shape.lanes; lane++) {
    if (isSound(columns, lane, shape.stepsPerLane, room)) continue;
    throw new CheckpointError(`${source}: the counters of lane ${lane} of the replay buffer contradict each other`, {
      source,
    });
  }
  return room;
}

type Counters = Readonly<
  Record<'counts' | 'firsts' | 'heads' | 'starts' | 'lengths' | 'nextStarts' | 'nextLengths', NamedArray['data']>
>;

/** Whether a lane's transitions all lie within its ring, in order. */
function isSound(columns: Counters, lane: number, stepsPerLane: number, room: number): boolean {
  const [count, first, head] = [columns.counts[lane], columns.firsts[lane], columns.heads[lane]];
  if (!isCounter(count) || !isCounter(first) || !isCounter(head)) return false;
  if (first > count || count - first > stepsPerLane) return false;
  let previous = Math.max(0, head - room);
  for (let step = first; step < count; step++) {
    const at = lane * stepsPerLane + (step % stepsPerLane);
    const [start, nextStart] = [columns.starts[at], columns.nextStarts[at]];
    const [length, nextLength] = [columns.lengths[at], columns.nextLengths[at]];
    if (!isCounter(start) || !isCounter(nextStart) || !isCounter(length) || !isCounter(nextLength)) return false;
    if (start < previous || nextStart < start) return false;
    if (start + length > head || nextStart + nextLength > head) return false;
    previous = start;
  }
  return true;
}

function isCounter(value: number | undefined): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}
