/** A program: `training-peak.ts <configuration> <batch> <recompute>` prints the bytes that a compiled training step adds to the process at its peak. */
import fs from 'node:fs';
import { compile, valueAndGrads } from '@dit-moe/tensor-ops';
import { useTensorFlow } from '@dit-moe/tensor-ops/node';
import * as tf from '@tensorflow/tfjs';
import { type DitConfig, dit } from '../src/index.js';
import { randomWeights, someInputs } from '../src/testing/models.js';

const [json, batch, recompute] = process.argv.slice(2) as [string, string, string];
const config = JSON.parse(json) as DitConfig;
/** Linux counts the parent's memory at the start into `maxRSS`, so the process's own mark is read. */
const peak = () => 1024 * Number(/VmHWM:\s+(\d+)/.exec(fs.readFileSync('/proc/self/status', 'utf8'))![1]);

await useTensorFlow();
const weights = randomWeights(config);
const inputs = someInputs(config, Number(batch));
const step = compile((x: tf.Tensor, t: tf.Tensor, y: tf.Tensor) => {
  const loss = () => tf.mean(tf.square(dit(weights, config, x, t, y, { recompute: recompute === 'true' }).output));
  const { value, grads } = valueAndGrads(() => ({ loss: loss() }), weights);
  return { value, ...grads };
});
const before = peak();
for (let i = 0; i < 2; i++) tf.dispose(Object.values(step.runSync(...inputs)));
console.log(peak() - before);
