/** What histories add to the scores by the text of their items. */
import { HeadField, PlaneJob, TILE } from '../head-layout';
import { addScaled, addTo, bytes, dot, field, fill, firstRow, float, lastRow, size } from './head-arrays';
import { fma, pairHigh, pairLow, sum4, sums4, unpackHigh, unpackLow, zero } from './simd';

/** Text vectors of the histories of a group of rows, for listed items: of the last item, and the recency-weighted mean. Rows without a history are zero. */
export function historyText(head: usize, chunk: i32): void {
  const width = size(head, HeadField.FeatureWidth);
  const recentWidth = size(head, HeadField.RecentWidth);
  const textItems = min(recentWidth, size(head, HeadField.TextItems));
  const features = field(head, HeadField.Features);
  const decay = <f64>float(head, HeadField.Decay);
  const end = lastRow(head, chunk, size(head, HeadField.Rows));
  for (let row = firstRow(head, chunk); row < end; row++) {
    const recent = field(head, HeadField.Recent) + bytes(row * recentWidth);
    const last = field(head, HeadField.TextLast) + bytes(row * width);
    const mean = field(head, HeadField.TextRecent) + bytes(row * width);
    fill(last, width, 0);
    fill(mean, width, 0);
    let total: f64 = 0, weight: f64 = 1;
    for (let j = 0; j < textItems && load<i32>(recent + bytes(j)) >= 0; j++) {
      total += weight;
      weight *= decay;
    }
    weight = 1;
    for (let j = 0; j < textItems; j++) {
      const item = load<i32>(recent + bytes(j));
      if (item < 0) break;
      const from = features + bytes(item * width);
      if (j == 0) memory.copy(last, from, bytes(width));
      addScaled(mean, from, <f32>(weight / total), width);
      weight *= decay;
    }
  }
}

/** Cosines of some items to a range of items, two of them at a time; what follows the last item in their rows is left alone. */
export function cosines(head: usize, chunk: i32): void {
  const width = size(head, HeadField.FeatureWidth);
  const features = field(head, HeadField.Features);
  const first = chunk * size(head, HeadField.ChunkItems);
  const last = min(size(head, HeadField.Items), first + size(head, HeadField.ChunkItems));
  const wanted = field(head, HeadField.CosineItems);
  const count = size(head, HeadField.NewCosines);
  for (let item = first; item < last; item += TILE) {
    const end = min(last, item + TILE);
    for (let i = 0; i < count; i += 2) {
      // Where the second is missing, the first is made twice.
      const j = min(i + 1, count - 1);
      const own = features + bytes(load<i32>(wanted + bytes(2 * i)) * width);
      const own2 = features + bytes(load<i32>(wanted + bytes(2 * j)) * width);
      const to = <usize>load<u32>(wanted + bytes(2 * i + 1));
      const to2 = <usize>load<u32>(wanted + bytes(2 * j + 1));
      let other = item;
      for (; other + 4 <= end; other += 4) cosines4(features + bytes(other * width), own, own2, width, to + bytes(other), to2 + bytes(other));
      for (; other < end; other++) {
        store<f32>(to + bytes(other), dot(features + bytes(other * width), own, width));
        store<f32>(to2 + bytes(other), dot(features + bytes(other * width), own2, width));
      }
    }
  }
}

/** Dot products of 4 consecutive rows with two others. */
function cosines4(t0: usize, x: usize, y: usize, width: i32, toX: usize, toY: usize): void {
  const step = bytes(width);
  let t1 = t0 + step, t2 = t1 + step, t3 = t2 + step;
  let x0 = zero(), x1 = zero(), x2 = zero(), x3 = zero(), y0 = zero(), y1 = zero(), y2 = zero(), y3 = zero();
  for (const end = t0 + step; t0 < end; t0 += 16) {
    const a = v128.load(x), b = v128.load(y);
    x += 16;
    y += 16;
    let t = v128.load(t0);
    x0 = fma(t, a, x0); y0 = fma(t, b, y0);
    t = v128.load(t1);
    t1 += 16;
    x1 = fma(t, a, x1); y1 = fma(t, b, y1);
    t = v128.load(t2);
    t2 += 16;
    x2 = fma(t, a, x2); y2 = fma(t, b, y2);
    t = v128.load(t3);
    t3 += 16;
    x3 = fma(t, a, x3); y3 = fma(t, b, y3);
  }
  v128.store(toX, sums4(x0, x1, x2, x3));
  v128.store(toY, sums4(y0, y1, y2, y3));
}

