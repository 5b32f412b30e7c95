#!/usr/bin/env node
/** Command line of the sampler. */
import { metrics } from '@dit-moe/metrics';
import { networks } from '@dit-moe/metrics/node';
import { DitMoeError } from '@dit-moe/tensor-ops';
import { formatMachineReport, machineReport } from '@dit-moe/tensor-ops/node';
import { Command, CommanderError, Option } from 'commander';
import { compareCommand } from './commands/compare.js';
import { type EvaluateFlags, evaluateCommand } from './commands/evaluate.js';
import { type GenerateFlags, generateCommand } from './commands/generate.js';
import { type MergeFlags, mergeCommand } from './commands/merge.js';
import { type RoutingFlags, routingCommand } from './commands/routing.js';
import { type SampleFlags, sampleCommand } from './commands/sample.js';
import { type ServeFlags, serveCommand } from './commands/serve.js';
import { solverTable } from './commands/solvers.js';
import { exitCodeOf, exitCodes, SamplerError } from './errors.js';
import { count, seed, seeds, share, withBackend, withModelOptions, withSampling } from './options.js';

let code: number = exitCodes.ok;
const program = new Command('dit-moe-sampler')
  .description('Sample images from mixture-of-experts diffusion transformers (DiT-MoE).')
  .exitOverride()
  .addHelpText(
    'after',
    `
Exit codes: 0 done, 1 defect, 2 wrong usage, 4 output, 5 backend, 6 model, 7 evaluation.

Examples:
  dit-moe-sampler sample runs/demo                             8 images of every class in samples.png
  dit-moe-sampler sample runs/demo --classes 3,7 --count 16 --seed 5 --out threes-and-sevens.png
  dit-moe-sampler sample runs/demo --solver heun --steps 12 --guidance 3 --each single-files
  dit-moe-sampler generate runs/demo --out set --images 1000 --labels balanced
  dit-moe-sampler merge set                                    checks it and writes set/samples.npz
  dit-moe-sampler evaluate set real-images                     FID and its companions
  dit-moe-sampler routing runs/demo --out routing              what the experts have specialised in
  dit-moe-sampler serve runs/demo                              a web page at http://127.0.0.1:8080/
  dit-moe-sampler doctor                                       what is there and what is missing`,
  );
withSampling(program.command('sample'))
  .description('generate images by class')
  .option('--classes <list>', 'class names or numbers, separated by commas (default: all)')
  .addOption(new Option('--count <n>', 'images per class').argParser(count).default(8))
  .option('--out <file>', 'picture with all images, a row per class', 'samples.png')
  .option('--each <folder>', 'write every image to <folder>/<class>/ too')
  .option('--preview', 'show the images in the terminal (24-bit colours)', false)
  .addOption(new Option('--interpolate <n>', 'n images on each way between neighbouring --classes and --seeds').argParser(count))
  .addOption(new Option('--seeds <list>', 'ends of the ways, with --interpolate').argParser(seeds))
  .option('--init <image>', 'start from this picture, noised')
  .addOption(new Option('--strength <x>', 'how much noise: 1 keeps nothing of it (default: 0.6; 1 with --mask)').argParser(share))
  .option('--mask <image>', 'change only what is white here')
  .option('--noise <file>', 'safetensors with the noise to use: "start" [N, C, h, w], and for stochastic solvers "steps" [S, N, C, h, w]')
  .option('--raw <file>', 'write the samples as the model gives them, too: safetensors, float32 [N, C, h, w]')
  .addHelpText(
    'after',
    `
The settings are kept in the PNG's Comment text.

Examples:
  dit-moe-sampler sample runs/demo --classes 3,7 --count 16 --preview
  dit-moe-sampler sample runs/demo --classes 1,7,4 --interpolate 8 --count 2 --out between-classes.png
  dit-moe-sampler sample runs/demo --classes 5 --seeds 1,2,3 --interpolate 8 --count 1 --out between-seeds.png
  dit-moe-sampler sample runs/demo --classes 8 --init three.png --strength 0.7 --out from-a-three.png
  dit-moe-sampler sample runs/demo --classes 8 --init three.png --mask left-half.png --out completed.png`,
  )
  .action(async (model: string, flags: SampleFlags) => {
    code = await sampleCommand(model, flags);
  });
