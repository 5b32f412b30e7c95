/** Knowledge distillation: a trained model whose outputs the student learns to match (Hinton et al. 2015, with squared error). */
import { type DitConfig, dit, ditSizes, loadParameters, type ModelCard, type ModelFile } from '@dit-moe/dit';
import type { Parameter, Precision } from '@dit-moe/tensor-ops';
import type * as tf from '@tensorflow/tfjs-core';
import { CheckpointError } from '../errors.js';
import { openModelFile } from '../model-file.js';

/** A frozen model. */
export class Teacher {
  private constructor(
    private readonly config: DitConfig,
    private readonly parameters: Readonly<Record<string, Parameter>>,
    /** Share of the teacher in the loss. */
    readonly weight: number,
    private readonly precision: Precision,
  ) {}

  /**
   * Loads the averaged weights of a run, of a checkpoint, or of a file.
   * @param student whose inputs and outputs must be the teacher's
   * @throws CheckpointError if they are not
   */
  static async open(location: string, weight: number, student: ModelCard, precision: Precision): Promise<Teacher> {
    const model = await openModelFile(location);
    try {
      checkSame(model, student);
      return new Teacher(model.config, await loadParameters(model, { precision }), weight, precision);
    } finally {
      await model.close();
    }
  }

  /** The teacher's output, without a gradient. */
  predict(x: tf.Tensor, t: tf.Tensor, y: tf.Tensor): tf.Tensor {
    const weights = Object.fromEntries(Object.entries(this.parameters).map(([name, parameter]) => [name, parameter.read()]));
    return dit(weights, this.config, x, t, y, { precision: this.precision }).output;
  }

  dispose(): void {
    for (const parameter of Object.values(this.parameters)) parameter.dispose();
  }
}

/** A foreign file does not say what it was trained for: its user must know. */
function checkSame({ path, card, config }: ModelFile, student: ModelCard): void {
  const facts = (config: DitConfig, card: ModelCard | undefined) => ({
    ...(card !== undefined && { objective: card.objective, 'time scale': card.timeScale }),
    'input size': config.inputSize.join(' x '),
    'input channels': config.inChannels,
    'output channels': ditSizes(config).outChannels,
    classes: config.numClasses,
  });
  const [theirs, ours] = [facts(config, card), facts(student.config, card && student)];
  const different = Object.keys(ours).filter((key) => ours[key as keyof typeof ours] !== theirs[key as keyof typeof theirs]);
  if (different.length === 0) return;
  const list = different.map((key) => `${key} ${theirs[key as keyof typeof theirs]} instead of ${ours[key as keyof typeof ours]}`);
  throw new CheckpointError(`The teacher ${path} does not fit this run: ${list.join(', ')}.`);
}
