/** Distributions of the weights for TensorBoard. */
import type { Parameter } from '@dit-moe/tensor-ops';
import type { Summary } from '../tensorboard/event-writer.js';

/** Values of one weight that enter its histogram: enough for its shape, and fast for stacked experts of millions. */
const MOST_VALUES = 50_000;

/** One histogram per matrix and stacked expert weight. */
export async function weightHistograms(parameters: Readonly<Record<string, Parameter>>): Promise<Summary[]> {
  const summaries: Summary[] = [];
  for (const [name, parameter] of Object.entries(parameters)) {
    if (parameter.shape.length < 2) continue;
    const data = await parameter.data();
    const stride = Math.ceil(data.length / MOST_VALUES);
    const values = stride === 1 ? data : Float32Array.from({ length: Math.floor(data.length / stride) }, (_, i) => data[i * stride]);
    summaries.push({ tag: `weights/${name}`, histogram: values });
  }
  return summaries;
}
