/**
 * Scores of all items. They are kept item by item, `[A, stride]` with the rows of the batch side by side: so the softmax
 * needs no sum across lanes, a history's attribute is one vector to add, and both gradients are products of what is
 * contiguous. The structure's words are named in `head-layout.ts`.
 */
import { GROUP, HeadField, MASKED, TILE } from '../head-layout';
import { addScaled, bytes, dot, exp1, field, fill, firstRow, float, lastRow, log64, multiplyBy, size } from './head-arrays';
import { startTile } from './head-history';
import { multiplyStrided } from './matrix';
import { exp4, fma, sum4, sums4, zero } from './simd';

/**
 * Item vectors of a range of items: id row plus features times projection. Made once for each version of the parameters,
 * however many batches are scored by them.
 */
export function itemVectors(head: usize, chunk: i32): void {
  const width = size(head, HeadField.Width);
  const first = chunk * size(head, HeadField.ChunkItems);
  const count = min(size(head, HeadField.Items) - first, size(head, HeadField.ChunkItems));
  const skipped = bytes(first * width);
  const table = field(head, HeadField.Table);
  const features = field(head, HeadField.Features) + bytes(first * size(head, HeadField.FeatureWidth));
  const step = bytes(width);
  const start: usize = table == 0 ? 0 : table + skipped;
  const to = field(head, HeadField.Vectors) + skipped;
  const depth = size(head, HeadField.ProjectionRows);
  multiplyStrided(to, step, features, bytes(size(head, HeadField.FeatureWidth)), 4, field(head, HeadField.Projection), step, count, depth, width, start, step);
}

/**
 * Packs the states of a group of rows (those past the last row are zero). For listed items it makes what their features
 * are multiplied by: `state projection' + w_last text_last + w_recent text_recent`. Chunk 0 also makes the attributes' scores.
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
  const projection = field(head, HeadField.Projection);
  const history = field(head, HeadField.History);
  const textPlane = size(head, HeadField.TextPlane);
  const last = lastRow(head, chunk, stride);
  for (let row = firstRow(head, chunk); row < last; row++) {
    const to = packed + bytes(row * width);
    const query = queries + bytes(row * featureWidth);
    if (row >= rows) {
      fill(to, width, 0);
      if (queries != 0) fill(query, featureWidth, 0);
    } else {
      memory.copy(to, states + bytes(row * width), bytes(width));
      if (queries != 0) {
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
 * Products of a tile's item vectors with all rows' states, a panel of 8 rows at a time, which stays in the first-level cache
 * with the tile's item vectors.
 *
 * @param bias - the tile's biases, which the sums begin with; 0: they begin with what is there.
 */
function scoreProducts(head: usize, out: usize, count: i32, vectors: usize, bias: usize): void {
  const stride = size(head, HeadField.Stride);
  const width = size(head, HeadField.Width);
  const across = field(head, HeadField.StatesAcross);
  for (let row = 0; row < stride; row += 8) {
    const states = across + bytes(row * width);
    let item = 0;
    for (; item + 4 <= count; item += 4) {
      const b: usize = bias == 0 ? 0 : bias + bytes(item);
      score4(out + bytes(item * stride + row), bytes(stride), vectors + bytes(item * width), width, states, b);
    }
    for (; item < count; item++) {
      const b: usize = bias == 0 ? 0 : bias + bytes(item);
      score1(out + bytes(item * stride + row), vectors + bytes(item * width), width, states, b);
    }
  }
}

