/**
 * The page with its models in a folder, for any host of static files: the models, and decoders of latents, run in the browser. What the
 * page shows first is sampled here, so that it is there before the browser has even fetched the model.
 */
import fs from 'node:fs/promises';
import path from 'node:path';
import { type WriteModelOptions, writeModel } from '@dit-moe/dit/node';
import { isOfPixels } from '@dit-moe/pipeline';
import { NO_AUTOENCODER, openPipelineFile, type PipelineFile, writeDecoder } from '@dit-moe/pipeline/node';
import { safeFileName } from '@dit-moe/tensor-ops/io';
import { makeFolder, writeFileAtomically } from '@dit-moe/tensor-ops/io/node';
import type { BrowserModel, PageConfig } from '../web/engine.js';
import { choices } from './choices.js';
import { firstRequest } from './first-request.js';
import { sampleLive } from './live-sampling.js';
import type { ModelStore } from './model-store.js';
import { readPage } from './page-files.js';
import type { ModelInfo } from './protocol.js';

/**
 * Writes the folder. Needs a backend.
 * @returns bytes of the models together
 * @throws ModelError if the autoencoder of a model of latents cannot be opened or does not fit
 */
export async function exportStatic(folder: string, store: ModelStore): Promise<number> {
  const page = await readPage();
  const models: BrowserModel[] = [];
  let bytes = 0;
  await makeFolder(folder);
  for (const info of store.models) {
    const opened = await openPipelineFile(store.locationOf(info.id), store.options);
    const { card } = opened;
    try {
      const name = safeFileName(info.id);
      /** A file as the page asks for it: names are parts of addresses there. */
      const address = (file: string): string => encodeURIComponent(file);
      const target = path.join(folder, `${name}.safetensors`);
      // Of an autoencoder only the decoder goes along.
      const model: BrowserModel = { ...info, encodes: isOfPixels(card), file: address(path.basename(target)) };
      const { vae } = store.options;
      if (!isOfPixels(card) && vae !== NO_AUTOENCODER) {
        const file = `${name}.decoder.safetensors`;
        const { config, bytes: size } = await writeDecoder(path.join(folder, file), card, vae);
        model.decoder = { file: address(file), config };
        bytes += size;
      }
      bytes += (await fs.stat(await writeModel(target, opened, { card, dtype: matrixType(opened) }))).size;
      const first = `${name}.first.jsonl`;
      await writeFileAtomically(path.join(folder, first), await firstLook(store, model));
      models.push({ ...model, first: address(first) });
    } finally {
      await opened.close();
    }
  }
  for (const [name, { content }] of page) await writeFileAtomically(path.join(folder, name), content);
  const config: PageConfig = { engine: 'browser', models, ...choices };
  await writeFileAtomically(path.join(folder, 'config.json'), `${JSON.stringify(config)}\n`);
  return bytes;
}

/** The type of a file's matrices, if it is narrower than float32 and the same for all that are: visitors download no zeros. */
function matrixType({ checkpoint, layout }: PipelineFile): NonNullable<WriteModelOptions['dtype']> {
  const stored = new Set(checkpoint.names.map((name) => checkpoint.info(name).dtype));
  // Integers of others have no scales beside them.
  const narrow = (layout === 'dit-moe' ? (['F16', 'BF16', 'I8'] as const) : (['F16', 'BF16'] as const)).filter((type) => stored.has(type));
  return narrow.length === 1 ? narrow[0] : 'F32';
}

/** The answer to a model's first request, an event on each line. */
async function firstLook(store: ModelStore, model: ModelInfo): Promise<string> {
  const lines: string[] = [];
  await sampleLive(await store.get(model.id), firstRequest(model), { emit: (event) => lines.push(`${JSON.stringify(event)}\n`) });
  return lines.join('');
}
