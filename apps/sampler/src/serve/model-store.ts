/** The fixed list of models that a server offers; one is open at a time. */
import path from 'node:path';
import type { ModelCard } from '@dit-moe/dit';
import { guideDifferences, isOfPixels, type Pipeline } from '@dit-moe/pipeline';
import { NO_AUTOENCODER, type OpenPipelineOptions, openPipeline, openPipelineFile } from '@dit-moe/pipeline/node';
import { locate } from '../bundled-models.js';
import { modelInfo } from './live-sampling.js';
import type { ModelInfo } from './protocol.js';

/** Pixels per latent of the published models' autoencoder; told before it is opened. */
const LATENT_SCALE = 8;

export class ModelStore {
  private open: { id: string; guideWith: string | undefined; pipeline: Pipeline } | undefined;

  private constructor(
    readonly models: readonly ModelInfo[],
    readonly cards: readonly ModelCard[],
    private readonly locations: ReadonlyMap<string, string>,
    readonly options: OpenPipelineOptions,
  ) {}

  /**
   * Reads the descriptions of all models.
   * @param given paths, or names of models that come along
   */
  static async create(given: readonly string[], options: OpenPipelineOptions): Promise<ModelStore> {
    const locations = new Map<string, string>();
    const infos: Omit<ModelInfo, 'guides'>[] = [];
    const cards: ModelCard[] = [];
    for (const named of given) {
      const location = locate(named);
      const { card, close } = await openPipelineFile(location, options);
      await close();
      const name = path.basename(path.resolve(named)).replace(/\.(safetensors|pt)$/, '');
      let id = name;
      for (let n = 2; locations.has(id); n++) id = `${name}-${n}`;
      locations.set(id, location);
      const encodes = isOfPixels(card) || options.vae !== NO_AUTOENCODER;
      const scale = isOfPixels(card) || !encodes ? 1 : (card.latents?.downsampling ?? LATENT_SCALE);
      infos.push(modelInfo(id, card, { scale, encodes }));
      cards.push(card);
    }
    const models = infos.map((info, i) => {
      const guides = infos.filter((_, other) => other !== i && guideDifferences(cards[i], cards[other]).length === 0);
      return { ...info, guides: guides.map(({ id }) => id) };
    });
    return new ModelStore(models, cards, locations, options);
  }

  info(id: string): ModelInfo | undefined {
    return this.models.find((model) => model.id === id);
  }

  /** What a model says of itself. */
  card(id: string): ModelCard | undefined {
    return this.cards[this.models.findIndex((model) => model.id === id)];
  }

  /** Where a model is. */
  locationOf(id: string): string {
    return this.locations.get(id)!;
  }

  /**
   * Opens a model, closing the one before; only one caller at a time.
   * @param guideWith the model to guide it with, if any
   */
  async get(id: string, guideWith?: string): Promise<Pipeline> {
    if (this.open?.id === id && this.open.guideWith === guideWith) return this.open.pipeline;
    this.dispose();
    const guide = guideWith === undefined ? {} : { guideWith: this.locations.get(guideWith)! };
    const pipeline = await openPipeline(this.locations.get(id)!, { ...this.options, ...guide });
    this.open = { id, guideWith, pipeline };
    return pipeline;
  }

  dispose(): void {
    this.open?.pipeline.dispose();
    this.open = undefined;
  }
}
