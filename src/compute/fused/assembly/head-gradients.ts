/**
 * Gradients of the scores of all items, a tile at a time: no array of the size of the catalogue is made. The structure's
 * words are named in `head-layout.ts`.
 */
import { GROUP, HeadField, TILE } from '../head-layout';
import { addScaled, addTo, bytes, dot, field, fill, firstRow, lastRow, size } from './head-arrays';
import { textGradients } from './head-history';
import { scoresAgain, slotOf } from './head-scores';
import { multiplyTransposedLeft } from './matrix';
import { exp4, fma, sum4, zero } from './simd';

/**
 * Gradients of a range of items. With z a score over the temperature, p its probability, q the critic's score and c the
 * coefficients of its row, the gradient by the raw score is `g = p (c0 + c1 z + c2 q)`, plus c3 at the picked item; the
 * coefficients hold the division by the temperature. For each tile: g, then the gradients by bias, history weights, item
 * vectors (which are the id rows', and go through the features to the projection) and states.
 */
export function scoreGradients(head: usize, chunk: i32): void {
  const stride = size(head, HeadField.Stride);
  const width = size(head, HeadField.Width);
  const first = chunk * size(head, HeadField.ChunkItems);
  const last = min(size(head, HeadField.Items), first + size(head, HeadField.ChunkItems));
  const scratch = field(head, HeadField.Scratch) + bytes((chunk * (TILE + GROUP) + TILE) * stride);
  const hasPlanes = field(head, HeadField.PlaneRows) != 0;
  const statePartial = field(head, HeadField.StatePartials) + bytes(chunk * stride * width);
  const historyPartial = field(head, HeadField.HistoryPartials) + bytes(chunk * (size(head, HeadField.Planes) + 1));
  const vectors = field(head, HeadField.Vectors);
  const tableGradient = field(head, HeadField.TableGradient);
  const biasGradient = field(head, HeadField.BiasGradient);
  const panels = field(head, HeadField.StatePanels);
  const projectionPartials = field(head, HeadField.ProjectionPartials);
  const projectionRows = size(head, HeadField.ProjectionRows);
  const projectionPartial = projectionPartials + bytes(chunk * projectionRows * width);
  const vectorGradients = field(head, HeadField.VectorGradients) + bytes(chunk * GROUP * width);
  const wantsHistory = field(head, HeadField.HistoryGradient) != 0;
  fill(statePartial, stride * width, 0);
  if (projectionPartials != 0) fill(projectionPartial, projectionRows * width, 0);
  for (let start = first; start < last; start += GROUP) {
    const end = min(last, start + GROUP);
    if (projectionPartials != 0) fill(vectorGradients, (end - start) * width, 0);
    for (let item = start; item < end; item += TILE) {
      const count = min(TILE, end - item);
      // A group's gradients are kept together only where something reads them together.
      const g = hasPlanes ? scratch + bytes((item - start) * stride) : scratch;
      fillGradients(head, g, scoresAgain(head, chunk, item, item + count), item, count);
      if (biasGradient != 0) {
        for (let i = 0; i < count; i++) addTo(biasGradient + bytes(item + i), sumOf(g + bytes(i * stride), stride));
      }
      if (wantsHistory) historyGradients(head, g, item, count, historyPartial);
      if (projectionPartials != 0) tableGradients(g, panels, vectorGradients + bytes((item - start) * width), count, stride, width);
      else if (tableGradient != 0) tableGradients(g, panels, tableGradient + bytes(item * width), count, stride, width);
      multiplyTransposedLeft(statePartial, bytes(width), g, bytes(stride), vectors + bytes(item * width), bytes(width), count, stride, width, true);
    }
    if (wantsHistory && hasPlanes) textGradients(head, scratch, start, end, historyPartial);
    if (projectionPartials != 0) {
      addProjection(head, projectionPartial, start, vectorGradients, end - start);
      if (tableGradient != 0) addScaled(tableGradient + bytes(start * width), vectorGradients, 1, (end - start) * width);
    }
  }
  if (tableGradient == 0) return;
  const flags = field(head, HeadField.TableFlags);
  for (let item = first; item < last; item++) store<u8>(flags + item, load<u8>(flags + item) | 1);
}

/** Adds to a gradient of the projection: some items' features, transposed, times their gradients by the item vectors. */
function addProjection(head: usize, to: usize, item: i32, vectorGradients: usize, count: i32): void {
  const step = bytes(size(head, HeadField.Width));
  const featureStep = bytes(size(head, HeadField.FeatureWidth));
  const features = field(head, HeadField.Features) + <usize>item * featureStep;
  const rows = size(head, HeadField.ProjectionRows);
  multiplyTransposedLeft(to, step, features, featureStep, vectorGradients, step, count, rows, size(head, HeadField.Width), true);
}

