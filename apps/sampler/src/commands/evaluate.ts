/** `evaluate`: samples against a reference, with a record of everything that the numbers depend on. */
import path from 'node:path';
import { createProgress, exitCodes, UsageError } from '@dit-moe/kit';
import { prepareOutput } from '@dit-moe/kit/output';
import {
  type CollectedFeatures,
  collectFeatures,
  type EvaluationReference,
  type EvaluationResult,
  evaluate,
  type FeatureExtractor,
  type InceptionResize,
  isSorted,
  type MetricName,
  type MetricValues,
  metricRows,
  metrics,
  type StatisticsLayout,
  sharedExtractor,
  statisticsArrays,
} from '@dit-moe/metrics';
import { type ImageSet, type NetworkName, networks, type OpenNetwork, openImageSet, openNetwork } from '@dit-moe/metrics/node';
import { writeFileAtomically, writeNpz } from '@dit-moe/tensor-ops/io/node';
import { type BackendName, type ChosenBackend, type Cluster, startBackend } from '@dit-moe/tensor-ops/node';
import { joinEvaluation, leaveTogether, settingsIn } from '../evaluation-cluster.js';
import { MANIFEST, readManifest } from '../generate/manifest.js';

export interface EvaluateFlags {
  network: NetworkName;
  networkWeights?: string;
  resize: InceptionResize;
  metrics?: string;
  batch: number;
  limit?: number;
  seed: number;
  out?: string;
  saveStatistics?: string;
  layout: StatisticsLayout;
  split?: string;
  applyOrientation: boolean;
  backend: BackendName;
  threads?: number;
  /** Open TensorFlow's server on a machine that the internet may reach. */
  acceptOpenPort?: boolean;
  json: boolean;
}

/** Metrics without `--metrics`, and those of a network that has only pooled features. */
const DEFAULTS: Record<NetworkName, readonly MetricName[]> = {
  inception: ['fd', 'sfd', 'is', 'pr', 'kd'],
  dinov2: ['fd', 'pr', 'dc', 'kd'],
  clip: ['cmmd'],
  classifier: ['accuracy', 'fd', 'kd'],
  pixels: ['fd', 'kd'],
};
type Names = 'pool' | 'spatial' | 'logits';

/** Everything about an evaluation; what `--json` prints and `--out` keeps. */
export interface EvaluationRecord {
  format: 1;
  samples: SetRecord;
  reference?: SetRecord;
  network: { name: NetworkName; description: string; weights?: OpenNetwork['weights'] };
  /** How floats of the network became the numbers, where hardware has a say. */
  computation: { backend: string; devices: readonly string[]; tf32: string; covariance: 'float64' };
  seed: number;
  seconds: number;
  metrics: MetricValues;
  skipped: EvaluationResult['skipped'];
  warnings: string[];
}

/** What was compared. */
interface SetRecord {
  path: string;
  kind: string;
  count: number;
  size?: readonly [number, number];
  /** Order of the images: that of the file, or of the names. */
  order: string;
  sortedByClass: boolean | 'unknown';
  /** How classes were chosen; from the manifest of a generated set. */
  labelPolicy: string;
  /** How floats became bytes; from the manifest of a generated set. */
  rounding: string;
  lossy: readonly string[];
  statistics: boolean;
}

/** How images are read; the same for both sets. */
const imagesOf = ({ split, applyOrientation }: EvaluateFlags) => ({ applyOrientation, ...(split !== undefined && { split }) });

/** Runs `evaluate` and returns the exit code. */
export async function evaluateCommand(samplesPath: string, referencePath: string | undefined, flags: EvaluateFlags): Promise<number> {
  for (const file of [flags.out, flags.saveStatistics]) if (file !== undefined) await prepareOutput(file);
  const record = await evaluateSets(samplesPath, referencePath, flags);
  // Rank 0 says it for all.
  if (record === undefined) return exitCodes.ok;
  if (flags.out !== undefined) await writeFileAtomically(flags.out, `${JSON.stringify(record, null, 2)}\n`);
  console.log(flags.json ? JSON.stringify(record) : formatRecord(record));
  return exitCodes.ok;
}

/** What there is to choose from, for the help. */
export function metricsAndNetworks(): string {
  const rows = (entries: readonly (readonly [name: string, text: string])[]): string =>
    entries.map(([name, text]) => `  ${name.padEnd(12)} ${text}`).join('\n');
  const uses = Object.entries(networks).map(([name, { use }]) => [name, use] as const);
  return `Metrics:\n${rows(Object.entries(metrics))}\n\nNetworks:\n${rows(uses)}`;
}

