/** Passes over rows of activations whose width is a multiple of 4: normalisation, dropout, sums. */
import { TowerField } from '../tower-layout';
import { bytes, float, size } from './head-arrays';
import { fma, sum4, zero } from './simd';

/** Added to the variance. */
const EPSILON: f32 = 1e-5;
/** Step of the counter that dropout hashes. */
const GOLDEN: u32 = 0x9e3779b9;

/** The finaliser of splitmix32. */
@inline function mix(value: u32): u32 {
  let x = (value ^ (value >> 16)) * 0x21f0aaad;
  x = (x ^ (x >> 15)) * 0x735a2d97;
  return x ^ (x >> 15);
}

/** What a dropout site's factors are made from; see `compute/dropout.ts`. `site` counts from the tower's first. */
export function dropoutKey(tower: usize, site: i32): u32 {
  const low = mix(<u32>size(tower, TowerField.SeedLow));
  const high = mix(<u32>size(tower, TowerField.SeedHigh) + GOLDEN);
  return mix(low ^ high ^ (<u32>(size(tower, TowerField.FirstSite) + site + 1) * 0x85ebca6b));
}

/** Dropout's factors of elements `index` to `index + 3`. */
@inline function factors(key: u32, index: u32, limit: v128, kept: v128): v128 {
  let x = i32x4.add(i32x4.splat(key + index * GOLDEN), i32x4(0, 0x9e3779b9, 0x3c6ef372, 0xdaa66d2b));
  x = i32x4.mul(v128.xor(x, i32x4.shr_u(x, 16)), i32x4.splat(0x21f0aaad));
  x = i32x4.mul(v128.xor(x, i32x4.shr_u(x, 15)), i32x4.splat(0x735a2d97));
  x = v128.xor(x, i32x4.shr_u(x, 15));
  return v128.andnot(kept, i32x4.le_u(x, limit));
}

/** y = x times dropout's factors of elements `index`, ...; `count` floats. */
export function dropOut(tower: usize, y: usize, x: usize, count: i32, key: u32, index: u32): void {
  const limit = i32x4.splat(size(tower, TowerField.DropLimit));
  const kept = f32x4.splat(float(tower, TowerField.Kept));
  for (let i = 0; i < count; i += 4) {
    v128.store(y, f32x4.mul(v128.load(x), factors(key, index, limit, kept)));
    x += 16;
    y += 16;
    index += 4;
  }
}

/** z = (x - mean) / sqrt(variance + epsilon) of one row; gives 1 / sqrt(variance + epsilon). */
export function normalise(z: usize, x: usize, width: i32): f32 {
  const end = bytes(width);
  let sum = zero();
  for (let i: usize = 0; i < end; i += 16) sum = f32x4.add(sum, v128.load(x + i));
  return centre(z, x, width, sum);
}

/** x = a + b, then z = norm(x) of one row; gives the rate. `x` may be `a`. */
export function addAndNormalise(z: usize, x: usize, a: usize, b: usize, width: i32): f32 {
  const end = bytes(width);
  let sum = zero();
  for (let i: usize = 0; i < end; i += 16) {
    const v = f32x4.add(v128.load(a + i), v128.load(b + i));
    v128.store(x + i, v);
    sum = f32x4.add(sum, v);
  }
  return centre(z, x, width, sum);
}

@inline function centre(z: usize, x: usize, width: i32, sum: v128): f32 {
  const end = bytes(width);
  const mean = f32x4.splat(sum4(sum) / <f32>width);
  let squares = zero();
  for (let i: usize = 0; i < end; i += 16) {
    const v = f32x4.sub(v128.load(x + i), mean);
    v128.store(z + i, v);
    squares = fma(v, v, squares);
  }
  const rate: f32 = 1 / sqrt(sum4(squares) / <f32>width + EPSILON);
  const factor = f32x4.splat(rate);
  for (let i: usize = 0; i < end; i += 16) v128.store(z + i, f32x4.mul(v128.load(z + i), factor));
  return rate;
}