withSampling(program.command('generate'))
  .description('generate a large set as shards; may be killed, restarted, and split over processes and machines')
  .requiredOption('--out <folder>', 'the set; workers of one set share it')
  .addOption(new Option('--images <n>', 'images in the set').argParser(count).default(50_000))
  .addOption(new Option('--shard-size <n>', 'images per shard: what a kill costs at most').argParser(count).default(1000))
  .option('--labels <policy>', 'uniform, balanced, or a file with a class per image', 'uniform')
  .option('--part <k/n>', 'make every n-th shard, from shard k on (default: the index of the array job, else all)')
  .addOption(new Option('--parts <n>', 'tasks of the array job, where the scheduler does not tell').argParser(count))
  .addHelpText(
    'after',
    `
The index of an array job is taken from Slurm, Kubernetes, AWS Batch, Google Batch, Grid Engine, PBS, LSF or Open MPI.
An image depends on the model, the settings, the seed and its number only; --batch and --shard-size are part of the settings.

Examples:
  dit-moe-sampler generate runs/demo --out set --images 1000 --shard-size 100
  dit-moe-sampler generate runs/demo --out set --images 1000 --shard-size 100 --part 0/2      one of two processes`,
  )
  .action(async (model: string, flags: GenerateFlags) => {
    code = await generateCommand(model, flags);
  });
program
  .command('merge')
  .description("check a generated set and write it as the .npz of ADM's evaluator")
  .argument('<set>', 'folder of "generate --out"')
  .option('--out <file>', 'the .npz (default: samples.npz in the set)')
  .addOption(new Option('--json', 'print the result as JSON').default(false))
  .action(async (folder: string, flags: MergeFlags) => {
    code = await mergeCommand(folder, flags);
  });
withBackend(program.command('evaluate'))
  .description('FID, sFID, Inception Score, precision and recall, ... of samples against a reference')
  .argument('<samples>', 'folder of images, .npz, or generated set that has been merged')
  .argument('[reference]', "the same, or statistics: ADM's or pytorch-fid's .npz")
  .addOption(new Option('--network <name>', 'whose features are compared').choices(Object.keys(networks)).default('inception'))
  .option('--network-weights <file>', 'its weights (default: looked for in the cache folder)')
  .addOption(
    new Option('--resize <rule>', "Inception's input: as the original graph, or half-pixel").choices(['tf1', 'pytorch-fid']).default('tf1'),
  )
  .option('--metrics <list>', `all, or some of ${Object.keys(metrics).join(', ')} (default: the usual ones of the network)`)
  .addOption(new Option('--limit <n>', 'take the first n samples only').argParser(count))
  .addOption(new Option('--batch <n>', 'images at once').argParser(count).default(32))
  .addOption(new Option('--seed <n>', 'of subsets, shuffles and resamples').argParser(seed).default(0))
  .option('--out <file>', 'keep the record as JSON, for "compare"')
  .option('--save-statistics <file>', 'write statistics of the samples as .npz, to be a reference later')
  .addOption(new Option('--layout <whose>', 'layout of these statistics').choices(['adm', 'pytorch-fid']).default('pytorch-fid'))
  .addHelpText(
    'after',
    `
Metrics:
${Object.entries(metrics)
  .map(([name, text]) => `  ${name.padEnd(12)} ${text}`)
  .join('\n')}

Networks:
${Object.entries(networks)
  .map(([name, { use }]) => `  ${name.padEnd(12)} ${use}`)
  .join('\n')}

Examples:
  dit-moe-sampler evaluate samples.npz VIRTUAL_imagenet256_labeled.npz --metrics fd,sfd,is,pr-adm
  dit-moe-sampler evaluate generated-images real-images --network pixels
  dit-moe-sampler evaluate real-images --metrics is --save-statistics real.npz
  dit-moe-sampler evaluate set real.npz --out ema.json && dit-moe-sampler compare ema.json other.json`,
  )
  .action(async (samples: string, reference: string | undefined, flags: EvaluateFlags) => {
    code = await evaluateCommand(samples, reference, flags);
  });
