/** The mixture-of-experts feed-forward layer of DiT-MoE: routed SwiGLU experts plus shared ones on the same input. */
import { type Precision, swiglu } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import { balanceLoss, expertLoad, sequenceBalanceLoss } from './balance-loss.js';
import { type RouterConfig, type Routing, route } from './route.js';
import { swigluExperts } from './swiglu-experts.js';

/** Weights of one layer. `H`: hidden width of a routed expert, `S`: of the shared expert. */
export interface MoeWeights {
  /** Router `[D, E]`. */
  gate: tf.Tensor;
  /** `[E, D, 2H]` */
  expertsGateUp: tf.Tensor;
  /** `[E, H, D]` */
  expertsDown: tf.Tensor;
  /** `[D, 2S]`; without it there is no shared expert. */
  sharedGateUp?: tf.Tensor;
  /** `[S, D]` */
  sharedDown?: tf.Tensor;
}

export interface MoeOutput {
  /** `[N, D]` */
  output: tf.Tensor;
  /** Loss terms by name, to be weighted and added by the caller; `balance` is 1 at perfect balance. */
  losses: { balance: tf.Scalar };
  routing: Routing;
  /** Tokens per expert: float32 `[E]`. */
  load: tf.Tensor;
}

export interface MoeOptions {
  /** Precision of the experts' products (default `f32`); the router is float32 always. */
  precision?: Precision;
  /** Balance the experts within each of that many equally long sequences (default: over all tokens together). */
  balancedSequences?: number;
}

/**
 * Applies the layer.
 *
 * @param x tokens `[N, D]`
 */
export function moe(x: tf.Tensor, weights: MoeWeights, config: RouterConfig, options: MoeOptions = {}): MoeOutput {
  const routing = route(x, weights.gate, config);
  const load = expertLoad(routing);
  let output = swigluExperts(x, routing, { gateUp: weights.expertsGateUp, down: weights.expertsDown }, options);
  if (weights.sharedGateUp !== undefined && weights.sharedDown !== undefined) {
    output = tf.add(output, swiglu(x, weights.sharedGateUp, weights.sharedDown, options));
  }
  const { balancedSequences } = options;
  const balance = balancedSequences === undefined ? balanceLoss(routing, load) : sequenceBalanceLoss(routing, balancedSequences);
  return { output, losses: { balance }, routing, load };
}
