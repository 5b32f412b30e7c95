/** `routing.html`: the figures in one file, without external requests. */
import { type DitConfig, expertLayers, expertsPerToken } from '@dit-moe/dit';
import { escapeHtml, formatDuration } from '@dit-moe/kit';
import { evenness, loadByKind, meanPerToken, specialisation } from '@dit-moe/moe/telemetry';
import type { Figure, RoutingCounts } from './figures.js';

export interface LayerSummary {
  layer: number;
  evenness: number;
  /** Mean number of experts of a token, and what the configuration says of it. */
  perToken: number;
  capacity: number;
  /** Share of the assignments of each kind of expert. */
  kinds: Readonly<Record<string, number>>;
  dependence: { class: number; position: number; time: number };
}

/** What was counted in a few numbers per layer. */
export const summaryOf = ({ layers, kinds }: RoutingCounts, { moe, ...dense }: DitConfig): LayerSummary[] =>
  moe === undefined
    ? []
    : layers.map((counted, layer) => ({
        layer,
        evenness: evenness(counted.load),
        perToken: meanPerToken(counted),
        kinds: loadByKind(counted.load, kinds[layer]),
        capacity: expertsPerToken({ ...dense, moe }, expertLayers({ ...dense, moe })[layer]),
        dependence: {
          class: specialisation(counted.byClass),
          position: specialisation(counted.byPosition),
          time: specialisation(counted.byTimestep),
        },
      }));

const sharesOf = (kinds: LayerSummary['kinds']): string =>
  Object.entries(kinds)
    .map(([kind, share]) => `${kind} ${(100 * share).toFixed(1)} %`)
    .join(', ');

/** On what the choice of expert depends most, by the means over the layers. */
function verdict(summary: readonly LayerSummary[]): string {
  const mean = (of: keyof LayerSummary['dependence']): number =>
    summary.reduce((sum, { dependence }) => sum + dependence[of], 0) / summary.length;
  const means = (['position', 'time', 'class'] as const).map((of) => ({ name: of === 'position' ? 'place' : of, value: mean(of) }));
  const [most, ...others] = means.toSorted((a, b) => b.value - a.value);
  const rest = others.map(({ name, value }) => `${name} (${value.toFixed(3)})`).join(' and ');
  return `The choice of expert depends on the ${most.name} most (${most.value.toFixed(3)} on average, 1 would be completely), less on ${rest}.`;
}

/** Settings in words, such as `solver euler, steps 50`. */
const settingsOf = (settings: object): string =>
  Object.entries(settings)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => `${name} ${typeof value === 'object' ? JSON.stringify(value) : value}`)
    .join(', ');

/** The page as text. */
export function routingPage(options: {
  model: string;
  step: number;
  images: number;
  router: string;
  settings: object;
  /** What the model was trained for. */
  objective: string;
  /** When the page was made, and how long the sampling took. */
  made: Date;
  seconds: number;
  legend: string;
  figures: readonly Figure[];
  summary: readonly LayerSummary[];
}): string {
  const { model, step, images, router, settings, objective, made, seconds, legend, figures, summary } = options;
  const rows = summary.map(
    ({ layer, evenness: even, perToken, capacity, kinds, dependence }) =>
      `<tr><th scope="row">${layer}<td class="kinds">${sharesOf(kinds)}<td>${perToken.toFixed(2)} of ${capacity}<td>${even.toFixed(3)}<td>${dependence.position.toFixed(3)}<td>${dependence.time.toFixed(3)}<td>${dependence.class.toFixed(3)}`,
  );
  return `<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>What the experts do</title>
<style>
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
figure { margin: 0 0 2.5rem; } figcaption { margin-top: .5rem; } code { overflow-wrap: anywhere; }
/* On a narrow screen they are moved, not made too small to be read. */
.wide { overflow-x: auto; } .wide svg { max-width: none; border-radius: 6px; }
table { border-collapse: collapse; } th, td { padding: .2rem .8rem; text-align: right; white-space: nowrap; border-bottom: 1px solid #8884; }
.kinds { white-space: normal; min-width: 9rem; text-align: left; }
</style>
<h1>What the experts do</h1>
<p>Choices of the routers (<code>${escapeHtml(router)}</code>) while ${images} images were sampled with <code>${escapeHtml(model)}</code> (step ${step.toLocaleString('en')}, trained for ${objective === 'flow' ? 'flow matching' : 'Gaussian diffusion'}; ${escapeHtml(settingsOf(settings))}).
Made ${made.toISOString().slice(0, 16).replace('T', ' ')} UTC in ${formatDuration(seconds)}.</p>
<p><strong>${verdict(summary)}</strong></p>
<p>The colours of all maps of shares; they end at twice an even share:</p>
<div class="wide">${legend}</div>
<p>Kinds of experts with their share of the assignments, experts per token, as counted and as configured, balance, and how far the choice of expert depends on place, time and class (0: not at all, 1: completely):</p>
<div class="wide"><table>
<tr><th scope="col">layer<th scope="col" class="kinds">kinds<th scope="col">experts per token<th scope="col">evenness<th scope="col">place<th scope="col">time<th scope="col">class
${rows.join('\n')}
</table></div>
${figures.map(({ name, title, caption, svg }) => `<h2 id="${name}">${title}</h2><figure aria-labelledby="${name}"><div class="wide">${svg}</div><figcaption>${escapeHtml(caption)}</figcaption></figure>`).join('\n')}
</html>
`;
}
