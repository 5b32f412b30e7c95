/** What is drawn of a run: distributions of its weights, and samples. */
import type { Decoder } from '../decoder.js';
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

export function previews(run: Run, metrics: MetricsLog, decoder: Decoder): Listener {
  const { out, config, card, state, signal } = run;
  return {
    name: 'samples',
    every: config.sampling.every,
    fatal: false,
    async run() {
      const { step } = run.record;
      const { png, width, height } = await previewSamples(
        out,
        state.emas[0].averages.parameters,
        config,
        { ...card, step },
        decoder,
        signal,
      );
      await metrics.summaries(step, [{ tag: 'samples', png, width, height }]);
    },
  };
}
