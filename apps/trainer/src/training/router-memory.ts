/** What routers keep of the batches, beside what gradients teach them. */
import { type DitConfig, expertLayers, isLoadBias, isThreshold } from '@dit-moe/dit';
import type { Routing } from '@dit-moe/moe';
import { LoadBias } from '@dit-moe/moe/selectors';
import type { Collectives, Parameter } from '@dit-moe/tensor-ops';
import { RouterThresholds } from './router-thresholds.js';
import { StepLoad } from './step-load.js';

export interface RouterMemory {
  /** What {@link count} changes. */
  readonly counters: readonly Parameter[];
  /** Takes in a micro-batch; inside a compiled step. */
  count(routing: readonly Routing[]): void;
  /** Takes the step, and counts anew; inside a compiled step. */
  update(): void;
  /** Forgets what was counted, for a step that is not applied. */
  reset(): void;
  dispose(): void;
}

export interface RouterMemories {
  all: readonly RouterMemory[];
  /** What the micro-batches of the step so far have sent to the experts, if a loss asks for it. */
  stepLoad: StepLoad | undefined;
}

/**
 * What the routers of a model keep.
 * @param parameters of the model
 * @param collectives of a cluster
 */
export function routerMemories(
  model: DitConfig,
  parameters: Readonly<Record<string, Parameter>>,
  collectives: Collectives | undefined,
): RouterMemories {
  const { loadBias, losses = {}, numExperts = 0 } = model.moe ?? {};
  const layers = expertLayers(model).length;
  const named = (fits: (name: string) => boolean): Parameter[] =>
    Object.entries(parameters).flatMap(([name, parameter]) => (fits(name) ? [parameter] : []));
  const biases = named(isLoadBias);
  const sums = named((name) => isThreshold(name) && name.endsWith('.sum'));
  const shares = named((name) => isThreshold(name) && name.endsWith('.share'));
  const stepLoad = losses.global === undefined || layers === 0 ? undefined : new StepLoad(layers, numExperts, collectives);
  return {
    all: [
      ...(biases.length > 0 ? [balancing(new LoadBias(biases, loadBias), collectives)] : []),
      ...(sums.length > 0 ? [new RouterThresholds(sums, shares)] : []),
      ...(stepLoad === undefined ? [] : [stepLoad]),
    ],
    stepLoad,
  };
}

/** Load biases, moved by the loads of all processes. */
function balancing(bias: LoadBias, collectives: Collectives | undefined): RouterMemory {
  return {
    counters: [bias.load],
    count: (routing) => bias.count(routing),
    update: () => bias.update(collectives && ((load) => collectives.allReduce(load))),
    reset: () => bias.reset(),
    dispose: () => bias.dispose(),
  };
}
