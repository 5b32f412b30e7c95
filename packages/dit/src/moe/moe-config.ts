/** What the mixture of experts of a diffusion transformer is made of. */
import type { ExpertGroup } from '@dit-moe/moe';
import type { DitConfig } from '../config.js';

/**
 * Which blocks have experts; the others are dense. `{ every: n }`: each n-th, the last of every n (ST-MoE); `{ from: n }`: not the first n
 * (Nucleus-Image, arXiv 2604.12163); `deepHalf` and `shallowHalf`: the halves that the DiT-MoE paper compares (the deep one is better);
 * numbers: those blocks, from 0.
 */
export type MoeLayers = 'all' | 'deepHalf' | 'shallowHalf' | { every?: number; from?: number } | readonly number[];

/**
 * Who chooses. `token` (default, DiT-MoE): each token its best experts. `expert-choice` (EC-DiT, arXiv 2410.02098): each expert its best
 * tokens of every image. `race` (Expert Race, arXiv 2503.16057): the best pairs of token and expert of the whole batch. `threshold` (DiffMoE,
 * arXiv 2503.14487): each expert its best tokens of the whole batch, which a predictor learns to foresee. `prototypes` (ProMoE, arXiv
 * 2510.24711): token choice by the cosine to learned prototypes. `timestep`: nobody, each expert has its equal part of the time.
 *
 * `race` and `threshold` compare the tokens of a batch while training only. When sampling a token takes the experts for which it is above a
 * threshold that training has estimated, so that a sample depends on nothing but itself.
 */
export type RouterKind = 'token' | 'expert-choice' | 'race' | 'threshold' | 'prototypes' | 'timestep';

/**
 * What the router sees of a token: what the experts see (`modulated`, default); the norm before shift and scale (`unmodulated`), which
 * keeps the time out; the same beside the embedding of the time (`unmodulated+time`, Nucleus-Image, arXiv 2604.12163); or that embedding alone
 * (`time`, Switch-DiT, arXiv 2403.09176), so that the tokens of an image go together.
 */
export type RouterInput = 'modulated' | 'unmodulated' | 'unmodulated+time' | 'time';

/** Losses of a router beside the balance loss. */
export type RouterLoss = 'sequence' | 'global' | 'z' | 'importance' | 'load' | 'similarity' | 'contrastive' | 'capacity';

/** Some of the routed experts, numbered one after another; `ratio` is their hidden width as a multiple of the model's (default `expertRatio`). */
export type ExpertGroupConfig =
  /** SwiGLU without biases. */
  | { kind: 'swiglu'; count: number; ratio?: number }
  /** GELU with biases. */
  | { kind: 'gelu'; count: number; ratio?: number }
  /** Give nothing (MoE++, arXiv 2410.07348). */
  | { kind: 'zero'; count: number }
  /** Give their input. */
  | { kind: 'copy'; count: number }
  /** Give a learned vector; `blended` mixes it with their input, as MoE++ does (default false). */
  | { kind: 'constant'; count: number; blended?: boolean };

/** The mixture of experts of a block: its router and its experts. */
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
  /**
   * Experts per token on average where tokens compete for experts (`expert-choice`, `race`, `threshold`): a number above 0, for all blocks
   * with experts or for each in order (default `topK`).
   */
  capacity?: number | readonly number[];
  /** Training begins with `from` times the capacity, which falls to it in `stages` equal parts of the first `steps` (default: it is constant). */
  capacitySchedule?: { from: number; steps: number; stages: number };
  /**
   * Noise of the router, in training only (default: none): `jitter` is the largest relative change of its input (Switch Transformer: 0.01),
   * `gate` the deviation of what is added to its logits (V-MoE: 1 / numExperts).
   */
  noise?: { jitter?: number; gate?: number };
  /** Weights of further losses of the router (default: none; `capacity` of the router `threshold`: 1). */
  losses?: Partial<Record<RouterLoss, number>>;
  /** Routed experts of a block. */
  numExperts: number;
  /** Experts per token, `1 ... numExperts`; where tokens compete for experts their mean. */
  topK: number;
  /** Turns logits into scores (default `softmax`). */
  scoreFunction?: 'softmax' | 'sigmoid' | 'identity';
  /** Choose among the best groups of experts only (default: among all). */
  groups?: { count: number; keep: number };
  /**
   * Divide the weights of a token by their sum (default false, as DiT-MoE); `expert`: those of an expert's tokens of an image by their mean,
   * with `expert-choice`.
   */
  normalizeTopK?: boolean | 'expert';
  /** Multiplies the weights (default 1; DeepSeek-V3 uses 2.5). */
  weightScale?: number;
  /**
   * Routed experts: `swiglu` without biases (default, DiT-MoE), `gelu` with biases, as the dense layer of DiT, or groups of different ones,
   * `numExperts` together.
   */
  experts?: 'swiglu' | 'gelu' | readonly ExpertGroupConfig[];
  /** Groups of experts for some blocks in place of `experts`; the first entry with the block's number counts (default: none). */
  layerExperts?: readonly { layers: readonly number[]; experts: readonly ExpertGroupConfig[] }[];
  /** Hidden width of a routed expert as a multiple of the model width (4 in DiT-MoE). */
  expertRatio: number;
  /** Hidden width of the shared expert as a multiple of the model width (2 in DiT-MoE); 0 for none. */
  sharedRatio: number;
  /** A token weighs the shared expert by a learned sigmoid (default false; Qwen2-MoE). */
  sharedGate?: boolean;
  /** Weight of the balance loss (0.01 in the reference code, 0.005 in the paper). */
  balanceAlpha: number;
  /** Blocks that have experts (default `all`, as the published models). */
  layers?: MoeLayers;
  /** Balance over the tokens of the batch (default, as the published models), or within each image. */
  balanceOver?: 'batch' | 'image';
}

