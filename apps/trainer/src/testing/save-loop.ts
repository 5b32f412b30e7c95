/** For tests: a process that does nothing but save checkpoints, whose tensors all hold the step's number. Argument: run folder. */
import type { ModelCard } from '@dit-moe/dit';
import { Parameter } from '@dit-moe/tensor-ops';
import '@tensorflow/tfjs';
import * as tf from '@tensorflow/tfjs-core';
import { CheckpointWriter } from '../training/checkpoints.js';
import { Ranks } from '../training/ranks.js';
import { newRecord } from '../training/run-record.js';
import type { TrainingState } from '../training/state.js';
import { StateFile } from '../training/state-file.js';

const [run] = process.argv.slice(2) as [string];
const writer = new CheckpointWriter(
  run,
  { keep: 2 },
  (error) => {
    throw error;
  },
  console.log,
);
const ranks = new Ranks(undefined);
const parameter = Parameter.create('w', () => tf.zeros([500_000]));
const file = new StateFile(['w'], { w: parameter });
const state = { files: { weights: file, ema: file }, emaDecayOf() {} } as unknown as TrainingState;
console.log('saving');
for (let step = 1; ; step++) {
  tf.tidy(() => parameter.assign(tf.fill([500_000], step)));
  await writer.save(state, {} as ModelCard, { ...newRecord(), step }, '', ranks);
  // A save waits for the one before it.
  if (step > 1) console.log(`saved ${step - 1}`);
}
