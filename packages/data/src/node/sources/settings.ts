/** How pictures are read, as people write it in files; the trainer's configuration is composed of these. */
import { type FieldsOf, flag, object, optional, parseSettings, text, word } from '@dit-moe/tensor-ops/settings';
import type { DecodeOptions } from '../pictures/decode-image.js';
import { type ImageSourceOptions, labelSources } from './image-source.js';

/** Settings of {@link ImageSourceOptions}, and of decoding. */
export const imageSettings = /* @__PURE__ */ (() =>
  object(
    {
      split: optional(text('which one where names of folders or files tell several, such as train; none: those names are no splits')),
      labels: optional(
        word(
          labelSources,
          "auto (default): dataset.json, labels.csv or metadata.csv if there is one, else the folders' names; folders: also those of members of tar files; names: file names without their numbers; none: one class",
        ),
      ),
      imageColumn: optional(text('of parquet files, or the array of images in an .npz file (default: the only one of images)')),
      labelColumn: optional(text('of parquet or CSV files, key of JSON in tar files, or the array of labels (default: the usual names)')),
      applyOrientation: optional(flag('turn images as their EXIF orientation says; the reference ignores it (default false)')),
    } satisfies FieldsOf<ImageSourceOptions & Pick<DecodeOptions, 'applyOrientation'>>,
    'how pictures are read',
  ))();

/**
 * How pictures are read, from JSON.
 * @param what it is called in errors
 * @throws SettingsError on unknown fields and wrong words
 */
export const parseImageSettings = (
  json: unknown,
  what = 'How images are read',
): ImageSourceOptions & Pick<DecodeOptions, 'applyOrientation'> => parseSettings(imageSettings, json, what);
