/** The configuration behind a state dictionary: shapes tell most of it, the rest is recorded beside it, asked for, or assumed. */
import { ArgumentError } from '@dit-moe/tensor-ops';
import type { DitConfig } from '../config.js';
import type { MoeConfig } from '../moe/moe-config.js';
import { presetSizes } from '../presets.js';
import type { TensorFile } from './convert.js';
import { type Layout, POSITIONS, ROTATION } from './layouts.js';

/** A configuration and what of it was not in the file. */
export interface InferredConfig {
  config: DitConfig;
  /** Sentences for people, such as "2 experts per token, as the reference's default". */
  assumed: string[];
}

/** Fields that a caller may state; they win over what is recorded or assumed. */
export type KnownConfig = Partial<Omit<DitConfig, 'moe'>> & { topK?: number; balanceAlpha?: number };

/**
 * Derives the configuration of a model in a foreign layout.
 *
 * @param recorded options stored beside the weights: the `args` of the reference's .pt files, or diffusers' `config.json`
 * @throws ArgumentError naming a field that must be given
 */
export function inferConfig(
  file: TensorFile,
  layout: Layout,
  recorded: Readonly<Record<string, unknown>> = {},
  known: KnownConfig = {},
): InferredConfig {
  const assumed: string[] = [];
  const present = new Set(file.names);
  const shape = (name: string): readonly number[] => {
    if (!present.has(name)) throw new ArgumentError('inferConfig', `a DiT in the ${layout} layout`, `one without "${name}"`);
    return file.info(name).shape;
  };
  const number = (...keys: string[]): number | undefined =>
    keys.map((key) => recorded[key]).find((value): value is number => Number.isSafeInteger(value) && (value as number) >= 0);
  const isDiffusers = layout === 'diffusers';
  const block = isDiffusers ? 'transformer_blocks' : 'blocks';
  const [d, inChannels, p] = shape(isDiffusers ? 'pos_embed.proj.weight' : 'x_embedder.proj.weight') as [number, number, number];
  const layers = indices(file.names, new RegExp(`^${block}\\.(\\d+)\\.`));
  const depth = layers.length === 0 ? 0 : layers.at(-1)! + 1;

  const patchOutputs = shape(isDiffusers ? 'proj_out_2.weight' : 'final_layer.linear.weight')[0];
  const outChannels = patchOutputs / (p * p);
  if (outChannels !== inChannels && outChannels !== 2 * inChannels)
    throw new ArgumentError('inferConfig', `${inChannels} output channels, or twice as many`, outChannels);

  const rows = shape(`${isDiffusers ? `${block}.0.norm1.emb.class_embedder` : 'y_embedder'}.embedding_table.weight`)[0];
  const numClasses = known.numClasses ?? number('num_classes', 'num_embeds_ada_norm') ?? rows - 1;
  if (known.numClasses === undefined && number('num_classes', 'num_embeds_ada_norm') === undefined)
    assumed.push(`${numClasses} classes and a null label: the label table has ${rows} rows`);
  if (numClasses !== rows && numClasses !== rows - 1)
    throw new ArgumentError('inferConfig: numClasses', `${rows - 1} with a null label or ${rows} without`, numClasses);

  const named = /^DiT-(S|B|L|XL|G)\/\d$/.exec(String(recorded['model']))?.[1] as keyof typeof presetSizes | undefined;
  const preset = Object.entries(presetSizes).find(([, size]) => size.hiddenSize === d && size.depth === depth);
  const headNorm = present.has(`${block}.0.attn.q_norm.weight`) ? shape(`${block}.0.attn.q_norm.weight`)[0] : undefined;
  // LightningDiT keeps a table of rotations per head.
  const headSize = headNorm ?? (present.has(ROTATION.cos) ? shape(ROTATION.cos)[1] : undefined);
  let numHeads = known.numHeads ?? number('num_attention_heads', 'num_heads') ?? (headSize && d / headSize);
  numHeads ??= named !== undefined && presetSizes[named].hiddenSize === d ? presetSizes[named].numHeads : undefined;
  if (numHeads === undefined && preset !== undefined) {
    numHeads = preset[1].numHeads;
    assumed.push(`${numHeads} heads, as size ${preset[0]} has`);
  }
  if (numHeads === undefined)
    throw new ArgumentError('numHeads', 'the number of attention heads, which weights of this size do not tell', numHeads, {
      hint: 'Say it: --heads, or numHeads in the configuration.',
    });

  const moe = isDiffusers ? undefined : inferMoe(file, shape, d, depth, number('num_experts_per_tok'), known, assumed);
  const hidden = [`${block}.%.mlp.fc1.weight`, `${block}.%.ff.net.0.proj.weight`]
    .flatMap((name) => layers.map((layer) => name.replace('%', String(layer))))
    .find((name) => present.has(name));
  const gated = `${block}.0.mlp.w3.weight`;
  const config: DitConfig = {
    inputSize: known.inputSize ?? inferSize(file, present, p, number),
    patchSize: p,
    inChannels,
    hiddenSize: d,
    depth,
    numHeads,
    mlpRatio: present.has(gated) ? shape(gated)[1] / d : hidden === undefined ? 4 : shape(hidden)[0] / d,
    numClasses,
    learnSigma: outChannels !== inChannels,
    ...(numClasses === rows && { nullLabel: false }),
    ...(headNorm !== undefined && { qkNorm: true }),
    ...(present.has(`${block}.0.norm1.weight`) && { norm: 'rms' as const }),
    ...(present.has(ROTATION.cos) && { rotary: true }),
    ...(present.has(gated) && { mlp: 'swiglu-bias' as const }),
    ...(isDiffusers && { timestepFrequencies: 'diffusers' as const }),
    ...(moe !== undefined && { moe }),
  };
  if (isDiffusers && known.timestepFrequencies === undefined)
    assumed.push("diffusers' timestep frequencies; weights that were converted from facebookresearch/DiT were trained with DiT's");
  const { topK: _, balanceAlpha: __, ...fields } = known;
  return { config: { ...config, ...fields }, assumed };
}

