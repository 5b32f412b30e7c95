/** A model's settings in files; the trainer's configuration and the model card are composed of these. */
import {
  either,
  type FieldsOf,
  flag,
  integer,
  list,
  number,
  object,
  optional,
  pair,
  parseSettings,
  partial,
  word,
} from '@dit-moe/tensor-ops/settings';
import type { KnownConfig } from './checkpoints/infer-config.js';
import { type DitConfig, ditSizes, type MoeConfig } from './config.js';

export const moeSettings = /* @__PURE__ */ (() =>
  object(
    {
      numExperts: integer('routed experts of a block', { least: 1 }),
      topK: integer('experts per token, at most numExperts; of expert-choice their mean', { least: 1 }),
      scoreFunction: optional(
        word(
          ['softmax', 'sigmoid', 'identity'],
          "turns the router's logits into scores (default softmax, as DiT-MoE; DeepSeek-V3: sigmoid)",
        ),
      ),
      router: optional(
        word(
          ['token', 'expert-choice', 'prototypes', 'timestep'],
          'who chooses: token (default, DiT-MoE), expert-choice within each image (EC-DiT), prototypes that tokens are compared with (ProMoE), or timestep, an equal part of the time for each expert',
        ),
      ),
      routerInput: optional(
        word(
          ['modulated', 'unmodulated', 'unmodulated+time', 'time'],
          'what the router sees: modulated tokens as the experts do (default), unmodulated ones, these beside the embedded time (Nucleus-Image), or the time alone (Switch-DiT)',
        ),
      ),
      nullExpert: optional(flag('the last expert is for unconditional samples only, as in ProMoE (default false)')),
      loadBias: optional(
        number('balance without a loss: what a bias per expert moves by after each step (DeepSeek-V3: 0.001; default: no bias)', {
          above: 0,
        }),
      ),
      timeRange: optional(number('largest timestep that the model is told, for the router timestep; the trainer knows it', { above: 0 })),
      losses: optional(
        object(
          {
            z: optional(number('keeps logits small (ST-MoE: 0.001)', { least: 0 })),
            importance: optional(number('evens the summed scores (V-MoE: 0.005)', { least: 0 })),
            similarity: optional(number('keeps experts from always being used together (Expert Race)', { least: 0 })),
            contrastive: optional(number('pulls prototypes to their own tokens and from those of others (ProMoE)', { least: 0 })),
          },
          'weights of further losses of the router, beside balanceAlpha (default: none)',
        ),
      ),
      groups: optional(
        object(
          {
            count: integer('groups of equal size that the experts are divided into', { least: 1 }),
            keep: integer('groups that a token chooses among, the best for it', { least: 1 }),
          },
          'choose among the best groups of experts only, as DeepSeek-V3 (default: among all)',
        ),
      ),
      normalizeTopK: optional(flag('divide the weights of a token by their sum (default false, as DiT-MoE)')),
      weightScale: optional(number('multiplies the weights (default 1; DeepSeek-V3: 2.5)', { above: 0 })),
      experts: optional(
        word(
          ['swiglu', 'gelu'],
          'routed experts: swiglu without biases (default, DiT-MoE), or gelu with biases, as the dense layer of DiT',
        ),
      ),
      expertRatio: number('hidden width of a routed expert as a multiple of hiddenSize (4 in DiT-MoE)', { above: 0 }),
      sharedRatio: number('hidden width of the shared expert as a multiple of hiddenSize (2 in DiT-MoE); 0 for none', { least: 0 }),
      balanceAlpha: number('weight of the balance loss (0.005 in the paper, 0.01 in its code)', { least: 0 }),
      layers: optional(
        either(
          [
            word(['all', 'deepHalf', 'shallowHalf']),
            object({ every: integer('each block with this distance from the one before, the last of every so many', { least: 1 }) }),
            list(integer('number of a block, from 0', { least: 0 }), undefined, { least: 1 }),
          ],
          'blocks with experts; the others are dense (default all)',
        ),
      ),
      balanceOver: optional(word(['batch', 'image'], 'balance over the tokens of the batch (default), or within each image')),
    } satisfies FieldsOf<MoeConfig>,
    'experts in place of dense feed-forward layers (default: none)',
  ))();

