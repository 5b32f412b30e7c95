/** `train --dry-run`: what a run would cost, before it costs anything. */
import { type DitConfig, describeModel, type MemoryUse } from '@dit-moe/dit';
import { tensorFlowBackend } from '@dit-moe/tensor-ops';
import { modelConfig } from '../config/resolve.js';
import type { TrainConfig } from '../config/schema.js';
import { A100, checkpointBytes, flopsPerStep, secondsOnA100 } from '../planning/costs.js';
import { plannedData } from '../planning/data-shape.js';
import { bytes, duration, table, verdictRows } from '../planning/format.js';
import { planRun, type RunMemory } from '../planning/run-plan.js';
import { a100, estimatedVerdict, thisMachine, usedDevice, type Verdict, verdictsOf } from '../planning/verdicts.js';
import { type StepTime, timeStep } from '../training/step-probe.js';

export interface DryRun {
  model: DitConfig;
  parameters: { total: number; active: number };
  data: { images: number; classes: number; assumed: boolean };
  microBatch: number;
  stepsPerEpoch: number;
  epochs: number;
  /** Bytes on the device while training: planned from a recording of the step, or estimated by a formula where there is no TensorFlow. */
  memory: RunMemory | MemoryUse;
  /** Whether it was planned. */
  planned: boolean;
  /** Where it fits: the GPU that computes, else this machine, and A100s; without TensorFlow this machine only. */
  verdicts: Verdict[];
  /** Bytes of one checkpoint, and of all that are kept. */
  checkpoint: { one: number; kept: number };
  /** Floating point operations of one step, forward and backward. */
  flopsPerStep: number;
  /** Time of a step here, from a few that were timed. */
  step: StepTime;
  /** Estimated seconds of the whole run, without previews and metrics: here, and on one A100. */
  seconds: { here: number; a100: number };
}

/**
 * Computes what a run would cost. Data that is named is opened.
 * @param phase hears what is being waited for
 */
export async function dryRun(config: TrainConfig, phase: (text: string) => void = () => {}): Promise<DryRun> {
  phase('reading the data');
  const shape = await plannedData(config);
  phase('planning a step');
  const model = modelConfig(config, shape);
  const microBatch = config.batchSize / config.accumulation;
  const recorded = tensorFlowBackend() === undefined ? undefined : planRun(config, model);
  const { parameters, gmac, training } = describeModel(model, {
    batch: microBatch,
    emaRates: config.ema.length,
    recompute: config.recompute,
  });
  phase('timing a few steps');
  const step = await timeStep(config, model);
  return {
    model,
    parameters,
    data: { images: shape.count, classes: shape.classNames.length, assumed: shape.assumed },
    microBatch,
    stepsPerEpoch: shape.count / config.batchSize,
    epochs: (config.steps * config.batchSize) / shape.count,
    memory: recorded?.memory ?? training[config.precision],
    planned: recorded !== undefined,
    verdicts:
      recorded === undefined
        ? [estimatedVerdict(training[config.precision], thisMachine())]
        : verdictsOf(config, model, [await usedDevice(), ...a100]),
    checkpoint: checkpointBytes(config, parameters.total),
    flopsPerStep: flopsPerStep(config, gmac.total),
    step,
    seconds: { here: step.seconds * config.steps, a100: secondsOnA100(config, gmac.total) },
  };
}

const rate = (n: number): string => n.toLocaleString('en', { maximumSignificantDigits: 3 });

/** The findings for people. */
export function formatDryRun(config: TrainConfig, plan: DryRun): string {
  const { parameters, data, memory, checkpoint } = plan;
  const number = (n: number): string => n.toLocaleString('en', { maximumFractionDigits: 1 });
  const { total, ...parts } = memory;
  const origin = plan.planned ? 'planned from a recording' : 'estimated';
  const rows: [string, string][] = [
    ['parameters', `${number(parameters.total)}, ${number(parameters.active)} active per token`],
    ['data', `${number(data.images)} images, ${number(data.classes)} classes${data.assumed ? ' (no data named: ImageNet assumed)' : ''}`],
    ['input', `${plan.model.inChannels} x ${plan.model.inputSize.join(' x ')}`],
    ['batch', `${config.batchSize}${config.accumulation > 1 ? ` = ${config.accumulation} micro-batches of ${plan.microBatch}` : ''}`],
    ['steps', `${number(config.steps)}, ${number(plan.stepsPerEpoch)} per epoch, ${number(plan.epochs)} epochs`],
    [
      'memory',
      `${bytes(total)} (${Object.entries(parts)
        .filter(([, n]) => n > 0)
        .map(([name, n]) => `${name} ${bytes(n)}`)
        .join(', ')}), ${origin}`,
    ],
    ...verdictRows(plan.verdicts),
    ['checkpoint', `${bytes(checkpoint.one)}, ${bytes(checkpoint.kept)} kept at the end`],
    [
      'work',
      `${(plan.flopsPerStep / 1e12).toPrecision(3)} TFLOP per step, ${(plan.flopsPerStep * config.steps).toExponential(2)} FLOP in all`,
    ],
    [
      'time here',
      `about ${duration(plan.seconds.here)} at ${rate(config.batchSize / plan.step.seconds)} images/s, from timed steps of ${plan.step.measured === 'model' ? 'the model' : 'one block with random inputs'}`,
    ],
    ['time on A100', `about ${duration(plan.seconds.a100)} on one, if a step reaches ${100 * A100.share} % of its peak (assumed)`],
  ];
  return table(rows);
}
