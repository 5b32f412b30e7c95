/**
 * The other side of a benchmark: a Python worker that answers one JSON line per request, so that both sides take turns.
 */
import { type ChildProcessWithoutNullStreams, execFileSync, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { BenchmarkError } from './benchmark.js';

type Answer = { error?: string } & Record<string, unknown>;

/** A peer process; requests are answered in order. */
export class Peer {
  private readonly waiting: { resolve(answer: Answer): void; reject(error: Error): void }[] = [];
  private lastErrors: string[] = [];

  private constructor(private readonly child: ChildProcessWithoutNullStreams) {
    createInterface({ input: child.stdout }).on('line', (line) => this.waiting.shift()?.resolve(JSON.parse(line) as Answer));
    createInterface({ input: child.stderr }).on('line', (line) => {
      this.lastErrors = [...this.lastErrors.slice(-9), line];
    });
    child.stdin.on('error', () => {}); // Comes with the exit, which is reported.
    child.on('close', (code, signal) => {
      const error = new BenchmarkError(`The peer ended (${signal ?? `exit code ${code}`}):\n${this.lastErrors.join('\n')}`);
      for (const { reject } of this.waiting.splice(0)) reject(error);
    });
  }

  /**
   * Starts a worker.
   *
   * @param script in `bench/peer`
   * @param threads threads of the peer, the same number as ours
   */
  static start(python: string, script: string, threads: number): Peer {
    const file = fileURLToPath(new URL(`../peer/${script}`, import.meta.url));
    // Set before PyTorch starts: its thread pools read them only once.
    const env = { ...process.env, OMP_NUM_THREADS: String(threads), MKL_NUM_THREADS: String(threads) };
    return new Peer(spawn(python, [file, String(threads)], { env, stdio: 'pipe' }));
  }

  /**
   * Sends a request and waits for its answer.
   * @throws BenchmarkError if the peer answers with an error or ends
   */
  async request<T>(message: { do: string } & Record<string, unknown>): Promise<T> {
    if (this.child.exitCode !== null) throw new BenchmarkError(`The peer has ended:\n${this.lastErrors.join('\n')}`);
    const answer = await new Promise<Answer>((resolve, reject) => {
      this.waiting.push({ resolve, reject });
      this.child.stdin.write(`${JSON.stringify(message)}\n`);
    });
    if (answer.error !== undefined) throw new BenchmarkError(answer.error);
    return answer as T;
  }

  /** Ends the worker. */
  stop(): void {
    this.child.stdin.end();
    this.child.kill();
  }
}

/**
 * The Python with PyTorch: `DIT_MOE_PYTHON` if it is set, else `python3` if it can import torch, else `undefined`.
 * @throws BenchmarkError if `DIT_MOE_PYTHON` cannot import torch
 */
export function findPython(): string | undefined {
  const asked = process.env['DIT_MOE_PYTHON'];
  const python = asked ?? 'python3';
  try {
    execFileSync(python, ['-c', 'import torch'], { stdio: 'pipe' });
    return python;
  } catch (error) {
    if (asked === undefined) return undefined;
    throw new BenchmarkError(`DIT_MOE_PYTHON is ${asked}, which cannot import torch: ${(error as Error).message}`, { cause: error });
  }
}
