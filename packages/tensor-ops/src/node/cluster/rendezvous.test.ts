import net from 'node:net';
import { expect, test } from 'vitest';
import type { Launch } from './launch-info.js';
import { freePort, RendezvousError, rendezvous } from './rendezvous.js';

const launchOf = (rank: number, size: number, port: number): Launch => ({
  rank,
  size,
  localRank: rank,
  leader: { host: '127.0.0.1', port },
  launcher: 'test',
});
const agreement = { version: '1', configuration: 'abc' };

/** All ranks meet; what became of each. */
async function meet(size: number, changes: Record<number, object> = {}, timeoutMs = 5000, absent: readonly number[] = []) {
  const port = await freePort();
  const ranks = Array.from({ length: size }, (_, rank) => rank).filter((rank) => !absent.includes(rank));
  return Promise.allSettled(
    // Rank 0 comes last: the others try again until it is there.
    ranks.reverse().map(async (rank) => {
      if (rank === 0) await new Promise((resolve) => setTimeout(resolve, 100));
      return rendezvous(launchOf(rank, size, port), { agreement, port: 7000 + rank, timeoutMs, ...changes[rank] });
    }),
  );
}
const messages = (results: PromiseSettledResult<unknown>[]) =>
  results.map((r) => (r.status === 'rejected' && RendezvousError.isInstance(r.reason) ? r.reason.message : String(r)));

test('everybody gets the addresses of all, in the order of ranks beyond ten', async () => {
  const results = await meet(12);
  const addresses = Array.from({ length: 12 }, (_, rank) => `127.0.0.1:${7000 + rank}`);
  for (const result of results) expect(result).toMatchObject({ status: 'fulfilled', value: { addresses } });
});

test('who runs another configuration is named, to everybody', async () => {
  const results = await meet(3, { 2: { agreement: { ...agreement, configuration: 'xyz' } } });
  expect(messages(results)).toEqual(Array(3).fill(expect.stringContaining('configuration is abc on rank 0 and xyz on rank 2')));
});

test('who is missing is named, to everybody', async () => {
  const results = await meet(4, {}, 2000, [1, 3]);
  expect(messages(results)).toEqual(Array(2).fill(expect.stringContaining('ranks 1, 3 of 4 processes did not come')));
});

test('without rank 0 the others say where they looked', async () => {
  const results = await meet(2, {}, 600, [0]);
  expect(messages(results)[0]).toMatch(/rank 1 could not reach rank 0 at 127\.0\.0\.1:\d+ in time \(ECONNREFUSED\)/);
});

test('two processes of one rank are refused with both addresses', async () => {
  const port = await freePort();
  const options = { agreement, timeoutMs: 5000 };
  const results = await Promise.allSettled([
    rendezvous(launchOf(0, 3, port), { ...options, port: 7000 }),
    rendezvous(launchOf(1, 3, port), { ...options, port: 7001 }),
    rendezvous(launchOf(1, 3, port), { ...options, port: 7002, timeoutMs: 1000 }),
  ]);
  expect(messages(results)[0]).toMatch(/two processes say that they are rank 1: 127\.0\.0\.1:700[12] and 127\.0\.0\.1:700[12]/);
});

test('a port in use and strangers at the door', async () => {
  const taken = net.createServer().listen(0);
  await new Promise((resolve) => taken.on('listening', resolve));
  const { port } = taken.address() as net.AddressInfo;
  await expect(rendezvous(launchOf(0, 2, port), { agreement, port: 1, timeoutMs: 1000 })).rejects.toThrow(/another program listens there/);
  taken.close();

  const free = await freePort();
  const leading = rendezvous(launchOf(0, 2, free), { agreement, port: 7000, timeoutMs: 5000 });
  for (const line of ['GET / HTTP/1.1\r\n\r\n', 'null\n', '{"protocol":"dit-moe-cluster/1","rank":-1}\n', `${'x'.repeat(300_000)}`]) {
    const stranger = net.connect(free, '127.0.0.1');
    stranger.on('error', () => {});
    stranger.write(line);
    await new Promise((resolve) => stranger.on('close', resolve));
  }
  await rendezvous(launchOf(1, 2, free), { agreement, port: 7001, timeoutMs: 5000 });
  await expect(leading).resolves.toMatchObject({ addresses: ['127.0.0.1:7000', '127.0.0.1:7001'] });
});

/** Ranks 0 and 1 of three have met, and a rank 2 that says the same over a connection of the test's own. */
async function meetByHand() {
  const port = await freePort();
  const met = [0, 1].map((rank) => rendezvous(launchOf(rank, 3, port), { agreement, port: 7000 + rank, timeoutMs: 5000 }));
  await new Promise((resolve) => setTimeout(resolve, 50));
  const socket = net.connect(port, '127.0.0.1');
  socket.write(`${JSON.stringify({ protocol: 'dit-moe-cluster/1', rank: 2, size: 3, port: 7002, agreement })}\n`);
  return { socket, meetings: await Promise.all(met) };
}

test('a process that ends after the meeting is named to all others', async () => {
  const { socket, meetings } = await meetByHand();
  socket.destroy();
  expect(await Promise.all(meetings.map(({ gone }) => gone))).toEqual([2, 2]);
});

test('a leader that ends without a word is rank 0', async () => {
  const leader = net.createServer((socket) =>
    socket.once('data', () =>
      socket.write(`${JSON.stringify({ addresses: ['a:1', 'b:2'] })}\n`, () => setTimeout(() => socket.destroy(), 50)),
    ),
  );
  await new Promise<void>((resolve) => leader.listen(0, resolve));
  const { port } = leader.address() as net.AddressInfo;
  const { gone } = await rendezvous(launchOf(1, 2, port), { agreement, port: 7001, timeoutMs: 5000 });
  expect(await gone).toBe(0);
  leader.close();
});
