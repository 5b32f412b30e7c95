/**
 * Names, shapes and initial values of the weights.
 *
 * Linear weights are `[in, out]`, experts are stacked, gate and up projection are one tensor `[2, in, out]`. The initial distributions
 * are the reference's: Xavier-uniform for every linear layer, experts included; the router Kaiming-uniform with a = sqrt 5; label table
 * and timestep MLP N(0, 0.02); all modulations and the output zero.
 */
import { type ExpertGroup, moeSpecs } from '@dit-moe/moe';
import type { InitialValue, WeightSpec } from '@dit-moe/tensor-ops';
import { type DitConfig, ditSizes } from './config.js';
import { expertGroups, expertsPerToken, hasExperts, type MoeConfig, routableExperts, samplesCompete } from './moe/moe-config.js';

/** Name of a table of labels: the model's, or, behind the name of a block, that of a block with embedders of its own. */
export const LABEL_TABLE = 'labelEmbedding.table';

/** Whether a weight is a table of labels. */
export const isLabelTable = (name: string): boolean => name.endsWith(LABEL_TABLE);

/** Channels of the sinusoidal timestep embedding. */
export const TIMESTEP_CHANNELS = 256;

const zeros: InitialValue = { kind: 'zeros' };
const ones: InitialValue = { kind: 'ones' };
const xavier = (fanIn: number, fanOut: number): InitialValue => ({ kind: 'uniform', limit: Math.sqrt(6 / (fanIn + fanOut)) });
const small: InitialValue = { kind: 'normal', std: 0.02 };

/**
 * All trainable weights of a model, in a fixed order.
 * @throws ArgumentError if the configuration is inconsistent
 */
export function weightSpecs(config: DitConfig): Record<string, WeightSpec> {
  const { tokens, outChannels, headSize, mlpHidden, expertHidden, sharedHidden } = ditSizes(config);
  const { hiddenSize: d, patchSize: p, inChannels, moe, numClasses } = config;
  const specs: Record<string, WeightSpec> = {};
  const linear = (name: string, inputs: number, outputs: number, initial: InitialValue = xavier(inputs, outputs)): void => {
    specs[`${name}.weight`] = { shape: [inputs, outputs], initial };
    specs[`${name}.bias`] = { shape: [outputs], initial: zeros };
  };
  const gated = (name: string, hidden: number, stack: number[] = []): void => {
    specs[`${name}.gateUp`] = { shape: [...stack, 2, d, hidden], initial: xavier(d, hidden) };
    specs[`${name}.down`] = { shape: [...stack, hidden, d], initial: xavier(hidden, d) };
  };
  /** RMSNorm has a scale, DiT's LayerNorm nothing. */
  const norm = (name: string): void => {
    if (config.norm === 'rms') specs[`${name}.scale`] = { shape: [d], initial: ones };
  };
  if (config.positions === 'stored') specs['positions'] = { shape: [tokens, d], initial: small };
  const patch = inChannels * p * p;
  const { patchBottleneck: bottleneck } = config;
  if (bottleneck !== undefined) specs['patchBottleneck.weight'] = { shape: [patch, bottleneck], initial: xavier(patch, bottleneck) };
  linear('patchEmbedding', bottleneck ?? patch, d);
  const embedders = (at: string): void => {
    linear(`${at}timestepEmbedding.0`, TIMESTEP_CHANNELS, d, small);
    linear(`${at}timestepEmbedding.1`, d, d, small);
    const rows = numClasses + ((config.nullLabel ?? true) === true ? 1 : 0);
    if (numClasses > 0) specs[`${at}${LABEL_TABLE}`] = { shape: [rows, d], initial: small };
  };
  embedders('');
  if (config.classTokens !== undefined) specs['classTokens'] = { shape: [config.classTokens.count, d], initial: small };
  for (let b = 0; b < config.depth; b++) {
    const block = `blocks.${b}`;
    if (b > 0 && config.blockEmbedders === true) embedders(`${block}.`);
    linear(`${block}.modulation`, d, 6 * d, zeros);
    norm(`${block}.attentionNorm`);
    linear(`${block}.attention.qkv`, d, 3 * d);
    linear(`${block}.attention.output`, d, d);
    if (config.qkNorm === true) {
      for (const part of ['queryNorm', 'keyNorm']) {
        specs[`${block}.attention.${part}.scale`] = { shape: [headSize], initial: ones };
        if (config.norm !== 'rms') specs[`${block}.attention.${part}.bias`] = { shape: [headSize], initial: zeros };
      }
    }
    norm(`${block}.feedForwardNorm`);
    if (hasExperts(config, b)) {
      Object.assign(specs, routerSpecs(`${block}.moe`, moe!, d));
      const groups = expertGroups({ ...config, moe: moe! }, b);
      if (groups !== undefined) Object.assign(specs, groupSpecs(`${block}.moe`, groups, d));
      else if (moe!.experts === 'gelu') {
        const { numExperts } = moe!;
        specs[`${block}.moe.experts.up`] = { shape: [numExperts, d, expertHidden], initial: xavier(d, expertHidden) };
        specs[`${block}.moe.experts.upBias`] = { shape: [numExperts, expertHidden], initial: zeros };
        specs[`${block}.moe.experts.down`] = { shape: [numExperts, expertHidden, d], initial: xavier(expertHidden, d) };
        specs[`${block}.moe.experts.downBias`] = { shape: [numExperts, d], initial: zeros };
      } else gated(`${block}.moe.experts`, expertHidden, [moe!.numExperts]);
      if (sharedHidden > 0) gated(`${block}.moe.shared`, sharedHidden);
      if (moe!.sharedGate === true) specs[`${block}.moe.shared.gate`] = { shape: [d, 1], initial: gate(d) };
    } else if (config.mlp === 'swiglu') gated(`${block}.mlp`, mlpHidden);
    else {
      linear(`${block}.mlp.0`, d, config.mlp === 'swiglu-bias' ? 2 * mlpHidden : mlpHidden);
      linear(`${block}.mlp.1`, mlpHidden, d);
    }
  }
  norm('finalLayer.norm');
  linear('finalLayer.modulation', d, 2 * d, zeros);
  linear('finalLayer.output', d, p * p * outChannels, zeros);
  for (const [name, spec] of Object.entries(specs)) spec.matrix = isMatrix(name);
  return specs;
}

