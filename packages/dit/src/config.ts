/** What a diffusion transformer is made of. */
import { ArgumentError } from '@dit-moe/tensor-ops';

/**
 * Which blocks have experts; the others are dense. `{ every: n }`: each n-th, the last of every n (ST-MoE); `deepHalf` and
 * `shallowHalf`: the halves that the DiT-MoE paper compares (the deep one is better); numbers: those blocks, from 0.
 */
export type MoeLayers = 'all' | 'deepHalf' | 'shallowHalf' | { every: number } | readonly number[];

/**
 * Who chooses. `token` (default, DiT-MoE): each token its best experts. `expert-choice` (EC-DiT, arXiv 2410.02098): each expert its best
 * tokens of every image. `prototypes` (ProMoE, arXiv 2510.24711): token choice by the cosine to learned prototypes. `timestep`: nobody, each
 * expert has its equal part of the time.
 */
export type RouterKind = 'token' | 'expert-choice' | 'prototypes' | 'timestep';

/**
 * What the router sees of a token: what the experts see (`modulated`, default); the norm before shift and scale (`unmodulated`), which
 * keeps the time out; the same beside the embedding of the time (`unmodulated+time`, Nucleus-Image, arXiv 2604.12163); or that embedding alone
 * (`time`, Switch-DiT, arXiv 2403.09176), so that the tokens of an image go together.
 */
export type RouterInput = 'modulated' | 'unmodulated' | 'unmodulated+time' | 'time';

/** Losses of a router beside the balance loss. */
export type RouterLoss = 'z' | 'importance' | 'similarity' | 'contrastive';

/** The mixture of experts of a block: its router and its widths. */
export interface MoeConfig {
  /** Who chooses (default `token`). */
  router?: RouterKind;
  /** What the router sees (default `modulated`). */
  routerInput?: RouterInput;
  /** The last expert belongs to the tokens of unconditional samples, and only to them (default false; ProMoE). */
  nullExpert?: boolean;
  /**
   * Balance without a loss (arXiv 2408.15664, DeepSeek-V3): after each step a bias per expert, which counts for the choice only, moves by
   * this towards even load (default: no bias; 0.001 in the papers).
   */
  loadBias?: number;
  /** Largest timestep, in the units that the model is told: what `timestep` divides among the experts. */
  timeRange?: number;
  /** Weights of further losses of the router (default: none). */
  losses?: Partial<Record<RouterLoss, number>>;
  /** Routed experts of a block. */
  numExperts: number;
  /** Experts per token, `1 ... numExperts`; of `expert-choice` their mean. */
  topK: number;
  /** Turns logits into scores (default `softmax`). */
  scoreFunction?: 'softmax' | 'sigmoid' | 'identity';
  /** Choose among the best groups of experts only (default: among all). */
  groups?: { count: number; keep: number };
  /** Divide the weights of a token by their sum (default false, as DiT-MoE). */
  normalizeTopK?: boolean;
  /** Multiplies the weights (default 1; DeepSeek-V3 uses 2.5). */
  weightScale?: number;
  /** Routed experts: `swiglu` without biases (default, DiT-MoE) or `gelu` with biases, as the dense layer of DiT. */
  experts?: 'swiglu' | 'gelu';
  /** Hidden width of a routed expert as a multiple of the model width (4 in DiT-MoE). */
  expertRatio: number;
  /** Hidden width of the shared expert as a multiple of the model width (2 in DiT-MoE); 0 for none. */
  sharedRatio: number;
  /** Weight of the balance loss (0.01 in the reference code, 0.005 in the paper). */
  balanceAlpha: number;
  /** Blocks that have experts (default `all`, as the published models). */
  layers?: MoeLayers;
  /** Balance over the tokens of the batch (default, as the published models), or within each image. */
  balanceOver?: 'batch' | 'image';
}

