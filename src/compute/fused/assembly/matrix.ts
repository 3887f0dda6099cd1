import { fma, pairHigh, pairLow, unpackHigh, unpackLow, zero } from './simd';

/*
 * Dense products of row-major float32 matrices. Pointers and strides are in bytes, sizes in elements.
 *
 * All of them come down to one tile: 4 rows by 8 columns of the result in eight registers, one step of the inner
 * dimension a turn of a loop that is kept that short on purpose: V8 reorders a longer body and spills.
 */

/** Bytes of the right-hand matrix that a pass over the rows keeps in the first-level cache. */
const PANEL_BYTES: usize = 16384;

/**
 * Y[n, M] = start + X[n, K] W[K, M].
 *
 * @param y - the result, rows `yStride` bytes apart.
 * @param x - left; element (i, k) at `x + i * xRow + k * xColumn`, one of the two steps being 4: with `xRow` 4 it is a
 *   transposed left matrix.
 * @param w - right, rows `wStride` bytes apart.
 * @param M - columns, a multiple of 4; `n` and `K` are any.
 * @param start - what the sums start from: 0 for zeros, else rows `startStride` bytes apart (`y, yStride` adds to Y;
 *   `bias, 0` begins every row with the bias).
 */
export function multiplyStrided(
  y: usize,
  yStride: usize,
  x: usize,
  xRow: usize,
  xColumn: usize,
  w: usize,
  wStride: usize,
  n: i32,
  K: i32,
  M: i32,
  start: usize,
  startStride: usize,
): void {
  let panel = M;
  if ((<usize>K * <usize>M) << 2 > PANEL_BYTES) panel = max(8, <i32>(PANEL_BYTES / ((<usize>K) << 2)) & ~7);
  const whole = n & ~3;
  for (let first = 0; first < M; first += panel) {
    const columns = min(M - first, panel);
    const offset = (<usize>first) << 2;
    const from: usize = start === 0 ? <usize>0 : start + offset;
    if (whole > 0) {
      const eights = columns & ~7;
      if (xRow === 4)
        multiplyColumns(y + offset, yStride, x, xColumn, w + offset, wStride, whole, K, eights, from, startStride);
      else multiplyRows(y + offset, yStride, x, xRow, w + offset, wStride, whole, K, eights, from, startStride);
    }
    multiplyEdges(y + offset, yStride, x, xRow, xColumn, w + offset, wStride, n, K, columns, from, startStride);
  }
}

/** A product of whole tiles: `n` is a multiple of 4, `M` of 8, and X lies row by row. */
function multiplyRows(
  y: usize,
  yStride: usize,
  x: usize,
  xRow: usize,
  w: usize,
  wStride: usize,
  n: i32,
  K: i32,
  M: i32,
  start: usize,
  startStride: usize,
): void {
  const length = (<usize>K) << 2;
  const columnEnd = w + ((<usize>M) << 2);
  for (; n > 0; n -= 4) {
    const end = x + length;
    let to = y;
    let from = start;
    for (let column = w; column < columnEnd; column += 32) {
      let a0 = zero();
      let b0 = a0;
      let a1 = a0;
      let b1 = a0;
      let a2 = a0;
      let b2 = a0;
      let a3 = a0;
      let b3 = a0;
      if (from !== 0) {
        let s = from;
        a0 = v128.load(s);
        b0 = v128.load(s, 16);
        s += startStride;
        a1 = v128.load(s);
        b1 = v128.load(s, 16);
        s += startStride;
        a2 = v128.load(s);
        b2 = v128.load(s, 16);
        s += startStride;
        a3 = v128.load(s);
        b3 = v128.load(s, 16);
        from += 32;
      }
      let x0 = x;
      let x1 = x0 + xRow;
      let x2 = x1 + xRow;
      let x3 = x2 + xRow;
      let p = column;
      while (x0 < end) {
        const wa = v128.load(p);
        const wb = v128.load(p, 16);
        p += wStride;
        let v = v128.load32_splat(x0);
        a0 = fma(v, wa, a0);
        b0 = fma(v, wb, b0);
        v = v128.load32_splat(x1);
        a1 = fma(v, wa, a1);
        b1 = fma(v, wb, b1);
        v = v128.load32_splat(x2);
        a2 = fma(v, wa, a2);
        b2 = fma(v, wb, b2);
        v = v128.load32_splat(x3);
        a3 = fma(v, wa, a3);
        b3 = fma(v, wb, b3);
        x0 += 4;
        x1 += 4;
        x2 += 4;
        x3 += 4;
      }
      let q = to;
      v128.store(q, a0);
      v128.store(q, b0, 16);
      q += yStride;
      v128.store(q, a1);
      v128.store(q, b1, 16);
      q += yStride;
      v128.store(q, a2);
      v128.store(q, b2, 16);
      q += yStride;
      v128.store(q, a3);
      v128.store(q, b3, 16);
      to += 32;
    }
    x += xRow << 2;
    y += yStride << 2;
    if (start !== 0) start += startStride << 2;
  }
}