program
  .command('compare')
  .description('evaluations side by side, with warnings where they do not compare')
  .argument('<records...>', 'files of "evaluate --out"')
  .addOption(new Option('--json', 'print as JSON').default(false))
  .action(async (files: string[], flags: { json: boolean }) => {
    code = await compareCommand(files, flags);
  });
withSampling(program.command('routing'))
  .description('what the experts have specialised in: figures by class, place, time and layer, an HTML page, JSON')
  .option('--classes <list>', 'class names or numbers, separated by commas (default: all)')
  .addOption(new Option('--count <n>', 'images per class').argParser(count).default(8))
  .option('--out <folder>', 'for routing.html, routing.json and the figures as SVG and PNG', 'routing')
  .action(async (model: string, flags: RoutingFlags) => {
    code = await routingCommand(model, flags);
  });
withModelOptions(program.command('serve'))
  .description('a web page on this machine: watch the denoising and the experts, compare guidance scales; and its HTTP API')
  .argument('<models...>', 'as for sample')
  .option('--host <address>', 'to listen on; any other than this machine needs a token', '127.0.0.1')
  .addOption(new Option('--port <n>', 'to listen on; 0 for any').argParser(seed).default(8080))
  .option('--allow-host <name...>', 'further names under which the server may be reached', [])
  .addOption(new Option('--queue <n>', 'requests that may wait').argParser(count).default(8))
  .option('--static <folder>', 'write the page with the models instead: they run in the browser, by WebAssembly')
  .addHelpText(
    'after',
    `
The token is the environment variable DIT_MOE_SAMPLER_TOKEN; open the page once as http://.../#token=...
The API is described at /api/openapi.json.

Examples:
  dit-moe-sampler serve runs/demo
  dit-moe-sampler serve runs/demo --static page
  curl -H 'Content-Type: application/json' -H 'Accept: image/png' -d '{"model":"demo","labels":[3,7]}' -o 37.png http://127.0.0.1:8080/api/samples`,
  )
  .action(async (models: string[], flags: ServeFlags) => {
    code = await serveCommand(models, flags);
  });
program
  .command('solvers')
  .description('list the solvers with their order, cost and defaults')
  .addOption(new Option('--json', 'print as JSON').default(false))
  .action(({ json }: { json: boolean }) => console.log(solverTable(json)));
withBackend(program.command('doctor'))
  .description('show backend, versions, devices, memory, and what to do about what is missing')
  .action(async (flags: Pick<SampleFlags, 'backend' | 'threads' | 'json'>) => {
    const report = await machineReport(flags.backend, flags.threads);
    console.log(flags.json ? JSON.stringify({ ready: report.ready, ...report.findings }) : formatMachineReport(report));
    code = report.ready ? exitCodes.ok : exitCodes.backend;
  });

try {
  await program.parseAsync();
} catch (error) {
  if (error instanceof CommanderError) code = error.exitCode === 0 ? exitCodes.ok : exitCodes.usage;
  else if (DitMoeError.isInstance(error)) {
    console.error(`error: ${error.message}`);
    code = error instanceof SamplerError ? error.exitCode : (exitCodeOf[error.code] ?? exitCodes.failure);
  } else {
    console.error(error);
    code = exitCodes.failure;
  }
}
process.exit(code);
