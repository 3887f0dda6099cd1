/**
 * Attention within one segment. In all blocks but the last every token asks (`attend`); in the last block only the last
 * token does, and keys and values are never made (`attendLast`). The padding of a head's columns is 0 everywhere.
 */
import { BlockField, TowerField } from '../tower-layout';
import { bytes, field, float, size } from './head-arrays';
import { multiplyStrided, transpose } from './matrix';
import { exp4, fma, max4, sum4, zero } from './simd';
import { int, row, upTo4 } from './tower-words';

/**
 * Softmax of `scale` times the first `count` entries of a row; the others up to `end` become 0.
 *
 * @param end - a multiple of 4.
 */
function softmax(w: usize, count: i32, end: i32, scale: f32): void {
  const full = count & ~3;
  if (full < count) {
    const isIn = i32x4.lt_s(i32x4(0, 1, 2, 3), i32x4.splat(count - full));
    const at = w + bytes(full);
    v128.store(at, v128.bitselect(v128.load(at), f32x4.splat(-Infinity), isIn));
  }
  const stop = w + bytes(upTo4(count));
  let largest = v128.load(w);
  for (let p = w + 16; p < stop; p += 16) largest = f32x4.pmax(largest, v128.load(p));
  const top = f32x4.splat(max4(largest));
  const factor = f32x4.splat(scale);
  let sum = zero();
  for (let p = w; p < stop; p += 16) {
    const e = exp4(f32x4.mul(f32x4.sub(v128.load(p), top), factor));
    v128.store(p, e);
    sum = f32x4.add(sum, e);
  }
  const share = f32x4.splat(1 / sum4(sum));
  for (let p = w; p < stop; p += 16) v128.store(p, f32x4.mul(v128.load(p), share));
  for (let p = stop; p < w + bytes(end); p += 16) v128.store(p, zero());
}

/** From the gradient by weights to that by scores: d = w (d - sum of w d) scale; `count` is a multiple of 4. */
function softmaxBackward(d: usize, w: usize, count: i32, scale: f32): void {
  const end = bytes(count);
  let sum = zero();
  for (let i: usize = 0; i < end; i += 16) sum = fma(v128.load(w + i), v128.load(d + i), sum);
  const mean = f32x4.splat(sum4(sum));
  const factor = f32x4.splat(scale);
  for (let i: usize = 0; i < end; i += 16) {
    const centred = f32x4.sub(v128.load(d + i), mean);
    v128.store(d + i, f32x4.mul(f32x4.mul(v128.load(w + i), centred), factor));
  }
}

/** Every token of a segment sees itself, those before it, and what the segment goes on from. */
export function attend(tower: usize, block: usize, segment: i32, scratch: usize): void {
  const segmentStart = field(tower, TowerField.SegmentStart);
  const first = int(segmentStart, segment);
  const n = int(segmentStart, segment + 1) - first;
  const prefix = int(field(tower, TowerField.PrefixLength), segment);
  const prefixStart = int(field(tower, TowerField.PrefixStart), segment);
  const heads = size(tower, TowerField.Heads);
  const head = size(tower, TowerField.PaddedHead);
  const inner = heads * head;
  const scale = float(tower, TowerField.Scale);
  const keyStride = bytes(2 * inner);
  const keys = upTo4(prefix + n);
  const stride = bytes(keys);
  const kept = int(field(tower, TowerField.WeightStart), segment);
  let weights =
    kept < 0 ? scratch + field(tower, TowerField.ScratchWeights) : field(block, BlockField.Weights) + bytes(kept);
  for (let h = 0; h < heads; h++) {
    const column = bytes(h * head);
    const query = row(field(block, BlockField.Queries), first, inner) + column;
    const attended = row(field(block, BlockField.Attended), first, inner) + column;
    const keyValues = field(block, BlockField.KeyValues) + column;
    const ownKeys = row(keyValues, first, 2 * inner);
    const prefixKeys = row(keyValues, prefixStart, 2 * inner);
    if (prefix > 0) transpose(scratch, stride, prefixKeys, keyStride, prefix, head);
    transpose(scratch + bytes(prefix), stride, ownKeys, keyStride, n, head);
    for (let i = 0; i < n; i += 4) {
      const rows = min(n - i, 4);
      const seen = upTo4(prefix + i + rows);
      const w = weights + <usize>i * stride;
      multiplyStrided(w, stride, row(query, i, inner), bytes(inner), 4, scratch, stride, rows, head, seen, 0, 0);
      for (let r = 0; r < rows; r++) softmax(w + <usize>r * stride, prefix + i + r + 1, seen, scale);
      const to = row(attended, i, inner);
      let start: usize = 0;
      if (prefix > 0) {
        const values = prefixKeys + bytes(inner);
        multiplyStrided(to, bytes(inner), w, stride, 4, values, keyStride, rows, prefix, head, 0, 0);
        start = to;
      }
      const values = ownKeys + bytes(inner);
      const own = w + bytes(prefix);
      multiplyStrided(to, bytes(inner), own, stride, 4, values, keyStride, rows, i + rows, head, start, bytes(inner));
    }
    if (kept >= 0) weights += <usize>n * stride;
  }
}

