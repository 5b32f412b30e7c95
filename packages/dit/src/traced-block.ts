import type * as tf from '@tensorflow/tfjs-core';
import type { Block } from './block.js';

/** Receives an intermediate value by name. */
export type Trace = (name: string, value: tf.Tensor) => void;

/** `block`, which shows what is inside it under the name `blocks.N`. */
export const tracedBlock =
  (block: Block, trace: Trace): Block =>
  (w, x, context) => {
    const result = block(w, x, context);
    const { inside, output, routing, losses } = result;
    const ofRouter = routing.map(({ scores, indices, weights, load }) => ({ scores, experts: indices, expertWeights: weights, load }));
    const values: Record<string, tf.Tensor> = Object.assign({}, inside, { output }, ...ofRouter, losses);
    for (const [name, value] of Object.entries(values)) trace(`blocks.${context.layer}.${name}`, value);
    return result;
  };
