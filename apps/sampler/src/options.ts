/** Options that several commands share, and what their values may be. */
import { solvers } from '@dit-moe/diffusion';
import { backendNames } from '@dit-moe/tensor-ops/node';
import { type Command, InvalidArgumentError, Option } from 'commander';

/** A positive integer. */
export const count = (text: string): number => {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) throw new InvalidArgumentError('Expected a positive integer.');
  return value;
};
/** A finite number. */
export const number = (text: string): number => {
  const value = Number(text);
  if (text.trim() === '' || !Number.isFinite(value)) throw new InvalidArgumentError('Expected a number.');
  return value;
};
/** An integer from 0 to 2^53 - 1. */
export const seed = (text: string): number => {
  const value = Number(text);
  if (text.trim() === '' || !Number.isSafeInteger(value) || value < 0) throw new InvalidArgumentError('Expected an integer of at least 0.');
  return value;
};
/** Two times, the earlier one first. */
export const interval = (text: string): [number, number] => {
  const [from, to, ...rest] = text.split(',').map(number);
  if (from === undefined || to === undefined || rest.length > 0 || from > to)
    throw new InvalidArgumentError('Expected two times such as 0.1,0.8.');
  return [from, to];
};

/** Options of every command that computes; `without` says how many threads there are without the option. */
export const withBackend = (command: Command, without = 'all cores'): Command =>
  command
    .addOption(new Option('--backend <name>', 'where to compute').choices(backendNames).default('auto'))
    .addOption(new Option('--threads <n>', `threads of one operation (default: ${without})`).argParser(count))
    .addOption(new Option('--json', 'print the result as JSON').default(false));

/** Height and width in pixels: one number for squares, or `H x W`. */
export const size = (text: string): [number, number] => {
  const [height, width, ...rest] = text.split('x').map(count);
  if (height === undefined || rest.length > 0)
    throw new InvalidArgumentError('Expected a number of pixels such as 256, or 256x512 (height x width).');
  return [height, width ?? height];
};
/** A number in (0, 1]. */
export const share = (text: string): number => {
  const value = number(text);
  if (value <= 0 || value > 1) throw new InvalidArgumentError('Expected a number above 0 and up to 1.');
  return value;
};
/** Numbers separated by commas. */
export const seeds = (text: string): number[] => text.split(',').map(seed);

/** Options about the model, for commands with one or several. */
export const withModelOptions = (command: Command): Command =>
  withBackend(command, 'all cores; models of pixels narrower than 256: 1, and as many operations at once')
    .option('--weights <name>', 'of a run: ema (default), weights, or another average such as ema-0.999; of a .pt file: its entry')
    .addOption(new Option('--precision <kind>', 'of matrix products').choices(['f32', 'bf16']).default('f32'))
    .option(
      '--vae <name>',
      "autoencoder of models of latents: a name such as sd-vae-ft-ema, owner/name on the hub, a folder, or none (default: the model's own, else sd-vae-ft-ema)",
    )
    .addOption(new Option('--objective <kind>', 'how a file that does not say so was trained').choices(['flow', 'ddpm']))
    .addOption(new Option('--time-scale <x>', 'of such flow models: what t in [0, 1] is multiplied with (default: 1)').argParser(number));

/** Options of every command that opens a model. */
export const withModel = (command: Command): Command =>
  withModelOptions(command)
    .argument('<model>', 'run folder, checkpoint, .safetensors, .pt, folder of diffusers, or hf:owner/name/file')
    .addOption(new Option('--size <pixels>', 'of the images, such as 256 or 256x512 (default: as trained)').argParser(size));

/** Options of every command that samples. */
export const withSampling = (command: Command): Command =>
  withModel(command)
    .addOption(new Option('--seed <n>', 'an image depends on the seed and its number only').argParser(seed).default(0))
    .addOption(
      new Option('--solver <name>', 'see "dit-moe-sampler solvers" (default: euler for flow models, ddpm for Gaussian ones)').choices(
        Object.keys(solvers),
      ),
    )
    .addOption(new Option('--steps <n>', "solver steps (default: the solver's own)").argParser(count))
    .addOption(new Option('--grid <name>', "where the steps lie (default: the solver's own)").choices(['uniform', 'karras', 'exponential']))
    .addOption(new Option('--shift <x>', 'above 1: more steps of the uniform grid near noise').argParser(number))
    .addOption(new Option('--eta <x>', 'fresh noise of ddim and the DPM-Solver++ SDEs').argParser(number))
    .option('--spacing <text>', 'timesteps of ddpm and ddim for Gaussian models, such as ddim50 or 250')
    .option('--clip', 'clip predicted clean images to [-1, 1]')
    .addOption(
      new Option(
        '--guidance <scale>',
        'classifier-free guidance; 1 for none (default: 2 for flow models, 1.5 for Gaussian ones, 1 for those without a null label)',
      ).argParser(number),
    )
    .addOption(
      new Option('--guided-channels <n>', "leading channels that guidance changes (default: the model's; 3 of Gaussian models)").argParser(
        count,
      ),
    )
    .addOption(new Option('--interval <from,to>', 'times in which guidance applies, 1 is noise').argParser(interval))
    .addOption(new Option('--batch <n>', 'images at once').argParser(count).default(64));
