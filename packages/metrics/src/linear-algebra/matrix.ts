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

/**
 * `a b^T`, both operands read along their rows. With `lower`, only entries on and below the diagonal are computed (for
 * results known to be symmetric).
 */
export function multiplyTransposed(a: Matrix, b: Matrix, lower = false): Matrix {
  if (a.columns !== b.columns) throw new ShapeError('multiplyTransposed', `operands with ${a.columns} columns`, [b.rows, b.columns]);
  const [m, n, inner] = [a.rows, b.rows, a.columns];
  const result = matrix(m, n);
  const [x, y, z] = [a.data, b.data, result.data];
  // 4 x 4 dot products at once over slices of the inner dimension: every loaded value is used four times.
  const slice = 256;
  for (let k0 = 0; k0 < inner; k0 += slice) {
    const k1 = Math.min(inner, k0 + slice);
    for (let i = 0; i < m; i += 4) {
      const iEnd = Math.min(m, i + 4);
      const columns = lower ? Math.min(n, iEnd) : n;
      for (let j = 0; j < columns; j += 4) {
        if (i + 4 > m || j + 4 > n) {
          for (let r = i; r < iEnd; r++) {
            for (let s = j; s < Math.min(n, j + 4); s++) {
              let sum = 0;
              for (let k = k0; k < k1; k++) sum += x[r * inner + k]! * y[s * inner + k]!;
              z[r * n + s]! += sum;
            }
          }
          continue;
        }
        let [s00, s01, s02, s03, s10, s11, s12, s13] = [0, 0, 0, 0, 0, 0, 0, 0];
        let [s20, s21, s22, s23, s30, s31, s32, s33] = [0, 0, 0, 0, 0, 0, 0, 0];
        let a0 = i * inner + k0;
        let b0 = j * inner + k0;
        for (let k = k0; k < k1; k++, a0++, b0++) {
          const x0 = x[a0]!;
          const x1 = x[a0 + inner]!;
          const x2 = x[a0 + 2 * inner]!;
          const x3 = x[a0 + 3 * inner]!;
          const y0 = y[b0]!;
          const y1 = y[b0 + inner]!;
          const y2 = y[b0 + 2 * inner]!;
          const y3 = y[b0 + 3 * inner]!;
          s00 += x0 * y0;
          s01 += x0 * y1;
          s02 += x0 * y2;
          s03 += x0 * y3;
          s10 += x1 * y0;
          s11 += x1 * y1;
          s12 += x1 * y2;
          s13 += x1 * y3;
          s20 += x2 * y0;
          s21 += x2 * y1;
          s22 += x2 * y2;
          s23 += x2 * y3;
          s30 += x3 * y0;
          s31 += x3 * y1;
          s32 += x3 * y2;
          s33 += x3 * y3;
        }
        const at = i * n + j;
        z[at]! += s00;
        z[at + 1]! += s01;
        z[at + 2]! += s02;
        z[at + 3]! += s03;
        z[at + n]! += s10;
        z[at + n + 1]! += s11;
        z[at + n + 2]! += s12;
        z[at + n + 3]! += s13;
        z[at + 2 * n]! += s20;
        z[at + 2 * n + 1]! += s21;
        z[at + 2 * n + 2]! += s22;
        z[at + 2 * n + 3]! += s23;
        z[at + 3 * n]! += s30;
        z[at + 3 * n + 1]! += s31;
        z[at + 3 * n + 2]! += s32;
        z[at + 3 * n + 3]! += s33;
      }
    }
  }
  if (lower) {
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
