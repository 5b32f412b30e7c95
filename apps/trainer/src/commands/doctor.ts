/** `doctor`: what this machine offers, what was chosen and why, and the command that fixes what is missing. */
import fs from 'node:fs/promises';
import os from 'node:os';
import { cacheDirectory, manualDownloadCommand } from '@dit-moe/tensor-ops/node';
import { type BackendName, startBackend } from '../backend.js';

const MIB = 2 ** 20;

/** Prints the findings; returns 0 if training can run at full speed, else 5. */
export async function doctorCommand(flags: { backend: BackendName; threads?: number; json: boolean }): Promise<number> {
  const disk = await fs.statfs('.');
  const findings: Record<string, unknown> = {
    node: `${process.version} (needs 20.19 or newer)`,
    system: `${os.platform()} ${os.arch()}, ${os.availableParallelism()} cores, ${os.cpus()[0]?.model ?? 'unknown CPU'}`,
    memory: `${Math.round(os.freemem() / MIB)} of ${Math.round(os.totalmem() / MIB)} MiB free`,
    disk: `${Math.round((disk.bavail * disk.bsize) / MIB)} MiB free here`,
    cache: cacheDirectory(),
  };
  let code = 0;
  try {
    const backend = await startBackend(flags.backend, flags.threads);
    Object.assign(findings, {
      backend: `${backend.name} ${backend.version}: ${backend.reason}`,
      devices: backend.devices.join(', '),
      threads: backend.threads,
      bf16: backend.name === 'tensorflow' ? 'inside matrix products (precision: bf16)' : 'not on this backend',
      ...(backend.library !== undefined && { library: backend.library }),
    });
    if (backend.name !== 'tensorflow' && flags.backend === 'auto') {
      findings['fix'] = manualDownloadCommand();
      code = 5;
    }
  } catch (error) {
    findings['backend'] = (error as Error).message;
    findings['fix'] = manualDownloadCommand();
    code = 5;
  }
  if (flags.json) console.log(JSON.stringify(findings));
  else for (const [name, value] of Object.entries(findings)) console.log(`${name.padEnd(8)} ${value}`);
  return code;
}