/** 4 items by 8 rows. */
function score4(z: usize, step: usize, t0: usize, width: i32, states: usize, bias: usize): void {
  const z1 = z + step, z2 = z1 + step, z3 = z2 + step;
  let c00 = zero(), c01 = zero(), c10 = zero(), c11 = zero(), c20 = zero(), c21 = zero(), c30 = zero(), c31 = zero();
  if (bias != 0) {
    c00 = v128.load32_splat(bias); c01 = c00;
    c10 = v128.load32_splat(bias, 4); c11 = c10;
    c20 = v128.load32_splat(bias, 8); c21 = c20;
    c30 = v128.load32_splat(bias, 12); c31 = c30;
  } else {
    c00 = v128.load(z); c01 = v128.load(z, 16);
    c10 = v128.load(z1); c11 = v128.load(z1, 16);
    c20 = v128.load(z2); c21 = v128.load(z2, 16);
    c30 = v128.load(z3); c31 = v128.load(z3, 16);
  }
  const size = bytes(width);
  let t1 = t0 + size, t2 = t1 + size, t3 = t2 + size;
  // One step a turn: V8 reorders a longer body and spills.
  for (const end = t0 + size; t0 < end; t0 += 4) {
    const a = v128.load(states), b = v128.load(states, 16);
    states += 32;
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
  v128.store(z, c00); v128.store(z, c01, 16);
  v128.store(z1, c10); v128.store(z1, c11, 16);
  v128.store(z2, c20); v128.store(z2, c21, 16);
  v128.store(z3, c30); v128.store(z3, c31, 16);
}

/** 1 item by 8 rows, for the one to three items that are left at the end. */
function score1(z: usize, t: usize, width: i32, states: usize, bias: usize): void {
  let c0 = bias == 0 ? v128.load(z) : v128.load32_splat(bias);
  let c1 = bias == 0 ? v128.load(z, 16) : c0;
  for (const end = t + bytes(width); t < end; t += 4) {
    const y = v128.load32_splat(t);
    c0 = fma(y, v128.load(states), c0);
    c1 = fma(y, v128.load(states, 16), c1);
    states += 32;
  }
  v128.store(z, c0);
  v128.store(z, c1, 16);
}

/** Dot products of 4 consecutive rows of a table `[·, inner]` with one vector. */
@inline function dots4(t0: usize, x: usize, inner: i32): v128 {
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

/** Products of a tile's item vectors with the only row's state (stride 1); `bias` as in {@link scoreProducts}. */
function scoreProductsOfOne(head: usize, out: usize, count: i32, vectors: usize, bias: usize): void {
  const width = size(head, HeadField.Width);
  const state = field(head, HeadField.PackedStates);
  const start = bias == 0 ? out : bias;
  let item = 0;
  for (; item + 4 <= count; item += 4) {
    const at = bytes(item);
    v128.store(out + at, f32x4.add(v128.load(start + at), dots4(vectors + bytes(item * width), state, width)));
  }
  for (; item < count; item++) {
    const at = bytes(item);
    store<f32>(out + at, load<f32>(start + at) + dot1(vectors + bytes(item * width), state, width));
  }
}

/** Raw scores of a tile's items by all rows: biases, products, history features and masks, without temperature. */
function scoreTile(head: usize, out: usize, first: i32, last: i32): void {
  const stride = size(head, HeadField.Stride);
  const vectors = field(head, HeadField.Vectors) + bytes(first * size(head, HeadField.Width));
  let bias = field(head, HeadField.Bias) + bytes(first);
  if (field(head, HeadField.PlaneRows) != 0) {
    startTile(head, out, first, last);
    bias = 0;
  }
  if (stride == 1) scoreProductsOfOne(head, out, last - first, vectors, bias);
  else scoreProducts(head, out, last - first, vectors, bias);
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

/** Divides by the temperature, and joins the tile's statistics to the chunk's, for 4 rows at a time. */
function finishTile(head: usize, out: usize, first: i32, last: i32, stats: usize): void {
  const stride = size(head, HeadField.Stride);
  const step = bytes(stride);
  const count = last - first;
  divide(head, out, count * stride);
  const wantsMass = size(head, HeadField.WantsMass) != 0;
  const expected = field(head, HeadField.Expected);
  const tiles = field(head, HeadField.TileStats);
  for (let row = 0; row < stride; row += 4) {
    const at = bytes(row);
    let top = v128.load(stats + at);
    const before = top;
    let z = out + at;
    for (let i = 0; i < count; i++) {
      // A NaN that the faster maximum drops is found again in the mass.
      top = wantsMass ? f32x4.pmax(top, v128.load(z)) : f32x4.max(top, v128.load(z));
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

/** Divides scores by the temperature. */
function divide(head: usize, scores: usize, count: i32): void {
  const rate = float(head, HeadField.Rate);
  if (rate != 1) multiplyBy(scores, rate, count);
}

/** The same for the only row. Lanes are items; a tile that is not full ends with a scalar loop. */
function finishTileOfOne(head: usize, out: usize, first: i32, last: i32, stats: usize): void {
  const count = last - first;
  const whole = count & ~3;
  divide(head, out, count);
  const before = load<f32>(stats);
  let tops = f32x4.splat(before);
  for (let i = 0; i < whole; i += 4) tops = f32x4.max(tops, v128.load(out + bytes(i)));
  let top = max(max(f32x4.extract_lane(tops, 0), f32x4.extract_lane(tops, 1)), max(f32x4.extract_lane(tops, 2), f32x4.extract_lane(tops, 3)));
  for (let i = whole; i < count; i++) top = max(top, load<f32>(out + bytes(i)));
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
  return field(head, HeadField.Scratch) + bytes(chunk * (TILE + GROUP) * stride);
}

/** The scores of a tile once more, where they were not kept; gives where they are. */
export function scoresAgain(head: usize, chunk: i32, item: i32, end: i32): usize {
  const at = tileOfScores(head, chunk, item);
  if (item < size(head, HeadField.KeptItems)) return at;
  scoreTile(head, at, item, end);
  divide(head, at, (end - item) * size(head, HeadField.Stride));
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
