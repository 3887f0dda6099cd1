// The two loops that most of an update is spent in, as in assembly/kernels.ts: C for clang, to compare the toolchains.
#include <wasm_simd128.h>

typedef v128_t V;
#define LOAD(p) wasm_v128_load(p)
#define STORE(p, v) wasm_v128_store(p, v)
#ifdef RELAXED
#define FMA(a, b, c) __builtin_wasm_relaxed_madd_f32x4(a, b, c)
#else
#define FMA(a, b, c) wasm_f32x4_add(wasm_f32x4_mul(a, b), c)
#endif

// Z[a][b] = sum over k of T[a][k] S[k][b]; A a multiple of 4, B of 8.
__attribute__((export_name("product"))) void product(float *T, float *S, float *Z, int A, int B, int K) {
  for (int a = 0; a < A; a += 4)
    for (int b = 0; b < B; b += 8) {
      V c00, c01, c10, c11, c20, c21, c30, c31;
      c00 = c01 = c10 = c11 = c20 = c21 = c30 = c31 = wasm_f32x4_splat(0);
      float *t0 = T + a * K, *t1 = t0 + K, *t2 = t1 + K, *t3 = t2 + K, *s = S + b;
      for (float *end = t0 + K; t0 < end;) {
        V x = LOAD(s), y = LOAD(s + 4), t;
        s += B;
        t = wasm_v128_load32_splat(t0++);
        c00 = FMA(t, x, c00), c01 = FMA(t, y, c01);
        t = wasm_v128_load32_splat(t1++);
        c10 = FMA(t, x, c10), c11 = FMA(t, y, c11);
        t = wasm_v128_load32_splat(t2++);
        c20 = FMA(t, x, c20), c21 = FMA(t, y, c21);
        t = wasm_v128_load32_splat(t3++);
        c30 = FMA(t, x, c30), c31 = FMA(t, y, c31);
      }
      float *z = Z + a * B + b;
      STORE(z, c00), STORE(z + 4, c01), z += B;
      STORE(z, c10), STORE(z + 4, c11), z += B;
      STORE(z, c20), STORE(z + 4, c21), z += B;
      STORE(z, c30), STORE(z + 4, c31);
    }
}

static inline V exp4(V x) {
  V lowest = wasm_f32x4_splat(-87), below = wasm_f32x4_lt(x, lowest), clamped = wasm_f32x4_pmax(x, lowest);
  V shifted = FMA(clamped, wasm_f32x4_splat(1.44269504f), wasm_f32x4_splat(12582912));
  V n = wasm_f32x4_sub(shifted, wasm_f32x4_splat(12582912));
  V r = FMA(n, wasm_f32x4_splat(2.12194440e-4f), FMA(n, wasm_f32x4_splat(-0.693359375f), clamped));
  V p = FMA(wasm_f32x4_splat(1.9875691500e-4f), r, wasm_f32x4_splat(1.3981999507e-3f));
  p = FMA(p, r, wasm_f32x4_splat(8.3334519073e-3f));
  p = FMA(p, r, wasm_f32x4_splat(4.1665795894e-2f));
  p = FMA(p, r, wasm_f32x4_splat(1.6666665459e-1f));
  p = FMA(p, r, wasm_f32x4_splat(5.0000001201e-1f));
  p = FMA(wasm_f32x4_mul(p, r), r, wasm_f32x4_add(r, wasm_f32x4_splat(1)));
  return wasm_v128_andnot(wasm_f32x4_mul(p, wasm_i32x4_shl(wasm_i32x4_add(shifted, wasm_i32x4_splat(127)), 23)), below);
}

// For each tile of 32 items and each row: the maximum, then the sum of exponentials, added to M and S.
__attribute__((export_name("softmax"))) void softmax(float *Z, float *S, float *unused, int A, int B, int K) {
  for (int a = 0; a < A; a += 32)
    for (int b = 0; b < B; b += 4) {
      int last = a + 32 < A ? a + 32 : A;
      V top = wasm_f32x4_splat(-1e20f), sum = wasm_f32x4_splat(0);
      for (int i = a; i < last; i++) top = wasm_f32x4_max(top, LOAD(Z + i * B + b));
      for (int i = a; i < last; i++) sum = wasm_f32x4_add(sum, exp4(wasm_f32x4_sub(LOAD(Z + i * B + b), top)));
      STORE(S + b, wasm_f32x4_add(LOAD(S + b), sum));
    }
}
