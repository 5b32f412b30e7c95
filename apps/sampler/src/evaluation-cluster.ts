/** The processes of one job that evaluate together: each computes features of its part of every batch, rank 0 says what they are worth. */
import { createHash } from 'node:crypto';
import os from 'node:os';
import { UsageError } from '@dit-moe/kit';
import { type BackendName, type BackendSettings, type Cluster, joinCluster, launchInfo } from '@dit-moe/tensor-ops/node';
import packageJson from '../package.json' with { type: 'json' };

/** How long the others wait while rank 0 computes the metrics; whether it lives is seen by its signs of life. */
const PATIENCE_MS = 24 * 3600 * 1000;

/**
 * Meets the others, if a launcher has started this process as one of several.
 * @param agreement what must be the same on all: what is evaluated, and how
 * @throws RendezvousError if somebody is missing or does something else
 * @throws UsageError if the backend is not the one that computes together
 */
export async function joinEvaluation(
  agreement: object,
  { backend, acceptOpenPort }: { backend: BackendName; acceptOpenPort: boolean },
): Promise<Cluster | undefined> {
  const launch = launchInfo(process.env);
  if (launch === undefined) return undefined;
  if (backend === 'cpu' || backend === 'wasm')
    throw new UsageError(
      `--backend ${backend} cannot compute as one of ${launch.size} processes (${launch.launcher}); only tensorflow can.`,
    );
  const evaluation = createHash('sha256').update(JSON.stringify(agreement)).digest('hex').slice(0, 16);
  return joinCluster(launch, {
    agreement: { version: packageJson.version, evaluation },
    acceptOpenPort,
    ...(launch.rank === 0 && { onWaiting: console.error }),
  });
}

/** Threads of this process, which shares the machine with the others, unless a number was asked for. */
export function settingsIn(cluster: Cluster | undefined, threads: number | undefined): number | BackendSettings | undefined {
  if (cluster === undefined) return threads;
  const part = Math.max(1, Math.floor(os.availableParallelism() / (cluster.launch.localSize ?? 1)));
  return { cluster, threads: threads ?? part };
}

/** Waits until all have done with it: who leaves before looks as if it had died. */
export const leaveTogether = async (cluster: Cluster | undefined): Promise<void> => cluster?.barrier('evaluated', PATIENCE_MS);
