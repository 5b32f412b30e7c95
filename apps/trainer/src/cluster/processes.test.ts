import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { expect, test } from 'vitest';
import { type ProcessesOptions, runProcesses } from './processes.js';

/** Ranks that run a line of JavaScript; what they wrote, and how all ended. */
async function run(
  script: string,
  {
    onLine,
    ...options
  }: Partial<Pick<ProcessesOptions, 'restarts' | 'restartWith' | 'signal'>> & { onLine?: (line: string) => unknown } = {},
) {
  const lines: string[] = [];
  const result = await runProcesses({
    count: 3,
    command: [process.execPath, '-e', `const rank = Number(process.env.RANK); ${script}`],
    onLine(line, rank) {
      lines.push(`${rank}: ${line}`);
      onLine?.(line);
    },
    ...options,
  });
  return { ...result, lines: lines.sort() };
}

test('every rank knows its place, and its lines come with its number', async () => {
  const { code, lines } = await run(
    'const e = process.env; console.error(rank, e.WORLD_SIZE, e.LOCAL_RANK, e.LOCAL_WORLD_SIZE, e.MASTER_ADDR, e.MASTER_PORT > 0)',
  );
  expect(code).toBe(0);
  expect(lines).toEqual([0, 1, 2].map((rank) => `${rank}: ${rank} 3 ${rank} 3 127.0.0.1 true`));
});

test('when one fails the others are ended, and its code is that of all', async () => {
  const start = performance.now();
  const { code, failed, lines } = await run("if (rank === 1) { console.error('broken'); process.exit(3) } setTimeout(() => {}, 60_000)");
  expect({ code, failed, lines }).toEqual({ code: 3, failed: 1, lines: ['1: broken'] });
  expect(performance.now() - start).toBeLessThan(30_000);
});

test('a rank that is killed has the code of its signal', async () => {
  expect(await run("if (rank === 2) process.kill(process.pid, 'SIGKILL'); setTimeout(() => {}, 60_000)")).toMatchObject({
    code: 137,
    failed: 2,
  });
});

test('all start again after a failure, with the words for it', async () => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'processes-'));
  const script = `
    const fs = require('node:fs'); const file = ${JSON.stringify(folder)} + '/' + rank;
    fs.appendFileSync(file, 'x');
    console.error(process.argv.slice(1).join());
    if (rank === 0 && fs.readFileSync(file, 'utf8').length < 3) process.exit(9);`;
  const { code, lines } = await run(script, { restarts: 5, restartWith: ['again'] });
  fs.rmSync(folder, { recursive: true });
  expect(code).toBe(0);
  expect(lines.filter((line) => line.startsWith('0: rank 0 ended with code 9; starting all 3 again'))).toHaveLength(2);
  expect(lines.filter((line) => /^\d: again$/.test(line))).toHaveLength(6);
});

test('a command that is wrong is not started again', async () => {
  const { code, lines } = await run("if (rank === 0) { console.error('wrong'); process.exit(2) }", { restarts: 3 });
  expect({ code, lines }).toEqual({ code: 2, lines: ['0: wrong'] });
});

test('a stop reaches every rank, which ends as it likes', async () => {
  const stop = new AbortController();
  let ready = 0;
  const { code, lines } = await run(
    "process.on('SIGTERM', () => { console.error('saved'); process.exit(75) }); setTimeout(() => {}, 60_000); console.error('ready')",
    { signal: stop.signal, restarts: 3, onLine: (line) => line === 'ready' && ++ready === 3 && stop.abort() },
  );
  expect(code).toBe(75);
  expect(lines).toEqual(['0: ready', '0: saved', '1: ready', '1: saved', '2: ready', '2: saved']);
});
