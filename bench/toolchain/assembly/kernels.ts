// The two loops that most of an update is spent in, as in ../kernels.c: AssemblyScript, to compare the toolchains.
import { exp4, fma, zero } from '../../../src/compute/fused/assembly/simd';

/** Z[a][b] = sum over k of T[a][k] S[k][b]; A a multiple of 4, B of 8. */
export function product(T: usize, S: usize, Z: usize, A: i32, B: i32, K: i32): void {
  const across: usize = <usize>B << 2, size: usize = <usize>K << 2;
  for (let a = 0; a < A; a += 4) {
    for (let b = 0; b < B; b += 8) {
      let c00 = zero(), c01 = zero(), c10 = zero(), c11 = zero(), c20 = zero(), c21 = zero(), c30 = zero(), c31 = zero();
      let t0 = T + <usize>a * size, t1 = t0 + size, t2 = t1 + size, t3 = t2 + size, s = S + (<usize>b << 2);
      for (const end = t0 + size; t0 < end; t0 += 4) {
        const x = v128.load(s), y = v128.load(s, 16);
        s += across;
        let t = v128.load32_splat(t0);
        c00 = fma(t, x, c00); c01 = fma(t, y, c01);
        t = v128.load32_splat(t1);
        t1 += 4;
        c10 = fma(t, x, c10); c11 = fma(t, y, c11);
        t = v128.load32_splat(t2);
        t2 += 4;
        c20 = fma(t, x, c20); c21 = fma(t, y, c21);
        t = v128.load32_splat(t3);
        t3 += 4;
        c30 = fma(t, x, c30); c31 = fma(t, y, c31);
      }
      let z = Z + <usize>a * across + (<usize>b << 2);
      v128.store(z, c00); v128.store(z, c01, 16);
      z += across;
      v128.store(z, c10); v128.store(z, c11, 16);
      z += across;
      v128.store(z, c20); v128.store(z, c21, 16);
      z += across;
      v128.store(z, c30); v128.store(z, c31, 16);
    }
  }
}

/** For each tile of 32 items and each row: the maximum, then the sum of exponentials, added to S. */
export function softmax(Z: usize, S: usize, unused: usize, A: i32, B: i32, K: i32): void {
  const across: usize = <usize>B << 2;
  for (let a = 0; a < A; a += 32) {
    const last = min(a + 32, A);
    for (let b: usize = 0; b < across; b += 16) {
      let top = f32x4.splat(-1e20), sum = zero();
      let z = Z + <usize>a * across + b;
      for (let i = a; i < last; i++) {
        top = f32x4.max(top, v128.load(z));
        z += across;
      }
      z = Z + <usize>a * across + b;
      for (let i = a; i < last; i++) {
        sum = f32x4.add(sum, exp4(f32x4.sub(v128.load(z), top)));
        z += across;
      }
      v128.store(S + b, f32x4.add(v128.load(S + b), sum));
    }
  }
}
