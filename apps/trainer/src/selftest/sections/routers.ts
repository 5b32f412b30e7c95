/** Every router and every way to lay out tokens for the experts: output, losses and gradients of a small model, as one compiled step. */
import { type DitConfig, dit, type MoeConfig, routerLossWeights } from '@dit-moe/dit';
import { capacity, type Dispatcher, dense, padded, slices } from '@dit-moe/moe/dispatch';
import { compile, type Precision, valueAndGrads } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import { compare, joined, type Multiplies, type Numbers, toHost } from '../compare.js';
import type { Finding } from '../finding.js';
import { BATCH, normal, randomWeights, smallModel } from '../small-model.js';

/** Every router of the configuration. */
const routers: Readonly<Record<string, Partial<MoeConfig>>> = {
  'token choice': { losses: { z: 0.01, importance: 0.01, similarity: 0.01 } },
  'token choice, unmodulated': { routerInput: 'unmodulated' },
  'token choice, time': { routerInput: 'time' },
  'token choice, null expert': { nullExpert: true },
  'token choice, load bias': { scoreFunction: 'sigmoid', normalizeTopK: true, loadBias: 0.01 },
  'expert choice': { router: 'expert-choice', scoreFunction: 'sigmoid' },
  race: { router: 'race', scoreFunction: 'identity' },
  threshold: { router: 'threshold' },
  prototypes: { router: 'prototypes', losses: { contrastive: 0.1 } },
  timestep: { router: 'timestep', topK: 1, timeRange: 1000 },
};

const dispatchers: Readonly<Record<string, Dispatcher>> = {
  slices,
  padded,
  dense,
  capacity: capacity(),
  'capacity by position': capacity({ dropBy: 'position' }),
};

export async function routersAndDispatchers(multiplies: Multiplies): Promise<Finding[]> {
  const findings: Finding[] = [];
  for (const [name, moe] of Object.entries(routers)) findings.push(await compare(name, multiplies, () => outcome(smallModel(moe))));
  for (const [name, dispatcher] of Object.entries(dispatchers))
    findings.push(await compare(`dispatch by ${name}`, multiplies, () => outcome(smallModel(), { dispatcher })));
  // A token whose two best experts are nearly equal may take the other one in bfloat16; without such choices all is smooth.
  const all = smallModel({ topK: 4 });
  findings.push(await compare('all experts, bf16', 'bf16', () => outcome(all, { precision: 'bf16' })));
  findings.push(await compare('all experts, bf16, recomputed', 'bf16', () => outcome(all, { precision: 'bf16', recompute: true })));
  return findings;
}

async function outcome(
  config: DitConfig,
  { dispatcher, ...options }: { dispatcher?: Dispatcher; precision?: Precision; recompute?: boolean } = {},
): Promise<Numbers> {
  const weights = randomWeights(config);
  const inputs = [normal('x', [BATCH, 4, 8, 8]), tf.tensor1d([10, 200, 500, 900]), tf.tensor1d([1, 2, 3, 10], 'int32')];
  const step = compile(
    (x: tf.Tensor, t: tf.Tensor, y: tf.Tensor) => {
      const loss = () => {
        const { output, losses } = dit(weights, config, x, t, y, {
          training: {},
          ...options,
          ...(dispatcher && { moe: () => ({ dispatcher }) }),
        });
        let sum: tf.Tensor = tf.mean(tf.square(output));
        for (const [name, weight] of Object.entries(routerLossWeights(config.moe!))) sum = tf.add(sum, tf.mul(losses[name], weight));
        return { loss: sum, extra: { output } };
      };
      // A load bias is moved by loads, not by gradients.
      const { value, grads, extra } = valueAndGrads(loss, weights, { allowZeros: true });
      return { value, ...extra, ...grads };
    },
    { name: 'selftest' },
  );
  const { value, output, ...grads } = await toHost(await step.run(inputs[0], inputs[1], inputs[2]));
  step.dispose();
  tf.dispose([...inputs, ...Object.values(weights)]);
  // Some gradients are zero but for rounding, so all of them are one vector.
  return { value, output, gradient: joined(Object.values(grads)) };
}
