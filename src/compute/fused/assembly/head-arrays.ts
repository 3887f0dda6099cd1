/** Reading the words of a structure, and arithmetic on plain arrays of numbers. */
import { HeadField } from '../head-layout';
import { exp4, fma, sum4, zero } from './simd';

@inline export function field(head: usize, name: i32): usize {
  return load<u32>(head + ((<usize>name) << 2));
}

@inline export function size(head: usize, name: i32): i32 {
  return load<i32>(head + ((<usize>name) << 2));
}

@inline export function float(head: usize, name: i32): f32 {
  return load<f32>(head + ((<usize>name) << 2));
}

@inline export function bytes(count: i32): usize {
  return (<usize>count) << 2;
}

@inline export function fill(at: usize, count: i32, value: f32): void {
  for (let i = 0; i < count; i++) store<f32>(at + bytes(i), value);
}

/** Sum of the products of two arrays. */
export function dot(x: usize, y: usize, count: i32): f32 {
  let a = zero();
  let b = zero();
  let i = 0;
  for (; i + 8 <= count; i += 8) {
    a = fma(v128.load(x), v128.load(y), a);
    b = fma(v128.load(x, 16), v128.load(y, 16), b);
    x += 32;
    y += 32;
  }
  if (i + 4 <= count) {
    a = fma(v128.load(x), v128.load(y), a);
    x += 16;
    y += 16;
    i += 4;
  }
  let sum = sum4(f32x4.add(a, b));
  for (; i < count; i++) {
    sum += load<f32>(x) * load<f32>(y);
    x += 4;
    y += 4;
  }
  return sum;
}

/** y += factor * x. */
export function addScaled(y: usize, x: usize, factor: f32, count: i32): void {
  const f = f32x4.splat(factor);
  let i = 0;
  for (; i + 4 <= count; i += 4) {
    v128.store(y, fma(f, v128.load(x), v128.load(y)));
    x += 16;
    y += 16;
  }
  for (; i < count; i++) {
    store<f32>(y, load<f32>(y) + factor * load<f32>(x));
    x += 4;
    y += 4;
  }
}

/** y *= factor. */
export function multiplyBy(y: usize, factor: f32, count: i32): void {
  const f = f32x4.splat(factor);
  let i = 0;
  for (; i + 4 <= count; i += 4) {
    v128.store(y, f32x4.mul(f, v128.load(y)));
    y += 16;
  }
  for (; i < count; i++) {
    store<f32>(y, factor * load<f32>(y));
    y += 4;
  }
}

@inline export function firstRow(head: usize, chunk: i32): i32 {
  return chunk * size(head, HeadField.ChunkRows);
}

@inline export function lastRow(head: usize, chunk: i32, rows: i32): i32 {
  return min(rows, (chunk + 1) * size(head, HeadField.ChunkRows));
}

/** Natural logarithm by 2 atanh((m - 1) / (m + 1)), with x = m 2^k and m in [sqrt(1/2), sqrt(2)); of 0, a negative number or NaN it is NaN. */
export function log64(x: f64): f64 {
  if (!(x > 0) || x == Infinity) return x > 0 ? x : NaN;
  const bits = reinterpret<u64>(x);
  let k = <i32>(bits >> 52) - 1023;
  let m = reinterpret<f64>((bits & 0x000fffffffffffff) | 0x3ff0000000000000);
  if (m > 1.4142135623730951) {
    m *= 0.5;
    k++;
  }
  const s = (m - 1) / (m + 1);
  const square = s * s;
  let sum: f64 = 0;
  for (let n = 23; n >= 1; n -= 2) sum = sum * square + 1 / <f64>n;
  return <f64>k * 0.6931471805599453 + 2 * s * sum;
}

@inline export function exp1(x: f32): f32 {
  return f32x4.extract_lane(exp4(f32x4.splat(x)), 0);
}

@inline export function addTo(at: usize, value: f32): void {
  store<f32>(at, load<f32>(at) + value);
}