/**
 * Text planes of some histories over a range of items. The mean of n cosines is made from the mean of those before the
 * newest, so a history that is another and one item more has the same bits whichever way it is made.
 */
export function textPlanes(head: usize, chunk: i32): void {
  const first = chunk * size(head, HeadField.ChunkItems);
  const last = min(size(head, HeadField.Items), first + size(head, HeadField.ChunkItems));
  const jobs = field(head, HeadField.PlaneJobs);
  const step = bytes(PlaneJob.Count + size(head, HeadField.TextItems));
  const end = jobs + <usize>size(head, HeadField.PlaneJobCount) * step;
  for (let item = first; item < last; item += TILE) {
    // In their order: a parent that is new itself comes before its children.
    for (let job = jobs; job < end; job += step) planesOfTile(head, job, item);
  }
}

function planesOfTile(head: usize, job: usize, item: i32): void {
  const rates = field(head, HeadField.PlaneRates);
  const count = load<i32>(job + bytes(PlaneJob.Items));
  const offset = planesOffset(item);
  const to = <usize>load<u32>(job + bytes(PlaneJob.Planes)) + offset;
  const parent = <usize>load<u32>(job + bytes(PlaneJob.Parent));
  const rows = job + bytes(PlaneJob.Count);
  // Four vectors at a time: as many as stay in registers with what is made of them.
  for (let at: usize = 0; at < PLANE; at += 64) {
    let m0 = zero(), m1 = zero(), m2 = zero(), m3 = zero();
    let t0 = f32x4.splat(-1), t1 = t0, t2 = t0, t3 = t0;
    let n = 1;
    if (parent != 0) {
      const from = parent + offset + at;
      m0 = v128.load(from, PLANE); m1 = v128.load(from, PLANE + 16); m2 = v128.load(from, PLANE + 32); m3 = v128.load(from, PLANE + 48);
      t0 = v128.load(from, 2 * PLANE); t1 = v128.load(from, 2 * PLANE + 16); t2 = v128.load(from, 2 * PLANE + 32); t3 = v128.load(from, 2 * PLANE + 48);
      n = count;
    }
    let pointer = rows;
    let cosine: usize = 0;
    for (; n <= count; n++) {
      cosine = <usize>load<u32>(pointer) + bytes(item) + at;
      pointer += 4;
      const newest = v128.load32_splat(rates + bytes(2 * n)), before = v128.load32_splat(rates + bytes(2 * n + 1));
      let c = v128.load(cosine);
      t0 = f32x4.pmax(t0, c);
      m0 = fma(c, newest, f32x4.mul(m0, before));
      c = v128.load(cosine, 16);
      t1 = f32x4.pmax(t1, c);
      m1 = fma(c, newest, f32x4.mul(m1, before));
      c = v128.load(cosine, 32);
      t2 = f32x4.pmax(t2, c);
      m2 = fma(c, newest, f32x4.mul(m2, before));
      c = v128.load(cosine, 48);
      t3 = f32x4.pmax(t3, c);
      m3 = fma(c, newest, f32x4.mul(m3, before));
    }
    const out = to + at;
    memory.copy(out, cosine, 64);
    v128.store(out, m0, PLANE); v128.store(out, m1, PLANE + 16); v128.store(out, m2, PLANE + 32); v128.store(out, m3, PLANE + 48);
    v128.store(out, t0, 2 * PLANE); v128.store(out, t1, 2 * PLANE + 16); v128.store(out, t2, 2 * PLANE + 32); v128.store(out, t3, 2 * PLANE + 48);
  }
}

/** Bytes of one plane of a tile. */
const PLANE: usize = 4 * TILE;

/** From the start of a history's planes to those of the tile that begins with an item. */
@inline function planesOffset(item: i32): usize {
  return <usize>(item / TILE) * 3 * PLANE;
}

