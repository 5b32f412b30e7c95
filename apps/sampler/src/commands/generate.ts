/** `generate`: a large set of images as shards, by any number of workers that know nothing of each other. */
import { createHash } from 'node:crypto';
import fs from 'node:fs/promises';
import path from 'node:path';
import { createProgress, exitCodes, UsageError } from '@dit-moe/kit';
import { type Share, workerShare } from '@dit-moe/kit/share';
import type { Pipeline, SampleSettings } from '@dit-moe/pipeline';
import type { PipelineFile } from '@dit-moe/pipeline/node';
import { type Lock, makeFolder, writeFileAtomically } from '@dit-moe/tensor-ops/io/node';
import { type LabelPolicy, labelsOf, parseLabelList } from '../generate/labels.js';
import { lockPart } from '../generate/locks.js';
import { hashOf, LABELS, type Manifest, openSet, shardCount, shardRange } from '../generate/manifest.js';
import { isDone, missingShards, writeShard } from '../generate/shards.js';
import { type BackendFlags, type ModelFlags, startPipeline } from '../start-pipeline.js';

export interface GenerateFlags extends Partial<SampleSettings>, ModelFlags, BackendFlags {
  out: string;
  images: number;
  shardSize: number;
  batch: number;
  /** `uniform`, `balanced`, or a file with a label for each image. */
  labels: string;
  part?: string;
  parts?: number;
  json: boolean;
}

/** Runs `generate` and returns the exit code. */
export async function generateCommand(location: string, flags: GenerateFlags): Promise<number> {
  const share = workerShare(flags.part, flags.parts, process.env);
  const listFile = await labelFile(flags.labels);
  await makeFolder(flags.out);
  const progress = createProgress();
  let sha256 = '';
  let guide: Manifest['guide'];
  let list: readonly number[] | undefined;
  const { backend, pipeline, settings } = await startPipeline(location, flags, progress, async (file) => {
    if (listFile !== undefined) list = parseLabelList(listFile, file.card.classNames, flags.images);
    progress.phase('reading the weights for their hash');
    sha256 = await hashWeights(file);
    if (file.guide !== undefined) guide = { sha256: await hashWeights(file.guide), step: file.guide.card.step };
  });
  const { card } = pipeline;
  const { inputSize, numClasses } = card.config;
  // Kept as numbers, whatever the file calls the classes.
  const listText = list?.join('\n');
  const policy = (list === undefined ? flags.labels : 'list') as LabelPolicy;
  const { seed, ...others } = settings;
  const { scale, channels } = pipeline.space;
  const manifest: Manifest = {
    format: 1,
    images: flags.images,
    shardSize: flags.shardSize,
    batch: flags.batch,
    height: inputSize[0] * scale,
    width: inputSize[1] * scale,
    channels,
    numClasses,
    labels: { policy, ...(listText !== undefined && { sha256: hashOf(listText) }) },
    seed,
    settings: others,
    precision: pipeline.model.precision,
    model: { sha256, step: card.step },
    ...(guide !== undefined && { guide }),
    backend: `${backend.name} ${backend.version}`,
  };
  await openSet(flags.out, manifest);
  if (listText !== undefined) await writeFileAtomically(path.join(flags.out, LABELS), listText);

  const lock = await lockPart(flags.out, share);
  const { total, shards, seconds } = await makePart({
    folder: flags.out,
    manifest,
    share,
    list,
    lock,
    pipeline,
    settings,
    progress,
  }).finally(() => lock.release());
  progress.done();
  pipeline.dispose();
  const left = (await missingShards(flags.out, manifest)).length;
  const result = { out: path.resolve(flags.out), part: share, images: total, shards, missingShards: left, seconds, manifest };
  if (flags.json) console.log(JSON.stringify(result));
  else
    console.log(
      `${total} images in ${seconds.toFixed(1)} s: ${flags.out}. ${left === 0 ? `All ${shardCount(manifest)} shards are there: merge them with "dit-moe-sampler merge ${flags.out}".` : `${left} shards of other parts are missing.`}`,
    );
  return exitCodes.ok;
}

interface Part {
  folder: string;
  manifest: Manifest;
  share: Share;
  /** Label of each image, if they were listed. */
  list: readonly number[] | undefined;
  lock: Lock;
  pipeline: Pipeline;
  settings: SampleSettings;
  progress: ReturnType<typeof createProgress>;
}

/** Makes the shards of a part that are not there yet. */
async function makePart({ folder, manifest, share, list, lock, pipeline, settings, progress }: Part) {
  const {
    batch,
    labels: { policy },
    seed,
    numClasses,
  } = manifest;
  const mine = Array.from({ length: shardCount(manifest) }, (_, shard) => shard).filter((shard) => shard % share.count === share.index);
  const open: number[] = [];
  for (const shard of mine) if (!(await isDone(folder, manifest, shard))) open.push(shard);
  const count = (shards: readonly number[]): number =>
    shards.reduce((sum, shard) => sum + shardRange(manifest, shard).to - shardRange(manifest, shard).from, 0);
  const total = count(open);
  progress.log(
    `part ${share.index} of ${share.count} (${share.source}): ${total} images in ${open.length} shards to make, ${mine.length - open.length} shards are there`,
  );
  const started = performance.now();
  let made = 0;
  for (const shard of open) {
    const { from, to } = shardRange(manifest, shard);
    const labels = labelsOf(policy, seed, numClasses, from, to, list);
    async function* pixels(): AsyncGenerator<Uint8Array> {
      for (let start = from; start < to; start += batch) {
        const images = labels.slice(start - from, start - from + batch).map((label, i) => ({ label, index: start + i }));
        const run = pipeline.sample({ ...settings, images, batch: images.length });
        for await (const { step, steps } of run)
          progress.update({ what: 'image', done: made, total, details: [`step ${step}/${steps} of the next ${images.length}`] });
        yield (await run).data;
        progress.update({ what: 'image', done: (made += images.length), total });
      }
    }
    lock.check();
    await writeShard(folder, manifest, shard, pixels());
  }
  return { total, shards: open.length, seconds: (performance.now() - started) / 1000 };
}

/** Text of the list of labels, if `labels` is not the name of a policy. */
async function labelFile(labels: string): Promise<string | undefined> {
  if (labels === 'uniform' || labels === 'balanced') return undefined;
  return fs.readFile(labels, 'utf8').catch((cause) => {
    throw new UsageError(`--labels: expected uniform, balanced or a file; cannot read ${labels}: ${(cause as Error).message}`);
  });
}

/** SHA-256 over the weights, the same for every format of file. */
async function hashWeights(file: Pick<PipelineFile, 'weights'>): Promise<string> {
  const hash = createHash('sha256');
  for await (const [name, { data }] of file.weights())
    hash.update(name).update(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  return hash.digest('hex');
}
