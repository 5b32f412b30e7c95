/** The lines of metrics and of progress. */
import path from 'node:path';
import { writeFileAtomically } from '@dit-moe/tensor-ops/io/node';
import { writeReport } from '../../report/report.js';
import type { MetricsLog } from '../metrics-log.js';
import { layerRouting, ROUTING_FILE, type RoutingFile } from '../routing.js';
import { newTiming, type Run } from '../run.js';
import { emptyWindow } from '../run-record.js';
import type { Listener } from './listener.js';

const mapValues = (record: Readonly<Record<string, number>>, f: (value: number) => number): Record<string, number> =>
  Object.fromEntries(Object.entries(record).map(([name, value]) => [name, f(value)]));

/**
 * A line for the steps since the one before, and the report from all of them.
 * @param lastLoss that of the last step, for a line whose steps were all skipped
 */
export function logListeners(run: Run, metrics: MetricsLog, lastLoss: () => number): [log: Listener, report: Listener] {
  const { config, state, out, progress } = run;
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
        const line = {
          step,
          loss: window.steps === 0 ? lastLoss() : window.loss / n,
          balance: window.balance / n,
          ...(Object.keys(window.routerLosses ?? {}).length > 0 && { routerLosses: mapValues(window.routerLosses, (sum) => sum / n) }),
          ...(Object.keys(window.distillation ?? {}).length > 0 && { distillation: mapValues(window.distillation!, (sum) => sum / n) }),
          gradNorm: window.gradNorm / n,
          learningRate,
          imagesPerSecond: (timing.images * 1000) / timing.busyMs,
          stall: timing.waitedMs / timing.busyMs,
          memory: Math.round(process.memoryUsage.rss() / 2 ** 20),
          skipped,
          routing: routing === undefined ? [] : layerRouting(routing),
          ...(Object.keys(evaluation).length > 0 && { evaluation }),
          ...(validation !== undefined && { validation }),
        };
        run.record = { ...record, window: emptyWindow() };
        run.timing = newTiming();
        state.telemetry?.reset();
        await metrics.add(line);
        counted = routing && { step, ...routing };
        progress.update({ step, steps: config.steps, loss: line.loss, imagesPerSecond: line.imagesPerSecond });
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
