/**
 * The engine against PyTorch: op overhead, matrix products, and DiT-MoE-S/2-8E2A forward and training (256 px latents, batch 4).
 *
 * The peer is `peer/dit_moe.py`, the same architecture in PyTorch. Every variant of it is timed first, and the fastest is what
 * is compared, in turns with us and with as many threads. Each section is a process of its own, with the threads that the trainer and the
 * sampler take for it.
 */
import os from 'node:os';
import { preset } from '@dit-moe/dit';
import { threadsFor } from '@dit-moe/dit/node';
import { DataType, type InferencePrecision, int8Refusal, type Precision, tensorFlowBackend } from '@dit-moe/tensor-ops';
import { useTensorFlow } from '@dit-moe/tensor-ops/node';
import * as tf from '@tensorflow/tfjs-core';
import { checkAgreement } from './engine/agreement.js';
import { BATCH, MODEL, prepareModel, type Workload } from './engine/model.js';
import { peakMemory } from './engine/peak-memory.js';
import { BenchmarkError, type BenchmarkOptions, type BenchmarkResult, result } from './harness/benchmark.js';
import { ditVariants, fastestVariant } from './harness/fastest-variant.js';
import { interleave, type Repetitions, type Timer, timer } from './harness/measure.js';
import { findPython, Peer } from './harness/peer.js';
import { runBenchmark } from './harness/run-benchmark.js';

export const name = 'engine';
export const description = 'op overhead, matrix products, DiT-MoE-S/2-8E2A forward and training, memory; against PyTorch';

const workloads: readonly { workload: Workload; precision: InferencePrecision }[] = [
  { workload: 'forward', precision: 'f32' },
  { workload: 'forward', precision: 'bf16' },
  { workload: 'forward', precision: 'int8' },
  { workload: 'train', precision: 'f32' },
  { workload: 'train', precision: 'bf16' },
];
/** `ops`, and one section per workload with its memory. */
const sections = ['ops', ...workloads.map(({ workload, precision }) => `${workload}-${precision}`)];

const PEER_SCRIPT = 'dit_moe.py';
/** Calls of a cheap op that count as one run, so that the clock's resolution and the peer's pipe do not matter. */
const OPS_PER_RUN = 2000;
const MATRIX_SIZE = 1024;

export async function run(options: BenchmarkOptions): Promise<BenchmarkResult[]> {
  const { quick, only, log } = options;
  if (only !== undefined && !sections.includes(only)) throw new BenchmarkError(`There is no section "${only}": ${sections.join(', ')}.`);
  if (only === undefined) {
    const results: BenchmarkResult[] = [];
    for (const section of sections) results.push(...(await runBenchmark('engine', { ...options, only: section })));
    return results;
  }
  const chosen = workloads.find(({ workload, precision }) => `${workload}-${precision}` === only);
  const threads = os.availableParallelism();
  const runtime = await useTensorFlow(threadsOf(chosen));
  const { intraOp, interOp } = runtime.threads;
  log(`TensorFlow ${runtime.version}, ${interOp} ops at once with ${intraOp} threads each, load average ${os.loadavg()[0].toFixed(2)}`);
  const python = findPython();
  let peer: Peer | undefined;
  if (python === undefined) {
    log('No PyTorch: python3 cannot import torch, so there is no peer. Set DIT_MOE_PYTHON to a Python that can.');
  } else {
    peer = Peer.start(python, PEER_SCRIPT, threads);
    const hello = await peer.request<{ version: string; threads: number }>({ do: 'hello' });
    log(`PyTorch ${hello.version}, ${hello.threads} threads`);
    await checkAgreement(peer);
  }
  const engine = new EngineBenchmark(peer, python, threads, options);
  try {
    const small: Repetitions = quick ? { warmUp: 2, rounds: 3, perRound: 2 } : { warmUp: 3, rounds: 8, perRound: 5 };
    if (chosen === undefined) {
      await engine.opOverhead(small);
      for (const precision of ['f32', 'bf16'] as const) await engine.matMul(precision, small);
      return engine.results;
    }
    const large: Repetitions = quick ? { warmUp: 2, rounds: 3, perRound: 1 } : { warmUp: 3, rounds: 6, perRound: 2 };
    const { workload, precision } = chosen;
    const refusal = precision === 'int8' ? int8Refusal() : undefined;
    if (refusal !== undefined) {
      log(`${only} is left out: ${refusal}.`);
      return [];
    }
    const eager = await engine.model(workload, precision, false, large);
    const best = await engine.model(workload, precision, true, large, eager);
    await engine.memory(workload, precision, best);
  } finally {
    peer?.stop();
  }
  return engine.results;
}

/** Threads as the trainer and the sampler start the runtime; those of all cores for single ops. */
const threadsOf = (step: { workload: Workload; precision: InferencePrecision } | undefined): { threads: number; interOpThreads?: number } =>
  (step && threadsFor(preset(MODEL), { training: step.workload === 'train', precision: step.precision })) ?? {
    threads: os.availableParallelism(),
  };

