/** Which of several workers a process is, by `--part k/n` or by what the scheduler says of an array job. */
import { arrayWorker, parseWorker, type Worker } from '@dit-moe/tensor-ops/node';
import { UsageError } from './errors.js';

/** A part of what is made, and where it comes from, for the log. */
export type Share = Worker & { source: string };

/**
 * The share of this process.
 * @param part `k/n` with k from 0 to n - 1, which wins over the environment
 * @param parts number of parts, for schedulers that do not tell it
 * @throws ArrayJobError, UsageError if the index does not fit the count, or the count is not known
 */
export function workerShare(
  part: string | undefined,
  parts: number | undefined,
  environment: Readonly<Record<string, string | undefined>>,
): Share {
  if (part !== undefined) return { ...parseWorker(part, '--part'), source: '--part' };
  const worker = arrayWorker(environment, { count: parts, remedy: 'Give --parts n, or --part k/n.' });
  if (worker === undefined && parts !== undefined && parts > 1)
    throw new UsageError('--parts is for array jobs, but no variable of a scheduler is set. Give --part k/n.');
  return worker ?? { index: 0, count: 1, source: 'alone' };
}
