/**
 * A lock file against two runs in one folder. It names the process and host that hold it and when that process was last seen; a lock
 * left behind by a process that died is taken over.
 */
import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { asWriteError } from '@dit-moe/tensor-ops/io/node';
import { OutputError } from '../errors.js';

interface Holder {
  pid: number;
  host: string;
  since: string;
  /** Milliseconds since 1970 at the last heartbeat. */
  seen: number;
}

const HEARTBEAT_MS = 30_000;
/** Without a heartbeat for so long the holder counts as dead, on whatever host it ran. */
const DEAD_AFTER_MS = 20 * HEARTBEAT_MS;

/**
 * Locks `folder` (which must exist) and returns the function that unlocks it.
 * @throws OutputError if another process holds the lock, or the folder is not writable
 */
export async function lockRun(folder: string): Promise<() => Promise<void>> {
  const file = path.join(folder, 'run.lock');
  const holder: Holder = { pid: process.pid, host: os.hostname(), since: new Date().toISOString(), seen: Date.now() };
  for (let attempt = 0; ; attempt++) {
    try {
      await fs.writeFile(file, JSON.stringify(holder), { flag: 'wx' });
      break;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw asWriteError(error, file);
      const text = await fs.readFile(file, 'utf8').catch(() => '');
      const other = parse(text);
      if (attempt < 3 && other !== undefined && isDead(other, holder.host) && (await takeAway(file, text))) continue;
      const who = other === undefined ? 'an unknown process' : `process ${other.pid} on ${other.host} since ${other.since}`;
      throw new OutputError(`The run folder ${folder} is in use by ${who}. Choose another --out; if no such process runs, delete ${file}.`);
    }
  }
  const heartbeat = setInterval(() => {
    holder.seen = Date.now();
    // A missed heartbeat is made up for by the next one.
    fs.writeFile(file, JSON.stringify(holder)).catch(() => {});
  }, HEARTBEAT_MS);
  heartbeat.unref();
  return async () => {
    clearInterval(heartbeat);
    await fs.rm(file, { force: true });
  };
}

/** Removes a dead holder's lock, unless somebody else has replaced it since it was read. */
async function takeAway(file: string, expected: string): Promise<boolean> {
  const aside = `${file}.${process.pid}`;
  try {
    await fs.rename(file, aside);
  } catch {
    return true; // Already gone: try again to take it.
  }
  const mine = (await fs.readFile(aside, 'utf8')) === expected;
  if (!mine) await fs.link(aside, file).catch(() => {});
  await fs.rm(aside, { force: true });
  return mine;
}

function parse(text: string): Holder | undefined {
  try {
    return JSON.parse(text) as Holder;
  } catch {
    return undefined;
  }
}

function isDead({ pid, host, seen }: Holder, here: string): boolean {
  if (Date.now() - seen > DEAD_AFTER_MS) return true;
  if (host !== here) return false;
  try {
    process.kill(pid, 0);
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'EPERM';
  }
}
