/** The paper's claims as experiments: what is trained, what should come out, and when that counts. */

/** Settings in which an arm differs from the base. */
export type Arm = Readonly<Record<string, unknown>>;

/** What is compared: the held-out loss, how unevenly experts are used, samples that a classifier tells right, and what a choice depends on. */
export type Measure = 'loss' | 'loadVariation' | 'accuracy';

/** One arm before another by a measure. */
export interface Order {
  better: string;
  worse: string;
  by: Measure;
}

export interface Claim {
  id: string;
  title: string;
  /** Where it is from, and what it says. */
  source: string;
  arms: readonly string[];
  seeds: readonly number[];
  /** All of them together are the claim. */
  expected: readonly Order[];
}

/** What all trainings have in common: three minutes on one thread that has a core to itself. */
export const base = {
  data: { split: 'train', channels: 1 },
  model: {
    ...{ patchSize: 4, hiddenSize: 64, depth: 4, numHeads: 4 },
    // Half of what the paper's experts are beside their width: two routed and the shared one cost what a dense layer of GELU does.
    moe: { numExperts: 8, topK: 2, expertRatio: 1, sharedRatio: 0.5, balanceAlpha: 0.005 },
  },
  objective: { kind: 'flow', timeScale: 1000 },
  steps: 500,
  batchSize: 64,
  optimizer: { learningRate: 2e-3, warmupSteps: 50, schedule: 'cosine', clipNorm: 1 },
  ema: [0.98],
  checkpoints: { every: 500 },
  sampling: { every: 1_000_000, steps: 25, guidance: 2 }, // no previews
  validation: { split: 'test', every: 500, samples: 2000 },
};

const moe = (settings: object): Arm => ({ model: { moe: settings } });
/** Samples are made and judged at the end. */
const judged = { evaluation: { every: 500, samples: 500 } };
const cleanImage = { kind: 'flow', timeScale: 1000, prediction: 'start', weighting: 'velocity' };

/** Every training that a claim names. */
export const arms: Readonly<Record<string, Arm>> = {
  mixture: {},
  'dense-matched': { model: { dense: 'matched' } },
  'dense-plain': { model: { dense: 'plain' } },
  'expert-choice': moe({ router: 'expert-choice', balanceAlpha: 0 }),
  'experts-1': moe({ numExperts: 1, topK: 1, expertRatio: 2 }),
  'experts-2': moe({ numExperts: 2 }),
  'experts-4': moe({ numExperts: 4 }),
  'experts-16': moe({ numExperts: 16 }),
  'shared-none': moe({ sharedRatio: 0, expertRatio: 1.25 }),
  'shared-narrow': moe({ sharedRatio: 0.25, expertRatio: 1.125 }),
  'balance-0': moe({ balanceAlpha: 0 }),
  'balance-0.01': moe({ balanceAlpha: 0.01 }),
  'balance-0.1': moe({ balanceAlpha: 0.1 }),
  'load-bias': moe({ balanceAlpha: 0, loadBias: 0.001 }),
  'router-unmodulated': moe({ routerInput: 'unmodulated' }),
  'velocity-4': judged,
  'velocity-14': { ...judged, model: { patchSize: 14 } },
  'start-4': { ...judged, objective: cleanImage },
  'start-14': { ...judged, model: { patchSize: 14 }, objective: cleanImage },
};

const below = (better: string, ...worse: string[]): Order[] => worse.map((arm) => ({ better, worse: arm, by: 'loss' }));

export const claims: readonly Claim[] = [
  {
    id: 'a',
    title: 'A mixture is better than dense models of its active size',
    source:
      'DiT-MoE, abstract and section 4: a sparse model is on par with dense ones that cost more. The other router is not of the paper.',
    arms: ['mixture', 'dense-matched', 'dense-plain', 'expert-choice'],
    seeds: [0, 1, 2],
    expected: below('mixture', 'dense-matched', 'dense-plain', 'expert-choice'),
  },
  {
    id: 'b',
    title: 'More experts are better, at two per token',
    source: 'DiT-MoE, section 4.3.',
    arms: ['experts-1', 'experts-2', 'experts-4', 'mixture', 'experts-16'],
    seeds: [0],
    expected: [
      ...below('experts-2', 'experts-1'),
      ...below('experts-4', 'experts-2'),
      ...below('mixture', 'experts-4'),
      ...below('experts-16', 'mixture'),
    ],
  },
  {
    id: 'c',
    title: 'A shared expert helps',
    source: 'DiT-MoE, section 4.3. What the shared expert lacks in width the routed ones have, so that all arms cost the same.',
    arms: ['mixture', 'shared-narrow', 'shared-none'],
    seeds: [0],
    expected: [...below('mixture', 'shared-none'), ...below('shared-narrow', 'shared-none')],
  },
  {
    id: 'd',
    title: 'The balance loss evens the load and costs no quality',
    source: 'DiT-MoE, section 3.2, weight 0.005; its code has 0.01. The bias that replaces the loss is of DeepSeek-V3 (arXiv 2412.19437).',
    arms: ['mixture', 'balance-0', 'balance-0.01', 'balance-0.1', 'load-bias'],
    seeds: [0],
    expected: [
      ...['mixture', 'balance-0.01', 'balance-0.1', 'load-bias'].map(
        (better): Order => ({ better, worse: 'balance-0', by: 'loadVariation' }),
      ),
      ...below('mixture', 'balance-0'),
    ],
  },
  {
    id: 'f',
    title: 'A router that sees tokens before the modulation by time and class is better',
    source: 'Nucleus-Image (arXiv 2604.12163) says so of its own; DiT-MoE gives its router the modulated tokens.',
    arms: ['mixture', 'router-unmodulated'],
    seeds: [0],
    expected: below('router-unmodulated', 'mixture'),
  },
  {
    id: 'g',
    title: 'Large patches need the clean image as the target',
    source:
      'JiT (arXiv 2511.13720). A patch of 4 x 4 has 16 numbers, one of 14 x 14 has 196, three times the width of the model. Losses of the two targets have other scales: samples are compared.',
    arms: ['velocity-4', 'start-4', 'velocity-14', 'start-14'],
    seeds: [0],
    expected: [{ better: 'start-14', worse: 'velocity-14', by: 'accuracy' }],
  },
];

/** The arm whose trainings from several seeds show which differences are chance. */
export const sameArm = 'mixture';