function fillGradients(head: usize, g: usize, scores: usize, item: i32, count: i32): void {
  const stride = size(head, HeadField.Stride);
  const step = bytes(stride);
  const coefficients = field(head, HeadField.Coefficients);
  const expected = field(head, HeadField.Expected);
  const picked = field(head, HeadField.Picked);
  for (let row = 0; row < stride; row += 4) {
    const at = bytes(row);
    const c0 = v128.load(coefficients + at);
    const c1 = v128.load(coefficients + step + at);
    const c2 = v128.load(coefficients + 2 * step + at);
    const logTotal = v128.load(coefficients + 4 * step + at);
    let z = scores + at, out = g + at;
    let q = expected == 0 ? <usize>0 : expected + bytes(item * stride) + at;
    for (let i = 0; i < count; i++) {
      const score = v128.load(z);
      const p = exp4(f32x4.sub(score, logTotal));
      // p first: where it is 0 the score may be so low that a coefficient times it is infinite.
      let slope = fma(c1, f32x4.mul(p, score), f32x4.mul(p, c0));
      if (expected != 0) {
        slope = fma(c2, f32x4.mul(p, v128.load(q)), slope);
        q += step;
      }
      v128.store(out, slope);
      z += step;
      out += step;
    }
  }
  if (picked == 0) return;
  const rows = size(head, HeadField.Rows);
  const c3 = coefficients + 3 * step;
  for (let row = 0; row < rows; row++) {
    const i = load<i32>(picked + bytes(row)) - item;
    if (<u32>i >= <u32>count) continue;
    addTo(g + bytes(i * stride + row), load<f32>(c3 + bytes(row)));
  }
}

/** Sum of `count` numbers, a multiple of 4. */
@inline function sumOf(x: usize, count: i32): f32 {
  let sum = zero();
  for (let i = 0; i < count; i += 4) sum = f32x4.add(sum, v128.load(x + bytes(i)));
  return sum4(sum);
}

/** Gradients by the weights of repeats and attributes. */
function historyGradients(head: usize, g: usize, item: i32, count: i32, partial: usize): void {
  const stride = size(head, HeadField.Stride);
  const starts = field(head, HeadField.TileStarts);
  if (starts != 0) {
    const tile = item / TILE;
    const end = load<i32>(starts + bytes(tile + 1));
    for (let i = load<i32>(starts + bytes(tile)); i < end; i++) {
      const pair = field(head, HeadField.Pairs) + bytes(3 * i);
      const plane = load<i32>(pair + 8);
      if (plane < 0) continue;
      addTo(partial + bytes(plane), load<f32>(g + bytes((load<i32>(pair) - item) * stride + load<i32>(pair + 4))));
    }
  }
  if (size(head, HeadField.Slots) > 0) {
    for (let attribute = 0, n = size(head, HeadField.Attributes); attribute < n; attribute++) {
      let byLast: f32 = 0, byRecent: f32 = 0;
      for (let i = 0; i < count; i++) {
        const slot = slotOf(head, attribute, item + i);
        if (slot < 0) continue;
        byLast += dot(g + bytes(i * stride), field(head, HeadField.AttributeLast) + bytes(slot * stride), stride);
        byRecent += dot(g + bytes(i * stride), field(head, HeadField.AttributeRecent) + bytes(slot * stride), stride);
      }
      const at = partial + bytes(size(head, HeadField.AttributePlane) + 2 * attribute);
      addTo(at, byLast);
      addTo(at + 4, byRecent);
    }
  }
}

/**
 * Adds to the gradient rows of up to a tile of items: g times the states. A panel of 8 columns of the states at a time,
 * which stays in the first-level cache with g.
 */
function tableGradients(g: usize, panels: usize, gradient: usize, count: i32, stride: i32, width: i32): void {
  const step = bytes(width);
  const across = bytes(stride);
  let k = 0;
  for (; k + 8 <= width; k += 8) {
    const panel = panels + bytes(k * stride);
    let i = 0;
    for (; i + 4 <= count; i += 4) {
      const to = gradient + bytes(i * width + k);
      let c00 = v128.load(to), c01 = v128.load(to, 16);
      let c10 = v128.load(to + step), c11 = v128.load(to + step, 16);
      let c20 = v128.load(to + 2 * step), c21 = v128.load(to + 2 * step, 16);
      let c30 = v128.load(to + 3 * step), c31 = v128.load(to + 3 * step, 16);
      let s = panel;
      let x0 = g + bytes(i * stride), x1 = x0 + across, x2 = x1 + across, x3 = x2 + across;
      // One step a turn: V8 reorders a longer body and spills.
      for (const end = x0 + across; x0 < end; x0 += 4) {
        const a = v128.load(s), b = v128.load(s, 16);
        s += 32;
        let y = v128.load32_splat(x0);
        c00 = fma(y, a, c00); c01 = fma(y, b, c01);
        y = v128.load32_splat(x1);
        x1 += 4;
        c10 = fma(y, a, c10); c11 = fma(y, b, c11);
        y = v128.load32_splat(x2);
        x2 += 4;
        c20 = fma(y, a, c20); c21 = fma(y, b, c21);
        y = v128.load32_splat(x3);
        x3 += 4;
        c30 = fma(y, a, c30); c31 = fma(y, b, c31);
      }
      v128.store(to, c00); v128.store(to, c01, 16);
      v128.store(to + step, c10); v128.store(to + step, c11, 16);
      v128.store(to + 2 * step, c20); v128.store(to + 2 * step, c21, 16);
      v128.store(to + 3 * step, c30); v128.store(to + 3 * step, c31, 16);
    }
    for (; i < count; i++) {
      const to = gradient + bytes(i * width + k);
      tableGradient4(g + bytes(i * stride), panel, to, stride, 32);
      tableGradient4(g + bytes(i * stride), panel + 16, to + 16, stride, 32);
    }
  }
  if (k == width) return;
  for (let i = 0; i < count; i++) {
    tableGradient4(g + bytes(i * stride), panels + bytes(k * stride), gradient + bytes(i * width + k), stride, 16);
  }
}

