/** Starting from a trained model instead of random weights: fine-tuning, or training on after upcycling. */
import { isLabelTable, type ModelCard, nullLabelOf, weightSpecs, widened } from '@dit-moe/dit';
import { openModel } from '@dit-moe/dit/node';
import { CheckpointError } from '../errors.js';
import { adaptLabelTable } from './label-table.js';
import type { TrainingState } from './state.js';

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
    refuseSit(model.path, model.card ?? model.training ?? {});
    const [theirs, ours] = [weightSpecs(model.config), weightSpecs(state.model)];
    const differences = [...new Set([...Object.keys(theirs), ...Object.keys(ours)])].flatMap((name) => {
      const [a, b] = [theirs[name]?.shape.join(), ours[name]?.shape.join()];
      return a === b || isLabelTable(name)
        ? []
        : [`${name} is ${a === undefined ? 'missing' : `[${a}]`}, ${b === undefined ? 'not wanted' : `wanted [${b}]`}`];
    });
    if (differences.length > 0) {
      const more = differences.length > 5 ? `; ... (${differences.length} in all)` : '';
      throw new CheckpointError(`The weights of ${model.path} are those of another model: ${differences.slice(0, 5).join('; ')}${more}.`);
    }
    const others = new Map<string, Float32Array>();
    for await (const [name, { shape, data }] of widened(model.weights(), onWarning))
      if (isLabelTable(name) && shape.join() !== ours[name]?.shape.join()) others.set(name, data);
      else state.assignWeight(name, data);
    const tables = Object.keys(ours).filter((name) => isLabelTable(name) && ours[name].shape.join() !== theirs[name]?.shape.join());
    let said = others.size > 0 && tables.length === 0 ? 'The table of labels is left out: the run has no classes.' : undefined;
    for (const name of tables) {
      const before = { data: others.get(name), classNames: model.card?.classNames ?? [], nullLabel: nullLabelOf(model.config) };
      const now = { data: (await state.parameters[name].data()) as Float32Array, classNames, nullLabel: nullLabelOf(state.model) };
      const { table, what } = adaptLabelTable(before, now, state.model.hiddenSize);
      state.assignWeight(name, table);
      // The same for every block.
      said = what;
    }
    if (said !== undefined) onWarning(said);
  } finally {
    await model.close();
  }
}

/** @throws CheckpointError if a model has SiT's time and velocity */
export function refuseSit(where: string, { convention }: Partial<Pick<ModelCard, 'convention'>>): void {
  if (convention !== undefined)
    throw new CheckpointError(
      `${where} was trained by SiT, whose time and velocity run the other way; a run of this project cannot go on from it.`,
    );
}