/** Begins a tile's scores with the biases and what the text planes add to them. */
export function startTile(head: usize, out: usize, first: i32, last: i32): void {
  const stride = size(head, HeadField.Stride);
  const weights = field(head, HeadField.History) + bytes(size(head, HeadField.TextPlane));
  const w0 = v128.load32_splat(weights), w1 = v128.load32_splat(weights + 4), w2 = v128.load32_splat(weights + 8);
  const rows = field(head, HeadField.PlaneRows);
  const biases = field(head, HeadField.Bias);
  if (stride == 1) {
    const planes = <usize>load<u32>(rows);
    for (let item = first; item < last; item += 4) {
      const p = planes + planesOffset(item) + bytes(item & (TILE - 1));
      // Up to three numbers past the last item: memory is given out in larger pieces.
      v128.store(out + bytes(item - first), weighed(p, v128.load(biases + bytes(item)), w0, w1, w2));
    }
    return;
  }
  const step = bytes(stride);
  for (let row = 0; row < stride; row += 4) {
    const p0 = <usize>load<u32>(rows + bytes(row)), p1 = <usize>load<u32>(rows + bytes(row + 1));
    const p2 = <usize>load<u32>(rows + bytes(row + 2)), p3 = <usize>load<u32>(rows + bytes(row + 3));
    let to = out + bytes(row);
    for (let item = first; item < last; item += 4) {
      const at = planesOffset(item) + bytes(item & (TILE - 1));
      const b = v128.load(biases + bytes(item));
      const r0 = weighed(p0 + at, b, w0, w1, w2), r1 = weighed(p1 + at, b, w0, w1, w2);
      const r2 = weighed(p2 + at, b, w0, w1, w2), r3 = weighed(p3 + at, b, w0, w1, w2);
      const low01 = unpackLow(r0, r1), low23 = unpackLow(r2, r3), high01 = unpackHigh(r0, r1), high23 = unpackHigh(r2, r3);
      v128.store(to, pairLow(low01, low23));
      to += step;
      if (item + 1 < last) v128.store(to, pairHigh(low01, low23));
      to += step;
      if (item + 2 < last) v128.store(to, pairLow(high01, high23));
      to += step;
      if (item + 3 < last) v128.store(to, pairHigh(high01, high23));
      to += step;
    }
  }
}

/** Weighted sum of the three planes of 4 items, and their biases. */
@inline function weighed(planes: usize, bias: v128, w0: v128, w1: v128, w2: v128): v128 {
  return fma(w2, v128.load(planes, 2 * PLANE), fma(w1, v128.load(planes, PLANE), fma(w0, v128.load(planes), bias)));
}

/** Adds to the gradients of the weights of the three text planes what the gradients by some tiles' scores are worth. */
export function textGradients(head: usize, g: usize, first: i32, last: i32, partial: usize): void {
  const stride = size(head, HeadField.Stride);
  const step = bytes(stride);
  const rows = field(head, HeadField.PlaneRows);
  // Tiles are full up to a multiple of 4 items: what is past the last one counts for nothing.
  for (let item = last; (item & 3) != 0; item++) fill(g + bytes((item - first) * stride), stride, 0);
  let s0 = zero(), s1 = zero(), s2 = zero();
  for (let row = 0; row < stride; row += 4) {
    const p0 = <usize>load<u32>(rows + bytes(row)), p1 = <usize>load<u32>(rows + bytes(row + 1));
    const p2 = <usize>load<u32>(rows + bytes(row + 2)), p3 = <usize>load<u32>(rows + bytes(row + 3));
    let from = g + bytes(row);
    for (let item = first; item < last; item += 4) {
      const at = planesOffset(item) + bytes(item & (TILE - 1));
      const i0 = v128.load(from);
      from += step;
      const i1 = v128.load(from);
      from += step;
      const i2 = v128.load(from);
      from += step;
      const i3 = v128.load(from);
      from += step;
      const low01 = unpackLow(i0, i1), low23 = unpackLow(i2, i3), high01 = unpackHigh(i0, i1), high23 = unpackHigh(i2, i3);
      let slope = pairLow(low01, low23);
      s0 = fma(slope, v128.load(p0 + at), s0);
      s1 = fma(slope, v128.load(p0 + at, PLANE), s1);
      s2 = fma(slope, v128.load(p0 + at, 2 * PLANE), s2);
      slope = pairHigh(low01, low23);
      s0 = fma(slope, v128.load(p1 + at), s0);
      s1 = fma(slope, v128.load(p1 + at, PLANE), s1);
      s2 = fma(slope, v128.load(p1 + at, 2 * PLANE), s2);
      slope = pairLow(high01, high23);
      s0 = fma(slope, v128.load(p2 + at), s0);
      s1 = fma(slope, v128.load(p2 + at, PLANE), s1);
      s2 = fma(slope, v128.load(p2 + at, 2 * PLANE), s2);
      slope = pairHigh(high01, high23);
      s0 = fma(slope, v128.load(p3 + at), s0);
      s1 = fma(slope, v128.load(p3 + at, PLANE), s1);
      s2 = fma(slope, v128.load(p3 + at, 2 * PLANE), s2);
    }
  }
  const to = partial + bytes(size(head, HeadField.TextPlane));
  addTo(to, sum4(s0));
  addTo(to + 4, sum4(s1));
  addTo(to + 8, sum4(s2));
}
