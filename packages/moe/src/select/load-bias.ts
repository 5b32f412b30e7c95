/**
 * Balance without a loss (Wang et al. 2024, arXiv 2408.15664; DeepSeek-V3): a bias per expert is added to the scores for the choice
 * only, and after each step moves by a fixed rate towards even load. No gradient is involved.
 */
import { Parameter } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import type { RoutingPlan } from '../plan.js';

/** Moves the biases of all layers. They are the caller's: read by the selectors, saved with the weights, moved by no optimizer. */
export class LoadBias {
  /** Tokens per layer and expert since the last step, `[layers, E]`; need not be saved if checkpoints fall between steps. */
  readonly load: Parameter;

  /**
   * @param biases of the layers in order, `[E]` each, zeros at first
   * @param rate what a bias moves by in a step (default 0.001 as in both papers, for scores of a sigmoid or softmax)
   */
  constructor(
    private readonly biases: readonly Parameter[],
    private readonly rate = 0.001,
  ) {
    this.load = Parameter.create('routers.load', () => tf.zeros([biases.length, biases[0].shape[0]]));
  }

  /** Counts a micro-batch, the plans of its layers in order. May be called inside a compiled step. */
  count(routing: readonly Pick<RoutingPlan, 'load'>[]): void {
    const experts = this.load.shape[1];
    // An expert that is forced upon tokens, behind the others, is not the router's to balance.
    tf.tidy(() => this.load.add(tf.stack(routing.map(({ load }) => tf.slice(load, [0], [experts])))));
  }

  /**
   * Moves each bias by `rate * sign(mean load - load)`, centred so that they do not drift (as torchtitan does; the choice is the same),
   * and counts anew. May be called inside a compiled step.
   * @param total adds up the loads `[layers, E]` of all processes (default: there is one)
   */
  update(total: (load: tf.Tensor) => tf.Tensor = (load) => load): void {
    tf.tidy(() => {
      const load = total(this.load.read());
      const step = tf.mul(tf.sign(tf.sub(tf.mean(load, 1, true), load)), this.rate);
      const steps = tf.unstack(tf.sub(step, tf.mean(step, 1, true)));
      for (const [layer, bias] of this.biases.entries()) bias.add(steps[layer]);
      this.load.assign(tf.zeros(this.load.shape as number[]));
    });
  }

  /** Forgets what was counted, for a step that is not applied. */
  reset(): void {
    this.load.fill(0);
  }

  /** Frees the counts; the biases stay. */
  dispose(): void {
    this.load.dispose();
  }
}
