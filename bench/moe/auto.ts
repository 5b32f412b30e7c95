import { chooseDispatcher, dense, measureDispatch, padded, slices } from '@dit-moe/moe/dispatch';
import { type BenchmarkResult, result } from '../harness/benchmark.js';
import { interleave, type Repetitions, timer } from '../harness/measure.js';
import { chooseExperts, imbalance, LayerTensors } from './layer.js';

/** From layers that are all overhead to layers that are all products. */
const layers = [
  { tokens: 16, width: 32, numExperts: 4 },
  { tokens: 64, width: 64, numExperts: 8 },
  { tokens: 64, width: 64, numExperts: 32 },
  { tokens: 256, width: 128, numExperts: 16 },
  { tokens: 2048, width: 192, numExperts: 8 },
  { tokens: 2048, width: 192, numExperts: 64 },
];

/** The dispatcher chosen by the measured speed against the fastest, compiled. */
export async function autoChoice(repetitions: Repetitions, log: (line: string) => void): Promise<BenchmarkResult[]> {
  const speed = await measureDispatch();
  const { secondsPerOp, sliceFlops, batchFlops } = speed;
  const giga = (flops: number) => (flops / 1e9).toFixed(0);
  log(`${(secondsPerOp * 1e6).toFixed(1)} us per op, ${giga(sliceFlops)} GFLOP/s plain, ${giga(batchFlops)} batched`);
  const results: BenchmarkResult[] = [];
  for (const { tokens, width, numExperts } of layers)
    for (const skew of [1, 0.7])
      for (const workload of ['forward', 'train'] as const) {
        const [hidden, topK] = [4 * width, 2];
        const indices = chooseExperts(tokens, numExperts, topK, skew);
        const maxOverMean = imbalance(indices, numExperts);
        const shape = { numExperts, expertsPerToken: topK, width, hidden };
        const choice = chooseDispatcher(shape, tokens, { speed, maxOverMean, training: workload === 'train' });
        const tensors = new LayerTensors({ tokens, width, hidden, numExperts, topK, precision: 'f32', workload, choices: [indices] });
        // A candidate that is estimated at many times the best would only take time.
        const tried = Object.entries({ slices, padded, dense }).filter(
          ([name]) => choice.seconds[name as typeof choice.name]! < 8 * choice.seconds[choice.name]!,
        );
        const steps = tried.map(([name, dispatcher]) => ({ name, ...tensors.step(dispatcher) }));
        const seconds = await interleave(
          steps.map(({ run }) => timer(run)),
          { ...repetitions, warmUp: 3, perRound: 5 },
        );
        for (const step of steps) step.dispose();
        tensors.dispose();
        const chosen = seconds[steps.findIndex((step) => step.name === choice.name)];
        const label = `${tokens} tokens, width ${width}, ${numExperts} experts, load ${maxOverMean.toFixed(1)}, ${workload}`;
        log(`${label}: ${choice.name} of ${steps.map((step, i) => `${step.name} ${(seconds[i] * 1000).toFixed(2)} ms`).join(', ')}`);
        results.push(result(`auto: ${label}`, 'ms', 'less', chosen * 1000, Math.min(...seconds) * 1000));
      }
  return results;
}