/** The same for a transposed left matrix, whose rows i to i + 3 are neighbours: one pointer for four. */
function multiplyColumns(
  y: usize,
  yStride: usize,
  x: usize,
  xColumn: usize,
  w: usize,
  wStride: usize,
  n: i32,
  K: i32,
  M: i32,
  start: usize,
  startStride: usize,
): void {
  const length = <usize>K * xColumn;
  const columnEnd = w + ((<usize>M) << 2);
  for (; n > 0; n -= 4) {
    const end = x + length;
    let to = y;
    let from = start;
    for (let column = w; column < columnEnd; column += 32) {
      let a0 = zero();
      let b0 = a0;
      let a1 = a0;
      let b1 = a0;
      let a2 = a0;
      let b2 = a0;
      let a3 = a0;
      let b3 = a0;
      if (from !== 0) {
        let s = from;
        a0 = v128.load(s);
        b0 = v128.load(s, 16);
        s += startStride;
        a1 = v128.load(s);
        b1 = v128.load(s, 16);
        s += startStride;
        a2 = v128.load(s);
        b2 = v128.load(s, 16);
        s += startStride;
        a3 = v128.load(s);
        b3 = v128.load(s, 16);
        from += 32;
      }
      let p = column;
      for (let x0 = x; x0 < end; x0 += xColumn) {
        const wa = v128.load(p);
        const wb = v128.load(p, 16);
        p += wStride;
        let v = v128.load32_splat(x0);
        a0 = fma(v, wa, a0);
        b0 = fma(v, wb, b0);
        v = v128.load32_splat(x0, 4);
        a1 = fma(v, wa, a1);
        b1 = fma(v, wb, b1);
        v = v128.load32_splat(x0, 8);
        a2 = fma(v, wa, a2);
        b2 = fma(v, wb, b2);
        v = v128.load32_splat(x0, 12);
        a3 = fma(v, wa, a3);
        b3 = fma(v, wb, b3);
      }
      let q = to;
      v128.store(q, a0);
      v128.store(q, b0, 16);
      q += yStride;
      v128.store(q, a1);
      v128.store(q, b1, 16);
      q += yStride;
      v128.store(q, a2);
      v128.store(q, b2, 16);
      q += yStride;
      v128.store(q, a3);
      v128.store(q, b3, 16);
      to += 32;
    }
    x += 16;
    y += yStride << 2;
    if (start !== 0) start += startStride << 2;
  }
}

/** What whole tiles leave: the last 4 columns of all rows where M is no multiple of 8, and the last 1 to 3 rows. */
function multiplyEdges(
  y: usize,
  yStride: usize,
  x: usize,
  xRow: usize,
  xColumn: usize,
  w: usize,
  wStride: usize,
  n: i32,
  K: i32,
  M: i32,
  start: usize,
  startStride: usize,
): void {
  const isOdd = (M & 7) !== 0;
  for (let i = isOdd ? 0 : n & ~3; i < n; i += 4) {
    const rows = min(n - i, 4);
    const x0 = x + <usize>i * xRow;
    const x1 = rows > 1 ? x0 + xRow : x0;
    const x2 = rows > 2 ? x1 + xRow : x0;
    const x3 = rows > 3 ? x2 + xRow : x0;
    const yi = y + <usize>i * yStride;
    const si: usize = start === 0 ? <usize>0 : start + <usize>i * startStride;
    for (let column = rows === 4 ? M & ~7 : 0; column < M; column += 8) {
      const offset = (<usize>column) << 2;
      const s: usize = si === 0 ? <usize>0 : si + offset;
      if (column + 8 <= M)
        tile8(yi + offset, yStride, x0, x1, x2, x3, xColumn, w + offset, wStride, rows, K, s, startStride);
      else tile4(yi + offset, yStride, x0, x1, x2, x3, xColumn, w + offset, wStride, rows, K, s, startStride);
    }
  }
}

