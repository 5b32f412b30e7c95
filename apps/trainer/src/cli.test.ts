import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { bundleProgram } from '@dit-moe/kit/testing';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import YAML from 'yaml';
import { makeRoot } from './testing/tiny-run.js';

const { root } = makeRoot();
let startCli: Awaited<ReturnType<typeof bundleProgram>>;
beforeAll(async () => {
  startCli = await bundleProgram(new URL('./cli.ts', import.meta.url));
});
afterAll(() => fs.rmSync(root, { recursive: true }));
const run = (...args: string[]) => startCli(args).ended;

test('mistakes end with their exit codes', async () => {
  const cases: [string[], number, RegExp][] = [
    [['train', '--out', 'x', '--nonsense'], 2, /unknown option '--nonsense'/],
    [['train', '--out', 'x', '--preset', 'digits', '--backend', 'abacus'], 2, /abacus/],
    [['train', '--out', 'x', '--preset', 'digits', '--threads', 'many'], 2, /positive integer/],
    [['train', '--out', 'x'], 2, /has no model/],
    [['train', '--preset', 'digits'], 2, /Give the run folder: --out/],
    [['trian'], 2, /Did you mean train/],
    [['doctor', '--bundle', 'a', '--unbundle', 'b'], 2, /are for two machines/],
    [['doctor', '--bundle', 'a', '--piece', 'small'], 2, /such as 60MB/],
    [['doctor', '--unbundle', path.join(root, 'nowhere')], 5, /manifest\.json cannot be read: .* Copy the bundle/],
    [['train', '--out', path.join(root, 'never'), '--preset', 'digits', '--data', path.join(root, 'nowhere')], 3, /does not exist/],
    [['watch', path.join(root, 'nowhere')], 4, /holds no run/],
  ];
  // Together: most of the time of each is starting.
  await Promise.all(
    cases.map(async ([args, code, message]) => {
      const result = await run(...args);
      expect(result.code, args.join(' ')).toBe(code);
      expect(result.err).toMatch(message);
    }),
  );
});

test('config prints what it resolves to, and the schema', async () => {
  const { code, out } = await run('config', '--preset', 'digits', '--set', 'steps=3');
  expect(code).toBe(0);
  expect(YAML.parse(out)).toMatchObject({ steps: 3, batchSize: 128 });
  expect(JSON.parse((await run('config', '--schema')).out)).toHaveProperty('properties.optimizer');
});

test('demo --json prints one line of JSON on stdout and everything else on stderr', async () => {
  const out = path.relative('.', path.join(root, 'demo'));
  // The program under test is bundled outside the package, where it does not see the images.
  const digits = fileURLToPath(new URL('../data/digits', import.meta.url));
  const small = [`data.path=${digits}`, 'steps=2', 'logEvery=1', 'model.hiddenSize=16', 'model.depth=1', 'sampling.steps=2'];
  const { code, out: text, err } = await run('demo', '--json', '--out', out, '--set', ...small);
  expect(code).toBe(0);
  expect(text).toMatch(/^[^\n]+\n$/);
  const folder = path.resolve(out);
  expect(JSON.parse(text)).toEqual({
    ...{ step: 2, loss: expect.any(Number), interrupted: false, backend: expect.any(String), recognised: expect.any(Number) },
    ...{ out: folder, samples: path.join(folder, 'digits'), sheet: path.join(folder, 'digits.png') },
  });
  expect(fs.readdirSync(path.join(folder, 'digits', '7'))).toHaveLength(20);
  expect(err).toContain('step 2/2');
});

describe('completion', () => {
  const isThere = (shell: string) => {
    try {
      execFileSync(shell, ['-c', 'true']);
      return true;
    } catch {
      return false;
    }
  };
  const script = async (shell: string) => {
    const file = path.join(root, `completion.${shell}`);
    fs.writeFileSync(file, (await run('completion', shell)).out);
    return file;
  };
  const cases: [string, string[]][] = [
    ['ex', ['export']],
    ['train --ba', ['--backend']],
    ['train --backend t', ['tensorflow']],
    ['export --to ', ['bundle', 'diffusers', 'reference', 'safetensors']],
    ['completion z', ['zsh']],
  ];

  test.skipIf(!isThere('bash'))('in bash', async () => {
    const file = await script('bash');
    for (const [typed, expected] of cases) {
      const words = ['dit-moe-trainer', ...typed.split(' ')];
      const line = `source "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _dit_moe_trainer; printf '%s\\n' "\${COMPREPLY[@]}"`;
      const found = execFileSync('bash', ['-c', line, file, ...words], { encoding: 'utf8' });
      expect(found.trim().split('\n').sort(), typed).toEqual(expected);
    }
  });

  test.skipIf(!isThere('fish'))('in fish', async () => {
    const file = await script('fish');
    for (const [typed, expected] of cases) {
      const found = execFileSync('fish', ['-N', '-c', `source ${file}; complete -C "dit-moe-trainer ${typed}"`], { encoding: 'utf8' });
      const names = found
        .trim()
        .split('\n')
        .map((line) => line.split('\t')[0]);
      expect(names.sort(), typed).toEqual(expected);
    }
  });

  test.skipIf(!isThere('zsh'))('in zsh the script is accepted and registered, also before compinit', async () => {
    const line = 'source "$0"; print -r -- $_comps[dit-moe-trainer]';
    expect(execFileSync('zsh', ['-f', '-c', line, await script('zsh')], { encoding: 'utf8' })).toContain('_dit_moe_trainer');
  });

  test.skipIf(!isThere('zsh'))('in zsh from a folder of fpath, the first time that the key is pressed', async () => {
    const folder = path.join(root, 'zsh');
    fs.mkdirSync(folder);
    fs.copyFileSync(await script('zsh'), path.join(folder, '_dit-moe-trainer'));
    // What the shell echoes of the commands has a space more than their output.
    const line = `zmodload zsh/zpty; zpty shell zsh -f -i
      zpty -w shell "fpath=($0 \\$fpath); autoload -Uz compinit; compinit -u -D; print is re\\ ady | tr -d ' '"
      zpty -r shell said '*isready*'
      zpty -w -n shell $'dit-moe-trainer ex\\t'; zpty -r shell said '*export*'; print -r -- $said`;
    expect(execFileSync('zsh', ['-f', '-c', line, folder], { encoding: 'utf8', timeout: 20_000 })).toContain('export');
  });
});
