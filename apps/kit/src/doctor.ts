/** `doctor`: what this machine offers, what was chosen and why, and the command that fixes what is missing. */
import type { BackendName } from '@dit-moe/tensor-ops/node';
import { exitCodes } from './exit-codes.js';
import { backendOptions, jsonOption } from './options.js';
import type { CommandEntry } from './program.js';

/** The command, the same in both programs. Its exit code says whether the backend asked for can compute. */
export const doctor = (): CommandEntry => ({
  group: 'This machine',
  description: 'show backend, versions, devices, memory, and what to do about what is missing',
  options: [...backendOptions(), jsonOption()],
  examples: ['doctor', 'doctor --json'],
  run: async ({ backend, threads, json }: { backend: BackendName; threads?: number; json: boolean }) => {
    const { formatMachineReport, machineReport } = await import('@dit-moe/tensor-ops/node');
    const report = await machineReport(backend, threads);
    console.log(json ? JSON.stringify({ ready: report.ready, ...report.findings }) : formatMachineReport(report));
    return report.ready ? exitCodes.ok : exitCodes.backend;
  },
});
