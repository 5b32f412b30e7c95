/** The example of the README runs as it stands, and its types are right for a strict project. */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { decode } from 'fast-png';
import ts from 'typescript';
import { expect, test } from 'vitest';
import * as data from './index.js';
import * as node from './node/index.js';

const readme = fs.readFileSync(new URL('../README.md', import.meta.url), 'utf8');
const example = /```ts\n([\s\S]+?)```/.exec(readme)![1];

test('the types of the README are right for a strict project', () => {
  const file = path.join(import.meta.dirname, 'readme-example.ts');
  const options: ts.CompilerOptions = {
    ...{ strict: true, noUncheckedIndexedAccess: true, exactOptionalPropertyTypes: true, noEmit: true, skipLibCheck: true },
    ...{ target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext, moduleResolution: ts.ModuleResolutionKind.Bundler },
    ...{ customConditions: ['@dit-moe/source'], types: ['node'], lib: ['lib.es2023.d.ts', 'lib.dom.d.ts'] },
  };
  const host = ts.createCompilerHost(options);
  const { getSourceFile, fileExists } = host;
  host.fileExists = (name) => name === file || fileExists(name);
  host.getSourceFile = (name, ...rest) =>
    name === file ? ts.createSourceFile(name, example, ts.ScriptTarget.ES2022) : getSourceFile(name, ...rest);
  const program = ts.createProgram([file], options, host);
  const problems = ts.getPreEmitDiagnostics(program, program.getSourceFile(file));
  expect(problems.map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, '\n'))).toEqual([]);
});

test('the example of the README makes a sheet of the crops', async () => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'data-readme-'));
  for (const name of ['cat/a', 'cat/b', 'dog/c']) {
    const file = path.join(folder, 'photos', `${name}.png`);
    fs.mkdirSync(path.dirname(file), { recursive: true });
    fs.writeFileSync(file, data.encodePng(data.pictureOf(new Uint8Array(3 * 90 * 70).fill(99), 90, 70)));
  }
  const { outputText } = ts.transpileModule(example, {
    compilerOptions: { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext },
  });
  const body = outputText
    .replace(/import (.+) from '(.+)';/g, (_, names: string, from: string) => `const ${names} = modules['${from}'];`)
    .replace(/'(photos|crops.png)'/g, (_, name: string) => JSON.stringify(path.join(folder, name)));
  const lines: unknown[][] = [];
  const modules = { 'node:fs/promises': fs.promises, '@dit-moe/data': data, '@dit-moe/data/node': node };
  await new Function('modules', 'console', `return (async () => {${body}})();`)(modules, { log: (...args: unknown[]) => lines.push(args) });
  expect(lines).toEqual([['3 images (folder), 2 classes from names of the folders', ['cat', 'dog'], 0]]);
  expect(decode(fs.readFileSync(path.join(folder, 'crops.png')))).toMatchObject({ width: 4 * 65 - 1, height: 64 });
  fs.rmSync(folder, { recursive: true });
});
