/**
 * Scores of all items. They are kept item by item, `[A, stride]` with the rows of the batch side by side: so the softmax
 * needs no sum across lanes, a history's attribute is one vector to add, and both gradients are products of what is
 * contiguous. The structure's words are named in `head-layout.ts`.
 */
import { HeadField, MASKED, TILE } from '../head-layout';
import { addScaled, bytes, dot, exp1, field, fill, firstRow, float, lastRow, log64, size } from './head-arrays';
import { exp4, fma, sum4, zero } from './simd';

/**
 * Packs the states of a group of rows (those past the last row are zero) and makes what the item features are
 * multiplied by: `state projection' + w_last text_last + w_recent text_recent`. Chunk 0 also makes the attributes' scores.
 */
export function pack(head: usize, chunk: i32): void {
  const rows = size(head, HeadField.Rows);
  const stride = size(head, HeadField.Stride);
  const width = size(head, HeadField.Width);
  const featureWidth = size(head, HeadField.FeatureWidth);
  const projectionRows = size(head, HeadField.ProjectionRows);
  const states = field(head, HeadField.States);
  const packed = field(head, HeadField.PackedStates);
  const across = field(head, HeadField.StatesAcross);
  const panels = field(head, HeadField.StatePanels);
  const queries = field(head, HeadField.Queries);
  const queriesAcross = field(head, HeadField.QueriesAcross);
  const projection = field(head, HeadField.Projection);
  const history = field(head, HeadField.History);
  const textPlane = size(head, HeadField.TextPlane);
  const last = lastRow(head, chunk, stride);
  for (let row = firstRow(head, chunk); row < last; row++) {
    const to = packed + bytes(row * width);
    const query = queries + bytes(row * featureWidth);
    if (row >= rows) {
      fill(to, width, 0);
      if (featureWidth > 0) fill(query, featureWidth, 0);
    } else {
      memory.copy(to, states + bytes(row * width), bytes(width));
      if (featureWidth > 0) {
        fill(query, featureWidth, 0);
        for (let f = 0; f < projectionRows; f++) store<f32>(query + bytes(f), dot(to, projection + bytes(f * width), width));
        if (textPlane >= 0) {
          addScaled(query, field(head, HeadField.TextLast) + bytes(row * featureWidth), load<f32>(history + bytes(textPlane)), featureWidth);
          addScaled(query, field(head, HeadField.TextRecent) + bytes(row * featureWidth), load<f32>(history + bytes(textPlane + 1)), featureWidth);
        }
      }
    }
    if (stride == 1) continue;
    packRow(to, row, width, across);
    if (featureWidth > 0) packRow(query, row, featureWidth, queriesAcross);
    // Panels of 8 columns (the last may have 4), each with all rows one after the other.
    for (let k = 0; k < width; k += 8) {
      const columns = min(8, width - k);
      memory.copy(panels + bytes(k * stride + columns * row), to + bytes(k), bytes(columns));
    }
  }
  if (chunk != 0) return;
  const slots = size(head, HeadField.Slots);
  const plane = size(head, HeadField.AttributePlane);
  for (let slot = 0; slot < slots; slot++) {
    const attribute = load<i32>(field(head, HeadField.SlotAttributes) + bytes(slot));
    const lastWeight = load<f32>(history + bytes(plane + 2 * attribute));
    const recentWeight = load<f32>(history + bytes(plane + 2 * attribute + 1));
    const offset = bytes(slot * stride);
    const to = field(head, HeadField.AttributeScores) + offset;
    const isLast = field(head, HeadField.AttributeLast) + offset;
    const share = field(head, HeadField.AttributeRecent) + offset;
    for (let row = 0; row < stride; row++) {
      const at = bytes(row);
      store<f32>(to + at, lastWeight * load<f32>(isLast + at) + recentWeight * load<f32>(share + at));
    }
  }
}

/** Puts one row into panels of 8 rows, `[rows / 8, width, 8]`: what a tile of products reads is then contiguous. */
function packRow(from: usize, row: i32, width: i32, panels: usize): void {
  let to = panels + bytes((row & ~7) * width + (row & 7));
  for (let k = 0; k < width; k++) {
    store<f32>(to, load<f32>(from + bytes(k)));
    to += 32;
  }
}

/**
 * Scores of a tile's items by all rows: item vectors times states plus item features times queries. A panel of 8 rows at
 * a time, which stays in the first-level cache with the tile's item vectors.
 *
 * @param table - item vectors of the tile's first item; 0 for none.
 * @param features - item features of the tile's first item; 0 for none.
 */
