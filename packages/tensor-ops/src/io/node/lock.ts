/**
 * Locks by a file in a folder: two processes must not work on the same thing at once. The file names its holder.
 *
 * The lock of a process that lives is never taken, however long it has not been heard of (suspended, stopped, clocks that jump); that of
 * a process that died always is: a process is told from another with the same number by the time of its start, the boot of its machine
 * and its namespace of processes (a container that is started again has the same host name and often the same number). Where the holder
 * cannot be looked up - on another host, in another container - it lives as long as it touches the file; one that was stopped there and
 * whose lock was taken notices it when it wakes up, see {@link Lock.check}.
 */
import { randomUUID } from 'node:crypto';
import fs from 'node:fs/promises';
import os from 'node:os';
import { DitMoeError } from '../../errors.js';
import { temporaryName } from './atomic.js';
import { asWriteError } from './write-error.js';

/** A lock is held by somebody else, or has been lost to somebody else. */
export class LockError extends DitMoeError {
  static override readonly code = 'E_LOCKED';
}

/** What a lock file says. */
interface Holder {
  /** Of this lock alone. */
  id: string;
  pid: number;
  host: string;
  since: string;
  /** What tells the process from others with its number; empty where the system does not tell. */
  process: string;
  /** What tells where its number counts; empty where the system does not tell. */
  where: string;
}

/** When the holder of a lock counts as dead. */
export interface LockTimes {
  /** Milliseconds between two signs of life. */
  heartbeat: number;
  /** Milliseconds without one after which a holder that cannot be looked up is dead: on this host, in another container. */
  silent: number;
  /** The same for one on another host, whose file system may show its signs late. */
  away: number;
}

const TIMES: LockTimes = { heartbeat: 5_000, silent: 20_000, away: 600_000 };

/** A lock that this process holds. */
export interface Lock {
  /** @throws LockError if somebody else has taken it while this process was stopped */
  check(): void;
  /** Gives it up; if somebody else has it, nothing happens. */
  release(): Promise<void>;
}

/** Locks that this process holds, by their id. */
const held = new Set<string>();

/**
 * Takes the lock.
 * @param file in a folder that exists
 * @param what is locked, for errors: "The run folder runs/a"
 * @throws LockError if another process holds it
 * @throws WriteError if the file cannot be written; nothing is then left
 */
export async function takeLock(file: string, what: string, times: LockTimes = TIMES): Promise<Lock> {
  const holder = await describeSelf();
  // Known before the file is there: another call of this process may read it at once.
  held.add(holder.id);
  try {
    while (!((await create(file, holder)) && (await isKept(file, holder)))) {
      const text = await fs.readFile(file, 'utf8').catch(missing);
      if (text === undefined) continue;
      const other = parse(text);
      // It was in somebody's hand, and has been put back.
      if (other?.id === holder.id) break;
      if (await isAlive(file, other, text, times))
        throw new LockError(`${what} is in use by process ${other?.pid} on ${other?.host} since ${other?.since}.`, {
          where: file,
          hint: `If no such process runs, delete ${file}.`,
        });
      await takeAway(file, text);
    }
  } catch (error) {
    held.delete(holder.id);
    throw error;
  }
  let lost = false;
  const beat = async (): Promise<void> => {
    const text = await fs.readFile(file, 'utf8').catch(missing);
    if (text === undefined) lost = !(await create(file, holder));
    else if (parse(text)?.id !== holder.id) lost = true;
    // The same bytes again: whoever reads sees them whole, and the file's time is that of its file system.
    else await overwrite(file, text);
  };
  // A sign that is missed is made up for by the next one.
  const timer = setInterval(() => void beat().catch(() => {}), times.heartbeat);
  timer.unref();
  return {
    check() {
      if (lost)
        throw new LockError(`${what} was taken by another process while this one was stopped; this one ends and writes nothing more.`, {
          where: file,
        });
    },
    async release() {
      clearInterval(timer);
      held.delete(holder.id);
      if (parse((await fs.readFile(file, 'utf8').catch(missing)) ?? '')?.id === holder.id) await fs.rm(file, { force: true });
    },
  };
}

/** How long somebody may hold a new lock in hand who took it for that of a dead process that was there before, until he puts it back. */
const IN_HAND_MS = 20;

/** Whether a lock that was just created is still there after others, who saw the one before it, have had their turn. */
async function isKept(file: string, holder: Holder): Promise<boolean> {
  await new Promise((resolve) => setTimeout(resolve, IN_HAND_MS));
  return parse((await fs.readFile(file, 'utf8').catch(missing)) ?? '')?.id === holder.id;
}

function missing(error: NodeJS.ErrnoException): undefined {
  if (error.code !== 'ENOENT') throw error;
}

