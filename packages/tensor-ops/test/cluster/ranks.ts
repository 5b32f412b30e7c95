/** Starts the processes of a cluster for a test, and gathers what each prints as JSON and how it ends. */
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { freePort } from '../../src/node/cluster/index.js';

/** What a rank still has to do after rank 0: print its results. */
const GRACE_MS = 30_000;

export interface RankResult {
  /** Last line on stdout, parsed. */
  result: unknown;
  code: number | null;
  signal: NodeJS.Signals | null;
  stderr: string;
}

/** Starts `count` ranks of a program beside this file as torchrun would. The others are ended when rank 0 has ended. */
export async function runRanks(program: string, args: readonly string[], count: number): Promise<RankResult[]> {
  const port = await freePort();
  const file = fileURLToPath(new URL(program, import.meta.url));
  const children = Array.from({ length: count }, (_, rank) =>
    spawn(process.execPath, ['--import', 'tsx', '--conditions=@dit-moe/source', file, ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: {
        ...process.env,
        RANK: String(rank),
        WORLD_SIZE: String(count),
        LOCAL_RANK: String(rank),
        MASTER_ADDR: '127.0.0.1',
        MASTER_PORT: String(port),
        TF_CPP_MIN_LOG_LEVEL: '3',
      },
    }),
  );
  const results = children.map(
    (child) =>
      new Promise<RankResult>((resolve) => {
        let [stdout, stderr] = ['', ''];
        child.stdout.on('data', (part: Buffer) => {
          stdout += part;
        });
        child.stderr.on('data', (part: Buffer) => {
          stderr += part;
        });
        child.on('close', (code, signal) => {
          const last = stdout.trim().split('\n').at(-1) ?? '';
          resolve({ result: last.startsWith('{') ? JSON.parse(last) : last, code, signal, stderr });
        });
      }),
  );
  children[0].on('exit', () => {
    for (const child of children) setTimeout(() => child.kill('SIGKILL'), GRACE_MS).unref();
  });
  return Promise.all(results);
}