/** Y[n, M] = X[n, K] W[K, M], all rows packed. */
@inline export function multiply(y: usize, x: usize, w: usize, n: i32, K: i32, M: i32): void {
  const stride = (<usize>M) << 2;
  multiplyStrided(y, stride, x, (<usize>K) << 2, 4, w, stride, n, K, M, 0, 0);
}

/** Y[n, M] += X[n, K] W[K, M], all rows packed. */
@inline export function multiplyAdd(y: usize, x: usize, w: usize, n: i32, K: i32, M: i32): void {
  const stride = (<usize>M) << 2;
  multiplyStrided(y, stride, x, (<usize>K) << 2, 4, w, stride, n, K, M, y, stride);
}

/** Y[n, M] = X[n, K] W[K, M] + bias[M], all rows packed. */
@inline export function multiplyBias(y: usize, x: usize, w: usize, bias: usize, n: i32, K: i32, M: i32): void {
  const stride = (<usize>M) << 2;
  multiplyStrided(y, stride, x, (<usize>K) << 2, 4, w, stride, n, K, M, bias, 0);
}

/** Rows of the two activations that a weight gradient takes in one go, so that both stay in the first-level cache. */
const GRADIENT_ROWS: i32 = 64;

/**
 * dW[K, M] (+)= X[n, K]^T dY[n, M]: a weight's gradient.
 *
 * @param isAdded - false to overwrite dW.
 */
export function multiplyTransposedLeft(
  dw: usize,
  dwStride: usize,
  x: usize,
  xStride: usize,
  dy: usize,
  dyStride: usize,
  n: i32,
  K: i32,
  M: i32,
  isAdded: bool,
): void {
  let i = 0;
  do {
    const rows = min(n - i, GRADIENT_ROWS);
    const from = isAdded || i > 0 ? dw : 0;
    multiplyStrided(
      dw,
      dwStride,
      x + <usize>i * xStride,
      4,
      xStride,
      dy + <usize>i * dyStride,
      dyStride,
      K,
      rows,
      M,
      from,
      dwStride,
    );
    i += GRADIENT_ROWS;
  } while (i < n);
}

/**
 * T[columns, rows] = W[rows, columns]^T. What `dY W^T` is multiplied by.
 *
 * @param t - rows `tStride` bytes apart.
 * @param w - rows `wStride` bytes apart.
 */
export function transpose(t: usize, tStride: usize, w: usize, wStride: usize, rows: i32, columns: i32): void {
  const rows4 = rows & ~3;
  const columns4 = columns & ~3;
  for (let i = 0; i < rows4; i += 4) {
    const wi = w + <usize>i * wStride;
    const ti = t + ((<usize>i) << 2);
    for (let j = 0; j < columns4; j += 4) transpose4(ti + <usize>j * tStride, tStride, wi + ((<usize>j) << 2), wStride);
    for (let j = columns4; j < columns; j++) copyColumn(ti + <usize>j * tStride, wi + ((<usize>j) << 2), wStride, 4);
  }
  if (rows4 === rows) return;
  const wi = w + <usize>rows4 * wStride;
  const ti = t + ((<usize>rows4) << 2);
  for (let j = 0; j < columns; j++) {
    copyColumn(ti + <usize>j * tStride, wi + ((<usize>j) << 2), wStride, rows - rows4);
  }
}

/** The 4 by 4 block at `w`, transposed, to `t`. */
@inline function transpose4(t: usize, tStride: usize, w: usize, wStride: usize): void {
  const w1 = w + wStride;
  const w2 = w1 + wStride;
  const r0 = v128.load(w);
  const r1 = v128.load(w1);
  const r2 = v128.load(w2);
  const r3 = v128.load(w2 + wStride);
  const low01 = unpackLow(r0, r1);
  const high01 = unpackHigh(r0, r1);
  const low23 = unpackLow(r2, r3);
  const high23 = unpackHigh(r2, r3);
  v128.store(t, pairLow(low01, low23));
  t += tStride;
  v128.store(t, pairHigh(low01, low23));
  t += tStride;
  v128.store(t, pairLow(high01, high23));
  t += tStride;
  v128.store(t, pairHigh(high01, high23));
}

