/** The judge as one safetensors file: float32 weights, and in its metadata what it was trained on. */
import { ParameterSet } from '@dit-moe/tensor-ops';
import { encodeTensor } from '@dit-moe/tensor-ops/io';
import { openCheckpoint, type WrittenFile, writeSafetensors } from '@dit-moe/tensor-ops/io/node';
import { type ClassifierConfig, classifierSpecs } from '../classifier/architecture.js';
import { MetricError } from '../errors.js';

const FORMAT = 'dit-moe-classifier';

/** What is remembered of a judge. */
export interface ClassifierAbout extends ClassifierConfig {
  /** Share of held-out real images that it tells right, and their number. */
  heldOut?: { accuracy: number; images: number };
}

/** Writes a judge. */
export async function saveClassifier(file: string, weights: ParameterSet, about: ClassifierAbout): Promise<WrittenFile> {
  const tensors = Object.entries(weights.parameters).map(([name, parameter]) => ({
    name,
    dtype: 'F32' as const,
    shape: [...parameter.shape],
    bytes: async () => encodeTensor((await parameter.data()) as Float32Array, 'F32'),
  }));
  return writeSafetensors(file, tensors, { format: FORMAT, about: JSON.stringify(about) });
}

/**
 * Reads a judge; the weights become the caller's.
 * @throws MetricError if the file is something else
 * @throws WeightsError if weights are missing or do not fit
 */
export async function openClassifier(file: string): Promise<{ weights: ParameterSet; about: ClassifierAbout }> {
  const source = await openCheckpoint(file);
  try {
    if (source.metadata['format'] !== FORMAT)
      throw new MetricError('classifier', `${file} is no classifier of "dit-moe-trainer train-classifier".`);
    const about = parseAbout(file, source.metadata['about']);
    const weights = ParameterSet.declare(classifierSpecs(about));
    try {
      await weights.load(values(source));
      return { weights, about };
    } catch (error) {
      weights.dispose();
      throw error;
    }
  } finally {
    await source.close();
  }
}

async function* values(source: Awaited<ReturnType<typeof openCheckpoint>>) {
  for (const name of source.names) {
    const { shape } = source.info(name);
    yield [name, { shape, data: Float32Array.from((await source.read(name)).data as ArrayLike<number>) }] as const;
  }
}

function parseAbout(file: string, text: string | undefined): ClassifierAbout {
  try {
    const about = JSON.parse(text ?? '') as ClassifierAbout;
    if (typeof about.size === 'number' && Array.isArray(about.classNames) && about.classNames.every((name) => typeof name === 'string'))
      return about;
  } catch {
    // Said below.
  }
  throw new MetricError('classifier', `${file} does not say its size and classes: it is damaged.`);
}
