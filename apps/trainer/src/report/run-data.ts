/** What a report shows of a run, read from its folder. */

import fs from 'node:fs/promises';
import path from 'node:path';
import type { ModelCard } from '@dit-moe/dit';
import { OutputError } from '@dit-moe/kit';
import type { TrainConfig } from '../config/schema.js';
import { type MetricsLine, readMetrics } from '../training/metrics-log.js';
import { ROUTING_FILE, type RoutingFile } from '../training/routing.js';

/** A preview of a run. */
interface Preview {
  step: number;
  /** Address of the picture: the PNG itself as a data URL, or its path relative to the run folder. */
  source: string;
  /** In pixels. */
  width: number;
}

export interface RunData {
  name: string;
  config: TrainConfig;
  card: ModelCard;
  metrics: readonly MetricsLine[];
  previews: readonly Preview[];
  /** See {@link signOfLife}. */
  signOfLife: number | undefined;
  /** All that was counted for the last line of metrics; undefined without experts. */
  routing: RoutingFile | undefined;
}

/** Previews shown: the first, the last, and some between. */
const PREVIEWS = 12;
/** Pictures up to this total are put into the report itself; larger ones stay files beside it. */
const EMBEDDED_BYTES = 6_000_000;

/**
 * @throws OutputError if the folder holds no run
 */
export async function readRun(out: string): Promise<RunData> {
  const json = async (name: string): Promise<unknown> => {
    try {
      return JSON.parse(await fs.readFile(path.join(out, name), 'utf8'));
    } catch (error) {
      throw new OutputError(`${out} holds no run: ${name} cannot be read (${(error as Error).message}).`, { cause: error });
    }
  };
  return {
    name: path.basename(path.resolve(out)),
    config: (await json('config.json')) as TrainConfig,
    card: (await json('model.json')) as ModelCard,
    metrics: await readMetrics(out),
    previews: await readPreviews(out),
    routing: await readRouting(out),
    signOfLife: await signOfLife(out),
  };
}

/** When a run's process touched its lock last, in milliseconds since 1970; undefined without a lock. */
export const signOfLife = (out: string): Promise<number | undefined> =>
  fs.stat(path.join(out, 'run.lock')).then(
    ({ mtimeMs }) => mtimeMs,
    () => undefined,
  );

async function readRouting(out: string): Promise<RoutingFile | undefined> {
  const text = await fs.readFile(path.join(out, ROUTING_FILE), 'utf8').catch(() => undefined);
  return text === undefined ? undefined : (JSON.parse(text) as RoutingFile);
}

async function readPreviews(out: string): Promise<Preview[]> {
  const folder = path.join(out, 'samples');
  const names = (await fs.readdir(folder).catch(() => [] as string[])).filter((name) => /^step-\d+\.png$/.test(name)).sort();
  const chosen = names.filter((_, i) => names.length <= PREVIEWS || isChosen(i, names.length));
  const previews: Preview[] = [];
  let embedded = 0;
  for (const name of chosen.reverse()) {
    const bytes = await fs.readFile(path.join(folder, name));
    embedded += bytes.length;
    const source = embedded <= EMBEDDED_BYTES ? `data:image/png;base64,${bytes.toString('base64')}` : `samples/${name}`;
    // A PNG says its size in its first chunk.
    previews.unshift({ step: Number(/\d+/.exec(name)![0]), source, width: bytes.readUInt32BE(16) });
  }
  return previews;
}

/** Whether item `i` of `n` is one of about `PREVIEWS` evenly spread ones that include first and last. */
function isChosen(i: number, n: number): boolean {
  const rank = (k: number): number => Math.round((k * (PREVIEWS - 1)) / (n - 1));
  return i === n - 1 || rank(i) !== rank(i - 1);
}