function scoreProducts(head: usize, out: usize, count: i32, table: usize, features: usize): void {
  const stride = size(head, HeadField.Stride);
  const width = size(head, HeadField.Width);
  const featureWidth = size(head, HeadField.FeatureWidth);
  const across = field(head, HeadField.StatesAcross);
  const queriesAcross = field(head, HeadField.QueriesAcross);
  for (let row = 0; row < stride; row += 8) {
    const states = across + bytes(row * width);
    const queries = queriesAcross + bytes(row * featureWidth);
    let item = 0;
    for (; item + 4 <= count; item += 4) {
      const t = table == 0 ? <usize>0 : table + bytes(item * width);
      const f = features == 0 ? <usize>0 : features + bytes(item * featureWidth);
      score4(out + bytes(item * stride + row), bytes(stride), t, width, states, f, featureWidth, queries);
    }
    for (; item < count; item++) {
      const t = table == 0 ? <usize>0 : table + bytes(item * width);
      const f = features == 0 ? <usize>0 : features + bytes(item * featureWidth);
      score1(out + bytes(item * stride + row), t, width, states, f, featureWidth, queries);
    }
  }
}

/** 4 items by 8 rows. */
function score4(z: usize, step: usize, table: usize, width: i32, states: usize, features: usize, featureWidth: i32, queries: usize): void {
  let c00 = zero(), c01 = zero(), c10 = zero(), c11 = zero(), c20 = zero(), c21 = zero(), c30 = zero(), c31 = zero();
  for (let part = 0; part < 2; part++) {
    let t0 = part == 0 ? table : features;
    if (t0 == 0) continue;
    let s = part == 0 ? states : queries;
    const size = bytes(part == 0 ? width : featureWidth);
    let t1 = t0 + size, t2 = t1 + size, t3 = t2 + size;
    // One step a turn: V8 reorders a longer body and spills.
    for (const end = t0 + size; t0 < end; t0 += 4) {
      const a = v128.load(s), b = v128.load(s, 16);
      s += 32;
      let y = v128.load32_splat(t0);
      c00 = fma(y, a, c00); c01 = fma(y, b, c01);
      y = v128.load32_splat(t1);
      t1 += 4;
      c10 = fma(y, a, c10); c11 = fma(y, b, c11);
      y = v128.load32_splat(t2);
      t2 += 4;
      c20 = fma(y, a, c20); c21 = fma(y, b, c21);
      y = v128.load32_splat(t3);
      t3 += 4;
      c30 = fma(y, a, c30); c31 = fma(y, b, c31);
    }
  }
  v128.store(z, c00); v128.store(z, c01, 16);
  z += step;
  v128.store(z, c10); v128.store(z, c11, 16);
  z += step;
  v128.store(z, c20); v128.store(z, c21, 16);
  z += step;
  v128.store(z, c30); v128.store(z, c31, 16);
}

/** 1 item by 8 rows, for the one to three items that are left at the end. */
function score1(z: usize, table: usize, width: i32, states: usize, features: usize, featureWidth: i32, queries: usize): void {
  let c0 = zero(), c1 = zero();
  for (let part = 0; part < 2; part++) {
    let t = part == 0 ? table : features;
    if (t == 0) continue;
    let s = part == 0 ? states : queries;
    for (const end = t + bytes(part == 0 ? width : featureWidth); t < end; t += 4) {
      const y = v128.load32_splat(t);
      c0 = fma(y, v128.load(s), c0);
      c1 = fma(y, v128.load(s, 16), c1);
      s += 32;
    }
  }
  v128.store(z, c0);
  v128.store(z, c1, 16);
}

/** Dot products of 4 consecutive rows of a table `[·, inner]` with one vector. */
@inline export function dots4(t0: usize, x: usize, inner: i32): v128 {
  const size = bytes(inner);
  let t1 = t0 + size, t2 = t1 + size, t3 = t2 + size;
  let c0 = zero(), c1 = zero(), c2 = zero(), c3 = zero();
  for (let k = 0; k < inner; k += 4) {
    const y = v128.load(x);
    x += 16;
    c0 = fma(v128.load(t0), y, c0);
    c1 = fma(v128.load(t1), y, c1);
    c2 = fma(v128.load(t2), y, c2);
    c3 = fma(v128.load(t3), y, c3);
    t0 += 16;
    t1 += 16;
    t2 += 16;
    t3 += 16;
  }
  return sums4(c0, c1, c2, c3);
}

