/** A model's settings in files; the trainer's configuration and the model card are composed of these. */
import {
  either,
  type FieldsOf,
  flag,
  integer,
  number,
  object,
  optional,
  pair,
  parseSettings,
  partial,
  word,
} from '@dit-moe/tensor-ops/settings';
import type { KnownConfig } from './checkpoints/infer-config.js';
import { type DitConfig, ditSizes } from './config.js';
import { moeInFull, moeSettings } from './moe/moe-settings.js';

/** Settings of {@link DitConfig}. */
export const ditSettings = /* @__PURE__ */ (() =>
  object(
    {
      inputSize: pair(integer('divisible by patchSize', { least: 1 }), 'height and width of the input in pixels or latents'),
      patchSize: integer('height and width of a patch, which becomes one token', { least: 1 }),
      inChannels: integer('channels of the input', { least: 1 }),
      patchBottleneck: optional(
        integer('numbers that a patch is brought to before the width, for large patches of pixels (JiT: 128; default: none)', { least: 1 }),
      ),
      classTokens: optional(
        object(
          {
            count: integer('tokens; 32 in JiT', { least: 1 }),
            from: integer('first block that has them; 4 of 12 in JiT-B', { least: 0 }),
          },
          'tokens of the label before the patches, which attention reads besides the modulation (default: none); for dense models with classes',
        ),
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
      moe: optional(moeInFull(moeSettings)),
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
