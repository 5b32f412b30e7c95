/** `merge`: checks a generated set and writes it as one .npz. */
import fs from 'node:fs/promises';
import path from 'node:path';
import { createProgress, exitCodes, OutputError, UsageError } from '@dit-moe/kit';
import { labelsOf, parseLabelList } from '../generate/labels.js';
import { lockParts } from '../generate/locks.js';
import { hashOf, LABELS, readManifest, shardCount } from '../generate/manifest.js';
import { mergeShards } from '../generate/merge.js';
import { missingShards, sweepTemporaries } from '../generate/shards.js';

export interface MergeFlags {
  out?: string;
  json: boolean;
}

/** Runs `merge` and returns the exit code. */
export async function mergeCommand(folder: string, flags: MergeFlags): Promise<number> {
  const manifest = await readManifest(folder);
  const shards = shardCount(manifest);
  const missing = await missingShards(folder, manifest);
  if (missing.length > 0)
    throw new OutputError(
      `${missing.length} of ${shards} shards are missing (${missing.slice(0, 10).join(', ')}${missing.length > 10 ? ', ...' : ''}): run "generate" with the same settings again.`,
    );
  const { policy, sha256 } = manifest.labels;
  let list: number[] | undefined;
  if (policy === 'list') {
    const text = await fs.readFile(path.join(folder, LABELS), 'utf8').catch(() => '');
    if (hashOf(text) !== sha256)
      throw new UsageError(`${path.join(folder, LABELS)} is missing or not the list that the set was made with.`);
    list = parseLabelList(
      text,
      Array.from({ length: manifest.numClasses }, (_, i) => String(i)),
      manifest.images,
    );
  }
  const labels = labelsOf(policy, manifest.seed, manifest.numClasses, 0, manifest.images, list);
  const target = flags.out ?? path.join(folder, 'samples.npz');
  const progress = createProgress();
  const release = await lockParts(folder);
  try {
    await mergeShards(folder, manifest, labels, target, (done) => progress.update({ what: 'shard', done, total: shards }));
    progress.done();
    await sweepTemporaries(folder);
  } finally {
    await release();
  }
  const counts = Array<number>(manifest.numClasses).fill(0);
  for (const label of labels) counts[label]++;
  const [fewest, most] = [counts.reduce((a, b) => Math.min(a, b)), counts.reduce((a, b) => Math.max(a, b))];
  const { size } = await fs.stat(target);
  if (flags.json)
    console.log(JSON.stringify({ out: path.resolve(target), images: manifest.images, bytes: size, classCounts: counts, manifest }));
  else console.log(`${manifest.images} images (${fewest} to ${most} of each class), ${(size / 1e6).toFixed(1)} MB: ${target}`);
  return exitCodes.ok;
}
