/** `doctor`: what this machine offers, what was chosen and why, and the command that fixes what is missing. */
import { type BackendName, machineReport } from '@dit-moe/tensor-ops/node';
import { exitCodes } from '../errors.js';

/** Prints the findings; the exit code says whether training can run as asked. */
export async function doctorCommand(flags: { backend: BackendName; threads?: number; json: boolean }): Promise<number> {
  const { findings, ready } = await machineReport(flags.backend, flags.threads);
  if (flags.json) console.log(JSON.stringify({ ready, ...findings }));
  else for (const [name, value] of Object.entries(findings)) console.log(`${name.padEnd(8)} ${value}`);
  return ready ? exitCodes.ok : exitCodes.backend;
}