/** Metrics of `--metrics`. */
export function parseMetrics(text: string | undefined, network: NetworkName): readonly MetricName[] {
  if (text === undefined) return DEFAULTS[network];
  if (text === 'all') return (Object.keys(metrics) as MetricName[]).filter((name) => name !== 'cmmd' || network === 'clip');
  return text.split(',').map((part) => {
    const name = part.trim();
    if (!(name in metrics))
      throw new UsageError(`--metrics: there is no "${name}"; expected all, or some of ${Object.keys(metrics).join(', ')}.`);
    return name as MetricName;
  });
}

async function evaluateSets(
  samplesPath: string,
  referencePath: string | undefined,
  flags: EvaluateFlags,
): Promise<EvaluationRecord | undefined> {
  const names = parseMetrics(flags.metrics, flags.network);
  const samples = await openImageSet(samplesPath, imagesOf(flags));
  const reference =
    referencePath === undefined
      ? undefined
      : await openImageSet(referencePath, imagesOf(flags)).catch(async (error) => {
          await samples.close();
          throw error;
        });
  let network: OpenNetwork | undefined;
  try {
    if (samples.count === 0)
      throw new UsageError(`${samplesPath} has statistics but no images. Samples must be images; a reference may be either.`);
    for (const [what, set] of [
      ['samples', samples],
      ['reference', reference],
    ] as const)
      if (set !== undefined) console.error(`${what}: ${set.summary}`);
    const { network: networkName, resize, batch, limit, backend: backendName, acceptOpenPort = false } = flags;
    const counts = [samples, reference].map((set) => set?.count);
    const cluster = await joinEvaluation({ networkName, resize, batch, limit, names, counts }, { backend: backendName, acceptOpenPort });
    const leads = cluster === undefined || cluster.rank === 0;
    const backend = await startBackend(backendName, settingsIn(cluster, flags.threads), (message) => console.error(message));
    network = await openNetwork(flags.network, { weights: flags.networkWeights, resize: flags.resize });
    const started = performance.now();
    const own = await collect(samples, network, flags, 'sample', cluster);
    const other = reference === undefined ? undefined : await referenceOf(reference, network, flags, names, cluster);
    if (!leads) {
      await leaveTogether(cluster);
      return undefined;
    }
    const result = evaluate(own, other, names, {
      labels: samples.labels?.slice(0, own.count),
      seed: flags.seed,
      judgesLabels: network.classNames !== undefined,
      onMetric: (name) => console.error(`computing ${name}: ${metrics[name]}`),
    });
    await leaveTogether(cluster);
    if (flags.saveStatistics !== undefined) await saveStatistics(own, flags.saveStatistics, flags.layout);
    return {
      format: 1,
      samples: await describe(samples, own.count),
      ...(reference !== undefined && { reference: await describe(reference, other!.features?.count ?? other!.pool?.count ?? 0) }),
      network: {
        name: network.name,
        description: network.extractor.description,
        ...(network.weights !== undefined && { weights: network.weights }),
      },
      computation: { backend: `${backend.name} ${backend.version}`, devices: backend.devices, tf32: tf32(backend), covariance: 'float64' },
      seed: flags.seed,
      seconds: (performance.now() - started) / 1000,
      metrics: result.values,
      skipped: result.skipped,
      warnings: [...result.warnings, ...warningsOfSets(samples, reference)],
    };
  } finally {
    network?.dispose();
    await samples.close();
    await reference?.close();
  }
}

async function collect(
  set: ImageSet,
  network: OpenNetwork,
  flags: EvaluateFlags,
  what: string,
  cluster: Cluster | undefined,
): Promise<CollectedFeatures<Names>> {
  const leads = cluster === undefined || cluster.rank === 0;
  const progress = createProgress();
  const total = Math.min(set.count, flags.limit ?? Number.POSITIVE_INFINITY);
  const onProgress = (done: number): void => void (leads && progress.update({ what, done, total }));
  onProgress(0);
  const extractor = network.extractor as FeatureExtractor<Names>;
  const { batch } = flags;
  const shared =
    cluster &&
    sharedExtractor(extractor, { collectives: cluster.collectives, batch, guard: (run) => cluster.guard('gathering features', run) });
  const features = await collectFeatures<Names>(set.images(), (shared ?? extractor).extract, {
    batch: batch * (cluster?.size ?? 1),
    // The others need none of what they gather.
    keep: leads ? ['pool', 'logits'] : [],
    moments: leads ? ['pool', 'spatial'] : [],
    ...(flags.limit !== undefined && { limit: flags.limit }),
    onProgress,
  });
  progress.done();
  shared?.dispose();
  return features;
}

