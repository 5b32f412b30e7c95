import { expect, test } from 'vitest';
import { type DitConfig, describeModel, preset } from './index.js';

// DiT-MoE paper, table 1: "Gflops" (multiply-accumulates without attention's products), total and active parameters.
test.each([
  ['S/2-8E2A', 15.43, '199M', '71M'],
  ['S/2-16E2A', 15.44, '369M', '71M'],
  ['B/2-8E2A', 61.68, '795M', '286M'],
  ['L/2-8E2A', 219.26, '2.8B', '1.0B'],
  ['XL/2-8E2A', 323.74, '4.1B', '1.5B'],
  ['G/2-16E2A', 690.94, '16.5B', '3.1B'],
])('%s has the numbers of the paper in both flavours', (name, gmac, total, active) => {
  // Printed with as many digits, rounded or cut.
  const printed = (text: string, value: number) => {
    const [, number, unit] = /^([\d.]+)([MB])$/.exec(text)!;
    const digit = number.includes('.') ? 0.1 : 1;
    expect(Math.abs(value / (unit === 'B' ? 1e9 : 1e6) - Number(number))).toBeLessThan(digit);
  };
  for (const flavour of ['repo', 'paper'] as const) {
    const description = describeModel(preset(name, { flavour }));
    expect(Math.round(description.gmac.linear * 100) / 100).toBe(gmac);
    printed(total, description.parameters.total);
    printed(active, description.parameters.active);
  }
});

test('a dense DiT has the GMAC of its own paper, attention adds two products per block', () => {
  // DiT paper, table 4: XL/2 118.64 Gflops at 256 px, 524.60 at 512 px, attention included.
  expect(describeModel(preset('XL/2')).gmac.total).toBeCloseTo(118.64, 0);
  expect(describeModel(preset('XL/2', { imageSize: 512 })).gmac.total).toBeCloseTo(524.6, -1);
  const { gmac, tokens } = describeModel(preset('S/2-8E2A'));
  expect(gmac.total - gmac.linear).toBeCloseTo((12 * 2 * tokens ** 2 * 384) / 1e9, 9);
});

test('only the layers with experts are counted as such', () => {
  const mixed: DitConfig = { ...preset('S/2-8E2A'), moe: { ...preset('S/2-8E2A').moe!, layers: 'deepHalf' } };
  const [all, half, dense] = [preset('S/2-8E2A'), mixed, preset('S/2')].map((config) => describeModel(config));
  expect(half.parameters.total).toBe((all.parameters.total + dense.parameters.total) / 2);
  expect(half.gmac.total).toBeCloseTo((all.gmac.total + dense.gmac.total) / 2, 9);
});

test('memory: bfloat16 halves the matrices, recomputation leaves one block, batches scale activations', () => {
  const config = preset('XL/2-8E2A', { imageSize: 512 });
  const { inference, training, parameters } = describeModel(config);
  expect(inference.bf16.weights / inference.f32.weights).toBeCloseTo(0.5, 2);
  expect(training.f32.weights + training.f32.optimizer + training.f32.gradients + training.f32.averages).toBe(20 * parameters.total);
  const again = describeModel(config, { recompute: true }).training.f32.activations;
  expect(training.f32.activations / again).toBeGreaterThan(7);
  const two = describeModel(config, { batch: 2 }).training.f32.activations;
  expect(two / training.f32.activations).toBeGreaterThan(1.8);
  expect(training.f32.total).toBe(20 * parameters.total + training.f32.activations);
});
