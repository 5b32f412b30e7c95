/** The lines of metrics and of progress. */
import path from 'node:path';
import { tensorFlowBackend } from '@dit-moe/tensor-ops';
import { writeFileAtomically } from '@dit-moe/tensor-ops/io/node';
import type { TrainConfig } from '../../config/schema.js';
import { writeReport } from '../../report/report.js';
import { memoryInUse } from '../../run/device-memory.js';
import type { MetricsLine, MetricsLog } from '../metrics-log.js';
import { layerRouting, ROUTING_FILE, type RoutingFile } from '../routing.js';
import { newTiming, type Run, type Timing } from '../run.js';
import { emptyWindow } from '../run-record.js';
import { modelFlops, peakFlops } from '../utilization.js';
import type { Listener } from './listener.js';

const mapValues = (record: Readonly<Record<string, number>>, f: (value: number) => number): Record<string, number> =>
  Object.fromEntries(Object.entries(record).map(([name, value]) => [name, f(value)]));

/** Milliseconds of the steps by what they went into. */
const partsOf = ({ busyMs, waitedMs, transferMs, computeMs }: Timing): Record<string, number> => ({
  ...{ data: waitedMs, transfer: transferMs, compute: computeMs },
  host: Math.max(0, busyMs - waitedMs - transferMs - computeMs),
});

const stepsIn = ({ images }: Timing, { batchSize }: TrainConfig): number => Math.max(1, images / batchSize);

/**
 * A line for the steps since the one before, and the report from all of them.
 * @param lastLoss that of the last step, for a line whose steps were all skipped
 */
export function logListeners(run: Run, metrics: MetricsLog, lastLoss: () => number): [log: Listener, report: Listener] {
  const { config, state, out, progress } = run;
  const [flops, peak] = [modelFlops(run.card.config), peakFlops(config)];
  const ranks = run.ranks.cluster?.size ?? 1;
  /** All that was counted for the newest line. */
  let counted: RoutingFile | undefined;
  const measured = [config.evaluation, config.validation].flatMap((set) => set?.every ?? []);
  return [
    {
      name: 'metrics',
      every: [config.logEvery, ...measured],
      fatal: false,
      async run({ learningRate, evaluation, validation }) {
        const { record, timing } = run;
        const { window, step, skipped } = record;
        const n = Math.max(1, window.steps);
        const routing = await state.telemetry?.read();
        const { resident, device } = await memoryInUse(tensorFlowBackend()?.isUsingGpuDevice === true);
        const imagesPerSecond = (timing.images * 1000) / timing.busyMs;
        const line: MetricsLine = {
          step,
          at: Date.now(),
          loss: window.steps === 0 ? lastLoss() : window.loss / n,
          balance: window.balance / n,
          ...(Object.keys(window.routerLosses ?? {}).length > 0 && { routerLosses: mapValues(window.routerLosses, (sum) => sum / n) }),
          ...(Object.keys(window.distillation ?? {}).length > 0 && { distillation: mapValues(window.distillation!, (sum) => sum / n) }),
          gradNorm: window.gradNorm / n,
          learningRate,
          imagesPerSecond,
          stall: timing.waitedMs / timing.busyMs,
          memory: Math.round(resident / 2 ** 20),
          ...(device !== undefined && { deviceMemory: Math.round(device / 2 ** 20) }),
          time: mapValues(partsOf(timing), (ms) => Math.round((1000 * ms) / stepsIn(timing, config)) / 1000) as MetricsLine['time'] &
            object,
          ...(peak !== undefined && { mfu: (flops * imagesPerSecond) / (peak * ranks) }),
          skipped,
          routing: routing === undefined ? [] : layerRouting(routing, run.card.config),
          ...(Object.keys(evaluation).length > 0 && { evaluation }),
          ...(validation !== undefined && { validation }),
        };
        run.record = { ...record, window: emptyWindow() };
        run.timing = newTiming();
        state.telemetry?.reset();
        await metrics.add(line);
        counted = routing && { step, ...routing };
        progress.update({ step, steps: config.steps, loss: line.loss, imagesPerSecond, ...(line.mfu !== undefined && { mfu: line.mfu }) });
      },
      rewind: () => metrics.rewind(run.record.step),
    },
    {
      name: 'report',
      every: [config.sampling.every, config.checkpoints.every],
      fatal: false,
      async run() {
        if (counted !== undefined) await writeFileAtomically(path.join(out, ROUTING_FILE), JSON.stringify(counted));
        await writeReport(out);
      },
    },
  ];
}
