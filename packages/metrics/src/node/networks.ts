/** The networks of the metrics with their published weights, which users fetch themselves: licences differ. */
import fs from 'node:fs/promises';
import path from 'node:path';
import type { WeightSource } from '@dit-moe/tensor-ops/io';
import { FileSource, hashFile, openCheckpoint } from '@dit-moe/tensor-ops/io/node';
import { cacheDirectory } from '@dit-moe/tensor-ops/node';
import { classifierExtractor } from '../classifier/extractor.js';
import { MetricError } from '../errors.js';
import type { FeatureExtractor } from '../feature-extractor.js';
import { type InceptionResize, inceptionExtractor } from '../inception/extractor.js';
import { inceptionGraph } from '../inception/graph-weights.js';
import { disposeInception, loadInception } from '../inception/weights.js';
import { pixelExtractor } from '../pixel-extractor.js';
import { clipExtractor } from '../vision-transformer/clip.js';
import { dinov2Extractor } from '../vision-transformer/dinov2.js';
import { openClassifier } from './classifier-file.js';

/** What a network is for, and where its weights come from. */
interface Network {
  use: string;
  /** File names that are looked for in the cache folder, the first one is the usual. */
  files: readonly string[];
  /** Where to get the usual one. */
  origin: string;
}

/** Networks whose features are compared: what for, and where their weights are. */
export const networks = {
  inception: {
    use: 'FID, sFID, Inception Score, KID, precision and recall',
    files: ['pt_inception-2015-12-05-6726825d.pth', 'classify_image_graph_def.pb'],
    origin:
      'https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth, or classify_image_graph_def.pb from http://download.tensorflow.org/models/image/imagenet/inception-2015-12-05.tgz',
  },
  dinov2: {
    use: 'FD-DINOv2 (ViT-L/14)',
    files: ['dinov2_vitl14_pretrain.pth', 'dinov2-large/model.safetensors'],
    origin:
      'https://dl.fbaipublicfiles.com/dinov2/dinov2_vitl14/dinov2_vitl14_pretrain.pth, or model.safetensors of facebook/dinov2-large on the Hugging Face hub',
  },
  clip: {
    use: 'CMMD (ViT-L/14, 336 px)',
    files: ['clip-vit-large-patch14-336/model.safetensors', 'clip-vit-large-patch14-336/pytorch_model.bin'],
    origin: 'pytorch_model.bin (or model.safetensors) of openai/clip-vit-large-patch14-336 on the Hugging Face hub',
  },
  classifier: {
    use: "accuracy, FD and IS by a small network of one's own, trained on the real images",
    files: [],
    origin: 'one by training it: dit-moe-trainer train-classifier IMAGES --out classifier.safetensors',
  },
  pixels: { use: 'pixels averaged to 8 x 8, without weights: colours and layout only', files: [], origin: '' },
} as const satisfies Record<string, Network>;
/** Name of a network of {@link networks}. */
export type NetworkName = keyof typeof networks;

/** SHA-256 of the weights that published numbers were made with. */
const PUBLISHED: Readonly<Record<string, string>> = {
  '6726825d': 'pt_inception-2015-12-05-6726825d.pth',
};

/** A network ready to extract features. */
export interface OpenNetwork {
  name: NetworkName;
  extractor: FeatureExtractor<'pool' | 'spatial' | 'logits'> | FeatureExtractor<'pool' | 'logits'> | FeatureExtractor<'pool'>;
  /** Names that the logits are of, where they are the classes of the images. */
  classNames?: readonly string[];
  /** The weights' file and its SHA-256; `published` names the release that it is known to be. */
  weights?: { file: string; sha256: string; published?: string };
  dispose(): void;
}

/** Where the weights of a network are. */
export interface OpenNetworkOptions {
  /** File of the weights (default: looked for in the folder `weights` of the cache folder). */
  weights?: string;
  /** Of Inception (default `tf1`). */
  resize?: InceptionResize;
}

/** Folder in which weights are looked for. */
const weightsFolder = (): string => path.join(cacheDirectory(), 'weights');

/**
 * Opens a network.
 * @throws MetricError if its weights are nowhere; the message says which file to get and where to put it
 */
export async function openNetwork(name: NetworkName, { weights, resize }: OpenNetworkOptions = {}): Promise<OpenNetwork> {
  if (name === 'pixels') {
    const extractor = pixelExtractor();
    return { name, extractor, dispose: () => extractor.dispose() };
  }
  const file = await findWeights(name, weights);
  const sha256 = await hashFile(file);
  if (name === 'classifier') {
    const { weights, about } = await openClassifier(file);
    const extractor = classifierExtractor(weights, about);
    const dispose = () => {
      extractor.dispose();
      weights.dispose();
    };
    return { name, extractor, classNames: about.classNames, weights: { file, sha256 }, dispose };
  }
  const { source, close } = await openWeights(file);
  const about = { file, sha256, published: PUBLISHED[sha256.slice(0, 8)] };
  try {
    if (name === 'inception') {
      const loaded = await loadInception(source);
      const extractor = inceptionExtractor(loaded, resize);
      const dispose = () => {
        extractor.dispose();
        disposeInception(loaded);
      };
      return { name, extractor, weights: about, dispose };
    }
    const extractor = await (name === 'dinov2' ? dinov2Extractor(source) : clipExtractor(source));
    return { name, extractor, weights: about, dispose: () => extractor.dispose() };
  } finally {
    await close();
  }
}

async function findWeights(name: NetworkName, given: string | undefined): Promise<string> {
  const exists = async (file: string) => (await fs.stat(file).catch(() => undefined)) !== undefined;
  const { files, origin, use } = networks[name];
  if (given !== undefined) {
    if (await exists(given)) return given;
    throw new MetricError('weights', `there is no file ${given}. Get it from ${origin}.`);
  }
  if (files.length === 0) throw new MetricError('weights', `"${name}" (${use}) needs a file of weights. Get ${origin}, and name it.`);
  for (const file of files) if (await exists(path.join(weightsFolder(), file))) return path.join(weightsFolder(), file);
  throw new MetricError(
    'weights',
    `the weights of "${name}" (${use}) are not on this machine. Get ${origin}, and give its path, or put it into ${weightsFolder()} as ${files.join(' or ')}. The network "pixels" needs no weights.`,
  );
}

async function openWeights(file: string): Promise<{ source: WeightSource; close(): Promise<void> }> {
  if (!file.endsWith('.pb')) {
    const checkpoint = await openCheckpoint(file);
    return { source: checkpoint, close: () => checkpoint.close() };
  }
  const bytes = await FileSource.open(file);
  return {
    source: await inceptionGraph(bytes).catch((error) => bytes.close().then(() => Promise.reject(error))),
    close: () => bytes.close(),
  };
}