/** `count` floats `stride` bytes apart, side by side to `t`. */
@inline function copyColumn(t: usize, w: usize, stride: usize, count: i32): void {
  for (let i = 0; i < count; i++) {
    store<f32>(t, load<f32>(w));
    t += 4;
    w += stride;
  }
}

/**
 * `rows` (1 to 4) rows by 8 columns: Y = start + sum over k of x_i[k] W[k]. Rows that are not there are computed from a
 * row that is (the caller repeats its pointer) and not stored.
 */
export function tile8(
  y: usize,
  yStride: usize,
  x0: usize,
  x1: usize,
  x2: usize,
  x3: usize,
  xStep: usize,
  w: usize,
  wStride: usize,
  rows: i32,
  K: i32,
  start: usize,
  startStride: usize,
): void {
  let a0 = zero();
  let b0 = a0;
  let a1 = a0;
  let b1 = a0;
  let a2 = a0;
  let b2 = a0;
  let a3 = a0;
  let b3 = a0;
  if (start !== 0) {
    a0 = v128.load(start);
    b0 = v128.load(start, 16);
    if (rows > 1) {
      start += startStride;
      a1 = v128.load(start);
      b1 = v128.load(start, 16);
    }
    if (rows > 2) {
      start += startStride;
      a2 = v128.load(start);
      b2 = v128.load(start, 16);
    }
    if (rows > 3) {
      start += startStride;
      a3 = v128.load(start);
      b3 = v128.load(start, 16);
    }
  }
  for (let k = 0; k < K; k++) {
    const wa = v128.load(w);
    const wb = v128.load(w, 16);
    w += wStride;
    let v = v128.load32_splat(x0);
    a0 = fma(v, wa, a0);
    b0 = fma(v, wb, b0);
    v = v128.load32_splat(x1);
    a1 = fma(v, wa, a1);
    b1 = fma(v, wb, b1);
    v = v128.load32_splat(x2);
    a2 = fma(v, wa, a2);
    b2 = fma(v, wb, b2);
    v = v128.load32_splat(x3);
    a3 = fma(v, wa, a3);
    b3 = fma(v, wb, b3);
    x0 += xStep;
    x1 += xStep;
    x2 += xStep;
    x3 += xStep;
  }
  v128.store(y, a0);
  v128.store(y, b0, 16);
  if (rows === 1) return;
  y += yStride;
  v128.store(y, a1);
  v128.store(y, b1, 16);
  if (rows === 2) return;
  y += yStride;
  v128.store(y, a2);
  v128.store(y, b2, 16);
  if (rows === 3) return;
  y += yStride;
  v128.store(y, a3);
  v128.store(y, b3, 16);
}

/** The same as {@link tile8} for 4 columns. */
export function tile4(
  y: usize,
  yStride: usize,
  x0: usize,
  x1: usize,
  x2: usize,
  x3: usize,
  xStep: usize,
  w: usize,
  wStride: usize,
  rows: i32,
  K: i32,
  start: usize,
  startStride: usize,
): void {
  let a0 = zero();
  let a1 = a0;
  let a2 = a0;
  let a3 = a0;
  if (start !== 0) {
    a0 = v128.load(start);
    if (rows > 1) {
      start += startStride;
      a1 = v128.load(start);
    }
    if (rows > 2) {
      start += startStride;
      a2 = v128.load(start);
    }
    if (rows > 3) {
      start += startStride;
      a3 = v128.load(start);
    }
  }
  for (let k = 0; k < K; k++) {
    const wa = v128.load(w);
    w += wStride;
    a0 = fma(v128.load32_splat(x0), wa, a0);
    a1 = fma(v128.load32_splat(x1), wa, a1);
    a2 = fma(v128.load32_splat(x2), wa, a2);
    a3 = fma(v128.load32_splat(x3), wa, a3);
    x0 += xStep;
    x1 += xStep;
    x2 += xStep;
    x3 += xStep;
  }
  v128.store(y, a0);
  if (rows === 1) return;
  y += yStride;
  v128.store(y, a1);
  if (rows === 2) return;
  y += yStride;
  v128.store(y, a2);
  if (rows === 3) return;
  y += yStride;
  v128.store(y, a3);
}