export const ditSettings = /* @__PURE__ */ (() =>
  object(
    {
      inputSize: pair(integer('divisible by patchSize', { least: 1 }), 'height and width of the input in pixels or latents'),
      patchSize: integer('height and width of a patch, which becomes one token', { least: 1 }),
      inChannels: integer('channels of the input', { least: 1 }),
      patchBottleneck: optional(
        integer('numbers that a patch is brought to before the width, for large patches of pixels (JiT: 128; default: none)', { least: 1 }),
      ),
      hiddenSize: integer('width of the model, a multiple of numHeads and of 4', { least: 1 }),
      depth: integer('number of blocks', { least: 1 }),
      numHeads: integer('attention heads', { least: 1 }),
      mlpRatio: number("hidden width of a dense block's feed-forward layer as a multiple of hiddenSize (4 in DiT)", { above: 0 }),
      numClasses: integer('classes; 0 for an unconditional model', { least: 0 }),
      learnSigma: flag('predict a second set of channels for the variance'),
      nullLabel: optional(
        either(
          [flag('whether there is one'), integer('number of a class whose row it shares', { least: 0 })],
          'label that stands for no class, for guidance: true (default) for a row of its own, a number for the row of a class, false for none',
        ),
      ),
      qkNorm: optional(flag('normalise queries and keys per head (default false)')),
      norm: optional(
        word(
          ['layer', 'rms'],
          'norm before attention, feed-forward and the final layer: layer (default, DiT), or rms with a scale (LightningDiT)',
        ),
      ),
      rotary: optional(flag('rotary positions of queries and keys besides the added ones (default false; LightningDiT)')),
      mlp: optional(
        word(
          ['gelu', 'swiglu', 'swiglu-bias'],
          'dense feed-forward layer: gelu (default, DiT), swiglu without biases, or swiglu-bias with them (LightningDiT); their usual mlpRatio is 8/3',
        ),
      ),
      positionGrid: optional(
        pair(
          integer('patches', { least: 1 }),
          'rows and columns of patches that the positions were trained with (default: those of the input); others are interpolated',
        ),
      ),
      positions: optional(word(['sincos', 'stored'], 'computed sines and cosines (default), or a table among the weights')),
      timestepFrequencies: optional(
        word(['dit', 'diffusers'], 'frequencies of the timestep embedding: those of DiT (default), or of models trained in diffusers'),
      ),
      blockEmbedders: optional(
        flag('every block embeds timestep and label by weights of its own, as DiTs that diffusers trains (default false)'),
      ),
      moe: optional(moeSettings),
    } satisfies FieldsOf<DitConfig>,
    'a diffusion transformer',
  ))();

/**
 * The configuration of a model from JSON.
 * @param what it is called in errors
 * @throws SettingsError on unknown fields, wrong words, numbers out of range
 * @throws ArgumentError if fields do not fit each other, see {@link ditSizes}
 */
export function parseDitConfig(json: unknown, what = "The model's configuration"): DitConfig {
  const config: DitConfig = parseSettings(ditSettings, json, what);
  ditSizes(config);
  return config;
}

/**
 * What is known of a foreign file's configuration, from JSON: any fields of {@link ditSettings}, and of the experts `topK` and `balanceAlpha`.
 * @param what it is called in errors
 * @throws SettingsError on unknown fields, wrong words, numbers out of range
 */
export function parseKnownConfig(json: unknown, what: string): KnownConfig {
  const { moe: _, ...fields } = ditSettings.fields;
  const { topK, balanceAlpha } = moeSettings.fields;
  return parseSettings(object({ ...partial(fields), ...partial({ topK, balanceAlpha }) }), json, what);
}
