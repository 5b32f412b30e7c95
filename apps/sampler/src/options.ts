/** Options that several commands have, and what their values may be. */
import type { CacheSchedule, SolverName } from '@dit-moe/diffusion';
import { backendOptions, foreignModelOptions, integer, jsonOption, list, number, weightsOption, words } from '@dit-moe/kit';
import { bundledModels } from '@dit-moe/models';
import { Argument, InvalidArgumentError, Option } from 'commander';

const solvers = words<SolverName>({
  ...{ euler: true, heun: true, dopri5: true, ddpm: true, ddim: true, 'dpm++2m': true, 'dpm++3m': true, 'dpm++3m-midpoint': true },
  ...{ 'dpm++2m-sde': true, 'dpm++3m-sde': true, unipc: true, 'unipc-bh1': true, unipc3: true, 'euler-maruyama': true, 'sde-heun': true },
});

/** Two times, the earlier one first. */
const interval = (text: string): [number, number] => {
  const [from, to, ...rest] = list(number())(text);
  if (to === undefined || rest.length > 0 || from > to) throw new InvalidArgumentError('Expected two times such as 0.1,0.8.');
  return [from, to];
};

/** `fast`, `exact`, or a number from 2. */
const cache = (text: string): CacheSchedule => (text === 'fast' || text === 'exact' ? text : integer(2)(text));

/** Height and width in pixels: one number for squares, or `H x W`. */
const size = (text: string): [number, number] => {
  const [height, width, ...rest] = text.split('x').map(integer(1));
  if (rest.length > 0) throw new InvalidArgumentError('Expected a number of pixels such as 256, or 256x512 (height x width).');
  return [height, width ?? height];
};

/** What may stand for a model. */
const models = `${bundledModels.map(({ name }) => name).join(', ')}, which come along; or a run folder, checkpoint, .safetensors, .pt, folder of diffusers, hf:owner/name/file`;

export const modelArgument = () => new Argument('<model>', models);
/** Of commands that are told classes. */
export const optionalModelArgument = () => new Argument('[model]', `${models} (default: the one that comes along with all the --classes)`);
export const modelsArgument = () => new Argument('[models...]', `as for sample (default: all that come along)`);

/** Options about the model, for commands with one or several. */
export const modelOptions = (): Option[] =>
  [
    weightsOption(),
    new Option('--precision <kind>', 'of matrix products; int8, a third of the memory, on CPUs with VNNI only')
      .choices(['f32', 'bf16', 'int8'])
      .default('f32'),
    new Option(
      '--vae <name>',
      "autoencoder of models of latents: a name such as sd-vae-ft-ema, owner/name on the hub, a folder, or none (default: the model's own, else sd-vae-ft-ema)",
    ),
    ...foreignModelOptions(),
  ].map((option) => option.helpGroup('Model:'));

export const machineOptions = (): Option[] => [
  ...backendOptions('all cores; models of pixels narrower than 256, and int8 on up to four: 1, and as many operations at once'),
  jsonOption(),
];

/** Options of every command that samples. */
export const samplingOptions = (): Option[] => [
  ...modelOptions(),
  new Option('--size <pixels>', 'of the images, such as 256 or 256x512 (default: as trained)').argParser(size).helpGroup('Model:'),
  ...[
    new Option('--seed <n>', 'an image depends on the seed and its number only').argParser(integer(0)).default(0),
    new Option('--solver <name>', 'see "dit-moe-sampler solvers" (default: euler for flow models, ddpm for Gaussian ones)').choices(
      solvers,
    ),
    new Option('--steps <n>', "solver steps (default: the solver's own)").argParser(integer(1)),
    new Option('--grid <name>', "where the steps lie (default: the solver's own)").choices(['uniform', 'karras', 'exponential']),
    new Option('--shift <x>', 'above 1: more steps of the uniform grid near noise').argParser(number()),
    new Option('--eta <x>', 'fresh noise of ddim and the DPM-Solver++ SDEs').argParser(number()),
    new Option('--spacing <text>', 'timesteps of ddpm and ddim for Gaussian models, such as ddim50 or 250'),
    new Option('--clip', 'clip predicted clean images to [-1, 1]'),
    new Option(
      '--cache <schedule>',
      'leave out evaluations of the model and extrapolate: fast, exact (about a grey level away, if the solver draws no noise), or n for every n-th (default: none is left out)',
    ).argParser(cache),
    new Option('--batch <n>', 'images at once').argParser(integer(1)).default(64),
  ].map((option) => option.helpGroup('Sampling:')),
  ...[
    new Option(
      '--guidance <scale>',
      "how far from the worse prediction; 1 for no guidance (default: the model's, else 2 for flow models, 1.5 for Gaussian ones, 1 for those without a null label)",
    ).argParser(number()),
    new Option(
      '--guidance-rule <rule>',
      "cfg, cfg-zero, rescale or apg, with its numbers if others are wanted, such as apg:momentum=-0.5; see below (default: the model's, else cfg)",
    ),
    new Option(
      '--guide-with <model>',
      'autoguidance: a weaker model to lead away from, such as an earlier checkpoint (default: the model without its label)',
    ),
    new Option('--interval <from,to>', 'part of the way in which guidance applies, 1 is noise').argParser(interval),
    new Option('--guided-channels <n>', "leading channels that guidance changes (default: the model's; 3 of Gaussian models)").argParser(
      integer(1),
    ),
  ].map((option) => option.helpGroup('Guidance:')),
  ...machineOptions(),
];
