/** `routing`: what the experts of a model have specialised in, as figures, a page and numbers. */
import path from 'node:path';
import { finish } from '@dit-moe/diffusion';
import { ditSizes, expertKinds } from '@dit-moe/dit';
import { openModel } from '@dit-moe/dit/node';
import { createProgress, exitCodes, ModelError } from '@dit-moe/kit';
import { RoutingCounter } from '@dit-moe/moe/telemetry';
import type { SampleSettings } from '@dit-moe/pipeline';
import { makeFolder, writeFileAtomically } from '@dit-moe/tensor-ops/io/node';
import sharp from 'sharp';
import { locate, modelWithClasses } from '../bundled-models.js';
import { parseClasses } from '../classes.js';
import { drawFigures, legend, type Prototypes, type RoutingCounts } from '../routing/figures.js';
import { routingPage, summaryOf } from '../routing/page.js';
import { type BackendFlags, type ModelFlags, startPipeline } from '../start-pipeline.js';

export interface RoutingFlags extends Partial<SampleSettings>, ModelFlags, BackendFlags {
  classes?: string;
  count: number;
  batch: number;
  out: string;
  json: boolean;
}

/** Pixels per unit of the figures' PNGs. */
const PNG_SCALE = 2;
const CSS_DPI = 96;

/** Runs `routing` and returns the exit code. */
export async function routingCommand(given: string | undefined, flags: RoutingFlags): Promise<number> {
  const location = given ?? (await modelWithClasses(flags.classes));
  await makeFolder(flags.out);
  const progress = createProgress();
  let labels: readonly number[] = [];
  const { backend, pipeline, settings } = await startPipeline(location, flags, progress, async ({ card }) => {
    if (card.config.moe === undefined) throw new ModelError(`${location} is a dense model: it has no experts.`);
    labels = parseClasses(flags.classes, card.classNames).flatMap((label) => Array<number>(flags.count).fill(label));
  });
  const { card } = pipeline;
  const moe = card.config.moe!;
  const { grid, tokens } = ditSizes(card.config);
  const { classNames } = card;
  const counter = new RoutingCounter({ numExperts: moe.numExperts, tokens, classes: classNames.length });
  const started = performance.now();
  progress.update({ what: 'image', done: 0, total: labels.length });
  for (let start = 0; start < labels.length; start += flags.batch) {
    const images = labels.slice(start, start + flags.batch).map((label, i) => ({ label, index: start + i }));
    const x = await finish(pipeline.solve({ ...settings, images, onRouting: (routing) => counter.add(routing) }));
    x.dispose();
    progress.update({ what: 'image', done: start + images.length, total: labels.length });
  }
  progress.done();
  const seconds = (performance.now() - started) / 1000;
  pipeline.dispose();
  const { times, evaluations, layers } = counter;
  const counts: RoutingCounts = { grid, classNames, times, evaluations, layers, kinds: expertKinds(card.config) };
  const summary = summaryOf(counts, card.config);
  const figures = drawFigures(counts, moe.router === 'prototypes' ? await prototypesOf(location) : []);
  const write = (name: string, content: string | Uint8Array) => writeFileAtomically(path.join(flags.out, name), content);
  for (const { name, svg } of figures) {
    await write(`${name}.svg`, svg);
    await write(
      `${name}.png`,
      await sharp(Buffer.from(svg), { density: PNG_SCALE * CSS_DPI })
        .png()
        .toBuffer(),
    );
  }
  await write(
    'routing.json',
    `${JSON.stringify({ model: location, step: card.step, router: moe.router ?? 'token', settings, guideWith: flags.guideWith, images: labels.length, summary, ...counts })}\n`,
  );
  await write(
    'routing.html',
    routingPage({
      ...{ model: given ?? path.basename(location), step: card.step, objective: card.objective, images: labels.length },
      ...{ router: moe.router ?? 'token', settings, made: new Date(), seconds, legend: legend(counts), figures, summary },
    }),
  );
  if (flags.json) console.log(JSON.stringify({ out: path.resolve(flags.out), images: labels.length, backend: backend.name, summary }));
  else
    console.log(
      `${labels.length} images, ${counts.evaluations} evaluations (${backend.name}): look at ${path.join(flags.out, 'routing.html')}`,
    );
  return exitCodes.ok;
}

/** What the tokens of each layer with experts are compared with. */
async function prototypesOf(location: string): Promise<Prototypes[]> {
  const model = await openModel(locate(location));
  try {
    const found: Prototypes[] = [];
    for await (const [name, value] of model.weights()) if (name.endsWith('.moe.prototypes')) found.push(value);
    return found;
  } finally {
    await model.close();
  }
}
