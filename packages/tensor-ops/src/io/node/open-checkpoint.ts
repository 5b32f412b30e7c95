/** Opening weights of any supported format by their path. */
import fs from 'node:fs/promises';
import path from 'node:path';
import { DitMoeError } from '../../errors.js';
import type { Checkpoint } from '../checkpoint.js';
import { isSafetensors } from '../kind-of-file.js';
import { FormatError } from '../safetensors.js';
import { TorchCheckpoint, type TorchCheckpointOptions } from '../torch-checkpoint.js';
import { FileSource, openWith } from './file-source.js';
import { SafetensorsFile } from './safetensors-file.js';
import { ShardedCheckpoint } from './sharded.js';
import { fileSystemReason } from './write-error.js';

/** The path is a checkpoint of a kind that is recognised but not read; the message says what to do instead. */
export class UnsupportedCheckpointError extends DitMoeError {
  static override readonly code = 'E_UNSUPPORTED_CHECKPOINT';
  constructor(path: string, problem: string) {
    super(`${path}: ${problem}`);
  }
}

/**
 * Opens a checkpoint: a safetensors or PyTorch file, the index of a sharded one, or a folder that holds one of them.
 *
 * Files are told apart by their content, whatever they are called; `.json` is taken at its word.
 * @throws FormatError if there is nothing, it is damaged, or a folder holds several without an index
 * @throws ForbiddenGlobalError if a PyTorch file asks Python to run anything
 * @throws UnsupportedCheckpointError for folders of DeepSpeed and of PyTorch's distributed checkpoints, and for pointers of Git LFS
 */
export async function openCheckpoint(location: string, options: TorchCheckpointOptions = {}): Promise<Checkpoint> {
  const stat = await fs.stat(location).catch((cause: NodeJS.ErrnoException) => {
    const reason = cause.code === 'ENOENT' ? undefined : fileSystemReason(cause)?.reason;
    throw new FormatError(location, `${reason ?? 'there is no such file or folder'}.`, { cause });
  });
  if (stat.isDirectory()) return openFolder(location, options);
  return location.endsWith('.json') ? ShardedCheckpoint.open(location, (file) => openFile(file, options)) : openFile(location, options);
}

/** How a file begins that Git LFS has put in the place of the real one. */
const LFS_POINTER = 'version https://git-lfs';

async function openFile(file: string, options: TorchCheckpointOptions): Promise<Checkpoint> {
  const source = await FileSource.open(file);
  const start = await source.read(0, Math.min(LFS_POINTER.length, source.size)).finally(() => source.close());
  if (new TextDecoder('latin1').decode(start) === LFS_POINTER)
    throw new UnsupportedCheckpointError(
      file,
      'it is a pointer of Git LFS, the file itself was not fetched. Run "git lfs pull" in its folder.',
    );
  return isSafetensors(start, file) ? SafetensorsFile.open(file) : openWith(file, (source) => TorchCheckpoint.open(source, options));
}

/** Endings of the files that a folder may hold, the first kind found is taken. */
const KINDS = ['.safetensors.index.json', '.safetensors', '.bin.index.json', '.bin', '.pt', '.pth', '.ckpt'];

async function openFolder(folder: string, options: TorchCheckpointOptions): Promise<Checkpoint> {
  const names = (await fs.readdir(folder)).sort();
  await refuseDeepSpeed(folder, names);
  if (names.includes('.metadata') && names.some((name) => name.endsWith('.distcp')))
    throw new UnsupportedCheckpointError(
      folder,
      "it is a distributed checkpoint of PyTorch, whose tensors are split over its files. To get one file, run PyTorch's own " +
        `\`python -m torch.distributed.checkpoint.format_utils dcp_to_torch ${folder} model.pt\`, and open model.pt.`,
    );
  for (const kind of KINDS) {
    const found = names.filter((name) => name.endsWith(kind) && !name.startsWith('.'));
    if (found.length > 1)
      throw new FormatError(folder, `it holds several checkpoints: ${found.slice(0, 20).join(', ')}. Give the path of one of them.`);
    if (found.length === 1) return openCheckpoint(path.join(folder, found[0]), options);
  }
  throw new FormatError(folder, `it holds no checkpoint: no file ends with ${KINDS.join(', ')}.`);
}

/** DeepSpeed names its files so: model states per model-parallel rank (ZeRO-3: also per data-parallel rank), optimizer states per rank. */
const MODEL_STATES = /^mp_rank_\d+_model_states\.pt$/;
const ZERO_3_STATES = /^zero_pp_rank_\d+_mp_rank_\d+_model_states\.pt$/;
const OPTIMIZER_STATES = /_optim_states\.pt$/;

async function refuseDeepSpeed(folder: string, names: readonly string[]): Promise<void> {
  // The file `latest` names the subfolder of the last step.
  const step = names.includes('latest') ? (await fs.readFile(path.join(folder, 'latest'), 'utf8')).trim().slice(0, 200) : '';
  const inner = step !== '' && names.includes(step) ? path.join(folder, step) : folder;
  const files = inner === folder ? names : (await fs.readdir(inner)).sort();
  const convert = `To get float32 weights, run DeepSpeed's own script, \`python zero_to_fp32.py ${folder} converted --safe_serialization\`, and open the folder "converted".`;
  if (files.some((name) => ZERO_3_STATES.test(name)))
    throw new UnsupportedCheckpointError(folder, `it is a DeepSpeed ZeRO-3 checkpoint, whose weights are split over the ranks. ${convert}`);
  const models = files.filter((name) => MODEL_STATES.test(name));
  if (models.length > 1)
    throw new UnsupportedCheckpointError(folder, `it is a DeepSpeed checkpoint of ${models.length} model-parallel ranks. ${convert}`);
  if (models.length === 1)
    throw new UnsupportedCheckpointError(
      folder,
      `it is a DeepSpeed ZeRO-1 or ZeRO-2 checkpoint: the float32 weights are split over its optimizer states. ${convert} ` +
        `Or open ${path.join(inner, models[0])}, whose entry "module" has all weights in the training precision.`,
    );
  if (files.some((name) => OPTIMIZER_STATES.test(name)))
    throw new UnsupportedCheckpointError(folder, `it has DeepSpeed's optimizer states, but no model states: it is incomplete. ${convert}`);
}
