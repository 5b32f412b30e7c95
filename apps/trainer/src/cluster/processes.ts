/**
 * The launcher for one machine: starts this program several times as the ranks of a cluster, and ends all when one fails. What torchrun,
 * srun and mpirun do for many machines.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import os from 'node:os';
import readline from 'node:readline';
import { exitCodes } from '@dit-moe/kit';
import { freePort } from '@dit-moe/tensor-ops/node';

/** How long the other ranks have to say what they saw before they are killed, unless the caller says otherwise. */
const LAST_WORDS_MS = 4000;

export interface ProcessesOptions {
  /** Number of ranks. */
  count: number;
  /** Program and arguments of every rank. */
  command: readonly string[];
  /** How many times all ranks are started again after a failure (default 0). */
  restarts?: number;
  /** Arguments that a restarted command has in addition, such as `--resume`. */
  restartWith?: readonly string[];
  /** Milliseconds that the other ranks have after a failure (default 4000). */
  lastWordsMs?: number;
  /** What becomes of rank 0's stdout (default `inherit`); the others have nothing to say there. */
  stdout?: 'inherit' | 'ignore';
  /** Receives every line that a rank writes on stderr. */
  onLine: (line: string, rank: number) => void;
  /** Stops all ranks, each as its own handler of SIGTERM decides. */
  signal?: AbortSignal;
}

/** How the ranks ended. */
export interface ProcessesResult {
  /** 0 if all ended well, else the code of the rank that failed first (128 + its number for a signal). */
  code: number;
  /** The rank that failed first. */
  failed?: number;
}

/** Runs all ranks until they end, and again as often as asked after a failure. Exit codes of a stop by signal are no failure. */
export async function runProcesses(options: ProcessesOptions): Promise<ProcessesResult> {
  const { restarts = 0, restartWith = [], onLine, signal } = options;
  for (let attempt = 0; ; attempt++) {
    const command =
      attempt === 0 ? options.command : [...options.command, ...restartWith.filter((word) => !options.command.includes(word))];
    const result = await runOnce({ ...options, command });
    // A command that is wrong is wrong the next time too.
    if (result.code === 0 || result.code === exitCodes.usage || attempt >= restarts || signal?.aborted) return result;
    onLine(`rank ${result.failed} ended with code ${result.code}; starting all ${options.count} again (${attempt + 1} of ${restarts})`, 0);
  }
}

async function runOnce({
  count,
  command,
  stdout = 'inherit',
  lastWordsMs = LAST_WORDS_MS,
  onLine,
  signal,
}: ProcessesOptions): Promise<ProcessesResult> {
  const port = await freePort();
  const [program, ...args] = command;
  const children = Array.from({ length: count }, (_, rank) =>
    spawn(program, args, {
      // Results for machines are rank 0's.
      stdio: ['ignore', rank === 0 ? stdout : 'ignore', 'pipe'],
      env: {
        ...process.env,
        RANK: String(rank),
        WORLD_SIZE: String(count),
        LOCAL_RANK: String(rank),
        LOCAL_WORLD_SIZE: String(count),
        MASTER_ADDR: '127.0.0.1',
        MASTER_PORT: String(port),
      },
    }),
  );
  const stop = (): void => kill(children, 'SIGTERM');
  signal?.addEventListener('abort', stop);
  let first: ProcessesResult | undefined;
  try {
    const codes = await Promise.all(
      children.map(async (child, rank) => {
        if (child.stderr !== null) readline.createInterface({ input: child.stderr }).on('line', (line) => onLine(line, rank));
        const code = await ended(child);
        if (code !== 0 && first === undefined) {
          first = { code, failed: rank };
          setTimeout(() => kill(children, 'SIGKILL'), lastWordsMs).unref();
        }
        return code;
      }),
    );
    return codes.every((code) => code === 0) || first === undefined ? { code: 0 } : first;
  } finally {
    signal?.removeEventListener('abort', stop);
  }
}

function ended(child: ChildProcess): Promise<number> {
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    // 'close' and not 'exit': its last lines have been read then.
    child.on('close', (code, name) => resolve(code ?? 128 + (name === null ? 0 : os.constants.signals[name])));
  });
}

function kill(children: readonly ChildProcess[], signal: NodeJS.Signals): void {
  for (const child of children) if (child.exitCode === null && child.signalCode === null) child.kill(signal);
}
