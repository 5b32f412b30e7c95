/** QR factorization by Householder reflections (Golub and Van Loan 2013, 5.2.2). */
import { type Matrix, matrix, transpose } from './matrix.js';

/** Columns that are reflected at once, so that an entry of the reflection's vector is loaded once for all of them. */
const TOGETHER = 4;

/** `a = q r` with orthonormal columns of `q`, the shape of `a`, and upper triangular `r`; `a` has at least as many rows as columns. */
export function orthogonalize(a: Matrix): { q: Matrix; r: Matrix } {
  const { rows: length, columns: width } = a;
  const padded = (width + TOGETHER) * length; // lines are columns; the last ones are there for whole groups
  const lines = new Float64Array(padded);
  lines.set(transpose(a).data);
  const vectors: Float64Array[] = [];
  for (let j = 0; j < width; j++) {
    const column = lines.subarray(j * length + j, (j + 1) * length);
    let square = 0;
    for (let i = 0; i < column.length; i++) square += column[i] ** 2;
    const norm = Math.sqrt(square);
    const first = column[0];
    const end = first > 0 ? -norm : norm;
    // A column of zeros needs no reflection; one of its first entry does no harm.
    const scale = norm === 0 ? Math.SQRT2 : 1 / Math.sqrt(norm * (norm + Math.abs(first)));
    const v = column.map((value) => value * scale);
    v[0] = norm === 0 ? scale : (first - end) * scale;
    vectors.push(v);
    reflect(v, lines, length, j + 1, width);
    column.fill(0);
    column[0] = end;
  }
  const r = matrix(width, width);
  for (let i = 0; i < width; i++) for (let j = i; j < width; j++) r.data[i * width + j] = lines[j * length + i];
  lines.fill(0);
  for (let j = 0; j < width; j++) lines[j * length + j] = 1;
  for (let j = width - 1; j >= 0; j--) reflect(vectors[j], lines, length, j, width);
  return { q: transpose(matrix(width, length, lines.subarray(0, width * length))), r };
}

/** Applies `I - v v^T` to the ends, as long as `v`, of lines `from` to `to` in `a`. */
function reflect(v: Float64Array, a: Float64Array, length: number, from: number, to: number): void {
  for (let line = from; line < to; line += TOGETHER) {
    const start = (line + 1) * length - v.length;
    let p = 0;
    let q = 0;
    let r = 0;
    let s = 0;
    for (let i = 0, at = start; i < v.length; i++, at++) {
      const x = v[i];
      p += x * a[at];
      q += x * a[at + length];
      r += x * a[at + 2 * length];
      s += x * a[at + 3 * length];
    }
    for (let i = 0, at = start; i < v.length; i++, at++) {
      const x = v[i];
      a[at] -= p * x;
      a[at + length] -= q * x;
      a[at + 2 * length] -= r * x;
      a[at + 3 * length] -= s * x;
    }
  }
}
