/** The page with its models in a folder, for any host of static files: the models run in the browser. */
import fs from 'node:fs/promises';
import path from 'node:path';
import { cardToMetadata, weightSpecs } from '@dit-moe/dit';
import { writeFileAtomically, writeSafetensors } from '@dit-moe/tensor-ops/io/node';
import { OutputError, UsageError } from '../errors.js';
import { openWeights } from '../open-model.js';
import type { PageConfig } from '../web/engine.js';
import type { ModelStore } from './model-store.js';
import { readPage } from './page-files.js';
import { solverChoices } from './solver-choices.js';

/**
 * Writes the folder.
 * @returns bytes of the models together
 * @throws UsageError for models of latents, whose autoencoder does not run in the browser
 */
export async function exportStatic(folder: string, store: ModelStore): Promise<number> {
  const page = await readPage();
  const models: Extract<PageConfig, { engine: 'browser' }>['models'][number][] = [];
  let bytes = 0;
  try {
    await fs.mkdir(folder, { recursive: true });
    for (const info of store.models) {
      const { card, read, close } = await openWeights(store.fileOf(info.id));
      try {
        if (card.config.inChannels > 3)
          throw new UsageError(`--static: ${info.name} is a model of latents; only models of pixels run in the browser.`);
        const file = `${info.id.replace(/[^\w.-]/g, '_')}.safetensors`;
        const tensors = Object.entries(weightSpecs(card.config)).map(([name, { shape }]) => ({
          name,
          dtype: 'F32' as const,
          shape,
          bytes: async () => {
            const data = await read(name, shape);
            return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
          },
        }));
        bytes += (await writeSafetensors(path.join(folder, file), tensors, cardToMetadata(card))).bytes;
        models.push({ ...info, file });
      } finally {
        await close();
      }
    }
    for (const [name, { content }] of page) await writeFileAtomically(path.join(folder, name), content);
    const config: PageConfig = { engine: 'browser', models, solvers: solverChoices };
    await writeFileAtomically(path.join(folder, 'config.json'), `${JSON.stringify(config)}\n`);
  } catch (cause) {
    if (cause instanceof UsageError) throw cause;
    throw new OutputError(`Cannot write to ${folder}: ${(cause as Error).message}`, { cause });
  }
  return bytes;
}
