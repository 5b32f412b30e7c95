/** What the models of `packages/models` are trained on and judged with. */

export interface Recipe {
  /** Of `dit-moe-trainer dataset`; without, the images come with the trainer. */
  dataset?: string;
  images: string;
  /** Of the images: what is trained on, and what the classifier and the samples are judged with. */
  splits?: readonly [train: string, heldOut: string];
  /** Further options of the classifier's training. */
  classifier: string;
}

export const WORK = 'runs/models';

export const recipes: Readonly<Record<string, Recipe>> = {
  digits: { images: 'apps/trainer/data/digits', classifier: '--epochs 20' },
  fashion: { dataset: 'fashion-mnist', images: `${WORK}/fashion-mnist`, splits: ['train', 'test'], classifier: '--epochs 4 --threads 1' },
  emoji: { dataset: 'emoji', images: `${WORK}/emoji-images`, splits: ['train', 'test'], classifier: '--size 32 --epochs 20 --threads 1' },
};