class EngineBenchmark {
  readonly results: BenchmarkResult[] = [];

  constructor(
    private readonly peer: Peer | undefined,
    private readonly python: string | undefined,
    private readonly threads: number,
    private readonly options: BenchmarkOptions,
  ) {}

  /** Host cost of one eager call: additions of single numbers. */
  async opOverhead(repetitions: Repetitions): Promise<void> {
    const [a, b] = [tf.scalar(1), tf.scalar(2)];
    const ours = timer(() => {
      for (let i = 0; i < OPS_PER_RUN; i++) tf.add(a, b).dispose();
    });
    const [value, other] = await this.compare(ours, { workload: 'add', count: OPS_PER_RUN }, repetitions);
    tf.dispose([a, b]);
    const micro = 1e6 / OPS_PER_RUN;
    this.add('op-overhead', 'us/op', 'less', value * micro, other === undefined ? null : other * micro);
  }

  /** Products of square matrices. */
  async matMul(precision: Precision, repetitions: Repetitions): Promise<void> {
    const backend = tensorFlowBackend()!;
    const [a, b] = [1, 2].map((seed) =>
      tf.tidy(() => {
        const x = tf.randomNormal([MATRIX_SIZE, MATRIX_SIZE], 0, 1, 'float32', seed);
        return precision === 'bf16' ? backend.raw('Cast', [x], { DstT: { type: DataType.bfloat16 } })[0] : x;
      }),
    ) as [tf.Tensor, tf.Tensor];
    const ours = timer(() => backend.raw('MatMul', [a, b])[0].dispose());
    const [value, other] = await this.compare(ours, { workload: 'matmul', precision, size: MATRIX_SIZE }, repetitions);
    tf.dispose([a, b]);
    const flops = 2 * MATRIX_SIZE ** 3 * 1e-9;
    this.add(`matmul-${precision}`, 'GFLOP/s', 'more', flops / value, other === undefined ? null : flops / other);
  }

  /**
   * Forward or training step of the model.
   * @param rival a variant of the peer to try besides those asked for
   * @returns the peer's fastest variant
   */
  async model(
    workload: Workload,
    precision: InferencePrecision,
    compiled: boolean,
    repetitions: Repetitions,
    rival?: string,
  ): Promise<string | undefined> {
    const name = `${workload}-${precision}${compiled ? '' : '-eager'}`;
    const request = { workload, precision, batch: BATCH };
    let variant: string | undefined;
    if (this.peer !== undefined) {
      const variants = await ditVariants(this.peer, request, [compiled], this.options.quick);
      variant = await fastestVariant(this.peer, rival === undefined ? variants : [rival, ...variants], request, this.options);
    }
    const model = prepareModel(workload, precision, compiled);
    const [value, other] = await this.compare(
      timer(() => model.step()),
      { ...request, variant },
      repetitions,
    );
    model.dispose();
    this.add(name, 'images/s', 'more', BATCH / value, other === undefined ? null : BATCH / other);
    return variant;
  }

  /** Peak memory of both sides' fastest form, each in a fresh process. */
  async memory(workload: Workload, precision: InferencePrecision, variant: string | undefined): Promise<void> {
    const steps = 3;
    const ours = await peakMemory({ workload, precision, threads: threadsOf({ workload, precision }), steps });
    let theirs: number | null = null;
    if (this.python !== undefined && variant !== undefined) {
      const fresh = Peer.start(this.python, PEER_SCRIPT, this.threads);
      await fresh.request({ do: 'prepare', workload, precision, variant, batch: BATCH });
      await fresh.request({ do: 'time', count: steps });
      theirs = (await fresh.request<{ mebibytes: number }>({ do: 'memory' })).mebibytes;
      fresh.stop();
    }
    this.add(`memory-${workload}-${precision}`, 'MiB', 'less', ours, theirs);
  }

  /** Seconds of our side and, if there is a peer, of its side. */
  private async compare(ours: Timer, request: Record<string, unknown>, repetitions: Repetitions): Promise<number[]> {
    const { peer } = this;
    if (peer === undefined) return interleave([ours], repetitions);
    await peer.request({ do: 'prepare', ...request });
    const theirs: Timer = async (count) => (await peer.request<{ seconds: number[] }>({ do: 'time', count })).seconds;
    const seconds = await interleave([ours, theirs], repetitions);
    await peer.request({ do: 'release' });
    return seconds;
  }

  private add(name: string, unit: string, better: 'more' | 'less', value: number, peer: number | null): void {
    const line = result(name, unit, better, value, peer);
    this.results.push(line);
    const against = peer === null ? '' : `, peer ${peer.toFixed(2)}, ratio ${line.ratio!.toFixed(2)}`;
    this.options.log(`${name}: ${value.toFixed(2)} ${unit}${against} (load average ${os.loadavg()[0].toFixed(2)})`);
  }
}
