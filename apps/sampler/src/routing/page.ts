/** `routing.html`: the figures in one file, without external requests. */
import { escapeHtml } from '@dit-moe/kit';
import type { Figure } from './figures.js';

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

const sharesOf = (kinds: LayerSummary['kinds']): string =>
  Object.entries(kinds)
    .map(([kind, share]) => `${kind} ${(100 * share).toFixed(1)} %`)
    .join(', ');

/** The page as text. */
export function routingPage(options: {
  model: string;
  step: number;
  images: number;
  router: string;
  settings: object;
  figures: readonly Figure[];
  summary: readonly LayerSummary[];
}): string {
  const { model, step, images, router, settings, figures, summary } = options;
  const rows = summary.map(
    ({ layer, evenness: even, perToken, capacity, kinds, dependence }) =>
      `<tr><th scope="row">${layer}<td>${sharesOf(kinds)}<td>${perToken.toFixed(2)} of ${capacity}<td>${even.toFixed(3)}<td>${dependence.position.toFixed(3)}<td>${dependence.time.toFixed(3)}<td>${dependence.class.toFixed(3)}`,
  );
  return `<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>What the experts do</title>
<style>
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
figure { margin: 0 0 2.5rem; overflow-x: auto; } svg { height: auto; border-radius: 6px; } code { overflow-wrap: anywhere; }
table { border-collapse: collapse; } th, td { padding: .2rem .8rem; text-align: right; border-bottom: 1px solid #8884; }
</style>
<h1>What the experts do</h1>
<p>Choices of the routers (<code>${escapeHtml(router)}</code>) while ${images} images were sampled with <code>${escapeHtml(model)}</code> (step ${step}, ${escapeHtml(JSON.stringify(settings))}).
Darker is more; the scale ends at twice an even share.</p>
<table><caption>Kinds of experts with their share of the assignments, experts per token, as counted and as configured, balance, and how far the choice of expert depends on place, time and class (0: not at all, 1: completely)</caption>
<tr><th scope="col">layer<th scope="col">kinds<th scope="col">experts per token<th scope="col">evenness<th scope="col">place<th scope="col">time<th scope="col">class
${rows.join('\n')}
</table>
${figures.map(({ name, title, caption, svg }) => `<h2 id="${name}">${title}</h2><figure aria-labelledby="${name}">${svg}<figcaption>${escapeHtml(caption)}</figcaption></figure>`).join('\n')}
</html>
`;
}
