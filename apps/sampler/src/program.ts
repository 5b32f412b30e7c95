/** The sampler's table of commands. */
import fs from 'node:fs';
import {
  backendOptions,
  type CommandEntry,
  doctor,
  exitCodes,
  integer,
  jsonOption,
  list,
  number,
  type ProgramTable,
  partOptions,
  words,
} from '@dit-moe/kit';
import type { NetworkName } from '@dit-moe/metrics/node';
import { Argument, Option } from 'commander';
import type { EvaluateFlags } from './commands/evaluate.js';
import type { GenerateFlags } from './commands/generate.js';
import type { MergeFlags } from './commands/merge.js';
import type { RoutingFlags } from './commands/routing.js';
import type { SampleFlags } from './commands/sample.js';
import type { ServeFlags } from './commands/serve.js';
import { exitCodeTable } from './errors.js';
import { machineOptions, modelArgument, modelOptions, modelsArgument, optionalModelArgument, samplingOptions } from './options.js';

const networks = words<NetworkName>({ inception: true, dinov2: true, clip: true, classifier: true, pixels: true });

const classesOption = () =>
  new Option(
    '--classes <list>',
    'class names or numbers, separated by commas; =3 is the name 3, #3 the number; of sample also none: of no class (default: all)',
  );
/** Of every command that samples. */
const samplingNotes = async () => (await import('./guidance-notes.js')).guidanceNotes();
const countOption = () => new Option('--count <n>', 'images per class').argParser(integer(1)).default(8);

