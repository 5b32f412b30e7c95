/** What the models of `packages/models` are trained on and judged with. */

export interface Recipe {
  /** Of `dit-moe-trainer dataset`; without, the images come with the trainer. */
  dataset?: string;
  images: string;
  /** Of the images: what is trained on, and what the classifier and the samples are judged with. */
  splits?: readonly [train: string, heldOut: string];
  /** Settings of a second training, which begins with the weights of the first. */
  again?: string;
  /** Further options of the classifier's training. */
  classifier: string;
  /** Of the samples that are judged. */
  guidance: number;
}

export const WORK = 'runs/models';

export const recipes: Readonly<Record<string, Recipe>> = {
  digits: { images: 'apps/trainer/data/digits', classifier: '--epochs 20', guidance: 2 },
  fashion: {
    dataset: 'fashion-mnist',
    images: `${WORK}/fashion-mnist`,
    splits: ['train', 'test'],
    again: 'seed=1 optimizer.learningRate=1.5e-3 sampling.every=2000',
    classifier: '--epochs 4 --threads 1',
    guidance: 3,
  },
  emoji: {
    dataset: 'emoji',
    images: `${WORK}/emoji-images`,
    splits: ['train', 'test'],
    classifier: '--size 32 --epochs 20 --threads 1',
    guidance: 3,
  },
};
