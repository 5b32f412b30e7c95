import fs from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { arms, claims } from './claims.js';
import { root } from './commands.js';
import { reproductionPage } from './page.js';
import { readResults } from './results.js';

test('the page is that of the committed results; else: pnpm reproduce', () => {
  expect(fs.readFileSync(path.join(root, 'docs/reproduction.md'), 'utf8')).toBe(reproductionPage(readResults()));
});

test('claims name arms that there are, and every arm belongs to a claim', () => {
  const named = claims.flatMap((claim) => [...claim.arms]);
  expect(new Set(named)).toEqual(new Set(Object.keys(arms)));
  for (const { arms: own, expected } of claims)
    for (const { better, worse } of expected) expect(own).toEqual(expect.arrayContaining([better, worse]));
});

test('a page without results says so of every claim', () => {
  const page = reproductionPage({ runs: [] });
  expect(page).toContain('0 of ');
  for (const { id, title } of claims) expect(page).toContain(`| ${id} | ${title} | `);
  expect(page.match(/\| not decided yet \|/g)!.length).toBe(claims.length + 1);
});
