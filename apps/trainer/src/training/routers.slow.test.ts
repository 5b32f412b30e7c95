/**
 * Every router of the configuration through a whole life: trained 30 steps, stopped in the middle and resumed to the same bytes, sampled by
 * the TensorFlow runtime and by WebAssembly, alone and in a batch, written and opened again.
 */
import '@tensorflow/tfjs-backend-wasm';
import fs from 'node:fs';
import path from 'node:path';
import { isRouterState, type MoeConfig, routerLossWeights } from '@dit-moe/dit';
import { openModel, writeModel } from '@dit-moe/dit/node';
import { openPipeline } from '@dit-moe/pipeline/node';
import { type TensorFlowRuntime, useTensorFlow } from '@dit-moe/tensor-ops/node';
import * as tf from '@tensorflow/tfjs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { routers } from '../../../../testing/routers.js';
import { checkpointBytes, makeRoot, metricsLines, runTiny, tinyConfig } from '../testing/tiny-run.js';

const { root, images, newRun } = makeRoot();
let runtime: TensorFlowRuntime;
beforeAll(async () => {
  runtime = await useTensorFlow();
});
afterAll(async () => {
  await runtime.shutdown();
  fs.rmSync(root, { recursive: true });
});

test.each(Object.entries(routers))(
  '%s: trains, resumes bit for bit, samples alike on two backends and in any batch, is written and opened',
  async (_, row) => {
    await tf.setBackend('tensorflow');
    const router = JSON.stringify({ numExperts: 4, topK: 2, expertRatio: 1, sharedRatio: 1, ...row });
    const config = (steps: number) =>
      tinyConfig(
        images,
        'model.depth=2',
        `model.moe=${router}`,
        `steps=${steps}`,
        'checkpoints.every=15',
        'optimizer.learningRate=0.01',
        'labelDropout=0.3',
      );
    const [whole, parts] = [newRun(), newRun()];
    await runTiny(config(30), whole);
    await runTiny(config(15), parts);
    await runTiny(config(30), parts, { resume: true });
    for (const file of ['weights', 'ema', 'optimizer', 'telemetry'])
      expect(checkpointBytes(parts, 30, file).equals(checkpointBytes(whole, 30, file)), file).toBe(true);

    const file = await openModel(whole);
    const kept: Record<string, number[]> = { bias: [], sum: [], share: [] };
    for await (const [name, { data }] of file.weights()) if (isRouterState(name)) kept[name.split('.').at(-1)!].push(...data);
    const { loadBias, router: kind = 'token' } = config(30).model.moe!;
    const { bias, sum, share } = kept;
    expect(bias.length).toBe(loadBias === undefined ? 0 : 8);
    if (bias.length > 0) {
      expect(Math.max(...bias)).toBeGreaterThan(0.005);
      expect(bias.reduce((a, b) => a + b)).toBeCloseTo(0, 6);
    }
    const thresholds = kind === 'race' || kind === 'threshold';
    expect([sum.length, share.length]).toEqual(thresholds ? [8, 2] : [0, 0]);
    // How much of a running mean with decay 0.95 there is, in the average of the weights whose decay is 0.5.
    let expected = 0;
    for (let step = 1; step <= 30; step++) expected = (expected + 1 - 0.95 ** step) / 2;
    for (const one of share) expect(one).toBeCloseTo(expected, 5);
    if (kind === 'race') for (const layer of [0, 4]) expect(new Set(sum.slice(layer, layer + 4)).size).toBe(1);

    const lines = metricsLines(whole);
    if (row.capacitySchedule !== undefined) {
      const used = lines.map(({ routing }) => routing[0].load.reduce((a: number, b: number) => a + b, 0));
      // Of the 4 tokens of 4 images an expert takes 1.5, 1.25 and then 1, rounded.
      expect([used[0], used[10], used[20]]).toEqual([32, 16, 16]);
    }
    const meanOf = (part: { loss: number }[]) => part.reduce((sum, { loss }) => sum + loss, 0) / part.length;
    expect(meanOf(lines.slice(-5))).toBeLessThan(meanOf(lines.slice(0, 5)));
    const { balance: _balance, ...further } = routerLossWeights(config(30).model.moe as MoeConfig);
    for (const line of lines) expect(Object.keys(line.routerLosses ?? {})).toEqual(Object.keys(further));
    const report = fs.readFileSync(path.join(whole, 'report.html'), 'utf8');
    const events = fs.readFileSync(path.join(whole, fs.readdirSync(whole).find((name) => name.startsWith('events.'))!), 'latin1');
    for (const name of Object.keys(further)) {
      expect(report).toContain(`${name} loss of the routers`);
      expect(events).toContain(`router/${name}`);
    }
    expect(report.includes('share of the copy experts')).toBe(typeof row.experts === 'object');
    for (const { routing } of lines)
      for (const { kinds } of routing) {
        if (typeof row.experts !== 'object') expect(kinds).toBeUndefined();
        else expect(Object.values<number>(kinds).reduce((a, b) => a + b)).toBeCloseTo(1, 9);
      }

    const sample = async (location: string, batch: number) => {
      const pipeline = await openPipeline(location);
      const { data } = await pipeline.sample({ labels: [0, 1, 1], seed: 3, steps: 4, batch });
      pipeline.dispose();
      return Array.from(data);
    };
    const together = await sample(whole, 3);
    // Eight bits; products of other sizes may round a value to the neighbouring one.
    const expectAlike = (data: number[]) => {
      expect(data.length).toBe(together.length);
      data.forEach((value, i) => void expect(Math.abs(value - together[i])).toBeLessThanOrEqual(1));
    };
    expectAlike(await sample(whole, 1));
    const copy = path.join(root, 'copy.safetensors');
    await writeModel(copy, file, { card: file.card! });
    await file.close();
    expect(await sample(copy, 3)).toEqual(together);
    await tf.setBackend('wasm');
    expectAlike(await sample(whole, 3));
    await tf.setBackend('tensorflow');
  },
);