function inferSize(
  file: TensorFile,
  present: ReadonlySet<string>,
  p: number,
  number: (...keys: string[]) => number | undefined,
): [number, number] {
  const latents = number('sample_size') ?? (number('image_size') ?? 0) / 8;
  if (latents > 0) return [latents, latents];
  const rotations = present.has(ROTATION.cos) ? file.info(ROTATION.cos).shape[0] : 0;
  const tokens = present.has(POSITIONS) ? file.info(POSITIONS).shape[1] : rotations;
  const side = Math.sqrt(tokens);
  if (tokens === 0 || !Number.isInteger(side))
    throw new ArgumentError('inferConfig: inputSize', 'to be told: the file has no square position table', `${tokens} positions`);
  return [side * p, side * p];
}

function inferMoe(
  file: TensorFile,
  shape: (name: string) => readonly number[],
  d: number,
  depth: number,
  recordedTopK: number | undefined,
  known: KnownConfig,
  assumed: string[],
): MoeConfig | undefined {
  const layers = indices(file.names, /^blocks\.(\d+)\.moe\.gate\.weight$/);
  const first = layers[0];
  if (first === undefined) return undefined;
  const moe = `blocks.${first}.moe`;
  const topK = known.topK ?? recordedTopK ?? 2;
  if (known.topK === undefined && recordedTopK === undefined) assumed.push("2 experts per token, the reference's default");
  const shared = file.names.includes(`${moe}.shared_experts.gate_proj.weight`);
  return {
    numExperts: shape(`${moe}.gate.weight`)[0],
    topK,
    expertRatio: shape(`${moe}.experts.0.gate_proj.weight`)[0] / d,
    sharedRatio: shared ? shape(`${moe}.shared_experts.gate_proj.weight`)[0] / d : 0,
    balanceAlpha: known.balanceAlpha ?? 0.01,
    ...(layers.length !== depth && { layers }),
  };
}

/** Distinct numbers that a pattern finds in names, ascending. */
function indices(names: readonly string[], pattern: RegExp): number[] {
  const found = new Set<number>();
  for (const name of names) {
    const match = pattern.exec(name);
    if (match !== null) found.add(Number(match[1]));
  }
  return [...found].sort((a, b) => a - b);
}
