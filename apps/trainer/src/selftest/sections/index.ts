/** The sections of the self-test, in their order. */
import type { Finding } from '../finding.js';
import type { SelftestMachine } from '../machine.js';
import { engine } from './engine.js';
import { ops } from './ops.js';
import { autoencoder, inceptionNetwork } from './pictures.js';
import { recording } from './recording.js';
import { routersAndDispatchers } from './routers.js';
import { sampling } from './sampling.js';
import { step } from './step.js';
import { training } from './training.js';

interface Section {
  /** What the report calls it. */
  title: string;
  /** Whether it must be alone in its process, whose memory it measures. */
  alone?: boolean;
  run(machine: SelftestMachine): Promise<Finding[]>;
}

export const sections = {
  ops: { title: 'Ops and their gradients', run: ({ f32 }) => ops(f32) },
  routers: { title: 'Routers and dispatchers', run: ({ f32 }) => routersAndDispatchers(f32) },
  training: { title: 'Training', run: ({ f32 }) => training(f32) },
  sampling: { title: 'Sampling', run: ({ f32 }) => sampling(f32) },
  autoencoder: { title: 'Autoencoder', run: ({ f32 }) => autoencoder(f32) },
  inception: { title: 'Inception', run: ({ f32 }) => inceptionNetwork(f32) },
  recording: { title: 'Recording of XL', run: recording },
  'step-f32': { title: 'A step in float32', alone: true, run: (machine) => step(machine, 'f32') },
  'step-bf16': { title: 'A step in bfloat16', alone: true, run: (machine) => step(machine, 'bf16') },
  engine: { title: 'Engine', run: engine },
} as const satisfies Record<string, Section>;
export type SectionName = keyof typeof sections;

/** The cluster's section, which runs in processes of its own. */
export const CLUSTER = 'cluster';
export const titleOf = (name: string): string => (name === CLUSTER ? 'Cluster' : sections[name as SectionName].title);
export const isAlone = (name: SectionName): boolean => (sections[name] as Section).alone === true;
