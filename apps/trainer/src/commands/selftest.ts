/** `selftest`: whether this machine computes what it should, within which memory and how fast; a page to read, and JSON to send. */
import os from 'node:os';
import { createProgress, exitCodes, UsageError } from '@dit-moe/kit';
import { asWriteError, writeFileAtomically } from '@dit-moe/tensor-ops/io/node';
import { type ChosenBackend, joinCluster, type Launch, launchInfo, startBackend } from '@dit-moe/tensor-ops/node';
import packageJson from '../../package.json' with { type: 'json' };
import { shareOfThreads } from '../run/threads.js';
import type { SectionResult } from '../selftest/finding.js';
import { machineOf } from '../selftest/machine.js';
import { formatSelftest, type SelftestResult } from '../selftest/report.js';
import { runElsewhere, runSection } from '../selftest/run-sections.js';
import { clusterRank } from '../selftest/sections/cluster-rank.js';
import { CLUSTER, isAlone, type SectionName, sections, titleOf } from '../selftest/sections/index.js';

export interface SelftestFlags {
  /** Number of the GPU. */
  gpu?: number;
  /** Where the findings go, as JSON. */
  out?: string;
  /** Print them as JSON, in place of the page. */
  json: boolean;
  /** Sections to run (default: all). */
  only?: (SectionName | typeof CLUSTER)[];
  /** Processes of the section of the cluster; none without. */
  processes?: number;
}

export const sectionNames = [...(Object.keys(sections) as SectionName[]), CLUSTER];

/** Exit code 5 (backend) if anything is not as it should be. */
export async function selftestCommand(flags: SelftestFlags): Promise<number> {
  const start = performance.now();
  // One of the processes of the cluster's section, started by this program or by a launcher.
  const launch = flags.only?.join() === CLUSTER ? launchInfo(process.env) : undefined;
  if (launch !== undefined) return rankCommand(launch, flags, start);
  const { only = sectionNames, gpu, processes } = flags;
  const names = only.filter((name): name is SectionName => name !== CLUSTER);
  if (names.length === 0 && processes === undefined)
    throw new UsageError('The section of the cluster needs several processes: --processes N, or a launcher.');
  const progress = createProgress();
  progress.phase('starting the backends');
  for (const reference of ['cpu', 'wasm'] as const) await startBackend(reference);
  const backend = await startBackend('tensorflow', gpu === undefined ? {} : { gpu });
  const machine = machineOf(backend, gpu);
  const args = gpu === undefined ? [] : ['--gpu', String(gpu)];
  const results: SectionResult[] = [];
  for (const name of names) {
    progress.phase(titleOf(name));
    results.push(isAlone(name) && names.length > 1 ? await runElsewhere(name, args) : await runSection(name, machine));
  }
  if (processes !== undefined) {
    progress.phase(titleOf(CLUSTER));
    results.push(await runElsewhere(CLUSTER, [], processes));
  }
  progress.done();
  return finish(resultOf(results, backend, start), flags);
}

async function rankCommand(launch: Launch, flags: SelftestFlags, start: number): Promise<number> {
  const cluster = await joinCluster(launch, { agreement: { version: packageJson.version, program: 'selftest' }, acceptOpenPort: true });
  const backend = await startBackend('tensorflow', { ...shareOfThreads(launch), cluster });
  const findings = await clusterRank(cluster, machineOf(backend).usesGpu);
  if (cluster.rank !== 0) return exitCodes.ok;
  return finish(resultOf([{ section: CLUSTER, findings, seconds: (performance.now() - start) / 1000 }], backend, start), flags);
}

function resultOf(results: readonly SectionResult[], backend: ChosenBackend, start: number): SelftestResult {
  return {
    passed: results.every(({ findings }) => findings.every(({ passed }) => passed)),
    date: new Date().toISOString(),
    version: packageJson.version,
    machine: machineRows(backend),
    seconds: (performance.now() - start) / 1000,
    sections: results,
  };
}

function machineRows({ version, devices, threads, computes, gpu }: ChosenBackend): Record<string, string> {
  return {
    system: `${os.platform()} ${os.arch()}, Node ${process.version}`,
    processor: `${os.cpus()[0]?.model ?? 'unknown'}, ${threads} threads`,
    ...(gpu && { GPU: `${gpu.name}, compute capability ${gpu.computeCapability.toFixed(1)}` }),
    TensorFlow: `${version}, ${devices.map((device) => device.replace(/^.*\/device:/, '')).join(', ')}`,
    products: `f32 in ${computes.f32}, bf16 in ${computes.bf16} (the self-test multiplies in bfloat16 all the same)`,
  };
}

async function finish(result: SelftestResult, { json, out }: SelftestFlags): Promise<number> {
  console.log(json ? JSON.stringify(result) : formatSelftest(result));
  if (out !== undefined)
    await writeFileAtomically(out, `${JSON.stringify(result, null, 2)}\n`).catch((error) => Promise.reject(asWriteError(error, out)));
  return result.passed ? exitCodes.ok : exitCodes.backend;
}
