/** How `train` becomes one process of several: started by itself or by a launcher. */
import { createHash } from 'node:crypto';
import { type Cluster, joinCluster, type Launch } from '@dit-moe/tensor-ops/node';
import packageJson from '../../package.json' with { type: 'json' };
import type { TrainConfig } from '../config/schema.js';
import type { Progress, trainingProgress } from '../run/progress.js';
import { runProcesses } from './processes.js';

/** For ranks that have nothing of their own to say. */
export const silent: ReturnType<typeof trainingProgress> = { update() {}, log() {}, phase() {}, done() {} };

/** Meets the other ranks, which must run the same version and configuration. */
export async function joinTraining(
  launch: Launch,
  config: TrainConfig,
  { acceptOpenPort, progress }: { acceptOpenPort: boolean; progress: Progress },
): Promise<Cluster> {
  const agreement = {
    version: packageJson.version,
    configuration: createHash('sha256').update(JSON.stringify(config)).digest('hex').slice(0, 16),
  };
  progress.log(`rank ${launch.rank} of ${launch.size} (${launch.launcher}); meeting at ${launch.leader.host}:${launch.leader.port}`);
  const cluster = await joinCluster(launch, { agreement, acceptOpenPort, onWaiting: (message) => progress.log(message) });
  progress.log(
    `TensorFlow's server listens at ${cluster.addresses[launch.rank]} and on every other address of this machine, without a password: use it in a private network.`,
  );
  return cluster;
}

/** Starts this command again as every rank of a cluster on this machine. */
export async function startProcesses(count: number, restarts = 0): Promise<number> {
  const stop = new AbortController();
  const signals = ['SIGINT', 'SIGTERM', 'SIGUSR1', 'SIGHUP'] as const;
  const onSignal = (): void => stop.abort();
  for (const signal of signals) process.on(signal, onSignal);
  try {
    const words = process.argv.slice(2);
    const at = words.findIndex((word) => /^--processes(=|$)/.test(word));
    const own = words.filter((_, i) => i !== at && !(i === at + 1 && words[at] === '--processes'));
    const { code } = await runProcesses({
      count,
      command: [process.execPath, ...process.execArgv, process.argv[1], ...own],
      restarts,
      restartWith: ['--resume'],
      onLine: (line, rank) => process.stderr.write(rank === 0 ? `${line}\n` : `[rank ${rank}] ${line}\n`),
      signal: stop.signal,
    });
    return code;
  } finally {
    for (const signal of signals) process.off(signal, onSignal);
  }
}
