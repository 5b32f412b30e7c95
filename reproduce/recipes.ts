/** What the models of `packages/models` are trained on and judged with. */

export interface Recipe {
  /** Of `dit-moe-trainer dataset`; without, the images come with the trainer. */
  dataset?: string;
  images: string;
  /** Of the images: what is trained on, and what the classifier and the samples are judged with. */
  splits?: readonly [train: string, heldOut: string];
  /** Edge of the model's pictures, where it is not that of the images. */
  size?: number;
  /** Settings that differ from those of the preset. */
  settings?: string;
  /** Settings of a second training, which begins with the weights of the first. */
  again?: string;
  /** The second training begins with the first one's bundle, whose matrices are in bf16, and not with its run. */
  fromBundle?: boolean;
  /** Further options of the classifier's training. */
  classifier: string;
  /** How many samples are judged. */
  samples: number;
}

export const WORK = 'runs/models';

export const recipes: Readonly<Record<string, Recipe>> = {
  // Experts of half the width that the preset has: four patches need no more, and the file is 0.8 MB smaller.
  digits: {
    images: 'apps/trainer/data/digits',
    settings: 'model.moe.expertRatio=1',
    classifier: '--epochs 20',
    samples: 1000,
  },
  fashion: {
    dataset: 'fashion-mnist',
    images: `${WORK}/fashion-mnist`,
    splits: ['train', 'test'],
    again: 'seed=1 optimizer.learningRate=1.5e-3 sampling.every=2000',
    classifier: '--epochs 4 --threads 1',
    samples: 1000,
  },
  emoji: {
    dataset: 'emoji',
    images: `${WORK}/emoji-images`,
    splits: ['train', 'test'],
    size: 32,
    again: 'seed=1 steps=6000 optimizer.learningRate=1e-3 ema=0.998 sampling.every=1500',
    fromBundle: true,
    classifier: '--epochs 20 --threads 1',
    samples: 450,
  },
};
