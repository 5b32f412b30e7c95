/** Samples of a small model with guidance, by solvers of both kinds. */

import { finish } from '@dit-moe/diffusion';
import type { ModelCard } from '@dit-moe/dit';
import { pipelineOf, pixelSpace } from '@dit-moe/pipeline';
import { Parameter, type Precision } from '@dit-moe/tensor-ops';
import { compare, type Multiplies, type Numbers, toHost } from '../compare.js';
import type { Finding } from '../finding.js';
import { randomWeights, smallModel } from '../small-model.js';

const STEPS = 5;

export async function sampling(multiplies: Multiplies): Promise<Finding[]> {
  return [
    await compare('flow, euler', multiplies, () => samples('flow', 'euler', 2, 'f32')),
    await compare('Gaussian, ddim', multiplies, () => samples('ddpm', 'ddim', 2, 'f32')),
    await compare('Gaussian, ddpm', multiplies, () => samples('ddpm', 'ddpm', 2, 'f32')),
    // With all experts: of two that are nearly equal bfloat16 may choose the other one.
    await compare('flow, euler, bf16', 'bf16', () => samples('flow', 'euler', 4, 'bf16')),
  ];
}

async function samples(
  objective: 'flow' | 'ddpm',
  solver: 'euler' | 'ddim' | 'ddpm',
  topK: number,
  precision: Precision,
): Promise<Numbers> {
  const config = smallModel({ topK });
  const card: ModelCard = {
    ...{ config, objective, step: 0 },
    timeScale: objective === 'flow' ? 1000 : 1,
    objectiveOptions: objective === 'flow' ? { kind: 'flow' } : { kind: 'ddpm', varianceType: 'learned-range' },
    classNames: Array.from({ length: config.numClasses }, (_, i) => String(i)),
  };
  const parameters = Object.fromEntries(
    Object.entries(randomWeights(config)).map(([name, value]) => {
      const parameter = new Parameter(name, value);
      value.dispose();
      return [name, parameter];
    }),
  );
  const pipeline = pipelineOf(card, parameters, pixelSpace(4), precision);
  try {
    return await toHost({ samples: await finish(pipeline.solve({ labels: [1, 2, 3], seed: 5, steps: STEPS, solver, guidance: 2 })) });
  } finally {
    pipeline.dispose();
    for (const parameter of Object.values(parameters)) parameter.dispose();
  }
}