/** One of them, summed in the same order: equal rows shall have equal scores wherever they stand. */
function dot1(t: usize, x: usize, inner: i32): f32 {
  let c = zero();
  for (let k = 0; k < inner; k += 4) {
    c = fma(v128.load(t), v128.load(x), c);
    t += 16;
    x += 16;
  }
  return f32x4.extract_lane(sums4(c, c, c, c), 0);
}

/** The sums of four vectors, as one vector. */
@inline function sums4(a: v128, b: v128, c: v128, d: v128): v128 {
  const ab0 = i8x16.shuffle(a, b, 0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27);
  const ab1 = i8x16.shuffle(a, b, 4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31);
  const ab = f32x4.add(ab0, ab1);
  const cd0 = i8x16.shuffle(c, d, 0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27);
  const cd1 = i8x16.shuffle(c, d, 4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31);
  const cd = f32x4.add(cd0, cd1);
  const low = i8x16.shuffle(ab, cd, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23);
  const high = i8x16.shuffle(ab, cd, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
  return f32x4.add(low, high);
}

/** Scores of a tile's items for the only row (stride 1): item vectors times one state. */
function scoreTileOfOne(head: usize, out: usize, first: i32, last: i32): void {
  const width = size(head, HeadField.Width);
  const featureWidth = size(head, HeadField.FeatureWidth);
  const table = field(head, HeadField.Table);
  const features = field(head, HeadField.Features);
  const state = field(head, HeadField.PackedStates);
  const query = field(head, HeadField.Queries);
  let item = first;
  for (; item + 4 <= last; item += 4) {
    let z = zero();
    if (table != 0) z = dots4(table + bytes(item * width), state, width);
    if (features != 0) z = f32x4.add(z, dots4(features + bytes(item * featureWidth), query, featureWidth));
    v128.store(out + bytes(item - first), z);
  }
  for (; item < last; item++) {
    let z: f32 = 0;
    if (table != 0) z = dot1(table + bytes(item * width), state, width);
    if (features != 0) z += dot1(features + bytes(item * featureWidth), query, featureWidth);
    store<f32>(out + bytes(item - first), z);
  }
}

/** Raw scores of a tile's items by all rows: products, history features and masks, without bias and temperature. */
function scoreTile(head: usize, out: usize, first: i32, last: i32): void {
  const stride = size(head, HeadField.Stride);
  const width = size(head, HeadField.Width);
  const featureWidth = size(head, HeadField.FeatureWidth);
  const table = field(head, HeadField.Table);
  const features = field(head, HeadField.Features);
  if (stride == 1) scoreTileOfOne(head, out, first, last);
  else {
    const t = table == 0 ? <usize>0 : table + bytes(first * width);
    const f = features == 0 ? <usize>0 : features + bytes(first * featureWidth);
    scoreProducts(head, out, last - first, t, f);
  }
  if (size(head, HeadField.Slots) > 0) {
    const attributes = size(head, HeadField.Attributes);
    for (let attribute = 0; attribute < attributes; attribute++) {
      for (let item = first; item < last; item++) {
        const slot = slotOf(head, attribute, item);
        if (slot < 0) continue;
        addScaled(out + bytes((item - first) * stride), field(head, HeadField.AttributeScores) + bytes(slot * stride), 1, stride);
      }
    }
  }
  const maxima = field(head, HeadField.TextMaxima);
  if (maxima != 0) {
    const weight = load<f32>(field(head, HeadField.History) + bytes(size(head, HeadField.TextPlane) + 2));
    addScaled(out, maxima + bytes(first * stride), weight, (last - first) * stride);
  }
  const starts = field(head, HeadField.TileStarts);
  if (starts != 0) {
    const tile = first / TILE;
    const end = load<i32>(starts + bytes(tile + 1));
    const history = field(head, HeadField.History);
    for (let i = load<i32>(starts + bytes(tile)); i < end; i++) {
      const pair = field(head, HeadField.Pairs) + bytes(3 * i);
      const at = out + bytes((load<i32>(pair) - first) * stride + load<i32>(pair + 4));
      const plane = load<i32>(pair + 8);
      if (plane < 0) store<f32>(at, <f32>MASKED);
      else store<f32>(at, load<f32>(at) + load<f32>(history + bytes(plane)));
    }
  }
  const excluded = field(head, HeadField.Excluded);
  if (excluded != 0) {
    for (let item = first; item < last; item++) {
      if (load<u8>(excluded + item) != 0) fill(out + bytes((item - first) * stride), stride, <f32>MASKED);
    }
  }
}

@inline export function slotOf(head: usize, attribute: i32, item: i32): i32 {
  const tables = field(head, HeadField.AttributeTables) + bytes(2 * attribute);
  const code = load<i32>(load<usize>(tables) + bytes(item));
  return code < 0 ? -1 : load<i32>(load<usize>(tables + 4) + bytes(code));
}

/** Adds the bias, divides by the temperature, and joins the tile's statistics to the chunk's, for 4 rows at a time. */
function finishTile(head: usize, out: usize, first: i32, last: i32, stats: usize): void {
  const stride = size(head, HeadField.Stride);
  const step = bytes(stride);
  const rate = f32x4.splat(float(head, HeadField.Rate));
  const bias = field(head, HeadField.Bias) + bytes(first);
  const wantsMass = size(head, HeadField.WantsMass) != 0;
  const expected = field(head, HeadField.Expected);
  const tiles = field(head, HeadField.TileStats);
  const count = last - first;
  for (let row = 0; row < stride; row += 4) {
    const at = bytes(row);
    let top = v128.load(stats + at);
    const before = top;
    let z = out + at;
    for (let i = 0; i < count; i++) {
      const score = f32x4.mul(f32x4.add(v128.load(z), v128.load32_splat(bias + bytes(i))), rate);
      v128.store(z, score);
      top = f32x4.max(top, score);
      z += step;
    }
    v128.store(stats + at, top);
    if (!wantsMass) continue;
    let mass = zero(), scored = zero(), valued = zero();
    z = out + at;
    let q = expected == 0 ? <usize>0 : expected + bytes(first * stride + row);
    for (let i = 0; i < count; i++) {
      const score = v128.load(z);
      const e = exp4(f32x4.sub(score, top));
      mass = f32x4.add(mass, e);
      scored = fma(e, score, scored);
      if (expected != 0) {
        valued = fma(e, v128.load(q), valued);
        q += step;
      }
      z += step;
    }
    if (tiles != 0) {
      const tile = tiles + bytes(2 * (first / TILE) * stride + row);
      v128.store(tile, top);
      v128.store(tile + step, mass);
    }
    const shrink = exp4(f32x4.sub(before, top));
    const masses = stats + step + at, scoreds = masses + step, valueds = scoreds + step;
    v128.store(masses, fma(v128.load(masses), shrink, mass));
    v128.store(scoreds, fma(v128.load(scoreds), shrink, scored));
    v128.store(valueds, fma(v128.load(valueds), shrink, valued));
  }
}

/** The same for the only row. Lanes are items; a tile that is not full ends with a scalar loop. */
function finishTileOfOne(head: usize, out: usize, first: i32, last: i32, stats: usize): void {
  const rate = float(head, HeadField.Rate);
  const bias = field(head, HeadField.Bias) + bytes(first);
  const count = last - first;
  const whole = count & ~3;
  const before = load<f32>(stats);
  let tops = f32x4.splat(before);
  const rates = f32x4.splat(rate);
  for (let i = 0; i < whole; i += 4) {
    const at = bytes(i);
    const score = f32x4.mul(f32x4.add(v128.load(out + at), v128.load(bias + at)), rates);
    v128.store(out + at, score);
    tops = f32x4.max(tops, score);
  }
  let top = max(max(f32x4.extract_lane(tops, 0), f32x4.extract_lane(tops, 1)), max(f32x4.extract_lane(tops, 2), f32x4.extract_lane(tops, 3)));
  for (let i = whole; i < count; i++) {
    const score = (load<f32>(out + bytes(i)) + load<f32>(bias + bytes(i))) * rate;
    store<f32>(out + bytes(i), score);
    top = max(top, score);
  }
  store<f32>(stats, top);
  if (size(head, HeadField.WantsMass) == 0) return;
  const reference = f32x4.splat(top);
  let masses = zero(), scoreds = zero();
  for (let i = 0; i < whole; i += 4) {
    const score = v128.load(out + bytes(i));
    const e = exp4(f32x4.sub(score, reference));
    masses = f32x4.add(masses, e);
    scoreds = fma(e, score, scoreds);
  }
  let mass = sum4(masses), scored = sum4(scoreds);
  for (let i = whole; i < count; i++) {
    const score = load<f32>(out + bytes(i));
    const e = exp1(score - top);
    mass += e;
    scored += e * score;
  }
  const tiles = field(head, HeadField.TileStats);
  if (tiles != 0) {
    const tile = tiles + bytes(2 * (first / TILE));
    store<f32>(tile, top);
    store<f32>(tile + 4, mass);
  }
  const shrink = exp1(before - top);
  store<f32>(stats + 4, load<f32>(stats + 4) * shrink + mass);
  store<f32>(stats + 8, load<f32>(stats + 8) * shrink + scored);
}

/** Scores of a range of items, and their statistics. */
export function score(head: usize, chunk: i32): void {
  const items = size(head, HeadField.Items);
  const stride = size(head, HeadField.Stride);
  const first = chunk * size(head, HeadField.ChunkItems);
  const last = min(items, first + size(head, HeadField.ChunkItems));
  const stats = field(head, HeadField.ChunkStats) + bytes(4 * chunk * stride);
  fill(stats, stride, <f32>(2 * MASKED));
  fill(stats + bytes(stride), 3 * stride, 0);
  for (let item = first; item < last; item += TILE) {
    const end = min(last, item + TILE);
    const out = tileOfScores(head, chunk, item);
    scoreTile(head, out, item, end);
    if (stride == 1) finishTileOfOne(head, out, item, end, stats);
    else finishTile(head, out, item, end, stats);
    pickScores(head, out, item, end);
  }
}

/** Where the scores of the tile that begins with `item` are, or are made. */
function tileOfScores(head: usize, chunk: i32, item: i32): usize {
  const stride = size(head, HeadField.Stride);
  if (item < size(head, HeadField.KeptItems)) return field(head, HeadField.Scores) + bytes(item * stride);
  return field(head, HeadField.Scratch) + bytes(2 * chunk * TILE * stride);
}

/** The scores of a tile once more, where they were not kept; gives where they are. */
export function scoresAgain(head: usize, chunk: i32, item: i32, end: i32): usize {
  const at = tileOfScores(head, chunk, item);
  if (item < size(head, HeadField.KeptItems)) return at;
  const stride = size(head, HeadField.Stride);
  const step = bytes(stride);
  const rate = f32x4.splat(float(head, HeadField.Rate));
  scoreTile(head, at, item, end);
  for (let i = item; i < end; i++) {
    const bias = v128.load32_splat(field(head, HeadField.Bias) + bytes(i));
    const z = at + bytes((i - item) * stride);
    for (let row: usize = 0; row < step; row += 16) {
      v128.store(z + row, f32x4.mul(f32x4.add(v128.load(z + row), bias), rate));
    }
  }
  return at;
}

/** Takes the scores of picked items out of a tile. */
function pickScores(head: usize, out: usize, item: i32, end: i32): void {
  const picked = field(head, HeadField.Picked);
  if (picked == 0) return;
  const stride = size(head, HeadField.Stride);
  const to = field(head, HeadField.RowStats) + bytes(4 * stride);
  for (let row = 0, rows = size(head, HeadField.Rows); row < rows; row++) {
    const i = load<i32>(picked + bytes(row)) - item;
    if (<u32>i >= <u32>(end - item)) continue;
    store<f32>(to + bytes(row), load<f32>(out + bytes(i * stride + row)));
  }
}

/** Joins the chunks' statistics for a group of rows, in the order of the chunks. */
export function finish(head: usize, chunk: i32): void {
  const rows = size(head, HeadField.Rows);
  const stride = size(head, HeadField.Stride);
  const chunks = size(head, HeadField.Chunks);
  const stats = field(head, HeadField.ChunkStats);
  const result = field(head, HeadField.RowStats);
  const picked = field(head, HeadField.Picked);
  const wantsMass = size(head, HeadField.WantsMass) != 0;
  const last = lastRow(head, chunk, rows);
  for (let row = firstRow(head, chunk); row < last; row++) {
    let top = load<f32>(stats + bytes(row));
    for (let p = 1; p < chunks; p++) top = max(top, load<f32>(stats + bytes(4 * p * stride + row)));
    store<f32>(result + bytes(row), top);
    if (wantsMass) {
      let mass: f64 = 0, scored: f64 = 0, valued: f64 = 0;
      for (let p = 0; p < chunks; p++) {
        const at = stats + bytes(4 * p * stride + row);
        const shrink = <f64>exp1(load<f32>(at) - top);
        mass += shrink * <f64>load<f32>(at + bytes(stride));
        scored += shrink * <f64>load<f32>(at + bytes(2 * stride));
        valued += shrink * <f64>load<f32>(at + bytes(3 * stride));
      }
      const logTotal = <f64>top + log64(mass);
      store<f32>(result + bytes(stride + row), <f32>logTotal);
      store<f32>(result + bytes(2 * stride + row), <f32>(logTotal - scored / mass));
      store<f32>(result + bytes(3 * stride + row), <f32>(valued / mass));
      if (picked != 0) {
        const at = result + bytes(4 * stride + row);
        store<f32>(at, <f32>(<f64>load<f32>(at) - logTotal));
      }
    }
  }
}
