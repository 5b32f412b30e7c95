/** The recipes for launchers, as far as they run without one: what they start, with what, and what follows from how it ends. */
import { execFile } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseCommandLine } from '@dit-moe/kit/testing/command-lines';
import { launchInfo } from '@dit-moe/tensor-ops/node';
import { afterAll, beforeAll, expect, test } from 'vitest';
import YAML from 'yaml';
import { program } from '../program.js';

const recipe = (name: string): string => fileURLToPath(new URL(`../../../../examples/cluster/${name}`, import.meta.url));

let folder: string;
/** Programs of that name, each of which writes down how it is called and ends with the code in `CODE`. */
const standIns = ['srun', 'scontrol', 'torchrun'];
beforeAll(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'recipes-'));
  for (const name of standIns)
    fs.writeFileSync(path.join(folder, name), `#!/bin/sh\necho "${name} $*"\n[ ${name} = scontrol ] || exit "\${CODE:-0}"\n`, {
      mode: 0o755,
    });
});
afterAll(() => fs.rmSync(folder, { recursive: true }));

function run(name: string, environment: Record<string, string>): Promise<{ code: number; lines: string[] }> {
  const env = { PATH: `${folder}:${process.env['PATH']}`, ...environment };
  return new Promise((resolve) => {
    const child = execFile('bash', [recipe(name), 'config.yaml', 'runs/a'], { env }, (_, stdout) =>
      resolve({ code: child.exitCode!, lines: stdout.trim().split('\n') }),
    );
  });
}

/** What stands behind the trainer's name, as its own table of commands takes it. */
async function parsed(words: readonly string[]): Promise<{ code: number; command?: string; given?: readonly unknown[] }> {
  let taken = {};
  const code = await parseCommandLine(program, words, (command, given) => {
    taken = { command, given };
    return 0;
  });
  return { code, ...taken };
}

const wordsOf = (line: string): string[] => line.split('dit-moe-trainer ')[1].split(' ');

/** Goes on with a run of a configuration, or begins it. */
const training = (config: string, out: string) => ({ code: 0, command: 'train', given: [config, { out, resume: true }] });

const started = 'srun --kill-on-bad-exit=1 dit-moe-trainer train config.yaml --out runs/a --resume';
test.each([
  ['done', 0, []],
  ['interrupted and saved', 75, ['scontrol requeue 12']],
  ['a machine is gone', 9, ['scontrol requeue 12']],
  ['a wrong configuration', 2, []],
])('Slurm: %s', async (_, code, then) => {
  expect(await run('slurm.sh', { SLURM_JOB_ID: '12', CODE: String(code) })).toEqual({ code, lines: [started, ...then] });
  expect(await parsed(wordsOf(started))).toMatchObject(training('config.yaml', 'runs/a'));
});

test('torchrun: every machine starts its ranks, at one meeting place', async () => {
  const { lines } = await run('torchrun.sh', { HEAD: 'machine-0', NODES: '2' });
  expect(lines).toEqual([
    'torchrun --no-python --nnodes 2 --nproc-per-node 8 --max-restarts 3 --rdzv-backend c10d --rdzv-endpoint machine-0:29500 dit-moe-trainer train config.yaml --out runs/a --resume',
  ]);
  expect(await parsed(wordsOf(lines[0]))).toMatchObject(training('config.yaml', 'runs/a'));
});

test('JobSet: its pods train, and know their rank, their number and the first of them', async () => {
  const [jobSet, policy] = YAML.parseAllDocuments(fs.readFileSync(recipe('jobset.yaml'), 'utf8')).map((document) => document.toJS());
  const [{ name, template }] = jobSet.spec.replicatedJobs;
  const { completions, parallelism, completionMode, template: pod } = template.spec;
  expect({ completionMode, parallelism }).toEqual({ completionMode: 'Indexed', parallelism: completions });
  const [container] = pod.spec.containers;
  expect(await parsed(container.args)).toMatchObject(training('/run-data/config.yaml', '/run-data/run'));
  const environment = Object.fromEntries(container.env.map((entry: { name: string; value: string }) => [entry.name, entry.value]));
  expect(launchInfo({ ...environment, JOB_COMPLETION_INDEX: '3' })).toMatchObject({
    ...{ rank: 3, size: completions, localRank: 0 },
    // <jobset>-<job>-<replica>-<pod>.<jobset>
    leader: { host: `${jobSet.metadata.name}-${name}-0-0.${jobSet.metadata.name}` },
  });
  // Pods that nobody else may reach.
  expect(policy.spec.podSelector.matchLabels).toEqual(pod.metadata.labels);
  expect(policy.spec.ingress).toEqual([{ from: [{ podSelector: policy.spec.podSelector }] }]);
});