/**
 * dx = rate (dz - mean(dz) - z mean(dz z)) for each row, the gradient of {@link normalise}.
 *
 * @param isAdded - whether it is added to what dx holds.
 */
export function normaliseBackward(
  dx: usize,
  dz: usize,
  z: usize,
  rates: usize,
  n: i32,
  width: i32,
  isAdded: bool,
): void {
  const end = bytes(width);
  const share: f32 = 1 / <f32>width;
  for (let row = 0; row < n; row++) {
    let sum = zero();
    let product = zero();
    for (let i: usize = 0; i < end; i += 16) {
      const d = v128.load(dz + i);
      sum = f32x4.add(sum, d);
      product = fma(d, v128.load(z + i), product);
    }
    const rate = load<f32>(rates);
    const factor = f32x4.splat(rate);
    const mean = f32x4.splat(-rate * share * sum4(sum));
    const along = f32x4.splat(-rate * share * sum4(product));
    for (let i: usize = 0; i < end; i += 16) {
      const from = isAdded ? f32x4.add(v128.load(dx + i), mean) : mean;
      v128.store(dx + i, fma(v128.load(dz + i), factor, fma(v128.load(z + i), along, from)));
    }
    dx += end;
    dz += end;
    z += end;
    rates += 4;
  }
}

/** x = max(x, 0), NaN where it is NaN; `count` floats. */
export function rectify(x: usize, count: usize): void {
  const end = x + (count << 2);
  for (; x < end; x += 16) v128.store(x, f32x4.pmax(v128.load(x), zero()));
}

/** dx = 0 where the hidden unit is 0; `count` floats. */
export function rectifyBackward(dx: usize, hidden: usize, count: usize): void {
  const end = dx + (count << 2);
  for (; dx < end; dx += 16) {
    v128.store(dx, v128.andnot(v128.load(dx), f32x4.eq(v128.load(hidden), zero())));
    hidden += 16;
  }
}

/** sums[width] = sum of `n` rows of x, which are `stride` bytes apart. */
export function sumRows(sums: usize, x: usize, stride: usize, n: i32, width: i32): void {
  let column = 0;
  for (; column + 16 <= width; column += 16) {
    let a = zero();
    let b = a;
    let c = a;
    let d = a;
    let p = x + bytes(column);
    for (let row = 0; row < n; row++) {
      a = f32x4.add(a, v128.load(p));
      b = f32x4.add(b, v128.load(p, 16));
      c = f32x4.add(c, v128.load(p, 32));
      d = f32x4.add(d, v128.load(p, 48));
      p += stride;
    }
    const to = sums + bytes(column);
    v128.store(to, a);
    v128.store(to, b, 16);
    v128.store(to, c, 32);
    v128.store(to, d, 48);
  }
  for (; column < width; column += 4) {
    let a = zero();
    let p = x + bytes(column);
    for (let row = 0; row < n; row++) {
      a = f32x4.add(a, v128.load(p));
      p += stride;
    }
    v128.store(sums + bytes(column), a);
  }
}

/** y = a + b; `count` floats, a multiple of 4. `y` may be `a`. */
export function addRows(y: usize, a: usize, b: usize, count: i32): void {
  const end = bytes(count);
  for (let i: usize = 0; i < end; i += 16) v128.store(y + i, f32x4.add(v128.load(a + i), v128.load(b + i)));
}

/** y += x; `count` floats, a multiple of 4. */
@inline export function addRow(y: usize, x: usize, count: i32): void {
  addRows(y, y, x, count);
}

/** y = x; `count` floats, a multiple of 4. For a few dozen, a loop is faster than what memory.copy calls. */
export function copyRow(y: usize, x: usize, count: i32): void {
  const end = bytes(count);
  for (let i: usize = 0; i < end; i += 16) v128.store(y + i, v128.load(x + i));
}
