/** How images are read where a location can be read in several ways: the same options for all commands that read them. */
import type { ImageSourceOptions, LabelSource } from '@dit-moe/data/node';
import { words } from '@dit-moe/kit';
import { Option } from 'commander';

/** As settings of `data` they have the same names. */
export interface ImageFlags {
  split?: string;
  labels?: LabelSource;
  imageColumn?: string;
  labelColumn?: string;
}

const labelSources = words<LabelSource>({ auto: true, folders: true, 'dataset.json': true, 'labels.csv': true, names: true, none: true });

export const imageOptions = (): Option[] => [
  new Option('--split <name>', 'which one where names of folders or files tell several; none: those names are no splits'),
  new Option(
    '--labels <from>',
    "dataset.json, labels.csv, the folders' names, or the files' names without numbers (cat_0001.png); none: one class (default: auto)",
  ).choices(labelSources),
  new Option('--image-column <name>', 'of parquet files, or the array of images in an .npz file (default: the only one)'),
  new Option('--label-column <name>', 'of parquet or CSV files, key of JSON in tar files, or array of labels (default: the usual names)'),
];

/** Those that were given. */
export const imageSourceOf = ({ split, labels, imageColumn, labelColumn }: ImageFlags): ImageSourceOptions =>
  Object.fromEntries(Object.entries({ split, labels, imageColumn, labelColumn }).filter(([, value]) => value !== undefined));
