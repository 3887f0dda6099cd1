/** Four floats at once: what wasm's instructions leave to be written. */

/** Four zeros. */
@inline export function zero(): v128 {
  return f32x4.splat(0);
}

/** `a * b + c`; in one rounding where the build has relaxed SIMD and the processor the instruction. */
@inline export function fma(a: v128, b: v128, c: v128): v128 {
  return ASC_FEATURE_RELAXED_SIMD ? f32x4.relaxed_madd(a, b, c) : f32x4.add(f32x4.mul(a, b), c);
}

/** Lane 0 in all four lanes. */
@inline export function lane0(v: v128): v128 {
  return i8x16.shuffle(v, v, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3);
}

/** Lane 1 in all four lanes. */
@inline export function lane1(v: v128): v128 {
  return i8x16.shuffle(v, v, 4, 5, 6, 7, 4, 5, 6, 7, 4, 5, 6, 7, 4, 5, 6, 7);
}

/** Lane 2 in all four lanes. */
@inline export function lane2(v: v128): v128 {
  return i8x16.shuffle(v, v, 8, 9, 10, 11, 8, 9, 10, 11, 8, 9, 10, 11, 8, 9, 10, 11);
}

/** Lane 3 in all four lanes. */
@inline export function lane3(v: v128): v128 {
  return i8x16.shuffle(v, v, 12, 13, 14, 15, 12, 13, 14, 15, 12, 13, 14, 15, 12, 13, 14, 15);
}

/** Lanes 2, 3, 0, 1. */
@inline export function swapHalves(v: v128): v128 {
  return i8x16.shuffle(v, v, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7);
}

/** Lanes 1, 0, 3, 2. */
@inline export function swapNeighbours(v: v128): v128 {
  return i8x16.shuffle(v, v, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11);
}

/** The sum of the four lanes, in a fixed order. */
@inline export function sum4(v: v128): f32 {
  const pairs = f32x4.add(v, swapHalves(v));
  return f32x4.extract_lane(f32x4.add(pairs, swapNeighbours(pairs)), 0);
}

/** Lanes 0 and 1 of two vectors, taking turns. */
@inline export function unpackLow(a: v128, b: v128): v128 {
  return i8x16.shuffle(a, b, 0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23);
}

/** Lanes 2 and 3 of two vectors, taking turns. */
@inline export function unpackHigh(a: v128, b: v128): v128 {
  return i8x16.shuffle(a, b, 8, 9, 10, 11, 24, 25, 26, 27, 12, 13, 14, 15, 28, 29, 30, 31);
}

/** Lanes 0 and 1 of one vector, then of the other. */
@inline export function pairLow(a: v128, b: v128): v128 {
  return i8x16.shuffle(a, b, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23);
}

/** Lanes 2 and 3 of one vector, then of the other. */
@inline export function pairHigh(a: v128, b: v128): v128 {
  return i8x16.shuffle(a, b, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
}

/** The sums of four vectors, as one vector, in the order of {@link sum4}. */
@inline export function sums4(a: v128, b: v128, c: v128, d: v128): v128 {
  const ab = f32x4.add(unpackLow(a, b), unpackHigh(a, b));
  const cd = f32x4.add(unpackLow(c, d), unpackHigh(c, d));
  return f32x4.add(pairLow(ab, cd), pairHigh(ab, cd));
}

/** The largest of the four lanes; which number it is when a lane is NaN is open. */
@inline export function max4(v: v128): f32 {
  const pairs = f32x4.pmax(v, swapHalves(v));
  return f32x4.extract_lane(f32x4.pmax(pairs, swapNeighbours(pairs)), 0);
}

/** Below this `exp4` gives 0: where float32 would soon leave its normal numbers. */
const EXP_LOWEST: f32 = -87;

/**
 * exp of each lane: relative error below 1.3e-7 from -87 to 88, exactly 0 below -87, exactly 1 at 0, NaN for NaN.
 *
 * `x = n ln 2 + r` with |r| <= ln 2 / 2 (ln 2 in two parts, n from the low bits of a sum with 1.5 * 2^23), then
 * `1 + r + r^2 q(r)` with the polynomial of degree 4 whose largest relative error is least (3.1e-9).
 */
@inline export function exp4(x: v128): v128 {
  // Below the lowest, what comes out of the rest is anything, NaN included; it is wiped in the end.
  const isBelow = f32x4.lt(x, f32x4.splat(EXP_LOWEST));
  const shifted = fma(x, f32x4.splat(1.44269504088896341), f32x4.splat(12582912));
  const n = f32x4.sub(shifted, f32x4.splat(12582912));
  const r = fma(n, f32x4.splat(2.1219444e-4), fma(n, f32x4.splat(-0.693359375), x));
  let p = fma(f32x4.splat(1.3814594130963087e-3), r, f32x4.splat(8.36871936917305e-3));
  p = fma(p, r, f32x4.splat(4.166838899254799e-2));
  p = fma(p, r, f32x4.splat(1.666652113199234e-1));
  p = fma(p, r, f32x4.splat(4.999999403953552e-1));
  p = fma(f32x4.mul(p, r), r, f32x4.add(r, f32x4.splat(1)));
  const power = i32x4.shl(i32x4.add(shifted, i32x4.splat(127)), 23);
  return v128.andnot(f32x4.mul(p, power), isBelow);
}
