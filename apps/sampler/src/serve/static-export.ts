/** The page with its models in a folder, for any host of static files: the models, and decoders of latents, run in the browser. */
import fs from 'node:fs/promises';
import path from 'node:path';
import { cardToMetadata, type ModelCard, type NamedArray, weightSpecs } from '@dit-moe/dit';
import { type WrittenFile, writeFileAtomically, writeSafetensors } from '@dit-moe/tensor-ops/io/node';
import { ModelError, OutputError } from '../errors.js';
import { isOfPixels } from '../image-space.js';
import { exportDecoder, NO_AUTOENCODER } from '../latent-space.js';
import { DEFAULT_VAE, openWeights } from '../open-model.js';
import type { BrowserModel, PageConfig } from '../web/engine.js';
import type { ModelStore } from './model-store.js';
import { readPage } from './page-files.js';
import { solverChoices } from './solver-choices.js';

/**
 * Writes the folder.
 * @returns bytes of the models together
 * @throws ModelError if the autoencoder of a model of latents cannot be opened or does not fit
 */
export async function exportStatic(folder: string, store: ModelStore): Promise<number> {
  const page = await readPage();
  const models: BrowserModel[] = [];
  let bytes = 0;
  try {
    await fs.mkdir(folder, { recursive: true });
    for (const info of store.models) {
      const { card, weights, close } = await openWeights(store.locationOf(info.id), store.options);
      try {
        const name = info.id.replace(/[^\w.-]/g, '_');
        const model: BrowserModel = { ...info, file: `${name}.safetensors` };
        const { vae = DEFAULT_VAE } = store.options;
        if (!isOfPixels(card) && vae !== NO_AUTOENCODER) {
          const file = `${name}.decoder.safetensors`;
          const { config, bytes: size } = await exportDecoder(vae, card, path.join(folder, file));
          model.decoder = { file, config };
          bytes += size;
        }
        bytes += (await writeModel(path.join(folder, model.file), card, weights())).bytes;
        models.push(model);
      } finally {
        await close();
      }
    }
    for (const [name, { content }] of page) await writeFileAtomically(path.join(folder, name), content);
    const config: PageConfig = { engine: 'browser', models, solvers: solverChoices };
    await writeFileAtomically(path.join(folder, 'config.json'), `${JSON.stringify(config)}\n`);
  } catch (cause) {
    if (cause instanceof ModelError) throw cause;
    throw new OutputError(`Cannot write to ${folder}: ${(cause as Error).message}`, { cause });
  }
  return bytes;
}

/** Writes the weights as they come, which is the order of `weightSpecs`. */
function writeModel(file: string, card: ModelCard, weights: AsyncGenerator<[name: string, value: NamedArray]>): Promise<WrittenFile> {
  const tensors = Object.entries(weightSpecs(card.config)).map(([name, { shape }]) => ({
    name,
    dtype: 'F32' as const,
    shape,
    async bytes() {
      const { value } = await weights.next();
      const [found, { data }] = value as [string, NamedArray];
      if (found !== name) throw new Error(`expected the weight ${name}, found ${found}`);
      return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    },
  }));
  return writeSafetensors(file, tensors, cardToMetadata(card));
}
