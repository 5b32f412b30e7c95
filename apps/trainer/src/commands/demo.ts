/** `demo`: trains on the digits that come with this package, samples 20 images of each class, and checks them. */
import path from 'node:path';
import { contactSheet, encodePng, type Pixels, pictureAt } from '@dit-moe/data';
import { pipelineOf, pixelSpace } from '@dit-moe/pipeline';
import { safeFileName } from '@dit-moe/tensor-ops/io';
import { makeFolder, writeFileAtomically } from '@dit-moe/tensor-ops/io/node';
import { resolveConfig } from '../config/resolve.js';
import { loadImageFolder } from '../data/images.js';
import { recognisedShare } from '../demo/recognise.js';
import { type TrainFlags, trainCommand } from './train.js';

const PER_CLASS = 20;

const writePng = (file: string, picture: Pixels) => writeFileAtomically(file, encodePng(picture));

/** Runs `demo` and returns the exit code. The images are left in `<out>/digits/<class>/`. */
export async function demoCommand(flags: Omit<TrainFlags, 'preset' | 'config' | 'data'> & { out: string }): Promise<number> {
  const config = resolveConfig({ preset: 'digits', overrides: flags.set });
  return trainCommand({ ...flags, preset: 'digits' }, async ({ state, card }, signal) => {
    const labels = card.classNames.flatMap((_, label) => Array<number>(PER_CLASS).fill(label));
    const { solver, steps, guidance } = config.sampling;
    const pipeline = pipelineOf(card, state.average, pixelSpace(card.config.inChannels));
    // Another seed than the previews', so that these are images nobody has looked at.
    const options = { labels, seed: config.seed + 1, solver, steps, guidance, signal };
    const pixels = await Promise.resolve(pipeline.sample(options)).finally(() => pipeline.dispose());
    const folder = path.join(flags.out, 'digits');
    for (const [i, label] of labels.entries()) {
      const directory = path.join(folder, safeFileName(card.classNames[label]));
      await makeFolder(directory);
      await writePng(path.join(directory, `${String(i % PER_CLASS).padStart(3, '0')}.png`), pictureAt(pixels, i));
    }
    const sheet = path.join(flags.out, 'digits.png');
    await writePng(sheet, contactSheet(pixels, PER_CLASS, 4));
    const recognised = recognisedShare(await loadImageFolder(config.data.path!, { channels: 1 }), pixels.data, labels);
    if (!flags.json) {
      console.log(`${labels.length} samples in ${folder}, all of them in ${sheet}`);
      console.log(
        `${(100 * recognised).toFixed(1)} % of them are recognised as their class by their nearest neighbour among the real images.`,
      );
    }
    return { samples: path.resolve(folder), sheet: path.resolve(sheet), recognised };
  });
}
