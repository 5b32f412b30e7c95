/** The routers that are tested from the layer to the samples of a trained model: what a configuration says of each, beside four experts. */
import type { MoeConfig } from '@dit-moe/dit';

export const routers: Readonly<Record<string, Partial<MoeConfig>>> = {
  token: { losses: { z: 0.001, importance: 0.01, similarity: 0.01 } },
  'token, time': { routerInput: 'time' },
  'token, dsmoe': {
    scoreFunction: 'sigmoid',
    normalizeTopK: true,
    weightScale: 2.5,
    loadBias: 0.01,
    groups: { count: 2, keep: 1 },
    balanceAlpha: 0,
  },
  'token, every loss, noise, different experts': {
    sharedGate: true,
    noise: { gate: 0.1, jitter: 0.01 },
    losses: { sequence: 0.01, global: 0.01, load: 0.01 },
    experts: [
      { kind: 'swiglu', count: 1, ratio: 1 },
      { kind: 'gelu', count: 1 },
      { kind: 'copy', count: 1 },
      { kind: 'constant', count: 1, blended: true },
    ],
    layerExperts: [
      {
        layers: [0],
        experts: [
          { kind: 'zero', count: 1 },
          { kind: 'gelu', count: 3, ratio: 0.5 },
        ],
      },
    ],
  },
  'expert-choice': { router: 'expert-choice', scoreFunction: 'sigmoid', balanceAlpha: 0 },
  'expert-choice, normalised by expert': {
    router: 'expert-choice',
    routerInput: 'unmodulated+time',
    normalizeTopK: 'expert',
    capacity: [1, 2.5],
    capacitySchedule: { from: 1.5, steps: 20, stages: 2 },
  },
  race: { router: 'race', scoreFunction: 'identity', losses: { similarity: 0.01 } },
  threshold: { router: 'threshold', routerInput: 'unmodulated', capacity: [1, 2.5], balanceAlpha: 0 },
  prototypes: { router: 'prototypes', nullExpert: true, losses: { contrastive: 0.1 } },
  timestep: { router: 'timestep', topK: 1 },
};
