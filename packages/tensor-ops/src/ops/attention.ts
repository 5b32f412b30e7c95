/**
 * Scaled dot-product attention that never keeps the probability matrix: the backward pass recomputes it from q and k
 * (Rabe and Staats 2021, without their key chunks). Above a size the queries are processed in chunks, so that the matrix
 * exists for one chunk at a time.
 */
import * as tf from '@tensorflow/tfjs-core';
import { ShapeError } from '../errors.js';
import { tensorFlowBackend } from '../tensorflow-backend.js';
import { after } from './after.js';
import { customGradient } from './custom-gradient.js';
import { batchMatMul, type Precision, toF32, toProductType } from './raw-math.js';

/** Largest number of probabilities (batch x heads x queries x keys) that are computed at once; 256 MiB of float32. */
const MAX_PROBABILITIES = 1 << 26;

/**
 * Multiplications of a head's product from which the wasm backend, whose fast path is for single matrices only, gets the heads one by
 * one; below, taking them apart costs more than the slow path.
 */
const MIN_SINGLE_PRODUCT = 1 << 16;

/** Precision of an attention. */
export interface AttentionOptions {
  /** Multiplies `q k^T` (default `1 / sqrt(d)`). */
  scale?: number;
  /** Precision of the products (default `f32`); the softmax is float32 always. */
  precision?: Precision;
  /** Queries per chunk (default: as many as {@link MAX_PROBABILITIES} allows). */
  queriesPerChunk?: number;
}

/**
 * `softmax(q k^T scale) v`.
 *
 * @param q `[B, H, T, d]`
 * @param k `[B, H, S, d]`
 * @param v `[B, H, S, d]`
 * @returns `[B, H, T, d]`
 * @throws ShapeError if the shapes do not fit
 */
export function attention(q: tf.Tensor, k: tf.Tensor, v: tf.Tensor, options: AttentionOptions = {}): tf.Tensor {
  const [batch, heads, queries, size] = q.shape as [number, number, number, number];
  const keys = k.shape[2]!;
  if (q.rank !== 4 || k.shape[0] !== batch || k.shape[1] !== heads || k.shape[3] !== size || v.shape.join() !== k.shape.join()) {
    throw new ShapeError('attention', 'q [B, H, T, d] with k and v [B, H, S, d]', `q [${q.shape}], k [${k.shape}], v [${v.shape}]`);
  }
  const chunk = options.queriesPerChunk ?? Math.max(1, Math.floor(MAX_PROBABILITIES / (batch * heads * keys)));
  const scale = options.scale ?? 1 / Math.sqrt(size);
  const once = (qs: tf.Tensor): tf.Tensor => attendOnce(qs, k, v, scale, options.precision);
  if (chunk >= queries) return once(q);
  const parts: tf.Tensor[] = [];
  for (let from = 0; from < queries; from += chunk) {
    parts.push(once(tf.slice(q, [0, 0, from, 0], [batch, heads, Math.min(chunk, queries - from), size])));
  }
  return tf.concat(parts, 2);
}

/** The products and the softmax of one backend; operands are rounded by `round` first. */
interface Products {
  round(x: tf.Tensor): tf.Tensor;
  product(a: tf.Tensor, b: tf.Tensor, transposeA?: boolean, transposeB?: boolean): tf.Tensor;
  softmax(x: tf.Tensor): tf.Tensor;
}

function products(precision: Precision | undefined): Products {
  const backend = tensorFlowBackend();
  if (backend !== undefined) {
    return {
      round: (x) => toProductType(backend, x, precision === 'bf16' && backend.bf16Products),
      product: (a, b, ta = false, tb = false) => toF32(backend, batchMatMul(backend, a, b, ta, tb)),
      softmax: (x) => backend.raw('Softmax', [x])[0],
    };
  }
  const transposed = (x: tf.Tensor): tf.Tensor => tf.transpose(x, [0, 1, 3, 2]);
  return {
    round: (x) => x,
    product(a, b, ta = false, tb = false) {
      const [x, y] = [ta ? transposed(a) : a, tb ? transposed(b) : b];
      const [batch, heads, rows, inner] = x.shape as [number, number, number, number];
      const columns = y.shape[3]!;
      if (tf.getBackend() !== 'wasm' || rows * inner * columns < MIN_SINGLE_PRODUCT) return tf.matMul(x, y);
      const xs = tf.unstack(tf.reshape(x, [batch * heads, rows, inner])) as tf.Tensor2D[];
      const ys = tf.unstack(tf.reshape(y, [batch * heads, inner, columns])) as tf.Tensor2D[];
      return tf.reshape(tf.stack(xs.map((m, i) => tf.matMul(m, ys[i]))), [batch, heads, rows, columns]);
    },
    softmax: (x) => tf.softmax(x),
  };
}

function attendOnce(q: tf.Tensor, k: tf.Tensor, v: tf.Tensor, scale: number, precision: Precision | undefined): tf.Tensor {
  const { round, product, softmax } = products(precision);
  return customGradient(
    [q, k, v],
    (inputs) => {
      const [q, k, v] = [round(tf.mul(inputs[0], scale)), round(inputs[1]), round(inputs[2])];
      const probabilities = softmax(product(q, k, false, true)); // [B, H, T, S]
      const value = product(round(probabilities), v); // [B, H, T, d]
      return { value, saved: [q, k, v, value] };
    },
    (dy, [kept, k, v, value]) => {
      const q = after(kept, dy);
      const p = softmax(product(q, k, false, true)); // [B, H, T, S]
      const d = round(dy);
      const dv = product(round(p), d, true);
      // Softmax gradient: p * (dp - sum(p dp)), and sum_j p_ij dp_ij = sum_c dy_ic value_ic.
      const dScores = round(tf.mul(p, tf.sub(product(d, v, false, true), tf.sum(tf.mul(dy, value), -1, true))));
      const dq = tf.mul(product(dScores, k), scale);
      // q carries the scale already.
      const dk = product(dScores, q, true);
      return [dq, dk, dv];
    },
  );
}
