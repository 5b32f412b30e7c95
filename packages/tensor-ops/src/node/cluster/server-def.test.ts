import { expect, test } from 'vitest';
import { clusterConfig, serverDef, taskOf } from './server-def.js';

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
const text = (value: string): string => Buffer.from(value).toString('hex');

test('names of tasks sort as ranks do, and rank 0 is task 0', () => {
  for (const size of [1, 2, 10, 11, 12, 101]) {
    const names = Array.from({ length: size }, (_, rank) => `task:${taskOf(rank, size)}`);
    expect([...names].sort()).toEqual(names);
    expect(new Set(names).size).toBe(size);
    expect(names[0]).toBe('task:0');
  }
  expect(taskOf(2, 12)).toBe(10);
});

// Bytes written by hand from the .proto files: field * 8 + wire type, length, content.
test('ServerDef is what protobuf writes', () => {
  const cluster = `0a1e${'0a1c'}${`0a06${text('worker')}`}${'1207'}${'0800'}${`1203${text('a:1')}`}${'1209'}${'0801'}${`1205${text('bb:22')}`}`;
  expect(hex(serverDef(['a:1', 'bb:22'], 1, Uint8Array.of(8, 1)))).toBe(
    `${cluster}${`1206${text('worker')}`}${'1801'}${'22020801'}${`2a04${text('grpc')}`}`,
  );
});

test('the configuration names the leader, the members and the time without a sign of life', () => {
  const bytes = hex(clusterConfig(1, 2));
  const leader = text('/job:worker/replica:0/task:0');
  expect(bytes).toContain(`0a1c${leader}`);
  expect(bytes).toContain(`0a0a${text('standalone')}`);
  expect(bytes).toContain('28b0ea01'); // heartbeat_timeout_in_ms = 30000
  expect(bytes).toContain(`520a0a06${text('worker')}1002`); // coordinated_job_list {worker, 2}
  expect(bytes.endsWith(`2212${text('/job:worker/task:1')}`)).toBe(true);
});
