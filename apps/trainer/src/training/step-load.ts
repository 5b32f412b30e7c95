/** Load of the experts over the micro-batches of a step, for a balance loss over all of them. */
import type { Routing } from '@dit-moe/moe';
import { GlobalLoad } from '@dit-moe/moe/losses';
import type { Collectives, Parameter } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import type { RouterMemory } from './router-memory.js';

export class StepLoad implements RouterMemory {
  private readonly load: GlobalLoad;

  constructor(
    layers: number,
    numExperts: number,
    private readonly collectives: Collectives | undefined,
  ) {
    this.load = new GlobalLoad(layers, numExperts);
  }

  /** What earlier micro-batches of the step, on all ranks, sent to each expert: `[E]` per layer. */
  read(): tf.Tensor[] {
    return this.load.read();
  }

  get counters(): Parameter[] {
    return [this.load.parameter];
  }

  count(routing: readonly Routing[]): void {
    const load = tf.stack(routing.map(({ load }) => load));
    this.load.add(this.collectives?.allReduce(load) ?? load);
  }

  update(): void {
    this.load.reset();
  }

  reset(): void {
    this.load.parameter.fill(0);
  }

  dispose(): void {
    this.load.dispose();
  }
}
