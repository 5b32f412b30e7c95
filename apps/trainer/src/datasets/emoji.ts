/** Google's Noto Emoji at 64 x 64 pixels in colour, by category, from the npm package `emoji-datasource-google`. */

import { createHash } from 'node:crypto';
import fs from 'node:fs/promises';
import path from 'node:path';
import { encodePng, pictureOf } from '@dit-moe/data';
import { DataError } from '@dit-moe/kit';
import { makeFolder, writeFileAtomically } from '@dit-moe/tensor-ops/io/node';
import sharp from 'sharp';
import { type DataPackage, type Fetching, withPackage } from './clients.js';

/** The version that the digest is of; another one has other pictures. */
const PACKAGE = 'emoji-datasource-google@16.0.0';
const ARCHIVE = 'emoji-datasource-google-16.0.0.tgz';
const IMAGES = 'img/google/64';
const EDGE = 64;
/** SHA-256 over the table and the images of 64 pixels: name and content of each, in the order of their names. */
const emojiDigest = '0bc2be0faf4b4a89ef866d51549c8616288a7a297dbccb1b66fa696b08c30c40';

/** Class by category. Five swatches of skin colour ("Component") are no emoji. */
const classOf: Readonly<Record<string, string>> = {
  Activities: 'activities',
  'Animals & Nature': 'animals',
  Flags: 'flags',
  'Food & Drink': 'food',
  Objects: 'objects',
  'People & Body': 'people',
  'Smileys & Emotion': 'smileys',
  Symbols: 'symbols',
  'Travel & Places': 'travel',
};

/** Of every so many emoji of a class one is held out. */
const HELD_OUT = 10;

const dataPackage: DataPackage = {
  name: `the npm package ${PACKAGE}`,
  commands: [
    ['npm', 'pack', PACKAGE, '--ignore-scripts', '--loglevel=error', '--logs-max=0'],
    ['tar', '-xzf', ARCHIVE, 'package/emoji.json', `package/${IMAGES}`],
  ],
  folder: 'package',
  files: ['emoji.json', IMAGES],
};

const SOURCE = `Emoji of 64 x 64 pixels on white, from the npm package ${PACKAGE} (MIT licence, Copyright (c) 2013 Cal Henderson).
The pictures are Noto Emoji, Copyright Google, Apache License 2.0.
One in ${HELD_OUT} of each class is held out (test); variants by skin colour and five swatches of colour are left out.
`;

interface Emoji {
  image: string;
  category: string;
  sort_order: number;
}

/**
 * Writes `train/<class>/<code points>.png` and `test/<class>/...`, on white instead of transparent.
 * @param digest expected of table and images
 * @throws DataError if it cannot be fetched, or is another
 */
export async function writeEmoji(folder: string, fetching: Fetching, digest = emojiDigest): Promise<void> {
  await withPackage(dataPackage, fetching, async (source) => {
    const found = await digestOf(source);
    if (found !== digest)
      throw new DataError(`${source} is not ${PACKAGE}: the SHA-256 of its table and images is ${found}, expected ${digest}.`, {
        where: source,
        expected: digest,
        found,
      });
    const table = JSON.parse(await fs.readFile(path.join(source, 'emoji.json'), 'utf8')) as Emoji[];
    for (const [category, name] of Object.entries(classOf)) {
      const members = table.filter((emoji) => emoji.category === category).sort((a, b) => a.sort_order - b.sort_order);
      for (const split of ['train', 'test']) await makeFolder(path.join(folder, split, name));
      for (const [i, { image }] of members.entries()) {
        fetching.signal?.throwIfAborted();
        const pixels = await sharp(path.join(source, IMAGES, image))
          .flatten({ background: 'white' })
          .toColourspace('srgb')
          .raw()
          .toBuffer();
        const target = path.join(folder, i % HELD_OUT === HELD_OUT - 1 ? 'test' : 'train', name, image);
        await writeFileAtomically(target, encodePng(pictureOf(pixels, EDGE, EDGE)));
      }
    }
  });
  await writeFileAtomically(path.join(folder, 'SOURCE.txt'), SOURCE);
}

async function digestOf(source: string): Promise<string> {
  const hash = createHash('sha256');
  const images = (await fs.readdir(path.join(source, IMAGES))).sort();
  for (const file of ['emoji.json', ...images.map((name) => `${IMAGES}/${name}`)])
    hash.update(`\n${file} `).update(await fs.readFile(path.join(source, file)));
  return hash.digest('hex');
}
