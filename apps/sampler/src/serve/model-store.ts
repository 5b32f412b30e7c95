/** The fixed list of models that a server offers; one is open at a time. */
import path from 'node:path';
import type { ModelCard } from '@dit-moe/dit';
import { isOfPixels, type Pipeline } from '@dit-moe/pipeline';
import { NO_AUTOENCODER, type OpenPipelineOptions, openPipeline, openPipelineFile } from '@dit-moe/pipeline/node';
import { modelInfo } from './live-sampling.js';
import type { ModelInfo } from './protocol.js';

/** Pixels per latent of the published models' autoencoder; told before it is opened. */
const LATENT_SCALE = 8;

export class ModelStore {
  private open: { id: string; pipeline: Pipeline } | undefined;

  private constructor(
    readonly models: readonly ModelInfo[],
    readonly cards: readonly ModelCard[],
    private readonly locations: ReadonlyMap<string, string>,
    readonly options: OpenPipelineOptions,
  ) {}

  /** Reads the descriptions of all models. */
  static async create(given: readonly string[], options: OpenPipelineOptions): Promise<ModelStore> {
    const locations = new Map<string, string>();
    const models: ModelInfo[] = [];
    const cards: ModelCard[] = [];
    for (const location of given) {
      const { card, close } = await openPipelineFile(location, options);
      await close();
      const name = path.basename(path.resolve(location)).replace(/\.(safetensors|pt)$/, '');
      let id = name;
      for (let n = 2; locations.has(id); n++) id = `${name}-${n}`;
      locations.set(id, location);
      const scale = isOfPixels(card) ? 1 : options.vae === NO_AUTOENCODER ? 1 : (card.latents?.downsampling ?? LATENT_SCALE);
      models.push(modelInfo(id, id, card, scale));
      cards.push(card);
    }
    return new ModelStore(models, cards, locations, options);
  }

  info(id: string): ModelInfo | undefined {
    return this.models.find((model) => model.id === id);
  }

  /** Where a model is. */
  locationOf(id: string): string {
    return this.locations.get(id)!;
  }

  /** Opens a model, closing the one before; only one caller at a time. */
  async get(id: string): Promise<Pipeline> {
    if (this.open?.id === id) return this.open.pipeline;
    this.dispose();
    const pipeline = await openPipeline(this.locations.get(id)!, this.options);
    this.open = { id, pipeline };
    return pipeline;
  }

  dispose(): void {
    this.open?.pipeline.dispose();
    this.open = undefined;
  }
}
