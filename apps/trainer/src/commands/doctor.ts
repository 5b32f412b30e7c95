/** `doctor`: what this machine offers, what was chosen and why, and the command that fixes what is missing. */
import { type BackendName, formatMachineReport, machineReport } from '@dit-moe/tensor-ops/node';
import { exitCodes } from '../errors.js';

/** Prints the findings; the exit code says whether training can run as asked. */
export async function doctorCommand(flags: { backend: BackendName; threads?: number; json: boolean }): Promise<number> {
  const report = await machineReport(flags.backend, flags.threads);
  console.log(flags.json ? JSON.stringify({ ready: report.ready, ...report.findings }) : formatMachineReport(report));
  return report.ready ? exitCodes.ok : exitCodes.backend;
}
