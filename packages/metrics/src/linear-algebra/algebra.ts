/** The operations of the block algorithms, which are written once for typed arrays and for the TensorFlow runtime. */
import { orthogonalize } from './householder.js';
import { type Matrix, matrix, multiply, multiplyTransposed } from './matrix.js';

/** Float64 matrices of the kind `T`, their products and their parts. */
export interface Algebra<T> {
  upload(values: Matrix): T;
  download(x: T): Matrix;
  /** `a b`, either of them transposed first (default neither). */
  multiply(a: T, b: T, transposed?: { a?: boolean; b?: boolean }): T;
  /** `a - b` */
  subtract(a: T, b: T): T;
  /** Side by side; all have as many rows. */
  beside(parts: readonly T[]): T;
  part(x: T, row: number, column: number, rows: number, columns: number): T;
  /** `a - x y^T` from row and column `from` on, where it is known to be symmetric. */
  shrink(a: T, x: T, y: T, from: number): T;
  /** `a = q r` with orthonormal columns of `q`, the shape of `a`; `r` is upper triangular. There are at least as many rows as columns. */
  qr(a: T): { q: T; r: Matrix };
  /** `a` with rows of zeros above and below it. */
  pad(a: T, above: number, below: number): T;
  /** Runs `work` and frees what it made, except for its result. */
  scope(work: () => T): T;
  free(x: T): void;
}

/** Matrices in TypeScript. */
export const typedArrays: Algebra<Matrix> = {
  upload: (values) => values,
  download: (x) => x,
  multiply: (x, y, transposed) => multiply(x, y, transposed),
  subtract({ rows, columns, data }, b) {
    const result = matrix(rows, columns);
    for (let i = 0; i < data.length; i++) result.data[i] = data[i] - b.data[i];
    return result;
  },
  beside(parts) {
    const columns = parts.reduce((sum, part) => sum + part.columns, 0);
    const result = matrix(parts[0].rows, columns);
    let at = 0;
    for (const part of parts) {
      for (let i = 0; i < part.rows; i++) result.data.set(part.data.subarray(i * part.columns, (i + 1) * part.columns), i * columns + at);
      at += part.columns;
    }
    return result;
  },
  part(x, row, column, rows, columns) {
    const result = matrix(rows, columns);
    for (let i = 0; i < rows; i++) {
      const start = (row + i) * x.columns + column;
      result.data.set(x.data.subarray(start, start + columns), i * columns);
    }
    return result;
  },
  shrink(a, x, y, from) {
    const rows = a.rows - from;
    const result = multiplyTransposed(typedArrays.part(x, from, 0, rows, x.columns), typedArrays.part(y, from, 0, rows, y.columns), {
      symmetric: true,
    });
    for (let i = 0, at = 0; i < rows; i++) {
      const start = (from + i) * a.columns + from;
      for (let j = 0; j < rows; j++, at++) result.data[at] = a.data[start + j] - result.data[at];
    }
    return result;
  },
  qr: orthogonalize,
  pad({ rows, columns, data }, above, below) {
    const result = matrix(above + rows + below, columns);
    result.data.set(data, above * columns);
    return result;
  },
  scope: (work) => work(),
  free() {},
};
