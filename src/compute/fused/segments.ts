import type { Window } from '../scoring-call.js';

/** In a token's place for an item: the start vector, of which an empty history consists. */
export const START = -1;
/** Rows a chunk, where there are few. */
const CHUNK_ROWS = 4;
/** Most chunks that the rows are cut into: enough for many threads, few enough for their parts of the gradients. */
const MOST_CHUNKS = 16;

/**
 * Histories without padding. Segment b, for b < B, is row b's history; segment B + b, where there are next histories,
 * what follows. Its state is that of its last token, and all tokens of one segment are neighbours.
 *
 * Where a next history is the history and one item more, and attention sees the same in both, the segment is that one
 * item alone, and goes on from the tokens of the history: one causal pass for both.
 */
export interface Segments {
  /** Number of rows B. */
  readonly rows: number;
  /** Number of segments S: B or 2B. */
  readonly count: number;
  /** Item of each token `[N]`; {@link START} for the start vector. */
  readonly tokenItem: Int32Array;
  /** Position of each token `[N]`. */
  readonly tokenPosition: Int32Array;
  /** First token of each segment, and the number of tokens N at the end, `[S + 1]`. */
  readonly start: Int32Array;
  /** First token of what a segment goes on from `[S]`. */
  readonly prefixStart: Int32Array;
  /** Number of tokens of what a segment goes on from `[S]`; 0 for most. */
  readonly prefixLength: Int32Array;
  /** Most tokens of a segment. */
  readonly mostTokens: number;
  /** Most tokens that one token sees. */
  readonly mostKeys: number;
}

/**
 * Cuts windows into segments.
 *
 * @param window - the last items of each history.
 * @param next - those of the next histories, row for row, where they are wanted too.
 * @param canShare - whether one causal pass may serve both: not where dropout changes the histories alone.
 */
export function segmentsOf(window: Window, next: Window | undefined, canShare: boolean): Segments {
  const rows = window.lengths.length;
  const count = next === undefined ? rows : 2 * rows;
  const start = new Int32Array(count + 1);
  const prefixStart = new Int32Array(count);
  const prefixLength = new Int32Array(count);
  for (let row = 0; row < rows; row++) {
    start[row + 1] = (start[row] as number) + Math.max(1, window.lengths[row] as number);
  }
  if (next !== undefined) {
    for (let row = 0; row < rows; row++) {
      const segment = rows + row;
      let tokens = Math.max(1, next.lengths[row] as number);
      if (canShare && isExtension(window, next, row)) {
        prefixStart[segment] = start[row] as number;
        prefixLength[segment] = tokens - 1;
        tokens = 1;
      }
      start[segment + 1] = (start[segment] as number) + tokens;
    }
  }
  const tokens = start[count] as number;
  const tokenItem = new Int32Array(tokens);
  const tokenPosition = new Int32Array(tokens);
  let mostTokens = 1;
  let mostKeys = 1;
  for (let segment = 0; segment < count; segment++) {
    const isNext = segment >= rows;
    const first = start[segment] as number;
    const own = (start[segment + 1] as number) - first;
    const before = prefixLength[segment] as number;
    if (own > mostTokens) mostTokens = own;
    if (own + before > mostKeys) mostKeys = own + before;
    const { length, items, lengths } = isNext ? (next as Window) : window;
    const row = isNext ? segment - rows : segment;
    if (lengths[row] === 0) {
      tokenItem[first] = START;
      continue;
    }
    const from = row * length;
    for (let position = before; position < before + own; position++) {
      tokenItem[first + position - before] = items[from + position] as number;
      tokenPosition[first + position - before] = position;
    }
  }
  return { rows, count, tokenItem, tokenPosition, start, prefixStart, prefixLength, mostTokens, mostKeys };
}

/**
 * Whether the row's next history is its history and one item more. The window slides where the history was full, and
 * positions with it; an empty history is the start vector, which the next one does not begin with.
 */
function isExtension(window: Window, next: Window, row: number): boolean {
  const length = window.lengths[row] as number;
  if (length === 0 || next.lengths[row] !== length + 1) return false;
  const at = row * window.length;
  const nextAt = row * next.length;
  for (let i = 0; i < length; i++) if (window.items[at + i] !== next.items[nextAt + i]) return false;
  return true;
}

/**
 * Cuts the first `rows` rows into chunks of about equally many tokens, those of their next histories included. It
 * depends on sizes alone, never on threads.
 *
 * @returns the first row of each chunk, and `rows` at the end.
 */
export function chunkRows({ start, count, rows: all }: Segments, rows: number): Int32Array {
  const chunks = Math.min(MOST_CHUNKS, Math.max(1, Math.ceil(rows / CHUNK_ROWS)));
  const hasNext = count > all;
  const tokensBefore = (row: number): number => {
    const own = start[row] as number;
    return hasNext ? own + (start[all + row] as number) - (start[all] as number) : own;
  };
  const total = tokensBefore(rows);
  const first = new Int32Array(chunks + 1);
  let row = 0;
  for (let chunk = 1; chunk < chunks; chunk++) {
    const wanted = (chunk * total) / chunks;
    while (row < rows && tokensBefore(row) < wanted) row++;
    first[chunk] = row;
  }
  first[chunks] = rows;
  return first;
}

/** Each item once, in the order of its first token, and where each token's is among them. */
export interface DistinctItems {
  /** `[U]`. */
  readonly items: Int32Array;
  /** Index into `items` of each token `[N]`; {@link START} for the start vector. */
  readonly tokenVector: Int32Array;
}

/**
 * Finds the distinct items of tokens.
 *
 * @param tokenItem - item of each token, or {@link START}.
 * @param places - room for a number for each item, all -1, and so again afterwards.
 */
export function distinctItems(tokenItem: Int32Array, places: Int32Array): DistinctItems {
  const items = new Int32Array(tokenItem.length);
  const tokenVector = new Int32Array(tokenItem.length);
  let count = 0;
  for (let token = 0; token < tokenItem.length; token++) {
    const item = tokenItem[token] as number;
    if (item === START) {
      tokenVector[token] = START;
      continue;
    }
    let place = places[item] as number;
    if (place < 0) {
      place = count++;
      places[item] = place;
      items[place] = item;
    }
    tokenVector[token] = place;
  }
  for (let i = 0; i < count; i++) places[items[i] as number] = -1;
  return { items: items.subarray(0, count), tokenVector };
}
