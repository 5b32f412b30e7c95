/** `docs/reproduction.md` from the results. */
import type { Estimate } from '../apps/trainer/src/study/results.js';
import { arms, base, type Claim, claims, type Measure, sameArm } from './claims.js';
import type { Frechet } from './frechet.js';
import { deviationOfChance, judgeClaim, toldRight, type Verdict } from './judge.js';
import type { Measured, Results } from './results.js';
import type { Dependence } from './specialisation.js';

const names: Readonly<Record<Measure, string>> = { loss: 'held-out loss', loadVariation: 'variation of the load', accuracy: 'told right' };

const plusMinus = ({ mean, error }: Estimate, digits = 4): string =>
  `${mean.toFixed(digits)}${error === undefined ? '' : ` ± ${error.toFixed(digits)}`}`;
const million = (n: number): string => `${(n / 1e6).toFixed(2)} M`;
const table = (head: readonly string[], rows: readonly (readonly string[])[]): string =>
  [head, head.map((_, i) => (i === 0 ? '---' : '---:')), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n');

function armsTable(claim: Claim, runs: readonly Measured[]): string {
  const rows = claim.arms.map((arm) => {
    const own = runs.filter((run) => run.arm === arm && claim.seeds.includes(run.seed));
    if (own.length === 0) return [`\`${arm}\``, `0/${claim.seeds.length}`, 'not run yet', '', '', '', '', ''];
    const mean = (of: (run: Measured) => number | undefined, digits: number): string => {
      const values = own.flatMap((run) => of(run) ?? []);
      return values.length === 0 ? '' : (values.reduce((a, b) => a + b, 0) / values.length).toFixed(digits);
    };
    return [
      `\`${arm}\``,
      `${own.length}/${claim.seeds.length}`,
      mean(({ loss }) => loss, 4),
      `${million(own[0].parameters)}, ${million(own[0].activeParameters)}`,
      (1000 * own[0].gmac).toFixed(1),
      mean(({ loadVariation }) => loadVariation, 3),
      mean(({ deadExperts }) => deadExperts, 0),
      mean(toldRight, 3),
    ];
  });
  const head = ['arm', 'seeds', 'held-out loss', 'parameters, active', 'MMAC', 'variation of load', 'dead experts', 'samples told right'];
  const filled = head.map((_, i) => i < 3 || rows.some((row) => row[i] !== ''));
  const kept = (row: readonly string[]): string[] => row.filter((_, i) => filled[i]);
  return table(kept(head), rows.map(kept));
}

const verdictsTable = (verdicts: readonly Verdict[]): string =>
  table(
    ['expected', 'by', 'advantage', 'needed', 'seeds', 'found'],
    verdicts.map(({ better, worse, by, advantage, needed, seeds, says }) => [
      `\`${better}\` before \`${worse}\``,
      names[by],
      advantage === undefined ? '' : by === 'loadVariation' ? `${advantage.mean.toFixed(2)} times` : plusMinus(advantage),
      needed === undefined ? '' : by === 'loadVariation' ? `${needed} times` : needed.toFixed(4),
      String(seeds.length),
      says,
    ]),
  );

/** A claim that is not shown may be true all the same: one that does not hold has an order that is found the other way round. */
function resultText(holds: boolean | undefined, verdicts: readonly Verdict[] = []): string {
  if (holds === undefined) return 'not decided yet';
  if (holds) return 'holds here';
  return verdicts.every(({ says }) => says !== 'the other way round') ? 'not shown here' : 'does not hold here';
}

/** Whether choices depend on place and time, and less on the class. */
function specialisationHolds(layers: readonly Dependence[] | undefined): boolean | undefined {
  if (layers === undefined) return undefined;
  const mean = (of: (layer: Dependence) => number): number => layers.reduce((sum, layer) => sum + of(layer), 0) / layers.length;
  return (
    layers.every((layer) => (['place', 'time', 'class'] as const).every((what) => layer[what] > 2 * layer.shuffled[what])) &&
    mean((layer) => layer.class) <
      Math.min(
        mean((layer) => layer.place),
        mean((layer) => layer.time),
      )
  );
}

function specialisationText(layers: readonly Dependence[] | undefined): string {
  const rule =
    'Expected (DiT-MoE, section 4.4): experts specialise in places and times, and less in classes. It holds if in every layer each of the three tells more than twice what it tells shuffled, and the mean over the layers is smallest for the class.';
  if (layers === undefined) return `${rule}\n\nNot run yet.`;
  const share = (layer: Dependence, what: 'place' | 'time' | 'class'): string =>
    `${(100 * layer[what]).toFixed(2)} % (${(100 * layer.shuffled[what]).toFixed(2)} %)`;
  return `${rule}

Share of the choice of expert that is known where place, time or class of the token is known (mutual information over the entropy of the choice), of
\`mixture\`, seed 0, without guidance; in brackets where it is shuffled among the tokens of an image, the times of an image, or the images.

${table(
  ['layer', 'place', 'time', 'class'],
  layers.map((layer, l) => [String(l), share(layer, 'place'), share(layer, 'time'), share(layer, 'class')]),
)}`;
}

const FRECHET_HEAD = ['images', 'number', 'Frechet distance', '95 % interval', 'told right'];

function frechetText(measured: readonly Frechet[] | undefined): string {
  const about = `How far are the samples of the models of one active size from the real held-out images, as a whole? In the 128 features of the classifier, sampled
without guidance in 10 steps of UniPC from as many labels of each class, by models of one seed. Nothing was expected of it in writing, and it decides no
claim. The first row is what real images reach; the classifier was trained on them, and never saw the others. After so short a training, and without
guidance, all models are far from it.`;
  if (measured === undefined) return `${about}\n\nNot run yet.`;
  const rows = measured.map(({ arm, images, distance, low, high, toldRight }) => [
    arm === undefined ? 'real, of the training' : `samples of \`${arm}\``,
    images.toLocaleString('en'),
    distance.toFixed(2),
    `${low.toFixed(2)} to ${high.toFixed(2)}`,
    `${(100 * toldRight).toFixed(1)} %`,
  ]);
  return `${about}\n\n${table(FRECHET_HEAD, rows)}`;
}

const machineOf = ({ machine }: Measured): string =>
  `${machine.processor}, ${machine.cores} cores, ${machine.memoryGiB} GiB, Node ${machine.node}`;
const letter = (index: number): string => String.fromCharCode('A'.charCodeAt(0) + index);

/** The whole page. */
export function reproductionPage({ runs, dependence, classifier, frechet }: Results): string {
  const chance = deviationOfChance(runs);
  const judged = claims.map((claim) => ({ claim, ...judgeClaim(claim, runs) }));
  const machines = [...new Set(runs.map(machineOf))];
  const machinesTable = table(
    ['machine', 'processor', 'trainings', 'hours'],
    machines.map((machine, m) => {
      const own = runs.filter((run) => machineOf(run) === machine);
      return [letter(m), machine, `${own.length}`, (own.reduce((sum, { seconds }) => sum + seconds, 0) / 3600).toFixed(1)];
    }),
  );
  /** On which machine an arm was trained from which seed. */
  const whereOf = (arm: string): string =>
    runs
      .filter((run) => run.arm === arm)
      .sort((a, b) => a.seed - b.seed)
      .map((run) => `${run.seed} ${letter(machines.indexOf(machineOf(run)))}`)
      .join(', ');
  // The same training with judged samples: what another machine changes.
  const [first, again] = [sameArm, 'velocity-4'].map((arm) => runs.find((run) => run.arm === arm && run.seed === 0));
  const machinesDiffer =
    first === undefined || again === undefined
      ? ''
      : ` \`${again.arm}\` is \`${first.arm}\` from seed 0 once more, on the machines ${letter(machines.indexOf(machineOf(again)))} and ${letter(machines.indexOf(machineOf(first)))}:
their losses differ by ${Math.abs(first.loss - again.loss).toFixed(6)}.`;
  const wanted = new Set(claims.flatMap((claim) => claim.arms.flatMap((arm) => claim.seeds.map((seed) => `${arm}-${seed}`))));
  const summary = [
    ...judged.map(({ claim, holds, verdicts }) => [
      claim.id,
      claim.title,
      `${claim.seeds.length}`,
      resultText(holds, verdicts),
      ...(['as expected', 'the other way round', 'no difference seen'] as const).map(
        (found) => `${verdicts.filter(({ says }) => says === found).length}`,
      ),
    ]),
    ['e', 'Experts specialise in places and times, less in classes', '1', resultText(specialisationHolds(dependence)), '', '', ''],
  ].sort(([a], [b]) => a.localeCompare(b));
  return `<!-- Written by \`pnpm reproduce\` from reproduce/results.json. -->

# The paper's claims on a laptop

DiT-MoE (arXiv 2407.11633) reports what mixtures of experts do in diffusion transformers of up to 16.5 billion parameters. Here the same questions are asked
of models of half a million on Fashion-MNIST, 60,000 grey images of 28 x 28: small enough that anybody can ask again. What holds at this size need not hold
at the paper's, nor the other way round.

\`\`\`sh
pnpm reproduce            # trains what is missing, writes this page; interrupted, the same command goes on
pnpm reproduce --quick    # everything for a few steps on the digits: does it run?
\`\`\`

${runs.length} of ${wanted.size} trainings have been run, on one thread each, while the machines did other things too:

${machinesTable}

The expected order and the threshold of each claim were written before its first run (\`reproduce/claims.ts\`), but for (e): its rule was written after
a look at the digits model. That a claim is open until all its seeds are in was added after a first result of (a).

${table(['claim', '', 'seeds', 'result', 'orders as expected', 'the other way round', 'no difference seen'], summary)}

A claim holds if all its orders are found as expected. It is not shown if differences are too small to be seen, and does not hold if an order is found
the other way round.

## What is measured, and what counts

Every arm is trained for ${base.steps} steps of ${base.batchSize} images: ${base.model.depth} blocks of width ${base.model.hiddenSize}, patches of 4 x 4, flow matching. The measure is the loss of the averaged weights on
${base.validation.samples.toLocaleString('en')} held-out images at the same times with the same noise. Differences are of runs of the same seed.

The arm \`${sameArm}\` against itself with other seeds shows what chance does: the deviation of such a difference is ${chance === undefined ? 'not measured yet' : `${chance.toFixed(4)}, from ${runs.filter(({ arm }) => arm === sameArm).length} seeds`}.${machinesDiffer}
A difference of losses counts if its mean over n seeds is more than twice that over the root of n. The load counts as more even if it varies half as much. Of the samples
a classifier tells ${classifier === undefined ? '' : `(${(100 * classifier.accuracy).toFixed(1)} % of ${classifier.images.toLocaleString('en')} real held-out images) `}6 % more must be right.

${judged
  .map(
    ({ claim, verdicts, holds }) => `## (${claim.id}) ${claim.title}: ${resultText(holds, verdicts)}

${claim.source}

${armsTable(claim, runs)}

${verdictsTable(verdicts)}
`,
  )
  .join('\n')}
## (e) Experts specialise: ${resultText(specialisationHolds(dependence))}

${specialisationText(dependence)}

## Samples against real images

${frechetText(frechet)}

## The arms

${table(
  ['arm', 'differs from the mixture of 8 with 2 per token in', 'seed and machine'],
  Object.entries(arms).map(([name, settings]) => [
    `\`${name}\``,
    Object.keys(settings).length === 0 ? 'nothing' : `\`${JSON.stringify(settings).replaceAll('"', '')}\``,
    whereOf(name),
  ]),
)}
`;
}
