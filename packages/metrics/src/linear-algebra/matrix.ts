/** Dense row-major float64 matrices, as far as the metrics need them. */
import { ShapeError } from '@dit-moe/tensor-ops';

/** A row-major matrix. */
export interface Matrix {
  readonly rows: number;
  readonly columns: number;
  readonly data: Float64Array;
}

/** A matrix of zeros, or around `data`. */
export function matrix(rows: number, columns: number, data: Float64Array = new Float64Array(rows * columns)): Matrix {
  if (data.length !== rows * columns) throw new ShapeError('matrix', `${rows * columns} values for ${rows} x ${columns}`, [data.length]);
  return { rows, columns, data };
}

/** The transpose, in blocks that stay in cache. */
export function transpose(a: Matrix): Matrix {
  const result = matrix(a.columns, a.rows);
  const block = 32;
  for (let i0 = 0; i0 < a.rows; i0 += block) {
    for (let j0 = 0; j0 < a.columns; j0 += block) {
      const [i1, j1] = [Math.min(a.rows, i0 + block), Math.min(a.columns, j0 + block)];
      for (let i = i0; i < i1; i++) for (let j = j0; j < j1; j++) result.data[j * a.rows + i] = a.data[i * a.columns + j]!;
    }
  }
  return result;
}

export interface ProductStructure {
  /** The result is known to be symmetric: only its lower half is computed (default false). */
  symmetric?: boolean;
  /** `a` is zero below its diagonal: sums begin there (default false). */
  upper?: boolean;
}

/** Part of the inner dimension that is summed at once: rows of it stay in cache. */
const SLICE = 128;

/** `a b^T`, both operands read along their rows. */
export function multiplyTransposed(a: Matrix, b: Matrix, { symmetric = false, upper = false }: ProductStructure = {}): Matrix {
  if (a.columns !== b.columns) throw new ShapeError('multiplyTransposed', `operands with ${a.columns} columns`, [b.rows, b.columns]);
  const [m, n, inner] = [a.rows, b.rows, a.columns];
  const result = matrix(m, n);
  const [x, y, z] = [a.data, b.data, result.data];
  for (let from = 0; from < inner; from += SLICE) {
    const to = Math.min(inner, from + SLICE);
    // 3 x 3 sums at once, as many as fit the processor's registers: every loaded value is used three times.
    for (let i = 0; i < m; i += 3) {
      const start = upper ? Math.max(from, i) : from;
      if (start >= to) break;
      const columns = symmetric ? Math.min(n, i + 3) : n;
      for (let j = 0; j < columns; j += 3) {
        if (i + 3 > m || j + 3 > n) {
          for (let r = i; r < Math.min(m, i + 3); r++) {
            for (let s = j; s < Math.min(n, j + 3); s++) {
              let sum = 0;
              for (let k = start; k < to; k++) sum += x[r * inner + k]! * y[s * inner + k]!;
              z[r * n + s]! += sum;
            }
          }
          continue;
        }
        let [s00, s01, s02, s10, s11, s12, s20, s21, s22] = [0, 0, 0, 0, 0, 0, 0, 0, 0];
        let p = i * inner + start;
        let q = j * inner + start;
        for (let k = start; k < to; k++, p++, q++) {
          const x0 = x[p]!;
          const x1 = x[p + inner]!;
          const x2 = x[p + 2 * inner]!;
          const y0 = y[q]!;
          s00 += x0 * y0;
          s10 += x1 * y0;
          s20 += x2 * y0;
          const y1 = y[q + inner]!;
          s01 += x0 * y1;
          s11 += x1 * y1;
          s21 += x2 * y1;
          const y2 = y[q + 2 * inner]!;
          s02 += x0 * y2;
          s12 += x1 * y2;
          s22 += x2 * y2;
        }
        const at = i * n + j;
        z[at]! += s00;
        z[at + 1]! += s01;
        z[at + 2]! += s02;
        z[at + n]! += s10;
        z[at + n + 1]! += s11;
        z[at + n + 2]! += s12;
        z[at + 2 * n]! += s20;
        z[at + 2 * n + 1]! += s21;
        z[at + 2 * n + 2]! += s22;
      }
    }
  }
  if (symmetric) {
    for (let i = 0; i < m; i++) for (let j = i + 1; j < n; j++) z[i * n + j] = z[j * n + i]!;
  }
  return result;
}

/** Sum of the diagonal. */
export function trace(a: Matrix): number {
  let sum = 0;
  for (let i = 0; i < a.rows; i++) sum += a.data[i * a.columns + i]!;
  return sum;
}
