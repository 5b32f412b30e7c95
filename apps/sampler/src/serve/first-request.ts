/** What the page begins with, before anybody asked for anything: a cheap set of pictures of a model. */
import type { ModelInfo, SampleRequest } from './protocol.js';

/** Images that fill the first view. */
const IMAGES = 18;
/** Pixels of all images together: of large ones there are fewer, which fill the view as well and take long. */
const PIXELS = 2 ** 18;
/** A solver that needs few steps, of flow and of Gaussian models. */
const SOLVER = { solver: 'unipc', steps: 12 } as const;

/** The request for a model's first look: as many of its classes as there are images, else all of them in turn. */
export function firstRequest({ id, classNames, height, width, defaults }: ModelInfo): SampleRequest {
  const count = Math.max(1, Math.min(IMAGES, Math.floor(PIXELS / (height * width))));
  const { guidance, guidanceRule } = defaults;
  return {
    model: id,
    labels: Array.from(
      { length: count },
      (_, i) => (classNames.length < count ? i : Math.floor((i * classNames.length) / count)) % classNames.length,
    ),
    seed: 0,
    ...SOLVER,
    guidance,
    ...(guidanceRule !== undefined && { guidanceRule }),
  };
}
