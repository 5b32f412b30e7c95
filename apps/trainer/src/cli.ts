#!/usr/bin/env node
/** Command line of the trainer. Each command's code is loaded when it is called, so that help and mistakes answer at once. */
import { DitMoeError } from '@dit-moe/tensor-ops';
import { Argument, Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import { completionCommand, shells } from './commands/completion.js';
import type { EncodeFlags } from './commands/encode.js';
import type { ExportFlags } from './commands/export.js';
import type { InspectFlags } from './commands/inspect.js';
import type { TrainFlags } from './commands/train.js';
import type { TrainVaeFlags } from './commands/train-vae.js';
import type { UpcycleFlags } from './commands/upcycle.js';
import { presets } from './config/presets.js';
import { exitCodes, TrainerError } from './errors.js';

const integer = (least: number) => (text: string) => {
  const value = Number(text);
  if (text.trim() === '' || !Number.isInteger(value) || value < least)
    throw new InvalidArgumentError(`Expected ${least === 1 ? 'a positive integer' : `an integer of at least ${least}`}.`);
  return value;
};
const number = (text: string): number => {
  const value = Number(text);
  if (text.trim() === '' || !Number.isFinite(value) || value < 0) throw new InvalidArgumentError('Expected a number of at least 0.');
  return value;
};
const backend = () => new Option('--backend <name>', 'where to compute').choices(['auto', 'tensorflow', 'wasm', 'cpu']).default('auto');
const threads = () => new Option('--threads <n>', 'threads of one operation (default: all cores)').argParser(integer(1));
const share = (text: string): number => {
  const value = Number(text);
  if (!(value >= 0 && value <= 1)) throw new InvalidArgumentError('Expected a number from 0 to 1.');
  return value;
};
const positive = (text: string): number => {
  const value = Number(text);
  if (!(value > 0)) throw new InvalidArgumentError('Expected a positive number.');
  return value;
};
const json = () => new Option('--json', 'print the result as JSON').default(false);
const set = () => new Option('--set <key=value...>', 'override a setting, such as optimizer.learningRate=1e-3').default([]);
const preset = () => new Option('--preset <name>', 'start from these settings').choices(Object.keys(presets));
const weights = () =>
  new Option('--weights <kind>', 'ema (the first average), another average such as ema-0.999, or weights (the last ones)').default('ema');
const examples = (...lines: string[]) => `\nExamples:\n${lines.map((line) => `  dit-moe-trainer ${line}`).join('\n')}`;

let code: number = exitCodes.ok;
const program = new Command('dit-moe-trainer')
  .description('Train mixture-of-experts diffusion transformers (DiT-MoE).')
  .exitOverride()
  .addHelpText(
    'after',
    `
Exit codes: 0 done, 1 defect, 2 wrong usage, 3 data, 4 output folder, 5 backend, 6 checkpoint, 7 diverged, 75 interrupted and saved.
${examples(
  'demo                                                  digits from start to samples, in minutes',
  'train --preset digits --out runs/a                    the same training, without the samples',
  'train --data my-images --preset digits --set data.size=16 steps=5000 --out runs/b',
  'train --preset digits --out runs/a --resume           go on after an interruption',
  'train-vae my-images --out my-vae                      a small autoencoder of your own',
  'encode imagenet/train --out latents                   images to latents, once',
  'watch runs/a                                          its report in the browser, live',
  'doctor                                                what is there and what is missing',
)}`,
  );
program
  .command('train')
  .description('train on images (one folder per class, tar shards, parquet files) or on cached latents')
  .argument('[config]', 'YAML or JSON configuration')
  .addOption(preset())
  .option('--data <path>', 'images or latents')
  .option('--out <folder>', 'run folder')
  .option('--resume', 'go on from the last checkpoint', false)
  .option('--accept-data-change', 'with --resume: go on with other data, in a new epoch', false)
  .option('--dry-run', 'print size, memory, work and estimated time, and train nothing', false)
  .addOption(set())
  .addOption(backend())
  .addOption(threads())
  .addOption(json())
  .addHelpText(
    'after',
    examples(
      'train --preset digits --out runs/a --set steps=2000',
      'train my-config.yaml --out runs/c --set optimizer.learningRate=3e-4 ema=[0.999,0.9999]',
      'train --preset paper-s-2-8e2a-256 --data latents --out runs/s --dry-run',
    ),
  )
  .action(async (config: string | undefined, flags: TrainFlags) => {
    const { trainCommand } = await import('./commands/train.js');
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
  .action(async (flags: TrainFlags & { out: string }) => {
    const { demoCommand } = await import('./commands/demo.js');
    code = await demoCommand(flags);
  });
program
  .command('encode')
  .description('encode images into a cache of latents, to train on')
  .argument('<images>', 'image folder, .tar or .parquet files (a folder of them, a name with * or {000..127})')
  .requiredOption('--out <folder>', 'folder of the cache; a cache that is there is continued')
  .option('--vae <name>', 'autoencoder: sd-vae-ft-mse, sd-vae-ft-ema, a folder or a weights file', 'sd-vae-ft-mse')
  .addOption(new Option('--size <pixels>', 'edge of the squares').argParser(integer(1)).default(256))
  .addOption(new Option('--crop <kind>', "the reference's crops").choices(['center', 'random']).default('center'))
  .addOption(new Option('--seed <n>', 'of random crops').argParser(integer(0)).default(0))
  .option('--flips', 'encode every image mirrored, too', false)
  .option('--apply-orientation', 'turn images as their EXIF orientation says', false)
  .addOption(new Option('--dtype <type>', 'of the moments in the cache').choices(['f16', 'f32']).default('f16'))
  .addOption(
    new Option('--precision <type>', 'of the computation; bf16 only where the processor is faster in it')
      .choices(['f32', 'bf16'])
      .default('f32'),
  )
  .addOption(new Option('--shard-size <n>', 'images per file').argParser(integer(1)).default(4096))
  .addOption(new Option('--batch <n>', 'images per call (default: what fits the memory, at most 16)').argParser(integer(1)))
  .addOption(new Option('--memory <GiB>', 'for activations of one call').argParser(positive).default(2))
  .option('--worker <k/n>', 'do one part of the shards (default: that of the array job of a scheduler, else all)')
  .addOption(new Option('--max-skipped <share>', 'give up if more images than this cannot be used').argParser(share).default(0.01))
  .option('--image-column <name>', 'of parquet files (default: the one with images)')
  .option('--label-column <name>', 'of parquet files (default: label)')
  .option('--offline', 'never ask the hub', false)
  .addOption(backend())
  .addOption(threads())
  .addOption(json())
  .addHelpText(
    'after',
    examples(
      'encode imagenet/train --out latents --flips',
      "encode 'shards/train-{000..127}.tar' --vae my-vae --size 512 --out latents-512",
      "encode 'data/train-*.parquet' --out latents --worker 0/8",
    ),
  )
  .action(async (images: string, flags: Omit<EncodeFlags, 'images'>) => {
    const { encodeCommand } = await import('./commands/encode.js');
    code = await encodeCommand({ ...flags, images });
  });
program
  .command('train-vae')
  .description('train a small autoencoder on images, to work in its latents without published weights')
  .argument('<images>', 'image folder, .tar or .parquet files')
  .requiredOption('--out <folder>', 'folder of the autoencoder, as diffusers writes it')
  .addOption(new Option('--size <pixels>', 'edge of the squares').argParser(integer(1)).default(32))
  .addOption(new Option('--downscale <n>', 'pixels per latent along an edge').choices(['2', '4', '8']).default('4'))
  .addOption(new Option('--channels <n>', 'of the finest level; the others have twice as many').argParser(integer(8)).default(32))
  .addOption(new Option('--latent-channels <n>', 'of the latents').argParser(integer(1)).default(4))
  .addOption(new Option('--steps <n>', 'optimizer steps').argParser(integer(1)).default(1000))
  .addOption(new Option('--batch <n>', 'images per step').argParser(integer(1)).default(32))
  .addOption(new Option('--learning-rate <x>', 'largest, after the warm-up').argParser(positive).default(2e-3))
  .addOption(new Option('--loss <kind>', 'distance of pixels').choices(['l1', 'l2']).default('l1'))
  .addOption(new Option('--kl-weight <x>', 'times the KL divergence in nats per image').argParser(positive).default(1e-6))
  .addOption(new Option('--seed <n>', 'of weights, order and noise').argParser(integer(0)).default(0))
  .addOption(backend())
  .addOption(threads())
  .addOption(json())
  .addHelpText(
    'after',
    examples(
      'shapes data/shapes --size 32',
      'train-vae data/shapes --size 32 --steps 600 --out shapes-vae',
      'encode data/shapes --vae shapes-vae --size 32 --flips --out shapes-latents',
      'train --preset shapes --data shapes-latents --set data.kind=latents sampling.vae=shapes-vae --out runs/a',
    ),
  )
  .action(async (images: string, flags: Omit<TrainVaeFlags, 'images' | 'downscale'> & { downscale: string }) => {
    const { trainVaeCommand } = await import('./commands/train-vae.js');
    code = await trainVaeCommand({ ...flags, images, downscale: Number(flags.downscale) as TrainVaeFlags['downscale'] });
  });
program
  .command('watch')
  .description("show a run's report in the browser and keep it current")
  .argument('<run>', 'run folder')
  .addOption(new Option('--port <n>', '0 for a free one').argParser(integer(0)).default(6007))
  .addOption(json())
  .addHelpText('after', examples('watch runs/a', 'watch runs/a --port 0 --json'))
  .action(async (run: string, flags: { port: number; json: boolean }) => {
    const { watchCommand } = await import('./commands/watch.js');
    code = await watchCommand(run, flags);
  });
program
  .command('export')
  .description('write the weights of a run: a folder to publish, one safetensors file, or the state dictionary of the PyTorch reference')
  .argument('<model>', 'run folder, checkpoint folder or .safetensors file')
  .addOption(new Option('--to <format>', 'what to write').choices(['bundle', 'safetensors', 'reference', 'diffusers']).default('bundle'))
  .addOption(weights())
  .addOption(new Option('--precision <kind>', 'of stored matrices (default: bf16 for a bundle, else f32)').choices(['f32', 'bf16']))
  .requiredOption('--out <path>', 'folder, or file ending in .safetensors or (reference) .pt')
  .addOption(json())
  .addHelpText(
    'after',
    examples(
      'export runs/a --out published/digits',
      'export runs/a --to safetensors --precision bf16 --out digits.safetensors',
      'export runs/a --to reference --weights ema --out digits.pt',
    ),
  )
  .action(async (model: string, flags: ExportFlags) => {
    const { exportCommand } = await import('./commands/export.js');
    code = await exportCommand(model, flags);
  });
program
  .command('upcycle')
  .description('turn a trained dense model (DiT, or one of this project) into one with experts that computes the same')
  .argument('<model>', 'run folder, checkpoint folder or file (.safetensors, .pt, diffusers folder)')
  .option('--weights <kind>', 'which weights of a run or PyTorch file (default: the averaged ones)')
  .addOption(new Option('--experts <n>', 'routed experts').argParser(integer(1)).default(8))
  .addOption(new Option('--top-k <n>', 'experts per token').argParser(integer(1)).default(2))
  .addOption(new Option('--granularity <n>', 'parts that each copy is cut into').argParser(integer(1)).default(1))
  .addOption(new Option('--shared <ratio>', 'width of a shared expert as a multiple of the model').argParser(number).default(0))
  .addOption(new Option('--noise <share>', 'noise on the copies, so that they differ').argParser(number).default(0))
  .option('--normalize', 'divide the weights of a token by their sum', false)
  .addOption(new Option('--seed <n>', 'of router and noise').argParser(integer(0)).default(0))
  .requiredOption('--out <file>', 'new .safetensors file')
  .addOption(json())
  .addHelpText(
    'after',
    examples(
      'upcycle runs/dense --experts 8 --top-k 2 --out runs/upcycled.safetensors',
      'upcycle DiT-XL-2-256x256.pt --shared 2 --out xl-8e2a.safetensors',
    ),
  )
  .action(async (model: string, flags: UpcycleFlags) => {
    const { upcycleCommand } = await import('./commands/upcycle.js');
    code = await upcycleCommand(model, flags);
  });
program
  .command('inspect')
  .description('show format, model, tensors and routing of a checkpoint of any supported kind, or of a run')
  .argument('<model>', 'run folder, checkpoint folder or file (.safetensors, .pt, .bin, sharded)')
  .addOption(weights())
  .option('--tensors', 'list the tensors', false)
  .option('--stats', 'list the tensors with mean, deviation, largest value and numbers that are not finite', false)
  .addOption(json())
  .addHelpText('after', examples('inspect runs/a', 'inspect runs/a --stats', 'inspect DiT-XL-2-256x256.pt --json'))
  .action(async (model: string, flags: InspectFlags) => {
    const { inspectCommand } = await import('./commands/inspect.js');
    code = await inspectCommand(model, flags);
  });
program
  .command('shapes')
  .description('make a small data set of coloured shapes, to train on without a download')
  .argument('<folder>', 'new folder, one sub-folder per class')
  .addOption(new Option('--per-class <n>', 'images per class').argParser(integer(1)).default(1000))
  .addOption(new Option('--size <pixels>', 'height and width').argParser(integer(4)).default(16))
  .addOption(new Option('--seed <n>', 'other images for another seed').argParser(integer(0)).default(0))
  .addOption(json())
  .addHelpText('after', examples('shapes data/shapes', 'train --preset shapes --data data/shapes --out runs/shapes'))
  .action(async (folder: string, flags: { perClass: number; size: number; seed: number; json: boolean }) => {
    const { shapesCommand } = await import('./commands/shapes.js');
    code = await shapesCommand(folder, flags);
  });
program
  .command('config')
  .description('print the configuration that preset, file and overrides give, or the schema for editors')
  .argument('[config]', 'YAML or JSON configuration')
  .addOption(preset())
  .addOption(set())
  .option('--schema', 'print the JSON schema instead', false)
  .addOption(json())
  .addHelpText(
    'after',
    examples('config --preset digits > my-config.yaml', 'config --schema > schema.json', 'config my-config.yaml --json'),
  )
  .action(async (config: string | undefined, flags: { preset?: string; set: string[]; schema: boolean; json: boolean }) => {
    const { configCommand } = await import('./commands/config.js');
    code = configCommand({ ...flags, ...(config !== undefined && { config }) });
  });
program
  .command('completion')
  .description('print a script for completion in the shell')
  .addArgument(new Argument('<shell>', 'bash, zsh or fish').choices(shells))
  .addHelpText(
    'after',
    '\nExamples:\n  source <(dit-moe-trainer completion bash)\n  dit-moe-trainer completion fish > ~/.config/fish/completions/dit-moe-trainer.fish',
  )
  .action((shell: (typeof shells)[number]) => {
    code = completionCommand(program, shell);
  });
program
  .command('doctor')
  .description('show backend, versions, devices, memory, and what to do about what is missing')
  .addOption(backend())
  .addOption(threads())
  .addOption(json())
  .action(async (flags: TrainFlags) => {
    const { doctorCommand } = await import('./commands/doctor.js');
    code = await doctorCommand(flags);
  });

try {
  await program.parseAsync();
} catch (error) {
  if (error instanceof CommanderError) code = error.exitCode === 0 ? exitCodes.ok : exitCodes.usage;
  else if (DitMoeError.isInstance(error)) {
    console.error(`error: ${error.message}`);
    const codes: Record<string, number> = { E_BACKEND: exitCodes.backend, E_ARGUMENT: exitCodes.usage };
    code = error instanceof TrainerError ? error.exitCode : (codes[error.code] ?? exitCodes.failure);
  } else {
    console.error(error);
    code = exitCodes.failure;
  }
}
process.exit(code);
