/**
 * State dictionaries of other implementations, as recipes that make our weights of theirs.
 *
 * Ours are `[in, out]` with gate and up projections and experts stacked; theirs are `[out, in]`, one tensor each. So
 * every weight of ours is a stack of slices, and every slice is some of their tensors on top of each other, transposed.
 */
import { ArgumentError } from '@dit-moe/tensor-ops';
import { type DitConfig, ditSizes } from '../config.js';
import { hasExperts } from '../moe/moe-config.js';
import { LABEL_TABLE, weightSpecs } from '../weights.js';

/**
 * `qkv`: facebookresearch/DiT, and feizc/DiT-MoE trained without flash attention. `flash`: feizc/DiT-MoE with flash attention and
 * q/k norms (the released XL and G). `diffusers`: its DiTTransformer2DModel, which has no experts. `lightning`: hustvl/LightningDiT with RMSNorm,
 * rotary positions or SwiGLU; without any of them its tensors are those of `qkv`.
 */
export type Layout = 'qkv' | 'flash' | 'diffusers' | 'lightning';

/** One weight of ours. */
export interface Recipe {
  /** Their tensors: outer list the stacked slices, inner list what lies on top of each other before transposition. */
  slices: string[][];
  /** Whether their tensors are matrices `[out, in]`; otherwise they are taken as they are. */
  transposed: boolean;
  /** Shape of one of their tensors. */
  shape: number[];
  /** Further tensors of theirs that must be equal to the first: diffusers keeps the embedders in every block. */
  copies: string[];
}

/** The frozen position table, which only the reference stores. */
export const POSITIONS = 'pos_embed';

/** LightningDiT's tables of rotary positions, `[tokens, head size]` each. */
export const ROTATION = { cos: 'feat_rope.freqs_cos', sin: 'feat_rope.freqs_sin' };

/** Tensors that a file of a layout may have beside the weights: they are computed. */
export const computedTensors = (layout: Layout): string[] =>
  layout === 'diffusers' ? [] : layout === 'lightning' ? [POSITIONS, ROTATION.cos, ROTATION.sin] : [POSITIONS];

/** Names of modules; `block` is that of block N. */
interface Names {
  patch: string;
  timestep: [string, string];
  label: string;
  block: (layer: number) => string;
  modulation: string;
  qkv: string[];
  attentionOutput: string;
  mlp: [string, string];
  finalModulation: string;
  finalOutput: string;
}

const reference: Names = {
  patch: 'x_embedder.proj',
  timestep: ['t_embedder.mlp.0', 't_embedder.mlp.2'],
  label: 'y_embedder.embedding_table',
  block: (layer) => `blocks.${layer}`,
  modulation: 'adaLN_modulation.1',
  qkv: ['attn.qkv'],
  attentionOutput: 'attn.proj',
  mlp: ['mlp.fc1', 'mlp.fc2'],
  finalModulation: 'final_layer.adaLN_modulation.1',
  finalOutput: 'final_layer.linear',
};

const names: Record<Layout, Names> = {
  qkv: reference,
  lightning: reference,
  flash: { ...reference, qkv: ['attn.Wqkv'], attentionOutput: 'attn.out_proj' },
  diffusers: {
    patch: 'pos_embed.proj',
    timestep: ['norm1.emb.timestep_embedder.linear_1', 'norm1.emb.timestep_embedder.linear_2'],
    label: 'norm1.emb.class_embedder.embedding_table',
    block: (layer) => `transformer_blocks.${layer}`,
    modulation: 'norm1.linear',
    qkv: ['attn1.to_q', 'attn1.to_k', 'attn1.to_v'],
    attentionOutput: 'attn1.to_out.0',
    mlp: ['ff.net.0.proj', 'ff.net.2'],
    finalModulation: 'proj_out_1',
    finalOutput: 'proj_out_2',
  },
};

/** Which layout a state dictionary with these names has; undefined if none of them. */
export function layoutOf(tensors: Iterable<string>): Layout | undefined {
  let found: Layout | undefined;
  for (const name of tensors) {
    if (name.endsWith('.attn.Wqkv.weight')) return 'flash';
    if (name.endsWith('.attn.qkv.weight')) found = 'qkv';
    if (/^transformer_blocks\.\d+\.attn1\.to_q\.weight$/.test(name)) found = 'diffusers';
    if (/^blocks\.\d+\.(mlp\.w12|norm1)\.weight$/.test(name) || name === ROTATION.cos) return 'lightning';
  }
  return found;
}