/** Whether the tokens compete for the experts, so that their number varies from token to token. */
export const tokensCompete = ({ router = 'token' }: Pick<MoeConfig, 'router'>): boolean =>
  router === 'expert-choice' || router === 'race' || router === 'threshold';

/** Whether tokens of different samples compete in training, so that sampling needs thresholds. */
export const samplesCompete = ({ router = 'token' }: Pick<MoeConfig, 'router'>): boolean => router === 'race' || router === 'threshold';

/** Experts that a router may choose: all, or all but that of the null class. */
export const routableExperts = ({ numExperts, nullExpert = false }: MoeConfig): number => (nullExpert ? numExperts - 1 : numExperts);

/** Whether a weight is moved by what the routers did instead of by a gradient: a load bias or a threshold. */
export const isRouterState = (name: string): boolean => isLoadBias(name) || isThreshold(name);
/** Whether a weight is a bias that evens the load of the experts. */
export const isLoadBias = (name: string): boolean => name.endsWith('.moe.bias');
/** Whether a weight is part of a threshold from which tokens choose when sampling. */
export const isThreshold = (name: string): boolean => name.includes('.moe.threshold.');

/** Weight of each loss of the routers, by the names under which `dit` returns them. */
export const routerLossWeights = ({ balanceAlpha, losses, router }: MoeConfig): Record<string, number> => ({
  balance: balanceAlpha,
  ...(router === 'threshold' && { capacity: 1 }),
  ...losses,
});

export const isList = <T>(value: unknown): value is readonly T[] => Array.isArray(value);

/** Whether a block has experts. */
export function hasExperts({ moe, depth }: Pick<DitConfig, 'moe' | 'depth'>, layer: number): boolean {
  if (moe === undefined) return false;
  const { layers = 'all' } = moe;
  if (layers === 'all') return true;
  if (layers === 'deepHalf') return layer >= depth / 2;
  if (layers === 'shallowHalf') return layer < depth / 2;
  if (isList<number>(layers)) return layers.includes(layer);
  const { every = 1, from = 0 } = layers;
  return layer >= from && (layer + 1) % every === 0;
}

/** The blocks with experts, in order. */
export const expertLayers = (config: Pick<DitConfig, 'moe' | 'depth'>): number[] =>
  Array.from({ length: config.depth }, (_, layer) => layer).filter((layer) => hasExperts(config, layer));

/** Experts per token of a block, on average where it varies. */
export function expertsPerToken(config: DitConfig & { moe: MoeConfig }, layer: number): number {
  const { capacity, topK } = config.moe;
  if (capacity === undefined) return topK;
  return typeof capacity === 'number' ? capacity : capacity[expertLayers(config).indexOf(layer)];
}

/** What a block's routed experts are: groups, or undefined for equal experts, whose weights have no number of a group in their names. */
export function expertGroups({ moe, hiddenSize }: DitConfig & { moe: MoeConfig }, layer: number): ExpertGroup[] | undefined {
  const { experts, layerExperts = [], expertRatio } = moe;
  const groups =
    layerExperts.find(({ layers }) => layers.includes(layer))?.experts ?? (isList<ExpertGroupConfig>(experts) ? experts : undefined);
  return groups?.map((group): ExpertGroup => {
    if (group.kind === 'zero' || group.kind === 'copy' || group.kind === 'constant') return group;
    const { kind, count, ratio = expertRatio } = group;
    const hidden = Math.round(ratio * hiddenSize);
    return kind === 'gelu' ? { kind, count, hidden, biases: true } : { kind, count, hidden };
  });
}

/** What each routed expert is, by its number, of the blocks with experts in order. */
export function expertKinds({ moe, ...dense }: DitConfig): ExpertGroupConfig['kind'][][] {
  if (moe === undefined) return [];
  const config = { ...dense, moe };
  const equal = [{ kind: moe.experts === 'gelu' ? ('gelu' as const) : undefined, count: moe.numExperts }];
  return expertLayers(config).map((layer) =>
    (expertGroups(config, layer) ?? equal).flatMap(({ kind = 'swiglu', count }) => Array<ExpertGroupConfig['kind']>(count).fill(kind)),
  );
}

/** What multiplies the capacity of a training step, see `capacitySchedule`. */
export function capacityScale({ capacitySchedule }: MoeConfig, step: number): number {
  if (capacitySchedule === undefined || step >= capacitySchedule.steps) return 1;
  const { from, steps, stages } = capacitySchedule;
  const stage = Math.floor((step * stages) / steps);
  return from + ((1 - from) * stage) / stages;
}
