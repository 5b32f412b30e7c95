#!/usr/bin/env node
/** Command line of the sampler. */
import { BackendError, backendNames, machineReport } from '@dit-moe/tensor-ops/node';
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import { type SampleFlags, sampleCommand } from './commands/sample.js';
import { exitCodes, SamplerError } from './errors.js';
import { solvers } from './sample.js';

const count = (text: string): number => {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) throw new InvalidArgumentError('Expected a positive integer.');
  return value;
};
const number = (text: string): number => {
  const value = Number(text);
  if (text.trim() === '' || !Number.isFinite(value)) throw new InvalidArgumentError('Expected a number.');
  return value;
};
const seed = (text: string): number => {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 0) throw new InvalidArgumentError('Expected an integer of at least 0.');
  return value;
};
const interval = (text: string): [number, number] => {
  const [from, to, ...rest] = text.split(',').map(number);
  if (from === undefined || to === undefined || rest.length > 0 || from > to)
    throw new InvalidArgumentError('Expected two times such as 0.1,0.8.');
  return [from, to];
};
const backend = () => new Option('--backend <name>', 'where to compute').choices(backendNames).default('auto');
const threads = () => new Option('--threads <n>', 'threads of one operation (default: all cores)').argParser(count);
const json = () => new Option('--json', 'print the result as JSON').default(false);

let code: number = exitCodes.ok;
const program = new Command('dit-moe-sampler')
  .description('Sample images from mixture-of-experts diffusion transformers (DiT-MoE).')
  .exitOverride()
  .addHelpText(
    'after',
    `
Exit codes: 0 done, 1 defect, 2 wrong usage, 4 output, 5 backend, 6 model.

Examples:
  dit-moe-sampler sample runs/demo                             8 images of every class in samples.png
  dit-moe-sampler sample runs/demo --classes 3,7 --count 16 --seed 5 --out threes-and-sevens.png
  dit-moe-sampler sample runs/demo --solver heun --steps 12 --guidance 3 --each single-files
  dit-moe-sampler doctor                                       what is there and what is missing`,
  );
program
  .command('sample')
  .description('generate images by class')
  .argument('<model>', 'run folder, checkpoint folder or .safetensors file')
  .option('--classes <list>', 'class names or numbers, separated by commas (default: all)')
  .addOption(new Option('--count <n>', 'images per class').argParser(count).default(8))
  .addOption(new Option('--seed <n>', 'an image depends on the seed and its number only').argParser(seed).default(0))
  .addOption(
    new Option('--solver <name>', 'Euler or DPM-Solver++(2M) (1 evaluation per step) or Heun (2)')
      .choices(Object.keys(solvers))
      .default('euler'),
  )
  .addOption(new Option('--steps <n>', 'solver steps').argParser(count).default(50))
  .addOption(new Option('--guidance <scale>', 'classifier-free guidance; 1 for none').argParser(number).default(2))
  .addOption(new Option('--interval <from,to>', 'times in which guidance applies, 1 is noise').argParser(interval))
  .addOption(new Option('--weights <kind>', 'the average or the last weights').choices(['ema', 'weights']).default('ema'))
  .addOption(new Option('--precision <kind>', 'of matrix products').choices(['f32', 'bf16']).default('f32'))
  .addOption(new Option('--batch <n>', 'images at once').argParser(count).default(64))
  .option('--out <file>', 'picture with all images, a row per class', 'samples.png')
  .option('--each <folder>', 'write every image to <folder>/<class>/ too')
  .addOption(backend())
  .addOption(threads())
  .addOption(json())
  .action(async (model: string, flags: SampleFlags) => {
    code = await sampleCommand(model, flags);
  });
program
  .command('doctor')
  .description('show backend, versions, devices, memory, and what to do about what is missing')
  .addOption(backend())
  .addOption(threads())
  .addOption(json())
  .action(async (flags: Pick<SampleFlags, 'backend' | 'threads' | 'json'>) => {
    const { findings, ready } = await machineReport(flags.backend, flags.threads);
    if (flags.json) console.log(JSON.stringify({ ready, ...findings }));
    else for (const [name, value] of Object.entries(findings)) console.log(`${name.padEnd(8)} ${value}`);
    code = ready ? exitCodes.ok : exitCodes.backend;
  });

try {
  await program.parseAsync();
} catch (error) {
  if (error instanceof CommanderError) code = error.exitCode === 0 ? exitCodes.ok : exitCodes.usage;
  else if (error instanceof SamplerError || error instanceof BackendError) {
    console.error(`error: ${error.message}`);
    code = error instanceof SamplerError ? error.exitCode : exitCodes.backend;
  } else {
    console.error(error);
    code = exitCodes.failure;
  }
}
process.exit(code);
