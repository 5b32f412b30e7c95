/** Small trained models, for whoever wants pictures before a training of their own. How each was made is said in the README beside it. */

/** A trained model that this package holds. */
export interface BundledModel {
  /** What it is called on the command line. */
  name: string;
  /** What its pictures show. */
  shows: string;
  /** Its weights with their card, a safetensors file: `fileURLToPath` gives the path in Node, and bundlers take the file along. */
  weights: URL;
}

/** The models, smallest pictures first. */
export const bundledModels: readonly BundledModel[] = [
  {
    name: 'digits',
    shows: 'handwritten digits, grey, 8 x 8',
    weights: new URL('../models/digits/model.safetensors', import.meta.url),
  },
  {
    name: 'fashion',
    shows: 'clothes, grey, 28 x 28',
    weights: new URL('../models/fashion/model.safetensors', import.meta.url),
  },
  {
    name: 'emoji',
    shows: 'emoji by category, in colour, 32 x 32',
    weights: new URL('../models/emoji/model.safetensors', import.meta.url),
  },
];
