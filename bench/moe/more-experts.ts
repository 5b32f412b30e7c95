import { slices } from '@dit-moe/moe/dispatch';
import { type BenchmarkResult, result } from '../harness/benchmark.js';
import { interleave, type Repetitions, timer } from '../harness/measure.js';
import { chooseExperts, LayerTensors } from './layer.js';

/**
 * Cost per token of 64 experts over that of 8 with the same two active ones, at the width of DiT-MoE-S, for batches of 32 and 128 images of 256 px.
 * The weights are eight times as many and have to be read once per batch, so that the difference shrinks with the batch.
 */
export async function moreExperts(repetitions: Repetitions, log: (line: string) => void): Promise<BenchmarkResult[]> {
  const results: BenchmarkResult[] = [];
  const width = 384;
  for (const tokens of [8192, 32_768])
    for (const workload of ['forward', 'train'] as const) {
      const sides = [8, 64].map((numExperts) => {
        const indices = chooseExperts(tokens, numExperts, 2, 1);
        const tensors = new LayerTensors({
          tokens,
          width,
          hidden: 4 * width,
          numExperts,
          topK: 2,
          precision: 'f32',
          workload,
          choices: [indices],
        });
        return { tensors, step: tensors.step(slices) };
      });
      const [few, many] = (await interleave(
        sides.map(({ step }) => timer(() => step.run())),
        repetitions,
      )) as [number, number];
      for (const { tensors, step } of sides) {
        step.dispose();
        tensors.dispose();
      }
      const label = `64 experts instead of 8, ${tokens} tokens, ${workload}`;
      log(`${label}: ${(few * 1000).toFixed(0)} ms to ${(many * 1000).toFixed(0)} ms`);
      results.push(result(label, 'us/token', 'less', (many * 1e6) / tokens, (few * 1e6) / tokens));
    }
  return results;
}
