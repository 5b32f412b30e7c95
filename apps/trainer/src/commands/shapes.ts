/** `shapes`: makes a small data set of coloured shapes, to train on without a download. */
import fs from 'node:fs/promises';
import path from 'node:path';
import { shapeNames, writeShapes } from '../demo/shapes.js';
import { exitCodes, OutputError } from '../errors.js';

export async function shapesCommand(
  folder: string,
  flags: { perClass: number; size: number; seed: number; json: boolean },
): Promise<number> {
  if ((await fs.readdir(folder).catch(() => [])).length > 0) throw new OutputError(`${folder} is not empty. Choose another folder.`);
  await writeShapes(folder, flags);
  const result = { folder: path.resolve(folder), classes: shapeNames, images: shapeNames.length * flags.perClass };
  console.log(flags.json ? JSON.stringify(result) : `Wrote ${result.images} images of ${shapeNames.join(', ')} into ${folder}.`);
  return exitCodes.ok;
}
