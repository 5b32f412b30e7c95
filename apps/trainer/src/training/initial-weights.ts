/** Starting from a trained model instead of random weights: fine-tuning, or training on after upcycling. */
import { nullLabelOf, weightSpecs } from '@dit-moe/dit';
import { openModel } from '@dit-moe/dit/node';
import * as tf from '@tensorflow/tfjs-core';
import { CheckpointError } from '../errors.js';
import { adaptLabelTable } from './label-table.js';
import type { TrainingState } from './state.js';

const LABELS = 'labelEmbedding.table';

/**
 * Puts the weights of a run, a checkpoint or a file into the state and all of its averages. For other classes the table of labels is made
 * anew or extended, see {@link adaptLabelTable}.
 * @param classNames of the run
 * @param onWarning hears of a checkpoint that is damaged and passed over, and of the labels
 * @throws CheckpointError if its model is not the state's
 * @throws as `openModel`
 */
export async function loadInitialWeights(
  state: TrainingState,
  location: string,
  classNames: readonly string[],
  onWarning: (message: string) => void,
): Promise<void> {
  const { numHeads, moe } = state.model;
  // What weights of others do not tell, the run's configuration does.
  const model = await openModel(location, { onWarning, config: { numHeads, ...(moe && { topK: moe.topK }) } });
  try {
    if (model.training?.convention !== undefined)
      throw new CheckpointError(
        `${model.path} was trained by SiT, whose time and velocity run the other way; a run of this project cannot go on from it.`,
      );
    const [theirs, ours] = [weightSpecs(model.config), weightSpecs(state.model)];
    const differences = [...new Set([...Object.keys(theirs), ...Object.keys(ours)])].flatMap((name) => {
      const [a, b] = [theirs[name]?.shape.join(), ours[name]?.shape.join()];
      return a === b || name === LABELS
        ? []
        : [`${name} is ${a === undefined ? 'missing' : `[${a}]`}, ${b === undefined ? 'not wanted' : `wanted [${b}]`}`];
    });
    if (differences.length > 0) {
      const more = differences.length > 5 ? `; ... (${differences.length} in all)` : '';
      throw new CheckpointError(`The weights of ${model.path} are those of another model: ${differences.slice(0, 5).join('; ')}${more}.`);
    }
    const assign = (name: string, data: Float32Array, shape: readonly number[]): void =>
      tf.tidy(() => {
        const value = tf.tensor(data, [...shape]);
        state.parameters[name].assign(value);
        for (const ema of state.emas) ema.averages.parameters[name].assign(value);
      });
    const otherLabels = theirs[LABELS]?.shape.join() !== ours[LABELS]?.shape.join();
    let labels: Float32Array | undefined;
    for await (const [name, { shape, data }] of model.weights())
      if (name === LABELS && otherLabels) labels = data;
      else assign(name, data, shape);
    if (!otherLabels) return;
    if (ours[LABELS] === undefined) return onWarning('The table of labels is left out: the run has no classes.');
    const before = { data: labels, classNames: model.card?.classNames ?? [], nullLabel: nullLabelOf(model.config) };
    const fresh = (await state.parameters[LABELS].data()) as Float32Array;
    const { table, what } = adaptLabelTable(
      before,
      { data: fresh, classNames, nullLabel: nullLabelOf(state.model) },
      state.model.hiddenSize,
    );
    assign(LABELS, table, ours[LABELS].shape);
    onWarning(what);
  } finally {
    await model.close();
  }
}
