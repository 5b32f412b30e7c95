/** Presets with where each of their lines comes from: the comments beside them in the source. */
import { presets } from '../../apps/trainer/src/config/presets.js';
import { type Commented, commentedProperties } from './source-comments.js';
import { table } from './table.js';

interface Published {
  model: { preset: string; qkNorm?: boolean; moe: { balanceAlpha: number; balanceOver?: string } };
  objective: { kind: string };
  batchSize: number;
  accumulation: number;
}

export function presetsPage(): string {
  const papers = commentedProperties('apps/trainer/src/config/paper-presets.ts', 'papers');
  const jit = [
    ...commentedProperties('apps/trainer/src/config/presets.ts', 'jit'),
    ...named('jitModel', 'model'),
    ...named('jitObjective', 'objective'),
  ];
  const small = commentedProperties('apps/trainer/src/config/presets.ts', 'small');
  const flavours = commentedProperties('apps/trainer/src/config/presets.ts', 'flavours');
  const bySize = commentedProperties('apps/trainer/src/config/presets.ts', 'bySize');
  const published = Object.entries(presets).filter(([name]) => /^(paper|repo)-/.test(name)) as [string, Published][];
  return `# Presets

Which settings does a preset stand for, and where is each from? \`dit-moe-trainer config --preset NAME\`
prints all settings of one. A configuration may begin with \`preset: NAME\` and change what it likes.

## Small ones

For a laptop. Nothing in them is from a paper.

${objects(small)
  .map((name) => `### \`${name}\`\n\n${lines(small, name, false)}`)
  .join('\n\n')}

## For your own images

In pixels, without an autoencoder: [which one](../start/your-images.md#which-preset). The clean image
is predicted, as \`jit\` below has it; the sizes are ours.

${ownTable()}

## Routers of papers

Each is what a paper does about experts, at a size of that paper on latents of 256 pixels, and as
\`digits-NAME\` on the digits, in minutes. Only the small ones were run. What a paper does besides its
experts (text, other autoencoders) is not in them.

${objects(papers)
  .map((name) => `### \`${name}\`\n\n${about(papers, name)}\n\n${lines(papers, name, true)}`)
  .join('\n\n')}

## \`jit\`

The clean image is predicted, in pixels, without an autoencoder (JiT, arXiv 2511.13720). The numbers
are those of JiT-B/16 for 256 pixels. \`digits-jit\` is its small form.

${lines(jit, 'jit', true)}

## Published sizes

DiT-MoE, "Scaling Diffusion Transformers to 16 Billion Parameters", arXiv 2407.11633, and its code,
feizc/DiT-MoE at bd34bbb. Depth, width, heads and experts are those of the paper's table 1. Where paper
and code differ, there is a preset of each: \`paper-SIZE-PIXELS\` and \`repo-SIZE-PIXELS\`.

### \`paper-SIZE-PIXELS\`

${lines(flavours, 'paper', true)}

### \`repo-SIZE-PIXELS\`

${lines(flavours, 'repo', true)}

### By size, in both

S, B and L:

${lines(bySize, 'small', true)}

XL and G, as their weights were published:

${lines(bySize, 'large', true)}

### All of them

Micro-batches are ours, for an A100 of 80 GB; [memory](../concepts/memory.md) says what fits.

${table(
  ['preset', 'model', 'objective', 'batch', 'micro-batch', 'balance loss'],
  published.map(([name, { model, objective, batchSize, accumulation }]) => [
    `\`${name}\``,
    `${model.preset}${model.qkNorm ? ', qkNorm' : ''}`,
    objective.kind,
    String(batchSize),
    String(batchSize / accumulation),
    `${model.moe.balanceAlpha} over the ${model.moe.balanceOver ?? 'batch'}`,
  ]),
)}
`;
}

/** Settings of the presets for one's own images, side by side. */
function ownTable(): string {
  const own = Object.entries(presets).filter(([name]) => name.startsWith('images-'));
  const settings = own.map(([, preset]) => new Map(leaves(preset)));
  const names = [...new Set(settings.flatMap((of) => [...of.keys()]))];
  return table(
    ['setting', ...own.map(([name]) => `\`${name}\``)],
    names.map((name) => [`\`${name}\``, ...settings.map((of) => (of.has(name) ? `\`${shown(of.get(name))}\`` : ''))]),
  );
}

const shown = (value: unknown): string =>
  typeof value === 'number' ? String(Number(value.toPrecision(5))) : JSON.stringify(value).replaceAll('"', '');

const leaves = (value: object, above = ''): [string, unknown][] =>
  Object.entries(value).flatMap(([name, inner]) =>
    typeof inner === 'object' && !Array.isArray(inner) ? leaves(inner, `${above}${name}.`) : [[above + name, inner] as [string, unknown]],
  );

const objects = (all: readonly Commented[]): string[] => all.map(({ path }) => path).filter((path) => !path.includes('.'));

const about = (all: readonly Commented[], name: string): string => all.find(({ path }) => path === name)!.before.replaceAll('<', '\\<');

/** Properties of another variable, as settings of `jit`. */
const named = (variable: string, section: string): Commented[] =>
  commentedProperties('apps/trainer/src/config/presets.ts', variable).map((one) => ({ ...one, path: `jit.${section}.${one.path}` }));

/** Settings of one preset, without the objects that hold others. */
function lines(all: readonly Commented[], name: string, sources: boolean): string {
  const own = all.filter(
    ({ path, value }) =>
      path.startsWith(`${name}.`) &&
      !path.startsWith(`${name}.small.`) &&
      path !== `${name}.small` &&
      (!value.startsWith('{') || value === '{}'),
  );
  const shown = own.filter(({ value }) => !/^jit[A-Z]|^(digits|\{\})$/.test(value));
  return table(
    ['setting', 'value', ...(sources ? ['where it is from'] : [])],
    shown.map(({ path, value, behind }) => [
      settingName(path.slice(name.length + 1)),
      path === `${name}.size` ? `those of DiT-${value.replaceAll("'", '')}` : `\`${value.replaceAll("'", '')}\``,
      ...(sources ? [behind] : []),
    ]),
  );
}

const settingName = (path: string): string =>
  path === 'size' ? '`model.depth`, `model.hiddenSize`, `model.numHeads`' : `\`${path.replace(/^moe\./, 'model.moe.')}\``;
