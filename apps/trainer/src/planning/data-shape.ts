/** What the data of a run determine of its model; where none is named, ImageNet is assumed. */
import type { DataShape } from '../config/resolve.js';
import type { TrainConfig } from '../config/schema.js';
import { openData } from '../data/open.js';

/** ImageNet's training set. */
const IMAGENET = { count: 1_281_167, classes: 1000 };

export interface PlannedData extends DataShape {
  /** Number of images. */
  count: number;
  /** Whether no data is named. */
  assumed: boolean;
}

/** Opens the data that is named, to look at it. */
export async function plannedData(config: TrainConfig): Promise<PlannedData> {
  if (config.data.path !== undefined) {
    const source = await openData(config);
    const { channels, height, width, count, classNames } = source;
    await source.close();
    return { channels, height, width, count, classNames, assumed: false };
  }
  const latents = config.data.kind === 'latents';
  const side = (config.data.size ?? 256) / (latents ? 8 : 1);
  const classNames = Array<string>(IMAGENET.classes).fill('');
  return { channels: latents ? 4 : config.data.channels, height: side, width: side, count: IMAGENET.count, classNames, assumed: true };
}
