import { type BenchmarkResult, result } from '../harness/benchmark.js';
import { interleave, type Repetitions, timer } from '../harness/measure.js';
import { chooseExperts, dispatchers, LayerTensors } from './layer.js';

/** Cost per token of 64 experts over that of 8 with the same two active ones. */
export async function moreExperts(repetitions: Repetitions, log: (line: string) => void): Promise<BenchmarkResult[]> {
  const results: BenchmarkResult[] = [];
  for (const precision of ['f32', 'bf16'] as const)
    for (const workload of ['forward', 'train'] as const) {
      const [tokens, width] = [8192, 384];
      const sides = [8, 64].map((numExperts) => {
        const indices = chooseExperts(tokens, numExperts, 2, 1);
        const tensors = new LayerTensors({ tokens, width, hidden: 4 * width, numExperts, topK: 2, precision, workload, indices });
        return { tensors, step: tensors.step(dispatchers['slices']!) };
      });
      const [few, many] = (await interleave(
        sides.map(({ step }) => timer(() => step.run())),
        repetitions,
      )) as [number, number];
      for (const { tensors, step } of sides) {
        step.dispose();
        tensors.dispose();
      }
      log(`64 experts instead of 8, ${precision}, ${workload}: ${(few * 1000).toFixed(0)} ms to ${(many * 1000).toFixed(0)} ms`);
      results.push(result(`64 experts-${workload}-${precision}`, 'us/token', 'less', (many * 1e6) / tokens, (few * 1e6) / tokens));
    }
  return results;
}
