import { spawnSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { expect, test } from 'vitest';
import { type DitConfig, describeModel } from '../src/index.js';

const BATCH = 8;
/** Many tokens and few weights, so that activations are what is measured: 1,024 tokens, two heads. */
const config = (depth: number): DitConfig => ({
  inputSize: [64, 64],
  patchSize: 2,
  inChannels: 4,
  hiddenSize: 64,
  depth,
  numHeads: 2,
  mlpRatio: 4,
  numClasses: 3,
  learnSigma: true,
  moe: { numExperts: 4, topK: 2, expertRatio: 2, sharedRatio: 1, balanceAlpha: 0.01 },
});

/** Bytes of a compiled training step at its peak, in a process of its own. */
function peak(depth: number, recompute: boolean): number {
  const tsx = pathToFileURL(createRequire(import.meta.url).resolve('tsx/esm')).href;
  const script = fileURLToPath(new URL('training-peak.ts', import.meta.url));
  const args = ['--import', tsx, '--conditions=@dit-moe/source', script, JSON.stringify(config(depth)), String(BATCH), String(recompute)];
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(stderr);
  return Number(stdout);
}

/** Bytes per block. */
const slope = (of: (depth: number) => number): number => (of(10) - of(2)) / 8;

test.runIf(process.platform === 'linux')(
  'memory of a compiled training step grows per block as described, recomputed by little more than its input',
  () => {
    const predicted = (recompute: boolean) =>
      slope((depth) => describeModel(config(depth), { batch: BATCH, recompute }).training.f32.activations);
    const kept = slope((depth) => peak(depth, false));
    // A kept probability matrix would be 64 MiB per block more, which is more than the 50 that are predicted. How the heap fragments
    // depends on the order in which threads run: 1.18 to 1.32 was seen.
    expect(kept / predicted(false)).toBeGreaterThan(0.7);
    expect(kept / predicted(false)).toBeLessThan(1.45);
    const recomputed = slope((depth) => peak(depth, true));
    expect(recomputed).toBeLessThan(kept / 3);
  },
);