/** What a configuration has that a layout cannot say; undefined if nothing. */
function inexpressible(config: DitConfig, layout: Layout): string | undefined {
  const lightning = layout === 'lightning';
  if (lightning && config.moe !== undefined) return 'experts';
  if (config.norm === 'rms' && !lightning) return 'RMSNorm';
  if (config.rotary === true && !lightning) return 'rotary positions';
  if (config.patchBottleneck !== undefined) return 'a bottleneck before its patch embedding';
  if (config.classTokens !== undefined) return 'class tokens in context';
  if (config.blockEmbedders === true && layout !== 'diffusers') return 'embedders in every block';
  if (config.mlp === 'swiglu-bias' && !lightning) return 'SwiGLU layers with biases';
  if (config.numClasses === 0) return 'no classes';
  if (config.positionGrid !== undefined) return 'interpolated positions';
  if (config.mlp === 'swiglu' && layers(config).some((layer) => !hasExperts(config, layer))) return 'dense SwiGLU layers';
  if (config.moe?.experts === 'gelu') return 'GELU experts';
  if (typeof config.moe?.experts === 'object' || config.moe?.layerExperts !== undefined) return 'groups of different experts';
  if (config.moe?.sharedGate === true) return 'a gate of the shared expert';
  if ((config.moe?.normalizeTopK ?? false) !== false || (config.moe?.weightScale ?? 1) !== 1)
    return 'renormalised or scaled expert weights';
  if ((config.moe?.scoreFunction ?? 'softmax') !== 'softmax' || config.moe?.groups !== undefined) return 'another router than softmax';
  if ((config.moe?.router ?? 'token') !== 'token') return `the router ${config.moe?.router}`;
  if ((config.moe?.routerInput ?? 'modulated') !== 'modulated') return "another input of the router than the experts'";
  if (config.moe?.loadBias !== undefined) return 'load biases';
  if (config.moe?.nullExpert === true) return 'an expert of the null class';
  if (layout !== 'diffusers') return config.timestepFrequencies === 'diffusers' ? "diffusers' timestep frequencies" : undefined;
  if (config.moe !== undefined) return 'experts';
  if (config.positions === 'stored') return 'a stored table of positions';
  return config.qkNorm === true ? 'q/k norms' : undefined;
}

/**
 * Refuses to write what the other program would read as another function.
 * @throws ArgumentError saying what is different, and the setting that mends it
 */
export function checkExport(config: DitConfig, layout: Layout): void {
  const refuse = (found: string, hint: string): never => {
    throw new ArgumentError(`export to ${layout}`, 'a model that the other program computes equally', found, { hint });
  };
  if (layout === 'diffusers' && config.timestepFrequencies !== 'diffusers')
    refuse(
      "DiT's timestep frequencies, where diffusers has its own",
      'Train with model.timestepFrequencies: diffusers, or export to reference.',
    );
  if (config.inputSize[0] !== config.inputSize[1])
    refuse(`inputs of ${config.inputSize.join(' x ')}, where only squares can be said`, 'Export to safetensors, for this project.');
}

const layers = (config: DitConfig): number[] => Array.from({ length: config.depth }, (_, layer) => layer);

/**
 * How to make each of our weights.
 * @throws ArgumentError if the model has something that the layout cannot say
 */
