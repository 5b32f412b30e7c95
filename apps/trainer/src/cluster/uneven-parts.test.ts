import { type DitConfig, preset } from '@dit-moe/dit';
import { expect, test } from 'vitest';
import { refuseUnevenExperts } from './uneven-parts.js';

const model = preset('S/2-8E2A');
const withExperts = (moe: Partial<NonNullable<DitConfig['moe']>>): DitConfig => ({ ...model, moe: { ...model.moe!, ...moe } });
const parts = (experts: number) => ({ zero: 0, experts }) as const;

test('experts of different kinds cannot be shared out, in any block', () => {
  const groups = [
    { kind: 'swiglu', count: 4 },
    { kind: 'copy', count: 4 },
  ] as const;
  for (const config of [withExperts({ experts: groups }), withExperts({ layerExperts: [{ layers: [1], experts: groups }] })]) {
    expect(() => refuseUnevenExperts(config, parts(2), 2)).toThrow(
      'parallel.experts 2: experts of different kinds cannot be shared out; give every process all of them (1).',
    );
    refuseUnevenExperts(config, parts(1), 2);
    refuseUnevenExperts(config, parts(2), 1);
  }
});

test('experts are shared out in equal parts, if there are any', () => {
  for (const experts of [2, 4, 8]) refuseUnevenExperts(model, parts(experts), 8);
  refuseUnevenExperts(withExperts({ experts: 'gelu' }), parts(2), 2);
  expect(() => refuseUnevenExperts(model, parts(3), 3)).toThrow('must divide the experts of a layer, which are 8');
  expect(() => refuseUnevenExperts(preset('S/2'), parts(2), 2)).toThrow('the model has no experts');
});
