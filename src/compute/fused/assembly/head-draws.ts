/** What is read off the scores of all items: a drawn item, the best items, all probabilities. */
import { HeadField, TILE } from '../head-layout';
import { bytes, exp1, field, firstRow, lastRow, size } from './head-arrays';
import { exp4 } from './simd';

/**
 * Draws one item for each of a group of rows: the first whose cumulative mass exceeds the uniform times the total; whole
 * tiles are passed by their masses. Should rounding keep the sum from exceeding the goal, it is the last item with any mass.
 */
export function sample(head: usize, chunk: i32): void {
  const items = size(head, HeadField.Items);
  const stride = size(head, HeadField.Stride);
  const scores = field(head, HeadField.Scores);
  const tiles = field(head, HeadField.TileStats);
  const stats = field(head, HeadField.RowStats);
  const tileCount = (items + TILE - 1) / TILE;
  const last = lastRow(head, chunk, size(head, HeadField.Rows));
  for (let row = firstRow(head, chunk); row < last; row++) {
    const top = load<f32>(stats + bytes(row));
    let total: f64 = 0;
    for (let tile = 0; tile < tileCount; tile++) total += tileMass(tiles, tile, stride, row, top);
    const goal = load<f64>(field(head, HeadField.Uniforms) + ((<usize>row) << 3)) * total;
    let passed: f64 = 0;
    let tile = 0;
    let lastWithMass = 0;
    for (; tile < tileCount; tile++) {
      const mass = tileMass(tiles, tile, stride, row, top);
      if (mass == 0) continue;
      lastWithMass = tile;
      if (passed + mass > goal) break;
      passed += mass;
    }
    if (tile == tileCount) {
      // Nothing exceeded the goal: the last tile is walked to its end.
      tile = lastWithMass;
      passed = -Infinity;
    }
    let chosen = -1;
    const end = min(items, (tile + 1) * TILE);
    for (let item = tile * TILE; item < end; item++) {
      const mass = exp1(load<f32>(scores + bytes(item * stride + row)) - top);
      if (mass == 0) continue;
      chosen = item;
      passed += <f64>mass;
      if (passed > goal) break;
    }
    store<i32>(field(head, HeadField.Drawn) + bytes(row), chosen);
    const score = load<f32>(scores + bytes(max(chosen, 0) * stride + row));
    store<f32>(stats + bytes(4 * stride + row), score - load<f32>(stats + bytes(stride + row)));
  }
}

@inline function tileMass(tiles: usize, tile: i32, stride: i32, row: i32, top: f32): f64 {
  const at = tiles + bytes(2 * tile * stride + row);
  const shrink = exp1(load<f32>(at) - top);
  return shrink == 0 ? 0 : <f64>shrink * <f64>load<f32>(at + bytes(stride));
}

/** The best items of each row within a range of items: sorted lists, best first, equal scores by lower index. */
export function topK(head: usize, chunk: i32): void {
  const rows = size(head, HeadField.Rows);
  const stride = size(head, HeadField.Stride);
  const best = size(head, HeadField.Best);
  const first = chunk * size(head, HeadField.ChunkItems);
  const last = min(size(head, HeadField.Items), first + size(head, HeadField.ChunkItems));
  const items = field(head, HeadField.BestItems) + bytes(chunk * rows * best);
  const scores = field(head, HeadField.BestScores) + bytes(chunk * rows * best);
  const all = field(head, HeadField.Scores);
  for (let i = 0; i < rows * best; i++) {
    store<i32>(items + bytes(i), -1);
    store<f32>(scores + bytes(i), -Infinity);
  }
  if (stride == 1) {
    const worst = scores + bytes(best - 1);
    let item = first;
    for (; item + 4 <= last; item += 4) {
      if (!v128.any_true(f32x4.gt(v128.load(all + bytes(item)), v128.load32_splat(worst)))) continue;
      for (let i = item; i < item + 4; i++) insert(items, scores, best, i, load<f32>(all + bytes(i)));
    }
    for (; item < last; item++) insert(items, scores, best, item, load<f32>(all + bytes(item)));
    return;
  }
  for (let row = 0; row < rows; row += 4) {
    const count = min(4, rows - row);
    // The k-th best score of each of the four rows; lanes past the last row let nothing pass.
    let worst = f32x4.splat(Infinity);
    worst = f32x4.replace_lane(worst, 0, -Infinity);
    if (count > 1) worst = f32x4.replace_lane(worst, 1, -Infinity);
    if (count > 2) worst = f32x4.replace_lane(worst, 2, -Infinity);
    if (count > 3) worst = f32x4.replace_lane(worst, 3, -Infinity);
    for (let item = first; item < last; item++) {
      const at = all + bytes(item * stride + row);
      if (!v128.any_true(f32x4.gt(v128.load(at), worst))) continue;
      for (let r = 0; r < count; r++) {
        const offset = bytes((row + r) * best);
        insert(items + offset, scores + offset, best, item, load<f32>(at + bytes(r)));
      }
      const worsts = scores + bytes((row + 1) * best - 1);
      worst = f32x4.replace_lane(worst, 0, load<f32>(worsts));
      if (count > 1) worst = f32x4.replace_lane(worst, 1, load<f32>(worsts + bytes(best)));
      if (count > 2) worst = f32x4.replace_lane(worst, 2, load<f32>(worsts + bytes(2 * best)));
      if (count > 3) worst = f32x4.replace_lane(worst, 3, load<f32>(worsts + bytes(3 * best)));
    }
  }
}

/** Puts an item into a sorted list of `best`, after those of equal score. */
function insert(items: usize, scores: usize, best: i32, item: i32, score: f32): void {
  if (!(score > load<f32>(scores + bytes(best - 1)))) return;
  let place = best - 1;
  while (place > 0 && load<f32>(scores + bytes(place - 1)) < score) {
    store<f32>(scores + bytes(place), load<f32>(scores + bytes(place - 1)));
    store<i32>(items + bytes(place), load<i32>(items + bytes(place - 1)));
    place--;
  }
  store<f32>(scores + bytes(place), score);
  store<i32>(items + bytes(place), item);
}

/** Probabilities of all items for a group of rows, `[R, A]`; exactly 0 where masked. */
export function probabilities(head: usize, chunk: i32): void {
  const items = size(head, HeadField.Items);
  const stride = size(head, HeadField.Stride);
  const step = bytes(stride);
  const last = lastRow(head, chunk, size(head, HeadField.Rows));
  for (let row = firstRow(head, chunk); row < last; row++) {
    const logTotal = load<f32>(field(head, HeadField.RowStats) + bytes(stride + row));
    let from = field(head, HeadField.Scores) + bytes(row);
    const to = field(head, HeadField.Probabilities) + bytes(row * items);
    let item = 0;
    for (; item + 4 <= items; item += 4) {
      let x = v128.load32_zero(from);
      x = f32x4.replace_lane(x, 1, load<f32>(from + step));
      x = f32x4.replace_lane(x, 2, load<f32>(from + 2 * step));
      x = f32x4.replace_lane(x, 3, load<f32>(from + 3 * step));
      from += 4 * step;
      v128.store(to + bytes(item), exp4(f32x4.sub(x, f32x4.splat(logTotal))));
    }
    for (; item < items; item++) {
      store<f32>(to + bytes(item), exp1(load<f32>(from) - logTotal));
      from += step;
    }
  }
}