export function recipes(config: DitConfig, layout: Layout): Record<string, Recipe> {
  const odd = inexpressible(config, layout);
  if (odd !== undefined)
    throw new ArgumentError(
      `layout "${layout}"`,
      'a model that this layout can express; write it in the format of this project',
      `one with ${odd}`,
    );
  const { tokens, headSize, outChannels, mlpHidden, expertHidden, sharedHidden } = ditSizes(config);
  const { hiddenSize: d, patchSize: p, inChannels } = config;
  const of = names[layout];
  const specs = weightSpecs(config);
  const all: Record<string, Recipe> = {};
  const add = (ours: string, slices: string[][], shape: number[], transposed: boolean, copies: string[] = []): void => {
    all[ours] = { slices, transposed, shape, copies };
  };
  const linear = (ours: string, theirs: string[], inputs: number, outputs: number, copies: string[] = []): void => {
    const each = outputs / theirs.length;
    const all = (list: string[], part: string) => list.map((name) => `${name}.${part}`);
    add(`${ours}.weight`, [all(theirs, 'weight')], [each, inputs], true, all(copies, 'weight'));
    add(`${ours}.bias`, [all(theirs, 'bias')], [each], false, all(copies, 'bias'));
  };
  const gated = (ours: string, theirs: string[], hidden: number): void => {
    const slices = (...projections: string[]) => theirs.flatMap((t) => projections.map((name) => [`${t}.${name}.weight`]));
    add(`${ours}.gateUp`, slices('gate_proj', 'up_proj'), [hidden, d], true);
    add(`${ours}.down`, slices('down_proj'), [d, hidden], true);
  };
  /** An embedder's place, and where diffusers has it again. */
  const embedder = (name: string): [string, string[]] => {
    if (layout !== 'diffusers') return [name, []];
    const [first, ...others] = layers(config).map((layer) => `${of.block(layer)}.${name}`);
    return config.blockEmbedders === true ? [first, []] : [first, others];
  };
  const norm = (ours: string, theirs: string): void => {
    if (config.norm === 'rms') add(`${ours}.scale`, [[`${theirs}.weight`]], [d], false);
  };

  if (config.positions === 'stored') add('positions', [[POSITIONS]], [1, tokens, d], false);
  add('patchEmbedding.weight', [[`${of.patch}.weight`]], [d, inChannels, p, p], true);
  add('patchEmbedding.bias', [[`${of.patch}.bias`]], [d], false);
  for (const [i, name] of of.timestep.entries()) {
    const [first, others] = embedder(name);
    linear(`timestepEmbedding.${i}`, [first], specs[`timestepEmbedding.${i}.weight`].shape[0], d, others);
  }
  const [label, otherLabels] = embedder(of.label);
  add(
    LABEL_TABLE,
    [[`${label}.weight`]],
    specs[LABEL_TABLE].shape,
    false,
    otherLabels.map((n) => `${n}.weight`),
  );
  for (const layer of layers(config)) {
    const [ours, theirs] = [`blocks.${layer}`, of.block(layer)];
    if (layer > 0 && config.blockEmbedders === true) {
      for (const [i, name] of of.timestep.entries())
        linear(`${ours}.timestepEmbedding.${i}`, [`${theirs}.${name}`], specs[`timestepEmbedding.${i}.weight`].shape[0], d);
      add(`${ours}.${LABEL_TABLE}`, [[`${theirs}.${of.label}.weight`]], specs[LABEL_TABLE].shape, false);
    }
    norm(`${ours}.attentionNorm`, `${theirs}.norm1`);
    norm(`${ours}.feedForwardNorm`, `${theirs}.norm2`);
    linear(`${ours}.modulation`, [`${theirs}.${of.modulation}`], d, 6 * d);
    linear(
      `${ours}.attention.qkv`,
      of.qkv.map((name) => `${theirs}.${name}`),
      d,
      3 * d,
    );
    linear(`${ours}.attention.output`, [`${theirs}.${of.attentionOutput}`], d, d);
    if (config.qkNorm === true)
      for (const [part, name] of [
        ['queryNorm', 'q_norm'],
        ['keyNorm', 'k_norm'],
      ]) {
        add(`${ours}.attention.${part}.scale`, [[`${theirs}.attn.${name}.weight`]], [headSize], false);
        if (config.norm !== 'rms') add(`${ours}.attention.${part}.bias`, [[`${theirs}.attn.${name}.bias`]], [headSize], false);
      }
    if (hasExperts(config, layer)) {
      const { numExperts } = config.moe!;
      add(`${ours}.moe.gate`, [[`${theirs}.moe.gate.weight`]], [numExperts, d], true);
      gated(
        `${ours}.moe.experts`,
        Array.from({ length: numExperts }, (_, e) => `${theirs}.moe.experts.${e}`),
        expertHidden,
      );
      if (sharedHidden > 0) gated(`${ours}.moe.shared`, [`${theirs}.moe.shared_experts`], sharedHidden);
    } else if (config.mlp === 'swiglu-bias') {
      linear(`${ours}.mlp.0`, [`${theirs}.mlp.w12`], d, 2 * mlpHidden);
      linear(`${ours}.mlp.1`, [`${theirs}.mlp.w3`], mlpHidden, d);
    } else {
      linear(`${ours}.mlp.0`, [`${theirs}.${of.mlp[0]}`], d, mlpHidden);
      linear(`${ours}.mlp.1`, [`${theirs}.${of.mlp[1]}`], mlpHidden, d);
    }
  }
  norm('finalLayer.norm', 'final_layer.norm_final');
  linear('finalLayer.modulation', [of.finalModulation], d, 2 * d);
  linear('finalLayer.output', [of.finalOutput], d, p * p * outChannels);
  return all;
}

/**
 * Names in a state dictionary of this model, with the frozen position table where the layout has one. Tables of rotary positions are
 * left out: LightningDiT's own module makes them.
 */
export function layoutNames(config: DitConfig, layout: Layout): string[] {
  const own = Object.values(recipes(config, layout)).flatMap(({ slices, copies }) => [...slices.flat(), ...copies]);
  return layout === 'diffusers' || config.positions === 'stored' ? own : [POSITIONS, ...own];
}