/** Statistics from the file where it has them, everything else from its images. */
async function referenceOf(
  set: ImageSet,
  network: OpenNetwork,
  flags: EvaluateFlags,
  names: readonly MetricName[],
  cluster: Cluster | undefined,
): Promise<EvaluationReference> {
  const { statistics } = set;
  const imagesNeeded = statistics === undefined || names.some((name) => !['fd', 'sfd', 'is', 'fd-infinity', 'fd-interval'].includes(name));
  if (set.count === 0 || !imagesNeeded) return statistics!;
  const found = await collect(set, network, { ...flags, limit: undefined }, 'reference image', cluster);
  // Of a process that keeps nothing.
  if (found.moments.pool === undefined) return statistics ?? {};
  const enough = found.count > 1;
  return {
    pool: statistics?.pool ?? (enough ? found.moments.pool.moments() : undefined),
    spatial: statistics?.spatial ?? (enough ? found.moments.spatial?.moments() : undefined),
    features: found.features.pool,
  };
}

async function saveStatistics(own: CollectedFeatures<Names>, file: string, layout: StatisticsLayout): Promise<void> {
  const arrays = statisticsArrays({ pool: own.moments.pool!.moments(), spatial: own.moments.spatial?.moments() }, layout);
  await writeNpz(file, arrays);
}

async function describe(set: ImageSet, count: number): Promise<SetRecord> {
  const manifest = set.kind === 'npz' ? await readManifest(path.dirname(set.path)).catch(() => undefined) : undefined;
  const generated = manifest?.images === set.count ? manifest : undefined;
  return {
    path: path.resolve(set.path),
    kind: set.kind,
    count,
    ...(set.size !== undefined && { size: set.size }),
    order: set.kind === 'npz' ? 'as in the file' : 'by name',
    sortedByClass: set.labels === undefined ? 'unknown' : isSorted(set.labels),
    labelPolicy: generated === undefined ? `unknown (no ${MANIFEST} of "generate" beside it)` : generated.labels.policy,
    rounding: generated === undefined ? `unknown (no ${MANIFEST} of "generate" beside it)` : 'round(127.5 (x + 1)), clipped to 0..255',
    lossy: set.lossy,
    statistics: set.statistics !== undefined,
  };
}

function tf32({ devices }: ChosenBackend): string {
  if (!devices.some((name) => /gpu/i.test(name))) return 'not used (no GPU)';
  return process.env['NVIDIA_TF32_OVERRIDE'] === '0'
    ? 'off (NVIDIA_TF32_OVERRIDE=0)'
    : "on (TensorFlow's default; NVIDIA_TF32_OVERRIDE=0 turns it off)";
}

function warningsOfSets(samples: ImageSet, reference: ImageSet | undefined): string[] {
  const warnings: string[] = [];
  for (const [set, whose] of [
    [samples, 'samples'],
    [reference, 'reference images'],
  ] as const)
    if (set !== undefined && set.lossy.length > 0)
      warnings.push(`The ${whose} are lossy files (${set.lossy.join(', ')}), which shifts every metric: use PNG or .npz.`);
  if (samples.size !== undefined && reference?.size !== undefined && samples.size.join() !== reference.size.join())
    warnings.push(
      `Samples are ${samples.size.join(' x ')}, reference images ${reference.size.join(' x ')} pixels: each is resized by the network on its own.`,
    );
  return warnings;
}

function formatRecord(record: EvaluationRecord): string {
  const rows = metricRows(record.network.name, record.metrics).map(({ name, text }) => [name, text]);
  for (const [name, reason] of Object.entries(record.skipped)) rows.push([name, `not computed: ${reason}`]);
  const width = Math.max(0, ...rows.map(([name]) => name.length));
  const { samples, reference, network } = record;
  return [
    ...rows.map(([name, value]) => `${name.padEnd(width)}  ${value}`),
    '',
    `${samples.count} samples of ${samples.path}${reference === undefined ? '' : `, reference ${reference.path} (${reference.count || 'unknown number of'} images)`}`,
    `${network.description}${network.weights === undefined ? '' : `, weights ${network.weights.published ?? path.basename(network.weights.file)} (sha256 ${network.weights.sha256.slice(0, 16)})`}`,
    `${record.computation.backend}, TF32 ${record.computation.tf32}`,
    ...record.warnings.map((warning) => `warning: ${warning}`),
  ].join('\n');
}
