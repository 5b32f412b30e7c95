import * as tf from '@tensorflow/tfjs-core';

/**
 * `x` itself, through which no gradient flows.
 *
 * tfjs has no such op. This makes a second tensor over the same data without a node on the gradient tape, so that nothing
 * behind `x` is computed for it in the backward pass.
 */
export function stopGradient<T extends tf.Tensor>(x: T): T {
  const engine = tf.engine();
  engine.backend.incRef(x.dataId);
  return engine.makeTensorFromTensorInfo({ dataId: x.dataId, shape: x.shape, dtype: x.dtype }) as T;
}
