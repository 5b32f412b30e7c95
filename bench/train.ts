/**
 * Training as a user starts it, against the bare step and against PyTorch.
 *
 * - `digits`: the whole `train` of the preset (data, logging, telemetry) against its bare compiled step.
 * - `f32`, `bf16`: `train` on cached latents against the bare step, and against the fastest PyTorch loop that does the same work
 *   (`loop` of `peer/dit_moe.py`). DiT-MoE-S/2-8E2A with 4 of its 12 blocks, so that all three fit into memory and take turns.
 * - `save`: what a checkpoint of 1 GiB, written while training goes on, adds to the steps.
 * - `memory`: peak of the whole DiT-MoE-S/2-8E2A, each side in a process of its own.
 */
import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import type { Precision } from '@dit-moe/tensor-ops';
import { useTensorFlow } from '@dit-moe/tensor-ops/node';
import { modelConfig, resolveConfig } from '../apps/trainer/src/config/resolve.js';
import type { TrainConfig } from '../apps/trainer/src/config/schema.js';
import { openData } from '../apps/trainer/src/data/open.js';
import { threadsOf } from '../apps/trainer/src/run/threads.js';
import { readMetrics } from '../apps/trainer/src/training/metrics-log.js';
import { train } from '../apps/trainer/src/training/train.js';
import { BenchmarkError, type BenchmarkOptions, type BenchmarkResult, result } from './harness/benchmark.js';
import { ditVariants, fastestVariant } from './harness/fastest-variant.js';
import { makeLatents } from './harness/latents.js';
import { interleave, median, type Timer } from './harness/measure.js';
import { answer, inOwnProcess } from './harness/own-process.js';
import { findPython, Peer } from './harness/peer.js';
import { bareStep } from './train/bare-step.js';
import { BATCH, latentsConfig } from './train/config.js';
import { PausedTraining, silent } from './train/paused-training.js';
import { peakMemory } from './train/peak-memory.js';

export const name = 'train';
export const description = 'the whole trainer: against its bare step, against a PyTorch loop, cost of saving, memory';

const DEPTH = 4;
/** Images in the cache of latents. */
const LATENTS = 256;
const PEER_SCRIPT = 'dit_moe.py';

const sections = ['digits', 'f32', 'bf16', 'save', 'memory'] as const;

export async function run(options: BenchmarkOptions): Promise<BenchmarkResult[]> {
  const { only, log } = options;
  if (only !== undefined && !sections.some((section) => section === only))
    throw new BenchmarkError(`There is no section "${only}": ${sections.join(', ')}.`);
  const threads = os.availableParallelism();
  const runtime = await useTensorFlow({ threads });
  log(`TensorFlow ${runtime.version}, ${threads} threads, load average ${os.loadavg()[0].toFixed(2)}`);
  const python = findPython();
  if (python === undefined) log('No PyTorch: python3 cannot import torch, so there is no peer. Set DIT_MOE_PYTHON to a Python that can.');
  const folder = await fs.mkdtemp(path.join(os.tmpdir(), 'bench-train-'));
  const bench = new TrainBenchmark(folder, python, threads, options);
  try {
    await makeLatents(bench.latents, LATENTS);
    for (const section of sections) {
      if (only !== undefined && only !== section) continue;
      if (section !== 'digits') await bench[section]();
      else for (const line of await inOwnProcess<BenchmarkResult[]>(import.meta.url, { quick: options.quick })) bench.add(line);
    }
    return bench.results;
  } finally {
    await fs.rm(folder, { recursive: true });
  }
}

function digitsConfig(): TrainConfig {
  return resolveConfig({ preset: 'digits', overrides: ['steps=100000'] });
}

/** Mean seconds of a turn, so that a line of metrics in it counts. */
const perTurn =
  (step: () => Promise<void>): Timer =>
  async (count) => {
    const start = performance.now();
    for (let i = 0; i < count; i++) await step();
    return [(performance.now() - start) / 1000 / count];
  };

