import http from 'node:http';
import net from 'node:net';
import { afterEach, expect, test } from 'vitest';
import { limitConnections } from './connection-limits.js';

const closers: (() => void)[] = [];
afterEach(() => {
  for (const close of closers.splice(0)) close();
});

/** A server that answers at once, but at `/long` only when it is told to. */
async function listen(limits: { perAddress: number; inAll: number }) {
  const waiting: http.ServerResponse[] = [];
  const server = http.createServer((request, response) => {
    if (request.url === '/long') waiting.push(response);
    else response.end('served');
  });
  limitConnections(server, limits);
  // Every address of 127.0.0.0/8 is this machine.
  await new Promise<void>((resolve) => server.listen(0, '0.0.0.0', resolve));
  closers.push(() => {
    server.close();
    server.closeAllConnections();
  });
  const { port } = server.address() as net.AddressInfo;
  const from = (localAddress: string) => ({ port, host: '127.0.0.1', localAddress });
  const silent = (address = '127.0.0.1'): Promise<net.Socket> =>
    new Promise((resolve) => {
      const socket = net.connect({ ...from(address), allowHalfOpen: true }, () => resolve(socket));
      socket.on('error', () => {});
      closers.push(() => socket.destroy());
    });
  const ask = (path = '/', address = '127.0.0.1'): Promise<string> =>
    new Promise((resolve) => {
      const request = http.get({ ...from(address), path, agent: false }, async (response) => {
        let text = '';
        for await (const chunk of response) text += chunk;
        resolve(text);
      });
      request.on('error', () => resolve('refused'));
    });
  return { server, silent, ask, waiting };
}
const openIn = (server: http.Server): Promise<number> => new Promise((resolve) => server.getConnections((_, n) => resolve(n)));
const until = async (condition: () => boolean | Promise<boolean>): Promise<void> => {
  while (!(await condition())) await new Promise((resolve) => setTimeout(resolve, 5));
};

test('silent connections make room for those who ask, the oldest first', async () => {
  const { server, silent, ask } = await listen({ perAddress: 4, inAll: 100 });
  const sockets: net.Socket[] = [];
  for (let i = 0; i < 6; i++) sockets.push(await silent());
  await until(async () => (await openIn(server)) === 4);
  expect(await ask()).toBe('served');
  await until(async () => (await openIn(server)) === 3);
  for (const socket of sockets) socket.resume();
  await until(() => sockets.filter((socket) => socket.readableEnded || socket.destroyed).length === 3);
  expect(sockets.map((socket) => socket.readableEnded || socket.destroyed)).toEqual([true, true, true, false, false, false]);
});

test('those at work stay; who comes when all are at work is refused, at one address and in all', async () => {
  const { ask, waiting } = await listen({ perAddress: 2, inAll: 3 });
  const long = [ask('/long'), ask('/long')];
  await until(() => waiting.length === 2);
  expect(await ask()).toBe('refused');
  expect(await ask('/', '127.0.0.2')).toBe('served');
  long.push(ask('/long', '127.0.0.2'));
  await until(() => waiting.length === 3);
  expect(await ask('/', '127.0.0.3')).toBe('refused');
  for (const response of waiting) response.end('at last');
  expect(await Promise.all(long)).toEqual(['at last', 'at last', 'at last']);
  expect(await ask('/', '127.0.0.3')).toBe('served');
});
