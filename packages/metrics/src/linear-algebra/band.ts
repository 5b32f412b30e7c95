/**
 * Reduction of a symmetric matrix to a band with the same eigenvalues, by blocks of Householder reflections (Bischof, Lang and
 * Sun 2000). Almost all of the work is in products of matrices; a reduction to tridiagonal form waits for memory half of the time.
 */
import type { Algebra } from './algebra.js';
import { type Matrix, matrix, multiply } from './matrix.js';

/** Lower half of a symmetric band matrix by columns: entry `(k + i, k)` is at `k (width + 1) + i`. */
export interface Band {
  readonly size: number;
  /** Diagonals below the main one. */
  readonly width: number;
  /** `[size, width + 1]`; zero where a column leaves the matrix. */
  readonly columns: Float64Array;
}

/** Columns that are reflected together, and the width of the band. */
const WIDTH = 32;
/** Panels between changes of the whole matrix, which is expensive to write; until then the change stays a product of thin ones. */
const PANELS = 4;

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
  setColumns(band, done, algebra.download(rest));
  return band;
}

/** Copies columns to the band, from the one with the diagonal entry `first` on; `values` begin with that row. */
function setColumns({ width, columns }: Band, first: number, values: Matrix): void {
  for (let j = 0; j < values.columns; j++)
    for (let i = j; i < Math.min(values.rows, j + width + 1); i++)
      columns[(first + j) * (width + 1) + i - j] = values.data[i * values.columns + j];
}

/** Columns `done` to `done + taken` of the band, from the matrix that is left there; what is left after them. */
function reduceColumns<T>(algebra: Algebra<T>, rest: T, band: Band, done: number, taken: number): T {
  const size = band.size - done;
  // The matrix is rest - left right^T, with the left sides Y W and the right sides W Y of the panels so far.
  let change: { left: T; right: T } | undefined;
  for (let from = 0; from < taken; from += band.width) {
    const width = Math.min(band.width, taken - from);
    let columns = algebra.part(rest, from, from, size - from, width);
    if (change !== undefined) {
      const all = algebra.part(change.left, from, 0, size - from, 2 * from);
      const near = algebra.part(change.right, from, 0, width, 2 * from);
      columns = algebra.subtract(columns, algebra.multiply(all, near, { b: true }));
    }
    const below = size - from - band.width;
    const { q, r } = algebra.qr(algebra.part(columns, band.width, 0, below, width));
    const { signs, kernel } = reflection(algebra.download(algebra.part(q, 0, 0, width, width)));
    const top = algebra.download(algebra.part(columns, 0, 0, band.width, width));
    const signed = r.data.map((value, at) => value * signs.data[Math.floor(at / width) * (width + 1)]);
    setColumns(band, done + from, matrix(band.width + width, width, Float64Array.of(...top.data, ...signed)));

    const y = algebra.pad(algebra.subtract(q, algebra.pad(algebra.upload(signs), 0, below - width)), size - below, 0);
    let product = algebra.multiply(rest, y);
    if (change !== undefined)
      product = algebra.subtract(product, algebra.multiply(change.left, algebra.multiply(change.right, y, { a: true })));
    const inner = algebra.download(algebra.multiply(y, product, { a: true }));
    const half = multiply(multiply(kernel, inner, { a: true }), kernel).data.map((value) => -value / 2);
    const w = algebra.multiply(
      algebra.beside([product, y]),
      algebra.upload(matrix(2 * width, width, Float64Array.of(...kernel.data, ...half))),
    );
    change = {
      left: algebra.beside(change === undefined ? [y, w] : [change.left, y, w]),
      right: algebra.beside(change === undefined ? [w, y] : [change.right, w, y]),
    };
  }
  return algebra.shrink(rest, change!.left, change!.right, taken);
}

/**
 * The reflection `I - Y M Y^T` that takes `q` to the first columns of the identity with the signs `S`, in the representation of
 * Yamamoto: `Y = q - S`, `M = (I - q1^T S)^-1` with the first rows `q1` of `q`. The signs are such that no pivot of `q1 - S` is
 * smaller than 1 (Ballard et al. 2014, Reconstructing Householder vectors from tall-skinny QR).
 */
function reflection({ rows: n, data }: Matrix): { signs: Matrix; kernel: Matrix } {
  const signs = matrix(n, n);
  // Gauss-Jordan elimination in place: q1 - S, which gets its signs on the way, becomes its inverse.
  const a = data.slice();
  for (let k = 0; k < n; k++) {
    const entry = a[k * n + k];
    const sign = entry > 0 ? -1 : 1;
    signs.data[k * n + k] = sign;
    const pivot = entry - sign;
    for (let j = 0; j < n; j++) a[k * n + j] = j === k ? 1 / pivot : a[k * n + j] / pivot;
    for (let i = 0; i < n; i++) {
      if (i === k) continue;
      const factor = a[i * n + k];
      a[i * n + k] = 0;
      for (let j = 0; j < n; j++) a[i * n + j] -= factor * a[k * n + j];
    }
  }
  // (I - q1^T S)^-1 = -S (q1 - S)^-T
  const kernel = matrix(n, n);
  for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) kernel.data[i * n + j] = -signs.data[i * n + i] * a[j * n + i];
  return { signs, kernel };
}
