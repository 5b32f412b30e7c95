/** The engine's products and its cost per op, beside PyTorch's where Python has it. */
import { execFile } from 'node:child_process';
import os from 'node:os';
import { promisify } from 'node:util';
import { linear, Parameter, type Precision } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import { type Finding, measured } from '../finding.js';
import type { SelftestMachine } from '../machine.js';

/** Edge of the matrices. */
const SIZE = { cpu: 1024, gpu: 8192 } as const;
const TRIALS = 10;
const CALLS = 2000;

/** Rates by precision, in GFLOP/s, the best of {@link TRIALS}; microseconds of an addition of two numbers. */
interface Speed {
  f32: number;
  bf16: number;
  call: number;
}

export async function engine({ usesGpu, backend }: SelftestMachine): Promise<Finding[]> {
  const size = usesGpu ? SIZE.gpu : SIZE.cpu;
  const ours = ownSpeed(size);
  const torch = await torchSpeed(size, backend.threads);
  const row = (name: string, of: (speed: Speed) => number, unit: string, more: boolean): Finding => {
    const own = `${of(ours).toPrecision(3)} ${unit}`;
    if ('missing' in torch) return measured(name, own);
    const ratio = more ? of(ours) / of(torch) : of(torch) / of(ours);
    return measured(name, `${own}, PyTorch ${of(torch).toPrecision(3)} (${ratio.toFixed(2)} times as fast)`);
  };
  return [
    row(`products of ${size} x ${size}, f32`, ({ f32 }) => f32, 'GFLOP/s', true),
    row(`products of ${size} x ${size}, bf16`, ({ bf16 }) => bf16, 'GFLOP/s', true),
    row('an addition, called from outside', ({ call }) => call, 'us', false),
    measured('PyTorch', 'missing' in torch ? torch.missing : torch.version),
    measured('load average', os.loadavg()[0].toFixed(2)),
  ];
}

function ownSpeed(size: number): Speed {
  const x = tf.randomNormal([size, size]);
  const rate = (precision: Precision): number => {
    const weight = new Parameter('weight', x, precision === 'bf16' ? 'bfloat16' : 'float32');
    const best = least(() =>
      tf.tidy(() => {
        // GPUs compute behind the caller: what is read is there.
        tf.slice(linear(x, weight.read(), undefined, { precision }), [0, 0], [1, 1]).dataSync();
      }),
    );
    weight.dispose();
    return (2 * size ** 3) / best / 1e9;
  };
  const [a, b] = [tf.scalar(1), tf.scalar(2)];
  const call = least(() => {
    for (let i = 0; i < CALLS; i++) tf.add(a, b).dispose();
  });
  const speed = { f32: rate('f32'), bf16: rate('bf16'), call: (call / CALLS) * 1e6 };
  tf.dispose([x, a, b]);
  return speed;
}

/** Seconds of the fastest of several trials after one that warms up. */
function least(work: () => void): number {
  let best = Number.POSITIVE_INFINITY;
  for (let trial = 0; trial <= TRIALS; trial++) {
    const start = performance.now();
    work();
    if (trial > 0) best = Math.min(best, (performance.now() - start) / 1000);
  }
  return best;
}

/** The same in Python. TF32 is on, as in the runtime. */
const script = `
import json, sys, time
try:
    import torch
except ImportError:
    print(json.dumps({"missing": "not in Python"}))
    raise SystemExit
size, threads, trials, calls = (int(word) for word in sys.argv[1:])
torch.set_num_threads(threads)
torch.backends.cuda.matmul.allow_tf32 = True
device = "cuda" if torch.cuda.is_available() else "cpu"
def wait():
    if device == "cuda": torch.cuda.synchronize()
def least(work):
    best = float("inf")
    for trial in range(trials + 1):
        start = time.perf_counter()
        work()
        wait()
        if trial > 0: best = min(best, time.perf_counter() - start)
    return best
def rate(dtype):
    x = torch.randn(size, size, device=device).to(dtype)
    return 2 * size ** 3 / least(lambda: x @ x) / 1e9
a, b = torch.tensor(1.0, device=device), torch.tensor(2.0, device=device)
def add():
    for _ in range(calls): a + b
print(json.dumps({"version": torch.__version__ + " on " + device, "f32": rate(torch.float32), "bf16": rate(torch.bfloat16), "call": least(add) / calls * 1e6}))
`;

async function torchSpeed(size: number, threads: number): Promise<(Speed & { version: string }) | { missing: string }> {
  const python = process.env['DIT_MOE_PYTHON'] ?? 'python3';
  try {
    const { stdout } = await promisify(execFile)(python, ['-c', script, ...[size, threads, TRIALS, CALLS].map(String)]);
    return JSON.parse(stdout);
  } catch (error) {
    return { missing: `${python}: ${(error as Error).message.split('\n')[0]}` };
  }
}
