/**
 * Names, shapes and initial values of the weights.
 *
 * Linear weights are `[in, out]`, experts are stacked, gate and up projections lie side by side. The initial distributions
 * are the reference's: Xavier-uniform for every linear layer, experts included; the router Kaiming-uniform with a = sqrt 5; label table
 * and timestep MLP N(0, 0.02); all modulations and the output zero.
 */
import { randomNormal, randomUniform } from '@dit-moe/tensor-ops';
import { type DitConfig, ditSizes } from './config.js';

/** Channels of the sinusoidal timestep embedding. */
export const TIMESTEP_CHANNELS = 256;

type Initial =
  | { kind: 'zeros' }
  | { kind: 'ones' }
  | { kind: 'normal'; std: number }
  /** Uniform in (-limit, limit). */
  | { kind: 'uniform'; limit: number };

/** Shape and initial distribution of a weight. */
export interface WeightSpec {
  shape: number[];
  initial: Initial;
}

const zeros: Initial = { kind: 'zeros' };
const xavier = (fanIn: number, fanOut: number): Initial => ({ kind: 'uniform', limit: Math.sqrt(6 / (fanIn + fanOut)) });
const small: Initial = { kind: 'normal', std: 0.02 };

/**
 * All trainable weights of a model, in a fixed order.
 * @throws ArgumentError if the configuration is inconsistent
 */
export function weightSpecs(config: DitConfig): Record<string, WeightSpec> {
  const { outChannels, headSize } = ditSizes(config);
  const { hiddenSize: d, patchSize: p, inChannels, moe } = config;
  const specs: Record<string, WeightSpec> = {};
  const linear = (name: string, inputs: number, outputs: number, initial: Initial = xavier(inputs, outputs)): void => {
    specs[`${name}.weight`] = { shape: [inputs, outputs], initial };
    specs[`${name}.bias`] = { shape: [outputs], initial: zeros };
  };
  linear('patchEmbedding', inChannels * p * p, d);
  linear('timestepEmbedding.0', TIMESTEP_CHANNELS, d, small);
  linear('timestepEmbedding.1', d, d, small);
  specs['labelEmbedding.table'] = { shape: [config.numClasses + (config.nullLabel === false ? 0 : 1), d], initial: small };
  for (let b = 0; b < config.depth; b++) {
    const block = `blocks.${b}`;
    linear(`${block}.modulation`, d, 6 * d, zeros);
    linear(`${block}.attention.qkv`, d, 3 * d);
    linear(`${block}.attention.output`, d, d);
    if (config.qkNorm === true) {
      for (const part of ['queryNorm', 'keyNorm']) {
        specs[`${block}.attention.${part}.scale`] = { shape: [headSize], initial: { kind: 'ones' } };
        specs[`${block}.attention.${part}.bias`] = { shape: [headSize], initial: zeros };
      }
    }
    if (moe === undefined) {
      linear(`${block}.mlp.0`, d, config.mlpRatio * d);
      linear(`${block}.mlp.1`, config.mlpRatio * d, d);
      continue;
    }
    const [h, s] = [moe.expertRatio * d, moe.sharedRatio * d];
    specs[`${block}.moe.gate`] = { shape: [d, moe.numExperts], initial: { kind: 'uniform', limit: 1 / Math.sqrt(d) } };
    specs[`${block}.moe.experts.gateUp`] = { shape: [moe.numExperts, d, 2 * h], initial: xavier(d, h) };
    specs[`${block}.moe.experts.down`] = { shape: [moe.numExperts, h, d], initial: xavier(h, d) };
    if (s > 0) {
      specs[`${block}.moe.shared.gateUp`] = { shape: [d, 2 * s], initial: xavier(d, s) };
      specs[`${block}.moe.shared.down`] = { shape: [s, d], initial: xavier(s, d) };
    }
  }
  linear('finalLayer.modulation', d, 2 * d, zeros);
  linear('finalLayer.output', d, p * p * outChannels, zeros);
  return specs;
}

/**
 * The initial value of one weight; depends on seed and name only, so that weights can be made one at a time and in any order.
 *
 * @param seed integer in [0, 2^53)
 */
export function initialWeight(name: string, spec: WeightSpec, seed: number): Float32Array {
  const length = spec.shape.reduce((a, b) => a * b, 1);
  const stream = { seed, purpose: `weights.${name}`, index: 0 };
  switch (spec.initial.kind) {
    case 'zeros':
      return new Float32Array(length);
    case 'ones':
      return new Float32Array(length).fill(1);
    case 'normal': {
      const { std } = spec.initial;
      return randomNormal(stream, length).map((v) => v * std);
    }
    default: {
      const { limit } = spec.initial;
      return randomUniform(stream, length).map((v) => (2 * v - 1) * limit);
    }
  }
}

/** Number of trainable weights; with `active`, only those that one token uses. */
export function countWeights(config: DitConfig, active = false): number {
  return Object.entries(weightSpecs(config)).reduce((total, [name, { shape }]) => {
    const size = shape.reduce((a, b) => a * b, 1);
    return (
      total +
      (active && config.moe !== undefined && name.includes('.moe.experts.') ? (size * config.moe.topK) / config.moe.numExperts : size)
    );
  }, 0);
}
