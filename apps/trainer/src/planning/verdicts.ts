/** Whether a run fits a device, and which settings would make it fit. */
import os from 'node:os';
import type { DitConfig, MemoryUse } from '@dit-moe/dit';
import { tensorFlowBackend } from '@dit-moe/tensor-ops';
import { chosenGpu, nvidiaDriver } from '@dit-moe/tensor-ops/node';
import type { TrainConfig } from '../config/schema.js';
import { planRun, type RunPlan, type RunPlanOptions } from './run-plan.js';

/** A device by its memory. */
export interface Target {
  name: string;
  bytes: number;
  /** Whether `precision: bf16` multiplies in bfloat16 there (default: as the runtime does here). */
  bf16Products?: boolean;
}

/** Added to a plan for what allocators round up and libraries take; plans were within a fifth of what was measured. */
const MARGIN = 1.2;

/** A100s by the bytes that their makers state, which leaves what CUDA and its libraries take. */
export const a100: readonly Target[] = [40, 80].map((gb) => ({ name: `A100 of ${gb} GB`, bytes: gb * 1e9, bf16Products: true }));

/** This machine: its memory as far as this process may take it. */
export function thisMachine(): Target {
  const limit = process.constrainedMemory();
  const total = os.totalmem();
  return { name: 'this machine', bytes: limit > 0 && limit < total ? limit : total };
}

/** What the runtime computes on: its GPU as the driver describes it, else this machine. */
export async function usedDevice(): Promise<Target> {
  if (tensorFlowBackend()?.isUsingGpuDevice !== true) return thisMachine();
  const driver = await nvidiaDriver();
  const gpu = driver && chosenGpu(driver);
  return gpu === undefined ? thisMachine() : { name: gpu.name, bytes: gpu.memoryBytes };
}

export interface Verdict {
  target: string;
  /** Bytes that the run needs there, with a margin for what a plan does not see. */
  needs: number;
  bytes: number;
  fits: boolean;
  /** If it does not fit: settings with which it would, as `--set` takes them; undefined if none of those tried does. */
  settings?: string[];
  /** It is of an estimate, for which no settings were tried. */
  estimated?: true;
}

/** The bytes of state are exact, so the margin is for the rest. */
const needed = ({ memory }: RunPlan): number => memory.total + (MARGIN - 1) * memory.working;

/** Without a plan: whether an estimate fits, without settings that would mend it. */
export const estimatedVerdict = ({ total, activations }: MemoryUse, { name, bytes }: Target): Verdict => {
  const needs = total + (MARGIN - 1) * activations;
  return { target: name, needs, bytes, fits: needs <= bytes, estimated: true };
};

/**
 * Plans a run for each device, or for as many of them as there are processes. What is recorded once is not recorded again.
 */
export function verdictsOf(config: TrainConfig, model: DitConfig, targets: readonly Target[], processes = 1): Verdict[] {
  const plans = new Map<string, number>();
  const needs = (changed: TrainConfig, { bf16Products }: Target): number => {
    const options: RunPlanOptions = { processes, ...(bf16Products !== undefined && { bf16Products }) };
    const { recompute, accumulation, ema, precision } = changed;
    const key = JSON.stringify([recompute, accumulation, ema, precision, options]);
    const known = plans.get(key) ?? needed(planRun(changed, model, options));
    plans.set(key, known);
    return known;
  };
  return targets.map((target) => {
    const own = needs(config, target);
    const verdict = { target: target.name, needs: own, bytes: target.bytes, fits: own <= target.bytes };
    if (verdict.fits) return verdict;
    const settings = settingsThatFit(config, processes, (changed) => needs(changed, target) <= target.bytes);
    return { ...verdict, ...(settings !== undefined && { settings }) };
  });
}

/**
 * The first of: blocks recomputed; smaller micro-batches; one average instead of several. Batch, precision and model stay as they are, for
 * they change what is learnt.
 */
function settingsThatFit(config: TrainConfig, processes: number, fits: (changed: TrainConfig) => boolean): string[] | undefined {
  const recomputed = { ...config, recompute: true };
  const settings = config.recompute ? [] : ['recompute=true'];
  if (settings.length > 0 && fits(recomputed)) return settings;
  const smaller = (from: TrainConfig, said: readonly string[]): string[] | undefined => {
    // If one image at a time does not fit, nothing between does.
    const most = from.batchSize / processes;
    if (!fits({ ...from, accumulation: most })) return undefined;
    for (let accumulation = 2 * config.accumulation; accumulation < most; accumulation *= 2)
      if (most % accumulation === 0 && fits({ ...from, accumulation })) return [...said, `accumulation=${accumulation}`];
    return [...said, `accumulation=${most}`];
  };
  const found = smaller(recomputed, settings);
  if (found !== undefined || config.ema.length === 1) return found;
  const ema = [config.ema[0]];
  return smaller({ ...recomputed, ema }, [...settings, `ema=${ema}`]);
}