/** A gate of the reference: uniform within `1 / sqrt(inputs)`. */
const gate = (inputs: number): InitialValue => ({ kind: 'uniform', limit: 1 / Math.sqrt(inputs) });

/**
 * What a router learns: a gate, or prototypes (ProMoE's code starts them at N(0, 0.02)); one that goes by the time, nothing. What it keeps
 * of the batches beside that: a bias, or a threshold.
 */
function routerSpecs(name: string, moe: MoeConfig, width: number): Record<string, WeightSpec> {
  const { router = 'token', routerInput = 'modulated', loadBias } = moe;
  if (router === 'timestep') return {};
  const inputs = routerInput === 'unmodulated+time' ? 2 * width : width;
  const experts = routableExperts(moe);
  const specs: Record<string, WeightSpec> =
    router === 'prototypes'
      ? { prototypes: { shape: [inputs, experts], initial: small } }
      : { gate: { shape: [inputs, experts], initial: gate(inputs) } };
  if (loadBias !== undefined) specs['bias'] = { shape: [experts], initial: zeros };
  if (router === 'threshold') {
    specs['predictor.hidden'] = { shape: [inputs, width], initial: xavier(inputs, width) };
    specs['predictor.hiddenBias'] = { shape: [width], initial: zeros };
    specs['predictor.output'] = { shape: [width, experts], initial: xavier(width, experts) };
    specs['predictor.outputBias'] = { shape: [experts], initial: zeros };
  }
  if (samplesCompete(moe)) {
    specs['threshold.sum'] = { shape: [experts], initial: zeros };
    specs['threshold.share'] = { shape: [1], initial: zeros };
  }
  return Object.fromEntries(Object.entries(specs).map(([part, spec]) => [`${name}.${part}`, spec]));
}

/** Groups of experts, whose weights have the number of their group in their names. */
function groupSpecs(name: string, groups: readonly ExpertGroup[], width: number): Record<string, WeightSpec> {
  const specs = Object.entries(moeSpecs({ width, experts: groups })).filter(([part]) => part.startsWith('experts.'));
  return Object.fromEntries(specs.map(([part, spec]) => [`${name}.${part}`, spec]));
}

/**
 * Whether a weight is a matrix that bfloat16 is good enough for. Router, norms, biases and tables stay float32: a rounded router
 * changes which experts are chosen.
 */
export function isMatrix(name: string): boolean {
  return /(\.weight|\.gateUp|\.up|\.down)$/.test(name);
}

/**
 * Whether a matrix is held in int8 where that is asked for: those of experts, feed-forward layers and attention, two thirds of a dense model
 * and nearly all of one with many experts. Modulations, embedders and the last layer stay float32: every number of the output goes through them.
 */
export const isInt8Matrix = (name: string): boolean =>
  /(\.attention\.(qkv|output)\.weight|\.mlp\.[01]\.weight|\.gateUp|\.up|\.down)$/.test(name);

/** Name of the scales of a matrix in int8, in files and beside the weight. */
export const scaleName = (name: string): string => `${name}.scale`;

/** Whether a weight belongs to the routed experts: its first axis is theirs. */
export const isExpertWeight = (name: string): boolean => name.includes('.moe.experts.');

/** Number of trainable weights; with `active`, only those that one token uses, of experts that are chosen as often as each other. */
export function countWeights(config: DitConfig, active = false): number {
  const share = (name: string): number => {
    const layer = active ? /^blocks\.(\d+)\.moe\.experts\./.exec(name)?.[1] : undefined;
    return layer === undefined ? 1 : expertsPerToken({ ...config, moe: config.moe! }, Number(layer)) / config.moe!.numExperts;
  };
  return Object.entries(weightSpecs(config)).reduce(
    (total, [name, { shape }]) => total + shape.reduce((a, b) => a * b, 1) * share(name),
    0,
  );
}
