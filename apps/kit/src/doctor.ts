/** `doctor`: what this machine offers, what was chosen and why, and the command that fixes what is missing. */
import type { BackendName } from '@dit-moe/tensor-ops/node';
import { Option } from 'commander';
import { UsageError } from './errors.js';
import { exitCodes } from './exit-codes.js';
import { backendOptions, byteSize, jsonOption } from './options.js';
import type { CommandEntry } from './program.js';

interface DoctorFlags {
  backend: BackendName;
  threads?: number;
  json: boolean;
  bundle?: string;
  piece: number;
  build?: 'cpu' | 'gpu';
  unbundle?: string;
}

const offline = (flags: string, description: string): Option => new Option(flags, description).helpGroup('Machines without network:');
const say = (line: string): void => console.error(line);

/** The command, the same in both programs. Its exit code says whether the backend asked for can compute. */
export const doctor = (): CommandEntry => ({
  group: 'This machine',
  description: 'show backend, versions, devices, memory, and what to do about what is missing',
  options: [
    ...backendOptions(),
    offline('--bundle <folder>', 'pack the TensorFlow library of this machine, to carry it to one without network'),
    offline('--piece <size>', 'largest file of the bundle').argParser(byteSize).default(1e9, '1GB'),
    offline('--build <build>', 'which library to pack, fetched if it is not here (default: gpu with an NVIDIA driver, else cpu)').choices([
      'cpu',
      'gpu',
    ]),
    offline('--unbundle <folder>', 'check a bundle and put its library in place, then report'),
    jsonOption(),
  ],
  examples: ['doctor', 'doctor --json', 'doctor --bundle library --piece 60MB', 'doctor --unbundle library'],
  run: async ({ backend, threads, json, bundle, piece, build, unbundle }: DoctorFlags) => {
    if (bundle !== undefined && unbundle !== undefined) throw new UsageError('--bundle and --unbundle are for two machines: choose one.');
    if (build !== undefined && bundle === undefined) throw new UsageError('--build says what --bundle packs, and there is none.');
    const { bundleLibrary, formatMachineReport, machineReport, unbundleLibrary } = await import('@dit-moe/tensor-ops/node');
    if (bundle !== undefined) {
      const written = await bundleLibrary(bundle, piece, { onProgress: say, ...(build && { gpu: build === 'gpu' }) });
      const { version, kind, platform, pieces, bytes } = written;
      console.log(
        json
          ? JSON.stringify(written)
          : `TensorFlow ${version} (${kind}, ${platform}) is in ${bundle}: ${(bytes / 1e6).toFixed(0)} MB in ${pieces} ${pieces === 1 ? 'piece' : 'pieces'}. On the other machine: doctor --unbundle ${bundle}`,
      );
      return exitCodes.ok;
    }
    if (unbundle !== undefined) say(`The library is in ${await unbundleLibrary(unbundle, { onProgress: say })}`);
    const report = await machineReport(backend, threads);
    console.log(json ? JSON.stringify({ ready: report.ready, ...report.findings }) : formatMachineReport(report));
    return report.ready ? exitCodes.ok : exitCodes.backend;
  },
});
