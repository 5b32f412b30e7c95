/** `push-to-hub`: a bundle becomes a model repository of the Hugging Face hub. */
import fs from 'node:fs/promises';
import path from 'node:path';
import { createProgress, exitCodes, formatTable, OutputError, UsageError, untilInterrupted } from '@dit-moe/kit';
import { hashFile, uploadToHub } from '@dit-moe/tensor-ops/io/node';
import YAML from 'yaml';

export interface PushFlags {
  public: boolean;
  dryRun: boolean;
  json: boolean;
}

/** Runs `push-to-hub` and returns the exit code. */
export const pushCommand = (folder: string, repository: string, flags: PushFlags): Promise<number> =>
  untilInterrupted((signal) => push(folder, repository, flags, signal));

async function push(folder: string, repository: string, flags: PushFlags, signal: AbortSignal): Promise<number> {
  const files = await filesOf(folder);
  const title = await checkPage(folder);
  const progress = createProgress();
  progress.phase(`comparing with ${repository}`);
  try {
    const pushed = await uploadToHub(repository, folder, files, {
      message: title,
      visibility: flags.public ? 'public' : 'private',
      dryRun: flags.dryRun,
      onProgress: (file, share) => progress.update({ what: `${file}, percent`, done: Math.floor(100 * share), total: 100 }),
      signal,
    });
    progress.done();
    console.log(flags.json ? JSON.stringify({ ...pushed, dryRun: flags.dryRun }) : described(pushed, flags));
    return exitCodes.ok;
  } finally {
    progress.done();
  }
}

/** Files of the bundle; hidden ones, such as those of file managers and version control, stay here. */
async function filesOf(folder: string): Promise<string[]> {
  const entries = await fs.readdir(folder, { withFileTypes: true, recursive: true }).catch(() => undefined);
  if (entries === undefined)
    throw new UsageError(`${folder} is no folder. Make one with "dit-moe-trainer export <run> --out <folder> --license <id>".`);
  const files = entries
    .filter((entry) => entry.isFile())
    .map(({ parentPath, name }) => path.relative(folder, path.join(parentPath, name)).split(path.sep).join('/'))
    .filter((file) => !file.split('/').some((part) => part.startsWith('.')))
    .sort();
  for (const needed of ['README.md', 'model.safetensors'])
    if (!files.includes(needed))
      throw new UsageError(`${folder} has no ${needed}. Make a bundle with "dit-moe-trainer export <run> --out <folder> --license <id>".`);
  return files;
}

/**
 * Whether the page says who may use these very weights.
 * @returns title of the page
 * @throws UsageError naming what it lacks
 */
async function checkPage(folder: string): Promise<string> {
  const page = await fs.readFile(path.join(folder, 'README.md'), 'utf8');
  const [, head = '', title = path.basename(path.resolve(folder))] =
    /^---\n(.*?\n)---\n(?:\s*# (.*))?/s.exec(page.replaceAll('\r\n', '\n')) ?? [];
  if (typeof licenseOf(head) !== 'string')
    throw new UsageError(
      'README.md says nothing of the licence. Export again with --license, or write "license: <id>" between the two lines of "---" at its top.',
    );
  if (!page.includes(await hashFile(path.join(folder, 'model.safetensors'))))
    throw new OutputError('README.md is of other weights: it does not have the hash of model.safetensors. Export again.');
  return title.split('\n')[0];
}

function licenseOf(head: string): unknown {
  try {
    return (YAML.parse(head) as { license?: unknown } | null)?.license;
  } catch (cause) {
    throw new UsageError(`README.md: what stands at its top is not YAML: ${(cause as Error).message.split('\n')[0]}`, { cause });
  }
}

function described(
  { url, isNew, files, commit }: Awaited<ReturnType<typeof uploadToHub>>,
  { dryRun, public: isPublic }: PushFlags,
): string {
  const rows = files.map(({ path: file, size, state }) => [state, size.toLocaleString('en'), file]);
  const repository = isNew ? `a new ${isPublic ? 'public' : 'private'} repository` : 'the repository';
  const end = dryRun
    ? `Nothing was sent. Without --dry-run ${files.every(({ state }) => state === 'same') ? 'nothing would be, either' : `what is new or changed goes to ${repository}`}: ${url}`
    : commit === undefined
      ? `All of it is there already: ${url}`
      : `Sent to ${repository} as commit ${commit.slice(0, 12)}: ${url}`;
  return `${formatTable(rows, (column) => column === 1)}\n${end}`;
}
