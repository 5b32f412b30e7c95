/** What TensorFlow says when a collective ends because of another process, in short. */
import { taskOf } from './server-def.js';

/** How TensorFlow begins every text of a collective that was ended. */
const ABORTED = 'Collective ops is aborted by: ';

/** Whether a text is that of a collective which was ended. */
export const endsCollective = (message: string): boolean => message.includes(ABORTED);

/**
 * The reason in TensorFlow's text, and of which rank it heard it, without the ways on which it came.
 * @param size number of ranks, by whose names TensorFlow counts them
 */
export function peerReason(message: string, size: number): string {
  const ranks = new Map(Array.from({ length: size }, (_, rank) => [String(taskOf(rank, size)), rank]));
  const named = (text: string): string =>
    text.replace(/\/job:worker\/(?:replica:0\/)?task:(\d+)(?:\/device:\w+:\d+)?/g, (place, task: string) =>
      ranks.has(task) ? `rank ${ranks.get(task)}` : place,
    );
  const text = message.slice(message.lastIndexOf(ABORTED, `${message}\n`.indexOf('\n')) + ABORTED.length);
  const [reason] = text.split(/\n(?:Additional GRPC error|The error could be)|\n\t \[\[/);
  const [, from] = /remote target (\S+) while calling/.exec(message) ?? [];
  const short = named(reason)
    .replace(/^Error reported from rank \d+: /, '')
    .replaceAll(/\s*\n\s*/g, ' ');
  return from === undefined || short.includes(named(from)) ? short : `${short} (${named(from)})`;
}