/**
 * Gradients by queries, keys and values of a segment that goes on from nothing, from those by attended values, which
 * AttendedGradient holds.
 */
export function attendBackward(tower: usize, block: usize, segment: i32, scratch: usize): void {
  const segmentStart = field(tower, TowerField.SegmentStart);
  const first = int(segmentStart, segment);
  const n = int(segmentStart, segment + 1) - first;
  const heads = size(tower, TowerField.Heads);
  const head = size(tower, TowerField.PaddedHead);
  const inner = heads * head;
  const scale = float(tower, TowerField.Scale);
  const innerStride = bytes(inner);
  const keyStride = bytes(2 * inner);
  const columns = upTo4(n);
  const stride = bytes(columns);
  const d = scratch + field(tower, TowerField.ScratchWeights);
  let weights = field(block, BlockField.Weights) + bytes(int(field(tower, TowerField.WeightStart), segment));
  for (let h = 0; h < heads; h++) {
    const column = bytes(h * head);
    const query = row(field(block, BlockField.Queries), first, inner) + column;
    const keys = row(field(block, BlockField.KeyValues), first, 2 * inner) + column;
    const dAttended = row(field(tower, TowerField.AttendedGradient), first, inner) + column;
    const dQuery = row(field(tower, TowerField.QueryGradient), first, inner) + column;
    const dKeys = row(field(tower, TowerField.KeyValueGradient), first, 2 * inner) + column;
    transpose(scratch, stride, keys + innerStride, keyStride, n, head);
    // What is beyond the last token is weighted by 0, and so must be finite.
    for (let j = n; j < columns; j++)
      for (let k = 0; k < head; k++) store<f32>(scratch + <usize>k * stride + bytes(j), 0);
    for (let i = 0; i < n; i += 4) {
      const rows = min(n - i, 4);
      const seen = i + rows;
      const di = d + <usize>i * stride;
      const wi = weights + <usize>i * stride;
      multiplyStrided(
        di,
        stride,
        row(dAttended, i, inner),
        innerStride,
        4,
        scratch,
        stride,
        rows,
        head,
        upTo4(seen),
        0,
        0,
      );
      for (let r = 0; r < rows; r++)
        softmaxBackward(di + <usize>r * stride, wi + <usize>r * stride, upTo4(seen), scale);
      multiplyStrided(row(dQuery, i, inner), innerStride, di, stride, 4, keys, keyStride, rows, seen, head, 0, 0);
    }
    for (let j = 0; j < n; j += 4) {
      const rows = min(n - j, 4);
      const corner = <usize>j * stride + bytes(j);
      const dk = row(dKeys, j, 2 * inner);
      const q = row(query, j, inner);
      multiplyStrided(dk, keyStride, d + corner, 4, stride, q, innerStride, rows, n - j, head, 0, 0);
      const dv = dk + innerStride;
      const da = row(dAttended, j, inner);
      multiplyStrided(dv, keyStride, weights + corner, 4, stride, da, innerStride, rows, n - j, head, 0, 0);
    }
    weights += <usize>n * stride;
  }
}

