import type { TrainConfig } from './schema.js';

/** Learning rate of a step (from 0): linear warm-up, then constant, or along a cosine or a line to the final one. */
export function learningRateAt(config: Pick<TrainConfig, 'optimizer' | 'steps'>, step: number): number {
  const { learningRate, warmupSteps, schedule, finalLearningRate } = config.optimizer;
  if (step < warmupSteps) return (learningRate * (step + 1)) / warmupSteps;
  if (schedule === 'constant') return learningRate;
  const done = Math.min(1, (step - warmupSteps) / Math.max(1, config.steps - warmupSteps));
  const left = schedule === 'linear' ? 1 - done : 0.5 * (1 + Math.cos(Math.PI * done));
  return finalLearningRate + (learningRate - finalLearningRate) * left;
}
