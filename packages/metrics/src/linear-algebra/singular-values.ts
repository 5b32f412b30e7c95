import { type Matrix, matrix, transpose } from './matrix.js';

/** Far more sweeps than any matrix needs (6 to 10). */
const MAX_SWEEPS = 40;

/** Singular values by one-sided Jacobi rotations of rows (Hestenes 1958), accurate for small ones too. */
export function jacobiSingularValues(a: Matrix): Float64Array {
  const { rows, columns, data } = a.rows <= a.columns ? matrix(a.rows, a.columns, a.data.slice()) : transpose(a);
  for (let sweep = 0; sweep < MAX_SWEEPS; sweep++) {
    let rotated = false;
    for (let p = 0; p < rows - 1; p++) {
      for (let q = p + 1; q < rows; q++) {
        let [pp, qq, pq] = [0, 0, 0];
        for (let i = p * columns, j = q * columns, end = i + columns; i < end; i++, j++) {
          const [x, y] = [data[i], data[j]];
          pp += x * x;
          qq += y * y;
          pq += x * y;
        }
        if (Math.abs(pq) <= Number.EPSILON * Math.sqrt(pp * qq)) continue;
        rotated = true;
        const zeta = (qq - pp) / (2 * pq);
        const t = (zeta < 0 ? -1 : 1) / (Math.abs(zeta) + Math.hypot(1, zeta));
        const c = 1 / Math.hypot(1, t);
        const s = c * t;
        for (let i = p * columns, j = q * columns, end = i + columns; i < end; i++, j++) {
          const [x, y] = [data[i], data[j]];
          data[i] = c * x - s * y;
          data[j] = s * x + c * y;
        }
      }
    }
    if (!rotated) break;
  }
  return Float64Array.from({ length: rows }, (_, r) =>
    Math.sqrt(data.subarray(r * columns, (r + 1) * columns).reduce((s, v) => s + v * v, 0)),
  );
}
