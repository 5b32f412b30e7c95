/** Weights of a new layer. */
import { ArgumentError, randomUniform } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import type { LayerShape } from './describe.js';
import type { MoeWeights } from './moe.js';

/**
 * Weights of a new layer, as variables that tfjs' optimizers find. The distributions are those of DiT-MoE: the router uniform within
 * `1 / sqrt(D)`, experts by Glorot and Bengio (2010), without biases.
 *
 * @param shape `width` D, `hidden` H and `numExperts` E; `kind` (default `swiglu`); `sharedHidden`, the width of a shared expert (default none)
 * @param seed equal seeds give equal weights on every backend (default 0)
 * @returns weights for `moe`; the caller disposes them
 * @throws ArgumentError if a size is not a positive integer
 */
export function moeVariables(shape: Omit<LayerShape, 'expertsPerToken'>, seed = 0): MoeWeights {
  const { width, hidden, numExperts, kind = 'swiglu', sharedHidden } = shape;
  for (const [name, size] of Object.entries({ width, hidden, numExperts, ...(sharedHidden !== undefined && { sharedHidden }) }))
    if (!Number.isInteger(size) || size < 1) throw new ArgumentError(`moeVariables: ${name}`, 'a positive integer', size);
  const uniform = (name: string, size: number[], limit: number): tf.Variable => {
    const values = randomUniform({ seed, purpose: `moe.${name}`, index: 0 }, tf.util.sizeFromShape(size));
    return tf.tidy(() =>
      tf.variable(
        tf.tensor(
          values.map((u) => (2 * u - 1) * limit),
          size,
        ),
      ),
    );
  };
  const glorot = (columns: number) => Math.sqrt(6 / (width + columns));
  const gate = uniform('gate', [width, numExperts], 1 / Math.sqrt(width));
  const down = uniform('down', [numExperts, hidden, width], glorot(hidden));
  const experts =
    kind === 'gelu'
      ? { kind, up: uniform('up', [numExperts, width, hidden], glorot(hidden)), down }
      : { gateUp: uniform('gateUp', [numExperts, 2, width, hidden], glorot(hidden)), down };
  if (sharedHidden === undefined) return { gate, experts };
  const sharedUp = uniform('shared.gateUp', [2, width, sharedHidden], glorot(sharedHidden));
  return { gate, experts, shared: { gateUp: sharedUp, down: uniform('shared.down', [sharedHidden, width], glorot(sharedHidden)) } };
}
