/** Dense row-major float64 matrices, as far as the metrics need them. */
import { type Float64Matrix, ShapeError } from '@dit-moe/tensor-ops';

/** A row-major matrix. */
export type Matrix = Float64Matrix;

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
      for (let i = i0; i < i1; i++) for (let j = j0; j < j1; j++) result.data[j * a.rows + i] = a.data[i * a.columns + j];
    }
  }
  return result;
}

export interface ProductStructure {
  /** The result is known to be symmetric: only its lower half is computed (default false). */
  symmetric?: boolean;
  /** The left operand is zero below its diagonal: sums begin there (default false). */
  upper?: boolean;
}

/** Part of the inner dimension that is summed at once, and rows of the right operand of which that part stays in cache (400 kB). */
const SLICE = 128;
const STRIP = 384;

/** `a b^T`. */
export function multiplyTransposed(a: Matrix, b: Matrix, { symmetric = false, upper = false }: ProductStructure = {}): Matrix {
  if (a.columns !== b.columns) throw new ShapeError('multiplyTransposed', `operands with ${a.columns} columns`, [b.rows, b.columns]);
  const [m, n, inner] = [a.rows, b.rows, a.columns];
  const result = matrix(m, n);
  const x = doubles(3 * Math.min(SLICE, inner));
  const y = doubles(x.length * Math.ceil(Math.min(STRIP, n) / 3));
  for (let strip = 0; strip < n; strip += STRIP) {
    for (let from = 0; from < inner; from += SLICE) {
      const to = Math.min(inner, from + SLICE);
      const end = Math.min(n, strip + STRIP);
      for (let j = strip, at = 0; j < end; j += 3, at += 3 * (to - from)) pack(b, j, from, to, y, at);
      for (let i = symmetric ? strip : 0; i < m; i += 3) {
        const start = upper ? Math.max(from, i) : from;
        if (start >= to) break;
        pack(a, i, start, to, x, 0);
        addTiles(x, y, start - from, to - from, result, i, strip, symmetric ? Math.min(end, i + 3) : end);
      }
    }
  }
  if (symmetric) for (let i = 0; i < m; i++) for (let j = i + 1; j < n; j++) result.data[i * n + j] = result.data[j * n + i];
  return result;
}

/**
 * A plain array of doubles, without holes. Once any buffer of the process was transferred, V8 tests at every access of a typed array whether
 * its buffer is still there, which costs a fifth of the time of a product; plain arrays have no such test.
 */
function doubles(length: number): number[] {
  const values: number[] = [];
  while (values.length < length) values.push(0.5); // a fraction, so that they are never stored as integers
  return values;
}

/** Entries `from` to `to` of three rows from `first` on, side by side; in place of rows that are not there, the last one again. */
function pack({ data, rows, columns }: Matrix, first: number, from: number, to: number, target: number[], at: number): void {
  let p = first * columns + from;
  const second = Math.min(1, rows - 1 - first) * columns;
  const third = Math.min(2, rows - 1 - first) * columns;
  for (let k = from, q = at; k < to; k++, p++, q += 3) {
    target[q] = data[p];
    target[q + 1] = data[p + second];
    target[q + 2] = data[p + third];
  }
}

/**
 * Adds products of packed rows, from entry `start` to `length`, to columns `from` to `to` of rows `i` to `i + 3`. 3 x 3 sums at once, as
 * many as fit the processor's registers: every loaded value is used three times.
 */
function addTiles(x: number[], y: number[], start: number, length: number, result: Matrix, i: number, from: number, to: number): void {
  const { rows, columns, data } = result;
  const end = 3 * (length - start);
  for (let j = from, first = 3 * start; j < to; j += 3, first += 3 * length) {
    let [s00, s01, s02, s10, s11, s12, s20, s21, s22] = [0, 0, 0, 0, 0, 0, 0, 0, 0];
    for (let p = 0, q = first; p < end; p += 3, q += 3) {
      const x0 = x[p];
      const x1 = x[p + 1];
      const x2 = x[p + 2];
      const y0 = y[q];
      s00 += x0 * y0;
      s10 += x1 * y0;
      s20 += x2 * y0;
      const y1 = y[q + 1];
      s01 += x0 * y1;
      s11 += x1 * y1;
      s21 += x2 * y1;
      const y2 = y[q + 2];
      s02 += x0 * y2;
      s12 += x1 * y2;
      s22 += x2 * y2;
    }
    const at = i * columns + j;
    if (i + 3 <= rows && j + 3 <= columns) {
      data[at] += s00;
      data[at + 1] += s01;
      data[at + 2] += s02;
      data[at + columns] += s10;
      data[at + columns + 1] += s11;
      data[at + columns + 2] += s12;
      data[at + 2 * columns] += s20;
      data[at + 2 * columns + 1] += s21;
      data[at + 2 * columns + 2] += s22;
    } else {
      const sums = [s00, s01, s02, s10, s11, s12, s20, s21, s22];
      for (let r = 0; r < Math.min(3, rows - i); r++)
        for (let s = 0; s < Math.min(3, columns - j); s++) data[at + r * columns + s] += sums[r * 3 + s];
    }
  }
}

/** Sum of the diagonal. */
export function trace(a: Matrix): number {
  let sum = 0;
  for (let i = 0; i < a.rows; i++) sum += a.data[i * a.columns + i];
  return sum;
}