/** A DiT or DiT-MoE. */
export interface DitConfig {
  /** Height and width of the input in pixels or latents, each divisible by `patchSize`. */
  inputSize: readonly [number, number];
  patchSize: number;
  inChannels: number;
  /**
   * Numbers that a patch is brought to, by a linear layer without bias, before it is brought to the width (default: none): in pixels a patch
   * has more numbers than matter (JiT, Li and He 2025, arXiv 2511.13720, which takes 128 for patches of 16 x 16).
   */
  patchBottleneck?: number;
  hiddenSize: number;
  /** Number of blocks. */
  depth: number;
  numHeads: number;
  /** Hidden width of a dense block's feed-forward layer as a multiple of the width; the product is rounded. */
  mlpRatio: number;
  /** Classes; 0 for an unconditional model, which ignores labels. */
  numClasses: number;
  /** Predict a second set of channels for the variance. */
  learnSigma: boolean;
  /**
   * The label that stands for no class, for classifier-free guidance: true (default) for a row of its own, number `numClasses`;
   * a number for one of the classes' rows; false if there is none, as in a model trained without label dropout.
   */
  nullLabel?: boolean | number;
  /**
   * Normalisation of queries and keys per head (default false): LayerNorm with scale and bias, as the reference's
   * flash-attention layout has, or, with `norm: 'rms'`, RMSNorm with scale.
   */
  qkNorm?: boolean;
  /** Norm before attention, feed-forward and the final layer (default `layer`, without affine part); `rms` has a scale, as LightningDiT. */
  norm?: 'layer' | 'rms';
  /** Rotary positions of queries and keys over rows and columns, besides the added ones (default false; as LightningDiT). */
  rotary?: boolean;
  /**
   * Dense feed-forward layer: `gelu` (default, DiT), or `swiglu` without biases, or `swiglu-bias` with them, as LightningDiT; the usual
   * `mlpRatio` of both is 8/3.
   */
  mlp?: 'gelu' | 'swiglu' | 'swiglu-bias';
  /** Rows and columns of patches that the positions were trained with (default: those of `inputSize`); others are interpolated. */
  positionGrid?: readonly [number, number];
  /** Positions added to the patches: computed sines and cosines (`sincos`, default), or a table among the weights (`stored`). */
  positions?: 'sincos' | 'stored';
  /** Frequencies of the timestep embedding: of DiT (default), or those of models trained in diffusers, which end at exactly 1/10000. */
  timestepFrequencies?: 'dit' | 'diffusers';
  /**
   * Every block embeds timestep and label by weights of its own, as the DiT that diffusers trains; the final layer goes by the first
   * block's, which routers are told too (default false).
   */
  blockEmbedders?: boolean;
  /** Mixture of experts in some or all blocks; dense layers without it. */
  moe?: MoeConfig;
}

/** Derived sizes of a configuration. */
export interface DitSizes {
  /** Patches per column and row. */
  grid: readonly [number, number];
  tokens: number;
  headSize: number;
  outChannels: number;
  /** Hidden width of dense feed-forward layers, of a routed and of the shared expert. */
  mlpHidden: number;
  expertHidden: number;
  sharedHidden: number;
}

/**
 * Checks a configuration and derives its sizes.
 * @throws ArgumentError naming the field that does not fit
 */
export function ditSizes(config: DitConfig): DitSizes {
  const [height, width] = config.inputSize;
  const { moe } = config;
  const whole = (name: string, value: number, least = 1): void => {
    if (!Number.isInteger(value) || value < least) throw new ArgumentError(`DitConfig.${name}`, `an integer of at least ${least}`, value);
  };
  whole('inputSize[0]', height);
  whole('inputSize[1]', width);
  for (const name of ['patchSize', 'inChannels', 'hiddenSize', 'depth', 'numHeads'] as const) whole(name, config[name]);
  whole('numClasses', config.numClasses, 0);
  if (config.patchBottleneck !== undefined) whole('patchBottleneck', config.patchBottleneck);
  for (const side of config.positionGrid ?? []) whole('positionGrid', side);
  if (height % config.patchSize !== 0 || width % config.patchSize !== 0)
    throw new ArgumentError('DitConfig.inputSize', `sides divisible by patchSize ${config.patchSize}`, `${height} x ${width}`);
  if (config.hiddenSize % config.numHeads !== 0)
    throw new ArgumentError('DitConfig.hiddenSize', `a multiple of numHeads ${config.numHeads}`, config.hiddenSize);
  if (config.hiddenSize % 4 !== 0)
    throw new ArgumentError('DitConfig.hiddenSize', 'a multiple of 4 (2-D sin-cos positions)', config.hiddenSize);
  const headSize = config.hiddenSize / config.numHeads;
  if (config.rotary === true && headSize % 4 !== 0)
    throw new ArgumentError('DitConfig.rotary', 'a head size that is a multiple of 4 (pairs of numbers for rows and columns)', headSize);
  const nullLabel = config.nullLabel ?? true;
  if (typeof nullLabel === 'number' && !(Number.isInteger(nullLabel) && nullLabel >= 0 && nullLabel < config.numClasses))
    throw new ArgumentError('DitConfig.nullLabel', `true, false or a label below numClasses ${config.numClasses}`, nullLabel);
  const grid = [height / config.patchSize, width / config.patchSize] as const;
  const hidden = (name: string, ratio: number, least = 1): number => {
    const width = Math.round(ratio * config.hiddenSize);
    if (!(width >= least)) throw new ArgumentError(`DitConfig.${name}`, 'a positive number', ratio);
    return width;
  };
  if (moe !== undefined) {
    whole('moe.numExperts', moe.numExperts);
    whole('moe.topK', moe.topK);
    if (moe.topK > moe.numExperts) throw new ArgumentError('DitConfig.moe.topK', `at most numExperts ${moe.numExperts}`, moe.topK);
    checkLayers(moe.layers ?? 'all', config.depth);
    checkRouter(config, moe);
  }
  return {
    grid,
    tokens: grid[0] * grid[1],
    headSize,
    outChannels: config.learnSigma ? 2 * config.inChannels : config.inChannels,
    mlpHidden: hidden('mlpRatio', config.mlpRatio),
    expertHidden: moe === undefined ? 0 : hidden('moe.expertRatio', moe.expertRatio),
    sharedHidden: moe === undefined ? 0 : hidden('moe.sharedRatio', moe.sharedRatio, 0),
  };
}

