import type { Rng } from '../foundation/rng.js';
import type { TextIndex } from './text-index.js';

/** Columns beyond those wanted, and rounds of the power iteration: Halko, Martinsson and Tropp, "Finding structure with randomness", 2011. */
const OVERSAMPLE = 16;
const ROUNDS = 3;

/**
 * Left factor of the truncated SVD of a sparse N x V matrix X: rows of U S, `[N, width]` row-major, so that dot products of rows approximate
 * those of X as well as `width` columns can. Randomised subspace iteration (Halko et al. 2011), in float64 and plain loops: the same seed
 * gives the same numbers. Each column's sign is fixed so that its largest entry is positive.
 *
 * @param index - the sparse rows.
 * @param width - columns wanted, at most min(N, V).
 * @param rng - makes the start subspace.
 */
export function truncatedSvd(index: TextIndex, width: number, rng: Rng): Float64Array {
  const N = index.size;
  const V = index.vocabulary.length;
  const L = Math.min(width + OVERSAMPLE, N, V);
  const omega = new Float64Array(V * L);
  for (let i = 0; i < omega.length; i++) omega[i] = rng.normal();
  let Q = orthonormalise(times(index, omega, L), N, L);
  for (let round = 0; round < ROUNDS; round++) {
    Q = orthonormalise(times(index, transposedTimes(index, Q, L), L), N, L);
  }
  // B = Q'X is L x V; X is about Q B, and B B' = W S^2 W', so U S = Q W S.
  const Z = transposedTimes(index, Q, L);
  const { values, vectors } = symmetricEigen(gram(Z, V, L), L);
  const order = Array.from({ length: L }, (_, i) => i).sort((a, b) => (values[b] as number) - (values[a] as number));
  const out = new Float64Array(N * width);
  for (let k = 0; k < width; k++) {
    const column = order[k] as number;
    const singular = Math.sqrt(Math.max(0, values[column] as number));
    let largest = 0;
    for (let n = 0; n < N; n++) {
      let sum = 0;
      for (let l = 0; l < L; l++) sum += (Q[n * L + l] as number) * (vectors[l * L + column] as number);
      out[n * width + k] = sum * singular;
      if (Math.abs(sum) > Math.abs(largest)) largest = sum;
    }
    if (largest < 0) for (let n = 0; n < N; n++) out[n * width + k] = -(out[n * width + k] as number);
  }
  return out;
}

/** X M: `[N, L]` from a dense `[V, L]`. */
function times(index: TextIndex, dense: Float64Array, L: number): Float64Array {
  const { offsets, terms, weights } = index;
  const out = new Float64Array(index.size * L);
  for (let n = 0; n < index.size; n++) {
    const to = n * L;
    for (let e = offsets[n] as number; e < (offsets[n + 1] as number); e++) {
      const from = (terms[e] as number) * L;
      const weight = weights[e] as number;
      for (let l = 0; l < L; l++) out[to + l] = (out[to + l] as number) + weight * (dense[from + l] as number);
    }
  }
  return out;
}

/** X' M: `[V, L]` from a dense `[N, L]`. */
function transposedTimes(index: TextIndex, dense: Float64Array, L: number): Float64Array {
  const { offsets, terms, weights } = index;
  const out = new Float64Array(index.vocabulary.length * L);
  for (let n = 0; n < index.size; n++) {
    const from = n * L;
    for (let e = offsets[n] as number; e < (offsets[n + 1] as number); e++) {
      const to = (terms[e] as number) * L;
      const weight = weights[e] as number;
      for (let l = 0; l < L; l++) out[to + l] = (out[to + l] as number) + weight * (dense[from + l] as number);
    }
  }
  return out;
}

/** M'M: `[L, L]` of a dense `[rows, L]`. */
function gram(dense: Float64Array, rows: number, L: number): Float64Array {
  const out = new Float64Array(L * L);
  for (let r = 0; r < rows; r++) {
    const row = r * L;
    for (let i = 0; i < L; i++) {
      const left = dense[row + i] as number;
      if (left === 0) continue;
      for (let j = i; j < L; j++) out[i * L + j] = (out[i * L + j] as number) + left * (dense[row + j] as number);
    }
  }
  for (let i = 0; i < L; i++) for (let j = 0; j < i; j++) out[i * L + j] = out[j * L + i] as number;
  return out;
}

