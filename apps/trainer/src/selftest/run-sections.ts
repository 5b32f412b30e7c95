/** Runs sections of the self-test, those that measure a process in processes of their own. */
import { spawn } from 'node:child_process';
import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { tensorFlowBackend } from '@dit-moe/tensor-ops';
import { runProcesses } from '../cluster/processes.js';
import type { SectionResult } from './finding.js';
import type { SelftestMachine } from './machine.js';
import { type CLUSTER, type SectionName, sections } from './sections/index.js';

/** How long the others may take to notice the process that the cluster's section kills. */
const ABORT_MS = 60_000;

/** Runs a section here. What it throws is its finding. */
export async function runSection(name: SectionName, machine: SelftestMachine): Promise<SectionResult> {
  const start = performance.now();
  const backend = tensorFlowBackend()!;
  const chosen = backend.bf16Products;
  // Products in bfloat16 are to be checked where the runtime chooses float32 as well.
  backend.bf16Products = true;
  try {
    return { section: name, findings: await sections[name].run(machine), seconds: (performance.now() - start) / 1000 };
  } catch (error) {
    return failure(name, error, start);
  } finally {
    backend.bf16Products = chosen;
  }
}

/**
 * Runs sections in a fresh process of this program, or in several that make a cluster.
 * @param args of the self-test: what it computes on
 */
export async function runElsewhere(name: SectionName | typeof CLUSTER, args: readonly string[], processes = 1): Promise<SectionResult> {
  const start = performance.now();
  const folder = await fs.mkdtemp(path.join(os.tmpdir(), 'selftest-'));
  const out = path.join(folder, 'result.json');
  const [program, ...words] = [
    process.execPath,
    '--expose-gc',
    ...process.execArgv,
    process.argv[1],
    'selftest',
    '--only',
    name,
    '--out',
    out,
    ...args,
  ];
  const lines: string[] = [];
  try {
    if (processes === 1) await ended(program, words, lines);
    else
      await runProcesses({
        count: processes,
        command: [program, ...words],
        onLine: (line) => lines.push(line),
        stdout: 'ignore',
        lastWordsMs: ABORT_MS,
      });
    const { sections: results } = JSON.parse(await fs.readFile(out, 'utf8')) as { sections: SectionResult[] };
    return { ...results[0], seconds: (performance.now() - start) / 1000 };
  } catch (error) {
    return failure(name, lines.length === 0 ? error : said(lines), start);
  } finally {
    await fs.rm(folder, { recursive: true });
  }
}

/** The last words of a process, without the places in its code. */
const said = (lines: readonly string[]): string =>
  lines
    .filter((line) => !/^\s+at /.test(line))
    .slice(-2)
    .join(' ');

const failure = (section: string, error: unknown, start: number): SectionResult => ({
  section,
  findings: [{ name: 'could not run', passed: false, found: (error as Error).message ?? String(error) }],
  seconds: (performance.now() - start) / 1000,
});

function ended(program: string, args: readonly string[], lines: string[]): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'pipe'] });
    child.stderr.on('data', (part: Buffer) => lines.push(...part.toString().trim().split('\n')));
    child.on('error', reject);
    child.on('close', () => resolve());
  });
}