/** The same for one item and 4 columns, whose rows are `step` bytes apart. */
function tableGradient4(g: usize, states: usize, out: usize, stride: i32, step: usize): void {
  let sum = v128.load(out);
  for (let row = 0; row < stride; row++) {
    sum = fma(v128.load32_splat(g + bytes(row)), v128.load(states), sum);
    states += step;
  }
  v128.store(out, sum);
}

/** Adds the chunks' gradients by the states, in their order, and those of listed items, which come by the queries through the projection. */
export function joinStates(head: usize, chunk: i32): void {
  const stride = size(head, HeadField.Stride);
  const width = size(head, HeadField.Width);
  const featureWidth = size(head, HeadField.FeatureWidth);
  const projectionRows = size(head, HeadField.ProjectionRows);
  const statePartials = field(head, HeadField.StatePartials);
  const queries = field(head, HeadField.QueryGradient);
  const projection = field(head, HeadField.Projection);
  const chunks = size(head, HeadField.Chunks);
  const last = lastRow(head, chunk, size(head, HeadField.Rows));
  for (let row = firstRow(head, chunk); row < last; row++) {
    const to = field(head, HeadField.StateGradient) + bytes(row * width);
    if (statePartials != 0) {
      for (let p = 0; p < chunks; p++) addScaled(to, statePartials + bytes((p * stride + row) * width), 1, width);
    }
    if (queries == 0) continue;
    const query = queries + bytes(row * featureWidth);
    for (let f = 0; f < projectionRows; f++) {
      addScaled(to, projection + bytes(f * width), load<f32>(query + bytes(f)), width);
    }
  }
}

/** Gradient of a range of the projection's rows: the chunks' in their order, and the queries' gradients times the states. */
export function projectionGradient(head: usize, chunk: i32): void {
  const width = size(head, HeadField.Width);
  const featureWidth = size(head, HeadField.FeatureWidth);
  const projectionRows = size(head, HeadField.ProjectionRows);
  const rows = size(head, HeadField.Rows);
  const partials = field(head, HeadField.ProjectionPartials);
  const queries = field(head, HeadField.QueryGradient);
  const first = firstRow(head, chunk);
  const last = lastRow(head, chunk, projectionRows);
  const to = field(head, HeadField.ProjectionGradient);
  if (partials != 0) {
    for (let p = 0, n = size(head, HeadField.Chunks); p < n; p++) {
      addScaled(to + bytes(first * width), partials + bytes((p * projectionRows + first) * width), 1, (last - first) * width);
    }
  }
  if (queries == 0) return;
  for (let f = first; f < last; f++) {
    for (let row = 0; row < rows; row++) {
      const slope = load<f32>(queries + bytes(row * featureWidth + f));
      addScaled(to + bytes(f * width), field(head, HeadField.PackedStates) + bytes(row * width), slope, width);
    }
  }
}

/** Gradients of the history weights and of None: the chunks' in their order, and those of listed items by the queries. */
export function historyWeightGradients(head: usize): void {
  const planes = size(head, HeadField.Planes);
  const partials = field(head, HeadField.HistoryPartials);
  const gradient = field(head, HeadField.HistoryGradient);
  const none = field(head, HeadField.NoneGradient);
  for (let p = 0, n = size(head, HeadField.HistoryChunks); p < n; p++) {
    const partial = partials + bytes(p * (planes + 1));
    if (gradient != 0) addScaled(gradient, partial, 1, planes);
    if (none != 0) addTo(none, load<f32>(partial + bytes(planes)));
  }
  const textPlane = size(head, HeadField.TextPlane);
  const queries = field(head, HeadField.QueryGradient);
  if (gradient == 0 || textPlane < 0 || queries == 0) return;
  const count = size(head, HeadField.Rows) * size(head, HeadField.FeatureWidth);
  addTo(gradient + bytes(textPlane), dot(queries, field(head, HeadField.TextLast), count));
  addTo(gradient + bytes(textPlane + 1), dot(queries, field(head, HeadField.TextRecent), count));
}
