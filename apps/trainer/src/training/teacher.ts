/** Knowledge distillation: a trained model whose outputs the student learns to match (Hinton et al. 2015, with squared error). */
import { type DitConfig, ditSizes, loadDit, type ModelCard, type ModelFile, type TrainedDit } from '@dit-moe/dit';
import { openModel } from '@dit-moe/dit/node';
import type { Precision } from '@dit-moe/tensor-ops';
import type * as tf from '@tensorflow/tfjs-core';
import { CheckpointError } from '../errors.js';

/** A frozen model. */
export class Teacher {
  private constructor(
    private readonly model: TrainedDit,
    /** Share of the teacher in the loss. */
    readonly weight: number,
  ) {}

  /**
   * Loads the averaged weights of a run, of a checkpoint, or of a file.
   * @param student whose inputs and outputs must be the teacher's
   * @param onWarning hears of a checkpoint that is damaged and passed over
   * @throws CheckpointError if they are not
   * @throws as `openModel`
   */
  static async open(
    location: string,
    weight: number,
    student: ModelCard,
    precision: Precision,
    onWarning?: (message: string) => void,
  ): Promise<Teacher> {
    const file = await openModel(location, { onWarning });
    try {
      checkSame(file, student);
      // A foreign file does not say what it was trained for: its user must know.
      const card = { ...(file.card ?? { ...student, ...file.training }), config: file.config };
      return new Teacher(await loadDit(file, card, precision), weight);
    } finally {
      await file.close();
    }
  }

  /**
   * The teacher's output, without a gradient, inside a compiled step.
   * @param t of a flow the time on its path, of Gaussian diffusion the training timestep
   */
  predict(x: tf.Tensor, t: tf.Tensor, y: tf.Tensor): tf.Tensor {
    return this.model.apply(x, t, y).output;
  }

  dispose(): void {
    this.model.dispose();
  }
}

function checkSame({ path, card, config, training }: ModelFile, student: ModelCard): void {
  const facts = (config: DitConfig, card: Partial<ModelCard> | undefined) => ({
    ...(card?.objective !== undefined && { objective: card.objective, 'time scale': card.timeScale ?? 1 }),
    'input size': config.inputSize.join(' x '),
    'input channels': config.inChannels,
    'output channels': ditSizes(config).outChannels,
    classes: config.numClasses,
  });
  const [theirs, ours] = [facts(config, card ?? training), facts(student.config, (card ?? training)?.objective && student)];
  const different = Object.keys(ours).filter((key) => ours[key as keyof typeof ours] !== theirs[key as keyof typeof theirs]);
  if (different.length === 0) return;
  const list = different.map((key) => `${key} ${theirs[key as keyof typeof theirs]} instead of ${ours[key as keyof typeof ours]}`);
  throw new CheckpointError(`The teacher ${path} does not fit this run: ${list.join(', ')}.`);
}
