import { expect, test } from 'vitest';
import { endsCollective, peerReason } from './peer-reason.js';

const start = 'step_0: {{function_node step_0}} Collective ops is aborted by: ';
const end = '\nThe error could be from a previous operation. Restart your program to reset.\n\t [[{{node n4}}]] [UNAVAILABLE] ([1000])';
const heard = (task: number, what: string) =>
  `\nAdditional GRPC error information from remote target /job:worker/replica:0/task:${task} while calling /tensorflow.WorkerService/RecvBuf:\n:UNKNOWN:Error received from peer  {grpc_message:"${what}", grpc_status:14}`;

test.each([
  ['a dead process', `${start}Socket closed${heard(1, 'Socket closed')}${end}`, 2, 'Socket closed (rank 1)'],
  ['the tenth of twelve, by its name', `${start}Socket closed${heard(10, 'Socket closed')}${end}`, 12, 'Socket closed (rank 2)'],
  [
    'no sign of life',
    `${start}Error reported from /job:worker/task:1: The following tasks are unhealthy (stopped sending heartbeats):\n/job:worker/replica:0/task:1\nThe tasks have crashed.${end}`,
    2,
    'The following tasks are unhealthy (stopped sending heartbeats): rank 1 The tasks have crashed.',
  ],
  ['words of its own', `${start}Error reported from /job:worker/task:1: rank 1: the disk is full${end}`, 2, 'rank 1: the disk is full'],
  [
    'one that did not come',
    `${start}rank 0 waited 600 s for the others in step 3${end}`,
    2,
    'rank 0 waited 600 s for the others in step 3',
  ],
  [
    'another program',
    `${start}Collective ops is aborted by: Shape mismatch in the collective instance 100. Op at device /job:worker/replica:0/task:1/device:CPU:0 expected shape [999].${heard(1, `${start}x`)}${end}`,
    2,
    'Shape mismatch in the collective instance 100. Op at device rank 1 expected shape [999].',
  ],
])('%s', (_, text, size, reason) => {
  expect(endsCollective(text)).toBe(true);
  expect(peerReason(text, size)).toBe(reason);
});
