/** Knowledge distillation: a trained model of any depth, width and experts, whose output and hidden states the student learns to match. */
import {
  type DitConfig,
  type DitOutput,
  distillationLoss,
  ditSizes,
  hiddenDistance,
  loadDit,
  type ModelCard,
  type ModelFile,
  type TrainedDit,
} from '@dit-moe/dit';
import { openModel } from '@dit-moe/dit/node';
import type { Precision } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import type { TrainConfig } from '../config/schema.js';
import { CheckpointError } from '../errors.js';

/** What a model makes of a batch, as far as it is compared. */
export type Lesson = Pick<DitOutput, 'output' | 'hidden'>;

/** Settings of the distillation. */
type Lessons = NonNullable<TrainConfig['distillation']>;

/** A frozen model. */
export class Teacher {
  private constructor(
    private readonly model: TrainedDit,
    private readonly settings: Lessons,
  ) {}

  /** The terms of the loss that the teacher gives, by name. */
  get terms(): string[] {
    return this.settings.hidden > 0 ? ['output', 'hidden'] : ['output'];
  }

  /**
   * Loads the averaged weights of a run, of a checkpoint, or of a file.
   * @param student whose inputs and outputs must be the teacher's
   * @param onWarning hears of a checkpoint that is damaged and passed over, and of what `loadDit` has to say
   * @throws CheckpointError if they are not
   * @throws as `openModel`
   */
  static async open(settings: Lessons, student: ModelCard, precision: Precision, onWarning?: (message: string) => void): Promise<Teacher> {
    const file = await openModel(settings.teacher, { onWarning });
    try {
      checkSame(file, student, settings.hidden > 0);
      // A foreign file does not say what it was trained for: its user must know.
      const card = { ...(file.card ?? { ...student, ...file.training }), config: file.config };
      return new Teacher(await loadDit(file, card, precision, onWarning), settings);
    } finally {
      await file.close();
    }
  }

  /**
   * What the teacher makes of a batch, without a gradient, inside a compiled step.
   * @param t of a flow the time on its path, of Gaussian diffusion the training timestep
   */
  lesson(x: tf.Tensor, t: tf.Tensor, y: tf.Tensor): Lesson {
    return this.model.apply(x, t, y);
  }

  /**
   * The objective's loss with the teacher's share in it, and the teacher's terms by name, not yet weighted.
   * @param student what the student makes of the batch
   */
  teach(loss: tf.Tensor, student: Lesson, lesson: Lesson): { total: tf.Tensor; terms: Record<string, tf.Tensor> } {
    const { weight, hidden } = this.settings;
    const terms: Record<string, tf.Tensor> = { output: distillationLoss(student.output, lesson.output) };
    let total = tf.add(tf.mul(loss, 1 - weight), tf.mul(terms['output'], weight));
    if (hidden > 0) {
      terms['hidden'] = hiddenDistance(student.hidden, lesson.hidden);
      total = tf.add(total, tf.mul(terms['hidden'], hidden));
    }
    return { total, terms };
  }

  dispose(): void {
    this.model.dispose();
  }
}

function checkSame({ path, card, config, training }: ModelFile, student: ModelCard, tokens: boolean): void {
  const facts = (config: DitConfig, card: Partial<ModelCard> | undefined) => ({
    ...(card?.objective !== undefined && { objective: card.objective, 'time scale': card.timeScale ?? 1 }),
    'input size': config.inputSize.join(' x '),
    'input channels': config.inChannels,
    'output channels': ditSizes(config).outChannels,
    classes: config.numClasses,
    ...(tokens && { 'patch size': config.patchSize }),
  });
  const [theirs, ours] = [facts(config, card ?? training), facts(student.config, (card ?? training)?.objective && student)];
  const different = Object.keys(ours).filter((key) => ours[key as keyof typeof ours] !== theirs[key as keyof typeof theirs]);
  if (different.length === 0) return;
  const list = different.map((key) => `${key} ${theirs[key as keyof typeof theirs]} instead of ${ours[key as keyof typeof ours]}`);
  throw new CheckpointError(`The teacher ${path} does not fit this run: ${list.join(', ')}.`);
}
