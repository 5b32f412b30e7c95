import fs from 'node:fs';
import { randomNormal } from '@dit-moe/tensor-ops';
import { useTensorFlow } from '@dit-moe/tensor-ops/node';
import { Autoencoder, activationBytes, stableDiffusionConfig as config } from '@dit-moe/vae';
import * as tf from '@tensorflow/tfjs-core';
import { randomWeights } from './model.js';

const status = (name: string) => Number(new RegExp(`${name}:\\s+(\\d+)`).exec(fs.readFileSync('/proc/self/status', 'utf8'))![1]) / 1024;
await useTensorFlow({ threads: 2 });
const [half, sizes, budget] = process.argv.slice(2) as ['encode' | 'decode', string, string];
const a = new Autoencoder(randomWeights(half === 'encode' ? 'encoder' : 'decoder'), config, { memoryBudget: Number(budget ?? 2 ** 36) });
const run = async (n: number, size: number) => {
  const shape = half === 'encode' ? [n, 3, size, size] : [n, 4, size / 8, size / 8];
  const x = tf.tensor(randomNormal({ seed: 1, purpose: 'input', index: 0 }, tf.util.sizeFromShape(shape)), shape);
  const start = performance.now();
  const y = await a[half](x);
  await y.data();
  tf.dispose([x, y]);
  return (performance.now() - start) / 1000;
};
await run(1, 64);
for (const one of sizes.split(',')) {
  const [n, size] = one.split('x').map(Number) as [number, number];
  fs.writeFileSync('/proc/self/clear_refs', '5');
  const base = status('VmRSS');
  const s = await run(n, size);
  const s2 = await run(n, size);
  console.log(
    half,
    one,
    `base ${base.toFixed(0)} peak ${status('VmHWM').toFixed(0)} grown ${(status('VmHWM') - base).toFixed(0)} MiB; estimate ${((n * activationBytes(config, { part: half, height: size, width: size })) / 2 ** 20).toFixed(0)}; ${s.toFixed(1)} ${s2.toFixed(1)} s`,
  );
}
process.exit(0);
