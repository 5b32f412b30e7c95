/** Every line of the pages is run or listed with a reason, and no rule stands there for nothing. The lines are run by `pnpm check:packages`. */
import { expect, test } from 'vitest';
import { missingLines, pageOf, pages, runnable, unusedRules } from './document-blocks.js';
import { given, notRun } from './document-rules.js';

const page = (text: string) => pageOf({ file: 'page.md', text });

test('every block of the pages has a rule, and every rule a block', () => {
  const all = pages();
  expect(unusedRules(all)).toEqual([]);
  expect(notRun.filter(({ reason }) => reason.length < 10)).toEqual([]);
  expect(Object.keys(given).filter((file) => !all.some((one) => one.file === file))).toEqual([]);
  const lines = all.flatMap(({ scripts }) => [...scripts.values()].flat());
  const run = lines.filter(({ command }) => command !== undefined);
  expect(run.length).toBeGreaterThan(130);
  for (const [file, names] of Object.entries(given)) {
    const { text } = runnable().find((document) => document.file === file)!;
    for (const name of names.split(' ').map((word) => word.split('=')[0])) expect(text, file).toContain(name);
  }
});

test('lines are run as they stand, with what makes them small behind', () => {
  const { scripts } = page(
    '```sh\nnpm install x\nnode apps/trainer/dist/cli.js train-vae a \\\n  --out b  # small\ndit-moe-sampler serve\ndit-moe-trainer train-vae a && dit-moe-sampler solvers\n```\n',
  );
  expect(scripts.get(0)).toEqual([
    { text: 'npm install x', command: undefined, serves: false },
    {
      text: 'node apps/trainer/dist/cli.js train-vae a --out b',
      command: 'node apps/trainer/dist/cli.js train-vae a --out b --steps 2',
      serves: false,
    },
    { text: 'dit-moe-sampler serve', command: 'dit-moe-sampler serve --port 0', serves: true },
    {
      text: 'dit-moe-trainer train-vae a && dit-moe-sampler solvers',
      command: 'dit-moe-trainer train-vae a --steps 2 && dit-moe-sampler solvers',
      serves: false,
    },
  ]);
});

test('a line without a rule, a file that nothing takes and an unknown language are errors', () => {
  expect(() => page('```sh\nrm -r .\n```\n')).toThrow('page.md:2: neither run nor in the list of what is not run: rm -r .');
  expect(() => page('```yaml\na: 1\n```\n')).toThrow('page.md:2: no command below takes this file.');
  expect(() => page('```python\n1\n```\n')).toThrow('nothing is known of blocks of "python"');
});

test('files, programs and outputs', () => {
  const { files, programs, outputs } = page(
    '```yaml\na: 1\n```\n```sh\ndit-moe-trainer sweep s.yaml\n```\n```text\n3 s\n```\n```ts\nlet a;\n```\n```ts\na = 1;\n```\n',
  );
  expect([...files]).toEqual([['s.yaml', 'a: 1\n']]);
  expect(programs).toEqual([{ text: 'let a;\na = 1;\n', blocks: [3, 4] }]);
  expect([...outputs]).toEqual([[1, '3 s\n']]);
});

test('outputs are compared but for their numbers', () => {
  expect(missingLines('48 images in 3.5 s: a.png\n', 'hello\n8 images in 1 min 12 s: a.png\n')).toEqual([]);
  expect(missingLines('dense  +0.0307 +- 1e-3  2/2', 'dense -1.5 +- 0.2 1/2\n')).toEqual([]);
  expect(missingLines('48 images in 3.5 s: a.png\n', '48 pictures in 3.5 s: a.png')).toEqual(['48 images in 3.5 s: a.png']);
});