async function overwrite(file: string, text: string): Promise<void> {
  const handle = await fs.open(file, 'r+');
  try {
    await handle.write(text, 0);
  } finally {
    await handle.close();
  }
}

/** Creates the file with its content in one step; false if there is one. */
async function create(file: string, holder: Holder): Promise<boolean> {
  const content = JSON.stringify(holder);
  const temporary = temporaryName(file);
  try {
    await fs.writeFile(temporary, content, { flag: 'wx' });
    await fs.link(temporary, file);
    return true;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EEXIST') return false;
    if (!['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK'].includes(code ?? '')) throw asWriteError(error, file);
    return await createPlain(file, content);
  } finally {
    await fs.rm(temporary, { force: true });
  }
}

/** Where the file system has no links. */
async function createPlain(file: string, content: string): Promise<boolean> {
  try {
    await fs.writeFile(file, content, { flag: 'wx' });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    await fs.rm(file, { force: true });
    throw asWriteError(error, file);
  }
}

/** Removes a dead holder's lock, unless somebody else has replaced it since it was read. */
async function takeAway(file: string, expected: string): Promise<void> {
  const aside = temporaryName(file);
  try {
    await fs.rename(file, aside);
  } catch (error) {
    return missing(error as NodeJS.ErrnoException);
  }
  if ((await fs.readFile(aside, 'utf8')) !== expected) await fs.link(aside, file).catch(() => {});
  await fs.rm(aside, { force: true });
}

/** A file that is empty or damaged was never a lock: those appear whole. */
function parse(text: string): Holder | undefined {
  try {
    const { id, pid, host, since, process = '', where = '' } = JSON.parse(text) as Holder;
    return Number.isInteger(pid) && typeof host === 'string' ? { id, pid, host, since, process, where } : undefined;
  } catch {
    return undefined;
  }
}

async function isAlive(file: string, other: Holder | undefined, text: string, times: LockTimes): Promise<boolean> {
  if (other === undefined) return false;
  if (held.has(other.id)) return true;
  const self = await describeSelf();
  if (other.host !== self.host) return isHeard(file, text, times.away, times);
  // After a restart of the machine nobody is left.
  if (bootOf(other) !== '' && bootOf(other) !== bootOf(self)) return false;
  if (other.where !== '' && other.where !== self.where) return isHeard(file, text, times.silent, times);
  // This process is not the holder, or its lock would be known.
  if (other.pid === process.pid) return false;
  try {
    process.kill(other.pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EPERM') return false;
  }
  const now = await startOf(other.pid);
  return now === '' || other.process === '' || now === other.process;
}

/**
 * Whether the holder gives signs of life: the last one is younger than `silent`, by the file system's own clock. On this host the next
 * one is waited for, since a holder that was killed a moment ago has left a young one.
 */
async function isHeard(file: string, text: string, silent: number, times: LockTimes): Promise<boolean> {
  const before = await signOf(file);
  if (before === undefined || before.age > silent) return false;
  if (silent === times.away) return true;
  await new Promise((resolve) => setTimeout(resolve, Math.min(silent, 2.5 * times.heartbeat)));
  const after = await signOf(file);
  return after !== undefined && (after.at !== before.at || (await fs.readFile(file, 'utf8').catch(missing)) !== text);
}

/** When the file was written, and how many milliseconds ago by the clock of its file system; undefined if it is gone. */
async function signOf(file: string): Promise<{ at: number; age: number } | undefined> {
  const probe = temporaryName(file);
  try {
    await fs.writeFile(probe, '', { flag: 'wx' });
    const [now, then] = [await fs.stat(probe), await fs.stat(file).catch(missing)];
    return then && { at: then.mtimeMs, age: now.mtimeMs - then.mtimeMs };
  } finally {
    await fs.rm(probe, { force: true });
  }
}

async function describeSelf(): Promise<Holder> {
  const boot = (await fs.readFile('/proc/sys/kernel/random/boot_id', 'utf8').catch(() => '')).trim();
  const namespace = await fs.readlink('/proc/self/ns/pid').catch(() => '');
  return {
    id: randomUUID(),
    pid: process.pid,
    host: os.hostname(),
    since: new Date().toISOString(),
    process: await startOf(process.pid),
    where: boot === '' ? '' : `${boot} ${namespace}`,
  };
}

const bootOf = ({ where }: Holder): string => where.split(' ')[0];

/** When a process of this system started, in its own unit; empty where it does not tell. */
async function startOf(pid: number): Promise<string> {
  const stat = await fs.readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '');
  // The name in brackets may hold anything; the start is number 22 of all fields, 20 after it.
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? '';
}
