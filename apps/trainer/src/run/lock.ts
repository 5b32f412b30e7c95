/**
 * A lock file against two runs in one folder. It names the process and host that hold it; a lock left behind by a process
 * that died on this host is taken over.
 */
import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { OutputError, outputError } from '../errors.js';

interface Holder {
  pid: number;
  host: string;
  since: string;
}

/**
 * Locks `folder` (which must exist) and returns the function that unlocks it.
 * @throws OutputError if another process holds the lock, or the folder is not writable
 */
export async function lockRun(folder: string): Promise<() => Promise<void>> {
  const file = path.join(folder, 'run.lock');
  const holder: Holder = { pid: process.pid, host: os.hostname(), since: new Date().toISOString() };
  for (let attempt = 0; ; attempt++) {
    try {
      await fs.writeFile(file, JSON.stringify(holder), { flag: 'wx' });
      return () => fs.rm(file, { force: true });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw outputError(error, file);
      const other = await read(file);
      if (attempt === 0 && other !== undefined && other.host === holder.host && !isAlive(other.pid)) {
        await fs.rm(file, { force: true });
        continue;
      }
      const who = other === undefined ? 'an unknown process' : `process ${other.pid} on ${other.host} since ${other.since}`;
      throw new OutputError(`The run folder ${folder} is in use by ${who}. Choose another --out; if no such process runs, delete ${file}.`);
    }
  }
}

async function read(file: string): Promise<Holder | undefined> {
  try {
    return JSON.parse(await fs.readFile(file, 'utf8')) as Holder;
  } catch {
    return undefined;
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
