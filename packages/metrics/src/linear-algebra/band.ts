/**
 * Reduction of a symmetric matrix to a band with the same eigenvalues, by blocks of Householder reflections (Bischof, Lang and
 * Sun 2000). Almost all of the work is in products of matrices; a reduction to tridiagonal form waits for memory half of the time.
 */
import { type Algebra, typedArrays } from './algebra.js';
import { type Matrix, matrix, multiplyTransposed, transpose } from './matrix.js';

/** Lower half of a symmetric band matrix by columns: entry `(k + i, k)` is at `k (width + 1) + i`. */
export interface Band {
  readonly size: number;
  /** Diagonals below the main one. */
  readonly width: number;
  /** `[size, width + 1]`; zero where a column leaves the matrix. */
  readonly columns: Float64Array;
}

/** Columns that are reflected together, and the width of the band. */
const WIDTH = 24;
/** Panels between changes of the whole matrix, which is expensive to write; until then the change stays a product of thin ones. */
const PANELS = 3;

/**
 * A band with the eigenvalues of `a`.
 *
 * @param a symmetric `[size, size]`
 */
export function reduceToBand<T>(algebra: Algebra<T>, a: T, size: number): Band {
  const width = Math.min(WIDTH, size - 1);
  const band = { size, width, columns: new Float64Array(size * (width + 1)) };
  let rest = a;
  let done = 0;
  while (size - done > width + 1) {
    const before = rest;
    const taken = Math.min(PANELS * width, size - done - width - 1);
    rest = algebra.scope(() => reduceColumns(algebra, before, band, done, taken));
    if (before !== a) algebra.free(before);
    done += taken;
  }
  const { rows, data } = algebra.download(rest);
  for (let k = 0; k < rows; k++) for (let i = k; i < rows; i++) band.columns[(done + k) * (width + 1) + i - k] = data[i * rows + k]!;
  return band;
}

/** Columns `done` to `done + taken` of the band, from the matrix that is left there; what is left after them. */
function reduceColumns<T>(algebra: Algebra<T>, rest: T, band: Band, done: number, taken: number): T {
  const size = band.size - done;
  // The matrix is rest - left right^T, with the left sides V W and the right sides W V of the panels so far.
  let change: { left: T; right: T } | undefined;
  for (let from = 0; from < taken; from += band.width) {
    const width = Math.min(band.width, taken - from);
    let columns = algebra.part(rest, from, from, width, size - from);
    if (change !== undefined) {
      const near = algebra.part(change.left, from, 0, width, 2 * from);
      const all = algebra.part(change.right, from, 0, size - from, 2 * from);
      columns = algebra.subtract(columns, algebra.multiply(near, all, { b: true }));
    }
    const { vectors, reduced } = reflect(algebra.download(columns), size, band.width);
    for (let j = 0; j < width; j++) {
      const diagonal = j * (size - from) + j;
      band.columns.set(reduced.subarray(diagonal, diagonal + band.width + 1), (done + from + j) * (band.width + 1));
    }

    const v = algebra.upload(vectors);
    let product = algebra.multiply(rest, v);
    if (change !== undefined)
      product = algebra.subtract(product, algebra.multiply(change.left, algebra.multiply(change.right, v, { a: true })));
    const both = algebra.beside([product, v]);
    const w = algebra.multiply(both, algebra.upload(weights(algebra.download(algebra.multiply(v, both, { a: true })))));
    change = {
      left: algebra.beside(change === undefined ? [v, w] : [change.left, v, w]),
      right: algebra.beside(change === undefined ? [w, v] : [change.right, w, v]),
    };
  }
  return algebra.shrink(rest, change!.left, change!.right, taken);
}

/** Columns that `reflect` changes at once, so that an entry of `v` is loaded once for all of them. */
const TOGETHER = 4;

/**
 * Reflects the columns of a panel, given as rows from the diagonal on, so that an upper triangle is left from `below` rows under
 * the first diagonal entry on.
 *
 * @returns `vectors` `V` `[size, width]` of the reflections `I - v v^T`, zero above that triangle; `reduced`, the columns
 */
function reflect({ rows: width, columns: length, data }: Matrix, size: number, below: number): { vectors: Matrix; reduced: Float64Array } {
  const vectors = matrix(width, size);
  const reduced = new Float64Array((width + TOGETHER) * length); // the last rows are there for whole groups
  reduced.set(data);
  for (let j = 0; j < width; j++) {
    const start = below + j;
    const column = reduced.subarray(j * length + start, (j + 1) * length);
    const v = vectors.data.subarray((j + 1) * size - column.length, (j + 1) * size);
    let square = 0;
    for (let i = 0; i < v.length; i++) square += column[i]! ** 2;
    const norm = Math.sqrt(square);
    const first = column[0]!;
    const alpha = first > 0 ? -norm : norm;
    // A column of zeros needs no reflection; one of its first entry does no harm.
    const scale = norm === 0 ? Math.SQRT2 : 1 / Math.sqrt(norm * (norm + Math.abs(first)));
    for (let i = 0; i < v.length; i++) v[i] = column[i]! * scale;
    v[0] = norm === 0 ? scale : (first - alpha) * scale;
    column.fill(0);
    column[0] = alpha;
    for (let l = j + 1; l < width; l += TOGETHER) reflectRows(v, reduced, l * length + start, length);
  }
  return { vectors: transpose(vectors), reduced };
}

/** Applies `I - v v^T` to four rows of `a`, `step` apart, from `start` on. */
function reflectRows(v: Float64Array, a: Float64Array, start: number, step: number): void {
  let p = 0;
  let q = 0;
  let r = 0;
  let s = 0;
  for (let i = 0, at = start; i < v.length; i++, at++) {
    const x = v[i]!;
    p += x * a[at]!;
    q += x * a[at + step]!;
    r += x * a[at + 2 * step]!;
    s += x * a[at + 3 * step]!;
  }
  for (let i = 0, at = start; i < v.length; i++, at++) {
    const x = v[i]!;
    a[at]! -= p * x;
    a[at + step]! -= q * x;
    a[at + 2 * step]! -= r * x;
    a[at + 3 * step]! -= s * x;
  }
}

/**
 * What `[A V, V]` is multiplied by to give `W = A V T - V (T^T V^T A V T) / 2` with the product `I - V T V^T` of the reflections.
 *
 * @param products `V^T [A V, V]`; `T^-1` is the upper half of `V^T V`, with half of its diagonal
 */
function weights(products: Matrix): Matrix {
  const n = products.rows;
  const t = matrix(n, n);
  for (let j = 0; j < n; j++) {
    t.data[j * n + j] = 1;
    for (let i = j - 1; i >= 0; i--) {
      let sum = 0;
      for (let k = i + 1; k <= j; k++) sum += products.data[i * 2 * n + n + k]! * t.data[k * n + j]!;
      t.data[i * n + j] = -sum;
    }
  }
  const columns = transpose(t);
  const congruent = multiplyTransposed(columns, multiplyTransposed(columns, typedArrays.part(products, 0, 0, n, n)));
  return matrix(2 * n, n, Float64Array.from([...t.data, ...congruent.data.map((value) => -value / 2)]));
}
