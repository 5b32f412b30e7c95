import { expect, test } from 'vitest';
import { undescribed } from '../../../testing/undescribed.js';
import type { DdpmObjectiveOptions, FlowObjectiveOptions } from './objectives.js';
import { objectiveSettings, parseObjective } from './settings.js';

const flow: Required<FlowObjectiveOptions> = {
  ...{ path: 'gvp', prediction: 'velocity', weighting: 'none', timeFloor: 0.1, cosine: 1, contrast: 0.05 },
  times: { distribution: 'logit-normal', mean: 0.5, deviation: 2, stratified: true, shift: 3 },
};
const ddpm: Required<DdpmObjectiveOptions> = {
  ...{ schedule: 'cosine', steps: 10, prediction: 'noise', varianceType: 'fixed-large', loss: 'mse', minSnr: 5, timesteps: 'uniform' },
};

test('what options may hold is read as it is', () => {
  expect(parseObjective({ kind: 'flow', ...flow })).toEqual({ kind: 'flow', ...flow });
  expect(parseObjective({ kind: 'ddpm', ...ddpm })).toEqual({ kind: 'ddpm', ...ddpm });
  expect(parseObjective({ kind: 'ddpm', schedule: [0.1, 0.2] })).toEqual({ kind: 'ddpm', schedule: [0.1, 0.2] });
  expect(parseObjective({ kind: 'ddpm', meanType: 'velocity' })).toEqual({ kind: 'ddpm', prediction: 'v' });
});

test.each<[object, string]>([
  [{ kind: 'flwo' }, 'kind: expected flow or ddpm, found "flwo". Did you mean flow?'],
  [{}, 'kind: expected flow or ddpm, found nothing.'],
  [{ kind: 'flow', pth: 'vp' }, 'pth: is not a setting. Did you mean path?'],
  [{ kind: 'flow', steps: 3 }, 'steps: is not a setting.'],
  [{ kind: 'flow', times: { shift: 0 } }, 'times.shift: expected a number above 0, found 0.'],
  [{ kind: 'ddpm', schedule: 'cosin' }, 'Did you mean cosine?'],
  [{ kind: 'ddpm', loss: 'kl', minSnr: 5 }, 'minSnr: expected a squared error as the loss, found "kl".'],
])('%j is refused', (options, message) => {
  expect(() => parseObjective(options)).toThrow(message);
});

test('every setting has a description', () => {
  expect(undescribed(objectiveSettings.schema)).toEqual([]);
});