/** out[n] = products of `a` with `n` neighbouring rows of z. */
function dots(out: usize, a: usize, z: usize, n: i32, width: i32): void {
  const stride = bytes(width);
  let i = 0;
  for (; i + 4 <= n; i += 4) {
    let s0 = zero();
    let s1 = s0;
    let s2 = s0;
    let s3 = s0;
    const z1 = z + stride;
    const z2 = z1 + stride;
    const z3 = z2 + stride;
    for (let k: usize = 0; k < stride; k += 16) {
      const v = v128.load(a + k);
      s0 = fma(v, v128.load(z + k), s0);
      s1 = fma(v, v128.load(z1 + k), s1);
      s2 = fma(v, v128.load(z2 + k), s2);
      s3 = fma(v, v128.load(z3 + k), s3);
    }
    store<f32>(out, sum4(s0));
    store<f32>(out, sum4(s1), 4);
    store<f32>(out, sum4(s2), 8);
    store<f32>(out, sum4(s3), 12);
    out += 16;
    z = z3 + stride;
  }
  for (; i < n; i++) {
    let sum = zero();
    for (let k: usize = 0; k < stride; k += 16) sum = fma(v128.load(a + k), v128.load(z + k), sum);
    store<f32>(out, sum4(sum));
    out += 4;
    z += stride;
  }
}

/** The last token of a segment asks: from its queries times the keys' weights to Mixed, with the weights kept. */
export function attendLast(tower: usize, block: usize, segment: i32): void {
  const segmentStart = field(tower, TowerField.SegmentStart);
  const first = int(segmentStart, segment);
  const n = int(segmentStart, segment + 1) - first;
  const prefix = int(field(tower, TowerField.PrefixLength), segment);
  const heads = size(tower, TowerField.Heads);
  const width = size(tower, TowerField.Width);
  const scale = float(tower, TowerField.Scale);
  const step = size(tower, TowerField.LastWeightRow);
  const weights = row(field(block, BlockField.Weights), segment, 2 * heads * step);
  const asked = row(field(tower, TowerField.Pairs), 2 * segment + 1, heads * width);
  const mixed = row(field(tower, TowerField.Mixed), segment, heads * width);
  const normal = field(block, BlockField.Normal1);
  const tokens = row(normal, first, width);
  const before = row(normal, int(field(tower, TowerField.PrefixStart), segment), width);
  for (let h = 0; h < heads; h++) {
    const w = row(weights, h, step);
    const a = row(asked, h, width);
    dots(w, a, before, prefix, width);
    dots(w + bytes(prefix), a, tokens, n, width);
    softmax(w, prefix + n, upTo4(prefix + n), scale);
  }
  const stride = bytes(width);
  let start: usize = 0;
  if (prefix > 0) {
    multiplyStrided(mixed, stride, weights, bytes(step), 4, before, stride, heads, prefix, width, 0, 0);
    start = mixed;
  }
  const own = weights + bytes(prefix);
  multiplyStrided(mixed, stride, own, bytes(step), 4, tokens, stride, heads, n, width, start, stride);
}

/**
 * From the gradient by Mixed to AskedGradient and, written anew, the gradient by the segment's normalised tokens. For a
 * segment that goes on from nothing.
 */
export function attendLastBackward(tower: usize, block: usize, segment: i32): void {
  const segmentStart = field(tower, TowerField.SegmentStart);
  const first = int(segmentStart, segment);
  const n = int(segmentStart, segment + 1) - first;
  const heads = size(tower, TowerField.Heads);
  const width = size(tower, TowerField.Width);
  const scale = float(tower, TowerField.Scale);
  const step = size(tower, TowerField.LastWeightRow);
  const weights = row(field(block, BlockField.Weights), segment, 2 * heads * step);
  const dWeights = row(weights, heads, step);
  const dMixed = row(field(tower, TowerField.Pairs), 2 * segment, heads * width);
  const dAsked = row(field(tower, TowerField.AskedGradient), segment, heads * width);
  const tokens = row(field(block, BlockField.Normal1), first, width);
  const dTokens = row(field(tower, TowerField.NormalGradient), first, width);
  const count = upTo4(n);
  for (let h = 0; h < heads; h++) {
    const d = row(dWeights, h, step);
    dots(d, row(dMixed, h, width), tokens, n, width);
    for (let j = n; j < count; j++) store<f32>(d + bytes(j), 0);
    softmaxBackward(d, row(weights, h, step), count, scale);
  }
  const stride = bytes(width);
  multiplyStrided(dAsked, stride, dWeights, bytes(step), 4, tokens, stride, heads, n, width, 0, 0);
  // A token is weighted in Mixed and in the scores: weights times dMixed plus their gradients times the asked keys.
  multiplyStrided(dTokens, stride, weights, 4, bytes(step), dMixed, stride, n, 2 * heads, width, 0, 0);
}
