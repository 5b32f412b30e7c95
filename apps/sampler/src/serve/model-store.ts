/** The fixed list of models that a server offers; one is open at a time. */
import path from 'node:path';
import type { OpenModel } from '../model.js';
import { findModel, type OpenOptions, openModel, openWeights, type WeightChoice } from '../open-model.js';
import { modelInfo } from './live-sampling.js';
import type { ModelInfo } from './protocol.js';

/** Pixels per latent of the published models' autoencoder; told before it is opened. */
const LATENT_SCALE = 8;

export class ModelStore {
  private open: { id: string; model: OpenModel } | undefined;

  private constructor(
    readonly models: readonly ModelInfo[],
    private readonly files: ReadonlyMap<string, string>,
    private readonly options: OpenOptions,
  ) {}

  /** Reads the descriptions of all models. */
  static async create(locations: readonly string[], choice: WeightChoice, options: OpenOptions): Promise<ModelStore> {
    const files = new Map<string, string>();
    const models: ModelInfo[] = [];
    for (const location of locations) {
      const file = await findModel(location, choice);
      const { card, close } = await openWeights(file);
      await close();
      const name = path.basename(path.resolve(location)).replace(/\.safetensors$/, '');
      let id = name;
      for (let n = 2; files.has(id); n++) id = `${name}-${n}`;
      files.set(id, file);
      models.push(modelInfo(id, id, card, card.config.inChannels > 3 ? LATENT_SCALE : 1));
    }
    return new ModelStore(models, files, options);
  }

  info(id: string): ModelInfo | undefined {
    return this.models.find((model) => model.id === id);
  }

  /** File of a model's weights. */
  fileOf(id: string): string {
    return this.files.get(id)!;
  }

  /** Opens a model, closing the one before; only one caller at a time. */
  async get(id: string): Promise<OpenModel> {
    if (this.open?.id === id) return this.open.model;
    this.dispose();
    const model = await openModel(this.files.get(id)!, this.options);
    this.open = { id, model };
    return model;
  }

  dispose(): void {
    this.open?.model.dispose();
    this.open = undefined;
  }
}