/** The same turns, of which the processor's seconds per step are kept: other programs on the machine disturb them less than the clock's. */
function withCpuTime(side: Timer): { timer: Timer; cpu: number[] } {
  const cpu: number[] = [];
  return {
    cpu,
    async timer(count) {
      const before = process.cpuUsage();
      const seconds = await side(count);
      const { user, system } = process.cpuUsage(before);
      cpu.push((user + system) / 1e6 / count);
      return seconds;
    },
  };
}

class TrainBenchmark {
  readonly results: BenchmarkResult[] = [];
  readonly latents: string;

  constructor(
    private readonly folder: string,
    private readonly python: string | undefined,
    private readonly threads: number,
    private readonly options: BenchmarkOptions,
  ) {
    this.latents = path.join(folder, 'latents');
  }

  async digits(): Promise<void> {
    // A line of metrics per turn, as with the default of 50 steps.
    await this.compare('digits', digitsConfig(), undefined, { warmUp: 50, rounds: this.options.quick ? 4 : 8, perRound: 50 });
  }

  f32(): Promise<void> {
    return this.onLatents('f32');
  }

  bf16(): Promise<void> {
    return this.onLatents('bf16');
  }

  private async onLatents(precision: Precision): Promise<void> {
    const peer = this.python === undefined ? undefined : Peer.start(this.python, PEER_SCRIPT, this.threads);
    try {
      const request = { workload: 'loop', precision, batch: BATCH, depth: DEPTH };
      const { quick } = this.options;
      const variants = peer && (await ditVariants(peer, request, quick ? [false] : [false, true], quick));
      const variant = peer && (await fastestVariant(peer, variants!, request, this.options));
      await peer?.request({ do: 'prepare', ...request, variant });
      const perRound = 4;
      // A line of metrics per turn; the default is one in 50 steps.
      const config = latentsConfig(this.latents, precision, DEPTH, `logEvery=${perRound}`);
      await this.compare(precision, config, peer, { warmUp: perRound, rounds: quick ? 4 : 6, perRound });
    } finally {
      peer?.stop();
    }
  }

  /** The whole trainer, the bare step and, if there is one, the peer, in turns. */
  private async compare(
    name: string,
    config: TrainConfig,
    peer: Peer | undefined,
    repetitions: { warmUp: number; rounds: number; perRound: number },
  ): Promise<void> {
    const out = path.join(this.folder, name);
    const source = await openData(config);
    await source.close();
    const bare = bareStep(config, modelConfig(config, source));
    const training = new PausedTraining(config, out);
    const own = [training.timer, perTurn(bare.step)].map(withCpuTime) as [ReturnType<typeof withCpuTime>, ReturnType<typeof withCpuTime>];
    const sides = own.map(({ timer }) => timer);
    if (peer !== undefined)
      sides.push(async (count) => {
        const { seconds } = await peer.request<{ seconds: number[] }>({ do: 'time', count });
        return [seconds.reduce((a, b) => a + b) / count];
      });
    const [ours, least, theirs] = (await interleave(sides, repetitions)) as [number, number, number?];
    await training.close();
    bare.dispose();
    const rate = (seconds: number): number => config.batchSize / seconds;
    this.add(result(`train-${name} of bare step`, 'images/s', 'more', rate(ours), rate(least)));
    // The first turn warms up.
    const [cpu, leastCpu] = own.map(({ cpu }) => 1000 * median(cpu.slice(1))) as [number, number];
    this.add(result(`train-${name} of bare step, processor`, 'ms/step', 'less', cpu, leastCpu));
    if (theirs !== undefined) this.add(result(`train-${name}`, 'images/s', 'more', rate(ours), rate(theirs)));
    const stalls = (await readMetrics(out)).slice(1).map(({ stall }) => 100 * stall);
    this.add(result(`train-${name} waits for data`, '% of time', 'less', median(stalls), null));
    await fs.rm(out, { recursive: true });
  }

