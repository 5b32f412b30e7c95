/**
 * Makes the models of `packages/models` by the commands that their cards list: `pnpm models [name ...]`.
 *
 * Everything is kept in `runs/models`, and what is there is not made again: an interrupted training goes on with `--resume`.
 */
import fs from 'node:fs';
import path from 'node:path';
import type { ModelCard } from '@dit-moe/dit';
import { samplingDefaults } from '@dit-moe/pipeline';
import { type Command, root, runCommands, runProgram } from './commands.js';
import { type Recipe, recipes, WORK } from './recipes.js';

/** Of the weights, as of this repository; whose the data are, and under which licence, their sets say themselves. */
const LICENSE = 'apache-2.0';

function commandsOf(
  name: string,
  { dataset, images, splits, size, settings, again, fromBundle = false, classifier, samples }: Recipe,
): Record<string, Command> {
  const at = (suffix: string): string => `${WORK}/${name}${suffix}`;
  const [split, heldOut] = splits?.map((split) => ` --split ${split}`) ?? ['', ''];
  const train = `dit-moe-trainer train --preset ${name}${dataset === undefined ? '' : ` --data ${images}`}`;
  const own = settings === undefined ? '' : ` --set ${settings}`;
  const trained = at(again === undefined ? '' : '-again');
  const judge = `--metrics accuracy,fd --network classifier --network-weights ${at('-classifier.safetensors')}`;
  return {
    ...(dataset !== undefined && { dataset: { line: `dit-moe-trainer dataset ${dataset} ${images}`, makes: images } }),
    train: { line: `${train}${own} --threads 1 --out ${at('')}`, makes: at('/report.html') },
    ...(fromBundle && { first: { line: `dit-moe-trainer export ${at('')} --out ${at('-first')}`, makes: at('-first') } }),
    ...(again !== undefined && {
      again: {
        line: `${train} --set initialWeights=${at(fromBundle ? '-first/model.safetensors' : '')} ${again} --threads 1 --out ${at('-again')}`,
        makes: at('-again/report.html'),
      },
    }),
    bundle: { line: `dit-moe-trainer export ${trained} --out ${at('-bundle')}`, makes: at('-bundle') },
    classifier: {
      line: `dit-moe-trainer train-classifier ${images}${split}${heldOut.replace('--split', '--held-out')}${size === undefined ? '' : ` --size ${size}`} ${classifier} --json --out ${at('-classifier.safetensors')}`,
      makes: at('-classifier.json'),
      printsIt: true,
    },
    samples: {
      line: `dit-moe-sampler generate ${at('-bundle/model.safetensors')} --images ${samples} --labels balanced --steps 25 --batch 100 --out ${at('-samples')}`,
      makes: at('-samples/done'),
      printsIt: true,
    },
    merge: { line: `dit-moe-sampler merge ${at('-samples')}`, makes: at('-samples/samples.npz') },
    evaluation: {
      line: `dit-moe-sampler evaluate ${at('-samples')} ${images}${heldOut} ${judge} --out ${at('-evaluation.json')}`,
      makes: at('-evaluation.json'),
    },
    // The same weights, with a page that says what has been measured since, and who may use them.
    published: {
      line: `dit-moe-trainer export ${trained} --license ${LICENSE} --evaluation ${at('-evaluation.json')} --out ${at('-published')}`,
      makes: at('-published'),
    },
  };
}

const read = (file: string): string => fs.readFileSync(path.join(root, file), 'utf8');
const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;

/** What the card says beside what `export` writes. */
function judgement(name: string, commands: Record<string, Command>): string {
  const classifier = JSON.parse(read(commands['classifier'].makes)) as { images: number; heldOut: { accuracy: number; images: number } };
  const { accuracy, images } = classifier.heldOut;
  const { model } = JSON.parse(read(`${commands['published'].makes}/config.json`)) as { model: ModelCard };
  return `
## Judged

By a classifier of ${classifier.images.toLocaleString('en')} real images, which has seen no sample. Of ${images.toLocaleString('en')} real held-out images it tells ${percent(accuracy)} right.
The samples: guidance ${samplingDefaults(model).guidance} as by default, 25 steps.

## How it was made

\`pnpm models ${name}\` in a clone of the repository:

\`\`\`sh
${Object.values(commands)
  .map(({ line }) => line)
  .join('\n')}
\`\`\`
`;
}

const names = process.argv.slice(2);
const unknown = names.find((name) => recipes[name] === undefined);
if (unknown !== undefined) throw new Error(`There is no recipe for ${unknown}: ${Object.keys(recipes).join(', ')}.`);
await runProgram(async () => {
  for (const name of names.length === 0 ? Object.keys(recipes) : names) {
    const commands = commandsOf(name, recipes[name]);
    fs.mkdirSync(path.join(root, WORK), { recursive: true });
    await runCommands(Object.values(commands));
    const judged = judgement(name, commands);
    const target = path.join(root, 'packages/models/models', name);
    fs.rmSync(target, { recursive: true, force: true });
    fs.cpSync(path.join(root, commands['published'].makes), target, { recursive: true });
    fs.appendFileSync(path.join(target, 'README.md'), judged);
    console.log(`${target}`);
  }
});
