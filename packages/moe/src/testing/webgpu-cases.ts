/** What the WebGPU test computes, in the browser and on the cpu backend alike. */
import * as tf from '@tensorflow/tfjs-core';
import { capacity, type Dispatcher, dense, expertChoice, moe, RoutingTelemetry, type Selector } from '../index.js';
import { fill } from './fill.js';

const [tokens, width, hidden, numExperts, shared] = [12, 6, 4, 5, 3];
const shapes = [
  [tokens, width],
  [width, numExperts],
  [numExperts, 2, width, hidden],
  [numExperts, hidden, width],
  [2, width, shared],
  [shared, width],
];

/** Dispatchers that read nothing to the host, with token choice or another selector. */
const cases: Record<string, { dispatcher: Dispatcher; selector?: Selector }> = {
  dense: { dispatcher: dense },
  'dense, expert choice': { dispatcher: dense, selector: expertChoice({ expertsPerToken: 2, sequences: 3 }) },
  'capacity for all': { dispatcher: capacity({ perExpert: tokens }) },
  'capacity, drop by score': { dispatcher: capacity({ perExpert: 3 }) },
  'capacity, drop by position': { dispatcher: capacity({ perExpert: 3, dropBy: 'position' }) },
};
export const caseNames = Object.keys(cases);

/** Loss, every gradient, load, drops and telemetry of a case on the current backend. */
export async function evaluate(name: string): Promise<Record<string, number[]>> {
  const telemetry = new RoutingTelemetry({ layers: 1, numExperts, tokens: tokens / 3, timestepBuckets: 2 });
  const tensors = tf.tidy(() => {
    const layer = (...xs: tf.Tensor[]) => {
      const [x, gate, gateUp, down, sharedUp, sharedDown] = xs as [tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor];
      const weights = { gate, experts: { gateUp, down }, shared: { gateUp: sharedUp, down: sharedDown } };
      return moe(x, weights, { numExperts, topK: 2 }, cases[name]);
    };
    const inputs = shapes.map((shape, i) => fill(shape, i + 1));
    const { value, grads } = tf.valueAndGrads((...xs: tf.Tensor[]) => {
      const { output, losses } = layer(...xs);
      return tf.add(tf.sum(tf.mul(output, fill(output.shape, 42))), losses['balance']!) as tf.Scalar;
    })(inputs);
    const { routing } = layer(...inputs);
    telemetry.update([routing], { timesteps: tf.tensor1d([0, 999, 10]) });
    const named = grads.map((grad, i) => [`gradient ${i}`, grad] as const);
    return { value, load: routing.load, dropped: tf.clone(routing.dropped ?? tf.scalar(0)), ...Object.fromEntries(named) };
  });
  const read = async (tensor: tf.Tensor) => Array.from(await tensor.data());
  const results = await Promise.all(Object.entries(tensors).map(async ([key, tensor]) => [key, await read(tensor)] as const));
  const [counted] = (await telemetry.read()).layers;
  telemetry.dispose();
  tf.dispose(tensors);
  return { ...Object.fromEntries(results), byTimestep: counted!.byTimestep.flat(), coActivation: counted!.coActivation.flat() };
}