  async save(): Promise<void> {
    const every = this.options.quick ? 12 : 24;
    const saves = this.options.quick ? 2 : 3;
    const config = latentsConfig(this.latents, 'f32', DEPTH, `checkpoints.every=${every}`);
    const out = path.join(this.folder, 'save');
    const steps: { seconds: number; saving: boolean }[] = [];
    let last = performance.now();
    let saving = false;
    const onStep = async (step: number): Promise<void> => {
      const now = performance.now();
      // From the step at whose end the state is copied to the one in which the folder is renamed.
      const begins = step % every === 0;
      steps.push({ seconds: (now - last) / 1000, saving: saving || begins });
      const names = await fs.readdir(path.join(out, 'checkpoints')).catch(() => [] as string[]);
      saving = begins || names.some((name) => name.startsWith('.tmp'));
      // Before the next save, and before the end of the run, at which it makes a preview.
      if (step === every * (saves + 1) - 1) stop.abort();
      last = performance.now();
    };
    const stop = new AbortController();
    const { state } = await train(config, { out, resume: false, progress: silent, signal: stop.signal, onStep });
    state.dispose();
    await fs.rm(out, { recursive: true });
    // Without the first steps, which compile.
    const counted = steps.slice(3);
    const [busy, free] = [true, false].map((kind) => counted.filter((step) => step.saving === kind).map(({ seconds }) => seconds));
    const usual = median(free);
    const added = busy.reduce((a, b) => a + b, 0) / saves - (busy.length / saves) * usual;
    this.options.log(
      `a step takes ${(1000 * usual).toFixed(0)} ms; ${(busy.length / saves).toFixed(1)} steps run while one checkpoint is written`,
    );
    this.add(result('one save', 'steps', 'less', added / usual, null));
    this.add(
      result(
        'saves at the default interval',
        '% of time',
        'less',
        (100 * added) / usual / resolveConfig({ preset: 'repo-s-2-8e2a-256' }).checkpoints.every,
        null,
      ),
    );
  }

  async memory(): Promise<void> {
    const steps = 3;
    for (const precision of ['f32', 'bf16'] as const) {
      const out = path.join(this.folder, `memory-${precision}`);
      const ours = await peakMemory({ latents: this.latents, out, precision, steps });
      await fs.rm(out, { recursive: true });
      let theirs: number | null = null;
      if (this.python !== undefined) {
        const peer = Peer.start(this.python, PEER_SCRIPT, this.threads);
        const variant = `eager/sorted/${precision === 'f32' ? 'f32' : 'autocast'}`;
        await peer.request({ do: 'prepare', workload: 'loop', precision, variant, batch: BATCH });
        await peer.request({ do: 'time', count: steps });
        theirs = (await peer.request<{ mebibytes: number }>({ do: 'memory' })).mebibytes;
        peer.stop();
      }
      this.add(result(`memory-${precision}`, 'MiB', 'less', ours.steps, theirs));
      this.add(result(`memory-${precision} with the last save`, 'MiB', 'less', ours.saved, null));
    }
  }

  add(line: BenchmarkResult): void {
    this.results.push(line);
    const against = line.peer === null ? '' : `, peer ${line.peer.toFixed(2)}, ratio ${line.ratio!.toFixed(3)}`;
    this.options.log(`${line.name}: ${line.value.toFixed(2)} ${line.unit}${against} (load average ${os.loadavg()[0].toFixed(2)})`);
  }
}

// In a process of its own, because a process keeps its threads, and a small model shares them out in another way.
await answer<{ quick: boolean }>(import.meta.url, async ({ quick }) => {
  await useTensorFlow(threadsOf(digitsConfig()));
  const folder = await fs.mkdtemp(path.join(os.tmpdir(), 'bench-train-'));
  const bench = new TrainBenchmark(folder, undefined, os.availableParallelism(), { quick, log() {} });
  try {
    await bench.digits();
    return bench.results;
  } finally {
    await fs.rm(folder, { recursive: true });
  }
});
