/** What is drawn of a run: distributions of its weights, and samples. */
import type { Pipeline } from '@dit-moe/pipeline';
import { weightHistograms } from '../histograms.js';
import type { MetricsLog } from '../metrics-log.js';
import { previewSamples } from '../preview.js';
import type { Run } from '../run.js';
import type { Listener } from './listener.js';

export function histograms(run: Run, metrics: MetricsLog): Listener {
  return {
    name: 'histograms',
    every: run.config.histogramEvery,
    fatal: false,
    run: async () => metrics.summaries(run.record.step, await weightHistograms(run.state.parameters)),
  };
}

export function previews(run: Run, metrics: MetricsLog, pipeline: Pipeline): Listener {
  const { out, config, signal } = run;
  return {
    name: 'samples',
    every: config.sampling.every,
    fatal: false,
    async run() {
      const { step } = run.record;
      run.progress.phase(`samples of step ${step}`);
      const { png, width, height } = await previewSamples(out, pipeline, config, step, signal);
      await metrics.summaries(step, [{ tag: 'samples', png, width, height }]);
    },
  };
}
