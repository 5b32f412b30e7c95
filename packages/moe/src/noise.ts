/** Noise of the router in training. Drawn before the step from the counter-based generator, so a sample keeps its noise in any batch. */
import { type RandomBatch, randomNormalBatch, randomUniformBatch } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';

/** Tensors that `route` applies; leave them out when sampling. */
export interface RouterNoise {
  /** Multiplies the router's input, `[N, C]`: uniform around 1 (Switch Transformer's jitter). */
  jitter?: tf.Tensor;
  /** Added to the logits, `[N, E]`: normal (Shazeer et al. 2017; V-MoE). */
  gate?: tf.Tensor;
}

/**
 * Draws noise for one layer.
 *
 * @param batch seed, purpose (name the layer in it) and global sample indices
 * @param tokens per sample
 * @param options `jitter`: `amount` is the largest change of an input of `width` channels (0.01 in Switch Transformer); `gate`: `std` is the
 *   deviation of the logits' noise (1 / E in V-MoE)
 * @throws FrozenRandomError inside a compiled step that is being recorded
 */
export function routerNoise(
  batch: RandomBatch,
  tokens: number,
  options: { jitter?: { amount: number; width: number }; gate?: { std: number; numExperts: number } },
): RouterNoise {
  const { jitter, gate } = options;
  const rows = batch.indices.length * tokens;
  const purpose = (part: string) => ({ ...batch, purpose: `${batch.purpose}.${part}` });
  return tf.tidy(() => ({
    ...(jitter && {
      jitter: tf.add(
        1 - jitter.amount,
        tf.mul(2 * jitter.amount, tf.reshape(randomUniformBatch(purpose('jitter'), [tokens, jitter.width]), [rows, jitter.width])),
      ),
    }),
    ...(gate && {
      gate: tf.mul(gate.std, tf.reshape(randomNormalBatch(purpose('gate'), [tokens, gate.numExperts]), [rows, gate.numExperts])),
    }),
  })) as RouterNoise;
}
