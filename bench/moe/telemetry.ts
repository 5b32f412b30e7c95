import { dit, preset, weightSpecs } from '@dit-moe/dit';
import type { Routing } from '@dit-moe/moe';
import { RoutingTelemetry } from '@dit-moe/moe/telemetry';
import { AdamW, compile, DataType, mean, Parameter, ParameterSet, tensorFlowBackend, valueAndGrads } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import { type BenchmarkResult, result } from '../harness/benchmark.js';
import { interleave, type Repetitions, timer } from '../harness/measure.js';

const MODEL = 'S/2-8E2A';
const BATCH = 4;

/**
 * A whole training step (forward, backward, AdamW) of DiT-MoE-S/2 at 256 px with and without counters in all layers, and the counters
 * alone in a step of their own: their share is smaller than what two medians of the step differ by.
 */
export async function telemetryCost(repetitions: Repetitions, log: (line: string) => void): Promise<BenchmarkResult[]> {
  const config = preset(MODEL);
  const [height, width] = config.inputSize;
  // Made on the device: 199 M numbers need not go through JavaScript.
  const normal = (shape: readonly number[]) =>
    tensorFlowBackend()!.raw('RandomStandardNormal', [tf.tensor1d([...shape], 'int32')], {
      dtype: { type: DataType.float32 },
      seed: { int: 1 },
      seed2: { int: 1 },
    })[0];
  const parameters = Object.fromEntries(
    Object.entries(weightSpecs(config)).map(([name, { shape }]) => [name, Parameter.create(name, () => tf.mul(normal(shape), 0.02))]),
  );
  const optimizer = new AdamW(parameters);
  const x = tf.randomNormal([BATCH, config.inChannels, height, width], 0, 1, 'float32', 1);
  const target = tf.randomNormal([BATCH, 2 * config.inChannels, height, width], 0, 1, 'float32', 2);
  const t = tf.tensor1d([100, 350, 600, 850]);
  const y = tf.tensor1d([0, 1, 2, config.numClasses], 'int32');
  const tokens = (height * width) / config.patchSize ** 2;
  const telemetry = new RoutingTelemetry({
    layers: config.depth,
    numExperts: config.moe!.numExperts,
    tokens,
    nullLabel: config.numClasses,
  });
  const count = (routing: readonly Routing[]) => telemetry.update(routing, { timesteps: t, labels: y });
  const step = (counted: boolean) =>
    compile(() => {
      const weights = new ParameterSet(parameters).read();
      const { value, grads } = valueAndGrads(() => {
        const { output, losses, routing } = dit(weights, config, x, t, y);
        if (counted) count(routing);
        const error = mean(tf.reshape(tf.squaredDifference(output, target), [-1]), 0);
        return { loss: tf.add(error, tf.mul(losses['balance'], config.moe!.balanceAlpha)) };
      }, weights);
      optimizer.apply(grads, 1e-4);
      return value;
    });
  const weights = new ParameterSet(parameters).read();
  const { routing } = tf.tidy(() => ({ routing: dit(weights, config, x, t, y).routing }) as never) as { routing: Routing[] };
  tf.dispose(weights);
  const alone = compile(() => {
    count(routing);
    return tf.scalar(0);
  });
  const steps = [step(false), step(true), alone];
  const seconds = await interleave(
    steps.map((fn) =>
      timer(async () => {
        const out = await fn.run();
        await out.data();
        out.dispose();
      }),
    ),
    repetitions,
  );
  const [without, counted, counters] = seconds.map((s) => s * 1000) as [number, number, number];
  for (const fn of steps) fn.dispose();
  telemetry.dispose();
  optimizer.dispose();
  tf.dispose([x, target, t, y, ...routing.flatMap((r) => Object.values(r).filter((value) => value instanceof tf.Tensor))]);
  for (const parameter of Object.values(parameters)) parameter.dispose();
  const share = (100 * counters) / without;
  log(
    `step ${without.toFixed(0)} ms, with counters ${counted.toFixed(0)} ms, counters alone ${counters.toFixed(1)} ms (${share.toFixed(2)} % of a step)`,
  );
  return [
    result('telemetry: step with counters', 'ms', 'less', counted, without),
    result('telemetry: counters alone', 'ms', 'less', counters, null),
    result('telemetry: share of a step', '%', 'less', share, 1),
  ];
}
