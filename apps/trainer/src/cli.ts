#!/usr/bin/env node
/** Command line of the trainer. */
import { BackendError, backendNames } from '@dit-moe/tensor-ops/node';
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import { demoCommand } from './commands/demo.js';
import { doctorCommand } from './commands/doctor.js';
import { type TrainFlags, trainCommand } from './commands/train.js';
import { presets } from './config.js';
import { exitCodes, TrainerError } from './errors.js';

const count = (text: string): number => {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) throw new InvalidArgumentError('Expected a positive integer.');
  return value;
};
const backend = () => new Option('--backend <name>', 'where to compute').choices(backendNames).default('auto');
const threads = () => new Option('--threads <n>', 'threads of one operation (default: all cores)').argParser(count);
const json = () => new Option('--json', 'print the result as JSON').default(false);
const set = () => new Option('--set <key=value...>', 'override a setting, such as optimizer.learningRate=1e-3').default([]);

let code = 0;
const program = new Command('dit-moe-trainer')
  .description('Train mixture-of-experts diffusion transformers (DiT-MoE).')
  .exitOverride()
  .addHelpText(
    'after',
    `
Exit codes: 0 done, 1 defect, 2 wrong usage, 3 data, 4 output folder, 5 backend, 6 checkpoint, 75 interrupted and saved.

Examples:
  dit-moe-trainer demo                                   digits from start to samples, in minutes
  dit-moe-trainer train --preset digits --out runs/a     the same training, without the samples
  dit-moe-trainer train --data my-images --preset digits --set data.size=16 steps=5000 --out runs/b
  dit-moe-trainer train --preset digits --out runs/a --resume
  dit-moe-trainer doctor                                 what is there and what is missing`,
  );
program
  .command('train')
  .description('train on a folder of images with one sub-folder per class')
  .argument('[config]', 'YAML or JSON configuration')
  .addOption(new Option('--preset <name>', 'start from these settings').choices(Object.keys(presets)))
  .option('--data <folder>', 'image folder')
  .requiredOption('--out <folder>', 'run folder')
  .option('--resume', 'go on from the last checkpoint', false)
  .addOption(set())
  .addOption(backend())
  .addOption(threads())
  .addOption(json())
  .action(async (config: string | undefined, flags: TrainFlags) => {
    code = await trainCommand({ ...flags, ...(config !== undefined && { config }) });
  });
program
  .command('demo')
  .description('train on the digits that come with this package, sample them, write the report')
  .option('--out <folder>', 'run folder', 'runs/demo')
  .option('--resume', 'go on from the last checkpoint', false)
  .addOption(set())
  .addOption(backend())
  .addOption(threads())
  .addOption(json())
  .action(async (flags: TrainFlags) => {
    code = await demoCommand(flags);
  });
program
  .command('doctor')
  .description('show backend, versions, devices, memory, and what to do about what is missing')
  .addOption(backend())
  .addOption(threads())
  .addOption(json())
  .action(async (flags: TrainFlags) => {
    code = await doctorCommand(flags);
  });

try {
  await program.parseAsync();
} catch (error) {
  if (error instanceof CommanderError) code = error.exitCode === 0 ? exitCodes.ok : exitCodes.usage;
  else if (error instanceof TrainerError || error instanceof BackendError) {
    console.error(`error: ${error.message}`);
    code = error instanceof TrainerError ? error.exitCode : exitCodes.backend;
  } else {
    console.error(error);
    code = exitCodes.failure;
  }
}
process.exit(code);
