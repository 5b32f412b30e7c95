import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { Server } from './document-server.js';

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'document-server-'));
afterAll(() => fs.rmSync(folder, { recursive: true }));

/** A command that notes the number of its process, and then does what the program says. */
function start(program: string, limitMs?: number): Promise<Server> {
  fs.writeFileSync(
    path.join(folder, 'server.cjs'),
    `require('fs').writeFileSync('pid', String(process.pid));
     const serve = (answer) => {
       const server = require('http').createServer(answer);
       server.listen(0, '127.0.0.1', () => console.log('at http://127.0.0.1:' + server.address().port + '/'));
     };
     ${program}`,
  );
  return Server.start(`${process.execPath} server.cjs`, folder, {}, limitMs);
}
const runs = (): boolean => {
  try {
    process.kill(Number(fs.readFileSync(path.join(folder, 'pid'), 'utf8')), 0);
    return true;
  } catch {
    return false;
  }
};
const page = `(request, response) => response.end('page')`;

test('it is there until it is stopped', async () => {
  const server = await start(`process.on('SIGTERM', () => process.exit(0)); serve(${page});`);
  expect(await (await fetch(server.url)).text()).toBe('page');
  await server.stop();
  expect(runs()).toBe(false);
});

test('one that has ended by itself is said when it is to be stopped', async () => {
  const server = await start(`serve((request, response) => response.end('page', () => setTimeout(() => process.exit(3), 50)));`);
  await expect.poll(runs).toBe(false);
  await expect(server.stop()).rejects.toThrow(/ended with 3 on SIGTERM/);
});

test('one that does not hear the signal is ended all the same', async () => {
  const server = await start(`process.on('SIGTERM', () => {}); serve(${page});`);
  await expect(server.stop(200)).rejects.toThrow(/ended with null/);
  expect(runs()).toBe(false);
});

test.each([
  ['ends', 'console.log("no such model"); process.exit(2);', /ended with 2:\nno such model/],
  ['says no address', 'console.log("wait"); setInterval(() => {}, 1000);', /said no address in 2000 ms:\nwait/],
  ['breaks off', 'serve((request, response) => request.socket.destroy());', /fetch failed/],
  ['has no page', 'serve((request, response) => response.writeHead(404).end());', /answers 404/],
])('nothing is left of one that %s', async (_, program, message) => {
  await expect(start(program, 2000)).rejects.toThrow(message);
  expect(runs()).toBe(false);
});
