/** The models that come with the sampler, by their names. */
import fs from 'node:fs';
import { fileURLToPath } from 'node:url';
import { openModel } from '@dit-moe/dit/node';
import { UsageError } from '@dit-moe/kit';
import { bundledModels } from '@dit-moe/models';
import { FormatError } from '@dit-moe/tensor-ops/io';
import { nearest } from '@dit-moe/tensor-ops/settings';
import { areNames } from './classes.js';

export const bundledNames: readonly string[] = bundledModels.map(({ name }) => name);

/**
 * Where the model is that the command line names: one that comes along by its name, any other as it stands; `./digits` is a path.
 * @throws FormatError for a plain word that is neither a model nor a file or folder
 */
export function locate(model: string): string {
  const found = bundledModels.find(({ name }) => name === model);
  if (found !== undefined) return fileURLToPath(found.weights);
  if (/^[\w-]+$/.test(model) && !fs.existsSync(model)) {
    const meant = nearest(model, bundledNames);
    throw new FormatError(
      model,
      `there is no such file or folder, and no model of this name comes along: ${bundledNames.join(', ')}.` +
        (meant === undefined ? '' : ` Did you mean ${meant}?`),
    );
  }
  return model;
}

/**
 * The model that comes along and has all of these classes, where none was named.
 * @param classes names as `--classes` has them; without, every model would do
 * @throws UsageError listing the models, unless exactly one has them
 */
export async function modelWithClasses(classes: string | undefined): Promise<string> {
  const models = await Promise.all(bundledNames.map(async (name) => ({ name, classNames: await classesOf(name) })));
  const fitting = classes === undefined ? models : models.filter(({ classNames }) => areNames(classes, classNames));
  if (fitting.length === 1) return fitting[0].name;
  const list = models.map(({ name, classNames }) => `  ${name}: ${classNames.join(', ')}`).join('\n');
  const problem =
    fitting.length === 0
      ? `No model that comes along has ${classes!.includes(',') ? 'all the classes' : 'the class'} "${classes}"`
      : `Which model? ${fitting.map(({ name }) => name).join(', ')} would do`;
  throw new UsageError(`${problem}. Name one of them, or a path; these come along, with their classes:\n${list}`);
}

async function classesOf(name: string): Promise<readonly string[]> {
  const model = await openModel(locate(name));
  await model.close();
  return model.card!.classNames;
}
