import { expect, test } from 'vitest';
import { type DitConfig, denseOf, describeModel, ditSizes, preset } from './index.js';

const some: [string, DitConfig][] = [
  ['S/2-8E2A', preset('S/2-8E2A')],
  ['XL/2-8E2A', preset('XL/2-8E2A')],
  [
    'every other block, without a shared expert',
    { ...preset('S/2-8E2A'), moe: { ...preset('S/2-8E2A').moe!, layers: { every: 2 }, sharedRatio: 0 } },
  ],
  ['GELU experts', { ...preset('S/2-8E2A'), moe: { ...preset('S/2-8E2A').moe!, experts: 'gelu', layers: 'deepHalf' } }],
];
test.each(some)('the matched dense model of %s has its active parameters and products', (_, config) => {
  const dense = denseOf(config, 'matched');
  const [sparse, matched] = [describeModel(config), describeModel(dense)];
  // The width is rounded to a whole number, of thousands; biases are no products.
  expect(matched.gmac.linear / sparse.gmac.linear).toBeCloseTo(1, 3);
  expect(Math.abs(matched.parameters.active / sparse.parameters.active - 1)).toBeLessThan(0.002);
  expect(matched.parameters.total).toBe(matched.parameters.active);
});

test('its width is that of the chosen and shared experts, and a third of a column for each logit of the router', () => {
  const config = preset('S/2-8E2A');
  expect(ditSizes(denseOf(config, 'matched')).mlpHidden).toBe(Math.round(2 * 4 * 384 + 2 * 384 + 8 / 3));
});

test('the plain dense model is the published one of the size', () => {
  expect(denseOf(preset('S/2-8E2A'), 'plain')).toEqual(preset('S/2'));
  expect(() => denseOf(preset('S/2'), 'matched')).toThrow(/with experts/);
});