const commands: Readonly<Record<string, CommandEntry>> = {
  sample: {
    group: 'Images',
    description: 'generate images by class',
    arguments: [optionalModelArgument()],
    options: [
      classesOption(),
      countOption(),
      new Option('--out <file>', 'picture with all images, a row per class: .png, .jpg, .webp or .gif').default('samples.png'),
      new Option('--captions', 'write the names of the classes beside their rows').default(false),
      new Option(
        '--film <file>',
        'show the denoising, or the interpolation: .gif and .webp move, .png and .jpg are strips with a row for each image',
      ),
      new Option('--each <folder>', 'write every image to <folder>/<class>/ too'),
      new Option('--preview', 'show the images in the terminal (24-bit colours)').default(false),
      ...[
        new Option('--interpolate <n>', 'n images on each way between neighbouring --classes and --seeds').argParser(integer(1)),
        new Option('--seeds <list>', 'ends of the ways, with --interpolate').argParser(list(integer(0))),
        new Option('--init <image>', 'start from this picture, noised'),
        new Option('--strength <x>', 'how much noise: 1 keeps nothing of it (default: 0.6; 1 with --mask)').argParser(
          number({ above: 0, most: 1 }),
        ),
        new Option('--mask <image>', 'change only what is white here'),
      ].map((option) => option.helpGroup('From something:')),
      ...[
        new Option(
          '--noise <file>',
          'safetensors with the noise to use: "start" [N, C, h, w], and for stochastic solvers "steps" [S, N, C, h, w]',
        ),
        new Option('--raw <file>', 'write the samples as the model gives them, too: safetensors, float32 [N, C, h, w]'),
      ].map((option) => option.helpGroup('Numbers:')),
      ...samplingOptions(),
    ],
    notes: 'The settings are kept in the picture: as Comment text in PNG, as EXIF in JPEG and WebP.',
    moreNotes: samplingNotes,
    examples: [
      'sample --classes sneaker                     with the model that comes along and has this class',
      'sample runs/demo --classes 3,7 --count 16 --preview',
      'sample runs/demo --count 4 --captions --out classes.jpg --film denoising.gif',
      'sample runs/demo --classes 1,7,4 --interpolate 8 --count 2 --out between-classes.png',
      'sample runs/demo --classes 5 --seeds 1,2,3 --interpolate 8 --count 1 --out between-seeds.png',
      'sample runs/demo --guidance 5 --guidance-rule apg:momentum=-0.5 --interval 0.1,0.9',
      'sample runs/demo --guide-with runs/demo/checkpoints/step-00001000',
      'sample runs/demo --classes 8 --init three.png --strength 0.7 --out from-a-three.png',
      'sample runs/demo --classes 8 --init three.png --mask left-half.png --out completed.png',
    ],
    run: async (model: string | undefined, flags: SampleFlags) => (await import('./commands/sample.js')).sampleCommand(model, flags),
  },
  serve: {
    group: 'Images',
    description: 'a web page on this machine: watch the denoising and the experts, compare guidance scales; and its HTTP API',
    arguments: [modelsArgument()],
    options: [
      new Option('--host <address>', 'to listen on; any other than this machine needs a token').default('127.0.0.1'),
      new Option('--port <n>', 'to listen on; 0 for any').argParser(integer(0)).default(8080),
      new Option('--allow-host <name...>', 'further names under which the server may be reached').default([]),
      new Option('--queue <n>', 'requests that may wait, and as many of those for idle time').argParser(integer(1)).default(8),
      new Option('--static <folder>', 'write the page with the models instead: they run in the browser, by WebGPU or WebAssembly'),
      ...modelOptions(),
      ...machineOptions(),
    ],
    notes: `The token is the environment variable DIT_MOE_SAMPLER_TOKEN; open the page once as http://.../#token=...
The API is described at /api/openapi.json; a picture by curl:
  curl -H 'Content-Type: application/json' -H 'Accept: image/png' -d '{"model":"digits","labels":[3,7]}' -o 37.png http://127.0.0.1:8080/api/samples`,
    examples: ['serve', 'serve runs/demo digits', 'serve --static page'],
    run: async (models: string[], flags: ServeFlags) => (await import('./commands/serve.js')).serveCommand(models, flags),
  },
  generate: {
    group: 'Sets',
    description: 'generate a large set as shards; may be killed, restarted, and split over processes and machines',
    arguments: [modelArgument()],
    options: [
      new Option('--out <folder>', 'the set; workers of one set share it').makeOptionMandatory(),
      new Option('--images <n>', 'images in the set').argParser(integer(1)).default(50_000),
      new Option('--shard-size <n>', 'images per shard: what a kill costs at most').argParser(integer(1)).default(1000),
      new Option('--labels <policy>', 'uniform, balanced, or a file with a class per image').default('uniform'),
      ...partOptions('make every n-th shard, from shard k on'),
      ...samplingOptions(),
    ],
    notes: `The index of an array job is taken from Slurm, Kubernetes, AWS Batch, Google Batch, Grid Engine, PBS or LSF, within one job from torchrun, srun, Open MPI or PMI.
An image depends on the model, the settings, the seed and its number only; --batch and --shard-size are part of the settings.`,
    moreNotes: samplingNotes,
    examples: [
      'generate runs/demo --out set --images 1000 --shard-size 100',
      'generate runs/demo --out set --images 1000 --shard-size 100 --part 0/2      one of two processes',
    ],
    run: async (model: string, flags: GenerateFlags) => (await import('./commands/generate.js')).generateCommand(model, flags),
  },
  merge: {
    group: 'Sets',
    description: "check a generated set and write it as the .npz of ADM's evaluator",
    arguments: [new Argument('<set>', 'folder of "generate --out"')],
    options: [new Option('--out <file>', 'the .npz (default: samples.npz in the set)'), jsonOption()],
    examples: ['merge set', 'merge set --out set.npz --json'],
    run: async (folder: string, flags: MergeFlags) => (await import('./commands/merge.js')).mergeCommand(folder, flags),
  },
  evaluate: {
    group: 'Quality',
    description: 'FID, sFID, Inception Score, precision and recall, ... of samples against a reference',
    arguments: [
      new Argument('<samples>', 'folder of images, .npz, or generated set that has been merged'),
      new Argument('[reference]', "the same, or statistics: ADM's or pytorch-fid's .npz"),
    ],
    options: [
      new Option('--network <name>', 'whose features are compared').choices(networks).default('inception'),
      new Option('--network-weights <file>', 'its weights (default: looked for in the cache folder)'),
      new Option('--resize <rule>', "Inception's input: as the original graph, or half-pixel")
        .choices(['tf1', 'pytorch-fid'])
        .default('tf1'),
      new Option('--metrics <list>', 'all, or some of the metrics below, separated by commas (default: the usual ones of the network)'),
      new Option('--limit <n>', 'take the first n samples only').argParser(integer(1)),
      new Option('--batch <n>', 'images at once').argParser(integer(1)).default(32),
      new Option('--seed <n>', 'of subsets, shuffles and resamples').argParser(integer(0)).default(0),
      new Option('--out <file>', 'keep the record as JSON, for "compare"'),
      new Option('--save-statistics <file>', 'write statistics of the samples as .npz, to be a reference later'),
      new Option('--layout <whose>', 'layout of these statistics').choices(['adm', 'pytorch-fid']).default('pytorch-fid'),
      new Option(
        '--split <name>',
        'of image folders, tar shards or parquet files whose names tell several; none: those names are no splits',
      ),
      new Option('--apply-orientation', 'turn images as their EXIF orientation says; training does not, nor does pytorch-fid').default(
        false,
      ),
      new Option(
        '--accept-open-port',
        'as one of several processes of a launcher: open the port of TensorFlow, which has no password, though the internet may reach it',
      ),
      ...backendOptions(),
      jsonOption(),
    ],
    moreNotes: async () => (await import('./commands/evaluate.js')).metricsAndNetworks(),
    examples: [
      'evaluate samples.npz VIRTUAL_imagenet256_labeled.npz --metrics fd,sfd,is,pr-adm',
      'evaluate generated-images real-images --network pixels',
      'evaluate real-images --metrics is --save-statistics real.npz',
      'evaluate set real.npz --out ema.json && dit-moe-sampler compare ema.json other.json',
    ],
    // Here the files are images and statistics, not models.
    codes: { E_FORMAT: exitCodes.data },
    run: async (samples: string, reference: string | undefined, flags: EvaluateFlags) =>
      (await import('./commands/evaluate.js')).evaluateCommand(samples, reference, flags),
  },
  compare: {
    group: 'Quality',
    description: 'evaluations side by side, with warnings where they do not compare',
    arguments: [new Argument('<records...>', 'files of "evaluate --out"')],
    options: [jsonOption()],
    examples: ['compare ema.json other.json'],
    run: async (files: string[], flags: { json: boolean }) => (await import('./commands/compare.js')).compareCommand(files, flags),
  },
  routing: {
    group: 'Quality',
    description: 'what the experts have specialised in: figures by class, place, time and layer, an HTML page, JSON',
    arguments: [optionalModelArgument()],
    options: [
      classesOption(),
      countOption(),
      new Option('--out <folder>', 'for routing.html, routing.json and the figures as SVG and PNG').default('routing'),
      ...samplingOptions(),
    ],
    moreNotes: samplingNotes,
    examples: ['routing runs/demo --out routing', 'routing runs/demo --classes 3,7 --count 32'],
    run: async (model: string | undefined, flags: RoutingFlags) => (await import('./commands/routing.js')).routingCommand(model, flags),
  },
  solvers: {
    group: 'This machine',
    description: 'list the solvers with their order, cost and defaults',
    options: [jsonOption()],
    examples: ['solvers', 'solvers --json'],
    run: async (flags: { json: boolean }) => (await import('./commands/solvers.js')).solversCommand(flags),
  },
  doctor: doctor(),
};

export const program: ProgramTable = {
  name: 'dit-moe-sampler',
  description: 'Sample images from mixture-of-experts diffusion transformers (DiT-MoE).',
  version: () => JSON.parse(fs.readFileSync(new URL('../package.json', import.meta.url), 'utf8')).version,
  codes: exitCodeTable,
  commands,
  examples: [
    'sample --classes sneaker                     with the model that comes along and has this class',
    'serve                                        a web page with the models that come along',
    'sample runs/demo                             8 images of every class in samples.png',
    'sample runs/demo --classes 3,7 --count 16 --seed 5 --out threes-and-sevens.png',
    'sample runs/demo --solver heun --steps 12 --guidance 3 --each single-files',
    'generate runs/demo --out set --images 1000 --labels balanced',
    'merge set                                    checks it and writes set/samples.npz',
    'evaluate set real-images                     FID and its companions',
    'routing runs/demo --out routing              what the experts have specialised in',
    'serve runs/demo                              a web page with a model of yours at http://127.0.0.1:8080/',
    'doctor                                       what is there and what is missing',
  ],
};
