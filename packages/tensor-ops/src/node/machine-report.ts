/** What a machine offers for training and sampling, and what to do about what is missing: the content of `doctor`. */
import fs from 'node:fs/promises';
import os from 'node:os';
import { cacheDirectory, manualDownloadCommand } from './library/index.js';
import { type BackendName, startBackend } from './start-backend.js';

const MIB = 2 ** 20;

/** Findings by name, in the order in which they are shown. */
export interface MachineReport {
  findings: Record<string, string>;
  /** Whether the backend asked for (for `auto`: the TensorFlow runtime) runs. */
  ready: boolean;
}

/** Looks at Node, the system, and the backend, which it starts. */
export async function machineReport(name: BackendName, threads?: number): Promise<MachineReport> {
  const disk = await fs.statfs('.');
  const findings: Record<string, string> = {
    node: `${process.version} (needs 20.19 or newer)`,
    system: `${os.platform()} ${os.arch()}, ${os.availableParallelism()} cores, ${os.cpus()[0]?.model ?? 'unknown CPU'}`,
    memory: `${Math.round(os.freemem() / MIB)} of ${Math.round(os.totalmem() / MIB)} MiB free`,
    disk: `${Math.round((disk.bavail * disk.bsize) / MIB)} MiB free in ${process.cwd()}`,
    cache: cacheDirectory(),
  };
  try {
    const backend = await startBackend(name, threads);
    findings['backend'] = `${backend.name} ${backend.version} (${backend.reason})`;
    findings['devices'] = backend.devices.join(', ');
    findings['threads'] = String(backend.threads);
    findings['bf16'] = backend.name === 'tensorflow' ? 'inside matrix products' : 'not on this backend';
    if (backend.library !== undefined) findings['library'] = backend.library;
    if (name !== 'auto' || backend.name === 'tensorflow') return { findings, ready: true };
  } catch (error) {
    findings['backend'] = (error as Error).message;
  }
  findings['fix'] =
    manualDownloadCommand() ?? 'set LIBTENSORFLOW_DIR to a folder with libtensorflow 2.21: no wheel is pinned for this platform';
  return { findings, ready: false };
}
