/**
 * Checkpoints in several files with an index, `{"metadata": {...}, "weight_map": {tensor: file}}`, as the Hugging Face libraries
 * write them (`model.safetensors.index.json`, `pytorch_model.bin.index.json`).
 *
 * The index is untrusted: shards must lie beside it, so that it cannot name other files of the machine.
 */
import fs from 'node:fs/promises';
import path from 'node:path';
import type { Checkpoint, TensorInfo } from '../checkpoint.js';
import { duplicateKey } from '../duplicate-key.js';
import { FormatError, type HostTensor, MAX_HEADER_BYTES } from '../safetensors.js';
import { FileSource } from './file-source.js';

/** Most files of a checkpoint; each is kept open. */
const MAX_SHARDS = 1000;

/** An open sharded checkpoint. */
export class ShardedCheckpoint implements Checkpoint {
  readonly format = 'sharded';

  private constructor(
    readonly path: string,
    readonly metadata: Readonly<Record<string, string>>,
    private readonly shardOf: ReadonlyMap<string, Checkpoint>,
  ) {}

  /**
   * Opens an index and all of its files; no tensor is read.
   * @param open how a file is opened
   * @throws FormatError if the index is damaged, a file is missing or lies elsewhere, or a tensor is not in its file
   */
  static async open(index: string, open: (file: string) => Promise<Checkpoint>): Promise<ShardedCheckpoint> {
    const { weightMap, metadata } = await readIndex(index);
    const shards = new Map<string, Checkpoint>();
    try {
      const shardOf = new Map<string, Checkpoint>();
      for (const [name, file] of weightMap) {
        const shard = shards.get(file) ?? (await openShard(index, file, open));
        shards.set(file, shard);
        if (shards.size > MAX_SHARDS) throw new FormatError(index, `it lists more than ${MAX_SHARDS} files.`);
        shardOf.set(name, shard);
      }
      const namesOf = new Map([...shards.values()].map((shard) => [shard, new Set(shard.names)]));
      for (const [name, shard] of shardOf)
        if (!namesOf.get(shard)!.has(name))
          throw new FormatError(index, `it places "${name}" in ${path.basename(shard.path)}, which has no such tensor.`);
      // Writers of this project keep the model card in every shard.
      const [first] = shards.values();
      return new ShardedCheckpoint(index, { ...first?.metadata, ...metadata }, shardOf);
    } catch (error) {
      await Promise.all([...shards.values()].map((shard) => shard.close()));
      throw error;
    }
  }

  get names(): string[] {
    return [...this.shardOf.keys()];
  }

  info(name: string): TensorInfo {
    return this.shard(name).info(name);
  }

  async read(name: string): Promise<HostTensor> {
    return this.shard(name).read(name);
  }

  async close(): Promise<void> {
    await Promise.all([...new Set(this.shardOf.values())].map((shard) => shard.close()));
  }

  private shard(name: string): Checkpoint {
    const shard = this.shardOf.get(name);
    if (shard === undefined) throw new FormatError(this.path, `it has no tensor "${name}".`);
    return shard;
  }
}

async function openShard(index: string, file: string, open: (file: string) => Promise<Checkpoint>): Promise<Checkpoint> {
  if (file === '' || file === '.' || file === '..' || /[/\\\0]/.test(file))
    throw new FormatError(index, `it places tensors in ${JSON.stringify(file.slice(0, 200))}; only files beside it are opened.`);
  const place = path.join(path.dirname(index), file);
  try {
    await fs.access(place);
  } catch (cause) {
    throw new FormatError(index, `its file ${file} is missing: fetch it into ${path.dirname(index)}.`, { cause });
  }
  return open(place);
}

async function readIndex(index: string): Promise<{ weightMap: [string, string][]; metadata: Record<string, string> }> {
  const source = await FileSource.open(index);
  let text: string;
  let content: unknown;
  try {
    if (source.size > MAX_HEADER_BYTES)
      throw new FormatError(index, `it has ${source.size} bytes, more than the limit of ${MAX_HEADER_BYTES}.`);
    text = new TextDecoder('utf-8', { fatal: true }).decode(await source.read(0, source.size));
    content = JSON.parse(text);
  } catch (cause) {
    if (cause instanceof FormatError) throw cause;
    throw new FormatError(index, `it is not JSON (${(cause as Error).message}).`, { cause });
  } finally {
    await source.close();
  }
  const isRecord = (value: unknown): value is Record<string, unknown> =>
    typeof value === 'object' && value !== null && !Array.isArray(value);
  const weightMap = isRecord(content) ? content['weight_map'] : undefined;
  if (!isRecord(weightMap) || !Object.values(weightMap).every((file) => typeof file === 'string'))
    throw new FormatError(index, 'it has no "weight_map" from tensors to files.');
  const duplicate = duplicateKey(text);
  if (duplicate !== undefined) throw new FormatError(index, `it has the key ${JSON.stringify(duplicate.slice(0, 200))} twice.`);
  const metadata = (content as Record<string, unknown>)['metadata'];
  const strings = isRecord(metadata) ? Object.entries(metadata).map(([key, value]) => [key, String(JSON.stringify(value))] as const) : [];
  return { weightMap: Object.entries(weightMap) as [string, string][], metadata: Object.fromEntries(strings) };
}
