/** Runs in a browser: layers of several kinds on both backends. */
import '@tensorflow/tfjs-backend-webgpu';
import * as tf from '@tensorflow/tfjs';
import { fill } from '../../../testing/fill.js';
import { auto, capacity, dense } from '../src/dispatch/index.js';
import { balanceLoss, type MoeOptions, moe, tokenChoice } from '../src/index.js';
import { expertChoice, forced, globalTopK, threshold } from '../src/select/index.js';

/** Largest difference to the cpu backend of output, loss and gradients, by case. */
export type Differences = Record<string, number>;

const [tokens, width, numExperts, hidden] = [12, 6, 5, 4];
const assignment = () => tf.tensor1d([4, 4, 4, 4, ...new Array<number>(tokens - 4).fill(-1)], 'int32');

const swiglu = {
  shapes: [
    [numExperts, 2, width, hidden],
    [numExperts, hidden, width],
  ],
  names: ['gateUp', 'down'],
};
const gelu = {
  shapes: [
    [numExperts, width, hidden],
    [numExperts, hidden, width],
    [numExperts, hidden],
    [numExperts, width],
  ],
  names: ['up', 'down', 'upBias', 'downBias'],
};

export const cases: Record<string, { kind: typeof swiglu; options: () => Partial<MoeOptions> }> = {
  default: { kind: swiglu, options: () => ({}) },
  dense: { kind: gelu, options: () => ({ dispatcher: dense }) },
  auto: { kind: swiglu, options: () => ({ dispatcher: auto() }) },
  'capacity for all': { kind: gelu, options: () => ({ dispatcher: capacity({ perExpert: tokens }) }) },
  'capacity by score': { kind: swiglu, options: () => ({ dispatcher: capacity({ perExpert: 3 }) }) },
  'capacity by position': { kind: swiglu, options: () => ({ dispatcher: capacity({ perExpert: 3, dropBy: 'position' }) }) },
  'all experts': { kind: swiglu, options: () => ({ selector: tokenChoice(numExperts) }) },
  'expert choice': { kind: swiglu, options: () => ({ selector: expertChoice(2, { sequences: 3 }) }) },
  'global top-K': { kind: swiglu, options: () => ({ selector: globalTopK(2) }) },
  threshold: { kind: swiglu, options: () => ({ selector: threshold(tf.tensor1d([0.1, 0.2, 0.3, 0.9, 0.05])) }) },
  forced: { kind: swiglu, options: () => ({ selector: forced(assignment(), tokenChoice(2), { reserved: 1 }) }) },
};

async function evaluate({ kind, options }: (typeof cases)[string]): Promise<Float32Array[]> {
  const inputs = [[tokens, width], [width, numExperts], ...kind.shapes].map((shape, i) => fill(shape, i + 1));
  let output: tf.Tensor | undefined;
  const { value, grads } = tf.valueAndGrads((...[x, gate, ...weights]: tf.Tensor[]) => {
    const named = Object.fromEntries(kind.names.map((name, i) => [`experts.${name}`, weights[i]]));
    const layer = moe(x, { gate, ...named }, { selector: tokenChoice(2), ...options(), losses: { balance: balanceLoss } });
    output = tf.keep(tf.clone(layer.output));
    return tf.add(tf.sum(tf.mul(layer.output, fill([tokens, width], 42))), layer.losses.balance);
  })(inputs);
  const tensors = [output!, value, ...grads];
  const values = (await Promise.all(tensors.map((tensor) => tensor.data()))) as Float32Array[];
  tf.dispose(tensors);
  return values;
}

export async function main(): Promise<Differences> {
  const differences: Differences = {};
  for (const [name, one] of Object.entries(cases)) {
    const on = async (backend: string) => {
      if (!(await tf.setBackend(backend))) throw new Error(`no backend ${backend}`);
      return evaluate(one);
    };
    const [expected, actual] = [await on('cpu'), await on('webgpu')];
    differences[name] = Math.max(...actual.flatMap((values, i) => Array.from(values, (v, j) => Math.abs(v - expected[i][j]))));
  }
  return differences;
}
