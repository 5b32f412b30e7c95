import { type ChildProcess, spawn } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, afterEach, describe, expect, test, vi } from 'vitest';
import { LockError, type LockTimes, takeLock } from './lock.js';

const root = fs.mkdtempSync(path.join(os.tmpdir(), 'lock-'));
afterAll(() => fs.rmSync(root, { recursive: true, force: true }));
const children: ChildProcess[] = [];
afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
});

const times: LockTimes = { heartbeat: 40, silent: 200, away: 400 };
let locks = 0;
const newFile = () => path.join(root, `${locks++}.lock`);
const take = (file: string) => takeLock(file, 'The folder', times);
/** Takes a lock and gives it back: what the lock's file says meanwhile. */
async function contentOf(): Promise<Record<string, unknown>> {
  const file = newFile();
  const lock = await take(file);
  const content = JSON.parse(fs.readFileSync(file, 'utf8'));
  await lock.release();
  return content;
}
const onLinux = fs.existsSync('/proc/self/stat');

/** A process that sleeps, and what its lock would say. */
async function sleeper(): Promise<{ child: ChildProcess; holder: Record<string, unknown> }> {
  const child = spawn('sleep', ['60'], { stdio: 'ignore' });
  children.push(child);
  await new Promise((resolve) => child.once('spawn', resolve));
  const stat = onLinux ? fs.readFileSync(`/proc/${child.pid}/stat`, 'utf8') : '';
  const process = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? '';
  return { child, holder: { ...(await contentOf()), id: 'other', pid: child.pid, process } };
}

test('one holds it, another is refused with who and since when; afterwards nothing is left', async () => {
  const file = newFile();
  const lock = await take(file);
  await expect(take(file)).rejects.toThrow(LockError);
  await expect(take(file)).rejects.toThrow(`The folder is in use by process ${process.pid} on ${os.hostname()} since 2`);
  await lock.release();
  await lock.release();
  expect(fs.readdirSync(root)).toEqual([]);
});

test('of many at once one has it', async () => {
  const file = newFile();
  fs.writeFileSync(file, '');
  const results = await Promise.allSettled(Array.from({ length: 12 }, () => take(file)));
  const winners = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
  expect(winners).toHaveLength(1);
  await winners[0].release();
  expect(fs.readdirSync(root)).toEqual([]);
});

describe('a live process keeps it', () => {
  test('however old its last sign of life is, also when it is stopped', async () => {
    const { child, holder } = await sleeper();
    const file = newFile();
    fs.writeFileSync(file, JSON.stringify(holder));
    fs.utimesSync(file, 0, 0);
    child.kill('SIGSTOP');
    await expect(take(file)).rejects.toThrow(`in use by process ${child.pid}`);
    fs.rmSync(file);
  });

  test('on another host, as long as it is heard', async () => {
    const file = newFile();
    fs.writeFileSync(file, JSON.stringify({ ...(await contentOf()), id: 'other', host: 'elsewhere' }));
    await expect(takeLock(file, 'The folder', { ...times, away: 60_000 })).rejects.toThrow(/in use by process \d+ on elsewhere/);
    fs.rmSync(file);
  });

  test('in another container of this host, as long as it is heard', async () => {
    const file = newFile();
    const holder = await contentOf();
    const text = JSON.stringify({ ...holder, id: 'other', where: `${String(holder['where']).split(' ')[0]} pid:[1]` });
    fs.writeFileSync(file, text);
    const beats = setInterval(() => fs.utimesSync(file, new Date(), new Date()), 20);
    await expect(takeLock(file, 'The folder', { ...times, silent: 60_000 })).rejects.toThrow(/in use by process/);
    clearInterval(beats);
    fs.rmSync(file);
  });
});

describe('that of a dead process is taken', () => {
  const cases: [string, () => Promise<string> | string][] = [
    ['an empty file', () => ''],
    ['half a file', () => '{"pid": 1, "ho'],
    ['null', () => 'null'],
    [
      'a process that is gone',
      async () => {
        const { child, holder } = await sleeper();
        child.kill('SIGKILL');
        await new Promise((resolve) => child.once('exit', resolve));
        return JSON.stringify(holder);
      },
    ],
    ['the number of this process, before a restart', async () => JSON.stringify({ ...(await contentOf()), id: 'other', process: '1' })],
    [
      'another container of the same host name, which is silent',
      async () => {
        const holder = await contentOf();
        return JSON.stringify({ ...holder, id: 'other', where: `${String(holder['where']).split(' ')[0]} pid:[1]` });
      },
    ],
    ['a host that has not been heard of for long', async () => JSON.stringify({ ...(await contentOf()), id: 'other', host: 'elsewhere' })],
  ];
  if (onLinux)
    cases.push(
      ['a number that another process has now', async () => JSON.stringify({ ...(await sleeper()).holder, process: '1' })],
      ['a machine that has been started again', async () => JSON.stringify({ ...(await sleeper()).holder, where: 'another-boot pid:[1]' })],
    );
  test.each(cases)('%s', async (name, content) => {
    const file = newFile();
    fs.writeFileSync(file, await content());
    if (name.startsWith('a host')) fs.utimesSync(file, 0, 0);
    const lock = await take(file);
    lock.check();
    await lock.release();
    expect(fs.readdirSync(root)).toEqual([]);
  });
});

test('one that was taken is noticed, and is not given up for the one who has it', async () => {
  const file = newFile();
  const lock = await take(file);
  const other = JSON.stringify({ ...(await contentOf()), id: 'other' });
  fs.writeFileSync(file, other);
  await vi.waitFor(() => expect(() => lock.check()).toThrow(/was taken by another process while this one was stopped/), 30_000);
  await lock.release();
  expect(fs.readFileSync(file, 'utf8')).toBe(other);
  fs.rmSync(file);
});

test('one whose file was deleted is put back', async () => {
  const file = newFile();
  const lock = await take(file);
  fs.rmSync(file);
  await vi.waitFor(() => expect(fs.existsSync(file)).toBe(true), 30_000);
  lock.check();
  await expect(take(file)).rejects.toThrow(LockError);
  await lock.release();
});

test('a folder that cannot be written is said to be, and nothing is left', async () => {
  await expect(take(path.join(root, 'nowhere', 'a.lock'))).rejects.toMatchObject({ code: 'E_WRITE' });
  expect(fs.readdirSync(root)).toEqual([]);
});
