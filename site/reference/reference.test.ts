import fs from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { program as sampler } from '../../apps/sampler/src/program.js';
import { presets } from '../../apps/trainer/src/config/presets.js';
import { program as trainer } from '../../apps/trainer/src/program.js';
import { root } from '../../release/packages.js';
import { generatedPages } from './index.js';
import { commentedProperties } from './source-comments.js';

test('the pages of the reference are those of the code; else: pnpm docs:reference', async () => {
  for (const [file, text] of Object.entries(await generatedPages())) {
    expect(fs.readFileSync(path.join(root, 'docs/reference', file), 'utf8'), file).toBe(text);
  }
});

/** Options that mean another thing in another command: what is written differs, labels are read or given, noise is added or is read. */
const differing = ['--out', '--labels', '--noise'];

test('an option takes the same kind of value in every command of both programs', () => {
  const values = new Map<string, Set<string>>();
  for (const { commands } of [trainer, sampler])
    for (const { options } of Object.values(commands))
      for (const { long, flags } of options) values.set(long!, (values.get(long!) ?? new Set()).add(flags.replace(long!, '').trim()));
  const several = [...values].filter(([, kinds]) => kinds.size > 1).map(([name]) => name);
  expect(several.sort()).toEqual([...differing].sort());
});

test('the README of the trainer names every preset, or the pattern of its name', () => {
  const readme = fs.readFileSync(path.join(root, 'apps/trainer/README.md'), 'utf8');
  const patterns = { 'paper-SIZE-PIXELS': /^paper-/, 'repo-SIZE-PIXELS': /^repo-/, 'digits-NAME': /^digits-/ };
  const named = (name: string) => Object.entries(patterns).find(([, pattern]) => pattern.test(name))?.[0] ?? name;
  expect(Object.keys(presets).filter((name) => !readme.includes(`\`${named(name)}\``))).toEqual([]);
});

test('every line of a preset of a paper says where it is from, but the word of the router that it is named after', () => {
  const papers = commentedProperties('apps/trainer/src/config/paper-presets.ts', 'papers');
  const leaves = papers.filter(({ path: at, value }) => /^[^.]+\.moe\./.test(at) && !value.startsWith('{'));
  expect(leaves.length).toBeGreaterThan(50);
  const silent = leaves.filter(({ behind, path: at }) => behind === '' && !at.endsWith('.router'));
  expect(silent.map(({ path: at }) => at)).toEqual([]);
  const published = ['flavours', 'bySize'].flatMap((name) => commentedProperties('apps/trainer/src/config/presets.ts', name));
  const settings = published.filter(({ value }) => !value.startsWith('{'));
  expect(settings.length).toBeGreaterThan(30);
  expect(settings.filter(({ behind }) => behind === '').map(({ path: at }) => at)).toEqual([]);
});