/** Orthonormal basis of the columns of `[rows, L]`, by modified Gram-Schmidt done twice; a dependent column becomes zero. */
function orthonormalise(dense: Float64Array, rows: number, L: number): Float64Array {
  const columns = Array.from({ length: L }, (_, l) => {
    const column = new Float64Array(rows);
    for (let r = 0; r < rows; r++) column[r] = dense[r * L + l] as number;
    return column;
  });
  for (let l = 0; l < L; l++) {
    const column = columns[l] as Float64Array;
    const before = Math.sqrt(dot(column, column));
    for (let pass = 0; pass < 2; pass++) {
      for (let m = 0; m < l; m++) {
        const other = columns[m] as Float64Array;
        const share = dot(column, other);
        if (share === 0) continue;
        for (let r = 0; r < rows; r++) column[r] = (column[r] as number) - share * (other[r] as number);
      }
    }
    const norm = Math.sqrt(dot(column, column));
    const scale = norm > 1e-10 * before ? 1 / norm : 0;
    for (let r = 0; r < rows; r++) column[r] = (column[r] as number) * scale;
  }
  const out = new Float64Array(rows * L);
  for (let l = 0; l < L; l++) {
    const column = columns[l] as Float64Array;
    for (let r = 0; r < rows; r++) out[r * L + l] = column[r] as number;
  }
  return out;
}

function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += (a[i] as number) * (b[i] as number);
  return sum;
}

/** Eigenvalues and eigenvectors (columns of `vectors`) of a symmetric `[L, L]` matrix, by cyclic Jacobi rotations; `matrix` is overwritten. */
function symmetricEigen(matrix: Float64Array, L: number): { values: Float64Array; vectors: Float64Array } {
  const vectors = new Float64Array(L * L);
  for (let i = 0; i < L; i++) vectors[i * L + i] = 1;
  let total = 0;
  for (const value of matrix) total += value * value;
  for (let sweep = 0; sweep < 60; sweep++) {
    let off = 0;
    for (let p = 0; p < L; p++) for (let q = p + 1; q < L; q++) off += (matrix[p * L + q] as number) ** 2;
    if (off <= 1e-22 * total) break;
    for (let p = 0; p < L; p++) {
      for (let q = p + 1; q < L; q++) rotate(matrix, vectors, L, p, q);
    }
  }
  return { values: Float64Array.from({ length: L }, (_, i) => matrix[i * L + i] as number), vectors };
}

function rotate(matrix: Float64Array, vectors: Float64Array, L: number, p: number, q: number): void {
  const apq = matrix[p * L + q] as number;
  if (apq === 0) return;
  const theta = ((matrix[q * L + q] as number) - (matrix[p * L + p] as number)) / (2 * apq);
  const t = (theta < 0 ? -1 : 1) / (Math.abs(theta) + Math.sqrt(theta * theta + 1));
  const c = 1 / Math.sqrt(t * t + 1);
  const s = t * c;
  for (let i = 0; i < L; i++) {
    const ip = matrix[i * L + p] as number;
    const iq = matrix[i * L + q] as number;
    matrix[i * L + p] = c * ip - s * iq;
    matrix[i * L + q] = s * ip + c * iq;
  }
  for (let i = 0; i < L; i++) {
    const pi = matrix[p * L + i] as number;
    const qi = matrix[q * L + i] as number;
    matrix[p * L + i] = c * pi - s * qi;
    matrix[q * L + i] = s * pi + c * qi;
  }
  for (let i = 0; i < L; i++) {
    const ip = vectors[i * L + p] as number;
    const iq = vectors[i * L + q] as number;
    vectors[i * L + p] = c * ip - s * iq;
    vectors[i * L + q] = s * ip + c * iq;
  }
}