/** Refuses what does not go together. */
function checkRouter(config: DitConfig, moe: MoeConfig): void {
  const { router = 'token', routerInput, nullExpert = false, timeRange, losses = {}, groups, topK } = moe;
  const refuse = (field: string, expected: string, found: unknown): never => {
    throw new ArgumentError(`DitConfig.moe.${field}`, expected, found);
  };
  const open = routableExperts(moe);
  if (topK > open) refuse('topK', `at most ${open}, for the last expert is that of the null class`, topK);
  if (nullExpert && (router === 'expert-choice' || router === 'timestep')) refuse('nullExpert', 'the router token or prototypes', router);
  if (nullExpert && nullLabelOf(config) === undefined) refuse('nullExpert', 'a model with a null label', 'one without');
  if (groups !== undefined && router !== 'token' && router !== 'prototypes') refuse('groups', 'the router token or prototypes', router);
  if (groups !== undefined && nullExpert) refuse('groups', 'a router without nullExpert, which leaves groups of unequal size', 'both');
  if (losses.contrastive !== undefined && router !== 'prototypes') refuse('losses.contrastive', 'the router prototypes', router);
  if (moe.loadBias !== undefined && router !== 'token' && router !== 'prototypes')
    refuse('loadBias', 'the router token or prototypes', router);
  if (router !== 'timestep' && timeRange !== undefined) refuse('timeRange', 'the router timestep', router);
  if (router === 'timestep') {
    if (timeRange === undefined || !(timeRange > 0)) refuse('timeRange', 'the largest timestep, as the router is timestep', timeRange);
    if (topK !== 1) refuse('topK', '1, as the router is timestep', topK);
    if (routerInput !== undefined) refuse('routerInput', 'none, as the router timestep sees no tokens', routerInput);
    if (Object.keys(losses).length > 0) refuse('losses', 'none, as the router timestep learns nothing', Object.keys(losses).join(', '));
  }
}

/** Experts that a router may choose: all, or all but that of the null class. */
export const routableExperts = ({ numExperts, nullExpert = false }: MoeConfig): number => (nullExpert ? numExperts - 1 : numExperts);

/** Whether a weight is moved by what the routers did instead of by a gradient: a load bias. */
export const isRouterState = (name: string): boolean => name.endsWith('.moe.bias');

/** Weight of each loss of the routers, by the names under which `dit` returns them. */
export const routerLossWeights = ({ balanceAlpha, losses }: MoeConfig): Record<string, number> => ({ balance: balanceAlpha, ...losses });

function checkLayers(layers: MoeLayers, depth: number): void {
  const valid =
    typeof layers === 'string'
      ? ['all', 'deepHalf', 'shallowHalf'].includes(layers)
      : !isList(layers)
        ? Number.isInteger(layers.every) && layers.every >= 1 && layers.every <= depth
        : layers.length > 0 && layers.every((layer) => Number.isInteger(layer) && layer >= 0 && layer < depth);
  if (!valid)
    throw new ArgumentError(
      'DitConfig.moe.layers',
      `all, deepHalf, shallowHalf, { every: 1 to ${depth} } or numbers of blocks below ${depth}`,
      JSON.stringify(layers),
    );
}

const isList = (layers: MoeLayers): layers is readonly number[] => Array.isArray(layers);

/** Whether a block has experts. */
export function hasExperts({ moe, depth }: DitConfig, layer: number): boolean {
  if (moe === undefined) return false;
  const { layers = 'all' } = moe;
  if (layers === 'all') return true;
  if (layers === 'deepHalf') return layer >= depth / 2;
  if (layers === 'shallowHalf') return layer < depth / 2;
  return !isList(layers) ? (layer + 1) % layers.every === 0 : layers.includes(layer);
}

/** The label that stands for no class; undefined if the model has none. */
export function nullLabelOf({ numClasses, nullLabel = true }: Pick<DitConfig, 'numClasses' | 'nullLabel'>): number | undefined {
  if (numClasses === 0 || nullLabel === false) return undefined;
  return nullLabel === true ? numClasses : nullLabel;
}

/**
 * The model for inputs of another size: its positions are interpolated from those that it was trained with.
 * @param inputSize height and width in pixels or latents, multiples of the patch size
 * @throws ArgumentError for a model whose positions are a table among its weights
 */
export function withInputSize(config: DitConfig, inputSize: readonly [number, number]): DitConfig {
  if (config.positions === 'stored')
    throw new ArgumentError('size', 'that of the training, as the positions are a stored table', inputSize.join('x'));
  const {
    inputSize: [height, width],
    patchSize,
    positionGrid = [height / patchSize, width / patchSize],
  } = config;
  return { ...config, inputSize, positionGrid };
}
